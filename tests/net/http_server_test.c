/* http_server_test -- the limits of time and memory, set small: slow heads, slow bodies, idle and unreading clients.
 * Runs alone: it judges times. */
#include "../test.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static struct http_server *server;
static pthread_t server_thread;
static atomic_int gone_count; /* written by the server's thread */

static void nothing(struct http_exchange *x, void *arg)
{
}

static void gone(struct http_exchange *x, void *arg)
{
    atomic_fetch_add(&gone_count, 1);
}

static void answer(struct http_exchange *x, void *arg)
{
    struct http_reply r = { .status = 200, .content_type = "text/plain" };
    if (!http_slice_is(http_request_head(x)->path, "/flood")) {
        http_reply_whole(x, &r, "fine", 4);
        return;
    }
    r.length = -1;
    http_reply_begin(x, &r);
    char block[10000];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 2000; i++)
        http_reply_data(x, block, sizeof block);
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

static void start(void)
{
    static const struct http_handler handler = { nothing, answer, nothing, gone, error_body };
    struct http_server_options o = http_server_defaults;
    struct err e = { 0 };
    o.port = 0;
    o.head_ms = o.body_ms = o.idle_ms = 300;
    o.write_ms = 500;
    o.body_max = 1 << 20;
    o.bodies_max = 3 << 20;
    loop = loop_new(&e);
    server = http_server_new(loop, &o, &handler, NULL, &e);
    CHECK_STR(e.text, "");
    pthread_create(&server_thread, NULL, run_loop, NULL);
}

static void stop(void)
{
    loop_post(loop, stop_loop, NULL);
    pthread_join(server_thread, NULL);
    http_server_free(server);
    loop_free(loop);
}

static int dial(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int s = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(connect(s, (struct sockaddr *)&a, sizeof a), 0);
    return s;
}

static void say(int s, const char *text)
{
    CHECK_INT(send(s, text, strlen(text), MSG_NOSIGNAL), (intmax_t)strlen(text));
}

/* Everything until the server closes or is silent for wait_ms; the status of the reply, 0 when there is none. */
static int hear_for(int s, int wait_ms)
{
    char text[4096] = "";
    size_t n = 0;
    struct pollfd p = { .fd = s, .events = POLLIN };
    while (n < sizeof text - 1 && poll(&p, 1, wait_ms) > 0) {
        ssize_t got = recv(s, text + n, sizeof text - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    close(s);
    return !strncmp(text, "HTTP/1.1 ", 9) ? (int)strtol(text + 9, NULL, 10) : 0;
}

static int hear(int s)
{
    return hear_for(s, 20000);
}

static int64_t ms_since(int64_t ns)
{
    return (clock_mono_ns() - ns) / 1000000;
}

/* One byte every 50 ms is progress, and yet the head has 300 ms in all. */
static void a_dripping_head_is_408(void)
{
    int s = dial();
    int64_t t = clock_mono_ns();
    static const char head[] = "GET /fine HTTP/1.1\r\nHost: x\r\n";
    for (size_t i = 0; i < sizeof head - 1 && ms_since(t) < 5000; i++) {
        if (send(s, head + i, 1, MSG_NOSIGNAL) < 0)
            break;
        usleep(50000);
    }
    CHECK(ms_since(t) < 5000);
    CHECK_INT(hear(s), 408);
}

static void a_dripping_body_is_408(void)
{
    int s = dial(), before = atomic_load(&gone_count);
    say(s, "POST /fine HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    for (int i = 0; i < 100; i++) {
        if (send(s, "x", 1, MSG_NOSIGNAL) < 0)
            break;
        usleep(20000);
    }
    CHECK_INT(hear(s), 408);
    CHECK_INT(atomic_load(&gone_count), before + 1);
}

static void an_idle_connection_is_closed(void)
{
    int64_t t = clock_mono_ns();
    CHECK_INT(hear(dial()), 0);
    CHECK(ms_since(t) >= 280 && ms_since(t) < 5000);
    int s = dial();
    say(s, "GET /fine HTTP/1.1\r\nHost: x\r\n\r\n");
    t = clock_mono_ns();
    CHECK_INT(hear(s), 200); /* and closed afterwards, idle again */
    CHECK(ms_since(t) >= 280 && ms_since(t) < 5000);
}

static void a_client_that_does_not_read_is_let_go(void)
{
    int s = dial(), before = atomic_load(&gone_count);
    say(s, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    int64_t t = clock_mono_ns();
    while (atomic_load(&gone_count) == before && ms_since(t) < 10000)
        usleep(10000);
    CHECK_INT(atomic_load(&gone_count), before + 1);
    close(s);
}

/* Ten clients send most of a 1 MiB body each; 3 MiB is all there is. */
static void bodies_together_are_bounded(void)
{
    enum { CLIENTS = 10, MOST = 1000000 };
    int s[CLIENTS], refused = 0;
    char *body = mem_new(MOST, 1);
    memset(body, 'x', MOST);
    for (int i = 0; i < CLIENTS; i++) {
        s[i] = dial();
        say(s[i], "POST /fine HTTP/1.1\r\nHost: x\r\nContent-Length: 1000001\r\n\r\n");
        for (size_t at = 0; at < MOST;) {
            ssize_t n = send(s[i], body + at, MOST - at, MSG_NOSIGNAL);
            if (n <= 0)
                break;
            at += (size_t)n;
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        refused += hear_for(s[i], 500) == 503;
    mem_free(body);
    CHECK(refused >= 6); /* a body's buffer doubles: 1 MiB takes up to 1 MiB, and three may stand */
    int again = dial();
    say(again, "POST /fine HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    CHECK_INT(hear(again), 200); /* what was held is free again */
}

int main(void)
{
    start();
    RUN(a_dripping_head_is_408);
    RUN(a_dripping_body_is_408);
    RUN(an_idle_connection_is_closed);
    RUN(a_client_that_does_not_read_is_let_go);
    RUN(bodies_together_are_bounded);
    stop();
    DONE();
}
