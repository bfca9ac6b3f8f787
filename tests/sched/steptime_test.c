/* steptime_test -- the step-time model finds the figures that made the times it was shown, through noise and outliers,
 * and a chunk of a prompt is what those figures allow. */
#include "../test.h"
#include "base/rng.h"
#include "sched/pace.h"
#include "sched/steptime.h"

static const struct steptime_model truth = { .a = 20, .b = 0.5, .c = 0.8, .d = 0.002, .e = 0.0004 };

/* What an engine sees: mostly decodes of a few streams whose contexts grow, now and then a chunk of a prompt. */
static void show(struct steptime *t, int steps, double noise, double outliers, uint64_t seed)
{
    struct rng r = { .seed = seed };
    for (int i = 0; i < steps; i++) {
        struct steptime_load l = { .batch = (double)(1 + rng_below(&r, 32)) };
        l.context = l.batch * (double)(20 + rng_below(&r, 3000));
        if (rng_below(&r, 4) == 0) {
            l.prefill = (double)(1 + rng_below(&r, 400));
            l.sum_pc = l.prefill * (l.prefill / 2 + (double)rng_below(&r, 2000));
        }
        double ms = steptime_ms(&truth, &l) * (1 + noise * (rng_next_unit(&r) - 0.5));
        steptime_learn(t, &l, rng_next_unit(&r) < outliers ? ms * 20 : ms);
        steptime_fit(t);
    }
}

static double worst_error(const struct steptime_model *m)
{
    struct rng r = { .seed = 77 };
    double worst = 0;
    for (int i = 0; i < 200; i++) {
        struct steptime_load l = { .batch = (double)rng_below(&r, 32), .prefill = (double)(rng_below(&r, 2) * 200) };
        l.context = l.batch * (double)rng_below(&r, 3000);
        l.sum_pc = l.prefill * (double)rng_below(&r, 1500);
        double want = steptime_ms(&truth, &l), err = fabs(steptime_ms(m, &l) / want - 1);
        worst = err > worst ? err : worst;
    }
    return worst;
}

static void the_figures_are_found(void)
{
    struct steptime *t = steptime_new();
    show(t, 4000, 0, 0, 1);
    const struct steptime_model *m = steptime_last(t);
    printf("# a %.2f b %.4f c %.4f d %.5f e %.6f, worst error %.3f\n", m->a, m->b, m->c, m->d, m->e, worst_error(m));
    CHECK(worst_error(m) < 0.03);
    CHECK(fabs(m->b / truth.b - 1) < 0.15 && fabs(m->c / truth.c - 1) < 0.15);
    steptime_free(t);
}

static void noise_and_outliers_do_little(void)
{
    struct steptime *t = steptime_new();
    show(t, 4000, 0.4, 0.01, 2);
    printf("# worst error %.3f\n", worst_error(steptime_last(t)));
    CHECK(worst_error(steptime_last(t)) < 0.12);
    steptime_free(t);
}

static void one_size_for_long_does_not_undo_what_was_learned(void)
{
    struct steptime *t = steptime_new();
    show(t, 4000, 0.1, 0, 3);
    for (int i = 0; i < 100000; i++) {
        struct steptime_load l = { .batch = 1, .context = 500 };
        steptime_learn(t, &l, steptime_ms(&truth, &l));
        steptime_fit(t);
    }
    CHECK(worst_error(steptime_last(t)) < 0.06);
    steptime_free(t);
}

static void nothing_is_negative_and_nonsense_is_ignored(void)
{
    struct steptime *t = steptime_new();
    CHECK(!steptime_knows_prefill(t));
    CHECK_INT(steptime_fit(t)->a > 0, 0);
    steptime_learn(t, &(struct steptime_load){ .batch = 1 }, NAN);
    steptime_learn(t, &(struct steptime_load){ .batch = 1 }, -3);
    struct steptime_point p[4];
    CHECK_INT(steptime_points(t, p, 4), 0);
    for (int i = 0; i < 64; i++) /* falls with every row: no honest machine does */
        steptime_learn(t, &(struct steptime_load){ .batch = 1 + i % 8, .prefill = i % 3 }, 100 - 5 * (i % 8));
    const struct steptime_model *m = steptime_fit(t);
    CHECK(m->a > 0 && m->b >= 0 && m->c >= 0 && m->d >= 0 && m->e >= 0);
    CHECK(steptime_knows_prefill(t));
    steptime_free(t);
}

static void little_was_seen_and_nothing_looks_free(void)
{
    struct steptime *t = steptime_new();
    steptime_learn(t, &(struct steptime_load){ .prefill = 512, .sum_pc = 512 * 256 }, 400);
    CHECK_NEAR(steptime_chunk_ms(steptime_fit(t), 128, 0), 100, 10); /* a quarter of the rows, a quarter of the time */
    for (int i = 0; i < 16; i++)
        steptime_learn(t, &(struct steptime_load){ .batch = 1, .context = 100 + i }, 5);
    const struct steptime_model *m = steptime_fit(t);
    CHECK_NEAR(steptime_chunk_ms(m, 128, 0), 100, 10);
    CHECK(m->a > 4 && m->c < 1); /* a second row might well be cheap: worth a try */
    steptime_free(t);
}

/* By hand: rows*(b + e*(pos + rows/2)) <= ms. */
static void a_chunk_is_the_largest_that_fits(void)
{
    struct steptime_model m = { .a = 10, .b = 1, .e = 0.01 };
    CHECK_INT(steptime_chunk_rows(&m, 55.5, 0, 512), 45);   /* 45 + 0.01*45*22.5 = 55.125; 46 rows: 56.58 */
    CHECK_INT(steptime_chunk_rows(&m, 50, 100, 512), 23);   /* 23*(1 + 0.01*111.5) = 48.645; 24 rows: 50.88 */
    CHECK_INT(steptime_chunk_rows(&m, 0, 0, 512), 0);
    CHECK_INT(steptime_chunk_rows(&m, 1e9, 0, 100), 100);
}

int main(void)
{
    RUN(the_figures_are_found);
    RUN(noise_and_outliers_do_little);
    RUN(one_size_for_long_does_not_undo_what_was_learned);
    RUN(nothing_is_negative_and_nonsense_is_ignored);
    RUN(little_was_seen_and_nothing_looks_free);
    RUN(a_chunk_is_the_largest_that_fits);
    DONE();
}
