/* check -- is a decision allowed by the scenario? Asked of every solution, without the optimiser's matrix.
 *
 * Whole units (orders, capacities, lots, lead times, lives) are checked in integers, exactly. Tokens are
 * counted in whole milli-tokens per second, so that what is asked and what is served balance exactly; what
 * depends on real-valued rates, powers and prices is summed in long double and held to CHECK_TOLERANCE. */
#ifndef PLAN_CHECK_H
#define PLAN_CHECK_H
#include "plan/decision.h"
#include "plan/mistakes.h"

#define CHECK_TOLERANCE 1e-6 /* relative to the limit */

/* The number of violations; a sentence for each in out. npv: what the optimiser claims, compared with the
 * cost of the decision itself; NAN: not compared. */
int check_decision(const struct decision *d, double npv, struct mistakes *out);
#endif
