/* worker_test -- a worker with a made host on the fake bus: parts, what does not fit, attempts, credit, coalescing,
 * gateways that go, connections that go, draining; and with the real gateway on the other end.
 * Runs alone: it judges times. */
#include "../test.h"
#include "base/clock.h"
#include "fake_bus.h"
#include "fleet/crc32.h"
#include "fleet/gateway.h"
#include "fleet/worker.h"

#include <stdlib.h>

static struct loop *loop;
static struct bus bus;
static struct fleet_worker *worker;
static const struct fleet_place me = { "ch", "zurich", "box" }, gate = { "ch", "bern", "door" };
static char req[FLEET_SUBJECT_MAX], inbox[FLEET_SUBJECT_MAX];

/* ---- the host */

static struct made_host {
    struct fleet_work *work;
    int opened, closed, drained, credits;
    uint32_t credit;
    size_t body_n;
    uint32_t body_crc;
    json_t *head;
    const char *refuse;           /* code */
    enum frame_kind at_once;      /* a frame sent from inside open; 0: none */
    int models;
    int64_t facts;
    bool stands, stood;           /* its engine does; as last said */
} host;

static void describe(void *arg, struct heartbeat *h)
{
    h->models = mem_new(2, sizeof *h->models);
    h->model_count = host.models;
    for (int i = 0; i < host.models; i++) {
        snprintf(h->models[i].id, sizeof h->models[i].id, "m%d", i);
        memset(h->models[i].numerics, 'a', 64);
        h->models[i].facts = json_pack("{s:I}", "ctx", (json_int_t)host.facts);
        h->models[i].kv_pages = h->models[i].kv_pages_free = 100;
        h->models[i].tokens_per_s = 100;
        h->models[i].stands = host.stands;
    }
}

static void answer(enum frame_kind kind, const char *text)
{
    struct frame f = { .kind = kind, .payload = text, .length = strlen(text) };
    fleet_work_frame(host.work, &f);
}

static bool host_open(void *arg, struct fleet_work *w, const json_t *head, const char *body, size_t n, void **call,
                      int *status, const char **code, struct err *why)
{
    host.opened++;
    host.body_n = n;
    host.body_crc = fleet_crc32(0, body, n);
    json_decref(host.head);
    host.head = json_deep_copy(head);
    if (host.refuse) {
        *status = 404;
        *code = host.refuse;
        err_set(why, ERR_NOT_FOUND, "no such thing");
        return false;
    }
    host.work = w;
    *call = &host;
    if (host.at_once)
        answer(host.at_once, "{\"finish\":\"stop\"}");
    return true;
}

static void host_credit(void *arg, void *call, uint32_t frames)
{
    CHECK(call == &host);
    host.credits++;
    host.credit += frames;
}

static void host_close(void *arg, void *call)
{
    CHECK(call == &host);
    host.closed++;
    host.work = NULL;
}

static void host_drain(void *arg)
{
    host.drained++;
    fleet_worker_drain(worker);
}

static bool host_alarm(void *arg)
{
    bool due = host.stands != host.stood;
    host.stood = host.stands;
    return due;
}

/* ---- the gateway's end */

static struct seen {
    int frames, messages, signs, hellos;
    enum frame_kind kinds[64];
    uint64_t seqs[64], sign_seq;
    uint32_t attempt;
    char last[600], reply[FLEET_SUBJECT_MAX];
    size_t bytes;                 /* of data */
    int64_t at_ns[64];
} seen;

static int beats;
static struct heartbeat last_beat;
static bool had_facts;

static void on_inbox(void *arg, const struct bus_message *m)
{
    seen.messages++;
    snprintf(seen.reply, sizeof seen.reply, "%s", m->reply);
    for (size_t at = 0; at < m->n;) {
        struct frame f;
        long n = frame_parse(m->data + at, m->n - at, &f, NULL);
        CHECK(n > 0);
        if (n <= 0)
            return;
        at += (size_t)n;
        if (f.kind == FRAME_HELLO) {
            seen.hellos++;
            continue;
        }
        if (f.kind == FRAME_CREDIT) {
            seen.signs++;
            seen.sign_seq = f.seq;
            continue;
        }
        int i = seen.frames++ & 63;
        seen.kinds[i] = f.kind;
        seen.seqs[i] = f.seq;
        seen.at_ns[i] = clock_mono_ns();
        seen.attempt = f.attempt;
        seen.bytes += f.kind == FRAME_DATA ? f.length : 0;
        snprintf(seen.last, sizeof seen.last, "%.*s", (int)(f.length < 500 ? f.length : 500), f.payload);
    }
}

static void on_beat(void *arg, const struct bus_message *m)
{
    struct err e = { 0 };
    heartbeat_release(&last_beat);
    CHECK(!heartbeat_read(m->data, m->n, &last_beat, &e));
    CHECK_STR(e.text, "");
    beats++;
    had_facts = last_beat.model_count && last_beat.models[0].facts;
}

static void stop(void *arg)
{
    loop_stop(loop);
}

static struct loop_timer *stopper;

static void turn(int ms)
{
    loop_timer_set(stopper, ms);
    loop_run(loop);
}

static void post(enum frame_kind kind, uint16_t flags, uint64_t id, uint32_t attempt, uint64_t seq, const void *p,
                 size_t n)
{
    struct buf b = { 0 };
    struct frame f = { .kind = kind, .flags = flags, .id = id, .attempt = attempt, .seq = seq, .payload = p,
                       .length = n };
    frame_write(&b, &f);
    CHECK(bus_publish(&bus, req, inbox, b.data, b.len));
    buf_release(&b);
}

static void post_credit(uint64_t id, uint32_t attempt, uint64_t seq, uint32_t frames)
{
    unsigned char le[4] = { (unsigned char)frames, (unsigned char)(frames >> 8), 0, 0 };
    post(FRAME_CREDIT, 0, id, attempt, seq, le, sizeof le);
}

static char pattern[3 << 20];

/* A request of n bytes in parts. Returns how many. Where: what "jurisdictions" holds. */
static int ask_where(uint64_t id, uint32_t attempt, size_t n, uint32_t crc, const char *where)
{
    struct buf b = { 0 };
    buf_printf(&b, "{\"model\":\"m0\",\"body_bytes\":%zu,\"body_crc32\":%u,\"jurisdictions\":[%s]}\n", n, crc, where);
    size_t at = n < 1000 ? n : 1000;
    buf_append(&b, pattern, at);
    int parts = 0;
    post(FRAME_REQUEST, at < n ? FRAME_MORE : 0, id, attempt, (uint64_t)parts++, b.data, b.len);
    while (at < n) {
        size_t m = n - at < FLEET_PART_MAX ? n - at : FLEET_PART_MAX;
        post(FRAME_REQUEST, at + m < n ? FRAME_MORE : 0, id, attempt, (uint64_t)parts++, pattern + at, m);
        at += m;
    }
    buf_release(&b);
    return parts;
}

static int ask(uint64_t id, uint32_t attempt, size_t n)
{
    return ask_where(id, attempt, n, fleet_crc32(0, pattern, n), "\"de\",\"ch\"");
}

static void begin(void)
{
    static const struct fleet_host made = { describe, host_open, host_credit, host_close, host_drain, host_alarm };
    json_decref(host.head);
    host = (struct made_host){ .models = 1, .facts = 1 };
    seen = (struct seen){ 0 };
    bus.up = true;
    beats = 0;
    worker = fleet_worker_new(loop, &bus, &me, &made, NULL, NULL);
    turn(20);
}

static void finish(void)
{
    fleet_worker_free(worker);
    turn(10);
}

static bool saw_error(const char *code, int status)
{
    char want[80];
    snprintf(want, sizeof want, "\"code\":\"%s\"", code);
    int got = 0;
    if (seen.frames)
        sscanf(seen.last, "{\"status\":%d", &got);
    bool ok = seen.frames && seen.kinds[(seen.frames - 1) & 63] == FRAME_ERROR && strstr(seen.last, want) &&
              got == status;
    if (!ok)
        printf("# %d frames, the last: %s\n", seen.frames, seen.last);
    return ok;
}

/* ---- tests */

/* That an engine stands is said at once, and that it does not any more. */
static void test_alarm(void)
{
    begin();
    for (int i = 1; i <= 4; i++) {
        turn(HEARTBEAT_MS); /* a beat was just said, or is about to be */
        int before = beats;
        host.stands = i & 1;
        turn(2 * WORKER_TICK_MS);
        CHECK(beats > before);
        CHECK_INT(last_beat.models[0].stands, i & 1);
    }
    finish();
}

static void test_whole_exchange(void)
{
    begin();
    int parts = ask(7, 3, 2500000);
    CHECK(parts > 4);
    post_credit(7, 3, (uint64_t)parts, 5);
    turn(30);
    CHECK_INT(host.opened, 1);
    CHECK_INT(host.body_n, 2500000);
    CHECK_INT(host.body_crc, fleet_crc32(0, pattern, 2500000));
    CHECK_INT(host.credit, 5);
    CHECK_INT(host.credits, 2); /* 0 first: it has none until the gateway gives some */
    answer(FRAME_HEAD, "{\"status\":200}");
    answer(FRAME_USAGE, "{}");
    answer(FRAME_DATA, "hello");
    turn(10);
    CHECK(seen.frames == 3 && seen.messages == 1);
    CHECK_STR(seen.reply, req);
    CHECK_INT(seen.attempt, 3);
    answer(FRAME_END, "{}");
    turn(10);
    CHECK(seen.frames == 4 && seen.kinds[3] == FRAME_END && seen.seqs[3] == 3 && seen.seqs[0] == 0);
    CHECK_INT(fleet_worker_busy(worker), 0);
    CHECK_INT(host.closed, 0);
    finish();
}

static void refused(size_t n, uint32_t crc, const char *where, const char *code, int status)
{
    begin();
    ask_where(1, 0, n, crc, where);
    turn(20);
    CHECK(saw_error(code, status));
    CHECK_INT(host.opened, 0);
    CHECK_INT(fleet_worker_busy(worker), 0);
    finish();
}

/* The policy names sites: ours is not among them. */
static void refused_elsewhere(void)
{
    struct buf b = { 0 };
    buf_printf(&b, "{\"body_bytes\":0,\"jurisdictions\":[\"ch\"],\"places\":[\"de/%s\",\"ch/elsewhere\"]}\n", me.site);
    post(FRAME_REQUEST, 0, 9, 0, 0, b.data, b.len);
    turn(10);
    CHECK(saw_error("residency", 403));
    CHECK_INT(host.opened, 0);
    buf_release(&b);
    seen = (struct seen){ 0 };
}

static void test_refused(void)
{
    refused(5000, 1, "\"ch\"", "body_crc32", 400);
    refused(5000, fleet_crc32(0, pattern, 5000), "\"de\",\"fr\"", "residency", 403);
    refused(5000, fleet_crc32(0, pattern, 5000), "", "residency", 403);
    static const struct {
        const char *head, *code;
        int status;
    } heads[] = {
        { "{\"body_bytes\":33554433,\"jurisdictions\":[\"ch\"]}\n", "request_too_large", 413 },
        { "{\"body_bytes\":-1,\"jurisdictions\":[\"ch\"]}\n", "bad_head", 400 },
        { "{\"jurisdictions\":[\"ch\"]}\n", "bad_head", 400 }, { "[]\n", "bad_head", 400 }, { "{}", "bad_head", 400 },
        { "not\n", "bad_head", 400 }, { "{\"body_bytes\":2,\"jurisdictions\":[\"ch\"]}\nabc", "body_too_long", 400 },
        { "{\"body_bytes\":4,\"jurisdictions\":[\"ch\"]}\nabc", "body_too_short", 400 },
    };
    begin();
    refused_elsewhere();
    for (size_t i = 0; i < MEM_COUNT(heads); i++) {
        post(FRAME_REQUEST, 0, 10 + i, 0, 0, heads[i].head, strlen(heads[i].head));
        turn(10);
        CHECK(saw_error(heads[i].code, heads[i].status));
    }
    CHECK_INT(seen.frames, MEM_COUNT(heads));
    host.refuse = "model_not_found";
    ask(50, 0, 10);
    turn(10);
    CHECK(saw_error("model_not_found", 404));
    CHECK_INT(fleet_worker_busy(worker), 0);
    finish();
}

static void test_ends_inside_open(void)
{
    begin();
    host.at_once = FRAME_END;
    ask(1, 0, 10);
    turn(20);
    CHECK(seen.frames == 1 && seen.kinds[0] == FRAME_END);
    CHECK(host.closed == 0 && fleet_worker_busy(worker) == 0);
    finish();
}

static void test_lost_parts(void)
{
    begin();
    struct buf b = { 0 };
    buf_puts(&b, "{\"body_bytes\":9,\"jurisdictions\":[\"ch\"]}\nabc");
    post(FRAME_REQUEST, FRAME_MORE, 1, 0, 0, b.data, b.len);
    post(FRAME_REQUEST, 0, 1, 0, 2, "ghi", 3); /* part 1 is lost */
    turn(20);
    CHECK(saw_error("frames_lost", 503));
    post(FRAME_REQUEST, 0, 2, 0, 1, "ghi", 3); /* the first one is lost: asked about later */
    turn(10);
    CHECK_INT(seen.frames, 1);
    post_credit(2, 0, 2, 0);
    turn(10);
    CHECK(saw_error("unknown_exchange", 503));
    buf_release(&b);
    finish();
}

static void test_attempts(void)
{
    begin();
    ask(1, 1, 10);
    turn(10);
    struct fleet_work *first = host.work;
    ask(1, 0, 10); /* an older one */
    post(FRAME_CANCEL, 0, 1, 0, 1, NULL, 0);
    turn(10);
    CHECK(host.opened == 1 && host.closed == 0 && host.work == first);
    ask(1, 2, 10);
    turn(10);
    CHECK(host.opened == 2 && host.closed == 1);
    answer(FRAME_HEAD, "{\"status\":200}");
    turn(20);
    CHECK_INT(seen.attempt, 2);
    post(FRAME_CANCEL, 0, 1, 2, 1, NULL, 0);
    turn(10);
    CHECK(host.closed == 2 && fleet_worker_busy(worker) == 0);
    CHECK_INT(seen.frames, 1);
    finish();
}

static void test_probe_and_hello(void)
{
    begin();
    ask(1, 0, 10);
    turn(10);
    answer(FRAME_HEAD, "{\"status\":200}");
    answer(FRAME_DATA, "a");
    answer(FRAME_DATA, "b"); /* still waits to be coalesced: the probe takes it along */
    post_credit(1, 0, 1, 0);
    post(FRAME_HELLO, 0, 5, 0, 77, NULL, 0);
    turn(5);
    CHECK(seen.frames == 3 && seen.signs == 1 && seen.sign_seq == 3 && seen.hellos == 1);
    fleet_work_lost(host.work, "the engine died");
    turn(5);
    CHECK(saw_error("engine_lost", 503));
    CHECK_INT(seen.seqs[3], 3);
    finish();
}

static void test_coalescing(void)
{
    enum { TOKENS = 48 };
    begin();
    ask(1, 0, 10);
    turn(10);
    answer(FRAME_HEAD, "{\"status\":200}");
    turn(20);
    CHECK_INT(seen.messages, 1); /* alone, after 8 ms */
    for (int i = 0; i < TOKENS; i++) {
        struct frame f = { .kind = FRAME_DATA, .flags = FRAME_TOKENS, .payload = "\1\0\7\0\0\0x", .length = 7 };
        fleet_work_frame(host.work, &f);
    }
    turn(1);
    CHECK_INT(seen.messages, 1 + 1); /* what one turn of the loop sends is one message: */
    CHECK_INT(seen.frames, 1 + 1 + 47 / 16 * 16); /* the first at once, then 16 and 16 */
    int64_t before = clock_mono_ns();
    turn(40);
    CHECK_INT(seen.frames, 1 + TOKENS);
    CHECK_INT(seen.messages, 1 + 1 + 1);
    CHECK(seen.at_ns[TOKENS] - before < 35 * 1000000LL);
    for (int i = 0; i <= TOKENS; i++)
        CHECK_INT(seen.seqs[i], i);
    int64_t slow = clock_mono_ns();
    answer(FRAME_DATA, "y"); /* after a silence: nothing to wait for */
    turn(30);
    CHECK_INT(seen.messages, 1 + 1 + 1 + 1);
    CHECK(seen.at_ns[1 + TOKENS] - slow < 6 * 1000000LL);
    struct frame big = { .kind = FRAME_DATA, .payload = pattern, .length = 1 << 20 };
    fleet_work_frame(host.work, &big);
    answer(FRAME_END, "{}");
    turn(10);
    CHECK_INT(seen.bytes, 7 * TOKENS + 1 + (1 << 20));
    CHECK_INT(seen.kinds[(seen.frames - 1) & 63], FRAME_END);
    finish();
}

static void post_gate_beat(uint64_t boot)
{
    char subject[FLEET_SUBJECT_MAX], text[80];
    fleet_subject(&gate, 'g', "hb", subject);
    int n = snprintf(text, sizeof text, "{\"v\":1,\"boot\":\"%016llx\"}", (unsigned long long)boot);
    bus_publish(&bus, subject, NULL, text, (size_t)n);
}

static void test_gateway_gone(void)
{
    begin();
    post_gate_beat(1);
    ask(1, 0, 10);
    turn(10);
    post_gate_beat(1);
    turn(10);
    CHECK_INT(host.closed, 0);
    post_gate_beat(2); /* started anew */
    turn(10);
    CHECK_INT(host.closed, 1);
    ask(2, 0, 10);
    turn(ORPHAN_MS - 300);
    CHECK_INT(host.closed, 1);
    turn(600);
    CHECK_INT(host.closed, 2);
    CHECK_INT(fleet_worker_busy(worker), 0);
    finish();
}

/* A request whose CANCEL was lost: its gateway lives and does not ask for it, and its engine waits for credit. */
static void test_forgotten(void)
{
    begin();
    uint64_t seq = (uint64_t)ask(1, 0, 10);
    for (int i = 0; i < 5; i++) { /* probed: it stays */
        post_gate_beat(1);
        turn(ORPHAN_MS / 4);
        post_credit(1, 0, seq++, 0);
    }
    CHECK_INT(host.closed, 0);
    CHECK(seen.signs == 4 || seen.signs == 5);
    for (int i = 0; i < 5; i++) {
        post_gate_beat(1);
        turn(ORPHAN_MS / 4);
    }
    CHECK_INT(host.closed, 1);
    CHECK_INT(fleet_worker_busy(worker), 0);
    finish();
}

static void test_connection_away(void)
{
    begin();
    ask(1, 0, 10);
    turn(10);
    answer(FRAME_HEAD, "{\"status\":200}");
    answer(FRAME_DATA, "a");
    turn(10);
    bus.up = false;
    answer(FRAME_DATA, "b");
    turn(100);
    answer(FRAME_DATA, "c");
    answer(FRAME_END, "{}");
    turn(100);
    CHECK_INT(seen.frames, 2);
    bus.up = true;
    turn(100);
    CHECK(seen.frames == 5 && seen.kinds[4] == FRAME_END && seen.seqs[4] == 4);
    CHECK_INT(fleet_worker_busy(worker), 0);
    ask(2, 0, 10); /* one that says too much meanwhile */
    turn(10);
    bus.up = false;
    struct frame big = { .kind = FRAME_DATA, .payload = pattern, .length = 500000 };
    for (int i = 0; i < 9 && host.work; i++)
        fleet_work_frame(host.work, &big);
    CHECK_INT(host.closed, 1);
    bus.up = true;
    turn(100);
    CHECK(saw_error("engine_lost", 503));
    ask(3, 0, 10); /* and one that waits in vain */
    turn(10);
    bus.up = false;
    turn(4700);
    CHECK_INT(host.closed, 1);
    turn(600);
    CHECK_INT(host.closed, 2);
    finish();
    bus.up = true;
}

static void test_drain_and_beats(void)
{
    char ctl[FLEET_SUBJECT_MAX];
    fleet_subject(&me, 'w', "ctl", ctl);
    begin();
    turn(300);
    CHECK(beats >= 2 && last_beat.model_count == 1 && !last_beat.draining && last_beat.boot);
    CHECK(!had_facts); /* said with the first beat */
    host.facts = 2;
    int before = beats;
    for (int i = 0; i < 40 && beats == before; i++)
        turn(10);
    CHECK(had_facts); /* changed */
    ask(1, 0, 10);
    turn(10);
    bus_publish(&bus, ctl, NULL, "{\"drain\":true}", 14);
    turn(10);
    CHECK(host.drained == 1 && last_beat.draining);
    ask(2, 0, 10);
    turn(10);
    CHECK(saw_error("draining", 503));
    CHECK(host.closed == 0 && fleet_worker_busy(worker) == 1);
    answer(FRAME_END, "{}");
    turn(10);
    CHECK_INT(fleet_worker_busy(worker), 0);
    finish();
}

static void test_fallback_subject(void)
{
    char any[FLEET_SUBJECT_MAX];
    struct buf b = { 0 };
    begin();
    fleet_subject_any("ch", "m0", any);
    buf_puts(&b, "{\"body_bytes\":0,\"jurisdictions\":[\"ch\"]}\n");
    struct buf m = { 0 };
    struct frame f = { .kind = FRAME_REQUEST, .id = 1, .payload = b.data, .length = b.len };
    frame_write(&m, &f);
    bus_publish(&bus, any, inbox, m.data, m.len);
    turn(10);
    CHECK_INT(host.opened, 1);
    host.models = 0; /* unloaded: nobody listens any more */
    turn(300);
    f.id = 2;
    buf_clear(&m);
    frame_write(&m, &f);
    bus_publish(&bus, any, inbox, m.data, m.len);
    turn(10);
    CHECK_INT(host.opened, 1);
    CHECK(!bus_publish(&bus, any, inbox, NULL, BUS_MESSAGE_MAX + 1));
    finish();
    CHECK(host.closed == 1 && saw_error("shutting_down", 503));
    buf_release(&b);
    buf_release(&m);
}

static void test_hostile(void)
{
    begin();
    bus_publish(&bus, req, "not.an.inbox", "x", 1);
    bus_publish(&bus, req, "", "x", 1);
    bus_publish(&bus, req, inbox, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 41);
    post(FRAME_END, 0, 1, 0, 0, "{}", 2);
    post(FRAME_DATA, 0, 1, 0, 0, "{}", 2);
    ask(1, 0, 10);
    post(FRAME_CREDIT, 0, 1, 0, 1, "12345", 5);
    post(FRAME_DATA, 0, 1, 0, 2, "{}", 2);
    turn(20);
    CHECK(host.opened == 1 && host.credit == 0);
    CHECK_INT(fleet_worker_busy(worker), 1);
    finish();
}

/* ---- with the real gateway */

static struct client {
    int ends, errors;
    size_t bytes;
} client;

static void client_frame(struct fleet_call *c, const struct frame *f)
{
    client.ends += f->kind == FRAME_END;
    client.errors += f->kind == FRAME_ERROR;
    client.bytes += f->kind == FRAME_DATA ? f->length : 0;
}

static void test_with_gateway(void)
{
    enum { BODY = 1500000 };
    begin();
    struct fleet_gateway *g = fleet_gateway_new(loop, &bus, &gate, &(struct fleet_gateway_events){ NULL }, NULL, NULL);
    for (int i = 0; i < 300 && fleet_gateway_model_count(g) < 1; i++)
        turn(10);
    struct fleet_ask q = { .model = "m0", .jurisdictions = { "ch" }, .jurisdiction_count = 1, .prompt_bytes = BODY,
                           .max_tokens = 10 };
    struct fleet_call c = { .frame = client_frame };
    struct err e = { 0 };
    CHECK_INT(fleet_call_open(g, &q, &c, &e), ERR_OK);
    CHECK_STR(e.text, "");
    struct buf b = { 0 };
    buf_puts(&b, "{\"method\":\"POST\",\"path\":\"/v1/chat/completions\"}\n");
    buf_append(&b, pattern, BODY);
    fleet_call_send(&c, FRAME_REQUEST, 0, b.data, b.len);
    fleet_call_send(&c, FRAME_CREDIT, 0, "\x40\0\0\0", 4);
    turn(50);
    CHECK(host.opened == 1 && host.body_n == BODY && host.body_crc == fleet_crc32(0, pattern, BODY));
    CHECK(host.credit >= 64);
    CHECK_STR(json_string_value(json_object_get(host.head, "path")), "/v1/chat/completions");
    answer(FRAME_HEAD, "{\"status\":200,\"headers\":{}}");
    for (int i = 0; i < 20; i++)
        answer(FRAME_DATA, "data");
    answer(FRAME_END, "{\"finish\":\"stop\",\"usage\":{}}");
    turn(50);
    CHECK(client.ends == 1 && client.errors == 0 && client.bytes == 80);
    CHECK_INT(fleet_call_open(g, &q, &c, &e), ERR_OK);
    fleet_call_send(&c, FRAME_REQUEST, 0, b.data, b.len);
    turn(50);
    CHECK_INT(host.opened, 2);
    fleet_call_close(&c);
    turn(50);
    CHECK(host.closed == 1 && fleet_worker_busy(worker) == 0);
    buf_release(&b);
    fleet_gateway_free(g);
    finish();
}

int main(void)
{
    loop = loop_new(NULL);
    bus = (struct bus){ .loop = loop };
    stopper = loop_timer_new(loop, stop, NULL);
    fleet_subject(&me, 'w', "req", req);
    fleet_subject(&gate, 'g', "in", inbox);
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)('a' + i * 7 % 23 + (i >> 12) % 3);
    char hb[FLEET_SUBJECT_MAX];
    fleet_subject(&me, 'w', "hb", hb);
    struct bus_sub *subs[] = { bus_subscribe(&bus, inbox, NULL, on_inbox, NULL, NULL),
                               bus_subscribe(&bus, hb, NULL, on_beat, NULL, NULL) };
    RUN(test_whole_exchange);
    RUN(test_refused);
    RUN(test_ends_inside_open);
    RUN(test_lost_parts);
    RUN(test_attempts);
    RUN(test_probe_and_hello);
    RUN(test_coalescing);
    RUN(test_gateway_gone);
    RUN(test_forgotten);
    RUN(test_connection_away);
    RUN(test_drain_and_beats);
    RUN(test_alarm);
    RUN(test_fallback_subject);
    RUN(test_hostile);
    bus_unsubscribe(subs[0]);
    RUN(test_with_gateway);
    bus_unsubscribe(subs[1]);
    heartbeat_release(&last_beat);
    json_decref(host.head);
    loop_timer_free(stopper);
    loop_free(loop);
    DONE();
}
