/* model -- the scenario as a mixed-integer programme: which columns, which rows, and back to a decision. */
#ifndef PLAN_MODEL_H
#define PLAN_MODEL_H
#include "plan/decision.h"
#include "plan/lp.h"

struct model;
/* The programme of PLAN.md: rows 1 to 9, NPV as cost. Never fails: any scenario has the plan that buys nothing.
 * share_kept: 1, or the part of the share caps that is to be used: the rest is room for rounding. */
struct model *plan_model_new(const struct scenario *s, double share_kept);
void plan_model_free(struct model *m);
struct lp *plan_model_lp(struct model *m);
double plan_model_money(const struct model *m); /* USD per unit of the programme's objective */
double *plan_model_start(const struct model *m);     /* the plan that buys nothing; the caller frees */
/* x of lp_solve -> decision (initialised here, released by the caller); whole units are rounded. */
void plan_model_read(const struct model *m, const double *x, struct decision *out);
/* upper: what whole columns may be at most in a search. Every plant that sells a machine planned for a site may deliver
 * a lot of it there: of critical machines, or of all. A relaxation buys them at one company where a plan needs two. */
void plan_model_widen(const struct model *m, bool all, double *upper);
/* Pins every whole-unit column to the decision's value, so that only flows remain to be found. */
void plan_model_pin(struct model *m, const struct decision *d);
#endif
