/* sense -- see sense.h. */
#include "plan/sense.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "plan/optimise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DRAWS = 200 };
#define DRAW_SPREAD 0.2

static double width(const struct sense_bar *b)
{
    if (isnan(b->low) || isnan(b->high))
        return INFINITY;
    return fabs(b->high - b->low);
}

static int by_width(const void *a, const void *b)
{
    double x = width(a), y = width(b);
    return x < y ? 1 : x > y ? -1 : ((const struct sense_bar *)a)->figure - ((const struct sense_bar *)b)->figure;
}

static double npv_with(struct scenario *s, const struct decision *d, const struct figure *f, double factor,
                       enum err_code *code, struct err *e)
{
    double was = *f->at, npv = NAN;
    *f->at = was * factor;
    scenario_derive(s);
    *code = optimise_flows(s, d, &npv, e);
    *f->at = was;
    scenario_derive(s);
    if (*code == ERR_INVALID)
        *code = ERR_OK; /* infeasible: an answer, not a failure */
    return npv;
}

/* Counts and quarters are whole: a tenth more or less of them means nothing. */
static bool is_whole(const struct figure *f)
{
    static const char *const whole[] = { ".lead_time", ".min_lot", ".devices", ".replicas", ".critical_suppliers_min",
                                         ".count", ".lat", ".lon" };
    size_t n = strlen(f->path);
    for (size_t i = 0; i < MEM_COUNT(whole); i++)
        if (n > strlen(whole[i]) && !strcmp(f->path + n - strlen(whole[i]), whole[i]))
            return true;
    return false;
}

/* A quick look first: figures whose move changes neither cost nor any derived rate need no programme. */
static bool matters(struct scenario *s, const struct decision *d, const struct figure *f, double npv)
{
    struct cost cost;
    double was = *f->at, before[HW_MAX * CLASSES_MAX], rate0 = 0, rate1 = 0;
    int n = 0;
    for (int c = 0; c < s->class_count; c++)
        for (int h = 0; h < s->hw_count; h++)
            before[n++] = s->classes[c].theta[h];
    for (int k = 0; k < s->demand_count; k++)
        rate0 += s->demands[k].rate[s->quarters - 1] * s->demands[k].peak;
    *f->at = was * (1 + SENSE_STEP);
    scenario_derive(s);
    cost_of(d, &cost);
    bool changed = fabs(cost.npv - npv) > 1e-6 * fabs(npv);
    n = 0;
    for (int c = 0; c < s->class_count; c++)
        for (int h = 0; h < s->hw_count; h++, n++)
            changed = changed || fabs(s->classes[c].theta[h] - before[n]) > 1e-9 * before[n];
    for (int k = 0; k < s->demand_count; k++)
        rate1 += s->demands[k].rate[s->quarters - 1] * s->demands[k].peak;
    changed = changed || fabs(rate1 - rate0) > 1e-9 * rate0 || strstr(f->path, "rules.") || strstr(f->path,
        "finance.");
    *f->at = was;
    scenario_derive(s);
    return changed;
}

static int by_value(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

/* Costs under joint draws; flows as planned, so rates and volumes (which would move them) are left alone. */
static void draw_costs(struct scenario *s, const struct decision *d, struct sense *out)
{
    struct rng rng = { s->seed + 17, 0 };
    double *was = mem_new((size_t)s->figure_count, sizeof *was), v[DRAWS];
    for (int i = 0; i < s->figure_count; i++)
        was[i] = *s->figures[i].at;
    for (int k = 0; k < DRAWS; k++) {
        struct cost cost;
        for (int i = 0; i < s->figure_count; i++) {
            double factor = 1 + DRAW_SPREAD * (rng_next_unit(&rng) + rng_next_unit(&rng) - 1);
            const char *p = s->figures[i].path;
            bool money = strstr(p, "price") || strstr(p, ".rent") || strstr(p, ".staff") || strstr(p, ".opening") ||
                         strstr(p, ".power_") || strstr(p, ".maintenance") || strstr(p, ".resale") ||
                         strstr(p, ".freight") || strstr(p, ".network") || strstr(p, "discount");
            if (s->figures[i].cls == CLASS_ASSUMED && money)
                *s->figures[i].at = was[i] * factor;
        }
        cost_of(d, &cost);
        v[k] = cost.usd_per_mtok;
        for (int i = 0; i < s->figure_count; i++)
            *s->figures[i].at = was[i];
    }
    qsort(v, DRAWS, sizeof *v, by_value);
    out->p10 = v[DRAWS / 10];
    out->p50 = v[DRAWS / 2];
    out->p90 = v[DRAWS * 9 / 10];
    mem_free(was);
}

enum err_code sense_find(struct scenario *s, const struct decision *d, double npv, double seconds, struct sense *out,
                         struct err *e)
{
    int64_t end = clock_mono_ns() + (int64_t)(seconds * 1e9);
    struct sense_bar *all = mem_new((size_t)s->figure_count + 1, sizeof *all);
    enum err_code code = ERR_OK;
    *out = (struct sense){ 0 };
    for (int i = 0; i < s->figure_count && !code; i++) {
        const struct figure *f = &s->figures[i];
        if (f->cls != CLASS_ASSUMED || *f->at == 0 || is_whole(f) || !matters(s, d, f, npv))
            continue;
        if (clock_mono_ns() > end) {
            out->skipped++;
            continue;
        }
        struct sense_bar b = { .figure = i };
        b.low = npv_with(s, d, f, 1 - SENSE_STEP, &code, e);
        if (!code)
            b.high = npv_with(s, d, f, 1 + SENSE_STEP, &code, e);
        all[out->tried++] = b;
    }
    qsort(all, (size_t)out->tried, sizeof *all, by_width);
    for (int i = 0; i < out->tried && out->bar_count < SENSE_BARS_MAX; i++)
        if (!(width(&all[i]) <= 1e-9 * fabs(npv)))
            out->bars[out->bar_count++] = all[i];
    mem_free(all);
    if (!code)
        draw_costs(s, d, out);
    return code;
}
