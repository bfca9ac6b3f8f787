/* blocks_k -- the formats whose blocks hold 256 values: Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS.
 *
 * A block has one f16 scale (and one for the mins); each 16 or 32 values have a small integer that multiplies
 * it. Codes are cut into planes whose order differs from format to format; `split` and `join` are the maps. */
#include "kern/blocks.h"

#include <math.h>
#include <string.h>

enum { N = 256 };

/* Q2_K and Q3_K: low two bits. Half h of the block has 32 bytes; field f of byte l is value 128 h + 32 f + l. */
static void pairs_split(const unsigned char *restrict p, uint8_t *restrict q)
{
#pragma GCC unroll 8
    for (int f = 0; f < 8; f++)
        for (int i = 0; i < 32; i++)
            q[32 * f + i] = p[f / 4 * 32 + i] >> 2 * (f % 4) & 3;
}

static void pairs_join(const uint8_t *q, unsigned char *p)
{
    memset(p, 0, 64);
    for (int i = 0; i < N; i++)
        p[i / 128 * 32 + i % 32] |= (unsigned char)((q[i] & 3) << 2 * (i % 128 / 32));
}

/* Q4_K and Q5_K: low four bits. Byte 32 g + l holds values 64 g + l and 64 g + 32 + l. */
static void nibbles_split(const unsigned char *restrict p, uint8_t *restrict q)
{
    for (int g = 0; g < 4; g++, p += 32, q += 64) {
        for (int i = 0; i < 32; i++) {
            q[i] = p[i] & 15;
            q[i + 32] = p[i] >> 4;
        }
    }
}

static void nibbles_join(const uint8_t *q, unsigned char *p)
{
    memset(p, 0, 128);
    for (int i = 0; i < N; i++)
        p[i / 64 * 32 + i % 32] |= (unsigned char)((q[i] & 15) << 4 * (i % 64 / 32));
}

/* The 12 bytes of Q4_K and Q5_K: eight 6-bit scales and eight 6-bit mins. */
static void six_split(const unsigned char *p, uint8_t *sc, uint8_t *mn)
{
    for (int s = 0; s < 4; s++) {
        sc[s] = p[s] & 63;
        mn[s] = p[s + 4] & 63;
        sc[s + 4] = (uint8_t)((p[s + 8] & 15) | p[s] >> 6 << 4);
        mn[s + 4] = (uint8_t)(p[s + 8] >> 4 | p[s + 4] >> 6 << 4);
    }
}

static void six_join(const uint8_t *sc, const uint8_t *mn, unsigned char *p)
{
    for (int s = 0; s < 4; s++) {
        p[s] = (unsigned char)(sc[s] | sc[s + 4] >> 4 << 6);
        p[s + 4] = (unsigned char)(mn[s] | mn[s + 4] >> 4 << 6);
        p[s + 8] = (unsigned char)((sc[s + 4] & 15) | (mn[s + 4] & 15) << 4);
    }
}

void kern_split_q2_k(const unsigned char *src, int blocks, struct kern_codes *c)
{
    (void)blocks; /* a unit is one block */
    for (int s = 0; s < 16; s++) {
        c->sc[s] = src[s] & 15;
        c->mn[s] = src[s] >> 4;
    }
    pairs_split(src + 16, c->q);
    c->d[0] = kern_load16(src + 80);
    c->m[0] = kern_load16(src + 82);
}

/* Q3_K and Q5_K: bit f of byte l belongs to value 32 f + l. */
static void bits_split(const unsigned char *restrict p, uint8_t *restrict q, const int to)
{
#pragma GCC unroll 8
    for (int f = 0; f < 8; f++)
        for (int i = 0; i < 32; i++)
            q[32 * f + i] |= (uint8_t)((p[i] >> f & 1) << to);
}

void kern_split_q3_k(const unsigned char *src, int blocks, struct kern_codes *c)
{
    (void)blocks;
    pairs_split(src + 32, c->q);
    bits_split(src, c->q, 2);
    const unsigned char *p = src + 96;
    for (int s = 0; s < 16; s++)
        c->sc[s] = (uint8_t)((p[s % 8] >> s / 8 * 4 & 15) | (p[8 + s % 4] >> s / 4 * 2 & 3) << 4);
    c->d[0] = kern_load16(src + 108);
}

void kern_split_q4_k(const unsigned char *src, int blocks, struct kern_codes *c)
{
    (void)blocks;
    c->d[0] = kern_load16(src);
    c->m[0] = kern_load16(src + 2);
    six_split(src + 4, c->sc, c->mn);
    nibbles_split(src + 16, c->q);
}

void kern_split_q5_k(const unsigned char *src, int blocks, struct kern_codes *c)
{
    (void)blocks;
    c->d[0] = kern_load16(src);
    c->m[0] = kern_load16(src + 2);
    six_split(src + 4, c->sc, c->mn);
    nibbles_split(src + 48, c->q);
    bits_split(src + 16, c->q, 4);
}

/* Q6_K: quarter f of half h has its low nibbles in ql[64 h + 32 (f % 2) ..] (f / 2: the high ones) and its high
 * pairs in field f of qh[32 h ..]. */
static void six_bits_split(const unsigned char *restrict p, uint8_t *restrict q)
{
#pragma GCC unroll 8
    for (int f = 0; f < 8; f++) {
        const unsigned char *low = p + f / 4 * 64 + f % 2 * 32, *high = p + 128 + f / 4 * 32;
        int low_shift = f % 4 / 2 * 4, high_shift = f % 4 * 2;
        for (int i = 0; i < 32; i++)
            q[32 * f + i] = (uint8_t)((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4);
    }
}

void kern_split_q6_k(const unsigned char *src, int blocks, struct kern_codes *c)
{
    (void)blocks;
    six_bits_split(src, c->q);
    memcpy(c->sc, src + 192, 16);
    c->d[0] = kern_load16(src + 208);
}

void kern_split_iq4_xs(const unsigned char *src, int blocks, struct kern_codes *c)
{
    (void)blocks;
    c->d[0] = kern_load16(src);
    unsigned high = kern_load16(src + 2);
    for (int s = 0; s < 8; s++)
        c->sc[s] = (uint8_t)((src[4 + s / 2] >> s % 2 * 4 & 15) | (high >> 2 * s & 3) << 4);
    for (int s = 0; s < 8; s++) {
        for (int i = 0; i < 16; i++) {
            c->q[32 * s + i] = src[8 + 16 * s + i] & 15;
            c->q[32 * s + 16 + i] = src[8 + 16 * s + i] >> 4;
        }
    }
}

/* ---- the other way */

static float mean_square(const float *x, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++)
        s += (double)x[i] * (double)x[i];
    return (float)fmin(s / n, 1e30);
}

/* Weighted root mean square: a value counts for its own size plus the typical size of its surroundings. */
static void weights(const float *x, int n, float sigma2, float *w)
{
    float s = sqrtf(sigma2);
    for (int i = 0; i < n; i++)
        w[i] = s > 1e-30f ? fminf(1 + fabsf(x[i]) / s, 1e6f) : 1;
}

static uint16_t half(float v)
{
    return kern_f32_to_f16(fmaxf(-65504, fminf(65504, v)));
}

/* Rounds the sub-blocks' scales to integers of at most `top` under one f16. */
static uint16_t share(const float *scale, int n, int lo, int hi, int offset, uint8_t *out)
{
    float top = 0;
    for (int s = 0; s < n; s++)
        if (fabsf(scale[s]) > fabsf(top))
            top = scale[s];
    uint16_t d = half(lo < 0 ? top / (float)lo : top / (float)hi);
    float f = kern_f16_to_f32(d), inv = f != 0 ? 1 / f : 0;
    for (int s = 0; s < n; s++)
        out[s] = (uint8_t)(kern_nearest(scale[s] * inv, lo, hi) + offset);
    return d;
}

/* With the integers fixed, the f16 in front has a best value too: least squares over the whole block. */
static uint16_t refine(const float *x, const float *w, const float *unit, uint16_t d)
{
    double xu = 0, uu = 0;
    for (int i = 0; i < N; i++) {
        xu += (double)w[i] * (double)x[i] * (double)unit[i];
        uu += (double)w[i] * (double)unit[i] * (double)unit[i];
    }
    return xu != 0 && fabs(xu) < 6e4 * uu ? half((float)(xu / uu)) : d;
}

/* Formats without mins (Q3_K, Q6_K): codes in [-n, n-1], stored + n. Scales in [lo, hi], stored + offset. */
static void quantize_scaled(const float *x, int nmax, int lo, int hi, int offset, struct kern_codes *c)
{
    float w[N], scale[16], unit[N];
    int8_t codes[16];
    weights(x, N, mean_square(x, N), w);
    for (int s = 0; s < 16; s++)
        scale[s] = kern_search_scale(x + 16 * s, w + 16 * s, 16, -nmax, nmax - 1, codes);
    c->d[0] = share(scale, 16, lo, hi, offset, c->sc);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            float k = (float)((int8_t)c->sc[i / 16] - offset), f = kern_f16_to_f32(c->d[0]) * k;
            int code = kern_nearest(f != 0 ? x[i] / f : 0, -nmax, nmax - 1);
            c->q[i] = (uint8_t)(code + nmax);
            unit[i] = k * (float)code;
        }
        if (round == 0)
            c->d[0] = refine(x, w, unit, c->d[0]);
    }
}

/* Formats with mins (Q2_K, Q4_K, Q5_K): sub-blocks of len values, codes in [0, nmax], scales in [0, top]. */
static void quantize_min(const float *x, int len, int nmax, int top, struct kern_codes *c)
{
    float w[N], scale[16], min[16];
    uint8_t trial[32];
    int subs = N / len;
    weights(x, N, mean_square(x, N), w);
    for (int s = 0; s < subs; s++)
        scale[s] = kern_search_min(x + len * s, w + len * s, len, nmax, true, &min[s], trial);
    c->d[0] = share(scale, subs, 0, top, 0, c->sc);
    c->m[0] = share(min, subs, 0, top, 0, c->mn);
    float unit[N], rest[N], d = kern_f16_to_f32(c->d[0]), m = kern_f16_to_f32(c->m[0]);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            float f = d * (float)c->sc[i / len], base = m * (float)c->mn[i / len];
            int code = kern_nearest(f != 0 ? (x[i] + base) / f : 0, 0, nmax);
            c->q[i] = (uint8_t)code;
            unit[i] = (float)c->sc[i / len] * (float)code;
            rest[i] = x[i] + base;
        }
        if (round == 0) {
            c->d[0] = refine(rest, w, unit, c->d[0]);
            d = kern_f16_to_f32(c->d[0]);
        }
    }
}

void kern_quantize_q2_k(const float *src, unsigned char *dst)
{
    struct kern_codes c;
    quantize_min(src, 16, 3, 15, &c);
    for (int s = 0; s < 16; s++)
        dst[s] = (unsigned char)(c.sc[s] | c.mn[s] << 4);
    pairs_join(c.q, dst + 16);
    kern_store16(dst + 80, c.d[0]);
    kern_store16(dst + 82, c.m[0]);
}

void kern_quantize_q3_k(const float *src, unsigned char *dst)
{
    struct kern_codes c;
    quantize_scaled(src, 4, -32, 31, 32, &c);
    memset(dst, 0, 32);
    for (int i = 0; i < N; i++)
        dst[i % 32] |= (unsigned char)((c.q[i] >> 2 & 1) << i / 32);
    pairs_join(c.q, dst + 32);
    unsigned char *p = dst + 96;
    memset(p, 0, 12);
    for (int s = 0; s < 16; s++) {
        p[s % 8] |= (unsigned char)((c.sc[s] & 15) << s / 8 * 4);
        p[8 + s % 4] |= (unsigned char)((c.sc[s] >> 4) << s / 4 * 2);
    }
    kern_store16(dst + 108, c.d[0]);
}

void kern_quantize_q4_k(const float *src, unsigned char *dst)
{
    struct kern_codes c;
    quantize_min(src, 32, 15, 63, &c);
    kern_store16(dst, c.d[0]);
    kern_store16(dst + 2, c.m[0]);
    six_join(c.sc, c.mn, dst + 4);
    nibbles_join(c.q, dst + 16);
}

void kern_quantize_q5_k(const float *src, unsigned char *dst)
{
    struct kern_codes c;
    quantize_min(src, 32, 31, 63, &c);
    kern_store16(dst, c.d[0]);
    kern_store16(dst + 2, c.m[0]);
    six_join(c.sc, c.mn, dst + 4);
    memset(dst + 16, 0, 32);
    for (int i = 0; i < N; i++)
        dst[16 + i % 32] |= (unsigned char)((c.q[i] >> 4 & 1) << i / 32);
    nibbles_join(c.q, dst + 48);
}

void kern_quantize_q6_k(const float *src, unsigned char *dst)
{
    struct kern_codes c;
    quantize_scaled(src, 32, -128, 127, 0, &c);
    memset(dst, 0, 192);
    for (int f = 0; f < 8; f++) {
        for (int i = 0; i < 32; i++) {
            dst[f / 4 * 64 + f % 2 * 32 + i] |= (unsigned char)((c.q[32 * f + i] & 15) << f % 4 / 2 * 4);
            dst[128 + f / 4 * 32 + i] |= (unsigned char)((c.q[32 * f + i] >> 4) << f % 4 * 2);
        }
    }
    memcpy(dst + 192, c.sc, 16);
    kern_store16(dst + 208, c.d[0]);
}

void kern_quantize_iq4_xs(const float *src, unsigned char *dst)
{
    float w[N], scale[8], unit[N];
    uint8_t q[N], sc[8];
    weights(src, N, mean_square(src, N), w);
    for (int s = 0; s < 8; s++)
        scale[s] = kern_search_table(src + 32 * s, w + 32 * s, 32, kern_table_iq4, q + 32 * s);
    uint16_t d = share(scale, 8, -32, 31, 32, sc);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            float k = (float)((int)sc[i / 32] - 32), f = kern_f16_to_f32(d) * k;
            float v = f != 0 ? src[i] / f : 0;
            int best = 0;
            for (int e = 1; e < 16; e++)
                if (fabsf(v - (float)kern_table_iq4[e]) < fabsf(v - (float)kern_table_iq4[best]))
                    best = e;
            q[i] = (uint8_t)best;
            unit[i] = k * (float)kern_table_iq4[best];
        }
        if (round == 0)
            d = refine(src, w, unit, d);
    }
    unsigned high = 0;
    kern_store16(dst, d);
    memset(dst + 4, 0, 4 + N / 2);
    for (int s = 0; s < 8; s++) {
        high |= (unsigned)(sc[s] >> 4) << 2 * s;
        dst[4 + s / 2] |= (unsigned char)((sc[s] & 15) << s % 2 * 4);
    }
    kern_store16(dst + 2, (uint16_t)high);
    for (int i = 0; i < N; i++)
        dst[8 + i / 32 * 16 + i % 16] |= (unsigned char)(q[i] << i % 32 / 16 * 4);
}
