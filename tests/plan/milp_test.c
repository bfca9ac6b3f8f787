/* milp_test -- the optimiser against brute force on a hundred small cases, and against planted errors.
 *
 * Brute force tries every order of whole units; for one demand a quarter the best flows follow in closed
 * form: fill the cheapest machines first, then the API or nothing, whichever is cheaper. */
#include "../test.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "plan/check.h"
#include "plan/model.h"

static struct rng rng = { 20260801, 0 };

static double pick(double lo, double hi)
{
    return lo + (hi - lo) * rng_next_unit(&rng);
}

static int below(int n)
{
    return (int)rng_below(&rng, (uint64_t)n);
}

struct size { int hw, sup, sites, quarters; };

/* A scenario small enough to be tried out: capacities of one or two units. */
static struct scenario *small_case(struct size z, bool rules)
{
    struct buf b = { 0 };
    struct mistakes m = { 0 };
    buf_printf(&b, "scenario: small\nstart: 2027-Q1\nquarters: %d\nfinance: {discount_rate: %.3f, unmet_penalty: %.2f",
               z.quarters, pick(0, 0.2), pick(20, 300));
    if (rules && below(2))
        buf_printf(&b, ", budget: [{by: 2027-Q%d, amount: %.0f}]", 1 + below(z.quarters), pick(1e5, 1e6));
    buf_printf(&b, "}\nrules: {utilisation_max: %.2f", pick(0.5, 1));
    if (rules && below(2))
        buf_printf(&b, ", supplier_share_max: %.2f", pick(0.5, 0.9));
    buf_printf(&b, ", critical_suppliers_min: 2}\nmodels: [{id: m, weights: 10, kv_per_token: 1000}]\n"
                   "slos: [{id: k, ttft_p99: 5000, itl_p99: 200}]\nhardware:\n");
    for (int h = 0; h < z.hw; h++)
        buf_printf(&b, "- {id: h%d, critical: %s, memory: 80, price: %.0f, network: %.2f, power_load: %.0f, "
                       "power_idle: 300, "
                       "life: %s, resale: %.2f, performance: [{model: m, rate: %.0f, itl: 150}]}\n",
                   h, rules && below(3) == 0 ? "true" : "false", pick(5e4, 4e5), pick(0, 0.2), pick(500, 3000),
                   below(4) ? "5" : "0.5", pick(0, 1), pick(300, 3000));
    buf_puts(&b, "suppliers:\n");
    for (int s = 0; s < z.sup; s++) {
        buf_printf(&b, "- {id: s%d, country: C%d, freight: %.3f, duty: {abroad: %.3f}, sells: [", s, s, pick(0,
            0.1), pick(0, 0.2));
        for (int h = 0; h < z.hw; h++)
            buf_printf(&b, "{hardware: h%d, price_factor: %.3f, capacity: %d, lead_time: %d, min_lot: %d},", h,
                       pick(0.8, 1.2),
                       1 + below(2), below(2), rules ? below(3) : 0);
        buf_puts(&b, "]}\n");
    }
    buf_puts(&b, "sites:\n");
    for (int l = 0; l < z.sites; l++)
        buf_printf(&b, "- {id: l%d, jurisdiction: C%d, power: %.0f, power_price: %.3f, pue: %.2f, opening: %.0f, "
                       "rent: %.0f, "
                       "staff: %.0f}\n", l, l, pick(1500, 12000), pick(0.03, 0.4), pick(1, 1.6),
                   below(2) ? pick(0, 2e5) : 0, pick(0, 200), below(2) ? pick(0, 1e5) : 0);
    buf_puts(&b, "api: [{id: q, jurisdiction: X, price_in: 1, price_out: 8}]\n");
    buf_printf(&b, "demand: [{id: d, model: m, slo: k, residency: any, api: [%s], output_per_day: %.1f, growth: %.2f, "
                   "input_tokens: 1024, output_tokens: 512, peak: %.2f}]\n", below(3) ? "" : "q", pick(20, 250),
                       pick(-0.3, 2),
               pick(1, 2));
    struct scenario *s = scenario_load(buf_str(&b), b.len, "small", NULL, 0, &m);
    if (!s)
        printf("# %s# %s", buf_str(&m.text), buf_str(&b));
    buf_release(&b);
    mistakes_release(&m);
    return s;
}

/* ---- brute force */

struct slot { int h, sup, l, t, most; };

struct search {
    const struct scenario *s;
    struct decision d;
    struct slot slots[32];
    int count;
    double best;
    long tried;
};

/* The cheapest flows for the orders and openings in d; the decision is completed. */
static void fill_flows(struct search *f, int t)
{
    const struct scenario *s = f->s;
    const struct plan_demand *dem = &s->demands[0];
    double api = dem->api_ok[0] ? s->apis[0].out + dem->input / dem->output * s->apis[0].in : INFINITY;
    double left = dem->rate[t], usd_mtok = fmin(api, dem->unmet);
    bool used[HW_MAX][SITES_MAX] = { { 0 } };
    for (int i = 0; i < s->hw_count * s->site_count; i++) {
        int bh = -1, bl = -1;
        double best = INFINITY;
        for (int h = 0; h < s->hw_count; h++)
            for (int l = 0; l < s->site_count; l++) {
                double kwh = (s->hw[h].power_load - s->hw[h].power_idle) / 1000 *
                    s->sites[l].pue / s->classes[0].theta[h];
                double usd = kwh * s->sites[l].power_price / 3600 * 1e6; /* a token takes 1/theta s of a unit */
                if (!used[h][l] && usd < best)
                    best = usd, bh = h, bl = l;
            }
        if (best >= usd_mtok)
            break;
        used[bh][bl] = true;
        const struct plan_hardware *hw = &s->hw[bh];
        double units = hw->availability * s->rules.utilisation_max * decision_installed(&f->d, bh, bl, t) / (1 +
            hw->spares);
        double flow = fmin(left, units * s->classes[0].theta[bh] / dem->peak);
        *decision_assign(&f->d, bh, bl, 0, t) = flow * dem->peak / s->classes[0].theta[bh];
        *decision_flow(&f->d, 0, bl, t) += flow;
        left -= flow;
    }
    *decision_api(&f->d, 0, 0, t) = api < dem->unmet ? left : 0;
    *decision_unmet(&f->d, 0, t) = api < dem->unmet ? 0 : left;
}

static void try_one(struct search *f)
{
    const struct scenario *s = f->s;
    struct mistakes m = { 0 };
    size_t units = (size_t)(s->hw_count * s->site_count * s->class_count * s->quarters);
    memset(f->d.assign, 0, units * sizeof(double));
    memset(f->d.flow, 0, (size_t)(s->site_count * s->quarters) * sizeof(double));
    for (int l = 0; l < s->site_count; l++) {
        bool open = s->sites[l].opening == 0 && s->sites[l].staff == 0;
        for (int t = 0; t < s->quarters; t++) {
            for (int h = 0; h < s->hw_count; h++)
                open = open || decision_installed(&f->d, h, l, t);
            *decision_open(&f->d, l, t) = open;
        }
    }
    for (int t = 0; t < s->quarters; t++)
        fill_flows(f, t);
    f->tried++;
    if (!check_decision(&f->d, NAN, &m)) {
        struct cost cost;
        cost_of(&f->d, &cost);
        f->best = fmin(f->best, cost.npv);
    }
    mistakes_release(&m);
}

static void enumerate(struct search *f, int i)
{
    if (i == f->count) {
        try_one(f);
        return;
    }
    struct slot *k = &f->slots[i];
    for (int n = 0; n <= k->most; n++) {
        *decision_buy(&f->d, k->h, k->sup, k->l, k->t) = n;
        enumerate(f, i + 1);
    }
    *decision_buy(&f->d, k->h, k->sup, k->l, k->t) = 0;
}

static double brute_force(const struct scenario *s, long *tried)
{
    struct search f = { .s = s, .best = INFINITY };
    decision_init(&f.d, s);
    for (int h = 0; h < s->hw_count; h++)
        for (int sup = 0; sup < s->supplier_count; sup++)
            for (int l = 0; l < s->site_count; l++)
                for (int t = 0; t < s->quarters && f.count < 32; t++)
                    if (t + s->suppliers[sup].offers[h].lead_q < s->quarters)
                        f.slots[f.count++] = (struct slot){ h, sup, l, t, (int)scenario_capacity(s, h, sup, t) };
    enumerate(&f, 0);
    decision_release(&f.d);
    *tried = f.tried;
    return f.best;
}

static double solve(const struct scenario *s, struct decision *out)
{
    struct model *m = plan_model_new(s, 1);
    struct lp_options o = { .gap = 1e-9, .seconds = 20 };
    struct lp_result r;
    struct err e = { 0 };
    struct mistakes bad = { 0 };
    double npv = NAN;
    if (lp_solve(plan_model_lp(m), &o, &r, &e) || !r.x) {
        printf("# %s\n", e.text);
        decision_init(out, s);
    } else {
        plan_model_read(m, r.x, out);
        npv = r.objective * plan_model_money(m);
        CHECK_INT(check_decision(out, npv, &bad), 0);
        if (bad.count)
            printf("# %s", buf_str(&bad.text));
    }
    mistakes_release(&bad);
    lp_result_release(&r);
    plan_model_free(m);
    return npv;
}

static void a_hundred_small_cases(void)
{
    static const struct size sizes[] = { { 1, 1, 1, 2 }, { 1, 2, 1, 2 }, { 2, 1, 1, 1 }, { 1, 2, 2, 1 }, { 2, 2, 1,
        1 },
                                         { 1, 2, 2, 2 }, { 2, 2, 2, 1 }, { 2, 1, 1, 3 } };
    int bought = 0;
    for (int i = 0; i < 100; i++) {
        struct scenario *s = small_case(sizes[i % 8], i >= 30);
        CHECK(s != NULL);
        if (!s)
            return;
        struct decision d;
        long tried;
        double npv = solve(s, &d), want = brute_force(s, &tried);
        if (!(fabs(npv - want) <= 1e-6 * fmax(1, fabs(want))))
            printf("# case %d: %ld orders tried\n", i, tried);
        CHECK_NEAR(npv, want, 1e-6 * fmax(1, fabs(want)));
        for (int t = 0; t < s->quarters; t++)
            for (int l = 0; l < s->site_count; l++)
                for (int h = 0; h < s->hw_count; h++)
                    bought += decision_installed(&d, h, l, t);
        decision_release(&d);
        scenario_free(s);
    }
    printf("# %d unit-quarters in service\n", bought);
    CHECK(bought > 60); /* the cases are no trivial ones */
}

/* One site, one period: what is worth buying is a knapsack over the site's power. */
static void one_site_one_period_is_a_knapsack(void)
{
    static const double watts[6] = { 2300, 3100, 1500, 2700, 4100, 1900 }, rate[6] = { 900, 1300, 500, 1250, 1700,
        800 };
    struct buf b = { 0 };
    struct mistakes m = { 0 };
    buf_puts(&b, "scenario: sack\nstart: 2027-Q1\nquarters: 1\nfinance: {discount_rate: 0, unmet_penalty: "
                 "1000}\nrules: {utilisation_max: 1}\n"
                 "models: [{id: m, weights: 1, kv_per_token: 1}]\nslos: [{id: k, ttft_p99: 5000, itl_p99: "
                 "150}]\nhardware:\n");
    for (int h = 0; h < 6; h++)
        buf_printf(&b, "- {id: h%d, memory: 80, price: 1, resale: 0, maintenance: 0, availability: 1, spares: 0, "
                       "power_load: %.0f, "
                       "power_idle: %.0f, performance: [{model: m, rate: %.0f, itl: 150, input: 10, output: 10}]}\n",
                   h, watts[h], watts[h], rate[h]);
    buf_puts(&b, "suppliers: [{id: s, country: A, sells: [");
    for (int h = 0; h < 6; h++)
        buf_printf(&b, "{hardware: h%d, capacity: 1, lead_time: 0},", h);
    buf_puts(&b, "]}]\nsites: [{id: l, jurisdiction: A, power: 9000, power_price: 0, pue: 1}]\n"
                 "demand: [{id: d, model: m, slo: k, residency: any, output_per_day: 1e6, input_tokens: 10, "
                 "output_tokens: 10, peak: 1}]\n");
    struct scenario *s = scenario_load(buf_str(&b), b.len, "sack", NULL, 0, &m);
    CHECK_STR(buf_str(&m.text), "");
    double best = 0, got = 0;
    for (int set = 0; set < 64; set++) {
        double w = 0, v = 0;
        for (int h = 0; h < 6; h++) {
            w += set >> h & 1 ? watts[h] : 0;
            v += set >> h & 1 ? s->classes[0].theta[h] : 0;
        }
        best = w <= 9000 ? fmax(best, v) : best;
    }
    struct decision d;
    solve(s, &d);
    got = *decision_flow(&d, 0, 0, 0);
    CHECK_NEAR(got, best, 1e-3);
    decision_release(&d);
    scenario_free(s);
    buf_release(&b);
}

static void a_tighter_share_cap_never_costs_less(void)
{
    for (int i = 0; i < 8; i++) {
        struct scenario *s = small_case((struct size){ 2, 3, 2, 2 }, false);
        double before = -INFINITY;
        for (double cap = 1; cap > 0.3; cap -= 0.1) {
            struct decision d;
            s->rules.supplier_share_max = cap;
            double npv = solve(s, &d);
            CHECK(npv >= before - 1e-6 * fabs(before));
            before = npv;
            decision_release(&d);
        }
        scenario_free(s);
    }
}

/* ---- planted errors: a good plan, one number spoiled, the rule that must be named */

static const char rich_yaml[] =
    "scenario: rich\nstart: 2027-Q1\nquarters: 4\n"
    "finance: {discount_rate: 0.1, unmet_penalty: 300, budget: [{by: 2027-Q4, amount: 9e6}]}\n"
    "rules: {supplier_share_max: 0.7, country_share_max: 0.7, survive_site_loss: 0.5, critical_suppliers_min: 2, "
    "api_share_max: 0.3}\n"
    "models: [{id: m, weights: 10, kv_per_token: 1000}]\nslos: [{id: k, ttft_p99: 1000, itl_p99: 200}]\n"
    "hardware: [{id: h, critical: true, memory: 80, price: 100000, power_load: 2000, power_idle: 500, "
    "performance: [{model: m, rate: 3000, itl: 150}]}]\n"
    "suppliers:\n- {id: a, country: A, sells: [{hardware: h, capacity: 6, lead_time: 0, min_lot: 2}]}\n"
    "- {id: b, country: B, sells: [{hardware: h, price_factor: 1.2, capacity: 6, lead_time: 1, min_lot: 2}]}\n"
    "sites:\n- {id: x, jurisdiction: A, power: 40000, power_price: 0.1, pue: 1.2, opening: 50000}\n"
    "- {id: y, jurisdiction: B, power: 40000, power_price: 0.2, pue: 1.2, opening: 50000}\n"
    "api: [{id: q, jurisdiction: C, price_in: 1, price_out: 30}]\n"
    "demand:\n- {id: d, model: m, slo: k, residency: any, api: [q], output_per_day: 600, input_tokens: 1024, "
    "output_tokens: 512, "
    "peak: 1.5, latency: {x: 10, y: 20}}\n"
    "- {id: e, model: m, slo: k, residency: [A, B], output_per_day: 300, input_tokens: 1024, output_tokens: 512, "
    "peak: 1.5, "
    "latency: {x: 10, y: 20}}\n";

typedef void (*spoil_fn)(struct decision *d, struct scenario *s);
static void spoil_negative(struct decision *d, struct scenario *s) { *decision_buy(d, 0, 0, 0, 3) = -1; }
static void spoil_capacity(struct decision *d, struct scenario *s) { *decision_buy(d, 0, 0, 0, 0) = 9; }
static void spoil_lot(struct decision *d, struct scenario *s)
{
    for (int l = 0; l < 2; l++)
        *decision_buy(d, 0, 0, l, 3) = l;
}
static void spoil_assign(struct decision *d, struct scenario *s) { *decision_assign(d, 0, 0, 0, 3) += 50; }
static void spoil_flow(struct decision *d, struct scenario *s)
{
    *decision_flow(d, 0, 0, 3) *= 1.001; /* served beyond what is assigned; unmet lowered so that it balances */
    *decision_flow(d, 0, 1, 3) = s->demands[0].rate[3] - *decision_flow(d, 0, 0, 3);
    *decision_unmet(d, 0, 3) = *decision_api(d, 0, 0, 3) = 0;
}
static void spoil_balance(struct decision *d, struct scenario *s) { *decision_unmet(d, 1, 2) += 0.02; }
static void spoil_residency(struct decision *d, struct scenario *s) { s->demands[1].place_ok[s->sites[0].place] =
                                                                     false; }
static void spoil_latency(struct decision *d, struct scenario *s) { s->demands[0].latency_ms[0] = 5000; }
static void spoil_power(struct decision *d, struct scenario *s) { s->sites[0].power /= 4; }
static void spoil_open(struct decision *d, struct scenario *s) { *decision_open(d, 0, 3) = 0; }
static void spoil_share(struct decision *d, struct scenario *s) { s->rules.supplier_share_max = 0.4; }
static void spoil_country(struct decision *d, struct scenario *s) { s->rules.country_share_max = 0.4; }
static void spoil_critical(struct decision *d, struct scenario *s) { s->rules.critical_suppliers_min = 3; }
static void spoil_outage(struct decision *d, struct scenario *s) { s->rules.survive_site_loss = 1; }
static void spoil_budget(struct decision *d, struct scenario *s) { s->finance.budget[0].amount = 1e5; }
static void spoil_api(struct decision *d, struct scenario *s)
{
    *decision_api(d, 1, 0, 1) = *decision_unmet(d, 1, 1) + 10;
    *decision_unmet(d, 1, 1) = 0;
    *decision_flow(d, 1, 0, 1) -= 10;
}

static void the_checker_rejects_planted_errors(void)
{
    static const struct { spoil_fn spoil; int rule; } planted[] = {
        { spoil_negative, 1 }, { spoil_capacity, 2 }, { spoil_lot, 2 }, { spoil_assign, 3 }, { spoil_flow, 4 },
        { spoil_balance, 5 }, { spoil_residency, 5 }, { spoil_latency, 5 }, { spoil_power, 6 }, { spoil_open, 6 },
        { spoil_share, 7 }, { spoil_country, 7 }, { spoil_critical, 7 }, { spoil_outage, 8 }, { spoil_budget, 9 },
        { spoil_api, 5 },
    };
    for (size_t i = 0; i < MEM_COUNT(planted); i++) {
        struct mistakes m = { 0 };
        struct decision d;
        struct scenario *s = scenario_load(rich_yaml, strlen(rich_yaml), "rich", NULL, 0, &m);
        CHECK_STR(buf_str(&m.text), "");
        solve(s, &d);
        CHECK(decision_installed(&d, 0, 0, 3) > 0 && decision_installed(&d, 0, 1, 3) > 0);
        planted[i].spoil(&d, s);
        char want[32];
        snprintf(want, sizeof want, "rule:%d: ", planted[i].rule);
        CHECK(check_decision(&d, NAN, &m) > 0);
        if (!strstr(buf_str(&m.text), want))
            printf("# planted error %zu: wanted %s, got %s\n", i, want, buf_str(&m.text));
        CHECK(strstr(buf_str(&m.text), want) != NULL);
        mistakes_release(&m);
        decision_release(&d);
        scenario_free(s);
    }
}

static void a_false_cost_is_rejected(void)
{
    struct mistakes m = { 0 };
    struct decision d;
    struct scenario *s = scenario_load(rich_yaml, strlen(rich_yaml), "rich", NULL, 0, &m);
    double npv = solve(s, &d);
    CHECK_INT(check_decision(&d, npv * 1.0001, &m), 1);
    CHECK(strstr(buf_str(&m.text), "rule:10: ") != NULL);
    mistakes_release(&m);
    decision_release(&d);
    scenario_free(s);
}

int main(void)
{
    RUN(a_hundred_small_cases);
    RUN(one_site_one_period_is_a_knapsack);
    RUN(a_tighter_share_cap_never_costs_less);
    RUN(the_checker_rejects_planted_errors);
    RUN(a_false_cost_is_rejected);
    DONE();
}
