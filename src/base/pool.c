/* pool -- see pool.h.
 *
 * I1: `epoch` counts pool_run calls; a worker runs fn once for each epoch it sees.
 * I2: a barrier's last arriver resets `arrived` and `next` before it publishes the new phase; the
 *     others read nothing of them until they have seen that phase. */
#include "base/pool.h"

#include "base/assert.h"
#include "base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { SPIN_PAUSES = 4000, SPIN_YIELDS = 50 };

struct worker {
    struct pool *pool;
    int rank;
    pthread_t thread;
};

struct pool {
    int threads;
    struct worker *workers; /* [threads - 1], ranks 1.. */
    pool_fn fn;             /* published by epoch */
    void *arg;
    _Alignas(64) atomic_uint epoch;  /* release by pool_run, acquire by workers */
    _Alignas(64) atomic_uint phase;  /* release by the last arriver, acquire by the others */
    atomic_int arrived;
    _Alignas(64) atomic_int next;    /* relaxed: the barrier orders it */
    atomic_int sleepers;             /* workers in cond wait; guarded by lock for wake-ups */
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

static inline void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void wait_phase(struct pool *p, unsigned old)
{
    for (int spins = 0; atomic_load_explicit(&p->phase, memory_order_acquire) == old; spins++) {
        if (spins < SPIN_PAUSES)
            cpu_pause();
        else
            sched_yield();
    }
}

void team_barrier(struct team *t)
{
    struct pool *p = t->pool;
    unsigned old = atomic_load_explicit(&p->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) == p->threads - 1) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&p->next, 0, memory_order_relaxed);
        atomic_store_explicit(&p->phase, old + 1, memory_order_release);
    } else {
        wait_phase(p, old);
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

/* Returns when a new epoch or stop shows: spins, yields, then sleeps on the condition. */
static bool wait_epoch(struct pool *p, unsigned seen)
{
    for (int i = 0; i < SPIN_PAUSES + SPIN_YIELDS; i++) {
        if (atomic_load_explicit(&p->epoch, memory_order_acquire) != seen)
            return !atomic_load(&p->stop);
        if (i < SPIN_PAUSES)
            cpu_pause();
        else
            sched_yield();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load_explicit(&p->epoch, memory_order_seq_cst) == seen)
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
    return !atomic_load(&p->stop);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    struct team t = { .pool = p, .rank = w->rank, .count = p->threads };
    for (unsigned seen = 0; wait_epoch(p, seen);) {
        seen++;
        p->fn(&t, p->arg);
        team_barrier(&t);
    }
    return NULL;
}

static void publish_epoch(struct pool *p)
{
    atomic_fetch_add_explicit(&p->epoch, 1, memory_order_seq_cst);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

struct pool *pool_new(int threads)
{
    ASSERT(threads >= 1 && threads <= POOL_THREADS_MAX);
    struct pool *p = mem_aligned(sizeof *p);
    p->threads = threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
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
    publish_epoch(p);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->workers[i - 1].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    mem_free(p->workers);
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
    publish_epoch(p);
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
