/* step_test -- the step-time model: Splitwise's published times are met after fitting; bench's JSON is read. */
#include "../test.h"
#include "base/json.h"
#include "plan/scenario.h"
#include "plan/step.h"

/* Splitwise (ISCA 2024), H100 with tensor parallelism 8, Llama-2-70B: ms per step. */
static const struct step_point splitwise[7] = {
    { .batch = 1, .ms = 30.5 },      { .batch = 16, .ms = 34.2 },
    { .batch = 32, .ms = 38.9 },     { .batch = 64, .ms = 50.0 },
    { .prefill = 512, .sum_pc = 512.0 * 512 / 2, .ms = 55.5 },
    { .prefill = 2048, .sum_pc = 2048.0 * 2048 / 2, .ms = 136.6 },
    { .prefill = 8192, .sum_pc = 8192.0 * 8192 / 2, .ms = 848 },
};

static void splitwise_within_five_percent(void)
{
    struct step_fit fit;
    struct err e = { 0 };
    CHECK_INT(step_fit(splitwise, 7, &fit, &e), ERR_OK);
    for (int i = 0; i < 7; i++) {
        const struct step_point *p = &splitwise[i];
        CHECK_NEAR(step_ms(&fit.model, p->prefill, p->batch, p->context, p->sum_pc) / p->ms, 1, 0.05);
    }
    printf("# a %.4g b %.4g c %.4g e %.4g, worst %.2f %%\n", fit.model.a, fit.model.b, fit.model.c, fit.model.e,
           100 * fit.worst);
}

/* The catalogue's H100 carries these figures: the same seven rows must come out of it. */
static void the_catalogue_carries_the_fit(void)
{
    const char *yaml = "scenario: s\nstart: 2027-Q1\nmodels: [{use: llama-2-70b}]\nslos: [{id: k, ttft_p99: 5000, "
                       "itl_p99: 100}]\n"
                       "hardware: [{use: h100x8}]\nsuppliers: [{id: a, country: A, sells: [{hardware: h100x8, "
                       "capacity: 1, "
                       "lead_time: 1}]}]\nsites: [{id: l, jurisdiction: A, power: 1e6, power_price: 0.1, pue: 1.2}]\n"
                       "demand: [{id: d, model: llama-2-70b, slo: k, residency: any, output_per_day: 1, "
                       "input_tokens: 100, "
                       "output_tokens: 100}]\n";
    struct mistakes m = { 0 };
    struct scenario *s = scenario_load(yaml, strlen(yaml), "s", NULL, 0, &m);
    CHECK_STR(buf_str(&m.text), "");
    for (int i = 0; s && i < 7; i++) {
        const struct step_point *p = &splitwise[i];
        CHECK_NEAR(step_ms(&s->hw[0].perf[0].step, p->prefill, p->batch, p->context, p->sum_pc) / p->ms, 1, 0.05);
    }
    scenario_free(s);
}

static void a_known_model_is_found_again(void)
{
    const struct step_model true_model = { 12, 0.05, 0.3, 2e-4, 3e-6 };
    struct step_point points[24];
    struct step_fit fit;
    struct err e = { 0 };
    for (int i = 0; i < 24; i++) {
        double n = 100 + 300.0 * i, b = i % 6 * 10;
        points[i] = (struct step_point){ .prefill = i % 2 ? n : 0, .batch = b, .context = b * (500 + 40 * i),
                                         .sum_pc = i % 2 ? n * n / 2 : 0 };
        points[i].ms = step_ms(&true_model, points[i].prefill, b, points[i].context, points[i].sum_pc);
    }
    CHECK_INT(step_fit(points, 24, &fit, &e), ERR_OK);
    CHECK_NEAR(fit.model.a, 12, 1e-3);
    CHECK_NEAR(fit.model.b, 0.05, 1e-5);
    CHECK_NEAR(fit.model.c, 0.3, 1e-4);
    CHECK_NEAR(fit.model.d, 2e-4, 1e-7);
    CHECK_NEAR(fit.model.e, 3e-6, 1e-9);
}

static void bench_json_is_read(void)
{
    const char *text = "{\"model\":\"m\",\"results\":[{\"test\":\"pp512\",\"tokens_per_s\":1024},"
                       "{\"test\":\"tg128\",\"tokens_per_s\":20},{\"test\":\"tg64@b32\",\"tokens_per_s\":320},"
                       "{\"test\":\"tg32@d4096\",\"tokens_per_s\":10},{\"test\":\"startup\",\"tokens_per_s\":3}]}";
    struct step_point p[STEP_POINTS_MAX];
    struct err e = { 0 };
    int n = 0;
    json_t *v = jsonx_parse(text, strlen(text), &e);
    CHECK_INT(step_points_read(v, p, &n, &e), ERR_OK);
    CHECK_INT(n, 4);
    CHECK_NEAR(p[0].ms, 500, 1e-9);
    CHECK_NEAR(p[0].sum_pc, 512.0 * 256, 1e-9);
    CHECK_NEAR(p[1].ms, 50, 1e-9);
    CHECK_NEAR(p[2].ms, 100, 1e-9);
    CHECK_NEAR(p[2].batch, 32, 1e-9);
    CHECK_NEAR(p[3].context, 4096 + 16, 1e-9);
    json_decref(v);
    v = json_pack("[{s:i,s:i}]", "batch", 4, "ms", -1);
    CHECK_INT(step_points_read(v, p, &n, &e), ERR_INVALID);
    json_decref(v);
    v = json_array();
    CHECK_INT(step_points_read(v, p, &n, &e), ERR_INVALID);
    json_decref(v);
}

int main(void)
{
    RUN(splitwise_within_five_percent);
    RUN(the_catalogue_carries_the_fit);
    RUN(a_known_model_is_found_again);
    RUN(bench_json_is_read);
    DONE();
}
