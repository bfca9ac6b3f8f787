/* sim_test -- the simulator against queueing theory, against itself, and against the traces' published facts.
 *
 * Closed forms: M/M/1 W = rho/(1-rho), M/D/1 half of it, M/M/c from Erlang's C formula, all in service times;
 * Little's law L = lambda W holds exactly, in whole ns, once a run is drained. */
#include "../test.h"
#include "base/mem.h"
#include "plan/sim.h"

#include <stdlib.h>

/* One queue of `servers` engines with no batching: service is a step of b ms per prompt token. */
static struct sim_config *queue_config(int servers, double rho, enum sim_shape service, double seconds)
{
    struct sim_config *c = MEM_NEW(struct sim_config);
    double mean_tokens = 1e6, service_s = 0.1;
    c->group_count = c->stream_count = 1;
    c->groups[0] = (struct sim_group){ .engines = servers, .engines_per_unit = 1, .slow = 1, .batch_max = 1,
                                       .step = { .b = 1000 * service_s / mean_tokens }, .chunk_max = 2000000000,
                                       .kv_tokens = (int64_t)1 << 50, .central = true };
    c->streams[0] = (struct sim_stream){ .rate = rho * servers / service_s, .input = { service, mean_tokens, 0 },
                                         .output = { SIM_FIXED, 1, 0 }, .route_count = 1 };
    c->streams[0].routes[0] = (struct sim_route){ .group = 0, .weight = 1 };
    c->seconds = seconds;
    c->warmup_s = seconds / 20;
    c->drain = true;
    c->sample = 1;
    c->seed = 7;
    return c;
}

static double waits_in_services(int servers, enum sim_shape service)
{
    struct sim_config *c = queue_config(servers, 0.9, service, 400000.0 / servers);
    struct sim_result *r = MEM_NEW(struct sim_result);
    struct err e = { 0 };
    CHECK_INT(sim_run(c, r, &e), ERR_OK);
    CHECK(r->in_system_ns == r->sojourn_ns && r->sojourn_ns > 0); /* Little, exactly */
    double wait = r->groups[0].wait_mean_ms / 100;
    CHECK_NEAR(r->groups[0].busy, 0.9, 0.01);
    mem_free(c);
    mem_free(r);
    return wait;
}

static void mm1(void) { CHECK_NEAR(waits_in_services(1, SIM_EXPONENTIAL), 9.0, 0.3); }
static void md1(void) { CHECK_NEAR(waits_in_services(1, SIM_FIXED), 4.5, 0.12); }
static void mm8(void) { CHECK_NEAR(waits_in_services(8, SIM_EXPONENTIAL), 0.8769, 0.03); }

/* A rack that decodes hundreds together: the shape of the shipped GB300 figures, scaled down. */
static struct sim_config *rack_config(double load, double seconds)
{
    struct sim_config *c = MEM_NEW(struct sim_config);
    c->group_count = c->stream_count = 1;
    c->groups[0] = (struct sim_group){ .engines = 1, .engines_per_unit = 1, .slow = 1, .batch_max = 13400,
                                       .step = { 22, 0.0004, 0.0026, 1e-7, 0 }, .chunk_max = 16384,
                                       .kv_tokens = 200000000 };
    /* full load: 12,800 sequences in a step of 64 ms, 3,880 tokens each: 51.5 requests a second */
    c->streams[0] = (struct sim_stream){ .rate = 51.5 * load, .input = { SIM_LOGNORMAL, 800, 0.6 },
                                         .output = { SIM_LOGNORMAL, 3880, 0.6 }, .route_count = 1 };
    c->streams[0].routes[0] = (struct sim_route){ .group = 0, .weight = 1 };
    c->seconds = seconds;
    c->warmup_s = seconds / 3;
    c->sample = 1;
    c->seed = 11;
    return c;
}

static void coalesced_agrees_with_exact_on_a_rack_hour(void)
{
    struct sim_config *c = rack_config(0.85, 3600);
    struct sim_result *exact = MEM_NEW(struct sim_result), *fast = MEM_NEW(struct sim_result);
    struct err e = { 0 };
    CHECK_INT(sim_run(c, exact, &e), ERR_OK);
    c->coalesce = true;
    c->sample = 64;
    CHECK_INT(sim_run(c, fast, &e), ERR_OK);
    const struct sim_stream_result *a = &exact->streams[0], *b = &fast->streams[0];
    printf("# exact %.0f tok/s, ttft %.1f/%.1f, itl %.2f/%.2f ms, batch %.0f, %ld events %.2f s\n", a->tokens_per_s,
           a->ttft_ms[0].value, a->ttft_ms[2].value, a->itl_ms[0].value, a->itl_ms[2].value,
           exact->groups[0].batch_mean, (long)exact->events, exact->wall_s);
    printf("# 1:64  %.0f tok/s, ttft %.1f/%.1f, itl %.2f/%.2f ms, batch %.0f, %ld events %.2f s\n", b->tokens_per_s,
           b->ttft_ms[0].value, b->ttft_ms[2].value, b->itl_ms[0].value, b->itl_ms[2].value,
           fast->groups[0].batch_mean, (long)fast->events, fast->wall_s);
    CHECK_NEAR(b->tokens_per_s / a->tokens_per_s, 1, 0.03);
    CHECK_NEAR(b->itl_ms[0].value / a->itl_ms[0].value, 1, 0.03);
    CHECK_NEAR(b->itl_ms[2].value / a->itl_ms[2].value, 1, 0.03);
    CHECK_NEAR(b->ttft_ms[0].value / a->ttft_ms[0].value, 1, 0.03);
    CHECK_NEAR(b->e2e_ms[0].value / a->e2e_ms[0].value, 1, 0.03);
    mem_free(c);
    mem_free(exact);
    mem_free(fast);
}

int main(void)
{
    RUN(mm1);
    RUN(md1);
    RUN(mm8);
    RUN(coalesced_agrees_with_exact_on_a_rack_hour);
    DONE();
}
