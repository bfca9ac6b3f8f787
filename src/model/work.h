/* work -- the buffers of a forward pass: one block, sized from the model's dimensions, carved once.
 *
 * Rows of float buffers are padded to 64 bytes; *_stride counts floats, q8_stride bytes. R = rows_max. */
#ifndef MODEL_WORK_H
#define MODEL_WORK_H
#include "model/parts.h"

#include <stdatomic.h>

struct lora_work;
struct model_work {
    struct model_rest rest;     /* run NULL: every layer is here */
    struct pool *pool;          /* borrowed */
    int threads, rows_max, logit_rows_max;
    unsigned char *block;
    size_t bytes;

    _Alignas(64) atomic_int chunks_done; /* of the phase in progress; acq_rel: the last finisher reads all chunks */
    _Alignas(64) float *x, *h, *y;           /* [R][D]: residual, block input, block output */
    size_t d_stride;
    float *q, *k, *v, *attn;    /* [R][H K], [R][G K], [R][G V], [R][H V] */
    size_t q_stride, k_stride, v_stride, o_stride;
    float *gate, *up;           /* [R][F], dense models; with experts [R U][F], a row for each slot */
    size_t f_stride;
    unsigned char *q8;          /* [R][...]: the int8 form of whatever feeds the next matrices */
    size_t q8_bytes;            /* room for a row */
    float *cos_sin;             /* [ropes][R][n_rot] */
    float *logits;              /* [logit rows][W] */
    unsigned char *scratch;     /* [threads][scratch_bytes] for attention */
    size_t scratch_bytes;

    struct lora_work *lora;     /* NULL: no run may have an adapter */
    int32_t *row_pos;           /* [R] position of a row in its sequence */
    int32_t *row_run;           /* [R] which run it belongs to */
    int32_t *run_first;         /* [R + 1] first row of a run */
    int32_t *run_items;         /* [R + 1] attention items before a run */
    int q_chunk;                /* queries in an item */
    struct model_batch tail;    /* what of the batch is left in the last layer (tail.c) */
    struct model_run *tail_runs; /* [logit rows] */
    int32_t *tail_rows;         /* [logit rows] */

    /* Experts. A slot is one (row, expert) pair; slots lie expert after expert, rows ascending. */
    float *router;              /* [R][E] */
    int32_t *expert_ids;        /* [R][U] best first */
    float *expert_weights;      /* [R][U] */
    int32_t *slot_of;           /* [R][U] */
    int32_t *slot_row;          /* [R U] */
    int32_t *expert_first;      /* [E + 1] first slot of an expert */
    int32_t *active;            /* [E] experts that have slots, ascending */
    int32_t active_count;
    float *down;                /* [R U][D] */
    unsigned char *slot_q8;     /* [R U][slot_q8_bytes] */
    size_t slot_q8_bytes;
};

enum { WORK_Q_CHUNK_MAX = 32 };

size_t work_measure(const struct model *m, int threads, int rows_max, int logit_rows_max);
#endif
