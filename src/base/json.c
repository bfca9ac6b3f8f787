/* json -- see json.h. */
#include "base/json.h"

#include "base/file.h"

#include <string.h>

enum { DECODE_FLAGS = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL };

json_t *jsonx_parse(const char *text, size_t n, struct err *e)
{
    json_error_t je;
    json_t *v = json_loadb(text, n, DECODE_FLAGS, &je);
    if (!v)
        err_set(e, ERR_INVALID, "invalid JSON at line %d, column %d: %s", je.line, je.column, je.text);
    return v;
}

json_t *jsonx_parse_file(const char *path, size_t max, struct err *e)
{
    struct buf b = { 0 };
    json_t *v = NULL;
    if (!file_read(path, max, &b, e)) {
        v = jsonx_parse(buf_str(&b), b.len, e);
        if (!v)
            err_prefix(e, "%s", path);
    }
    buf_release(&b);
    return v;
}

static int append(const char *data, size_t n, void *out)
{
    return buf_append(out, data, n) ? 0 : -1;
}

void jsonx_dump(const json_t *v, struct buf *out)
{
    json_dump_callback(v, append, out, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* The length of the valid UTF-8 character at s (n bytes left), or 0. RFC 3629, table of section 4. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xC2 && s[0] <= 0xDF ? 2 : (s[0] & 0xF0) == 0xE0 ? 3 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4 : 0;
    if (!len || n < len)
        return 0;
    unsigned lo = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    unsigned hi = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

void jsonx_quote(const char *s, size_t n, struct buf *out)
{
    buf_putc(out, '"');
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        size_t len = utf8_len((const unsigned char *)s + i, n - i);
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_puts(out, "\\n");
        else if (c < 0x20)
            buf_printf(out, "\\u%04x", c);
        else if (!len)
            buf_puts(out, "\xEF\xBF\xBD");
        else
            buf_append(out, s + i, len);
        i += len ? len : 1;
    }
    buf_putc(out, '"');
}

static const json_t *field(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_null(v) ? NULL : v;
}

enum err_code jsonx_get_bool(const json_t *obj, const char *key, bool *out, struct err *e)
{
    const json_t *v = field(obj, key);
    if (!v)
        return ERR_OK;
    if (!json_is_boolean(v))
        return err_set(e, ERR_INVALID, "'%s' must be true or false", key);
    *out = json_is_true(v);
    return ERR_OK;
}

enum err_code jsonx_get_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out,
                            struct err *e)
{
    const json_t *v = field(obj, key);
    if (!v)
        return ERR_OK;
    if (!json_is_integer(v))
        return err_set(e, ERR_INVALID, "'%s' must be a whole number", key);
    int64_t n = json_integer_value(v);
    if (n < min || n > max)
        return err_set(e, ERR_INVALID, "'%s' must be between %lld and %lld, not %lld", key, (long long)min,
                       (long long)max, (long long)n);
    *out = n;
    return ERR_OK;
}

enum err_code jsonx_get_double(const json_t *obj, const char *key, double min, double max, double *out,
                               struct err *e)
{
    const json_t *v = field(obj, key);
    if (!v)
        return ERR_OK;
    if (!json_is_number(v))
        return err_set(e, ERR_INVALID, "'%s' must be a number", key);
    double n = json_number_value(v);
    if (!(n >= min && n <= max))
        return err_set(e, ERR_INVALID, "'%s' must be between %g and %g, not %g", key, min, max, n);
    *out = n;
    return ERR_OK;
}

enum err_code jsonx_get_string(const json_t *obj, const char *key, const char **out, struct err *e)
{
    const json_t *v = field(obj, key);
    if (!v)
        return ERR_OK;
    if (!json_is_string(v))
        return err_set(e, ERR_INVALID, "'%s' must be a string", key);
    *out = json_string_value(v);
    return ERR_OK;
}
