/* ffn -- the feed-forward block of a layer: y = W_down (act(W_gate h) * (W_up h)).
 *
 * Gate and up of the same panels are one chunk, and the activation follows while both are in the cache.
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
    bool last = false;
    for (int at; (at = team_next(s->team, chunks)) >= 0;) {
        int block = at % cut.row_blocks, first = at / cut.row_blocks * cut.panels;
        gate_chunk(s, &gate, l->up.panels ? &up : NULL, &h, act, (const int[]){
            first, min_int(first + cut.panels, l->gate.panels), (int)((long)h.n * block / cut.row_blocks),
            (int)((long)h.n * (block + 1) / cut.row_blocks) });
        last |= step_chunk_done(s, chunks, h.n);
    }
    step_finish(s, last, h.n, kern_type_is_float(l->down.type) ? NULL : quantize_gate, l);
    s->deferred = multiply_down;
    s->deferred_layer = l;
}
