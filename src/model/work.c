/* work -- see work.h. The same carving runs twice: without a block to learn the size, then with one. */
#include "model/work.h"

#include "model/lora.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

enum { ALIGN = 64, ALIGN_FLOATS = 16 };

struct carver {
    unsigned char *block; /* NULL while measuring */
    size_t at;
};

static void *carve(struct carver *c, size_t count, size_t size)
{
    size_t bytes = count * size, at = c->at;
    c->at += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return c->block ? c->block + at : NULL;
}

/* An odd number of lines: where rows lie a power of two apart, the same column of all of them shares one set of the
 * caches. */
static size_t stride(size_t floats)
{
    size_t lines = (floats + ALIGN_FLOATS - 1) / ALIGN_FLOATS;
    return (lines | 1) * ALIGN_FLOATS;
}

static size_t q8_row(size_t cols)
{
    return cols % KERN_ACT_BLOCK ? 0 : kern_q8_stride((int)cols);
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void carve_experts(struct model_work *w, const struct model_dims *d, struct carver *c)
{
    size_t rows = (size_t)w->rows_max, slots = rows * (size_t)d->experts_used, experts = (size_t)d->experts;
    w->f_stride = stride((size_t)d->expert_ffn);
    w->gate = carve(c, slots * w->f_stride, sizeof(float));
    w->up = carve(c, slots * w->f_stride, sizeof(float));
    w->down = carve(c, slots * w->d_stride, sizeof(float));
    w->slot_q8_bytes = q8_row((size_t)d->expert_ffn);
    w->slot_q8 = carve(c, slots, w->slot_q8_bytes);
    w->router = carve(c, rows * experts, sizeof(float));
    w->expert_ids = carve(c, slots, sizeof(int32_t));
    w->expert_weights = carve(c, slots, sizeof(float));
    w->slot_of = carve(c, slots, sizeof(int32_t));
    w->slot_row = carve(c, slots, sizeof(int32_t));
    w->expert_first = carve(c, experts + 1, sizeof(int32_t));
    w->active = carve(c, experts, sizeof(int32_t));
}

static void carve_all(struct model_work *w, const struct model *m, struct carver *c)
{
    const struct model_dims *d = &m->d;
    size_t rows = (size_t)w->rows_max;
    w->d_stride = stride((size_t)d->dim);
    w->q_stride = stride(dim_value(d, DIM_Q));
    w->k_stride = stride(dim_value(d, DIM_K));
    w->v_stride = stride(dim_value(d, DIM_V));
    w->o_stride = stride(dim_value(d, DIM_O));
    w->x = carve(c, rows * w->d_stride, sizeof(float));
    w->h = carve(c, rows * w->d_stride, sizeof(float));
    w->y = carve(c, rows * w->d_stride, sizeof(float));
    w->q = carve(c, rows * w->q_stride, sizeof(float));
    w->k = carve(c, rows * w->k_stride, sizeof(float));
    w->v = carve(c, rows * w->v_stride, sizeof(float));
    w->attn = carve(c, rows * w->o_stride, sizeof(float));
    w->q8_bytes = max_size(q8_row((size_t)d->dim), q8_row(dim_value(d, DIM_O)));
    if (d->experts) {
        carve_experts(w, d, c);
    } else {
        w->f_stride = stride((size_t)d->ffn);
        w->gate = carve(c, rows * w->f_stride, sizeof(float));
        w->up = carve(c, rows * w->f_stride, sizeof(float));
        w->q8_bytes = max_size(w->q8_bytes, q8_row((size_t)d->ffn));
    }
    w->q8 = carve(c, rows, m->int_weights ? w->q8_bytes : 0);
    w->cos_sin = carve(c, (size_t)m->rope_count * rows * (size_t)d->rope.n_rot, sizeof(float));
    w->logits = carve(c, (size_t)w->logit_rows_max * (size_t)d->vocab, sizeof(float));
    w->scratch_bytes = (kern_attn_scratch_bytes(&m->kv[0], d->heads, WORK_Q_CHUNK_MAX) + ALIGN - 1) / ALIGN * ALIGN;
    w->scratch = carve(c, (size_t)w->threads, w->scratch_bytes);
    w->row_pos = carve(c, rows, sizeof(int32_t));
    w->row_run = carve(c, rows, sizeof(int32_t));
    w->run_first = carve(c, rows + 1, sizeof(int32_t));
    w->run_items = carve(c, rows + 1, sizeof(int32_t));
    w->tail_runs = carve(c, (size_t)w->logit_rows_max, sizeof *w->tail_runs);
    w->tail_rows = carve(c, (size_t)w->logit_rows_max, sizeof(int32_t));
}

size_t work_measure(const struct model *m, int threads, int rows_max, int logit_rows_max)
{
    struct model_work w = { .threads = threads, .rows_max = rows_max, .logit_rows_max = logit_rows_max };
    struct carver c = { NULL, 0 };
    carve_all(&w, m, &c);
    return c.at;
}

struct model_work *model_work_new(const struct model *m, struct pool *pool, int rows_max, int logit_rows_max)
{
    ASSERT(rows_max >= 1 && logit_rows_max >= 0);
    struct model_work *w = mem_aligned(sizeof *w);
    w->pool = pool;
    w->threads = pool_threads(pool);
    w->rows_max = rows_max;
    w->logit_rows_max = logit_rows_max;
    w->bytes = work_measure(m, w->threads, rows_max, logit_rows_max);
    w->block = mem_aligned(w->bytes);
    struct carver c = { w->block, 0 };
    carve_all(w, m, &c);
    return w;
}

void model_work_free(struct model_work *w)
{
    if (!w)
        return;
    lora_work_free(w);
    mem_aligned_free(w->block, w->bytes);
    mem_aligned_free(w, sizeof *w);
}

size_t model_work_bytes(const struct model_work *w)
{
    return w->bytes;
}
