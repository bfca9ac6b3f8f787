/* ffn -- the feed-forward block of a layer: y = W_down (act(W_gate h) * (W_up h)).
 *
 * Gate and up of the same panels are one chunk, and the activation follows while both are in the cache. With many rows
 * its int8 form is made there too, and the floats never leave the cache: they lie in a corner of gate's memory that is
 * the thread's own, the int8 form in up's.
 * Source: Shazeer, GLU Variants Improve Transformer, 2020. */
#include "model/lora.h"
#include "model/step.h"

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* Panels [first, end) of gate and up for rows [row, row_end), then their activation. */
static void gate_chunk(const struct step *s, const struct product *gate, const struct product *up,
                       const struct operand *x, enum activation act, const int span[4])
{
    step_multiply(s, gate, x, span[0], span[1], span[2], span[3]);
    if (up)
        step_multiply(s, up, x, span[0], span[1], span[2], span[3]);
    int col = span[0] * KERN_PANEL_ROWS, n = min_int(span[1] * KERN_PANEL_ROWS, gate->w->rows) - col;
    for (int r = span[2]; r < span[3]; r++)
        step_activate(s, act, gate->y + (size_t)r * gate->y_stride + col,
                      up ? up->y + (size_t)r * up->y_stride + col : NULL, n);
}

enum {
    INNER_ROWS_MIN = 16,
    INNER_ROWS = 128, /* with 256 columns each of gate and up they take 272 KB of L2 */
    INNER_UNIT = KERN_ACT_BLOCK / KERN_PANEL_ROWS,
};

/* A thread's corner of gate's memory: gate and then up, rows of one chunk of panels. */
struct corner {
    int rows;        /* it has place for; 0: activation and int8 form are made row after row when all chunks are done */
    size_t stride;   /* floats between rows, an odd number of lines; they lie from the chunk's first column on */
    size_t floats;   /* of gate, of up */
    size_t q8_stride;
};

/* The same for every thread, and in both phases. */
static struct corner corner(const struct step *s, const struct layer *l)
{
    const struct model_work *w = s->w;
    int panels = step_cut(s, l->gate.panels, s->b->rows).panels;
    size_t share = (size_t)w->rows_max * w->f_stride / (size_t)s->team->count / 2 / KERN_PANEL_ROWS * KERN_PANEL_ROWS;
    size_t before = (size_t)(l->gate.panels * KERN_PANEL_ROWS);
    struct corner c = { 0, (size_t)((panels | 1) * KERN_PANEL_ROWS), share, 0 };
    if (s->b->rows < INNER_ROWS_MIN || panels % INNER_UNIT || share < before || kern_type_is_float(l->down.type) ||
        step_adapts(s) || l->down.cols % KERN_ACT_BLOCK)
        return c;
    c.q8_stride = kern_q8_stride(l->down.cols);
    size_t rows = (share - before) / c.stride;
    if (rows >= INNER_ROWS_MIN && c.q8_stride <= w->f_stride * sizeof(float))
        c.rows = rows < INNER_ROWS ? (int)rows : INNER_ROWS;
    return c;
}

/* gate_chunk's part, some rows at a time, and the int8 form behind it. */
static void inner_chunk(const struct step *s, const struct layer *l, const struct operand *x, enum activation act,
                        const struct corner *c, const int span[4])
{
    struct model_work *w = s->w;
    float *at = w->gate + 2 * c->floats * (size_t)s->team->rank;
    struct product gate = { &l->gate, l->gate_bias, at, c->stride }, up = { &l->up, l->up_bias, at + c->floats,
                                                                            c->stride };
    int col = span[0] * KERN_PANEL_ROWS, n = min_int(span[1] * KERN_PANEL_ROWS, l->gate.rows) - col;
    unsigned char *q8 = (unsigned char *)w->up + (size_t)(col / KERN_ACT_BLOCK) * kern_q8_bytes(KERN_ACT_BLOCK);
    for (int r0 = span[2], end; r0 < span[3]; r0 = end) {
        end = min_int(r0 + c->rows, span[3]);
        step_multiply_to(s, &gate, x, span[0], span[1], r0, end);
        if (l->up.panels)
            step_multiply_to(s, &up, x, span[0], span[1], r0, end);
        for (int r = r0; r < end; r++) {
            float *g = gate.y + (size_t)(r - r0) * c->stride + col, *u = up.y + (size_t)(r - r0) * c->stride + col;
            step_activate(s, act, g, l->up.panels ? u : NULL, n);
            s->kern->quantize_q8(g, q8 + (size_t)r * c->q8_stride, n);
        }
    }
}

static void quantize_gate(const struct step *s, const void *arg, int r)
{
    const struct layer *l = arg;
    step_quantize_row(s, &l->down, s->w->gate, s->w->f_stride, r);
}

static bool multiply_down(struct step *s)
{
    struct model_work *w = s->w;
    const struct layer *l = s->deferred_layer;
    const struct product down = { &l->down, l->down_bias, w->y, w->d_stride };
    struct operand f = step_operand(s, w->gate, w->f_stride, l->down.cols);
    struct corner c = corner(s, l);
    if (c.rows) {
        f.q8 = (const unsigned char *)w->up;
        f.q8_stride = c.q8_stride;
    }
    bool last = step_products(s, &down, 1, &f, s->b->rows);
    return step_adapt(s, l, &(const struct adapted){ LORA_DOWN, w->y, w->d_stride }, 1, &f, last);
}

struct activating {
    const struct layer *l;
    enum activation act;
};

static void activate_row(const struct step *s, const void *arg, int r)
{
    const struct activating *a = arg;
    size_t at = (size_t)r * s->w->f_stride;
    step_activate(s, a->act, s->w->gate + at, a->l->up.panels ? s->w->up + at : NULL, a->l->gate.rows);
    if (!kern_type_is_float(a->l->down.type))
        quantize_gate(s, a->l, r);
}

/* With adapters the activation waits for what they add. */
static void adapted_gates(struct step *s, const struct layer *l, enum activation act, const struct operand *h)
{
    struct model_work *w = s->w;
    const struct product products[] = {
        { &l->gate, l->gate_bias, w->gate, w->f_stride }, { &l->up, l->up_bias, w->up, w->f_stride },
    };
    const struct adapted adapted[] = { { LORA_GATE, w->gate, w->f_stride }, { LORA_UP, w->up, w->f_stride } };
    int count = l->up.panels ? 2 : 1;
    bool last = step_products(s, products, count, h, h->n);
    last = step_adapt(s, l, adapted, count, h, last);
    step_finish(s, last, h->n, activate_row, &(struct activating){ l, act });
    s->deferred = multiply_down;
    s->deferred_layer = l;
}

void step_ffn(struct step *s, const struct layer *l, enum activation act)
{
    struct model_work *w = s->w;
    const struct product gate = { &l->gate, l->gate_bias, w->gate, w->f_stride };
    const struct product up = { &l->up, l->up_bias, w->up, w->f_stride };
    struct operand h = step_operand(s, w->h, w->d_stride, s->d->dim);
    if (s->over)
        return;
    if (step_adapts(s)) {
        adapted_gates(s, l, act, &h);
        return;
    }
    struct cut cut = step_cut(s, l->gate.panels, h.n);
    int chunks = (l->gate.panels + cut.panels - 1) / cut.panels * cut.row_blocks;
    struct corner c = corner(s, l);
    bool last = false;
    for (int at; (at = team_next(s->team, chunks)) >= 0;) {
        int block = at % cut.row_blocks, first = at / cut.row_blocks * cut.panels;
        const int span[4] = { first, min_int(first + cut.panels, l->gate.panels),
                              (int)((long)h.n * block / cut.row_blocks),
                              (int)((long)h.n * (block + 1) / cut.row_blocks) };
        if (c.rows)
            inner_chunk(s, l, &h, act, &c, span);
        else
            gate_chunk(s, &gate, l->up.panels ? &up : NULL, &h, act, span);
        last |= step_chunk_done(s, chunks, h.n);
    }
    step_finish(s, last, h.n, c.rows || kern_type_is_float(l->down.type) ? NULL : quantize_gate, l);
    s->deferred = multiply_down;
    s->deferred_layer = l;
}
