/* memory_test -- what the plan says a model takes is what the process takes: a model with zeros for weights, loaded,
 * and run at the step's full width, against the anonymous memory the kernel counts. */
#include "../test.h"

#include "base/buf.h"
#include "base/mem.h"
#include "gguf/write.h"
#include "lib/runtime.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { VOCAB = 24000, DIM = 1024, HEADS = 16, KV_HEADS = 4, FFN = 4096, LAYERS = 8, CTX = 1024, STREAMS = 64,
       ROWS = 512 };

struct tensor {
    const char *name;
    uint64_t rows, cols; /* rows 0: a vector */
};
static const struct tensor of_layer[] = {
    { "attn_norm.weight", 0, DIM }, { "ffn_norm.weight", 0, DIM }, { "attn_q.weight", DIM, DIM },
    { "attn_k.weight", DIM / 4, DIM }, { "attn_v.weight", DIM / 4, DIM }, { "attn_output.weight", DIM, DIM },
    { "ffn_gate.weight", FFN, DIM }, { "ffn_up.weight", FFN, DIM }, { "ffn_down.weight", DIM, FFN },
};
static const struct tensor of_model[] = { { "token_embd.weight", VOCAB, DIM }, { "output_norm.weight", 0, DIM } };

static enum kern_type type_of(const struct tensor *t)
{
    return t->rows ? KERN_Q8_0 : KERN_F32;
}

/* Declares (data false) or writes one tensor. */
static void put_tensor(struct gguf_writer *w, const char *name, const struct tensor *t, bool data)
{
    static const char zeros[1 << 20];
    uint64_t ne[2] = { t->cols, t->rows ? t->rows : 1 };
    if (!data) {
        gguf_writer_tensor(w, (struct gguf_str){ name, strlen(name) }, type_of(t), t->rows ? 2 : 1, ne);
        return;
    }
    size_t left = kern_row_bytes(type_of(t), t->cols) * (size_t)ne[1];
    for (size_t n; left; left -= n) {
        n = left < sizeof zeros ? left : sizeof zeros;
        gguf_writer_data(w, zeros, n, NULL);
    }
}

static void put_tensors(struct gguf_writer *w, bool data)
{
    char name[64];
    for (int l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < MEM_COUNT(of_layer); i++) {
            snprintf(name, sizeof name, "blk.%d.%s", l, of_layer[i].name);
            put_tensor(w, name, &of_layer[i], data);
        }
    for (size_t i = 0; i < MEM_COUNT(of_model); i++)
        put_tensor(w, of_model[i].name, &of_model[i], data);
}

static void put_vocab(struct gguf_writer *w)
{
    struct gguf_str *tokens = mem_new(VOCAB, sizeof *tokens);
    char(*text)[12] = mem_new(VOCAB, sizeof *text);
    for (int i = 0; i < VOCAB; i++)
        tokens[i] = (struct gguf_str){ text[i], (size_t)snprintf(text[i], sizeof text[i], "t%d", i) };
    gguf_writer_string(w, "tokenizer.ggml.model", "llama");
    gguf_writer_strings(w, "tokenizer.ggml.tokens", tokens, VOCAB);
    gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", 2);
    mem_free(tokens);
    mem_free(text);
}

/* The file, already unlinked. */
static int model_file(void)
{
    char dir[] = "/tmp/tw_memory_XXXXXX", path[64];
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/zeros.gguf", dir);
    struct gguf_writer *w = gguf_writer_new();
    gguf_writer_string(w, "general.architecture", "llama");
    gguf_writer_u32(w, "llama.context_length", CTX);
    gguf_writer_u32(w, "llama.embedding_length", DIM);
    gguf_writer_u32(w, "llama.block_count", LAYERS);
    gguf_writer_u32(w, "llama.feed_forward_length", FFN);
    gguf_writer_u32(w, "llama.attention.head_count", HEADS);
    gguf_writer_u32(w, "llama.attention.head_count_kv", KV_HEADS);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put_vocab(w);
    put_tensors(w, false);
    struct err e = { 0 };
    bool ok = !gguf_writer_start(w, path, &e);
    put_tensors(w, true);
    ok = ok && !gguf_writer_finish(w, &e);
    gguf_writer_free(w);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    rmdir(dir);
    return ok ? fd : -1;
}

/* Anonymous memory of this process in bytes, as the kernel counts it. */
static size_t anonymous(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    unsigned long long kib = 0;
    char line[256];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Anonymous: %llu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return (size_t)kib << 10;
}

static bool on_token(void *user, const struct infer_token *t) { return false; }
static void on_finish(void *user, enum infer_finish why) { ++*(int *)user; }
static void on_start(void *user, int cached) { }

/* One step as wide as a step gets: every sequence's prompt whole, and logits for each. */
static int run_wide(struct runtime *r)
{
    static const struct sched_events events = { .token = on_token, .finish = on_finish, .start = on_start };
    static const struct infer_params params = { .max_tokens = 1, .top_p = 1, .repetition_penalty = 1,
                                                .top_logprobs = -1 };
    int32_t prompt[ROWS / STREAMS];
    int over = 0;
    for (int i = 0; i < STREAMS; i++) {
        for (int k = 0; k < ROWS / STREAMS; k++)
            prompt[k] = 3 + i * ROWS / STREAMS + k;
        struct sched_spec spec = { .prompt = prompt, .prompt_count = ROWS / STREAMS, .params = &params,
                                   .events = &events, .user = &over };
        struct sched_seq *q;
        struct err e = { 0 };
        if (sched_add(r->sched, &spec, &q, &e))
            return -1;
    }
    for (int i = 0; i < 100 && over < STREAMS; i++)
        sched_step(r->sched);
    return over;
}

static void plan_is_what_is_taken(void)
{
#ifdef TW_SANITIZED
    SKIP("sanitizers take memory of their own");
#endif
    int fd = model_file();
    CHECK(fd >= 0);
    struct runtime_options o = runtime_defaults();
    struct runtime *r = NULL;
    struct err e = { 0 };
    struct model_needs n;
    int ctx;
    o.running_max = STREAMS;
    o.batch_rows = ROWS;
    o.draft_rows = 0;
    o.kv_bytes = 32 << 20;
    CHECK(!runtime_measure(fd, "zeros", &o, &n, &ctx, &e));
    CHECK(!runtime_open(fd, "zeros", &o, &r, &e));
    CHECK(run_wide(r) == STREAMS);
    double planned = (double)(n.weight_bytes + n.work_bytes + STREAMS * n.kv_page_bytes), taken = (double)anonymous();
    printf("# planned %.1f MiB, taken %.1f MiB\n", planned / 0x1p20, taken / 0x1p20);
    CHECK(taken < planned * 1.05);
    CHECK(taken > planned * 0.90); /* this test has no front to talk to, and what is not asked of is not there */
    runtime_close(r);
    close(fd);
    CHECK(anonymous() < (24u << 20)); /* weights and pages are given back */
}

int main(void)
{
    RUN(plan_is_what_is_taken);
    DONE();
}
