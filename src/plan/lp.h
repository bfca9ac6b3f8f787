/* lp -- linear programmes with integers: the one door to COIN-OR CBC.
 *
 * The solver runs in a child process: its log becomes progress (incumbent, bound), a crash of it is an
 * error and not our end, and Ctrl-C stops it while its best answer so far is kept. Minimises. */
#ifndef PLAN_LP_H
#define PLAN_LP_H
#include "base/err.h"

#include <signal.h>
#include <stdbool.h>

#define LP_INFINITY 1e30 /* CBC takes from 1e27 on as none */

struct lp;
struct lp *lp_new(void);
void lp_free(struct lp *p);
/* The new column's or row's index. sense: 'L' <=, 'G' >=, 'E' =. Zero coefficients are dropped, repeated
 * columns of a row are summed. */
int lp_col(struct lp *p, double lower, double upper, double cost, bool integer);
int lp_row(struct lp *p, char sense, double rhs);
void lp_coef(struct lp *p, int row, int col, double value);
void lp_set_bounds(struct lp *p, int col, double lower, double upper);
void lp_get_bounds(const struct lp *p, int col, double *lower, double *upper);
bool lp_is_integer(const struct lp *p, int col);
int lp_cols(const struct lp *p);
int lp_rows(const struct lp *p);
int lp_integers(const struct lp *p);

enum lp_status { LP_OPTIMAL, LP_FEASIBLE, LP_INFEASIBLE, LP_UNBOUNDED, LP_NOTHING };

struct lp_progress {
    double seconds, incumbent, bound; /* incumbent LP_INFINITY, bound -LP_INFINITY while unknown */
};
struct lp_options {
    double gap;           /* relative; stops there */
    double seconds;       /* wall clock; 0: no limit */
    int threads;          /* 0 and 1: one */
    const double *start;  /* a feasible point, or NULL; what is returned when the solver finds nothing better */
    bool continuous;      /* leave integrality out */
    volatile sig_atomic_t *stop; /* set by a signal handler: end now with the best so far; may be NULL */
    void (*progress)(void *arg, const struct lp_progress *p);
    void *arg;
};
struct lp_result {
    enum lp_status status;
    double objective, bound; /* bound <= optimum; equal to objective when optimal within gap 0 */
    double *x;               /* owned, lp_cols long; NULL unless OPTIMAL or FEASIBLE */
    double seconds;
    int nodes;
};
/* ERR_IO when the solver process cannot be run or dies. Infeasibility is a status, not an error. */
enum err_code lp_solve(const struct lp *p, const struct lp_options *o, struct lp_result *out, struct err *e);
void lp_result_release(struct lp_result *r);
double lp_gap(double objective, double bound); /* relative, >= 0 */
#endif
