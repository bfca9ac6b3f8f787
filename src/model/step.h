/* step -- the blocks from which architectures build a layer, run by every thread of the team together.
 *
 * A layer function calls, in order:
 *     step_norm(s, weight);      what the last block left is added to the residual x; h = norm of x
 *     step_attention(s, l, ..);  h -> y
 *     step_add(s, post_norm);    y is to be added by the next step_norm, normed first when post_norm is given
 *     step_norm, step_ffn or step_experts, step_add
 *
 * A phase is chunks of matrices or heads, taken by whoever is free, and then work on whole rows that needs all of
 * them (norms, rotations, int8 forms). Barriers dominate a decode step, so
 *   - a block puts off its last matrix: the next step_norm multiplies it and has adding and norming as its row work;
 *   - with few rows, the thread that finishes the last chunk does the row work at once: one barrier a phase, five a
 *     layer. With many rows the row work is shared out between two barriers. Neither changes a bit. */
#ifndef MODEL_STEP_H
#define MODEL_STEP_H
#include "model/work.h"

struct step {
    struct team *team;
    const struct model *m;
    const struct kern_table *kern;
    const struct model_dims *d;
    struct model_work *w;
    const struct model_batch *b;
    /* The block whose last matrix is put off: computes y, says whether this thread did the last chunk. NULL: none. */
    bool (*deferred)(struct step *s);
    const struct layer *deferred_layer;
    void (*complete_row)(const struct step *s, int row); /* what turns its products into y, or NULL: they are y */
    const float *post_norm;   /* of what is put off, or NULL */
    const float *sum_norm, *sum_norm_bias; /* of x once it is added, or NULL */
    bool over;                /* nobody wants more of these rows: what is left of the last layer does nothing */
};

/* How q_norm and k_norm are applied where a layer has them. */
enum norm_span { NORM_HEADS, NORM_ROWS };

enum activation { ACT_SILU, ACT_GELU, ACT_SWIGLU_OAI };

void step_norm(struct step *s, const float *weight /* NULL: h = x */);
void step_attention(struct step *s, const struct layer *l, enum norm_span span);
void step_ffn(struct step *s, const struct layer *l, enum activation act);
void step_experts(struct step *s, const struct layer *l, enum activation act);
void step_add(struct step *s, const float *post_norm);
void step_add_norm(struct step *s, const float *weight, const float *bias); /* encoders: x + y is normed in place */

/* ---- between these files only */

/* encoder.c: a row's embedding becomes the sum of its three, normed. */
void encoder_embed_row(const struct step *s, int row, float *x);


/* Rows that feed matrices, in both forms; q8 may be NULL when no matrix of the group wants it. */
struct operand {
    const float *f;
    size_t f_stride;        /* floats */
    const unsigned char *q8;
    size_t q8_stride;       /* bytes */
    int n;
    const int32_t *rows;    /* [n] which rows, or NULL for 0..n-1 */
};

struct product {
    const struct kern_matrix *w;
    const float *bias;
    float *y;
    size_t y_stride;        /* floats */
};

/* tail.c: in the last layer, once keys and values are stored: b becomes the rows whose logits are wanted. */
void step_keep_wanted(struct step *s, const struct layer *l);

/* lora.c: adds what adapters add to products of x, all of them finished or not: last is what step_products said, and
 * the answer takes its place. */
struct adapted {
    int slot;               /* enum lora_slot */
    float *y;
    size_t y_stride;        /* floats */
};
bool step_adapt(struct step *s, const struct layer *l, const struct adapted *list, int count, const struct operand *x,
                bool last);
bool step_adapts(const struct step *s); /* whether any row of the batch has an adapter */

/* How panels x rows are cut into chunks for team_next. */
struct cut {
    int panels;      /* in a chunk */
    int row_blocks;  /* rows are cut into so many */
};

/* All products of x, shared between threads; ends without a barrier. rows: of the row work that follows; true in
 * the thread that did the last chunk, when the rows are few. */
bool step_products(struct step *s, const struct product *list, int count, const struct operand *x, int rows);
/* Called after each of a phase's chunks: true for the last one, when the rows are few. */
bool step_chunk_done(struct step *s, int chunks, int rows);
/* Ends a phase: row work, if any, for every row, and a barrier after it. */
typedef void (*row_fn)(const struct step *s, const void *arg, int row);
void step_finish(struct step *s, bool last, int rows, row_fn fn, const void *arg);
struct cut step_cut(const struct step *s, int panels, int rows);
/* One chunk: these panels times rows [first, end) of x. */
void step_multiply(const struct step *s, const struct product *p, const struct operand *x, int panel_first,
                   int panel_end, int first, int end);
/* The same, with row `first` of x giving p's first row. */
void step_multiply_to(const struct step *s, const struct product *p, const struct operand *x, int panel_first,
                      int panel_end, int first, int end);
/* gate = act(gate, up) for n values; gate = act(gate) when up is NULL (ACT_GELU alone). */
void step_activate(const struct step *s, enum activation act, float *gate, const float *up, int n);
/* The int8 form of row r of f for w, written to work's q8. */
void step_quantize_row(const struct step *s, const struct kern_matrix *w, const float *f, size_t f_stride, int r);
struct operand step_operand(const struct step *s, const float *f, size_t f_stride, int cols);
#endif
