/* engine -- one engine of the simulated fleet: admission, prefill in chunks, a batch that decodes together.
 *
 *   waiting --admit--> prefill --last chunk done--> running --last token--> sim_finish
 *                                  running --preempt (no KV block left)--> waiting, first in line
 *
 * A step costs O(log batch) at most: all running requests advance by one token together, so only their count,
 * the sum of their contexts, the next one to finish and the blocks due at this residue are kept. */
#include "plan/sim_state.h"

#include "base/assert.h"
#include "base/mem.h"

#include <math.h>

enum { RUN_STEPS_MAX = 1 << 20, ITL_PIECES = 8 };

static struct group *group_of(struct sim *s, const struct engine *e)
{
    return &s->groups[e->group];
}

static const struct sim_group *config_of(const struct sim *s, const struct engine *e)
{
    return &s->c->groups[e->group];
}

/* ---- the heap of running requests by finish_step */

static void heap_place(struct sim *s, struct engine *e, int at, int32_t r)
{
    e->heap[at] = r;
    s->requests[r].heap_at = at;
}

static void heap_up(struct sim *s, struct engine *e, int at, int32_t r)
{
    for (; at > 0 && s->requests[r].finish_step < s->requests[e->heap[(at - 1) / 2]].finish_step; at = (at - 1) / 2)
        heap_place(s, e, at, e->heap[(at - 1) / 2]);
    heap_place(s, e, at, r);
}

static void heap_down(struct sim *s, struct engine *e, int at, int32_t r, int count)
{
    for (int kid; (kid = 2 * at + 1) < count; at = kid) {
        if (kid + 1 < count && s->requests[e->heap[kid + 1]].finish_step < s->requests[e->heap[kid]].finish_step)
            kid++;
        if (s->requests[r].finish_step <= s->requests[e->heap[kid]].finish_step)
            break;
        heap_place(s, e, at, e->heap[kid]);
    }
    heap_place(s, e, at, r);
}

/* Call before the request leaves e->running, whose count is the heap's. */
static void heap_remove(struct sim *s, struct engine *e, int32_t r)
{
    int at = s->requests[r].heap_at, last = e->running.count - 1;
    int32_t moved = e->heap[last];
    if (at == last)
        return;
    if (at > 0 && s->requests[moved].finish_step < s->requests[e->heap[(at - 1) / 2]].finish_step)
        heap_up(s, e, at, moved);
    else
        heap_down(s, e, at, moved, last);
}

/* ---- joining and leaving the batch */

static int64_t blocks_for(int64_t tokens)
{
    return (tokens + SIM_BLOCK_TOKENS - 1) / SIM_BLOCK_TOKENS;
}

static void join(struct sim *s, struct engine *e, int32_t id)
{
    struct request *r = &s->requests[id];
    int64_t length = (int64_t)r->input + r->done;
    if (e->running.count + 1 > e->heap_cap) {
        e->heap_cap = e->heap_cap ? 2 * e->heap_cap : 16;
        e->heap = mem_grow(e->heap, (size_t)e->heap_cap, sizeof *e->heap);
    }
    r->finish_step = e->steps + r->output - r->done;
    /* after k steps its KV holds length - 1 + k tokens: a block is due when that passes a multiple */
    r->residue = (int32_t)(((e->steps - (length - 1)) % SIM_BLOCK_TOKENS + SIM_BLOCK_TOKENS) % SIM_BLOCK_TOKENS);
    e->need[r->residue]++;
    e->context += (double)length;
    heap_up(s, e, e->running.count, id);
    list_append(s, &e->running, id);
}

static void leave(struct sim *s, struct engine *e, int32_t id)
{
    struct request *r = &s->requests[id];
    int64_t left = r->finish_step - e->steps, length = (int64_t)r->input + r->output - left;
    heap_remove(s, e, id);
    list_remove(s, &e->running, id);
    e->need[r->residue]--;
    e->context -= (double)length;
    r->done = (int32_t)(r->output - left);
    e->kv_used -= blocks_for(length - 1 > r->input ? length - 1 : r->input);
}

/* The youngest goes back to the head of the line; its prompt and answer so far are computed again. */
static void preempt(struct sim *s, struct engine *e)
{
    int32_t id = e->running.last;
    struct request *r = &s->requests[id];
    leave(s, e, id);
    r->fresh = r->input + r->done;
    r->held = 0;
    r->next = e->waiting.first;
    r->prev = -1;
    if (e->waiting.first >= 0)
        s->requests[e->waiting.first].prev = id;
    else
        e->waiting.last = id;
    e->waiting.first = id;
    e->waiting.count++;
    group_of(s, e)->preemptions += s->sample;
}

/* ---- admission */

static void look_up_prefix(struct sim *s, struct engine *e, struct request *r)
{
    const struct trace *t = s->c->streams[r->stream].trace;
    if (!e->prefix || r->trace_at < 0 || r->first_done || !t->requests[r->trace_at].hash_count)
        return;
    const struct trace_request *q = &t->requests[r->trace_at];
    int hits = prefix_touch(e->prefix, t->hashes + q->first_hash, q->hash_count);
    int64_t found = (int64_t)hits * TRACE_BLOCK_TOKENS;
    r->held = (int32_t)(found < r->input ? found : r->input - 1);
    r->fresh = r->input - r->held;
    group_of(s, e)->prefix_hits += hits;
    group_of(s, e)->prefix_blocks += q->hash_count;
}

static void admit(struct sim *s, struct engine *e)
{
    struct group *g = group_of(s, e);
    bool central = config_of(s, e)->central;
    for (;;) { /* bounded by batch_max */
        struct list *from = e->waiting.count || !central ? &e->waiting : &g->queue;
        if (!from->count || e->running.count + e->prefill.count >= g->batch_max)
            return;
        int32_t id = from->first;
        struct request *r = &s->requests[id];
        int64_t blocks = blocks_for((int64_t)r->input + r->done);
        if (blocks + 1 > g->kv_blocks) {
            list_pop(s, from);
            sim_lose(s, id);
            continue;
        }
        /* room also for the growth of a step or two of those running: else they would be preempted at once */
        if (e->kv_used + blocks + e->running.count / 8 > g->kv_blocks && (e->running.count || e->prefill.count))
            return;
        list_pop(s, from);
        e->kv_used += blocks;
        if (r->batch >= 0 && !r->done) {
            g->wait_ns += (double)(s->now - r->arrive_ns);
            g->waits++;
        }
        look_up_prefix(s, e, r);
        list_append(s, &e->prefill, id);
    }
}

/* Prompt tokens of the next step, first come first served; *pairs: sum of tokens times context. */
static double take_chunk(struct sim *s, struct engine *e, double *pairs)
{
    double left = config_of(s, e)->chunk_max, taken = 0;
    *pairs = 0;
    for (int32_t id = e->prefill.first; id >= 0 && left > 0; id = s->requests[id].next) {
        struct request *r = &s->requests[id];
        double n = fmin(left, r->fresh);
        r->in_step = (int32_t)n;
        *pairs += n * (r->held + n / 2);
        taken += n;
        left -= n;
    }
    return taken;
}

/* ---- a step, or a run of them */

static void refresh_fluid(struct sim *s, struct engine *e)
{
    struct group *g = group_of(s, e);
    if (s->sample <= 1 || s->now - g->fluid_at_ns < 1000000000)
        return;
    g->fluid_at_ns = s->now;
    g->fluid_tokens_s = g->fluid_pairs_s = 0;
    for (int i = 0; i < s->c->stream_count; i++) {
        const struct sim_stream *st = &s->c->streams[i];
        double share = 0, all = 0, t = (double)s->now / 1e9;
        for (int k = 0; k < st->route_count; k++) {
            bool up = s->groups[st->routes[k].group].up > 0;
            all += up ? st->routes[k].weight : 0;
            share += up && st->routes[k].group == e->group ? st->routes[k].weight : 0;
        }
        double rate = s->now < s->end_ns ? st->rate : 0;
        rate *= 1 + (st->period_s > 0 ? st->swing * sin(2 * M_PI * t / st->period_s) : 0);
        double fresh = st->input.mean * (1 - st->cached), held = st->input.mean * st->cached;
        double second = st->input.shape == SIM_EXPONENTIAL ? 2 :
                        st->input.shape == SIM_LOGNORMAL ? exp(st->input.sigma * st->input.sigma) : 1;
        double per_engine = all > 0 ? rate * share / all * (1 - 1 / s->sample) / fmax(1, g->up) : 0;
        g->fluid_tokens_s += per_engine * fresh;
        g->fluid_pairs_s += per_engine * second * fresh * (held + fresh / 2);
    }
}

/* The first step's time, and in *grow how much longer each next one is. */
static double first_step(struct sim *s, struct engine *e, double chunk, double pairs, double *grow)
{
    const struct sim_group *c = config_of(s, e);
    const struct step_model *m = &c->step;
    struct group *g = group_of(s, e);
    double running = s->sample * e->running.count, stretch = 1, extra = 0;
    double own = step_ms(m, chunk, running, s->sample * e->context, pairs);
    refresh_fluid(s, e);
    if (s->sample > 1 && g->fluid_tokens_s > 0) {
        double load = (m->b * g->fluid_tokens_s + m->e * g->fluid_pairs_s) * c->slow / 1000;
        double room = fmax(0, c->chunk_max - chunk);
        stretch = load < 1 ? 1 / (1 - load) : 1e9;
        if (g->fluid_tokens_s * c->slow * own * stretch / 1000 > room) {
            stretch = 1; /* prefill is at its limit in every step */
            extra = m->b * room + m->e * room * g->fluid_pairs_s / g->fluid_tokens_s;
        }
    }
    *grow = c->slow * stretch * m->d * running;
    return c->slow * (own + extra) * stretch;
}

static int64_t run_ns(const struct engine *e, int64_t n)
{
    double k = (double)n;
    return llround(1e6 * (k * e->run_ms + e->grow_ms * k * (k - 1) / 2));
}

/* Blocks the running requests take over the next n steps. */
static int64_t blocks_over(const struct engine *e, int64_t n)
{
    int64_t whole = n / SIM_BLOCK_TOKENS, sum = whole * e->running.count;
    for (int64_t i = 0; i < n % SIM_BLOCK_TOKENS; i++)
        sum += e->need[(e->steps + i) % SIM_BLOCK_TOKENS];
    return sum;
}

/* How many steps can pass with nothing to decide: until the next answer ends, or KV memory does. */
static int64_t run_length(const struct sim *s, const struct engine *e, int64_t free_blocks)
{
    if (!s->c->coalesce || e->prefill.count || !e->running.count)
        return 1;
    int64_t n = s->requests[e->heap[0]].finish_step - e->steps;
    n = n > RUN_STEPS_MAX ? RUN_STEPS_MAX : n;
    while (n > 1 && blocks_over(e, n) > free_blocks)
        n = n / 2;
    return n < 1 ? 1 : n;
}

static void begin(struct sim *s, struct engine *e)
{
    struct group *g = group_of(s, e);
    double pairs;
    admit(s, e);
    while (e->running.count && e->kv_used + blocks_over(e, 1) > g->kv_blocks)
        preempt(s, e);
    double chunk = take_chunk(s, e, &pairs);
    bool work = e->running.count > 0 || e->prefill.count > 0;
    if (config_of(s, e)->central)
        sim_idle_set(s, (int)(e - s->engines), !work);
    e->busy = work;
    if (!work)
        return;
    e->run_ms = first_step(s, e, chunk, pairs, &e->grow_ms);
    e->run_at_ns = s->now;
    e->run_steps = run_length(s, e, g->kv_blocks - e->kv_used);
    g->kv_peak = fmax(g->kv_peak, (double)e->kv_used / (double)g->kv_blocks);
    events_push(&s->events, s->now + run_ns(e, e->run_steps), EV_STEP, (int)(e - s->engines), e->version);
}

/* Inter-token times of a run, in pieces short enough that their steps fall into one or two bins. */
static void count_tokens(struct sim *s, struct engine *e)
{
    struct group *g = group_of(s, e);
    double n = (double)e->run_steps, batch = e->running.count;
    double total_ns = (double)(s->now - e->run_at_ns);
    g->busy_ns += total_ns;
    g->batch_ns += total_ns * s->sample * (batch + e->prefill.count);
    int slot = sim_batch(s, s->now);
    if (slot < 0)
        return;
    g->tokens += s->sample * n * batch;
    if (!batch)
        return;
    struct hist *h = sim_hist(&g->itl[slot]);
    int pieces = e->grow_ms * n > 0.005 * e->run_ms ? ITL_PIECES : 1;
    for (int i = 0; i < pieces; i++) {
        double mid = (i + 0.5) * n / pieces - 0.5;
        hist_add(h, llround(1e6 * (e->run_ms + e->grow_ms * mid)), s->sample * batch * n / pieces);
    }
}

static void end_prefills(struct sim *s, struct engine *e)
{
    while (e->prefill.first >= 0) {
        int32_t id = e->prefill.first;
        struct request *r = &s->requests[id];
        r->fresh -= r->in_step;
        r->held += r->in_step;
        r->in_step = 0;
        if (r->fresh > 0)
            return; /* only the last one touched can be unfinished */
        list_pop(s, &e->prefill);
        if (!r->first_done)
            sim_first_token(s, id);
        r->first_done = true;
        r->done++;
        if (sim_batch(s, s->now) >= 0)
            group_of(s, e)->tokens += s->sample;
        if (r->done >= r->output) {
            e->kv_used -= blocks_for((int64_t)r->input + r->done - 1);
            sim_finish(s, id);
        } else {
            join(s, e, id);
        }
    }
}

void engine_step_done(struct sim *s, int engine)
{
    struct engine *e = &s->engines[engine];
    if (config_of(s, e)->pace.on) {
        paced_step_done(s, e);
        return;
    }
    count_tokens(s, e);
    e->kv_used += blocks_over(e, e->run_steps);
    e->steps += e->run_steps;
    e->context += (double)(e->run_steps * e->running.count);
    e->run_steps = 0;
    while (e->running.count && s->requests[e->heap[0]].finish_step <= e->steps) {
        int32_t id = e->heap[0];
        leave(s, e, id);
        sim_finish(s, id);
    }
    end_prefills(s, e);
    begin(s, e);
}

/* A run of several steps is cut after the step under way, so that a newcomer can join. */
static void cut_run(struct sim *s, struct engine *e)
{
    double ms = (double)(s->now - e->run_at_ns) / 1e6, half = e->grow_ms / 2, k = ms / e->run_ms;
    if (half > 0) {
        double b = e->run_ms - half; /* half k^2 + b k = ms */
        k = (sqrt(b * b + 4 * half * ms) - b) / (2 * half);
    }
    int64_t n = (int64_t)k + 1;
    while (n > 1 && e->run_at_ns + run_ns(e, n - 1) > s->now)
        n--;
    while (n < e->run_steps && e->run_at_ns + run_ns(e, n) < s->now)
        n++;
    if (n >= e->run_steps)
        return;
    e->run_steps = n;
    events_push(&s->events, e->run_at_ns + run_ns(e, n), EV_STEP, (int)(e - s->engines), ++e->version);
}

void engine_kick(struct sim *s, int engine)
{
    struct engine *e = &s->engines[engine];
    bool paced = config_of(s, e)->pace.on;
    if (e->down || (paced && e->busy))
        return;
    if (!e->busy)
        paced ? paced_begin(s, e) : begin(s, e);
    else if (e->run_steps > 1 && e->running.count + e->prefill.count < group_of(s, e)->batch_max)
        cut_run(s, e);
}

void engine_give(struct sim *s, int engine, int request)
{
    struct engine *e = &s->engines[engine];
    if (config_of(s, e)->pace.on) {
        paced_give(s, e, request);
        return;
    }
    list_append(s, &e->waiting, request);
    engine_kick(s, engine);
}

/* Down: what was computed is lost, the answers given so far are not. */
void engine_clear(struct sim *s, int engine, struct list *out)
{
    struct engine *e = &s->engines[engine];
    if (config_of(s, e)->pace.on) {
        paced_clear(s, e, out);
        return;
    }
    *out = (struct list){ -1, -1, 0 };
    if (e->busy && e->run_at_ns < s->now) {
        group_of(s, e)->busy_ns += (double)(s->now - e->run_at_ns);
        if (e->run_steps > 1) { /* the whole steps of the run that were done did give tokens */
            int64_t n = e->run_steps;
            while (n > 0 && e->run_at_ns + run_ns(e, n) > s->now)
                n /= 2;
            e->steps += n;
            e->context += (double)(n * e->running.count);
        }
    }
    while (e->running.count) {
        int32_t id = e->running.first;
        leave(s, e, id);
        s->requests[id].fresh = s->requests[id].input + s->requests[id].done;
        s->requests[id].held = 0;
        list_append(s, out, id);
    }
    while (e->prefill.count) {
        int32_t id = list_pop(s, &e->prefill);
        struct request *r = &s->requests[id];
        r->fresh += r->held;
        r->held = r->in_step = 0;
        list_append(s, out, id);
    }
    while (e->waiting.count)
        list_append(s, out, list_pop(s, &e->waiting));
    e->kv_used = 0;
    e->context = 0;
    e->busy = false;
    e->version++;
}
