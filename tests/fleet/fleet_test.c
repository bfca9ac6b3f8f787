/* fleet_test -- gateway and workers as processes of their own, over a real nats-server: killed, stopped, started anew,
 * cut off. Every client gets its answer once, whole and unchanged; the figures are how long it stood still.
 * Runs alone: it judges silences. */
#include "../test.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "fleet/gateway.h"
#include "fleet/worker.h"
#include "nats_server.h"

enum { WORKERS = 3, CALLS = 24, TOKENS = 60, TOKEN_MS = 10, WINDOW = 16, CALLS_MAX = 64, LONG = 4 };

static struct nats_server server;
static pid_t workers[WORKERS];

/* ---- the answer to request n: tokens and their bytes */

static uint32_t token_id(int n, int i)
{
    return (uint32_t)(100 + n * 1000 + i * 7 % 991);
}

static void token_bytes(int n, int i, struct buf *out)
{
    buf_printf(out, "%d.%d ", n, i * i % 1009);
}

/* ---- a worker process; its engine draws a token each TOKEN_MS, and at once those that it is told */

struct drawing {
    struct fleet_work *w;
    int n, next, known;
    int64_t credit;
};

static struct drawing drawings[CALLS_MAX];
static struct loop_timer *ticking;
static int64_t steps;

static void describe(void *arg, struct heartbeat *h)
{
    h->models = mem_new(1, sizeof *h->models);
    h->model_count = 1;
    struct heartbeat_model *m = h->models;
    snprintf(m->id, sizeof m->id, "m");
    snprintf(m->numerics, sizeof m->numerics, "%064d", 7);
    m->steps = steps;
    m->kv_pages = m->kv_pages_free = 100;
    m->tokens_per_s = 1000;
    m->facts = json_pack("{s:i}", "ctx", 4096);
    for (int i = 0; i < CALLS_MAX; i++)
        m->running += drawings[i].w != NULL;
}

static void say(struct drawing *d, enum frame_kind kind, uint16_t flags, const char *p, size_t n)
{
    struct frame f = { .kind = kind, .flags = flags, .payload = p, .length = n };
    fleet_work_frame(d->w, &f);
}

static void draw(struct drawing *d)
{
    struct buf b = { 0 };
    if (d->next == TOKENS) {
        static const char end[] = "{\"finish\":\"stop\",\"usage\":{\"prompt_tokens\":5,\"cached_tokens\":0}}";
        say(d, FRAME_END, 0, end, sizeof end - 1);
        *d = (struct drawing){ .w = NULL };
        return;
    }
    buf_put_u16(&b, 1);
    buf_put_u32(&b, token_id(d->n, d->next));
    token_bytes(d->n, d->next, &b);
    d->next++;
    d->credit--;
    say(d, FRAME_DATA, FRAME_TOKENS, b.data, b.len);
    buf_release(&b);
}

static void tick(void *arg)
{
    loop_timer_set(ticking, TOKEN_MS);
    steps++;
    for (int i = 0; i < CALLS_MAX; i++) {
        struct drawing *d = &drawings[i];
        while (d->w && d->next < d->known && d->credit > 0)
            draw(d);
        if (d->w && (d->credit > 0 || d->next == TOKENS))
            draw(d);
    }
}

static bool host_open(void *arg, struct fleet_work *w, const json_t *head, const char *body, size_t n, void **call,
                      int *status, const char **code, struct err *why)
{
    static const char start[] = "{\"status\":200,\"headers\":{}}", use[] = "{\"prompt_tokens\":5,\"cached_tokens\":0}";
    struct drawing *d = drawings;
    while (d->w)
        d++;
    const json_t *tokens = json_object_get(json_object_get(head, "resume"), "tokens");
    *d = (struct drawing){ .w = w, .n = (int)strtol(body, NULL, 10), .known = (int)json_array_size(tokens) };
    *call = d;
    say(d, FRAME_HEAD, 0, start, sizeof start - 1);
    say(d, FRAME_USAGE, 0, use, sizeof use - 1);
    return true;
}

static void host_credit(void *arg, void *call, uint32_t frames)
{
    ((struct drawing *)call)->credit += frames;
}

static void host_close(void *arg, void *call)
{
    *(struct drawing *)call = (struct drawing){ .w = NULL };
}

static void host_drain(void *arg)
{
}

static int worker_main(const char *url, const char *name)
{
    static const struct fleet_host host = { describe, host_open, host_credit, host_close, host_drain, NULL };
    static const struct bus_events quiet = { NULL, NULL, NULL };
    struct fleet_place me = { "eu", "north", "" };
    struct bus_options o = { .url = url, .name = "worker" };
    struct err e;
    snprintf(me.name, sizeof me.name, "%s", name);
    struct loop *l = loop_new(&e);
    struct bus *b = bus_open(l, &o, &quiet, NULL, &e);
    ticking = loop_timer_new(l, tick, NULL);
    tick(NULL);
    if (!b || !fleet_worker_new(l, b, &me, &host, NULL, &e))
        return 1;
    loop_run(l);
    return 0;
}

static void start_worker(int i)
{
    char name[16];
    snprintf(name, sizeof name, "w%d", i);
    workers[i] = fork();
    if (workers[i])
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl("/proc/self/exe", "fleet_test", server.url, name, (char *)NULL);
    _exit(127);
}

static void end_worker(int i)
{
    if (workers[i] > 0) {
        kill(workers[i], SIGKILL);
        waitpid(workers[i], NULL, 0);
    }
    workers[i] = 0;
}

/* ---- clients */

struct client {
    struct fleet_call call;
    int n, tokens, used;
    bool whole, failed, slow;
    struct buf bytes;
    int64_t last_ns, stood_ns;    /* when data last came; the longest it did not */
    int usages, heads;
};

static struct loop *loop;
static struct bus *bus;
static struct fleet_gateway *gateway;
static struct client clients[CALLS];
static struct loop_timer *stop;
static int over;

static void give(struct client *c, int frames)
{
    unsigned char le[4] = { (unsigned char)frames, 0, 0, 0 };
    fleet_call_send(&c->call, FRAME_CREDIT, 0, le, sizeof le);
}

static void client_data(struct client *c, const struct frame *f)
{
    const unsigned char *u = (const unsigned char *)f->payload;
    int count = u[0] | u[1] << 8;
    int64_t now = clock_mono_ns();
    for (int i = 0; i < count; i++, c->tokens++) {
        const unsigned char *t = u + 2 + 4 * i;
        uint32_t id = t[0] | (uint32_t)t[1] << 8 | (uint32_t)t[2] << 16 | (uint32_t)t[3] << 24;
        CHECK_INT(id, token_id(c->n, c->tokens));
    }
    buf_append(&c->bytes, f->payload + 2 + 4 * count, f->length - 2 - 4 * (size_t)count);
    if (c->last_ns && now - c->last_ns > c->stood_ns)
        c->stood_ns = now - c->last_ns;
    c->last_ns = now;
    if (++c->used == WINDOW / 2) {
        c->used = 0;
        give(c, WINDOW / 2);
    }
}

static void on_frame(struct fleet_call *call, const struct frame *f)
{
    struct client *c = call->arg;
    c->heads += f->kind == FRAME_HEAD;
    c->usages += f->kind == FRAME_USAGE;
    if (f->kind == FRAME_DATA)
        client_data(c, f);
    if (f->kind != FRAME_END && f->kind != FRAME_ERROR)
        return;
    c->failed = f->kind == FRAME_ERROR;
    if (c->failed)
        printf("# %.*s\n", (int)f->length, f->payload);
    struct buf want = { 0 };
    for (int i = 0; i < TOKENS; i++)
        token_bytes(c->n, i, &want);
    c->whole = c->tokens == TOKENS && c->bytes.len == want.len && !memcmp(c->bytes.data, want.data, want.len);
    buf_release(&want);
    if (++over == CALLS)
        loop_stop(loop);
}

static void on_stop(void *arg)
{
    loop_stop(loop);
}

static void spin(int64_t ms)
{
    loop_timer_set(stop, ms);
    loop_run(loop);
    loop_timer_clear(stop);
}

static int ready(void)
{
    struct fleet_model m = { .ready = 0 };
    if (fleet_gateway_model_count(gateway))
        fleet_gateway_model(gateway, 0, &m);
    return m.ready;
}

/* All clients ask; the body holds their number, and that of the first few is so many bytes long. */
static void ask_all(size_t body)
{
    struct buf b = { 0 };
    over = 0;
    for (int i = 0; i < CALLS; i++) {
        struct client *c = &clients[i];
        struct fleet_ask ask = { .model = "m", .resumable = true, .prompt_bytes = (int64_t)body };
        struct err e = { .text = "" };
        buf_release(&c->bytes);
        *c = (struct client){ .n = i, .call = { .frame = on_frame, .arg = c } };
        if (fleet_call_open(gateway, &ask, &c->call, &e)) {
            printf("# %s\n", e.text);
            CHECK(!"a request was refused");
            over++;
            continue;
        }
        buf_clear(&b);
        buf_printf(&b, "{\"method\":\"POST\",\"path\":\"/v1/x\"}\n%d ", i);
        while (i < LONG && b.len < body)
            buf_putc(&b, '.');
        fleet_call_send(&c->call, FRAME_REQUEST, 0, b.data, b.len);
        give(c, WINDOW);
    }
    buf_release(&b);
}

static void all_whole(const char *what, double most_s)
{
    int64_t stood = 0;
    int moved = 0;
    if (over < CALLS)
        spin(15000);
    CHECK_INT(over, CALLS);
    for (int i = 0; i < CALLS; i++) {
        struct client *c = &clients[i];
        CHECK(c->whole && !c->failed && c->heads == 1 && c->usages == 1);
        stood = c->stood_ns > stood ? c->stood_ns : stood;
        moved += c->call.attempts > 1;
        fleet_call_close(&c->call);
    }
    printf("# %s: %d of %d requests moved, none stood still longer than %.2f s\n", what, moved, CALLS,
           (double)stood / 1e9);
    CHECK((double)stood / 1e9 < most_s);
}

static void wait_ready(int n)
{
    for (int i = 0; i < 100 && ready() < n; i++)
        spin(50);
    CHECK_INT(ready(), n);
}

/* ---- what happens to them */

static void nothing_happens(void)
{
    wait_ready(WORKERS);
    ask_all(100);
    all_whole("fault-free", 1.0);
}

static void long_bodies(void)
{
    static const size_t sizes[] = { 900000, 1100000, 8 << 20 };
    for (size_t i = 0; i < MEM_COUNT(sizes); i++) {
        ask_all(sizes[i]);
        all_whole("bodies", 5.0);
    }
}

static void killed(void)
{
    ask_all(100);
    spin(200);
    end_worker(0);
    all_whole("kill -9", 2.5);
    start_worker(0);
    wait_ready(WORKERS);
}

static void stopped(void)
{
    ask_all(100);
    spin(200);
    kill(workers[1], SIGSTOP);
    all_whole("SIGSTOP", 2.5);
    kill(workers[1], SIGCONT); /* what it still sends is nobody's */
    wait_ready(WORKERS);
    ask_all(100);
    all_whole("after SIGCONT", 2.0);
}

static void started_anew(void)
{
    ask_all(100);
    spin(200);
    end_worker(2);
    start_worker(2); /* under the same name, within the time of a missed beat */
    all_whole("started anew", 2.5);
    wait_ready(WORKERS);
}

static void the_server_stops_for_a_while(void)
{
    ask_all(100);
    spin(300);
    kill(server.pid, SIGSTOP);
    spin(1000);
    kill(server.pid, SIGCONT);
    all_whole("broker stopped for 1 s", 4.0);
    wait_ready(WORKERS);
}

int main(int argc, char **argv)
{
    static const struct bus_events quiet = { NULL, NULL, NULL };
    static const struct fleet_place me = { "eu", "north", "gate" };
    struct err e = { .text = "" };
    log_set(LOG_ERROR, false);
    if (argc == 3)
        return worker_main(argv[1], argv[2]);
    if (!nats_server_program() || !nats_server_start(&server, NULL)) {
        printf("1..0 # SKIP no nats-server here\n");
        return 0;
    }
    for (int i = 0; i < WORKERS; i++)
        start_worker(i);
    struct bus_options o = { .url = server.url, .name = "gateway" };
    loop = loop_new(&e);
    stop = loop_timer_new(loop, on_stop, NULL);
    bus = bus_open(loop, &o, &quiet, NULL, &e);
    gateway = fleet_gateway_new(loop, bus, &me, NULL, NULL, &e);
    RUN(nothing_happens);
    RUN(long_bodies);
    RUN(killed);
    RUN(stopped);
    RUN(started_anew);
    RUN(the_server_stops_for_a_while);
    for (int i = 0; i < CALLS; i++) {
        fleet_call_close(&clients[i].call);
        buf_release(&clients[i].bytes);
    }
    fleet_gateway_free(gateway);
    bus_close(bus);
    loop_timer_free(stop);
    loop_free(loop);
    for (int i = 0; i < WORKERS; i++)
        end_worker(i);
    nats_server_end(&server);
    DONE();
}
