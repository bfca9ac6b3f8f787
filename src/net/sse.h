/* sse -- an event stream taken apart, as the HTML standard (9.2.6) says: for clients of ours and of other servers. */
#ifndef NET_SSE_H
#define NET_SSE_H
#include "base/buf.h"
#include "base/err.h"

struct sse_event {
    const char *type; /* "message" unless the event names one */
    const char *data; /* its data lines joined by LF; NUL-terminated */
    size_t data_len;
};

struct sse {
    struct buf line, data, type; /* set line.max and data.max to bound them */
    bool after_cr;               /* an LF now belongs to the CR before it */
    bool begun;                  /* past the first line, which may begin with a byte order mark */
};

/* Feeds bytes as they came; calls on_event for each whole event. false from on_event stops: ERR_BUSY. Longer than
 * the buffers' max: ERR_LIMIT. Zero-initialise s. */
typedef bool (*sse_fn)(void *arg, const struct sse_event *event);
enum err_code sse_feed(struct sse *s, const char *data, size_t n, sse_fn on_event, void *arg, struct err *e);
void sse_release(struct sse *s);
#endif
