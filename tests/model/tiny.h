/* tiny -- a small llama (or its relatives) written into memory, with one thing wrong on request. */
#ifndef TESTS_MODEL_TINY_H
#define TESTS_MODEL_TINY_H
#include "base/rng.h"
#include "gguf/write.h"

#include <string.h>

struct tiny {
    const char *arch;
    uint32_t layers, dim, heads, kv_heads, ffn, vocab, ctx, experts, used;
    enum kern_type type;
    const char *without;       /* the name of a tensor or key left out */
    const char *extra;         /* a tensor that has no place */
    const char *widened;       /* a tensor with twice the rows */
    float eps;
};

static inline struct tiny tiny_llama(void)
{
    return (struct tiny){ .arch = "llama", .layers = 2, .dim = 64, .heads = 4, .kv_heads = 2, .ffn = 96, .vocab = 80,
                          .ctx = 64, .type = KERN_F32, .eps = 1e-5f };
}

struct tiny_tensor {
    char name[64];
    enum kern_type type;
    int dims;
    uint64_t ne[3];
};

static inline void tiny_key(struct gguf_writer *w, const struct tiny *t, const char *name, uint32_t v)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", t->arch, name);
    if (v != UINT32_MAX && !(t->without && !strcmp(t->without, name)))
        gguf_writer_u32(w, key, v);
}

static inline int tiny_add(const struct tiny *t, struct tiny_tensor *list, int n, const char *name, enum kern_type type,
                           uint64_t cols, uint64_t rows, uint64_t depth)
{
    if (t->without && !strcmp(t->without, name))
        return n;
    if (t->widened && !strcmp(t->widened, name))
        rows *= 2;
    struct tiny_tensor *x = &list[n];
    snprintf(x->name, sizeof x->name, "%s", name);
    x->type = type;
    x->dims = depth > 1 ? 3 : rows > 1 ? 2 : 1;
    x->ne[0] = cols;
    x->ne[1] = rows;
    x->ne[2] = depth ? depth : 1;
    return n + 1;
}

enum { TINY_TENSORS_MAX = 64 };

static inline int tiny_layer(const struct tiny *t, struct tiny_tensor *list, int n, uint32_t layer)
{
    const uint64_t d = t->dim, kv = t->heads ? d / t->heads * t->kv_heads : d;
    struct {
        const char *name;
        enum kern_type type;
        uint64_t cols, rows, depth;
    } rows[] = {
        { "attn_norm", KERN_F32, d, 1, 1 }, { "ffn_norm", KERN_F32, d, 1, 1 },
        { "attn_q", t->type, d, d, 1 }, { "attn_k", t->type, d, kv, 1 }, { "attn_v", t->type, d, kv, 1 },
        { "attn_output", t->type, d, d, 1 },
        { t->experts ? "ffn_gate_exps" : "ffn_gate", t->type, d, t->ffn, t->experts },
        { t->experts ? "ffn_up_exps" : "ffn_up", t->type, d, t->ffn, t->experts },
        { t->experts ? "ffn_down_exps" : "ffn_down", t->type, t->ffn, d, t->experts },
        { t->experts ? "ffn_gate_inp" : NULL, KERN_F32, d, t->experts, 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[64];
        if (!rows[i].name)
            continue;
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, rows[i].name);
        n = tiny_add(t, list, n, name, rows[i].type, rows[i].cols, rows[i].rows, rows[i].depth);
    }
    return n;
}

/* Random weights of about 1 / sqrt(cols), quantised to the tensor's type. */
static inline void tiny_data(struct gguf_writer *w, const struct tiny_tensor *x, uint64_t seed, struct err *e)
{
    float row[512];
    unsigned char bytes[4096];
    struct rng r = { .seed = seed };
    for (uint64_t i = 0; i < x->ne[1] * x->ne[2]; i++) {
        for (uint64_t c = 0; c < x->ne[0]; c++)
            row[c] = x->dims == 1 ? 1.0f : (float)(rng_next_unit(&r) - 0.5) * 0.4f;
        kern_quantize(x->type, row, bytes, (size_t)x->ne[0]);
        gguf_writer_data(w, bytes, kern_row_bytes(x->type, (size_t)x->ne[0]), e);
    }
}

static inline void tiny_write(const struct tiny *t, struct buf *out)
{
    struct tiny_tensor list[TINY_TENSORS_MAX];
    struct err e;
    char key[96];
    int n = 0;
    struct gguf_writer *w = gguf_writer_new();
    gguf_writer_string(w, "general.architecture", t->arch);
    tiny_key(w, t, "block_count", t->layers);
    tiny_key(w, t, "embedding_length", t->dim);
    tiny_key(w, t, "context_length", t->ctx);
    tiny_key(w, t, "feed_forward_length", t->ffn);
    tiny_key(w, t, "attention.head_count", t->heads);
    tiny_key(w, t, "attention.head_count_kv", t->kv_heads);
    tiny_key(w, t, "expert_count", t->experts ? t->experts : UINT32_MAX);
    tiny_key(w, t, "expert_used_count", t->experts ? t->used : UINT32_MAX);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", t->arch);
    if (t->eps > 0)
        gguf_writer_f32(w, key, t->eps);
    n = tiny_add(t, list, n, "token_embd.weight", t->type, t->dim, t->vocab, 1);
    n = tiny_add(t, list, n, "output_norm.weight", KERN_F32, t->dim, 1, 1);
    for (uint32_t i = 0; i < t->layers && i < 4; i++)
        n = tiny_layer(t, list, n, i);
    if (t->extra)
        n = tiny_add(t, list, n, t->extra, KERN_F32, 32, 1, 1);
    for (int i = 0; i < n; i++)
        gguf_writer_tensor(w, (struct gguf_str){ list[i].name, strlen(list[i].name) }, list[i].type, list[i].dims,
                           list[i].ne);
    gguf_writer_start_buf(w, out, &e);
    for (int i = 0; i < n; i++)
        tiny_data(w, &list[i], (uint64_t)i + 1, &e);
    gguf_writer_finish(w, &e);
    gguf_writer_free(w);
}
#endif
