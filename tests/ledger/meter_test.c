/* meter_test -- buckets, budgets and calendars on a clock of our own; money to the last digit. */
#include "../test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "ledger/meter.h"
#include "ledger/price.h"

#include <time.h>

static const int64_t start_ms = (int64_t)1764000000 * 1000; /* 2025-11-24 16:00:00 UTC */

static struct ledger_limits only(enum ledger_limit which, int64_t value)
{
    struct ledger_limits l = { { 0 } };
    l.v[which] = value;
    return l;
}

static bool fits(struct meter *m, const struct ledger_limits *l, int64_t tokens, int64_t now_ms,
                 struct meter_refusal *why)
{
    return meter_fits(m, l, &(struct meter_amount){ { tokens, 0, 0 } }, NULL, now_ms, why);
}

static void hold(struct meter *m, const struct ledger_limits *l, int64_t tokens, int64_t now_ms)
{
    meter_hold(m, l, &(struct meter_amount){ { tokens, 0, 0 } }, NULL, now_ms);
}

static void settle(struct meter *m, const struct ledger_limits *l, int64_t held, int64_t used, int64_t now_ms)
{
    meter_settle(m, l, &(struct meter_amount){ { held, 0, 0 } }, &(struct meter_amount){ { used, 0, 0 } }, now_ms);
}

/* Against the C library's calendar, each day from 1970 to 2200. */
static void calendar(void)
{
    for (int64_t day = 0; day < 84000; day++) {
        time_t t = (time_t)day * 86400;
        struct tm tm;
        gmtime_r(&t, &tm);
        int y, m, d;
        meter_day_civil(day, &y, &m, &d);
        CHECK(y == tm.tm_year + 1900 && m == tm.tm_mon + 1 && d == tm.tm_mday);
        CHECK(meter_civil_day(y, m, d) == day);
        int64_t month = meter_month(day * 86400000 + 86399999);
        CHECK_INT(month, (tm.tm_year - 70) * 12 + tm.tm_mon);
        CHECK(meter_month_start_ms(month) == (day - d + 1) * 86400000);
    }
}

static void requests_per_minute(void)
{
    struct meter m = { 0 };
    struct meter_refusal why;
    struct ledger_limits l = only(LEDGER_REQUESTS_MINUTE, 6);
    for (int i = 0; i < 6; i++) {
        CHECK(fits(&m, &l, 0, start_ms, &why));
        hold(&m, &l, 0, start_ms);
    }
    CHECK(!fits(&m, &l, 0, start_ms, &why));
    CHECK_INT(why.limit, LEDGER_REQUESTS_MINUTE);
    CHECK_INT(why.retry_ms, 10000); /* one in ten seconds */
    CHECK(!fits(&m, &l, 0, start_ms + 9999, &why));
    CHECK_INT(why.retry_ms, 1);
    CHECK(fits(&m, &l, 0, start_ms + 10000, &why));
    struct ledger_rate r = meter_rate(&m, &l, LEDGER_REQUESTS_MINUTE, start_ms + 10000);
    CHECK_INT(r.limit, 6);
    CHECK_INT(r.remaining, 1);
    CHECK_INT(r.reset_ms, 50000);
    CHECK(fits(&m, &l, 0, start_ms + 3600000, &why)); /* full again, not fuller */
    CHECK_INT(meter_rate(&m, &l, LEDGER_REQUESTS_MINUTE, start_ms + 3600000).remaining, 6);
}

static void tokens_per_minute_are_settled(void)
{
    struct meter m = { 0 };
    struct meter_refusal why;
    struct ledger_limits l = only(LEDGER_TOKENS_MINUTE, 1000);
    CHECK(!fits(&m, &l, 1001, start_ms, &why));
    CHECK_INT(why.retry_ms, -1); /* never */
    CHECK(fits(&m, &l, 1000, start_ms, &why));
    hold(&m, &l, 1000, start_ms);
    CHECK(!fits(&m, &l, 100, start_ms, &why));
    CHECK_INT(why.retry_ms, 6000);
    settle(&m, &l, 1000, 300, start_ms); /* 700 were not used after all */
    CHECK_INT(meter_left(&m, &l, METER_TOKENS, start_ms), 700);
    hold(&m, &l, 700, start_ms);
    settle(&m, &l, 700, 900, start_ms); /* more than the worst case: the debt is worked off */
    CHECK_INT(meter_left(&m, &l, METER_TOKENS, start_ms), 0);
    CHECK(!fits(&m, &l, 1, start_ms, &why));
    CHECK_INT(why.retry_ms, 12060); /* 201 tokens at 1000 a minute */
}

static void concurrent_requests(void)
{
    struct meter m = { 0 };
    struct meter_refusal why;
    struct ledger_limits l = only(LEDGER_CONCURRENT, 2);
    hold(&m, &l, 0, start_ms);
    hold(&m, &l, 0, start_ms);
    CHECK(!fits(&m, &l, 0, start_ms, &why));
    CHECK_INT(why.limit, LEDGER_CONCURRENT);
    settle(&m, &l, 0, 0, start_ms);
    CHECK(fits(&m, &l, 0, start_ms, &why));
}

static void budgets_end_with_their_period(void)
{
    struct meter m = { 0 };
    struct meter_refusal why;
    struct ledger_limits l = only(LEDGER_DAY_TOKENS, 100);
    hold(&m, &l, 60, start_ms);
    CHECK(!fits(&m, &l, 41, start_ms, &why)); /* what is held counts */
    CHECK(fits(&m, &l, 40, start_ms, &why));
    settle(&m, &l, 60, 100, start_ms);
    CHECK(!fits(&m, &l, 0, start_ms, &why));  /* spent */
    CHECK_INT(why.retry_ms, 8 * 3600 * 1000); /* 16:00 to midnight */
    CHECK(fits(&m, &l, 100, start_ms + 8 * 3600 * 1000, &why));
    l = only(LEDGER_MONTH_TOKENS, 100);
    m = (struct meter){ 0 };
    hold(&m, &l, 0, start_ms);
    settle(&m, &l, 0, 100, start_ms);
    CHECK(!fits(&m, &l, 1, start_ms + 86400000, &why));
    CHECK_INT(why.limit, LEDGER_MONTH_TOKENS);
    CHECK_INT(why.retry_ms, (int64_t)(5 * 24 + 8) * 3600 * 1000); /* from the 25th 16:00 to the 1st */
    CHECK(fits(&m, &l, 100, start_ms + (int64_t)7 * 86400000, &why));
}

static void a_revision_is_no_second_request(void)
{
    struct meter m = { 0 };
    struct meter_refusal why;
    struct ledger_limits l = only(LEDGER_REQUESTS_MINUTE, 1);
    l.v[LEDGER_DAY_TOKENS] = 100;
    l.v[LEDGER_CONCURRENT] = 1;
    struct meter_amount first = { { 50, 0, 0 } }, second = { { 100, 0, 0 } }, third = { { 101, 0, 0 } };
    CHECK(meter_fits(&m, &l, &first, NULL, start_ms, &why));
    meter_hold(&m, &l, &first, NULL, start_ms);
    CHECK(meter_fits(&m, &l, &second, &first, start_ms, &why));
    meter_hold(&m, &l, &second, &first, start_ms);
    CHECK_INT(m.held[METER_TOKENS], 100);
    CHECK(!meter_fits(&m, &l, &third, &second, start_ms, &why));
    CHECK_INT(why.limit, LEDGER_DAY_TOKENS);
    meter_settle(&m, &l, &second, &first, start_ms);
    CHECK_INT(m.held[METER_TOKENS], 0);
    CHECK_INT(m.concurrent, 0);
}

static void taken_back(void)
{
    struct meter m = { 0 };
    struct ledger_limits l = { { 0 } };
    struct meter_amount a = { { 10, 20, 30 } };
    meter_hold(&m, &l, &a, NULL, start_ms);
    meter_settle(&m, &l, &a, &a, start_ms);
    meter_unuse(&m, &a, start_ms, start_ms + 86400000); /* the next day: only the month still counts it */
    CHECK_INT(m.used[0][METER_MONEY], 0);
    CHECK_INT(m.used[1][METER_MONEY], 0);
}

/* Random requests: a budget is never passed by more than what requests used above what they held. */
static void budgets_hold(void)
{
    struct rng r = { .seed = 42 };
    struct ledger_limits l = only(LEDGER_DAY_TOKENS, 100000);
    l.v[LEDGER_TOKENS_MINUTE] = 20000;
    struct meter m = { 0 };
    int64_t held[64], count = 0, now = start_ms, used_in_minute = 0, minute = 0;
    for (int i = 0; i < 200000; i++) {
        struct meter_refusal why;
        now += (int64_t)rng_below(&r, 50);
        if (count < 64 && rng_below(&r, 2)) {
            int64_t need = (int64_t)rng_below(&r, 2000);
            if (fits(&m, &l, need, now, &why)) {
                hold(&m, &l, need, now);
                held[count++] = need;
            } else {
                CHECK(why.retry_ms > 0);
                struct meter later = m; /* the promise is kept, when nothing else happens */
                CHECK(why.limit != LEDGER_TOKENS_MINUTE || fits(&later, &l, need, now + why.retry_ms, &why));
            }
        } else if (count) {
            int64_t h = held[--count], used = (int64_t)rng_below(&r, (uint64_t)h + 1);
            settle(&m, &l, h, used, now);
            used_in_minute += used;
        }
        CHECK(m.used[0][METER_TOKENS] + m.held[METER_TOKENS] <= 100000);
        if (now / 60000 != minute) {
            CHECK(used_in_minute <= 2 * 20000); /* a full bucket and a minute's refill */
            used_in_minute = 0;
            minute = now / 60000;
        }
    }
}

static void money(void)
{
    struct price p = { 150000, 75000, 600000 }; /* 0.15, 0.075 and 0.60 for a million */
    CHECK_INT(price_cost(&p, 1000000, 0, 0), 150000);
    CHECK_INT(price_cost(&p, 1000000, 1000000, 1000000), 675000);
    CHECK_INT(price_cost(&p, 10, 0, 0), 2);   /* 1.5 micro-units: half up */
    CHECK_INT(price_cost(&p, 9, 0, 0), 1);    /* 1.35 */
    CHECK_INT(price_cost(&p, 7, 3, 1), 1);    /* 0.6 + 0.225 + 0.6 = 1.425, rounded once */
    CHECK_INT(price_cost(&p, -5, 9, -1), 1);  /* nonsense is brought within sense: 9 x 0.075 = 0.675 */
    struct price dear = { PRICE_MICROS_MAX, PRICE_MICROS_MAX, PRICE_MICROS_MAX };
    CHECK(price_cost(&dear, PRICE_TOKENS_MAX, 0, PRICE_TOKENS_MAX) == (int64_t)2000000000000000);
    static const struct { const char *text; int64_t want; } good[] = {
        { "12.5", 12500000 }, { "0.000001", 1 }, { "3", 3000000 }, { ".5", 500000 }, { "7.", 7000000 },
    };
    for (size_t i = 0; i < MEM_COUNT(good); i++) {
        int64_t v = -1;
        CHECK_INT(price_parse(good[i].text, PRICE_MICROS_MAX, &v, NULL), ERR_OK);
        CHECK_INT(v, good[i].want);
    }
    static const char *const bad[] = { "", ".", "-1", "1e3", "1.0000001", "1,5", "1.2.3", "1000001",
                                       "99999999999999999999999999" };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        int64_t v = -1;
        CHECK_INT(price_parse(bad[i], PRICE_MICROS_MAX, &v, NULL), ERR_INVALID);
        CHECK_INT(v, -1);
    }
    struct buf b = { 0 };
    price_print(-1500000, &b);
    buf_putc(&b, ' ');
    price_print(7, &b);
    CHECK_STR(buf_str(&b), "-1.500000 0.000007");
    buf_release(&b);
}

int main(void)
{
    RUN(calendar);
    RUN(requests_per_minute);
    RUN(tokens_per_minute_are_settled);
    RUN(concurrent_requests);
    RUN(budgets_end_with_their_period);
    RUN(a_revision_is_no_second_request);
    RUN(taken_back);
    RUN(budgets_hold);
    RUN(money);
    DONE();
}
