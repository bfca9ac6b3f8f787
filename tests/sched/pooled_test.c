/* pooled_test -- a decoder's texts to vectors: what the model itself gives, to the bit, whatever the chunks, what else
 * runs, and how often it was parked. */
#include "drive.h"

enum { LENGTH = 90 };

struct vector {
    float v[TINY_DIM];
    int n;
    bool over;
    enum infer_finish why;
};

static void on_vector(void *user, const float *v, int n)
{
    struct vector *x = user;
    CHECK(n == TINY_DIM && !x->over);
    memcpy(x->v, v, sizeof x->v);
    x->n = n;
}

static void on_end(void *user, enum infer_finish why)
{
    ((struct vector *)user)->over = true;
    ((struct vector *)user)->why = why;
}

static void on_begin(void *user, int cached)
{
    (void)user;
    (void)cached;
}

static const struct sched_events vector_events = { .finish = on_end, .start = on_begin, .vector = on_vector };
static int32_t text[LENGTH];
static struct vector want_mean, want_last;

/* The whole text in one forward pass, pooled here. */
static void compute_truth(void)
{
    enum { PAGES = LENGTH / KERN_PAGE_TOKENS + 1 };
    size_t page = model_kv_page_bytes(fx.model);
    unsigned char *block = mem_aligned(PAGES * page), *pages[PAGES];
    int32_t rows[LENGTH];
    for (int i = 0; i < PAGES; i++)
        pages[i] = block + (size_t)i * page;
    for (int i = 0; i < LENGTH; i++) {
        text[i] = 3 + (i * i + 5 * i) % (TINY_VOCAB - 3);
        rows[i] = i;
    }
    struct model_work *w = model_work_new(fx.model, fx.pool, LENGTH, 0);
    struct model_run run_of = { .rows = LENGTH, .pages = pages };
    struct model_batch b = { .rows = LENGTH, .tokens = text, .runs = &run_of, .run_count = 1, .state_rows = rows,
                             .state_count = LENGTH };
    model_forward(fx.model, w, &b);
    for (int d = 0; d < TINY_DIM; d++) {
        double sum = 0;
        for (int i = 0; i < LENGTH; i++)
            sum += (double)model_state(fx.model, w, i)[d];
        want_mean.v[d] = (float)(sum / LENGTH);
    }
    memcpy(want_last.v, model_state(fx.model, w, LENGTH - 1), sizeof want_last.v);
    model_work_free(w);
    mem_aligned_free(block, PAGES * page);
}

static void pool_text(struct sched *s, enum model_pooling how, struct vector *out)
{
    static const struct infer_params params = { .max_tokens = 1 };
    struct sched_pooling pooling = { .how = how };
    struct sched_spec spec = { .prompt = text, .prompt_count = LENGTH, .params = &params, .pooling = &pooling,
                               .events = &vector_events, .user = out };
    struct sched_seq *q;
    *out = (struct vector){ .n = 0 };
    CHECK_INT(sched_add(s, &spec, &q, NULL), ERR_OK);
}

static void check(const struct vector *got, const struct vector *want)
{
    CHECK(got->over && got->why == INFER_STOP && got->n == TINY_DIM);
    CHECK(!memcmp(got->v, want->v, sizeof want->v));
}

static void any_chunks_give_the_same_bits(void)
{
    static const int batches[] = { 8, 33, 128 };
    for (size_t i = 0; i < MEM_COUNT(batches); i++) {
        struct sched_options o = options_of(40, batches[i], batches[i], 4);
        struct sched *s = make(&o);
        struct vector a, b, again;
        pool_text(s, MODEL_POOL_MEAN, &a);
        pool_text(s, MODEL_POOL_LAST, &b);
        for (int k = 0; k < 1000 && sched_step(s); k++)
            ;
        pool_text(s, MODEL_POOL_MEAN, &again); /* its prefix is cached now, and is no use to a mean */
        for (int k = 0; k < 1000 && sched_step(s); k++)
            ;
        check(&a, &want_mean);
        check(&b, &want_last);
        check(&again, &want_mean);
        sched_free(s);
    }
}

/* Others generate with so few pages that everything is parked now and then. */
static void company_and_parking_change_nothing(void)
{
    struct sched_options o = options_of(16, 24, 16, 8);
    struct sched *s = make(&o);
    struct request others[6];
    static struct answer answers[6];
    struct vector v[6];
    struct sched_stats stats;
    for (int i = 0; i < 6; i++) {
        others[i] = (struct request){ .count = 20 + i, .seed = (uint64_t)i, .space = (uint64_t)i + 1,
                                      .params = { .max_tokens = 90, .ignore_eos = true, .temperature = 1, .top_p = 1,
                                                  .repetition_penalty = 1, .top_logprobs = -1 } };
        for (int k = 0; k < others[i].count; k++)
            others[i].prompt[k] = 3 + (7 * i + k) % (TINY_VOCAB - 3);
        answers[i] = (struct answer){ .count = 0 };
        add(s, &others[i], &answers[i]);
        pool_text(s, i % 2 ? MODEL_POOL_LAST : MODEL_POOL_MEAN, &v[i]);
    }
    for (int k = 0; k < 20000 && sched_step(s); k++)
        ;
    sched_stats(s, &stats);
    printf("# parked %lld times\n", (long long)stats.parked);
    CHECK(stats.parked > 0);
    for (int i = 0; i < 6; i++) {
        check(&v[i], i % 2 ? &want_last : &want_mean);
        CHECK(answers[i].over && answers[i].count == 90);
    }
    sched_free(s);
}

static void a_text_may_fill_the_context(void)
{
    struct sched_options o = options_of(3, 32, 32, 2); /* 96 positions */
    struct sched *s = make(&o);
    struct vector v;
    CHECK_INT(sched_ctx(s), 96);
    pool_text(s, MODEL_POOL_LAST, &v);
    for (int k = 0; k < 100 && sched_step(s); k++)
        ;
    check(&v, &want_last);
    sched_free(s);
}

int main(void)
{
    if (!set_up())
        return 1;
    compute_truth();
    RUN(any_chunks_give_the_same_bits);
    RUN(company_and_parking_change_nothing);
    RUN(a_text_may_fill_the_context);
    tear_down();
    DONE();
}
