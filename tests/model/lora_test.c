/* lora_test -- an adapter answers as the merged model does; rows of many adapters in a batch have the bits they have
 * alone; files that do not fit are refused. The merged model is W + alpha / rank B A, computed here in double. */
#include "../test.h"
#include "base/buf.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "tiny.h"

enum { N = 24, PAGES = 2, ADAPTERS = 3, VOCAB = 80, ROWS_MAX = 256 };

static const char *const matrices[] = { "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down" };
static const uint64_t inputs[] = { 64, 64, 64, 64, 64, 64, 96 }, outputs[] = { 64, 32, 32, 64, 96, 96, 64 };

/* What is wrong with an adapter file. */
struct wrong {
    const char *type;       /* of the adapter, or NULL */
    const char *arch;
    const char *extra;      /* a tensor without a place */
    const char *without;    /* a tensor left out */
    const char *widened;    /* one with more columns */
    bool no_number;
    uint64_t rank;
};

static float weight(uint64_t seed, uint64_t i)
{
    return (float)(rng_unit(seed, i) - 0.5) * 0.3f;
}

struct pair_tensor {
    char name[64];
    uint64_t cols, rows, seed;
};

/* The tensors of adapter number `which`: not every matrix, ranks that differ. */
static int list_tensors(int which, const struct wrong *wrong, struct pair_tensor *list)
{
    int n = 0;
    for (int l = 0; l < 2; l++)
        for (int k = 0; k < 7; k++) {
            uint64_t rank = wrong && wrong->rank ? wrong->rank : (uint64_t)(2 + 3 * which + l);
            if (which == 1 && k % 2)
                continue;
            for (int b = 0; b < 2; b++) {
                struct pair_tensor *t = &list[n];
                snprintf(t->name, sizeof t->name, "blk.%d.%s.weight.lora_%c", l, matrices[k], b ? 'b' : 'a');
                t->cols = b ? rank : inputs[k];
                t->rows = b ? outputs[k] : rank;
                t->seed = (uint64_t)(which * 100 + n + 7);
                if (wrong && wrong->widened && !strcmp(wrong->widened, t->name))
                    t->cols += 32;
                n += !wrong || !wrong->without || strcmp(wrong->without, t->name) != 0;
            }
        }
    if (wrong && wrong->extra) {
        list[n] = (struct pair_tensor){ .cols = 4, .rows = 4, .seed = 1 };
        snprintf(list[n].name, sizeof list[n].name, "%s", wrong->extra);
        n++;
    }
    return n;
}

static void write_adapter(int which, const struct wrong *wrong, struct buf *out)
{
    struct pair_tensor list[40];
    struct err e;
    int n = list_tensors(which, wrong, list);
    struct gguf_writer *w = gguf_writer_new();
    gguf_writer_string(w, "general.type", wrong && wrong->type ? wrong->type : "adapter");
    gguf_writer_string(w, "adapter.type", "lora");
    gguf_writer_string(w, "general.architecture", wrong && wrong->arch ? wrong->arch : "llama");
    gguf_writer_f32(w, "adapter.lora.alpha", 8);
    for (int i = 0; i < n; i++)
        gguf_writer_tensor(w, (struct gguf_str){ list[i].name, strlen(list[i].name) }, KERN_F32, 2,
                           (const uint64_t[]){ list[i].cols, list[i].rows });
    gguf_writer_start_buf(w, out, &e);
    for (int i = 0; i < n; i++)
        for (uint64_t k = 0; k < list[i].cols * list[i].rows; k++) {
            float v = wrong && wrong->no_number && i == 3 && k == 5 ? NAN : weight(list[i].seed, k);
            gguf_writer_data(w, &v, sizeof v, &e);
        }
    gguf_writer_finish(w, &e);
    gguf_writer_free(w);
}

/* Adds adapter `which` to the weights of the model file in memory. */
static void merge(int which, struct gguf_file *model)
{
    struct pair_tensor list[40];
    int n = list_tensors(which, NULL, list);
    for (int i = 0; i < n; i += 2) {
        const struct pair_tensor *a = &list[i], *b = &list[i + 1];
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(strlen(a->name) - strlen(".lora_a")), a->name);
        float *w = (float *)(uintptr_t)gguf_tensor_find(model, name)->data;
        for (uint64_t r = 0; r < b->rows; r++)
            for (uint64_t c = 0; c < a->cols; c++) {
                double sum = 0;
                for (uint64_t k = 0; k < a->rows; k++)
                    sum += (double)weight(b->seed, r * b->cols + k) * (double)weight(a->seed, k * a->cols + c);
                w[r * a->cols + c] += (float)(sum * 8 / (double)a->rows);
            }
    }
}

static struct kern_table kern;
static struct pool *pool;

static struct model *load(const struct tiny *t, int merged, struct buf *bytes)
{
    struct gguf_file *f;
    struct model *m = NULL;
    struct err e = { 0 };
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_F32 };
    buf_clear(bytes);
    tiny_write(t, bytes);
    CHECK_INT(gguf_open_memory(bytes->data, bytes->len, &f, &e), ERR_OK);
    if (merged >= 0)
        merge(merged, f);
    CHECK_INT(model_load(f, &o, pool, &m, &e), ERR_OK);
    gguf_close(f);
    return m;
}

static enum err_code load_adapter(const struct model *m, const struct buf *bytes, struct model_adapter **out,
                                  struct err *e)
{
    struct gguf_file *f;
    CHECK_INT(gguf_open_memory(bytes->data, bytes->len, &f, e), ERR_OK);
    enum err_code c = model_adapter_load(f, m, 1, out, e);
    gguf_close(f);
    return c;
}

/* Logits of the last position of `seqs` sequences, chunk rows at a time, each with its adapter: out [seqs][VOCAB]. */
static void run(const struct model *m, struct pool *team, const struct model_adapter *const *adapters, int first, int seqs,
                int chunk, float *out)
{
    struct model_work *w = model_work_new(m, team, ROWS_MAX, 16);
    size_t page = model_kv_page_bytes(m);
    unsigned char *block = mem_aligned((size_t)seqs * PAGES * page), *pages[16 * PAGES];
    int32_t tokens[ROWS_MAX], wanted[16];
    model_work_allow_adapters(w, 16);
    for (int i = 0; i < seqs * PAGES; i++)
        pages[i] = block + (size_t)i * page;
    for (int pos = 0; pos < N; pos += chunk) {
        struct model_run runs[16];
        int rows = 0, n = N - pos < chunk ? N - pos : chunk;
        for (int q = 0; q < seqs; q++) {
            runs[q] = (struct model_run){ .rows = n, .pos_first = pos, .pages = pages + q * PAGES,
                                          .adapter = adapters[q] };
            for (int i = 0; i < n; i++)
                tokens[rows++] = (int32_t)(rng_unit(9, (uint64_t)((first + q) * 1000 + pos + i)) * VOCAB);
            wanted[q] = rows - 1;
        }
        struct model_batch b = { .rows = rows, .tokens = tokens, .runs = runs, .run_count = seqs, .logit_rows = wanted,
                                 .logit_count = seqs };
        memcpy(out, model_forward(m, w, &b), (size_t)seqs * VOCAB * sizeof *out);
    }
    model_work_free(w);
    mem_aligned_free(block, (size_t)seqs * PAGES * page);
}

static double far_apart(const float *a, const float *b)
{
    double error = 0, power = 0;
    for (int i = 0; i < VOCAB; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        power += (double)b[i] * (double)b[i];
    }
    return error / power;
}

static void answers_as_the_merged_model(void)
{
    struct tiny t = tiny_llama();
    struct buf bytes = { 0 }, adapter = { 0 };
    struct model *m = load(&t, -1, &bytes);
    for (int which = 0; which < ADAPTERS; which++) {
        struct model_adapter *a = NULL;
        struct err e = { 0 };
        float with[VOCAB], want[VOCAB], without[VOCAB];
        buf_clear(&adapter);
        write_adapter(which, NULL, &adapter);
        CHECK_INT(load_adapter(m, &adapter, &a, &e), ERR_OK);
        CHECK_INT(model_adapter_facts(a)->rank, 3 + 3 * which);
        CHECK_INT(model_adapter_facts(a)->matrices, which == 1 ? 8 : 14);
        struct model *merged = load(&t, which, &bytes);
        run(m, pool, (const struct model_adapter *[]){ a }, 0, 1, N, with);
        run(m, pool, (const struct model_adapter *[]){ NULL }, 0, 1, N, without);
        run(merged, pool, (const struct model_adapter *[]){ NULL }, 0, 1, N, want);
        printf("# adapter %d: %.3g from the merged model, %.3g from the bare one\n", which, far_apart(with, want),
               far_apart(without, want));
        CHECK(far_apart(with, want) < 1e-10);
        CHECK(far_apart(without, want) > 1e-3); /* else nothing was tested */
        model_free(merged);
        model_adapter_free(a);
    }
    model_free(m);
    buf_release(&bytes);
    buf_release(&adapter);
}

/* Ten sequences, three adapters and none, in one batch: each as it is alone, whatever the chunks and the threads. */
static void check_company(enum kern_type type)
{
    struct tiny t = tiny_llama();
    struct buf bytes = { 0 }, adapter = { 0 };
    struct model_adapter *a[ADAPTERS] = { NULL };
    const struct model_adapter *of[10];
    static float together[10 * VOCAB], again[10 * VOCAB], alone[VOCAB];
    struct err e = { 0 };
    t.type = type;
    struct model *m = load(&t, -1, &bytes);
    for (int i = 0; i < ADAPTERS; i++) {
        buf_clear(&adapter);
        write_adapter(i, NULL, &adapter);
        CHECK_INT(load_adapter(m, &adapter, &a[i], &e), ERR_OK);
    }
    for (int i = 0; i < 10; i++)
        of[i] = i * 7 % 4 < ADAPTERS ? a[i * 7 % 4] : NULL;
    run(m, pool, of, 0, 10, N, together);
    for (int i = 0; i < 10; i++) {
        run(m, pool, &of[i], i, 1, i % 2 ? 1 : 5, alone);
        CHECK(!memcmp(alone, together + i * VOCAB, sizeof alone));
    }
    for (int threads = 1; threads <= 3; threads += 2) {
        struct pool *team = pool_new(threads);
        run(m, team, of, 0, 10, 7, again);
        CHECK(!memcmp(again, together, sizeof again));
        pool_free(team);
    }
    for (int i = 0; i < ADAPTERS; i++)
        model_adapter_free(a[i]);
    model_free(m);
    buf_release(&bytes);
    buf_release(&adapter);
}

static void company_changes_no_bit(void)
{
    check_company(KERN_F32);
    check_company(KERN_Q8_0);
}

static void every_rung_gives_the_same_bits(void)
{
    static float first[VOCAB], logits[VOCAB];
    for (int isa = KERN_REF; isa <= (int)kern_isa_detect(KERN_AMX); isa++) {
        struct tiny t = tiny_llama();
        struct buf bytes = { 0 }, adapter = { 0 };
        struct model_adapter *a = NULL;
        struct err e = { 0 };
        kern_table_fill(&kern, (enum kern_isa)isa);
        struct model *m = load(&t, -1, &bytes);
        write_adapter(2, NULL, &adapter);
        CHECK_INT(load_adapter(m, &adapter, &a, &e), ERR_OK);
        run(m, pool, (const struct model_adapter *[]){ a }, 0, 1, 5, isa == KERN_REF ? first : logits);
        CHECK(isa == KERN_REF || !memcmp(first, logits, sizeof first));
        model_adapter_free(a);
        model_free(m);
        buf_release(&bytes);
        buf_release(&adapter);
    }
}

static void files_that_do_not_fit_are_refused(void)
{
    static const struct {
        struct wrong wrong;
        const char *says;
    } cases[] = {
        { { .type = "model" }, "no LoRA adapter" }, { { .arch = "qwen2" }, "architecture" },
        { { .extra = "token_embd.weight.lora_a" }, "no place" }, { { .extra = "blk.7.attn_q.weight.lora_a" }, "no place" },
        { { .without = "blk.0.attn_k.weight.lora_b" }, "only one of" },
        { { .widened = "blk.1.ffn_down.weight.lora_a" }, "does not fit" },
        { { .widened = "blk.1.ffn_up.weight.lora_b" }, "does not fit" },
        { { .no_number = true }, "no number" }, { { .rank = 513 }, "rank 513" },
    };
    struct tiny t = tiny_llama();
    struct buf bytes = { 0 }, adapter = { 0 };
    struct model *m = load(&t, -1, &bytes);
    for (size_t i = 0; i < MEM_COUNT(cases); i++) {
        struct model_adapter *a = NULL;
        struct err e = { 0 };
        buf_clear(&adapter);
        write_adapter(0, &cases[i].wrong, &adapter);
        CHECK(load_adapter(m, &adapter, &a, &e) != ERR_OK);
        if (!strstr(e.text, cases[i].says)) {
            printf("# %s\n", e.text);
            CHECK(!"the sentence names it");
        }
        CHECK(!a);
    }
    model_free(m);
    buf_release(&bytes);
    buf_release(&adapter);
}

int main(void)
{
    kern_table_fill(&kern, kern_isa_detect(KERN_AMX));
    pool = pool_new(2);
    RUN(answers_as_the_merged_model);
    RUN(company_changes_no_bit);
    RUN(every_rung_gives_the_same_bits);
    RUN(files_that_do_not_fit_are_refused);
    pool_free(pool);
    DONE();
}
