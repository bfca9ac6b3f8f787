/* tile_avx2 -- opens units of every quantised format into L1, 32 bytes at a time. */
#include "kern/planes_avx2.h"

/* Codes as they are, or looked up in a table; `up` is added to either (128 turns Q8_0's bytes signed). */
INLINE void codes(enum planes kind, int block_bytes, const int8_t *table, int up, const unsigned char *p, int blocks,
                  struct kern_tile *t)
{
    __m256i map = _mm256_setzero_si256(), add = _mm256_set1_epi8((char)up);
    if (table)
        map = _mm256_add_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), add);
    const unsigned char *unit = p;
    for (int b = 0; b < blocks; b++, p += block_bytes) {
        prefetch_block(unit, block_bytes * 9, b);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                __m256i w = group(kind, p, g, h);
                if (table)
                    w = _mm256_shuffle_epi8(map, w);
                else if (up)
                    w = _mm256_add_epi8(w, add);
                _mm256_store_si256((__m256i *)(t->q[b * 8 + g] + 32 * h), w);
            }
        }
    }
}

void kern_tile_open_avx2(enum kern_type type, const unsigned char *unit, int blocks, struct kern_tile *t)
{
    const struct kern_layout *l = kern_layout(type);
    switch (type) {
    case KERN_Q5_0: case KERN_Q5_1: case KERN_Q5_K: codes(NIBBLE_BIT, 320, NULL, 0, unit, blocks, t); break;
    case KERN_Q8_0: codes(BYTE, 512, NULL, 128, unit, blocks, t); break;
    case KERN_Q2_K: codes(PAIR, 128, NULL, 0, unit, blocks, t); break;
    case KERN_Q3_K: codes(PAIR_BIT, 192, NULL, 0, unit, blocks, t); break;
    case KERN_Q6_K: codes(NIBBLE_PAIR, 384, NULL, 0, unit, blocks, t); break;
    case KERN_MXFP4: codes(NIBBLE, 256, l->table, 16, unit, blocks, t); break;
    case KERN_IQ4_NL: case KERN_IQ4_XS: codes(NIBBLE, 256, l->table, 0, unit, blocks, t); break;
    default: codes(NIBBLE, 256, NULL, 0, unit, blocks, t); break;
    }
    open_scales(l, unit, blocks, t);
}
