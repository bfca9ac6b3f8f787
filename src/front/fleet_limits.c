/* fleet_limits -- see fleet_limits.h. */
#include "front/fleet_limits.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MINUTE_MS = 60 * 1000, DAY_MS = 24 * 60 * MINUTE_MS, POLL_MS = 100 };
#define NEVER_MS ((int64_t)1 << 41) /* a span that holds this century's middle: the month stands in the name */

struct fleet_limits {
    struct lease *lease;
    struct loop_timer *timer;
    struct fleet_hold *first; /* those that wait */
};

static int64_t wall_ms(void)
{
    return clock_wall_ns() / 1000000;
}

/* ---- which limits a request is held against */

static const enum ledger_limit kinds[HOLD_LEASES] = { LEDGER_REQUESTS_MINUTE, LEDGER_TOKENS_MINUTE, LEDGER_DAY_TOKENS,
                                                      LEDGER_MONTH_TOKENS, LEDGER_DAY_MONEY, LEDGER_MONTH_MONEY,
                                                      LEDGER_DAY_ENERGY, LEDGER_MONTH_ENERGY };

struct wanted {
    struct lease_limit limit;
    char name[LEASE_NAME_MAX + 1];
    int64_t amount;
};

static bool monthly(enum ledger_limit kind)
{
    return kind == LEDGER_MONTH_TOKENS || kind == LEDGER_MONTH_MONEY || kind == LEDGER_MONTH_ENERGY;
}

/* Of a limit's own unit. Where nothing is known to be needed (no price, no joules measured yet) it is one all the same:
 * of a budget that is spent nothing is had. */
static int64_t amount_of(enum ledger_limit kind, const struct ledger_amount *a, int64_t least)
{
    int64_t n = kind == LEDGER_REQUESTS_MINUTE ? a->tokens > 0
              : kind == LEDGER_DAY_MONEY || kind == LEDGER_MONTH_MONEY ? a->cost_micros
              : kind == LEDGER_DAY_ENERGY || kind == LEDGER_MONTH_ENERGY ? a->energy_mj : a->tokens;
    return n > least ? n : least;
}

static bool want(const struct fleet_hold *h, int i, int64_t at_ms, struct wanted *out)
{
    enum ledger_limit kind = kinds[i];
    char month[16] = "";
    time_t s = (time_t)(at_ms / 1000);
    struct tm tm;
    if (!h->limits.v[kind])
        return false;
    if (monthly(kind) && gmtime_r(&s, &tm))
        strftime(month, sizeof month, "/%Y-%m", &tm);
    snprintf(out->name, sizeof out->name, "tenant/%.128s/%.24s%s", h->tenant, ledger_limit_names[kind], month);
    out->amount = amount_of(kind, &h->worst, 1);
    out->limit = (struct lease_limit){ .name = out->name, .limit = h->limits.v[kind],
                                       .span_ms = monthly(kind) ? NEVER_MS :
                                                  kind == LEDGER_REQUESTS_MINUTE || kind == LEDGER_TOKENS_MINUTE ?
                                                  MINUTE_MS : DAY_MS };
    return true;
}

static void give_back(struct fleet_limits *t, const struct fleet_hold *h, int count, const struct ledger_amount *used)
{
    for (int i = 0; i < count; i++) {
        struct wanted w;
        if (!want(h, i, h->taken_ms, &w))
            continue;
        int64_t spent = amount_of(kinds[i], used, 0);
        if (w.amount > spent)
            lease_return(t->lease, &w.limit, w.amount - spent, h->taken_ms);
        else if (w.amount < spent)
            lease_charge(t->lease, &w.limit, spent - w.amount, h->taken_ms);
    }
}

/* LEASE_ASKED: what is left is leased by other gateways, who say what they used of it at their next renewal. */
static void refuse(enum ledger_limit kind, enum lease_verdict v, int64_t retry_ms, struct ledger_answer *why)
{
    bool spent = v == LEASE_SPENT || v == LEASE_ASKED;
    *why = (struct ledger_answer){ .verdict = spent ? LEDGER_LIMITED : LEDGER_BUSY, .ticket = -1, .limit = kind,
                                   .scope = LEDGER_TENANT, .allowance_tokens = -1,
                                   .retry_after_s = retry_ms > 1000 ? (retry_ms + 999) / 1000 : 1 };
    if (spent)
        snprintf(why->message, sizeof why->message, "the tenant's limit of %s is used up, all gateways of the fleet "
                 "together; try again in %lld s", ledger_limit_names[kind], (long long)why->retry_after_s);
    else
        snprintf(why->message, sizeof why->message, "what is left of the tenant's %s cannot be asked for: the fleet's "
                 "bus is away; try again", ledger_limit_names[kind]);
}

/* All of them or none. */
static enum hold_verdict take(struct fleet_limits *t, struct fleet_hold *h, struct ledger_answer *why)
{
    h->taken_ms = wall_ms();
    for (int i = 0; i < HOLD_LEASES; i++) {
        struct wanted w;
        int64_t retry_ms = 0;
        if (!want(h, i, h->taken_ms, &w))
            continue;
        enum lease_verdict v = lease_take(t->lease, &w.limit, w.amount, h->taken_ms, &retry_ms);
        if (v == LEASE_GRANTED)
            continue;
        give_back(t, h, i, &(struct ledger_amount){ 0 });
        h->taken_ms = 0;
        if (v == LEASE_ASKED) {
            h->waits_for = kinds[i];
            return HOLD_WAITS;
        }
        refuse(kinds[i], v, retry_ms, why);
        return HOLD_REFUSED;
    }
    return HOLD_GRANTED;
}

/* ---- those that wait */

static void leave(struct fleet_limits *t, struct fleet_hold *h)
{
    for (struct fleet_hold **at = &t->first; *at; at = &(*at)->next)
        if (*at == h) {
            *at = h->next;
            break;
        }
    h->waits = false;
}

/* Whoever may go now goes, in the order they came; who waited too long is refused. */
static void changed(void *arg)
{
    struct fleet_limits *t = arg;
    for (struct fleet_hold *h = t->first; h;) {
        struct ledger_answer why;
        enum hold_verdict v = take(t, h, &why);
        if (v == HOLD_WAITS && clock_mono_ns() / 1000000 - h->since_ms > HOLD_WAIT_MS) {
            v = HOLD_REFUSED;
            refuse(h->waits_for, LEASE_ASKED, LEASE_RENEW_MS, &why);
        }
        if (v == HOLD_WAITS) {
            h = h->next;
            continue;
        }
        leave(t, h);
        if (v == HOLD_GRANTED)
            h->granted(h->arg);
        else
            h->refused(h->arg, &why);
        h = t->first; /* others may have been ended in there */
    }
    if (t->first)
        loop_timer_set(t->timer, POLL_MS);
}

enum hold_verdict fleet_hold_take(struct fleet_limits *t, struct fleet_hold *h, struct ledger_answer *why)
{
    enum hold_verdict v = t ? take(t, h, why) : HOLD_GRANTED;
    if (v != HOLD_WAITS)
        return v;
    struct fleet_hold **end = &t->first;
    while (*end)
        end = &(*end)->next;
    *end = h;
    h->next = NULL;
    h->waits = true;
    h->since_ms = clock_mono_ns() / 1000000;
    loop_timer_set(t->timer, POLL_MS);
    return v;
}

void fleet_hold_end(struct fleet_limits *t, struct fleet_hold *h, const struct ledger_amount *used)
{
    if (!t)
        return;
    if (h->waits)
        leave(t, h);
    if (h->taken_ms)
        give_back(t, h, HOLD_LEASES, used);
    h->taken_ms = 0;
}

json_t *fleet_limits_state(struct fleet_limits *t)
{
    struct lease_stats s = lease_stats(t->lease);
    int waiting = 0;
    for (const struct fleet_hold *h = t->first; h; h = h->next)
        waiting++;
    return json_pack("{s:i, s:i, s:i, s:b}", "limits", s.limits, "held", s.held, "waiting", waiting, "reached",
                     s.reached);
}

enum err_code fleet_limits_open(struct loop *l, const struct bus_options *bus, const struct fleet_place *me,
                                struct fleet_limits **out, struct err *e)
{
    char holder[3 * FLEET_NAME_MAX + 3];
    struct fleet_limits *t = MEM_NEW(struct fleet_limits);
    snprintf(holder, sizeof holder, "%s.%s.%s", me->jurisdiction, me->site, me->name);
    t->lease = lease_open(l, &(struct lease_options){ .bus = bus, .holder = holder }, changed, t, e);
    if (!t->lease) {
        mem_free(t);
        return e->code;
    }
    t->timer = loop_timer_new(l, changed, t);
    *out = t;
    return ERR_OK;
}

void fleet_limits_close(struct fleet_limits *t)
{
    if (!t)
        return;
    loop_timer_free(t->timer);
    lease_close(t->lease);
    mem_free(t);
}
