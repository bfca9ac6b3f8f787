/* pace_test -- a long prompt beside sequences that decode: rows of each step are counted, under a step-time model that
 * is given and a clock that is turned by hand. Expected rows are worked out beside each check. */
#include "drive.h"

static int64_t clock_ns;
static int64_t by_hand(void)
{
    return clock_ns;
}

static const struct steptime_model machine = { .a = 8, .b = 1, .c = 2 }; /* one decoding row: 10 ms */

static void long_request(struct request *q, int prompt, int answer)
{
    *q = (struct request){ .count = prompt, .params = { .max_tokens = answer, .top_p = 1, .repetition_penalty = 1,
                                                        .top_logprobs = -1, .ignore_eos = true } };
    for (int i = 0; i < prompt; i++)
        q->prompt[i] = 3 + i * 7 % 90;
}

static int rows_of_step(struct sched *s)
{
    return sched_step(s);
}

/* Somebody decodes, then a prompt of 300 comes. */
static struct sched *begin(struct sched_options *o, struct answer a[2])
{
    static struct request first, second;
    o->now_ns = by_hand;
    memset(a, 0, 2 * sizeof *a);
    struct sched *s = make(o);
    long_request(&first, 20, 300);
    long_request(&second, 300, 5);
    second.space = 1;
    add(s, &first, &a[0]);
    CHECK_INT(rows_of_step(s), 20);
    CHECK_INT(rows_of_step(s), 1);
    add(s, &second, &a[1]);
    return s;
}

static void a_step_stays_within_the_target(void)
{
    static struct answer a[2];
    struct sched_options o = options_of(64, 512, 128, 4);
    o.itl_ms = 100;
    o.step_time = &machine;
    struct sched *s = begin(&o, a);
    /* 85 % of 100 ms less the 10 that are owed: 75 ms, 75 rows at 1 ms, whole tiles of 16: 64. */
    CHECK_INT(rows_of_step(s), 1 + 64);
    CHECK_INT(rows_of_step(s), 1 + 64);
    CHECK_INT(rows_of_step(s), 1 + 64);
    CHECK_INT(rows_of_step(s), 1 + 64);
    CHECK_INT(rows_of_step(s), 1 + 44); /* 300 = 4 * 64 + 44 */
    CHECK_INT(a[0].count, 7);            /* a token in every step, none stalled */
    CHECK_INT(a[1].count, 1);
    CHECK_INT(rows_of_step(s), 2);
    sched_free(s);
}

static void a_target_that_cannot_be_met_still_lets_prompts_on(void)
{
    static struct answer a[2];
    struct sched_options o = options_of(64, 512, 128, 4);
    o.itl_ms = 5;
    o.step_time = &machine;
    struct sched *s = begin(&o, a);
    CHECK_INT(rows_of_step(s), 1 + 16);
    sched_free(s);
}

static void nobody_decodes_nobody_waits(void)
{
    static struct answer a[1];
    struct sched_options o = options_of(64, 256, 32, 4);
    struct request q;
    o.itl_ms = 20;
    o.step_time = &machine;
    memset(a, 0, sizeof a);
    struct sched *s = make(&o);
    long_request(&q, 300, 5);
    add(s, &q, a);
    CHECK_INT(rows_of_step(s), 256);
    CHECK_INT(rows_of_step(s), 44);
    sched_free(s);
}

static void until_times_are_known_a_fixed_chunk_is_taken(void)
{
    static struct answer a[2];
    struct sched_options o = options_of(64, 512, 24, 4);
    struct sched *s = begin(&o, a);
    CHECK_INT(rows_of_step(s), 1 + 24);
    CHECK_INT(rows_of_step(s), 1 + 24);
    sched_free(s);
}

/* A gentle step takes four times what the decoding row does: 40 ms, 30 of them for 16 rows (30 cut to whole tiles). 300
 * rows are 10 such steps, 400 ms. */
static void a_first_token_that_is_not_late_leaves_the_others_alone(void)
{
    static struct answer a[2];
    struct sched_options o = options_of(64, 512, 128, 4);
    o.itl_ms = 100;
    o.ttft_ms = 1000;
    o.step_time = &machine;
    struct sched *s = begin(&o, a);
    CHECK_INT(rows_of_step(s), 1 + 16);
    clock_ns += 200000000; /* 200 ms waited, 284 rows: 400 ms more; 600 of 850 */
    CHECK_INT(rows_of_step(s), 1 + 16);
    clock_ns += 400000000; /* 600 ms waited, 268 rows: 360 ms more: late */
    CHECK_INT(rows_of_step(s), 1 + 64);
    sched_free(s);
}

static void a_prompt_in_the_queue_hurries_the_one_before_it(void)
{
    static struct answer a[2], b;
    static struct request q;
    struct sched_options o = options_of(64, 512, 128, 2);
    o.itl_ms = 100;
    o.ttft_ms = 700;
    o.step_time = &machine;
    struct sched *s = begin(&o, a);
    CHECK_INT(rows_of_step(s), 1 + 16);
    memset(&b, 0, sizeof b);
    long_request(&q, 400, 5);
    q.space = 2;
    add(s, &q, &b); /* 284 rows before its own 400: 23 gentle steps, 920 ms */
    CHECK_INT(rows_of_step(s), 1 + 64);
    sched_free(s);
}

/* Of 85 ms, 10 are owed: 75. Guesses leave half, 37.5: 18 at 2 ms. 39 are left: 39 rows, whole tiles: 32. */
static void guesses_leave_a_prompt_half(void)
{
    struct pace_goal goal = { .itl_ms = 100, .prefill_rows = 128 };
    struct steptime_load owed = { .batch = 1 };
    struct pace p;
    int guesses = 0;
    pace_begin(&p, &goal, &machine, &owed, 512, true);
    pace_keep(&p, 0, 300);
    while (guesses < 100 && pace_guess(&p, 1))
        guesses++;
    CHECK_INT(guesses, 18);
    CHECK_INT(pace_chunk(&p, 0, 300), 32);
}

/* Of 25.5 ms, 10 are owed: 15.5 are less than the least chunk takes. */
static void guesses_leave_the_least_chunk(void)
{
    struct pace_goal goal = { .itl_ms = 30, .prefill_rows = 128 };
    struct steptime_load owed = { .batch = 1 };
    struct pace p;
    pace_begin(&p, &goal, &machine, &owed, 512, true);
    pace_keep(&p, 0, 300);
    CHECK(!pace_guess(&p, 1));
    CHECK_INT(pace_chunk(&p, 0, 300), 16);
}

int main(void)
{
    if (!set_up())
        return 1;
    RUN(a_step_stays_within_the_target);
    RUN(a_target_that_cannot_be_met_still_lets_prompts_on);
    RUN(nobody_decodes_nobody_waits);
    RUN(until_times_are_known_a_fixed_chunk_is_taken);
    RUN(a_first_token_that_is_not_late_leaves_the_others_alone);
    RUN(a_prompt_in_the_queue_hurries_the_one_before_it);
    RUN(guesses_leave_a_prompt_half);
    RUN(guesses_leave_the_least_chunk);
    tear_down();
    DONE();
}
