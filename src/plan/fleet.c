/* fleet -- see fleet.h.
 *
 * A group is (hardware, site, model): the classes of one model share engines, which keep to the tightest of their
 * inter-token limits. Machines that several models share are split by assignment; a part of an engine becomes a
 * whole one slowed down, by no more than the number of models that take turns on it. */
#include "plan/fleet.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

#define MEMORY_USABLE 0.9
#define BATCH_ITL 0.95         /* an engine admits up to the batch whose step takes this share of the ITL limit */
#define LENGTH_SIGMA 0.6       /* of the logarithm of prompt and answer lengths: half to double */
enum { CHUNK_MIN = 256, CHUNK_MAX = 8192, SAMPLED_BATCH = 64, COUNTED_REQUESTS = 40000, REQUESTS_MAX = 80000 };

/* Units assigned to a model (-1: to all) at a site, and in *models how many models have any. */
static double assigned(const struct decision *d, int h, int l, int model, int t, int *models)
{
    double sum = 0, by_model[MODELS_MAX] = { 0 };
    for (int c = 0; c < d->s->class_count; c++) {
        double n = *decision_assign(d, h, l, c, t);
        by_model[d->s->classes[c].model] += n;
        sum += model < 0 || d->s->classes[c].model == model ? n : 0;
    }
    for (int m = 0; m < MODELS_MAX && models; m++)
        *models += by_model[m] > 1e-6;
    return sum;
}

/* The tightest inter-token limit and the weighted request of a model's classes here. */
static double tightest(const struct decision *d, int h, int l, int model, int t, struct step_load *load)
{
    const struct scenario *s = d->s;
    double itl = INFINITY, all = 0;
    *load = (struct step_load){ 0 };
    for (int c = 0; c < s->class_count; c++) {
        const struct plan_class *cl = &s->classes[c];
        double n = *decision_assign(d, h, l, c, t);
        if (cl->model != model || n <= 1e-6)
            continue;
        itl = fmin(itl, s->slos[cl->slo].itl_ms);
        all += n;
        load->input += n * cl->load.input;
        load->output += n * cl->load.output;
        load->cached += n * cl->load.cached;
    }
    *load = (struct step_load){ load->input / all, load->output / all, load->cached / all };
    return itl;
}

/* An engine that is `tokenworks serve` batches what comes; nothing is derived from the limits it should keep. */
static void fill_pace(const struct plan_serving *v, struct sim_group *g)
{
    g->batch_max = (int)v->running_max;
    g->kv_tokens = (int64_t)v->kv_tokens;
    g->pace = (struct sim_pace){ true, v->target_itl_ms, v->target_ttft_ms, (int)v->batch_rows, (int)v->prefill_rows,
                                 (int)v->page, (int)v->shared_prefix };
}

static void fill_group(const struct decision *d, int h, int l, int model, int t, const struct fleet_options *o,
                       struct sim_group *g)
{
    const struct scenario *s = d->s;
    const struct plan_hardware *hw = &s->hw[h];
    const struct plan_perf *p = &hw->perf[model];
    const struct plan_model *m = &s->models[model];
    struct step_load load;
    int models = 0;
    double itl = tightest(d, h, l, model, t, &load), replicas = floor(p->replicas);
    double share = assigned(d, h, l, model, t, NULL) / assigned(d, h, l, -1, t, &models);
    double engines = fmax(1e-3, decision_installed(d, h, l, t) * share * replicas);
    g->engines = (int)ceil(engines - 1e-9);
    g->slow = fmax(1, fmin(g->engines / engines, models));
    g->engines_per_unit = (int)replicas;
    g->step = p->step;
    g->batch_max = (int)fmax(1, step_batch_for(&p->step, &load, BATCH_ITL * itl / g->slow, p->batch_max));
    double decode = step_ms(&p->step, 0, g->batch_max, g->batch_max * (load.input + load.output / 2), 0);
    double slack = (itl / g->slow - decode) / fmax(1e-9, p->step.b);
    g->chunk_max = (int)fmin(CHUNK_MAX, fmax(CHUNK_MIN, slack));
    double kv_gb = hw->devices * hw->memory_gb * MEMORY_USABLE / p->replicas - m->weights_gb;
    g->kv_tokens = (int64_t)fmax(SIM_BLOCK_TOKENS, kv_gb * 1e9 / m->kv_bytes);
    g->site = l;
    if (p->has_serving)
        fill_pace(&p->serving, g);
    if (o->failures) {
        g->device_mtbf_h = hw->device_mtbf_h * p->replicas / hw->devices;
        g->unit_mtbf_h = hw->unit_mtbf_h;
        g->device_repair_h = hw->device_repair_h;
        g->unit_repair_h = hw->unit_repair_h;
    }
}

static void add_route(struct sim_stream *st, int group, double weight, double latency_ms)
{
    if (st->route_count < SIM_ROUTES_MAX && weight > 0)
        st->routes[st->route_count++] = (struct sim_route){ group, weight, (int64_t)(latency_ms * 1e6) };
}

static void fill_stream(const struct decision *d, int k, int t, const struct fleet_options *o,
                        const int group_at[HW_MAX][SITES_MAX][MODELS_MAX], struct sim_stream *st)
{
    const struct scenario *s = d->s;
    const struct plan_demand *dem = &s->demands[k];
    double flow = 0;
    for (int l = 0; l < s->site_count; l++) {
        double here = *decision_flow(d, k, l, t), capacity = 0;
        flow += here;
        for (int h = 0; h < s->hw_count; h++)
            capacity += s->classes[dem->cls].theta[h] * *decision_assign(d, h, l, dem->cls, t);
        for (int h = 0; h < s->hw_count && here > 0 && capacity > 0; h++)
            if (group_at[h][l][dem->model] >= 0)
                add_route(st, group_at[h][l][dem->model],
                          here * s->classes[dem->cls].theta[h] * *decision_assign(d, h, l, dem->cls, t) / capacity,
                          dem->latency_ms[l]);
    }
    st->rate = flow * dem->peak * o->load / dem->output;
    st->input = (struct sim_length){ SIM_LOGNORMAL, dem->input, LENGTH_SIGMA };
    st->output = (struct sim_length){ SIM_LOGNORMAL, dem->output, LENGTH_SIGMA };
    st->cached = dem->cached;
}

/* K so that an engine still holds SAMPLED_BATCH drawn sequences; 1 for small fleets. */
static int choose_sample(const struct sim_config *c, double requests)
{
    int least = 1 << 20;
    for (int g = 0; g < c->group_count; g++) {
        if (c->groups[g].pace.on)
            return 1;
        least = c->groups[g].batch_max < least ? c->groups[g].batch_max : least;
    }
    int k = least / SAMPLED_BATCH, needed = (int)ceil(requests / REQUESTS_MAX);
    k = k < needed ? k : needed;
    return k < 1 ? 1 : k;
}

static void choose_time(const struct decision *d, const struct fleet_options *o, struct sim_config *c,
                        const int *demand_of)
{
    double rate = 0, longest_s = 1;
    for (int i = 0; i < c->stream_count; i++) {
        const struct plan_demand *dem = &d->s->demands[demand_of[i]];
        rate += c->streams[i].rate;
        longest_s = fmax(longest_s, dem->output * d->s->slos[dem->slo].itl_ms / 1000);
    }
    c->warmup_s = o->seconds > 0 ? fmin(4 * longest_s, o->seconds / 3) : 4 * longest_s;
    c->seconds = o->seconds > 0 ? o->seconds : c->warmup_s + fmin(3600, fmax(300, COUNTED_REQUESTS / fmax(1e-9,
        rate)));
    c->coalesce = !o->exact;
    c->sample = o->exact ? 1 : o->sample ? o->sample : choose_sample(c, rate * c->seconds);
}

void fleet_config(const struct decision *d, int t, const struct fleet_options *o, struct sim_config *out,
                  int demand_of[SIM_STREAMS_MAX], int group_hw[SIM_GROUPS_MAX])
{
    const struct scenario *s = d->s;
    int group_at[HW_MAX][SITES_MAX][MODELS_MAX];
    memset(group_at, 0xff, sizeof group_at); /* all -1 */
    *out = (struct sim_config){ .seed = o->seed, .site_count = s->site_count };
    for (int l = 0; l < s->site_count; l++)
        out->sites[l] = o->site_failures ? (struct sim_site){ s->sites[l].mtbf_h, s->sites[l].repair_h }
                                         : (struct sim_site){ 0, 0 };
    for (int h = 0; h < s->hw_count; h++)
        for (int l = 0; l < s->site_count; l++)
            for (int m = 0; m < s->model_count; m++) {
                if (assigned(d, h, l, m, t, NULL) < 1e-6 || !decision_installed(d, h, l, t) ||
                    out->group_count == SIM_GROUPS_MAX)
                    continue;
                group_hw[out->group_count] = h;
                group_at[h][l][m] = out->group_count;
                fill_group(d, h, l, m, t, o, &out->groups[out->group_count++]);
            }
    for (int k = 0; k < s->demand_count && out->stream_count < SIM_STREAMS_MAX; k++) {
        struct sim_stream *st = &out->streams[out->stream_count];
        fill_stream(d, k, t, o, (const int (*)[SITES_MAX][MODELS_MAX])group_at, st);
        if (st->rate > 1e-9 && st->route_count)
            demand_of[out->stream_count++] = k;
        else
            *st = (struct sim_stream){ 0 };
    }
    choose_time(d, o, out, demand_of);
}

static void check_stream(const struct decision *d, int k, int t, const struct sim_stream_result *r,
                         struct slo_report *out)
{
    const struct plan_demand *dem = &d->s->demands[k];
    const struct plan_slo *slo = &d->s->slos[dem->slo];
    struct slo_check c = { .demand = k, .quarter = t, .ttft_ms = r->ttft_ms[2].value,
        .ttft_half = r->ttft_ms[2].half_width, .ttft_limit = slo->ttft_ms, .itl_ms = r->itl_ms[2].value,
        .itl_half = r->itl_ms[2].half_width, .itl_limit = slo->itl_ms, .tokens_per_s = r->tokens_per_s };
    for (int l = 0; l < d->s->site_count; l++)
        c.own_share += dem->rate[t] > 0 ? *decision_flow(d, k, l, t) / dem->rate[t] : 0;
    c.holds = c.ttft_ms <= c.ttft_limit && c.itl_ms <= c.itl_limit && !(r->lost > 0) && (r->finished > 0 ||
        !(r->arrived > 0));
    out->failed += !c.holds;
    out->checks[out->count++] = c;
}

enum err_code fleet_check(const struct decision *d, uint64_t seed, struct slo_report *out, struct err *e)
{
    struct sim_config *c = MEM_NEW(struct sim_config);
    struct sim_result *r = MEM_NEW(struct sim_result);
    int demand_of[SIM_STREAMS_MAX], group_hw[SIM_GROUPS_MAX];
    struct fleet_options o = { .failures = true, .seed = seed, .load = 1 };
    enum err_code code = ERR_OK;
    *out = (struct slo_report){ .checks = mem_new(SLO_CHECKS_MAX, sizeof *out->checks) };
    for (int t = 0; t < d->s->quarters && !code; t++) {
        fleet_config(d, t, &o, c, demand_of, group_hw);
        if (!c->stream_count)
            continue;
        code = sim_run(c, r, e);
        for (int i = 0; i < c->stream_count && !code; i++)
            check_stream(d, demand_of[i], t, &r->streams[i], out);
        out->events += r->events;
        out->wall_s += r->wall_s;
    }
    mem_free(c);
    mem_free(r);
    if (code)
        slo_report_release(out);
    return code;
}

void slo_report_release(struct slo_report *r)
{
    mem_free(r->checks);
    *r = (struct slo_report){ 0 };
}
