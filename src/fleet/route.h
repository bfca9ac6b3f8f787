/* route -- who gets a request: first who may (policy), then who would answer soonest (score). Pure functions over the
 * roster; the dice and the prefix table are passed in.
 *
 *   may:   alive, not draining, has the model, in an allowed jurisdiction (where evidence is kept also: at an allowed
 *          site, with the weights asked for), equal numerics when resuming, not excluded, its queue not full and its
 *          wait within the request's deadline
 *   score: in seconds, less is better.  wait (backlog / rate) + prompt that is not known there / rate
 *          + ROUTE_RTT_WEIGHT * rtt + ROUTE_KV_WEIGHT * used share of KV, squared: pages that run out cost recomputing
 *          + ROUTE_OUTSIDE_S for an outside provider, who gets only what may go there; + ROUTE_SUSPECT_S under
 *          suspicion
 *   pick:  among those within ROUTE_MARGIN of the best, the better of two drawn at random: several gateways that hear
 *          the same beats do not all run to the same worker.
 *
 * A worker's backlog is what its last beat said and what we sent since. */
#ifndef FLEET_ROUTE_H
#define FLEET_ROUTE_H
#include "base/rng.h"
#include "fleet/gateway.h"
#include "fleet/prefixes.h"
#include "fleet/roster.h"

enum {
    ROUTE_WAITING_MAX = 1024,     /* as an engine's own queue: lib/runtime.c */
    ROUTE_EXCLUDED_MAX = 4,
    ROUTE_BYTES_PER_TOKEN = 4,
};
#define ROUTE_RATE_GUESS 200.0    /* tokens/s of a worker that has not computed yet */
#define ROUTE_RTT_WEIGHT 2.0      /* there and back; the answer's first byte pays it again */
#define ROUTE_KV_WEIGHT 1.0       /* s */
#define ROUTE_OUTSIDE_S 2.0       /* the house goes first: a provider gets what would wait so much longer at home */
#define ROUTE_SUSPECT_S 5.0       /* it may not be there any more: others first, if there are */
#define ROUTE_MARGIN_S 0.02
#define ROUTE_MARGIN 0.05         /* of the best score */

enum route_policy { ROUTE_BEST, ROUTE_RANDOM }; /* random: among who may; to compare with */

struct route_query {
    const struct fleet_ask *ask;
    const char *home;             /* jurisdiction of who asks: the only one when the ask names none */
    const char *numerics;         /* "": any */
    uint32_t excluded[ROUTE_EXCLUDED_MAX + 1]; /* serials */
    int excluded_count;
    enum route_policy policy;
};

struct route_pick {
    struct roster_worker *worker;
    struct roster_model *model;
    double wait_s, score_s;
    int64_t known_bytes;          /* of the prompt's beginning, believed to be there */
};

/* ERR_NOT_FOUND: nobody who is alive has the model; ERR_DENIED: only where it must not go; ERR_BUSY: all who may are
 * full, draining or late: *retry_s (never NULL) says when it may be otherwise. One sentence each. */
enum err_code route_pick(const struct roster *r, const struct prefixes *known, const struct route_query *q,
                         struct rng *dice, struct route_pick *out, int *retry_s, struct err *e);

/* Books a pick: the worker's backlog grows, its prefixes are known from now on. */
void route_sent(struct prefixes *known, const struct fleet_ask *ask, const struct route_pick *p);
/* A beat's prefixes are known too. */
void route_learn(struct prefixes *known, const struct roster_worker *w);

int64_t route_prefix_bytes(int i); /* how long the beginning behind ask->prefix[i] is */
#endif
