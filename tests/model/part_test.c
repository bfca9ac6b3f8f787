/* part_test -- a model cut into parts gives the bits of the whole one: golden models of every architecture, two and
 * three parts, whole prompts, chunks, and company in the batch. Here the parts are in one process. */
#include "../test.h"
#include "../shared.h"
#include "../tiny_model.h"
#include "base/buf.h"
#include "base/mem.h"
#include "drive.h"

enum { POSITIONS = 40, VOCAB_MAX = 512, PARTS_MAX = 3, ROWS_MAX = 256, RUNS_MAX = 8 };

static const char *const golden[] = {
    "llama", "llama-256-Q4_K", "llama-256-Q4_0", "llama-bf16", "llama3-freqs", "llama-moe", "qwen2", "qwen3", "qwen3moe",
    "gemma2", "gemma3", "phi3", "olmo2", "granite", "smollm3", "glm4", "gpt-oss",
};
static const char *current;

/* The parts after the first, as processes of their own would hold them. */
struct chain {
    int parts;
    struct model *model[PARTS_MAX];
    struct model_work *work[PARTS_MAX];
    unsigned char *kv[PARTS_MAX];
    const unsigned char *first_kv; /* of the first part: tells a page's number */
    int pages, calls;
    struct pool *pool;
    struct model_rest rest;
};

static void run_rest(void *arg, const struct model_batch *b, float *x, size_t stride)
{
    struct chain *c = arg;
    static float rows[ROWS_MAX * 512];
    size_t dim = (size_t)model_facts(c->model[0])->dim;
    unsigned char *pages[RUNS_MAX * 16];
    struct model_run runs[RUNS_MAX];
    c->calls++;
    for (int r = 0; r < b->rows; r++)
        memcpy(rows + (size_t)r * dim, x + (size_t)r * stride, dim * sizeof *x);
    for (int p = 1; p < c->parts; p++) {
        int at = 0;
        for (int i = 0; i < b->run_count; i++) {
            runs[i] = b->runs[i];
            runs[i].pages = pages + at;
            for (int k = 0; k <= (runs[i].pos_first + runs[i].rows - 1) / KERN_PAGE_TOKENS; k++) {
                size_t number = (size_t)(b->runs[i].pages[k] - c->first_kv) / model_kv_page_bytes(c->model[0]);
                pages[at++] = c->kv[p] + number * model_kv_page_bytes(c->model[p]);
            }
        }
        struct model_batch part = *b;
        part.tokens = NULL;
        part.runs = runs;
        model_forward_part(c->model[p], c->work[p], &part, rows);
    }
    for (int j = 0; j < b->logit_count; j++)
        memcpy(x + (size_t)b->logit_rows[j] * stride, rows + (size_t)b->logit_rows[j] * dim, dim * sizeof *x);
}

static void prepare(void *arg, struct model_work *w, const unsigned char *block, int pages)
{
    struct chain *c = arg;
    c->first_kv = block;
    c->pages = pages;
    c->rest = (struct model_rest){ run_rest, c };
    model_work_set_rest(w, &c->rest);
    for (int p = 1; p < c->parts; p++) {
        c->kv[p] = mem_aligned((size_t)pages * model_kv_page_bytes(c->model[p]));
        c->work[p] = model_work_new(c->model[p], c->pool, ROWS_MAX, 0);
    }
}

static void forget(struct chain *c)
{
    for (int p = 1; p < c->parts; p++) {
        mem_aligned_free(c->kv[p], (size_t)c->pages * model_kv_page_bytes(c->model[p]));
        model_work_free(c->work[p]);
    }
}

static void check_parts(const struct gguf_file *f, const struct kern_table *kern, const struct model *whole, int parts,
                        enum kern_type kv_type)
{
    static const struct drive how[] = {
        { .threads = 2, .chunk = POSITIONS }, { .threads = 1, .chunk = 1 }, { .threads = 2, .chunk = 7, .companions = 3 },
    };
    static float want[POSITIONS * VOCAB_MAX], got[POSITIONS * VOCAB_MAX];
    int cut[PARTS_MAX + 1], ids[POSITIONS], vocab = model_facts(whole)->vocab;
    struct chain c = { .parts = parts, .pool = pool_new(2) };
    struct err e = { 0 };
    for (int i = 0; i < POSITIONS; i++)
        ids[i] = (i * 37 + 11) % vocab;
    CHECK_INT(model_cut(f, parts, cut, &e), ERR_OK);
    CHECK_INT(cut[0], 0);
    CHECK_INT(cut[parts], model_facts(whole)->layers);
    size_t kv_bytes = 0;
    for (int p = 0; p < parts; p++) {
        struct model_load_options o = { .kern = kern, .kv_type = kv_type, .part = { cut[p], cut[p + 1] } };
        CHECK_INT(model_load(f, &o, c.pool, &c.model[p], &e), ERR_OK);
        kv_bytes += model_kv_page_bytes(c.model[p]);
    }
    CHECK_INT(kv_bytes, model_kv_page_bytes(whole)); /* every layer's keys and values are somewhere, once */
    for (size_t i = 0; i < MEM_COUNT(how); i++) {
        struct drive d = how[i];
        d.m = whole;
        drive(&d, ids, POSITIONS, want);
        d.m = c.model[0];
        d.prepare = prepare;
        d.arg = &c;
        drive(&d, ids, POSITIONS, got);
        forget(&c);
        CHECK(!memcmp(want, got, (size_t)POSITIONS * (size_t)vocab * sizeof *want));
        CHECK(c.calls > 0);
    }
    for (int p = 0; p < parts; p++)
        model_free(c.model[p]);
    pool_free(c.pool);
}

static void check_file(const struct gguf_file *f)
{
    struct kern_table kern;
    struct model *whole;
    struct err e = { 0 };
    enum kern_type kv_type = KERN_F16;
    kern_table_fill(&kern, kern_isa_detect(KERN_AMX));
    struct pool *pool = pool_new(2);
    struct model_load_options o = { .kern = &kern, .kv_type = kv_type };
    CHECK_INT(model_load(f, &o, pool, &whole, &e), ERR_OK);
    for (int parts = 2; parts <= PARTS_MAX && parts <= model_facts(whole)->layers; parts++)
        check_parts(f, &kern, whole, parts, kv_type);
    model_free(whole);
    pool_free(pool);
}

static void golden_in_parts(void)
{
    char path[512], rest[128];
    struct gguf_file *f;
    struct err e = { 0 };
    snprintf(rest, sizeof rest, "golden/models/%s.gguf", current);
    if (!shared_path(path, sizeof path, rest))
        SKIP("no golden data");
    CHECK_INT(gguf_open(path, &f, &e), ERR_OK);
    printf("# %s\n", current);
    check_file(f);
    gguf_close(f);
}

static void tiny_in_parts(void)
{
    struct buf b = { 0 };
    struct gguf_file *f;
    struct err e = { 0 };
    tiny_model(&b);
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    check_file(f);
    gguf_close(f);
    buf_release(&b);
}

/* What the parts need together is what the whole needs: no weight is left out, none is there twice. */
static void parts_share_the_memory(void)
{
    struct buf b = { 0 };
    struct gguf_file *f;
    struct err e = { 0 };
    struct model_needs whole, first, second;
    struct model_load_options o = { .kv_type = KERN_F16 };
    tiny_model(&b);
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    CHECK_INT(model_measure(f, &o, 8, 8, &whole, &e), ERR_OK);
    o.part = (struct model_part){ 0, 1 };
    CHECK_INT(model_measure(f, &o, 8, 8, &first, &e), ERR_OK);
    o.part = (struct model_part){ 1, 2 };
    CHECK_INT(model_measure(f, &o, 8, 0, &second, &e), ERR_OK);
    size_t norm = TINY_DIM * sizeof(float); /* the last norm is a vector: small, so everywhere */
    CHECK_INT(first.weight_bytes + second.weight_bytes, whole.weight_bytes + norm);
    CHECK_INT(first.kv_page_bytes + second.kv_page_bytes, whole.kv_page_bytes);
    gguf_close(f);
    buf_release(&b);
}

static void refuses_impossible_parts(void)
{
    struct buf b = { 0 };
    struct gguf_file *f;
    struct err e = { 0 };
    struct model_needs n;
    int cut[8];
    tiny_model(&b);
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    CHECK_INT(model_cut(f, TINY_LAYERS + 1, cut, &e), ERR_INVALID);
    CHECK_INT(model_cut(f, 0, cut, &e), ERR_INVALID);
    static const struct model_part wrong[] = { { 1, 1 }, { -1, 1 }, { 0, 3 }, { 2, 1 }, { 2, 3 } };
    for (size_t i = 0; i < MEM_COUNT(wrong); i++) {
        struct model_load_options o = { .kv_type = KERN_F16, .part = wrong[i] };
        CHECK_INT(model_measure(f, &o, 1, 1, &n, &e), ERR_INVALID);
    }
    gguf_close(f);
    buf_release(&b);
}

int main(void)
{
    RUN(tiny_in_parts);
    RUN(parts_share_the_memory);
    RUN(refuses_impossible_parts);
    for (size_t i = 0; i < MEM_COUNT(golden); i++) {
        current = golden[i];
        RUN(golden_in_parts);
    }
    DONE();
}
