/* planes_avx512 -- the bits of a packed unit (pack.h) into bytes, its scales into floats. Included by *_avx512.c. */
#ifndef KERN_PLANES_AVX512_H
#define KERN_PLANES_AVX512_H
#include "kern/tile.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum planes { NIBBLE, NIBBLE_BIT, NIBBLE_PAIR, PAIR, PAIR_BIT, BYTE };

INLINE __m512i load(const void *p) { return _mm512_loadu_si512(p); }

/* Moves every byte's bits from position `from` up or down to position `to`; neighbours' bits are masked off later. */
INLINE __m512i shift(__m512i v, int from, int to)
{
    return to >= from ? _mm512_slli_epi16(v, (unsigned)(to - from)) : _mm512_srli_epi16(v, (unsigned)(from - to));
}

/* a | (b & mask) */
INLINE __m512i or_masked(__m512i a, __m512i b, int mask)
{
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi8((char)mask), 0xf8);
}

/* The codes of group g of a block. */
INLINE __m512i group(enum planes kind, const unsigned char *p, int g)
{
    if (kind == BYTE)
        return load(p + g * 64);
    __m512i w = _mm512_setzero_si512();
    int have = 0;
    if (kind == NIBBLE || kind == NIBBLE_BIT || kind == NIBBLE_PAIR) {
        w = _mm512_and_si512(shift(load(p + g / 2 * 64), g % 2 * 4, 0), _mm512_set1_epi8(15));
        have = 4;
        p += 256;
    }
    if (kind == NIBBLE_PAIR || kind == PAIR || kind == PAIR_BIT) {
        w = or_masked(w, shift(load(p + g / 4 * 64), g % 4 * 2, have), 3 << have);
        have += 2;
        p += 128;
    }
    if (kind == NIBBLE_BIT || kind == PAIR_BIT)
        w = or_masked(w, shift(load(p), g, have), 1 << have);
    return w;
}

INLINE __m512 halves(const unsigned char *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
INLINE __m512 bytes_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE __m512 bytes_s8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

static inline void scales_f16(const unsigned char *p, int blocks, bool min, struct kern_tile *t)
{
    for (int b = 0; b < blocks; b++) {
        _mm512_store_ps(t->scale[b], halves(p));
        p += 32;
        if (min) { /* stored as what is added */
            _mm512_store_ps(t->min[b], _mm512_xor_ps(halves(p), _mm512_set1_ps(-0.0f)));
            p += 32;
        }
    }
}

static inline void scales_e8m0(const unsigned char *p, int blocks, struct kern_tile *t)
{
    for (int b = 0; b < blocks; b++) {
        __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(p + b * 16)));
        __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        __mmask16 tiny = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
        __m512i bits = _mm512_mask_sllv_epi32(normal, tiny, _mm512_set1_epi32(0x200000), e);
        _mm512_store_si512(t->scale[b], bits);
    }
}

/* d (and m) times the sub-blocks' integers. */
INLINE void times(const uint8_t *sc, const uint8_t *mn, bool sign, int subs, const unsigned char *dm,
                  struct kern_tile *t)
{
    __m512 d = halves(dm), m = d;
    if (mn)
        m = halves(dm + 32);
    for (int s = 0; s < subs; s++) {
        _mm512_store_ps(t->scale[s], _mm512_mul_ps(d, sign ? bytes_s8(sc + 16 * s) : bytes_u8(sc + 16 * s)));
        if (mn)
            _mm512_store_ps(t->min[s], _mm512_mul_ps(m, bytes_u8(mn + 16 * s)));
    }
}

INLINE __m512i low4(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }

static inline void scales_k4(const unsigned char *p, struct kern_tile *t)
{
    _Alignas(64) uint8_t sc[128], mn[128];
    __m512i s = load(p), m = load(p + 64), h = load(p + 128);
    _mm512_store_si512(sc, or_masked(low4(s), shift(h, 0, 4), 0x30));
    _mm512_store_si512(sc + 64, or_masked(low4(shift(s, 4, 0)), shift(h, 2, 4), 0x30));
    _mm512_store_si512(mn, or_masked(low4(m), h, 0x30));
    _mm512_store_si512(mn + 64, or_masked(low4(shift(m, 4, 0)), shift(h, 6, 4), 0x30));
    times(sc, mn, false, 8, p + 192, t);
}

static inline void scales_k3(const unsigned char *p, struct kern_tile *t)
{
    _Alignas(64) uint8_t sc[256];
    __m512i h = load(p + 128), less = _mm512_set1_epi8(32);
    for (int i = 0; i < 2; i++) {
        __m512i lo = load(p + 64 * i), a = low4(lo), b = low4(shift(lo, 4, 0));
        a = or_masked(a, i ? shift(h, 2, 4) : shift(h, 0, 4), 0x30);
        b = or_masked(b, i ? shift(h, 6, 4) : h, 0x30);
        _mm512_store_si512(sc + 64 * i, _mm512_sub_epi8(a, less));
        _mm512_store_si512(sc + 128 + 64 * i, _mm512_sub_epi8(b, less));
    }
    times(sc, NULL, true, 16, p + 192, t);
}

static inline void scales_xs(const unsigned char *p, struct kern_tile *t)
{
    _Alignas(64) uint8_t sc[128];
    __m512i lo = load(p), less = _mm512_set1_epi8(32);
    __m256i h2 = _mm256_loadu_si256((const __m256i *)(p + 96));
    __m512i h = _mm512_broadcast_i64x4(h2), up = _mm512_inserti64x4(h, _mm256_srli_epi16(h2, 2), 1);
    _mm512_store_si512(sc, _mm512_sub_epi8(or_masked(low4(lo), shift(up, 0, 4), 0x30), less));
    _mm512_store_si512(sc + 64, _mm512_sub_epi8(or_masked(low4(shift(lo, 4, 0)), up, 0x30), less));
    times(sc, NULL, true, 8, p + 64, t);
}

static inline void scales_k2(const unsigned char *p, struct kern_tile *t)
{
    _Alignas(64) uint8_t sc[256], mn[256];
    for (int i = 0; i < 4; i++) {
        __m512i v = load(p + 64 * i);
        _mm512_store_si512(sc + 64 * i, low4(v));
        _mm512_store_si512(mn + 64 * i, low4(shift(v, 4, 0)));
    }
    times(sc, mn, false, 16, p + 256, t);
}

/* Scales (and mins) of a unit. */
static inline void open_scales(const struct kern_layout *l, const unsigned char *unit, int blocks, struct kern_tile *t)
{
    const unsigned char *p = unit + blocks * l->block_bytes;
    switch (l->form) {
    case SCALE_F16: scales_f16(p, blocks, false, t); break;
    case SCALE_F16_MIN: scales_f16(p, blocks, true, t); break;
    case SCALE_E8M0: scales_e8m0(p, blocks, t); break;
    case SCALE_K2: scales_k2(p, t); break;
    case SCALE_K3: scales_k3(p, t); break;
    case SCALE_K4: scales_k4(p, t); break;
    case SCALE_K6: times(p, NULL, true, 16, p + 256, t); break;
    case SCALE_XS: scales_xs(p, t); break;
    }
}
#endif
