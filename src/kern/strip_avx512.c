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
    int shift;   /* corr >> shift is what codes kept above zero add */
    bool halves; /* scales are an f16 for each block: read where they are used */
    bool table, sixteen, min;
};

/* Asks for what a block of this unit's stream holds later; lines: what a block takes, with its share of the scales. */
INLINE void ask(const struct kern_strip *a, int b, const int lines)
{
    const unsigned char *p = a->ahead + b * a->ahead_step;
    p += p >= a->ahead_end ? a->ahead_jump : 0;
#pragma GCC unroll 10
    for (int i = 0; i < lines; i++)
        _mm_prefetch((const char *)p + i * 64, _MM_HINT_T1);
}

/* The products of groups [g0, g0 + groups) of block b, for every row: exact, so any number of chains gives the sum. Two
 * for few rows: one would make each product wait for the one before. */
INLINE void dots(const struct form f, const unsigned char *p, const int g0, const int groups, __m512i map,
                 const struct kern_act *const *x, const int rows, __m512i *dot)
{
    const int chains = rows <= 2 && groups == 8 ? 2 : 1;
    __m512i odd[2] = { _mm512_setzero_si512(), _mm512_setzero_si512() };
#pragma GCC unroll 8
    for (int g = g0; g < g0 + groups; g++) {
        __m512i w = group(f.kind, p, g);
        if (f.table)
            w = _mm512_shuffle_epi8(map, w);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            if (chains == 2 && g % 2)
                odd[r] = _mm512_dpbusd_epi32(odd[r], w, four(x[r]->q + 4 * g));
            else
                dot[r] = _mm512_dpbusd_epi32(dot[r], w, four(x[r]->q + 4 * g));
        }
    }
#pragma GCC unroll 2
    for (int r = 0; r < rows && chains == 2; r++)
        dot[r] = _mm512_add_epi32(dot[r], odd[r]);
}

INLINE void strip(const struct form f, const int rows, const struct kern_strip *a)
{
    struct kern_tile opened;
    const struct kern_layout *l = kern_layout(a->type);
    const unsigned char *p = a->unit, *scales = p + a->blocks * f.block_bytes;
    if (!f.halves)
        open_scales(l, p, a->blocks, &opened);
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
        const struct kern_act *x[KERN_STRIP_ROWS];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            x[r] = a->x[r] + a->at + b;
        ask(a, b, (f.block_bytes + 40 + 63) / 64);
#pragma GCC unroll 2
        for (int h = 0; h < subs; h++) {
            __m512i dot[KERN_STRIP_ROWS];
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                dot[r] = f.min ? _mm512_setzero_si512()
                               : _mm512_srai_epi32(_mm512_set1_epi32(f.sixteen ? x[r]->corr16[h] : x[r]->corr),
                                                   (unsigned)f.shift);
            dots(f, p, h * groups, groups, map, x, rows, dot);
            __m512 scale = f.halves ? halves(scales + 32 * b) : _mm512_load_ps(opened.scale[b * subs + h]);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]),
                                         _mm512_mul_ps(scale, _mm512_set1_ps(x[r]->scale)), sum[r]);
                if (f.min)
                    sum[r] = _mm512_fnmadd_ps(_mm512_load_ps(opened.min[b * subs + h]),
                                              _mm512_set1_ps(f.sixteen ? x[r]->scale_sum16[h] : x[r]->scale_sum),
                                              sum[r]);
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
STRIPS(q4, NIBBLE, 256, 4, true, false, false, false)
STRIPS(q4_min, NIBBLE, 256, 0, false, false, false, true)
STRIPS(q4_table, NIBBLE, 256, 0, false, true, false, false)
STRIPS(q5, NIBBLE_BIT, 320, 3, true, false, false, false)
STRIPS(q5_min, NIBBLE_BIT, 320, 0, false, false, false, true)
STRIPS(q8, BYTE, 512, 0, true, false, false, false)
STRIPS(q2, PAIR, 128, 0, false, false, true, true)
STRIPS(q3, PAIR_BIT, 192, 5, false, false, true, false)
STRIPS(q6, NIBBLE_PAIR, 384, 2, false, false, true, false)

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
