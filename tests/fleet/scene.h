/* scene -- a gateway, a few made workers and a client, on the fake bus. The workers all give the same answer to a
 * request: tokens whose ids and bytes are a function of their index, cut into frames as each worker likes. Each can be
 * made to fail at any frame, in any of the ways workers fail. */
#ifndef TESTS_FLEET_SCENE_H
#define TESTS_FLEET_SCENE_H
#include "../test.h"
#include "base/clock.h"
#include "base/log.h"
#include "fake_bus.h"
#include "fleet/crc32.h"
#include "fleet/gateway.h"
#include "fleet/heartbeat.h"

enum { WORKERS = 3, WORKS = 8, ANSWER_TOKENS = 24, MODEL_BEATS_MS = 100 };
enum how { FINE, SAYS_LOST, BOOTS, LOSES_A_FRAME, GOES_SILENT, STANDS, SAYS_IT_STANDS };

struct fake_work {
    bool used;
    uint64_t id, seq_in, seq_out;
    uint32_t attempt;
    char reply[FLEET_SUBJECT_MAX];
    struct buf body;              /* head, LF, body */
    bool whole;
    int next;                     /* frame */
    int known;                    /* tokens its head told it */
    int64_t credit;
};

struct fake_worker {
    struct fleet_place place;
    struct bus *bus;
    uint64_t boot;
    bool silent, draining, stands;
    bool says;                    /* that its engine stands */
    bool holds;                   /* it takes requests and answers none yet */
    bool mute;                    /* it works, but no beat of it is heard */
    int64_t waiting;              /* as it says */
    uint64_t prefix;              /* the same; 0: none */
    const char *numerics;
    struct fake_work works[WORKS];
    struct bus_sub *subs[3];
    int64_t steps;
    int drawn;                    /* frames of tokens that it was not told */
    int requests, cancels, drains, resumes, hellos;
    json_t *head;                 /* of the last request */
    uint32_t body_crc;
    size_t body_n;
};

/* What is written for everybody: the first worker that gets there fails, and what later attempts are like. */
static struct script {
    enum how how;
    int at;                       /* instead of sending this frame of the answer, */
    int more;                     /* and so many more times */
    int cut, cut_again;           /* tokens a frame: of the first attempt, of others */
    bool bare;                    /* some tokens have no bytes */
    bool whole;                   /* no stream: the tokens first, without bytes; then all bytes at once */
    bool lies_tokens, lies_bytes; /* later attempts give another answer */
    int tokens_again;             /* or one that is shorter */
    const char *refusal;          /* the code of the ERROR that requests get, */
    int refusals;                 /* so many of them */
    struct fake_worker *victim;
} script;

struct client {
    struct fleet_call call;
    int heads, usages, ends, errors, frames;
    struct buf bytes;
    uint32_t tokens[4 * ANSWER_TOKENS];
    int token_count;
    char error[ERR_TEXT_MAX];
    int64_t cached_tokens;        /* as first told */
    bool slow;                    /* it gives no credit back by itself */
    uint64_t seq;
};

static struct loop *loop;
static struct bus bus;
static struct fleet_gateway *gateway;
static struct fake_worker workers[WORKERS];
static struct client client;
static struct loop_timer *beats, *stop;
static int models_told;
static const char same_numerics[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/* ---- the answer: tokens of 1..11 bytes, or 0..10 */

static uint32_t token_id(int i)
{
    return (uint32_t)(1000 + 37 * i);
}

static void token_bytes(int i, struct buf *out)
{
    for (int k = 0; k < 7 * i % 11 + !script.bare; k++)
        buf_putc(out, (char)('a' + (i + 3 * k) % 26));
}

/* ---- a worker */

static void work_send(struct fake_worker *w, struct fake_work *k, enum frame_kind kind, uint16_t flags, const char *p,
                      size_t n)
{
    struct buf b = { 0 };
    char req[FLEET_SUBJECT_MAX];
    fleet_subject(&w->place, 'w', "req", req);
    frame_write(&b, &(struct frame){ .kind = kind, .flags = flags, .id = k->id, .attempt = k->attempt,
                                     .seq = k->seq_out++, .payload = p, .length = n });
    bus_publish(w->bus, k->reply, req, b.data, b.len);
    buf_release(&b);
}

static void work_end(struct fake_work *k)
{
    buf_release(&k->body);
    *k = (struct fake_work){ .used = false };
}

static void work_error(struct fake_worker *w, struct fake_work *k, const char *code)
{
    struct buf b = { 0 };
    buf_printf(&b, "{\"status\":%d,\"error\":{\"message\":\"made: %s\",\"code\":\"%s\"}}",
               strcmp(code, "invalid") ? 503 : 400, code, code);
    work_send(w, k, FRAME_ERROR, 0, b.data, b.len);
    buf_release(&b);
    work_end(k);
}

static void worker_beat(struct fake_worker *w)
{
    char hb[FLEET_SUBJECT_MAX];
    int running = 0;
    for (int i = 0; i < WORKS; i++)
        running += w->works[i].used;
    struct heartbeat_model m = { .id = "m", .ctx = 4096, .running = running || w->stands, .steps = w->steps,
                                 .kv_pages = 100, .kv_pages_free = 100, .tokens_per_s = 500,
                                 .waiting = w->waiting, .stands = w->says, .prefixes = { w->prefix }, .prefix_count = w->prefix != 0,
                                 .facts = json_pack("{s:i}", "ctx", 4096) };
    struct heartbeat h = { .boot = w->boot, .draining = w->draining, .models = &m, .model_count = 1 };
    struct buf b = { 0 };
    if (!w->stands)
        w->steps++;
    snprintf(m.numerics, sizeof m.numerics, "%s", w->numerics);
    fleet_subject(&w->place, 'w', "hb", hb);
    heartbeat_write(&h, &b);
    if (!w->silent && !w->mute)
        bus_publish(w->bus, hb, NULL, b.data, b.len);
    buf_release(&b);
    json_decref(m.facts);
}

/* Fails instead of sending the frame. true: the frame is sent all the same. */
static bool fail_now(struct fake_worker *w, struct fake_work *k)
{
    enum how how = script.how;
    if (!script.more--)
        script.how = FINE;
    script.victim = w;
    switch (how) {
    case SAYS_LOST: work_error(w, k, "engine_lost"); return false;
    case BOOTS:
        for (int i = 0; i < WORKS; i++)
            work_end(&w->works[i]);
        w->boot++;
        worker_beat(w);
        return false;
    case LOSES_A_FRAME:
        k->seq_out++;
        k->next++;
        return false;
    case GOES_SILENT: w->silent = true; return false;
    case STANDS: w->stands = true; return false;
    case SAYS_IT_STANDS:
        w->stands = w->says = true;
        worker_beat(w);
        return false;
    default: return true;
    }
}

static int tokens_of(const struct fake_work *k)
{
    return k->attempt && script.tokens_again ? script.tokens_again : ANSWER_TOKENS;
}

static int cut_of(const struct fake_work *k)
{
    return k->attempt && script.cut_again ? script.cut_again : script.cut ? script.cut : 1;
}

static int datas_of(const struct fake_work *k)
{
    return (tokens_of(k) + cut_of(k) - 1) / cut_of(k);
}

static void put_tokens(const struct fake_work *k, int from, struct buf *out)
{
    int to = from + cut_of(k) < tokens_of(k) ? from + cut_of(k) : tokens_of(k);
    buf_put_u16(out, (uint16_t)(to - from));
    for (int i = from; i < to; i++)
        buf_put_u32(out, token_id(i) + (k->attempt && script.lies_tokens && i == 5));
    for (int i = from; i < to && !script.whole; i++)
        token_bytes(i + (k->attempt && script.lies_bytes && i == 6), out);
}

static void put_whole(struct fake_worker *w, struct fake_work *k)
{
    static const char head[] = "{\"status\":200,\"headers\":{\"content-type\":\"application/json\"}}";
    struct buf b = { 0 };
    if (!script.whole)
        return;
    work_send(w, k, FRAME_HEAD, 0, head, sizeof head - 1);
    for (int i = 0; i < tokens_of(k); i++)
        token_bytes(i, &b);
    work_send(w, k, FRAME_DATA, 0, b.data, b.len);
    buf_release(&b);
}

/* Frame k->next of the answer; the last one ends the work. */
static void work_frame(struct fake_worker *w, struct fake_work *k)
{
    int datas = datas_of(k), at = k->next++ - 2;
    struct buf b = { 0 };
    if (at == -2 && script.whole) {
        return; /* its head comes with the bytes */
    } else if (at == -2) {
        buf_puts(&b, "{\"status\":200,\"headers\":{\"content-type\":\"text/event-stream\"}}");
        work_send(w, k, FRAME_HEAD, 0, b.data, b.len);
    } else if (at == -1 || at == datas) {
        buf_printf(&b, "{\"prompt_tokens\":9,\"cached_tokens\":%d,\"completion_tokens\":%d}", 8 * (int)k->attempt,
                   at < 0 ? 0 : tokens_of(k));
        work_send(w, k, FRAME_USAGE, 0, b.data, b.len);
    } else if (at < datas) {
        put_tokens(k, at * cut_of(k), &b);
        work_send(w, k, FRAME_DATA, FRAME_TOKENS, b.data, b.len);
        w->drawn += !script.whole || at >= k->known;
    } else {
        put_whole(w, k);
        buf_printf(&b, "{\"finish\":\"stop\",\"usage\":{\"prompt_tokens\":9,\"cached_tokens\":%d}}",
                   8 * (int)k->attempt);
        work_send(w, k, FRAME_END, 0, b.data, b.len);
        work_end(k);
    }
    buf_release(&b);
}

static void work_go(struct fake_worker *w, struct fake_work *k)
{
    int datas = datas_of(k);
    while (k->used && k->whole && !w->silent && !w->stands && !w->holds) {
        bool data = k->next >= 2 && k->next < 2 + datas;
        if (script.how && k->next == script.at && !fail_now(w, k))
            continue;
        if (data && !k->credit)
            return;
        k->credit -= data;
        work_frame(w, k);
    }
}

static void work_begin(struct fake_worker *w, struct fake_work *k)
{
    const char *lf = memchr(k->body.data, '\n', k->body.len);
    json_decref(w->head);
    w->head = lf ? jsonx_parse(k->body.data, (size_t)(lf - k->body.data), NULL) : NULL;
    CHECK(w->head != NULL);
    w->body_n = lf ? k->body.len - (size_t)(lf + 1 - k->body.data) : 0;
    w->body_crc = lf ? fleet_crc32(0, lf + 1, w->body_n) : 0;
    CHECK_INT(json_integer_value(json_object_get(w->head, "body_bytes")), (int64_t)w->body_n);
    CHECK_INT(json_integer_value(json_object_get(w->head, "body_crc32")), w->body_crc);
    w->resumes += json_object_get(w->head, "resume") != NULL;
    k->known = (int)json_array_size(json_object_get(json_object_get(w->head, "resume"), "tokens"));
    w->requests++;
    if (script.refusals && script.refusals--)
        work_error(w, k, script.refusal);
}

static struct fake_work *work_of(struct fake_worker *w, const struct frame *f)
{
    struct fake_work *spare = NULL;
    for (int i = 0; i < WORKS; i++) {
        if (w->works[i].used && w->works[i].id == f->id && w->works[i].attempt == f->attempt)
            return &w->works[i];
        if (!w->works[i].used)
            spare = &w->works[i];
    }
    if (f->kind != FRAME_REQUEST || f->seq || !spare)
        return NULL;
    *spare = (struct fake_work){ .used = true, .id = f->id, .attempt = f->attempt };
    return spare;
}

static void worker_frame(struct fake_worker *w, const struct bus_message *m, const struct frame *f)
{
    if (f->kind == FRAME_HELLO) {
        w->hellos++;
        bus_publish(w->bus, m->reply, NULL, f->payload - FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + f->length);
        return;
    }
    struct fake_work *k = work_of(w, f);
    if (!k) {
        struct fake_work nobody = { .id = f->id, .attempt = f->attempt };
        snprintf(nobody.reply, sizeof nobody.reply, "%s", m->reply);
        w->cancels += f->kind == FRAME_CANCEL;
        if (f->kind == FRAME_CREDIT)
            work_error(w, &nobody, "unknown_exchange");
        return;
    }
    CHECK(f->length <= FLEET_PART_MAX);
    snprintf(k->reply, sizeof k->reply, "%s", m->reply);
    if (f->kind == FRAME_CANCEL) {
        w->cancels++;
        work_end(k);
        return;
    }
    CHECK_INT(f->seq, k->seq_in);
    k->seq_in++;
    if (f->kind == FRAME_REQUEST) {
        buf_append(&k->body, f->payload, f->length);
        k->whole = !(f->flags & FRAME_MORE);
        if (k->whole)
            work_begin(w, k);
    } else if (f->kind == FRAME_CREDIT) {
        const unsigned char *u = (const unsigned char *)f->payload;
        uint32_t n = u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
        k->credit += n;
        if (!n) {
            work_send(w, k, FRAME_CREDIT, 0, "\0\0\0\0", 4);
            k->seq_out--;
        }
    }
    work_go(w, k);
}

static void on_req(void *arg, const struct bus_message *m)
{
    struct fake_worker *w = arg;
    for (size_t at = 0; at < m->n;) { /* frames to the same subject leave as one message */
        struct frame f;
        long n = frame_parse(m->data + at, m->n - at, &f, NULL);
        CHECK(n > 0);
        if (n <= 0)
            return;
        at += (size_t)n;
        if (!w->silent)
            worker_frame(w, m, &f);
    }
}

static void on_ctl(void *arg, const struct bus_message *m)
{
    struct fake_worker *w = arg;
    w->drains += m->n == 14 && !memcmp(m->data, "{\"drain\":true}", 14);
}

/* ---- the client */

static void give(struct client *c, uint32_t frames)
{
    unsigned char le[4] = { (unsigned char)frames, (unsigned char)(frames >> 8), 0, 0 };
    fleet_call_send(&c->call, FRAME_CREDIT, 0, le, sizeof le);
}

static void client_data(struct client *c, const struct frame *f)
{
    const unsigned char *u = (const unsigned char *)f->payload;
    bool tokens = f->flags & FRAME_TOKENS;
    CHECK(tokens != script.whole && c->heads == 1);
    size_t count = tokens ? (size_t)(u[0] | u[1] << 8) : 0, skip = tokens ? 2 + 4 * count : 0;
    for (size_t i = 0; i < count && c->token_count < (int)MEM_COUNT(c->tokens); i++)
        c->tokens[c->token_count++] = u[2 + 4 * i] | (uint32_t)u[3 + 4 * i] << 8;
    buf_append(&c->bytes, f->payload + skip, f->length - skip);
    c->frames++;
    if (!c->slow)
        give(c, 1);
}

static void client_frame(struct fleet_call *call, const struct frame *f)
{
    struct client *c = call->arg;
    CHECK_INT(f->seq, c->seq);
    c->seq++;
    CHECK(!c->ends && !c->errors);
    json_t *v = f->kind == FRAME_DATA ? NULL : jsonx_parse(f->payload, f->length, NULL);
    switch (f->kind) {
    case FRAME_HEAD: c->heads++; break;
    case FRAME_DATA: client_data(c, f); break;
    case FRAME_USAGE:
        if (!c->usages++)
            c->cached_tokens = json_integer_value(json_object_get(v, "cached_tokens"));
        CHECK_INT(json_integer_value(json_object_get(v, "cached_tokens")), c->cached_tokens);
        break;
    case FRAME_END:
        c->ends++;
        CHECK_INT(json_integer_value(json_object_get(json_object_get(v, "usage"), "cached_tokens")), c->cached_tokens);
        break;
    case FRAME_ERROR:
        c->errors++;
        snprintf(c->error, sizeof c->error, "%lld %s", (long long)json_integer_value(json_object_get(v, "status")),
                 json_string_value(json_object_get(json_object_get(v, "error"), "code")));
        break;
    default: CHECK(!"a frame that a client never sees");
    }
    json_decref(v);
    if (c->ends || c->errors) {
        CHECK(!call->x);
        loop_stop(loop);
    }
}

/* ---- the scene */

static void on_beats(void *arg)
{
    for (int i = 0; i < WORKERS; i++)
        if (workers[i].bus)
            worker_beat(&workers[i]);
    loop_timer_set(beats, MODEL_BEATS_MS);
}

static void on_models(void *arg)
{
    models_told++;
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

static void until_over(int64_t ms)
{
    if (!client.ends && !client.errors)
        spin(ms);
}

static void add_worker(int i, const char *name)
{
    struct fake_worker *w = &workers[i];
    struct err e;
    char subject[FLEET_SUBJECT_MAX];
    *w = (struct fake_worker){ .place = { "eu", "north", "" }, .bus = &bus, .boot = 100,
                               .numerics = same_numerics };
    snprintf(w->place.name, sizeof w->place.name, "%s", name);
    fleet_subject(&w->place, 'w', "req", subject);
    w->subs[0] = bus_subscribe(&bus, subject, NULL, on_req, w, &e);
    fleet_subject(&w->place, 'w', "ctl", subject);
    w->subs[1] = bus_subscribe(&bus, subject, NULL, on_ctl, w, &e);
    fleet_subject_any("eu", "m", subject);
    w->subs[2] = bus_subscribe(&bus, subject, "w", on_req, w, &e);
}

static void raise_curtain(int worker_count)
{
    static const struct fleet_gateway_events events = { on_models };
    static const struct fleet_place me = { "eu", "north", "gate" };
    static const char *const names[WORKERS] = { "ada", "bob", "cyd" };
    struct err e;
    loop = loop_new(&e);
    bus = (struct bus){ .loop = loop, .up = true };
    beats = loop_timer_new(loop, on_beats, NULL);
    stop = loop_timer_new(loop, on_stop, NULL);
    gateway = fleet_gateway_new(loop, &bus, &me, &events, NULL, &e);
    for (int i = 0; i < worker_count; i++)
        add_worker(i, names[i]);
    on_beats(NULL);
    spin(20);
}

static void curtain(void)
{
    fleet_call_close(&client.call);
    buf_release(&client.bytes);
    client = (struct client){ .heads = 0 };
    script = (struct script){ .how = FINE };
    fleet_gateway_free(gateway);
    for (int i = 0; i < WORKERS; i++) {
        for (int k = 0; workers[i].bus && k < WORKS; k++)
            work_end(&workers[i].works[k]);
        for (int k = 0; workers[i].bus && k < 3; k++)
            bus_unsubscribe(workers[i].subs[k]);
        json_decref(workers[i].head);
        workers[i] = (struct fake_worker){ .bus = NULL };
    }
    spin(0); /* messages on their way find nobody */
    spin(0);
    loop_timer_free(beats);
    loop_timer_free(stop);
    loop_free(loop);
}

/* Opens a call and sends a request with n bytes of body. */
static enum err_code ask_with(struct fleet_ask ask, size_t n, uint32_t window, struct err *e)
{
    static const char head[] = "{\"method\":\"POST\",\"path\":\"/v1/chat/completions\",\"response_id\":\"r\"}\n";
    client.call = (struct fleet_call){ .frame = client_frame, .arg = &client };
    ask.model = "m";
    enum err_code code = fleet_call_open(gateway, &ask, &client.call, e);
    if (code)
        return code;
    struct buf b = { 0 };
    buf_puts(&b, head);
    for (size_t i = 0; i < n; i++)
        buf_putc(&b, (char)(' ' + (i * i + i / 7) % 90));
    fleet_call_send(&client.call, FRAME_REQUEST, 0, b.data, b.len);
    if (window)
        give(&client, window);
    buf_release(&b);
    return code;
}

static void ask(size_t n, uint32_t window)
{
    struct err e = { .text = "" };
    CHECK_INT(ask_with((struct fleet_ask){ .resumable = true }, n, window, &e), ERR_OK);
}

/* What every client must have got, whatever happened. */
static void whole_answer(void)
{
    struct buf want = { 0 };
    for (int i = 0; i < ANSWER_TOKENS; i++)
        token_bytes(i, &want);
    CHECK_INT(client.heads, 1);
    CHECK_INT(client.usages, 2);
    CHECK_INT(client.ends, 1);
    CHECK_INT(client.errors, 0);
    CHECK_INT(client.token_count, script.whole ? 0 : ANSWER_TOKENS);
    for (int i = 0; i < client.token_count; i++)
        CHECK_INT(client.tokens[i], token_id(i));
    CHECK(client.bytes.len == want.len && !memcmp(client.bytes.data, want.data, want.len));
    buf_release(&want);
}
#endif
