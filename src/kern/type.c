/* type -- the table of block formats, and the half-precision conversions they all use. */
#include "kern/type.h"

#include "base/assert.h"
#include "kern/blocks.h"
#include "kern/kern.h"

#include <string.h>

struct format {
    struct kern_type_info info;
    /* Quantised formats: file blocks <-> codes, and the search for the codes. */
    void (*split)(const unsigned char *src, int blocks, struct kern_codes *c);
    void (*quantize)(const float *src, unsigned char *dst);
};

static const struct format formats[KERN_TYPE_LIMIT] = {
    [KERN_F32] = { { "F32", 1, 4 }, NULL, NULL },
    [KERN_F16] = { { "F16", 1, 2 }, NULL, NULL },
    [KERN_BF16] = { { "BF16", 1, 2 }, NULL, NULL },
    [KERN_Q4_0] = { { "Q4_0", 32, 18 }, kern_split_q4_0, kern_quantize_q4_0 },
    [KERN_Q4_1] = { { "Q4_1", 32, 20 }, kern_split_q4_1, kern_quantize_q4_1 },
    [KERN_Q5_0] = { { "Q5_0", 32, 22 }, kern_split_q5_0, kern_quantize_q5_0 },
    [KERN_Q5_1] = { { "Q5_1", 32, 24 }, kern_split_q5_1, kern_quantize_q5_1 },
    [KERN_Q8_0] = { { "Q8_0", 32, 34 }, kern_split_q8_0, kern_quantize_q8_0 },
    [KERN_IQ4_NL] = { { "IQ4_NL", 32, 18 }, kern_split_iq4_nl, kern_quantize_iq4_nl },
    [KERN_MXFP4] = { { "MXFP4", 32, 17 }, kern_split_mxfp4, kern_quantize_mxfp4 },
    [KERN_Q2_K] = { { "Q2_K", 256, 84 }, kern_split_q2_k, kern_quantize_q2_k },
    [KERN_Q3_K] = { { "Q3_K", 256, 110 }, kern_split_q3_k, kern_quantize_q3_k },
    [KERN_Q4_K] = { { "Q4_K", 256, 144 }, kern_split_q4_k, kern_quantize_q4_k },
    [KERN_Q5_K] = { { "Q5_K", 256, 176 }, kern_split_q5_k, kern_quantize_q5_k },
    [KERN_Q6_K] = { { "Q6_K", 256, 210 }, kern_split_q6_k, kern_quantize_q6_k },
    [KERN_IQ4_XS] = { { "IQ4_XS", 256, 136 }, kern_split_iq4_xs, kern_quantize_iq4_xs },
};

const struct kern_type_info *kern_type_info(int type)
{
    if (type < 0 || type >= KERN_TYPE_LIMIT || !formats[type].info.name)
        return NULL;
    return &formats[type].info;
}

bool kern_type_by_name(const char *name, enum kern_type *out)
{
    for (int t = 0; t < KERN_TYPE_LIMIT; t++) {
        if (formats[t].info.name && !strcmp(formats[t].info.name, name)) {
            *out = (enum kern_type)t;
            return true;
        }
    }
    return false;
}

bool kern_type_is_float(enum kern_type type)
{
    return type == KERN_F32 || type == KERN_F16 || type == KERN_BF16;
}

size_t kern_row_bytes(enum kern_type type, size_t cols)
{
    const struct kern_type_info *info = kern_type_info(type);
    ASSERT(info && cols % (size_t)info->block_len == 0);
    return cols / (size_t)info->block_len * (size_t)info->block_bytes;
}

void kern_split(enum kern_type type, const void *src, int cols, struct kern_codes *c)
{
    ASSERT(kern_type_info(type) && formats[type].split);
    int len = formats[type].info.block_len;
    ASSERT(cols > 0 && cols <= KERN_UNIT_COLS && cols % len == 0);
    formats[type].split(src, cols / len, c);
}

void kern_dequantize(enum kern_type type, const void *src, float *dst, size_t n)
{
    if (kern_type_is_float(type)) {
        kern_float_read(type, src, dst, n);
        return;
    }
    const unsigned char *p = src;
    struct kern_codes c;
    for (size_t i = 0; i < n; i += KERN_UNIT_COLS) {
        int cols = (int)(n - i < KERN_UNIT_COLS ? n - i : KERN_UNIT_COLS);
        kern_split(type, p, cols, &c);
        kern_codes_value(kern_layout(type), &c, cols, dst + i);
        p += kern_row_bytes(type, (size_t)cols);
    }
}

void kern_quantize(enum kern_type type, const float *src, void *dst, size_t n)
{
    if (kern_type_is_float(type)) {
        kern_float_write(type, src, dst, n);
        return;
    }
    const struct kern_type_info *info = kern_type_info(type);
    ASSERT(info && n % (size_t)info->block_len == 0);
    unsigned char *p = dst;
    float block[KERN_UNIT_COLS];
    for (size_t i = 0; i < n; i += (size_t)info->block_len) {
        for (int j = 0; j < info->block_len; j++) { /* what is not a number has no code: it becomes 0 */
            float v = src[i + (size_t)j];
            block[j] = v - v == 0 ? v : 0;
        }
        formats[type].quantize(block, p);
        p += info->block_bytes;
    }
}

float kern_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 1023;
    uint32_t bits;
    if (exp == 31) {
        bits = sign | 0x7f800000 | man << 13 | (man ? 0x400000 : 0); /* a signalling NaN turns quiet */
    } else if (exp) {
        bits = sign | (exp + 112) << 23 | man << 13;
    } else {
        float f = (float)man * 0x1p-24f;
        memcpy(&bits, &f, 4);
        bits |= sign;
    }
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

uint16_t kern_f32_to_f16(float f)
{
    uint32_t b;
    memcpy(&b, &f, 4);
    uint16_t sign = (uint16_t)(b >> 16 & 0x8000);
    uint32_t abs = b & 0x7fffffff;
    if (abs > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (abs >> 13 & 0x3ff));
    if (abs >= 0x477ff000) /* 65520 and above round to infinity */
        return sign | 0x7c00;
    if (abs < 0x38800000) { /* below 2^-14: adding 0.5 leaves the rounded subnormal in the low bits */
        float v;
        memcpy(&v, &abs, 4);
        v += 0.5f;
        memcpy(&abs, &v, 4);
        return (uint16_t)(sign | (abs - 0x3f000000));
    }
    uint32_t odd = abs >> 13 & 1;
    return (uint16_t)(sign | ((abs + 0xfff + odd - 0x38000000) >> 13));
}

float kern_bf16_to_f32(uint16_t h)
{
    uint32_t b = (uint32_t)h << 16;
    float f;
    memcpy(&f, &b, 4);
    return f;
}

uint16_t kern_f32_to_bf16(float f)
{
    uint32_t b;
    memcpy(&b, &f, 4);
    if ((b & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(b >> 16 | 64);
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}
