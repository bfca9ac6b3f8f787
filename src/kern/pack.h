/* pack -- panels: 16 rows side by side, 256 columns at a time. Private to kern/.
 *
 * A panel of a quantised matrix is a run of units. A unit is up to 8 blocks of 32 columns: first the codes,
 * block after block, then the scales of all its blocks, then zeros up to a multiple of 64 bytes.
 *
 * Codes. The 32 columns of a block are 8 groups of 4. One group of all 16 rows is 64 bytes, [16 rows][4 columns]:
 * what one VNNI instruction multiplies. A plane keeps part of the code's bits for several groups in 64 bytes:
 *   byte    8 x 64 bytes, group g in the g-th
 *   nibble  4 x 64 bytes, group g in the (g/2)-th, shifted left 4 * (g % 2)
 *   pair    2 x 64 bytes, group g in the (g/4)-th, shifted left 2 * (g % 4)
 *   bit     1 x 64 bytes, group g shifted left g
 * with nibble before pair before bit; nibble holds the low bits of a code.
 *
 * Scales, by form (f16 vectors have 16 lanes, lane = row):
 *   F16      per block f16 d                      F16_MIN  per block f16 d, f16 m
 *   E8M0     per block u8 exponent [16]
 *   K2       u8 sc | mn << 4 [16 subs][16]; d; m  K6       i8 sc [16 subs][16]; d
 *   K4       sc low nibbles [4][16]: subs 0-3, and 4-7 in the high nibble; the same for mn; high pairs [4][16]:
 *            field 0 sc of subs 0-3, 1 sc of 4-7, 2 mn of 0-3, 3 mn of 4-7; d; m
 *   K3       sc low nibbles [8][16]: subs 0-7, 8-15 in the high nibble; high pairs [4][16]: field f subs 4f..4f+3; d
 *   XS       sc low nibbles [4][16]: subs 0-3, 4-7; d; high pairs [2][16]: field f subs 2f, 2f+1
 *
 * A panel of a float matrix is [cols][16 rows]. */
#ifndef KERN_PACK_H
#define KERN_PACK_H
#include "kern/blocks.h"
#include "kern/kern.h"

size_t kern_unit_bytes(const struct kern_layout *l, int blocks);
/* Takes one row of a unit out of a panel. */
void kern_unit_get(const struct kern_layout *l, const unsigned char *unit, int blocks, int row, struct kern_codes *c);
void kern_unit_put(const struct kern_layout *l, unsigned char *unit, int blocks, int row, const struct kern_codes *c);
/* weave.c: kern_split and kern_unit_put of a row in one go, whatever the unit held; NULL: not for this type. */
typedef void (*kern_weave_fn)(const unsigned char *src, unsigned char *unit, int blocks, int row);
kern_weave_fn kern_weave(enum kern_type type);

static inline int kern_unit_blocks(int cols, int unit) /* blocks in the unit-th unit of a row of cols */
{
    int left = cols / KERN_ACT_BLOCK - unit * KERN_UNIT_BLOCKS;
    return left < KERN_UNIT_BLOCKS ? left : KERN_UNIT_BLOCKS;
}

/* The int8 form of 32 activations: a cache line. */
struct kern_act {
    float scale;        /* amax / reach; 0 for a block that is all (nearly) zero; NaN when a value was not finite */
    float scale_sum;    /* scale * sum of q: what a min multiplies */
    float scale_sum16[2];
    int32_t corr;       /* -128 * sum of q: what codes kept 128 too high add */
    int32_t corr16[2];
    int32_t pad;
    int8_t q[32];
};
_Static_assert(sizeof(struct kern_act) == 64, "a block of activations is a cache line");

void kern_act_quantize(const float *x, void *out, int cols); /* the law: matmul_ref.c */

/* The codes on which the largest magnitude of a block may land, and how much coarser the second is, squared. */
enum { KERN_ACT_REACHES = 2 };
static const float kern_act_reach[KERN_ACT_REACHES] = { 127, 126 };
#define KERN_ACT_COARSE (127.0f / 126.0f * (127.0f / 126.0f))

static inline const void *kern_x_row(const struct kern_matmul *op, int t)
{
    size_t row = (size_t)(op->x_rows ? op->x_rows[t] : t);
    return (const unsigned char *)op->x + row * op->x_stride;
}
#endif
