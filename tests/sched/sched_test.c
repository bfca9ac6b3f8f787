/* sched_test -- a crowd of sequences on a tiny model: each gets the tokens it gets alone, whatever runs beside it,
 * however little KV memory there is, through parking, cancels and shared prefixes; and all pages come back. */
#include "../test.h"
#include "../tiny_model.h"
#include "base/mem.h"
#include "model/model.h"
#include "sched/sched.h"

enum { LONGEST = 200, CASES = 40 };

struct fixture {
    struct buf file;
    struct gguf_file *gguf;
    struct kern_table kern;
    struct pool *pool;
    struct model *model;
};
static struct fixture fx;

static const int32_t ends[] = { TINY_EOS };

struct answer {
    int32_t ids[LONGEST];
    int count, cached, stop_at; /* stop_at: say stop at this many; 0: never */
    enum infer_finish why;
    bool over;
};

static bool on_token(void *user, const struct infer_token *t)
{
    struct answer *a = user;
    a->ids[a->count++] = t->id;
    return a->stop_at && a->count >= a->stop_at;
}

static void on_finish(void *user, enum infer_finish why)
{
    struct answer *a = user;
    a->why = why;
    a->over = true;
}

static void on_start(void *user, int cached)
{
    ((struct answer *)user)->cached = cached;
}

static const struct sched_events events = { .token = on_token, .finish = on_finish, .start = on_start };

static struct sched *make(int kv_pages, int batch, int prefill, int running)
{
    struct sched *s = NULL;
    struct err e = { 0 };
    struct sched_options o = { .batch_rows = batch, .prefill_rows = prefill, .running_max = running, .waiting_max = 1000,
                               .kv_bytes = (size_t)kv_pages * model_kv_page_bytes(fx.model), .end_tokens = ends,
                               .end_count = 1 };
    if (sched_new(fx.model, fx.pool, &o, &s, &e))
        printf("# %s\n", e.text);
    return s;
}

struct request {
    int32_t prompt[160];
    int count;
    struct infer_params params;
    uint64_t seed;
};

static void make_request(struct request *q, struct rng *r)
{
    *q = (struct request){ .count = 1 + (int)rng_below(r, 150), .seed = rng_next(r) };
    for (int i = 0; i < q->count; i++) /* half of them share their first 64 tokens */
        q->prompt[i] = i < 64 && q->seed % 2 ? i % 90 + 3 : 3 + (int32_t)rng_below(r, TINY_VOCAB - 3);
    q->params = (struct infer_params){ .max_tokens = 1 + (int)rng_below(r, 60), .temperature = q->seed % 3 ? 0.8f : 0,
                                       .top_p = 0.95f, .repetition_penalty = 1, .top_logprobs = -1 };
}

static struct sched_seq *add(struct sched *s, const struct request *q, struct answer *a)
{
    struct sched_seq *h = NULL;
    struct sched_spec spec = { .prompt = q->prompt, .prompt_count = q->count, .params = &q->params, .seed = q->seed,
                               .events = &events, .user = a };
    CHECK_INT(sched_add(s, &spec, &h, NULL), ERR_OK);
    return h;
}

static void run_alone(const struct request *q, struct answer *a)
{
    struct sched *s = make(40, 64, 64, 4);
    add(s, q, a);
    for (int i = 0; i < 1000 && !a->over; i++)
        sched_step(s);
    sched_free(s);
}

static void crowd(int kv_pages, int batch, int prefill, int running, uint64_t seed, bool must_park)
{
    static struct request requests[CASES];
    static struct answer want[CASES], got[CASES];
    struct rng r = { .seed = seed };
    memset(want, 0, sizeof want);
    memset(got, 0, sizeof got);
    struct sched *s = make(kv_pages, batch, prefill, running);
    int added = 0, steps = 0, wrong = 0, over = 0;
    for (; over < CASES && steps < 20000; steps++) {
        if (added < CASES && rng_below(&r, 3) == 0) {
            make_request(&requests[added], &r);
            run_alone(&requests[added], &want[added]);
            add(s, &requests[added], &got[added]);
            added++;
        }
        sched_step(s);
        over = 0;
        for (int i = 0; i < added; i++)
            over += got[i].over;
    }
    CHECK_INT(over, CASES);
    for (int i = 0; i < CASES; i++)
        wrong += got[i].count != want[i].count || got[i].why != want[i].why ||
                 memcmp(got[i].ids, want[i].ids, sizeof want[i].ids) != 0;
    CHECK_INT(wrong, 0);
    struct sched_stats st;
    sched_stats(s, &st);
    CHECK_INT(st.kv_pages_used, 0);
    CHECK(!must_park || st.parked > 0);
    printf("# %d steps, %lld parked, %lld of %lld prompt tokens cached\n", steps, (long long)st.parked,
           (long long)st.cached_tokens, (long long)st.prompt_tokens);
    sched_free(s);
}

static void a_crowd_with_room(void)
{
    crowd(200, 64, 32, 16, 1, false);
}

static void a_crowd_without_room_is_parked_and_resumed(void)
{
    crowd(18, 32, 16, 8, 2, true);
    crowd(16, 24, 5, 6, 3, false);
}

static void one_row_at_a_time(void)
{
    crowd(100, 8, 1, 8, 4, false);
}

static void cancel_and_stop_give_pages_back(void)
{
    struct sched *s = make(64, 64, 32, 8);
    struct rng r = { .seed = 9 };
    struct request q;
    for (int round = 0; round < 30; round++) {
        struct answer a = { 0 }, b = { .stop_at = 3 };
        make_request(&q, &r);
        q.params.max_tokens = 50;
        q.params.ignore_eos = true;
        struct sched_seq *h = add(s, &q, &a);
        add(s, &q, &b);
        for (int i = 0; i < round; i++)
            sched_step(s);
        if (!a.over)
            sched_cancel(s, h);
        CHECK(a.over && (a.why == INFER_CANCELLED || a.why == INFER_LENGTH));
        for (int i = 0; i < 300 && !b.over; i++)
            sched_step(s);
        CHECK_INT(b.why, INFER_STOP);
        CHECK_INT(b.count, 3);
    }
    struct sched_stats st;
    sched_stats(s, &st);
    CHECK_INT(st.kv_pages_used, 0);
    CHECK_INT(st.running + st.waiting, 0);
    sched_free(s);
}

static void the_second_request_finds_the_prefix(void)
{
    struct sched *s = make(64, 512, 512, 4);
    struct rng r = { .seed = 5 };
    struct request q;
    struct answer a = { 0 }, b = { 0 };
    do
        make_request(&q, &r);
    while (q.count < 100);
    add(s, &q, &a);
    while (!a.over)
        sched_step(s);
    add(s, &q, &b);
    while (!b.over)
        sched_step(s);
    CHECK_INT(a.cached, 0);
    CHECK_INT(b.cached, (q.count - 1) / 32 * 32);
    CHECK(a.count == b.count && !memcmp(a.ids, b.ids, sizeof a.ids));
    sched_free(s);
}

static void a_priority_goes_first_and_a_full_queue_refuses(void)
{
    struct sched *s = make(64, 64, 64, 1);
    struct rng r = { .seed = 6 };
    struct request q;
    struct answer a[3] = { 0 };
    make_request(&q, &r);
    q.params.max_tokens = 5;
    q.params.ignore_eos = true;
    struct sched_seq *h;
    struct sched_spec spec = { .prompt = q.prompt, .prompt_count = q.count, .params = &q.params, .events = &events };
    for (int i = 0; i < 3; i++) {
        spec.user = &a[i];
        spec.priority = i;
        CHECK_INT(sched_add(s, &spec, &h, NULL), ERR_OK);
    }
    while (!a[2].over)
        sched_step(s);
    CHECK(!a[0].over && !a[1].over);
    while (!a[1].over)
        sched_step(s);
    CHECK(!a[0].over);
    struct err e = { 0 };
    spec.prompt_count = TINY_CTX;
    CHECK_INT(sched_add(s, &spec, &h, &e), ERR_LIMIT);
    CHECK(strstr(e.text, "512") != NULL);
    sched_free(s);
    CHECK_INT(a[0].why, INFER_CANCELLED);
}

int main(void)
{
    struct err e = { 0 };
    tiny_model(&fx.file);
    kern_table_fill(&fx.kern, kern_isa_detect(KERN_ISA_COUNT));
    fx.pool = pool_new(2);
    struct model_load_options o = { .kern = &fx.kern, .kv_type = KERN_F16 };
    if (gguf_open_memory(fx.file.data, fx.file.len, &fx.gguf, &e) || model_load(fx.gguf, &o, fx.pool, &fx.model, &e)) {
        printf("not ok 1 - the tiny model loads\n# %s\n", e.text);
        return 1;
    }
    RUN(a_crowd_with_room);
    RUN(a_crowd_without_room_is_parked_and_resumed);
    RUN(one_row_at_a_time);
    RUN(cancel_and_stop_give_pages_back);
    RUN(the_second_request_finds_the_prefix);
    RUN(a_priority_goes_first_and_a_full_queue_refuses);
    model_free(fx.model);
    gguf_close(fx.gguf);
    pool_free(fx.pool);
    buf_release(&fx.file);
    DONE();
}
