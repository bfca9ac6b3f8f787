/* tiny_model -- a llama with random weights, made in memory for tests that need a model and no meaning. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H
#include "base/buf.h"
#include "base/rng.h"
#include "gguf/write.h"

#include <stdio.h>
#include <string.h>

enum { TINY_VOCAB = 96, TINY_DIM = 64, TINY_HEADS = 4, TINY_KV_HEADS = 2, TINY_HEAD = 16, TINY_FFN = 96, TINY_LAYERS = 2,
       TINY_CTX = 512, TINY_EOS = 2 };

struct tiny_tensor {
    const char *name;
    uint64_t rows, cols; /* rows 0: a vector of cols ones */
};

static const struct tiny_tensor tiny_of_layer[] = {
    { "attn_norm.weight", 0, TINY_DIM }, { "ffn_norm.weight", 0, TINY_DIM },
    { "attn_q.weight", TINY_HEADS * TINY_HEAD, TINY_DIM }, { "attn_k.weight", TINY_KV_HEADS * TINY_HEAD, TINY_DIM },
    { "attn_v.weight", TINY_KV_HEADS * TINY_HEAD, TINY_DIM }, { "attn_output.weight", TINY_DIM, TINY_HEADS * TINY_HEAD },
    { "ffn_gate.weight", TINY_FFN, TINY_DIM }, { "ffn_up.weight", TINY_FFN, TINY_DIM },
    { "ffn_down.weight", TINY_DIM, TINY_FFN },
};
static const struct tiny_tensor tiny_of_model[] = {
    { "token_embd.weight", TINY_VOCAB, TINY_DIM }, { "output_norm.weight", 0, TINY_DIM },
    { "output.weight", TINY_VOCAB, TINY_DIM },
};

static inline void tiny_each(void (*fn)(void *arg, const char *name, const struct tiny_tensor *t), void *arg)
{
    char name[64];
    for (int l = 0; l < TINY_LAYERS; l++)
        for (size_t i = 0; i < sizeof tiny_of_layer / sizeof *tiny_of_layer; i++) {
            snprintf(name, sizeof name, "blk.%d.%s", l, tiny_of_layer[i].name);
            fn(arg, name, &tiny_of_layer[i]);
        }
    for (size_t i = 0; i < sizeof tiny_of_model / sizeof *tiny_of_model; i++)
        fn(arg, tiny_of_model[i].name, &tiny_of_model[i]);
}

static inline void tiny_declare(void *w, const char *name, const struct tiny_tensor *t)
{
    uint64_t ne[2] = { t->cols, t->rows ? t->rows : 1 };
    gguf_writer_tensor(w, (struct gguf_str){ name, strlen(name) }, KERN_F32, t->rows ? 2 : 1, ne);
}

static inline void tiny_fill(void *w, const char *name, const struct tiny_tensor *t)
{
    static struct rng r = { .seed = 3 };
    for (uint64_t i = 0; i < t->cols * (t->rows ? t->rows : 1); i++) {
        float v = t->rows ? (float)(rng_next_unit(&r) - 0.5) * 0.6f : 1;
        gguf_writer_data(w, &v, sizeof v, NULL);
    }
}

/* Appends the file to out. */
static inline void tiny_model(struct buf *out)
{
    struct gguf_writer *w = gguf_writer_new();
    gguf_writer_string(w, "general.architecture", "llama");
    gguf_writer_string(w, "general.name", "tiny");
    gguf_writer_u32(w, "llama.context_length", TINY_CTX);
    gguf_writer_u32(w, "llama.embedding_length", TINY_DIM);
    gguf_writer_u32(w, "llama.block_count", TINY_LAYERS);
    gguf_writer_u32(w, "llama.feed_forward_length", TINY_FFN);
    gguf_writer_u32(w, "llama.attention.head_count", TINY_HEADS);
    gguf_writer_u32(w, "llama.attention.head_count_kv", TINY_KV_HEADS);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_writer_u32(w, "llama.vocab_size", TINY_VOCAB);
    tiny_each(tiny_declare, w);
    gguf_writer_start_buf(w, out, NULL);
    tiny_each(tiny_fill, w);
    gguf_writer_finish(w, NULL);
    gguf_writer_free(w);
}
#endif
