/* nats_line -- one connection to NATS on a thread of its own: the client library is called there and nowhere else.
 *
 *   DIALLING --connected, subscribed, heard--> UP --closed, or a write failed--> hang up --a pause--> DIALLING
 *
 * Why not from the loop: nats.c holds its one lock while it connects, shakes hands and writes, so that with a server
 * that stands still the next publish waits for seconds; and with it every client of the front. A line takes what is to
 * be sent into a bounded list and hands what comes in to the loop through another; the descriptor rings.
 * The library's own reconnecting is not used: it ends for good after a second refusal, sends what is seconds old, and
 * goes to servers nobody named.
 *
 * Any thread may call these; the lists are guarded by the line's lock. */
#ifndef FLEET_NATS_LINE_H
#define FLEET_NATS_LINE_H
#include "fleet/bus.h"

#include <stdint.h>

enum line_kind { LINE_MESSAGE, LINE_UP, LINE_DOWN, LINE_REFUSED };

struct line_event {
    enum line_kind kind;
    uint64_t sub;                 /* MESSAGE: which subscription */
    struct bus_message m;         /* MESSAGE: borrowed from msg */
    void *msg;                    /* the library's */
    struct line_event *next;
    char text[];                  /* DOWN, REFUSED: a sentence */
};

struct nats_line;

/* wake_fd: an eventfd, borrowed until nats_line_close has returned. NULL and *e: bad options. */
struct nats_line *nats_line_open(const struct bus_options *o, int wake_fd, struct err *e);
/* Sends what waits for a second at most; a thread that stands in the library longer is left to end by itself. */
void nats_line_close(struct nats_line *l);

void nats_line_subscribe(struct nats_line *l, uint64_t id, const char *subject, const char *queue);
void nats_line_unsubscribe(struct nats_line *l, uint64_t id);
/* false: BUS_PENDING_MAX bytes wait already. */
bool nats_line_publish(struct nats_line *l, const char *subject, const char *reply, const void *data, size_t n);

/* All that came in, oldest first; each is given back. */
struct line_event *nats_line_take(struct nats_line *l);
void nats_line_give_back(struct nats_line *l, struct line_event *ev);
#endif
