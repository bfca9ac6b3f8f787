/* rng -- random numbers: a counter-based generator for everything that must replay, the system's for keys.
 *
 * rng_at(seed, counter) is Philox4x32-10 (Salmon et al., SC 2011): a pure function, so the draw at a
 * position does not depend on how many draws came before it. Matches the Random123 known answers. */
#ifndef BASE_RNG_H
#define BASE_RNG_H
#include <stddef.h>
#include <stdint.h>

struct rng_block {
    uint32_t w[4];
};

struct rng_block rng_at(uint64_t seed, uint64_t counter_lo, uint64_t counter_hi);
double rng_unit(uint64_t seed, uint64_t position); /* [0, 1), 53 bits */

/* A stream over the same generator, for tests and simulations. */
struct rng {
    uint64_t seed, counter;
};
uint64_t rng_next(struct rng *r);
double rng_next_unit(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t bound); /* unbiased in [0, bound) */

void rng_system(void *out, size_t n); /* getrandom(2); never short */
#endif
