/* planes_avx2 -- the bits of a packed unit (pack.h) into bytes, its scales into floats. Included by *_avx2.c. */
#ifndef KERN_PLANES_AVX2_H
#define KERN_PLANES_AVX2_H
#include "kern/tile.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum planes { NIBBLE, NIBBLE_BIT, NIBBLE_PAIR, PAIR, PAIR_BIT, BYTE };

INLINE __m256i load(const void *p) { return _mm256_loadu_si256(p); }

/* Moves every byte's bits from position `from` up or down to position `to`; neighbours' bits are masked off later. */
INLINE __m256i shift(__m256i v, int from, int to)
{
    return to >= from ? _mm256_slli_epi16(v, to - from) : _mm256_srli_epi16(v, from - to);
}

/* a | (b & mask) */
INLINE __m256i or_masked(__m256i a, __m256i b, int mask)
{
    return _mm256_or_si256(a, _mm256_and_si256(b, _mm256_set1_epi8((char)mask)));
}

/* Half h of the codes of group g of a block. */
INLINE __m256i group(enum planes kind, const unsigned char *p, int g, int h)
{
    p += 32 * h;
    if (kind == BYTE)
        return load(p + g * 64);
    __m256i w = _mm256_setzero_si256();
    int have = 0;
    if (kind == NIBBLE || kind == NIBBLE_BIT || kind == NIBBLE_PAIR) {
        w = _mm256_and_si256(shift(load(p + g / 2 * 64), g % 2 * 4, 0), _mm256_set1_epi8(15));
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

INLINE __m256 halves(const unsigned char *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE __m256 bytes_u8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE __m256 bytes_s8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

static inline void scales_f16(const unsigned char *p, int blocks, bool min, struct kern_tile *t)
{
    for (int b = 0; b < blocks; b++, p += min ? 64 : 32) {
        for (int h = 0; h < 2; h++) {
            _mm256_store_ps(t->scale[b] + 8 * h, halves(p + 16 * h));
            if (min) /* stored as what is added */
                _mm256_store_ps(t->min[b] + 8 * h, _mm256_xor_ps(halves(p + 32 + 16 * h), _mm256_set1_ps(-0.0f)));
        }
    }
}

static inline void scales_e8m0(const unsigned char *p, int blocks, struct kern_tile *t)
{
    for (int i = 0; i < blocks * 2; i++) {
        __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + i * 8)));
        __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
        __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), e);
        __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
        _mm256_store_si256((__m256i *)(&t->scale[0][0] + 8 * i), _mm256_blendv_epi8(normal, small, tiny));
    }
}

/* d (and m) times the sub-blocks' integers. */
INLINE void times(const uint8_t *sc, const uint8_t *mn, bool sign, int subs, const unsigned char *dm,
                  struct kern_tile *t)
{
    for (int h = 0; h < 2; h++) {
        __m256 d = halves(dm + 16 * h), m = mn ? halves(dm + 32 + 16 * h) : d;
        for (int s = 0; s < subs; s++) {
            const uint8_t *at = sc + 16 * s + 8 * h;
            _mm256_store_ps(t->scale[s] + 8 * h, _mm256_mul_ps(d, sign ? bytes_s8(at) : bytes_u8(at)));
            if (mn)
                _mm256_store_ps(t->min[s] + 8 * h, _mm256_mul_ps(m, bytes_u8(mn + 16 * s + 8 * h)));
        }
    }
}

INLINE __m256i low4(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
INLINE void keep(uint8_t *p, __m256i v) { _mm256_store_si256((__m256i *)p, v); }

static inline void scales_k4(const unsigned char *p, struct kern_tile *t)
{
    _Alignas(32) uint8_t sc[128], mn[128];
    for (int i = 0; i < 64; i += 32) {
        __m256i s = load(p + i), m = load(p + 64 + i), h = load(p + 128 + i);
        keep(sc + i, or_masked(low4(s), shift(h, 0, 4), 0x30));
        keep(sc + 64 + i, or_masked(low4(shift(s, 4, 0)), shift(h, 2, 4), 0x30));
        keep(mn + i, or_masked(low4(m), h, 0x30));
        keep(mn + 64 + i, or_masked(low4(shift(m, 4, 0)), shift(h, 6, 4), 0x30));
    }
    times(sc, mn, false, 8, p + 192, t);
}

static inline void scales_k3(const unsigned char *p, struct kern_tile *t)
{
    _Alignas(32) uint8_t sc[256];
    const __m256i less = _mm256_set1_epi8(32);
    for (int i = 0; i < 128; i += 32) { /* subs 2 * i / 32 and the one behind it, in both nibbles */
        __m256i lo = load(p + i), h = load(p + 128 + i % 64);
        __m256i a = or_masked(low4(lo), i < 64 ? shift(h, 0, 4) : shift(h, 2, 4), 0x30);
        __m256i b = or_masked(low4(shift(lo, 4, 0)), i < 64 ? h : shift(h, 6, 4), 0x30);
        keep(sc + i, _mm256_sub_epi8(a, less));
        keep(sc + 128 + i, _mm256_sub_epi8(b, less));
    }
    times(sc, NULL, true, 16, p + 192, t);
}

static inline void scales_xs(const unsigned char *p, struct kern_tile *t)
{
    _Alignas(32) uint8_t sc[128];
    const __m256i less = _mm256_set1_epi8(32);
    __m256i h = load(p + 96);
    for (int i = 0; i < 64; i += 32) {
        __m256i lo = load(p + i);
        __m256i a = or_masked(low4(lo), i ? shift(h, 2, 4) : shift(h, 0, 4), 0x30);
        __m256i b = or_masked(low4(shift(lo, 4, 0)), i ? shift(h, 6, 4) : h, 0x30);
        keep(sc + i, _mm256_sub_epi8(a, less));
        keep(sc + 64 + i, _mm256_sub_epi8(b, less));
    }
    times(sc, NULL, true, 8, p + 64, t);
}

static inline void scales_k2(const unsigned char *p, struct kern_tile *t)
{
    _Alignas(32) uint8_t sc[256], mn[256];
    for (int i = 0; i < 256; i += 32) {
        keep(sc + i, low4(load(p + i)));
        keep(mn + i, low4(shift(load(p + i), 4, 0)));
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

enum { PREFETCH_BYTES = 4096 };

/* Asks for the part of memory that lies PREFETCH_BYTES behind block b of a unit. */
INLINE void prefetch_block(const unsigned char *unit, int unit_bytes, int b)
{
    int step = (unit_bytes / 8 + 63) / 64 * 64;
    const char *p = (const char *)unit + PREFETCH_BYTES + b * step;
    for (int i = 0; i < step; i += 64)
        _mm_prefetch(p + i, _MM_HINT_T0);
}
#endif
