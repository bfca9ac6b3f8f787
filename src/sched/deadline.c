/* deadline -- what can be met: the promise made when a request with a deadline comes, and how it is kept.
 *
 * The promise counts on nothing but the sequences that go before others: those with deadlines, in their order, and
 * those of higher classes. Their prompts are computed one after the other, then they draw together, a token a step;
 * the step-time model says how long that takes, and MARGIN is added. While every deadline is far, all share the steps.
 * Once one comes near (HURRY), what stands behind it computes no prompts, and draws nothing unless it has a deadline
 * too, until it is far again. A model that has
 * seen no step promises everything. */
#include "sched/sched_impl.h"

#include "base/mem.h"

static const double MARGIN = 1.25, HURRY = 1.6;

/* Both lists in the order of class and deadline: they are sorted so, whatever the counters say within. */
struct walk {
    const struct sched_seq *running, *waiting;
};

static const struct sched_seq *walk_next(struct walk *w)
{
    const struct sched_seq **from = !w->waiting ? &w->running : !w->running ? &w->waiting :
                                    order_own(&w->waiting->seat, &w->running->seat) ? &w->waiting : &w->running;
    const struct sched_seq *q = *from;
    if (q)
        *from = q->next;
    return q;
}

/* What goes before others, together: sequences, the tokens they stand on, the pages they may come to hold. */
struct ahead {
    int count, pages;
    double context;
};

static int pages_of(int tokens)
{
    return (tokens + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS;
}

static bool goes_ahead(const struct sched_seq *q, int priority)
{
    return q->seat.deadline_ns || q->seat.priority > priority;
}

static struct ahead sum_ahead(const struct sched *s, int priority)
{
    struct ahead a = { 0 };
    struct walk w = { s->running.head, s->waiting.head };
    for (const struct sched_seq *q; (q = walk_next(&w));)
        if (goes_ahead(q, priority)) {
            a.count++;
            a.pages += pages_of(q->seq.token_max);
            a.context += q->seq.count + (q->seq.token_max - q->seq.count) / 2.0;
        }
    return a;
}

static double prompt_ms(const struct steptime_model *m, const struct sched *s, int rows, int pos)
{
    return rows > 1 ? steptime_chunk_ms(m, rows, pos + rows / 2.0) + m->a * (1 + rows / s->o.prefill_rows) : 0;
}

static double draw_ms(const struct steptime_model *m, const struct ahead *a, int tokens)
{
    return tokens * steptime_ms(m, &(struct steptime_load){ .batch = a->count, .context = a->context });
}

/* A step that was begun before anybody hurried. */
static double other_ms(const struct steptime_model *m, const struct sched *s)
{
    return steptime_ms(m, &(struct steptime_load){ .prefill = s->o.prefill_rows, .batch = s->running.count });
}

static bool late(int64_t deadline_ns, int64_t now_ns, double ms)
{
    return (double)(deadline_ns - now_ns) / 1e6 < ms;
}

static double seq_ms(const struct steptime_model *m, const struct ahead *a, const struct sched_seq *q)
{
    return draw_ms(m, a, q->seq.token_max - q->seq.count);
}

const struct order_seat *sched_hurry(const struct sched *s, int64_t now_ns)
{
    const struct steptime_model *m = s->o.step_time ? s->o.step_time : steptime_last(s->steptime);
    struct ahead a = sum_ahead(s, INT32_MAX);
    const struct order_seat *last = NULL;
    double prompts = 0, other = other_ms(m, s);
    struct walk w = { s->running.head, s->waiting.head };
    for (const struct sched_seq *q; (q = walk_next(&w));) {
        if (!goes_ahead(q, INT32_MAX))
            continue;
        prompts += prompt_ms(m, s, q->seq.count - q->seq.computed, q->seq.computed);
        if (late(q->seat.deadline_ns, now_ns, (prompts + seq_ms(m, &a, q)) * HURRY + other))
            last = &q->seat;
    }
    return last;
}

/* ---- the promise */

static enum err_code refuse(const struct sched_spec *spec, int64_t now_ns, double alone, double needed, struct err *e)
{
    double has = (double)(spec->deadline_ns - now_ns) / 1e6;
    if (has < alone)
        return err_set(e, ERR_LIMIT, "the deadline is in %.0f ms and this request may take %.0f ms even alone; give it "
                       "more time or a smaller max_tokens", has > 0 ? has : 0, alone);
    return err_set(e, ERR_BUSY, "the deadline cannot be met now: what was promised before leaves this request %.0f ms "
                   "and it may take %.0f ms; try again later or give it more time", has, needed);
}

enum err_code sched_deadline_fits(const struct sched *s, const struct sched_spec *spec, int64_t now_ns, struct err *e)
{
    const struct steptime_model *m = s->o.step_time ? s->o.step_time : steptime_last(s->steptime);
    const struct order_seat seat = { .priority = spec->priority, .deadline_ns = spec->deadline_ns,
                                     .arrival = UINT64_MAX };
    int room = s->ctx - spec->prompt_count, want = spec->params->max_tokens;
    int tokens = want > 0 && want < room ? want : room;
    struct ahead one = { 1, pages_of(spec->prompt_count + tokens), spec->prompt_count + tokens / 2.0 };
    struct ahead a = sum_ahead(s, spec->priority);
    double own = prompt_ms(m, s, spec->prompt_count, 0), prompts = 0;
    double alone = (own + draw_ms(m, &one, tokens)) * MARGIN;
    a = (struct ahead){ a.count + 1, a.pages + one.pages, a.context + one.context };
    bool broken = a.count > s->o.running_max || a.pages > kv_pages(s->kv);
    double before = own; /* the prompts that are computed until this one's is */
    struct walk w = { s->running.head, s->waiting.head };
    for (const struct sched_seq *q; (q = walk_next(&w));) {
        if (!goes_ahead(q, spec->priority))
            continue;
        bool after = order_own(&seat, &q->seat);
        double ms = prompt_ms(m, s, q->seq.count - q->seq.computed, q->seq.computed);
        prompts += ms;
        before += after ? 0 : ms;
        if (q->seat.deadline_ns) /* what was promised holds with this one beside it */
            broken |= late(q->seat.deadline_ns, now_ns, (prompts + (after ? own : 0) + seq_ms(m, &a, q)) * MARGIN);
    }
    double needed = (before + draw_ms(m, &a, tokens)) * MARGIN + other_ms(m, s);
    broken |= late(spec->deadline_ns, now_ns, needed);
    return broken || late(spec->deadline_ns, now_ns, alone) ? refuse(spec, now_ns, alone, needed, e) : ERR_OK;
}
