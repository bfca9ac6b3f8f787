/* sim -- the fleet as discrete events: engines that batch by iteration, queues, caches, failures.
 *
 * Time is int64 ns, ties go by order of scheduling, every draw is a function of (seed, what, count): the same
 * configuration gives the same result, bit for bit. Two ways to run:
 *
 *   exact      one event per iteration of each engine.
 *   coalesced  iterations with nothing to decide in between are one event; and, with sample K > 1, one
 *              request stands for K: it weighs K in the step time and in KV memory, the prompts of the K - 1
 *              that are not drawn are a fluid that lengthens every step. */
#ifndef PLAN_SIM_H
#define PLAN_SIM_H
#include "base/err.h"
#include "plan/step.h"
#include "plan/trace.h"

#include <stdbool.h>
#include <stdint.h>

enum { SIM_GROUPS_MAX = 256, SIM_STREAMS_MAX = 96, SIM_SITES_MAX = 24, SIM_ROUTES_MAX = 64, SIM_BATCHES = 20,
       SIM_ENGINES_MAX = 1 << 16, SIM_BLOCK_TOKENS = 16 };

enum sim_shape { SIM_FIXED, SIM_EXPONENTIAL, SIM_LOGNORMAL };
struct sim_length {
    enum sim_shape shape;
    double mean, sigma; /* sigma: of the logarithm */
};

/* An engine that schedules as `tokenworks serve` does (paced.c), in place of chunk_max and prefix_blocks. */
struct sim_pace {
    bool on;
    double itl_ms, ttft_ms;       /* its targets; 0: none */
    int batch_rows, prefill_rows; /* rows of a step; of prompts beside decoding ones without a target */
    int page_tokens;              /* divides TRACE_BLOCK_TOKENS */
    int shared_tokens;            /* with which every prompt begins */
};

/* Engines of one kind at one site that serve the same requests. */
struct sim_group {
    int engines, engines_per_unit;
    struct step_model step;
    double slow;          /* step times are multiplied by it: an engine shared in time; >= 1 */
    int batch_max;        /* sequences at once in an engine */
    int chunk_max;        /* prompt tokens computed in one step */
    int64_t kv_tokens;    /* of an engine */
    int site;
    bool central;         /* one queue for the group, not one per engine */
    int prefix_blocks;    /* of TRACE_BLOCK_TOKENS, held per engine for traces with hashes; 0: none */
    struct sim_pace pace;
    double device_mtbf_h, unit_mtbf_h, device_repair_h, unit_repair_h; /* 0: never fails; device: of one engine's */
};

struct sim_route {
    int group;
    double weight;
    int64_t network_ns;   /* round trip, added to the time to first token */
};
struct sim_stream {
    double rate, swing, period_s; /* requests/s: rate * (1 + swing * sin(2 pi t / period)) */
    struct sim_length input, output;
    double cached;        /* share of the prompt found in the prefix cache */
    const struct trace *trace; /* instead of the above; borrowed; scaled in time by trace_speed */
    double trace_speed;
    struct sim_route routes[SIM_ROUTES_MAX];
    int route_count;
};
struct sim_site { double mtbf_h, repair_h; }; /* 0: never down */

/* What becomes of each request of a trace on paced engines, as it happens; at: which of the trace. */
struct sim_watch {
    void (*start)(void *arg, int at, int cached_tokens);
    void (*token)(void *arg, int at, int64_t ns); /* at the client */
    void *arg;
};

struct sim_config {
    struct sim_group groups[SIM_GROUPS_MAX];
    struct sim_stream streams[SIM_STREAMS_MAX];
    struct sim_site sites[SIM_SITES_MAX];
    int group_count, stream_count, site_count;
    double seconds, warmup_s; /* arrivals end at seconds; what arrives before warmup_s is not counted */
    bool drain;               /* go on until every request is answered */
    bool coalesce;
    int sample;               /* K; 1 without coalesce */
    uint64_t seed;
    void (*progress)(void *arg, double simulated_s);
    void *arg;
    const struct sim_watch *watch; /* borrowed; NULL: nobody looks */
};

struct sim_estimate { double value, half_width; }; /* 95 % confidence from SIM_BATCHES batch means */

struct sim_stream_result {
    double arrived, finished, lost; /* requests, weighted */
    double tokens_per_s;            /* output, over the counted time */
    struct sim_estimate ttft_ms[3], e2e_ms[3], itl_ms[3]; /* p50, p90, p99 */
};
struct sim_group_result {
    double tokens_per_s, busy;      /* busy: share of engine time in steps */
    double batch_mean;              /* sequences in a step, by time */
    double wait_mean_ms;            /* arrival to first step, mean over requests */
    double up;                      /* share of engine time */
    double preemptions, kv_peak;    /* kv_peak: share of the fullest engine */
    double prefix_hit;              /* share of a trace's prefix blocks found */
};
struct sim_result {
    struct sim_stream_result streams[SIM_STREAMS_MAX];
    struct sim_group_result groups[SIM_GROUPS_MAX];
    int64_t events;
    double wall_s, simulated_s, tokens_per_s;
    double failures;
    /* Little's law, in whole ns x requests over the whole run: equal once drained. */
    __int128 in_system_ns, sojourn_ns;
};
/* ERR_INVALID names what the configuration lacks. out is large: allocate it. */
enum err_code sim_run(const struct sim_config *c, struct sim_result *out, struct err *e);
#endif
