/* sense -- which figures the plan hangs on: each one moved, the best flows found again, the machines kept. */
#ifndef PLAN_SENSE_H
#define PLAN_SENSE_H
#include "plan/decision.h"

enum { SENSE_BARS_MAX = 20 };
#define SENSE_STEP 0.1 /* each figure 10 % down and up */

struct sense_bar {
    int figure;          /* index into the scenario's */
    double low, high;    /* NPV in USD; NAN: with this figure the plan breaks a rule */
};
struct sense {
    struct sense_bar bars[SENSE_BARS_MAX]; /* widest first */
    int bar_count, tried, skipped;         /* skipped: no time was left for them */
    double p10, p50, p90;                  /* USD/Mtok; prices and rates of class assumed drawn together +-20 % */
};
/* Only figures of class assumed. Moves the scenario's figures and puts them back. */
enum err_code sense_find(struct scenario *s, const struct decision *d, double npv, double seconds, struct sense *out,
                         struct err *e);
#endif
