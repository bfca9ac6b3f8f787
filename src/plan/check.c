/* check -- see check.h. One function a rule; the numbers are those of docs/plan.md, "The programme". */
#include "plan/check.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

struct checker {
    const struct decision *d;
    const struct scenario *s;
    struct mistakes *out;
    char quarter[16]; /* of the rule being checked, for the sentences */
};

static void wrong(struct checker *c, int rule, int t, const char *what, long double have, long double limit)
{
    char q[16] = "whole plan";
    if (t >= 0)
        scenario_quarter_name(c->s, t, q);
    mistakes_add(c->out, "rule", rule, "%s, %s: %.9Lg against a limit of %.9Lg", q, what, have, limit);
}

static bool over(long double have, long double limit)
{
    return !(have <= limit + CHECK_TOLERANCE * (fabsl(limit) > 1 ? fabsl(limit) : 1));
}

static int64_t milli(double v)
{
    return llround(v * 1000);
}

/* Installed units recounted order by order, unlike decision_installed's callers would. */
static int64_t in_service(const struct checker *c, int h, int l, int t)
{
    const struct scenario *s = c->s;
    int64_t n = t < s->sites[l].existing_until[h] ? (int64_t)s->sites[l].existing[h] : 0;
    for (int sup = 0; sup < s->supplier_count; sup++)
        for (int ordered = 0; ordered <= t; ordered++) {
            int arrives = ordered + (int)s->suppliers[sup].offers[h].lead_q;
            if (arrives <= t && t - arrives < scenario_life_q(s, h))
                n += *decision_buy(c->d, h, sup, l, ordered);
        }
    return n;
}

/* Rules 1 and 2: only what is offered, no more than a plant makes, in its lots. */
static void check_orders(struct checker *c, int h, int sup, int t)
{
    const struct scenario *s = c->s;
    const struct plan_offer *o = &s->suppliers[sup].offers[h];
    int64_t sum = 0;
    for (int l = 0; l < s->site_count; l++) {
        int n = *decision_buy(c->d, h, sup, l, t);
        if (n < 0)
            wrong(c, 1, t, "a negative order", n, 0);
        sum += n;
    }
    if (sum && !o->given)
        wrong(c, 2, t, "an order at a plant that does not sell this", sum, 0);
    if (sum > (int64_t)scenario_capacity(s, h, sup, t))
        wrong(c, 2, t, s->suppliers[sup].id, sum, scenario_capacity(s, h, sup, t));
    if (sum && o->min_lot > 1 && sum < (int64_t)ceil(o->min_lot))
        wrong(c, 2, t, "an order under the plant's smallest lot", sum, ceil(o->min_lot));
}

/* Rules 3 and 6 and the standby allocation, for a site in a quarter. */
static void check_site(struct checker *c, int l, int t)
{
    const struct scenario *s = c->s;
    const struct plan_site *site = &s->sites[l];
    long double watts = 0;
    int64_t units = 0;
    for (int h = 0; h < s->hw_count; h++) {
        const struct plan_hardware *hw = &s->hw[h];
        int64_t n = in_service(c, h, l, t);
        long double busy = 0, ready = 0;
        for (int k = 0; k < s->class_count; k++) {
            busy += *decision_assign(c->d, h, l, k, t);
            ready += *decision_standby(c->d, h, l, k, t);
            if (*decision_assign(c->d, h, l, k, t) < 0 || *decision_standby(c->d, h, l, k, t) < 0)
                wrong(c, 3, t, "a negative assignment", -1, 0);
        }
        long double may = (long double)hw->availability * s->rules.utilisation_max * n / (1 + hw->spares);
        if (over(busy, may))
            wrong(c, 3, t, site->id, busy, may);
        if (over(ready, (long double)hw->availability * n))
            wrong(c, 8, t, "more standby than machines", ready, hw->availability * n);
        watts += (long double)hw->power_load * s->rules.coincidence * site->pue * n;
        units += n;
    }
    if (over(watts, site->power))
        wrong(c, 6, t, site->id, watts, site->power);
    if (units && !*decision_open(c->d, l, t))
        wrong(c, 6, t, "machines at a site that is not open", units, 0);
    if (t && *decision_open(c->d, l, t) < *decision_open(c->d, l, t - 1))
        wrong(c, 6, t, "a site closes", 0, 1);
}

/* Rule 4. */
static void check_capacity(struct checker *c, int l, int k, int t)
{
    const struct scenario *s = c->s;
    long double need = 0, have = 0;
    for (int d = 0; d < s->demand_count; d++)
        if (s->demands[d].cls == k)
            need += (long double)*decision_flow(c->d, d, l, t) * s->demands[d].peak;
    for (int h = 0; h < s->hw_count; h++)
        have += (long double)*decision_assign(c->d, h, l, k, t) * s->classes[k].theta[h];
    if (over(need, have))
        wrong(c, 4, t, s->sites[l].id, need, have);
}

/* Rule 5: balance to the milli-token; residency and latency recomputed from the figures. */
static void check_demand(struct checker *c, int d, int t)
{
    const struct scenario *s = c->s;
    const struct plan_demand *dem = &s->demands[d];
    int64_t sum = milli(*decision_unmet(c->d, d, t)), asked = milli(dem->rate[t]);
    int terms = 1;
    if (sum < 0)
        wrong(c, 5, t, "negative unmet demand", sum, 0);
    for (int l = 0; l < s->site_count; l++) {
        int64_t f = milli(*decision_flow(c->d, d, l, t));
        const struct plan_class *k = &s->classes[dem->cls];
        bool near = dem->latency_ms[l] + k->service_max_ms <= s->slos[dem->slo].ttft_ms;
        if (f < 0 || (f > 0 && !dem->place_ok[s->sites[l].place]))
            wrong(c, 5, t, "tokens computed where residency does not allow", f / 1000.0L, 0);
        if (f > 0 && !near)
            wrong(c, 5, t, "tokens computed too far away for the SLO", f / 1000.0L, 0);
        sum += f;
        terms++;
    }
    for (int q = 0; q < s->api_count; q++) {
        int64_t p = milli(*decision_api(c->d, d, q, t));
        if (p < 0 || (p > 0 && !dem->api_ok[q]))
            wrong(c, 5, t, "tokens sent to an API that is not allowed", p / 1000.0L, 0);
        sum += p;
        terms++;
    }
    int64_t slack = terms + asked / 1000000000; /* each term was rounded to a milli-token */
    if (llabs(sum - asked) > slack)
        wrong(c, 5, t, dem->id, sum / 1000.0L, asked / 1000.0L);
}

static void check_api_share(struct checker *c, int t)
{
    const struct scenario *s = c->s;
    long double api = 0, all = 0;
    for (int d = 0; d < s->demand_count; d++) {
        all += s->demands[d].rate[t];
        for (int q = 0; q < s->api_count; q++)
            api += *decision_api(c->d, d, q, t);
    }
    if (over(api, s->rules.api_share_max * all))
        wrong(c, 5, t, "share sent to APIs", api, s->rules.api_share_max * all);
}

/* Rule 7. */
static void check_shares(struct checker *c)
{
    const struct scenario *s = c->s;
    long double total = 0, company[SUPPLIERS_MAX] = { 0 }, country[PLACES_MAX] = { 0 };
    for (int h = 0; h < s->hw_count; h++) {
        bool from[SUPPLIERS_MAX] = { 0 };
        int companies = 0, bought = 0;
        for (int sup = 0; sup < s->supplier_count; sup++)
            for (int l = 0; l < s->site_count; l++)
                for (int t = 0; t < s->quarters; t++) {
                    int n = *decision_buy(c->d, h, sup, l, t), g = cost_company(s, sup);
                    long double usd = n ? n * (long double)scenario_price(s, h, sup, t) : 0;
                    total += usd;
                    company[g] += usd;
                    country[s->suppliers[sup].country] += usd;
                    companies += n && !from[g];
                    from[g] = from[g] || n;
                    bought |= n;
                }
        if (s->hw[h].critical && bought && companies < (int)ceil(s->rules.critical_suppliers_min))
            wrong(c, 7, -1, "companies behind critical hardware", companies, ceil(s->rules.critical_suppliers_min));
    }
    for (int i = 0; i < s->supplier_count; i++)
        if (over(company[i], s->rules.supplier_share_max * total))
            wrong(c, 7, -1, s->suppliers[i].company, company[i], s->rules.supplier_share_max * total);
    for (int p = 0; p < s->place_count; p++)
        if (over(country[p], s->rules.country_share_max * total))
            wrong(c, 7, -1, s->places[p], country[p], s->rules.country_share_max * total);
}

/* ---- rule 8: with a site down, the flow from the rest, found by augmenting paths demand -> site */

enum { AUGMENT_MAX = 4096 };

struct network {
    int demands, sites;
    long double need[DEMANDS_MAX], room[SITES_MAX], sent[DEMANDS_MAX][SITES_MAX];
    bool route[DEMANDS_MAX][SITES_MAX];
};

/* Breadth-first from every demand with need left to a site with room left; pushes the bottleneck. */
static bool augment(struct network *n)
{
    int from_site[DEMANDS_MAX], from_demand[SITES_MAX], queue[DEMANDS_MAX], head = 0, tail = 0, end = -1;
    bool seen[DEMANDS_MAX] = { 0 };
    memset(from_demand, 0xff, sizeof from_demand);
    for (int d = 0; d < n->demands; d++)
        if (n->need[d] > 0) {
            seen[d] = true;
            from_site[d] = -1;
            queue[tail++] = d;
        }
    while (head < tail && end < 0) {
        int d = queue[head++];
        for (int l = 0; l < n->sites && end < 0; l++) {
            if (!n->route[d][l] || from_demand[l] >= 0)
                continue;
            from_demand[l] = d;
            if (n->room[l] > 0)
                end = l;
            for (int k = 0; k < n->demands; k++)
                if (!seen[k] && n->sent[k][l] > 0) {
                    seen[k] = true;
                    from_site[k] = l;
                    queue[tail++] = k;
                }
        }
    }
    if (end < 0)
        return false;
    long double amount = n->room[end];
    for (int l = end; l >= 0; l = from_site[from_demand[l]]) {
        int d = from_demand[l], back = from_site[d];
        amount = fminl(amount, back < 0 ? n->need[d] : n->sent[d][back]);
    }
    n->room[end] -= amount;
    for (int l = end; l >= 0;) {
        int d = from_demand[l], back = from_site[d];
        n->sent[d][l] += amount;
        if (back < 0)
            n->need[d] -= amount;
        else
            n->sent[d][back] -= amount;
        l = back;
    }
    return true;
}

static void check_outage(struct checker *c, struct network *n, int k, int t, int down)
{
    const struct scenario *s = c->s;
    long double left = 0, all = 0;
    memset(n, 0, sizeof *n);
    n->sites = s->site_count;
    for (int l = 0; l < s->site_count; l++)
        for (int h = 0; l != down && h < s->hw_count; h++)
            n->room[l] += (long double)*decision_standby(c->d, h, l, k, t) * s->classes[k].theta[h];
    for (int d = 0; d < s->demand_count; d++) {
        if (s->demands[d].cls != k)
            continue;
        for (int l = 0; l < s->site_count; l++) {
            n->need[n->demands] += (long double)*decision_flow(c->d, d, l, t);
            n->route[n->demands][l] = s->demands[d].route_ok[l];
        }
        n->need[n->demands] *= s->rules.survive_site_loss * s->demands[d].peak;
        all += n->need[n->demands++];
    }
    for (int i = 0; i < AUGMENT_MAX && augment(n); i++)
        ;
    for (int d = 0; d < n->demands; d++)
        left += n->need[d];
    if (left > CHECK_TOLERANCE * (all > 1 ? all : 1))
        wrong(c, 8, t, s->sites[down].id, left, 0);
}

static void check_outages(struct checker *c)
{
    const struct scenario *s = c->s;
    if (s->rules.survive_site_loss <= 0 || s->site_count < 2)
        return;
    struct network *n = MEM_NEW(struct network);
    for (int k = 0; k < s->class_count; k++)
        for (int t = 0; t < s->quarters; t++)
            for (int down = 0; down < s->site_count; down++)
                check_outage(c, n, k, t, down);
    mem_free(n);
}

/* Rule 9. */
static void check_budgets(struct checker *c)
{
    const struct scenario *s = c->s;
    for (int b = 0; b < s->finance.budgets; b++) {
        long double spent = 0;
        for (int t = 0; t <= s->finance.budget[b].by && t < s->quarters; t++)
            for (int l = 0; l < s->site_count; l++) {
                if (*decision_open(c->d, l, t) && (!t || !*decision_open(c->d, l, t - 1)))
                    spent += s->sites[l].opening;
                for (int h = 0; h < s->hw_count; h++)
                    for (int sup = 0; sup < s->supplier_count; sup++) {
                        int n = *decision_buy(c->d, h, sup, l, t);
                        if (n)
                            spent += n * (long double)scenario_price(s, h, sup, t) * scenario_uplift(s, h, sup, l);
                    }
            }
        if (over(spent, s->finance.budget[b].amount))
            wrong(c, 9, s->finance.budget[b].by, "budget", spent, s->finance.budget[b].amount);
    }
}

int check_decision(const struct decision *d, double npv, struct mistakes *out)
{
    const struct scenario *s = d->s;
    struct checker c = { .d = d, .s = s, .out = out };
    int before = out->count;
    for (int t = 0; t < s->quarters; t++) {
        for (int h = 0; h < s->hw_count; h++)
            for (int sup = 0; sup < s->supplier_count; sup++)
                check_orders(&c, h, sup, t);
        for (int l = 0; l < s->site_count; l++) {
            check_site(&c, l, t);
            for (int k = 0; k < s->class_count; k++)
                check_capacity(&c, l, k, t);
        }
        for (int k = 0; k < s->demand_count; k++)
            check_demand(&c, k, t);
        check_api_share(&c, t);
    }
    check_shares(&c);
    check_outages(&c);
    check_budgets(&c);
    if (!isnan(npv)) {
        struct cost cost;
        cost_of(d, &cost);
        if (!(fabs(cost.npv - npv) <= 1e-5 * fmax(1, fabs(npv))))
            wrong(&c, 10, -1, "cost recomputed from the decision, against the optimiser's", cost.npv, npv);
    }
    return out->count - before;
}
