/* planner -- see planner.h. */
#include "plan/planner.h"

#include "base/mem.h"
#include "plan/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static void say(const struct planner_options *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct planner_options *o, const char *fmt, ...)
{
    char line[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (o->say)
        o->say(o->arg, line);
}

static enum err_code solve_once(struct scenario *s, const struct planner_options *o, struct plan *p, struct err *e)
{
    struct mistakes wrong = { 0 };
    enum err_code c = optimise(s, &o->optimise, &p->result, e);
    if (c)
        return c;
    if (check_decision(&p->result.decision, p->result.npv, &wrong))
        c = err_set(e, ERR_CORRUPT, "the checker refuses the solver's answer: %.300s", buf_str(&wrong.text));
    mistakes_release(&wrong);
    if (c)
        return c;
    cost_of(&p->result.decision, &p->cost);
    if (isinf(p->result.gap))
        say(o, "stopped before anything was proven: NPV %.4g USD", p->result.npv);
    else
        say(o, "solved: NPV %.4g USD, bound %.4g, gap %.2f %%, %.1f s; %d columns (%d whole), %d rows; the checker "
            "agrees",
            p->result.npv, p->result.bound, 100 * p->result.gap, p->result.seconds, p->result.columns,
            p->result.integers, p->result.rows);
    return ERR_OK;
}

/* Classes with a failed check are planned for slower machines next time. True when something changed. */
static bool lower_rates(struct scenario *s, const struct slo_report *r)
{
    double factor[CLASSES_MAX];
    bool changed = false;
    for (int c = 0; c < s->class_count; c++)
        factor[c] = 1;
    for (int i = 0; i < r->count; i++) {
        const struct slo_check *k = &r->checks[i];
        if (k->holds)
            continue;
        double excess = fmax(k->ttft_ms / k->ttft_limit, k->itl_ms / k->itl_limit);
        int c = s->demands[k->demand].cls;
        factor[c] = fmin(factor[c], fmax(0.85, fmin(0.96, 1 / excess)));
    }
    for (int c = 0; c < s->class_count; c++) {
        changed = changed || factor[c] < 1;
        s->derate[c] *= factor[c];
    }
    scenario_derive(s);
    return changed;
}

static bool stopped(const struct planner_options *o)
{
    return o->optimise.stop && *o->optimise.stop;
}

enum err_code planner_run(struct scenario *s, const struct planner_options *o, struct plan *out, struct err *e)
{
    *out = (struct plan){ .s = s };
    enum err_code c = ERR_OK;
    for (out->rounds = 1;; out->rounds++) {
        c = solve_once(s, o, out, e);
        if (c || !o->simulate)
            break;
        c = fleet_check(&out->result.decision, s->seed, &out->slo, e);
        if (c)
            break;
        out->simulated = true;
        say(o, "simulated: %d service levels at their peak hours, %d do not hold; %.2g events in %.1f s",
            out->slo.count,
            out->slo.failed, (double)out->slo.events, out->slo.wall_s);
        if (!out->slo.failed || out->rounds == PLANNER_ROUNDS_MAX || stopped(o) || !lower_rates(s, &out->slo))
            break;
        slo_report_release(&out->slo);
        decision_release(&out->result.decision);
    }
    if (!c && o->sensitivity && !stopped(o)) {
        say(o, "moving each assumed figure by %.0f %%", 100 * SENSE_STEP);
        c = sense_find(s, &out->result.decision, out->result.npv, 30, &out->sense, e);
        out->has_sense = !c;
    }
    if (c)
        plan_release(out);
    return c;
}

void plan_release(struct plan *p)
{
    decision_release(&p->result.decision);
    slo_report_release(&p->slo);
    *p = (struct plan){ 0 };
}
