/* decision -- what a plan says to do: units bought, machines assigned, tokens sent where; and what it costs.
 *
 * Flat arrays indexed through the functions below. Units are whole; flows are mean output tokens per second. */
#ifndef PLAN_DECISION_H
#define PLAN_DECISION_H
#include "plan/scenario.h"

struct decision {
    const struct scenario *s; /* borrowed: fixes the sizes */
    int *buy;        /* [h][supplier][site][t] units ordered */
    char *open;      /* [site][t] 0 or 1 */
    double *assign;  /* [h][site][class][t] units busy at the peak */
    double *standby; /* [h][site][class][t] units ready for it when some other site is down */
    double *flow;    /* [d][site][t] */
    double *api;     /* [d][api][t] */
    double *unmet;   /* [d][t] */
};

void decision_init(struct decision *d, const struct scenario *s); /* all zero but unmet = the whole demand */
void decision_release(struct decision *d);

int *decision_buy(const struct decision *d, int h, int supplier, int site, int t);
char *decision_open(const struct decision *d, int site, int t);
double *decision_assign(const struct decision *d, int h, int site, int c, int t);
double *decision_standby(const struct decision *d, int h, int site, int c, int t);
double *decision_flow(const struct decision *d, int demand, int site, int t);
double *decision_api(const struct decision *d, int demand, int api, int t);
double *decision_unmet(const struct decision *d, int demand, int t);
/* Units in service: existing ones plus those arrived and not yet retired. */
int decision_installed(const struct decision *d, int h, int site, int t);

enum cost_kind {
    COST_HARDWARE, COST_UPLIFT, COST_OPENING, COST_RENT, COST_ENERGY, COST_STAFF, COST_MAINTENANCE, COST_API,
    COST_PENALTY, COST_RESIDUAL, COST_KINDS
};
extern const char *const cost_names[COST_KINDS];

struct cost {
    double by_quarter[QUARTERS_MAX][COST_KINDS]; /* USD of that quarter; residual (negative) in the last */
    double by_site_energy_kwh[SITES_MAX];
    double total[COST_KINDS];                    /* undiscounted */
    double npv, capex;                           /* USD; capex = hardware + uplift + opening, undiscounted */
    double mtok, mtok_discounted;                /* output tokens served, own machines and API */
    double mtok_own;
    double usd_per_mtok;                         /* levelised: npv without penalty / discounted Mtok served */
    double kwh, co2_kg;
    double spend_company[SUPPLIERS_MAX];         /* by the first supplier index of the company */
    double spend_country[PLACES_MAX];
    double spend, hhi;                           /* hhi: of spend by company, 0 to 10,000 */
};
/* Computed from the decision alone, without the optimiser's matrix. */
void cost_of(const struct decision *d, struct cost *out);
/* 10,000 times the sum of squared shares. */
double cost_hhi(const double *spend, int count);
/* The first supplier with the same company. */
int cost_company(const struct scenario *s, int supplier);
/* Mean over peak, of a class's demands in a quarter. */
double cost_load_factor(const struct scenario *s, int c, int t);
double cost_discount(const struct scenario *s, double quarters);
#endif
