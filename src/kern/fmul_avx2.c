/* fmul_avx2 -- float weights against float activations, 8 outputs in a vector: see fmul_avx512. */
#include "kern/pack.h"
#include "kern/rungs.h"
#include "kern/unroll.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { ROWS_MOST = 6 };

INLINE __m256 weights(enum kern_type type, const unsigned char *p)
{
    if (type == KERN_F32)
        return _mm256_load_ps((const float *)p);
    __m128i h = _mm_load_si128((const __m128i *)p);
    if (type == KERN_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* `rows` rows of x against one panel: two vectors of outputs for each. */
INLINE void tile(enum kern_type type, const struct kern_matmul *op, int t0, int panel, const int rows)
{
    const struct kern_matrix *w = op->w;
    const size_t half = type == KERN_F32 ? 32 : 16;
    const unsigned char *p = w->data + (size_t)panel * w->panel_bytes;
    const float *x[ROWS_MOST];
    __m256 lo[ROWS_MOST], hi[ROWS_MOST];
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        x[r] = kern_x_row(op, t0 + r);
        lo[r] = hi[r] = _mm256_setzero_ps();
    }
    for (size_t c = 0; c < (size_t)w->cols; c++, p += 2 * half) {
        if (rows < 4)
            _mm_prefetch((const char *)p + 1024, _MM_HINT_T0);
        __m256 a = weights(type, p), b = weights(type, p + half);
        UNROLL(6)
        for (int r = 0; r < rows; r++) {
            __m256 v = _mm256_set1_ps(x[r][c]);
            lo[r] = _mm256_fmadd_ps(a, v, lo[r]);
            hi[r] = _mm256_fmadd_ps(b, v, hi[r]);
        }
    }
    int row = panel * KERN_PANEL_ROWS, left = w->rows - row < 16 ? w->rows - row : 16;
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        _Alignas(32) float acc[16];
        _mm256_store_ps(acc, lo[r]);
        _mm256_store_ps(acc + 8, hi[r]);
        float *y = op->y + (size_t)(t0 + r) * op->y_stride + row;
        for (int i = 0; i < left; i++)
            y[i] = op->bias ? acc[i] + op->bias[row + i] : acc[i];
    }
}

/* One row of x against four panels: enough sums to hide the latency of each. */
INLINE void strip(enum kern_type type, const struct kern_matmul *op, int t, int panel)
{
    enum { SIDE = 4 };
    const struct kern_matrix *w = op->w;
    const size_t half = type == KERN_F32 ? 32 : 16;
    const unsigned char *p = w->data + (size_t)panel * w->panel_bytes;
    const float *x = kern_x_row(op, t);
    __m256 sum[SIDE][2];
    UNROLL(4)
    for (int s = 0; s < SIDE; s++)
        sum[s][0] = sum[s][1] = _mm256_setzero_ps();
    for (size_t c = 0; c < (size_t)w->cols; c++, p += 2 * half) {
        __m256 v = _mm256_set1_ps(x[c]);
        UNROLL(4)
        for (int s = 0; s < SIDE; s++) {
            const unsigned char *at = p + (size_t)s * w->panel_bytes;
            _mm_prefetch((const char *)at + 1024, _MM_HINT_T0);
            sum[s][0] = _mm256_fmadd_ps(weights(type, at), v, sum[s][0]);
            sum[s][1] = _mm256_fmadd_ps(weights(type, at + half), v, sum[s][1]);
        }
    }
    UNROLL(4)
    for (int s = 0; s < SIDE; s++) {
        int row = (panel + s) * KERN_PANEL_ROWS, left = w->rows - row < 16 ? w->rows - row : 16;
        _Alignas(32) float acc[16];
        _mm256_store_ps(acc, sum[s][0]);
        _mm256_store_ps(acc + 8, sum[s][1]);
        float *y = op->y + (size_t)t * op->y_stride + row;
        for (int i = 0; i < left; i++)
            y[i] = op->bias ? acc[i] + op->bias[row + i] : acc[i];
    }
}

typedef void tile_fn(const struct kern_matmul *op, int t0, int panel);

#define TILE(type, rows) \
    static void type##_##rows(const struct kern_matmul *op, int t0, int panel) \
    { \
        tile(KERN_##type, op, t0, panel, rows); \
    }
#define TILES(type) \
    TILE(type, 6) TILE(type, 3) TILE(type, 2) TILE(type, 1) \
    static void type##_strip(const struct kern_matmul *op, int t0, int panel) \
    { \
        strip(KERN_##type, op, t0, panel); \
    }
TILES(F32) TILES(F16) TILES(BF16)

static const struct tiles {
    tile_fn *six, *three, *two, *one, *strip;
} tiles[] = {
    { F32_6, F32_3, F32_2, F32_1, F32_strip },
    { F16_6, F16_3, F16_2, F16_1, F16_strip },
    { BF16_6, BF16_3, BF16_2, BF16_1, BF16_strip },
};

void kern_fmul_avx2(const struct kern_matmul *op, int panel_first, int panel_end)
{
    const struct tiles *f = &tiles[op->w->type == KERN_F32 ? 0 : op->w->type == KERN_F16 ? 1 : 2];
    int p = panel_first;
    for (; op->n == 1 && p + 4 <= panel_end; p += 4)
        f->strip(op, 0, p);
    for (; p < panel_end; p++) {
        for (int t = 0, n; t < op->n; t += n) {
            int left = op->n - t;
            n = left >= 6 ? 6 : left >= 3 ? 3 : left >= 2 ? 2 : 1;
            (n == 6 ? f->six : n == 3 ? f->three : n == 2 ? f->two : f->one)(op, t, p);
        }
    }
}
