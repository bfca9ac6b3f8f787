/* client_test -- the client against the server of this folder, both real, over loopback; and event streams by the
 * examples of the HTML standard (9.2.6). */
#include "../test.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/client.h"
#include "net/http_server.h"
#include "net/sse.h"

#include <pthread.h>

/* ---- a server in a thread: /echo, /slow (never ends), /pieces, /moved, /big, /fail */

static struct loop *loop;
static struct http_server *server;
static pthread_t server_thread;
static int gone_count; /* written by the server's thread, read after it is joined */
static char url[64];

static void nothing(struct http_exchange *x, void *arg)
{
}

static void gone(struct http_exchange *x, void *arg)
{
    gone_count++;
}

static void answer(struct http_exchange *x, void *arg)
{
    const struct http_head *h = http_request_head(x);
    struct http_slice body = http_request_body(x);
    struct http_reply r = { .status = 200, .content_type = "text/plain" };
    if (http_slice_is(h->path, "/echo")) {
        const struct http_field *type = http_head_field(h, "content-type"), *key = http_head_field(h, "authorization");
        struct buf b = { 0 };
        buf_printf(&b, "%.*s %.*s %.*s %.*s", (int)h->method.n, h->method.p, type ? (int)type->value.n : 1,
                   type ? type->value.p : "-", key ? (int)key->value.n : 1, key ? key->value.p : "-", (int)body.n, body.p);
        http_reply_whole(x, &r, b.data, b.len);
        buf_release(&b);
    } else if (http_slice_is(h->path, "/pieces")) {
        r.length = -1;
        http_reply_begin(x, &r);
        for (int i = 0; i < 1000; i++)
            http_reply_data(x, "0123456789", 10);
        http_reply_end(x);
    } else if (http_slice_is(h->path, "/moved")) {
        r.status = 301;
        r.headers = "Location: /echo\r\n";
        http_reply_whole(x, &r, "", 0);
    } else if (http_slice_is(h->path, "/slow")) {
        r.length = -1;
        http_reply_begin(x, &r);
        http_reply_data(x, "start", 5);
    } else if (http_slice_is(h->path, "/cut")) {
        r.length = -1;
        http_reply_begin(x, &r);
        http_reply_data(x, "start", 5);
        http_reply_cut(x);
    } else {
        r.status = 503;
        r.headers = "Retry-After: 7\r\n";
        http_reply_whole(x, &r, "not now", 7);
    }
}

static void error_body(const struct http_exchange *x, int status, const char *sentence, struct buf *out, void *arg)
{
    buf_puts(out, sentence);
}

static void *run_loop(void *arg)
{
    loop_run(loop);
    return NULL;
}

static void stop_loop(void *arg)
{
    loop_stop(loop);
}

static void start_server(void)
{
    static const struct http_handler handler = { nothing, answer, nothing, gone, error_body };
    struct http_server_options o = http_server_defaults;
    struct err e = { 0 };
    o.port = 0;
    loop = loop_new(&e);
    server = http_server_new(loop, &o, &handler, NULL, &e);
    CHECK_STR(e.text, "");
    snprintf(url, sizeof url, "http://127.0.0.1:%d", http_server_port(server));
    pthread_create(&server_thread, NULL, run_loop, NULL);
}

static void stop_server(void)
{
    loop_post(loop, stop_loop, NULL);
    pthread_join(server_thread, NULL);
    http_server_free(server);
    loop_free(loop);
}

/* ---- the tests */

static enum err_code run(struct http_client *c, const char *path, struct http_client_request r,
                         struct http_client_reply *reply, struct err *e)
{
    char full[200];
    snprintf(full, sizeof full, "%s%s", url, path);
    r.url = full;
    return http_client_run(c, &r, reply, e);
}

static void requests_and_replies(void)
{
    struct http_client *c = http_client_new();
    struct http_client_reply reply;
    struct err e = { 0 };
    CHECK_INT(run(c, "/echo", (struct http_client_request){ .method = NULL }, &reply, &e), ERR_OK);
    CHECK_STR(buf_str(&reply.body), "GET - - ");
    CHECK_STR(reply.content_type, "text/plain");
    CHECK_INT(reply.length, 8);
    http_client_reply_release(&reply);
    struct http_client_request post = { .body = "{\"a\":1}", .body_len = 7, .bearer = "tw-key" };
    CHECK_INT(run(c, "/echo", post, &reply, &e), ERR_OK);
    CHECK_STR(buf_str(&reply.body), "POST application/json Bearer tw-key {\"a\":1}");
    http_client_reply_release(&reply);
    CHECK_INT(run(c, "/fail", (struct http_client_request){ .method = "DELETE" }, &reply, &e), ERR_OK);
    CHECK_INT(reply.status, 503);
    CHECK_INT(reply.retry_after_s, 7);
    CHECK_STR(buf_str(&reply.body), "not now");
    http_client_reply_release(&reply);
    CHECK_INT(run(c, "/moved", (struct http_client_request){ .follow = false }, &reply, &e), ERR_OK);
    CHECK_INT(reply.status, 301);
    http_client_reply_release(&reply);
    CHECK_INT(run(c, "/moved", (struct http_client_request){ .follow = true }, &reply, &e), ERR_OK);
    CHECK_INT(reply.status, 200);
    http_client_reply_release(&reply);
    http_client_free(c);
}

static bool count_bytes(void *arg, const char *data, size_t n)
{
    *(size_t *)arg += n;
    return true;
}

static bool stop_now(void *arg, const char *data, size_t n)
{
    return false;
}

static void streams(void)
{
    struct http_client *c = http_client_new();
    struct http_client_reply reply;
    struct err e = { 0 };
    size_t n = 0;
    int64_t before = clock_mono_ns();
    CHECK_INT(run(c, "/pieces", (struct http_client_request){ .on_data = count_bytes, .arg = &n }, &reply, &e), ERR_OK);
    CHECK_INT(n, 10000);
    CHECK_INT(reply.body.len, 0);
    CHECK(reply.first_byte_ns > before);
    http_client_reply_release(&reply);
    CHECK_INT(run(c, "/fail", (struct http_client_request){ .on_data = stop_now }, &reply, &e), ERR_OK);
    CHECK_STR(buf_str(&reply.body), "not now"); /* an error's body is kept: it says what went wrong */
    http_client_reply_release(&reply);
    CHECK_INT(run(c, "/slow", (struct http_client_request){ .on_data = stop_now }, &reply, &e), ERR_BUSY);
    http_client_reply_release(&reply);
    http_client_free(c);
}

static void failures(void)
{
    struct http_client *c = http_client_new();
    struct http_client_reply reply;
    struct err e = { 0 };
    CHECK_INT(run(c, "/slow", (struct http_client_request){ .total_ms = 300 }, &reply, &e), ERR_IO);
    CHECK_STR(buf_str(&reply.body), "start");
    http_client_reply_release(&reply);
    CHECK_INT(run(c, "/cut", (struct http_client_request){ .method = NULL }, &reply, &e), ERR_IO);
    http_client_reply_release(&reply);
    CHECK_INT(run(c, "/pieces", (struct http_client_request){ .reply_max = 9999 }, &reply, &e), ERR_LIMIT);
    http_client_reply_release(&reply);
    struct http_client_request r = { .url = "http://127.0.0.1:1/" };
    CHECK_INT(http_client_run(c, &r, &reply, &e), ERR_IO);
    CHECK(strstr(e.text, "127.0.0.1"));
    r.url = "file:///etc/passwd";
    CHECK_INT(http_client_run(c, &r, &reply, &e), ERR_IO);
    CHECK_INT(reply.body.len, 0);
    http_client_free(c);
}

static bool collect(void *arg, const struct sse_event *event)
{
    buf_printf(arg, "[%s|%s]", event->type, event->data);
    return true;
}

static void event_streams(void)
{
    static const char text[] = ": a comment\n\ndata: YHOO\ndata: +2\ndata: 10\n\ndata\n\ndata\ndata\n\ndata:test\r\n\r\n"
                               "event: add\rdata:  two\r\rid: 1\nretry: 5\n\ndata: unfinished";
    static const char want[] = "[message|YHOO\n+2\n10][message|][message|\n][message|test][add| two]";
    for (size_t piece = 1; piece < sizeof text; piece++) { /* however the bytes are cut */
        struct sse s = { .after_cr = false };
        struct buf got = { 0 };
        for (size_t at = 0; at < sizeof text - 1; at += piece) {
            size_t n = sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece;
            CHECK_INT(sse_feed(&s, text + at, n, collect, &got, NULL), ERR_OK);
        }
        CHECK_STR(buf_str(&got), want);
        buf_release(&got);
        sse_release(&s);
    }
    struct sse s = { .line = { .max = 10 } };
    CHECK_INT(sse_feed(&s, "data: 0123456789", 16, collect, NULL, NULL), ERR_LIMIT);
    sse_release(&s);
}

/* After the tests above: the two clients that left /slow. */
static void hang_ups_were_seen(void)
{
    stop_server();
    CHECK_INT(gone_count, 2);
}

int main(void)
{
    start_server();
    RUN(requests_and_replies);
    RUN(streams);
    RUN(failures);
    RUN(event_streams);
    RUN(hang_ups_were_seen);
    DONE();
}
