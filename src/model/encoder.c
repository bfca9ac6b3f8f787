/* encoder -- what BERT and its relatives share: keys, embeddings, the classification head (docs/models/bert.md).
 *
 * An encoder sees a whole text at once and has no memory between steps: a layer's keys and values live in pages that
 * the caller lends for the call, and every layer overwrites the one before. */
#include "model/encoder.h"

#include "base/assert.h"

#include <string.h>

/* A tensor's rows, 0 when the file has none of that name. */
static enum err_code rows_of(const struct keys *k, const char *name, int max, int *out, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_find(k->f, name);
    *out = t && t->ne[1] <= (uint64_t)max ? (int)t->ne[1] : 0;
    if (t && !*out)
        return err_set(e, ERR_LIMIT, "%s: tensor '%s' has %llu rows; at most %d are taken", gguf_name(k->f), name,
                       (unsigned long long)t->ne[1], max);
    return ERR_OK;
}

enum err_code encoder_keys(const struct keys *k, struct model_dims *d, struct err *e)
{
    bool causal;
    int outs, most = d->dim < MODEL_LABELS_MAX ? MODEL_LABELS_MAX : d->dim;
    enum err_code c;
    if ((c = keys_bool_or(k, "attention.causal", false, &causal, e)) ||
        (c = rows_of(k, "token_types.weight", MODEL_SEGMENTS_MAX, &d->segments, e)) ||
        (c = rows_of(k, "cls.weight", most, &d->head_rows, e)) ||
        (c = rows_of(k, "cls.output.weight", MODEL_LABELS_MAX, &outs, e)))
        return c;
    if (causal)
        return err_set(e, ERR_UNSUPPORTED, "%s: an encoder whose tokens see only those before them is not supported",
                       gguf_name(k->f));
    d->labels = outs ? outs : d->head_rows;
    if (d->head_rows > d->dim || d->labels > MODEL_LABELS_MAX)
        return err_set(e, ERR_UNSUPPORTED, "%s: a classification head of %d and %d rows is not supported",
                       gguf_name(k->f), d->head_rows, d->labels);
    return ERR_OK;
}

void encoder_embed_row(const struct step *s, int row, float *x)
{
    const struct model *m = s->m;
    size_t dim = (size_t)s->d->dim;
    int segment = s->b->segments ? s->b->segments[row] : 0;
    if (m->segment_embd) {
        ASSERT(segment < s->d->segments);
        s->kern->add(x, m->segment_embd + (size_t)segment * dim, s->d->dim);
    }
    if (m->pos_embd)
        s->kern->add(x, m->pos_embd + (size_t)s->w->row_pos[row] * dim, s->d->dim);
    s->kern->layer_norm(x, x, m->embd_norm, m->embd_norm_bias, s->d->dim, s->d->eps);
}

void encoder_layer(struct step *s, const struct layer *l, enum activation act)
{
    step_norm(s, NULL);
    step_attention(s, l, NORM_HEADS);
    step_add_norm(s, l->attn_out_norm, l->attn_out_norm_bias);
    step_norm(s, NULL);
    step_ffn(s, l, act);
    step_add_norm(s, l->out_norm, l->out_norm_bias);
}

/* y = W x + bias for one row. */
static void multiply(const struct model *m, struct model_work *w, const struct kern_matrix *of, const float *bias,
                     const float *x, float *y)
{
    struct kern_matmul op = { .w = of, .x = x, .n = 1, .y = y, .y_stride = (size_t)of->rows, .bias = bias };
    if (!kern_type_is_float(of->type)) {
        m->kern->quantize_q8(x, w->q8, of->cols);
        op.x = w->q8;
    }
    m->kern->matmul(&op, 0, of->panels);
}

void model_rank(const struct model *m, struct model_work *w, int row, float *out)
{
    const float *x = model_state(m, w, row);
    ASSERT(m->d.labels > 0);
    if (m->d.head_rows) {
        float *mid = m->head_out.panels ? w->h : out;
        multiply(m, w, &m->head, m->head_bias, x, mid);
        for (int i = 0; i < m->d.head_rows; i++)
            mid[i] = kern_tanhf(mid[i]);
        x = mid;
    }
    if (m->head_out.panels)
        multiply(m, w, &m->head_out, m->head_out_bias, x, out);
}
