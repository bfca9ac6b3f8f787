/* hist -- times in logarithmic bins: percentiles to within half a percent, in constant memory.
 *
 * 64 bins an octave from 1 ns up to 2^46 ns (19 hours); inside a bin values count as spread evenly. */
#ifndef PLAN_HIST_H
#define PLAN_HIST_H
#include <stdint.h>

enum { HIST_OCTAVES = 46, HIST_SUB = 64, HIST_BINS = HIST_OCTAVES * HIST_SUB };

struct hist {
    double count, sum; /* of weights; of weight x ns */
    double bin[HIST_BINS];
};

void hist_add(struct hist *h, int64_t ns, double weight);
void hist_merge(struct hist *into, const struct hist *from);
double hist_percentile(const struct hist *h, double p); /* ns; p in 0..100; 0 when empty */
double hist_mean(const struct hist *h);
#endif
