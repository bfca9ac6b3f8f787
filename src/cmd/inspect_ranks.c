/* inspect_ranks -- see inspect_ranks.h. */
#include "cmd/inspect_ranks.h"

#include "dist/setup.h"

enum { STAGE_BYTES = 16 << 20 }; /* a carrier and what a stage takes beside its layers, measured */

json_t *inspect_ranks_json(const struct inspect_parts *p)
{
    int cut[DIST_RANKS_MAX + 1];
    struct err e = { 0 };
    if (p->ranks > DIST_RANKS_MAX || model_cut(p->f, p->ranks, cut, &e))
        return json_pack("{s:s}", "reason", e.text);
    json_t *all = json_array();
    for (int i = 0; i < p->ranks; i++) {
        struct model_load_options o = { .kv_type = p->kv_type, .ctx = p->ctx, .part = { cut[i], cut[i + 1] } };
        struct model_needs n;
        if (model_measure(p->f, &o, p->rows, i ? 0 : p->logit_rows, &n, &e)) {
            json_decref(all);
            return json_pack("{s:s}", "reason", e.text);
        }
        int64_t kv = p->pages * (int64_t)n.kv_page_bytes;
        int64_t host = STAGE_BYTES + (i ? 0 : (int64_t)p->host_bytes);
        int64_t total = (int64_t)n.weight_bytes + kv + (int64_t)n.work_bytes + host;
        json_array_append_new(all, json_pack("{s:i, s:i, s:i, s:I, s:I, s:I, s:I}", "rank", i, "first_layer", cut[i],
                                             "layers", cut[i + 1] - cut[i], "weight_bytes",
                                             (json_int_t)n.weight_bytes, "kv_bytes", (json_int_t)kv, "work_bytes",
                                             (json_int_t)n.work_bytes, "total_bytes", (json_int_t)total));
    }
    return all;
}

static double mib(const json_t *rank, const char *name)
{
    return (double)json_integer_value(json_object_get(rank, name)) / (1 << 20);
}

void inspect_ranks_text(const struct inspect_parts *p, struct buf *out)
{
    json_t *all = inspect_ranks_json(p), *rank;
    size_t i;
    const char *reason = json_string_value(json_object_get(all, "reason"));
    if (reason)
        buf_printf(out, "ranks        %s\n", reason);
    json_array_foreach(all, i, rank) {
        int first = (int)json_integer_value(json_object_get(rank, "first_layer"));
        int layers = (int)json_integer_value(json_object_get(rank, "layers"));
        buf_printf(out, "rank %-8zu layers %d to %d: %.1f MiB of weights, %.1f of keys and values, %.1f in all\n", i,
                   first, first + layers - 1, mib(rank, "weight_bytes"), mib(rank, "kv_bytes"),
                   mib(rank, "total_bytes"));
    }
    json_decref(all);
}
