/* fmul_avx512 -- float weights (F32, F16, BF16) against float activations: one fused multiply-add per column.
 *
 * The order along the columns is fixed, so speed comes from independent outputs: several panels for few rows of x,
 * several rows for many. */
#include "kern/rungs.h"

#include "kern/pack.h"
#include "kern/unroll.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { SUMS = 24 }; /* accumulators in registers, at most */

INLINE __m512 weights(enum kern_type type, const unsigned char *p)
{
    if (type == KERN_F32)
        return _mm512_load_ps(p);
    __m256i h = _mm256_load_si256((const __m256i *)p);
    if (type == KERN_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

INLINE void tile(enum kern_type type, const struct kern_matmul *op, int t0, int panel, const int rows, const int side)
{
    const struct kern_matrix *w = op->w;
    const size_t step = type == KERN_F32 ? 64 : 32;
    const unsigned char *p = w->data + (size_t)panel * w->panel_bytes;
    const float *x[SUMS];
    __m512 sum[SUMS];
    UNROLL(12)
    for (int r = 0; r < rows; r++)
        x[r] = kern_x_row(op, t0 + r);
    UNROLL(24)
    for (int i = 0; i < rows * side; i++)
        sum[i] = _mm512_setzero_ps();
    for (size_t c = 0; c < (size_t)w->cols; c++) {
        UNROLL(4)
        for (int s = 0; s < side; s++) {
            const unsigned char *at = p + (size_t)s * w->panel_bytes + c * step;
            if (rows < 4)
                _mm_prefetch((const char *)at + 1024, _MM_HINT_T0);
            __m512 v = weights(type, at);
            UNROLL(12)
            for (int r = 0; r < rows; r++)
                sum[s * rows + r] = _mm512_fmadd_ps(v, _mm512_set1_ps(x[r][c]), sum[s * rows + r]);
        }
    }
    UNROLL(4)
    for (int s = 0; s < side; s++) {
        int row = (panel + s) * KERN_PANEL_ROWS, left = w->rows - row;
        __mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
        UNROLL(12)
        for (int r = 0; r < rows; r++) {
            __m512 v = sum[s * rows + r];
            if (op->bias)
                v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, op->bias + row));
            _mm512_mask_storeu_ps(op->y + (size_t)(t0 + r) * op->y_stride + row, mask, v);
        }
    }
}

typedef void tile_fn(const struct kern_matmul *op, int t0, int panel);

#define TILE(rows, side) \
    static void f32_##rows##_##side(const struct kern_matmul *op, int t0, int panel) \
    { \
        tile(KERN_F32, op, t0, panel, rows, side); \
    } \
    static void f16_##rows##_##side(const struct kern_matmul *op, int t0, int panel) \
    { \
        tile(KERN_F16, op, t0, panel, rows, side); \
    } \
    static void bf16_##rows##_##side(const struct kern_matmul *op, int t0, int panel) \
    { \
        tile(KERN_BF16, op, t0, panel, rows, side); \
    }
TILE(12, 1) TILE(12, 2) TILE(8, 1) TILE(8, 2) TILE(6, 1) TILE(6, 2) TILE(4, 1) TILE(4, 2) TILE(3, 1) TILE(3, 2)
TILE(2, 1) TILE(2, 2) TILE(1, 1) TILE(1, 2) TILE(1, 4)

#define TILE_ROW(rows, side) { rows, side, { f32_##rows##_##side, f16_##rows##_##side, bf16_##rows##_##side } }
static const struct {
    int rows, side;
    tile_fn *fn[3];
} tiles[] = { /* widest first among those of equal rows */
    TILE_ROW(12, 2), TILE_ROW(12, 1), TILE_ROW(8, 2), TILE_ROW(8, 1), TILE_ROW(6, 2), TILE_ROW(6, 1), TILE_ROW(4, 2),
    TILE_ROW(4, 1), TILE_ROW(3, 2), TILE_ROW(3, 1), TILE_ROW(2, 2), TILE_ROW(2, 1), TILE_ROW(1, 4), TILE_ROW(1, 2),
    TILE_ROW(1, 1),
};

void kern_fmul_avx512(const struct kern_matmul *op, int panel_first, int panel_end)
{
    int kind = op->w->type == KERN_F32 ? 0 : op->w->type == KERN_F16 ? 1 : 2;
    for (int p = panel_first, side; p < panel_end; p += side) {
        int left = panel_end - p;
        side = op->n >= 2 ? (left >= 2 ? 2 : 1) : left >= 4 ? 4 : 1;
        for (int t = 0, i = 0; t < op->n; i++) {
            if (tiles[i].side != side)
                continue;
            for (; op->n - t >= tiles[i].rows; t += tiles[i].rows)
                tiles[i].fn[kind](op, t, p);
        }
    }
}
