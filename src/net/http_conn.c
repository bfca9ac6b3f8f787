/* http_conn -- one connection: the state machine drawn in http_server.h.
 *
 * Only conn_advance moves from HEAD to BODY to HANDLING; it never runs inside itself (I1), and a connection is
 * freed only outside of it (I2: `doomed`), so handlers may reply, cut or even abort from within a callback.
 *
 * What is written waits in `out` for the end of the loop's turn and then goes to the socket with one send: no polling
 * for a socket that is writable anyway. Only what it does not take goes through the bufferevent, and all of TLS. */
#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/http_impl.h"
#include "net/tls.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { LINGER_MS = 2000, INPUT_BYTES_MAX = 256 * 1024, OUT_KEPT_BYTES = 64 * 1024 };

static struct evbuffer *input(struct http_exchange *x)
{
    return bufferevent_get_input(x->bev);
}

static void enter(struct http_exchange *x, enum conn_state state)
{
    x->state = state;
    if (state == CONN_HEAD) {
        x->scanned = 0;
        x->any_byte = false;
        loop_timer_set(x->timer, x->server->options.idle_ms);
    } else if (state == CONN_BODY) {
        x->body_started_ns = clock_mono_ns();
        x->body_received = 0;
        loop_timer_set(x->timer, x->server->options.body_ms);
    } else if (state == CONN_LINGER) {
        loop_timer_set(x->timer, LINGER_MS);
    } else {
        loop_timer_clear(x->timer);
    }
}

void conn_count_body(struct http_exchange *x)
{
    x->server->counts.bodies_bytes += x->body.cap - x->body_counted;
    x->body_counted = x->body.cap;
}

void conn_free(struct http_exchange *x)
{
    if (x->advancing) {
        x->doomed = true;
        return;
    }
    struct http_server *s = x->server;
    if (x->prev)
        x->prev->next = x->next;
    else
        s->first = x->next;
    if (x->next)
        x->next->prev = x->prev;
    s->counts.connections--;
    buf_release(&x->body);
    conn_count_body(x);
    buf_release(&x->head_bytes);
    buf_release(&x->out);
    loop_timer_free(x->timer);
    loop_timer_free(x->flush);
    tls_shutdown(x->bev);
    bufferevent_free(x->bev);
    mem_free(x);
}

void conn_abort(struct http_exchange *x)
{
    if (x->doomed)
        return;
    if (x->open) {
        x->open = false;
        x->server->handler.gone(x, x->server->arg);
    }
    conn_free(x);
}

/* ---- from the client */

/* Replies to what cannot become a request and closes: where it would have ended is not known. */
static void refuse(struct http_exchange *x, int status, const char *sentence)
{
    struct http_server *s = x->server;
    struct buf body = { 0 };
    s->handler.error_body(x->open ? x : NULL, status, sentence, &body, s->arg);
    s->counts.bad_requests++;
    x->open = false;
    x->started = false;
    x->head_only = false;
    x->head.minor = 1;
    x->body_unread = true;
    struct http_reply r = { .status = status, .content_type = "application/json", .close = true };
    if (status == 503)
        r.headers = "Retry-After: 1\r\n";
    x->state = CONN_HANDLING;
    http_reply_whole(x, &r, body.data, body.len);
    buf_release(&body);
}

/* A whole head is in head_bytes. */
static void take_head(struct http_exchange *x)
{
    struct http_server *s = x->server;
    struct err e = { 0 };
    int status = http_head_parse(x->head_bytes.data, x->head_bytes.len, &x->head, &e);
    if (status) {
        refuse(x, status, e.text);
        return;
    }
    const struct http_head *h = &x->head;
    bool body_follows = h->chunked || h->content_length > 0;
    x->open = true;
    x->started_ns = clock_mono_ns();
    x->started = x->chunked_reply = false;
    x->last = !h->keep_alive || s->draining;
    x->head_only = http_slice_is(h->method, "HEAD");
    x->body_unread = body_follows;
    x->chunks = (struct http_chunks){ 0 };
    x->body.max = s->options.body_max;
    x->user = NULL;
    if (h->content_length > (int64_t)s->options.body_max) {
        char sentence[120];
        snprintf(sentence, sizeof sentence, "the request body is %lld bytes; at most %zu are taken",
                 (long long)h->content_length, s->options.body_max);
        refuse(x, 413, sentence);
        return;
    }
    enter(x, CONN_BODY);
    s->handler.head(x, s->arg);
    if (x->doomed || x->state != CONN_BODY)
        return; /* it replied already */
    if (h->expect_continue && body_follows && !evbuffer_get_length(input(x)))
        buf_append(conn_out(x), "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static bool read_head(struct http_exchange *x)
{
    struct evbuffer *in = input(x);
    size_t n = evbuffer_get_length(in);
    struct err e = { 0 };
    if (!x->any_byte && n >= 2) { /* RFC 9112 2.2: an empty line before the request is skipped */
        const char *p = (const char *)evbuffer_pullup(in, 2);
        if (p[0] == '\r' && p[1] == '\n')
            evbuffer_drain(in, 2);
        n = evbuffer_get_length(in);
    }
    if (!n)
        return false;
    if (!x->any_byte) {
        x->any_byte = true;
        loop_timer_set(x->timer, x->server->options.head_ms);
    }
    size_t look = n < HTTP_HEAD_BYTES_MAX ? n : HTTP_HEAD_BYTES_MAX;
    const char *data = (const char *)evbuffer_pullup(in, (ev_ssize_t)look);
    long length = http_head_find(data, look, &x->scanned, &e);
    if (length < 0) {
        refuse(x, 400, e.text);
    } else if (length == 0 && look == HTTP_HEAD_BYTES_MAX) {
        refuse(x, 431, "the request head is larger than 64 KiB");
    } else if (length > 0) {
        buf_clear(&x->head_bytes);
        buf_append(&x->head_bytes, data, (size_t)length);
        evbuffer_drain(in, (size_t)length);
        take_head(x);
    }
    return length != 0;
}

/* Moves what is there of the body; true when the state changed. */
static bool read_body(struct http_exchange *x)
{
    struct http_server *s = x->server;
    struct evbuffer *in = input(x);
    struct err e = { 0 };
    size_t n;
    while ((n = evbuffer_get_contiguous_space(in)) > 0) { /* drains n or ends */
        const char *data = (const char *)evbuffer_pullup(in, (ev_ssize_t)n);
        long took;
        if (x->head.chunked) {
            took = http_chunks_feed(&x->chunks, data, n, &x->body, &e);
        } else {
            size_t left = (size_t)(x->head.content_length > 0 ? x->head.content_length : 0) - x->body.len;
            took = (long)(n < left ? n : left);
            buf_append(&x->body, data, (size_t)took);
        }
        conn_count_body(x);
        if (took < 0 || s->counts.bodies_bytes > s->options.bodies_max) {
            if (x->open)
                x->open = false, s->handler.gone(x, s->arg);
            buf_release(&x->body);
            conn_count_body(x);
            if (took < 0)
                refuse(x, e.code == ERR_LIMIT ? 413 : 400, e.text);
            else
                refuse(x, 503, "too many request bodies are being read at once; try again in a second");
            return true;
        }
        evbuffer_drain(in, (size_t)took);
        x->body_received += took;
        if (!took)
            break;
    }
    bool done = x->head.chunked ? http_chunks_done(&x->chunks)
                                : (int64_t)x->body.len >= x->head.content_length;
    if (!done) {
        int64_t spent_ms = (clock_mono_ns() - x->body_started_ns) / 1000000;
        loop_timer_set(x->timer, s->options.body_ms + x->body_received * 1000 / HTTP_BODY_BYTES_PER_S - spent_ms);
        return false;
    }
    x->body_unread = false;
    enter(x, CONN_HANDLING);
    s->handler.request(x, s->arg);
    return true;
}

static void linger(struct http_exchange *x)
{
    size_t n = evbuffer_get_length(input(x));
    evbuffer_drain(input(x), n);
    x->lingered += (int64_t)n;
    if (x->lingered > HTTP_LINGER_BYTES_MAX)
        conn_free(x);
}

static bool step(struct http_exchange *x)
{
    switch (x->state) {
    case CONN_HEAD:
        /* A client that pipelines without reading its replies waits until it has read them. */
        if (http_reply_pending(x) > HTTP_DRAINED_BYTES)
            return false;
        return read_head(x);
    case CONN_BODY:
        return read_body(x);
    case CONN_HANDLING:
        if (!x->body_unread && evbuffer_get_length(input(x)) > HTTP_PIPELINE_MAX)
            conn_abort(x);
        return false;
    case CONN_FLUSH:
        return false;
    case CONN_LINGER:
        linger(x);
        return false;
    }
    return false;
}

void conn_advance(struct http_exchange *x)
{
    if (x->advancing) {
        x->again = true;
        return;
    }
    x->advancing = true;
    do { /* each turn consumes input or changes the state; what waits is bounded by INPUT_BYTES_MAX */
        x->again = false;
        while (!x->doomed && step(x))
            ;
    } while (x->again && !x->doomed);
    x->advancing = false;
    if (x->doomed)
        conn_free(x);
}

static void readable(struct bufferevent *bev, void *arg)
{
    conn_advance(arg);
}

static void count_in(struct evbuffer *b, const struct evbuffer_cb_info *info, void *arg)
{
    ((struct http_server *)arg)->counts.bytes_in += (int64_t)info->n_added;
}

static void count_out(struct evbuffer *b, const struct evbuffer_cb_info *info, void *arg)
{
    ((struct http_server *)arg)->counts.bytes_out += (int64_t)info->n_deleted;
}

/* ---- to the client */

/* Everything of the last reply is with the system: close, or wait for what the client still sends. */
static void flushed(struct http_exchange *x)
{
    if (!x->body_unread) {
        conn_free(x);
        return;
    }
    if (x->secure)
        tls_shutdown(x->bev);
    shutdown(bufferevent_getfd(x->bev), SHUT_WR);
    enter(x, CONN_LINGER);
    conn_advance(x);
}

void conn_reply_over(struct http_exchange *x)
{
    x->open = false;
    x->user = NULL;
    buf_release(&x->body);
    conn_count_body(x);
    if (x->last || x->body_unread) {
        enter(x, CONN_FLUSH);
        bufferevent_setwatermark(x->bev, EV_WRITE, 0, 0);
        if (!http_reply_pending(x))
            flushed(x);
        return; /* else gave_some() comes when all is out */
    }
    enter(x, CONN_HEAD);
    conn_advance(x);
}

/* The socket took some of what was to go out. */
static void gave_some(struct http_exchange *x)
{
    if (x->state == CONN_FLUSH && !http_reply_pending(x))
        flushed(x);
    else if (x->state == CONN_HANDLING && x->open)
        x->server->handler.drained(x, x->server->arg);
    else if (x->state == CONN_HEAD)
        conn_advance(x);
}

static void writable(struct bufferevent *bev, void *arg)
{
    gave_some(arg);
}

struct buf *conn_out(struct http_exchange *x)
{
    if (!x->out.len)
        loop_timer_soon(x->flush);
    return &x->out;
}

/* The end of a turn of the loop that wrote something. */
static void flush(void *arg)
{
    struct http_exchange *x = arg;
    struct evbuffer *out = bufferevent_get_output(x->bev);
    ssize_t n = 0;
    if (!x->secure && !evbuffer_get_length(out))
        n = send(bufferevent_getfd(x->bev), x->out.data, x->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    size_t sent = n > 0 ? (size_t)n : 0; /* an error is the bufferevent's to find */
    bool all = sent == x->out.len;
    x->server->counts.bytes_out += (int64_t)sent;
    if (!all)
        bufferevent_write(x->bev, x->out.data + sent, x->out.len - sent);
    if (x->out.cap > OUT_KEPT_BYTES)
        buf_release(&x->out);
    buf_clear(&x->out);
    if (all)
        gave_some(x);
}

static void happened(struct bufferevent *bev, short what, void *arg)
{
    struct http_exchange *x = arg;
    if (what & BEV_EVENT_CONNECTED)
        return; /* the TLS handshake is done */
    bool ended = what & BEV_EVENT_EOF;
    if (ended && (x->state == CONN_FLUSH || x->state == CONN_HEAD) && http_reply_pending(x)) {
        x->body_unread = false; /* it closed its side only, or is gone: the write will tell */
        enter(x, CONN_FLUSH);
        return;
    }
    conn_abort(x);
}

static void timed_out(void *arg)
{
    struct http_exchange *x = arg;
    if (x->state == CONN_HEAD && x->any_byte) {
        refuse(x, 408, "the request head took too long to arrive");
    } else if (x->state == CONN_BODY) {
        if (x->open)
            x->open = false, x->server->handler.gone(x, x->server->arg);
        refuse(x, 408, "the request body took too long to arrive");
    } else {
        conn_free(x);
    }
}

/* A client whose machine vanished sends no end: the system notices within about a minute, stream or no stream. */
static void notice_the_dead(int fd, int64_t write_ms)
{
    int on = 1, idle_s = 30, every_s = 10, probes = 3;
    unsigned unacknowledged_ms = (unsigned)write_ms;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* tokens leave one by one: no waiting for company */
}

struct http_exchange *conn_new(struct http_server *s, int fd, const char *peer)
{
    struct event_base *base = loop_base(s->loop);
    struct bufferevent *bev = s->options.tls
                                  ? tls_accept(s->options.tls, base, fd)
                                  : bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    ASSERT(bev);
    struct http_exchange *x = MEM_NEW(struct http_exchange);
    x->server = s;
    x->bev = bev;
    x->secure = s->options.tls != NULL;
    x->next = s->first;
    if (x->next)
        x->next->prev = x;
    s->first = x;
    s->counts.connections++;
    snprintf(x->peer, sizeof x->peer, "%s", peer);
    x->timer = loop_timer_new(s->loop, timed_out, x);
    x->flush = loop_timer_new(s->loop, flush, x);
    notice_the_dead(fd, s->options.write_ms);
    struct timeval write_tv = { .tv_sec = s->options.write_ms / 1000, .tv_usec = s->options.write_ms % 1000 * 1000 };
    bufferevent_set_timeouts(bev, NULL, &write_tv);
    bufferevent_setwatermark(bev, EV_READ, 0, INPUT_BYTES_MAX);
    bufferevent_setwatermark(bev, EV_WRITE, HTTP_DRAINED_BYTES, 0);
    evbuffer_add_cb(bufferevent_get_input(bev), count_in, s);
    evbuffer_add_cb(bufferevent_get_output(bev), count_out, s);
    bufferevent_setcb(bev, readable, writable, happened, x);
    enter(x, CONN_HEAD);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    return x;
}

void conn_turn_away(struct http_server *s, int fd)
{
    refuse(conn_new(s, fd, ""), 503, "too many connections; try again in a second");
}
