/* weave -- file blocks straight into panels, eight bytes at a time.
 *
 * Every format goes into panels by way of kern_codes (pack.c): bytes between two forms of nibbles. The formats that
 * most files are made of need no bytes in between: a word of a plane is two to four masks and shifts of words of the
 * file. The bytes are those of the long way (tests/kern/format_test.c). Little-endian, as the files are. */
#include "kern/pack.h"

#include <string.h>

enum { PLANE = 64 };

static inline uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint32_t load32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline void store32(unsigned char *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

/* Eight nibbles at this shift of eight bytes: two groups of four columns, the second in the high nibbles. */
static inline uint32_t nibbles(const unsigned char *p, int shift)
{
    uint64_t v = load64(p) >> shift & 0x0f0f0f0f0f0f0f0fu;
    return (uint32_t)(v | v >> 28);
}

/* Sixteen pairs of bits: four groups. */
static inline uint32_t pairs(const unsigned char *p, int shift)
{
    uint64_t m = 0x0303030303030303u, v = (load64(p) >> shift & m) | (load64(p + 8) >> shift & m) << 4;
    return (uint32_t)(v | v >> 30);
}

/* 32 single bits: eight groups. */
static inline uint32_t bits(const unsigned char *p, int shift)
{
    uint64_t m = 0x0101010101010101u, v = 0;
    for (int i = 0; i < 4; i++)
        v |= (load64(p + 8 * i) >> shift & m) << 2 * i;
    return (uint32_t)(v | v >> 31);
}

/* 16 bytes: columns 0..15 in the low nibbles, 16..31 in the high ones. */
static inline void put_halves(const unsigned char *p, unsigned char *plane)
{
    store32(plane, nibbles(p, 0));
    store32(plane + PLANE, nibbles(p + 8, 0));
    store32(plane + 2 * PLANE, nibbles(p, 4));
    store32(plane + 3 * PLANE, nibbles(p + 8, 4));
}

/* 32 bytes, one nibble of each. */
static inline void put_nibbles(const unsigned char *p, int shift, unsigned char *plane)
{
    for (int i = 0; i < 4; i++)
        store32(plane + i * PLANE, nibbles(p + 8 * i, shift));
}

static inline void put_pairs(const unsigned char *p, int shift, unsigned char *plane)
{
    store32(plane, pairs(p, shift));
    store32(plane + PLANE, pairs(p + 16, shift));
}

/* n bytes, one in each line of 16 rows. */
static inline void put_bytes(const unsigned char *p, int n, unsigned char *line)
{
    for (int i = 0; i < n; i++)
        line[i * KERN_PANEL_ROWS] = p[i];
}

static inline void put_word(uint32_t v, unsigned char *line)
{
    for (int i = 0; i < 4; i++)
        line[i * KERN_PANEL_ROWS] = (unsigned char)(v >> 8 * i);
}

/* ---- blocks of 32 */

static void weave_q4_0(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    unsigned char *scale = unit + blocks * 4 * PLANE + 2 * row;
    for (int b = 0; b < blocks; b++, src += 18) {
        put_halves(src + 2, unit + b * 4 * PLANE + 4 * row);
        memcpy(scale + 32 * b, src, 2);
    }
}

static void weave_q4_1(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    unsigned char *scale = unit + blocks * 4 * PLANE + 2 * row;
    for (int b = 0; b < blocks; b++, src += 20) {
        put_halves(src + 4, unit + b * 4 * PLANE + 4 * row);
        memcpy(scale + 64 * b, src, 2);
        memcpy(scale + 64 * b + 32, src + 2, 2);
    }
}

static void weave_q8_0(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    unsigned char *scale = unit + blocks * 8 * PLANE + 2 * row;
    for (int b = 0; b < blocks; b++, src += 34) {
        for (int g = 0; g < 8; g++)
            store32(unit + (b * 8 + g) * PLANE + 4 * row, load32(src + 2 + 4 * g) ^ 0x80808080u);
        memcpy(scale + 32 * b, src, 2);
    }
}

static void weave_mxfp4(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    for (int b = 0; b < blocks; b++, src += 17) {
        put_halves(src + 1, unit + b * 4 * PLANE + 4 * row);
        unit[blocks * 4 * PLANE + 16 * b + row] = src[0];
    }
}

/* ---- blocks of 256: a unit each */

static void weave_q2_k(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    unsigned char *scale = unit + KERN_UNIT_BLOCKS * 2 * PLANE;
    for (int f = 0; f < KERN_UNIT_BLOCKS; f++)
        put_pairs(src + 16 + f / 4 * 32, f % 4 * 2, unit + f * 2 * PLANE + 4 * row);
    put_bytes(src, 16, scale + row);
    memcpy(scale + 256 + 2 * row, src + 80, 2);
    memcpy(scale + 288 + 2 * row, src + 82, 2);
}

static void weave_q3_k(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    unsigned char *scale = unit + KERN_UNIT_BLOCKS * 3 * PLANE;
    for (int f = 0; f < KERN_UNIT_BLOCKS; f++) {
        unsigned char *plane = unit + f * 3 * PLANE + 4 * row;
        put_pairs(src + 32 + f / 4 * 32, f % 4 * 2, plane);
        store32(plane + 2 * PLANE, bits(src, f));
    }
    put_bytes(src + 96, 12, scale + row);
    memcpy(scale + 192 + 2 * row, src + 108, 2);
}

/* Q4_K and Q5_K: scales and mins of six bits, then d and m. */
static void put_sixes(const unsigned char *src, unsigned char *scale, int row)
{
    uint32_t low = 0x0f0f0f0fu, a = load32(src + 4), b = load32(src + 8), c = load32(src + 12);
    put_word((a & low) | (c & low) << 4, scale + row);
    put_word((b & low) | (c & ~low), scale + 64 + row);
    put_word((a >> 4 & low) | (b & ~low), scale + 128 + row);
    memcpy(scale + 192 + 2 * row, src, 2);
    memcpy(scale + 224 + 2 * row, src + 2, 2);
}

static void weave_q4_k(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    for (int f = 0; f < KERN_UNIT_BLOCKS; f++)
        put_nibbles(src + 16 + f / 2 * 32, f % 2 * 4, unit + f * 4 * PLANE + 4 * row);
    put_sixes(src, unit + KERN_UNIT_BLOCKS * 4 * PLANE, row);
}

static void weave_q5_k(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    for (int f = 0; f < KERN_UNIT_BLOCKS; f++) {
        unsigned char *plane = unit + f * 5 * PLANE + 4 * row;
        put_nibbles(src + 48 + f / 2 * 32, f % 2 * 4, plane);
        store32(plane + 4 * PLANE, bits(src + 16, f));
    }
    put_sixes(src, unit + KERN_UNIT_BLOCKS * 5 * PLANE, row);
}

static void weave_q6_k(const unsigned char *src, unsigned char *unit, int blocks, int row)
{
    unsigned char *scale = unit + KERN_UNIT_BLOCKS * 6 * PLANE;
    for (int f = 0; f < KERN_UNIT_BLOCKS; f++) {
        unsigned char *plane = unit + f * 6 * PLANE + 4 * row;
        put_nibbles(src + f / 4 * 64 + f % 2 * 32, f % 4 / 2 * 4, plane);
        put_pairs(src + 128 + f / 4 * 32, f % 4 * 2, plane + 4 * PLANE);
    }
    put_bytes(src + 192, 16, scale + row);
    memcpy(scale + 256 + 2 * row, src + 208, 2);
}

kern_weave_fn kern_weave(enum kern_type type)
{
    switch (type) {
    case KERN_Q4_0: case KERN_IQ4_NL: return weave_q4_0;
    case KERN_Q4_1: return weave_q4_1;
    case KERN_Q8_0: return weave_q8_0;
    case KERN_MXFP4: return weave_mxfp4;
    case KERN_Q2_K: return weave_q2_k;
    case KERN_Q3_K: return weave_q3_k;
    case KERN_Q4_K: return weave_q4_k;
    case KERN_Q5_K: return weave_q5_k;
    case KERN_Q6_K: return weave_q6_k;
    default: return NULL;
    }
}
