/* sample_test -- the sampler against a plain sorted definition of the same rule, and its frequencies. */
#include "../test.h"
#include "base/rng.h"
#include "infer/sample.h"

#include <stdlib.h>

enum { VOCAB = 500 };

static struct infer_params plain(void)
{
    return (struct infer_params){ .temperature = 1, .top_p = 1, .repetition_penalty = 1, .top_logprobs = -1 };
}

static int32_t pick(const float *logits, int vocab, const struct infer_params *p, uint64_t seed)
{
    static const int32_t history[4] = { 3, 5, 5, 7 };
    static const int32_t ends[] = { 1 };
    struct sample_scratch *s = sample_scratch_new(vocab);
    struct sample_input in = { .logits = logits, .vocab = vocab, .history = history, .prompt_count = 1,
                               .history_count = 4, .params = p, .seed = seed, .end_tokens = ends, .end_count = 1 };
    struct infer_token t;
    sample_token(&in, s, &t);
    sample_scratch_free(s);
    return t.id;
}

struct pair {
    double p;
    int id;
};

static int descending(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return x->p != y->p ? (x->p < y->p ? 1 : -1) : x->id - y->id;
}

/* Which ids the rule allows: sort, cut by min_p, top_k, then by mass. */
static void allowed_set(const float *logits, int vocab, const struct infer_params *p, bool *allowed)
{
    struct pair list[VOCAB];
    double max = -INFINITY, sum = 0, mass = 0;
    for (int i = 0; i < vocab; i++)
        max = logits[i] > max ? logits[i] : max;
    for (int i = 0; i < vocab; i++)
        list[i] = (struct pair){ exp((logits[i] - max) / (double)p->temperature), i };
    qsort(list, (size_t)vocab, sizeof *list, descending);
    int n = p->top_k ? p->top_k : vocab;
    while (n > 1 && list[n - 1].p < (double)p->min_p)
        n--;
    for (int i = 0; i < n; i++)
        sum += list[i].p;
    memset(allowed, 0, (size_t)vocab);
    for (int i = 0; i < n && mass < (double)p->top_p * sum; i++) {
        allowed[list[i].id] = true;
        mass += list[i].p;
    }
}

static void draws_stay_in_the_set_and_fill_it(void)
{
    struct rng r = { .seed = 5 };
    for (int round = 0; round < 60; round++) {
        float logits[VOCAB];
        int vocab = 2 + (int)rng_below(&r, VOCAB - 2);
        for (int i = 0; i < vocab; i++)
            logits[i] = (float)(rng_next_unit(&r) * 8);
        struct infer_params p = plain();
        p.temperature = 0.5f + (float)rng_next_unit(&r);
        p.top_k = rng_below(&r, 2) ? 1 + (int)rng_below(&r, 20) : 0;
        p.top_k = p.top_k > vocab ? 0 : p.top_k;
        p.top_p = rng_below(&r, 2) ? (float)rng_next_unit(&r) : 1;
        p.min_p = rng_below(&r, 2) ? 0.05f : 0;
        bool allowed[VOCAB], seen[VOCAB] = { false };
        allowed_set(logits, vocab, &p, allowed);
        int outside = 0, size = 0, found = 0;
        for (int i = 0; i < 400; i++) {
            int32_t id = pick(logits, vocab, &p, rng_next(&r));
            outside += !allowed[id];
            seen[id] = true;
        }
        for (int i = 0; i < vocab; i++)
            size += allowed[i], found += seen[i];
        CHECK_INT(outside, 0);
        CHECK(found >= (size < 5 ? size - 2 : 3));
    }
}

static void frequencies_follow_the_softmax(void)
{
    float logits[4] = { 0, 1, 2, -1 };
    struct infer_params p = plain();
    int count[4] = { 0 }, n = 20000;
    for (int i = 0; i < n; i++)
        count[pick(logits, 4, &p, (uint64_t)i)]++;
    double z = exp(0) + exp(1) + exp(2) + exp(-1);
    for (int i = 0; i < 4; i++)
        CHECK_NEAR((double)count[i] / n, exp(logits[i]) / z, 0.012);
}

static void penalties_and_bias(void)
{
    float logits[10] = { 0, 9, 0, 5, 0, 5.5f, 0, 5.2f, 4.9f, 0 };
    struct infer_params p = plain();
    p.temperature = 0;
    CHECK_INT(pick(logits, 10, &p, 0), 1);
    p.ignore_eos = true;
    CHECK_INT(pick(logits, 10, &p, 0), 5);
    p.ignore_eos = false;
    p.min_tokens = 4; /* three are generated */
    CHECK_INT(pick(logits, 10, &p, 0), 5);
    p.presence_penalty = 0.4f;
    CHECK_INT(pick(logits, 10, &p, 0), 5);  /* 5.1 against 5 (token 3 is prompt: no penalty) */
    p.frequency_penalty = 0.2f;             /* token 5: 4.7, token 7: 4.6, token 3: 5 */
    CHECK_INT(pick(logits, 10, &p, 0), 3);
    p.repetition_penalty = 2;               /* the prompt counts here */
    CHECK_INT(pick(logits, 10, &p, 0), 8);
    struct infer_logit_bias bias = { .token = 9, .bias = 50 };
    p.bias = &bias;
    p.bias_count = 1;
    CHECK_INT(pick(logits, 10, &p, 0), 9);
}

static void logprobs_sum_to_one(void)
{
    float logits[5] = { 1, 2, 3, 4, 5 };
    struct infer_params p = plain();
    p.top_logprobs = 5;
    p.temperature = 0;
    struct sample_scratch *s = sample_scratch_new(5);
    struct sample_input in = { .logits = logits, .vocab = 5, .params = &p };
    struct infer_token t;
    sample_token(&in, s, &t);
    double sum = 0;
    for (int i = 0; i < t.top_count; i++) {
        sum += exp(t.top[i].logprob);
        CHECK_INT(t.top[i].token, 4 - i);
    }
    CHECK_NEAR(sum, 1, 1e-6);
    CHECK_NEAR(t.logprob, -0.4519144, 1e-6); /* log softmax of 1..5 at 5: numpy */
    sample_scratch_free(s);
}

static void not_a_number_is_survived(void)
{
    float logits[4] = { NAN, -INFINITY, 2, NAN };
    struct infer_params p = plain();
    CHECK_INT(pick(logits, 4, &p, 9), 2);
    float none[2] = { NAN, -INFINITY };
    CHECK(pick(none, 2, &p, 9) < 2);
}

/* ---- against the plain way: sort everything, cut, walk in the order of ids */

enum { WIDE = 1500 };
struct entry {
    double p;
    int id;
};

static int best_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->p != y->p ? (x->p < y->p ? 1 : -1) : x->id - y->id;
}

/* The token at share u, or -1 when a hair's breadth decides. */
static int plainly(const float *logits, const struct infer_params *o, double u)
{
    static struct entry e[WIDE];
    static double kept[WIDE];
    double top = -INFINITY, all = 0, sum = 0;
    int n = 0, cut = 0;
    for (int i = 0; i < WIDE; i++)
        top = fmax(top, (double)logits[i]);
    for (int i = 0; i < WIDE; i++) {
        e[i] = (struct entry){ exp(((double)logits[i] - top) / (double)o->temperature), i };
        kept[i] = 0;
    }
    qsort(e, WIDE, sizeof *e, best_first);
    while (n < WIDE && e[n].p >= fmax((double)o->min_p, 2e-9) && (o->top_k <= 0 || n < o->top_k))
        all += e[n++].p;
    for (; cut < n && (cut == 0 || sum < (double)o->top_p * all || o->top_p >= 1); cut++)
        sum += e[cut].p;
    if (o->top_p < 1 && fabs(sum - (double)o->top_p * all) / all < 1e-5)
        return -1;
    for (int i = 0; i < cut; i++)
        kept[e[i].id] = e[i].p;
    double left = u * sum;
    for (int i = 0; i < WIDE; i++) {
        left -= kept[i];
        if (fabs(left) < 1e-5 * sum)
            return -1;
        if (left < 0)
            return i;
    }
    return -1;
}

static void as_if_everything_were_sorted(void)
{
    static float logits[WIDE];
    struct sample_scratch *s = sample_scratch_new(WIDE);
    struct rng r = { .seed = 12 };
    int wrong = 0, compared = 0;
    for (int round = 0; round < 400; round++) {
        double spread = 0.5 + rng_next_unit(&r) * 12, grain = round % 3 ? 0 : 0.25; /* every third: many equals */
        for (int i = 0; i < WIDE; i++) {
            double x = (rng_next_unit(&r) + rng_next_unit(&r) + rng_next_unit(&r) - 1.5) * spread;
            logits[i] = (float)(grain > 0 ? floor(x / grain) * grain : x);
        }
        struct infer_params p = plain();
        p.temperature = 0.25f * (float)(1 + rng_below(&r, 8));
        p.top_k = round % 2 ? 1 + (int)rng_below(&r, round % 5 ? 60 : WIDE) : 0;
        p.top_p = round % 4 > 1 ? (float)(0.05 + 0.94 * rng_next_unit(&r)) : 1;
        p.min_p = round % 7 ? 0 : 0.03f;
        struct infer_token t;
        struct sample_input in = { .logits = logits, .vocab = WIDE, .params = &p, .seed = rng_next(&r) };
        sample_token(&in, s, &t);
        int want = plainly(logits, &p, rng_unit(in.seed, 0));
        compared += want >= 0;
        wrong += want >= 0 && t.id != want;
    }
    printf("# %d of 400 compared\n", compared);
    CHECK_INT(wrong, 0);
    CHECK(compared > 300);
    sample_scratch_free(s);
}

int main(void)
{
    RUN(draws_stay_in_the_set_and_fill_it);
    RUN(frequencies_follow_the_softmax);
    RUN(penalties_and_bias);
    RUN(as_if_everything_were_sorted);
    RUN(logprobs_sum_to_one);
    RUN(not_a_number_is_survived);
    DONE();
}
