/* lanes_neon -- math.h in 4 lanes: the same steps in the same order, so the same bits. Included by *_neon.c. */
#ifndef KERN_LANES_NEON_H
#define KERN_LANES_NEON_H
#include "kern/math.h"

#include <arm_neon.h>
#include <stdbool.h>

#define LANES static inline __attribute__((always_inline))

LANES float32x4_t max_neon(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
LANES float32x4_t min_neon(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }

/* 2^e for whole e in -126 .. 127 */
LANES float32x4_t power_of_two(uint32x4_t e)
{
    return vreinterpretq_f32_u32(vshlq_n_u32(vaddq_u32(e, vdupq_n_u32(127)), 23));
}

LANES float32x4_t exp_neon(float32x4_t x)
{
    const float32x4_t magic = vdupq_n_f32(KERN_ROUND);
    x = min_neon(vdupq_n_f32(KERN_EXP_MAX), max_neon(vdupq_n_f32(KERN_EXP_MIN), x));
    float32x4_t t = vfmaq_f32(magic, x, vdupq_n_f32(KERN_LOG2E)), n = vsubq_f32(t, magic);
    float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-KERN_LN2_HI));
    r = vfmaq_f32(r, n, vdupq_n_f32(-KERN_LN2_LO));
    float32x4_t p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C5), vdupq_n_f32(KERN_EXP_C6), r);
    p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C4), p, r);
    p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C3), p, r);
    p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C2), p, r);
    p = vfmaq_f32(vdupq_n_f32(1), p, r);
    p = vfmaq_f32(vdupq_n_f32(1), p, r);
    uint32x4_t whole = vsubq_u32(vreinterpretq_u32_f32(t), vreinterpretq_u32_f32(magic));
    uint32x4_t half = vorrq_u32(vshrq_n_u32(whole, 1), vandq_u32(whole, vdupq_n_u32(0x80000000u)));
    p = vmulq_f32(p, power_of_two(half));
    return vmulq_f32(p, power_of_two(vsubq_u32(whole, half)));
}

/* x / (1 + e^u) */
LANES float32x4_t over_exp_neon(float32x4_t x, float32x4_t u)
{
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1), exp_neon(u)));
}

/* Four stored values of a float type as floats. */
LANES float32x4_t widen_16(bool brain, const unsigned char *p)
{
    uint16x4_t h = vld1_u16((const uint16_t *)(const void *)p);
    return brain ? vreinterpretq_f32_u32(vshll_n_u16(h, 16)) : vcvt_f32_f16(vreinterpret_f16_u16(h));
}
#endif
