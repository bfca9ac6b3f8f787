/* attention -- the attention block of a layer: h -> q, k, v -> pages -> heads -> y.
 *
 *   q, k, v = W h + b         [phase 1, panels]
 *   norm and rotate q and k, store k and v in their pages        [phase 2, rows]
 *   heads over pages          [phase 3, items: a few queries of one run against one key/value head]
 *   y = W_o heads + b_o       [phase 4 rows to int8 where W_o wants it, phase 5 panels]
 * Attention: Vaswani et al., 2017; grouped heads: Ainslie et al., 2023. */
#include "model/step.h"

static void norm_row(const struct step *s, float *x, const float *weight, int heads, int len, enum norm_span span)
{
    if (!weight)
        return;
    if (span == NORM_ROWS) {
        s->kern->rms_norm(x, x, weight, heads * len, s->d->eps);
        return;
    }
    for (int h = 0; h < heads; h++)
        s->kern->rms_norm(x + h * len, x + h * len, weight, len, s->d->eps);
}

static void place_row(const struct step *s, const struct layer *l, enum norm_span span, int r)
{
    const struct model_dims *d = s->d;
    struct model_work *w = s->w;
    float *q = w->q + (size_t)r * w->q_stride, *k = w->k + (size_t)r * w->k_stride;
    norm_row(s, q, l->q_norm, d->heads, d->k_dim, span);
    norm_row(s, k, l->k_norm, d->kv_heads, d->k_dim, span);
    if (l->rope >= 0) {
        const struct rope *rope = &s->m->ropes[l->rope];
        const float *cs = w->cos_sin + ((size_t)l->rope * (size_t)w->rows_max + (size_t)r) * (size_t)d->rope.n_rot;
        s->kern->rope(q, d->heads, d->k_dim, rope->n_rot, cs, rope->style);
        s->kern->rope(k, d->kv_heads, d->k_dim, rope->n_rot, cs, rope->style);
    }
    int pos = w->row_pos[r];
    unsigned char *page = s->b->runs[w->row_run[r]].pages[pos / KERN_PAGE_TOKENS];
    s->kern->kv_store(&s->m->kv[l->index], page, pos % KERN_PAGE_TOKENS, k, w->v + (size_t)r * w->v_stride);
}

/* The run that item belongs to. */
static int run_of_item(const struct step *s, int item)
{
    int lo = 0, hi = s->b->run_count; /* run_items[lo] <= item < run_items[hi] */
    while (hi - lo > 1) {
        int mid = lo + (hi - lo) / 2;
        if (s->w->run_items[mid] <= item)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static void attend(const struct step *s, const struct layer *l, int item)
{
    const struct model_dims *d = s->d;
    struct model_work *w = s->w;
    int i = run_of_item(s, item);
    const struct model_run *run = &s->b->runs[i];
    item -= w->run_items[i];
    int first = item / d->kv_heads * w->q_chunk, rows = run->rows - first;
    size_t row = (size_t)w->run_first[i] + (size_t)first;
    struct kern_attn op = {
        .kv = &s->m->kv[l->index], .pages = run->pages, .q = w->q + row * w->q_stride, .q_stride = w->q_stride,
        .out = w->attn + row * w->o_stride, .out_stride = w->o_stride, .n_q = rows < w->q_chunk ? rows : w->q_chunk,
        .pos_first = run->pos_first + first, .heads = d->heads, .scale = d->attn_scale, .softcap = d->attn_softcap,
        .sinks = l->sinks, .window = l->window,
    };
    s->kern->attn(&op, item % d->kv_heads, w->scratch + (size_t)s->team->rank * w->scratch_bytes);
}

void step_attention(struct step *s, const struct layer *l, enum norm_span span)
{
    struct model_work *w = s->w;
    const struct product qkv[] = {
        { &l->q, l->q_bias, w->q, w->q_stride },
        { &l->k, l->k_bias, w->k, w->k_stride },
        { &l->v, l->v_bias, w->v, w->v_stride },
    };
    struct operand h = step_operand(s, w->h, w->d_stride, s->d->dim);
    step_products(s, qkv, 3, &h);
    team_barrier(s->team);
    for (int r = s->row_first; r < s->row_end; r++)
        place_row(s, l, span, r);
    team_barrier(s->team);
    for (int item; (item = team_next(s->team, w->run_items[s->b->run_count])) >= 0;)
        attend(s, l, item);
    team_barrier(s->team);
    if (!kern_type_is_float(l->o.type)) {
        step_quantize_rows(s, &l->o, w->attn, w->o_stride);
        team_barrier(s->team);
    }
    const struct product out = { &l->o, l->o_bias, w->y, w->d_stride };
    struct operand heads = step_operand(s, w->attn, w->o_stride, l->o.cols);
    step_products(s, &out, 1, &heads);
    team_barrier(s->team);
}
