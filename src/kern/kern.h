/* kern -- the arithmetic of a forward pass: one table of function pointers, filled once at start.
 *
 * THE LAW. `<op>_ref.c` defines each operation down to the order of its sums, and every other rung returns
 * THE SAME BITS (of results that are numbers: where several NaN meet, which one comes out is not part of it).
 * Rows of a batch never influence each other, and a row's result does not depend on how many rows came with it.
 * What makes that cheap:
 *   - Weights are repacked at load into panels of 16 output rows; a vector lane is an output row, so each
 *     output is one accumulator that walks the columns in order, on every rung and for every batch size.
 *   - Quantised weights multiply int8 activations (a scale for each 32 values). The product of a block is an
 *     exact integer whatever instruction made it; then acc = fmaf((float)isum, w_scale * x_scale, acc), and
 *     for formats with a minimum acc = fmaf(-w_min, x_scale * (float)x_sum, acc), block after block; a block is
 *     32 columns, or 16 in Q2_K, Q3_K and Q6_K. A block of x with an infinity or a NaN in it has a NaN scale.
 *   - Float weights (F32, F16, BF16) multiply float32 activations, unrounded: acc = fmaf(w, x, acc) per column.
 *   - Attention reads K and V at stored precision, page after page in absolute order, online softmax per page.
 * Nothing here allocates or takes locks; callers share out panels, rows and heads between threads. */
#ifndef KERN_KERN_H
#define KERN_KERN_H
#include "kern/type.h"

enum kern_isa { KERN_REF, KERN_AVX2, KERN_AVX512, KERN_AMX, KERN_NEON, KERN_DOTPROD, KERN_ISA_COUNT };

enum {
    KERN_PANEL_ROWS = 16,
    KERN_ACT_BLOCK = 32,    /* values that share an activation scale */
    KERN_PAGE_TOKENS = 32,  /* positions in a KV page */
    KERN_HEAD_DIM_MAX = 512,
    KERN_GROUP_MAX = 64,    /* query heads that share a KV head */
};

/* ---- weights */

/* [rows][cols], rows = outputs. The packed layout is private to kern/ and the same for every rung. */
struct kern_matrix {
    enum kern_type type;
    int rows, cols;      /* cols is a multiple of the type's block */
    int panels;          /* ceil(rows / 16); the last is padded with zero rows */
    size_t panel_bytes;
    unsigned char *data; /* [panels][panel_bytes], 64-byte aligned; allocated and freed by the caller */
};
/* Fills everything but data; data needs panels * panel_bytes bytes. */
void kern_matrix_init(struct kern_matrix *m, enum kern_type type, int rows, int cols);
size_t kern_matrix_bytes(const struct kern_matrix *m);
/* src: all rows as stored in the file ([rows][kern_row_bytes]). Packs panels [first, end): threads share. */
void kern_matrix_pack(struct kern_matrix *m, const void *src, int first, int end);
/* One row, dequantised from the panels: the embedding look-up. out [cols] */
void kern_matrix_row(const struct kern_matrix *m, int row, float *out);

/* ---- activations */

/* The form in which x is given to a matrix of this type: float32 rows as they are, or the int8 form. */
bool kern_type_is_float(enum kern_type type);
/* Bytes of one row in int8 form: blocks of {scale, sum, 32 x int8}; a multiple of 64. cols multiple of 32. */
size_t kern_q8_bytes(int cols);
/* How far apart rows best lie: not a multiple of 2 KB, where a few rows' blocks crowd one set of L1. */
size_t kern_q8_stride(int cols);

struct kern_matmul {
    const struct kern_matrix *w;
    const void *x;          /* float rows or int8-form rows, by kern_type_is_float(w->type) */
    size_t x_stride;        /* bytes between rows of x */
    int n;                  /* rows of x to multiply */
    const int32_t *x_rows;  /* [n] which row of x each one is, or NULL for 0..n-1 (experts gather) */
    float *y;               /* y[t * y_stride + r] = sum_c w[r][c] x[t][c], t = 0..n-1 */
    size_t y_stride;        /* floats between rows of y */
    const float *bias;      /* [rows], added at the end, or NULL */
    const struct kern_matrix *next; /* what the same thread is likely to multiply afterwards, from next_panel on, or */
    int next_panel;                 /* NULL: with few rows memory is asked for it in time */
};

/* ---- attention over paged KV */

/* Where layer l's K and V of a token lie inside a page. k_dim/v_dim: values per head. */
struct kern_kv {
    enum kern_type type;    /* KERN_F16, KERN_BF16, KERN_Q8_0 or KERN_F32 */
    int kv_heads, k_dim, v_dim;
    size_t k_offset, v_offset; /* bytes from the start of a page to this layer's K and V; 64-byte aligned */
};
/* Bytes of K (V) of one layer in a page of KERN_PAGE_TOKENS tokens; multiples of 64. */
size_t kern_kv_k_bytes(const struct kern_kv *kv);
size_t kern_kv_v_bytes(const struct kern_kv *kv);

/* n_q queries at positions pos_first, pos_first+1, ... of one sequence. Keys seen by position p are
 * max(0, p - window + 1) .. p (window 0: from 0). */
struct kern_attn {
    const struct kern_kv *kv;
    unsigned char *const *pages; /* pages[i] holds positions i*32 .. i*32+31 */
    const float *q;         /* [n_q][heads][k_dim], q_stride floats between rows; rotated, unscaled */
    size_t q_stride;
    float *out;             /* [n_q][heads][v_dim], out_stride floats between rows */
    size_t out_stride;
    int n_q, pos_first;
    int heads;              /* a multiple of kv_heads */
    float scale;            /* multiplies q.k */
    float softcap;          /* 0: none; else s = cap * tanh(s / cap) */
    const float *sinks;     /* [heads] logits that take probability and give nothing, or NULL */
    int window;             /* 0: none */
    bool whole;             /* every query sees what pos_first sees: encoders, where all see the whole text */
};

enum kern_rope_style {
    KERN_ROPE_INTERLEAVED, /* pairs (0,1), (2,3): llama */
    KERN_ROPE_HALVES,      /* pairs (i, i + n/2): NeoX, qwen, gemma */
};

struct kern_table {
    enum kern_isa isa;
    const char *name; /* "ref", "avx2", "avx512", "amx", "neon", "dotprod" */

    void (*quantize_q8)(const float *x, void *out, int cols);
    void (*matmul)(const struct kern_matmul *op, int panel_first, int panel_end);

    /* Stores one token's K [kv_heads][k_dim] and V [kv_heads][v_dim] into slot 0..31 of a page. */
    void (*kv_store)(const struct kern_kv *kv, unsigned char *page, int slot, const float *k, const float *v);
    /* All queries of op against one KV head; scratch: kern_attn_scratch_bytes, one for each thread. */
    void (*attn)(const struct kern_attn *op, int kv_head, void *scratch);

    /* y may be x. Sums of squares in 16 interleaved double accumulators, added pairwise. */
    void (*rms_norm)(float *y, const float *x, const float *weight /* NULL: ones */, int n, float eps);
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, int n, float eps);
    void (*l2_norm)(float *y, const float *x, int n, float eps);
    /* Rotates the first n_rot of each head's head_dim values in place: x [heads][head_dim];
     * cos_sin [n_rot/2][2] for this position. */
    void (*rope)(float *x, int heads, int head_dim, int n_rot, const float *cos_sin, enum kern_rope_style style);
    void (*add)(float *y, const float *x, int n);                     /* y += x */
    void (*scale)(float *y, float s, int n);                          /* y *= s */
    void (*add_scaled)(float *y, const float *x, float s, int n);     /* y = fmaf(s, x, y) */
    void (*softcap)(float *y, float cap, int n);                      /* y = cap * tanh(y / cap) */
    void (*softmax)(float *y, int n);                                 /* in place */
    void (*silu_mul)(float *y, const float *gate, const float *up, int n);  /* y = silu(gate) * up */
    void (*gelu_mul)(float *y, const float *gate, const float *up, int n);  /* tanh form */
    void (*gelu)(float *y, int n);
    void (*swiglu_oai)(float *y, const float *gate, const float *up, int n, float alpha, float limit); /* gpt-oss */
    int (*argmax)(const float *x, int n); /* the first of equals */
};

/* Fills t for isa: the reference first, then every rung up to isa overrides what it does better. */
void kern_table_fill(struct kern_table *t, enum kern_isa isa);
/* The best rung this machine can run, capped by limit (the --isa option; tests walk them all). */
enum kern_isa kern_isa_detect(enum kern_isa limit);
bool kern_isa_by_name(const char *name, enum kern_isa *out);
/* Bytes of scratch for attn on n_q queries at a time: n_q_max is the most a caller will give at once. */
size_t kern_attn_scratch_bytes(const struct kern_kv *kv, int heads, int n_q_max);
/* exp, tanh and their kin with one definition for every rung, for code outside the table. */
float kern_expf(float x);
float kern_tanhf(float x);
#endif
