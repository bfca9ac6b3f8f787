/* tco -- the quick question: what does a machine of one's own cost per million tokens,
    against an API or a rented one?
 *
 * Pure functions of struct tco_input; the console's page calls tco_json with the same code behind it.
 *
 *   CRF = i (1+i)^n / ((1+i)^n - 1)               1/n when i = 0
 *   kWh a year = sum (idle + (load - idle) * utilisation) * PUE * 8760
 *   cost of a token = cost of a machine-second * machine-seconds of the token, from the step-time model */
#ifndef PLAN_TCO_H
#define PLAN_TCO_H
#include "base/err.h"
#include "plan/step.h"

#include <jansson.h>
#include <stdint.h>

struct tco_input {
    double units, devices;               /* devices in a unit */
    double price, uplift;                /* USD a unit; freight, duty, network on top, relative */
    double life_y, discount, resale;     /* resale: share of price left after life */
    double power_load, power_idle, pue, power_price; /* W a unit, USD/kWh */
    double maintenance, staff, rent;     /* of price per year; USD per year for all; USD/kW/month */
    double rate, utilisation;            /* output tok/s of a busy unit; share of the year busy */
    struct step_load load;               /* a request: input, output, cached */
    struct step_model step;              /* of one engine; all zero: output tokens carry the whole cost */
    double batch, replicas;              /* sequences per engine; engines per unit */
    double api_in, api_cached, api_out;  /* USD/Mtok; all zero: no API to compare with */
    double cloud_hour;                   /* USD per device-hour rented; 0: none */
};

struct tco_result {
    double crf, capex;                   /* USD */
    double annuity, energy, maintenance, staff, rent, total; /* USD a year */
    double kwh, kwh_per_mtok, mtok;      /* a year; of output */
    double usd_per_mtok;                 /* all cost over output tokens */
    double usd_in, usd_cached, usd_out;  /* USD/Mtok of each kind, by machine-seconds */
    double share_in, share_cached, share_out; /* of machine-seconds */
    double usd_device_hour;              /* owning a device, per hour of the year */
    double api_usd;                      /* the same requests at the API, a year */
    double api_per_mtok;                 /* per Mtok of output */
    double breakeven_utilisation;        /* where owning costs what the API does; above 1: never */
    double breakeven_hours;              /* CapEx / (cloud - own running cost) per busy hour; infinite: never */
    double payback_y;                    /* years until what the API would have cost has paid the CapEx; infinite */
};
double tco_crf(double rate, double years);
void tco_compute(const struct tco_input *in, struct tco_result *out);

enum { TCO_BARS_MAX = 10 };
struct tco_bar { const char *name; double low, high; }; /* USD/Mtok with the figure 20 % lower and higher */
struct tco_spread {
    double p10, p50, p90;                /* USD/Mtok */
    struct tco_bar bars[TCO_BARS_MAX];   /* widest first */
    int bar_count;
};
/* Each uncertain figure drawn from a triangle of +-20 %, seeded. */
void tco_spread(const struct tco_input *in, uint64_t seed, struct tco_spread *out);

/* Fields of struct tco_input by name -> {crf, capex, ...}, with "spread". A new reference, or NULL and e. */
json_t *tco_json(const json_t *in, struct err *e);
json_t *tco_to_json(const struct tco_input *in);
#endif
