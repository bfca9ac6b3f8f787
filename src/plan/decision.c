/* decision -- see decision.h. */
#include "plan/decision.h"

#include "base/mem.h"

#include <math.h>

void decision_init(struct decision *d, const struct scenario *s)
{
    size_t hw = (size_t)s->hw_count, sup = (size_t)s->supplier_count, l = (size_t)s->site_count;
    size_t c = (size_t)s->class_count, dem = (size_t)s->demand_count, t = (size_t)s->quarters;
    *d = (struct decision){ .s = s };
    d->buy = mem_new(hw * sup * l * t, sizeof *d->buy);
    d->open = mem_new(l * t, 1);
    d->assign = mem_new(hw * l * c * t, sizeof *d->assign);
    d->standby = mem_new(hw * l * c * t, sizeof *d->standby);
    d->flow = mem_new(dem * l * t, sizeof *d->flow);
    d->api = mem_new(dem * (size_t)s->api_count * t, sizeof *d->api);
    d->unmet = mem_new(dem * t, sizeof *d->unmet);
    for (int k = 0; k < s->demand_count; k++)
        for (int q = 0; q < s->quarters; q++)
            *decision_unmet(d, k, q) = s->demands[k].rate[q];
}

void decision_release(struct decision *d)
{
    mem_free(d->buy);
    mem_free(d->open);
    mem_free(d->assign);
    mem_free(d->standby);
    mem_free(d->flow);
    mem_free(d->api);
    mem_free(d->unmet);
    *d = (struct decision){ 0 };
}

int *decision_buy(const struct decision *d, int h, int supplier, int site, int t)
{
    const struct scenario *s = d->s;
    return &d->buy[((h * s->supplier_count + supplier) * s->site_count + site) * s->quarters + t];
}

char *decision_open(const struct decision *d, int site, int t)
{
    return &d->open[site * d->s->quarters + t];
}

static int unit_index(const struct scenario *s, int h, int site, int c, int t)
{
    return ((h * s->site_count + site) * s->class_count + c) * s->quarters + t;
}

double *decision_assign(const struct decision *d, int h, int site, int c, int t)
{
    return &d->assign[unit_index(d->s, h, site, c, t)];
}

double *decision_standby(const struct decision *d, int h, int site, int c, int t)
{
    return &d->standby[unit_index(d->s, h, site, c, t)];
}

double *decision_flow(const struct decision *d, int demand, int site, int t)
{
    return &d->flow[(demand * d->s->site_count + site) * d->s->quarters + t];
}

double *decision_api(const struct decision *d, int demand, int api, int t)
{
    return &d->api[(demand * d->s->api_count + api) * d->s->quarters + t];
}

double *decision_unmet(const struct decision *d, int demand, int t)
{
    return &d->unmet[demand * d->s->quarters + t];
}

int decision_installed(const struct decision *d, int h, int site, int t)
{
    const struct scenario *s = d->s;
    int n = t < s->sites[site].existing_until[h] ? (int)s->sites[site].existing[h] : 0, life = scenario_life_q(s, h);
    for (int sup = 0; sup < s->supplier_count; sup++) {
        const struct plan_offer *o = &s->suppliers[sup].offers[h];
        for (int b = 0; o->given && b < s->quarters; b++)
            if (b + (int)o->lead_q <= t && t < b + (int)o->lead_q + life)
                n += *decision_buy(d, h, sup, site, b);
    }
    return n;
}
