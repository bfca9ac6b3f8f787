/* fleet -- a decision's machines in one quarter as a configuration of the simulator, and whether SLOs hold. */
#ifndef PLAN_FLEET_H
#define PLAN_FLEET_H
#include "plan/decision.h"
#include "plan/sim.h"

struct fleet_options {
    bool failures;      /* of devices and units */
    bool site_failures;
    bool exact;         /* one event per step */
    int sample;         /* 0: chosen from the batch sizes */
    double seconds;     /* 0: as long as percentiles need */
    double load;        /* times the peak hour's rate; 1 */
    uint64_t seed;
};
/* Streams are in the order of the demands that have a flow: demand_of[i] says which. */
void fleet_config(const struct decision *d, int t, const struct fleet_options *o, struct sim_config *out,
                  int demand_of[SIM_STREAMS_MAX], int group_hw[SIM_GROUPS_MAX]);

/* One service level of one demand in one quarter, at its peak hour. */
struct slo_check {
    int demand, quarter;
    double ttft_ms, ttft_half, ttft_limit; /* 99th percentile, 95 % half width */
    double itl_ms, itl_half, itl_limit;
    double tokens_per_s, own_share;        /* simulated; share of the demand on own machines */
    bool holds;
};
enum { SLO_CHECKS_MAX = DEMANDS_MAX * QUARTERS_MAX };
struct slo_report {
    struct slo_check *checks; /* owned */
    int count, failed;
    int64_t events;
    double wall_s;
};
/* Simulates every quarter at its peak hour. */
enum err_code fleet_check(const struct decision *d, uint64_t seed, struct slo_report *out, struct err *e);
void slo_report_release(struct slo_report *r);
#endif
