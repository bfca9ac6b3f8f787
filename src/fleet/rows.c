/* rows -- see rows.h: what both ends share. */
#include "fleet/rows_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <time.h>

bool rows_end_open(struct rows_end *r, const char *role, const struct bus_options *bus, void *(*run)(void *), void *arg,
                   struct err *e)
{
    pthread_condattr_t mono;
    *r = (struct rows_end){ .role = role, .options = nats_options_new(bus, e) };
    if (!r->options)
        return false;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&r->work, &mono);
    pthread_condattr_destroy(&mono);
    if (!pthread_create(&r->thread, NULL, run, arg))
        return true;
    err_set(e, ERR_IO, "cannot start a thread for the rows of the ledger");
    natsOptions_Destroy(r->options);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    return false;
}

void rows_end_close(struct rows_end *r)
{
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    natsOptions_Destroy(r->options);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
}

bool rows_end_closing(struct rows_end *r)
{
    pthread_mutex_lock(&r->lock);
    bool closing = r->closing;
    pthread_mutex_unlock(&r->lock);
    return closing;
}

void rows_end_sleep(struct rows_end *r, int64_t ms)
{
    int64_t until = clock_mono_ns() + ms * 1000000;
    struct timespec t = { .tv_sec = until / 1000000000, .tv_nsec = until % 1000000000 };
    pthread_mutex_lock(&r->lock);
    while (!r->closing && !r->woken && clock_mono_ns() < until)
        pthread_cond_timedwait(&r->work, &r->lock, &t);
    r->woken = false;
    pthread_mutex_unlock(&r->lock);
}

void rows_end_wake(struct rows_end *r)
{
    pthread_mutex_lock(&r->lock);
    r->woken = true;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
}

struct rows_stats rows_end_stats(struct rows_end *r)
{
    pthread_mutex_lock(&r->lock);
    struct rows_stats s = r->stats;
    pthread_mutex_unlock(&r->lock);
    return s;
}

void rows_end_count(struct rows_end *r, int64_t done, int64_t again, int64_t failed)
{
    pthread_mutex_lock(&r->lock);
    r->stats.done += done;
    r->stats.again += again;
    r->stats.failed += failed;
    pthread_mutex_unlock(&r->lock);
}

void rows_end_reached(struct rows_end *r, bool reached, natsStatus s)
{
    pthread_mutex_lock(&r->lock);
    if (!reached && (r->stats.reached || !r->told))
        log_line(LOG_WARN, "fleet", "%s: the stream of the ledger's rows cannot be reached, they wait: %s", r->role,
                 natsStatus_GetText(s));
    if (reached && r->told && !r->stats.reached)
        log_line(LOG_INFO, "fleet", "%s: the stream of the ledger's rows is reached", r->role);
    r->stats.reached = reached;
    r->told = true;
    pthread_mutex_unlock(&r->lock);
}

bool rows_end_dial(struct rows_end *r)
{
    natsStatus s = r->nc ? NATS_OK : natsConnection_Connect(&r->nc, r->options);
    if (s)
        rows_end_reached(r, false, s);
    return !s;
}

void rows_end_hang_up(struct rows_end *r)
{
    natsConnection_Destroy(r->nc);
    r->nc = NULL;
}
