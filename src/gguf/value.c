/* value -- metadata values: what kind, how large, and the sentences when a key is not what it must be. */
#include "gguf/file.h"

#include "base/mem.h"

#include <string.h>

enum { STRING_MAX = 64 << 20 }; /* bytes of a string handed out as a copy */

size_t gguf_kind_bytes(enum gguf_kind kind)
{
    switch (kind) {
    case GGUF_U8: case GGUF_I8: case GGUF_BOOL: return 1;
    case GGUF_U16: case GGUF_I16: return 2;
    case GGUF_U32: case GGUF_I32: case GGUF_F32: return 4;
    case GGUF_U64: case GGUF_I64: case GGUF_F64: return 8;
    case GGUF_STRING: case GGUF_ARRAY: break;
    }
    return 0;
}

void gguf_value_release(struct gguf_value *v)
{
    for (size_t i = 0; v->nested && i < v->count; i++)
        gguf_value_release(&v->nested[i]); /* as deep as GGUF_ARRAY_DEPTH_MAX */
    mem_free(v->nested);
    mem_free(v->strings);
}

static uint64_t load_le(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

bool gguf_item_int(enum gguf_kind kind, const unsigned char *p, int64_t *out)
{
    uint64_t u = load_le(p, gguf_kind_bytes(kind));
    switch (kind) {
    case GGUF_U8: case GGUF_U16: case GGUF_U32: *out = (int64_t)u; return true;
    case GGUF_I8: *out = (int8_t)u; return true;
    case GGUF_I16: *out = (int16_t)u; return true;
    case GGUF_I32: *out = (int32_t)u; return true;
    case GGUF_I64: *out = (int64_t)u; return true;
    case GGUF_U64:
        if (u > INT64_MAX)
            return false;
        *out = (int64_t)u;
        return true;
    default: return false;
    }
}

bool gguf_item_double(enum gguf_kind kind, const unsigned char *p, double *out)
{
    if (kind == GGUF_F32) {
        uint32_t bits = (uint32_t)load_le(p, 4);
        float f;
        memcpy(&f, &bits, sizeof f);
        *out = (double)f;
        return true;
    }
    if (kind == GGUF_F64) {
        uint64_t bits = load_le(p, 8);
        memcpy(out, &bits, sizeof *out);
        return true;
    }
    if (kind == GGUF_U64) {
        *out = (double)load_le(p, 8);
        return true;
    }
    int64_t i;
    if (!gguf_item_int(kind, p, &i))
        return false;
    *out = (double)i;
    return true;
}

enum gguf_kind gguf_value_kind(const struct gguf_value *v)
{
    return v->kind;
}

bool gguf_value_int(const struct gguf_value *v, int64_t *out)
{
    return v && gguf_kind_bytes(v->kind) && gguf_item_int(v->kind, v->raw, out);
}

bool gguf_value_bool(const struct gguf_value *v, bool *out)
{
    int64_t i;
    if (v && v->kind == GGUF_BOOL) {
        *out = v->raw[0] != 0;
        return true;
    }
    if (!gguf_value_int(v, &i))
        return false;
    *out = i != 0;
    return true;
}

bool gguf_value_double(const struct gguf_value *v, double *out)
{
    return v && gguf_kind_bytes(v->kind) && gguf_item_double(v->kind, v->raw, out);
}

bool gguf_value_string(const struct gguf_value *v, struct gguf_str *out)
{
    if (!v || v->kind != GGUF_STRING)
        return false;
    *out = v->str;
    return true;
}

bool gguf_value_array(const struct gguf_value *v, enum gguf_kind *kind, size_t *count)
{
    if (!v || v->kind != GGUF_ARRAY)
        return false;
    *kind = v->item_kind;
    *count = v->count;
    return true;
}

static const unsigned char *fixed_item(const struct gguf_value *v, size_t i)
{
    size_t n = v && v->kind == GGUF_ARRAY && i < v->count ? gguf_kind_bytes(v->item_kind) : 0;
    return n ? v->items + i * n : NULL;
}

bool gguf_array_int(const struct gguf_value *v, size_t i, int64_t *out)
{
    const unsigned char *p = fixed_item(v, i);
    if (p && v->item_kind == GGUF_BOOL) {
        *out = p[0] != 0;
        return true;
    }
    return p && gguf_item_int(v->item_kind, p, out);
}

bool gguf_array_double(const struct gguf_value *v, size_t i, double *out)
{
    const unsigned char *p = fixed_item(v, i);
    return p && gguf_item_double(v->item_kind, p, out);
}

bool gguf_array_string(const struct gguf_value *v, size_t i, struct gguf_str *out)
{
    if (!v || v->kind != GGUF_ARRAY || v->item_kind != GGUF_STRING || i >= v->count)
        return false;
    *out = v->strings[i];
    return true;
}

/* ---- keys by name, with the sentence */

static enum err_code missing(const struct gguf_file *f, const char *key, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "%s: key '%s' is missing", f->name, key);
}

enum err_code gguf_get_int(const struct gguf_file *f, const char *key, int64_t min, int64_t max, int64_t *out,
                           struct err *e)
{
    const struct gguf_value *v = gguf_find(f, key);
    int64_t i;
    if (!v)
        return missing(f, key, e);
    if (!gguf_value_int(v, &i))
        return err_set(e, ERR_CORRUPT, "%s: key '%s' is not an integer that fits 64 bits", f->name, key);
    if (i < min || i > max)
        return err_set(e, ERR_CORRUPT, "%s: key '%s' is %lld, outside %lld..%lld", f->name, key, (long long)i,
                       (long long)min, (long long)max);
    *out = i;
    return ERR_OK;
}

enum err_code gguf_get_int_or(const struct gguf_file *f, const char *key, int64_t min, int64_t max,
                              int64_t fallback, int64_t *out, struct err *e)
{
    if (!gguf_find(f, key)) {
        *out = fallback;
        return ERR_OK;
    }
    return gguf_get_int(f, key, min, max, out, e);
}

enum err_code gguf_get_double_or(const struct gguf_file *f, const char *key, double fallback, double *out,
                                 struct err *e)
{
    const struct gguf_value *v = gguf_find(f, key);
    double d = fallback;
    if (v && !gguf_value_double(v, &d))
        return err_set(e, ERR_CORRUPT, "%s: key '%s' is not a number", f->name, key);
    if (v && !(d - d == 0)) /* infinities and NaN */
        return err_set(e, ERR_CORRUPT, "%s: key '%s' is not a finite number", f->name, key);
    *out = d;
    return ERR_OK;
}

enum err_code gguf_get_bool_or(const struct gguf_file *f, const char *key, bool fallback, bool *out, struct err *e)
{
    const struct gguf_value *v = gguf_find(f, key);
    bool b = fallback;
    if (v && !gguf_value_bool(v, &b))
        return err_set(e, ERR_CORRUPT, "%s: key '%s' is not true or false", f->name, key);
    *out = b;
    return ERR_OK;
}

enum err_code gguf_get_string_or_null(const struct gguf_file *f, const char *key, char **out, struct err *e)
{
    const struct gguf_value *v = gguf_find(f, key);
    struct gguf_str s = { "", 0 };
    if (v && !gguf_value_string(v, &s))
        return err_set(e, ERR_CORRUPT, "%s: key '%s' is not a string", f->name, key);
    if (s.len > STRING_MAX)
        return err_set(e, ERR_LIMIT, "%s: the string of key '%s' is longer than %d bytes", f->name, key, STRING_MAX);
    if (v && memchr(s.data, '\0', s.len))
        return err_set(e, ERR_CORRUPT, "%s: the string of key '%s' holds a NUL byte", f->name, key);
    *out = v ? mem_strndup(s.data, s.len) : NULL;
    return ERR_OK;
}
