/* opt -- option tables: one table gives a subcommand its parsing, its --help and its man page.
 *
 * A table row names a field of the command's own options struct by offset, so the table is const and
 * the values live on the caller's stack, holding their defaults before opt_parse runs:
 *
 *     struct serve_options { char *listen; int64_t threads; bool air_gapped; };
 *     static const struct opt rows[] = {
 *         { "listen",  'l', OPT_STRING, "ADDR:PORT", "where to listen", OPT_FIELD(struct serve_options, listen) },
 *         { "threads", 't', OPT_INT,    "N", "kernel threads", OPT_FIELD(struct serve_options, threads), 1, 512 },
 *         { 0 } };
 *     const struct opt_command cmd_serve_spec = { "serve", "[options]", "serve models over HTTP", "long text", rows };
 */
#ifndef BASE_OPT_H
#define BASE_OPT_H
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum opt_type {
    OPT_FLAG,   /* bool; --name sets true, --no-name false */
    OPT_INT,    /* int64_t within [min, max] when max > min */
    OPT_SIZE,   /* int64_t bytes; 512, 4K, 32M, 2G, also KiB MiB GiB */
    OPT_FLOAT,  /* double within [min, max] when max > min */
    OPT_STRING, /* const char *, pointing into argv */
    OPT_INTS,   /* struct opt_ints: comma-separated, each within [min, max]; replaces the default */
    OPT_STRINGS,/* struct opt_strings: the option may be repeated */
};

enum { OPT_LIST_MAX = 32 };
struct opt_ints {
    int count;
    int64_t v[OPT_LIST_MAX];
};
struct opt_strings {
    int count;
    const char *v[OPT_LIST_MAX];
};

struct opt {
    const char *name;  /* long name, without dashes; NULL ends the table */
    char letter;       /* one-letter form, or 0 */
    enum opt_type type;
    const char *arg;   /* what stands for the value in the help; NULL for flags */
    const char *help;
    size_t offset;     /* of the field in the options struct */
    double min, max;   /* bounds when max > min */
};
#define OPT_FIELD(type, field) offsetof(type, field)

struct opt_command {
    const char *name;        /* "serve"; "trust log" for nested ones */
    const char *usage;       /* what follows the name: "[options] FILE" */
    const char *summary;     /* one line, for the list of commands */
    const char *description; /* paragraphs for --help and the man page; may be NULL */
    const struct opt *rows;  /* ends with a zero row */
};

enum opt_result { OPT_RUN, OPT_HELP_SHOWN, OPT_WRONG };

/* Fills *options from argv (argv[0] is the command's name). What is not an option is moved, in order,
 * to argv[1..*positional_count]; "--" ends options. OPT_HELP_SHOWN: --help was printed on stdout, exit 0.
 * OPT_WRONG: a sentence was printed on stderr, exit 2. */
enum opt_result opt_parse(const struct opt_command *cmd, int argc, char **argv, void *options,
                          int *positional_count);
void opt_print_help(const struct opt_command *cmd, FILE *out);
void opt_print_man(const struct opt_command *cmd, FILE *out); /* roff, section 1 */

/* "32M" -> 33554432. For configuration files as well. */
enum err_code opt_parse_size(const char *text, int64_t *out, struct err *e);
enum err_code opt_parse_int(const char *text, int64_t min, int64_t max, int64_t *out, struct err *e);
enum err_code opt_parse_float(const char *text, double min, double max, double *out, struct err *e);
#endif
