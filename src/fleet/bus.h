/* bus -- messages between machines: subjects, publishers, subscribers, one connection. The door to NATS.
 *
 * Everything is called on the loop's thread, and every callback runs there. A message is delivered at most once and, of
 * one publisher on one subject, in order; while the connection is away what is published is refused, and subscriptions
 * come back by themselves when it does.
 *
 * Liveness is judged by heartbeats (roster.h), never by the bus. Pings go out each second; two unanswered ones end the
 * connection, so that a half-open link heals within seconds. */
#ifndef FLEET_BUS_H
#define FLEET_BUS_H
#include "base/err.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    BUS_MESSAGE_MAX = 768 << 10,  /* of NATS' 1 MB; frames on the bus carry FLEET_PART_MAX at most */
    BUS_PENDING_MAX = 64 << 20,   /* bytes that wait to be sent: past it publishing is refused */
};

struct bus;
struct bus_sub;

struct bus_options {
    const char *url;              /* nats://HOST:PORT or tls://HOST:PORT, more after commas */
    const char *name;             /* of this connection, as the server's monitoring shows it */
    const char *creds;            /* a file of NATS credentials (JWT and seed); or NULL */
    const char *user, *password;  /* or NULL */
    const char *ca, *cert, *key;  /* PEM files for mutual TLS; or NULL */
    /* Of connections that ask JetStream (lease.h, rows.h), nobody else: */
    const char *domain;           /* of the server that keeps limits and rows; NULL: the one connected to */
    const char *inbox;            /* where answers are heard: a subject that permissions can name; NULL: _INBOX */
};

struct bus_message {              /* borrowed for the call */
    const char *subject;
    const char *reply;            /* "" when none */
    const char *data;
    size_t n;
};

struct bus_events {
    void (*up)(void *arg);                       /* connected, or again */
    void (*down)(void *arg, const char *why);    /* the connection is away; the client tries again by itself */
    void (*refused)(void *arg, const char *why); /* the server forbids what was asked, or messages are dropped */
};
typedef void (*bus_message_fn)(void *arg, const struct bus_message *m);

/* Returns at once; up() follows when the server is reached and has all subscriptions, however late; down() when the
 * first attempt fails. What is not wanted in events may be NULL. NULL and *e: bad options only. */
struct bus *bus_open(struct loop *l, const struct bus_options *o, const struct bus_events *events, void *arg,
                     struct err *e);
void bus_close(struct bus *b);    /* flushes for a second at most; no callback runs after it; not from inside one */
bool bus_is_up(const struct bus *b);

/* subject may have NATS' wildcards. queue NULL: every subscriber gets each message; else one of the group. */
struct bus_sub *bus_subscribe(struct bus *b, const char *subject, const char *queue, bus_message_fn fn, void *arg,
                              struct err *e);
void bus_unsubscribe(struct bus_sub *s);

/* false: the connection is away, n > BUS_MESSAGE_MAX, or BUS_PENDING_MAX bytes wait to be sent. reply NULL: none. */
bool bus_publish(struct bus *b, const char *subject, const char *reply, const void *data, size_t n);
#endif
