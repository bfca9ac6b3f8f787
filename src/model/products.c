/* products -- matrices times rows, shared between the threads of a step.
 *
 * A chunk is a few panels times all rows, so that weights are read once; the kernels cut rows for caches themselves.
 * Every thread gets about four chunks. Rows are cut only when there are too few panels for the threads. No cut changes
 * a bit: an output is one accumulator in one chunk. */
#include "model/step.h"

#include "base/assert.h"

enum {
    CHUNKS_PER_THREAD = 4,
    CHUNK_PANELS_MAX = 16,
    STREAMS = 4, /* panels that the kernels like to read side by side with few rows; two with many */
    ROWS_BLOCK_MIN = 24,
    ROWS_FEW = 4, /* row work that one thread does while the others wait */
};

static int div_up(int a, int b)
{
    return (a + b - 1) / b;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* Panels in a chunk, where each thread's share is so many. */
static int chunk_panels(int share)
{
    int c = share / CHUNKS_PER_THREAD;
    if (c < STREAMS) /* a full set of streams is worth more than a fourth chunk */
        return share >= 2 * STREAMS ? STREAMS : share >= STREAMS ? STREAMS / 2 : 1;
    return min_int(c - c % STREAMS, CHUNK_PANELS_MAX);
}

struct cut step_cut(const struct step *s, int panels, int rows)
{
    int threads = s->team->count;
    struct cut c = { .panels = chunk_panels(panels / threads), .row_blocks = 1 };
    int chunks = div_up(panels, c.panels);
    if (threads > 1 && chunks < 2 * threads)
        c.row_blocks = max_int(1, min_int(div_up(2 * threads, chunks), rows / ROWS_BLOCK_MIN));
    return c;
}

void step_multiply(const struct step *s, const struct product *p, const struct operand *x, int panel_first,
                   int panel_end, int first, int end)
{
    struct product from = *p;
    from.y += (size_t)first * p->y_stride;
    step_multiply_to(s, &from, x, panel_first, panel_end, first, end);
}

void step_multiply_to(const struct step *s, const struct product *p, const struct operand *x, int panel_first,
                      int panel_end, int first, int end)
{
    bool is_float = kern_type_is_float(p->w->type);
    struct kern_matmul op = {
        .w = p->w, .n = end - first, .y = p->y, .y_stride = p->y_stride,
        .bias = p->bias, .x = x->f, .x_stride = x->f_stride * sizeof(float),
    };
    if (!is_float) {
        ASSERT(x->q8);
        op.x = x->q8;
        op.x_stride = x->q8_stride;
    }
    if (x->rows)
        op.x_rows = x->rows + first;
    else
        op.x = (const char *)op.x + (size_t)first * op.x_stride;
    s->kern->matmul(&op, panel_first, panel_end);
}

bool step_chunk_done(struct step *s, int chunks, int rows)
{
    if (rows > ROWS_FEW)
        return false;
    return atomic_fetch_add_explicit(&s->w->chunks_done, 1, memory_order_acq_rel) == chunks - 1;
}

void step_finish(struct step *s, bool last, int rows, row_fn fn, const void *arg)
{
    int first = 0, end = last ? rows : 0;
    if (last)
        atomic_store_explicit(&s->w->chunks_done, 0, memory_order_relaxed); /* the barrier publishes it */
    if (rows > ROWS_FEW && fn) {
        team_barrier(s->team);
        team_slice(s->team, rows, &first, &end);
    }
    for (int r = first; r < end && fn; r++)
        fn(s, arg, r);
    team_barrier(s->team);
}

bool step_products(struct step *s, const struct product *list, int count, const struct operand *x, int rows)
{
    int panels = 0, chunks = 0;
    bool last = false;
    for (int i = 0; i < count; i++)
        panels += list[i].w->panels;
    struct cut cut = step_cut(s, panels, x->n);
    for (int i = 0; i < count; i++)
        chunks += div_up(list[i].w->panels, cut.panels);
    for (int at; (at = team_next(s->team, chunks * cut.row_blocks)) >= 0;) {
        int block = at % cut.row_blocks, i = 0;
        at /= cut.row_blocks;
        for (; at >= div_up(list[i].w->panels, cut.panels); i++)
            at -= div_up(list[i].w->panels, cut.panels);
        int first = at * cut.panels;
        step_multiply(s, &list[i], x, first, min_int(first + cut.panels, list[i].w->panels),
                      (int)((long)x->n * block / cut.row_blocks), (int)((long)x->n * (block + 1) / cut.row_blocks));
        last |= step_chunk_done(s, chunks * cut.row_blocks, rows);
    }
    return last;
}

void step_activate(const struct step *s, enum activation act, float *gate, const float *up, int n)
{
    if (!up) {
        ASSERT(act == ACT_GELU);
        s->kern->gelu(gate, n);
        return;
    }
    switch (act) {
    case ACT_SILU: s->kern->silu_mul(gate, gate, up, n); return;
    case ACT_GELU: s->kern->gelu_mul(gate, gate, up, n); return;
    case ACT_SWIGLU_OAI: s->kern->swiglu_oai(gate, gate, up, n, 1.702f, 7.0f); return;
    }
}

void step_quantize_row(const struct step *s, const struct kern_matrix *w, const float *f, size_t f_stride, int r)
{
    unsigned char *out = s->w->q8 + (size_t)r * kern_q8_stride(w->cols);
    s->kern->quantize_q8(f + (size_t)r * f_stride, out, w->cols);
}

struct operand step_operand(const struct step *s, const float *f, size_t f_stride, int cols)
{
    bool int_form = s->m->int_weights && cols % KERN_ACT_BLOCK == 0;
    return (struct operand){
        .f = f, .f_stride = f_stride, .q8 = int_form ? s->w->q8 : NULL,
        .q8_stride = int_form ? kern_q8_stride(cols) : 0, .n = s->b->rows,
    };
}
