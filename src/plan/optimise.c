/* optimise -- see optimise.h.
 *
 * CBC's own heuristics were slow to find a good plan of the full size (21 % off after 160 s). So:
 *   relax        the programme without whole numbers: the first bound;
 *   dive         fix the values nearest to whole ones, solve again, a few times: a point with fewer fractions;
 *   search_near  only the plans around that point: a few dozen whole numbers;
 *   search_all   the whole programme, started from there.
 * Each only when the one before did not come within the gap of the bound. */
#include "plan/optimise.h"

#include "base/clock.h"
#include "base/mem.h"
#include "plan/model.h"

#include <math.h>
#include <stdlib.h>

/* A value this close to a whole one is that whole one; this share of the time goes to the neighbourhood. */
#define WHOLE 1e-6
#define NEAR_SHARE 0.4
/* Of the fractional values a dive fixes this share at a time. A fractional yes-or-no (a site open, a company used)
 * always becomes yes: as no it would forbid what the whole numbers beside it stand for. */
#define DIVE_SHARE 0.35
enum { DIVE_ROUNDS = 5, NEAR_WIDE = 1 };

struct run {
    const struct optimise_options *o;
    struct model *m;
    struct lp *lp;
    int64_t began_ns;
    double bound;      /* best lower bound so far, of the whole programme */
    double *best;      /* best point so far; owned */
    double objective;
    bool near_phase;   /* the solver's bound is of the neighbourhood only */
};

static void on_progress(void *arg, const struct lp_progress *p)
{
    struct run *r = arg;
    double usd = plan_model_money(r->m), bound = r->near_phase ? r->bound : fmax(r->bound, p->bound);
    double incumbent = fmin(r->objective, p->incumbent);
    struct lp_progress out = { (double)(clock_mono_ns() - r->began_ns) / 1e9,
                               incumbent < LP_INFINITY ? incumbent * usd : LP_INFINITY,
                               bound > -LP_INFINITY ? bound * usd : -LP_INFINITY };
    if (r->o->progress)
        r->o->progress(r->o->arg, &out);
}

static double left_s(const struct run *r)
{
    return r->o->seconds > 0 ? r->o->seconds - (double)(clock_mono_ns() - r->began_ns) / 1e9 : 0;
}

static bool enough(const struct run *r)
{
    bool late = r->o->seconds > 0 && left_s(r) <= 0;
    return late || (r->o->stop && *r->o->stop) || lp_gap(r->objective, r->bound) <= r->o->gap;
}

static void keep(struct run *r, struct lp_result *found)
{
    if (found->x && found->objective < r->objective) {
        mem_free(r->best);
        r->best = found->x;
        found->x = NULL;
        r->objective = found->objective;
    }
    lp_result_release(found);
}

static struct lp_options solver_options(struct run *r)
{
    return (struct lp_options){ .gap = r->o->gap, .threads = r->o->threads, .start = r->best, .stop = r->o->stop,
                                .progress = on_progress, .arg = r };
}

static enum err_code relax(struct run *r, double **point, struct err *e)
{
    struct lp_options o = solver_options(r);
    struct lp_result found;
    o.continuous = true;
    o.seconds = fmax(0, left_s(r));
    enum err_code c = lp_solve(r->lp, &o, &found, e);
    if (!c && found.status == LP_OPTIMAL)
        r->bound = found.objective;
    *point = found.x;
    return c;
}

struct fraction { int col; double value, distance; };

static int by_distance(const void *a, const void *b)
{
    const struct fraction *x = a, *y = b;
    return x->distance < y->distance ? -1 : x->distance > y->distance ? 1 : x->col - y->col;
}

static int fractions(const struct run *r, const double *point, struct fraction *out)
{
    int n = 0;
    for (int c = 0; c < lp_cols(r->lp); c++) {
        double lower, upper, nearest = round(point[c]);
        lp_get_bounds(r->lp, c, &lower, &upper);
        if (!lp_is_integer(r->lp, c) || lower == upper)
            continue;
        if (fabs(point[c] - nearest) <= WHOLE && upper - lower <= 1)
            lp_set_bounds(r->lp, c, nearest, nearest);
        if (fabs(point[c] - nearest) <= WHOLE)
            continue;
        if (upper - lower <= 1)
            nearest = upper;
        out[n++] = (struct fraction){ c, nearest, fabs(point[c] - nearest) };
    }
    qsort(out, (size_t)n, sizeof *out, by_distance);
    return n;
}

static void fix_some(struct run *r, const struct fraction *f, int count, bool opposite, const double *point)
{
    for (int i = 0; i < count; i++) {
        double down = floor(point[f[i].col]), v = !opposite ? f[i].value : f[i].value > down ? down : down + 1;
        lp_set_bounds(r->lp, f[i].col, v, v);
    }
}

/* Fixes the nearest ones; where that leaves no plan, fewer of them; the last one the other way round. */
static enum err_code fix_and_solve(struct run *r, const struct fraction *f, int some, const double *point,
                                   struct lp_result *next, struct err *e)
{
    struct lp_options o = { .continuous = true, .stop = r->o->stop };
    *next = (struct lp_result){ 0 };
    for (bool opposite = false; some >= 1;) {
        double *lower = mem_new((size_t)some, sizeof *lower), *upper = mem_new((size_t)some, sizeof *upper);
        for (int i = 0; i < some; i++)
            lp_get_bounds(r->lp, f[i].col, &lower[i], &upper[i]);
        fix_some(r, f, some, opposite, point);
        o.seconds = fmax(0, left_s(r));
        enum err_code c = lp_solve(r->lp, &o, next, e);
        for (int i = 0; i < some && !c && !next->x; i++)
            lp_set_bounds(r->lp, f[i].col, lower[i], upper[i]);
        mem_free(lower);
        mem_free(upper);
        if (c || next->x || opposite)
            return c;
        opposite = some == 1;
        some = some > 1 ? some / 3 + (some < 3) : 1;
    }
    return ERR_OK;
}

/* Bounds are left as the dive set them. found->x is the last point: whole in all whole columns, or in most. */
static enum err_code dive_from(struct run *r, struct fraction *f, struct lp_result *found, bool *whole, struct err *e)
{
    for (int round = 0; round < DIVE_ROUNDS && !enough(r); round++) {
        int n = fractions(r, found->x, f);
        struct lp_result next;
        *whole = !n;
        if (!n)
            return ERR_OK;
        enum err_code c = fix_and_solve(r, f, (int)ceil(DIVE_SHARE * n), found->x, &next, e);
        if (c || !next.x)
            return c;
        lp_result_release(found);
        *found = next;
    }
    return ERR_OK;
}

/* Replaces *point by one with fewer fractions; when it has none left it is kept as a plan. */
static enum err_code dive(struct run *r, double **point, struct err *e)
{
    int n = lp_cols(r->lp);
    bool whole = false;
    double *lower = mem_new((size_t)n, sizeof *lower), *upper = mem_new((size_t)n, sizeof *upper);
    struct fraction *f = mem_new((size_t)n, sizeof *f);
    struct lp_result found = { .x = *point, .objective = LP_INFINITY };
    for (int c = 0; c < n; c++)
        lp_get_bounds(r->lp, c, &lower[c], &upper[c]);
    enum err_code code = dive_from(r, f, &found, &whole, e);
    for (int c = 0; c < n; c++)
        lp_set_bounds(r->lp, c, lower[c], upper[c]);
    mem_free(lower);
    mem_free(upper);
    mem_free(f);
    *point = mem_dup(found.x, (size_t)n * sizeof **point);
    if (whole)
        keep(r, &found);
    lp_result_release(&found);
    return code;
}

/* Whole columns may only be near the relaxation's value or what the best plan has; a yes-or-no that is no in
 * both stays no. */
static enum err_code search_near(struct run *r, const double *point, struct err *e)
{
    int n = lp_cols(r->lp);
    double *lower = mem_new((size_t)n, sizeof *lower), *upper = mem_new((size_t)n, sizeof *upper);
    for (int c = 0; c < n; c++) {
        lp_get_bounds(r->lp, c, &lower[c], &upper[c]);
        double best = round(r->best[c]), wide = upper[c] > 1 && point[c] > WHOLE ? NEAR_WIDE : 0;
        if (lp_is_integer(r->lp, c))
            lp_set_bounds(r->lp, c, fmax(lower[c], fmin(best, floor(point[c] + WHOLE) - wide)),
                          fmin(upper[c], fmax(best, ceil(point[c] - WHOLE) + wide)));
    }
    struct lp_options o = solver_options(r);
    struct lp_result found;
    o.gap = r->o->gap / 4;
    o.seconds = r->o->seconds > 0 ? fmax(1, NEAR_SHARE * left_s(r)) : 60;
    r->near_phase = true;
    enum err_code code = lp_solve(r->lp, &o, &found, e);
    r->near_phase = false;
    keep(r, &found);
    for (int c = 0; c < n; c++)
        lp_set_bounds(r->lp, c, lower[c], upper[c]);
    mem_free(lower);
    mem_free(upper);
    return code;
}

static enum err_code search_all(struct run *r, struct err *e)
{
    struct lp_options o = solver_options(r);
    struct lp_result found;
    o.seconds = fmax(0, left_s(r));
    enum err_code c = lp_solve(r->lp, &o, &found, e);
    if (!c && found.bound > -LP_INFINITY / 2)
        r->bound = fmax(r->bound, found.bound);
    keep(r, &found);
    return c;
}

static double value_of_start(const struct run *r)
{
    struct decision d;
    struct cost cost;
    plan_model_read(r->m, r->best, &d);
    cost_of(&d, &cost);
    decision_release(&d);
    return cost.npv / plan_model_money(r->m);
}

enum err_code optimise(const struct scenario *s, const struct optimise_options *o, struct optimise_result *out,
                       struct err *e)
{
    struct run r = { .o = o, .m = plan_model_new(s), .began_ns = clock_mono_ns(), .bound = -LP_INFINITY };
    double *point = NULL;
    *out = (struct optimise_result){ 0 };
    r.lp = plan_model_lp(r.m);
    r.best = plan_model_start(r.m);
    r.objective = value_of_start(&r);
    enum err_code c = relax(&r, &point, e);
    if (!c && point && !enough(&r))
        c = dive(&r, &point, e);
    if (!c && point && !enough(&r))
        c = search_near(&r, point, e);
    if (!c && !enough(&r))
        c = search_all(&r, e);
    if (!c) {
        double usd = plan_model_money(r.m);
        plan_model_read(r.m, r.best, &out->decision);
        out->npv = r.objective * usd;
        out->bound = fmin(r.bound, r.objective) * usd;
        out->gap = lp_gap(r.objective, r.bound);
        out->proven = out->gap <= o->gap + 1e-9;
        out->stopped = !out->proven;
        out->columns = lp_cols(r.lp);
        out->rows = lp_rows(r.lp);
        out->integers = lp_integers(r.lp);
        out->seconds = (double)(clock_mono_ns() - r.began_ns) / 1e9;
    }
    mem_free(point);
    mem_free(r.best);
    plan_model_free(r.m);
    return c;
}

enum err_code optimise_flows(const struct scenario *s, const struct decision *units, double *npv, struct err *e)
{
    struct model *m = plan_model_new(s);
    struct lp_options o = { .seconds = 60 };
    struct lp_result r;
    plan_model_pin(m, units);
    enum err_code c = lp_solve(plan_model_lp(m), &o, &r, e);
    if (!c && !r.x)
        c = err_set(e, ERR_INVALID, "with this figure the plan breaks a rule");
    else if (!c)
        *npv = r.objective * plan_model_money(m);
    lp_result_release(&r);
    plan_model_free(m);
    return c;
}
