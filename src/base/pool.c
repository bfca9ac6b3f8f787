/* pool -- see pool.h.
 *
 * I1: `epoch` counts pool_run calls; a worker runs fn once for each epoch it sees.
 * I2: a barrier's last arriver resets `arrived` and `next` before it publishes the new phase; the
 *     others read nothing of them until they have seen that phase.
 * I3: who sleeps on a word has counted itself in `sleepers` before it looked at the word for the last time; who changes
 *     a word looks at `sleepers` afterwards. Both are seq_cst, so one of them sees the other.
 *
 * Waiting. A barrier is a microsecond away when every thread has a processor, and milliseconds when the one waited for
 * has lost its own: then spinning burns the time slice that the other needs, and sched_yield gives it to a stranger
 * for a whole slice. So a thread spins only for as long as that lately paid, then sleeps on a futex: a sleeper that is
 * woken comes back at once, before those that were busy all the while. */
#include "base/pool.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SPINS_MIN = 48, /* pauses, some 50 ns each */
    SPINS_MAX = 4096,
    WORTH_SPINNING_NS = 200 * 1000, /* a sleep that was shorter would better have been spent spinning; a longer one
                                       may mean that somebody's processor was taken away */
};

struct worker {
    struct pool *pool;
    int rank;
    pthread_t thread;
};

/* What a rank has learnt about waiting; its own thread's alone. */
struct patience {
    _Alignas(64) int spins;
    long robbed; /* times this thread lost its processor to another of this system */
};

struct pool {
    int threads;
    struct worker *workers; /* [threads - 1], ranks 1.. */
    struct patience *patience; /* [threads] */
    pool_fn fn;             /* published by epoch */
    void *arg;
    _Alignas(64) atomic_uint epoch;  /* seq_cst by pool_run, acquire by workers */
    _Alignas(64) atomic_uint phase;  /* seq_cst by the last arriver, acquire by the others */
    atomic_int arrived;
    _Alignas(64) atomic_int next;    /* relaxed: the barrier orders it */
    _Alignas(64) atomic_int sleepers; /* of both words */
    atomic_bool stop;
};

static inline void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void word_sleep(struct pool *p, atomic_uint *word, unsigned old)
{
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(word) == old)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&p->sleepers, 1);
}

/* Adds one to the word and wakes whoever sleeps on it. */
static void word_step(struct pool *p, atomic_uint *word)
{
    atomic_fetch_add(word, 1);
    if (atomic_load(&p->sleepers) > 0)
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, POOL_THREADS_MAX, NULL, NULL, 0);
}

/* Has this thread lost its processor since it last asked? A hypervisor that takes one away does not count: nobody here
 * would gain by our sleeping, and waking takes its help again. */
static bool was_robbed(struct patience *patience)
{
    struct rusage u;
    if (getrusage(RUSAGE_THREAD, &u))
        return true;
    bool more = u.ru_nivcsw != patience->robbed;
    patience->robbed = u.ru_nivcsw;
    return more;
}

/* Returns when the word is no longer `old`. */
static void word_wait(struct pool *p, atomic_uint *word, unsigned old, struct patience *patience)
{
    for (int i = 0; i < patience->spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old) {
            if (patience->spins < SPINS_MAX)
                patience->spins++;
            return;
        }
        cpu_pause();
    }
    int64_t start = clock_mono_ns();
    word_sleep(p, word, old);
    int more = patience->spins + patience->spins / 4;
    if (clock_mono_ns() - start < WORTH_SPINNING_NS)
        patience->spins = more < SPINS_MAX ? more : SPINS_MAX;
    else if (was_robbed(patience))
        patience->spins = SPINS_MIN;
}

void team_barrier(struct team *t)
{
    struct pool *p = t->pool;
    unsigned old = atomic_load_explicit(&p->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) == p->threads - 1) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&p->next, 0, memory_order_relaxed);
        word_step(p, &p->phase);
    } else {
        word_wait(p, &p->phase, old, &p->patience[t->rank]);
    }
}

int team_next(struct team *t, int n)
{
    int i = atomic_fetch_add_explicit(&t->pool->next, 1, memory_order_relaxed);
    return i < n ? i : -1;
}

void team_slice(const struct team *t, int n, int *first, int *end)
{
    *first = (int)((long)n * t->rank / t->count);
    *end = (int)((long)n * (t->rank + 1) / t->count);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    struct team t = { .pool = p, .rank = w->rank, .count = p->threads };
    for (unsigned seen = 0;; seen++) {
        word_wait(p, &p->epoch, seen, &p->patience[t.rank]);
        if (atomic_load(&p->stop))
            break;
        p->fn(&t, p->arg);
        team_barrier(&t);
    }
    return NULL;
}

struct pool *pool_new(int threads)
{
    ASSERT(threads >= 1 && threads <= POOL_THREADS_MAX);
    struct pool *p = mem_aligned(sizeof *p);
    p->threads = threads;
    p->patience = mem_aligned((size_t)threads * sizeof *p->patience);
    for (int i = 0; i < threads; i++)
        p->patience[i].spins = SPINS_MAX;
    p->workers = mem_new((size_t)threads, sizeof *p->workers);
    for (int i = 1; i < threads; i++) {
        p->workers[i - 1] = (struct worker){ .pool = p, .rank = i };
        int rc = pthread_create(&p->workers[i - 1].thread, NULL, worker_main, &p->workers[i - 1]);
        ASSERT(rc == 0);
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    word_step(p, &p->epoch);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->workers[i - 1].thread, NULL);
    mem_free(p->workers);
    mem_aligned_free(p->patience, (size_t)p->threads * sizeof *p->patience);
    mem_aligned_free(p, sizeof *p);
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_run(struct pool *p, pool_fn fn, void *arg)
{
    struct team t = { .pool = p, .rank = 0, .count = p->threads };
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    word_step(p, &p->epoch);
    fn(&t, arg);
    team_barrier(&t);
}

int pool_default_threads(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > POOL_THREADS_MAX ? POOL_THREADS_MAX : n;
}
