/* tail -- the last layer goes on with the rows whose logits are wanted: of the others nobody reads more than the keys
 * and values, and those are stored.
 *
 * The wanted rows move to the front and become a batch of their own, so that what follows need not know. A row's result
 * does not depend on the rows beside it: no bit changes. Saves a prompt the greater part of a layer. */
#include "model/step.h"

#include <string.h>

enum { SPARED_MIN = 8 }; /* rows: fewer are not worth a barrier */

static void keep_row(const struct step *s, int to, int from)
{
    struct model_work *w = s->w;
    if (to == from)
        return;
    memcpy(w->x + (size_t)to * w->d_stride, w->x + (size_t)from * w->d_stride, (size_t)s->d->dim * sizeof *w->x);
    memcpy(w->q + (size_t)to * w->q_stride, w->q + (size_t)from * w->q_stride, w->q_stride * sizeof *w->q);
}

/* Wanted rows ascend, so none is written before it was read. */
static void gather(const struct step *s)
{
    struct model_work *w = s->w;
    const struct model_batch *b = s->b;
    int runs = 0, items = 0, run_before = -1, row_before = -1;
    for (int j = 0; j < b->logit_count; j++) {
        int row = b->logit_rows[j], run = w->row_run[row];
        keep_row(s, j, row);
        w->tail_rows[j] = j;
        if (run == run_before && row == row_before + 1) {
            w->tail_runs[runs - 1].rows++;
        } else {
            w->run_first[runs] = j;
            w->tail_runs[runs++] = (struct model_run){ .rows = 1, .pos_first = w->row_pos[row],
                                                       .pages = b->runs[run].pages };
        }
        run_before = run;
        row_before = row;
    }
    for (int i = 0; i < runs; i++) {
        w->run_items[i] = items;
        items += (w->tail_runs[i].rows + w->q_chunk - 1) / w->q_chunk * s->d->kv_heads;
    }
    w->run_items[runs] = items;
    w->tail = (struct model_batch){ .rows = b->logit_count, .runs = w->tail_runs, .run_count = runs,
                                    .logit_rows = w->tail_rows, .logit_count = b->logit_count };
}

void step_keep_wanted(struct step *s, const struct layer *l)
{
    const struct model_batch *b = s->b;
    bool whole = !s->m->part.first && s->m->part.end == s->d->layers; /* a part hands every row on */
    bool plain = whole && !s->m->arch->encoder && !b->state_count && !step_adapts(s);
    if (l->index != s->d->layers - 1 || !plain || b->rows - b->logit_count < SPARED_MIN)
        return;
    if (!b->logit_count) {
        s->over = true;
        return;
    }
    if (s->team->rank == 0)
        gather(s);
    team_barrier(s->team);
    s->b = &s->w->tail;
}
