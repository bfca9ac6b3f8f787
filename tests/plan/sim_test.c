/* sim_test -- the simulator against queueing theory, against itself, and against the traces' published facts.
 *
 * Closed forms: M/M/1 W = rho/(1-rho), M/D/1 half of it, M/M/c from Erlang's C formula, all in service times;
 * Little's law L = lambda W holds exactly, in whole ns, once a run is drained. */
#include "../test.h"
#include "base/mem.h"
#include "plan/sim.h"

#include <stdlib.h>
#include <unistd.h>

/* Speeds are promises about an optimised build with a core of its own; sanitizers and shared machines (the
 * variable TW_SPEED unset) only report them. */
#ifdef TW_SANITIZED
#define TW_SLOW_MACHINE 1
#else
#define TW_SLOW_MACHINE (!getenv("TW_SPEED"))
#endif

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

/* 250 racks over four sites, a day at full load, in under a minute; K so that a rack holds a hundred sequences. */
static void two_hundred_and_fifty_racks_for_a_day(void)
{
    static const int racks[4] = { 80, 70, 60, 40 };
    struct sim_config *c = rack_config(1, 86400);
    struct sim_result *r = MEM_NEW(struct sim_result);
    struct err e = { 0 };
    struct sim_group rack = c->groups[0];
    rack.device_mtbf_h = 50677 / 72.0;
    rack.device_repair_h = 2;
    rack.unit_mtbf_h = 17520;
    rack.unit_repair_h = 24;
    c->group_count = c->site_count = 4;
    c->streams[0].route_count = 0;
    for (int g = 0; g < 4; g++) {
        c->groups[g] = rack;
        c->groups[g].engines = racks[g];
        c->groups[g].site = g;
        c->streams[0].routes[c->streams[0].route_count++] = (struct sim_route){ g, racks[g], 20000000 };
    }
    c->streams[0].rate = 250 * 51.5 * 0.97; /* full: what is up of 250 racks */
    c->warmup_s = 3600;
    c->coalesce = true;
    c->sample = 256;
    CHECK_INT(sim_run(c, r, &e), ERR_OK);
    printf("# %.3g tok/s over 250 racks, %.0f failures, ttft p99 %.0f ms, itl p99 %.1f ms; %.3g events in %.1f s\n",
           r->tokens_per_s, r->failures, r->streams[0].ttft_ms[2].value, r->streams[0].itl_ms[2].value,
               (double)r->events,
           r->wall_s);
    CHECK_NEAR(r->tokens_per_s / (250 * 51.5 * 0.97 * 3880), 1, 0.03);
    CHECK(r->failures > 4 && r->failures < 60); /* 250 racks x 24 h / 704 h: nine, and a few whole racks */
    CHECK(r->wall_s < 60 || TW_SLOW_MACHINE);
    mem_free(c);
    mem_free(r);
}

/* A million events a second in exact mode, on a fleet of small batches (arrivals, steps, answers). */
static void a_million_events_a_second(void)
{
    struct sim_config *c = rack_config(0.85, 1800);
    struct sim_result *r = MEM_NEW(struct sim_result);
    struct err e = { 0 };
    c->groups[0].engines = 8;
    c->groups[0].batch_max = 64;
    c->groups[0].step = (struct step_model){ 5, 0.01, 0.05, 1e-5, 0 };
    c->groups[0].kv_tokens = 500000;
    c->streams[0].rate = 120;
    c->streams[0].input.mean = 300;
    c->streams[0].output.mean = 150;
    CHECK_INT(sim_run(c, r, &e), ERR_OK);
    double rate = (double)r->events / r->wall_s;
    printf("# %.3g events a second, exact\n", rate);
    CHECK(rate > 1e6 || TW_SLOW_MACHINE);
    mem_free(c);
    mem_free(r);
}

static void the_same_seed_replays(void)
{
    struct sim_config *c = rack_config(0.9, 300);
    struct sim_result *a = MEM_NEW(struct sim_result), *b = MEM_NEW(struct sim_result);
    struct err e = { 0 };
    c->groups[0].engines = 3;
    c->groups[0].device_mtbf_h = 0.05;
    c->groups[0].device_repair_h = 0.01;
    c->streams[0].rate *= 2;
    CHECK_INT(sim_run(c, a, &e), ERR_OK);
    CHECK_INT(sim_run(c, b, &e), ERR_OK);
    a->wall_s = b->wall_s = 0;
    CHECK(a->failures > 0 && !memcmp(a, b, sizeof *a));
    c->seed++;
    CHECK_INT(sim_run(c, b, &e), ERR_OK);
    CHECK(a->events != b->events);
    mem_free(c);
    mem_free(a);
    mem_free(b);
}

/* MTBF 10 h, repair 1 h: up 10/11 of the time; every request is answered all the same. */
static void availability_is_mtbf_over_mtbf_plus_repair(void)
{
    struct sim_config *c = queue_config(16, 0.3, SIM_EXPONENTIAL, 3e6);
    struct sim_result *r = MEM_NEW(struct sim_result);
    struct err e = { 0 };
    c->streams[0].rate = 1; /* few: it is failures that are counted */
    c->groups[0].device_mtbf_h = 10;
    c->groups[0].device_repair_h = 1;
    CHECK_INT(sim_run(c, r, &e), ERR_OK);
    CHECK_NEAR(r->groups[0].up, 10 / 11.0, 0.01);
    CHECK(r->in_system_ns == r->sojourn_ns);
    CHECK_NEAR(r->streams[0].finished, r->streams[0].arrived, 0);
    mem_free(c);
    mem_free(r);
}

/* Site 1 of 2 is down a third of the time: its share goes to the other, nothing is lost. */
static void a_site_down_is_routed_around(void)
{
    struct sim_config *c = rack_config(0.4, 4 * 3600);
    struct sim_result *r = MEM_NEW(struct sim_result);
    struct err e = { 0 };
    c->group_count = c->site_count = 2;
    c->groups[1] = c->groups[0];
    c->groups[1].site = 1;
    c->sites[1].mtbf_h = 0.5;
    c->sites[1].repair_h = 0.25;
    c->streams[0].route_count = 2;
    c->streams[0].routes[1] = (struct sim_route){ 1, 1, 50000000 };
    c->drain = true;
    c->coalesce = true;
    CHECK_INT(sim_run(c, r, &e), ERR_OK);
    CHECK(r->failures > 2 && r->groups[1].up < 0.95 && r->groups[0].up == 1);
    CHECK(r->groups[0].tokens_per_s > 1.1 * r->groups[1].tokens_per_s);
    CHECK_NEAR(r->streams[0].finished, r->streams[0].arrived, 0);
    CHECK(r->in_system_ns == r->sojourn_ns);
    mem_free(c);
    mem_free(r);
}

/* Memory for a few sequences only: some are preempted, all are answered, none of the tokens twice. */
static void preemption_loses_nothing(void)
{
    struct sim_config *c = rack_config(1, 400);
    struct sim_result *r = MEM_NEW(struct sim_result);
    struct err e = { 0 };
    c->groups[0].step = (struct step_model){ 5, 0.01, 0.1, 0, 0 };
    c->groups[0].kv_tokens = 6000;
    c->groups[0].batch_max = 32;
    c->streams[0].rate = 3;
    c->streams[0].input = (struct sim_length){ SIM_FIXED, 300, 0 };
    c->streams[0].output = (struct sim_length){ SIM_EXPONENTIAL, 200, 0 };
    c->warmup_s = 0;
    c->drain = true;
    for (int coalesce = 0; coalesce < 2; coalesce++) {
        c->coalesce = coalesce;
        CHECK_INT(sim_run(c, r, &e), ERR_OK);
        CHECK(r->groups[0].preemptions > 0 && r->groups[0].kv_peak <= 1);
        CHECK_NEAR(r->streams[0].finished, r->streams[0].arrived, 0);
        CHECK(r->in_system_ns == r->sojourn_ns);
    }
    mem_free(c);
    mem_free(r);
}

/* ---- traces: Splitwise (ISCA 2024) publishes the medians 1,020/129 and 1,500/13 of these two; Mooncake (FAST 25)
 * gives 64 % prefix hits for its synthetic trace. */

static bool shared_trace(const char *name, char path[512])
{
    const char *shared = getenv("TW_SHARED");
    snprintf(path, 512, "%s/traces/%s", shared ? shared : "../shared", name);
    FILE *f = fopen(path, "r");
    if (f)
        fclose(f);
    return f != NULL;
}

static void azure_traces_have_their_published_medians(void)
{
    char path[512];
    struct trace t;
    struct trace_facts f;
    struct err e = { 0 };
    if (!shared_trace("azure-2023-conversation.csv", path))
        SKIP("no ../shared/traces");
    CHECK_INT(trace_read(path, &t, &e), ERR_OK);
    trace_facts(&t, &f);
    CHECK_INT(f.requests, 19366);
    CHECK_NEAR(f.input_median, 1020, 0.5);
    CHECK_NEAR(f.output_median, 129, 0.5);
    trace_release(&t);
    CHECK(shared_trace("azure-2023-code.csv", path));
    CHECK_INT(trace_read(path, &t, &e), ERR_OK);
    trace_facts(&t, &f);
    CHECK_INT(f.requests, 8819);
    CHECK_NEAR(f.input_median / 1500, 1, 0.03);
    CHECK_NEAR(f.output_median, 13, 0.5);
    trace_release(&t);
}

static void mooncake_hits_sixty_four_percent(void)
{
    char path[512];
    struct trace t;
    struct trace_facts f;
    struct err e = { 0 };
    if (!shared_trace("mooncake-synthetic.jsonl", path))
        SKIP("no ../shared/traces");
    CHECK_INT(trace_read(path, &t, &e), ERR_OK);
    trace_facts(&t, &f);
    CHECK_INT(f.requests, 3993);
    CHECK_NEAR(f.prefix_hit, 0.640, 0.0005);
    /* one engine that forgets nothing finds the same; one with little room finds less; all is answered */
    struct sim_config *c = rack_config(1, 1);
    struct sim_result *r = MEM_NEW(struct sim_result);
    c->streams[0].trace = &t;
    c->streams[0].trace_speed = 0.2;
    c->seconds = f.seconds / 0.2 + 1;
    c->warmup_s = 0;
    c->drain = true;
    double hits[2];
    for (int i = 0; i < 2; i++) {
        c->groups[0].prefix_blocks = i ? 2000 : t.hash_count;
        CHECK_INT(sim_run(c, r, &e), ERR_OK);
        hits[i] = r->groups[0].prefix_hit;
        CHECK_NEAR(r->streams[0].finished, 3993, 0);
    }
    CHECK_NEAR(hits[0], 0.640, 0.0005);
    CHECK(hits[1] < 0.55 && hits[1] > 0.05);
    printf("# prefix hits %.3f, with room for 2,000 blocks %.3f\n", hits[0], hits[1]);
    mem_free(c);
    mem_free(r);
    trace_release(&t);
}

static void bad_traces_are_refused(void)
{
    static const char *const bad[] = { "", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "2023-11-16 18:17:03,5\n",
                                       "2023-13-16 18:17:03,5,5\n", "{\"timestamp\":-1}\n", "{\"timestamp\": 0\n" };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        char path[] = "/tmp/tw_trace_XXXXXX";
        struct trace t;
        struct err e = { 0 };
        int fd = mkstemp(path);
        CHECK(fd >= 0 && write(fd, bad[i], strlen(bad[i])) == (ssize_t)strlen(bad[i]));
        close(fd);
        CHECK(trace_read(path, &t, &e) != ERR_OK && strstr(e.text, path));
        unlink(path);
    }
}

int main(void)
{
    RUN(mm1);
    RUN(md1);
    RUN(mm8);
    RUN(coalesced_agrees_with_exact_on_a_rack_hour);
    RUN(two_hundred_and_fifty_racks_for_a_day);
    RUN(a_million_events_a_second);
    RUN(the_same_seed_replays);
    RUN(availability_is_mtbf_over_mtbf_plus_repair);
    RUN(a_site_down_is_routed_around);
    RUN(preemption_loses_nothing);
    RUN(azure_traces_have_their_published_medians);
    RUN(mooncake_hits_sixty_four_percent);
    RUN(bad_traces_are_refused);
    DONE();
}
