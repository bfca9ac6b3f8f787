/* tile_avx512 -- opens units of every quantised format into L1. */
#include "kern/planes_avx512.h"

/* up: what makes a code value + 128; table: of values, already 128 higher. */
INLINE void codes(enum planes kind, int block_bytes, int up, const int8_t *table, const unsigned char *p, int blocks,
                  struct kern_tile *t)
{
    __m512i map = _mm512_setzero_si512();
    if (table)
        map = _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)),
                               _mm512_set1_epi8((char)0x80));
    const unsigned char *unit = p;
    for (int b = 0; b < blocks; b++, p += block_bytes) {
        prefetch_block(unit, block_bytes * 9, b);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m512i w = group(kind, p, g);
            if (table)
                w = _mm512_shuffle_epi8(map, w);
            else if (up)
                w = _mm512_add_epi8(w, _mm512_set1_epi8((char)up));
            _mm512_store_si512(t->q[b * 8 + g], w);
        }
    }
}

void kern_tile_open_avx512(enum kern_type type, const unsigned char *unit, int blocks, struct kern_tile *t)
{
    const struct kern_layout *l = kern_layout(type);
    switch (type) {
    case KERN_Q4_0: codes(NIBBLE, 256, 120, NULL, unit, blocks, t); break;
    case KERN_Q4_1: case KERN_Q4_K: codes(NIBBLE, 256, 0, NULL, unit, blocks, t); break;
    case KERN_Q5_0: codes(NIBBLE_BIT, 320, 112, NULL, unit, blocks, t); break;
    case KERN_Q5_1: case KERN_Q5_K: codes(NIBBLE_BIT, 320, 0, NULL, unit, blocks, t); break;
    case KERN_Q8_0: codes(BYTE, 512, 0, NULL, unit, blocks, t); break;
    case KERN_Q2_K: codes(PAIR, 128, 0, NULL, unit, blocks, t); break;
    case KERN_Q3_K: codes(PAIR_BIT, 192, 124, NULL, unit, blocks, t); break;
    case KERN_Q6_K: codes(NIBBLE_PAIR, 384, 96, NULL, unit, blocks, t); break;
    default: codes(NIBBLE, 256, 0, l->table, unit, blocks, t); break;
    }
    open_scales(l, unit, blocks, t);
}
