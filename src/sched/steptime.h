/* steptime -- how long a step takes, learned from the steps themselves.
 *
 *   step_ms = a + b*prefill + c*batch + d*context + e*sum_pc
 *
 * the planner's form (plan/step.h; docs/plan.md), so that what an engine learned is what a plan reads. a holds the
 * weights read once a step, d*context the keys and values read (context times a token's KV bytes), e the attention of
 * prompts.
 *
 * Steps of like size share a bucket, which keeps their mean; a step that took more than twice or less than half of
 * what its like do counts as twice or half. The five are fitted to the buckets by least squares of the relative
 * error, none negative, so a thousand steps of one size say no more than they know.
 *
 * Owner: one thread. Nothing is allocated after steptime_new. */
#ifndef SCHED_STEPTIME_H
#define SCHED_STEPTIME_H
#include <stdbool.h>

struct steptime_load {
    double prefill;  /* prompt tokens computed in the step */
    double batch;    /* rows that decode, drafted ones too */
    double context;  /* of the sequences that decode, the sum */
    double sum_pc;   /* over the prompts: tokens times the context they attend to on average */
};

struct steptime_model {
    double a, b, c, d, e; /* ms, ms/token, ms/row, ms/token, ms/token^2 */
};

struct steptime_point {
    struct steptime_load load;
    double ms;
    int steps; /* it is the mean of so many */
};

struct steptime;
struct steptime *steptime_new(void);
void steptime_free(struct steptime *t);
void steptime_learn(struct steptime *t, const struct steptime_load *l, double ms);
/* The model, fitted again when a few steps came since; all zeros before the first. */
const struct steptime_model *steptime_fit(struct steptime *t);
const struct steptime_model *steptime_last(const struct steptime *t); /* as it was fitted last */
bool steptime_knows_prefill(const struct steptime *t); /* a step with prompt rows was seen */
/* The buckets' means; returns how many, at most max. */
int steptime_points(const struct steptime *t, struct steptime_point *out, int max);

double steptime_ms(const struct steptime_model *m, const struct steptime_load *l);
/* A chunk of `rows` at position `pos` of its prompt, within a step: the ms it adds. */
double steptime_chunk_ms(const struct steptime_model *m, double rows, double pos);
/* The largest chunk at `pos` that adds at most `ms`, up to rows_max. */
int steptime_chunk_rows(const struct steptime_model *m, double ms, double pos, int rows_max);
#endif
