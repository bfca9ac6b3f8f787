/* optimise -- see optimise.h.
 *
 * CBC's own heuristics were slow to find a good plan of the full size (21 % off after 160 s, with some seeds nothing
 * worth having in 280 s). So: solve the relaxation; then only the plans that round each of its values down or up (a
 * neighbourhood of a few dozen whole numbers). A relaxation likes two suppliers at a cap of exactly a half each, which
 * no whole numbers can be: so further neighbourhoods span what relaxations say that leave a part of the caps free, and
 * the best plan so far. Often one is within the gap of the relaxation's bound already. Only else the whole programme,
 * started from there. */
#include "plan/optimise.h"

#include "base/clock.h"
#include "base/mem.h"
#include "plan/model.h"

#include <math.h>

/* A value this close to a whole one is that whole one; this share of the time that is left goes to a neighbourhood. */
#define WHOLE 1e-6
#define NEAR_SHARE 0.25
/* Of the share caps, in each neighbourhood. */
static const double share_kept[] = { 1, 0.98, 0.9 };

struct run {
    const struct optimise_options *o;
    const struct scenario *s;
    struct model *m;
    struct lp *lp;
    int64_t began_ns;
    double bound;      /* best lower bound so far, of the whole programme */
    double *best;      /* best point so far; owned */
    double objective;
    bool found;        /* best is more than the plan that buys nothing */
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
        r->found = true;
    }
    lp_result_release(found);
}

static struct lp_options solver_options(struct run *r)
{
    return (struct lp_options){ .gap = r->o->gap, .threads = r->o->threads, .start = r->best, .stop = r->o->stop,
                                .progress = on_progress, .arg = r };
}

/* The relaxation of lp: its point in *point, its value in *value where it has one. */
static enum err_code relax(struct run *r, const struct lp *lp, double **point, double *value, struct err *e)
{
    struct lp_options o = solver_options(r);
    struct lp_result found;
    o.continuous = true;
    o.start = NULL;
    o.stop = NULL; /* without it nothing is proven, and it takes seconds */
    o.seconds = r->o->seconds > 0 ? fmax(1, left_s(r)) : 0;
    enum err_code c = lp_solve(lp, &o, &found, e);
    if (!c && found.status == LP_OPTIMAL)
        *value = found.objective;
    *point = found.x;
    return c;
}

/* What whole columns may be: from the least floor to the greatest ceiling of the points seen. */
struct box {
    double *lower, *upper; /* [columns] owned */
};

static void box_add(const struct run *r, struct box *b, const double *point)
{
    for (int c = 0; c < lp_cols(r->lp); c++) {
        b->lower[c] = fmin(b->lower[c], floor(point[c] + WHOLE));
        b->upper[c] = fmax(b->upper[c], ceil(point[c] - WHOLE));
    }
}

static enum err_code search_box(struct run *r, const struct box *b, struct err *e)
{
    int n = lp_cols(r->lp);
    double *lower = mem_new((size_t)n, sizeof *lower), *upper = mem_new((size_t)n, sizeof *upper);
    for (int c = 0; c < n; c++) {
        lp_get_bounds(r->lp, c, &lower[c], &upper[c]);
        if (lp_is_integer(r->lp, c) && upper[c] > 1) /* yes or no is cheap to leave open */
            lp_set_bounds(r->lp, c, fmax(lower[c], b->lower[c]), fmin(upper[c], b->upper[c]));
    }
    struct lp_options o = solver_options(r);
    struct lp_result found;
    o.gap = r->o->gap / 4;
    o.start = r->found ? r->best : NULL; /* what buys nothing may lie outside */
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

/* One neighbourhood after the other, each wider than the last. */
static enum err_code search_near(struct run *r, const double *point, struct err *e)
{
    size_t n = (size_t)lp_cols(r->lp);
    struct box b = { mem_new(n, sizeof *b.lower), mem_new(n, sizeof *b.upper) };
    enum err_code c = ERR_OK;
    for (size_t i = 0; i < n; i++) {
        b.lower[i] = LP_INFINITY;
        b.upper[i] = -LP_INFINITY;
    }
    box_add(r, &b, point);
    for (size_t i = 0; i < MEM_COUNT(share_kept) && !c && !enough(r); i++) {
        double *tight = NULL, value;
        struct model *m = i ? plan_model_new(r->s, share_kept[i]) : NULL;
        if (m)
            c = relax(r, plan_model_lp(m), &tight, &value, e);
        if (tight)
            box_add(r, &b, tight);
        if (r->found)
            box_add(r, &b, r->best);
        plan_model_widen(r->m, i > 0, b.upper);
        if (!c && !enough(r))
            c = search_box(r, &b, e);
        mem_free(tight);
        plan_model_free(m);
    }
    mem_free(b.lower);
    mem_free(b.upper);
    return c;
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
    struct run r = { .o = o, .s = s, .m = plan_model_new(s, 1), .began_ns = clock_mono_ns(), .bound = -LP_INFINITY };
    double *point = NULL;
    *out = (struct optimise_result){ 0 };
    r.lp = plan_model_lp(r.m);
    r.best = plan_model_start(r.m);
    r.objective = value_of_start(&r);
    enum err_code c = relax(&r, r.lp, &point, &r.bound, e);
    if (!c && point && !enough(&r))
        c = search_near(&r, point, e);
    if (!c && !enough(&r))
        c = search_all(&r, e);
    if (!c) {
        double usd = plan_model_money(r.m);
        plan_model_read(r.m, r.best, &out->decision);
        out->npv = r.objective * usd;
        bool bounded = r.bound > -LP_INFINITY / 2; /* else it was stopped before the relaxation was solved */
        out->bound = bounded ? fmin(r.bound, r.objective) * usd : -INFINITY;
        out->gap = bounded ? lp_gap(r.objective, r.bound) : INFINITY;
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
    struct model *m = plan_model_new(s, 1);
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
