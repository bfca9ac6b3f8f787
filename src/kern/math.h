/* math -- exp, tanh and their kin, written once in scalar form: vector rungs repeat these steps lane by lane.
 *
 * exp: x = n ln 2 + r, |r| <= ln 2 / 2; e^r by a polynomial of degree 6 (least maximum relative error, 3e-9); times
 * 2^n in two steps, so that results below FLT_MIN round once. tanh: an odd polynomial (Cephes) near 0, else
 * 1 - 2 / (e^2x + 1). Private to kern/. */
#ifndef KERN_MATH_H
#define KERN_MATH_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#define KERN_EXP_MAX 89.0f   /* beyond: infinity */
#define KERN_EXP_MIN -104.5f /* below: 0 */
#define KERN_LOG2E 1.44269504088896341f
#define KERN_LN2_HI 0x1.62e4p-1f
#define KERN_LN2_LO 0x1.7f7d1cp-20f
#define KERN_ROUND 12582912.0f /* adding 1.5 * 2^23 leaves the integer in the low bits */
#define KERN_EXP_C6 0x1.6a2254p-10f
#define KERN_EXP_C5 0x1.123b02p-7f
#define KERN_EXP_C4 0x1.5558f8p-5f
#define KERN_EXP_C3 0x1.555490p-3f
#define KERN_EXP_C2 0x1.fffffcp-2f
#define KERN_TANH_SMALL 0.625f
#define KERN_TANH_C5 -5.70498872745e-3f
#define KERN_TANH_C4 2.06390887954e-2f
#define KERN_TANH_C3 -5.37397155531e-2f
#define KERN_TANH_C2 1.33314422036e-1f
#define KERN_TANH_C1 -3.33332819422e-1f
#define KERN_GELU_A 0.79788456080286535588f /* sqrt(2 / pi) */
#define KERN_GELU_B 0.044715f

static inline float kern_bits_float(uint32_t b)
{
    float f;
    memcpy(&f, &b, 4);
    return f;
}

static inline uint32_t kern_float_bits(float f)
{
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}

/* As the vector instructions have it: b unless a is the greater (the lesser), so a NaN in b stays. */
static inline float kern_max(float a, float b) { return a > b ? a : b; }
static inline float kern_min(float a, float b) { return a < b ? a : b; }

static inline float kern_exp_law(float x)
{
    x = kern_min(KERN_EXP_MAX, kern_max(KERN_EXP_MIN, x));
    float t = fmaf(x, KERN_LOG2E, KERN_ROUND), n = t - KERN_ROUND;
    float r = fmaf(n, -KERN_LN2_HI, x);
    r = fmaf(n, -KERN_LN2_LO, r);
    float p = fmaf(KERN_EXP_C6, r, KERN_EXP_C5);
    p = fmaf(p, r, KERN_EXP_C4);
    p = fmaf(p, r, KERN_EXP_C3);
    p = fmaf(p, r, KERN_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    uint32_t whole = kern_float_bits(t) - kern_float_bits(KERN_ROUND);
    uint32_t half = whole >> 1 | (whole & 0x80000000u);
    p *= kern_bits_float((half + 127) << 23);
    return p * kern_bits_float((whole - half + 127) << 23);
}

static inline float kern_tanh_law(float x)
{
    float a = fabsf(x), e = kern_exp_law(a + a), large = 1.0f - 2.0f / (e + 1.0f), z = a * a;
    float p = fmaf(KERN_TANH_C5, z, KERN_TANH_C4);
    p = fmaf(p, z, KERN_TANH_C3);
    p = fmaf(p, z, KERN_TANH_C2);
    p = fmaf(p, z, KERN_TANH_C1);
    float small = fmaf(p * z, a, a);
    return copysignf(a < KERN_TANH_SMALL ? small : large, x);
}

static inline float kern_silu_law(float x) { return x / (1.0f + kern_exp_law(-x)); }

/* 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3) */
static inline float kern_gelu_law(float x)
{
    float u = fmaf(KERN_GELU_B * x * x, x, x) * (-2.0f * KERN_GELU_A);
    return x / (1.0f + kern_exp_law(u));
}

static inline float kern_swiglu_oai_law(float gate, float up, float alpha, float limit)
{
    gate = kern_min(limit, gate);
    up = kern_max(-limit, kern_min(limit, up));
    return gate / (1.0f + kern_exp_law(-alpha * gate)) * (up + 1.0f);
}

/* The pairwise sum of 16 lanes: i with i + 8, then + 4, + 2, + 1. */
static inline float kern_sum16(const float *v)
{
    float a[8];
    for (int i = 0; i < 8; i++)
        a[i] = v[i] + v[i + 8];
    for (int step = 4; step; step /= 2)
        for (int i = 0; i < step; i++)
            a[i] = a[i] + a[i + step];
    return a[0];
}

static inline double kern_sum16_double(const double *v)
{
    double a[8];
    for (int i = 0; i < 8; i++)
        a[i] = v[i] + v[i + 8];
    for (int step = 4; step; step /= 2)
        for (int i = 0; i < step; i++)
            a[i] = a[i] + a[i + step];
    return a[0];
}

static inline float kern_max16(const float *v)
{
    float a[8];
    for (int i = 0; i < 8; i++)
        a[i] = kern_max(v[i], v[i + 8]);
    for (int step = 4; step; step /= 2)
        for (int i = 0; i < step; i++)
            a[i] = kern_max(a[i], a[i + step]);
    return a[0];
}
#endif
