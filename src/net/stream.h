/* stream -- a socket of our own (a socketpair to an engine, a server that we called) on the loop: bytes in by callback,
 * bytes out buffered.
 *
 * Belongs to the loop's thread. Callbacks may free the stream. */
#ifndef NET_STREAM_H
#define NET_STREAM_H
#include "net/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct stream;
struct stream_events {
    /* All bytes not yet consumed; returns how many it takes now, or -1: the stream was freed inside the call. */
    long (*data)(void *arg, const char *data, size_t n);
    void (*closed)(void *arg, const char *why); /* the other side closed or failed; free the stream in here or later */
};

/* Owns fd and makes it non-blocking. in_max: unconsumed input beyond it closes the stream. */
struct stream *stream_new(struct loop *l, int fd, size_t in_max, const struct stream_events *events, void *arg);
void stream_free(struct stream *s);
void stream_write(struct stream *s, const void *data, size_t n); /* copied; sent as the socket takes it */
/* The same, with a descriptor riding on the first byte; it stays the caller's. false: too many wait already. */
bool stream_write_fd(struct stream *s, const void *data, size_t n, int fd);
/* From here on TLS, as its client; t is borrowed while the stream lives. What is written meanwhile waits. Bytes of the
 * time before that `data` did not take close the stream. false: no memory. No descriptors go this way. */
struct tls_client;
bool stream_secure(struct stream *s, struct tls_client *t, const char *host);
/* Sends what waits and half-closes, then waits for the other side's end: it has read all. Blocks for ms at most; only
 * stream_free may follow. */
void stream_farewell(struct stream *s, int ms);
size_t stream_pending(const struct stream *s);                   /* bytes written and not yet sent */
#endif
