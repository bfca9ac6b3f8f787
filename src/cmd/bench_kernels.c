/* bench_kernels -- times every kernel and divides by a limit measured in the same run.
 *
 * The limits: bytes read from memory, int8 and float32 multiply-adds in registers, on all processors together.
 * A figure is the best of several runs: what the kernel can do when nobody else wants the machine. */
#include "cmd/bench_kernels.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "kern/peak.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 5, COLS = 2048, BIG = 384 << 20, SMALL = 4 << 20, ROWS_MOST = 512 };

struct bench {
    FILE *out;
    bool json;
    int lines;
    struct pool *pool;
    struct kern_table t;
    struct kern_peak peak;
    double read_gbs, int8_gmacs, fma_gmacs;
    int rows_most;    /* the reference rung is a thousand times slower: it gets less to do */
    size_t big_bytes;
};

static double best_seconds(struct bench *b, pool_fn fn, void *arg)
{
    double best = INFINITY;
    for (int i = 0; i < (b->rows_most < ROWS_MOST ? 1 : REPEATS); i++) {
        int64_t start = clock_mono_ns();
        pool_run(b->pool, fn, arg);
        best = fmin(best, (double)(clock_mono_ns() - start) * 1e-9);
    }
    return best;
}

static void line(struct bench *b, const char *kernel, const char *type, int n, double value, const char *unit,
                 double limit)
{
    if (b->json)
        fprintf(b->out, "%s\n  {\"kernel\": \"%s\", \"type\": \"%s\", \"n\": %d, \"value\": %.4g, \"unit\": \"%s\", "
                        "\"fraction\": %.3f}", b->lines ? "," : "", kernel, type, n, value, unit, value / limit);
    else
        fprintf(b->out, "%-14s %-8s %5d %10.1f %-7s %5.0f %%\n", kernel, type, n, value, unit, 100 * value / limit);
    fflush(b->out);
    b->lines++;
}

/* ---- limits */

struct peak_job {
    kern_peak_fn *fn;
    const unsigned char *data;
    size_t bytes;
    uint64_t rounds, sink[POOL_THREADS_MAX];
};

static void peak_run(struct team *t, void *arg)
{
    struct peak_job *j = arg;
    if (j->fn) {
        j->sink[t->rank] = j->fn(j->rounds);
        return;
    }
    size_t share = j->bytes / (size_t)t->count / 1024 * 1024;
    j->sink[t->rank] = kern_peak_read(j->data + share * (size_t)t->rank, share);
}

static double peak_gmacs(struct bench *b, kern_peak_fn *fn)
{
    static struct peak_job j;
    j = (struct peak_job){ .fn = fn, .rounds = 8 << 20 };
    double s = best_seconds(b, peak_run, &j), macs = 0;
    for (int i = 0; i < pool_threads(b->pool); i++)
        macs += (double)j.sink[i];
    return macs / s * 1e-9;
}

static void limits(struct bench *b, const unsigned char *big)
{
    static struct peak_job j;
    j = (struct peak_job){ .data = big, .bytes = BIG };
    b->read_gbs = BIG / best_seconds(b, peak_run, &j) * 1e-9;
    b->int8_gmacs = peak_gmacs(b, b->peak.int8);
    b->fma_gmacs = peak_gmacs(b, b->peak.fma);
    line(b, "read", "memory", 0, b->read_gbs, "GB/s", b->read_gbs);
    line(b, "peak", "int8", 0, b->int8_gmacs, "GMAC/s", b->int8_gmacs);
    line(b, "peak", "float32", 0, b->fma_gmacs, "GMAC/s", b->fma_gmacs);
}

/* ---- matrix products */

struct product_job {
    const struct kern_table *t;
    struct kern_matmul op;
    int again;
};

static void product_run(struct team *t, void *arg)
{
    struct product_job *j = arg;
    int panels = j->op.w->panels, chunks = panels < 16 ? 1 : panels / 16;
    for (int k = 0; k < j->again; k++) {
        for (int c; (c = team_next(t, chunks)) >= 0;)
            j->t->matmul(&j->op, (int)((int64_t)panels * c / chunks), (int)((int64_t)panels * (c + 1) / chunks));
        team_barrier(t);
    }
}

/* A matrix that fills `bytes` of memory: a few panels of random rows, over and over. */
static void fill_matrix(struct kern_matrix *m, enum kern_type type, size_t bytes, unsigned char *memory)
{
    enum { SEED_PANELS = 4, SEED_ROWS = SEED_PANELS * KERN_PANEL_ROWS };
    size_t row = kern_row_bytes(type, COLS);
    unsigned char *file = mem_new(SEED_ROWS, row);
    float x[COLS];
    struct rng r = { 1, 0 };
    for (size_t i = 0; i < SEED_ROWS; i++) {
        for (int c = 0; c < COLS; c++)
            x[c] = (float)(rng_next_unit(&r) - 0.5);
        kern_quantize(type, x, file + i * row, COLS);
    }
    kern_matrix_init(m, type, SEED_ROWS, COLS);
    int panels = (int)(bytes / m->panel_bytes);
    kern_matrix_init(m, type, panels * KERN_PANEL_ROWS, COLS);
    m->data = memory;
    kern_matrix_pack(m, file, 0, SEED_PANELS);
    for (int p = SEED_PANELS; p < panels; p++)
        memcpy(memory + (size_t)p * m->panel_bytes, memory + (size_t)(p % SEED_PANELS) * m->panel_bytes,
               m->panel_bytes);
    mem_free(file);
}

static void products(struct bench *b, enum kern_type type, unsigned char *big, const float *x, float *y)
{
    static const int batches[] = { 1, 4, 8, 32, 512 };
    const char *name = kern_type_info((int)type)->name;
    bool plain = kern_type_is_float(type);
    size_t q8 = kern_q8_bytes(COLS);
    unsigned char *act = mem_aligned(ROWS_MOST * q8);
    for (size_t i = 0; i < ROWS_MOST; i++)
        b->t.quantize_q8(x + i * COLS, act + i * q8, COLS);
    struct kern_matrix m;
    struct product_job j = { &b->t, { .w = &m, .x = plain ? (const void *)x : act, .y = y,
                                      .x_stride = plain ? COLS * sizeof(float) : q8 }, 1 };
    fill_matrix(&m, type, b->big_bytes, big);
    j.op.n = 1;
    j.op.y_stride = (size_t)m.rows;
    double bytes = (double)kern_matrix_bytes(&m);
    line(b, "matmul", name, 1, bytes / best_seconds(b, product_run, &j) * 1e-9, "GB/s", b->read_gbs);
    fill_matrix(&m, type, b->big_bytes < SMALL ? b->big_bytes : SMALL, big);
    bytes = (double)kern_matrix_bytes(&m);
    j.op.y_stride = (size_t)m.rows;
    j.again = 8;
    line(b, "matmul cached", name, 1, 8 * bytes / best_seconds(b, product_run, &j) * 1e-9, "GB/s", b->read_gbs);
    for (size_t i = 1; i < MEM_COUNT(batches) && batches[i] <= b->rows_most; i++) {
        j.op.n = batches[i];
        j.again = batches[i] > 100 ? 1 : 4;
        double macs = (double)j.again * m.rows * (double)COLS * batches[i];
        line(b, "matmul", name, batches[i], macs / best_seconds(b, product_run, &j) * 1e-9, "GMAC/s",
             plain ? b->fma_gmacs : b->int8_gmacs);
    }
    mem_aligned_free(act, ROWS_MOST * q8);
}

/* ---- attention */

struct attn_job {
    const struct kern_table *t;
    struct kern_attn op;
    void *scratch[POOL_THREADS_MAX];
};

static void attn_run(struct team *t, void *arg)
{
    struct attn_job *j = arg;
    for (int h; (h = team_next(t, j->op.kv->kv_heads)) >= 0;)
        j->t->attn(&j->op, h, j->scratch[t->rank]);
    team_barrier(t);
}

static void attention(struct bench *b, enum kern_type type, unsigned char *big, const float *q, float *out)
{
    enum { HEADS = 32, KV_HEADS = 8, DIM = 64, TOKENS = 65536, PAGES = TOKENS / KERN_PAGE_TOKENS, QUERIES = 256 };
    static unsigned char *pages[PAGES];
    struct kern_kv kv = { type, KV_HEADS, DIM, DIM, 0, 0 };
    kv.v_offset = kern_kv_k_bytes(&kv);
    size_t size = kv.v_offset + kern_kv_v_bytes(&kv);
    int fit = (int)(b->big_bytes / size) < PAGES ? (int)(BIG / size) : PAGES, tokens = fit * KERN_PAGE_TOKENS;
    for (int i = 0; i < fit; i++) {
        pages[i] = big + (size_t)i * size;
        for (int s = 0; s < KERN_PAGE_TOKENS && i == 0; s++)
            b->t.kv_store(&kv, pages[0], s, q + s * KV_HEADS * DIM, q + 5000 + s * KV_HEADS * DIM);
        if (i)
            memcpy(pages[i], pages[0], size);
    }
    static struct attn_job j;
    j = (struct attn_job){ &b->t, { .kv = &kv, .pages = pages, .q = q, .q_stride = HEADS * DIM, .out = out,
                                    .out_stride = HEADS * DIM, .heads = HEADS, .scale = 0.125f }, { NULL } };
    for (int i = 0; i < pool_threads(b->pool); i++)
        j.scratch[i] = mem_new(1, kern_attn_scratch_bytes(&kv, HEADS, QUERIES));
    const char *name = kern_type_info((int)type)->name;
    j.op.n_q = 1;
    j.op.pos_first = tokens - 1;
    line(b, "attention", name, 1, (double)fit * (double)size / best_seconds(b, attn_run, &j) * 1e-9, "GB/s",
         b->read_gbs);
    int queries = QUERIES < b->rows_most ? QUERIES : b->rows_most, before = tokens / 2 < 4096 ? tokens / 2 : 4096;
    j.op.n_q = queries;
    j.op.pos_first = before;
    double macs = 2.0 * HEADS * DIM * queries * (before + queries / 2);
    line(b, "attention", name, queries, macs / best_seconds(b, attn_run, &j) * 1e-9, "GMAC/s", b->fma_gmacs);
    for (int i = 0; i < pool_threads(b->pool); i++)
        mem_free(j.scratch[i]);
}

/* ---- rows */

enum row_kind { ROW_QUANTIZE, ROW_RMS, ROW_ROPE, ROW_ADD, ROW_SOFTMAX, ROW_SILU, ROW_GELU, ROW_ARGMAX, ROW_COUNT };
static const char *const row_names[ROW_COUNT] = {
    "quantize_q8", "rms_norm", "rope", "add", "softmax", "silu_mul", "gelu_mul", "argmax",
};

struct row_job {
    const struct kern_table *t;
    enum row_kind kind;
    float *y;
    const float *x;
    volatile int sink;
};

static void row_run(struct team *team, void *arg)
{
    struct row_job *j = arg;
    const struct kern_table *t = j->t;
    const int n = 4096;
    if (team->rank != 0) /* on one processor: these run beside others */
        return;
    for (int i = 0; i < 256; i++) {
        switch (j->kind) {
        case ROW_QUANTIZE: t->quantize_q8(j->x, j->y, n); break;
        case ROW_RMS: t->rms_norm(j->y, j->x, j->x, n, 1e-5f); break;
        case ROW_ROPE: t->rope(j->y, n / 64, 64, 64, j->x, KERN_ROPE_HALVES); break;
        case ROW_ADD: t->add(j->y, j->x, n); break;
        case ROW_SOFTMAX: t->softmax(j->y, n); break;
        case ROW_SILU: t->silu_mul(j->y, j->x, j->x, n); break;
        case ROW_GELU: t->gelu_mul(j->y, j->x, j->x, n); break;
        default: j->sink = t->argmax(j->x, n); break;
        }
    }
}

static void rows(struct bench *b, float *y, const float *x)
{
    for (int k = 0; k < ROW_COUNT; k++) {
        struct row_job j = { &b->t, (enum row_kind)k, y, x, 0 };
        memcpy(y, x, 4096 * sizeof(float));
        line(b, row_names[k], "F32", 1, 256 * 4096 * 4 / best_seconds(b, row_run, &j) * 1e-9, "GB/s", b->read_gbs);
    }
}

int bench_kernels(FILE *out, bool json, enum kern_isa cap)
{
    static const enum kern_type types[] = {
        KERN_Q4_0, KERN_Q4_K, KERN_Q8_0, KERN_Q6_K, KERN_Q5_0, KERN_Q5_K, KERN_Q4_1, KERN_Q5_1, KERN_IQ4_NL,
        KERN_IQ4_XS, KERN_MXFP4, KERN_Q3_K, KERN_Q2_K, KERN_F16, KERN_BF16, KERN_F32,
    };
    static const enum kern_type kv_types[] = { KERN_F16, KERN_Q8_0, KERN_BF16, KERN_F32 };
    struct bench b = { .out = out, .json = json, .pool = pool_new(pool_default_threads()) };
    enum kern_isa isa = kern_isa_detect(cap);
    kern_table_fill(&b.t, isa);
    kern_peak_fill(&b.peak, isa);
    b.rows_most = isa == KERN_REF ? 8 : ROWS_MOST;
    b.big_bytes = isa == KERN_REF ? BIG / 256 : BIG;
    size_t x_bytes = (size_t)ROWS_MOST * COLS * sizeof(float), y_bytes = (size_t)64 << 20;
    unsigned char *big = mem_aligned(BIG);
    float *x = mem_aligned(x_bytes), *y = mem_aligned(y_bytes);
    struct rng r = { 2, 0 };
    for (size_t i = 0; i < x_bytes / sizeof(float); i++)
        x[i] = (float)(rng_next_unit(&r) - 0.5);
    memset(big, 1, BIG);
    if (json)
        fprintf(out, "{\"isa\": \"%s\", \"threads\": %d, \"kernels\": [", b.t.name, pool_threads(b.pool));
    else
        fprintf(out, "%s, %d threads\n%-14s %-8s %5s %10s %-7s %s\n", b.t.name, pool_threads(b.pool), "kernel", "type",
                "rows", "rate", "", "of limit");
    limits(&b, big);
    for (size_t i = 0; i < MEM_COUNT(types); i++)
        products(&b, types[i], big, x, y);
    for (size_t i = 0; i < MEM_COUNT(kv_types); i++)
        attention(&b, kv_types[i], big, x, y);
    rows(&b, y, x);
    if (json)
        fputs("\n]}\n", out);
    mem_aligned_free(big, BIG);
    mem_aligned_free(x, x_bytes);
    mem_aligned_free(y, y_bytes);
    pool_free(b.pool);
    return 0;
}
