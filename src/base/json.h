/* json -- the one door to jansson: parse hostile text with limits, read fields with errors that name them.
 *
 * json_t and the json_* functions of jansson may be used by whoever includes this. References are
 * counted as jansson says: "borrowed" below means do not decref. */
#ifndef BASE_JSON_H
#define BASE_JSON_H
#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A new reference, or NULL with a sentence that gives line and column. Any top-level value; duplicate
 * keys are refused; \u0000 is allowed in strings (json_string_length tells). */
json_t *jsonx_parse(const char *text, size_t n, struct err *e);
json_t *jsonx_parse_file(const char *path, size_t max, struct err *e);
/* Compact text appended to out, keys in insertion order, slashes bare, UTF-8 as it is. */
void jsonx_dump(const json_t *v, struct buf *out);
/* Appends s as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void jsonx_quote(const char *s, size_t n, struct buf *out);

/* Optional fields of an object: absent or null leaves *out alone and returns ERR_OK; a wrong type or a
 * value out of [min, max] is ERR_INVALID naming the key. */
enum err_code jsonx_get_bool(const json_t *obj, const char *key, bool *out, struct err *e);
enum err_code jsonx_get_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out,
                            struct err *e);
enum err_code jsonx_get_double(const json_t *obj, const char *key, double min, double max, double *out,
                               struct err *e);
enum err_code jsonx_get_string(const json_t *obj, const char *key, const char **out, struct err *e); /* borrowed */
#endif
