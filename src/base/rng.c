/* rng -- see rng.h. */
#include "base/rng.h"

#include "base/assert.h"

#include <errno.h>
#include <sys/random.h>

struct rng_block rng_at(uint64_t seed, uint64_t counter_lo, uint64_t counter_hi)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)counter_lo, c1 = (uint32_t)(counter_lo >> 32);
    uint32_t c2 = (uint32_t)counter_hi, c3 = (uint32_t)(counter_hi >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (struct rng_block){ { c0, c1, c2, c3 } };
}

static double unit(struct rng_block b)
{
    uint64_t bits = ((uint64_t)b.w[1] << 32 | b.w[0]) >> 11;
    return (double)bits * 0x1p-53;
}

double rng_unit(uint64_t seed, uint64_t position)
{
    return unit(rng_at(seed, position, 0));
}

uint64_t rng_next(struct rng *r)
{
    struct rng_block b = rng_at(r->seed, r->counter++, 1);
    return (uint64_t)b.w[1] << 32 | b.w[0];
}

double rng_next_unit(struct rng *r)
{
    return unit(rng_at(r->seed, r->counter++, 1));
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
    ASSERT(bound > 0);
    uint64_t threshold = -bound % bound; /* 2^64 mod bound: values below it would be drawn too often */
    for (;;) {
        uint64_t v = rng_next(r);
        if (v >= threshold)
            return v % bound;
    }
}

void rng_system(void *out, size_t n)
{
    char *p = out;
    while (n) {
        ssize_t got = getrandom(p, n, 0);
        ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
}
