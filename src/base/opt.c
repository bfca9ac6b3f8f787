/* opt -- see opt.h. */
#include "base/opt.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum err_code opt_parse_int(const char *text, int64_t min, int64_t max, int64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return err_set(e, ERR_INVALID, "'%.40s' is not a whole number", text);
    if (max > min && (v < min || v > max))
        return err_set(e, ERR_INVALID, "%lld is not between %lld and %lld", v, (long long)min, (long long)max);
    *out = v;
    return ERR_OK;
}

enum err_code opt_parse_float(const char *text, double min, double max, double *out, struct err *e)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v))
        return err_set(e, ERR_INVALID, "'%.40s' is not a number", text);
    if (max > min && (v < min || v > max))
        return err_set(e, ERR_INVALID, "%g is not between %g and %g", v, min, max);
    *out = v;
    return ERR_OK;
}

enum err_code opt_parse_size(const char *text, int64_t *out, struct err *e)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    int shift = 0;
    const char *u = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (u && *u) {
        shift = 10 * (int)(u - units + 1);
        end++;
        if (*end == 'i')
            end++;
    }
    if (end != text && (*end == 'B' || *end == 'b'))
        end++;
    v = ldexp(v, shift);
    if (end == text || *end || errno || !(v >= 0) || v >= 0x1p62)
        return err_set(e, ERR_INVALID, "'%.40s' is not a size; write it like 512M or 2G", text);
    *out = (int64_t)v;
    return ERR_OK;
}

static const struct opt *find_long(const struct opt *rows, const char *name, size_t n)
{
    for (; rows->name; rows++)
        if (strlen(rows->name) == n && !memcmp(rows->name, name, n))
            return rows;
    return NULL;
}

static const struct opt *find_letter(const struct opt *rows, char letter)
{
    for (; rows->name; rows++)
        if (rows->letter == letter)
            return rows;
    return NULL;
}

static enum err_code set_ints(struct opt_ints *list, const struct opt *row, const char *text, struct err *e)
{
    list->count = 0;
    for (const char *p = text;;) {
        size_t n = strcspn(p, ",");
        char item[32];
        if (n >= sizeof item || list->count == OPT_LIST_MAX)
            return err_set(e, ERR_LIMIT, "at most %d numbers, comma-separated", OPT_LIST_MAX);
        memcpy(item, p, n);
        item[n] = '\0';
        enum err_code c = opt_parse_int(item, (int64_t)row->min, (int64_t)row->max, &list->v[list->count], e);
        if (c)
            return c;
        list->count++;
        if (!p[n])
            return ERR_OK;
        p += n + 1;
    }
}

static enum err_code set_value(const struct opt *row, const char *text, void *options, struct err *e)
{
    void *field = (char *)options + row->offset;
    switch (row->type) {
    case OPT_FLAG:
        return err_set(e, ERR_INVALID, "takes no value");
    case OPT_INT:
        return opt_parse_int(text, (int64_t)row->min, (int64_t)row->max, field, e);
    case OPT_SIZE:
        return opt_parse_size(text, field, e);
    case OPT_FLOAT:
        return opt_parse_float(text, row->min, row->max, field, e);
    case OPT_STRING:
        *(const char **)field = text;
        return ERR_OK;
    case OPT_INTS:
        return set_ints(field, row, text, e);
    case OPT_STRINGS: {
        struct opt_strings *list = field;
        if (list->count == OPT_LIST_MAX)
            return err_set(e, ERR_LIMIT, "may be given at most %d times", OPT_LIST_MAX);
        list->v[list->count++] = text;
        return ERR_OK;
    }
    }
    return ERR_OK;
}

static enum opt_result wrong(const struct opt_command *cmd, const char *what, const char *why)
{
    fprintf(stderr, "tokenworks %s: %s: %s (tokenworks %s --help)\n", cmd->name, what, why, cmd->name);
    return OPT_WRONG;
}

/* One option at argv[*i], which starts with '-'; advances *i over a separate value. */
static enum opt_result parse_one(const struct opt_command *cmd, int argc, char **argv, int *i, void *options)
{
    const char *word = argv[*i], *value = NULL;
    const struct opt *row;
    bool negated = false;
    if (word[1] == '-') {
        const char *name = word + 2, *eq = strchr(name, '=');
        size_t n = eq ? (size_t)(eq - name) : strlen(name);
        value = eq ? eq + 1 : NULL;
        row = find_long(cmd->rows, name, n);
        if (!row && n > 3 && !strncmp(name, "no-", 3)) {
            row = find_long(cmd->rows, name + 3, n - 3);
            negated = row && row->type == OPT_FLAG;
            row = negated ? row : NULL;
        }
    } else {
        row = find_letter(cmd->rows, word[1]);
        value = row && word[2] ? word + 2 : NULL;
    }
    if (!row)
        return wrong(cmd, word, "no such option");
    if (row->type == OPT_FLAG && !value) {
        *(bool *)((char *)options + row->offset) = !negated;
        return OPT_RUN;
    }
    if (!value && row->type != OPT_FLAG) {
        if (*i + 1 >= argc)
            return wrong(cmd, word, "needs a value");
        value = argv[++*i];
    }
    struct err e = { 0 };
    return set_value(row, value, options, &e) ? wrong(cmd, word, e.text) : OPT_RUN;
}

enum opt_result opt_parse(const struct opt_command *cmd, int argc, char **argv, void *options,
                          int *positional_count)
{
    int kept = 0;
    bool options_ended = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options_ended || word[0] != '-' || !word[1]) {
            argv[++kept] = argv[i];
        } else if (!strcmp(word, "--")) {
            options_ended = true;
        } else if (!strcmp(word, "--help") || (!strcmp(word, "-h") && !find_letter(cmd->rows, 'h'))) {
            opt_print_help(cmd, stdout);
            return OPT_HELP_SHOWN;
        } else {
            enum opt_result r = parse_one(cmd, argc, argv, &i, options);
            if (r != OPT_RUN)
                return r;
        }
    }
    *positional_count = kept;
    return OPT_RUN;
}

/* A description may hold its own line breaks, which stay; what is longer than a terminal is broken at spaces. */
static void print_wrapped(const char *text, FILE *out)
{
    enum { COLUMNS = 116 };
    while (*text) {
        size_t n = strcspn(text, "\n"), cut = n;
        if (n > COLUMNS)
            for (cut = COLUMNS; cut > 1 && text[cut] != ' ';)
                cut--;
        if (n > COLUMNS && cut == 1)
            cut = n; /* one long word */
        fprintf(out, "%.*s\n", (int)cut, text);
        text += cut + (text[cut] != '\0');
    }
}

void opt_print_help(const struct opt_command *cmd, FILE *out)
{
    fprintf(out, "usage: tokenworks %s%s%s\n\n%s.\n", cmd->name, *cmd->usage ? " " : "", cmd->usage, cmd->summary);
    if (cmd->description) {
        fputc('\n', out);
        print_wrapped(cmd->description, out);
    }
    if (cmd->rows->name)
        fprintf(out, "\n");
    for (const struct opt *o = cmd->rows; o->name; o++) {
        char left[64];
        char letter[5] = "    ";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "  %s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "%-34s %s\n", left, o->help);
    }
}

/* A leading dot or quote would be a roff request; a dash in an option is written \-. */
static void man_text(const char *text, FILE *out)
{
    bool line_start = true;
    for (const char *p = text; *p; p++) {
        if (line_start && (*p == '.' || *p == '\''))
            fputs("\\&", out);
        if (*p == '\\')
            fputs("\\e", out);
        else if (*p == '-')
            fputs("\\-", out);
        else
            fputc(*p, out);
        line_start = *p == '\n';
    }
}

void opt_print_man(const struct opt_command *cmd, FILE *out)
{
    fprintf(out, ".TH TOKENWORKS 1 \"\" \"Tokenworks\" \"User Commands\"\n.SH NAME\ntokenworks\\-");
    man_text(cmd->name, out);
    fprintf(out, " \\- ");
    man_text(cmd->summary, out);
    fprintf(out, "\n.SH SYNOPSIS\n.B tokenworks %s\n", cmd->name);
    man_text(cmd->usage, out);
    if (cmd->description) {
        fprintf(out, "\n.SH DESCRIPTION\n.nf\n");
        man_text(cmd->description, out);
        fprintf(out, "\n.fi");
    }
    if (cmd->rows->name)
        fprintf(out, "\n.SH OPTIONS");
    for (const struct opt *o = cmd->rows; o->name; o++) {
        fprintf(out, "\n.TP\n.B ");
        if (o->letter)
            fprintf(out, "\\-%c, ", o->letter);
        fprintf(out, "\\-\\-");
        man_text(o->name, out);
        if (o->arg)
            fprintf(out, " \\fI%s\\fP", o->arg);
        fprintf(out, "\n");
        man_text(o->help, out);
    }
    fprintf(out, "\n.SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage.\n");
}
