/* loop -- the event loop: timers, signals, calls from other threads. The door to libevent, with stream and http_server.
 *
 * One thread runs a loop and owns everything made from it; loop_post alone may be called from any thread. */
#ifndef NET_LOOP_H
#define NET_LOOP_H
#include "base/err.h"

#include <stdint.h>

struct event_base; /* libevent's; named here so that net/ files can share it */
struct loop;
struct loop_timer;
typedef void (*loop_fn)(void *arg);

struct loop *loop_new(struct err *e);
void loop_free(struct loop *l);
void loop_run(struct loop *l);  /* until loop_stop */
void loop_stop(struct loop *l);
struct event_base *loop_base(struct loop *l);

struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg);
void loop_timer_set(struct loop_timer *t, int64_t ms); /* fires once, ms from now; again moves it */
void loop_timer_soon(struct loop_timer *t);            /* instead: fires before the loop waits again */
void loop_timer_clear(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);

/* fn(arg) whenever fd has something to read. The descriptor stays the caller's. */
struct loop_watch;
struct loop_watch *loop_watch_new(struct loop *l, int fd, loop_fn fn, void *arg);
void loop_watch_free(struct loop_watch *w);

enum { LOOP_SIGNALS_MAX = 8 };
void loop_on_signal(struct loop *l, int signo, loop_fn fn, void *arg);

/* Any thread: fn(arg) runs soon on the loop's thread, in the order posted. */
void loop_post(struct loop *l, loop_fn fn, void *arg);
#endif
