/* hist -- see hist.h. */
#include "plan/hist.h"

static int bin_of(int64_t ns)
{
    if (ns < HIST_SUB)
        return ns < 0 ? 0 : (int)ns; /* the first 64 ns one by one: octaves 0 to 5 share them */
    int octave = 63 - __builtin_clzll((unsigned long long)ns); /* >= 6 */
    int sub = (int)(ns >> (octave - 6)) & (HIST_SUB - 1);
    int bin = (octave - 5) * HIST_SUB + sub;
    return bin < HIST_BINS ? bin : HIST_BINS - 1;
}

static double bin_low(int bin)
{
    if (bin < HIST_SUB)
        return bin;
    int octave = bin / HIST_SUB + 5, sub = bin % HIST_SUB;
    return (double)((int64_t)(HIST_SUB + sub) << (octave - 6));
}

void hist_add(struct hist *h, int64_t ns, double weight)
{
    h->bin[bin_of(ns)] += weight;
    h->count += weight;
    h->sum += weight * (double)ns;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    for (int i = 0; i < HIST_BINS; i++)
        into->bin[i] += from->bin[i];
    into->count += from->count;
    into->sum += from->sum;
}

double hist_percentile(const struct hist *h, double p)
{
    double want = h->count * p / 100, seen = 0;
    for (int i = 0; i < HIST_BINS; i++) {
        if (h->bin[i] > 0 && seen + h->bin[i] >= want)
            return bin_low(i) + (bin_low(i + 1) - bin_low(i)) * (want - seen) / h->bin[i];
        seen += h->bin[i];
    }
    return 0;
}

double hist_mean(const struct hist *h)
{
    return h->count > 0 ? h->sum / h->count : 0;
}
