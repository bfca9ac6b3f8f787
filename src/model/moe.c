/* moe -- a mixture of experts: a router picks U of E feed-forward blocks for each row, their outputs are weighed.
 *
 * The weights are the softmax over the chosen router outputs: softmax over all, then renormalised over the chosen
 * (Mixtral, Qwen3), is the same number. Rows are gathered by expert so that each expert's matrices are read once
 * for all rows that chose it. A row's sum runs over its experts best first, whatever other rows are there.
 * Source: Shazeer et al., 2017; Jiang et al., Mixtral of Experts, 2024. */
#include "model/step.h"

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* The U best of a row, best first, the lower number of equals; NaN never wins while a number is left. */
static void choose(const float *scores, int experts, int used, int32_t *ids)
{
    for (int j = 0; j < used; j++) {
        int best = -1;
        for (int i = 0; i < experts; i++) {
            bool taken = false;
            for (int k = 0; k < j; k++)
                taken |= ids[k] == i;
            if (!taken && (best < 0 || scores[i] > scores[best] || scores[best] != scores[best]))
                best = i;
        }
        ids[j] = best;
    }
}

static void route_row(const struct step *s, const void *arg, int r)
{
    (void)arg;
    int experts = s->d->experts, used = s->d->experts_used;
    const float *scores = s->w->router + (size_t)r * (size_t)experts;
    int32_t *ids = s->w->expert_ids + (size_t)r * (size_t)used;
    float *weights = s->w->expert_weights + (size_t)r * (size_t)used;
    choose(scores, experts, used, ids);
    for (int j = 0; j < used; j++)
        weights[j] = scores[ids[j]];
    s->kern->softmax(weights, used);
}

/* One thread: slots in order of expert, then row. */
static void gather(const struct step *s)
{
    struct model_work *w = s->w;
    int experts = s->d->experts, used = s->d->experts_used;
    for (int i = 0; i <= experts; i++)
        w->expert_first[i] = 0;
    for (int i = 0; i < s->b->rows * used; i++)
        w->expert_first[w->expert_ids[i] + 1]++;
    w->active_count = 0;
    for (int i = 0; i < experts; i++) {
        if (w->expert_first[i + 1])
            w->active[w->active_count++] = i;
        w->expert_first[i + 1] += w->expert_first[i];
    }
    for (int i = 0; i < s->b->rows * used; i++) {
        int slot = w->expert_first[w->expert_ids[i]]++; /* moves to the end of the expert, put back below */
        w->slot_of[i] = slot;
        w->slot_row[slot] = i / used;
    }
    for (int i = experts; i > 0; i--)
        w->expert_first[i] = w->expert_first[i - 1];
    w->expert_first[0] = 0;
}

static const float *bias_of(const float *bias, int expert, int rows)
{
    return bias ? bias + (size_t)expert * (size_t)rows : NULL;
}

/* Gate, up and activation of one expert's panels for all its slots. */
static void gate_chunk(const struct step *s, const struct layer *l, enum activation act, int expert, int first, int end)
{
    struct model_work *w = s->w;
    int slot = w->expert_first[expert], n = w->expert_first[expert + 1] - slot;
    const struct kern_matrix *g = &l->gate_exps[expert];
    float *gate_y = w->gate + (size_t)slot * w->f_stride, *up_y = w->up + (size_t)slot * w->f_stride;
    const struct product gate = { g, bias_of(l->gate_exps_bias, expert, g->rows), gate_y, w->f_stride };
    const struct product up = { &l->up_exps[expert], bias_of(l->up_exps_bias, expert, g->rows), up_y, w->f_stride };
    struct operand h = step_operand(s, w->h, w->d_stride, s->d->dim);
    h.n = n;
    h.rows = w->slot_row + slot;
    step_multiply(s, &gate, &h, first, end, 0, n);
    step_multiply(s, &up, &h, first, end, 0, n);
    int col = first * KERN_PANEL_ROWS, len = min_int(end * KERN_PANEL_ROWS, g->rows) - col;
    for (int t = 0; t < n; t++)
        step_activate(s, act, gate_y + (size_t)t * w->f_stride + col, up_y + (size_t)t * w->f_stride + col, len);
}

static void down_chunk(const struct step *s, const struct layer *l, int expert, int first, int end)
{
    struct model_work *w = s->w;
    int slot = w->expert_first[expert], n = w->expert_first[expert + 1] - slot;
    const struct kern_matrix *m = &l->down_exps[expert];
    const struct product down = { m, bias_of(l->down_exps_bias, expert, m->rows),
                                  w->down + (size_t)slot * w->d_stride, w->d_stride };
    const struct operand f = {
        .f = w->gate + (size_t)slot * w->f_stride, .f_stride = w->f_stride,
        .q8 = w->slot_q8_bytes ? w->slot_q8 + (size_t)slot * w->slot_q8_bytes : NULL, .q8_stride = w->slot_q8_bytes,
        .n = n,
    };
    step_multiply(s, &down, &f, first, end, 0, n);
}

/* Chunks over the panels of every expert that has slots: gate and up with act, down without. */
static bool expert_chunks(struct step *s, const struct layer *l, const enum activation *act, int rows)
{
    int panels = (act ? l->gate_exps : l->down_exps)[0].panels, active = s->w->active_count;
    struct cut cut = step_cut(s, panels * active, 1);
    int per_expert = (panels + cut.panels - 1) / cut.panels;
    bool last = false;
    for (int at; (at = team_next(s->team, per_expert * active)) >= 0;) {
        int expert = s->w->active[at / per_expert], first = at % per_expert * cut.panels;
        int end = min_int(first + cut.panels, panels);
        if (act)
            gate_chunk(s, l, *act, expert, first, end);
        else
            down_chunk(s, l, expert, first, end);
        last |= step_chunk_done(s, per_expert * active, rows);
    }
    return last;
}

static void quantize_slot(const struct step *s, const void *arg, int slot)
{
    const struct layer *l = arg;
    struct model_work *w = s->w;
    s->kern->quantize_q8(w->gate + (size_t)slot * w->f_stride, w->slot_q8 + (size_t)slot * w->slot_q8_bytes,
                         l->down_exps[0].cols);
}

/* y = the weighed sum over the row's experts, best first. */
static void combine_row(const struct step *s, int r)
{
    struct model_work *w = s->w;
    int used = s->d->experts_used;
    float *y = w->y + (size_t)r * w->d_stride;
    for (int i = 0; i < s->d->dim; i++)
        y[i] = 0;
    for (int j = 0; j < used; j++) {
        size_t at = (size_t)r * (size_t)used + (size_t)j;
        s->kern->add_scaled(y, w->down + (size_t)w->slot_of[at] * w->d_stride, w->expert_weights[at], s->d->dim);
    }
}

static bool multiply_down(struct step *s)
{
    return expert_chunks(s, s->deferred_layer, NULL, s->b->rows);
}

void step_experts(struct step *s, const struct layer *l, enum activation act)
{
    struct model_work *w = s->w;
    int rows = s->b->rows, slots = rows * s->d->experts_used;
    const struct product router = { &l->router, l->router_bias, w->router, (size_t)s->d->experts };
    struct operand h = step_operand(s, w->h, w->d_stride, s->d->dim);
    if (s->over)
        return;
    bool last = step_products(s, &router, 1, &h, rows);
    step_finish(s, last, rows, route_row, NULL);
    if (s->team->rank == 0)
        gather(s);
    team_barrier(s->team);
    last = expert_chunks(s, l, &act, slots);
    step_finish(s, last, slots, kern_type_is_float(l->down_exps[0].type) ? NULL : quantize_slot, l);
    s->deferred = multiply_down;
    s->deferred_layer = l;
    s->complete_row = combine_row;
}
