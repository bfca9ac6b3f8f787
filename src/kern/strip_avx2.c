/* strip_avx2 -- one or two rows of x against a unit: the codes go from memory through registers into the products.
 *
 * See strip_avx512 for why, matmul_avx2 for the 16-bit sums. */
#include "kern/planes_avx2.h"
#include "kern/rungs.h"
#include "kern/strip.h"

#include <string.h>

enum { ROWS = 2 };

INLINE __m256i four(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm256_set1_epi32(v);
}

struct form { /* all constants where a strip is inlined */
    enum planes kind;
    int block_bytes;
    int span;  /* groups whose 16-bit sums may be added; 0: signed bytes */
    int shift; /* corr >> shift is what codes kept above zero add */
    int up;    /* added to a table's values or to the byte */
    bool table, sixteen, min;
};

/* Groups g0 .. g0 + groups of a block: exact sums for 8 outputs (half h) and each row. */
INLINE void dots(const struct form f, const unsigned char *p, int h, const int g0, const int groups, __m256i map,
                 const int rows, const struct kern_act *const *x, __m256i *dot)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int step = f.span ? f.span : 1;
#pragma GCC unroll 8
    for (int g = g0; g < g0 + groups; g += step) {
        __m256i part[ROWS];
#pragma GCC unroll 8
        for (int k = 0; k < step; k++) {
            __m256i w = group(f.kind, p, g + k, h);
            if (f.table)
                w = _mm256_shuffle_epi8(map, w);
            else if (f.up)
                w = _mm256_add_epi8(w, _mm256_set1_epi8((char)f.up));
            __m256i size = f.span ? w : _mm256_abs_epi8(w);
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) {
                __m256i v = four(x[r]->q + 4 * (g + k));
                __m256i prod = _mm256_maddubs_epi16(size, f.span ? v : _mm256_sign_epi8(v, w));
                part[r] = k ? _mm256_add_epi16(part[r], prod) : prod;
            }
        }
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++)
            dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(part[r], ones));
    }
}

INLINE void strip(const struct form f, const int rows, const struct kern_strip *a)
{
    struct kern_tile scales;
    const struct kern_layout *l = kern_layout(a->type);
    const unsigned char *p = a->unit;
    const int subs = f.sixteen ? 2 : 1, groups = 8 / subs;
    open_scales(l, p, a->blocks, &scales);
    __m256i map = _mm256_setzero_si256();
    if (f.table)
        map = _mm256_add_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)l->table)),
                              _mm256_set1_epi8((char)f.up));
    __m256 sum[ROWS][2];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        sum[r][0] = _mm256_load_ps(a->acc + 16 * r);
        sum[r][1] = _mm256_load_ps(a->acc + 16 * r + 8);
    }
    for (int b = 0; b < a->blocks; b++, p += f.block_bytes) {
        const struct kern_act *x[ROWS];
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++)
            x[r] = a->x[r] + a->at + b;
        prefetch_block(a->unit, f.block_bytes * 9, b);
#pragma GCC unroll 4
        for (int i = 0; i < 2 * subs; i++) { /* each half of the outputs, each sub-block */
            const int s = i / 2, h = i % 2;
            __m256i dot[ROWS];
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) {
                int corr = f.sixteen ? x[r]->corr16[s] : x[r]->corr;
                dot[r] = f.min || !f.span ? _mm256_setzero_si256()
                                          : _mm256_srai_epi32(_mm256_set1_epi32(corr), f.shift);
            }
            dots(f, p, h, s * groups, groups, map, rows, x, dot);
            __m256 scale = _mm256_load_ps(scales.scale[b * subs + s] + 8 * h);
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) {
                sum[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r]),
                                            _mm256_mul_ps(scale, _mm256_set1_ps(x[r]->scale)), sum[r][h]);
                if (f.min)
                    sum[r][h] = _mm256_fnmadd_ps(_mm256_load_ps(scales.min[b * subs + s] + 8 * h),
                                                 _mm256_set1_ps(f.sixteen ? x[r]->scale_sum16[s] : x[r]->scale_sum),
                                                 sum[r][h]);
            }
        }
    }
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        _mm256_store_ps(a->acc + 16 * r, sum[r][0]);
        _mm256_store_ps(a->acc + 16 * r + 8, sum[r][1]);
    }
}

#define STRIP(name, rows, ...) \
    static void name##_##rows(const struct kern_strip *a) \
    { \
        strip((struct form){ __VA_ARGS__ }, rows, a); \
    }
#define STRIPS(name, ...) STRIP(name, 1, __VA_ARGS__) STRIP(name, 2, __VA_ARGS__)
STRIPS(q4, NIBBLE, 256, 8, 4, 0, false, false, false)
STRIPS(q4_min, NIBBLE, 256, 8, 0, 0, false, false, true)
STRIPS(iq4, NIBBLE, 256, 0, 0, 0, true, false, false)
STRIPS(fp4, NIBBLE, 256, 4, 3, 16, true, false, false)
STRIPS(q5, NIBBLE_BIT, 320, 4, 3, 0, false, false, false)
STRIPS(q5_min, NIBBLE_BIT, 320, 4, 0, 0, false, false, true)
STRIPS(q8, BYTE, 512, 0, 0, 128, false, false, false)
STRIPS(q2, PAIR, 128, 4, 0, 0, false, true, true)
STRIPS(q3, PAIR_BIT, 192, 4, 5, 0, false, true, false)
STRIPS(q6, NIBBLE_PAIR, 384, 2, 2, 0, false, true, false)

#define ROW(name) { name##_1, name##_2 }
static kern_strip_fn *const strips[KERN_TYPE_LIMIT][ROWS] = {
    [KERN_Q4_0] = ROW(q4), [KERN_Q4_1] = ROW(q4_min), [KERN_Q4_K] = ROW(q4_min), [KERN_Q5_0] = ROW(q5),
    [KERN_Q5_1] = ROW(q5_min), [KERN_Q5_K] = ROW(q5_min), [KERN_Q8_0] = ROW(q8), [KERN_Q2_K] = ROW(q2),
    [KERN_Q3_K] = ROW(q3), [KERN_Q6_K] = ROW(q6), [KERN_IQ4_NL] = ROW(iq4), [KERN_IQ4_XS] = ROW(iq4),
    [KERN_MXFP4] = ROW(fp4),
};

kern_strip_fn *kern_strip_avx2(enum kern_type type, int rows)
{
    return strips[type][rows - 1];
}
