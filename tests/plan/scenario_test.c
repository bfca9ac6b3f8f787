/* scenario_test -- what a scenario may say, every mistake told with file and line, units, what-if, the catalogue. */
#include "../test.h"
#include "base/buf.h"
#include "base/mem.h"
#include "plan/data.h"
#include "plan/generate.h"
#include "plan/scenario.h"

static const char good[] =
    "scenario: good\nstart: 2027-Q3\nquarters: 4\nfinance: {eur_usd: 1.2, discount_rate: 8 %/y}\n"
    "models: [{id: m, weights: 10 GB, kv_per_token: 1 KB}]\nslos: [{id: k, ttft_p99: 2 s, itl_p99: 100 ms}]\n"
    "hardware:\n  - id: h\n    memory: 80\n    price: {value: 100, unit: kEUR, source: quote, date: 2026-08, class: seen}\n"
    "    power_load: 2 kW\n    power_idle: 0.5 kW\n    performance: [{model: m, rate: 1000, itl: 100}]\n"
    "suppliers: [{id: s, country: DE, duty: {abroad: 5 %}, sells: [{hardware: h, capacity: 4, lead_time: 1}]}]\n"
    "sites: [{id: l, jurisdiction: DE, power: 0.1 MW, power_price: {use: power-eu}, pue: {use: pue-mean}}]\n"
    "demand: [{id: d, model: m, slo: k, residency: [DE], output_per_day: 86.4, growth: 100 %/y, input_tokens: 100, "
    "output_tokens: 100}]\n";

static struct scenario *load(const char *text, struct mistakes *m)
{
    return scenario_load(text, strlen(text), "s.yaml", NULL, 0, m);
}

static void units_become_base_units(void)
{
    struct mistakes m = { 0 };
    struct scenario *s = load(good, &m);
    CHECK_STR(buf_str(&m.text), "");
    CHECK_NEAR(s->hw[0].price, 120000, 1e-6);        /* 100 kEUR at 1.2 */
    CHECK_NEAR(s->sites[0].power, 1e5, 1e-9);
    CHECK_NEAR(s->sites[0].power_price, 0.1902 * 1.2, 1e-12); /* 19.02 EUR/100 kWh, Eurostat */
    CHECK_NEAR(s->sites[0].pue, 1.54, 1e-12);
    CHECK_NEAR(s->finance.discount, 0.08, 1e-12);
    CHECK_NEAR(s->models[0].kv_bytes, 1000, 1e-9);
    CHECK_NEAR(s->slos[0].ttft_ms, 2000, 1e-9);
    CHECK_NEAR(s->demands[0].rate[0], 1000, 1e-6);   /* 86.4 Mtok a day */
    CHECK_NEAR(s->demands[0].rate[2], 1000 * sqrt(2), 1e-6);
    CHECK_NEAR(scenario_uplift(s, 0, 0, 0), 1, 1e-12); /* at home: no duty */
    char q[16];
    scenario_quarter_name(s, 0, q);
    CHECK_STR(q, "2027-Q3");
    scenario_quarter_name(s, 2, q);
    CHECK_STR(q, "2028-Q1");
    scenario_free(s);
}

/* Replaces the first `from` in the good scenario; the mistake must name the line and the remedy. */
static void check_mistake(const char *from, const char *to, const char *want)
{
    struct buf b = { 0 };
    struct mistakes m = { 0 };
    const char *at = strstr(good, from);
    CHECK(at != NULL);
    buf_append(&b, good, (size_t)(at - good));
    buf_puts(&b, to);
    buf_puts(&b, at + strlen(from));
    struct scenario *s = load(buf_str(&b), &m);
    if (s || !strstr(buf_str(&m.text), want))
        printf("# %s -> %s: %s\n", from, to, buf_str(&m.text));
    CHECK(!s && strstr(buf_str(&m.text), want));
    scenario_free(s);
    mistakes_release(&m);
    buf_release(&b);
}

static void each_mistake_has_line_and_remedy(void)
{
    check_mistake("unit: kEUR", "unit: kW", "s.yaml:10: price: unit 'kW' does not fit; use one of USD, kUSD");
    check_mistake("power_load: 2 kW", "power_load: 2 furlongs",
                  "s.yaml:11: power_load: unit 'furlongs' does not fit");
    check_mistake("power_load: 2 kW", "power_lode: 2 kW",
                  "s.yaml:11: unknown key 'power_lode'; the keys here are: id,");
    check_mistake("    memory: 80\n", "", "s.yaml:8: hardware.h: 'memory' is missing; give a figure in one of GB");
    check_mistake("source: quote, ", "", "a figure of class seen needs its source and date; else call it assumed");
    check_mistake("class: seen", "class: heard", "class 'heard' is none of seen, measured, assumed");
    check_mistake("{use: pue-mean}", "0.9", "s.yaml:15: pue: 0.9 1 is not between 1 and 4");
    check_mistake("{use: pue-mean}", "{use: pue-meen}", "the catalogue has no figure 'pue-meen'");
    check_mistake("slo: k", "slo: kk", "s.yaml:16: there is no slo 'kk' here; there are: k");
    check_mistake("residency: [DE]", "residency: [FR]", "s.yaml:16: no site, supplier or API lies in 'FR'");
    check_mistake("residency: [DE], ", "", "'residency' is missing: `any`, or a list of jurisdictions");
    check_mistake("start: 2027-Q3", "start: 2027-Q5",
                  "s.yaml:2: start: '2027-Q5' is not a quarter; write it like 2027-Q1");
    check_mistake("quarters: 4", "quarters: 400", "s.yaml:3:");
    check_mistake("quarters: 4", "quarters: 4\nquarters: 5", "key 'quarters' stands twice in one mapping");
    check_mistake("power_idle: 0.5 kW", "power_idle: 5 kW", "power_idle is above power_load");
    check_mistake("rate: 1000, itl: 100", "rate: 1000", "needs 'step' (a..e), or 'rate' and 'itl' of a benchmark");
    check_mistake("hardware: h, capacity", "hardware: h, capasity", "unknown key 'capasity'");
    check_mistake("models: [{id: m", "models: [{use: nothing, id: m", "the catalogue has no models 'nothing'");
}

static void all_mistakes_are_told(void)
{
    struct mistakes m = { 0 };
    struct scenario *s = load("scenario: x\nstart: never\nmodels: 3\nslos: [1]\nfoo: bar\n", &m);
    CHECK(!s && m.count >= 8);
    mistakes_release(&m);
    s = load("- a list\n", &m);
    CHECK(!s && m.count == 1);
    mistakes_release(&m);
}

static void what_if_changes_one_input(void)
{
    struct mistakes m = { 0 };
    const char *const changes[] = { "sites.l.pue=1.2", "hardware.h.price=90", "demand.d.peak=2" };
    struct scenario *a = load(good, &m), *b = scenario_load(good, strlen(good), "s.yaml", changes, 3, &m);
    CHECK_STR(buf_str(&m.text), "");
    CHECK_NEAR(b->sites[0].pue, 1.2, 1e-12);
    CHECK_NEAR(b->hw[0].price, 108000, 1e-6); /* keeps its unit, kEUR */
    CHECK_NEAR(b->demands[0].peak, 2, 1e-12);
    CHECK(strlen(a->inputs_sha256) == 64 && strcmp(a->inputs_sha256, b->inputs_sha256));
    scenario_free(b);
    b = load(good, &m);
    CHECK_STR(a->inputs_sha256, b->inputs_sha256);
    scenario_free(a);
    scenario_free(b);
    const char *const wrong[] = { "sites.nowhere.pue=1.2" };
    CHECK(!scenario_load(good, strlen(good), "s.yaml", wrong, 1, &m));
    CHECK(strstr(buf_str(&m.text), "there is no 'nowhere'") != NULL);
    mistakes_release(&m);
}

static void the_shipped_ones_are_sound(void)
{
    int n = 0;
    for (const struct plan_data *d = plan_examples; d->name; d++, n++) {
        struct mistakes m = { 0 };
        struct scenario *s = load(d->text, &m);
        CHECK_STR(buf_str(&m.text), "");
        if (!s)
            continue;
        CHECK_STR(s->id, d->name);
        for (int c = 0; c < s->class_count; c++) {
            double best = 0;
            for (int h = 0; h < s->hw_count; h++)
                best = fmax(best, s->classes[c].theta[h]);
            CHECK(best > 0); /* some machine can serve every class */
        }
        for (int i = 0; i < s->figure_count; i++)
            CHECK(s->figures[i].cls == CLASS_ASSUMED || (*s->figures[i].source && *s->figures[i].date));
        scenario_free(s);
    }
    CHECK_INT(n, 4);
    CHECK(plan_example_find("hospital") && !plan_example_find("castle"));
}

/* The catalogue's GB300 gives back the benchmark's rate on the benchmark's requests. */
static void a_benchmark_comes_back(void)
{
    struct mistakes m = { 0 };
    struct scenario *s = load(plan_example_find("billion")->text, &m);
    CHECK_NEAR(s->classes[0].theta[0], 209328, 1);
    CHECK_NEAR(s->hw[0].price, 3.85e6, 1);
    scenario_free(s);
}

static void the_generator_is_seeded(void)
{
    struct buf a = { 0 }, b = { 0 };
    struct mistakes m = { 0 };
    generate_scenario(5, &generate_full, &a);
    generate_scenario(5, &generate_full, &b);
    CHECK_STR(buf_str(&a), buf_str(&b));
    struct scenario *s = load(buf_str(&a), &m);
    CHECK_STR(buf_str(&m.text), "");
    CHECK_INT(s->hw_count * 10000 + s->supplier_count * 1000 + s->site_count * 10 + s->quarters, 68128);
    CHECK_INT(s->demand_count, 36);
    scenario_free(s);
    buf_release(&a);
    buf_release(&b);
}

int main(void)
{
    RUN(units_become_base_units);
    RUN(each_mistake_has_line_and_remedy);
    RUN(all_mistakes_are_told);
    RUN(what_if_changes_one_input);
    RUN(the_shipped_ones_are_sound);
    RUN(a_benchmark_comes_back);
    RUN(the_generator_is_seeded);
    DONE();
}
