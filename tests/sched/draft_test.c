/* draft_test -- guesses change how many steps an answer takes and never what it says: the same tokens and
 * log-probabilities, bit for bit, with guesses checked always, only where they pay, or never. */
#include "drive.h"
#include "sched/draft.h"

enum { CASES = 16 };

/* What a learned step time could be: a row costs next to nothing, or as much as anybody's token. */
static const struct steptime_model rows_are_cheap = { .a = 10, .b = 0.1, .c = 0.1 };
static const struct steptime_model rows_are_dear = { .a = 0.1, .b = 1, .c = 1 };

static struct infer_logit_bias bias[] = { { 17, 2.5f }, { 40, -100 } };

static void make_request(struct request *q, struct rng *r)
{
    *q = (struct request){ .count = 1 + (int)rng_below(r, 150), .seed = rng_next(r), .space = rng_below(r, 2) };
    int period = q->seed % 3 ? 3 + (int)rng_below(r, 20) : 1000; /* two of three repeat themselves */
    for (int i = 0; i < q->count; i++)
        q->prompt[i] = i < period ? 3 + (int32_t)rng_below(r, TINY_VOCAB - 3) : q->prompt[i - period];
    uint64_t kind = rng_next(r);
    q->params = (struct infer_params){ .max_tokens = 1 + (int)rng_below(r, 90), .temperature = kind & 1 ? 0.7f : 0,
                                       .top_p = kind & 2 ? 0.9f : 1, .top_k = kind & 4 ? 8 : 0,
                                       .repetition_penalty = kind & 8 ? 1.1f : 1, .top_logprobs = kind & 16 ? 3 : -1,
                                       .frequency_penalty = kind & 32 ? 0.3f : 0, .min_tokens = kind & 64 ? 20 : 0,
                                       .bias = bias, .bias_count = kind & 128 ? 2 : 0, .ignore_eos = kind & 256 };
}

static void run_alone(const struct request *q, struct answer *a)
{
    struct sched_options o = options_of(40, 64, 64, 4);
    struct sched *s = make(&o);
    add(s, q, a);
    run(s, a);
    sched_free(s);
}

/* As if another engine had drawn some of the answer; a third of the time with a wrong token, or some too many. */
static void begun_elsewhere(struct request *q, const struct answer *want, struct rng *r)
{
    int kind = (int)rng_below(r, 6);
    q->known_count = want->count && kind ? 1 + (int)rng_below(r, (uint64_t)want->count) : 0;
    for (int i = 0; i < q->known_count; i++)
        q->known[i] = want->tokens[i].id;
    if (kind == 1 && q->known_count)
        q->known[rng_below(r, (uint64_t)q->known_count)] ^= 1;
    for (int i = 0; kind == 2 && i < 5; i++)
        q->known[q->known_count++] = 5;
}

/* Cases one after another into a scheduler that guesses, while others run; each against itself alone without. */
static void crowd(const struct sched_options *o, uint64_t seed)
{
    static struct request requests[CASES];
    static struct answer want[CASES], got[CASES];
    struct rng r = { .seed = seed };
    memset(want, 0, sizeof want);
    memset(got, 0, sizeof got);
    struct sched *s = make(o);
    int added = 0, steps = 0, wrong = 0, over = 0, accepted = 0, rejected = 0;
    for (; over < CASES && steps < 20000; steps++) {
        if (added < CASES && rng_below(&r, 3) == 0) {
            make_request(&requests[added], &r);
            got[added].stop_at = want[added].stop_at = rng_below(&r, 4) ? 0 : 1 + (int)rng_below(&r, 40);
            run_alone(&requests[added], &want[added]);
            begun_elsewhere(&requests[added], &want[added], &r);
            add(s, &requests[added], &got[added]);
            added++;
        }
        sched_step(s);
        over = 0;
        for (int i = 0; i < added; i++)
            over += got[i].over;
    }
    CHECK_INT(over, CASES);
    for (int i = 0; i < CASES; i++) {
        wrong += !same(&got[i], &want[i]);
        accepted += got[i].drafts.accepted;
        rejected += got[i].drafts.rejected;
    }
    CHECK_INT(wrong, 0);
    struct sched_stats st;
    sched_stats(s, &st);
    CHECK_INT(st.kv_pages_used, 0);
    CHECK(accepted > 0 || !(o->draft_always || o->step_time)); /* else what pays is this machine's to say */
    CHECK_INT(st.accepted, accepted);
    CHECK_INT(st.drafted, accepted + rejected);
    printf("# %d steps for %lld tokens, %d guesses right, %d wrong, %lld parked\n", steps,
           (long long)st.completion_tokens, accepted, rejected, (long long)st.parked);
    sched_free(s);
}

static void the_same_bits_whatever_is_guessed(void)
{
    struct sched_options o = options_of(200, 64, 32, 16);
    o.draft_rows = 15;
    o.draft_always = true;
    crowd(&o, 1);
    o.draft_rows = 1;
    crowd(&o, 2);
    o.draft_rows = 6;
    o.draft_always = false; /* whatever this machine's steps take */
    o.itl_ms = 150;
    crowd(&o, 3);
    o.step_time = &rows_are_cheap;
    crowd(&o, 4);
}

static void the_same_bits_with_little_memory_and_few_rows(void)
{
    struct sched_options o = options_of(18, 32, 16, 8);
    o.draft_rows = 15;
    o.draft_always = true;
    crowd(&o, 5);
    o = options_of(16, 7, 5, 6);
    o.draft_rows = 4;
    o.draft_always = true;
    crowd(&o, 6);
}

static void the_same_bits_with_a_model_that_guesses(void)
{
    struct sched_options o = options_of(200, 64, 32, 4);
    o.draft_rows = 5;
    o.draft_always = true;
    o.draft_model = fx.other;
    o.draft_kv_bytes = 64 * model_kv_page_bytes(fx.other);
    crowd(&o, 7);
    o.draft_model = fx.model;
    crowd(&o, 8);
    o.kv_bytes = 18 * model_kv_page_bytes(fx.model);
    o.draft_kv_bytes = 12 * model_kv_page_bytes(fx.model); /* not all find room in it */
    o.running_max = 8;
    crowd(&o, 9);
}

/* One request, guesses on and off. */
struct pair {
    struct answer with, without;
    int steps_with, steps_without;
    struct sched_stats stats;
};

static const struct model *guesser;

static void both(const struct request *q, const struct steptime_model *m, struct pair *p)
{
    struct sched_options o = options_of(64, 64, 64, 4);
    *p = (struct pair){ .steps_with = 0 };
    struct sched *s = make(&o);
    add(s, q, &p->without);
    p->steps_without = run(s, &p->without);
    sched_free(s);
    o.draft_rows = 8;
    o.step_time = m;
    o.draft_model = guesser;
    o.draft_kv_bytes = 64 * model_kv_page_bytes(fx.model);
    s = make(&o);
    add(s, q, &p->with);
    p->steps_with = run(s, &p->with);
    sched_stats(s, &p->stats);
    sched_free(s);
    CHECK(same(&p->with, &p->without));
}

static void repeat_prompt(struct request *q, int period)
{
    *q = (struct request){ .count = 120, .seed = 11, .params = { .max_tokens = 200, .top_p = 1, .repetition_penalty = 1,
                                                                 .top_logprobs = -1, .ignore_eos = true } };
    struct rng r = { .seed = 8 };
    for (int i = 0; i < q->count; i++)
        q->prompt[i] = i < period ? 3 + (int32_t)rng_below(&r, TINY_VOCAB - 3) : q->prompt[i - period];
}

static struct infer_logit_bias monotony[] = { { 20, 100 } };

static void what_repeats_itself_takes_few_steps(void)
{
    static struct pair p;
    struct request q;
    repeat_prompt(&q, 9);
    q.params.bias = monotony;
    q.params.bias_count = 1;
    both(&q, &rows_are_cheap, &p);
    printf("# %d steps, %d without; %lld of %lld guesses right\n", p.steps_with, p.steps_without,
           (long long)p.stats.accepted, (long long)p.stats.drafted);
    CHECK_INT(p.with.count, 200);
    CHECK(p.steps_with * 2 < p.steps_without);
    CHECK(p.stats.accepted * 10 > p.stats.drafted * 7);
    CHECK_INT(p.with.drafts.accepted + p.with.drafts.rejected, p.stats.drafted);
}

/* At a high temperature nothing can be guessed; the record says so after a few, and no row is spent any more. */
static void what_is_random_is_left_alone(void)
{
    static struct pair p;
    struct request q;
    repeat_prompt(&q, 5);
    q.params.temperature = 30;
    both(&q, &rows_are_cheap, &p);
    printf("# %lld guesses for %d tokens\n", (long long)p.stats.drafted, p.with.count);
    CHECK(p.stats.drafted <= 20);
    both(&q, &rows_are_dear, &p);
    CHECK_INT(p.stats.drafted, 0);
}

/* A guesser with the model's own weights draws what it draws, at any temperature: same seed, same position. */
static void a_model_that_agrees_is_always_right(void)
{
    static struct pair p;
    static const struct steptime_model slow = { .a = 1000, .b = 1, .c = 0.1 }; /* any guesser is quick beside it */
    struct request q;
    repeat_prompt(&q, 1000);
    guesser = fx.model;
    for (int i = 0; i < 3; i++) {
        q.params.temperature = (float)i * 0.7f;
        q.params.frequency_penalty = (float)i * 0.1f;
        both(&q, &slow, &p);
        printf("# %d steps, %d without; %lld of %lld guesses right\n", p.steps_with, p.steps_without,
               (long long)p.stats.accepted, (long long)p.stats.drafted);
        CHECK(p.steps_with * 5 < p.steps_without);
        CHECK_INT(p.stats.accepted, p.stats.drafted);
    }
    guesser = fx.other;
    q.params.temperature = 2;
    both(&q, &rows_are_dear, &p); /* one that disagrees and costs */
    CHECK_INT(p.stats.drafted, 0);
    both(&q, &slow, &p);
    printf("# one that disagrees: %lld of %lld right, %d steps\n", (long long)p.stats.accepted,
           (long long)p.stats.drafted, p.steps_with);
    CHECK(p.steps_with <= p.steps_without);
    guesser = NULL;
}

/* With many streams a row costs what a token of somebody else costs: guesses must be near certain to be worth it. */
static void a_dear_row_wants_a_sure_guess(void)
{
    struct sched_options o = options_of(64, 64, 64, 8);
    static struct answer a[8];
    struct request q;
    struct sched_stats st;
    o.draft_rows = 8;
    o.step_time = &rows_are_dear;
    memset(a, 0, sizeof a);
    struct sched *s = make(&o);
    for (int i = 0; i < 8; i++) {
        repeat_prompt(&q, 9);
        q.seed = (uint64_t)i;
        q.params.temperature = 1;
        q.params.max_tokens = 60;
        add(s, &q, &a[i]);
        if (!i)
            sched_step(s); /* the others share its prompt's pages */
    }
    for (int i = 0; i < 8; i++)
        run(s, &a[i]);
    sched_stats(s, &st);
    CHECK_INT(st.drafted, 0);
    sched_free(s);
}

static void an_answer_given_before_is_remembered_in_its_name_space_only(void)
{
    struct sched_options o = options_of(64, 64, 64, 4);
    static struct answer a[4];
    struct request q;
    int steps[4];
    memset(a, 0, sizeof a);
    repeat_prompt(&q, 1000);
    q.params.temperature = 1.5f; /* the text does not repeat itself; the seed makes the answer the same */
    o.draft_rows = 15;
    o.step_time = &rows_are_cheap;
    struct sched *s = make(&o);
    for (int i = 0; i < 4; i++) {
        q.space = i == 3 ? 7 : 0; /* 0, 0, 0, and somebody else */
        add(s, &q, &a[i]);
        steps[i] = run(s, &a[i]);
        CHECK(same(&a[i], &a[0]));
    }
    printf("# %d, %d, %d steps; in another name space %d\n", steps[0], steps[1], steps[2], steps[3]);
    CHECK(steps[1] * 3 < steps[0]);
    CHECK_INT(steps[3], steps[0]);
    sched_free(s);
}

/* ---- grammars */

static struct grammar *schema(const char *text)
{
    struct err e = { 0 };
    json_t *j = jsonx_parse(text, strlen(text), &e);
    struct grammar *g = j ? grammar_from_schema(j, &e) : NULL;
    if (!g)
        printf("# %s\n", e.text);
    json_decref(j);
    return g;
}

static void what_a_grammar_forces_is_free(void)
{
    struct grammar *g = schema("{\"type\":\"object\",\"properties\":{\"name\":{\"enum\":[\"Ada\",\"Bob\"]},\"count\":"
                               "{\"type\":\"boolean\"},\"identifier\":{\"const\":\"abcdefghijkl\"}},\"required\":[\"name\","
                               "\"count\",\"identifier\"],\"additionalProperties\":false}");
    CHECK(g != NULL);
    if (!g)
        return;
    static struct pair p;
    struct request q;
    repeat_prompt(&q, 1000);
    int accepted = 0, steps = 0, without = 0;
    for (int i = 0; i < 12; i++) {
        q.seed = (uint64_t)i;
        q.params = (struct infer_params){ .max_tokens = i < 10 ? 120 : 20, .temperature = i % 3 ? 1 : 0, .top_p = 1,
                                          .repetition_penalty = 1, .top_logprobs = i % 2 ? 2 : -1, .grammar = g };
        both(&q, &rows_are_cheap, &p);
        CHECK_INT(p.with.why, i < 10 ? INFER_STOP : INFER_LENGTH);
        accepted += p.with.drafts.accepted;
        steps += p.steps_with;
        without += p.steps_without;
    }
    printf("# %d steps, %d without, %d guesses right\n", steps, without, accepted);
    CHECK(steps * 3 < without * 2);
    grammar_free(g);
}

/* Also where nothing is guessed otherwise. */
static void what_another_engine_drew_takes_few_steps(void)
{
    static struct answer want, got;
    struct request q;
    repeat_prompt(&q, 1000);
    q.params = (struct infer_params){ .max_tokens = 300, .temperature = 1, .top_p = 1, .repetition_penalty = 1,
                                      .ignore_eos = true, .top_logprobs = 2 };
    memset(&want, 0, sizeof want);
    memset(&got, 0, sizeof got);
    run_alone(&q, &want);
    for (int i = 0; i < want.count; i++)
        q.known[q.known_count++] = want.tokens[i].id;
    struct sched_options o = options_of(40, 64, 64, 4);
    struct sched *s = make(&o);
    add(s, &q, &got);
    int steps = run(s, &got);
    sched_free(s);
    CHECK_INT(want.count, 300);
    CHECK(same(&want, &got));
    CHECK(steps <= 4 + 300 / DRAFT_MAX);
    CHECK_INT(got.drafts.accepted + got.drafts.rejected, 0); /* no merit of guessing */
}

int main(void)
{
    if (!set_up())
        return 1;
    RUN(the_same_bits_whatever_is_guessed);
    RUN(the_same_bits_with_little_memory_and_few_rows);
    RUN(the_same_bits_with_a_model_that_guesses);
    RUN(a_model_that_agrees_is_always_right);
    RUN(what_repeats_itself_takes_few_steps);
    RUN(what_is_random_is_left_alone);
    RUN(a_dear_row_wants_a_sure_guess);
    RUN(an_answer_given_before_is_remembered_in_its_name_space_only);
    RUN(what_a_grammar_forces_is_free);
    RUN(what_another_engine_drew_takes_few_steps);
    tear_down();
    DONE();
}
