/* sim -- see sim.h: the fleet's loop: arrivals, routing, failures and what is counted. engine.c has the steps. */
#include "plan/sim_state.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

#define NS 1e9
enum { PROGRESS_EVENTS = 1 << 20 };

/* ---- draws */

static double draw_exponential(struct rng *r)
{
    return -log1p(-rng_next_unit(r));
}

static double draw_normal(struct rng *r)
{
    double u = 1 - rng_next_unit(r), v = rng_next_unit(r);
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* Gamma with a whole shape k and mean k: the wait for the k-th of Poisson arrivals (Marsaglia and Tsang). */
static double draw_gamma(struct rng *r, double k)
{
    if (k <= 1)
        return draw_exponential(r);
    double d = k - 1 / 3.0, c = 1 / sqrt(9 * d);
    for (;;) { /* accepts 95 % of its tries and more */
        double x = draw_normal(r), v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(1 - rng_next_unit(r)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

static int32_t draw_length(struct rng *r, const struct sim_length *l)
{
    double x = l->mean;
    if (l->shape == SIM_EXPONENTIAL)
        x *= draw_exponential(r);
    else if (l->shape == SIM_LOGNORMAL)
        x *= exp(l->sigma * draw_normal(r) - l->sigma * l->sigma / 2);
    return x < 1 ? 1 : x > 1e9 ? 1000000000 : (int32_t)lround(x);
}

/* ---- lists */

void list_append(struct sim *s, struct list *l, int request)
{
    struct request *r = &s->requests[request];
    r->prev = l->last;
    r->next = -1;
    *(l->last >= 0 ? &s->requests[l->last].next : &l->first) = request;
    l->last = request;
    l->count++;
}

void list_remove(struct sim *s, struct list *l, int request)
{
    struct request *r = &s->requests[request];
    *(r->prev >= 0 ? &s->requests[r->prev].next : &l->first) = r->next;
    *(r->next >= 0 ? &s->requests[r->next].prev : &l->last) = r->prev;
    l->count--;
}

int list_pop(struct sim *s, struct list *l)
{
    int r = l->first;
    list_remove(s, l, r);
    return r;
}

void sim_idle_set(struct sim *s, int engine, bool idle)
{
    struct engine *e = &s->engines[engine];
    struct group *g = &s->groups[e->group];
    if (idle == (e->pool_at >= 0))
        return;
    if (idle) {
        e->pool_at = g->idle_count;
        g->idle[g->idle_count++] = engine;
        return;
    }
    int32_t moved = g->idle[--g->idle_count];
    g->idle[e->pool_at] = moved;
    s->engines[moved].pool_at = e->pool_at;
    e->pool_at = -1;
}

/* ---- counting */

struct hist *sim_hist(struct hist **slot)
{
    if (!*slot)
        *slot = MEM_NEW(struct hist);
    return *slot;
}

int sim_batch(const struct sim *s, int64_t at_ns)
{
    if (at_ns < s->warm_ns || at_ns >= s->end_ns)
        return -1;
    return (int)((double)(at_ns - s->warm_ns) / (double)(s->end_ns - s->warm_ns) * SIM_BATCHES);
}

static void count_in_system(struct sim *s, int change)
{
    s->out->in_system_ns += (__int128)s->in_system * (s->now - s->changed_ns);
    s->changed_ns = s->now;
    s->in_system += change;
}

static void free_request(struct sim *s, int id)
{
    s->requests[id].next = s->free_request;
    s->free_request = id;
}

void sim_first_token(struct sim *s, int id)
{
    const struct request *r = &s->requests[id];
    if (r->batch >= 0)
        hist_add(sim_hist(&s->streams[r->stream].ttft[r->batch]), s->now - r->arrive_ns + r->network_ns, s->sample);
}

void sim_finish(struct sim *s, int id)
{
    const struct request *r = &s->requests[id];
    struct stream *st = &s->streams[r->stream];
    count_in_system(s, -1);
    s->out->sojourn_ns += s->now - r->arrive_ns;
    if (r->batch >= 0) {
        hist_add(sim_hist(&st->e2e[r->batch]), s->now - r->arrive_ns + r->network_ns, s->sample);
        st->finished += s->sample;
    }
    if (sim_batch(s, s->now) >= 0)
        st->tokens += s->sample * r->output;
    free_request(s, id);
}

void sim_lose(struct sim *s, int id)
{
    count_in_system(s, -1);
    s->out->sojourn_ns += s->now - s->requests[id].arrive_ns;
    s->streams[s->requests[id].stream].lost += s->sample;
    free_request(s, id);
}

/* ---- where a request goes */

/* The group's less loaded of two engines drawn at random: nearly as good as asking all of them. */
static void dispatch(struct sim *s, int group, int id)
{
    struct group *g = &s->groups[group];
    if (!g->up) {
        list_append(s, &g->held, id);
        return;
    }
    if (s->c->groups[group].central) {
        list_append(s, &g->queue, id);
        if (g->idle_count)
            engine_kick(s, g->idle[g->idle_count - 1]);
        return;
    }
    int a = g->ups[rng_below(&s->route_draws, (uint64_t)g->up)], b = a;
    if (g->up > 1)
        b = g->ups[rng_below(&s->route_draws, (uint64_t)g->up)];
    const struct engine *x = &s->engines[a], *y = &s->engines[b];
    int load_x = x->running.count + x->prefill.count + x->waiting.count;
    int load_y = y->running.count + y->prefill.count + y->waiting.count;
    engine_give(s, load_y < load_x ? b : a, id);
}

/* By weight among the groups that have an engine up; all down: among all, to be held there. */
static const struct sim_route *pick_route(struct sim *s, const struct sim_stream *st)
{
    double all = 0, up = 0;
    for (int i = 0; i < st->route_count; i++) {
        all += st->routes[i].weight;
        up += s->groups[st->routes[i].group].up ? st->routes[i].weight : 0;
    }
    double at = rng_next_unit(&s->route_draws) * (up > 0 ? up : all);
    const struct sim_route *last = &st->routes[0];
    for (int i = 0; i < st->route_count; i++) {
        if (up > 0 && !s->groups[st->routes[i].group].up)
            continue;
        last = &st->routes[i];
        at -= last->weight;
        if (at < 0)
            break;
    }
    return last;
}

static int new_request(struct sim *s)
{
    if (s->free_request >= 0) {
        int id = s->free_request;
        s->free_request = s->requests[id].next;
        return id;
    }
    if (s->request_count == s->request_cap) {
        s->request_cap = s->request_cap ? 2 * s->request_cap : 4096;
        s->requests = mem_grow(s->requests, (size_t)s->request_cap, sizeof *s->requests);
    }
    return s->request_count++;
}

static void schedule_arrival(struct sim *s, int stream)
{
    const struct sim_stream *c = &s->c->streams[stream];
    struct stream *st = &s->streams[stream];
    double at;
    if (c->trace) {
        if (st->next_trace >= c->trace->count)
            return;
        at = (double)c->trace->requests[st->next_trace].at_ns / c->trace_speed;
    } else {
        double t = (double)s->now / NS;
        double rate = c->rate * (1 + (c->period_s > 0 ? c->swing * sin(2 * M_PI * t / c->period_s) : 0));
        if (!(c->rate > 0))
            return;
        at = (double)s->now + NS * draw_gamma(&st->draws, s->sample) / fmax(rate, 1e-3 * c->rate);
    }
    if (at < (double)s->end_ns)
        events_push(&s->events, (int64_t)at, EV_ARRIVAL, stream, 0);
}

static void arrive(struct sim *s, int stream)
{
    const struct sim_stream *c = &s->c->streams[stream];
    struct stream *st = &s->streams[stream];
    int id = new_request(s);
    struct request *r = &s->requests[id];
    *r = (struct request){ .arrive_ns = s->now, .stream = stream, .batch = sim_batch(s, s->now), .trace_at = -1 };
    if (c->trace) {
        r->trace_at = st->next_trace++;
        r->input = c->trace->requests[r->trace_at].input;
        r->output = c->trace->requests[r->trace_at].output;
        r->fresh = r->input;
    } else {
        r->input = draw_length(&st->draws, &c->input);
        r->output = draw_length(&st->draws, &c->output);
        r->held = (int32_t)(r->input * c->cached);
        r->held = r->held < r->input ? r->held : r->input - 1;
        r->fresh = r->input - r->held;
    }
    count_in_system(s, 1);
    if (r->batch >= 0)
        st->arrived += s->sample;
    const struct sim_route *route = pick_route(s, c);
    r->network_ns = route->network_ns;
    dispatch(s, route->group, id);
    schedule_arrival(s, stream);
}

/* ---- failures */

static void add_reason(struct sim *s, int engine, int change)
{
    struct engine *e = &s->engines[engine];
    struct group *g = &s->groups[e->group];
    bool was_up = !e->down;
    e->down += change;
    if (was_up == !e->down)
        return;
    if (was_up) {
        struct list out;
        for (int i = 0; i < g->up; i++)
            if (g->ups[i] == engine) {
                g->ups[i] = g->ups[--g->up];
                break;
            }
        sim_idle_set(s, engine, false);
        engine_clear(s, engine, &out);
        g->up_ns += (double)s->now;
        while (out.count)
            dispatch(s, e->group, list_pop(s, &out));
        return;
    }
    g->ups[g->up++] = engine;
    g->up_ns -= (double)s->now;
    g->fluid_at_ns = -2000000000;
    while (g->held.count)
        dispatch(s, e->group, list_pop(s, &g->held));
    if (s->c->groups[e->group].central)
        sim_idle_set(s, engine, true);
    engine_kick(s, engine);
}

static int unit_engines(const struct sim *s, int first, int end[1])
{
    const struct engine *e = &s->engines[first];
    const struct sim_group *c = &s->c->groups[e->group];
    int last = s->groups[e->group].first_engine + c->engines, stop = first + c->engines_per_unit;
    *end = stop < last ? stop : last;
    return *end - first;
}

static double failures_per_h(const struct sim *s, int first, double *device)
{
    int end, n = unit_engines(s, first, &end);
    const struct sim_group *c = &s->c->groups[s->engines[first].group];
    *device = c->device_mtbf_h > 0 ? n / c->device_mtbf_h : 0;
    return *device + (c->unit_mtbf_h > 0 ? 1 / c->unit_mtbf_h : 0);
}

static void after_hours(struct sim *s, double hours, int kind, int who)
{
    double at = (double)s->now + hours * 3600 * NS;
    if (at < (double)s->end_ns || (kind != EV_UNIT_FAIL && kind != EV_SITE_FAIL))
        events_push(&s->events, (int64_t)fmin(at, 9e18), kind, who, 0);
}

static void schedule_unit_failure(struct sim *s, int first)
{
    double device, rate = failures_per_h(s, first, &device);
    if (rate > 0)
        after_hours(s, draw_exponential(&s->failure_draws) / rate, EV_UNIT_FAIL, first);
}

/* A device takes its engine down, anything else the whole unit. Repair times are exponential. */
static void fail_unit(struct sim *s, int first)
{
    const struct sim_group *c = &s->c->groups[s->engines[first].group];
    double device, rate = failures_per_h(s, first, &device);
    int end, n = unit_engines(s, first, &end);
    s->out->failures++;
    if (rng_next_unit(&s->failure_draws) * rate < device) {
        int one = first + (int)rng_below(&s->failure_draws, (uint64_t)n);
        add_reason(s, one, 1);
        after_hours(s, c->device_repair_h * draw_exponential(&s->failure_draws), EV_ENGINE_UP, one);
    } else {
        for (int i = first; i < end; i++)
            add_reason(s, i, 1);
        after_hours(s, c->unit_repair_h * draw_exponential(&s->failure_draws), EV_UNIT_UP, first);
    }
    schedule_unit_failure(s, first);
}

static void site_event(struct sim *s, int site, bool down)
{
    const struct sim_site *c = &s->c->sites[site];
    for (int i = 0; i < s->engine_count; i++)
        if (s->c->groups[s->engines[i].group].site == site)
            add_reason(s, i, down ? 1 : -1);
    s->out->failures += down;
    double mean = down ? c->repair_h : c->mtbf_h;
    after_hours(s, mean * draw_exponential(&s->failure_draws), down ? EV_SITE_UP : EV_SITE_FAIL, site);
}

static void handle(struct sim *s, const struct event *ev)
{
    int end;
    switch (ev->kind) {
    case EV_ARRIVAL:
        arrive(s, ev->who);
        break;
    case EV_STEP:
        if (s->engines[ev->who].version == ev->version)
            engine_step_done(s, ev->who);
        break;
    case EV_UNIT_FAIL:
        fail_unit(s, ev->who);
        break;
    case EV_ENGINE_UP:
        add_reason(s, ev->who, -1);
        break;
    case EV_UNIT_UP:
        unit_engines(s, ev->who, &end);
        for (int i = ev->who; i < end; i++)
            add_reason(s, i, -1);
        break;
    default:
        site_event(s, ev->who, ev->kind == EV_SITE_FAIL);
    }
}

/* ---- set up, run, sum up */

static const struct list empty = { -1, -1, 0 };

static void set_up_group(struct sim *s, int g)
{
    const struct sim_group *c = &s->c->groups[g];
    struct group *out = &s->groups[g];
    out->first_engine = s->engine_count;
    out->queue = out->held = empty;
    out->kv_blocks = (int64_t)((double)c->kv_tokens / SIM_BLOCK_TOKENS / s->sample);
    out->batch_max = (int)fmax(1, c->batch_max / s->sample);
    out->fluid_at_ns = -2000000000;
    out->ups = mem_new((size_t)c->engines, sizeof *out->ups);
    out->idle = mem_new((size_t)c->engines, sizeof *out->idle);
    for (int i = 0; i < c->engines; i++) {
        int id = s->engine_count++;
        struct engine *e = &s->engines[id];
        *e = (struct engine){ .group = g, .waiting = empty, .prefill = empty, .running = empty, .pool_at = -1 };
        e->prefix = c->prefix_blocks > 0 ? prefix_new(c->prefix_blocks) : NULL;
        out->ups[out->up++] = id;
        if (c->central)
            sim_idle_set(s, id, true);
    }
    for (int i = 0; i < c->engines; i += c->engines_per_unit)
        schedule_unit_failure(s, out->first_engine + i);
}

static void set_up(struct sim *s)
{
    const struct sim_config *c = s->c;
    int engines = 0;
    for (int g = 0; g < c->group_count; g++)
        engines += c->groups[g].engines;
    s->engines = mem_new((size_t)engines + 1, sizeof *s->engines);
    s->free_request = -1;
    s->end_ns = (int64_t)(c->seconds * NS);
    s->warm_ns = (int64_t)(c->warmup_s * NS);
    s->route_draws.seed = c->seed * 3 + 1;
    s->failure_draws.seed = c->seed * 3 + 2;
    for (int g = 0; g < c->group_count; g++)
        set_up_group(s, g);
    for (int l = 0; l < c->site_count; l++)
        if (c->sites[l].mtbf_h > 0)
            after_hours(s, c->sites[l].mtbf_h * draw_exponential(&s->failure_draws), EV_SITE_FAIL, l);
    for (int i = 0; i < c->stream_count; i++) {
        s->streams[i].draws.seed = (c->seed * 3) ^ ((uint64_t)(i + 1) << 40);
        schedule_arrival(s, i);
    }
}

static void run(struct sim *s)
{
    struct event ev;
    while (events_pop(&s->events, &ev)) {
        if (!s->c->drain && ev.at_ns >= s->end_ns)
            break;
        if (s->c->drain && s->now >= s->end_ns && !s->in_system)
            break;
        s->now = ev.at_ns;
        handle(s, &ev);
        if (!(++s->out->events % PROGRESS_EVENTS) && s->c->progress)
            s->c->progress(s->c->arg, (double)s->now / NS);
    }
    if (!s->c->drain && s->now < s->end_ns)
        s->now = s->end_ns;
    count_in_system(s, 0);
}

/* The percentile of all, and 95 % confidence from those of the batches (Student's t, 19 degrees: 2.093). */
static struct sim_estimate estimate(struct hist *const *batches, int lists, int stride, double p)
{
    struct hist *all = MEM_NEW(struct hist), *one = MEM_NEW(struct hist);
    double sum = 0, squares = 0, n = 0;
    for (int b = 0; b < SIM_BATCHES; b++) {
        memset(one, 0, sizeof *one);
        for (int i = 0; i < lists; i++)
            if (batches[i * stride + b])
                hist_merge(one, batches[i * stride + b]);
        hist_merge(all, one);
        if (one->count > 0) {
            double v = hist_percentile(one, p) / 1e6;
            sum += v;
            squares += v * v;
            n++;
        }
    }
    struct sim_estimate out = { hist_percentile(all, p) / 1e6, INFINITY };
    double variance = n > 1 ? fmax(0, (squares - sum * sum / n) / (n - 1)) : 0;
    if (n > 1)
        out.half_width = 2.093 * sqrt(variance / n);
    mem_free(all);
    mem_free(one);
    return out;
}

static void sum_up_stream(struct sim *s, int i)
{
    static const double at[3] = { 50, 90, 99 };
    const struct sim_stream *c = &s->c->streams[i];
    struct sim_stream_result *out = &s->out->streams[i];
    struct stream *st = &s->streams[i];
    struct hist **itl = mem_new((size_t)c->route_count * SIM_BATCHES, sizeof(struct hist *));
    for (int k = 0; k < c->route_count; k++)
        memcpy(itl + k * SIM_BATCHES, s->groups[c->routes[k].group].itl, sizeof s->groups[0].itl);
    double counted_s = (double)(s->end_ns - s->warm_ns) / NS;
    out->arrived = st->arrived;
    out->finished = st->finished;
    out->lost = st->lost;
    out->tokens_per_s = st->tokens / counted_s;
    for (int p = 0; p < 3; p++) {
        out->ttft_ms[p] = estimate(st->ttft, 1, SIM_BATCHES, at[p]);
        out->e2e_ms[p] = estimate(st->e2e, 1, SIM_BATCHES, at[p]);
        out->itl_ms[p] = estimate(itl, c->route_count, SIM_BATCHES, at[p]);
    }
    mem_free(itl);
}

static void sum_up(struct sim *s)
{
    double counted_s = (double)(s->end_ns - s->warm_ns) / NS;
    for (int i = 0; i < s->c->stream_count; i++)
        sum_up_stream(s, i);
    for (int g = 0; g < s->c->group_count; g++) {
        const struct group *in = &s->groups[g];
        struct sim_group_result *out = &s->out->groups[g];
        double engine_ns = (double)s->now * fmax(1, s->c->groups[g].engines);
        out->tokens_per_s = in->tokens / counted_s;
        out->busy = in->busy_ns / fmax(1, engine_ns);
        out->batch_mean = in->busy_ns > 0 ? in->batch_ns / in->busy_ns : 0;
        out->wait_mean_ms = in->waits > 0 ? in->wait_ns / in->waits / 1e6 : 0;
        out->up = (in->up_ns + in->up * (double)s->now) / fmax(1, engine_ns);
        out->preemptions = in->preemptions;
        out->kv_peak = in->kv_peak;
        out->prefix_hit = in->prefix_blocks > 0 ? in->prefix_hits / in->prefix_blocks : 0;
        s->out->tokens_per_s += out->tokens_per_s;
    }
    s->out->simulated_s = (double)s->now / NS;
}

static void tear_down(struct sim *s)
{
    for (int i = 0; i < s->engine_count; i++) {
        mem_free(s->engines[i].heap);
        prefix_free(s->engines[i].prefix);
        pages_free(s->engines[i].pages);
    }
    for (int g = 0; g < s->c->group_count; g++) {
        mem_free(s->groups[g].ups);
        mem_free(s->groups[g].idle);
        for (int b = 0; b < SIM_BATCHES; b++)
            mem_free(s->groups[g].itl[b]);
    }
    for (int i = 0; i < s->c->stream_count; i++)
        for (int b = 0; b < SIM_BATCHES; b++) {
            mem_free(s->streams[i].ttft[b]);
            mem_free(s->streams[i].e2e[b]);
        }
    events_release(&s->events);
    mem_free(s->requests);
    mem_free(s->engines);
    mem_free(s);
}

static enum err_code check_config(const struct sim_config *c, struct err *e)
{
    int engines = 0;
    if (!(c->seconds > c->warmup_s) || c->warmup_s < 0 || c->sample < 1 || (c->sample > 1 && !c->coalesce))
        return err_set(e, ERR_INVALID, "simulate for longer than the warm-up; sampling 1:K needs coalesced steps");
    for (int g = 0; g < c->group_count; g++) {
        const struct sim_group *q = &c->groups[g];
        if (q->engines < 0 || q->engines_per_unit < 1 || q->batch_max < 1 || q->chunk_max < 1 || q->slow < 1 ||
            q->kv_tokens < SIM_BLOCK_TOKENS || step_ms(&q->step, 1, 0, 0, 0) * 1e6 < 1)
            return err_set(e, ERR_INVALID, "group %d of engines has no size, memory, batch or step time", g);
        engines += q->engines;
        const struct sim_pace *p = &q->pace;
        if (p->on && (q->central || c->sample > 1 || p->page_tokens < 1 || TRACE_BLOCK_TOKENS % p->page_tokens ||
                      p->batch_rows < q->batch_max || p->prefill_rows < 1))
            return err_set(e, ERR_INVALID, "group %d: a scheduler needs rows for its whole batch, pages that divide "
                           "%d tokens, a queue for each engine and no sampling", g, TRACE_BLOCK_TOKENS);
    }
    if (engines > SIM_ENGINES_MAX)
        return err_set(e, ERR_LIMIT, "%d engines; at most %d can be simulated", engines, SIM_ENGINES_MAX);
    for (int i = 0; i < c->stream_count; i++)
        if (!c->streams[i].route_count || (c->streams[i].trace && !(c->streams[i].trace_speed > 0)))
            return err_set(e, ERR_INVALID, "stream %d of requests has no group to go to, or no speed", i);
    return ERR_OK;
}

enum err_code sim_run(const struct sim_config *c, struct sim_result *out, struct err *e)
{
    enum err_code code = check_config(c, e);
    if (code)
        return code;
    int64_t began = clock_mono_ns();
    struct sim *s = MEM_NEW(struct sim);
    memset(out, 0, sizeof *out);
    s->c = c;
    s->out = out;
    s->sample = c->sample;
    set_up(s);
    run(s);
    sum_up(s);
    tear_down(s);
    out->wall_s = (double)(clock_mono_ns() - began) / 1e9;
    return ERR_OK;
}
