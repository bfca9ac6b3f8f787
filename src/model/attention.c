/* attention -- the attention block of a layer: h -> q, k, v -> pages -> heads -> y.
 *
 *   phase 1  q, k, v = W h + b; row work: norm and rotate q and k, store k and v in their pages
 *            (in the last layer only wanted rows go on: tail.c)
 *   phase 2  heads over pages, an item being a few queries of one run against one key/value head, and at once the int8
 *            form of what came out where W_o wants it (as row work, if a group of heads is not whole blocks)
 *   put off  y = W_o heads + b_o
 * Attention: Vaswani et al., 2017; grouped heads: Ainslie et al., 2023. */
#include "model/lora.h"
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

struct placing {
    const struct layer *l;
    enum norm_span span;
};

static void place_row(const struct step *s, const void *arg, int r)
{
    const struct placing *p = arg;
    const struct layer *l = p->l;
    const struct model_dims *d = s->d;
    struct model_work *w = s->w;
    float *q = w->q + (size_t)r * w->q_stride, *k = w->k + (size_t)r * w->k_stride;
    norm_row(s, q, l->q_norm, d->heads, d->k_dim, p->span);
    norm_row(s, k, l->k_norm, d->kv_heads, d->k_dim, p->span);
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

/* Values that an item makes for a row: those of a group of heads. */
static int group_values(const struct model_dims *d)
{
    return d->heads / d->kv_heads * d->v_dim;
}

static bool group_is_blocks(const struct step *s, const struct layer *l)
{
    return !kern_type_is_float(l->o.type) && group_values(s->d) % KERN_ACT_BLOCK == 0;
}

static void quantize_group(const struct step *s, const struct layer *l, int kv_head, size_t row, int rows)
{
    struct model_work *w = s->w;
    int n = group_values(s->d);
    const float *heads = w->attn + row * w->o_stride + kv_head * n;
    size_t stride = kern_q8_stride(l->o.cols);
    unsigned char *out = w->q8 + row * stride + (size_t)kv_head * kern_q8_bytes(n);
    for (int r = 0; r < rows; r++)
        s->kern->quantize_q8(heads + (size_t)r * w->o_stride, out + (size_t)r * stride, n);
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
        .sinks = l->sinks, .window = l->window, .whole = s->m->arch->encoder,
    };
    if (op.whole)
        op.pos_first = run->rows - 1;
    s->kern->attn(&op, item % d->kv_heads, w->scratch + (size_t)s->team->rank * w->scratch_bytes);
    if (group_is_blocks(s, l))
        quantize_group(s, l, item % d->kv_heads, row, op.n_q);
}

static void quantize_heads(const struct step *s, const void *arg, int r)
{
    const struct layer *l = arg;
    step_quantize_row(s, &l->o, s->w->attn, s->w->o_stride, r);
}

static bool multiply_heads(struct step *s)
{
    struct model_work *w = s->w;
    const struct layer *l = s->deferred_layer;
    const struct product out = { &l->o, l->o_bias, w->y, w->d_stride };
    struct operand heads = step_operand(s, w->attn, w->o_stride, l->o.cols);
    bool last = step_products(s, &out, 1, &heads, s->b->rows);
    return step_adapt(s, l, &(const struct adapted){ LORA_O, w->y, w->d_stride }, 1, &heads, last);
}

void step_attention(struct step *s, const struct layer *l, enum norm_span span)
{
    struct model_work *w = s->w;
    const struct product qkv[] = {
        { &l->q, l->q_bias, w->q, w->q_stride },
        { &l->k, l->k_bias, w->k, w->k_stride },
        { &l->v, l->v_bias, w->v, w->v_stride },
    };
    const struct placing placing = { l, span };
    struct operand h = step_operand(s, w->h, w->d_stride, s->d->dim);
    const struct adapted adapted[] = {
        { LORA_Q, w->q, w->q_stride }, { LORA_K, w->k, w->k_stride }, { LORA_V, w->v, w->v_stride },
    };
    bool last = step_products(s, qkv, 3, &h, s->b->rows);
    last = step_adapt(s, l, adapted, 3, &h, last);
    step_finish(s, last, s->b->rows, place_row, &placing);
    step_keep_wanted(s, l);
    if (s->over)
        return;
    int rows = s->b->rows, items = w->run_items[s->b->run_count];
    last = false;
    for (int item; (item = team_next(s->team, items)) >= 0;) {
        attend(s, l, item);
        last |= step_chunk_done(s, items, rows);
    }
    step_finish(s, last, rows, kern_type_is_float(l->o.type) || group_is_blocks(s, l) ? NULL : quantize_heads, l);
    s->deferred = multiply_heads;
    s->deferred_layer = l;
}
