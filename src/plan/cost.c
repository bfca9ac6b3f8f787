/* cost -- what a decision costs, quarter by quarter, kind by kind: from the decision, not from the optimiser. */
#include "plan/decision.h"

#include <math.h>
#include <string.h>

const char *const cost_names[COST_KINDS] = { "hardware", "freight, duty, network", "opening sites", "rent", "energy",
    "staff", "maintenance", "API", "penalty for unmet demand", "residual value" };

#define DAYS_A_QUARTER (QUARTER_HOURS / 24)

double cost_discount(const struct scenario *s, double quarters)
{
    return pow(1 + s->finance.discount, -quarters / 4);
}

int cost_company(const struct scenario *s, int supplier)
{
    for (int i = 0; i < supplier; i++)
        if (!strcmp(s->suppliers[i].company, s->suppliers[supplier].company))
            return i;
    return supplier;
}

double cost_hhi(const double *spend, int count)
{
    double total = 0, sum = 0;
    for (int i = 0; i < count; i++)
        total += spend[i];
    for (int i = 0; i < count && total > 0; i++)
        sum += (100 * spend[i] / total) * (100 * spend[i] / total);
    return sum;
}

double cost_load_factor(const struct scenario *s, int c, int t)
{
    double mean = 0, peak = 0;
    for (int d = 0; d < s->demand_count; d++)
        if (s->demands[d].cls == c) {
            mean += s->demands[d].rate[t];
            peak += s->demands[d].rate[t] * s->demands[d].peak;
        }
    return peak > 0 ? mean / peak : 0;
}

static void add_purchases(const struct decision *d, struct cost *out, int h, int sup, int l)
{
    const struct scenario *s = d->s;
    const struct plan_offer *o = &s->suppliers[sup].offers[h];
    double life = scenario_life_q(s, h);
    for (int t = 0; o->given && t < s->quarters; t++) {
        int n = *decision_buy(d, h, sup, l, t);
        if (!n)
            continue;
        double price = n * scenario_price(s, h, sup, t), uplift = price * (scenario_uplift(s, h, sup, l) - 1);
        double age = s->quarters - t - o->lead_q;
        out->by_quarter[t][COST_HARDWARE] += price;
        out->by_quarter[t][COST_UPLIFT] += uplift;
        out->by_quarter[s->quarters - 1][COST_RESIDUAL] -= price * s->hw[h].resale * fmax(0, 1 - age / life);
        out->spend += price;
        out->spend_company[cost_company(s, sup)] += price;
        out->spend_country[s->suppliers[sup].country] += price;
    }
}

static void add_running(const struct decision *d, struct cost *out, int l, int t)
{
    const struct scenario *s = d->s;
    const struct plan_site *site = &s->sites[l];
    double *q = out->by_quarter[t];
    bool open = *decision_open(d, l, t);
    if (open && (t == 0 || !*decision_open(d, l, t - 1)))
        q[COST_OPENING] += site->opening;
    q[COST_STAFF] += open ? site->staff / 4 : 0;
    for (int h = 0; h < s->hw_count; h++) {
        const struct plan_hardware *hw = &s->hw[h];
        double n = decision_installed(d, h, l, t), watts = n * hw->power_idle;
        for (int c = 0; c < s->class_count; c++)
            watts += (hw->power_load - hw->power_idle) * cost_load_factor(s, c, t) * *decision_assign(d, h, l, c, t);
        double kwh = watts / 1000 * site->pue * QUARTER_HOURS;
        q[COST_RENT] += n * hw->power_load / 1000 * site->rent * 3;
        q[COST_MAINTENANCE] += n * hw->price * hw->maintenance / 4;
        q[COST_ENERGY] += kwh * site->power_price;
        out->by_site_energy_kwh[l] += kwh;
        out->kwh += kwh;
        out->co2_kg += kwh * site->co2;
    }
}

static double api_usd_per_mtok(const struct plan_demand *dem, const struct plan_api *q)
{
    double in = dem->input / dem->output;
    return q->out + in * ((1 - dem->cached) * q->in + dem->cached * q->cached);
}

static void add_traffic(const struct decision *d, struct cost *out, int k, int t)
{
    const struct scenario *s = d->s;
    const struct plan_demand *dem = &s->demands[k];
    double mtok = DAYS_A_QUARTER * 86400 / 1e6, served = 0; /* Mtok a quarter per tok/s */
    for (int l = 0; l < s->site_count; l++)
        served += *decision_flow(d, k, l, t) * mtok;
    out->mtok_own += served;
    for (int q = 0; q < s->api_count; q++) {
        double sent = *decision_api(d, k, q, t) * mtok;
        out->by_quarter[t][COST_API] += sent * api_usd_per_mtok(dem, &s->apis[q]);
        served += sent;
    }
    out->by_quarter[t][COST_PENALTY] += *decision_unmet(d, k, t) * mtok * dem->unmet;
    out->mtok += served;
    out->mtok_discounted += served * cost_discount(s, t + 0.5);
}

/* Purchases and openings fall at the quarter's start, running costs in its middle, the sale after the last. */
static double when(int kind, int t, int quarters)
{
    if (kind == COST_HARDWARE || kind == COST_UPLIFT || kind == COST_OPENING)
        return t;
    return kind == COST_RESIDUAL ? quarters : t + 0.5;
}

void cost_of(const struct decision *d, struct cost *out)
{
    const struct scenario *s = d->s;
    double penalty = 0;
    *out = (struct cost){ 0 };
    for (int l = 0; l < s->site_count; l++) {
        for (int h = 0; h < s->hw_count; h++)
            for (int sup = 0; sup < s->supplier_count; sup++)
                add_purchases(d, out, h, sup, l);
        for (int t = 0; t < s->quarters; t++)
            add_running(d, out, l, t);
    }
    for (int k = 0; k < s->demand_count; k++)
        for (int t = 0; t < s->quarters; t++)
            add_traffic(d, out, k, t);
    for (int t = 0; t < s->quarters; t++)
        for (int i = 0; i < COST_KINDS; i++) {
            double discounted = out->by_quarter[t][i] * cost_discount(s, when(i, t, s->quarters));
            out->total[i] += out->by_quarter[t][i];
            out->npv += discounted;
            penalty += i == COST_PENALTY ? discounted : 0;
        }
    out->capex = out->total[COST_HARDWARE] + out->total[COST_UPLIFT] + out->total[COST_OPENING];
    out->usd_per_mtok = out->mtok_discounted > 0 ? (out->npv - penalty) / out->mtok_discounted : 0;
    out->hhi = cost_hhi(out->spend_company, s->supplier_count);
}
