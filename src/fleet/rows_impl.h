/* rows_impl -- what both ends of rows share: a connection and a thread. For rows.c, rows_out.c and rows_in.c. */
#ifndef FLEET_ROWS_IMPL_H
#define FLEET_ROWS_IMPL_H
#include "fleet/nats_options.h"
#include "fleet/rows.h"

#include <pthread.h>

#define ROWS_STREAM "TW_ROWS"
#define ROWS_DURABLE "home"
enum { ROWS_WAIT_MS = 3000, ROWS_REDIAL_MS = 1000, ROWS_LOOK_MS = 1000 };

struct rows_end {
    const char *role;             /* for sentences */
    natsOptions *options;
    natsConnection *nc;           /* the thread's, as all below it but the stats */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool closing, woken, told;
    struct rows_stats stats;
};

/* NULL options: *e says why. */
bool rows_end_open(struct rows_end *r, const char *role, const struct bus_options *bus, void *(*run)(void *), void *arg,
                   struct err *e);
void rows_end_close(struct rows_end *r); /* joins the thread */
bool rows_end_closing(struct rows_end *r);
void rows_end_sleep(struct rows_end *r, int64_t ms); /* or until woken or closing */
void rows_end_wake(struct rows_end *r);
struct rows_stats rows_end_stats(struct rows_end *r);
void rows_end_count(struct rows_end *r, int64_t done, int64_t again, int64_t failed);
/* Whether the stream answers; why: said once per change. */
void rows_end_reached(struct rows_end *r, bool reached, natsStatus s);
bool rows_end_dial(struct rows_end *r);
void rows_end_hang_up(struct rows_end *r);
#endif
