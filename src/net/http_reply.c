/* http_reply -- the reply half of an exchange: status line, fields, body whole, chunked or until the close. */
#include "base/assert.h"
#include "base/clock.h"
#include "net/http_impl.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const struct http_head *http_request_head(const struct http_exchange *x)
{
    return &x->head;
}

struct http_slice http_request_body(const struct http_exchange *x)
{
    return (struct http_slice){ buf_str(&x->body), x->body.len };
}

void http_request_forget_body(struct http_exchange *x)
{
    buf_release(&x->body);
    conn_count_body(x);
}

void http_request_hold(struct http_exchange *x)
{
    ASSERT(!x->started);
    if (x->state != CONN_BODY)
        return;
    x->state = CONN_HANDLING;
    loop_timer_clear(x->timer);
}

const char *http_request_peer(const struct http_exchange *x)
{
    return x->peer;
}

int64_t http_request_started_ns(const struct http_exchange *x)
{
    return x->started_ns;
}

void http_exchange_set_user(struct http_exchange *x, void *user)
{
    x->user = user;
}

void *http_exchange_user(const struct http_exchange *x)
{
    return x->user;
}

bool http_reply_started(const struct http_exchange *x)
{
    return x->started;
}

size_t http_reply_pending(const struct http_exchange *x)
{
    return x->out.len + evbuffer_get_length(bufferevent_get_output(x->bev));
}

/* Made once a second. */
static const char *date_now(struct http_server *s)
{
    int64_t now_s = clock_wall_s();
    time_t now = (time_t)now_s;
    struct tm tm;
    if (now_s == s->date_s)
        return s->date;
    gmtime_r(&now, &tm);
    strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    s->date_s = now_s;
    return s->date;
}

void http_reply_begin(struct http_exchange *x, const struct http_reply *r)
{
    ASSERT(!x->started && (x->state == CONN_HANDLING || x->state == CONN_BODY));
    x->started = true;
    x->chunked_reply = r->length < 0 && x->head.minor == 1;
    if (r->close || x->body_unread || x->server->draining || (r->length < 0 && x->head.minor == 0))
        x->last = true;
    struct buf *b = conn_out(x);
    buf_printf(b, "HTTP/1.1 %d %s\r\nDate: %s\r\n", r->status, http_status_text(r->status), date_now(x->server));
    if (r->content_type)
        http_field_write(b, "Content-Type", r->content_type);
    if (r->headers)
        buf_puts(b, r->headers);
    if (r->length >= 0 && r->status != 204)
        buf_printf(b, "Content-Length: %lld\r\n", (long long)r->length);
    else if (x->chunked_reply)
        buf_puts(b, "Transfer-Encoding: chunked\r\n");
    if (x->last)
        buf_puts(b, "Connection: close\r\n");
    buf_puts(b, "\r\n");
    if (x->state == CONN_BODY) { /* refused before its body was read */
        x->state = CONN_HANDLING;
        loop_timer_clear(x->timer);
    }
}

void http_reply_data(struct http_exchange *x, const void *data, size_t n)
{
    ASSERT(x->started);
    if (!n || x->head_only)
        return; /* an empty chunk would end the body */
    struct buf *b = conn_out(x);
    if (x->chunked_reply)
        buf_printf(b, "%zx\r\n", n);
    buf_append(b, data, n);
    if (x->chunked_reply)
        buf_append(b, "\r\n", 2);
}

void http_reply_end(struct http_exchange *x)
{
    ASSERT(x->started);
    if (x->chunked_reply && !x->head_only)
        buf_append(conn_out(x), "0\r\n\r\n", 5);
    conn_reply_over(x);
}

void http_reply_cut(struct http_exchange *x)
{
    x->open = false;
    x->last = true;
    x->body_unread = false;
    conn_reply_over(x);
}

void http_reply_whole(struct http_exchange *x, const struct http_reply *r, const void *data, size_t n)
{
    struct http_reply whole = *r;
    whole.length = (int64_t)n;
    http_reply_begin(x, &whole);
    http_reply_data(x, data, n);
    http_reply_end(x);
}
