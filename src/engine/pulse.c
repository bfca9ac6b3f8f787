/* pulse -- see pulse.h. */
#include "engine/pulse.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <time.h>

enum { PULSE_MS = 50 };

struct pulse {
    struct link *link;
    const struct sched *sched;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool end;                     /* under the lock */
};

static void tell(const struct pulse *p)
{
    double expected_ms;
    int64_t since_ns = sched_step_since(p->sched, &expected_ms);
    int64_t step_ns = since_ns ? clock_mono_ns() - since_ns : 0;
    struct buf b = { 0 };
    buf_printf(&b, "{\"pulse\":{\"step_ms\":%lld,\"expected_ms\":%lld}}", (long long)(step_ns / 1000000),
               (long long)(expected_ms < 1e6 ? expected_ms : 1e6));
    engine_link_send(p->link, &(struct frame){ .kind = FRAME_STATS, .payload = buf_str(&b), .length = b.len });
    buf_release(&b);
}

static void *pulse_main(void *arg)
{
    struct pulse *p = arg;
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    pthread_mutex_lock(&p->lock);
    while (!p->end) {
        due.tv_nsec += PULSE_MS * 1000000L;
        due.tv_sec += due.tv_nsec / 1000000000L;
        due.tv_nsec %= 1000000000L;
        while (!p->end && !pthread_cond_timedwait(&p->ended, &p->lock, &due))
            ;
        pthread_mutex_unlock(&p->lock);
        tell(p);
        clock_gettime(CLOCK_MONOTONIC, &due);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct pulse *engine_pulse_start(struct link *l, const struct sched *s)
{
    struct pulse *p = MEM_NEW(struct pulse);
    pthread_condattr_t attr;
    *p = (struct pulse){ .link = l, .sched = s };
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->ended, &attr);
    pthread_condattr_destroy(&attr);
    if (!pthread_create(&p->thread, NULL, pulse_main, p))
        return p;
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
    return NULL;
}

void engine_pulse_stop(struct pulse *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->end = true;
    pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}
