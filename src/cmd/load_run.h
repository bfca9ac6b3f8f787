/* load_run -- one run of the load generator: requests sent, every token's arrival noted.
 *
 * Closed loop: a fixed number of requests is kept in flight. Open loop: each is sent at its time, whatever became
 * of those before it, as users do. One thread; the samples belong to the run. */
#ifndef CMD_LOAD_RUN_H
#define CMD_LOAD_RUN_H
#include "base/err.h"
#include "net/multi.h"

#include <stdbool.h>
#include <stdint.h>

struct load_target {
    const char *url, *model, *key; /* base URL; key may be NULL */
    bool completions;              /* /v1/completions instead of chat */
    bool ignore_eos;
    int64_t timeout_ms;
    uint64_t seed;
    double tokens_fixed, tokens_per_word; /* of a prompt, by load_calibrate */
};

struct load_job {
    int64_t at_ns; /* open loop: when, since the run's start */
    int prompt_tokens, max_tokens;
    const int64_t *blocks; /* borrowed; identities of the prompt's blocks; NULL: a prompt like no other */
    int block_count;
};

enum load_outcome { LOAD_PENDING, LOAD_DONE, LOAD_REFUSED, LOAD_BROKEN, LOAD_SHORT };

struct load_sample { /* times in ns since the run's start; 0: did not happen */
    enum load_outcome outcome;
    int status; /* HTTP */
    int64_t due, sent, first, last, end;
    int chunks, prompt_tokens, cached_tokens, output_tokens;
    bool has_usage;
};

struct load_run {
    const struct load_target *target;
    struct multi *client;
    const struct load_job *jobs; /* borrowed */
    int count;
    int concurrency;   /* closed loop: how many in flight; 0: open loop */
    uint64_t round;    /* makes the prompts of each run its own */

    struct load_sample *samples; /* owned, [count] */
    float *gaps_ms;              /* owned: between chunks with tokens */
    size_t gap_count, gap_cap;
    int started, ended;
    bool stopping; /* what ends now was cut off by us */
    int64_t start_ns, wall_ns, late_ns_max; /* open loop: how far the sender itself fell behind */
    char first_error[300];
};

/* Fills samples, gaps_ms and wall_ns; stops early when *stop becomes true (what is open is then LOAD_PENDING). */
void load_run(struct load_run *r, const volatile bool *stop);
void load_run_release(struct load_run *r);
void load_run_gap(struct load_run *r, int64_t ns); /* notes a time between two tokens */
/* Two short requests that tell how many tokens a prompt of n words has. */
enum err_code load_calibrate(struct load_target *t, struct multi *c, struct err *e);
#endif
