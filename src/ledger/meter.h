/* meter -- what one subject (a key, a team, a tenant, a model) has used and holds, against its limits. Pure: no clock,
 * no disk. Rates are token buckets in integers; budgets are calendar days and months in UTC. */
#ifndef LEDGER_METER_H
#define LEDGER_METER_H
#include "ledger/ledger.h"

enum meter_kind { METER_TOKENS, METER_MONEY, METER_ENERGY, METER_KINDS };

/* An amount of each kind: the worst case of a request, or what it used. */
struct meter_amount {
    int64_t v[METER_KINDS];
};

/* level counts 1/60000 of a unit, so that a limit of L a minute refills exactly L of them each millisecond. */
struct meter_bucket {
    int64_t level;
    int64_t at_ms;   /* when level was true; 0: never used, full */
};

struct meter {
    struct meter_bucket requests, tokens;
    int64_t concurrent;
    int64_t day, month;                      /* the periods that used[] belongs to */
    int64_t used[2][METER_KINDS];            /* [0] this day, [1] this month */
    int64_t held[METER_KINDS];               /* worst cases of the requests in flight */
};

struct meter_refusal {
    enum ledger_limit limit;
    int64_t retry_ms;  /* when it may work; -1: never at this size */
};

int64_t meter_day(int64_t now_ms);                    /* days since 1970 */
int64_t meter_month(int64_t now_ms);                  /* months since 1970 */
int64_t meter_month_start_ms(int64_t month);          /* the first millisecond of it */
void meter_day_civil(int64_t day, int *y, int *m, int *d);
int64_t meter_civil_day(int y, int m, int d);

/* Whether `need` on top of what is used and held fits every limit. old: what this request already holds (a revision;
 * no second request is counted) or NULL. False: the limit that keeps it longest. */
bool meter_fits(struct meter *m, const struct ledger_limits *limits, const struct meter_amount *need,
                const struct meter_amount *old, int64_t now_ms, struct meter_refusal *why);
/* Holds need (after meter_fits). */
void meter_hold(struct meter *m, const struct ledger_limits *limits, const struct meter_amount *need,
                const struct meter_amount *old, int64_t now_ms);
/* Ends a request: what it held is let go, what it used is counted. */
void meter_settle(struct meter *m, const struct ledger_limits *limits, const struct meter_amount *held,
                  const struct meter_amount *used, int64_t now_ms);
/* Takes back what meter_settle counted at then_ms: its row turned out to exist already. */
void meter_unuse(struct meter *m, const struct meter_amount *used, int64_t then_ms, int64_t now_ms);

/* What is left of a kind under every limit on it; INT64_MAX when there is none. */
int64_t meter_left(struct meter *m, const struct ledger_limits *limits, enum meter_kind kind, int64_t now_ms);
/* For the headers: the state of a rate limit. limit 0 when there is none. */
struct ledger_rate meter_rate(const struct meter *m, const struct ledger_limits *limits, enum ledger_limit which,
                              int64_t now_ms);
#endif
