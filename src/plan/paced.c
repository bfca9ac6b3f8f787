/* paced -- an engine that schedules as `tokenworks serve` does (src/sched): one step at a time, request by request.
 *
 *   waiting --admit: pages for the whole prompt--> running --last token--> sim_finish
 *      ^---------------- park: no page left ---------'
 *
 * A step takes a row of every sequence that decodes, then chunks of prompts, oldest first, as long as the step stays
 * within the target between tokens (sched/pace.h). Both lists are in order of arrival. Speculation, classes,
 * deadlines and several tenants are not modelled. tests/plan/replay_test.py holds it against the scheduler itself,
 * step by step.
 *
 * I1  a request's first `named` pages have names, its other pages none; held = positions computed. */
#include "plan/sim_state.h"

#include "base/assert.h"
#include "base/mem.h"

#include <math.h>

enum { GENTLE = 4, CHUNK_ROWS_MIN = 16, CHUNK_ROWS_EVEN = 16 };
#define MARGIN 0.85 /* of the targets is planned for */

/* The step being made. */
struct step {
    struct sim *s;
    struct engine *e;
    const struct sim_group *c;
    struct step_model m;     /* as this engine knows it: slowed down, if it is */
    double prefill, batch, context, sum_pc;
    double owed_ms, left_ms; /* of the decoding rows; for prompts: INFINITY where nobody's tokens wait */
    int rows;                /* room for prompt rows */
    bool begun;              /* a prompt has rows: the next one may have none */
};

static int64_t length_of(const struct request *r)
{
    return (int64_t)r->input + r->done;
}

static bool decodes(const struct request *r)
{
    return length_of(r) - r->held == 1;
}

static int pages_for(const struct sim_group *c, int64_t tokens)
{
    return (int)((tokens + c->pace.page_tokens - 1) / c->pace.page_tokens);
}

static void insert_by_age(struct sim *s, struct list *l, int32_t id)
{
    struct request *r = &s->requests[id];
    int32_t p = l->last;
    while (p >= 0 && r->serial < s->requests[p].serial)
        p = s->requests[p].prev;
    r->prev = p;
    r->next = p >= 0 ? s->requests[p].next : l->first;
    *(p >= 0 ? &s->requests[p].next : &l->first) = id;
    *(r->next >= 0 ? &s->requests[r->next].prev : &l->last) = id;
    l->count++;
}

/* ---- pages */

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * 0x9E3779B97F4A7C15u + b + 1;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Page k of a request: the beginning that all share, the trace's blocks, or its own text. */
static uint64_t name_of(const struct sim *s, const struct sim_group *c, const struct request *r, int k)
{
    const struct trace *t = s->c->streams[r->stream].trace;
    int64_t end = (int64_t)(k + 1) * c->pace.page_tokens;
    int block = (int)((end - 1) / TRACE_BLOCK_TOKENS);
    if (end <= c->pace.shared_tokens)
        return mix(1, (uint64_t)k);
    if (t && r->trace_at >= 0 && end <= r->input && block < t->requests[r->trace_at].hash_count)
        return mix(mix(2, (uint64_t)t->hashes[t->requests[r->trace_at].first_hash + block]), (uint64_t)k);
    return mix(mix(3, (uint64_t)r->serial), (uint64_t)k);
}

static void find_prefix(const struct step *w, struct request *r)
{
    struct group *g = &w->s->groups[w->e->group];
    int found = 0;
    while ((int64_t)(r->named + 1) * w->c->pace.page_tokens < length_of(r) &&
           pages_find(w->e->pages, name_of(w->s, w->c, r, r->named))) {
        r->named++;
        found++;
    }
    r->pages = r->named;
    r->held = r->named * w->c->pace.page_tokens;
    if (r->started)
        return;
    r->held = r->held > r->found ? r->held : r->found / w->c->pace.page_tokens * w->c->pace.page_tokens;
    g->prefix_hits += found;
    g->prefix_blocks += pages_for(w->c, r->input);
}

static void drop_pages(const struct step *w, struct request *r)
{
    pages_give(w->e->pages, r->pages - r->named);
    while (r->named)
        pages_drop(w->e->pages, name_of(w->s, w->c, r, --r->named)); /* last first, as the cache forgets them */
    r->pages = r->held = 0;
}

static bool reserve(const struct step *w, struct request *r, int64_t end)
{
    for (; r->pages < pages_for(w->c, end); r->pages++)
        if (!pages_take(w->e->pages))
            return false;
    return true;
}

static void name_pages(const struct step *w, struct request *r)
{
    for (; r->named < r->pages && (int64_t)(r->named + 1) * w->c->pace.page_tokens <= r->held; r->named++)
        pages_name(w->e->pages, name_of(w->s, w->c, r, r->named));
}

static void park(const struct step *w, int32_t id)
{
    struct request *r = &w->s->requests[id];
    list_remove(w->s, &w->e->running, id);
    drop_pages(w, r);
    r->in_step = 0;
    insert_by_age(w->s, &w->e->waiting, id);
    w->s->groups[w->e->group].preemptions++;
}

/* false: the request itself is the youngest, or what is younger is already in this step. */
static bool make_room(const struct step *w, int32_t id, int64_t end)
{
    while (!reserve(w, &w->s->requests[id], end)) {
        int32_t victim = w->e->running.last;
        if (victim == id || w->s->requests[victim].in_step)
            return false;
        park(w, victim);
    }
    return true;
}

/* ---- the plan of a step */

static void count_start(const struct step *w, struct request *r)
{
    struct group *g = &w->s->groups[w->e->group];
    if (r->started)
        return;
    r->started = true;
    if (r->batch >= 0) {
        g->wait_ns += (double)(w->s->now - r->arrive_ns);
        g->waits++;
    }
    if (w->s->c->watch && w->s->c->watch->start)
        w->s->c->watch->start(w->s->c->watch->arg, r->trace_at, r->held);
}

/* A message is read between two steps. */
static void see(const struct step *w)
{
    for (int32_t id = w->e->waiting.last; id >= 0 && !w->s->requests[id].seen_ns; id = w->s->requests[id].prev)
        w->s->requests[id].seen_ns = w->s->now + !w->s->now;
}

/* Pages for all its tokens and one more for each that runs already: who does not fit holds back those behind it. */
static void admit(const struct step *w)
{
    struct engine *e = w->e;
    while (e->waiting.count && e->running.count < w->s->groups[e->group].batch_max) {
        int32_t id = e->waiting.first;
        struct request *r = &w->s->requests[id];
        if (pages_for(w->c, length_of(r) + 1) > pages_capacity(e->pages)) {
            list_pop(w->s, &e->waiting);
            sim_lose(w->s, id);
            continue;
        }
        find_prefix(w, r);
        if (pages_available(e->pages) < pages_for(w->c, length_of(r)) - r->pages + e->running.count) {
            drop_pages(w, r);
            return;
        }
        list_pop(w->s, &e->waiting);
        insert_by_age(w->s, &e->running, id);
        count_start(w, r);
    }
}

/* What the decoding rows owe, and what they leave. */
static void begin_pace(struct step *w)
{
    const struct sim_pace *p = &w->c->pace;
    double batch = 0, context = 0;
    for (int32_t id = w->e->running.first; id >= 0; id = w->s->requests[id].next) {
        const struct request *r = &w->s->requests[id];
        batch += decodes(r);
        context += decodes(r) ? (double)length_of(r) : 0;
    }
    w->owed_ms = step_ms(&w->m, 0, batch, context, 0);
    w->left_ms = INFINITY;
    w->rows = p->batch_rows;
    if (batch > 0 && p->itl_ms > 0)
        w->left_ms = fmax(0, MARGIN * p->itl_ms - w->owed_ms);
    else if (batch > 0 && p->prefill_rows < w->rows)
        w->rows = p->prefill_rows;
}

static void plan_decodes(struct step *w)
{
    struct sim *s = w->s;
    for (int32_t id = w->e->running.first, next; id >= 0; id = next) {
        bool placed = !decodes(&s->requests[id]) || make_room(w, id, length_of(&s->requests[id]));
        next = s->requests[id].next; /* after make_room: it may have parked what was next */
        if (!placed)
            park(w, id);
    }
    for (int32_t id = w->e->running.first; id >= 0; id = s->requests[id].next)
        if (decodes(&s->requests[id])) {
            s->requests[id].in_step = 1;
            s->requests[id].prompt = false;
            w->batch++;
            w->context += (double)length_of(&s->requests[id]);
        }
    w->rows = (int)fmin(w->rows, w->c->pace.batch_rows - w->batch);
}

static double chunk_ms(const struct step *w, double rows, double pos)
{
    return rows * (w->m.b + w->m.e * (pos + rows / 2));
}

static double gentle_left(const struct step *w)
{
    return fmin(w->left_ms, (GENTLE - 1) * w->owed_ms);
}

/* With a target for the first token: whether one of the prompts would miss it at the gentle pace. */
static bool prompts_hurry(const struct step *w)
{
    double rows = 0, target = w->c->pace.ttft_ms;
    bool any = false;
    for (int l = 0; l < 2; l++)
        for (int32_t id = l ? w->e->waiting.first : w->e->running.first; id >= 0; id = w->s->requests[id].next) {
            const struct request *r = &w->s->requests[id];
            if (r->held >= r->input)
                continue;
            rows += (double)(length_of(r) - r->held);
            any = true;
            double left = gentle_left(w), step = w->owed_ms + left;
            double steps = left > 0 ? ceil(chunk_ms(w, rows, 0) / left) : INFINITY;
            if (target <= 0 || isinf(w->left_ms) ||
                (double)(w->s->now - r->seen_ns) / 1e6 + steps * step > MARGIN * target)
                return true;
        }
    return !any;
}

static int chunk_rows(const struct step *w, double pos, int most)
{
    int low = 0, high = most;
    while (low < high) {
        int mid = low + (high - low + 1) / 2;
        if (chunk_ms(w, mid, pos) <= w->left_ms)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

static int take_chunk(struct step *w, double pos, int64_t want)
{
    int rows = want < w->rows ? (int)want : w->rows;
    if (!isinf(w->left_ms)) {
        int fit = chunk_rows(w, pos, rows);
        if (fit < rows && fit > CHUNK_ROWS_EVEN)
            fit -= fit % CHUNK_ROWS_EVEN;
        if (!w->begun && fit < CHUNK_ROWS_MIN)
            fit = rows < CHUNK_ROWS_MIN ? rows : CHUNK_ROWS_MIN;
        rows = fit;
        w->left_ms = fmax(0, w->left_ms - chunk_ms(w, rows, pos));
    }
    w->begun = w->begun || rows > 0;
    w->rows -= rows;
    return rows;
}

static int32_t next_prompt(const struct step *w)
{
    int32_t id = w->e->running.first;
    while (id >= 0 && (w->s->requests[id].in_step || decodes(&w->s->requests[id])))
        id = w->s->requests[id].next;
    return id;
}

static void plan_prefills(struct step *w)
{
    for (int32_t id; w->rows > 0 && (id = next_prompt(w)) >= 0;) { /* each turn gives rows or parks */
        struct request *r = &w->s->requests[id];
        double pos = r->held;
        int rows = take_chunk(w, pos, length_of(r) - r->held);
        if (!rows)
            return;
        if (make_room(w, id, r->held + (int64_t)rows)) {
            r->in_step = rows;
            r->prompt = true;
            w->prefill += rows;
            w->sum_pc += rows * (pos + rows / 2.0);
        } else {
            park(w, id);
        }
    }
}

static struct step step_of(struct sim *s, struct engine *e)
{
    const struct sim_group *c = &s->c->groups[e->group];
    const struct step_model *m = &c->step;
    double k = c->slow;
    return (struct step){ .s = s, .e = e, .c = c, .m = { k * m->a, k * m->b, k * m->c, k * m->d, k * m->e } };
}

void paced_begin(struct sim *s, struct engine *e)
{
    struct group *g = &s->groups[e->group];
    struct step w = step_of(s, e);
    if (!e->pages)
        e->pages = pages_new((int)fmax(1, fmin(1 << 26, (double)w.c->kv_tokens / w.c->pace.page_tokens)));
    see(&w);
    admit(&w);
    begin_pace(&w);
    plan_decodes(&w);
    if (w.batch > 0 && !prompts_hurry(&w))
        w.left_ms = gentle_left(&w);
    plan_prefills(&w);
    e->busy = w.batch + w.prefill > 0;
    if (!e->busy)
        return;
    g->kv_peak = fmax(g->kv_peak, 1 - (double)pages_available(e->pages) / pages_capacity(e->pages));
    e->run_ms = step_ms(&w.m, w.prefill, w.batch, w.context, w.sum_pc);
    e->run_at_ns = s->now;
    e->run_steps = 1;
    events_push(&s->events, s->now + llround(1e6 * e->run_ms), EV_STEP, (int)(e - s->engines), e->version);
}

/* ---- after the step */

static void draw(const struct step *w, int32_t id)
{
    struct sim *s = w->s;
    struct request *r = &s->requests[id];
    struct group *g = &s->groups[w->e->group];
    int slot = sim_batch(s, s->now);
    if (!r->first_done)
        sim_first_token(s, id);
    else if (slot >= 0)
        hist_add(sim_hist(&g->itl[slot]), s->now - r->token_ns, 1);
    g->tokens += slot >= 0;
    r->first_done = true;
    r->token_ns = s->now;
    r->done++;
    if (s->c->watch && s->c->watch->token)
        s->c->watch->token(s->c->watch->arg, r->trace_at, s->now + r->network_ns);
    if (r->done < r->output)
        return;
    list_remove(s, &w->e->running, id);
    drop_pages(w, r);
    sim_finish(s, id);
}

/* For those whose rows were of a prompt, or for those that decode: they draw first. */
static void draw_all(const struct step *w, bool prompts)
{
    for (int32_t id = w->e->running.first, next; id >= 0; id = next) {
        struct request *r = &w->s->requests[id];
        next = r->next;
        if (!r->in_step || r->prompt != prompts)
            continue;
        r->in_step = 0;
        if (r->held == length_of(r))
            draw(w, id);
    }
}

void paced_step_done(struct sim *s, struct engine *e)
{
    struct group *g = &s->groups[e->group];
    struct step w = step_of(s, e);
    g->busy_ns += (double)(s->now - e->run_at_ns);
    g->batch_ns += (double)(s->now - e->run_at_ns) * e->running.count;
    for (int32_t id = e->running.first; id >= 0; id = s->requests[id].next) {
        s->requests[id].held += s->requests[id].in_step;
        name_pages(&w, &s->requests[id]);
    }
    draw_all(&w, false);
    draw_all(&w, true);
    e->steps++;
    paced_begin(s, e);
}

void paced_give(struct sim *s, struct engine *e, int32_t id)
{
    struct request *r = &s->requests[id];
    if (!r->serial) {
        r->serial = ++s->serials;
        r->found = r->input - r->fresh;
        r->held = 0;
    }
    insert_by_age(s, &e->waiting, id);
    if (!e->down && !e->busy)
        paced_begin(s, e);
}

void paced_clear(struct sim *s, struct engine *e, struct list *out)
{
    struct step w = step_of(s, e);
    *out = (struct list){ -1, -1, 0 };
    if (e->busy)
        s->groups[e->group].busy_ns += (double)(s->now - e->run_at_ns);
    while (e->running.count) {
        int32_t id = list_pop(s, &e->running);
        drop_pages(&w, &s->requests[id]);
        s->requests[id].in_step = 0;
        list_append(s, out, id);
    }
    while (e->waiting.count)
        list_append(s, out, list_pop(s, &e->waiting));
    pages_free(e->pages); /* what it remembered is gone as well */
    e->pages = NULL;
    e->busy = false;
    e->version++;
}
