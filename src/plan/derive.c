/* derive -- what follows from a scenario's figures: volumes, step models, machine rates, allowed routes, prices.
 *
 * Every formula here is stated once and used by optimiser, checker, simulator and report. */
#include "base/assert.h"
#include "plan/scenario.h"

#include <math.h>
#include <stdio.h>

#define DAY_S 86400.0
/* The mean step is planned at this share of the inter-token limit, so that its 99th percentile holds. */
#define ITL_HEADROOM 0.8
/* A benchmark gives one point. Of its step time this share is taken as fixed (weights read, launches), the
 * rest grows with the batch; one prompt token costs this share of a decoded one. */
#define BENCH_FIXED 0.35
#define BENCH_PREFILL 0.125
#define MEMORY_USABLE 0.9

static void derive_volumes(struct scenario *s)
{
    for (int d = 0; d < s->demand_count; d++) {
        struct plan_demand *dem = &s->demands[d];
        if (dem->twin >= 0) {
            const struct plan_demand *base = &s->demands[dem->twin];
            dem->output0 = base->output0;
            dem->growth = base->growth;
            dem->input = base->input;
            dem->output = base->output;
            dem->cached = base->cached;
            dem->penalty = base->penalty;
            for (int l = 0; l < s->site_count; l++)
                dem->latency_ms[l] = base->latency_ms[l];
            for (int t = 0; t < s->quarters; t++)
                dem->volume[t] = base->volume[t];
        }
        dem->unmet = dem->penalty >= 0 ? dem->penalty : s->finance.unmet_penalty;
        for (int t = 0; t < s->quarters; t++) {
            double mtok_day = dem->output0 >= 0 ? dem->output0 * pow(1 + dem->growth, t / 4.0) : dem->volume[t];
            dem->rate[t] = mtok_day * 1e6 / DAY_S * dem->share;
        }
    }
}

static void derive_load(struct scenario *s, int c)
{
    double weight = 0, input = 0, output = 0, cached = 0;
    for (int d = 0; d < s->demand_count; d++) {
        const struct plan_demand *dem = &s->demands[d];
        if (dem->cls != c)
            continue;
        double requests = 1e-12;
        for (int t = 0; t < s->quarters; t++)
            requests += dem->rate[t] / dem->output;
        weight += requests;
        input += requests * dem->input;
        output += requests * dem->output;
        cached += requests * dem->input * dem->cached;
    }
    s->classes[c].load = (struct step_load){ input / weight, output / weight, cached / input };
}

/* The step model behind a benchmark's rate: at the batch it ran, the step takes ITL_HEADROOM of its limit. */
static void derive_step(struct plan_perf *p)
{
    if (p->has_step)
        return;
    double step = ITL_HEADROOM * p->itl_ms, batch = p->rate / p->replicas * step / 1000;
    double per_sequence = (1 - BENCH_FIXED) * step / (batch * (1 + BENCH_PREFILL * p->input / p->output));
    p->step = (struct step_model){ .a = BENCH_FIXED * step, .b = BENCH_PREFILL * per_sequence, .c = per_sequence };
    p->batch_max = batch; /* what was not measured is not promised */
}

static void derive_theta(struct scenario *s, struct plan_class *c, int h, double derate)
{
    const struct plan_hardware *hw = &s->hw[h];
    const struct plan_perf *p = &hw->perf[c->model];
    const struct plan_model *m = &s->models[c->model];
    c->theta[h] = c->theta_full[h] = c->batch[h] = c->service_ms[h] = 0;
    if (!p->given)
        return;
    double kv_gb = hw->devices * hw->memory_gb * MEMORY_USABLE / p->replicas - m->weights_gb;
    double by_memory = kv_gb * 1e9 / (m->kv_bytes * (c->load.input + c->load.output));
    double batch = step_batch_for(&p->step, &c->load, ITL_HEADROOM * s->slos[c->slo].itl_ms,
                                  fmin(p->batch_max, by_memory));
    if (batch < 1)
        return;
    double fresh = c->load.input * (1 - c->load.cached);
    double service = step_at_batch(&p->step, &c->load, batch) +
                     step_ms(&p->step, fresh, 0, 0, fresh * (c->load.input * c->load.cached + fresh / 2)) - p->step.a;
    if (service > s->slos[c->slo].ttft_ms)
        return;
    c->batch[h] = batch;
    c->service_ms[h] = service;
    c->theta_full[h] = p->replicas * step_rate(&p->step, &c->load, batch);
    c->theta[h] = derate * c->theta_full[h];
}

static void derive_routes(struct scenario *s)
{
    for (int d = 0; d < s->demand_count; d++) {
        struct plan_demand *dem = &s->demands[d];
        const struct plan_class *c = &s->classes[dem->cls];
        for (int l = 0; l < s->site_count; l++)
            dem->route_ok[l] = dem->place_ok[s->sites[l].place] &&
                               dem->latency_ms[l] + c->service_max_ms <= s->slos[dem->slo].ttft_ms;
    }
}

void scenario_derive(struct scenario *s)
{
    derive_volumes(s);
    for (int h = 0; h < s->hw_count; h++)
        for (int m = 0; m < s->model_count; m++)
            if (s->hw[h].perf[m].given)
                derive_step(&s->hw[h].perf[m]);
    for (int c = 0; c < s->class_count; c++) {
        derive_load(s, c);
        s->classes[c].service_max_ms = 0;
        for (int h = 0; h < s->hw_count; h++) {
            derive_theta(s, &s->classes[c], h, s->derate[c]);
            if (s->classes[c].theta[h] > 0)
                s->classes[c].service_max_ms = fmax(s->classes[c].service_max_ms, s->classes[c].service_ms[h]);
        }
    }
    derive_routes(s);
}

double scenario_price(const struct scenario *s, int h, int supplier, int t)
{
    const struct plan_hardware *hw = &s->hw[h];
    return hw->price * s->suppliers[supplier].offers[h].price_factor * pow(1 + hw->price_change, t / 4.0);
}

double scenario_uplift(const struct scenario *s, int h, int supplier, int site)
{
    const struct plan_supplier *sup = &s->suppliers[supplier];
    int place = s->sites[site].place;
    double duty = sup->duty[place] >= 0 ? sup->duty[place] : place == sup->country ? 0 : sup->duty_abroad;
    return 1 + sup->freight + duty + s->hw[h].network;
}

double scenario_capacity(const struct scenario *s, int h, int supplier, int t)
{
    const struct plan_offer *o = &s->suppliers[supplier].offers[h];
    return o->given ? floor(o->capacity * pow(1 + o->capacity_growth, t / 4.0) + 1e-9) : 0;
}

int scenario_life_q(const struct scenario *s, int h)
{
    return (int)fmax(1, round(4 * s->hw[h].life_y));
}

void scenario_quarter_name(const struct scenario *s, int t, char out[16])
{
    int q = s->start_quarter - 1 + t;
    int year = s->start_year + (q >= 0 ? q / 4 : (q - 3) / 4);
    ASSERT(year > 1900 && year < 3000);
    snprintf(out, 16, "%04d-Q%d", year, (q % 4 + 4) % 4 + 1);
}
