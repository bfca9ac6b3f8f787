/* scenario -- the planner's whole input, read, checked and in base units.
 *
 * Indices: h hardware, s supplier, l site, d demand, m model, k SLO, q API, t quarter from `start`. A class
 * is a (model, SLO) pair that some demand asks for: what machines are assigned to.
 * A struct scenario is one large block: figures hold addresses into it, so it is never copied by value. */
#ifndef PLAN_SCENARIO_H
#define PLAN_SCENARIO_H
#include "base/err.h"
#include "base/sha256.h"
#include "plan/figure.h"
#include "plan/mistakes.h"
#include "plan/step.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    HW_MAX = 16, SUPPLIERS_MAX = 24, SITES_MAX = 24, MODELS_MAX = 8, SLOS_MAX = 6, DEMANDS_MAX = 96,
    QUARTERS_MAX = 40, APIS_MAX = 8, CLASSES_MAX = 24, BUDGETS_MAX = 8, PLAN_ID_MAX = 48, PLACES_MAX = 32,
};
#define QUARTER_HOURS 2190.0 /* 8760 / 4 */

/* How an engine schedules, when it is `tokenworks serve`; see sim.h's struct sim_pace. */
struct plan_serving {
    double target_itl_ms, target_ttft_ms, running_max, batch_rows, prefill_rows, page, kv_tokens, shared_prefix;
};

/* What one hardware unit does for one model. */
struct plan_perf {
    bool given;
    double rate;       /* output tok/s of a whole unit under its SLO at full load; 0: from the step model */
    double itl_ms;     /* the inter-token time it was measured at */
    double input, output; /* of the benchmark's requests */
    double replicas;   /* engines in a unit */
    double batch_max;  /* sequences per engine */
    bool has_step;
    struct step_model step; /* of one engine; derived from rate and itl_ms unless has_step */
    bool has_serving;       /* else an engine as any other */
    struct plan_serving serving;
};

struct plan_hardware {
    char id[PLAN_ID_MAX];
    bool critical;                /* needs rules.critical_suppliers_min suppliers once bought */
    double devices, memory_gb;    /* accelerators in a unit; memory of each */
    double price, price_change;   /* USD; relative change per year from the first quarter */
    double network;               /* CapEx on top of price, relative */
    double power_load, power_idle;/* W */
    double life_y, resale;        /* years of service; share of the straight-line book value a sale brings */
    double maintenance;           /* of price per year */
    double availability, spares;  /* share of time up; spare units per unit in service */
    double device_mtbf_h, unit_mtbf_h, device_repair_h, unit_repair_h;
    struct plan_perf perf[MODELS_MAX];
    int line;
};

struct plan_offer {
    bool given;
    double price_factor, capacity, capacity_growth, lead_q, min_lot;
};
struct plan_supplier {
    char id[PLAN_ID_MAX], company[PLAN_ID_MAX];
    int country;                  /* index into places */
    double freight, duty_abroad;  /* of price; duty when the site lies in another customs area */
    double duty[PLACES_MAX];      /* by the site's jurisdiction; negative: duty_abroad or none at home */
    struct plan_offer offers[HW_MAX];
};

struct plan_site {
    char id[PLAN_ID_MAX];
    int place;                    /* jurisdiction */
    double power, power_price, pue, opening, rent, staff, co2;
    double mtbf_h, repair_h, lat, lon;
    double existing[HW_MAX], existing_until[HW_MAX]; /* units already there, until this quarter */
};

struct plan_model { char id[PLAN_ID_MAX]; double weights_gb, kv_bytes; };
struct plan_slo { char id[PLAN_ID_MAX]; double ttft_ms, itl_ms; };
struct plan_api { char id[PLAN_ID_MAX]; int place; double in, cached, out, latency_ms; };
struct plan_budget { int by; double amount; };

struct plan_demand {
    char id[PLAN_ID_MAX];
    int model, slo, cls, place;
    bool place_ok[PLACES_MAX];    /* residency: where it may be computed */
    bool api_ok[APIS_MAX];        /* APIs it may be sent to */
    double volume[QUARTERS_MAX];  /* as a list: mean output Mtok/day */
    double output0, growth;       /* Mtok/day at the start, per year; output0 < 0: the list holds */
    double rate[QUARTERS_MAX];    /* derived: mean output tok/s of this band */
    int twin;                     /* a burst band: its base band, whose figures it follows; else -1 */
    double input, output, cached, peak, penalty; /* tokens per request; peak/mean; USD/Mtok unmet */
    double share;                 /* of the written demand: base and burst bands, else 1 */
    double unmet;                 /* derived: penalty, or the scenario's */
    double latency_ms[SITES_MAX];
    bool route_ok[SITES_MAX];     /* derived: residency and latency + service <= SLO */
};

/* theta: output tok/s of one busy unit. It is theta_full (what the step model allows under the SLO) times
 * the derate of the plan loop. service_ms: an unloaded request's time to first token. */
struct plan_class {
    int model, slo;
    struct step_load load; /* volume-weighted over its demands */
    double theta[HW_MAX], theta_full[HW_MAX], batch[HW_MAX], service_ms[HW_MAX], service_max_ms;
};

struct plan_rules {
    double utilisation_max, supplier_share_max, country_share_max, critical_suppliers_min, survive_site_loss;
    double api_share_max, coincidence; /* of peak power that falls together at a site */
};
struct plan_finance { double discount, eur_usd, unmet_penalty; struct plan_budget budget[BUDGETS_MAX]; int budgets; };

struct scenario {
    char id[PLAN_ID_MAX], title[160], about[1200];
    int start_year, start_quarter, quarters;
    uint64_t seed;
    struct plan_finance finance;
    struct plan_rules rules;
    char places[PLACES_MAX][PLAN_ID_MAX];
    int hw_count, supplier_count, site_count, model_count, slo_count, demand_count, api_count, class_count,
        place_count;
    struct plan_hardware hw[HW_MAX];
    struct plan_supplier suppliers[SUPPLIERS_MAX];
    struct plan_site sites[SITES_MAX];
    struct plan_model models[MODELS_MAX];
    struct plan_slo slos[SLOS_MAX];
    struct plan_api apis[APIS_MAX];
    struct plan_demand demands[DEMANDS_MAX];
    struct plan_class classes[CLASSES_MAX];
    double derate[CLASSES_MAX];   /* lowered by the plan loop where a service level failed; starts at 1 */
    struct figure *figures;       /* owned */
    int figure_count;
    char inputs_sha256[SHA256_HEX_MAX];
};

/* Reads YAML text, the catalogue's entries filled in, `what_if` texts "path=value" applied. NULL when there
 * were mistakes: then m says which. The caller frees with scenario_free. */
struct scenario *scenario_load(const char *text, size_t n, const char *name, const char *const *what_if,
                               int what_if_count, struct mistakes *m);
struct scenario *scenario_load_file(const char *path, const char *const *what_if, int what_if_count,
                                    struct mistakes *m);
void scenario_free(struct scenario *s);

/* Recomputes what follows from the figures: volumes, step models, theta, routes. Called by the loader, and
 * again after a figure was moved. */
void scenario_derive(struct scenario *s);

/* Shared by optimiser, checker and report. */
double scenario_price(const struct scenario *s, int h, int supplier, int t);     /* USD a unit, before uplifts */
double scenario_uplift(const struct scenario *s, int h, int supplier, int site); /* 1 + freight + duty + network */
double scenario_capacity(const struct scenario *s, int h, int supplier, int t);  /* units in a quarter */
int scenario_life_q(const struct scenario *s, int h);
void scenario_quarter_name(const struct scenario *s, int t, char out[16]);
#endif
