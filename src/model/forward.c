/* forward -- one step of the model: tokens in, logits of the wanted rows out.
 *
 * The calling thread lays out the batch (which row is whose, at which position), then every thread of the pool runs
 * the whole step together: embed, layers, output. Of a model in parts the first one embeds and runs its layers, waits
 * for the rest of them, then makes the output. A part ends where a layer ends, with x += y: what the next norm would
 * have done first, so no bit changes. */
#include "model/lora.h"
#include "model/step.h"

#include "base/assert.h"

#include <string.h>

void step_add(struct step *s, const float *post_norm)
{
    s->post_norm = post_norm;
}

void step_add_norm(struct step *s, const float *weight, const float *bias)
{
    s->sum_norm = weight;
    s->sum_norm_bias = bias;
}

/* x += y for one row, y completed and normed first where that is wanted. */
static void settle_row(const struct step *s, int row)
{
    float *x = s->w->x + (size_t)row * s->w->d_stride, *y = s->w->y + (size_t)row * s->w->d_stride;
    if (s->complete_row)
        s->complete_row(s, row);
    if (s->post_norm)
        s->kern->rms_norm(y, y, s->post_norm, s->d->dim, s->d->eps);
    if (s->d->residual_scale == 1.0f)
        s->kern->add(x, y, s->d->dim);
    else
        s->kern->add_scaled(x, y, s->d->residual_scale, s->d->dim);
    if (s->sum_norm)
        s->kern->layer_norm(x, x, s->sum_norm, s->sum_norm_bias, s->d->dim, s->d->eps);
}

static void norm_row(const struct step *s, float *h, const float *x, const float *weight)
{
    if (weight)
        s->kern->rms_norm(h, x, weight, s->d->dim, s->d->eps);
    else
        memcpy(h, x, (size_t)s->d->dim * sizeof *h);
}

/* The int8 form is made whenever the model has an int matrix: which of the next ones is one costs more to know. */
static void quantize_h(const struct step *s, int r)
{
    int dim = s->d->dim;
    if (s->m->int_weights && dim % KERN_ACT_BLOCK == 0)
        s->kern->quantize_q8(s->w->h + (size_t)r * s->w->d_stride, s->w->q8 + (size_t)r * kern_q8_stride(dim), dim);
}

static void start_row(const struct step *s, const void *weight, int r)
{
    size_t at = (size_t)r * s->w->d_stride;
    norm_row(s, s->w->h + at, s->w->x + at, weight);
    quantize_h(s, r);
}

static void settle_and_start_row(const struct step *s, const void *weight, int r)
{
    settle_row(s, r);
    start_row(s, weight, r);
}

static void settled(struct step *s)
{
    s->deferred = NULL;
    s->complete_row = NULL;
    s->post_norm = s->sum_norm = NULL;
}

void step_norm(struct step *s, const float *weight)
{
    int rows = s->b->rows, first, end;
    if (s->over)
        return;
    if (s->deferred) {
        step_finish(s, s->deferred(s), rows, settle_and_start_row, weight);
        settled(s);
        return;
    }
    team_slice(s->team, rows, &first, &end); /* the first of a step: each thread embedded these rows */
    for (int r = first; r < end; r++)
        start_row(s, weight, r);
    team_barrier(s->team);
}

static void rotations(const struct step *s, int r)
{
    const struct model_work *w = s->w;
    size_t n_rot = (size_t)s->d->rope.n_rot, rows_max = (size_t)w->rows_max;
    for (int i = 0; i < s->m->rope_count; i++)
        rope_fill(&s->m->ropes[i], w->row_pos[r], w->cos_sin + ((size_t)i * rows_max + (size_t)r) * n_rot);
}

/* Embeddings and rotations of this thread's rows. */
static void embed(struct step *s)
{
    struct model_work *w = s->w;
    int first, end;
    team_slice(s->team, s->b->rows, &first, &end);
    for (int r = first; r < end; r++) {
        float *x = w->x + (size_t)r * w->d_stride;
        kern_matrix_row(&s->m->token_embd, s->b->tokens[r], x);
        if (s->d->embed_scale != 1.0f)
            s->kern->scale(x, s->d->embed_scale, s->d->dim);
        if (s->m->arch->encoder)
            encoder_embed_row(s, r, x);
        rotations(s, r);
    }
}

/* One chunk of logits: scaled and capped while it is in the cache. */
static void logits_chunk(const struct step *s, const struct operand *h, int first, int end)
{
    struct model_work *w = s->w;
    const struct model_dims *d = s->d;
    const struct product out = { &s->m->output, s->m->output_bias, w->logits, (size_t)d->vocab };
    step_multiply(s, &out, h, first, end, 0, h->n);
    int col = first * KERN_PANEL_ROWS, last = end * KERN_PANEL_ROWS;
    int n = (last < d->vocab ? last : d->vocab) - col;
    for (int j = 0; j < h->n; j++) {
        float *y = w->logits + (size_t)j * (size_t)d->vocab + col;
        if (d->logit_scale != 1.0f)
            s->kern->scale(y, d->logit_scale, n);
        if (d->logit_softcap > 0)
            s->kern->softcap(y, d->logit_softcap, n);
    }
}

/* Wanted row j: settled unless it is, normed, and laid at place j of h; a wanted state stays at its row of y. */
static void wanted_row(const struct step *s, const void *settled_already, int j)
{
    int logits = s->b->logit_count, r = j < logits ? s->b->logit_rows[j] : s->b->state_rows[j - logits];
    if (!settled_already)
        settle_row(s, r);
    if (j >= logits) {
        size_t at = (size_t)r * s->w->d_stride;
        norm_row(s, s->w->y + at, s->w->x + at, s->m->output_norm);
        return;
    }
    norm_row(s, s->w->h + (size_t)j * s->w->d_stride, s->w->x + (size_t)r * s->w->d_stride, s->m->output_norm);
    quantize_h(s, j);
}

/* The output matrix for the rows whose logits are wanted. */
static void multiply_output(struct step *s)
{
    struct model_work *w = s->w;
    int logits = s->b->logit_count, panels = s->m->output.panels;
    if (!logits)
        return;
    struct operand h = step_operand(s, w->h, w->d_stride, s->d->dim);
    h.n = logits;
    struct cut cut = step_cut(s, panels, 1);
    for (int at; (at = team_next(s->team, (panels + cut.panels - 1) / cut.panels)) >= 0;) {
        int p = at * cut.panels;
        logits_chunk(s, &h, p, p + cut.panels < panels ? p + cut.panels : panels);
    }
}

/* The last norm and the output matrix. */
static void output(struct step *s)
{
    int n = s->b->logit_count + s->b->state_count;
    bool last = s->deferred(s);
    if (s->b->rows != n) { /* the product counted its chunks for other rows than these */
        step_finish(s, last, s->b->rows, NULL, NULL);
        last = s->team->rank == 0;
    }
    step_finish(s, last, n, wanted_row, NULL);
    settled(s);
    multiply_output(s);
}

/* The same for rows that are settled. */
static void output_settled(struct step *s)
{
    static const char yes;
    int n = s->b->logit_count + s->b->state_count, first, end;
    team_slice(s->team, n, &first, &end);
    for (int j = first; j < end; j++)
        wanted_row(s, &yes, j);
    team_barrier(s->team);
    multiply_output(s);
}

struct forward {
    const struct model *m;
    struct model_work *w;
    const struct model_batch *b;
    float *x;              /* model_forward_part's */
};

static struct step begin(struct team *t, const struct forward *f)
{
    return (struct step){ .team = t, .m = f->m, .kern = f->m->kern, .d = &f->m->d, .w = f->w, .b = f->b };
}

static void layers(struct step *s)
{
    for (int i = s->m->part.first; i < s->m->part.end; i++)
        s->m->arch->layer(s, &s->m->layers[i]);
}

static void settle_any_row(const struct step *s, const void *arg, int row)
{
    (void)arg;
    settle_row(s, row);
}

/* x of every row is what the next layer begins with. */
static void settle(struct step *s)
{
    step_finish(s, s->deferred(s), s->b->rows, settle_any_row, NULL);
    settled(s);
}

static void run_step(struct team *t, void *arg)
{
    struct step s = begin(t, arg);
    embed(&s);
    layers(&s);
    if (s.w->rest.run)
        settle(&s);
    else if (s.b->logit_count || s.b->state_count)
        output(&s); /* else nobody wants what the last block put off */
}

static void run_output(struct team *t, void *arg)
{
    struct step s = begin(t, arg);
    output_settled(&s);
}

static void run_part(struct team *t, void *arg)
{
    const struct forward *f = arg;
    struct step s = begin(t, f);
    size_t dim = (size_t)s.d->dim;
    int first, end;
    team_slice(t, s.b->rows, &first, &end);
    for (int r = first; r < end; r++) {
        memcpy(s.w->x + (size_t)r * s.w->d_stride, f->x + (size_t)r * dim, dim * sizeof *f->x);
        rotations(&s, r);
    }
    layers(&s);
    if (s.m->part.end == s.d->layers && !s.b->logit_count && !s.b->state_count)
        return;
    settle(&s);
    for (int r = first; r < end; r++)
        memcpy(f->x + (size_t)r * dim, s.w->x + (size_t)r * s.w->d_stride, dim * sizeof *f->x);
}

/* Rows to runs, runs to attention items. */
static void lay_out(const struct model *m, struct model_work *w, const struct model_batch *b)
{
    int kv_heads = m->d.kv_heads, row = 0, items = 0;
    int chunk = b->rows * kv_heads / (2 * w->threads);
    w->q_chunk = chunk < 4 ? 4 : chunk > WORK_Q_CHUNK_MAX ? WORK_Q_CHUNK_MAX : chunk;
    for (int i = 0; i < b->run_count; i++) {
        const struct model_run *run = &b->runs[i];
        ASSERT(run->rows >= 1 && run->rows <= b->rows - row && run->pos_first >= 0);
        ASSERT(run->pos_first <= m->ctx - run->rows && (!run->pos_first || !m->arch->encoder));
        w->run_first[i] = row;
        w->run_items[i] = items;
        items += (run->rows + w->q_chunk - 1) / w->q_chunk * kv_heads;
        for (int k = 0; k < run->rows; k++, row++) {
            w->row_run[row] = i;
            w->row_pos[row] = run->pos_first + k;
            ASSERT(m->part.first || (b->tokens[row] >= 0 && b->tokens[row] < m->d.vocab));
        }
    }
    ASSERT(row == b->rows);
    w->run_items[b->run_count] = items;
    lora_lay_out(w, b);
}

const float *model_forward(const struct model *m, struct model_work *w, const struct model_batch *b)
{
    ASSERT(b->rows >= 1 && b->rows <= w->rows_max && b->logit_count >= 0 && b->logit_count <= w->logit_rows_max);
    for (int j = 0; j < b->logit_count; j++)
        ASSERT(b->logit_rows[j] >= (j ? b->logit_rows[j - 1] + 1 : 0) && b->logit_rows[j] < b->rows);
    for (int j = 0; j < b->state_count; j++)
        ASSERT(b->state_rows[j] >= (j ? b->state_rows[j - 1] + 1 : 0) && b->state_rows[j] < b->rows);
    ASSERT(!m->part.first && (m->part.end == m->d.layers) == !w->rest.run);
    lay_out(m, w, b);
    struct forward f = { m, w, b, NULL };
    pool_run(w->pool, run_step, &f);
    if (w->rest.run) {
        w->rest.run(w->rest.arg, b, w->x, w->d_stride);
        if (b->logit_count || b->state_count)
            pool_run(w->pool, run_output, &f);
    }
    return w->logits;
}

void model_forward_part(const struct model *m, struct model_work *w, const struct model_batch *b, float *x)
{
    ASSERT(m->part.first && b->rows >= 1 && b->rows <= w->rows_max);
    lay_out(m, w, b);
    struct forward f = { m, w, b, x };
    pool_run(w->pool, run_part, &f);
}

void model_work_set_rest(struct model_work *w, const struct model_rest *rest)
{
    w->rest = *rest;
}

const float *model_state(const struct model *m, const struct model_work *w, int row)
{
    ASSERT(row >= 0 && row < w->rows_max);
    return w->y + (size_t)row * w->d_stride;
}
