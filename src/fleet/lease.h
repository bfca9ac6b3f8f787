/* lease -- one limit, kept by several gateways together: each leases slices of it, and admits against its slice.
 *
 * A limit is a number for a span of time: tokens a minute, micro-units a month. What is spent and who holds how much
 * stands in one key of a NATS KV bucket, changed by compare-and-set only:
 *
 *   {"v":1, "window":<number of the span>, "spent":n,
 *    "leases":{"<holder>":[n, <Unix ms of its last write>, <count of its writes>]}}
 *
 *   lease_take --in the slice--> granted at once
 *         `--not in it--> the thread asks for a slice --changed()--> take again
 *
 * Q1  spent + all leases <= limit, in every value ever written: together the gateways never admit more than the limit.
 *     Beyond it is only what requests used above what was taken for them, told by lease_charge when they end.
 * Q2  A holder renews each LEASE_RENEW_MS, saying what it used; a slice that was not touched for LEASE_IDLE_MS is given
 *     back. Who has not renewed for LEASE_LAPSE_MS is dead: its lease counts as spent, since nobody knows. It never
 *     lapses by the server's time-to-live, which expires without a word. Clocks may differ by some seconds.
 * Q3  While the bucket cannot be reached a gateway lives on what it holds, then on nothing: LEASE_AWAY.
 *
 * Needs JetStream in the account. The loop's thread calls; the client library's calls block and run on a thread. */
#ifndef FLEET_LEASE_H
#define FLEET_LEASE_H
#include "fleet/bus.h"

#include <stdint.h>

enum {
    LEASE_RENEW_MS = 5000, LEASE_IDLE_MS = 10 * 1000, LEASE_LAPSE_MS = 30 * 1000,
    LEASE_SLICES = 16,            /* a slice is a sixteenth of the limit, or what is asked for when that is more */
    LEASE_HOLDERS_MAX = 64, LEASE_LIMITS_MAX = 4096, LEASE_NAME_MAX = 200,
};

struct lease;

struct lease_options {
    const struct bus_options *bus;
    const char *bucket;           /* NULL: tw_quota. Made when it is not there */
    const char *holder;           /* unique in the fleet: "ch.zurich.door" */
    int replicas;                 /* of the bucket, when it is made; 0: 1 */
};

struct lease_limit {
    const char *name;             /* whose and which: "tenant/acme/tokens per minute" */
    int64_t limit, span_ms;       /* spans are counted from 1970 in UTC */
};

enum lease_verdict {
    LEASE_GRANTED,
    LEASE_ASKED,                  /* more is asked for: changed() follows, as a rule within milliseconds */
    LEASE_SPENT,                  /* nothing is left in this span; *retry_ms until the next */
    LEASE_AWAY,                   /* nothing is held, and the bucket cannot be reached */
};

/* changed: on the loop's thread, when a take that was not granted may be now. */
struct lease *lease_open(struct loop *l, const struct lease_options *o, void (*changed)(void *arg), void *arg,
                         struct err *e);
void lease_close(struct lease *s); /* gives back what is held; a call that is under way is waited for */

enum lease_verdict lease_take(struct lease *s, const struct lease_limit *limit, int64_t amount, int64_t now_ms,
                              int64_t *retry_ms);
/* More was used than was taken: it counts as spent, even beyond the limit, so that nobody is granted more until there
 * is room again. Of a span that is over: nothing. */
void lease_charge(struct lease *s, const struct lease_limit *limit, int64_t amount, int64_t taken_ms);

struct lease_stats {
    int limits, held;             /* known here; of which something is leased here */
    bool reached;                 /* the bucket answers, or was not asked yet */
};
struct lease_stats lease_stats(struct lease *s);
/* Of what was taken this was not used after all; of a span that is over: nothing. taken_ms: when it was taken. */
void lease_return(struct lease *s, const struct lease_limit *limit, int64_t amount, int64_t taken_ms);
#endif
