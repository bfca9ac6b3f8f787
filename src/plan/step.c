/* step -- see step.h. */
#include "plan/step.h"

#include "base/assert.h"
#include "base/json.h"
#include "plan/lp.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

double step_ms(const struct step_model *m, double prefill, double batch, double context, double sum_pc)
{
    return m->a + m->b * prefill + m->c * batch + m->d * context + m->e * sum_pc;
}

double step_at_batch(const struct step_model *m, const struct step_load *l, double batch)
{
    double fresh = l->input * (1 - l->cached), prompts = batch / l->output; /* prompts begun in a step */
    double sum_pc = prompts * fresh * (l->input * l->cached + fresh / 2);
    return step_ms(m, prompts * fresh, batch, batch * (l->input + l->output / 2), sum_pc);
}

double step_rate(const struct step_model *m, const struct step_load *l, double batch)
{
    double ms = step_at_batch(m, l, batch);
    return ms > 0 ? 1000 * batch / ms : 0;
}

double step_batch_for(const struct step_model *m, const struct step_load *l, double itl_ms, double batch_max)
{
    double one = step_at_batch(m, l, 1), slope = step_at_batch(m, l, 2) - one; /* the step is linear in the batch */
    if (one > itl_ms || batch_max < 1)
        return 0;
    if (slope <= 0)
        return batch_max;
    return fmin(batch_max, 1 + (itl_ms - one) / slope);
}

enum { COEFS = 5 };

static void point_row(const struct step_point *p, double out[COEFS])
{
    out[0] = 1;
    out[1] = p->prefill;
    out[2] = p->batch;
    out[3] = p->context;
    out[4] = p->sum_pc;
}

/* Columns: the five coefficients (each in units that make its largest term 1 ms), the worst error, and one
 * error per point; -err_i <= model_i / ms_i - 1 <= err_i <= worst. */
static struct lp *fit_problem(const struct step_point *points, int count, const double scale[COEFS])
{
    struct lp *lp = lp_new();
    for (int k = 0; k < COEFS; k++)
        lp_col(lp, 0, scale[k] > 0 ? LP_INFINITY : 0, 0, false);
    int worst = lp_col(lp, 0, LP_INFINITY, 1, false);
    for (int i = 0; i < count; i++) {
        double row[COEFS];
        point_row(&points[i], row);
        int err = lp_col(lp, 0, LP_INFINITY, 0.1 / count, false);
        int above = lp_row(lp, 'L', 1), below = lp_row(lp, 'G', 1), top = lp_row(lp, 'L', 0);
        for (int k = 0; k < COEFS; k++) {
            double v = scale[k] > 0 ? row[k] / scale[k] / points[i].ms : 0;
            lp_coef(lp, above, k, v);
            lp_coef(lp, below, k, v);
        }
        lp_coef(lp, above, err, -1);
        lp_coef(lp, below, err, 1);
        lp_coef(lp, top, err, 1);
        lp_coef(lp, top, worst, -1);
    }
    return lp;
}

enum err_code step_fit(const struct step_point *points, int count, struct step_fit *out, struct err *e)
{
    double scale[COEFS] = { 0 }, row[COEFS], coef[COEFS];
    if (count < 1 || count > STEP_POINTS_MAX)
        return err_set(e, ERR_INVALID, "a step-time model is fitted to 1 to %d points, not %d", STEP_POINTS_MAX,
                       count);
    for (int i = 0; i < count; i++) {
        point_row(&points[i], row);
        for (int k = 0; k < COEFS; k++) {
            if (!(row[k] >= 0) || !isfinite(row[k]) || !(points[i].ms > 0) || !isfinite(points[i].ms))
                return err_set(e, ERR_INVALID, "point %d has a negative size or a time that is not above 0", i + 1);
            scale[k] = fmax(scale[k], row[k]);
        }
    }
    struct lp *lp = fit_problem(points, count, scale);
    struct lp_options o = { 0 };
    struct lp_result r;
    enum err_code c = lp_solve(lp, &o, &r, e);
    if (!c && r.status != LP_OPTIMAL)
        c = err_set(e, ERR_INVALID, "no step-time model fits these points");
    lp_free(lp);
    if (c) {
        lp_result_release(&r);
        return c;
    }
    for (int k = 0; k < COEFS; k++)
        coef[k] = scale[k] > 0 ? fmax(0, r.x[k]) / scale[k] : 0;
    lp_result_release(&r);
    struct step_fit fit = { .model = { coef[0], coef[1], coef[2], coef[3], coef[4] } };
    for (int i = 0; i < count; i++) {
        const struct step_point *p = &points[i];
        double err = fabs(step_ms(&fit.model, p->prefill, p->batch, p->context, p->sum_pc) / p->ms - 1);
        fit.worst = fmax(fit.worst, err);
        fit.mean += err / count;
    }
    *out = fit;
    return ERR_OK;
}

/* ---- reading points */

enum { BENCH_CHUNK = 512, BENCH_PROMPT = 128 }; /* what `bench` uses unless the test's name says otherwise */

/* "pp512", "tg128", "tg64@b32", "tg32@d4096", "tg64@b32@d512" with its tokens per second. */
static bool bench_point(const char *test, double tokens_per_s, struct step_point *p)
{
    double n = 0, batch = 1, depth = 0;
    char kind[3] = "";
    if (sscanf(test, "%2[a-z]%lf", kind, &n) != 2 || !(n > 0) || !(tokens_per_s > 0))
        return false;
    for (const char *at = strchr(test, '@'); at; at = strchr(at + 1, '@')) {
        double v = 0;
        char what = 0;
        if (sscanf(at, "@%c%lf", &what, &v) != 2 || (what != 'b' && what != 'd') || !(v >= 0))
            return false;
        *(what == 'b' ? &batch : &depth) = v;
    }
    *p = (struct step_point){ 0 };
    if (!strcmp(kind, "pp")) {
        double per_step = fmin(n, BENCH_CHUNK), steps = ceil(n / BENCH_CHUNK);
        p->prefill = per_step * batch;
        p->sum_pc = batch * n / steps * (depth + n / 2);
        p->ms = 1000 * n * batch / tokens_per_s / steps;
        return true;
    }
    if (strcmp(kind, "tg"))
        return false;
    p->batch = batch;
    p->context = batch * ((depth > 0 ? depth : batch > 1 ? BENCH_PROMPT : 0) + n / 2);
    p->ms = 1000 * batch / tokens_per_s;
    return true;
}

static enum err_code read_bench(const json_t *results, struct step_point *points, int *count, struct err *e)
{
    size_t i;
    json_t *r;
    json_array_foreach(results, i, r) {
        const char *test = NULL;
        double rate = 0;
        if (jsonx_get_string(r, "test", &test, e) || jsonx_get_double(r, "tokens_per_s", 0, 1e12, &rate, e))
            return err_prefix(e, "result %zu", i + 1);
        if (*count == STEP_POINTS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d results", STEP_POINTS_MAX);
        *count += test && bench_point(test, rate, &points[*count]);
    }
    return *count ? ERR_OK : err_set(e, ERR_INVALID, "no result is one of ppN, tgN, tgN@bB, tgN@dD");
}

enum err_code step_points_read(const json_t *v, struct step_point *points, int *count, struct err *e)
{
    *count = 0;
    if (json_is_object(v))
        return read_bench(json_object_get(v, "results"), points, count, e);
    size_t i;
    json_t *one;
    json_array_foreach(v, i, one) {
        struct step_point *p = &points[*count];
        if (*count == STEP_POINTS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d points", STEP_POINTS_MAX);
        *p = (struct step_point){ 0 };
        if (jsonx_get_double(one, "prefill", 0, 1e9, &p->prefill, e) ||
            jsonx_get_double(one, "batch", 0, 1e9, &p->batch, e) ||
            jsonx_get_double(one, "context", 0, 1e12, &p->context, e) ||
            jsonx_get_double(one, "sum_pc", 0, 1e15, &p->sum_pc, e) || jsonx_get_double(one, "ms", 1e-9, 1e9,
                &p->ms, e))
            return err_prefix(e, "point %zu", i + 1);
        ++*count;
    }
    return *count ? ERR_OK : err_set(e, ERR_INVALID, "expected a list of points or what `bench --json` prints");
}
