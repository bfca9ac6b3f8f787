/* tco_test -- the cost formulas against figures worked out by hand from public prices and benchmark rates. */
#include "../test.h"
#include "plan/decision.h"
#include "plan/tco.h"

/* GB300 NVL72 as seen: 3.85 MUSD, 132 kW, 209,328 output tok/s on DeepSeek-R1 (MLPerf v5.1 server). */
static struct tco_input rack(double units, double utilisation)
{
    return (struct tco_input){ .units = units, .devices = 72, .price = 3.85e6, .life_y = 5, .pue = 1, .rate = 209328,
                               .utilisation = utilisation, .load = { 800, 3880, 0 } };
}

static void a_billion_buys_250_racks(void)
{
    struct tco_result r;
    for (double price = 3.7e6; price < 4.01e6; price += 0.3e6) {
        struct tco_input in = rack(250, 1);
        in.price = price;
        tco_compute(&in, &r);
        CHECK_NEAR(r.capex, price < 3.8e6 ? 925e6 : 1000e6, 1);
    }
    CHECK_INT((int)(250 * rack(250, 1).devices), 18000);
    CHECK_INT(250 * 36, 9000);
}

static void capex_alone_per_million_tokens(void)
{
    struct tco_result r;
    struct tco_input in = rack(250, 1);
    tco_compute(&in, &r);
    CHECK_NEAR(r.mtok * 1e6 / 365 / 4.52e12, 1, 0.001);
    CHECK_NEAR(r.usd_per_mtok, 0.117, 0.0005);
    in = rack(250, 0.5);
    tco_compute(&in, &r);
    CHECK_NEAR(r.usd_per_mtok, 0.233, 0.0005);
}

static void energy_per_million_tokens(void)
{
    struct tco_result r;
    struct tco_input in = rack(1, 1);
    in.power_load = 132000;
    in.power_idle = 45000;
    tco_compute(&in, &r);
    CHECK_NEAR(r.kwh_per_mtok, 0.175, 0.0005);
    in.utilisation = 0.5; /* idle power is paid for all year: (45 + 87/2) / 2 kW-years over half the tokens */
    tco_compute(&in, &r);
    CHECK_NEAR(r.kwh, (45 + 43.5) * 8760, 1e-3);
}

static void capital_recovery(void)
{
    CHECK_NEAR(tco_crf(0.10, 5), 0.26380, 0.000005);
    CHECK_NEAR(tco_crf(0, 5), 0.2, 1e-12);
}

static void herfindahl(void)
{
    /* 50/22/20/2 seen; the remaining 6 % with one supplier, or spread over so many that their squares vanish */
    double one[5] = { 50, 22, 20, 2, 6 }, many[604] = { 50, 22, 20, 2 };
    CHECK_NEAR(cost_hhi(one, 5), 3424, 1e-9);
    for (int i = 4; i < 604; i++)
        many[i] = 0.01;
    CHECK_NEAR(cost_hhi(many, 604), 3388, 0.1);
}

static void break_even(void)
{
    struct tco_result r;
    struct tco_input in = { .units = 1, .devices = 8, .price = 240000, .life_y = 4, .pue = 1, .rate = 1000,
                           .utilisation = 0.5,
                            .load = { 1000, 500, 0.5 }, .api_in = 1, .api_cached = 0.1, .api_out = 4, .cloud_hour =
                                3 };
    tco_compute(&in, &r);
    /* a request's API price per output token: 4 + 2 * (0.5 * 1 + 0.5 * 0.1) = 5.1; a full year gives 31,536 Mtok */
    CHECK_NEAR(r.api_per_mtok, 5.1, 1e-9);
    CHECK_NEAR(r.breakeven_utilisation, 60000 / (31536 * 5.1), 1e-6);
    in.utilisation = r.breakeven_utilisation;
    tco_compute(&in, &r);
    CHECK_NEAR(r.usd_per_mtok, 5.1, 1e-9); /* there owning costs what the API does */
    CHECK_NEAR(r.breakeven_hours, 30000 / 3.0, 1e-6);
}

static void kinds_add_up(void)
{
    struct tco_result r;
    struct tco_input in = { .units = 1, .devices = 8, .price = 240000, .life_y = 4, .pue = 1, .rate = 1000,
                           .utilisation = 0.5,
                            .load = { 1000, 500, 0.5 }, .step = { 10, 0.02, 0.2, 1e-5, 1e-6 }, .batch = 32,
                                .maintenance = 0.03 };
    tco_compute(&in, &r);
    double per_request = 500 * r.usd_in + 500 * r.usd_cached + 500 * r.usd_out;
    CHECK_NEAR(per_request / 500, r.usd_per_mtok, 1e-9);
    CHECK(r.usd_cached < r.usd_in && r.usd_in < r.usd_out);
    struct tco_spread s;
    tco_spread(&in, 3, &s);
    CHECK(s.p10 < s.p50 && s.p50 < s.p90 && s.bar_count >= 4);
    CHECK_NEAR(s.p50 / r.usd_per_mtok, 1, 0.03);
    /* cost per token goes with 1/rate and 1/utilisation: the widest bars */
    CHECK(!strcmp(s.bars[0].name, "rate") || !strcmp(s.bars[0].name, "utilisation"));
}

static void json_refuses_nonsense(void)
{
    struct err e = { 0 };
    json_t *in = json_pack("{s:f}", "utilisation", 1.5), *out = tco_json(in, &e);
    CHECK(!out && strstr(e.text, "utilisation"));
    json_decref(in);
    in = json_pack("{s:f,s:f}", "price", 1000.0, "rate", 100.0);
    out = tco_json(in, &e);
    CHECK(out && json_number_value(json_object_get(out, "usd_per_mtok")) > 0);
    json_decref(in);
    json_decref(out);
}

int main(void)
{
    RUN(a_billion_buys_250_racks);
    RUN(capex_alone_per_million_tokens);
    RUN(energy_per_million_tokens);
    RUN(capital_recovery);
    RUN(herfindahl);
    RUN(break_even);
    RUN(kinds_add_up);
    RUN(json_refuses_nonsense);
    DONE();
}
