/* matmul_avx2 -- int8 activations against 16-row panels with 16-bit products, 8 outputs in a vector.
 *
 * maddubs adds two products of an unsigned and a signed byte into 16 bits. Codes are small enough to add several such
 * sums before they must be widened: 8 groups of codes up to 15, 4 up to 31, 2 up to 63. Signed bytes go the way of
 * |w| * (x with w's sign), where 2 * 128 * 127 just fits. Nothing ever saturates. */
#include "base/assert.h"
#include "kern/rungs.h"
#include "kern/strip.h"
#include "kern/tile.h"
#include "kern/unroll.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    GROUP = 4,
    BLOCK_ROWS = 60 * GROUP,
    BLOCK_BYTES = 1 << 19,
    SIDE = 2,
    FEW = 2,     /* rows of x that go as strips */
    STREAMS = 4, /* panels read at a time then */
};

struct arg {
    const struct kern_tile *t;
    const struct kern_act *const *x;
    size_t at;   /* block of x where the tile begins */
    int blocks;
    int shift;   /* corr >> shift: what codes kept above zero add */
    float *acc;  /* [rows][16] */
};

INLINE __m256i four(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm256_set1_epi32(v);
}

/* Dot products of `groups` groups from g0 on with each row; span: groups whose 16-bit sums may be added (0: signed). */
INLINE void dots(const struct arg *a, int b, int g0, const int groups, int half, const int rows, const int span,
                 __m256i *dot)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int step = span ? span : 1;
    UNROLL(8)
    for (int g = g0; g < g0 + groups; g += step) {
        __m256i part[GROUP];
        UNROLL(8)
        for (int k = 0; k < step; k++) {
            __m256i w = _mm256_load_si256((const __m256i *)(a->t->q[b * 8 + g + k] + 32 * half));
            __m256i size = span ? w : _mm256_abs_epi8(w);
            UNROLL(4)
            for (int r = 0; r < rows; r++) {
                __m256i x = four(a->x[r][a->at + (size_t)b].q + 4 * (g + k));
                __m256i p = _mm256_maddubs_epi16(size, span ? x : _mm256_sign_epi8(x, w));
                part[r] = k ? _mm256_add_epi16(part[r], p) : p;
            }
        }
        UNROLL(4)
        for (int r = 0; r < rows; r++)
            dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(part[r], ones));
    }
}

INLINE void product(const struct arg *a, const int rows, const bool sixteen, const bool min, const int span)
{
    const int subs = sixteen ? 2 : 1, groups = 8 / subs;
    const __m128i shift = _mm_cvtsi32_si128(a->shift);
    for (int half = 0; half < 2; half++) {
        __m256 sum[GROUP];
        UNROLL(4)
        for (int r = 0; r < rows; r++)
            sum[r] = _mm256_load_ps(a->acc + 16 * r + 8 * half);
        for (int b = 0; b < a->blocks; b++) {
            UNROLL(2)
            for (int h = 0; h < subs; h++) {
                __m256i dot[GROUP];
                UNROLL(4)
                for (int r = 0; r < rows; r++) {
                    const struct kern_act *x = a->x[r] + a->at + b;
                    int corr = sixteen ? x->corr16[h] : x->corr;
                    dot[r] = min || !span ? _mm256_setzero_si256() : _mm256_sra_epi32(_mm256_set1_epi32(corr), shift);
                }
                dots(a, b, h * groups, groups, half, rows, span, dot);
                __m256 scale = _mm256_load_ps(a->t->scale[b * subs + h] + 8 * half);
                __m256 low = min ? _mm256_load_ps(a->t->min[b * subs + h] + 8 * half) : scale;
                UNROLL(4)
                for (int r = 0; r < rows; r++) {
                    const struct kern_act *x = a->x[r] + a->at + b;
                    sum[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r]),
                                             _mm256_mul_ps(scale, _mm256_set1_ps(x->scale)), sum[r]);
                    if (min)
                        sum[r] = _mm256_fnmadd_ps(low, _mm256_set1_ps(sixteen ? x->scale_sum16[h] : x->scale_sum),
                                                  sum[r]);
                }
            }
        }
        UNROLL(4)
        for (int r = 0; r < rows; r++)
            _mm256_store_ps(a->acc + 16 * r + 8 * half, sum[r]);
    }
}

enum variant { V32_S8, V32_S4, V32_SIGN, V32_MIN_S8, V32_MIN_S4, V16_S4, V16_S2, V16_MIN_S4, VARIANTS };

typedef void product_fn(const struct arg *a);

#define PRODUCT(name, rows, sixteen, min, span) \
    static void name##_##rows(const struct arg *a) \
    { \
        product(a, rows, sixteen, min, span); \
    }
#define PRODUCTS(rows) \
    PRODUCT(p32_s8, rows, false, false, 8) PRODUCT(p32_s4, rows, false, false, 4) \
    PRODUCT(p32_sign, rows, false, false, 0) PRODUCT(p32_min_s8, rows, false, true, 8) \
    PRODUCT(p32_min_s4, rows, false, true, 4) PRODUCT(p16_s4, rows, true, false, 4) \
    PRODUCT(p16_s2, rows, true, false, 2) PRODUCT(p16_min_s4, rows, true, true, 4)
PRODUCTS(4) PRODUCTS(2) PRODUCTS(1)
#define ROW(r) { p32_s8_##r, p32_s4_##r, p32_sign_##r, p32_min_s8_##r, p32_min_s4_##r, p16_s4_##r, p16_s2_##r, \
                 p16_min_s4_##r }
static product_fn *const by_four[VARIANTS] = ROW(4), *const by_two[VARIANTS] = ROW(2), *const by_one[VARIANTS] = ROW(1);

static enum variant variant(enum kern_type type, int *shift)
{
    *shift = 0;
    switch (type) {
    case KERN_Q4_0: *shift = 4; return V32_S8;     /* 128 / 8 */
    case KERN_Q5_0: *shift = 3; return V32_S4;     /* 128 / 16 */
    case KERN_MXFP4: *shift = 3; return V32_S4;    /* opened 16 higher */
    case KERN_Q4_1: case KERN_Q4_K: return V32_MIN_S8;
    case KERN_Q5_1: case KERN_Q5_K: return V32_MIN_S4;
    case KERN_Q2_K: return V16_MIN_S4;
    case KERN_Q3_K: *shift = 5; return V16_S4;     /* 128 / 4 */
    case KERN_Q6_K: *shift = 2; return V16_S2;     /* 128 / 32 */
    default: return V32_SIGN;
    }
}

static void rows_product(enum variant v, struct arg a, int n)
{
    while (n > 0) {
        int rows = n >= 4 ? 4 : n >= 2 ? 2 : 1;
        (rows == 4 ? by_four : rows == 2 ? by_two : by_one)[v](&a);
        a.x += rows;
        a.acc += 16 * rows;
        n -= rows;
    }
}

static void store(const struct kern_matmul *op, int t0, int n, int panel, const float *acc)
{
    int row = panel * KERN_PANEL_ROWS, left = op->w->rows - row < 16 ? op->w->rows - row : 16;
    for (int t = 0; t < n; t++) {
        float *y = op->y + (size_t)(t0 + t) * op->y_stride + row;
        for (int i = 0; i < left; i++)
            y[i] = op->bias ? acc[16 * t + i] + op->bias[row + i] : acc[16 * t + i];
    }
}

static void row_block(const struct kern_matmul *op, int t0, int n, int panel, int side)
{
    const struct kern_matrix *w = op->w;
    const struct kern_layout *l = kern_layout(w->type);
    const struct kern_act *x[BLOCK_ROWS];
    _Alignas(64) float acc[SIDE][BLOCK_ROWS * 16];
    struct kern_tile tile[SIDE];
    struct arg a = { .x = x };
    enum variant v = variant(w->type, &a.shift);
    size_t unit_bytes = kern_unit_bytes(l, KERN_UNIT_BLOCKS);
    for (int t = 0; t < n; t++)
        x[t] = kern_x_row(op, t0 + t);
    for (int p = 0; p < side; p++)
        memset(acc[p], 0, (size_t)n * 16 * sizeof(float));
    for (int u = 0; u * KERN_UNIT_COLS < w->cols; u++) {
        a.at = (size_t)u * KERN_UNIT_BLOCKS;
        a.blocks = kern_unit_blocks(w->cols, u);
        for (int p = 0; p < side; p++)
            kern_tile_open_avx2(w->type, w->data + (size_t)(panel + p) * w->panel_bytes + (size_t)u * unit_bytes,
                                a.blocks, &tile[p]);
        for (int t = 0; t < n; t += GROUP) {
            for (int p = 0; p < side; p++) {
                struct arg part = a;
                part.t = &tile[p];
                part.x = x + t;
                part.acc = acc[p] + 16 * t;
                rows_product(v, part, n - t < GROUP ? n - t : GROUP);
            }
        }
    }
    for (int p = 0; p < side; p++)
        store(op, t0, n, panel + p, acc[p]);
}

/* One or two rows of x: `side` panels unit by unit, each a stream of its own from memory. */
static void few_rows(const struct kern_matmul *op, int panel, int side)
{
    const struct kern_matrix *w = op->w;
    const struct kern_layout *l = kern_layout(w->type);
    const struct kern_act *x[FEW];
    _Alignas(64) float acc[STREAMS][FEW * 16] = { { 0 } };
    kern_strip_fn *fn = kern_strip_avx2(w->type, op->n);
    struct kern_strip a = { .type = w->type, .x = x };
    size_t unit_bytes = kern_unit_bytes(l, KERN_UNIT_BLOCKS);
    for (int t = 0; t < op->n; t++)
        x[t] = kern_x_row(op, t);
    for (int u = 0; u * KERN_UNIT_COLS < w->cols; u++) {
        a.at = (size_t)u * KERN_UNIT_BLOCKS;
        a.blocks = kern_unit_blocks(w->cols, u);
        for (int p = 0; p < side; p++) {
            a.unit = w->data + (size_t)(panel + p) * w->panel_bytes + (size_t)u * unit_bytes;
            a.acc = acc[p];
            fn(&a);
        }
    }
    for (int p = 0; p < side; p++)
        store(op, 0, op->n, panel + p, acc[p]);
}

static void matmul(const struct kern_matmul *op, int panel_first, int panel_end)
{
    if (kern_type_is_float(op->w->type)) {
        kern_fmul_avx2(op, panel_first, panel_end);
        return;
    }
    if (op->n <= FEW) {
        for (int p = panel_first; p < panel_end; p += STREAMS)
            few_rows(op, p, panel_end - p < STREAMS ? panel_end - p : STREAMS);
        return;
    }
    int fit = (int)(BLOCK_BYTES / (kern_q8_bytes(op->w->cols) * GROUP)) * GROUP;
    int block = fit < 4 * GROUP ? 4 * GROUP : fit > BLOCK_ROWS ? BLOCK_ROWS : fit;
    for (int t = 0; t < op->n; t += block) {
        int n = op->n - t < block ? op->n - t : block;
        for (int p = panel_first; p < panel_end; p += SIDE)
            row_block(op, t, n, p, panel_end - p < SIDE ? panel_end - p : SIDE);
    }
}

INLINE __m256i load_ints(const float *p) { return _mm256_loadu_si256((const __m256i *)p); }

INLINE int sum8(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* What rounding loses, in squared steps: eight values and the eight that lie 16 further on. */
INLINE __m256 act_error8(const float *x, __m256 inv)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    __m256 a = _mm256_mul_ps(_mm256_loadu_ps(x), inv), b = _mm256_mul_ps(_mm256_loadu_ps(x + 16), inv);
    a = _mm256_sub_ps(a, _mm256_round_ps(a, NEAREST));
    b = _mm256_sub_ps(b, _mm256_round_ps(b, NEAREST));
    return _mm256_fmadd_ps(b, b, _mm256_mul_ps(a, a));
}

INLINE __m128 act_error(const float *x, float scale)
{
    __m256 inv = _mm256_set1_ps(scale), e = _mm256_add_ps(act_error8(x, inv), act_error8(x + 8, inv));
    return _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
}

/* Sums of four lanes each, as kern_sum16 ends them: is the second, made comparable, less? */
INLINE int act_second(__m128 e0, __m128 e1)
{
    __m128 s = _mm_add_ps(_mm_movelh_ps(e0, e1), _mm_movehl_ps(e1, e0));
    s = _mm_add_ps(s, _mm_movehdup_ps(s));
    return _mm_comilt_ss(_mm_mul_ss(_mm_movehl_ps(s, s), _mm_set_ss(KERN_ACT_COARSE)), s);
}

static void quantize_q8(const float *x, void *out, int cols)
{
    struct kern_act *a = out;
    const __m256i abs = _mm256_set1_epi32(0x7fffffff);
    for (int c = 0; c < cols; c += 32, a++) {
        __m256i high = _mm256_setzero_si256(), q[4];
        for (int i = 0; i < 4; i++)
            high = _mm256_max_epu32(high, _mm256_and_si256(load_ints(x + c + 8 * i), abs));
        __m128i m = _mm_max_epu32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
        uint32_t bits = (uint32_t)_mm_cvtsi128_si32(m);
        float top;
        memcpy(&top, &bits, 4);
        if (bits >= 0x7f800000 || top < 1e-30f) {
            kern_act_quantize(x + c, a, 32);
            continue;
        }
        const float *r = kern_act_reach;
        float reach = r[act_second(act_error(x + c, r[0] / top), act_error(x + c, r[1] / top))];
        __m256 inv = _mm256_set1_ps(reach / top);
        for (int i = 0; i < 4; i++)
            q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + c + 8 * i), inv));
        int s0 = sum8(_mm256_add_epi32(q[0], q[1])), s1 = sum8(_mm256_add_epi32(q[2], q[3]));
        *a = (struct kern_act){ .scale = top / reach, .corr = -128 * (s0 + s1), .corr16 = { -128 * s0, -128 * s1 } };
        a->scale_sum = a->scale * (float)(s0 + s1);
        a->scale_sum16[0] = a->scale * (float)s0;
        a->scale_sum16[1] = a->scale * (float)s1;
        __m256i w = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        w = _mm256_permutevar8x32_epi32(w, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)a->q, w);
    }
}

void kern_fill_matmul_avx2(struct kern_table *t)
{
    t->quantize_q8 = quantize_q8;
    t->matmul = matmul;
}
