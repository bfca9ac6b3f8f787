/* tco -- see tco.h. */
#include "plan/tco.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#define HOURS_A_YEAR 8760.0
#define SPREAD 0.2
enum { DRAWS = 4000 };

double tco_crf(double rate, double years)
{
    if (rate <= 0)
        return 1 / years;
    double growth = pow(1 + rate, years);
    return rate * growth / (growth - 1);
}

/* Machine-ms of one request's fresh prompt, cached prompt and answer. Reading a prompt's keys while the answer
 * is written is counted to the prompt; the fixed part of a step to the answers it serves. */
static void request_ms(const struct tco_input *in, double ms[3])
{
    const struct step_model *m = &in->step;
    const struct step_load *l = &in->load;
    double held = l->input * l->cached, fresh = l->input - held;
    double batch = fmax(1, in->batch);
    ms[0] = m->b * fresh + m->e * fresh * fresh / 2 + m->d * fresh * l->output;
    ms[1] = m->e * fresh * held + m->d * held * l->output;
    ms[2] = (m->a / batch + m->c) * l->output + m->d * l->output * l->output / 2;
    if (ms[0] + ms[1] + ms[2] <= 0)
        ms[2] = 1;
}

static void split_by_kind(const struct tco_input *in, struct tco_result *out)
{
    double ms[3];
    request_ms(in, ms);
    double all = ms[0] + ms[1] + ms[2], requests = out->mtok * 1e6 / in->load.output;
    double usd_request = requests > 0 ? out->total / requests : 0;
    double held = in->load.input * in->load.cached, fresh = in->load.input - held;
    out->share_in = ms[0] / all;
    out->share_cached = ms[1] / all;
    out->share_out = ms[2] / all;
    out->usd_in = fresh > 0 ? usd_request * out->share_in / fresh * 1e6 : 0;
    out->usd_cached = held > 0 ? usd_request * out->share_cached / held * 1e6 : 0;
    out->usd_out = usd_request * out->share_out / in->load.output * 1e6;
}

static void compare(const struct tco_input *in, struct tco_result *out, double idle_usd, double busy_usd)
{
    double per_out = in->load.input / in->load.output;
    out->api_per_mtok = in->api_out + per_out * ((1 - in->load.cached) * in->api_in + in->load.cached *
                                                 in->api_cached);
    out->api_usd = out->api_per_mtok * out->mtok;
    double fixed = out->annuity + out->maintenance + out->staff + out->rent + idle_usd;
    double full_mtok = in->units * in->rate * HOURS_A_YEAR * 3600 / 1e6;
    double margin = out->api_per_mtok * full_mtok - busy_usd; /* per year at full utilisation */
    out->breakeven_utilisation = margin > 0 ? fixed / margin : INFINITY;
    double running = out->total - out->annuity, saved = out->api_usd - running;
    out->payback_y = saved > 0 ? out->capex / saved : INFINITY;
    double devices = in->units * in->devices, own_hour = running / HOURS_A_YEAR / devices;
    double gain = in->cloud_hour - own_hour;
    out->breakeven_hours = gain > 0 ? out->capex / devices / gain : INFINITY;
}

void tco_compute(const struct tco_input *in, struct tco_result *out)
{
    *out = (struct tco_result){ 0 };
    double idle_kwh = in->units * in->power_idle / 1000 * in->pue * HOURS_A_YEAR;
    double full_kwh = in->units * (in->power_load - in->power_idle) / 1000 * in->pue * HOURS_A_YEAR;
    out->crf = tco_crf(in->discount, in->life_y);
    out->capex = in->units * in->price * (1 + in->uplift);
    double resale = in->units * in->price * in->resale / pow(1 + in->discount, in->life_y);
    out->annuity = (out->capex - resale) * out->crf;
    out->kwh = idle_kwh + full_kwh * in->utilisation;
    out->energy = out->kwh * in->power_price;
    out->maintenance = in->units * in->price * in->maintenance;
    out->staff = in->staff;
    out->rent = in->units * in->power_load / 1000 * in->rent * 12;
    out->total = out->annuity + out->energy + out->maintenance + out->staff + out->rent;
    out->mtok = in->units * in->rate * in->utilisation * HOURS_A_YEAR * 3600 / 1e6;
    out->usd_per_mtok = out->mtok > 0 ? out->total / out->mtok : INFINITY;
    out->kwh_per_mtok = out->mtok > 0 ? out->kwh / out->mtok : INFINITY;
    out->usd_device_hour = out->total / HOURS_A_YEAR / (in->units * in->devices);
    split_by_kind(in, out);
    compare(in, out, idle_kwh * in->power_price, full_kwh * in->power_price);
}

/* ---- how sure */

static const struct { const char *name; size_t at; } uncertain[] = {
    { "price", offsetof(struct tco_input, price) },         { "life", offsetof(struct tco_input, life_y) },
    { "discount", offsetof(struct tco_input, discount) },   { "power price", offsetof(struct tco_input,
        power_price) },
    { "power", offsetof(struct tco_input, power_load) },    { "PUE", offsetof(struct tco_input, pue) },
    { "rate", offsetof(struct tco_input, rate) },           { "utilisation", offsetof(struct tco_input,
        utilisation) },
    { "maintenance", offsetof(struct tco_input, maintenance) }, { "staff", offsetof(struct tco_input, staff) },
};

static double with_factor(const struct tco_input *in, size_t at, double factor)
{
    struct tco_input moved = *in;
    struct tco_result r;
    *(double *)((char *)&moved + at) *= factor;
    moved.utilisation = fmin(1, moved.utilisation);
    moved.pue = fmax(1, moved.pue);
    tco_compute(&moved, &r);
    return r.usd_per_mtok;
}

static int by_value(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static int by_width(const void *a, const void *b)
{
    const struct tco_bar *x = a, *y = b;
    double wx = fabs(x->high - x->low), wy = fabs(y->high - y->low);
    return wx < wy ? 1 : wx > wy ? -1 : 0;
}

void tco_spread(const struct tco_input *in, uint64_t seed, struct tco_spread *out)
{
    struct rng rng = { seed, 0 };
    double *v = mem_new(DRAWS, sizeof *v);
    *out = (struct tco_spread){ 0 };
    for (size_t i = 0; i < MEM_COUNT(uncertain); i++) {
        struct tco_bar bar = { uncertain[i].name, with_factor(in, uncertain[i].at, 1 - SPREAD),
                               with_factor(in, uncertain[i].at, 1 + SPREAD) };
        if (fabs(bar.high - bar.low) > 1e-12)
            out->bars[out->bar_count++] = bar;
    }
    qsort(out->bars, (size_t)out->bar_count, sizeof out->bars[0], by_width);
    for (int k = 0; k < DRAWS; k++) {
        struct tco_input moved = *in;
        struct tco_result r;
        for (size_t i = 0; i < MEM_COUNT(uncertain); i++) /* the sum of two uniforms is a triangle */
            *(double *)((char *)&moved + uncertain[i].at) *=
                1 + SPREAD * (rng_next_unit(&rng) + rng_next_unit(&rng) - 1);
        moved.utilisation = fmin(1, moved.utilisation);
        moved.pue = fmax(1, moved.pue);
        tco_compute(&moved, &r);
        v[k] = r.usd_per_mtok;
    }
    qsort(v, DRAWS, sizeof *v, by_value);
    out->p10 = v[DRAWS / 10];
    out->p50 = v[DRAWS / 2];
    out->p90 = v[DRAWS * 9 / 10];
    mem_free(v);
}

/* ---- JSON */

static const struct { const char *name; size_t at; double min, max, deflt; } inputs[] = {
#define IN(field, min, max, deflt) { #field, offsetof(struct tco_input, field), min, max, deflt }
    IN(units, 1e-6, 1e9, 1), IN(devices, 1, 1e6, 1), IN(price, 0, 1e12, 0), IN(uplift, 0, 10, 0), IN(life_y, 0.1,
        50, 5),
    IN(discount, 0, 1, 0.08), IN(resale, 0, 1, 0), IN(power_load, 0, 1e9, 0), IN(power_idle, 0, 1e9, 0),
    IN(pue, 1, 4, 1.3), IN(power_price, 0, 10, 0.1), IN(maintenance, 0, 1, 0.03), IN(staff, 0, 1e12, 0),
    IN(rent, 0, 1e5, 0), IN(rate, 1e-9, 1e12, 1), IN(utilisation, 1e-6, 1, 0.5), IN(batch, 1, 1e7, 1),
    IN(replicas, 1, 1e5, 1), IN(api_in, 0, 1e6, 0), IN(api_cached, 0, 1e6, 0), IN(api_out, 0, 1e6, 0),
    IN(cloud_hour, 0, 1e5, 0),
#undef IN
    { "input", offsetof(struct tco_input, load.input), 0, 1e8, 1000 },
    { "output", offsetof(struct tco_input, load.output), 1, 1e8, 300 },
    { "cached", offsetof(struct tco_input, load.cached), 0, 0.99, 0 },
    { "step_a", offsetof(struct tco_input, step.a), 0, 1e6, 0 }, { "step_b", offsetof(struct tco_input, step.b), 0,
                                                                  1e6, 0 },
    { "step_c", offsetof(struct tco_input, step.c), 0, 1e6, 0 }, { "step_d", offsetof(struct tco_input, step.d), 0,
                                                                  1e6, 0 },
    { "step_e", offsetof(struct tco_input, step.e), 0, 1e6, 0 },
};

static const struct { const char *name; size_t at; } outputs[] = {
#define OUT(field) { #field, offsetof(struct tco_result, field) }
    OUT(crf), OUT(capex), OUT(annuity), OUT(energy), OUT(maintenance), OUT(staff), OUT(rent), OUT(total), OUT(kwh),
    OUT(kwh_per_mtok), OUT(mtok), OUT(usd_per_mtok), OUT(usd_in), OUT(usd_cached), OUT(usd_out), OUT(share_in),
    OUT(share_cached), OUT(share_out), OUT(usd_device_hour), OUT(api_usd), OUT(api_per_mtok),
    OUT(breakeven_utilisation), OUT(breakeven_hours), OUT(payback_y),
#undef OUT
};

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *tco_to_json(const struct tco_input *in)
{
    struct tco_result r;
    struct tco_spread s;
    json_t *out = json_object(), *given = json_object(), *bars = json_array();
    tco_compute(in, &r);
    tco_spread(in, 1, &s);
    for (size_t i = 0; i < MEM_COUNT(inputs); i++)
        json_object_set_new(given, inputs[i].name, number(*(const double *)((const char *)in + inputs[i].at)));
    json_object_set_new(out, "inputs", given);
    for (size_t i = 0; i < MEM_COUNT(outputs); i++)
        json_object_set_new(out, outputs[i].name, number(*(const double *)((const char *)&r + outputs[i].at)));
    for (int i = 0; i < s.bar_count; i++)
        json_array_append_new(bars, json_pack("{s:s,s:o,s:o}", "name", s.bars[i].name, "low", number(s.bars[i].low),
                                              "high", number(s.bars[i].high)));
    json_object_set_new(out, "spread", json_pack("{s:o,s:o,s:o,s:o}", "p10", number(s.p10), "p50", number(s.p50),
                                                 "p90", number(s.p90), "bars", bars));
    return out;
}

json_t *tco_json(const json_t *in, struct err *e)
{
    struct tco_input input = { 0 };
    for (size_t i = 0; i < MEM_COUNT(inputs); i++) {
        double *at = (double *)((char *)&input + inputs[i].at);
        *at = inputs[i].deflt;
        if (jsonx_get_double(in, inputs[i].name, inputs[i].min, inputs[i].max, at, e))
            return NULL;
    }
    return tco_to_json(&input);
}
