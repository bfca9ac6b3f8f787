/* peak -- how fast this machine's units can go: what `bench --kernels` divides by. */
#ifndef KERN_PEAK_H
#define KERN_PEAK_H
#include "kern/kern.h"

/* Each runs about `rounds` loop turns on registers and returns the multiply-adds done. */
typedef uint64_t kern_peak_fn(uint64_t rounds);
struct kern_peak {
    kern_peak_fn *int8; /* the rung's way from bytes to 32-bit sums */
    kern_peak_fn *fma;  /* float32 */
};
void kern_peak_fill(struct kern_peak *p, enum kern_isa isa);
/* Reads n bytes (a multiple of 1024), adding them up somehow; the sum, so that it is not thrown away. */
uint64_t kern_peak_read(const void *p, size_t n);

uint64_t kern_peak_int8_avx2(uint64_t rounds);
uint64_t kern_peak_fma_avx2(uint64_t rounds);
uint64_t kern_peak_int8_avx512(uint64_t rounds);
uint64_t kern_peak_fma_avx512(uint64_t rounds);
#endif
