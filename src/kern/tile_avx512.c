/* tile_avx512 -- opens units of every quantised format into L1. */
#include "kern/planes_avx512.h"

/* plain: codes as they are. Else values, from a table or code - offset, and `bias` higher. */
INLINE void codes(enum planes kind, int block_bytes, bool plain, int offset, const int8_t *table, int bias,
                  const unsigned char *p, int blocks, struct kern_tile *t)
{
    const __m512i up = _mm512_set1_epi8((char)(bias - (table ? 0 : offset)));
    __m512i map = _mm512_setzero_si512();
    if (table)
        map = _mm512_add_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), up);
    for (int b = 0; b < blocks; b++, p += block_bytes) {
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m512i w = group(kind, p, g);
            if (table)
                w = _mm512_shuffle_epi8(map, w);
            else if (!plain)
                w = _mm512_add_epi8(w, up);
            _mm512_store_si512(t->q[b * 8 + g], w);
        }
    }
}

void kern_tile_open_avx512(enum kern_type type, const unsigned char *unit, int blocks, int bias, struct kern_tile *t)
{
    const struct kern_layout *l = kern_layout(type);
    switch (type) {
    case KERN_Q4_0: codes(NIBBLE, 256, false, 8, NULL, bias, unit, blocks, t); break;
    case KERN_Q4_1: case KERN_Q4_K: codes(NIBBLE, 256, true, 0, NULL, 0, unit, blocks, t); break;
    case KERN_Q5_0: codes(NIBBLE_BIT, 320, false, 16, NULL, bias, unit, blocks, t); break;
    case KERN_Q5_1: case KERN_Q5_K: codes(NIBBLE_BIT, 320, true, 0, NULL, 0, unit, blocks, t); break;
    case KERN_Q8_0: codes(BYTE, 512, false, 128, NULL, bias, unit, blocks, t); break;
    case KERN_Q2_K: codes(PAIR, 128, true, 0, NULL, 0, unit, blocks, t); break;
    case KERN_Q3_K: codes(PAIR_BIT, 192, false, 4, NULL, bias, unit, blocks, t); break;
    case KERN_Q6_K: codes(NIBBLE_PAIR, 384, false, 32, NULL, bias, unit, blocks, t); break;
    default: codes(NIBBLE, 256, false, 0, l->table, bias, unit, blocks, t); break;
    }
    open_scales(l, unit, blocks, t);
}
