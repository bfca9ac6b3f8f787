/* work -- one exchange at a worker: its request put together from parts, its answer sent in coalesced messages.
 *
 *   PARTS --all there--> OPENING (inside host's open) --> OPEN --END, ERROR--> ENDED --sent--> gone
 *     |`--does not fit: ERROR                              `--CANCEL, a newer attempt, its gateway gone: host's close
 *     `--PARTS_STALE_MS: gone
 *
 * I1: a work is found by (gateway, id); of one id there is one attempt, the newest. I2: `out` holds whole frames, in
 * the order of their seq; while one of them waits for the connection, so do all after it. I3: the host is called last
 * in each function, since it may end the work. */
#include "fleet/crc32.h"
#include "fleet/worker_impl.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- the table */

static struct fleet_work **bucket_of(struct fleet_worker *w, const struct gate *g, uint64_t id)
{
    uint64_t h = (id ^ (uintptr_t)g >> 4) * 0x9E3779B97F4A7C15u;
    return &w->bucket[h >> 54 & (BUCKETS - 1)];
}

static struct fleet_work *find(struct fleet_worker *w, const struct gate *g, uint64_t id)
{
    struct fleet_work *k = *bucket_of(w, g, id);
    while (k && (k->id != id || k->gate != g))
        k = k->next;
    return k;
}

static void due_remove(struct fleet_work *k)
{
    struct fleet_worker *w = k->w;
    if (!k->due_ms)
        return;
    *(k->due_prev ? &k->due_prev->due_next : &w->due_first) = k->due_next;
    *(k->due_next ? &k->due_next->due_prev : &w->due_last) = k->due_prev;
    k->due_ms = 0;
    k->due_next = k->due_prev = NULL;
}

/* The request leaves the counts of what is not whole yet. */
static void take_out(struct fleet_work *k, struct buf *body, json_t **head)
{
    k->w->parts_bytes -= k->body.len;
    k->gate->parts_bytes -= k->body.len;
    *body = k->body;
    *head = k->head;
    k->body = (struct buf){ 0 };
    k->head = NULL;
}

static void work_free(struct fleet_work *k)
{
    struct fleet_work **at = bucket_of(k->w, k->gate, k->id);
    while (*at != k)
        at = &(*at)->next;
    struct buf body;
    json_t *head;
    *at = k->next;
    due_remove(k);
    take_out(k, &body, &head);
    buf_release(&body);
    json_decref(head);
    buf_release(&k->out);
    k->w->works--;
    k->gate->works--;
    mem_free(k);
}

static struct fleet_work *work_new(struct fleet_worker *w, struct gate *g, const struct frame *f)
{
    struct fleet_work *k = MEM_NEW(struct fleet_work), **at = bucket_of(w, g, f->id);
    *k = (struct fleet_work){ .w = w, .gate = g, .id = f->id, .attempt = f->attempt, .begun_ms = worker_now_ms(),
                              .heard_ms = worker_now_ms(), .next = *at };
    buf_init(&k->body, BODY_MAX);
    *at = k;
    w->works++;
    g->works++;
    return k;
}

/* Nobody wants it any more. */
static void work_close(struct fleet_work *k)
{
    struct fleet_worker *w = k->w;
    void *call = k->call;
    bool open = k->state == WORK_OPEN;
    ASSERT(k->state != WORK_OPENING);
    work_free(k);
    if (open)
        w->host.close(w->arg, call);
}

/* ---- sending */

/* How many bytes at the start of out fit into a message as whole frames. */
static size_t message_of(const struct buf *out)
{
    size_t at = 0;
    while (at < out->len) { /* a frame a round */
        struct frame f;
        long n = frame_parse(out->data + at, out->len - at, &f, NULL);
        ASSERT(n > 0);
        if (at && at + (size_t)n > BUS_MESSAGE_MAX)
            break;
        at += (size_t)n;
    }
    return at;
}

/* Sends all that waits; false: the connection is away and it is kept. */
static bool flush(struct fleet_work *k)
{
    due_remove(k);
    k->tokens = 0;
    while (k->out.len) {
        size_t n = message_of(&k->out);
        if (!post_frames(k->w->post, k->gate->inbox, k->w->req, k->out.data, n)) {
            k->kept = true;
            return false;
        }
        if (n == k->out.len)
            buf_clear(&k->out);
        else
            buf_drop_front(&k->out, n);
    }
    k->kept = false;
    k->flushed_ms = worker_now_ms();
    return true;
}

static void flush_soon(struct fleet_work *k)
{
    struct fleet_worker *w = k->w;
    if (k->due_ms || k->kept)
        return;
    k->due_ms = worker_now_ms() + COALESCE_MS;
    k->due_prev = w->due_last;
    *(w->due_last ? &w->due_last->due_next : &w->due_first) = k;
    w->due_last = k;
    if (w->due_first == k)
        loop_timer_set(w->flush, COALESCE_MS);
}

void work_flush_due(void *arg)
{
    struct fleet_worker *w = arg;
    int64_t now = worker_now_ms();
    while (w->due_first && w->due_first->due_ms <= now)
        flush(w->due_first); /* removes it from the list, sent or kept */
    if (w->due_first)
        loop_timer_set(w->flush, w->due_first->due_ms - now);
}

static void add(struct fleet_work *k, enum frame_kind kind, uint16_t flags, const char *payload, size_t n)
{
    struct frame f = { .kind = kind, .flags = flags, .id = k->id, .attempt = k->attempt, .seq = k->seq_out++,
                       .payload = payload, .length = n };
    frame_write(&k->out, &f);
}

static void write_error(struct buf *b, int status, const char *code, const char *message)
{
    const char *type = status == 403 ? "permission_error" : status < 500 ? "invalid_request_error" : "server_error";
    buf_printf(b, "{\"status\":%d,\"error\":{\"message\":", status);
    jsonx_quote(message, strlen(message), b);
    buf_printf(b, ",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}", type, code);
}

/* Its last frame is in out: gone as soon as that is sent. */
static void end_work(struct fleet_work *k)
{
    bool opening = k->state == WORK_OPENING; /* host's open runs: open_work frees it */
    k->state = WORK_ENDED;
    k->call = NULL;
    if (flush(k) && !opening)
        work_free(k);
}

static void fail(struct fleet_work *k, int status, const char *code, const char *message)
{
    struct fleet_worker *w = k->w;
    void *call = k->call;
    bool open = k->state == WORK_OPEN;
    struct buf b = { 0 };
    write_error(&b, status, code, message);
    add(k, FRAME_ERROR, 0, b.data, b.len);
    buf_release(&b);
    k->failed = true;
    end_work(k);
    if (open)
        w->host.close(w->arg, call);
}

/* To somebody of whom there is no work. */
static void say_error(struct fleet_worker *w, const struct gate *g, const struct frame *to, int status,
                      const char *code, const char *message)
{
    struct buf b = { 0 }, m = { 0 };
    write_error(&b, status, code, message);
    struct frame f = { .kind = FRAME_ERROR, .id = to->id, .attempt = to->attempt, .payload = b.data, .length = b.len };
    frame_write(&m, &f);
    post_frames(w->post, g->inbox, w->req, m.data, m.len);
    buf_release(&b);
    buf_release(&m);
}

/* ---- frames from the host */

static int tokens_of(const struct frame *f)
{
    const unsigned char *u = (const unsigned char *)f->payload;
    return f->flags & FRAME_TOKENS && f->length >= 2 ? u[0] | u[1] << 8 : 1;
}

/* Data of any length, in frames that fit into a message; only the first has the ids. */
static void add_data(struct fleet_work *k, const struct frame *f)
{
    size_t at = 0;
    do {
        size_t n = f->length - at < FLEET_PART_MAX ? f->length - at : FLEET_PART_MAX;
        add(k, FRAME_DATA, at ? 0 : f->flags, f->payload + at, n);
        at += n;
    } while (at < f->length);
    k->tokens += tokens_of(f);
}

void fleet_work_frame(struct fleet_work *k, const struct frame *f)
{
    bool last = f->kind == FRAME_END || f->kind == FRAME_ERROR, data = f->kind == FRAME_DATA;
    ASSERT(k->state == WORK_OPEN || k->state == WORK_OPENING);
    if (!data && f->length > FLEET_PART_MAX) {
        fail(k, 502, "engine_failed", "the engine sent more than fits into a message");
        return;
    }
    if (data)
        add_data(k, f);
    else
        add(k, f->kind, f->flags, f->payload, f->length);
    if (last) {
        end_work(k);
        return;
    }
    bool calm = worker_now_ms() - k->flushed_ms >= COALESCE_MS; /* tokens come so slowly that none has company */
    bool now = f->kind == FRAME_RECEIPT || (data && (calm || !k->data_sent)) || k->tokens >= COALESCE_TOKENS ||
               k->out.len >= FLEET_PART_MAX;
    k->data_sent = k->data_sent || data;
    if (!now)
        flush_soon(k);
    else if (!k->kept)
        flush(k);
    if (k->kept && k->out.len > KEPT_MAX)
        fail(k, 503, "engine_lost", "the connection to the gateway is away for too long");
}

void fleet_work_lost(struct fleet_work *k, const char *why)
{
    ASSERT(k->state == WORK_OPEN || k->state == WORK_OPENING);
    struct buf b = { 0 };
    write_error(&b, 503, "engine_lost", why);
    add(k, FRAME_ERROR, 0, b.data, b.len);
    buf_release(&b);
    end_work(k);
}

/* ---- a request, from parts */

static void give(struct fleet_work *k, uint64_t frames)
{
    k->w->host.credit(k->w->arg, k->call, (uint32_t)(frames < UINT32_MAX ? frames : UINT32_MAX));
}

static void open_work(struct fleet_work *k)
{
    struct fleet_worker *w = k->w;
    const char *code = "engine_unavailable";
    struct err why = { .text = "this worker cannot take the request" };
    int status = 503;
    void *call = NULL;
    struct buf body;
    json_t *head;
    uint64_t credit = k->credit;
    take_out(k, &body, &head);
    k->state = WORK_OPENING;
    bool taken = w->host.open(w->arg, k, head, buf_str(&body), body.len, &call, &status, &code, &why);
    json_decref(head);
    buf_release(&body);
    if (k->state == WORK_ENDED) { /* by a frame, inside open */
        bool failed = k->failed && taken;
        if (!k->kept)
            work_free(k);
        if (failed)
            w->host.close(w->arg, call);
        return;
    }
    if (!taken) {
        k->state = WORK_PARTS;
        fail(k, status, code, why.text);
        return;
    }
    k->state = WORK_OPEN;
    k->call = call;
    give(k, credit); /* 0 too: no data before the gateway gave credit */
}

static bool has_text(const json_t *list, const char *text)
{
    const json_t *v;
    size_t i;
    json_array_foreach(list, i, v)
        if (json_is_string(v) && !strcmp(json_string_value(v), text))
            return true;
    return false;
}

static bool may_come_here(const struct fleet_worker *w, const json_t *head)
{
    const json_t *places = json_object_get(head, "places");
    char here[2 * FLEET_NAME_MAX + 2];
    snprintf(here, sizeof here, "%s/%s", w->me.jurisdiction, w->me.site);
    return has_text(json_object_get(head, "jurisdictions"), w->me.jurisdiction) &&
           (!places || has_text(places, here));
}

/* The head of the first part. false: it was refused. */
static bool take_head(struct fleet_work *k, const char *text, size_t n)
{
    struct fleet_worker *w = k->w;
    struct err e = { 0 };
    int64_t crc = 0;
    k->head = jsonx_parse(text, n, &e);
    k->body_bytes = -1;
    if (k->head && !json_is_object(k->head))
        err_set(&e, ERR_INVALID, "it is no JSON object");
    if (!e.code)
        jsonx_get_int(k->head, "body_bytes", 0, INT64_MAX, &k->body_bytes, &e);
    if (!e.code)
        jsonx_get_int(k->head, "body_crc32", 0, UINT32_MAX, &crc, &e);
    if (!e.code && k->body_bytes < 0)
        err_set(&e, ERR_INVALID, "it does not say body_bytes");
    k->body_crc = (uint32_t)crc;
    char text_[ERR_TEXT_MAX + 80];
    if (e.code) {
        snprintf(text_, sizeof text_, "the head of a request is wrong: %s", e.text);
        fail(k, 400, "bad_head", text_);
    } else if (k->body_bytes > BODY_MAX) {
        snprintf(text_, sizeof text_, "a body of %" PRId64 " bytes; at most %d are taken", k->body_bytes, BODY_MAX);
        fail(k, 413, "request_too_large", text_);
    } else if (!may_come_here(w, k->head)) {
        snprintf(text_, sizeof text_, "this request may not be processed in %s at %s", w->me.jurisdiction,
                 w->me.site);
        fail(k, 403, "residency", text_);
    } else if (w->draining) {
        fail(k, 503, "draining", "this worker is draining; others take new requests");
    } else {
        return true;
    }
    return false;
}

/* Body bytes of a part. false: it was refused. */
static bool take_body(struct fleet_work *k, const char *p, size_t n)
{
    struct fleet_worker *w = k->w;
    if (n > (uint64_t)k->body_bytes - k->body.len) {
        fail(k, 400, "body_too_long", "the parts of a request are longer than its body_bytes");
        return false;
    }
    if (n > PARTS_MAX - w->parts_bytes || n > PARTS_GATE_MAX - k->gate->parts_bytes) {
        fail(k, 503, "engine_unavailable", "too many requests are on their way to this worker");
        return false;
    }
    k->crc = fleet_crc32(k->crc, p, n);
    buf_append(&k->body, p, n);
    w->parts_bytes += n;
    k->gate->parts_bytes += n;
    return true;
}

static void take_part(struct fleet_work *k, const struct frame *f)
{
    const char *p = f->payload;
    size_t n = f->length;
    if (!f->seq) {
        const char *lf = memchr(p, '\n', n);
        if (!lf) {
            fail(k, 400, "bad_head", "the first part of a request has no whole head");
            return;
        }
        if (!take_head(k, p, (size_t)(lf - p)))
            return;
        n -= (size_t)(lf + 1 - p);
        p = lf + 1;
    }
    if (!take_body(k, p, n) || f->flags & FRAME_MORE)
        return;
    if (k->body.len != (uint64_t)k->body_bytes)
        fail(k, 400, "body_too_short", "the parts of a request are shorter than its body_bytes");
    else if (k->crc != k->body_crc)
        fail(k, 400, "body_crc32", "the body of a request did not arrive as it was sent");
    else
        open_work(k);
}

/* ---- frames from a gateway */

static void begin(struct fleet_worker *w, struct gate *g, const struct frame *f)
{
    if (w->works >= WORKS_MAX) {
        say_error(w, g, f, 503, "engine_unavailable", "this worker has as many requests as it can keep");
        return;
    }
    struct fleet_work *k = work_new(w, g, f);
    k->seq_in = 1;
    take_part(k, f);
}

static uint32_t credit_of(const struct frame *f)
{
    const unsigned char *u = (const unsigned char *)f->payload;
    return f->length == 4 ? u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24 : 0;
}

static void take_credit(struct fleet_work *k, const struct frame *f)
{
    uint32_t frames = credit_of(f);
    if (k->state == WORK_ENDED) {
        if (flush(k))
            work_free(k);
    } else if (!frames && flush(k)) { /* still here; its seq says how many frames came before */
        add(k, FRAME_CREDIT, 0, "\0\0\0\0", 4);
        k->seq_out--;
        flush(k);
    } else if (frames && k->state == WORK_PARTS) {
        k->credit += frames;
    } else if (frames && k->state == WORK_OPEN) {
        give(k, frames);
    }
}

static void take_next(struct fleet_work *k, const struct frame *f)
{
    if (f->seq < k->seq_in)
        return;
    if (f->seq > k->seq_in) {
        if (k->state != WORK_ENDED)
            fail(k, 503, "frames_lost", "frames of this request were lost on the way");
        return;
    }
    k->seq_in++;
    if (f->kind == FRAME_CREDIT)
        take_credit(k, f);
    else if (f->kind == FRAME_REQUEST && k->state == WORK_PARTS)
        take_part(k, f);
}

void work_take(struct fleet_worker *w, struct gate *g, const struct frame *f)
{
    struct fleet_work *k = find(w, g, f->id);
    if (k && f->attempt < k->attempt)
        return;
    if (k && (f->attempt > k->attempt || f->kind == FRAME_CANCEL)) {
        work_close(k);
        k = NULL;
    }
    if (f->kind == FRAME_CANCEL)
        return;
    if (k)
        k->heard_ms = worker_now_ms();
    if (k)
        take_next(k, f);
    else if (f->kind == FRAME_REQUEST && !f->seq)
        begin(w, g, f);
    else if (f->kind == FRAME_CREDIT)
        say_error(w, g, f, 503, "unknown_exchange", "this worker does not know the request");
}

/* ---- all of them */

typedef void (*each_fn)(struct fleet_work *k, const void *arg);

/* fn may end the work it is given, and what the host then does may end others: a bucket is read anew after each. */
static void each(struct fleet_worker *w, each_fn fn, const void *arg)
{
    uint64_t round = ++w->round;
    for (int i = 0; w->works && i < BUCKETS; i++)
        for (struct fleet_work *k = w->bucket[i]; k;) {
            if (k->round == round) {
                k = k->next;
                continue;
            }
            k->round = round;
            fn(k, arg);
            k = w->bucket[i];
        }
}

static void close_of(struct fleet_work *k, const void *gate)
{
    if (!gate || k->gate == gate)
        work_close(k);
}

void work_close_all(struct fleet_worker *w, const struct gate *of)
{
    each(w, close_of, of);
}

static void refuse(struct fleet_work *k, const void *arg)
{
    const char *const *why = arg;
    if (k->state == WORK_ENDED)
        work_free(k);
    else
        fail(k, 503, why[0], why[1]);
}

void work_refuse_all(struct fleet_worker *w, const char *code, const char *message)
{
    const char *why[] = { code, message };
    each(w, refuse, why);
    work_close_all(w, NULL); /* what could not be said */
}

static void flush_kept(struct fleet_work *k, const void *arg)
{
    if (k->kept && flush(k) && k->state == WORK_ENDED)
        work_free(k);
}

void work_flush_kept(struct fleet_worker *w)
{
    each(w, flush_kept, NULL);
}

/* A gateway probes what it has and hears nothing of (exchange.h). When neither side has said anything for so long, it
 * has given the request up, and its CANCEL was lost with a connection. */
static bool is_forgotten(const struct fleet_work *k, int64_t now)
{
    int64_t last = k->heard_ms > k->flushed_ms ? k->heard_ms : k->flushed_ms;
    last = last > k->w->back_ms ? last : k->w->back_ms;
    return k->state == WORK_OPEN && k->w->was_up && now - last > ORPHAN_MS;
}

static void drop_stale(struct fleet_work *k, const void *now_ms)
{
    int64_t now = *(const int64_t *)now_ms;
    if (k->state == WORK_PARTS && now - k->begun_ms > PARTS_STALE_MS) {
        fail(k, 503, "frames_lost", "the rest of this request did not come");
    } else if (is_forgotten(k, now)) {
        log_line(LOG_INFO, "fleet", "gateway %s asks no more for one of its requests: it ends here",
                 k->gate->place.name);
        work_close(k);
    }
}

void work_tick(struct fleet_worker *w, int64_t now_ms)
{
    each(w, drop_stale, &now_ms);
}
