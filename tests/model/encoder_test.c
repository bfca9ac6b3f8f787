/* encoder_test -- the golden encoders against the reference engine's pooled vectors; the same bits whatever else is in
 * the batch, on every rung and number of threads. shared/golden/README.md says how the vectors were made. */
#include "../test.h"
#include "../shared.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/model.h"

enum { DIM = 128, IDS_MAX = 256, VOCAB = 320, ROWS_MAX = 1024 };

static const char *const names[] = { "bert", "bert-cls", "nomic-bert" };
static const char *current;
static int32_t ids[IDS_MAX];
static int id_count;
static float want[DIM], first_rung[IDS_MAX * DIM];

static bool read_truth(void)
{
    char path[512], rest[128];
    struct buf b = { 0 };
    struct err e = { 0 };
    if (!shared_path(path, sizeof path, "golden/embeddings/tokens.txt") || file_read(path, 1 << 16, &b, &e))
        return false;
    id_count = 0;
    for (char *p = b.data, *end; id_count < IDS_MAX; p = end) {
        long v = strtol(p, &end, 10);
        if (end == p)
            break;
        ids[id_count++] = (int32_t)v;
    }
    buf_clear(&b);
    snprintf(rest, sizeof rest, "golden/embeddings/%s.embedding", current);
    bool ok = id_count && !file_read(shared_path(path, sizeof path, rest), 1 << 16, &b, &e) && b.len == sizeof want;
    if (ok)
        memcpy(want, b.data, sizeof want);
    buf_release(&b);
    return ok;
}

/* The states of ids behind `before` and in front of `after` other texts of other lengths: out [id_count][DIM]. */
static void encode(const struct model *m, int threads, int before, int after, float *out)
{
    int texts = before + 1 + after, rows = 0, own = 0, pages = 0;
    struct pool *pool = pool_new(threads);
    struct model_work *w = model_work_new(m, pool, ROWS_MAX, 0);
    struct model_run *runs = mem_new((size_t)texts, sizeof *runs);
    int32_t *tokens = mem_new(ROWS_MAX, sizeof *tokens), *wanted = mem_new(ROWS_MAX, sizeof *wanted);
    unsigned char *block = mem_aligned(ROWS_MAX * model_kv_page_bytes(m)), **at = mem_new(ROWS_MAX, sizeof *at);
    for (int i = 0; i < ROWS_MAX; i++)
        at[i] = block + (size_t)i * model_kv_page_bytes(m);
    for (int t = 0; t < texts; t++) {
        bool mine = t == before;
        int n = mine ? id_count : 1 + 13 * t % 70;
        own = mine ? rows : own;
        runs[t] = (struct model_run){ .rows = n, .pages = at + pages };
        for (int i = 0; i < n; i++)
            tokens[rows + i] = mine ? ids[i] : (int32_t)(rng_unit(5, (uint64_t)(rows + i)) * VOCAB);
        rows += n;
        pages += (n + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS;
    }
    for (int i = 0; i < id_count; i++)
        wanted[i] = own + i;
    struct model_batch b = { .rows = rows, .tokens = tokens, .runs = runs, .run_count = texts, .state_rows = wanted,
                             .state_count = id_count };
    model_forward(m, w, &b);
    for (int i = 0; i < id_count; i++)
        memcpy(out + (size_t)i * DIM, model_state(m, w, own + i), DIM * sizeof *out);
    model_work_free(w);
    pool_free(pool);
    mem_free(runs);
    mem_free(tokens);
    mem_free(wanted);
    mem_free(at);
    mem_aligned_free(block, ROWS_MAX * model_kv_page_bytes(m));
}

static double nmse(const struct model *m, const float *states)
{
    double error = 0, power = 0;
    for (int d = 0; d < DIM; d++) {
        double v = 0;
        for (int i = 0; i < id_count; i++)
            v += (double)states[i * DIM + d];
        v = model_facts(m)->pooling == MODEL_POOL_CLS ? (double)states[d] : v / id_count;
        error += (v - (double)want[d]) * (v - (double)want[d]);
        power += (double)want[d] * (double)want[d];
    }
    return error / power;
}

static void check_rung(const struct gguf_file *f, enum kern_isa isa, bool first)
{
    static float states[IDS_MAX * DIM], again[IDS_MAX * DIM];
    struct kern_table kern;
    struct model *m;
    struct err e = { 0 };
    kern_table_fill(&kern, isa);
    struct pool *pool = pool_new(2);
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_F32 };
    enum err_code c = model_load(f, &o, pool, &m, &e);
    pool_free(pool);
    if (c)
        printf("# %s\n", e.text);
    CHECK_INT(c, ERR_OK);
    if (c)
        return;
    size_t bytes = (size_t)id_count * DIM * sizeof *states;
    encode(m, 2, 0, 0, states);
    double error = nmse(m, states);
    printf("# %s %s: %.3g\n", current, kern.name, error);
    CHECK(error <= 1e-6);
    CHECK(!model_facts(m)->causal);
    if (first)
        memcpy(first_rung, states, bytes);
    CHECK(!memcmp(first_rung, states, bytes));
    if (isa != KERN_REF) { /* the others share the slow one's bits */
        encode(m, 1, 5, 3, again);
        CHECK(!memcmp(states, again, bytes));
        encode(m, 3, 0, 9, again);
        CHECK(!memcmp(states, again, bytes));
    }
    model_free(m);
}

static void agrees_with_the_reference(void)
{
    char path[512], rest[128];
    struct gguf_file *f;
    struct err e = { 0 };
    if (!read_truth())
        SKIP("no golden data");
    snprintf(rest, sizeof rest, "golden/embeddings/%s.gguf", current);
    CHECK_INT(gguf_open(shared_path(path, sizeof path, rest), &f, &e), ERR_OK);
    int best = (int)kern_isa_detect(KERN_AMX);
    for (int isa = KERN_REF; isa <= best; isa++)
        check_rung(f, (enum kern_isa)isa, isa == KERN_REF);
    gguf_close(f);
}

/* Learned positions end where they end. */
static void refuses_more_positions_than_learned(void)
{
    char path[512];
    struct gguf_file *f;
    struct model_needs n;
    struct err e = { 0 };
    struct model_load_options o = { .kv_type = KERN_F32, .ctx = 257 };
    if (!shared_path(path, sizeof path, "golden/embeddings/bert.gguf"))
        SKIP("no golden data");
    CHECK_INT(gguf_open(path, &f, &e), ERR_OK);
    CHECK_INT(model_measure(f, &o, 1, 0, &n, &e), ERR_INVALID);
    CHECK(strstr(e.text, "256") && strstr(e.text, "257"));
    gguf_close(f);
}

int main(void)
{
    for (size_t i = 0; i < MEM_COUNT(names); i++) {
        current = names[i];
        RUN(agrees_with_the_reference);
    }
    RUN(refuses_more_positions_than_learned);
    DONE();
}
