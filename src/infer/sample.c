/* sample -- see sample.h. */
#include "infer/sample.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

struct candidate {
    float p;      /* exp((logit - max) / temperature), not normalised */
    int32_t id;
};

struct sample_scratch {
    float *logits;               /* [vocab] the adjusted copy */
    uint16_t *counts;            /* [vocab] all zero between calls */
    struct candidate *list;      /* [vocab] */
};

struct sample_scratch *sample_scratch_new(int vocab)
{
    struct sample_scratch *s = MEM_NEW(struct sample_scratch);
    s->logits = mem_new((size_t)vocab, sizeof *s->logits);
    s->counts = mem_new((size_t)vocab, sizeof *s->counts);
    s->list = mem_new((size_t)vocab, sizeof *s->list);
    return s;
}

void sample_scratch_free(struct sample_scratch *s)
{
    if (!s)
        return;
    mem_free(s->logits);
    mem_free(s->counts);
    mem_free(s->list);
    mem_free(s);
}

/* ---- what changes the logits */

static void repeat_penalty(const struct sample_input *in, float *logits, uint16_t *counts)
{
    float r = in->params->repetition_penalty;
    for (int i = 0; i < in->history_count; i++) {
        int32_t id = in->history[i];
        if (!counts[id])
            logits[id] = logits[id] > 0 ? logits[id] / r : logits[id] * r;
        counts[id] = 1;
    }
    for (int i = 0; i < in->history_count; i++)
        counts[in->history[i]] = 0;
}

static void count_penalty(const struct sample_input *in, float *logits, uint16_t *counts)
{
    const struct infer_params *p = in->params;
    for (int i = in->prompt_count; i < in->history_count; i++)
        if (counts[in->history[i]] < UINT16_MAX)
            counts[in->history[i]]++;
    for (int i = in->prompt_count; i < in->history_count; i++) {
        int32_t id = in->history[i];
        if (counts[id])
            logits[id] -= p->frequency_penalty * counts[id] + p->presence_penalty;
        counts[id] = 0;
    }
}

/* The logits to draw from: in->logits itself when nothing changes them. */
static const float *adjust(const struct sample_input *in, struct sample_scratch *s)
{
    const struct infer_params *p = in->params;
    bool repeats = p->repetition_penalty != 1 && p->repetition_penalty > 0;
    bool counts = p->frequency_penalty != 0 || p->presence_penalty != 0;
    bool no_end = p->ignore_eos || in->history_count - in->prompt_count < p->min_tokens;
    if (!p->bias_count && !repeats && !counts && !no_end && !in->allowed)
        return in->logits;
    memcpy(s->logits, in->logits, (size_t)in->vocab * sizeof *s->logits);
    for (int i = 0; i < p->bias_count; i++)
        s->logits[p->bias[i].token] += p->bias[i].bias;
    if (repeats)
        repeat_penalty(in, s->logits, s->counts);
    if (counts)
        count_penalty(in, s->logits, s->counts);
    for (int i = 0; no_end && i < in->end_count; i++)
        s->logits[in->end_tokens[i]] = -INFINITY;
    for (int i = 0; in->allowed && i < in->vocab; i++)
        if (!(in->allowed[i >> 5] >> (i & 31) & 1))
            s->logits[i] = -INFINITY;
    return s->logits;
}

/* The first of the largest; NaN never wins. 0 when nothing is finite. */
static int largest(const float *x, int n)
{
    int best = 0;
    float max = -INFINITY;
    for (int i = 0; i < n; i++)
        if (x[i] > max) {
            max = x[i];
            best = i;
        }
    return best;
}

/* ---- selection: "better" is a total order, so the selected set is unique */

static bool better(struct candidate a, struct candidate b)
{
    return a.p > b.p || (a.p == b.p && a.id < b.id);
}

static void swap(struct candidate *a, struct candidate *b)
{
    struct candidate t = *a;
    *a = *b;
    *b = t;
}

/* Partitions list[lo, hi) round a pivot, better ones first; returns the pivot's index. hi - lo >= 1. */
static int partition(struct candidate *list, int lo, int hi)
{
    int mid = lo + (hi - lo) / 2, last = hi - 1;
    if (better(list[mid], list[lo]))
        swap(&list[mid], &list[lo]);
    if (better(list[last], list[lo]))
        swap(&list[last], &list[lo]);
    if (better(list[last], list[mid]))
        swap(&list[last], &list[mid]);
    swap(&list[mid], &list[last]); /* the median is the pivot */
    int store = lo;
    for (int i = lo; i < last; i++)
        if (better(list[i], list[last]))
            swap(&list[i], &list[store++]);
    swap(&list[store], &list[last]);
    return store;
}

/* Moves the k best to the front. */
static void select_count(struct candidate *list, int n, int k)
{
    int lo = 0, hi = n;
    while (hi - lo > 1) {
        int pivot = partition(list, lo, hi);
        if (pivot == k)
            return;
        if (pivot > k)
            hi = pivot;
        else
            lo = pivot + 1;
    }
}

static double mass(const struct candidate *list, int lo, int hi)
{
    double sum = 0;
    for (int i = lo; i < hi; i++)
        sum += list[i].p;
    return sum;
}

/* The fewest best candidates whose mass reaches `target`, moved to the front; returns how many. */
static int select_mass(struct candidate *list, int n, double target)
{
    int lo = 0, hi = n;
    double before = 0; /* mass of list[0, lo) */
    while (hi - lo > 1) {
        int pivot = partition(list, lo, hi);
        double left = mass(list, lo, pivot);
        if (before + left >= target) {
            hi = pivot;
        } else if (before + left + list[pivot].p >= target) {
            return pivot + 1;
        } else {
            before += left + list[pivot].p;
            lo = pivot + 1;
        }
    }
    return hi > lo ? lo + 1 : lo;
}

static int by_id_position(const struct candidate *list, int n, double u)
{
    double left = u * mass(list, 0, n);
    for (int i = 0; i < n; i++) {
        left -= list[i].p;
        if (left < 0)
            return i;
    }
    return n - 1;
}

static int32_t draw(const struct sample_input *in, const float *logits, struct candidate *list)
{
    const struct infer_params *p = in->params;
    float max = logits[largest(logits, in->vocab)];
    if (!isfinite(max))
        return largest(logits, in->vocab);
    /* exp(-20) of the largest is below what 53 bits of u can meet among a million tokens. */
    float floor_p = p->min_p > 2e-9f ? p->min_p : 2e-9f, inverse = 1 / p->temperature;
    int n = 0;
    for (int i = 0; i < in->vocab; i++) {
        float x = (logits[i] - max) * inverse;
        if (!(x > -20.1f))
            continue;
        float e = expf(x);
        if (e >= floor_p)
            list[n++] = (struct candidate){ e, i };
    }
    if (p->top_k > 0 && p->top_k < n) {
        select_count(list, n, p->top_k);
        n = p->top_k;
    }
    if (p->top_p < 1)
        n = select_mass(list, n, (double)p->top_p * mass(list, 0, n));
    return list[by_id_position(list, n, rng_unit(in->seed, (uint64_t)in->history_count))].id;
}

/* ---- log-probabilities */

static void insert_top(struct infer_token *out, int want, int32_t id, float logit)
{
    int i = out->top_count < want ? out->top_count++ : want - 1;
    for (; i > 0 && out->top[i - 1].logprob < logit; i--)
        out->top[i] = out->top[i - 1];
    out->top[i] = (struct infer_logprob){ id, logit };
}

static void logprobs(const struct sample_input *in, struct infer_token *out)
{
    int want = in->params->top_logprobs;
    float max = in->logits[largest(in->logits, in->vocab)];
    double sum = 0;
    for (int i = 0; i < in->vocab; i++) {
        sum += exp((double)in->logits[i] - (double)max);
        if (want && (out->top_count < want || in->logits[i] > out->top[want - 1].logprob))
            insert_top(out, want, i, in->logits[i]);
    }
    float log_z = max + (float)log(sum);
    for (int i = 0; i < out->top_count; i++)
        out->top[i].logprob -= log_z;
    out->logprob = in->logits[out->id] - log_z;
}

void sample_token(const struct sample_input *in, struct sample_scratch *scratch, struct infer_token *out)
{
    ASSERT(in->params->top_logprobs <= INFER_TOP_LOGPROBS_MAX);
    const float *logits = adjust(in, scratch);
    out->top_count = 0;
    out->logprob = 0;
    out->id = in->params->temperature > 0 ? draw(in, logits, scratch->list) : largest(logits, in->vocab);
    if (in->params->top_logprobs >= 0)
        logprobs(in, out);
}
