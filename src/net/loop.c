/* loop -- see loop.h. */
#include "net/loop.h"

#include "base/assert.h"
#include "base/mem.h"

#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct posted {
    loop_fn fn;
    void *arg;
    struct posted *next;
};

struct loop {
    struct event_base *base;
    struct event *signals[LOOP_SIGNALS_MAX];
    struct posted signal_calls[LOOP_SIGNALS_MAX];
    int signal_count;
    int wake_fd; /* eventfd: rings when first..last is not empty */
    struct event *wake;
    pthread_mutex_t lock; /* guards first, last */
    struct posted *first, *last;
};

struct loop_timer {
    struct event *event;
    loop_fn fn;
    void *arg;
};

static void run_posted(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    uint64_t rings;
    if (read(fd, &rings, sizeof rings) < 0)
        return; /* somebody else's ring was read already */
    pthread_mutex_lock(&l->lock);
    struct posted *p = l->first;
    l->first = l->last = NULL;
    pthread_mutex_unlock(&l->lock);
    while (p) {
        struct posted *next = p->next;
        p->fn(p->arg);
        mem_free(p);
        p = next;
    }
}

struct loop *loop_new(struct err *e)
{
    struct loop *l = MEM_NEW(struct loop);
    pthread_mutex_init(&l->lock, NULL);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->base = event_base_new();
    if (!l->base || l->wake_fd < 0) {
        err_errno(e, "cannot make an event loop");
        loop_free(l);
        return NULL;
    }
    l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, run_posted, l);
    event_add(l->wake, NULL);
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    for (int i = 0; i < l->signal_count; i++)
        event_free(l->signals[i]);
    if (l->wake)
        event_free(l->wake);
    for (struct posted *p = l->first, *next; p; p = next) {
        next = p->next;
        mem_free(p);
    }
    if (l->base)
        event_base_free(l->base);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

void loop_run(struct loop *l)
{
    event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void loop_stop(struct loop *l)
{
    event_base_loopbreak(l->base);
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
    struct loop_timer *t = arg;
    t->fn(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg)
{
    struct loop_timer *t = MEM_NEW(struct loop_timer);
    t->fn = fn;
    t->arg = arg;
    t->event = evtimer_new(l->base, timer_fired, t);
    ASSERT(t->event);
    return t;
}

void loop_timer_set(struct loop_timer *t, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
    evtimer_add(t->event, &tv);
}

/* Behind what is active already, in the same turn: no system call is made for it. */
void loop_timer_soon(struct loop_timer *t)
{
    event_active(t->event, EV_TIMEOUT, 0);
}

void loop_timer_clear(struct loop_timer *t)
{
    evtimer_del(t->event);
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t)
        return;
    event_free(t->event);
    mem_free(t);
}

struct loop_watch {
    struct event *event;
    loop_fn fn;
    void *arg;
};

static void watch_fired(evutil_socket_t fd, short what, void *arg)
{
    struct loop_watch *w = arg;
    w->fn(w->arg);
}

struct loop_watch *loop_watch_new(struct loop *l, int fd, loop_fn fn, void *arg)
{
    struct loop_watch *w = MEM_NEW(struct loop_watch);
    w->fn = fn;
    w->arg = arg;
    w->event = event_new(l->base, fd, EV_READ | EV_PERSIST, watch_fired, w);
    ASSERT(w->event);
    event_add(w->event, NULL);
    return w;
}

void loop_watch_free(struct loop_watch *w)
{
    if (!w)
        return;
    event_free(w->event);
    mem_free(w);
}

static void signal_fired(evutil_socket_t fd, short what, void *arg)
{
    struct posted *call = arg;
    call->fn(call->arg);
}

void loop_on_signal(struct loop *l, int signo, loop_fn fn, void *arg)
{
    ASSERT(l->signal_count < LOOP_SIGNALS_MAX);
    struct posted *call = &l->signal_calls[l->signal_count];
    *call = (struct posted){ .fn = fn, .arg = arg };
    struct event *ev = evsignal_new(l->base, signo, signal_fired, call);
    ASSERT(ev);
    l->signals[l->signal_count++] = ev;
    evsignal_add(ev, NULL);
}

void loop_post(struct loop *l, loop_fn fn, void *arg)
{
    struct posted *p = MEM_NEW(struct posted);
    p->fn = fn;
    p->arg = arg;
    pthread_mutex_lock(&l->lock);
    if (l->last)
        l->last->next = p;
    else
        l->first = p;
    l->last = p;
    pthread_mutex_unlock(&l->lock);
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof one); /* EAGAIN: it rings already */
    (void)n;
}
