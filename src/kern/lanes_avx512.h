/* lanes_avx512 -- math.h in 16 lanes: the same steps in the same order, so the same bits. Included by *_avx512.c. */
#ifndef KERN_LANES_AVX512_H
#define KERN_LANES_AVX512_H
#include "kern/math.h"

#include <immintrin.h>
#include <stdbool.h>

#define LANES static inline __attribute__((always_inline))

LANES __m512 exp_lanes(__m512 x)
{
    x = _mm512_min_ps(_mm512_set1_ps(KERN_EXP_MAX), _mm512_max_ps(_mm512_set1_ps(KERN_EXP_MIN), x));
    __m512 magic = _mm512_set1_ps(KERN_ROUND);
    __m512 t = _mm512_fmadd_ps(x, _mm512_set1_ps(KERN_LOG2E), magic), n = _mm512_sub_ps(t, magic);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(KERN_LN2_HI), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(KERN_LN2_LO), r);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(KERN_EXP_C6), r, _mm512_set1_ps(KERN_EXP_C5));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n); /* rounds once, as the two multiplications of the law do */
}

LANES __m512 tanh_lanes(__m512 x)
{
    __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
    __m512 a = _mm512_andnot_ps(sign, x), e = exp_lanes(_mm512_add_ps(a, a));
    __m512 large = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(e, one)));
    __m512 z = _mm512_mul_ps(a, a);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(KERN_TANH_C5), z, _mm512_set1_ps(KERN_TANH_C4));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(KERN_TANH_C3));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(KERN_TANH_C2));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(KERN_TANH_C1));
    __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(p, z), a, a);
    __mmask16 near = _mm512_cmp_ps_mask(a, _mm512_set1_ps(KERN_TANH_SMALL), _CMP_LT_OQ);
    return _mm512_or_ps(_mm512_mask_blend_ps(near, large, small), _mm512_and_ps(sign, x));
}

/* x / (1 + e^u) */
LANES __m512 over_exp_lanes(__m512 x, __m512 u)
{
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), exp_lanes(u)));
}

LANES __m512 silu_lanes(__m512 x)
{
    return over_exp_lanes(x, _mm512_xor_ps(x, _mm512_set1_ps(-0.0f)));
}

LANES __m512 gelu_lanes(__m512 x)
{
    __m512 b = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(KERN_GELU_B), x), x);
    return over_exp_lanes(x, _mm512_mul_ps(_mm512_fmadd_ps(b, x, x), _mm512_set1_ps(-2.0f * KERN_GELU_A)));
}

LANES __m128 fold4(__m128 v) /* lane 0: (0 + 2) + (1 + 3) */
{
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_add_ss(v, _mm_movehdup_ps(v));
}

LANES float sum_lanes(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_cvtss_f32(fold4(_mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1))));
}

LANES float max_lanes(__m512 v)
{
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* lo: accumulators 0..7, hi: 8..15 */
LANES double sum_doubles(__m512d lo, __m512d hi)
{
    __m512d v = _mm512_add_pd(lo, hi);
    __m256d a = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    __m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

/* Lane k of the result: v[k] folded as sum_lanes or max_lanes fold it, all sixteen at once. */
LANES __m512 fold_step(__m512 lo, __m512 hi, const bool max)
{
    return max ? _mm512_max_ps(lo, hi) : _mm512_add_ps(lo, hi);
}
LANES __m512d as_pairs(__m512 v) { return _mm512_castps_pd(v); }
LANES __m512 as_floats(__m512d v) { return _mm512_castpd_ps(v); }

LANES __m512 fold_lanes(const __m512 *v, const bool max)
{
    __m512 half[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m512 four[2];
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) { /* rows r, r + 4, r + 8, r + 12 into the four quarters of a vector */
            const __m512 *r = v + 2 * i + k;
            __m512 x = fold_step(_mm512_shuffle_f32x4(r[0], r[4], 0x44), _mm512_shuffle_f32x4(r[0], r[4], 0xee), max);
            __m512 y = fold_step(_mm512_shuffle_f32x4(r[8], r[12], 0x44), _mm512_shuffle_f32x4(r[8], r[12], 0xee), max);
            four[k] = fold_step(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd), max);
        }
        __m512d p = as_pairs(four[0]), q = as_pairs(four[1]);
        half[i] = fold_step(as_floats(_mm512_unpacklo_pd(p, q)), as_floats(_mm512_unpackhi_pd(p, q)), max);
    }
    return fold_step(_mm512_shuffle_ps(half[0], half[1], 0x88), _mm512_shuffle_ps(half[0], half[1], 0xdd), max);
}

LANES __mmask16 tail_mask(int left) { return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1); }
#endif
