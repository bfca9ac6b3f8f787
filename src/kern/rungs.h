/* rungs -- what each file of kernels puts into the table. Only dispatch.c calls these. */
#ifndef KERN_RUNGS_H
#define KERN_RUNGS_H
#include "kern/kern.h"

void kern_fill_vec_ref(struct kern_table *t);
void kern_fill_matmul_ref(struct kern_table *t);
void kern_fill_attn_ref(struct kern_table *t);
#if defined(__x86_64__)
void kern_fill_vec_avx2(struct kern_table *t);
void kern_fill_matmul_avx2(struct kern_table *t);
void kern_fill_attn_avx2(struct kern_table *t);
void kern_fill_vec_avx512(struct kern_table *t);
void kern_fill_matmul_avx512(struct kern_table *t);
void kern_fill_attn_avx512(struct kern_table *t);
void kern_fill_matmul_amx(struct kern_table *t);
void kern_fill_matmul_emulated(struct kern_table *t); /* the AMX rung over tiles in plain C: for tests */
bool kern_amx_permit(void); /* asks the kernel for tile state: once for the process, before its threads start */
void kern_matmul_avx512(const struct kern_matmul *op, int panel_first, int panel_end);
void kern_fmul_avx2(const struct kern_matmul *op, int panel_first, int panel_end); /* float weights */
void kern_fmul_avx512(const struct kern_matmul *op, int panel_first, int panel_end);
#endif
#if defined(__aarch64__)
void kern_fill_vec_neon(struct kern_table *t);
void kern_fill_matmul_neon(struct kern_table *t);
void kern_fill_attn_neon(struct kern_table *t);
void kern_fill_matmul_dotprod(struct kern_table *t);
void kern_fmul_neon(const struct kern_matmul *op, int panel_first, int panel_end);
#endif
/* Do both give the same products of small random matrices of every kind? */
bool kern_products_agree(const struct kern_table *a, const struct kern_table *b);
#endif
