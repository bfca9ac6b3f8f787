/* vec_test -- norms, rope, activations on every rung: the reference's bits at every length and on evil values. */
#include "common.h"

static struct kern_table ref, now;
static uint64_t seed = 2718;
enum { N = 300 };
static float x[N], g[N], w[N], b[N], want[N], got[N];

static void same(const char *what, int n)
{
    long at = first_difference(want, got, N);
    if (at >= 0)
        printf("# %s %s n=%d [%ld] = %a, not %a; x %a g %a (seed %" PRIu64 ")\n", now.name, what, n, at,
               (double)got[at], (double)want[at], (double)x[at], (double)g[at], seed);
    CHECK(at < 0);
}

static void reset(void)
{
    memcpy(want, x, sizeof want);
    memcpy(got, x, sizeof got);
}

#define SAME(name, call_ref, call_now) do { reset(); ref.call_ref; now.call_now; same(name, n); } while (0)

static void norms(int n)
{
    SAME("rms", rms_norm(want, x, w, n, 1e-5f), rms_norm(got, x, w, n, 1e-5f));
    SAME("rms in place", rms_norm(want, want, NULL, n, 1e-5f), rms_norm(got, got, NULL, n, 1e-5f));
    SAME("layer", layer_norm(want, x, w, b, n, 1e-5f), layer_norm(got, x, w, b, n, 1e-5f));
    SAME("layer bare", layer_norm(want, want, NULL, NULL, n, 1e-5f), layer_norm(got, got, NULL, NULL, n, 1e-5f));
    SAME("l2", l2_norm(want, x, n, 1e-6f), l2_norm(got, x, n, 1e-6f));
}

static void elements(int n)
{
    SAME("add", add(want, g, n), add(got, g, n));
    SAME("scale", scale(want, 1.7f, n), scale(got, 1.7f, n));
    SAME("add_scaled", add_scaled(want, g, -0.3f, n), add_scaled(got, g, -0.3f, n));
    SAME("softcap", softcap(want, 30, n), softcap(got, 30, n));
    SAME("softmax", softmax(want, n), softmax(got, n));
    SAME("silu", silu_mul(want, g, x, n), silu_mul(got, g, x, n));
    SAME("gelu_mul", gelu_mul(want, g, x, n), gelu_mul(got, g, x, n));
    SAME("gelu", gelu(want, n), gelu(got, n));
    SAME("swiglu", swiglu_oai(want, g, x, n, 1.702f, 7), swiglu_oai(got, g, x, n, 1.702f, 7));
    CHECK_INT(now.argmax(x, n), ref.argmax(x, n));
}

static void ropes(int n)
{
    int dim = n / 3 + 2, rot = dim / 2 * 2;
    for (int style = 0; style < 2; style++)
        for (int r = 2; r <= rot; r += rot > 2 ? rot - 2 : 1)
            SAME("rope", rope(want, 2, dim, r, g, (enum kern_rope_style)style),
                 rope(got, 2, dim, r, g, (enum kern_rope_style)style));
}

static void rung(enum kern_isa isa)
{
    if (kern_isa_detect(isa) != isa)
        SKIP("this machine does not have the instructions");
    kern_table_fill(&now, isa);
    struct rng r = { seed, 0 };
    for (int n = 1; n <= 290; n++) {
        for (int hostile = 0; hostile < 3; hostile++) {
            fill_gauss(&r, x, N, 3);
            fill_gauss(&r, g, N, 3);
            fill_gauss(&r, w, N, 1);
            fill_gauss(&r, b, N, 1);
            for (int i = 0; i < N && hostile; i++) {
                if (hostile == 2 || rng_below(&r, 20) == 0)
                    x[i] = evil(&r);
                if (hostile == 2 || rng_below(&r, 20) == 0)
                    g[i] = evil(&r);
            }
            norms(n);
            elements(n);
            ropes(n);
        }
    }
}

/* Every float's exp would take a minute; every 4099th, and the table's own silu over the same walk. */
static void exp_walk(enum kern_isa isa)
{
    if (kern_isa_detect(isa) != isa)
        SKIP("this machine does not have the instructions");
    kern_table_fill(&now, isa);
    uint32_t bits = 0;
    for (int round = 0; round < 3600; round++) {
        for (int i = 0; i < N; i++, bits += 4099)
            memcpy(x + i, &bits, 4);
        int n = N;
        SAME("gelu", gelu(want, n), gelu(got, n));
        SAME("softcap", softcap(want, 1, n), softcap(got, 1, n));
    }
}

/* What gelu, silu and the others compute, against libm in double. */
static void test_values(void)
{
    for (float v = -12; v < 12; v += 0.0371f) {
        double u = 0.79788456080286535588 * ((double)v + 0.044715 * pow((double)v, 3));
        float y = v, one = 1, up = 0.5f;
        ref.gelu(&y, 1);
        CHECK_NEAR(y, 0.5 * (double)v * (1 + tanh(u)), 2e-6 * fabs((double)v) + 1e-12);
        ref.silu_mul(&y, &v, &one, 1);
        CHECK_NEAR(y, (double)v / (1 + exp(-(double)v)), 1e-6 * fabs((double)v) + 1e-12);
        ref.swiglu_oai(&y, &v, &up, 1, 1.702f, 7);
        double c = fmin((double)v, 7);
        CHECK_NEAR(y, c / (1 + exp(-1.702 * c)) * 1.5, 2e-6 * fabs(c) + 1e-12);
    }
    float p[] = { 1, 2, 3 }, z[] = { NAN, -INFINITY, 2, 2 }, nan[] = { NAN, NAN };
    ref.softmax(p, 3);
    CHECK_NEAR(p[2], 0.66524095577, 1e-7);
    CHECK_INT(ref.argmax(z, 4), 2);
    CHECK_INT(ref.argmax(nan, 2), 0);
}

static void test_avx2(void) { rung(KERN_AVX2); }
static void test_avx512(void) { rung(KERN_AVX512); }
static void test_neon(void) { rung(KERN_NEON); }
static void test_exp_avx2(void) { exp_walk(KERN_AVX2); }
static void test_exp_avx512(void) { exp_walk(KERN_AVX512); }
static void test_exp_neon(void) { exp_walk(KERN_NEON); }

int main(void)
{
    kern_table_fill(&ref, KERN_REF);
    RUN(test_values);
    RUN(test_avx2);
    RUN(test_avx512);
    RUN(test_neon);
    RUN(test_exp_avx2);
    RUN(test_exp_avx512);
    RUN(test_exp_neon);
    DONE();
}
