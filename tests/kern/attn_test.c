/* attn_test -- attention on every rung: the reference's bits, for all KV types, groups, windows and evil pages. */
#include "common.h"

static struct kern_table ref;
static uint64_t seed = 7112026;

struct shape {
    struct kern_kv kv;
    int heads, len, n_q, window;
    float cap;
    bool sinks, hostile;
};

enum { PAGES = 10 };

static void fill_pages(struct rng *r, const struct kern_table *rung, const struct shape *s, unsigned char **pages,
                       size_t size)
{
    size_t kn = (size_t)(s->kv.kv_heads * s->kv.k_dim), vn = (size_t)(s->kv.kv_heads * s->kv.v_dim);
    float *k = malloc(kn * sizeof(float)), *v = malloc(vn * sizeof(float));
    unsigned char *again = malloc(size);
    for (int i = 0; i < PAGES; i++) {
        pages[i] = aligned_alloc(64, size);
        memset(pages[i], 0xff, size); /* NaN wherever nothing is stored */
    }
    for (int t = 0; t < s->len; t++) {
        fill_gauss(r, k, kn, 1);
        fill_gauss(r, v, vn, 1);
        if (s->hostile && rng_below(r, 40) == 0)
            k[rng_below(r, kn)] = evil(r);
        if (s->hostile && rng_below(r, 40) == 0)
            v[rng_below(r, vn)] = evil(r);
        memcpy(again, pages[t / 32], size);
        ref.kv_store(&s->kv, pages[t / 32], t % 32, k, v);
        rung->kv_store(&s->kv, again, t % 32, k, v);
        CHECK(!memcmp(again, pages[t / 32], size));
    }
    free(k), free(v), free(again);
}

static void one(const struct kern_table *t, struct rng *r, struct shape *s)
{
    s->kv.k_offset = 128;
    s->kv.v_offset = 128 + kern_kv_k_bytes(&s->kv);
    CHECK(s->kv.v_offset % 64 == 0 && kern_kv_v_bytes(&s->kv) % 64 == 0);
    unsigned char *pages[PAGES];
    fill_pages(r, t, s, pages, s->kv.v_offset + kern_kv_v_bytes(&s->kv));
    size_t qs = (size_t)(s->heads * s->kv.k_dim) + 3, os = (size_t)(s->heads * s->kv.v_dim) + 5;
    size_t qn = qs * (size_t)s->n_q, on = os * (size_t)s->n_q;
    float *q = malloc(qn * 4), *want = malloc(on * 4), *got = malloc(on * 4), sinks[64];
    fill_gauss(r, q, qn, 1);
    if (s->hostile)
        q[rng_below(r, qn)] = evil(r);
    fill_gauss(r, sinks, 64, 1);
    for (size_t i = 0; i < on; i++)
        want[i] = got[i] = -7;
    void *scratch = malloc(kern_attn_scratch_bytes(&s->kv, s->heads, s->n_q));
    struct kern_attn op = { .kv = &s->kv, .pages = pages, .q = q, .q_stride = qs, .out = want, .out_stride = os,
                            .n_q = s->n_q, .pos_first = s->len - s->n_q, .heads = s->heads, .scale = 0.125f,
                            .softcap = s->cap, .sinks = s->sinks ? sinks : NULL, .window = s->window };
    for (int h = 0; h < s->kv.kv_heads; h++)
        ref.attn(&op, h, scratch);
    op.out = got;
    for (int h = 0; h < s->kv.kv_heads; h++)
        t->attn(&op, h, scratch);
    long at = first_difference(want, got, on);
    if (at >= 0)
        printf("# %s type %d heads %d/%d dims %d/%d len %d n_q %d window %d cap %g sinks %d hostile %d: out[%ld][%ld]"
               " = %a, not %a (seed %" PRIu64 ")\n", t->name, s->kv.type, s->heads, s->kv.kv_heads, s->kv.k_dim,
               s->kv.v_dim, s->len, s->n_q, s->window, (double)s->cap, s->sinks, s->hostile, at / (long)os,
               at % (long)os, (double)got[at], (double)want[at], seed);
    CHECK(at < 0);
    for (size_t i = 0; !s->hostile && i < on; i++)
        CHECK(!isnan(want[i])); /* nothing leaks out of slots never stored */
    for (int i = 0; i < PAGES; i++)
        free(pages[i]);
    free(q), free(want), free(got), free(scratch);
}

static void rung(enum kern_isa isa)
{
    static const enum kern_type types[] = { KERN_F16, KERN_BF16, KERN_Q8_0, KERN_F32 };
    static const int dims[] = { 64, 80, 128, 40, 256, 24, 72 }, groups[] = { 1, 2, 3, 4, 5, 7, 8, 33, 64 };
    struct kern_table t;
    if (kern_isa_detect(isa) != isa)
        SKIP("this machine does not have the instructions");
    kern_table_fill(&t, isa);
    struct rng r = { seed, 0 };
    for (int i = 0; i < 100; i++) {
        struct shape s = { .kv = { .type = types[i % 4], .kv_heads = 1 + (int)rng_below(&r, 2) } };
        int group = groups[rng_below(&r, 9)];
        s.kv.k_dim = dims[rng_below(&r, 7)];
        s.kv.v_dim = rng_below(&r, 3) ? s.kv.k_dim : dims[rng_below(&r, 7)];
        if (group * s.kv.kv_heads > 64)
            s.kv.kv_heads = 1;
        s.heads = group * s.kv.kv_heads;
        s.len = 1 + (int)rng_below(&r, group > 8 ? 70 : PAGES * 32);
        s.n_q = rng_below(&r, 2) ? 1 : 1 + (int)rng_below(&r, s.len < 70 ? (uint64_t)s.len : 70);
        s.window = rng_below(&r, 2) ? 0 : 1 + (int)rng_below(&r, 100);
        s.cap = rng_below(&r, 3) ? 0 : 20;
        s.sinks = rng_below(&r, 3) == 0;
        s.hostile = rng_below(&r, 3) == 0;
        one(&t, &r, &s);
    }
}

/* A query's result does not depend on which queries came with it. */
static void test_batch_free(void)
{
    struct kern_table t;
    kern_table_fill(&t, kern_isa_detect(KERN_ISA_COUNT - 1));
    struct rng r = { seed, 0 };
    struct shape s = { .kv = { KERN_F16, 2, 64, 64, 0, 0 }, .heads = 8, .len = 200, .n_q = 40 };
    s.kv.v_offset = kern_kv_k_bytes(&s.kv);
    unsigned char *pages[PAGES];
    fill_pages(&r, &t, &s, pages, s.kv.v_offset + kern_kv_v_bytes(&s.kv));
    static float q[40 * 512], all[40 * 512], alone[40 * 512];
    fill_gauss(&r, q, 40 * 512, 1);
    void *scratch = malloc(kern_attn_scratch_bytes(&s.kv, 8, 40));
    struct kern_attn op = { .kv = &s.kv, .pages = pages, .q = q, .q_stride = 512, .out = all, .out_stride = 512,
                            .n_q = 40, .pos_first = 160, .heads = 8, .scale = 0.125f };
    for (int h = 0; h < 2; h++)
        t.attn(&op, h, scratch);
    op.n_q = 1;
    for (int i = 0; i < 40; i++, op.pos_first++) {
        op.q = q + i * 512;
        op.out = alone + i * 512;
        for (int h = 0; h < 2; h++)
            t.attn(&op, h, scratch);
    }
    CHECK(!memcmp(all, alone, sizeof all));
    for (int i = 0; i < PAGES; i++)
        free(pages[i]);
    free(scratch);
}

static void test_avx2(void) { rung(KERN_AVX2); }
static void test_avx512(void) { rung(KERN_AVX512); }
static void test_neon(void) { rung(KERN_NEON); }

int main(void)
{
    kern_table_fill(&ref, KERN_REF);
    RUN(test_avx2);
    RUN(test_avx512);
    RUN(test_neon);
    RUN(test_batch_free);
    DONE();
}
