/* stream -- see stream.h. Input sits in one contiguous buf, so that a frame can be parsed in place. Output goes out at
 * the end of the loop's turn that wrote it; only what the socket did not take waits to become writable. */
#include "net/stream.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024, RIDERS_MAX = 16 };

/* A descriptor that waits for its byte. */
struct rider {
    uint64_t at; /* of the stream's output */
    int fd;
};

struct stream {
    int fd;
    struct stream_events events;
    void *arg;
    struct buf in;
    struct evbuffer *out;
    struct event *readable, *writable;
    uint64_t written, sent; /* since the start */
    struct rider riders[RIDERS_MAX]; /* in the order of their bytes */
    int rider_count;
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

/* The next byte with the first rider on it. Returns 1, or -1 with errno. */
static ssize_t send_rider(struct stream *s, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    char byte;
    ssize_t have = evbuffer_copyout(s->out, &byte, 1);
    ASSERT(have == 1);
    struct iovec v = { .iov_base = &byte, .iov_len = 1 }; /* the rest of the frame follows as any bytes do */
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes,
                        .msg_controllen = sizeof control.bytes };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &s->riders[0].fd, sizeof(int));
    ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0)
        return n;
    evbuffer_drain(s->out, (size_t)n);
    close(s->riders[0].fd);
    memmove(s->riders, s->riders + 1, (size_t)--s->rider_count * sizeof *s->riders);
    return n;
}

static void write_some(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    ssize_t n = 1;
    for (int i = 0; n > 0 && i <= 2 * RIDERS_MAX && evbuffer_get_length(s->out); i++) {
        int64_t before = s->rider_count ? (int64_t)(s->riders[0].at - s->sent) : -1;
        n = before ? evbuffer_write_atmost(s->out, fd, before) : send_rider(s, fd);
        s->sent += n > 0 ? (uint64_t)n : 0;
        if (!s->rider_count)
            break;
    }
    if (n < 0 && errno != EINTR && errno != EAGAIN) {
        event_del(s->writable); /* the reader learns why the other side is gone */
        return;
    }
    if (evbuffer_get_length(s->out))
        event_add(s->writable, NULL);
    else
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
    for (int i = 0; i < s->rider_count; i++)
        close(s->riders[i].fd);
    buf_release(&s->in);
    close(s->fd);
    mem_free(s);
}

void stream_write(struct stream *s, const void *data, size_t n)
{
    int failed = evbuffer_add(s->out, data, n);
    ASSERT(!failed);
    s->written += n;
    if (!event_pending(s->writable, EV_WRITE, NULL)) /* all of this turn's in one go; poll only for what is left */
        event_active(s->writable, EV_WRITE, 0);
}

bool stream_write_fd(struct stream *s, const void *data, size_t n, int fd)
{
    int own = s->rider_count < RIDERS_MAX && n ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (own < 0)
        return false;
    s->riders[s->rider_count++] = (struct rider){ s->written, own };
    stream_write(s, data, n);
    return true;
}

size_t stream_pending(const struct stream *s)
{
    return evbuffer_get_length(s->out);
}
