/* sample -- see sample.h. */
#include "infer/sample.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kern/kern.h"

#include <math.h>
#include <string.h>

struct candidate {
    float p;
    int32_t id;
};

struct sample_scratch {
    struct kern_table kern;      /* its best rung: all give the same bits */
    float *logits;               /* [vocab] the adjusted copy */
    float *p;                    /* [vocab] probabilities */
    uint16_t *counts;            /* [vocab] all zero between calls */
    struct candidate *list;      /* [vocab] */
};

struct sample_scratch *sample_scratch_new(int vocab)
{
    struct sample_scratch *s = MEM_NEW(struct sample_scratch);
    kern_table_fill(&s->kern, kern_isa_detect(KERN_AVX512)); /* AMX multiplies matrices only */
    s->logits = mem_new((size_t)vocab, sizeof *s->logits);
    s->p = mem_new((size_t)vocab, sizeof *s->p);
    s->counts = mem_new((size_t)vocab, sizeof *s->counts);
    s->list = mem_new((size_t)vocab, sizeof *s->list);
    return s;
}

void sample_scratch_free(struct sample_scratch *s)
{
    if (!s)
        return;
    mem_free(s->logits);
    mem_free(s->p);
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

static void forbid(const uint32_t *allowed, float *logits, int vocab)
{
    for (int first = 0; first < vocab; first += 32) {
        uint32_t bits = allowed[first >> 5];
        int n = vocab - first < 32 ? vocab - first : 32;
        for (int i = 0; bits != UINT32_MAX && i < n; i++)
            logits[first + i] = bits >> i & 1 ? logits[first + i] : -INFINITY;
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
    if (in->allowed)
        forbid(in->allowed, s->logits, in->vocab);
    return s->logits;
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

/* Kept is what is better than or is `worst`. */
static bool kept(struct candidate worst, float p, int id)
{
    return p > worst.p || (p == worst.p && id <= worst.id);
}

enum { BLOCK = 256, LANES = 4 };
typedef float lanes __attribute__((vector_size(16)));   /* what any processor does at once */
typedef int32_t lane_bits __attribute__((vector_size(16)));

struct pile {
    double mass;
    int count;
};

/* Those kept among p[first, end), a block at most. */
static struct pile kept_of(const float *p, int first, int end, struct candidate worst)
{
    lanes sum = { 0 }, cut = { worst.p, worst.p, worst.p, worst.p };
    lane_bits count = { 0 }, ties = { 0 };
    int whole = end - first == BLOCK ? end : first;
    for (int i = first; i < whole; i += LANES) {
        lanes v;
        memcpy(&v, p + i, sizeof v);
        lane_bits above = v > cut;
        sum += (lanes)((lane_bits)v & above);
        count -= above;
        ties |= v == cut;
    }
    struct pile out = { ((double)sum[0] + (double)sum[1]) + ((double)sum[2] + (double)sum[3]),
                        count[0] + count[1] + count[2] + count[3] };
    bool tie = ties[0] | ties[1] | ties[2] | ties[3];
    for (int i = tie ? first : whole; i < end; i++)
        if (i < whole ? p[i] == worst.p && i <= worst.id : kept(worst, p[i], i)) {
            out.mass += (double)p[i];
            out.count++;
        }
    return out;
}

static int block_end(int first, int vocab)
{
    return first + BLOCK < vocab ? first + BLOCK : vocab;
}

static struct pile kept_in_all(const float *p, int vocab, struct candidate worst)
{
    struct pile all = { 0 };
    for (int i = 0; i < vocab; i += BLOCK) {
        struct pile b = kept_of(p, i, block_end(i, vocab), worst);
        all.mass += b.mass;
        all.count += b.count;
    }
    return all;
}

/* The token at which the mass of those kept, in the order of ids, first exceeds its share u of the whole. In that
 * order two models that nearly agree draw the same token for the same u. */
static int32_t at_share(const float *p, int vocab, struct candidate worst, double u)
{
    double left = u * kept_in_all(p, vocab, worst).mass;
    for (int first = 0; first < vocab; first += BLOCK) {
        int end = block_end(first, vocab);
        double m = kept_of(p, first, end, worst).mass;
        for (int i = first; i < end && left < m; i++) {
            double own = kept(worst, p[i], i) ? (double)p[i] : 0;
            if (left < own)
                return i;
            left -= own;
            m -= own;
        }
        left -= m;
    }
    for (int i = vocab - 1; i > 0; i--) /* rounding left a little: the last one */
        if (kept(worst, p[i], i))
            return i;
    return 0;
}

/* Bounds between which the cut lies, narrowed over the whole vocabulary until few enough lie between them. */
struct bracket {
    float low, high;
    struct pile at_low, at_high; /* what is better than each */
};

static struct bracket find_bracket(const float *p, int vocab, float best, struct candidate worst, double target,
                                   bool by_mass)
{
    enum { FEW = 2048, HALVINGS = 12 };
    const float wide = 1.0f / 32;
    struct bracket b = { .low = best, .high = best };
    bool reached = false;
    while (!reached && b.low > worst.p) { /* most of the mass is near the top: seldom more than twice */
        b.high = b.low;
        b.at_high = b.at_low;
        b.low = b.low * wide > worst.p ? b.low * wide : worst.p;
        b.at_low = kept_in_all(p, vocab, (struct candidate){ b.low, -1 });
        reached = (by_mass ? b.at_low.mass : b.at_low.count) >= target;
    }
    for (int i = 0; reached && i < HALVINGS && b.at_low.count - b.at_high.count > FEW; i++) {
        float mid = sqrtf(b.low) * sqrtf(b.high);
        struct pile k = kept_in_all(p, vocab, (struct candidate){ mid, -1 });
        bool enough = (by_mass ? k.mass : k.count) >= target;
        *(enough ? &b.low : &b.high) = mid;
        *(enough ? &b.at_low : &b.at_high) = k;
    }
    return b;
}

/* The last of the fewest best, of those `worst` keeps, that are so many (or, by_mass, hold so much); `best` is the
 * largest p. */
static struct candidate cut_at(const float *p, int vocab, float best, struct candidate worst, double target,
                               bool by_mass, struct candidate *list)
{
    struct bracket b = find_bracket(p, vocab, best, worst, target, by_mass);
    int n = 0, last = 0;
    for (int first = 0; first < vocab; first += BLOCK) {
        int end = block_end(first, vocab);
        if (!kept_of(p, first, end, (struct candidate){ b.low, INT32_MAX }).count)
            continue;
        for (int i = first; i < end; i++)
            if (p[i] >= b.low && p[i] <= b.high && kept(worst, p[i], i))
                list[n++] = (struct candidate){ p[i], i };
    }
    int wanted = by_mass ? select_mass(list, n, target - b.at_high.mass) : (int)target - b.at_high.count;
    if (!n || wanted > n)
        return worst; /* all of them */
    if (!by_mass)
        select_count(list, n, wanted);
    for (int i = 1; i < wanted; i++)
        last = better(list[last], list[i]) ? i : last;
    return list[last];
}

static int32_t draw(const struct sample_input *in, const float *logits, struct sample_scratch *s)
{
    const struct infer_params *o = in->params;
    int best = s->kern.argmax(logits, in->vocab);
    if (!isfinite(logits[best]))
        return best;
    memcpy(s->p, logits, (size_t)in->vocab * sizeof *s->p);
    s->kern.scale(s->p, 1 / o->temperature, in->vocab);
    s->kern.softmax(s->p, in->vocab);
    if (!(s->p[best] > 0))
        return best; /* a NaN among them, or a temperature next to 0 */
    /* exp(-20) of the largest is below what 53 bits of u can meet among a million tokens. */
    float least = s->p[best] * (o->min_p > 2e-9f ? o->min_p : 2e-9f);
    struct candidate worst = { least, INT32_MAX };
    if (o->top_k > 0)
        worst = cut_at(s->p, in->vocab, s->p[best], worst, o->top_k, false, s->list);
    if (o->top_p < 1) {
        double all = kept_in_all(s->p, in->vocab, worst).mass;
        worst = cut_at(s->p, in->vocab, s->p[best], worst, (double)o->top_p * all, true, s->list);
    }
    return at_share(s->p, in->vocab, worst, rng_unit(in->seed, (uint64_t)in->history_count));
}

/* ---- log-probabilities */

static void insert_top(struct infer_token *out, int want, int32_t id, float logit)
{
    int i = out->top_count < want ? out->top_count++ : want - 1;
    for (; i > 0 && out->top[i - 1].logprob < logit; i--)
        out->top[i] = out->top[i - 1];
    out->top[i] = (struct infer_logprob){ id, logit };
}

static void logprobs(const struct sample_input *in, struct sample_scratch *s, struct infer_token *out)
{
    int want = in->params->top_logprobs, best = s->kern.argmax(in->logits, in->vocab);
    memcpy(s->p, in->logits, (size_t)in->vocab * sizeof *s->p);
    s->kern.softmax(s->p, in->vocab); /* its sum is of floats: what it misses of 1 is made up for */
    double all = kept_in_all(s->p, in->vocab, (struct candidate){ 0, INT32_MAX }).mass;
    float log_z = in->logits[best] - (float)log((double)s->p[best] / all);
    for (int i = 0; want && i < in->vocab; i++)
        if (out->top_count < want || in->logits[i] > out->top[want - 1].logprob)
            insert_top(out, want, i, in->logits[i]);
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
    out->id = in->params->temperature > 0 ? draw(in, logits, scratch) : scratch->kern.argmax(logits, in->vocab);
    if (in->params->top_logprobs >= 0)
        logprobs(in, scratch, out);
}
