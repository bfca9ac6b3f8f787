/* pooled -- texts that become vectors: the states of their rows, gathered as steps compute them, then told.
 *
 * A decoder's text is a prompt like any other, in chunks beside what others generate. An encoder's is one run of one
 * step, with nothing kept: its pages are those of the step. A mean is summed in double, row after row, so neither the
 * chunks nor the company change a bit of it. */
#include "sched/sched_impl.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

struct pooled {
    struct sched_pooling spec;
    float *vector;   /* [size] */
    double *sum;     /* [dim]; MODEL_POOL_MEAN */
    int size;
    int first_state; /* its first in the step's state_rows */
    int state_count;
};

struct pooled *sched_pooled_new(const struct sched *s, const struct sched_pooling *spec, int rows)
{
    const struct model_facts *f = model_facts(s->model);
    struct pooled *p = MEM_NEW(struct pooled);
    p->spec = *spec;
    ASSERT(!f->causal || spec->how == MODEL_POOL_MEAN || spec->how == MODEL_POOL_LAST);
    p->size = spec->how == MODEL_POOL_RANK ? f->labels : spec->how == MODEL_POOL_NONE ? rows * f->dim : f->dim;
    p->vector = mem_new((size_t)p->size, sizeof *p->vector);
    p->sum = spec->how == MODEL_POOL_MEAN ? mem_new((size_t)f->dim, sizeof *p->sum) : NULL;
    return p;
}

void sched_pooled_free(struct pooled *p)
{
    if (!p)
        return;
    mem_free(p->vector);
    mem_free(p->sum);
    mem_free(p);
}

bool sched_pooled_needs_all(const struct sched_seq *q)
{
    return q->pooled && q->pooled->spec.how != MODEL_POOL_LAST;
}

void sched_pooled_plan(struct sched *s, struct sched_seq *q, int rows)
{
    struct pooled *p = q->pooled;
    int pos = q->seq.computed, first = s->rows - rows, from = 0, end = rows;
    bool whole = pos + rows == q->seq.count;
    if (p->spec.how == MODEL_POOL_LAST)
        from = whole ? rows - 1 : rows;
    else if (p->spec.how == MODEL_POOL_CLS || p->spec.how == MODEL_POOL_RANK)
        end = pos ? 0 : 1;
    p->first_state = s->state_count;
    for (int i = from; i < end; i++)
        s->state_rows[s->state_count++] = first + i;
    p->state_count = s->state_count - p->first_state;
}

/* Position pos was the step's row `row`. */
static void take_state(struct sched *s, struct pooled *p, int row, int pos)
{
    int dim = model_facts(s->model)->dim;
    const float *state = model_state(s->model, s->work, row);
    switch (p->spec.how) {
    case MODEL_POOL_MEAN:
        for (int i = 0; i < dim; i++)
            p->sum[i] = (pos ? p->sum[i] : 0) + (double)state[i];
        return;
    case MODEL_POOL_RANK:
        model_rank(s->model, s->work, row, p->vector);
        return;
    case MODEL_POOL_NONE:
        memcpy(p->vector + (size_t)pos * (size_t)dim, state, (size_t)dim * sizeof *state);
        return;
    default:
        memcpy(p->vector, state, (size_t)dim * sizeof *state);
    }
}

static void tell(struct sched *s, struct sched_seq *q)
{
    struct pooled *p = q->pooled;
    for (int i = 0; p->sum && i < p->size; i++)
        p->vector[i] = (float)(p->sum[i] / q->seq.count);
    q->events->vector(q->user, p->vector, p->size);
    sched_finish(s, q, INFER_STOP);
}

void sched_pool_all(struct sched *s)
{
    int row = 0; /* the first of the run's */
    for (int i = 0; i < s->run_count; i++) {
        struct sched_seq *q = s->members[i];
        const struct model_run run = s->runs[i];
        for (int j = 0; q->pooled && j < q->pooled->state_count; j++) {
            int at = s->state_rows[q->pooled->first_state + j];
            take_state(s, q->pooled, at, run.pos_first + at - row);
        }
        row += run.rows;
        if (q->pooled && run.pos_first + run.rows == q->seq.count)
            tell(s, q);
    }
}

/* ---- an encoder's steps */

size_t sched_text_pages(const struct model *m, struct sched_options *o)
{
    int ctx = model_ctx(m);
    o->batch_rows = o->batch_rows > ctx ? o->batch_rows : ctx;
    o->draft_rows = 0;
    return (size_t)o->batch_rows / KERN_PAGE_TOKENS + 1 + (size_t)o->running_max;
}

static void plan_text(struct sched *s, struct sched_seq *q)
{
    int n = q->seq.count, second = q->pooled->spec.second;
    bool fits = seq_reserve(&q->seq, n);
    ASSERT(fits); /* sched_text_pages */
    sched_list_remove(&s->waiting, q);
    q->state = RUNNING;
    order_run(s->order, &q->seat, true);
    sched_list_insert(&s->running, q, order_keeps);
    q->started = true;
    s->stats.prompt_tokens += n;
    q->events->start(q->user, 0);
    memcpy(s->tokens + s->rows, q->seq.tokens, (size_t)n * sizeof *s->tokens);
    for (int i = 0; i < n; i++)
        s->segments[s->rows + i] = second && i >= second;
    s->runs[s->run_count] = (struct model_run){ .rows = n, .pages = q->seq.page_at, .adapter = q->adapter };
    s->members[s->run_count++] = q;
    s->rows += n;
    q->rows = n;
    s->load.prefill += n;
    sched_pooled_plan(s, q, n);
    order_computed(s->order, &q->seat, n, n);
}

void sched_plan_texts(struct sched *s)
{
    s->rows = s->run_count = s->drawing_count = s->logit_count = s->state_count = 0;
    s->load = (struct steptime_load){ .prefill = 0 };
    sched_list_sort(&s->waiting, order_first);
    for (struct sched_seq *q = s->waiting.head, *next; q && s->run_count < s->o.running_max; q = next) {
        next = q->next;
        if (q->paused)
            continue;
        if (s->rows && s->rows + q->seq.count > s->text_rows)
            return; /* it is the next step's first */
        plan_text(s, q);
    }
}
