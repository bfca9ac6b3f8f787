/* direct_test -- the bus without a broker: one that listens, two that dial, what breaks between them. */
#include "../test.h"
#include "base/clock.h"
#include "base/mem.h"
#include "fleet/bus.h"
#include "nats_server.h"

#include <errno.h>
#include <stdlib.h>

static struct loop *loop;
static struct loop_timer *tick;
static const int *watched;
static int wanted;
static int64_t until_ns;

struct party {
    struct bus *bus;
    int ups, downs;
};

struct heard {
    int count, wrong;
    size_t bytes;
    char reply[64];
};

static void went_up(void *arg)
{
    ((struct party *)arg)->ups++;
}

static void went_down(void *arg, const char *why)
{
    ((struct party *)arg)->downs++;
}

static void look(void *arg)
{
    if ((watched && *watched >= wanted) || clock_mono_ns() >= until_ns)
        loop_stop(loop);
    else
        loop_timer_set(tick, 1);
}

static bool reaches(const int *what, int want, int ms)
{
    watched = what;
    wanted = want;
    until_ns = clock_mono_ns() + ms * 1000000LL;
    loop_timer_set(tick, 0);
    loop_run(loop);
    return what && *what >= want;
}

static void hear(void *arg, const struct bus_message *m)
{
    struct heard *h = arg;
    char number[16];
    snprintf(number, sizeof number, "%.*s", m->n < 15 ? (int)m->n : 15, m->data);
    h->wrong += strtol(number, NULL, 10) != h->count++;
    h->bytes += m->n;
    snprintf(h->reply, sizeof h->reply, "%s", m->reply);
}

static int port;

static void enter(struct party *p, bool listens)
{
    static const struct bus_events events = { .up = went_up, .down = went_down };
    char url[64];
    struct err e = { 0 };
    snprintf(url, sizeof url, "direct%s://127.0.0.1:%d", listens ? "-listen" : "", port);
    *p = (struct party){ 0 };
    p->bus = bus_open(loop, &(struct bus_options){ .url = url }, &events, p, &e);
    CHECK_STR(e.text, "");
}

/* h: who listens; a, b: who dial. */
static struct party h, a, b;

static void open_all(void)
{
    port = nats_free_port();
    enter(&h, true);
    enter(&a, false);
    enter(&b, false);
    CHECK(reaches(&h.ups, 1, 2000) && reaches(&a.ups, 1, 2000) && reaches(&b.ups, 1, 2000));
}

static void close_all(void)
{
    bus_close(a.bus);
    bus_close(b.bus);
    bus_close(h.bus);
}

static void post(struct party *p, const char *subject, int i)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d", i);
    CHECK(bus_publish(p->bus, subject, "t.inbox", text, (size_t)n));
}

static void test_order(void)
{
    enum { N = 5000 };
    open_all();
    struct heard at_b = { 0 }, at_h = { 0 }, at_a = { 0 };
    bus_subscribe(b.bus, "t.*.x", NULL, hear, &at_b, NULL);
    bus_subscribe(h.bus, "t.>", NULL, hear, &at_h, NULL);
    bus_subscribe(a.bus, "t.n.x", NULL, hear, &at_a, NULL); /* itself */
    reaches(NULL, 0, 50);
    for (int i = 0; i < N; i++)
        post(&a, "t.n.x", i);
    CHECK(reaches(&at_b.count, N, 5000) && reaches(&at_h.count, N, 5000) && reaches(&at_a.count, N, 5000));
    CHECK(!at_b.wrong && !at_h.wrong && !at_a.wrong);
    CHECK_STR(at_b.reply, "t.inbox");
    at_b.count = at_h.count = 0;
    for (int i = 0; i < 100; i++)
        post(&h, "t.n.x", i);
    CHECK(reaches(&at_b.count, 100, 2000) && !at_b.wrong && at_h.count == 100 && !at_h.wrong);
    post(&b, "t.n", 0);
    post(&b, "t.n.x.y", 0);
    post(&b, "u.n.x", 0);
    reaches(NULL, 0, 50);
    CHECK(at_b.count == 100 && at_h.count == 102);
    close_all();
}

static void test_groups_and_leaving(void)
{
    open_all();
    struct heard one = { 0 }, two = { 0 }, all = { 0 };
    struct bus_sub *s = bus_subscribe(a.bus, "t.any", "workers", hear, &one, NULL);
    bus_subscribe(b.bus, "t.any", "workers", hear, &two, NULL);
    bus_subscribe(h.bus, "t.any", NULL, hear, &all, NULL);
    reaches(NULL, 0, 50);
    for (int i = 0; i < 100; i++)
        post(&h, "t.any", i);
    CHECK(reaches(&all.count, 100, 2000));
    reaches(NULL, 0, 50);
    CHECK(one.count == 50 && two.count == 50);
    bus_unsubscribe(s);
    reaches(NULL, 0, 50);
    for (int i = 0; i < 10; i++)
        post(&a, "t.any", i);
    CHECK(reaches(&two.count, 60, 2000) && one.count == 50);
    close_all();
}

static void test_sizes(void)
{
    open_all();
    struct heard at = { 0 };
    char *big = mem_new(1, BUS_MESSAGE_MAX + 1);
    memset(big, '0', BUS_MESSAGE_MAX + 1);
    bus_subscribe(b.bus, "t.big", NULL, hear, &at, NULL);
    reaches(NULL, 0, 50);
    CHECK(!bus_publish(a.bus, "t.big", NULL, big, BUS_MESSAGE_MAX + 1));
    CHECK(bus_publish(a.bus, "t.big", NULL, big, BUS_MESSAGE_MAX));
    CHECK(reaches(&at.count, 1, 3000));
    CHECK_INT(at.bytes, BUS_MESSAGE_MAX);
    CHECK_STR(at.reply, "");
    mem_free(big);
    close_all();
}

static void test_who_listens_goes_and_comes(void)
{
    open_all();
    struct heard at = { 0 };
    bus_subscribe(b.bus, "t.x", NULL, hear, &at, NULL);
    reaches(NULL, 0, 50);
    bus_close(h.bus);
    CHECK(reaches(&a.downs, 1, 2000) && reaches(&b.downs, 1, 2000));
    CHECK(!bus_is_up(a.bus) && !bus_publish(a.bus, "t.x", NULL, "0", 1));
    enter(&h, true);
    CHECK(reaches(&a.ups, 2, 3000) && reaches(&b.ups, 2, 3000));
    reaches(NULL, 0, 50);
    post(&a, "t.x", 0);
    CHECK(reaches(&at.count, 1, 2000));
    CHECK_INT(a.downs, 1);
    close_all();
}

static void test_hostile(void)
{
    static const char *const bytes[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x0c\0\0\0xxxxxxxxxxxxxxxxxxx",
        "\x0d\0\0\0\x01\1\0\0\0\0\0\0\0\0\0\0\0", "\x0d\0\0\0\x09\1\0\0\0\0\0\0\0\0\0\0\0",
        "\x0d\0\0\0\x03\0\0\0\0\0\0\0\0\xff\xff\0\0",
    };
    static const size_t sizes[] = { 27, 23, 17, 17, 17 };
    open_all();
    for (size_t i = 0; i < MEM_COUNT(bytes); i++) {
        char c;
        int s = nats_dial(port);
        CHECK(s >= 0 && write(s, bytes[i], sizes[i]) == (ssize_t)sizes[i]);
        reaches(NULL, 0, 50);
        CHECK(recv(s, &c, 1, MSG_DONTWAIT) <= 0 && (errno == ECONNRESET || recv(s, &c, 1, MSG_DONTWAIT) == 0));
        close(s);
    }
    struct heard at = { 0 };
    bus_subscribe(b.bus, "t.x", NULL, hear, &at, NULL);
    reaches(NULL, 0, 50);
    post(&a, "t.x", 0);
    CHECK(reaches(&at.count, 1, 2000));
    close_all();
}

static void test_addresses(void)
{
    static const char *const bad[] = { "direct://10.0.0.1:4000", "direct://127.0.0.1", "direct://127.0.0.1:0",
                                       "direct-listen://0.0.0.0:4000", "direct://127.0.0.1:99999", "direct://" };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        struct err e = { 0 };
        CHECK(!bus_open(loop, &(struct bus_options){ .url = bad[i] }, &(struct bus_events){ NULL }, NULL, &e));
        CHECK_INT(e.code, ERR_INVALID);
    }
}

int main(void)
{
    loop = loop_new(NULL);
    tick = loop_timer_new(loop, look, NULL);
    RUN(test_order);
    RUN(test_groups_and_leaving);
    RUN(test_sizes);
    RUN(test_who_listens_goes_and_comes);
    RUN(test_hostile);
    RUN(test_addresses);
    loop_timer_free(tick);
    loop_free(loop);
    DONE();
}
