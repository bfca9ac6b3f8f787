/* replay_tool -- recorded requests through the scheduler itself, under a step-time model that is given and a clock that
 * is turned by hand: what the planner's simulator of it must agree with (tests/plan/replay_test.py).
 *
 *   replay_tool KV_PAGES ROWS PREFILL_ROWS RUNNING ITL_MS TTFT_MS SHARED A B C D E < requests
 *
 * A request is a line "at_ns input output text": prompts of equal text >= 0 begin alike, those of -1 like no other, and
 * all share their first SHARED tokens. Printed: "start I CACHED", "token I NS", and at the end "parked N". */
#include "drive.h"
#include "sched/sched_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { REQUESTS_MAX = 4096 };

struct job {
    int64_t at_ns;
    int input, output, text, index;
    struct infer_params params;
    struct sched_seq *seq;
};
static struct job jobs[REQUESTS_MAX];
static int job_count;
static int drawn[REQUESTS_MAX], drawn_count; /* in the step under way */
static int64_t now_ns;

static int64_t by_hand(void)
{
    return now_ns;
}

static bool token_drawn(void *user, const struct infer_token *t)
{
    (void)t;
    drawn[drawn_count++] = ((struct job *)user)->index;
    return false;
}

static void started(void *user, int cached)
{
    printf("start %d %d\n", ((struct job *)user)->index, cached);
}

static void over(void *user, enum infer_finish why)
{
    if (why != INFER_LENGTH)
        printf("cut %d\n", ((struct job *)user)->index);
}

static const struct sched_events told = { .token = token_drawn, .start = started, .finish = over };

static void read_jobs(void)
{
    struct job j = { .at_ns = 0 };
    while (job_count < REQUESTS_MAX && scanf("%" SCNd64 " %d %d %d", &j.at_ns, &j.input, &j.output, &j.text) == 4) {
        j.index = job_count;
        j.params = (struct infer_params){ .max_tokens = j.output, .top_p = 1, .repetition_penalty = 1,
                                          .top_logprobs = -1, .ignore_eos = true };
        jobs[job_count++] = j;
    }
}

static void send(struct sched *s, struct job *j, int shared)
{
    int32_t prompt[TINY_CTX];
    struct err e = { 0 };
    for (int i = 0; i < j->input; i++) {
        uint64_t whose = i < shared ? 1 : j->text >= 0 ? 2 + (uint64_t)j->text : 1000000 + (uint64_t)j->index;
        prompt[i] = 3 + (int32_t)(rng_at(7, whose, (uint64_t)i).w[0] % 90);
    }
    struct sched_spec spec = { .prompt = prompt, .prompt_count = j->input, .params = &j->params, .events = &told,
                               .user = j };
    if (sched_add(s, &spec, &j->seq, &e))
        printf("refused %d: %s\n", j->index, e.text);
}

static void play(struct sched *s, const struct steptime_model *m, int shared)
{
    for (int next = 0;;) { /* each turn takes a step or a request */
        for (; next < job_count && jobs[next].at_ns <= now_ns; next++)
            send(s, &jobs[next], shared);
        drawn_count = 0;
        if (sched_step(s))
            now_ns += llround(1e6 * steptime_ms(m, &s->load));
        else if (next < job_count)
            now_ns = jobs[next].at_ns;
        else
            return;
        for (int i = 0; i < drawn_count; i++)
            printf("token %d %" PRId64 "\n", drawn[i], now_ns);
    }
}

int main(int argc, char **argv)
{
    if (argc != 13 || !set_up())
        return 2;
    double v[12];
    (void)test_skip; /* of test.h, which this is no test for */
    (void)test_count;
    for (int i = 0; i < 12; i++)
        v[i] = strtod(argv[i + 1], NULL);
    struct steptime_model m = { v[7], v[8], v[9], v[10], v[11] };
    struct sched_options o = options_of((int)v[0], (int)v[1], (int)v[2], (int)v[3]);
    o.waiting_max = REQUESTS_MAX;
    o.itl_ms = v[4];
    o.ttft_ms = v[5];
    o.now_ns = by_hand;
    o.step_time = &m;
    read_jobs();
    struct sched *s = make(&o);
    struct sched_stats stats;
    if (!s)
        return 1;
    play(s, &m, (int)v[6]);
    sched_stats(s, &stats);
    printf("parked %" PRId64 "\n", stats.parked);
    sched_free(s);
    tear_down();
    return 0;
}
