/* blocks_32 -- the formats whose blocks hold 32 values: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4.
 *
 * A 4-bit block keeps value i in the low nibble of byte i and value i + 16 in the high one; 5-bit formats keep
 * the fifth bits in a 32-bit word, bit i for value i. */
#include "kern/blocks.h"

#include <math.h>
#include <string.h>

const int8_t kern_table_iq4[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
/* twice E2M1, so that it is whole; the block's scale is halved for it */
const int8_t kern_table_fp4[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

static void nibbles_split(const unsigned char *restrict p, uint8_t *restrict q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = p[i] & 15;
        q[i + 16] = p[i] >> 4;
    }
}

static void nibbles_join(const uint8_t *q, unsigned char *p)
{
    for (int i = 0; i < 16; i++)
        p[i] = (unsigned char)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void fifth_split(const unsigned char *p, uint8_t *q)
{
    for (int b = 0; b < 4; b++) { /* eight bits into the low bits of eight bytes */
        uint64_t spread = p[b] * 0x0101010101010101u & 0x8040201008040201u, v;
        spread = ((spread + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u) << 4;
        memcpy(&v, q + 8 * b, 8);
        v |= spread;
        memcpy(q + 8 * b, &v, 8);
    }
}

static void fifth_join(const uint8_t *q, unsigned char *p)
{
    memset(p, 0, 4);
    for (int i = 0; i < 32; i++)
        p[i / 8] |= (unsigned char)((q[i] >> 4 & 1) << i % 8);
}

void kern_split_q4_0(const unsigned char *src, int blocks, struct kern_codes *c)
{
    for (int b = 0; b < blocks; b++, src += 18) {
        c->d[b] = kern_load16(src);
        nibbles_split(src + 2, c->q + 32 * b);
    }
}

void kern_split_q4_1(const unsigned char *src, int blocks, struct kern_codes *c)
{
    for (int b = 0; b < blocks; b++, src += 20) {
        c->d[b] = kern_load16(src);
        c->m[b] = kern_load16(src + 2);
        nibbles_split(src + 4, c->q + 32 * b);
    }
}

void kern_split_q5_0(const unsigned char *src, int blocks, struct kern_codes *c)
{
    for (int b = 0; b < blocks; b++, src += 22) {
        c->d[b] = kern_load16(src);
        nibbles_split(src + 6, c->q + 32 * b);
        fifth_split(src + 2, c->q + 32 * b);
    }
}

void kern_split_q5_1(const unsigned char *src, int blocks, struct kern_codes *c)
{
    for (int b = 0; b < blocks; b++, src += 24) {
        c->d[b] = kern_load16(src);
        c->m[b] = kern_load16(src + 2);
        nibbles_split(src + 8, c->q + 32 * b);
        fifth_split(src + 4, c->q + 32 * b);
    }
}

void kern_split_q8_0(const unsigned char *src, int blocks, struct kern_codes *c)
{
    for (int b = 0; b < blocks; b++, src += 34) {
        c->d[b] = kern_load16(src);
        for (int i = 0; i < 32; i++)
            c->q[32 * b + i] = src[2 + i] ^ 0x80;
    }
}

void kern_split_iq4_nl(const unsigned char *src, int blocks, struct kern_codes *c)
{
    kern_split_q4_0(src, blocks, c);
}

void kern_split_mxfp4(const unsigned char *src, int blocks, struct kern_codes *c)
{
    for (int b = 0; b < blocks; b++, src += 17) {
        c->d[b] = src[0];
        nibbles_split(src + 1, c->q + 32 * b);
    }
}

/* ---- the other way */

/* Large values matter more: they meet large activations as often as small ones do, and their error is larger. */
static void weights_square(const float *x, float *w)
{
    float mean = 0;
    for (int i = 0; i < 32; i++)
        mean += x[i] * x[i] / 32;
    if (!(mean > 1e-30f) || mean > 1e30f) { /* squares that leave the range weigh alike */
        for (int i = 0; i < 32; i++)
            w[i] = 1;
        return;
    }
    for (int i = 0; i < 32; i++)
        w[i] = 0.5f + 0.5f * (x[i] * x[i] / mean);
}

/* The f16 nearest to v, held inside the finite range. */
static uint16_t half(float v)
{
    return kern_f32_to_f16(fmaxf(-65504, fminf(65504, v)));
}

/* Rounds x once more with the scale as stored. */
static void round_codes(const float *x, uint16_t d, float min, int lo, int hi, int offset, uint8_t *q)
{
    float scale = kern_f16_to_f32(d), inv = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)(kern_nearest((x[i] + min) * inv, lo, hi) + offset);
}

static uint16_t quantize_scale(const float *x, int nmax, uint8_t *q)
{
    float w[32];
    int8_t codes[32];
    weights_square(x, w);
    uint16_t d = half(kern_search_scale(x, w, 32, -nmax, nmax - 1, codes));
    round_codes(x, d, 0, -nmax, nmax - 1, nmax, q);
    return d;
}

void kern_quantize_q4_0(const float *src, unsigned char *dst)
{
    uint8_t q[32];
    kern_store16(dst, quantize_scale(src, 8, q));
    nibbles_join(q, dst + 2);
}

void kern_quantize_q5_0(const float *src, unsigned char *dst)
{
    uint8_t q[32];
    kern_store16(dst, quantize_scale(src, 16, q));
    fifth_join(q, dst + 2);
    nibbles_join(q, dst + 6);
}

static void quantize_min(const float *x, int nmax, uint16_t *d, uint16_t *m, uint8_t *q)
{
    float w[32], min;
    for (int i = 0; i < 32; i++)
        w[i] = 1;
    *d = half(kern_search_min(x, w, 32, nmax, false, &min, q));
    *m = half(-min);
    round_codes(x, *d, -kern_f16_to_f32(*m), 0, nmax, 0, q);
}

void kern_quantize_q4_1(const float *src, unsigned char *dst)
{
    uint16_t d, m;
    uint8_t q[32];
    quantize_min(src, 15, &d, &m, q);
    kern_store16(dst, d);
    kern_store16(dst + 2, m);
    nibbles_join(q, dst + 4);
}

void kern_quantize_q5_1(const float *src, unsigned char *dst)
{
    uint16_t d, m;
    uint8_t q[32];
    quantize_min(src, 31, &d, &m, q);
    kern_store16(dst, d);
    kern_store16(dst + 2, m);
    fifth_join(q, dst + 4);
    nibbles_join(q, dst + 8);
}

void kern_quantize_q8_0(const float *src, unsigned char *dst)
{
    float top = 0;
    uint8_t q[32];
    for (int i = 0; i < 32; i++)
        top = fmaxf(top, fabsf(src[i]));
    uint16_t d = half(top / 127);
    round_codes(src, d, 0, -127, 127, 0, q);
    kern_store16(dst, d);
    memcpy(dst + 2, q, 32);
}

void kern_quantize_iq4_nl(const float *src, unsigned char *dst)
{
    float w[32];
    uint8_t q[32];
    weights_square(src, w);
    uint16_t d = half(kern_search_table(src, w, 32, kern_table_iq4, q));
    kern_store16(dst, d);
    nibbles_join(q, dst + 2);
}

static double fp4_round(const float *x, float scale, uint8_t *q)
{
    double error = 0;
    for (int i = 0; i < 32; i++) {
        float v = fabsf(x[i]) / scale;
        int best = 0;
        for (int k = 1; k < 8; k++)
            if (fabsf(v - (float)kern_table_fp4[k]) < fabsf(v - (float)kern_table_fp4[best]))
                best = k;
        double e = (double)(v - (float)kern_table_fp4[best]) * (double)scale;
        error += e * e;
        q[i] = (uint8_t)(best | (x[i] < 0 && best ? 8 : 0));
    }
    return error;
}

void kern_quantize_mxfp4(const float *src, unsigned char *dst)
{
    float top = 0;
    double best_error = INFINITY;
    for (int i = 0; i < 32; i++)
        top = fmaxf(top, fabsf(src[i]));
    int exp = 0;
    frexpf(top, &exp);
    uint8_t q[32], best[32] = { 0 };
    dst[0] = 0;
    for (int e = exp - 4; e <= exp && top > 0; e++) { /* scale 2^e: top is 8..16 down to 0.5..1 of it */
        int stored = e + 128;
        if (stored < 0 || stored > 254)
            continue;
        double error = fp4_round(src, kern_e8m0_half((uint8_t)stored), q);
        if (error < best_error) {
            best_error = error;
            dst[0] = (unsigned char)stored;
            memcpy(best, q, 32);
        }
    }
    nibbles_join(best, dst + 1);
}
