/* type -- the block formats of weights: how many values a block holds and how many bytes it takes.
 *
 * Numbers and layouts are those of GGUF files. */
#ifndef KERN_TYPE_H
#define KERN_TYPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kern_type {
    KERN_F32 = 0, KERN_F16 = 1, KERN_Q4_0 = 2, KERN_Q4_1 = 3, KERN_Q5_0 = 6, KERN_Q5_1 = 7, KERN_Q8_0 = 8,
    KERN_Q2_K = 10, KERN_Q3_K = 11, KERN_Q4_K = 12, KERN_Q5_K = 13, KERN_Q6_K = 14,
    KERN_IQ4_NL = 20, KERN_IQ4_XS = 23, KERN_BF16 = 30, KERN_MXFP4 = 39,
    KERN_TYPE_LIMIT = 64, /* above every number in use */
};

struct kern_type_info {
    const char *name; /* "Q4_K" */
    int block_len;    /* values in a block; 1 for float types */
    int block_bytes;
};

/* NULL for a number that is not one of ours. */
const struct kern_type_info *kern_type_info(int type);
bool kern_type_by_name(const char *name, enum kern_type *out);
size_t kern_row_bytes(enum kern_type type, size_t cols); /* cols a multiple of block_len */

/* One row, as stored in files. n is a multiple of the block. */
void kern_dequantize(enum kern_type type, const void *src, float *dst, size_t n);
/* The best rounding we know for each format (searches scales where the format gains by it). */
void kern_quantize(enum kern_type type, const float *src, void *dst, size_t n);

float kern_f16_to_f32(uint16_t h);
uint16_t kern_f32_to_f16(float f);
float kern_bf16_to_f32(uint16_t h);
uint16_t kern_f32_to_bf16(float f);
#endif
