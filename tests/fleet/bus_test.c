/* bus_test -- the bus on a real server: order, wildcards, groups; killed, stopped, started again; what is refused.
 * Runs alone: it judges times. */
#include "../test.h"
#include "base/clock.h"
#include "base/mem.h"
#include "fleet/bus.h"
#include "nats_server.h"

#include <stdlib.h>

static struct loop *loop;
static struct nats_server server;

struct party {
    struct bus *bus;
    int ups, downs, refusals;
    char why[ERR_TEXT_MAX], refused[ERR_TEXT_MAX];
    int64_t down_ns;
};

static void went_up(void *arg)
{
    ((struct party *)arg)->ups++;
}

static void went_down(void *arg, const char *why)
{
    struct party *p = arg;
    p->downs++;
    p->down_ns = clock_mono_ns();
    snprintf(p->why, sizeof p->why, "%s", why);
}

static void was_refused(void *arg, const char *why)
{
    struct party *p = arg;
    p->refusals++;
    snprintf(p->refused, sizeof p->refused, "%s", why);
}

static const struct bus_events events = { went_up, went_down, was_refused };

struct heard {
    int count, wrong;
    size_t bytes;
    int64_t at_ns;
    char last[64], reply[64];
};

static void hear(void *arg, const struct bus_message *m)
{
    struct heard *h = arg;
    char number[16];
    snprintf(number, sizeof number, "%.*s", m->n < 15 ? (int)m->n : 15, m->data);
    h->wrong += strtol(number, NULL, 10) != h->count;
    h->count++;
    h->bytes += m->n;
    h->at_ns = clock_mono_ns();
    snprintf(h->last, sizeof h->last, "%s", m->subject);
    snprintf(h->reply, sizeof h->reply, "%s", m->reply);
}

/* ---- runs the loop until *what reaches want, or ms are over */

static struct loop_timer *tick;
static const int *watched;
static int wanted;
static int64_t until_ns;

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

static void enter(struct party *p, const struct bus_options *o)
{
    struct err e = { 0 };
    *p = (struct party){ 0 };
    p->bus = bus_open(loop, o, &events, p, &e);
    CHECK_STR(e.text, "");
    CHECK(p->bus && reaches(&p->ups, 1, 5000) && bus_is_up(p->bus));
}

static void enter_plain(struct party *p)
{
    enter(p, &(struct bus_options){ .url = server.url, .name = "test" });
}

static void post_numbers(struct party *p, const char *subject, int n)
{
    for (int i = 0; i < n; i++) {
        char text[16];
        int len = snprintf(text, sizeof text, "%d", i);
        CHECK(bus_publish(p->bus, subject, NULL, text, (size_t)len));
    }
}

static void test_order(void)
{
    enum { N = 5000 };
    struct party a, b;
    struct heard h = { 0 };
    enter_plain(&b);
    CHECK(bus_subscribe(b.bus, "t.order", NULL, hear, &h, NULL) != NULL);
    enter_plain(&a);
    reaches(NULL, 0, 100);
    int64_t start = clock_mono_ns();
    post_numbers(&a, "t.order", N);
    CHECK(reaches(&h.count, N, 10000));
    printf("# %d messages in %.0f ms\n", N, (double)(clock_mono_ns() - start) / 1e6);
    CHECK_INT(h.wrong, 0);
    CHECK_STR(h.last, "t.order");
    CHECK_STR(h.reply, "");
    bus_close(a.bus);
    bus_close(b.bus);
}

static void test_wildcards_and_replies(void)
{
    struct party a;
    struct heard star = { 0 }, rest = { 0 }, one = { 0 };
    enter_plain(&a);
    struct bus_sub *s = bus_subscribe(a.bus, "t.*.hb", NULL, hear, &star, NULL);
    bus_subscribe(a.bus, "t.>", NULL, hear, &rest, NULL);
    bus_subscribe(a.bus, "t.x.hb", NULL, hear, &one, NULL);
    CHECK(bus_publish(a.bus, "t.x.hb", "t.inbox", "0", 1));
    CHECK(bus_publish(a.bus, "t.y.hb", NULL, "1", 1));
    CHECK(bus_publish(a.bus, "t.y.z.hb", NULL, NULL, 0));
    CHECK(reaches(&rest.count, 3, 2000));
    CHECK_INT(star.count, 2);
    CHECK_INT(one.count, 1);
    CHECK_STR(one.reply, "t.inbox");
    bus_unsubscribe(s);
    CHECK(bus_publish(a.bus, "t.x.hb", NULL, "1", 1));
    CHECK(reaches(&one.count, 2, 2000));
    CHECK_INT(star.count, 2);
    struct err e = { 0 };
    CHECK(!bus_subscribe(a.bus, "t..x", NULL, hear, &star, &e) && e.code == ERR_INVALID);
    CHECK(!bus_subscribe(a.bus, "t.>.x", NULL, hear, &star, NULL) && !bus_subscribe(a.bus, "t x", NULL, hear, &star, NULL));
    CHECK(!bus_publish(a.bus, "t.*", NULL, "1", 1) && !bus_publish(a.bus, "", NULL, "1", 1) &&
          !bus_publish(a.bus, "t.x", "a\r\nPUB t.y 1", "1", 1));
    bus_close(a.bus);
}

static void test_queue(void)
{
    enum { N = 300 };
    struct party p[3];
    struct heard h[3] = { { 0 } };
    for (int i = 0; i < 3; i++)
        enter_plain(&p[i]);
    for (int i = 0; i < 2; i++)
        bus_subscribe(p[i].bus, "t.any", "workers", hear, &h[i], NULL);
    bus_subscribe(p[2].bus, "t.any", NULL, hear, &h[2], NULL);
    reaches(NULL, 0, 100);
    post_numbers(&p[2], "t.any", N);
    CHECK(reaches(&h[2].count, N, 3000));
    reaches(NULL, 0, 100);
    CHECK_INT(h[0].count + h[1].count, N);
    CHECK(h[0].count > N / 10 && h[1].count > N / 10);
    for (int i = 0; i < 3; i++)
        bus_close(p[i].bus);
}

static void test_sizes(void)
{
    struct party a;
    struct heard h = { 0 };
    enter_plain(&a);
    bus_subscribe(a.bus, "t.big", NULL, hear, &h, NULL);
    char *big = mem_new(1, BUS_MESSAGE_MAX + 1);
    memset(big, '0', BUS_MESSAGE_MAX + 1);
    CHECK(!bus_publish(a.bus, "t.big", NULL, big, BUS_MESSAGE_MAX + 1));
    CHECK(bus_publish(a.bus, "t.big", NULL, big, 700000));
    CHECK(bus_publish(a.bus, "t.big", NULL, big, BUS_MESSAGE_MAX));
    CHECK(reaches(&h.count, 2, 5000));
    CHECK_INT(h.bytes, 700000 + BUS_MESSAGE_MAX);
    mem_free(big);
    bus_close(a.bus);
}

/* What waits to be sent is bounded; what was taken arrives. */
static void test_full(void)
{
    enum { SIZE = 700000, FIT = BUS_PENDING_MAX / SIZE };
    struct party a, b;
    struct heard h = { 0 };
    int taken = 0;
    enter_plain(&a);
    enter_plain(&b);
    bus_subscribe(a.bus, "t.full", NULL, hear, &h, NULL);
    reaches(NULL, 0, 100);
    char *big = mem_new(1, SIZE);
    while (taken < 2 * FIT && bus_publish(b.bus, "t.full", NULL, big, SIZE)) /* nobody runs the loop */
        taken++;
    printf("# %d messages taken\n", taken);
    CHECK(taken >= FIT - 1 && taken <= FIT);
    CHECK(reaches(&h.count, taken, 10000));
    CHECK_INT(h.bytes, (int64_t)taken * SIZE);
    CHECK(a.downs == 0 && b.downs == 0 && bus_publish(b.bus, "t.full", NULL, big, SIZE));
    mem_free(big);
    bus_close(a.bus);
    bus_close(b.bus);
}

static void test_killed_and_back(void)
{
    struct party a;
    struct heard h = { 0 };
    enter_plain(&a);
    bus_subscribe(a.bus, "t.k", NULL, hear, &h, NULL);
    reaches(NULL, 0, 50);
    nats_server_kill(&server);
    CHECK(reaches(&a.downs, 1, 2000));
    CHECK(!bus_is_up(a.bus) && !bus_publish(a.bus, "t.k", NULL, "0", 1));
    printf("# %s\n", a.why);
    struct heard late = { 0 };
    bus_subscribe(a.bus, "t.k", NULL, hear, &late, NULL); /* while it is away */
    reaches(NULL, 0, 500);
    int64_t start = clock_mono_ns();
    CHECK(nats_server_run(&server));
    CHECK(reaches(&a.ups, 2, 4000));
    printf("# up again %.0f ms after the server\n", (double)(clock_mono_ns() - start) / 1e6);
    CHECK(bus_publish(a.bus, "t.k", NULL, "0", 1));
    CHECK(reaches(&h.count, 1, 2000) && reaches(&late.count, 1, 2000));
    CHECK_INT(a.downs, 1);
    bus_close(a.bus);
}

/* A server that stands still keeps its sockets open: only the pings tell. The loop must not stand still with it. */
static void test_stopped_and_back(void)
{
    struct party a;
    struct heard h = { 0 };
    enter_plain(&a);
    bus_subscribe(a.bus, "t.s", NULL, hear, &h, NULL);
    reaches(NULL, 0, 50);
    kill(server.pid, SIGSTOP);
    int64_t start = clock_mono_ns(), longest = 0;
    char *some = mem_new(1, 100000);
    for (int i = 0; i < 600 && !a.downs; i++) { /* fills the socket's buffers meanwhile */
        int64_t before = clock_mono_ns();
        bus_publish(a.bus, "t.other", NULL, some, 100000);
        int64_t took = clock_mono_ns() - before;
        longest = took > longest ? took : longest;
        reaches(&a.downs, 1, 10);
    }
    double noticed = (double)(a.down_ns - start) / 1e9;
    printf("# noticed after %.2f s; the longest publish took %.2f ms: %s\n", noticed, (double)longest / 1e6, a.why);
    CHECK_INT(a.downs, 1);
    CHECK(noticed < 4.5);
    CHECK(longest < 500 * 1000000LL);
    reaches(NULL, 0, 300);
    start = clock_mono_ns();
    kill(server.pid, SIGCONT);
    CHECK(reaches(&a.ups, 2, 4000));
    printf("# up again %.0f ms after the server\n", (double)(clock_mono_ns() - start) / 1e6);
    CHECK(bus_publish(a.bus, "t.s", NULL, "0", 1));
    CHECK(reaches(&h.count, 1, 2000));
    mem_free(some);
    bus_close(a.bus);
}

static void test_not_there(void)
{
    struct party p = { 0 };
    char url[64];
    snprintf(url, sizeof url, "nats://me:secret@127.0.0.1:%d", nats_free_port());
    struct bus_options o = { .url = url };
    p.bus = bus_open(loop, &o, &events, &p, NULL);
    CHECK(reaches(&p.downs, 1, 3000));
    CHECK(strstr(p.why, "cannot reach the bus at nats://127.0.0.1:") && !strstr(p.why, "secret"));
    reaches(NULL, 0, 300);
    CHECK_INT(p.downs, 1);
    bus_close(p.bus);
    static const struct bus_options bad[] = {
        { .url = "http://x" }, { .url = NULL }, { .url = "nats://a:4222,b:4222" },
        { .url = "nats://a", .ca = "/nonexistent" }, { .url = "nats://a", .user = "u" },
        { .url = "nats://a", .cert = "/dev/null" }, { .url = "tls://a", .ca = "/dev/null" },
    };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        struct err e = { 0 };
        CHECK(!bus_open(loop, &bad[i], &events, &p, &e) && e.text[0]);
    }
}

static void test_permissions(void)
{
    struct nats_server guarded;
    CHECK(nats_server_start(&guarded,
                            "accounts { T { users = [ { user: w, password: pw, permissions: {\n"
                            "  publish: [\"tw.v1.ch.>\"], subscribe: [\"tw.v1.ch.>\"] } } ] } }\n"));
    struct party p;
    struct heard h = { 0 };
    enter(&p, &(struct bus_options){ .url = guarded.url, .user = "w", .password = "pw" });
    bus_subscribe(p.bus, "tw.v1.ch.x", NULL, hear, &h, NULL);
    CHECK(bus_publish(p.bus, "tw.v1.us.x", NULL, "0", 1));
    CHECK(reaches(&p.refusals, 1, 2000));
    CHECK(strstr(p.refused, "tw.v1.us.x") && strstr(p.refused, "ermissions"));
    bus_subscribe(p.bus, "tw.v1.us.y", NULL, hear, &h, NULL);
    CHECK(reaches(&p.refusals, 2, 2000));
    CHECK(strstr(p.refused, "tw.v1.us.y") != NULL);
    CHECK(bus_publish(p.bus, "tw.v1.ch.x", NULL, "0", 1)); /* and it goes on */
    CHECK(reaches(&h.count, 1, 2000));
    CHECK_INT(p.downs, 0);
    bus_close(p.bus);
    struct party q = { 0 };
    struct bus_options wrong = { .url = guarded.url, .user = "w", .password = "no" };
    q.bus = bus_open(loop, &wrong, &events, &q, NULL);
    CHECK(reaches(&q.downs, 1, 3000));
    CHECK(q.refusals == 1 && strstr(q.refused, "is not let into the bus"));
    reaches(NULL, 0, 1200); /* it keeps trying, and says it once */
    CHECK(q.refusals == 1 && q.downs == 1);
    bus_close(q.bus);
    nats_server_end(&guarded);
}

/* Certificates of an authority of our own, by the openssl program; false when there is none. */
static bool make_certificates(const char *dir)
{
    static const char script[] =
        "cd \"$1\" && K='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2' &&"
        "openssl req -x509 $K -keyout ca.key -out ca.pem -subj /CN=fleet &&"
        "for who in server client; do"
        "  openssl req $K -keyout $who.key -out $who.csr -subj /CN=$who &&"
        "  echo subjectAltName=IP:127.0.0.1 > ext &&"
        "  openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $who.pem"
        "  || exit 1; done;"
        "openssl req -x509 $K -keyout other.key -out other.pem -subj /CN=other";
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(null, 2);
        execl("/bin/sh", "sh", "-ec", script, "sh", dir, (char *)NULL);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static void test_mutual_tls(void)
{
    char dir[] = "/tmp/tw_nats_tls_XXXXXX", config[700], ca[64], cert[64], key[64], other[64], url[64];
    if (!mkdtemp(dir) || !make_certificates(dir))
        SKIP("no openssl program to make certificates with");
    snprintf(config, sizeof config, "tls { cert_file: \"%s/server.pem\", key_file: \"%s/server.key\", "
             "ca_file: \"%s/ca.pem\", verify: true }", dir, dir, dir);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    snprintf(cert, sizeof cert, "%s/client.pem", dir);
    snprintf(key, sizeof key, "%s/client.key", dir);
    snprintf(other, sizeof other, "%s/other.pem", dir);
    struct nats_server tls;
    CHECK(nats_server_start(&tls, config));
    snprintf(url, sizeof url, "tls://127.0.0.1:%d", tls.port);
    struct party p;
    struct heard h = { 0 };
    enter(&p, &(struct bus_options){ .url = url, .ca = ca, .cert = cert, .key = key });
    bus_subscribe(p.bus, "t.tls", NULL, hear, &h, NULL);
    post_numbers(&p, "t.tls", 100);
    CHECK(reaches(&h.count, 100, 3000) && !h.wrong);
    bus_close(p.bus);
    snprintf(config, sizeof config, "tls://localhost:%d", tls.port); /* the certificate has the address alone */
    struct bus_options refused[] = {
        { .url = url, .ca = ca }, { .url = url, .ca = other, .cert = cert, .key = key },
        { .url = config, .ca = ca, .cert = cert, .key = key }, { .url = tls.url },
    };
    for (size_t i = 0; i < MEM_COUNT(refused); i++) {
        struct party q = { 0 };
        q.bus = bus_open(loop, &refused[i], &events, &q, NULL);
        CHECK(reaches(&q.downs, 1, 4000));
        CHECK_INT(q.ups, 0);
        printf("# %s\n", q.why);
        bus_close(q.bus);
    }
    nats_server_end(&tls);
    nats_remove(dir);
}

/* ---- how long a message takes, there and back */

struct pong {
    struct bus *bus;
    int count;
    int64_t sent_ns, sum_ns, worst_ns;
};

static void reply(void *arg, const struct bus_message *m)
{
    bus_publish(arg, m->reply, NULL, m->data, m->n);
}

static void send_ping(struct pong *p)
{
    p->sent_ns = clock_mono_ns();
    bus_publish(p->bus, "t.ping", "t.pong", "x", 1);
}

static void back(void *arg, const struct bus_message *m)
{
    struct pong *p = arg;
    int64_t took = clock_mono_ns() - p->sent_ns;
    p->sum_ns += took;
    p->worst_ns = took > p->worst_ns ? took : p->worst_ns;
    p->count++;
    send_ping(p);
}

static void test_there_and_back(void)
{
    enum { N = 2000 };
    struct party a, b;
    enter_plain(&a);
    enter_plain(&b);
    struct pong p = { .bus = a.bus };
    bus_subscribe(b.bus, "t.ping", NULL, reply, b.bus, NULL);
    bus_subscribe(a.bus, "t.pong", NULL, back, &p, NULL);
    reaches(NULL, 0, 100);
    send_ping(&p);
    CHECK(reaches(&p.count, N, 10000));
    printf("# there and back: %.0f us on average, %.0f us at worst, of %d\n", (double)p.sum_ns / 1e3 / p.count,
           (double)p.worst_ns / 1e3, p.count);
    bus_close(a.bus);
    bus_close(b.bus);
}

int main(void)
{
    if (!nats_server_program()) {
        printf("ok 1 - bus # SKIP nats-server is not installed\n1..1\n");
        return 0;
    }
    loop = loop_new(NULL);
    tick = loop_timer_new(loop, look, NULL);
    if (!nats_server_start(&server, NULL))
        return 1;
    RUN(test_order);
    RUN(test_there_and_back);
    RUN(test_wildcards_and_replies);
    RUN(test_queue);
    RUN(test_sizes);
    RUN(test_full);
    RUN(test_killed_and_back);
    RUN(test_stopped_and_back);
    RUN(test_not_there);
    RUN(test_permissions);
    RUN(test_mutual_tls);
    nats_server_end(&server);
    loop_timer_free(tick);
    loop_free(loop);
    DONE();
}
