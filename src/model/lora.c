/* lora -- y += scale B (A x) for the rows that have an adapter, after the products that y came from.
 *
 *   phase 1  low = A x, an item being a product, a group and a few of its rows
 *   phase 2  y += scale B low, an item being in addition a few columns
 * A product of float32 rows, so what a row gets does not depend on the group's size; added in one fmaf per output.
 * In a batch without adapters all of this is one comparison. */
#include "model/lora.h"
#include "model/step.h"

#include "base/assert.h"
#include "base/mem.h"

void model_work_allow_adapters(struct model_work *w, int rank_max)
{
    enum { ALIGN_FLOATS = 16 };
    ASSERT(!w->lora && rank_max >= 1 && rank_max <= MODEL_RANK_MAX);
    struct lora_work *l = MEM_NEW(struct lora_work);
    size_t rows = (size_t)w->rows_max;
    l->rank_max = rank_max;
    l->low_stride = ((size_t)rank_max + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    size_t low = LORA_TOGETHER * rows * l->low_stride, part = (size_t)w->threads * LORA_ROWS * LORA_COLS;
    l->bytes = (low + part) * sizeof(float) + rows * sizeof(int32_t);
    l->block = mem_aligned(l->bytes);
    l->low = l->block;
    l->part = l->low + low;
    l->rows = (int32_t *)(void *)(l->part + part);
    w->lora = l;
    w->bytes += l->bytes;
}

void lora_work_free(struct model_work *w)
{
    if (!w->lora)
        return;
    w->bytes -= w->lora->bytes;
    mem_aligned_free(w->lora->block, w->lora->bytes);
    mem_free(w->lora);
}

static struct lora_group *group_of(struct lora_work *l, const struct model_adapter *a)
{
    for (int i = 0; i < l->group_count; i++)
        if (l->groups[i].adapter == a)
            return &l->groups[i];
    ASSERT(l->group_count < MODEL_ADAPTERS_MAX && a->facts.rank <= l->rank_max);
    l->groups[l->group_count] = (struct lora_group){ .adapter = a };
    return &l->groups[l->group_count++];
}

void lora_lay_out(struct model_work *w, const struct model_batch *b)
{
    struct lora_work *l = w->lora;
    if (l)
        l->group_count = 0;
    for (int i = 0; i < b->run_count; i++)
        if (b->runs[i].adapter) {
            ASSERT(l);
            group_of(l, b->runs[i].adapter)->count += b->runs[i].rows;
        }
    for (int g = 0, first = 0; l && g < l->group_count; g++) {
        l->groups[g].first = first;
        first += l->groups[g].count;
        l->groups[g].count = 0;
    }
    for (int i = 0; i < b->run_count; i++) {
        if (!b->runs[i].adapter)
            continue;
        struct lora_group *g = group_of(l, b->runs[i].adapter);
        for (int k = 0; k < b->runs[i].rows; k++)
            l->rows[g->first + g->count++] = w->run_first[i] + k;
    }
}

/* ---- a phase's items, numbered product after product, group after group */

struct lora_item {
    int product, group;
    const struct lora_pair *pair;
    int first, end;         /* rows, in the group's list */
    int panel, panel_end;   /* phase 2 */
};

static int blocks(int n, int size)
{
    return (n + size - 1) / size;
}

static const struct lora_pair *pair_of(const struct lora_group *g, const struct layer *l, enum lora_slot slot)
{
    const struct lora_pair *p = &g->adapter->of[l->index].pairs[slot];
    return p->a.panels ? p : NULL;
}

/* Item number `at`, or the number of all items when it is -1. */
static int item_at(const struct lora_work *l, const struct layer *layer, const struct adapted *list, int count,
                   bool columns, int at, struct lora_item *out)
{
    enum { PANELS = LORA_COLS / KERN_PANEL_ROWS };
    int before = 0;
    for (int p = 0; p < count; p++)
        for (int g = 0; g < l->group_count; g++) {
            const struct lora_pair *pair = pair_of(&l->groups[g], layer, list[p].slot);
            if (!pair)
                continue;
            int cols = columns ? blocks(pair->b.panels, PANELS) : 1, rows = blocks(l->groups[g].count, LORA_ROWS);
            int i = at - before;
            before += cols * rows;
            if (at < 0 || at >= before)
                continue;
            int row = i / cols * LORA_ROWS, panel = i % cols * PANELS;
            *out = (struct lora_item){ p, g, pair, row, row + LORA_ROWS, panel, panel + PANELS };
            out->end = out->end < l->groups[g].count ? out->end : l->groups[g].count;
            out->panel_end = out->panel_end < pair->b.panels ? out->panel_end : pair->b.panels;
            return before;
        }
    return before;
}

static float *low_of(const struct step *s, const struct lora_item *it)
{
    const struct lora_work *l = s->w->lora;
    size_t row = (size_t)it->product * (size_t)s->w->rows_max + (size_t)(l->groups[it->group].first + it->first);
    return l->low + row * l->low_stride;
}

static void multiply_a(const struct step *s, const struct lora_item *it, const struct operand *x)
{
    const struct lora_work *l = s->w->lora;
    struct kern_matmul op = {
        .w = &it->pair->a, .x = x->f, .x_stride = x->f_stride * sizeof(float), .n = it->end - it->first,
        .x_rows = l->rows + l->groups[it->group].first + it->first, .y = low_of(s, it), .y_stride = l->low_stride,
    };
    s->kern->matmul(&op, 0, it->pair->a.panels);
}

static void add_b(const struct step *s, const struct lora_item *it, const struct adapted *to)
{
    const struct lora_work *l = s->w->lora;
    const struct kern_matrix *b = &it->pair->b;
    float *part = l->part + (size_t)s->team->rank * LORA_ROWS * LORA_COLS;
    int col = it->panel * KERN_PANEL_ROWS, end = it->panel_end * KERN_PANEL_ROWS;
    int n = (end < b->rows ? end : b->rows) - col;
    struct kern_matrix piece = *b;
    piece.rows = n;
    piece.panels = it->panel_end - it->panel;
    piece.data += (size_t)it->panel * b->panel_bytes;
    struct kern_matmul op = {
        .w = &piece, .x = low_of(s, it), .x_stride = l->low_stride * sizeof(float), .n = it->end - it->first,
        .y = part, .y_stride = LORA_COLS,
    };
    s->kern->matmul(&op, 0, piece.panels);
    for (int i = 0; i < op.n; i++) {
        size_t row = (size_t)l->rows[l->groups[it->group].first + it->first + i];
        s->kern->add_scaled(to->y + row * to->y_stride + col, part + (size_t)i * LORA_COLS, it->pair->scale, n);
    }
}

bool step_adapt(struct step *s, const struct layer *layer, const struct adapted *list, int count,
                const struct operand *x, bool last)
{
    const struct lora_work *l = s->w->lora;
    struct lora_item it = { 0 };
    int rows = s->b->rows, items;
    ASSERT(count <= LORA_TOGETHER);
    if (!step_adapts(s) || !(items = item_at(l, layer, list, count, false, -1, &it)))
        return last;
    step_finish(s, last, rows, NULL, NULL); /* what is added to is whole */
    for (int at; (at = team_next(s->team, items)) >= 0;) {
        item_at(l, layer, list, count, false, at, &it);
        multiply_a(s, &it, x);
    }
    team_barrier(s->team);
    items = item_at(l, layer, list, count, true, -1, &it);
    last = false;
    for (int at; (at = team_next(s->team, items)) >= 0;) {
        item_at(l, layer, list, count, true, at, &it);
        add_b(s, &it, &list[it.product]);
        last |= step_chunk_done(s, items, rows);
    }
    return last;
}

bool step_adapts(const struct step *s)
{
    return s->w->lora && s->w->lora->group_count;
}
