/* dots_neon -- int8 products on ARM: compiled twice, without and with the dot product instructions.
 *
 * A group of a panel is [16 rows][4 columns], so a vector of 16 bytes is four rows: SDOT's own layout. Without SDOT the
 * products are widened and added pairwise; both are exact. */
#ifndef KERN_DOTS_NEON_H
#define KERN_DOTS_NEON_H
#include "kern/tile.h"

#include <arm_neon.h>
#include <string.h>

/* Four rows, four columns each: acc[row] += sum over columns of w * x. */
static inline int32x4_t dot4(int32x4_t acc, int8x16_t w, int8x16_t x)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, w, x);
#else
    int32x4_t lo = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    int32x4_t hi = vpaddlq_s16(vmull_high_s8(w, x));
    return vaddq_s32(acc, vpaddq_s32(lo, hi));
#endif
}

static inline int8x16_t four_times(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(v));
}
#endif
