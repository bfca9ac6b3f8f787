/* pool -- a team of threads that run one function together (SPMD), with barriers inside it.
 *
 * A forward pass is a hundred small operators; forking and joining for each would cost more than the
 * work. So pool_run starts every thread once per step, and the step function calls team_barrier
 * between operators. Waiting threads spin for as long as that lately paid, then sleep. While other programs take the
 * processors away, fewer threads take part (crew.h): team.count says how many do in this run.
 *
 * Threads: pool_run is called by one thread at a time, which takes part as rank 0. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

struct pool;
struct team {
    struct pool *pool;
    int rank, count; /* 0 <= rank < count */
};
typedef void (*pool_fn)(struct team *t, void *arg);

enum { POOL_THREADS_MAX = 512 };

struct pool *pool_new(int threads); /* threads >= 1, the caller's own counted */
void pool_free(struct pool *p);
int pool_threads(const struct pool *p); /* all of them: no rank is ever as large */
void pool_limit(struct pool *p, int count); /* so many take part from the next run on; 0, the default: as many as pay */
void pool_run(struct pool *p, pool_fn fn, void *arg); /* returns when every rank has returned */

/* All ranks meet; writes before it are visible after it. Also rewinds team_next. */
void team_barrier(struct team *t);
/* Work sharing between two barriers: each call returns a chunk index nobody else gets, or -1 when all
 * n are taken. All ranks must use the same n until the next barrier. */
int team_next(struct team *t, int n);
/* The contiguous share of n items that belongs to this rank: [*first, *end). */
void team_slice(const struct team *t, int n, int *first, int *end);

int pool_default_threads(void); /* processors this process may run on */
#endif
