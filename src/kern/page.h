/* page -- how K and V lie inside a page of 32 tokens. Private to kern/.
 *
 * K is turned so that a vector lane is a token: F32, F16, BF16  [kv_head][k_dim][32 tokens].
 *   Q8_0 [kv_head][ceil(k_dim / 32)] of { f16 scale[32 tokens]; u8 [8 groups][32 tokens][4 dims] }, byte = q + 128.
 * V has the dimension in the lane:  F32, F16, BF16  [kv_head][32 tokens][v_dim].
 *   Q8_0 [kv_head] of { f16 scale[32 tokens][blocks]; i8 [32 tokens][blocks * 32] }, blocks = ceil(v_dim / 32).
 * Dimensions past the last are stored as zeros; tokens not stored yet are whatever the memory held: their lanes
 * are never looked at. */
#ifndef KERN_PAGE_H
#define KERN_PAGE_H
#include "kern/kern.h"
#include "kern/pack.h"

enum {
    KERN_K8_BLOCK = 64 + 32 * 32,
    KERN_ATTN_ROWS = 64, /* (query, head) pairs a fast rung works on at once: a group fits */
};
_Static_assert((int)KERN_ATTN_ROWS >= (int)KERN_GROUP_MAX, "one query of every head of a group fits");

static inline int kern_blocks32(int dim) { return (dim + 31) / 32; }
static inline size_t kern_kv_size(enum kern_type type) { return type == KERN_F32 ? 4 : 2; }

static inline size_t kern_k_head_bytes(const struct kern_kv *kv)
{
    if (kv->type == KERN_Q8_0)
        return (size_t)kern_blocks32(kv->k_dim) * KERN_K8_BLOCK;
    return (size_t)kv->k_dim * KERN_PAGE_TOKENS * kern_kv_size(kv->type);
}

static inline size_t kern_v_head_bytes(const struct kern_kv *kv)
{
    if (kv->type == KERN_Q8_0)
        return (size_t)kern_blocks32(kv->v_dim) * (64 + 32 * 32);
    return (size_t)kv->v_dim * KERN_PAGE_TOKENS * kern_kv_size(kv->type);
}

/* One token's K of one head, already in the page's type, into its slot of the turned page. */
void kern_page_turn(const struct kern_kv *kv, const unsigned char *row, unsigned char *head, int slot);
void kern_page_store(const struct kern_kv *kv, unsigned char *page, int slot, const float *k, const float *v);
/* The int8 form of a query head, zeros behind its last dimension. out: ceil(k_dim / 32) blocks. */
void kern_attn_query_q8(const float *q, int k_dim, struct kern_act *out);

/* Where query i stands. */
static inline int kern_query_pos(const struct kern_attn *op, int i)
{
    return op->whole ? op->pos_first : op->pos_first + i;
}

/* The first page position pos sees anything of: with a window those before it may be gone. */
static inline int kern_page_first(const struct kern_attn *op, int pos)
{
    return op->window > 0 && pos >= op->window ? (pos - op->window + 1) / KERN_PAGE_TOKENS : 0;
}

/* Keys of the page that starts at position `start` seen from position pos: [*lo, *hi) of 0..32; false: none. */
static inline bool kern_page_range(const struct kern_attn *op, int pos, int start, int *lo, int *hi)
{
    int first = op->window > 0 && pos - op->window + 1 > start ? pos - op->window + 1 - start : 0;
    int end = pos + 1 - start < KERN_PAGE_TOKENS ? pos + 1 - start : KERN_PAGE_TOKENS;
    *lo = first;
    *hi = end;
    return first < end;
}
#endif
