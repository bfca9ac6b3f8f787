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

/* Four streams, each asked for well ahead: one stream alone leaves a third of the bandwidth unused. */
uint64_t kern_peak_read(const void *p, size_t n)
{
    enum { STREAMS = 4, AHEAD = 512, LINE = 8 }; /* in words of 8 bytes */
    const uint64_t *v = p;
    size_t part = n / 8 / STREAMS;
    uint64_t s[LINE] = { 0 };
    for (size_t i = 0; i < part; i += LINE) {
        for (size_t k = 0; k < STREAMS; k++) {
            const uint64_t *at = v + k * part + i;
            __builtin_prefetch(at + AHEAD);
            for (int w = 0; w < LINE; w++)
                s[w] += at[w];
        }
    }
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}
