/* matmul_avx512 -- int8 activations against 16-row panels: VNNI, one accumulator vector for each row of x.
 *
 * A unit of a panel is opened into L1 once and multiplied by every row of the row-block; two panels side by side, so
 * that activations brought up from L2 are used twice. Row-blocks are bounded so that their activations stay in L2. */
#include "base/assert.h"
#include "kern/rungs.h"
#include "kern/tile.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    GROUP = 12,              /* rows of x in registers: 12 sums, 12 accumulators, 32 registers */
    BLOCK_ROWS = 20 * GROUP, /* rows of x in a row-block, at most */
    BLOCK_BYTES = 1 << 20,   /* of activations in a row-block: half of L2 */
    SIDE = 2,                /* panels side by side */
    CHUNK = 2,               /* units opened at once */
};

INLINE __m512i four(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm512_set1_epi32(v);
}

/* acc[r] += unit times x[r], for `rows` rows (a constant where this is inlined). */
INLINE void product(const struct kern_tile *t, int blocks, const struct kern_act *const *x, size_t at, float *acc,
                    const int rows, const bool sixteen, const bool min)
{
    __m512 sum[GROUP];
    for (int r = 0; r < rows; r++)
        sum[r] = _mm512_load_ps(acc + 16 * r);
    const int subs = sixteen ? 2 : 1, groups = 8 / subs;
    for (int b = 0; b < blocks; b++) {
#pragma GCC unroll 2
        for (int h = 0; h < subs; h++) {
            __m512i dot[GROUP];
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                const struct kern_act *a = x[r] + at + b;
                dot[r] = min ? _mm512_setzero_si512() : _mm512_set1_epi32(sixteen ? a->corr16[h] : a->corr);
            }
#pragma GCC unroll 8
            for (int g = 0; g < groups; g++) {
                __m512i w = _mm512_load_si512(t->q[b * 8 + h * groups + g]);
#pragma GCC unroll 12
                for (int r = 0; r < rows; r++)
                    dot[r] = _mm512_dpbusd_epi32(dot[r], w, four(x[r][at + (size_t)b].q + 4 * (h * groups + g)));
            }
            __m512 scale = _mm512_load_ps(t->scale[b * subs + h]);
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                const struct kern_act *a = x[r] + at + b;
                sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]),
                                         _mm512_mul_ps(scale, _mm512_set1_ps(a->scale)), sum[r]);
                if (min)
                    sum[r] = _mm512_fnmadd_ps(_mm512_load_ps(t->min[b * subs + h]),
                                              _mm512_set1_ps(sixteen ? a->scale_sum16[h] : a->scale_sum), sum[r]);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        _mm512_store_ps(acc + 16 * r, sum[r]);
}

typedef void product_fn(const struct kern_tile *t, int blocks, const struct kern_act *const *x, size_t at, float *acc);

#define PRODUCT(rows, name, sixteen, min) \
    static void product_##name##_##rows(const struct kern_tile *t, int blocks, const struct kern_act *const *x, \
                                        size_t at, float *acc) \
    { \
        product(t, blocks, x, at, acc, rows, sixteen, min); \
    }
#define PRODUCTS(rows) \
    PRODUCT(rows, 32, false, false) PRODUCT(rows, 32_min, false, true) \
    PRODUCT(rows, 16, true, false) PRODUCT(rows, 16_min, true, true)
PRODUCTS(1) PRODUCTS(2) PRODUCTS(3) PRODUCTS(4) PRODUCTS(6) PRODUCTS(8) PRODUCTS(12)

#define ROW(rows) { product_32_##rows, product_32_min_##rows, product_16_##rows, product_16_min_##rows }
static const struct {
    int rows;
    product_fn *fn[PRODUCT_COUNT];
} products[] = {
    { 12, ROW(12) }, { 8, ROW(8) }, { 6, ROW(6) }, { 4, ROW(4) }, { 3, ROW(3) }, { 2, ROW(2) }, { 1, ROW(1) },
};

/* One tile against n rows. */
static void rows_product(enum kern_product kind, const struct kern_tile *t, int blocks, const struct kern_act *const *x,
                         size_t at, float *acc, int n)
{
    for (int i = 0; n > 0; i++) {
        for (int rows = products[i].rows; n >= rows; n -= rows) {
            products[i].fn[kind](t, blocks, x, at, acc);
            x += rows;
            acc += 16 * rows;
        }
    }
}

static void store(const struct kern_matmul *op, int t0, int n, int panel, const float *acc)
{
    int row = panel * KERN_PANEL_ROWS, left = op->w->rows - row;
    __mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
    __m512 bias = op->bias ? _mm512_maskz_loadu_ps(mask, op->bias + row) : _mm512_setzero_ps();
    for (int t = 0; t < n; t++) {
        __m512 v = _mm512_load_ps(acc + 16 * t);
        if (op->bias)
            v = _mm512_add_ps(v, bias);
        _mm512_mask_storeu_ps(op->y + (size_t)(t0 + t) * op->y_stride + row, mask, v);
    }
}

/* Rows t0 .. t0+n of x against `side` panels. */
static void row_block(const struct kern_matmul *op, int t0, int n, int panel, int side)
{
    const struct kern_matrix *w = op->w;
    const struct kern_layout *l = kern_layout(w->type);
    enum kern_product kind = kern_product(l);
    const struct kern_act *x[BLOCK_ROWS];
    _Alignas(64) float acc[SIDE][BLOCK_ROWS * 16];
    struct kern_tile tile[SIDE][CHUNK];
    size_t unit_bytes = kern_unit_bytes(l, KERN_UNIT_BLOCKS);
    for (int t = 0; t < n; t++)
        x[t] = kern_x_row(op, t0 + t);
    for (int p = 0; p < side; p++)
        memset(acc[p], 0, (size_t)n * 16 * sizeof(float));
    int units = (w->cols + KERN_UNIT_COLS - 1) / KERN_UNIT_COLS;
    for (int u0 = 0; u0 < units; u0 += CHUNK) {
        int chunk = units - u0 < CHUNK ? units - u0 : CHUNK;
        for (int p = 0; p < side; p++) {
            const unsigned char *unit = w->data + (size_t)(panel + p) * w->panel_bytes + (size_t)u0 * unit_bytes;
            for (int u = 0; u < chunk; u++)
                kern_tile_open_avx512(w->type, unit + (size_t)u * unit_bytes, kern_unit_blocks(w->cols, u0 + u),
                                      &tile[p][u]);
        }
        for (int t = 0; t < n; t += GROUP) {
            int count = n - t < GROUP ? n - t : GROUP;
            for (int p = 0; p < side; p++)
                for (int u = 0; u < chunk; u++)
                    rows_product(kind, &tile[p][u], kern_unit_blocks(w->cols, u0 + u), x + t,
                                 (size_t)(u0 + u) * KERN_UNIT_BLOCKS, acc[p] + 16 * t, count);
        }
    }
    for (int p = 0; p < side; p++)
        store(op, t0, n, panel + p, acc[p]);
}

static void matmul(const struct kern_matmul *op, int panel_first, int panel_end)
{
    if (kern_type_is_float(op->w->type)) {
        kern_fmul_avx512(op, panel_first, panel_end);
        return;
    }
    int fit = (int)(BLOCK_BYTES / (kern_q8_bytes(op->w->cols) * GROUP)) * GROUP;
    int block = fit < 2 * GROUP ? 2 * GROUP : fit > BLOCK_ROWS ? BLOCK_ROWS : fit;
    for (int t = 0; t < op->n; t += block) {
        int n = op->n - t < block ? op->n - t : block;
        for (int p = panel_first; p < panel_end; p += SIDE)
            row_block(op, t, n, p, panel_end - p < SIDE ? panel_end - p : SIDE);
    }
}

static void quantize_q8(const float *x, void *out, int cols)
{
    struct kern_act *a = out;
    const __m512i abs = _mm512_set1_epi32(0x7fffffff);
    for (int c = 0; c < cols; c += 32, a++) {
        __m512 v0 = _mm512_loadu_ps(x + c), v1 = _mm512_loadu_ps(x + c + 16);
        __m512i b0 = _mm512_and_si512(_mm512_castps_si512(v0), abs);
        __m512i b1 = _mm512_and_si512(_mm512_castps_si512(v1), abs);
        uint32_t high = _mm512_reduce_max_epu32(_mm512_max_epu32(b0, b1));
        float top;
        memcpy(&top, &high, 4);
        if (high >= 0x7f800000 || top < 1e-30f) {
            kern_act_quantize(x + c, a, 32);
            continue;
        }
        __m512 inv = _mm512_set1_ps(127.0f / top);
        __m512i i0 = _mm512_cvtps_epi32(_mm512_mul_ps(v0, inv)), i1 = _mm512_cvtps_epi32(_mm512_mul_ps(v1, inv));
        int32_t s0 = _mm512_reduce_add_epi32(i0), s1 = _mm512_reduce_add_epi32(i1);
        a->scale = top / 127.0f;
        a->scale_sum = a->scale * (float)(s0 + s1);
        a->scale_sum16[0] = a->scale * (float)s0;
        a->scale_sum16[1] = a->scale * (float)s1;
        a->corr = -128 * (s0 + s1);
        a->corr16[0] = -128 * s0;
        a->corr16[1] = -128 * s1;
        a->pad = 0;
        _mm_storeu_si128((__m128i *)a->q, _mm512_cvtepi32_epi8(i0));
        _mm_storeu_si128((__m128i *)(a->q + 16), _mm512_cvtepi32_epi8(i1));
    }
}

void kern_fill_matmul_avx512(struct kern_table *t)
{
    t->quantize_q8 = quantize_q8;
    t->matmul = matmul;
}
