/* optimise -- solve a scenario's programme: relaxation, its neighbourhood, then the whole, with a certificate. */
#ifndef PLAN_OPTIMISE_H
#define PLAN_OPTIMISE_H
#include "plan/decision.h"
#include "plan/lp.h"

struct optimise_options {
    double gap, seconds;      /* 0.005; 0: no limit */
    int threads;
    volatile sig_atomic_t *stop;
    void (*progress)(void *arg, const struct lp_progress *p); /* in USD */
    void *arg;
};
struct optimise_result {
    struct decision decision;  /* released by the caller */
    double npv, bound, gap;    /* USD */
    double seconds;
    int columns, rows, integers;
    bool proven;               /* within the gap asked for */
    bool stopped;              /* by `stop` or the clock: the best so far */
};
enum err_code optimise(const struct scenario *s, const struct optimise_options *o, struct optimise_result *out,
                       struct err *e);
/* The best flows for given whole units (after a figure was moved): the NPV in USD. */
enum err_code optimise_flows(const struct scenario *s, const struct decision *units, double *npv, struct err *e);
#endif
