/* parse -- the header of a GGUF file, every byte checked once, then believed.
 *
 * Layout (little-endian): "GGUF", u32 version, u64 tensors, u64 keys; keys as {string name, u32 kind, value};
 * tensors as {string name, u32 dims, u64 ne[dims], u32 type, u64 offset}; padding; tensor data. A string is
 * {u64 length, bytes}; an array {u32 kind, u64 count, items}. Source: the GGUF page of the ggml project.
 * Counts are bounded by what the remaining bytes could hold before anything is allocated for them. */
#include "gguf/file.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    KEY_BYTES_MIN = 8 + 4 + 1,         /* name length, kind, smallest value */
    TENSOR_BYTES_MIN = 8 + 4 + 8 + 4 + 8,
    VERSION_MIN = 2, VERSION_MAX = 3,
};

struct cursor {
    struct gguf_file *f;
    size_t at;
};

static enum err_code cut(const struct cursor *c, const char *what, struct err *e)
{
    return err_set(e, ERR_CORRUPT, "the file ends inside %s (byte %zu of %zu); fetch it again", what, c->at,
                   c->f->bytes);
}

static size_t left(const struct cursor *c)
{
    return c->f->bytes - c->at;
}

static bool take(struct cursor *c, size_t n, const unsigned char **out)
{
    if (n > left(c))
        return false;
    *out = c->f->data + c->at;
    c->at += n;
    return true;
}

static bool take_u32(struct cursor *c, uint32_t *out)
{
    const unsigned char *p;
    if (!take(c, 4, &p))
        return false;
    *out = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return true;
}

static bool take_u64(struct cursor *c, uint64_t *out)
{
    uint32_t lo, hi;
    if (left(c) < 8)
        return false;
    take_u32(c, &lo);
    take_u32(c, &hi);
    *out = (uint64_t)hi << 32 | lo;
    return true;
}

static bool take_str(struct cursor *c, struct gguf_str *out)
{
    uint64_t n;
    const unsigned char *p;
    if (!take_u64(c, &n) || n > left(c) || !take(c, (size_t)n, &p))
        return false;
    *out = (struct gguf_str){ (const char *)p, (size_t)n };
    return true;
}

static bool has_control(struct gguf_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f)
            return true;
    return false;
}

/* Names of keys and tensors: short, not empty, fit to be shown and used as C strings. */
static enum err_code take_name(struct cursor *c, const char *what, struct gguf_str *out, struct err *e)
{
    if (!take_str(c, out))
        return cut(c, what, e);
    if (out->len == 0 || out->len >= GGUF_NAME_MAX)
        return err_set(e, ERR_CORRUPT, "%s is %zu bytes long, not 1..%d", what, out->len, GGUF_NAME_MAX - 1);
    if (has_control(*out))
        return err_set(e, ERR_CORRUPT, "%s holds a control character", what);
    return ERR_OK;
}

/* ---- values */

static enum err_code take_value(struct cursor *c, uint32_t kind, int depth, struct gguf_value *v, struct err *e);

static enum err_code take_strings(struct cursor *c, struct gguf_value *v, struct err *e)
{
    struct gguf_file *f = c->f;
    if (v->count > left(c) / 8)
        return cut(c, "an array of strings", e);
    if (v->count > GGUF_STRINGS_MAX - f->strings_indexed)
        return err_set(e, ERR_LIMIT, "the arrays hold more than %d strings", GGUF_STRINGS_MAX);
    f->strings_indexed += v->count;
    v->strings = mem_new(v->count, sizeof *v->strings);
    for (size_t i = 0; i < v->count; i++)
        if (!take_str(c, &v->strings[i]))
            return cut(c, "an array of strings", e);
    return ERR_OK;
}

static enum err_code take_nested(struct cursor *c, int depth, struct gguf_value *v, struct err *e)
{
    struct gguf_file *f = c->f;
    if (v->count > left(c) / (4 + 8))
        return cut(c, "an array of arrays", e);
    if (v->count > GGUF_NESTED_MAX - f->nested_made)
        return err_set(e, ERR_LIMIT, "more than %d arrays inside arrays", GGUF_NESTED_MAX);
    f->nested_made += v->count;
    v->nested = mem_new(v->count, sizeof *v->nested);
    for (size_t i = 0; i < v->count; i++) {
        enum err_code code = take_value(c, GGUF_ARRAY, depth + 1, &v->nested[i], e);
        if (code)
            return code;
    }
    return ERR_OK;
}

static bool bools_ok(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] > 1)
            return false;
    return true;
}

static enum err_code take_array(struct cursor *c, int depth, struct gguf_value *v, struct err *e)
{
    uint32_t kind;
    uint64_t count;
    if (depth > GGUF_ARRAY_DEPTH_MAX)
        return err_set(e, ERR_LIMIT, "arrays nest deeper than %d", GGUF_ARRAY_DEPTH_MAX);
    if (!take_u32(c, &kind) || !take_u64(c, &count))
        return cut(c, "an array", e);
    if (kind > GGUF_F64)
        return err_set(e, ERR_CORRUPT, "an array of unknown kind %u", kind);
    if (count > left(c)) /* every item takes a byte or more */
        return cut(c, "an array", e);
    v->item_kind = (enum gguf_kind)kind;
    v->count = (size_t)count;
    if (kind == GGUF_STRING)
        return take_strings(c, v, e);
    if (kind == GGUF_ARRAY)
        return take_nested(c, depth, v, e);
    size_t bytes;
    if (!mem_mul_ok(v->count, gguf_kind_bytes(v->item_kind), &bytes) || !take(c, bytes, &v->items))
        return cut(c, "an array", e);
    if (kind == GGUF_BOOL && !bools_ok(v->items, v->count))
        return err_set(e, ERR_CORRUPT, "an array of truth values holds a byte other than 0 and 1");
    return ERR_OK;
}

static enum err_code take_value(struct cursor *c, uint32_t kind, int depth, struct gguf_value *v, struct err *e)
{
    enum err_code code = ERR_OK;
    const unsigned char *p;
    if (kind > GGUF_F64)
        return err_set(e, ERR_CORRUPT, "a value of unknown kind %u", kind);
    v->kind = (enum gguf_kind)kind;
    v->raw = c->f->data + c->at;
    size_t start = c->at;
    if (kind == GGUF_STRING)
        code = take_str(c, &v->str) ? ERR_OK : cut(c, "a string", e);
    else if (kind == GGUF_ARRAY)
        code = take_array(c, depth, v, e);
    else if (!take(c, gguf_kind_bytes(v->kind), &p))
        code = cut(c, "a value", e);
    else if (kind == GGUF_BOOL && !bools_ok(p, 1))
        code = err_set(e, ERR_CORRUPT, "a truth value is the byte %u", p[0]);
    v->raw_bytes = c->at - start;
    return code;
}

static enum err_code take_keys(struct cursor *c, uint64_t count, struct err *e)
{
    struct gguf_file *f = c->f;
    if (count > GGUF_KEYS_MAX)
        return err_set(e, ERR_LIMIT, "%llu keys; at most %d are read", (unsigned long long)count, GGUF_KEYS_MAX);
    if (count > left(c) / KEY_BYTES_MIN)
        return cut(c, "the keys", e);
    f->keys = mem_new((size_t)count, sizeof *f->keys);
    for (uint64_t i = 0; i < count; i++) {
        struct gguf_key *k = &f->keys[i];
        uint32_t kind;
        enum err_code code = take_name(c, "the name of a key", &k->name, e);
        if (code)
            return code;
        if (!take_u32(c, &kind))
            return cut(c, "a key", e);
        f->key_count++; /* from here on gguf_close releases it */
        code = take_value(c, kind, 1, &k->value, e);
        if (code) {
            err_prefix(e, "key '%.*s'", (int)k->name.len, k->name.data);
            return code;
        }
    }
    return ERR_OK;
}

/* ---- tensors */

/* Types of the format that the kernels do not know, for the message. */
static const char *foreign_type_name(uint32_t type)
{
    static const struct {
        uint32_t number;
        const char *name;
    } names[] = {
        { 9, "Q8_1" }, { 15, "Q8_K" }, { 16, "IQ2_XXS" }, { 17, "IQ2_XS" }, { 18, "IQ3_XXS" }, { 19, "IQ1_S" },
        { 21, "IQ3_S" }, { 22, "IQ2_S" }, { 24, "I8" }, { 25, "I16" }, { 26, "I32" }, { 27, "I64" }, { 28, "F64" },
        { 29, "IQ1_M" }, { 34, "TQ1_0" }, { 35, "TQ2_0" }, { 40, "NVFP4" },
    };
    for (size_t i = 0; i < MEM_COUNT(names); i++)
        if (names[i].number == type)
            return names[i].name;
    return "unknown";
}

/* Shape and type of t -> its bytes; every product is checked. */
static enum err_code measure(struct gguf_tensor *t, uint32_t type, struct err *e)
{
    const struct kern_type_info *info = type < KERN_TYPE_LIMIT ? kern_type_info((int)type) : NULL;
    int len = (int)t->name.len;
    if (!info)
        return err_set(e, ERR_UNSUPPORTED, "tensor '%.*s' is of type %u (%s), which is not supported", len,
                       t->name.data, type, foreign_type_name(type));
    size_t values = 1;
    for (int i = 0; i < GGUF_DIMS_MAX; i++)
        if (t->ne[i] == 0 || t->ne[i] > INT32_MAX || !mem_mul_ok(values, (size_t)t->ne[i], &values))
            return err_set(e, ERR_CORRUPT, "tensor '%.*s' has an impossible dimension", len, t->name.data);
    if (t->ne[0] % (uint64_t)info->block_len)
        return err_set(e, ERR_CORRUPT, "tensor '%.*s': rows of %llu values do not divide into %s blocks of %d", len,
                       t->name.data, (unsigned long long)t->ne[0], info->name, info->block_len);
    t->type = (enum kern_type)type;
    if (!mem_mul_ok(kern_row_bytes(t->type, (size_t)t->ne[0]), values / (size_t)t->ne[0], &t->bytes))
        return err_set(e, ERR_CORRUPT, "tensor '%.*s' is larger than memory can be", len, t->name.data);
    return ERR_OK;
}

static enum err_code take_tensor(struct cursor *c, struct gguf_tensor *t, struct err *e)
{
    uint32_t dims, type;
    enum err_code code = take_name(c, "the name of a tensor", &t->name, e);
    if (code)
        return code;
    if (!take_u32(c, &dims))
        return cut(c, "a tensor's description", e);
    if (dims < 1 || dims > GGUF_DIMS_MAX)
        return err_set(e, ERR_CORRUPT, "tensor '%.*s' has %u dimensions, not 1..%d", (int)t->name.len, t->name.data,
                       dims, GGUF_DIMS_MAX);
    t->dims = (int)dims;
    for (int i = 0; i < GGUF_DIMS_MAX; i++)
        t->ne[i] = 1;
    for (uint32_t i = 0; i < dims; i++)
        if (!take_u64(c, &t->ne[i]))
            return cut(c, "a tensor's description", e);
    if (!take_u32(c, &type) || !take_u64(c, &t->offset)) /* made absolute by place_tensors */
        return cut(c, "a tensor's description", e);
    return measure(t, type, e);
}

static enum err_code take_tensors(struct cursor *c, uint64_t count, struct err *e)
{
    struct gguf_file *f = c->f;
    if (count > GGUF_TENSORS_MAX)
        return err_set(e, ERR_LIMIT, "%llu tensors; at most %d are read", (unsigned long long)count,
                       GGUF_TENSORS_MAX);
    if (count > left(c) / TENSOR_BYTES_MIN)
        return cut(c, "the tensor table", e);
    f->tensors = mem_new((size_t)count, sizeof *f->tensors);
    f->tensor_count = (int)count;
    for (int i = 0; i < f->tensor_count; i++) {
        enum err_code code = take_tensor(c, &f->tensors[i], e);
        if (code)
            return code;
    }
    return ERR_OK;
}

/* Offsets are from the start of the data; afterwards from the start of the file, and inside it. */
static enum err_code place_tensors(struct gguf_file *f, size_t header_end, struct err *e)
{
    if (!mem_add_ok(header_end, f->alignment - 1, &f->data_start))
        return err_set(e, ERR_CORRUPT, "the header is larger than memory can be");
    f->data_start -= f->data_start % f->alignment;
    if (f->tensor_count && f->data_start > f->bytes)
        return err_set(e, ERR_CORRUPT, "the file ends before its tensor data; fetch it again");
    for (int i = 0; i < f->tensor_count; i++) {
        struct gguf_tensor *t = &f->tensors[i];
        size_t room = f->bytes - f->data_start;
        if (t->offset % f->alignment)
            return err_set(e, ERR_CORRUPT, "tensor '%.*s' does not lie on a multiple of %zu bytes", (int)t->name.len,
                           t->name.data, f->alignment);
        if (t->offset > room || t->bytes > room - t->offset)
            return err_set(e, ERR_CORRUPT, "tensor '%.*s' reaches past the end of the file; fetch it again",
                           (int)t->name.len, t->name.data);
        t->offset += f->data_start;
        t->data = f->data + t->offset;
    }
    return ERR_OK;
}

/* ---- order by name (look-up, duplicates) and by place (overlap) */

static int by_key(const void *a, const void *b, void *arg)
{
    const struct gguf_file *f = arg;
    return gguf_str_compare(f->keys[*(const int *)a].name, f->keys[*(const int *)b].name);
}

static int by_tensor(const void *a, const void *b, void *arg)
{
    const struct gguf_file *f = arg;
    return gguf_str_compare(f->tensors[*(const int *)a].name, f->tensors[*(const int *)b].name);
}

static int by_offset(const void *a, const void *b, void *arg)
{
    const struct gguf_file *f = arg;
    uint64_t x = f->tensors[*(const int *)a].offset, y = f->tensors[*(const int *)b].offset;
    return x < y ? -1 : x > y;
}

static int *sorted(struct gguf_file *f, int n, int (*compare)(const void *, const void *, void *))
{
    int *order = mem_new((size_t)n, sizeof *order);
    for (int i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof *order, compare, f);
    return order;
}

static enum err_code index_names(struct gguf_file *f, struct err *e)
{
    f->keys_sorted = sorted(f, f->key_count, by_key);
    for (int i = 1; i < f->key_count; i++)
        if (!by_key(&f->keys_sorted[i - 1], &f->keys_sorted[i], f)) {
            struct gguf_str s = f->keys[f->keys_sorted[i]].name;
            return err_set(e, ERR_CORRUPT, "key '%.*s' stands twice", (int)s.len, s.data);
        }
    f->tensors_sorted = sorted(f, f->tensor_count, by_tensor);
    for (int i = 1; i < f->tensor_count; i++)
        if (!by_tensor(&f->tensors_sorted[i - 1], &f->tensors_sorted[i], f)) {
            struct gguf_str s = f->tensors[f->tensors_sorted[i]].name;
            return err_set(e, ERR_CORRUPT, "tensor '%.*s' stands twice", (int)s.len, s.data);
        }
    return ERR_OK;
}

static enum err_code refuse_overlap(struct gguf_file *f, struct err *e)
{
    enum err_code code = ERR_OK;
    int *order = sorted(f, f->tensor_count, by_offset);
    for (int i = 1; i < f->tensor_count && !code; i++) {
        const struct gguf_tensor *a = &f->tensors[order[i - 1]], *b = &f->tensors[order[i]];
        if (a->offset + a->bytes > b->offset)
            code = err_set(e, ERR_CORRUPT, "tensors '%.*s' and '%.*s' overlap", (int)a->name.len, a->name.data,
                           (int)b->name.len, b->name.data);
    }
    mem_free(order);
    return code;
}

/* ---- the whole */

static enum err_code take_magic(struct cursor *c, struct err *e)
{
    const unsigned char *p;
    uint32_t version;
    if (!take(c, 4, &p) || memcmp(p, "GGUF", 4))
        return err_set(e, ERR_CORRUPT, "not a GGUF file (it does not begin with the letters GGUF)");
    if (!take_u32(c, &version))
        return cut(c, "the version", e);
    if (version && !(version & 0xffff))
        return err_set(e, ERR_UNSUPPORTED, "a big-endian GGUF file; convert it to little-endian");
    if (version < VERSION_MIN || version > VERSION_MAX)
        return err_set(e, ERR_UNSUPPORTED, "GGUF version %u; versions %d and %d are read", version, VERSION_MIN,
                       VERSION_MAX);
    c->f->version = (int)version;
    return ERR_OK;
}

static enum err_code read_alignment(struct gguf_file *f, struct err *e)
{
    const struct gguf_value *v = gguf_find(f, "general.alignment");
    int64_t a = GGUF_ALIGN_DEFAULT;
    if (v && !gguf_value_int(v, &a))
        return err_set(e, ERR_CORRUPT, "key 'general.alignment' is not an integer");
    if (a < 8 || a > GGUF_ALIGN_MAX || (a & (a - 1)))
        return err_set(e, ERR_CORRUPT, "key 'general.alignment' is %lld, not a power of two within 8..%d", (long long)a,
                       GGUF_ALIGN_MAX);
    f->alignment = (size_t)a;
    return ERR_OK;
}

enum err_code gguf_parse(struct gguf_file *f, struct err *e)
{
    struct cursor c = { f, 0 };
    uint64_t tensors, keys;
    enum err_code code = take_magic(&c, e);
    if (code)
        return code;
    if (!take_u64(&c, &tensors) || !take_u64(&c, &keys))
        return cut(&c, "the counts", e);
    if ((code = take_keys(&c, keys, e)) || (code = take_tensors(&c, tensors, e)) || (code = index_names(f, e)) ||
        (code = read_alignment(f, e)) || (code = place_tensors(f, c.at, e)))
        return code;
    return refuse_overlap(f, e);
}
