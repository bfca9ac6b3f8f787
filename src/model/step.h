/* step -- the blocks from which architectures build a layer, run by every thread of the team together.
 *
 * A layer function calls, in order:
 *     step_norm(s, weight);      what the last block left in y is added to the residual x; h = norm of x
 *     step_attention(s, l, ..);  h -> y
 *     step_add(s, post_norm);    marks y to be added by the next step_norm, normed first when post_norm is given
 *     step_norm, step_ffn or step_experts, step_add
 * Adding, norming and quantising one row is the work of one thread, so the three share a phase; barriers stand
 * between phases only. Rows are shared out by team_slice, the same way in every phase of a step: a thread may use
 * what it wrote to its own rows without a barrier. */
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
    int row_first, row_end;   /* this thread's rows */
    bool pending;             /* y waits to be added to x */
    const float *post_norm;   /* of what is pending, or NULL */
};

/* How q_norm and k_norm are applied where a layer has them. */
enum norm_span { NORM_HEADS, NORM_ROWS };

enum activation { ACT_SILU, ACT_GELU, ACT_SWIGLU_OAI };

void step_norm(struct step *s, const float *weight /* NULL: h = x */);
void step_attention(struct step *s, const struct layer *l, enum norm_span span);
void step_ffn(struct step *s, const struct layer *l, enum activation act);
void step_experts(struct step *s, const struct layer *l, enum activation act);
void step_add(struct step *s, const float *post_norm);

/* ---- between these files only */

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

/* How panels x rows are cut into chunks for team_next. */
struct cut {
    int panels;      /* in a chunk */
    int row_blocks;  /* rows are cut into so many */
};

/* All products of x, shared between threads; no barrier inside. */
void step_products(struct step *s, const struct product *list, int count, const struct operand *x);
/* Chunks for so many panels in all; bytes of one row of x. */
struct cut step_cut(const struct step *s, int panels, int rows, size_t row_bytes);
/* One chunk: these panels times rows [first, end) of x. */
void step_multiply(const struct step *s, const struct product *p, const struct operand *x, int panel_first,
                   int panel_end, int first, int end);
/* gate = act(gate, up) for n values. */
void step_activate(const struct step *s, enum activation act, float *gate, const float *up, int n);
/* The int8 form of this thread's rows of f when the matrix wants it. */
void step_quantize_rows(const struct step *s, const struct kern_matrix *w, const float *f, size_t f_stride);
struct operand step_operand(const struct step *s, const float *f, size_t f_stride, int cols);
/* x += pending y for one row, x untouched when nothing is pending. */
void step_settle_row(const struct step *s, int row);
#endif
