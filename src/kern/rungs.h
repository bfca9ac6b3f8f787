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
void kern_fmul_avx2(const struct kern_matmul *op, int panel_first, int panel_end); /* float weights */
void kern_fmul_avx512(const struct kern_matmul *op, int panel_first, int panel_end);
#endif
#endif
