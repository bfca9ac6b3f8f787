/* stream -- see stream.h. Input sits in one contiguous buf, so that a frame can be parsed in place. Output goes out at
 * the end of the loop's turn that wrote it; only what the socket did not take waits to become writable. */
#include "net/stream.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/tls.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024, RIDERS_MAX = 16, RECORD_BYTES = 16 * 1024 };

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
    SSL *ssl;                        /* NULL: plain */
    bool shaking;                    /* its handshake is under way */
};

/* ---- TLS: as recv and send are, with EPROTO for what is the protocol's */

static ssize_t failed(struct stream *s, int rc)
{
    int why = SSL_get_error(s->ssl, rc);
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t tls_recv(struct stream *s, char *p, size_t n)
{
    size_t got = 0;
    do { /* a record a round; p is longer than what OpenSSL may hold back */
        int rc = SSL_read(s->ssl, p + got, (int)(n - got));
        if (rc <= 0)
            return got ? (ssize_t)got : failed(s, rc);
        got += (size_t)rc;
    } while (got < n && SSL_has_pending(s->ssl));
    if (SSL_has_pending(s->ssl))
        event_active(s->readable, EV_READ, 0); /* the socket will not say so */
    return (ssize_t)got;
}

static ssize_t tls_send(struct stream *s)
{
    for (size_t n; (n = evbuffer_get_length(s->out)) > 0;) { /* a record a round */
        n = n < RECORD_BYTES ? n : RECORD_BYTES;
        int rc = SSL_write(s->ssl, evbuffer_pullup(s->out, (ev_ssize_t)n), (int)n);
        if (rc <= 0)
            return failed(s, rc);
        evbuffer_drain(s->out, (size_t)rc);
    }
    return 1;
}

static void stop(struct stream *s, const char *why)
{
    event_del(s->readable);
    event_del(s->writable);
    s->events.closed(s->arg, why);
}

static void shake(struct stream *s)
{
    int rc = SSL_do_handshake(s->ssl);
    if (rc == 1) {
        s->shaking = false;
        event_del(s->writable);
        if (evbuffer_get_length(s->out))
            event_active(s->writable, EV_WRITE, 0);
        return;
    }
    int why = SSL_get_error(s->ssl, rc);
    if (why == SSL_ERROR_WANT_READ)
        event_del(s->writable);
    else if (why == SSL_ERROR_WANT_WRITE)
        event_add(s->writable, NULL);
    else
        stop(s, tls_client_why(s->ssl));
}

/* ---- the socket */

static void read_some(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    if (s->shaking) {
        shake(s);
        return;
    }
    char *p = buf_reserve(&s->in, READ_BYTES);
    if (!p) {
        s->events.closed(s->arg, "it sent more than may wait unread");
        return;
    }
    ssize_t n = s->ssl ? tls_recv(s, p, READ_BYTES) : recv(fd, p, READ_BYTES, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        event_del(s->readable);
        s->events.closed(s->arg, !n ? "it closed the connection" : s->ssl ? tls_client_why(s->ssl) : strerror(errno));
        return;
    }
    s->in.len += (size_t)n;
    s->in.data[s->in.len] = '\0';
    long taken = s->events.data(s->arg, s->in.data, s->in.len);
    if (taken < 0)
        return;
    buf_drop_front(&s->in, (size_t)taken);
    if (s->shaking && s->in.len)
        stop(s, "it sent bytes before TLS began");
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
    if (s->shaking) {
        shake(s);
        return;
    }
    if (s->ssl)
        n = tls_send(s);
    for (int i = 0; !s->ssl && n > 0 && i <= 2 * RIDERS_MAX && evbuffer_get_length(s->out); i++) {
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
    SSL_free(s->ssl);
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

bool stream_secure(struct stream *s, struct tls_client *t, const char *host)
{
    ASSERT(!s->ssl);
    s->ssl = tls_client_begin(t, s->fd, host);
    s->shaking = s->ssl != NULL;
    if (s->shaking)
        event_active(s->writable, EV_WRITE, 0);
    return s->shaking;
}

/* Waits for the socket; false: too late. */
static bool ready(const struct stream *s, short what, int64_t until_ns)
{
    int64_t left_ms = (until_ns - clock_mono_ns()) / 1000000;
    struct pollfd p = { .fd = s->fd, .events = what };
    return left_ms > 0 && poll(&p, 1, (int)left_ms) > 0;
}

void stream_farewell(struct stream *s, int ms)
{
    int64_t until_ns = clock_mono_ns() + ms * 1000000LL;
    ssize_t n = 1;
    ASSERT(!s->rider_count && !s->shaking);
    while (evbuffer_get_length(s->out) && (n > 0 || errno == EAGAIN)) {
        if (n < 0 && !ready(s, POLLOUT, until_ns))
            return;
        n = s->ssl ? tls_send(s) : evbuffer_write(s->out, s->fd);
    }
    if (s->ssl)
        SSL_shutdown(s->ssl);
    shutdown(s->fd, SHUT_WR);
    char unread[4096];
    do
        n = ready(s, POLLIN, until_ns) ? recv(s->fd, unread, sizeof unread, 0) : 0;
    while (n > 0);
}
