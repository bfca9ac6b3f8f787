/* blocks -- what the block formats have in common once their bits are taken apart.
 *
 * Every quantised format is: w = scale * value(code) - min, one scale (and min) for each sub-block of 16 or
 * 32 values, value(code) a signed 8-bit integer. `split` takes file blocks apart into that form; the layout
 * table says how the form goes into panels (pack.c) and how it is multiplied (matmul_*.c). Private to kern/. */
#ifndef KERN_BLOCKS_H
#define KERN_BLOCKS_H
#include "kern/type.h"

enum { KERN_UNIT_COLS = 256, KERN_UNIT_BLOCKS = 8, KERN_UNIT_SUBS = 16 };

/* Up to 256 columns of one row, taken apart. */
struct kern_codes {
    uint8_t q[KERN_UNIT_COLS]; /* Q8_0: the stored byte + 128 */
    uint16_t d[KERN_UNIT_BLOCKS], m[KERN_UNIT_BLOCKS]; /* by block as stored: f16, MXFP4's exponent in d; K: [0] */
    uint8_t sc[KERN_UNIT_SUBS], mn[KERN_UNIT_SUBS];    /* K formats: sub-scales and sub-mins as stored */
};

enum kern_scale_form { /* how scales lie behind the codes of a unit in a panel: see pack.c */
    SCALE_F16, SCALE_F16_MIN, SCALE_E8M0, SCALE_K2, SCALE_K3, SCALE_K4, SCALE_K6, SCALE_XS,
};

struct kern_layout {
    uint8_t nibble, pair, bit, byte; /* which planes a code is cut into, low bits first: 4, 2, 1 or 8 bits */
    uint8_t sub;                     /* values that share a scale: 16 or 32 */
    uint8_t offset;                  /* value = code - offset, when there is no table */
    bool min;
    enum kern_scale_form form;
    const int8_t *table;
    int block_bytes;                 /* of codes, for 32 columns of 16 rows */
};

const struct kern_layout *kern_layout(enum kern_type type); /* quantised types only */
extern const int8_t kern_table_iq4[16], kern_table_fp4[16];

void kern_split(enum kern_type type, const void *src, int cols, struct kern_codes *c);
/* Scale and min of every sub-block in cols columns, exactly as the matmul law uses them. */
void kern_codes_scale(const struct kern_layout *l, const struct kern_codes *c, int cols, float *scale, float *min);
void kern_codes_value(const struct kern_layout *l, const struct kern_codes *c, int cols, float *dst);
static inline int kern_code_value(const struct kern_layout *l, uint8_t q)
{
    return l->table ? l->table[q & 15] : (int)q - l->offset;
}
float kern_e8m0_half(uint8_t e); /* 2^(e - 128) */

void kern_float_read(enum kern_type type, const void *src, float *dst, size_t n);
void kern_float_write(enum kern_type type, const float *src, void *dst, size_t n);

#define KERN_SPLIT(name) \
    void kern_split_##name(const unsigned char *src, int blocks, struct kern_codes *c); \
    void kern_quantize_##name(const float *src, unsigned char *dst); /* one block */
KERN_SPLIT(q4_0) KERN_SPLIT(q4_1) KERN_SPLIT(q5_0) KERN_SPLIT(q5_1) KERN_SPLIT(q8_0) KERN_SPLIT(iq4_nl)
KERN_SPLIT(mxfp4) KERN_SPLIT(q2_k) KERN_SPLIT(q3_k) KERN_SPLIT(q4_k) KERN_SPLIT(q5_k) KERN_SPLIT(q6_k)
KERN_SPLIT(iq4_xs)
#undef KERN_SPLIT

static inline uint16_t kern_load16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline void kern_store16(unsigned char *p, uint16_t v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

/* Searches shared by the formats (search.c). w: weights of the squared errors. All inputs finite. */

/* codes in [-nmax, nmax - 1] (sym: [-nmax, nmax]); returns the scale. */
float kern_search_scale(const float *x, const float *w, int n, int lo, int hi, int8_t *codes);
/* codes in [0, nmax], x ~ scale * code - *min; min >= 0 when asked. */
float kern_search_min(const float *x, const float *w, int n, int nmax, bool min_positive, float *min, uint8_t *codes);
/* nearest entry of a rising or sign-magnitude table; returns the scale. */
float kern_search_table(const float *x, const float *w, int n, const int8_t *table, uint8_t *codes);
int kern_nearest(float v, int lo, int hi); /* rounds to even, clamps; NaN and inf land on a bound */
#endif
