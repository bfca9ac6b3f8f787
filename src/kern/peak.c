/* peak -- the portable loops, and which to use on which rung. */
#include "kern/peak.h"

#include <math.h>

static uint64_t int8_ref(uint64_t rounds)
{
    int32_t s[4] = { 0, 1, 2, 3 };
    int a = 3, b = 5;
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+r"(a), "+r"(b));
        for (int i = 0; i < 4; i++)
            s[i] = (int32_t)((uint32_t)s[i] + (uint32_t)(a * b + i));
    }
    __asm__ volatile("" : : "r"(s[0] ^ s[1] ^ s[2] ^ s[3]));
    return rounds * 4;
}

static uint64_t fma_ref(uint64_t rounds)
{
    float s[4] = { 0, 1, 2, 3 };
    volatile float a = 1e-20f;
    float x = a;
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 4; i++)
            s[i] = fmaf(x, 0.5f, s[i]);
    a = s[0] + s[1] + s[2] + s[3];
    return rounds * 4;
}

void kern_peak_fill(struct kern_peak *p, enum kern_isa isa)
{
    *p = (struct kern_peak){ int8_ref, fma_ref };
#if defined(__x86_64__)
    if (isa >= KERN_AVX2)
        *p = (struct kern_peak){ kern_peak_int8_avx2, kern_peak_fma_avx2 };
    if (isa >= KERN_AVX512)
        *p = (struct kern_peak){ kern_peak_int8_avx512, kern_peak_fma_avx512 };
#endif
}

uint64_t kern_peak_read(const void *p, size_t n)
{
    const uint64_t *v = p;
    uint64_t s[8] = { 0 };
    for (size_t i = 0; i < n / 8; i += 8)
        for (int k = 0; k < 8; k++)
            s[k] += v[i + (size_t)k];
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}
