/* matmul_test -- every rung this machine can run gives the reference's bits: all formats, shapes, batch sizes. */
#include "common.h"

static struct kern_table ref;
static uint64_t seed = 20261121;

/* Random bytes are hostile weights: half of the scales are huge, some infinite or NaN. `tame` keeps them small. */
static void random_weights(struct rng *r, struct kern_matrix *m, enum kern_type type, int rows, int cols, bool tame)
{
    size_t row = kern_row_bytes(type, (size_t)cols);
    unsigned char *file = malloc(row * (size_t)rows);
    float *x = malloc(sizeof(float) * (size_t)cols);
    for (int i = 0; i < rows; i++) {
        fill_gauss(r, x, (size_t)cols, 0.05f);
        if (tame)
            kern_quantize(type, x, file + row * (size_t)i, (size_t)cols);
        else
            for (size_t k = 0; k < row; k++)
                file[row * (size_t)i + k] = (unsigned char)rng_next(r);
    }
    kern_matrix_init(m, type, rows, cols);
    m->data = aligned_alloc(64, kern_matrix_bytes(m));
    kern_matrix_pack(m, file, 0, m->panels);
    free(file);
    free(x);
}

struct shape {
    enum kern_type type;
    int rows, cols, n;
    bool gather, bias, hostile;
};

static void one(const struct kern_table *t, struct rng *r, const struct kern_matrix *m, const struct shape *s)
{
    int held = s->gather ? s->n + 3 : s->n, cols = s->cols;
    size_t stride = (size_t)s->rows + 5, f = sizeof(float), size = (size_t)s->n * stride;
    float *x = malloc(f * (size_t)(held * cols)), *want = malloc(f * size), *got = malloc(f * size);
    size_t q8 = kern_q8_bytes(cols);
    unsigned char *a = aligned_alloc(64, q8 * (size_t)held), *b = aligned_alloc(64, q8 * (size_t)held);
    float *bias = malloc(f * (size_t)s->rows);
    int32_t pick[512];
    fill_gauss(r, x, (size_t)(held * cols), 1);
    for (int i = 0; s->hostile && i < held * cols / 40 + 1; i++)
        x[rng_below(r, (uint64_t)(held * cols))] = evil(r);
    fill_gauss(r, bias, (size_t)s->rows, 1);
    for (int i = 0; i < s->n; i++)
        pick[i] = (int32_t)rng_below(r, (uint64_t)held);
    for (int i = 0; i < held; i++) {
        ref.quantize_q8(x + i * cols, a + (size_t)i * q8, cols);
        t->quantize_q8(x + i * cols, b + (size_t)i * q8, cols);
    }
    CHECK(s->hostile || !memcmp(a, b, q8 * (size_t)held));
    bool plain = kern_type_is_float(s->type);
    for (size_t i = 0; i < size; i++)
        want[i] = got[i] = -7;
    struct kern_matmul op = { .w = m, .x = plain ? (void *)x : (void *)a, .x_stride = plain ? f * (size_t)cols : q8,
                              .n = s->n, .x_rows = s->gather ? pick : NULL, .y = want, .y_stride = stride,
                              .bias = s->bias ? bias : NULL };
    ref.matmul(&op, 0, m->panels);
    op.y = got;
    op.x = plain ? (void *)x : (void *)b;
    int cut = m->panels > 1 ? 1 + (int)rng_below(r, (uint64_t)m->panels - 1) : 1;
    t->matmul(&op, 0, cut);
    t->matmul(&op, cut, m->panels);
    long at = first_difference(want, got, size);
    if (at >= 0)
        printf("# %s %s %dx%d n=%d gather=%d bias=%d hostile=%d: y[%ld][%ld] = %a, not %a (seed %" PRIu64 ")\n", t->name,
               kern_type_info((int)s->type)->name, s->rows, cols, s->n, s->gather, s->bias, s->hostile,
               at / (long)stride, at % (long)stride, (double)got[at], (double)want[at], seed);
    CHECK(at < 0);
    free(x), free(want), free(got), free(a), free(b), free(bias);
}

static void all_shapes(const struct kern_table *t)
{
    static const int rows[] = { 1, 16, 33, 77, 15 }, cols32[] = { 32, 256, 96, 608, 288 }, cols256[] = { 256, 512, 768 };
    struct rng r = { seed, 0 };
    for (int i = 0; i < TYPE_COUNT; i++) {
        bool k = kern_type_info(all_types[i])->block_len == 256;
        for (int c = 0; c < (k ? 3 : 5); c++) {
            struct shape s = { .type = all_types[i], .rows = rows[c], .cols = k ? cols256[c] : cols32[c] };
            for (int hostile = 0; hostile < 2; hostile++) {
                struct kern_matrix m;
                s.hostile = hostile;
                random_weights(&r, &m, s.type, s.rows, s.cols, !hostile);
                for (s.n = 1; s.n <= 40; s.n += c == 1 ? 1 : 2 + (int)rng_below(&r, 15)) {
                    s.gather = rng_below(&r, 2);
                    s.bias = rng_below(&r, 2);
                    one(t, &r, &m, &s);
                }
                free(m.data);
            }
        }
    }
}

/* More rows than one row-block holds, more columns than one chunk. */
static void large_batch(const struct kern_table *t)
{
    static const enum kern_type types[] = { KERN_Q4_K, KERN_Q6_K, KERN_F16 };
    struct rng r = { seed + 1, 0 };
    for (int i = 0; i < 3; i++) {
        struct shape s = { types[i], 48, 2048, 253, i % 2, true, false };
        struct kern_matrix m;
        random_weights(&r, &m, s.type, s.rows, s.cols, true);
        one(t, &r, &m, &s);
        free(m.data);
    }
}

static void rung(enum kern_isa isa)
{
    struct kern_table t;
    if (kern_isa_detect(isa) != isa)
        SKIP("this machine does not have the instructions");
    kern_table_fill(&t, isa);
    all_shapes(&t);
    large_batch(&t);
}

static void test_avx2(void) { rung(KERN_AVX2); }
static void test_avx512(void) { rung(KERN_AVX512); }
static void test_neon(void) { rung(KERN_NEON); }
static void test_dotprod(void) { rung(KERN_DOTPROD); }

int main(void)
{
    kern_table_fill(&ref, KERN_REF);
    RUN(test_avx2);
    RUN(test_avx512);
    RUN(test_neon);
    RUN(test_dotprod);
    DONE();
}
