/* peak_avx2 -- tight loops of vpmaddubsw + vpaddw and of vfmadd: twelve independent sums. */
#include "kern/peak.h"

#include <immintrin.h>

enum { SUMS = 12 };

uint64_t kern_peak_int8_avx2(uint64_t rounds)
{
    __m256i s[SUMS], a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(0);
    for (int i = 0; i < SUMS; i++)
        s[i] = _mm256_set1_epi16((short)i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++) {
            __m256i x = b;
            __asm__ volatile("" : "+x"(x)); /* a product for each sum, not one for all */
            s[i] = _mm256_add_epi16(s[i], _mm256_maddubs_epi16(a, x));
        }
    }
    for (int i = 1; i < SUMS; i++)
        s[0] = _mm256_add_epi16(s[0], s[i]);
    __asm__ volatile("" : : "x"(s[0]));
    return rounds * SUMS * 32;
}

uint64_t kern_peak_fma_avx2(uint64_t rounds)
{
    __m256 s[SUMS], a = _mm256_set1_ps(1e-20f), b = _mm256_set1_ps(0.5f);
    for (int i = 0; i < SUMS; i++)
        s[i] = _mm256_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            s[i] = _mm256_fmadd_ps(a, b, s[i]);
    }
    for (int i = 1; i < SUMS; i++)
        s[0] = _mm256_add_ps(s[0], s[i]);
    __asm__ volatile("" : : "x"(s[0]));
    return rounds * SUMS * 8;
}
