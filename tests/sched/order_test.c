/* order_test -- who goes first: classes, deadlines, virtual token counters, seats; first as pure decisions, then with
 * fake tenants on a tiny model, counting tokens and steps, never time. */
#include "../test.h"
#include "../tiny_model.h"
#include "base/rng.h"
#include "model/model.h"
#include "sched/sched.h"

static struct {
    struct buf file;
    struct gguf_file *gguf;
    struct kern_table kern;
    struct pool *pool;
    struct model *model;
} fx;

/* ---- pure */

static void classes_then_deadlines_then_age(void)
{
    struct order *o = order_new(8);
    struct order_seat s[4];
    order_enter(o, &s[0], &(struct order_claim){ .tenant = 1 });
    order_enter(o, &s[1], &(struct order_claim){ .tenant = 1, .deadline_ns = 900 });
    order_enter(o, &s[2], &(struct order_claim){ .tenant = 2, .deadline_ns = 500 });
    order_enter(o, &s[3], &(struct order_claim){ .tenant = 2, .priority = 1 });
    static const int want[] = { 3, 2, 1, 0 };
    for (int i = 0; i < 4; i++)
        for (int j = i + 1; j < 4; j++) {
            CHECK(order_first(&s[want[i]], &s[want[j]]) && !order_first(&s[want[j]], &s[want[i]]));
            CHECK(order_own(&s[want[i]], &s[want[j]]) && order_keeps(&s[want[i]], &s[want[j]]));
        }
    for (int i = 0; i < 4; i++)
        order_leave(o, &s[i]);
    order_free(o);
}

/* Two tenants that always want more get tokens in the ratio of their weights, to within what one turn is worth. */
static void service_follows_the_weights(void)
{
    static const int weights[][2] = { { 1, 1 }, { 1, 3 }, { 2, 5 } };
    for (size_t w = 0; w < 3; w++) {
        struct order *o = order_new(8);
        struct order_seat a, b;
        order_enter(o, &a, &(struct order_claim){ .tenant = 7, .weight = weights[w][0] });
        order_enter(o, &b, &(struct order_claim){ .tenant = 9, .weight = weights[w][1] });
        int64_t got[2] = { 0, 0 };
        for (int i = 0; i < 10000; i++) {
            bool first = order_first(&a, &b);
            order_drawn(o, first ? &a : &b, 4);
            got[!first] += 4;
        }
        CHECK_NEAR((double)got[1] / (double)got[0], (double)weights[w][1] / weights[w][0], 0.01);
        order_free(o);
    }
}

static void nobody_saves_up_service(void)
{
    struct order *o = order_new(8);
    struct order_seat busy, idle, again;
    order_enter(o, &idle, &(struct order_claim){ .tenant = 1 });
    order_leave(o, &idle);
    order_enter(o, &busy, &(struct order_claim){ .tenant = 2 });
    order_drawn(o, &busy, 1000);
    order_enter(o, &again, &(struct order_claim){ .tenant = 1 });
    CHECK_INT(order_counter(&again), order_counter(&busy)); /* lifted, not a thousand ahead */
    order_drawn(o, &busy, 1);
    CHECK(order_first(&again, &busy));
    order_leave(o, &again);
    order_drawn(o, &busy, 5);
    struct order_seat third;
    order_enter(o, &third, &(struct order_claim){ .tenant = 3 });
    CHECK_INT(order_counter(&third), order_counter(&busy));
    order_free(o);
}

static void prompts_cost_once_and_cached_ones_nothing(void)
{
    struct order *o = order_new(8);
    struct order_seat s;
    order_enter(o, &s, &(struct order_claim){ .tenant = 1 });
    int64_t zero = order_counter(&s);
    order_cached(&s, 64);
    order_computed(o, &s, 64, 100);
    CHECK_INT(order_counter(&s), zero);
    order_computed(o, &s, 90, 100);
    order_computed(o, &s, 32, 100); /* parked and computed again */
    order_computed(o, &s, 90, 100);
    order_computed(o, &s, 120, 100);
    int64_t prompt = order_counter(&s) - zero;
    order_drawn(o, &s, 18);
    CHECK_INT(order_counter(&s) - zero - prompt, prompt); /* 36 prompt tokens, and 18 drawn at twice the cost */
    order_free(o);
}

/* Tenant 1 holds n seats, tenant 2 wants in: it displaces until the parts are even, and nobody displaces back. */
static void seats_are_shared_and_nobody_takes_turns_parking(void)
{
    enum { N = 16 };
    struct order *o = order_new(64);
    struct order_seat a[N], b[N];
    for (int i = 0; i < N; i++) {
        order_enter(o, &a[i], &(struct order_claim){ .tenant = 1 });
        order_run(o, &a[i], true);
    }
    int parked = 0;
    for (int i = 0; i < N; i++) {
        order_enter(o, &b[i], &(struct order_claim){ .tenant = 2 });
        struct order_seat *last = &a[N - 1 - parked];
        if (!order_displaces(&b[i], last))
            break;
        order_run(o, last, false);
        order_run(o, &b[i], true);
        CHECK(!order_displaces(last, &b[i]));
        parked++;
    }
    CHECK_INT(parked, N / 2);
    order_free(o);
}

static void a_table_full_of_tenants_keeps_working(void)
{
    struct order *o = order_new(3);
    for (uint64_t t = 1; t < 1000; t++) {
        struct order_seat s[3];
        for (uint64_t i = 0; i < 3; i++)
            order_enter(o, &s[i], &(struct order_claim){ .tenant = t * 10 + i });
        for (int i = 0; i < 3; i++) {
            order_drawn(o, &s[i], i);
            order_leave(o, &s[i]);
        }
    }
    order_free(o);
}

/* ---- with the scheduler */

static const int32_t ends[] = { TINY_EOS };
static int64_t fake_ns;

static int64_t fake_now(void)
{
    return fake_ns;
}

struct answer {
    int tokens, first_step, *step;
    enum infer_finish why;
    bool over;
};

static bool on_token(void *user, const struct infer_token *t)
{
    struct answer *a = user;
    a->first_step = a->tokens++ ? a->first_step : *a->step;
    return false;
}

static void on_finish(void *user, enum infer_finish why)
{
    struct answer *a = user;
    a->why = why;
    a->over = true;
}

static void on_start(void *user, int cached)
{
}

static const struct sched_events events = { .token = on_token, .finish = on_finish, .start = on_start };
static const struct steptime_model one_ms_a_row = { .a = 1, .b = 1, .c = 1 };

static struct sched *make(int running)
{
    struct sched *s = NULL;
    struct err e = { 0 };
    struct sched_options o = { .batch_rows = 128, .prefill_rows = 64, .running_max = running, .waiting_max = 1000,
                               .kv_bytes = 200 * model_kv_page_bytes(fx.model), .end_tokens = ends, .end_count = 1,
                               .now_ns = fake_now, .step_time = &one_ms_a_row };
    if (sched_new(fx.model, fx.pool, &o, &s, &e))
        printf("# %s\n", e.text);
    return s;
}

struct ask {
    uint64_t tenant, space;
    int prompt, tokens, priority, weight;
    int64_t deadline_ns;
};

static enum err_code add(struct sched *s, struct rng *r, const struct ask *k, struct answer *a, struct err *e)
{
    int32_t prompt[256];
    struct infer_params params = { .max_tokens = k->tokens, .ignore_eos = true, .top_p = 1, .repetition_penalty = 1,
                                   .top_logprobs = -1 };
    for (int i = 0; i < k->prompt; i++)
        prompt[i] = 3 + (int32_t)rng_below(r, TINY_VOCAB - 3);
    struct sched_seq *h;
    struct sched_spec spec = { .prompt = prompt, .prompt_count = k->prompt, .params = &params, .tenant = k->tenant,
                               .weight = k->weight, .priority = k->priority, .deadline_ns = k->deadline_ns,
                               .events = &events, .user = a };
    return sched_add(s, &spec, &h, e);
}

/* A tenant with 64 streams, long at it, on 8 places; another comes with one request. */
static void one_stream_is_not_held_up_by_sixty_four(void)
{
    struct sched *s = make(8);
    struct rng r = { .seed = 3 };
    static struct answer noisy[64], quiet;
    int step = 0;
    memset(noisy, 0, sizeof noisy);
    quiet = (struct answer){ .step = &step };
    for (int i = 0; i < 64; i++) {
        noisy[i].step = &step;
        CHECK_INT(add(s, &r, &(struct ask){ .tenant = 1, .prompt = 60, .tokens = 100 }, &noisy[i], NULL), ERR_OK);
    }
    for (; step < 40; step++)
        sched_step(s);
    struct sched_stats before, after;
    sched_stats(s, &before);
    CHECK_INT(add(s, &r, &(struct ask){ .tenant = 2, .prompt = 20, .tokens = 4 }, &quiet, NULL), ERR_OK);
    int started = step;
    for (; step < started + 1; step++)
        sched_step(s);
    sched_stats(s, &after);
    CHECK_INT(quiet.tokens, 1);                  /* in the very next step */
    CHECK(after.rows - before.rows <= 2 * 20);   /* which is at most twice what it takes alone */
    CHECK_INT(after.parked - before.parked, 1);
    for (; step < started + 4; step++)
        sched_step(s);
    CHECK_INT(quiet.tokens, 4);
    int over = 0;
    for (; over < 64 && step < 20000; step++) {
        sched_step(s);
        over = 0;
        for (int i = 0; i < 64; i++)
            over += noisy[i].over;
    }
    CHECK_INT(over, 64);
    sched_free(s);
}

/* Both always have more waiting; tokens are shared by weight. */
static void tokens_are_shared_by_weight(void)
{
    enum { EACH = 60 };
    static struct answer v[2][EACH];
    struct sched *s = make(4);
    struct rng r = { .seed = 4 };
    int step = 0, got[2] = { 0, 0 };
    memset(v, 0, sizeof v);
    for (int i = 0; i < EACH; i++)
        for (int t = 0; t < 2; t++) {
            v[t][i].step = &step;
            add(s, &r, &(struct ask){ .tenant = 5 + (uint64_t)t, .weight = t ? 3 : 1, .prompt = 16, .tokens = 16 },
                &v[t][i], NULL);
        }
    for (; step < 250; step++)
        sched_step(s);
    for (int i = 0; i < EACH; i++)
        for (int t = 0; t < 2; t++)
            got[t] += v[t][i].tokens;
    printf("# %d and %d tokens\n", got[0], got[1]);
    CHECK(got[0] > 0 && got[1] > 2 * got[0] && got[1] < 4 * got[0]);
    sched_free(s);
}

static int64_t finish_all(struct sched *s, const struct answer *v, int n)
{
    int64_t steps = 0;
    for (int over = 0; over < n && steps < 5000; steps++) {
        int rows = sched_step(s);
        fake_ns += (1 + rows) * 1000000LL; /* as one_ms_a_row says */
        over = 0;
        for (int i = 0; i < n; i++)
            over += v[i].over;
    }
    return steps;
}

static void a_deadline_that_cannot_be_met_is_refused_at_once(void)
{
    struct sched *s = make(8);
    struct rng r = { .seed = 5 };
    struct answer a = { 0 }, b = { 0 };
    struct err e = { 0 };
    int step = 0;
    a.step = b.step = &step;
    fake_ns = 1000000000;
    /* 50 rows and 20 steps of 2 ms: some 90 ms alone */
    struct ask k = { .tenant = 1, .prompt = 50, .tokens = 20, .deadline_ns = fake_ns + 60000000 };
    CHECK_INT(add(s, &r, &k, &a, &e), ERR_LIMIT);
    CHECK(strstr(e.text, "even alone") != NULL);
    k.deadline_ns = fake_ns + 200000000;
    CHECK_INT(add(s, &r, &k, &a, &e), ERR_OK);
    CHECK_INT(add(s, &r, &k, &b, &e), ERR_BUSY); /* what was promised to the first stands */
    CHECK(strstr(e.text, "cannot be met now") != NULL);
    finish_all(s, &a, 1);
    CHECK_INT(a.why, INFER_LENGTH);
    CHECK_INT(add(s, &r, &(struct ask){ .tenant = 1, .prompt = 50, .tokens = 20, .deadline_ns = fake_ns + 200000000 },
                  &b, &e), ERR_OK);
    fake_ns += 300000000; /* the machine stood still: the promise is broken, and the answer ends */
    sched_step(s);
    CHECK(b.over && b.why == INFER_DEADLINE);
    sched_free(s);
}

/* Saturated by requests without a deadline; those with one are all met, and the others go on after them. */
static void promises_are_kept_under_saturation(void)
{
    enum { OTHERS = 100, CALLS = 300 };
    static struct answer others[OTHERS], calls[CALLS];
    struct sched *s = make(8);
    struct rng r = { .seed = 6 };
    int step = 0, promised = 0, met = 0, over = 0;
    memset(others, 0, sizeof others);
    memset(calls, 0, sizeof calls);
    fake_ns = 1;
    for (int i = 0; i < OTHERS; i++) {
        others[i].step = &step;
        add(s, &r, &(struct ask){ .tenant = 1, .prompt = 100, .tokens = 60 }, &others[i], NULL);
    }
    for (int c = 0; c < CALLS; c++) {
        struct answer *a = &calls[promised];
        *a = (struct answer){ .step = &step };
        struct ask k = { .tenant = 2 + rng_below(&r, 3), .prompt = 5 + (int)rng_below(&r, 60),
                         .tokens = 1 + (int)rng_below(&r, 20),
                         .deadline_ns = fake_ns + (100 + (int64_t)rng_below(&r, 900)) * 1000000 };
        promised += !add(s, &r, &k, a, NULL);
        for (int i = 0; i < 4; i++, step++)
            fake_ns += (1 + sched_step(s)) * 1000000LL;
    }
    finish_all(s, calls, promised);
    for (int i = 0; i < promised; i++)
        met += calls[i].why == INFER_LENGTH;
    printf("# %d of %d promised, %d met\n", promised, CALLS, met);
    CHECK(promised > CALLS / 4);
    CHECK_INT(met, promised);
    finish_all(s, others, OTHERS);
    for (int i = 0; i < OTHERS; i++)
        over += others[i].over;
    CHECK_INT(over, OTHERS);
    sched_free(s);
}

int main(void)
{
    struct err e = { 0 };
    tiny_model(&fx.file);
    kern_table_fill(&fx.kern, kern_isa_detect(KERN_ISA_COUNT));
    fx.pool = pool_new(1);
    struct model_load_options o = { .kern = &fx.kern, .kv_type = KERN_F16 };
    if (gguf_open_memory(fx.file.data, fx.file.len, &fx.gguf, &e) || model_load(fx.gguf, &o, fx.pool, &fx.model, &e)) {
        printf("not ok 1 - the tiny model loads\n# %s\n", e.text);
        return 1;
    }
    RUN(classes_then_deadlines_then_age);
    RUN(service_follows_the_weights);
    RUN(nobody_saves_up_service);
    RUN(prompts_cost_once_and_cached_ones_nothing);
    RUN(seats_are_shared_and_nobody_takes_turns_parking);
    RUN(a_table_full_of_tenants_keeps_working);
    RUN(one_stream_is_not_held_up_by_sixty_four);
    RUN(tokens_are_shared_by_weight);
    RUN(a_deadline_that_cannot_be_met_is_refused_at_once);
    RUN(promises_are_kept_under_saturation);
    model_free(fx.model);
    gguf_close(fx.gguf);
    pool_free(fx.pool);
    buf_release(&fx.file);
    DONE();
}
