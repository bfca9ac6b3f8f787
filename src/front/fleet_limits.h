/* fleet_limits -- a tenant's limits, kept by all gateways of a fleet together (fleet/lease.h).
 *
 * The ledger of each gateway admits against its own count first; then the request's worst case is taken from what this
 * gateway has leased of the tenant's limits: requests and tokens a minute; tokens, money and energy a day and a month.
 * What it did not use is given back at its end, what it used beyond its worst case is told.
 *
 *   fleet_hold_take --all granted--> HOLD_GRANTED       `--spent, or the bucket is away--> HOLD_REFUSED
 *        `--more is asked for--> HOLD_WAITS --> granted() or refused() within HOLD_WAIT_MS
 *
 * Owner: the loop. */
#ifndef FRONT_FLEET_LIMITS_H
#define FRONT_FLEET_LIMITS_H
#include "base/json.h"
#include "fleet/lease.h"
#include "fleet/subject.h"
#include "ledger/ledger.h"

enum { HOLD_WAIT_MS = 2000, HOLD_LEASES = 8 };

struct fleet_limits;
enum err_code fleet_limits_open(struct loop *l, const struct bus_options *bus, const struct fleet_place *me,
                                struct fleet_limits **out, struct err *e);
void fleet_limits_close(struct fleet_limits *t); /* gives back what is held */

enum hold_verdict { HOLD_GRANTED, HOLD_WAITS, HOLD_REFUSED };

struct fleet_hold {               /* of a request; zero: nothing is held */
    void (*granted)(void *arg);   /* neither is called inside fleet_hold_take */
    void (*refused)(void *arg, const struct ledger_answer *why);
    void *arg;
    char tenant[LEDGER_NAME_MAX + 1];
    struct ledger_limits limits;  /* of the tenant */
    struct ledger_amount worst;   /* its worst case */
    int64_t taken_ms;             /* 0: not taken; fleet_limits' own from here on */
    int64_t since_ms;
    enum ledger_limit waits_for;
    struct fleet_hold *next;
    bool waits;
};
/* t NULL: granted. why: filled when refused. */
enum hold_verdict fleet_hold_take(struct fleet_limits *t, struct fleet_hold *h, struct ledger_answer *why);
/* The request is over and used so much; all zero: it was given up, before or after it was granted. */
void fleet_hold_end(struct fleet_limits *t, struct fleet_hold *h, const struct ledger_amount *used);
json_t *fleet_limits_state(struct fleet_limits *t); /* {"limits","held","waiting","reached"}: a new reference */
#endif
