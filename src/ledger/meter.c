/* meter -- see meter.h. */
#include "ledger/meter.h"

#include "base/assert.h"

#include <stddef.h>

enum { MINUTE_MS = 60000, DAY_MS = 86400000 };

/* ---- the calendar (proleptic Gregorian, days since 1970-01-01; era arithmetic over 400-year cycles) */

int64_t meter_civil_day(int y, int m, int d)
{
    int64_t yy = (int64_t)y - (m <= 2);
    int64_t era = (yy >= 0 ? yy : yy - 399) / 400;
    int64_t yoe = yy - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

void meter_day_civil(int64_t day, int *y, int *m, int *d)
{
    int64_t z = day + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

int64_t meter_day(int64_t now_ms)
{
    return now_ms / DAY_MS; /* a clock before 1970 is refused by ledger_open */
}

int64_t meter_month(int64_t now_ms)
{
    int y, m, d;
    meter_day_civil(meter_day(now_ms), &y, &m, &d);
    return (int64_t)(y - 1970) * 12 + m - 1;
}

int64_t meter_month_start_ms(int64_t month)
{
    return meter_civil_day((int)(1970 + month / 12), (int)(month % 12) + 1, 1) * DAY_MS;
}

/* ---- rates */

static int64_t level_at(const struct meter_bucket *b, int64_t limit, int64_t now_ms)
{
    int64_t full = limit * MINUTE_MS, passed = now_ms - b->at_ms;
    if (!b->at_ms)
        return full;
    if (passed < 0)
        passed = 0; /* the clock was set back: nothing refills until it has caught up */
    if (b->level >= full || (passed >= MINUTE_MS && b->level >= 0))
        return full;
    int64_t room = full - b->level; /* a level far below zero takes longer than a minute */
    return passed > room / limit ? full : b->level + passed * limit;
}

/* Milliseconds until amount is there; 0: now; -1: never. */
static int64_t wait_for(const struct meter_bucket *b, int64_t limit, int64_t amount, int64_t now_ms)
{
    if (amount > limit)
        return -1;
    int64_t lacking = amount * MINUTE_MS - level_at(b, limit, now_ms);
    return lacking <= 0 ? 0 : (lacking + limit - 1) / limit;
}

static void take(struct meter_bucket *b, int64_t limit, int64_t amount, int64_t now_ms)
{
    if (!limit) {
        *b = (struct meter_bucket){ 0 };
        return;
    }
    int64_t full = limit * MINUTE_MS, level = level_at(b, limit, now_ms) - amount * MINUTE_MS;
    b->level = level > full ? full : level;
    b->at_ms = now_ms > b->at_ms ? now_ms : b->at_ms;
}

/* ---- budgets */

static void roll(struct meter *m, int64_t now_ms)
{
    int64_t day = meter_day(now_ms), month = meter_month(now_ms);
    for (int k = 0; k < METER_KINDS; k++) {
        m->used[0][k] = day > m->day ? 0 : m->used[0][k];
        m->used[1][k] = month > m->month ? 0 : m->used[1][k];
    }
    m->day = day > m->day ? day : m->day;
    m->month = month > m->month ? month : m->month;
}

static int64_t budget(const struct ledger_limits *limits, int period, enum meter_kind kind)
{
    return limits->v[LEDGER_DAY_TOKENS + 2 * (int)kind + period];
}

static int64_t period_end_ms(const struct meter *m, int period)
{
    return period ? meter_month_start_ms(m->month + 1) : (m->day + 1) * DAY_MS;
}

/* Keeps the refusal that lasts longest; never (-1) is longer than any. */
static void refuse(struct meter_refusal *why, bool *ok, enum ledger_limit limit, int64_t retry_ms)
{
    if (*ok || retry_ms < 0 || (why->retry_ms >= 0 && retry_ms > why->retry_ms))
        *why = (struct meter_refusal){ limit, retry_ms };
    *ok = false;
}

bool meter_fits(struct meter *m, const struct ledger_limits *limits, const struct meter_amount *need,
                const struct meter_amount *old, int64_t now_ms, struct meter_refusal *why)
{
    static const struct meter_amount nothing = { { 0 } };
    const struct meter_amount *was = old ? old : &nothing;
    bool ok = true;
    roll(m, now_ms);
    int64_t per_minute = limits->v[LEDGER_REQUESTS_MINUTE], tokens = limits->v[LEDGER_TOKENS_MINUTE];
    if (per_minute && !old) {
        int64_t wait = wait_for(&m->requests, per_minute, 1, now_ms);
        if (wait)
            refuse(why, &ok, LEDGER_REQUESTS_MINUTE, wait);
    }
    if (tokens && need->v[METER_TOKENS] > was->v[METER_TOKENS]) {
        int64_t wait = need->v[METER_TOKENS] > tokens ? -1 :
                       wait_for(&m->tokens, tokens, need->v[METER_TOKENS] - was->v[METER_TOKENS], now_ms);
        if (wait)
            refuse(why, &ok, LEDGER_TOKENS_MINUTE, wait);
    }
    int64_t most = limits->v[LEDGER_CONCURRENT];
    if (most && !old && m->concurrent >= most)
        refuse(why, &ok, LEDGER_CONCURRENT, 1000);
    for (int k = 0; k < METER_KINDS; k++)
        for (int p = 0; p < 2; p++) {
            int64_t limit = budget(limits, p, (enum meter_kind)k);
            /* a request that needs nothing is still refused by a budget that is spent */
            int64_t after = m->used[p][k] + m->held[k] - was->v[k] + need->v[k];
            if (!limit || (after <= limit && (old || m->used[p][k] + m->held[k] < limit)))
                continue;
            refuse(why, &ok, (enum ledger_limit)(LEDGER_DAY_TOKENS + 2 * k + p),
                   need->v[k] > limit ? -1 : period_end_ms(m, p) - now_ms);
        }
    return ok;
}

void meter_hold(struct meter *m, const struct ledger_limits *limits, const struct meter_amount *need,
                const struct meter_amount *old, int64_t now_ms)
{
    roll(m, now_ms);
    if (!old) {
        take(&m->requests, limits->v[LEDGER_REQUESTS_MINUTE], 1, now_ms);
        m->concurrent++;
    }
    take(&m->tokens, limits->v[LEDGER_TOKENS_MINUTE],
         need->v[METER_TOKENS] - (old ? old->v[METER_TOKENS] : 0), now_ms);
    for (int k = 0; k < METER_KINDS; k++)
        m->held[k] += need->v[k] - (old ? old->v[k] : 0);
}

void meter_settle(struct meter *m, const struct ledger_limits *limits, const struct meter_amount *held,
                  const struct meter_amount *used, int64_t now_ms)
{
    ASSERT(m->concurrent > 0);
    roll(m, now_ms);
    m->concurrent--;
    take(&m->tokens, limits->v[LEDGER_TOKENS_MINUTE], used->v[METER_TOKENS] - held->v[METER_TOKENS], now_ms);
    for (int k = 0; k < METER_KINDS; k++) {
        m->held[k] -= held->v[k];
        ASSERT(m->held[k] >= 0);
        m->used[0][k] += used->v[k];
        m->used[1][k] += used->v[k];
    }
}

void meter_unuse(struct meter *m, const struct meter_amount *used, int64_t then_ms, int64_t now_ms)
{
    roll(m, now_ms);
    for (int k = 0; k < METER_KINDS; k++) {
        m->used[0][k] -= meter_day(then_ms) == m->day ? used->v[k] : 0;
        m->used[1][k] -= meter_month(then_ms) == m->month ? used->v[k] : 0;
    }
}

int64_t meter_left(struct meter *m, const struct ledger_limits *limits, enum meter_kind kind, int64_t now_ms)
{
    int64_t left = INT64_MAX;
    roll(m, now_ms);
    for (int p = 0; p < 2; p++) {
        int64_t limit = budget(limits, p, kind), here = limit - m->used[p][kind] - m->held[kind];
        if (limit && here < left)
            left = here;
    }
    int64_t rate = limits->v[LEDGER_TOKENS_MINUTE];
    if (kind == METER_TOKENS && rate) {
        int64_t here = level_at(&m->tokens, rate, now_ms) / MINUTE_MS;
        left = here < left ? here : left;
    }
    return left < 0 ? 0 : left;
}

struct ledger_rate meter_rate(const struct meter *m, const struct ledger_limits *limits, enum ledger_limit which,
                              int64_t now_ms)
{
    int64_t limit = limits->v[which];
    if (!limit)
        return (struct ledger_rate){ 0 };
    const struct meter_bucket *b = which == LEDGER_REQUESTS_MINUTE ? &m->requests : &m->tokens;
    int64_t level = level_at(b, limit, now_ms), missing = limit * MINUTE_MS - level;
    return (struct ledger_rate){ limit, level > 0 ? level / MINUTE_MS : 0, (missing + limit - 1) / limit };
}
