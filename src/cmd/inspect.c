/* inspect -- tokenworks inspect: what is in a model file, what it needs, and whether that fits this machine. */
#include "cmd/cmd.h"
#include "cmd/inspect_ranks.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/pool.h"
#include "lib/runtime.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_DEFAULT = 512, ITEMS_SHOWN = 4, TEXT_SHOWN = 60 };

struct inspect_options {
    bool keys, tensors, json;
    int64_t ctx, kv_memory, rows, ranks;
    const char *kv_type;
};

static const struct opt option_rows[] = {
    { "keys", 'k', OPT_FLAG, NULL, "list the metadata", OPT_FIELD(struct inspect_options, keys), 0, 0 },
    { "tensors", 't', OPT_FLAG, NULL, "list the tensors", OPT_FIELD(struct inspect_options, tensors), 0, 0 },
    { "ctx", 0, OPT_INT, "N", "plan for sequences of N positions (default: what the model was trained for)",
      OPT_FIELD(struct inspect_options, ctx), 0, 1 << 26 },
    { "kv-memory", 0, OPT_SIZE, "SIZE", "plan for so much memory for keys and values (default: one sequence)",
      OPT_FIELD(struct inspect_options, kv_memory), 0, 0 },
    { "kv-type", 0, OPT_STRING, "TYPE", "how keys and values are stored: F16 (default), BF16, F32 or Q8_0",
      OPT_FIELD(struct inspect_options, kv_type), 0, 0 },
    { "rows", 0, OPT_INT, "N", "tokens in a step (default 512)", OPT_FIELD(struct inspect_options, rows), 1, 1 << 16 },
    { "ranks", 0, OPT_INT, "N", "and what each of N ranks would need (docs/split.md)",
      OPT_FIELD(struct inspect_options, ranks), 0, 64 },
    { "json", 'j', OPT_FLAG, NULL, "print an object instead of text", OPT_FIELD(struct inspect_options, json), 0, 0 },
    { 0 },
};
const struct opt_command cmd_inspect_spec = {
    "inspect", "[options] FILE", "what is in a model file, will it fit, what will it need",
    "Reads the header only. Work buffers are counted for as many threads as this process may run on.", option_rows,
};

/* What the file would take when served. */
struct needs {
    struct model_needs model;
    size_t kv_bytes;       /* keys and values planned for */
    size_t host_bytes;     /* the tokenizer and the program itself */
    int64_t kv_tokens;     /* positions that fit them */
    int64_t total, available;
    int ctx, logit_rows;
    bool ok;               /* the model can be served at all */
    struct err why_not;
};

static int64_t memory_available(void)
{
    struct buf b = { 0 };
    int64_t kib = 0;
    if (!file_read("/proc/meminfo", 1 << 16, &b, NULL)) {
        const char *p = strstr(buf_str(&b), "MemAvailable:");
        if (p)
            kib = strtoll(p + 13, NULL, 10);
    }
    buf_release(&b);
    return kib * 1024;
}

static void find_needs(const struct gguf_file *f, const struct inspect_options *o, enum kern_type kv_type,
                       struct needs *n)
{
    struct model_load_options lo = { .kv_type = kv_type, .ctx = (int)o->ctx };
    struct gguf_str arch = { "", 0 };
    char key[GGUF_NAME_MAX];
    int64_t ctx = o->ctx;
    *n = (struct needs){ .available = memory_available() };
    struct runtime_options r = runtime_defaults();
    n->logit_rows = sched_logit_rows(r.running_max, r.draft_rows);
    n->ok = !model_measure(f, &lo, (int)o->rows, n->logit_rows, &n->model, &n->why_not);
    if (!n->ok)
        return;
    gguf_value_string(gguf_find(f, "general.architecture"), &arch);
    snprintf(key, sizeof key, "%.*s.context_length", (int)(arch.len < 64 ? arch.len : 64), arch.data);
    if (!ctx)
        gguf_value_int(gguf_find(f, key), &ctx);
    n->ctx = (int)ctx;
    size_t pages = ((size_t)ctx + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS;
    if (o->kv_memory)
        pages = (size_t)o->kv_memory / n->model.kv_page_bytes;
    n->kv_bytes = pages * n->model.kv_page_bytes;
    n->kv_tokens = (int64_t)pages * KERN_PAGE_TOKENS;
    n->host_bytes = runtime_host_bytes(f);
    n->total = (int64_t)(n->model.weight_bytes + n->kv_bytes + n->model.work_bytes + n->host_bytes);
}

/* ---- values as text */

static void put_size(struct buf *b, double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    size_t u = 0;
    for (; bytes >= 1024 && u + 1 < MEM_COUNT(units); u++)
        bytes /= 1024;
    buf_printf(b, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
}

static void put_string(struct buf *b, struct gguf_str s)
{
    size_t n = s.len < TEXT_SHOWN ? s.len : TEXT_SHOWN;
    jsonx_quote(s.data, n, b); /* control characters of a hostile file stay off the terminal */
    if (n < s.len)
        buf_printf(b, "... (%zu bytes)", s.len);
}

static void put_number(struct buf *b, enum gguf_kind kind, bool is_int, int64_t i, double d)
{
    if (kind == GGUF_F32 || kind == GGUF_F64)
        buf_printf(b, "%.9g", d);
    else if (is_int)
        buf_printf(b, "%lld", (long long)i);
    else
        buf_printf(b, "%.20g", d);
}

static void put_array(struct buf *b, const struct gguf_value *v)
{
    enum gguf_kind kind;
    size_t count;
    gguf_value_array(v, &kind, &count);
    buf_puts(b, "[");
    for (size_t k = 0; k < count && k < ITEMS_SHOWN; k++) {
        struct gguf_str s;
        int64_t i = 0;
        double d = 0;
        bool is_int = gguf_array_int(v, k, &i);
        buf_puts(b, k ? ", " : "");
        if (gguf_array_string(v, k, &s))
            put_string(b, s);
        else if (is_int || gguf_array_double(v, k, &d))
            put_number(b, kind, is_int, i, is_int ? 0 : d);
        else
            buf_puts(b, "[...]");
    }
    buf_printf(b, count > ITEMS_SHOWN ? ", ... %zu in all]" : "]", count);
}

static void put_value(struct buf *b, const struct gguf_value *v)
{
    struct gguf_str s;
    int64_t i = 0;
    double d = 0;
    bool t;
    switch (gguf_value_kind(v)) {
    case GGUF_STRING:
        gguf_value_string(v, &s);
        put_string(b, s);
        return;
    case GGUF_ARRAY: put_array(b, v); return;
    case GGUF_BOOL:
        gguf_value_bool(v, &t);
        buf_puts(b, t ? "true" : "false");
        return;
    default: break;
    }
    bool is_int = gguf_value_int(v, &i);
    gguf_value_double(v, &d);
    put_number(b, gguf_value_kind(v), is_int, i, d);
}

/* ---- the report as text */

struct types {
    int tensors[KERN_TYPE_LIMIT];
    size_t bytes[KERN_TYPE_LIMIT];
    int64_t params;
};

static void count_types(const struct gguf_file *f, struct types *out)
{
    *out = (struct types){ .params = 0 };
    for (int i = 0; i < gguf_tensor_count(f); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f, i);
        out->tensors[t->type]++;
        out->bytes[t->type] += t->bytes;
        out->params += (int64_t)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
    }
}

static void put_types(struct buf *b, const struct gguf_file *f)
{
    struct types n;
    count_types(f, &n);
    buf_printf(b, "parameters   %.2f million in %d tensors\n", (double)n.params / 1e6, gguf_tensor_count(f));
    for (int i = 0; i < KERN_TYPE_LIMIT; i++)
        if (n.tensors[i]) {
            buf_printf(b, "  %-10s %d tensors, ", kern_type_info(i)->name, n.tensors[i]);
            put_size(b, (double)n.bytes[i]);
            buf_puts(b, "\n");
        }
}

static void put_needs(struct buf *b, const struct needs *n, const char *kv_type)
{
    if (!n->ok) {
        buf_printf(b, "cannot be served: %s\n", n->why_not.text);
        return;
    }
    buf_puts(b, "weights      ");
    put_size(b, (double)n->model.weight_bytes);
    buf_printf(b, " packed\nkv           ");
    put_size(b, (double)n->model.kv_page_bytes / KERN_PAGE_TOKENS);
    buf_printf(b, " a token in %s; ", kv_type);
    put_size(b, (double)n->kv_bytes);
    buf_printf(b, " for %lld tokens\nwork         ", (long long)n->kv_tokens);
    put_size(b, (double)n->model.work_bytes);
    buf_printf(b, " for a step, %d threads\nprogram      ", pool_default_threads());
    put_size(b, (double)n->host_bytes);
    buf_puts(b, ", the tokenizer and all else\ntotal        ");
    put_size(b, (double)n->total);
    buf_puts(b, n->total <= n->available ? ", fits the " : ", does NOT fit the ");
    put_size(b, (double)n->available);
    buf_puts(b, " available here\n");
    if (n->kv_tokens < n->ctx)
        buf_printf(b, "note         a sequence of %d positions does not fit that much kv memory\n", n->ctx);
}

static void put_key_line(struct buf *b, const struct gguf_file *f, const char *label, const char *key)
{
    const struct gguf_value *v = gguf_find(f, key);
    if (!v)
        return;
    buf_printf(b, "%-12s ", label);
    put_value(b, v);
    buf_puts(b, "\n");
}

static void put_keys(struct buf *b, const struct gguf_file *f)
{
    for (int i = 0; i < gguf_key_count(f); i++) {
        struct gguf_str s = gguf_key_name(f, i);
        buf_printf(b, "key %.*s = ", (int)s.len, s.data);
        put_value(b, gguf_key_value(f, i));
        buf_puts(b, "\n");
    }
}

static void put_tensors(struct buf *b, const struct gguf_file *f)
{
    for (int i = 0; i < gguf_tensor_count(f); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f, i);
        buf_printf(b, "tensor %-40.*s %-7s", (int)t->name.len, t->name.data, kern_type_info((int)t->type)->name);
        for (int k = 0; k < t->dims; k++)
            buf_printf(b, k ? " x %llu" : " %llu", (unsigned long long)t->ne[k]);
        buf_puts(b, "\n");
    }
}

static struct inspect_parts parts_of(const struct gguf_file *f, const struct inspect_options *o, const struct needs *n)
{
    struct inspect_parts p = { .f = f, .ranks = (int)o->ranks, .ctx = (int)o->ctx, .rows = (int)o->rows,
                               .logit_rows = n->logit_rows, .pages = n->kv_tokens / KERN_PAGE_TOKENS,
                               .host_bytes = n->host_bytes };
    model_kv_type_by_name(o->kv_type, &p.kv_type);
    return p;
}

static void report_text(const struct gguf_file *f, const struct inspect_options *o, const struct needs *n)
{
    struct buf b = { 0 };
    buf_printf(&b, "file         %s, GGUF %d, ", gguf_name(f), gguf_version(f));
    put_size(&b, (double)gguf_file_bytes(f));
    buf_puts(&b, "\n");
    put_key_line(&b, f, "name", "general.name");
    put_key_line(&b, f, "architecture", "general.architecture");
    put_key_line(&b, f, "licence", "general.license");
    put_key_line(&b, f, "vocabulary", "tokenizer.ggml.tokens");
    put_types(&b, f);
    put_needs(&b, n, o->kv_type);
    const struct inspect_parts parts = parts_of(f, o, n);
    if (o->ranks && n->ok)
        inspect_ranks_text(&parts, &b);
    if (o->keys)
        put_keys(&b, f);
    if (o->tensors)
        put_tensors(&b, f);
    fwrite(b.data, 1, b.len, stdout);
    buf_release(&b);
}

/* ---- the report as an object */

static json_t *json_text(const struct buf *b)
{
    return json_string(buf_str(b)); /* what the put_ functions write is valid UTF-8 */
}

static json_t *json_keys(const struct gguf_file *f)
{
    json_t *all = json_object();
    for (int i = 0; i < gguf_key_count(f); i++) {
        struct gguf_str s = gguf_key_name(f, i);
        struct buf b = { 0 };
        struct err e;
        put_value(&b, gguf_key_value(f, i));
        json_t *v = jsonx_parse(buf_str(&b), b.len, &e); /* numbers, strings; shortened ones stay text */
        json_object_setn_new(all, s.data, s.len, v ? v : json_text(&b));
        buf_release(&b);
    }
    return all;
}

static json_t *json_tensors(const struct gguf_file *f)
{
    json_t *all = json_array();
    for (int i = 0; i < gguf_tensor_count(f); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f, i);
        json_t *shape = json_array();
        for (int k = 0; k < t->dims; k++)
            json_array_append_new(shape, json_integer((json_int_t)t->ne[k]));
        json_array_append_new(all, json_pack("{s:s%, s:s, s:o, s:I, s:I}", "name", t->name.data, t->name.len, "type",
                                             kern_type_info((int)t->type)->name, "shape", shape, "offset",
                                             (json_int_t)t->offset, "bytes", (json_int_t)t->bytes));
    }
    return all;
}

static json_t *json_needs(const struct needs *n)
{
    if (!n->ok)
        return json_pack("{s:b, s:s}", "served", 0, "reason", n->why_not.text);
    return json_pack("{s:b, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "served", 1, "weight_bytes",
                     (json_int_t)n->model.weight_bytes, "kv_page_bytes", (json_int_t)n->model.kv_page_bytes,
                     "kv_token_bytes", (double)n->model.kv_page_bytes / KERN_PAGE_TOKENS, "kv_bytes",
                     (json_int_t)n->kv_bytes, "kv_tokens", (json_int_t)n->kv_tokens, "work_bytes",
                     (json_int_t)n->model.work_bytes, "host_bytes", (json_int_t)n->host_bytes, "total_bytes",
                     (json_int_t)n->total, "available_bytes",
                     (json_int_t)n->available, "fits", n->total <= n->available);
}

static void report_json(const struct gguf_file *f, const struct inspect_options *o, const struct needs *n)
{
    const struct inspect_parts parts = parts_of(f, o, n);
    struct types types;
    struct buf b = { 0 };
    struct gguf_str arch = { "", 0 };
    count_types(f, &types);
    gguf_value_string(gguf_find(f, "general.architecture"), &arch);
    json_t *by_type = json_object(), *root = json_object();
    for (int i = 0; i < KERN_TYPE_LIMIT; i++)
        if (types.tensors[i])
            json_object_set_new(by_type, kern_type_info(i)->name, json_integer((json_int_t)types.bytes[i]));
    json_object_set_new(root, "file", json_string(gguf_name(f)));
    json_object_set_new(root, "gguf_version", json_integer(gguf_version(f)));
    json_object_set_new(root, "bytes", json_integer((json_int_t)gguf_file_bytes(f)));
    json_object_set_new(root, "architecture", json_stringn(arch.data, arch.len));
    json_object_set_new(root, "parameters", json_integer((json_int_t)types.params));
    json_object_set_new(root, "type_bytes", by_type);
    json_object_set_new(root, "needs", json_needs(n));
    if (o->ranks)
        json_object_set_new(root, "ranks", inspect_ranks_json(&parts));
    if (o->keys)
        json_object_set_new(root, "keys", json_keys(f));
    if (o->tensors)
        json_object_set_new(root, "tensors", json_tensors(f));
    jsonx_dump(root, &b);
    buf_putc(&b, '\n');
    fwrite(b.data, 1, b.len, stdout);
    json_decref(root);
    buf_release(&b);
}

int cmd_inspect(int argc, char **argv)
{
    struct inspect_options o = { .rows = ROWS_DEFAULT, .kv_type = "F16" };
    int positional;
    struct err e = { 0 };
    struct gguf_file *f;
    enum kern_type kv_type;
    enum opt_result r = opt_parse(&cmd_inspect_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    bool known = model_kv_type_by_name(o.kv_type, &kv_type);
    if (positional != 1 || !known) {
        fprintf(stderr, "tokenworks inspect: give %s (tokenworks inspect --help)\n",
                known ? "one FILE" : "--kv-type F16, BF16, F32 or Q8_0");
        return 2;
    }
    if (gguf_open(argv[1], &f, &e))
        return cmd_fail(&cmd_inspect_spec, &e);
    struct needs n;
    find_needs(f, &o, kv_type, &n);
    if (o.json)
        report_json(f, &o, &n);
    else
        report_text(f, &o, &n);
    gguf_close(f);
    return 0;
}
