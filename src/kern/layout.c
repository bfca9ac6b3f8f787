/* layout -- for each quantised format: the planes its codes are cut into and what its scales mean. */
#include "base/assert.h"
#include "kern/blocks.h"

#include <string.h>

enum { NIBBLE = 256, PAIR = 128, BIT = 64, BYTE = 512 };

static const struct kern_layout layouts[KERN_TYPE_LIMIT] = {
    [KERN_Q4_0] = { 1, 0, 0, 0, 32, 8, false, SCALE_F16, NULL, NIBBLE },
    [KERN_Q4_1] = { 1, 0, 0, 0, 32, 0, true, SCALE_F16_MIN, NULL, NIBBLE },
    [KERN_Q5_0] = { 1, 0, 1, 0, 32, 16, false, SCALE_F16, NULL, NIBBLE + BIT },
    [KERN_Q5_1] = { 1, 0, 1, 0, 32, 0, true, SCALE_F16_MIN, NULL, NIBBLE + BIT },
    [KERN_Q8_0] = { 0, 0, 0, 1, 32, 128, false, SCALE_F16, NULL, BYTE },
    [KERN_IQ4_NL] = { 1, 0, 0, 0, 32, 0, false, SCALE_F16, kern_table_iq4, NIBBLE },
    [KERN_MXFP4] = { 1, 0, 0, 0, 32, 0, false, SCALE_E8M0, kern_table_fp4, NIBBLE },
    [KERN_Q2_K] = { 0, 1, 0, 0, 16, 0, true, SCALE_K2, NULL, PAIR },
    [KERN_Q3_K] = { 0, 1, 1, 0, 16, 4, false, SCALE_K3, NULL, PAIR + BIT },
    [KERN_Q4_K] = { 1, 0, 0, 0, 32, 0, true, SCALE_K4, NULL, NIBBLE },
    [KERN_Q5_K] = { 1, 0, 1, 0, 32, 0, true, SCALE_K4, NULL, NIBBLE + BIT },
    [KERN_Q6_K] = { 1, 1, 0, 0, 16, 32, false, SCALE_K6, NULL, NIBBLE + PAIR },
    [KERN_IQ4_XS] = { 1, 0, 0, 0, 32, 0, false, SCALE_XS, kern_table_iq4, NIBBLE },
};

const struct kern_layout *kern_layout(enum kern_type type)
{
    ASSERT((int)type >= 0 && type < KERN_TYPE_LIMIT && layouts[type].block_bytes);
    return &layouts[type];
}

float kern_e8m0_half(uint8_t e)
{
    uint32_t bits = e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

void kern_codes_scale(const struct kern_layout *l, const struct kern_codes *c, int cols, float *scale, float *min)
{
    float d = kern_f16_to_f32(c->d[0]), m = 0;
    if (l->form == SCALE_K2 || l->form == SCALE_K4)
        m = kern_f16_to_f32(c->m[0]);
    for (int s = 0; s < cols / l->sub; s++) {
        min[s] = 0;
        switch (l->form) {
        case SCALE_F16_MIN:
            min[s] = -kern_f16_to_f32(c->m[s]);
            scale[s] = kern_f16_to_f32(c->d[s]);
            break;
        case SCALE_F16:
            scale[s] = kern_f16_to_f32(c->d[s]);
            break;
        case SCALE_E8M0:
            scale[s] = kern_e8m0_half((uint8_t)c->d[s]);
            break;
        case SCALE_K2:
        case SCALE_K4:
            scale[s] = d * (float)c->sc[s];
            min[s] = m * (float)c->mn[s];
            break;
        case SCALE_K6:
            scale[s] = d * (float)(int8_t)c->sc[s];
            break;
        case SCALE_K3:
        case SCALE_XS:
            scale[s] = d * (float)((int)c->sc[s] - 32);
            break;
        }
    }
}

void kern_codes_value(const struct kern_layout *l, const struct kern_codes *c, int cols, float *dst)
{
    float scale[KERN_UNIT_SUBS], min[KERN_UNIT_SUBS];
    kern_codes_scale(l, c, cols, scale, min);
    for (int i = 0; i < cols; i++) {
        float v = scale[i / l->sub] * (float)kern_code_value(l, c->q[i]);
        dst[i] = l->min ? v - min[i / l->sub] : v;
    }
}
