/* law_test -- the reference rung against plain double arithmetic: it is the law only if it is right. */
#include "common.h"

static struct kern_table ref;

static double nmse(const float *a, const float *b, size_t n)
{
    double e = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        e += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        s += (double)b[i] * (double)b[i];
    }
    return e / s;
}

/* Rounding to each format loses what is expected of it and no more: relative squared error on gaussian rows. */
static void test_quantize_error(void)
{
    static const double bound[TYPE_COUNT] = {
        0, 1e-7, 4e-6, 7.4e-3, 5.6e-3, 1.8e-3, 1.4e-3, 3.2e-5, 5.9e-3, 1.4e-2, 8.5e-2, 2.3e-2, 5.5e-3, 1.4e-3, 3.5e-4, 6.0e-3,
    };
    struct rng r = { 7, 0 };
    enum { N = 8192 };
    static float x[N], y[N];
    static unsigned char packed[N * 4];
    fill_gauss(&r, x, N, 0.02f);
    for (int i = 0; i < TYPE_COUNT; i++) {
        kern_quantize(all_types[i], x, packed, N);
        kern_dequantize(all_types[i], packed, y, N);
        double e = nmse(y, x, N);
        printf("# %s %.3g\n", kern_type_info(all_types[i])->name, e);
        CHECK(e <= bound[i]);
    }
}

static void test_quantize_evil(void)
{
    struct rng r = { 11, 0 };
    float x[256], y[256];
    unsigned char packed[1024];
    for (int i = 0; i < TYPE_COUNT; i++) {
        for (int round = 0; round < 40; round++) {
            for (int k = 0; k < 256; k++)
                x[k] = round % 2 ? evil(&r) : gauss(&r) * ldexpf(1, (int)rng_below(&r, 240) - 120);
            kern_quantize(all_types[i], x, packed, 256);
            kern_dequantize(all_types[i], packed, y, 256);
            for (int k = 0; k < 256 && !kern_type_is_float(all_types[i]); k++)
                CHECK(!isnan(y[k]));
        }
    }
}

static void pack_random(struct rng *r, enum kern_type type, int rows, int cols, struct kern_matrix *m, float *plain)
{
    size_t row = kern_row_bytes(type, (size_t)cols);
    unsigned char *file = malloc(row * (size_t)rows);
    float *x = malloc(sizeof(float) * (size_t)cols);
    for (int i = 0; i < rows; i++) {
        fill_gauss(r, x, (size_t)cols, 0.05f);
        kern_quantize(type, x, file + row * (size_t)i, (size_t)cols);
        kern_dequantize(type, file + row * (size_t)i, plain + (size_t)i * (size_t)cols, (size_t)cols);
    }
    kern_matrix_init(m, type, rows, cols);
    m->data = aligned_alloc(64, kern_matrix_bytes(m));
    kern_matrix_pack(m, file, 0, m->panels);
    free(file);
    free(x);
}

static void test_pack_row(void)
{
    struct rng r = { 3, 0 };
    for (int i = 0; i < TYPE_COUNT; i++) {
        int block = kern_type_info(all_types[i])->block_len, rows = 21, cols = block == 256 ? 512 : 352;
        float *plain = malloc(sizeof(float) * (size_t)(rows * cols)), *row = malloc(sizeof(float) * (size_t)cols);
        struct kern_matrix m;
        pack_random(&r, all_types[i], rows, cols, &m, plain);
        for (int k = 0; k < rows; k++) {
            kern_matrix_row(&m, k, row);
            CHECK(!memcmp(row, plain + k * cols, sizeof(float) * (size_t)cols));
        }
        double ratio = (double)m.panel_bytes / 16 / (double)kern_row_bytes(all_types[i], (size_t)cols);
        CHECK(ratio < 1.021 || cols != 512);
        free(m.data);
        free(plain);
        free(row);
    }
}

static void test_matmul(void)
{
    struct rng r = { 5, 0 };
    enum { ROWS = 40, COLS = 512, X = 3 };
    static float plain[ROWS * COLS], x[X * COLS], y[X * ROWS], want[X * ROWS], bias[ROWS];
    static _Alignas(64) unsigned char q8[X * COLS * 2];
    fill_gauss(&r, x, X * COLS, 1);
    fill_gauss(&r, bias, ROWS, 1);
    for (int t = 0; t < X; t++)
        ref.quantize_q8(x + t * COLS, q8 + (size_t)t * kern_q8_bytes(COLS), COLS);
    for (int i = 0; i < TYPE_COUNT; i++) {
        struct kern_matrix m;
        pack_random(&r, all_types[i], ROWS, COLS, &m, plain);
        bool f = kern_type_is_float(all_types[i]);
        struct kern_matmul op = { .w = &m, .x = f ? (void *)x : (void *)q8, .n = X, .y = y, .y_stride = ROWS,
                                  .x_stride = f ? COLS * 4 : kern_q8_bytes(COLS), .bias = bias };
        ref.matmul(&op, 0, m.panels);
        for (int t = 0; t < X; t++) {
            for (int k = 0; k < ROWS; k++) {
                double s = (double)bias[k];
                for (int c = 0; c < COLS; c++)
                    s += (double)plain[k * COLS + c] * (double)x[t * COLS + c];
                want[t * ROWS + k] = (float)s;
            }
        }
        double e = nmse(y, want, X * ROWS), top = f ? 1e-12 : 2.5e-5;
        if (!(e < top))
            printf("# %s %g\n", kern_type_info(all_types[i])->name, e);
        CHECK(e < top);
        free(m.data);
    }
}

static void test_exp(void)
{
    double worst = 0, worst_tanh = 0;
    for (uint32_t b = 0; b < 0x42c80000; b += 9973) { /* 0 .. 100 */
        float x;
        memcpy(&x, &b, 4);
        for (int sign = 0; sign < 2; sign++, x = -x) {
            double want = exp((double)x), got = (double)kern_expf(x);
            if (want < 3.4e38) {
                double ulp = fmax(ldexp(1, -149), ldexp(1, (int)floor(log2(want)) - 23));
                worst = fmax(worst, fabs(got - want) / ulp);
            }
            double t = tanh((double)x), g = (double)kern_tanhf(x);
            double ulp = t != 0 ? ldexp(1, (int)floor(log2(fabs(t))) - 23) : 1;
            worst_tanh = fmax(worst_tanh, fabs(g - t) / fmax(ulp, ldexp(1, -149)));
        }
    }
    printf("# exp %.3f ulp, tanh %.3f ulp\n", worst, worst_tanh);
    CHECK(worst < 2);
    CHECK(worst_tanh < 2.5);
    CHECK(kern_expf(0) == 1 && kern_expf(-0.0f) == 1 && kern_expf(-INFINITY) == 0 && kern_expf(INFINITY) == INFINITY);
    CHECK(isnan(kern_expf(NAN)) && isnan(kern_tanhf(NAN)));
    CHECK(kern_tanhf(INFINITY) == 1 && kern_tanhf(-INFINITY) == -1 && signbit(kern_tanhf(-0.0f)));
}

/* Attention in doubles over the values as stored (F32), for windows, sinks, softcap and uninitialised pages. */
static void attn_case(struct rng *r, enum kern_type type, int window, float cap, bool sinks, double tolerance)
{
    enum { KD = 40, VD = 48, HEADS = 6, KVH = 2, LEN = 77, Q = 9 };
    struct kern_kv kv = { type, KVH, KD, VD, 64, 0 };
    kv.v_offset = 64 + kern_kv_k_bytes(&kv);
    static float k[LEN][KVH * KD], v[LEN][KVH * VD], q[Q][HEADS * KD], out[Q][HEADS * VD], want[Q][HEADS * VD];
    float sink[HEADS];
    fill_gauss(r, &k[0][0], LEN * KVH * KD, 1);
    fill_gauss(r, &v[0][0], LEN * KVH * VD, 1);
    fill_gauss(r, &q[0][0], Q * HEADS * KD, 1);
    fill_gauss(r, sink, HEADS, 1);
    unsigned char *pages[3];
    for (int i = 0; i < 3; i++) {
        size_t size = (kv.v_offset + kern_kv_v_bytes(&kv) + 63) & ~(size_t)63;
        pages[i] = aligned_alloc(64, size);
        memset(pages[i], 0xff, size); /* NaN in every format */
    }
    for (int t = 0; t < LEN; t++)
        ref.kv_store(&kv, pages[t / 32], t % 32, k[t], v[t]);
    struct kern_attn op = { &kv, pages, &q[0][0], HEADS * KD, &out[0][0], HEADS * VD, Q, LEN - Q, HEADS, 0.2f, cap,
                            sinks ? sink : NULL, window, false };
    void *scratch = aligned_alloc(64, (kern_attn_scratch_bytes(&kv, HEADS, Q) + 63) & ~(size_t)63);
    for (int h = 0; h < KVH; h++)
        ref.attn(&op, h, scratch);
    for (int i = 0; i < Q; i++) {
        for (int h = 0; h < HEADS; h++) {
            int pos = LEN - Q + i, g = h / (HEADS / KVH), first = window && pos - window + 1 > 0 ? pos - window + 1 : 0;
            double p[LEN], sum = sinks ? exp((double)sink[h]) : 0;
            for (int t = first; t <= pos; t++) {
                double s = 0;
                for (int d = 0; d < KD; d++)
                    s += (double)q[i][h * KD + d] * (double)k[t][g * KD + d];
                s *= 0.2f;
                p[t] = exp(cap != 0 ? (double)cap * tanh(s / (double)cap) : s);
                sum += p[t];
            }
            for (int d = 0; d < VD; d++) {
                double o = 0;
                for (int t = first; t <= pos; t++)
                    o += p[t] / sum * (double)v[t][g * VD + d];
                want[i][h * VD + d] = (float)o;
            }
        }
    }
    double e = nmse(&out[0][0], &want[0][0], Q * HEADS * VD);
    if (!(e <= tolerance))
        printf("# type %d window %d cap %g sinks %d: %g\n", type, window, (double)cap, sinks, e);
    CHECK(e <= tolerance);
    for (int i = 0; i < 3; i++)
        free(pages[i]);
    free(scratch);
}

static void test_attn(void)
{
    static const struct { enum kern_type type; double tolerance; } kinds[] = {
        { KERN_F32, 1e-12 }, { KERN_F16, 1e-6 }, { KERN_BF16, 5e-5 }, { KERN_Q8_0, 1e-3 },
    };
    struct rng r = { 13, 0 };
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++)
            attn_case(&r, kinds[i].type, k & 1 ? 20 : 0, k & 2 ? 3 : 0, k & 4, kinds[i].tolerance);
}

static void test_half(void)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = kern_f16_to_f32((uint16_t)h);
        CHECK(isnan(f) || kern_f32_to_f16(f) == h);
        float g = kern_bf16_to_f32((uint16_t)h);
        CHECK(isnan(g) || kern_f32_to_bf16(g) == h);
    }
    CHECK_INT(kern_f32_to_f16(65519.99f), 0x7bff);
    CHECK_INT(kern_f32_to_f16(65520), 0x7c00);
    CHECK_INT(kern_f32_to_f16(0x1p-25f), 0);
    CHECK_INT(kern_f32_to_f16(0x1.8p-25f), 1);
    CHECK_INT(kern_f32_to_f16(1 + 0x1p-11f), 0x3c00);
    CHECK_INT(kern_f32_to_f16(1 + 0x3p-11f), 0x3c02);
}

int main(void)
{
    kern_table_fill(&ref, KERN_REF);
    RUN(test_half);
    RUN(test_quantize_error);
    RUN(test_quantize_evil);
    RUN(test_pack_row);
    RUN(test_matmul);
    RUN(test_exp);
    RUN(test_attn);
    DONE();
}
