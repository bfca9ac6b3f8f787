/* tile_neon -- opens units of every quantised format into L1: signed values, codes where a format has a min. */
#include "kern/rungs.h"
#include "kern/tile.h"

#include <arm_neon.h>

/* Sixteen bytes (four rows) of group g: the planes of pack.h put together. */
static inline uint8x16_t group_bytes(const struct kern_layout *l, const unsigned char *p, int g)
{
    uint8x16_t w = vdupq_n_u8(0);
    int have = 0;
    if (l->byte)
        return vld1q_u8(p + g * 64);
    if (l->nibble) {
        uint8x16_t v = vld1q_u8(p + g / 2 * 64);
        w = g % 2 ? vshrq_n_u8(v, 4) : vandq_u8(v, vdupq_n_u8(15));
        have = 4;
        p += 256;
    }
    if (l->pair) {
        uint8x16_t v = vshlq_u8(vld1q_u8(p + g / 4 * 64), vdupq_n_s8((int8_t)(-2 * (g % 4))));
        w = vorrq_u8(w, vshlq_u8(vandq_u8(v, vdupq_n_u8(3)), vdupq_n_s8((int8_t)have)));
        have += 2;
        p += 128;
    }
    if (l->bit) {
        uint8x16_t v = vandq_u8(vshlq_u8(vld1q_u8(p), vdupq_n_s8((int8_t)-g)), vdupq_n_u8(1));
        w = vorrq_u8(w, vshlq_u8(v, vdupq_n_s8((int8_t)have)));
    }
    return w;
}

static void open_codes(const struct kern_layout *l, const unsigned char *p, int blocks, struct kern_tile *t)
{
    uint8x16_t table = l->table ? vld1q_u8((const uint8_t *)l->table) : vdupq_n_u8(0);
    uint8x16_t less = vdupq_n_u8(l->min ? 0 : l->offset);
    for (int b = 0; b < blocks; b++, p += l->block_bytes)
        for (int g = 0; g < 8; g++)
            for (int i = 0; i < 64; i += 16) {
                uint8x16_t w = group_bytes(l, p + i, g);
                vst1q_u8(t->q[b * 8 + g] + i, l->table ? vqtbl1q_u8(table, w) : vsubq_u8(w, less));
            }
}

static float half_at(const unsigned char *p, int row)
{
    return kern_f16_to_f32(kern_load16(p + 2 * row));
}

/* The integers of sub-block s of the K forms (pack.c: subs_get). */
static void sub_at(enum kern_scale_form form, const unsigned char *p, int s, int row, int *sc, int *mn)
{
    *mn = 0;
    switch (form) {
    case SCALE_K2:
        *sc = p[s * 16 + row] & 15;
        *mn = p[s * 16 + row] >> 4;
        break;
    case SCALE_K6: *sc = (int8_t)p[s * 16 + row]; break;
    case SCALE_K4: {
        int i = s % 4 * 16 + row, h = s / 4;
        *sc = (p[i] >> 4 * h & 15) | (p[128 + i] >> 2 * h & 3) << 4;
        *mn = (p[64 + i] >> 4 * h & 15) | (p[128 + i] >> (2 * h + 4) & 3) << 4;
        break;
    }
    case SCALE_K3:
        *sc = ((p[s % 8 * 16 + row] >> s / 8 * 4 & 15) | (p[128 + s % 4 * 16 + row] >> s / 4 * 2 & 3) << 4) - 32;
        break;
    default:
        *sc = ((p[s % 4 * 16 + row] >> s / 4 * 4 & 15) | (p[96 + s % 2 * 16 + row] >> s / 2 * 2 & 3) << 4) - 32;
    }
}

static void open_subs(const struct kern_layout *l, const unsigned char *p, struct kern_tile *t)
{
    size_t at = l->form == SCALE_K2 || l->form == SCALE_K6 ? 256 : l->form == SCALE_XS ? 64 : 192;
    for (int row = 0; row < 16; row++) {
        float d = half_at(p + at, row), m = l->min ? half_at(p + at + 32, row) : 0;
        for (int s = 0; s < KERN_UNIT_COLS / l->sub; s++) {
            int sc, mn;
            sub_at(l->form, p, s, row, &sc, &mn);
            t->scale[s][row] = d * (float)sc;
            t->min[s][row] = m * (float)mn;
        }
    }
}

void kern_tile_open_neon(enum kern_type type, const unsigned char *unit, int blocks, struct kern_tile *t)
{
    const struct kern_layout *l = kern_layout(type);
    const unsigned char *p = unit + blocks * l->block_bytes;
    open_codes(l, unit, blocks, t);
    if (l->form != SCALE_F16 && l->form != SCALE_F16_MIN && l->form != SCALE_E8M0) {
        open_subs(l, p, t);
        return;
    }
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < 16; row++) {
            if (l->form == SCALE_E8M0) {
                t->scale[b][row] = kern_e8m0_half(p[b * 16 + row]);
                continue;
            }
            const unsigned char *at = p + b * (l->form == SCALE_F16 ? 32 : 64);
            t->scale[b][row] = half_at(at, row);
            if (l->form == SCALE_F16_MIN)
                t->min[b][row] = -half_at(at + 32, row);
        }
}
