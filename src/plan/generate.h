/* generate -- a large seeded scenario, for timing the optimiser: the same seed gives the same text. */
#ifndef PLAN_GENERATE_H
#define PLAN_GENERATE_H
#include "base/buf.h"

#include <stdint.h>

struct generate_size {
    int hardware, suppliers, sites, regions, models, slos, quarters;
};
/* The size of PLAN.md's row: 6 x 8 x 12 x 6 x 3 x 2 x 8. */
extern const struct generate_size generate_full;
void generate_scenario(uint64_t seed, const struct generate_size *z, struct buf *out);
#endif
