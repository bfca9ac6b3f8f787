/* pool -- see pool.h.
 *
 * I1: `epoch` holds how many take part in its low bits and counts pool_run calls above them. A worker looks at it, and
 *     when its rank takes part it runs fn once; pool_run cannot publish the next one before that. Who does not take
 *     part may miss epochs.
 * I2: a barrier's last arriver resets `arrived` and `next` before it publishes the new phase; the
 *     others read nothing of them until they have seen that phase.
 * I3: who sleeps on a word has counted itself in its `sleepers` before it looked at the word for the last time; who
 *     changes a word looks at `sleepers` afterwards. Both are seq_cst, so one of them sees the other.
 *
 * Waiting. A barrier is a microsecond away when every thread has a processor, and milliseconds when the one waited for
 * has lost its own: then spinning burns the time slice that the other needs, and sched_yield gives it to a stranger
 * for a whole slice. So a thread spins only for as long as that lately paid, then sleeps on a futex: a sleeper that is
 * woken comes back at once, before those that were busy all the while.
 *
 * Each member measures what it did in a run: its processor time without the time it spun (pauses are counted, and what
 * one takes is measured once), and whether it was put off its processor. Of that crew.c makes the next run's size. */
#include "base/pool.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/crew.h"
#include "base/mem.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    SPINS_MIN = 48, /* pauses, some 50 ns each */
    SPINS_MAX = 4096,
    WORTH_SPINNING_NS = 200 * 1000, /* a sleep that was shorter would better have been spent spinning; a longer one
                                       may mean that somebody's processor was taken away */
};

enum { SIZE_BITS = 10, SIZE_MASK = (1 << SIZE_BITS) - 1 }; /* of an epoch */
_Static_assert((int)POOL_THREADS_MAX <= (int)SIZE_MASK, "a team's size fits");

struct worker {
    struct pool *pool;
    int rank;
    pthread_t thread;
};

/* What a rank has learnt about waiting, and did in this run; its own thread's alone but for the last two. */
struct member {
    _Alignas(64) int spins;
    long losses;       /* times this thread lost its processor to another of this system */
    int64_t pauses;    /* in this run */
    int64_t cpu_ns;    /* of the thread when the run began */
    bool lost;         /* its processor, in this run */
    bool robbed;       /* these two are set before the run's last barrier, and read by rank 0 after it */
    int64_t useful_ns;
};

/* A word that threads wait for. */
struct word {
    _Alignas(64) atomic_uint value; /* seq_cst by who changes it, acquire by who waits */
    atomic_int sleepers;
};

struct pool {
    int threads, limit;
    struct worker *workers; /* [threads - 1], ranks 1.. */
    struct member *members; /* [threads] */
    struct crew crew;       /* rank 0's */
    int pause_ps;           /* what a pause takes */
    pool_fn fn;             /* published by epoch */
    void *arg;
    struct word epoch;      /* changed by pool_run */
    struct word phase;      /* by the last arriver */
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int next;    /* relaxed: the barrier orders it */
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

static void word_sleep(struct word *w, unsigned old)
{
    atomic_fetch_add(&w->sleepers, 1);
    while (atomic_load(&w->value) == old)
        syscall(SYS_futex, &w->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&w->sleepers, 1);
}

/* Gives the word its next value and wakes whoever sleeps on it. */
static void word_set(struct word *w, unsigned value)
{
    atomic_store(&w->value, value);
    if (atomic_load(&w->sleepers) > 0)
        syscall(SYS_futex, &w->value, FUTEX_WAKE_PRIVATE, POOL_THREADS_MAX, NULL, NULL, 0);
}

/* Has this thread lost its processor since it last asked? A hypervisor that takes one away does not count: nobody here
 * would gain by our sleeping, and waking takes its help again. */
static bool was_robbed(struct member *m)
{
    struct rusage u;
    if (getrusage(RUSAGE_THREAD, &u))
        return true;
    bool more = u.ru_nivcsw != m->losses;
    m->losses = u.ru_nivcsw;
    return more;
}

/* Returns when the word is no longer `old`. */
static void word_wait(struct word *w, unsigned old, struct member *m)
{
    for (int i = 0; i < m->spins; i++) {
        if (atomic_load_explicit(&w->value, memory_order_acquire) != old) {
            m->pauses += i;
            if (m->spins < SPINS_MAX)
                m->spins++;
            return;
        }
        cpu_pause();
    }
    m->pauses += m->spins;
    int64_t start = clock_mono_ns();
    word_sleep(w, old);
    int more = m->spins + m->spins / 4;
    if (clock_mono_ns() - start < WORTH_SPINNING_NS) {
        m->spins = more < SPINS_MAX ? more : SPINS_MAX;
    } else if (was_robbed(m)) {
        m->spins = SPINS_MIN;
        m->lost = true;
    }
}

void team_barrier(struct team *t)
{
    struct pool *p = t->pool;
    unsigned old = atomic_load_explicit(&p->phase.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) == t->count - 1) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&p->next, 0, memory_order_relaxed);
        word_set(&p->phase, old + 1);
    } else {
        word_wait(&p->phase, old, &p->members[t->rank]);
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

/* ---- a run */

static int64_t thread_ns(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) ? 0 : t.tv_sec * 1000000000 + t.tv_nsec;
}

static void take_part(struct team *t)
{
    struct pool *p = t->pool;
    struct member *m = &p->members[t->rank];
    if (p->threads > 1) {
        was_robbed(m);
        m->lost = false;
        m->pauses = 0;
        m->cpu_ns = thread_ns();
    }
    p->fn(t, p->arg);
    if (p->threads > 1) {
        m->useful_ns = thread_ns() - m->cpu_ns - m->pauses * p->pause_ps / 1000;
        m->robbed = was_robbed(m) || m->lost;
    }
    team_barrier(t);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    struct member *m = &p->members[w->rank];
    for (unsigned seen = 0;;) {
        word_wait(&p->epoch, seen, m);
        if (atomic_load(&p->stop))
            break;
        seen = atomic_load_explicit(&p->epoch.value, memory_order_acquire);
        struct team t = { .pool = p, .rank = w->rank, .count = (int)(seen & SIZE_MASK) };
        if (t.rank < t.count)
            take_part(&t);
        else
            m->spins = SPINS_MIN; /* the next run may be long in coming */
    }
    return NULL;
}

static int measure_pause(void)
{
    enum { PAUSES = 200, TRIES = 5 };
    int64_t best = INT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        int64_t start = clock_mono_ns();
        for (int k = 0; k < PAUSES; k++)
            cpu_pause();
        int64_t took = clock_mono_ns() - start;
        best = took < best ? took : best;
    }
    return (int)(best * 1000 / PAUSES);
}

struct pool *pool_new(int threads)
{
    ASSERT(threads >= 1 && threads <= POOL_THREADS_MAX);
    struct pool *p = mem_aligned(sizeof *p);
    p->threads = threads;
    crew_init(&p->crew, threads);
    p->pause_ps = measure_pause();
    p->members = mem_aligned((size_t)threads * sizeof *p->members);
    for (int i = 0; i < threads; i++)
        p->members[i].spins = SPINS_MAX;
    p->workers = mem_new((size_t)threads, sizeof *p->workers);
    for (int i = 1; i < threads; i++) {
        p->workers[i - 1] = (struct worker){ .pool = p, .rank = i };
        int rc = pthread_create(&p->workers[i - 1].thread, NULL, worker_main, &p->workers[i - 1]);
        ASSERT(rc == 0);
    }
    return p;
}

/* One more call, of so many members. */
static void publish(struct pool *p, int size)
{
    unsigned calls = (atomic_load_explicit(&p->epoch.value, memory_order_relaxed) >> SIZE_BITS) + 1;
    word_set(&p->epoch, calls << SIZE_BITS | (unsigned)size);
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    publish(p, 0);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->workers[i - 1].thread, NULL);
    mem_free(p->workers);
    mem_aligned_free(p->members, (size_t)p->threads * sizeof *p->members);
    mem_aligned_free(p, sizeof *p);
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_limit(struct pool *p, int count)
{
    ASSERT(count >= 0 && count <= p->threads);
    p->limit = count;
}

void pool_run(struct pool *p, pool_fn fn, void *arg)
{
    struct crew_run r = { .wall_ns = -clock_mono_ns() };
    struct team t = { .pool = p, .rank = 0, .count = p->limit ? p->limit : crew_size(&p->crew, -r.wall_ns) };
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    publish(p, t.count);
    take_part(&t);
    if (p->limit || p->threads == 1)
        return;
    r.now_ns = clock_mono_ns();
    r.wall_ns += r.now_ns;
    for (int i = 0; i < t.count; i++) {
        r.useful_ns += p->members[i].useful_ns;
        r.robbed += p->members[i].robbed;
    }
    crew_note(&p->crew, &r);
}

int pool_default_threads(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > POOL_THREADS_MAX ? POOL_THREADS_MAX : n;
}
