/* bench_probe -- see bench_probe.h. */
#include "cmd/bench_probe.h"

#include "base/clock.h"
#include "base/mem.h"

enum { READ_ROUNDS = 3, SPIN_STEPS = 30000000 };
#define READ_BYTES ((size_t)512 << 20)

struct work {
    const uint64_t *data; /* NULL: spin */
    size_t words;
    int active;           /* ranks that take part */
    uint64_t sums[POOL_THREADS_MAX];
};

static void run(struct team *t, void *arg)
{
    struct work *w = arg;
    uint64_t a = 1, b = 2, c = 3, d = 4;
    if (t->rank >= w->active)
        return;
    if (w->data) {
        size_t first = w->words / (size_t)t->count * (size_t)t->rank, n = w->words / (size_t)t->count & ~(size_t)31;
        const uint64_t *p = w->data + first;
        for (size_t i = 0; i < n; i += 32)
            for (size_t k = 0; k < 32; k += 4)
                a += p[i + k], b += p[i + k + 1], c += p[i + k + 2], d += p[i + k + 3];
    } else {
        for (int i = 0; i < SPIN_STEPS; i++)
            a = a * 6364136223846793005u + 1, b ^= a >> 7, c += b * 3, d ^= c << 1;
    }
    w->sums[t->rank] = a + b + c + d; /* so that the loops are not removed */
}

static double seconds_of(struct pool *pool, struct work *w)
{
    int64_t start = clock_mono_ns();
    pool_run(pool, run, w);
    return (double)(clock_mono_ns() - start) / 1e9;
}

void probe_run(struct pool *pool, struct probe *out)
{
    struct work w = { .words = READ_BYTES / 8, .active = pool_threads(pool) };
    uint64_t *data = mem_aligned(READ_BYTES);
    for (size_t i = 0; i < w.words; i += 8)
        data[i] = i;
    w.data = data;
    double best = 0;
    for (int i = 0; i < READ_ROUNDS; i++) {
        double rate = (double)READ_BYTES / seconds_of(pool, &w) / 1e9;
        best = rate > best ? rate : best;
    }
    mem_aligned_free(data, READ_BYTES);
    w.data = NULL;
    double all = seconds_of(pool, &w);
    w.active = 1;
    double one = seconds_of(pool, &w);
    *out = (struct probe){ .read_gb_per_s = best, .threads = pool_threads(pool),
                           .thread_scaling = one * pool_threads(pool) / all };
}

void probe_print(const struct probe *p, const char *when, FILE *out)
{
    fprintf(out, "probe %-6s  memory read %.1f GB/s, %d threads do the work of %.2f\n", when, p->read_gb_per_s,
            p->threads, p->thread_scaling);
}

static json_t *one(const struct probe *p)
{
    return json_pack("{s:f, s:f, s:i}", "read_gb_per_s", p->read_gb_per_s, "thread_scaling", p->thread_scaling,
                     "threads", p->threads);
}

json_t *probe_json(const struct probe *before, const struct probe *after)
{
    return json_pack("{s:o, s:o}", "before", one(before), "after", one(after));
}
