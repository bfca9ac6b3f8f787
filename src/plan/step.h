/* step -- how long one iteration of an engine takes, and what follows from it.
 *
 *   step_ms = a + b*prefill + c*batch + d*context + e*sum_pc
 *
 * prefill: prompt tokens computed in this step; batch: sequences that decode one token; context: the sum
 * of their context lengths; sum_pc: over the prompts in the step, tokens times the context they attend to
 * on average (p*p/2 for a whole prompt of p). The five are fitted per (hardware, model). */
#ifndef PLAN_STEP_H
#define PLAN_STEP_H
#include "base/err.h"

#include <jansson.h>

struct step_model {
    double a, b, c, d, e; /* ms, ms/token, ms/sequence, ms/token, ms/token^2; none negative */
};

struct step_point {
    double prefill, batch, context, sum_pc, ms;
};

enum { STEP_POINTS_MAX = 512 };

struct step_fit {
    struct step_model model;
    double worst, mean; /* relative error over the points, 0.05 = 5 % */
};

double step_ms(const struct step_model *m, double prefill, double batch, double context, double sum_pc);

/* Least worst, then least mean, relative error with all coefficients >= 0, found as a linear programme.
 * ERR_INVALID when there are no points or one is not positive. */
enum err_code step_fit(const struct step_point *points, int count, struct step_fit *out, struct err *e);

/* Points from JSON: either an array of {prefill, batch, context, sum_pc, ms}, or what `tokenworks bench
 * --json` prints: {results: [{test: "pp512" | "tg128" | "tg64@b32" | "tg32@d4096", tokens_per_s}]}.
 * *count is at most STEP_POINTS_MAX. */
enum err_code step_points_read(const json_t *v, struct step_point *points, int *count, struct err *e);

/* A stationary load on one engine: requests of `input` prompt tokens of which `cached` (0..1) are found in
 * the prefix cache, answered with `output` tokens, `batch` of them at a time. */
struct step_load {
    double input, output, cached;
};
/* The step's length and the output tokens per second at a batch. */
double step_at_batch(const struct step_model *m, const struct step_load *l, double batch);
double step_rate(const struct step_model *m, const struct step_load *l, double batch);
/* The largest batch <= batch_max whose step is <= itl_ms; 0 when even one sequence is slower. */
double step_batch_for(const struct step_model *m, const struct step_load *l, double itl_ms, double batch_max);
#endif
