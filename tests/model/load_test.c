/* load_test -- hostile and incomplete models are refused with the sentence that names what is wrong; what
 * model_measure says is what loading takes, to the byte. */
#include "../test.h"
#include "../shared.h"
#include "drive.h"
#include "tiny.h"

static struct kern_table kern;

static void refused(const struct tiny *t, enum err_code code, const char *part)
{
    struct buf b = { 0 };
    struct gguf_file *f;
    struct model *m = NULL;
    struct err e = { 0 };
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_F16 };
    tiny_write(t, &b);
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    struct pool *pool = pool_new(1);
    CHECK_INT(model_load(f, &o, pool, &m, &e), code);
    if (!strstr(e.text, part)) {
        printf("# said: %s\n# wanted: %s\n", e.text, part);
        CHECK(!"the sentence names it");
    }
    model_free(m);
    pool_free(pool);
    gguf_close(f);
    buf_release(&b);
}

static void refuses_bad_keys(void)
{
    struct tiny t = tiny_llama();
    t.arch = "mamba";
    refused(&t, ERR_UNSUPPORTED, "architecture 'mamba' is not supported");
    t = tiny_llama();
    t.heads = 0;
    refused(&t, ERR_CORRUPT, "'llama.attention.head_count' is 0");
    t = tiny_llama();
    t.kv_heads = 3;
    refused(&t, ERR_CORRUPT, "4 query heads cannot share 3");
    t = tiny_llama();
    t.layers = 4000000000u;
    refused(&t, ERR_CORRUPT, "'llama.block_count' is 4000000000, outside 1..1024");
    t = tiny_llama();
    t.layers = 3;
    t.without = "block_count";
    refused(&t, ERR_NOT_FOUND, "key 'llama.block_count' is missing");
    t = tiny_llama();
    t.eps = 0;
    refused(&t, ERR_NOT_FOUND, "layer_norm_rms_epsilon' is missing");
    t = tiny_llama();
    t.without = "feed_forward_length";
    refused(&t, ERR_NOT_FOUND, "'llama.feed_forward_length' is missing");
    t = tiny_llama();
    t.experts = 4;
    t.used = 5;
    refused(&t, ERR_CORRUPT, "'llama.expert_used_count' is 5, outside 1..4");
    t = tiny_llama();
    t.ctx = 0;
    refused(&t, ERR_CORRUPT, "'llama.context_length' is 0");
}

static void refuses_bad_tensors(void)
{
    struct tiny t = tiny_llama();
    t.without = "blk.1.attn_v.weight";
    refused(&t, ERR_CORRUPT, "tensor 'blk.1.attn_v.weight' is missing");
    t = tiny_llama();
    t.without = "token_embd.weight";
    refused(&t, ERR_CORRUPT, "a vocabulary, not a model");
    t = tiny_llama();
    t.widened = "blk.0.ffn_up.weight";
    refused(&t, ERR_CORRUPT, "tensor 'blk.0.ffn_up.weight' is 64 x 192 x 1; the keys say 64 x 96 x 1");
    t = tiny_llama();
    t.widened = "blk.1.ffn_norm.weight";
    refused(&t, ERR_CORRUPT, "tensor 'blk.1.ffn_norm.weight' is 64 x 2 x 1");
    t = tiny_llama();
    t.extra = "blk.0.attn_q_norm.weight";
    refused(&t, ERR_UNSUPPORTED, "tensor 'blk.0.attn_q_norm.weight' has no place");
    t = tiny_llama();
    t.layers = 3; /* a third layer's tensors, and keys that say two */
    t.without = NULL;
    t.arch = "qwen3"; /* wants norms for each head */
    refused(&t, ERR_CORRUPT, "tensor 'blk.0.attn_q_norm.weight' is missing");
    t = tiny_llama();
    t.arch = "qwen3moe";
    refused(&t, ERR_CORRUPT, "'qwen3moe.expert_count'");
}

static void refuses_bad_options(void)
{
    struct tiny t = tiny_llama();
    struct buf b = { 0 };
    struct gguf_file *f;
    struct model_needs n;
    struct err e = { 0 };
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_Q4_K };
    tiny_write(&t, &b);
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    CHECK_INT(model_measure(f, &o, 1, 1, &n, &e), ERR_INVALID);
    o.kv_type = KERN_Q8_0; /* heads of 16 values do not divide into blocks of 32 */
    CHECK_INT(model_measure(f, &o, 1, 1, &n, &e), ERR_INVALID);
    CHECK(strstr(e.text, "choose F16") != NULL);
    o.kv_type = KERN_F16;
    o.ctx = -1;
    CHECK_INT(model_measure(f, &o, 1, 1, &n, &e), ERR_INVALID);
    gguf_close(f);
    buf_release(&b);
}

/* Model and work of a file, measured and then made. */
static void measured_as_loaded(const struct gguf_file *f)
{
    struct model_needs n;
    struct model *m;
    struct err e = { 0 };
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_F16 };
    struct pool *pool = pool_new(pool_default_threads());
    CHECK_INT(model_measure(f, &o, 33, 5, &n, &e), ERR_OK);
    CHECK_INT(model_load(f, &o, pool, &m, &e), ERR_OK);
    struct model_work *w = model_work_new(m, pool, 33, 5);
    CHECK_INT(n.weight_bytes, model_facts(m)->weight_bytes);
    CHECK_INT(n.kv_page_bytes, model_kv_page_bytes(m));
    CHECK_INT(n.work_bytes, model_work_bytes(w));
    CHECK_INT(model_ctx(m), model_facts(m)->ctx_train);
    model_work_free(w);
    model_free(m);
    pool_free(pool);
}

static void measures_what_loading_takes(void)
{
    static const enum kern_type types[] = { KERN_F32, KERN_F16, KERN_BF16, KERN_Q8_0, KERN_Q4_1, KERN_MXFP4 };
    for (size_t i = 0; i < 2 * MEM_COUNT(types); i++) {
        struct tiny t = tiny_llama();
        struct buf b = { 0 };
        struct gguf_file *f;
        struct err e = { 0 };
        t.type = types[i / 2];
        t.experts = i % 2 ? 4 : 0;
        t.used = 2;
        tiny_write(&t, &b);
        CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
        measured_as_loaded(f);
        gguf_close(f);
        buf_release(&b);
    }
}

static void measures_golden_models(void)
{
    static const char *const names[] = { "phi3", "gemma3", "gpt-oss", "olmo2", "llama-256-Q4_K" };
    for (size_t i = 0; i < MEM_COUNT(names); i++) {
        char path[512], rest[128];
        struct gguf_file *f;
        struct err e = { 0 };
        snprintf(rest, sizeof rest, "golden/models/%s.gguf", names[i]);
        if (!shared_path(path, sizeof path, rest))
            SKIP("no golden data");
        CHECK_INT(gguf_open(path, &f, &e), ERR_OK);
        measured_as_loaded(f);
        gguf_close(f);
    }
}

/* Facts and the same bits when rows of three sequences and a long gap of positions share a step; no logits asked
 * for is allowed. */
static void runs_what_it_loads(void)
{
    enum { N = 50, W = 80 };
    struct tiny t = tiny_llama();
    struct buf b = { 0 };
    struct gguf_file *f;
    struct model *m;
    struct err e = { 0 };
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_BF16 };
    int32_t ids[N];
    static float one[N * W], other[N * W];
    t.type = KERN_Q8_0;
    t.experts = 6;
    t.used = 3;
    for (int i = 0; i < N; i++)
        ids[i] = i * 7 % W;
    tiny_write(&t, &b);
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    struct pool *pool = pool_new(2);
    CHECK_INT(model_load(f, &o, pool, &m, &e), ERR_OK);
    CHECK_STR(model_facts(m)->arch, "llama");
    CHECK_STR(model_facts(m)->type_name, "Q8_0");
    CHECK_INT(model_facts(m)->experts, 6);
    drive(&(struct drive){ .m = m, .threads = 1, .chunk = N }, ids, N, one);
    for (int threads = 1; threads <= 4; threads++) {
        drive(&(struct drive){ .m = m, .threads = threads, .chunk = 3 * threads, .companions = threads }, ids, N, other);
        CHECK(!memcmp(one, other, sizeof one));
    }
    struct model_work *w = model_work_new(m, pool, 4, 0);
    unsigned char *page = mem_aligned(model_kv_page_bytes(m)), *pages[] = { page };
    struct model_run run = { .rows = 4, .pages = pages };
    struct model_batch batch = { .rows = 4, .tokens = ids, .runs = &run, .run_count = 1 };
    model_forward(m, w, &batch);
    model_work_free(w);
    mem_aligned_free(page, model_kv_page_bytes(m));
    model_free(m);
    pool_free(pool);
    gguf_close(f);
    buf_release(&b);
}

int main(void)
{
    kern_table_fill(&kern, kern_isa_detect(KERN_AMX));
    RUN(refuses_bad_keys);
    RUN(refuses_bad_tensors);
    RUN(refuses_bad_options);
    RUN(measures_what_loading_takes);
    RUN(measures_golden_models);
    RUN(runs_what_it_loads);
    DONE();
}
