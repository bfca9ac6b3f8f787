/* sim_state -- what sim.c (fleet, arrivals, failures) and engine.c (one engine's steps) share. Internal.
 *
 * One thread. Requests and engines are named by index; -1 is none.
 * I1  a request is in exactly one list: held or queued in its group, or an engine's waiting, prefill or running.
 * I2  engine.kv_used = blocks of its prefilling and running requests; never above the group's kv_blocks.
 * I3  context = sum over running requests of prompt + answer so far.
 * Of a paced group (paced.c) a request is waiting or running; I2 and I3 are not kept, pages are counted by pages.h. */
#ifndef PLAN_SIM_STATE_H
#define PLAN_SIM_STATE_H
#include "base/rng.h"
#include "plan/events.h"
#include "plan/hist.h"
#include "plan/pages.h"
#include "plan/prefix.h"
#include "plan/sim.h"

enum { EV_ARRIVAL, EV_STEP, EV_UNIT_FAIL, EV_ENGINE_UP, EV_UNIT_UP, EV_SITE_FAIL, EV_SITE_UP };

struct request {
    int64_t arrive_ns, network_ns, finish_step;
    int32_t stream, batch;       /* batch: which batch of means it counts in, -1: none */
    int32_t input, output, done; /* done: answer tokens given, kept over preemption and failure */
    int32_t fresh;               /* prompt tokens still to be computed */
    int32_t held;                /* prompt tokens computed or found: what attention looks back on */
    int32_t in_step;             /* of fresh: computed in the step under way */
    int32_t trace_at;            /* in the stream's trace, -1: none */
    int32_t residue;             /* of the step at which the next KV block is needed */
    int32_t heap_at, prev, next;
    bool first_done;             /* its first token was given (before a preemption) */
    /* paced.c */
    bool started, prompt;        /* it was admitted once; its rows in the step are of its prompt */
    int32_t found, pages, named; /* prompt tokens the cache is said to hold; pages it holds, of these with a name */
    int64_t serial, token_ns, seen_ns; /* order of arrival, 1...; its last token; when the scheduler first saw it */
};

struct list { int32_t first, last, count; };

struct engine {
    int32_t group, down;         /* down: reasons why; 0 is up */
    bool busy;
    uint32_t version;
    int64_t steps, run_at_ns, run_steps; /* steps done; the run under way: its start and length */
    double run_ms, grow_ms;      /* its first step, and how much each next one is longer */
    double context;
    struct list waiting, prefill, running; /* running: in order of joining, the last is the youngest */
    int32_t *heap;               /* of running requests by finish_step */
    int32_t heap_cap;
    int64_t kv_used;
    int32_t need[SIM_BLOCK_TOKENS]; /* running requests that take a block at a step of this residue */
    int32_t pool_at;             /* position in its group's idle (central) list, -1 */
    struct prefix *prefix;
    struct pages *pages;         /* paced.c */
};

struct group {
    int32_t first_engine, up;
    int32_t *idle, idle_count;   /* central: engines up and not busy */
    int32_t *ups;                /* engines that are up */
    struct list queue, held;     /* central queue; requests while nothing is up */
    int64_t kv_blocks;
    int batch_max;
    double fluid_tokens_s, fluid_pairs_s; /* per engine, of the requests not drawn */
    int64_t fluid_at_ns;
    struct hist *itl[SIM_BATCHES];
    double busy_ns, batch_ns, wait_ns, waits, tokens, preemptions, kv_peak, up_ns, prefix_hits, prefix_blocks;
};

struct stream {
    struct rng draws;
    struct hist *ttft[SIM_BATCHES], *e2e[SIM_BATCHES];
    double arrived, finished, lost, tokens;
    int next_trace;
};

struct sim {
    const struct sim_config *c;
    struct sim_result *out;
    struct events events;
    int64_t now, end_ns, warm_ns;
    struct request *requests;
    int request_count, request_cap, free_request;
    struct engine *engines;
    int engine_count;
    struct group groups[SIM_GROUPS_MAX];
    struct stream streams[SIM_STREAMS_MAX];
    bool site_down[SIM_SITES_MAX];
    struct rng route_draws, failure_draws;
    int64_t in_system, changed_ns, serials;
    double sample;
};

/* engine.c */
void engine_give(struct sim *s, int engine, int request); /* into its waiting list; starts it when idle */
void engine_kick(struct sim *s, int engine);              /* there may be something to do */
void engine_step_done(struct sim *s, int engine);
void engine_clear(struct sim *s, int engine, struct list *out); /* everything it held, into out */

/* paced.c: the same for groups with pace.on */
void paced_begin(struct sim *s, struct engine *e);
void paced_give(struct sim *s, struct engine *e, int32_t request);
void paced_step_done(struct sim *s, struct engine *e);
void paced_clear(struct sim *s, struct engine *e, struct list *out);

/* sim.c */
void sim_finish(struct sim *s, int request);              /* answered: counted and freed */
void sim_lose(struct sim *s, int request);                /* can never be served */
void sim_first_token(struct sim *s, int request);
int sim_batch(const struct sim *s, int64_t at_ns);        /* -1 outside the counted time */
struct hist *sim_hist(struct hist **slot);
void list_append(struct sim *s, struct list *l, int request);
int list_pop(struct sim *s, struct list *l);
void list_remove(struct sim *s, struct list *l, int request);
void sim_idle_set(struct sim *s, int engine, bool idle);
#endif
