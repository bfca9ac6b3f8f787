/* peak_avx512 -- tight loops of vpdpbusd and vfmadd: twelve independent sums, nothing else. */
#include "kern/peak.h"

#include <immintrin.h>

enum { SUMS = 12 };

uint64_t kern_peak_int8_avx512(uint64_t rounds)
{
    __m512i s[SUMS], a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2);
    for (int i = 0; i < SUMS; i++)
        s[i] = _mm512_set1_epi32(i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            s[i] = _mm512_dpbusd_epi32(s[i], a, b);
    }
    for (int i = 1; i < SUMS; i++)
        s[0] = _mm512_add_epi32(s[0], s[i]);
    __asm__ volatile("" : : "v"(s[0]));
    return rounds * SUMS * 64;
}

uint64_t kern_peak_fma_avx512(uint64_t rounds)
{
    __m512 s[SUMS], a = _mm512_set1_ps(1e-20f), b = _mm512_set1_ps(0.5f);
    for (int i = 0; i < SUMS; i++)
        s[i] = _mm512_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            s[i] = _mm512_fmadd_ps(a, b, s[i]);
    }
    for (int i = 1; i < SUMS; i++)
        s[0] = _mm512_add_ps(s[0], s[i]);
    __asm__ volatile("" : : "v"(s[0]));
    return rounds * SUMS * 16;
}
