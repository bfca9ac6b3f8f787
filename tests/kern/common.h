/* common -- random and evil inputs for the kernel tests. */
#ifndef TESTS_KERN_COMMON_H
#define TESTS_KERN_COMMON_H
#include "base/mem.h"
#include "base/rng.h"
#include "kern/kern.h"
#include "../test.h"

#include <stdlib.h>

static const enum kern_type all_types[] = {
    KERN_F32, KERN_F16, KERN_BF16, KERN_Q4_0, KERN_Q4_1, KERN_Q5_0, KERN_Q5_1, KERN_Q8_0, KERN_IQ4_NL, KERN_MXFP4,
    KERN_Q2_K, KERN_Q3_K, KERN_Q4_K, KERN_Q5_K, KERN_Q6_K, KERN_IQ4_XS,
};
enum { TYPE_COUNT = sizeof all_types / sizeof *all_types };

static inline float gauss(struct rng *r)
{
    double u = rng_next_unit(r) + 1e-12, v = rng_next_unit(r);
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static inline void fill_gauss(struct rng *r, float *x, size_t n, float s)
{
    for (size_t i = 0; i < n; i++)
        x[i] = s * gauss(r);
}

/* Values that find what a vector path forgot. */
static inline float evil(struct rng *r)
{
    static const float list[] = {
        NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-45f, -1e-40f, 3.4028235e38f, -3.4028235e38f, 1e-30f, 9.9e-31f,
        65504, 65520, -65536, 1, -1, 0.5f, 127, 127.5f, 88.7f, 89.1f, -87.4f, -103.9f, -104.6f, 0.625f, 1e20f,
    };
    return list[rng_below(r, sizeof list / sizeof *list)];
}

/* Equal bits, or both NaN: which NaN is not part of the law. The first difference, or -1. */
static inline long first_difference(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) && !(isnan(a[i]) && isnan(b[i])))
            return (long)i;
    return -1;
}
#endif
