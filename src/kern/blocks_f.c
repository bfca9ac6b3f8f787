/* blocks_f -- rows of plain floats: F32, F16 and BF16, little-endian as in the file. */
#include "base/assert.h"
#include "kern/blocks.h"

#include <string.h>

void kern_float_read(enum kern_type type, const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    switch (type) {
    case KERN_F32:
        memcpy(dst, src, n * sizeof(float));
        return;
    case KERN_F16:
        for (size_t i = 0; i < n; i++)
            dst[i] = kern_f16_to_f32(kern_load16(p + 2 * i));
        return;
    default:
        ASSERT(type == KERN_BF16);
        for (size_t i = 0; i < n; i++)
            dst[i] = kern_bf16_to_f32(kern_load16(p + 2 * i));
    }
}

void kern_float_write(enum kern_type type, const float *src, void *dst, size_t n)
{
    unsigned char *p = dst;
    switch (type) {
    case KERN_F32:
        memcpy(dst, src, n * sizeof(float));
        return;
    case KERN_F16:
        for (size_t i = 0; i < n; i++)
            kern_store16(p + 2 * i, kern_f32_to_f16(src[i]));
        return;
    default:
        ASSERT(type == KERN_BF16);
        for (size_t i = 0; i < n; i++)
            kern_store16(p + 2 * i, kern_f32_to_bf16(src[i]));
    }
}
