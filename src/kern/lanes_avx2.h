/* lanes_avx2 -- math.h in 8 lanes: the same steps in the same order, so the same bits. Included by *_avx2.c. */
#ifndef KERN_LANES_AVX2_H
#define KERN_LANES_AVX2_H
#include "kern/math.h"

#include <immintrin.h>

#define LANES static inline __attribute__((always_inline))

LANES __m256 exp_lanes(__m256 x)
{
    x = _mm256_min_ps(_mm256_set1_ps(KERN_EXP_MAX), _mm256_max_ps(_mm256_set1_ps(KERN_EXP_MIN), x));
    __m256 magic = _mm256_set1_ps(KERN_ROUND);
    __m256 t = _mm256_fmadd_ps(x, _mm256_set1_ps(KERN_LOG2E), magic), n = _mm256_sub_ps(t, magic);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(KERN_LN2_HI), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(KERN_LN2_LO), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(KERN_EXP_C6), r, _mm256_set1_ps(KERN_EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i whole = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(magic));
    __m256i half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}

LANES __m256 tanh_lanes(__m256 x)
{
    __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    __m256 a = _mm256_andnot_ps(sign, x), e = exp_lanes(_mm256_add_ps(a, a));
    __m256 large = _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(e, one)));
    __m256 z = _mm256_mul_ps(a, a);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(KERN_TANH_C5), z, _mm256_set1_ps(KERN_TANH_C4));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(KERN_TANH_C3));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(KERN_TANH_C2));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(KERN_TANH_C1));
    __m256 small = _mm256_fmadd_ps(_mm256_mul_ps(p, z), a, a);
    __m256 near = _mm256_cmp_ps(a, _mm256_set1_ps(KERN_TANH_SMALL), _CMP_LT_OQ);
    return _mm256_or_ps(_mm256_blendv_ps(large, small, near), _mm256_and_ps(sign, x));
}

/* x / (1 + e^u) */
LANES __m256 over_exp_lanes(__m256 x, __m256 u)
{
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exp_lanes(u)));
}

LANES __m256 silu_lanes(__m256 x)
{
    return over_exp_lanes(x, _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)));
}

LANES __m256 gelu_lanes(__m256 x)
{
    __m256 b = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(KERN_GELU_B), x), x);
    return over_exp_lanes(x, _mm256_mul_ps(_mm256_fmadd_ps(b, x, x), _mm256_set1_ps(-2.0f * KERN_GELU_A)));
}

/* Sixteen lanes are two vectors: 0..7 and 8..15. */
LANES float sum_lanes(__m256 lo, __m256 hi)
{
    __m256 a = _mm256_add_ps(lo, hi);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

LANES float max_lanes(__m256 lo, __m256 hi)
{
    __m256 a = _mm256_max_ps(lo, hi);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* All ones in the first `left` lanes (none below 1, all from 8). */
LANES __m256i tail_mask(int left)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif
