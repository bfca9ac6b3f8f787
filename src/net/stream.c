/* stream -- see stream.h. Input sits in one contiguous buf, so that a frame can be parsed in place. */
#include "net/stream.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024 };

struct stream {
    int fd;
    struct stream_events events;
    void *arg;
    struct buf in;
    struct evbuffer *out;
    struct event *readable, *writable;
};

static void read_some(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    char *p = buf_reserve(&s->in, READ_BYTES);
    if (!p) {
        s->events.closed(s->arg, "it sent more than may wait unread");
        return;
    }
    ssize_t n = recv(fd, p, READ_BYTES, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        event_del(s->readable);
        s->events.closed(s->arg, n ? strerror(errno) : "it closed the connection");
        return;
    }
    s->in.len += (size_t)n;
    s->in.data[s->in.len] = '\0';
    long taken = s->events.data(s->arg, s->in.data, s->in.len);
    if (taken >= 0)
        buf_drop_front(&s->in, (size_t)taken);
}

static void write_some(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    if (evbuffer_write(s->out, fd) < 0 && errno != EINTR && errno != EAGAIN) {
        event_del(s->writable); /* the reader learns why the other side is gone */
        return;
    }
    if (!evbuffer_get_length(s->out))
        event_del(s->writable);
}

struct stream *stream_new(struct loop *l, int fd, size_t in_max, const struct stream_events *events, void *arg)
{
    struct stream *s = MEM_NEW(struct stream);
    *s = (struct stream){ .fd = fd, .events = *events, .arg = arg, .in = { .max = in_max + READ_BYTES } };
    evutil_make_socket_nonblocking(fd);
    s->out = evbuffer_new();
    s->readable = event_new(loop_base(l), fd, EV_READ | EV_PERSIST, read_some, s);
    s->writable = event_new(loop_base(l), fd, EV_WRITE | EV_PERSIST, write_some, s);
    ASSERT(s->out && s->readable && s->writable);
    event_add(s->readable, NULL);
    return s;
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    event_free(s->readable);
    event_free(s->writable);
    evbuffer_free(s->out);
    buf_release(&s->in);
    close(s->fd);
    mem_free(s);
}

void stream_write(struct stream *s, const void *data, size_t n)
{
    int failed = evbuffer_add(s->out, data, n);
    ASSERT(!failed);
    event_add(s->writable, NULL);
}

size_t stream_pending(const struct stream *s)
{
    return evbuffer_get_length(s->out);
}
