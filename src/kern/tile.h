/* tile -- one unit of a panel (256 columns, 16 rows) opened for multiplying: what the vector rungs keep in L1.
 *
 * Opening costs a few instructions for each 64 bytes, whatever the format; behind it there are only four products
 * (sub-blocks of 32 or 16, with a min or without), so a row-block of activations is multiplied by one loop for all
 * formats. Private to kern/. */
#ifndef KERN_TILE_H
#define KERN_TILE_H
#include "kern/pack.h"

struct kern_tile {
    _Alignas(64) uint8_t q[64][64];           /* [group of 4 columns][16 rows][4]; the rung says what the byte is */
    float scale[KERN_UNIT_SUBS][16];          /* [sub-block][row] */
    float min[KERN_UNIT_SUBS][16];
};

enum kern_product { PRODUCT_32, PRODUCT_32_MIN, PRODUCT_16, PRODUCT_16_MIN, PRODUCT_COUNT };

static inline enum kern_product kern_product(const struct kern_layout *l)
{
    return (enum kern_product)((l->sub == 16 ? PRODUCT_16 : PRODUCT_32) + (l->min ? 1 : 0));
}

/* AVX-512: bytes are codes as they are in formats with a min; in all others value + bias: 128 for unsigned bytes
 * (VNNI), 0 for signed ones (AMX). */
void kern_tile_open_avx512(enum kern_type type, const unsigned char *unit, int blocks, int bias, struct kern_tile *t);
/* AVX2: signed values where a format has 8 bits or a table, else codes (at most 63). */
void kern_tile_open_avx2(enum kern_type type, const unsigned char *unit, int blocks, struct kern_tile *t);
void kern_tile_open_neon(enum kern_type type, const unsigned char *unit, int blocks, struct kern_tile *t);
#endif
