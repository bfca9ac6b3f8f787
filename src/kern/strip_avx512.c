/* strip_avx512 -- few rows of x against a unit: the codes go from memory through registers into the products.
 *
 * Decoding is bound by memory; what is in the way of the loads must be short. The scales are opened first (a small part
 * of the unit), the codes never touch L1 twice. For more rows than STRIP_ROWS opening the unit pays (tile_avx512). */
#include "kern/planes_avx512.h"
#include "kern/rungs.h"
#include "kern/strip.h"

#include <string.h>

INLINE __m512i four(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm512_set1_epi32(v);
}

struct form { /* all constants where a strip is inlined */
    enum planes kind;
    int block_bytes;
    int shift; /* corr >> shift is what codes kept above zero add */
    bool table, sixteen, min;
};

INLINE void strip(const struct form f, const int rows, const struct kern_strip *a)
{
    struct kern_tile scales;
    const struct kern_layout *l = kern_layout(a->type);
    const unsigned char *p = a->unit;
    open_scales(l, p, a->blocks, &scales);
    const int subs = f.sixteen ? 2 : 1, groups = 8 / subs;
    __m512i map = _mm512_setzero_si512();
    if (f.table)
        map = _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)l->table)),
                               _mm512_set1_epi8((char)0x80));
    __m512 sum[KERN_STRIP_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        sum[r] = _mm512_load_ps(a->acc + 16 * r);
    for (int b = 0; b < a->blocks; b++, p += f.block_bytes) {
        ask_for_block(a->ahead, f.block_bytes * 9, b);
#pragma GCC unroll 2
        for (int h = 0; h < subs; h++) {
            __m512i dot[KERN_STRIP_ROWS];
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const struct kern_act *x = a->x[r] + a->at + b;
                dot[r] = f.min ? _mm512_setzero_si512()
                               : _mm512_srai_epi32(_mm512_set1_epi32(f.sixteen ? x->corr16[h] : x->corr),
                                                   (unsigned)f.shift);
            }
#pragma GCC unroll 8
            for (int g = h * groups; g < (h + 1) * groups; g++) {
                __m512i w = group(f.kind, p, g);
                if (f.table)
                    w = _mm512_shuffle_epi8(map, w);
#pragma GCC unroll 8
                for (int r = 0; r < rows; r++)
                    dot[r] = _mm512_dpbusd_epi32(dot[r], w, four(a->x[r][a->at + (size_t)b].q + 4 * g));
            }
            __m512 scale = _mm512_load_ps(scales.scale[b * subs + h]);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const struct kern_act *x = a->x[r] + a->at + b;
                sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]),
                                         _mm512_mul_ps(scale, _mm512_set1_ps(x->scale)), sum[r]);
                if (f.min)
                    sum[r] = _mm512_fnmadd_ps(_mm512_load_ps(scales.min[b * subs + h]),
                                              _mm512_set1_ps(f.sixteen ? x->scale_sum16[h] : x->scale_sum), sum[r]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        _mm512_store_ps(a->acc + 16 * r, sum[r]);
}

#define STRIP(name, rows, ...) \
    static void name##_##rows(const struct kern_strip *a) \
    { \
        strip((struct form){ __VA_ARGS__ }, rows, a); \
    }
#define STRIPS(name, ...) \
    STRIP(name, 1, __VA_ARGS__) STRIP(name, 2, __VA_ARGS__) STRIP(name, 3, __VA_ARGS__) STRIP(name, 4, __VA_ARGS__) \
    STRIP(name, 5, __VA_ARGS__) STRIP(name, 6, __VA_ARGS__) STRIP(name, 7, __VA_ARGS__) STRIP(name, 8, __VA_ARGS__)
STRIPS(q4, NIBBLE, 256, 4, false, false, false)
STRIPS(q4_min, NIBBLE, 256, 0, false, false, true)
STRIPS(q4_table, NIBBLE, 256, 0, true, false, false)
STRIPS(q5, NIBBLE_BIT, 320, 3, false, false, false)
STRIPS(q5_min, NIBBLE_BIT, 320, 0, false, false, true)
STRIPS(q8, BYTE, 512, 0, false, false, false)
STRIPS(q2, PAIR, 128, 0, false, true, true)
STRIPS(q3, PAIR_BIT, 192, 5, false, true, false)
STRIPS(q6, NIBBLE_PAIR, 384, 2, false, true, false)

#define ROW(name) { name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8 }
static kern_strip_fn *const strips[KERN_TYPE_LIMIT][KERN_STRIP_ROWS] = {
    [KERN_Q4_0] = ROW(q4), [KERN_Q4_1] = ROW(q4_min), [KERN_Q4_K] = ROW(q4_min), [KERN_Q5_0] = ROW(q5),
    [KERN_Q5_1] = ROW(q5_min), [KERN_Q5_K] = ROW(q5_min), [KERN_Q8_0] = ROW(q8), [KERN_Q2_K] = ROW(q2),
    [KERN_Q3_K] = ROW(q3), [KERN_Q6_K] = ROW(q6), [KERN_IQ4_NL] = ROW(q4_table), [KERN_IQ4_XS] = ROW(q4_table),
    [KERN_MXFP4] = ROW(q4_table),
};

kern_strip_fn *kern_strip_avx512(enum kern_type type, int rows)
{
    return strips[type][rows - 1];
}
