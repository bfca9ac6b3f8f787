/* yaml -- the one door to libyaml: hostile YAML to json_t, with the line of every node kept for errors.
 *
 * What is read is YAML 1.2's core schema: null ~, true false, decimal 0x 0o integers, floats; everything
 * else, and everything quoted, is a string (so `no` and `2026-08` are strings). One document. Refused, each
 * with "name:line: sentence": duplicate keys, keys that are not scalars, anchors and aliases, tags,
 * .inf and .nan, numbers that do not fit, and more bytes, nodes or depth than the limits below. */
#ifndef BASE_YAML_H
#define BASE_YAML_H
#include "base/err.h"

#include <jansson.h>
#include <stddef.h>

enum { YAML_BYTES_MAX = 4 << 20, YAML_NODES_MAX = 200000, YAML_DEPTH_MAX = 64, YAML_NAME_MAX = 200 };

struct yaml_mark;
struct yaml_doc {
    json_t *root;             /* owned; never NULL after yaml_parse succeeded (an empty file is null) */
    char name[YAML_NAME_MAX]; /* what errors call the file */
    struct yaml_mark *marks;  /* hash table of (container, key) -> line */
    size_t marks_count, marks_cap;
};

/* An empty doc afterwards on failure; release is then harmless. */
enum err_code yaml_parse(const char *text, size_t n, const char *name, struct yaml_doc *out, struct err *e);
enum err_code yaml_parse_file(const char *path, struct yaml_doc *out, struct err *e);
void yaml_doc_release(struct yaml_doc *d);

/* The line (from 1) of the value that `key` has in `object`, of `array`[index], or where a container
 * opens; 0 when it did not come from this document. */
int yaml_line(const struct yaml_doc *d, const json_t *object, const char *key);
int yaml_line_at(const struct yaml_doc *d, const json_t *array, size_t index);
int yaml_line_of(const struct yaml_doc *d, const json_t *container);

/* ERR_INVALID with the line of the first key of `object` that is not in `known` (ended by NULL). */
enum err_code yaml_refuse_unknown(const struct yaml_doc *d, const json_t *object, const char *const *known,
                                  struct err *e);
/* err_set with "name:line: " in front. */
enum err_code yaml_err(const struct yaml_doc *d, int line, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
#endif
