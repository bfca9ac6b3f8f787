/* relay -- one request carried to an engine, and its reply carried back as it comes, and billed.
 *
 *   answer_relay --its model is ready, request frames--> WAITING --head--> STREAMING --end--> over
 *                                       `--error, engine lost--> error reply      `--error, lost--> error event, closed
 *   The client hangs up in any state: relay_gone sends cancel at once.
 *
 * A metered reply that is no stream is held back (HELD_MAX bytes at most) until its row is on disk: its head can then
 * say what it took, and a client that was billed nothing has seen nothing.
 *
 * With evidence (receipts.h) the end of every reply waits until its receipt is on disk: the last event of a stream, the
 * whole of what is held, an error.
 *
 * Back-pressure (invariant I1): the engine may send at most WINDOW data frames that the client has not taken. Credit is
 * given back half a window at a time, and only while fewer than PENDING_LOW bytes wait for the client. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/rng.h"
#include "front/claim.h"
#include "front/envelope.h"
#include "front/front_impl.h"
#include "trust/gate.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    WINDOW = 64,
    PENDING_LOW = 128 * 1024,
    PENDING_MAX = 80 << 20,   /* WINDOW of the largest frames and some: an engine that ignores credit */
    RESPONSE_ID_BYTES = 18,
    HEADERS_MAX = 16,
    HELD_MAX = 256 * 1024,
};

struct receipt_ask {
    struct relay *r; /* NULL: it ended while the keeper signed */
};

struct relay {
    struct link_call call;
    struct model_wait wait;   /* until its model is loaded */
    struct envelope env;
    struct front *front;
    struct link *link;
    struct http_exchange *x;
    const struct route *route;
    struct relay *prev, *next;
    bool begun, events;       /* head was relayed; as an event stream */
    bool ndjson;              /* or as a stream of lines (Ollama's) */
    bool held;                /* the head is here, in reply, lines, type and body, and goes out with the end */
    bool tells;               /* a stream whose client asked what it took */
    struct http_reply reply;
    struct buf type, body;
    struct buf unsent;        /* of a stream: a struct piece per data frame since the client had taken all */
    int repeat;               /* its place in front's repeats; -1: none */
    char response_id[64];
    int used;                 /* data frames since credit was last given */
    int status;
    int64_t started_ns;
    struct recent_line *line; /* where people can see it; may be NULL */
    struct claim claim;
    struct bill bill;
    struct buf lines;         /* header lines of the rate limits */
    bool ending;              /* the engine is done; the reply ends when bill and receipt are on disk */
    struct draft draft;       /* of its receipt */
    struct buf tail, usage;   /* of a stream: the event that ends it; what it took, for who asked */
    const char *finish;       /* for the receipt */
    json_t *end;              /* the engine's last word, until it is booked */
    struct buf note;          /* the receipt, */
    uint8_t hash[LEDGER_HASH_BYTES]; /* and its hash for the ledger's row */
    bool hashed;
    struct trace trace;
    bool sealed;              /* only the engine can read it */
    struct receipt_ask *ask;  /* its receipt is being made */
};

struct piece {
    uint32_t bytes, tokens;
};

static void relay_free(struct relay *r)
{
    struct front *f = r->front;
    if (r->ask)
        r->ask->r = NULL;
    models_forget(f->models, &r->wait);
    if (r->call.id) {
        link_call_close(r->link, &r->call);
        models_released(f->models, r->link);
    }
    recent_close(r->line, r->status ? r->status : r->x ? 200 : 499);
    account_abandon(f->accounts, &r->bill); /* unless it was settled */
    if (r->repeat >= 0)
        repeat_end(f->repeats, r->repeat, !r->bill.settled ? REPEAT_NOT_BOOKED :
                   r->ending ? REPEAT_WHOLE : REPEAT_PART);
    buf_release(&r->lines);
    buf_release(&r->type);
    buf_release(&r->body);
    buf_release(&r->unsent);
    buf_release(&r->tail);
    buf_release(&r->usage);
    buf_release(&r->note);
    json_decref(r->end);
    if (r->prev)
        r->prev->next = r->next;
    else
        f->relays = r->next;
    if (r->next)
        r->next->prev = r->prev;
    f->relay_count--;
    double seconds = (double)(clock_mono_ns() - r->started_ns) / 1e9;
    metrics_seconds(f, seconds);
    trace_send(f->telemetry, &r->trace, r->route->path);
    mem_free(r);
}

/* Ends the exchange with the client and forgets it. The exchange is invalid afterwards. */
static void finish(struct relay *r)
{
    struct http_exchange *x = r->x;
    if (x) { /* else the client left while its bill was written */
        front_note(r->front, x, r->status);
        http_exchange_set_user(x, NULL);
    }
    relay_free(r);
    if (x)
        http_reply_end(x);
}

/* What was held goes out; length -1: more follows. */
static void let_go(struct relay *r, int64_t length)
{
    r->held = false;
    r->begun = true;
    r->reply.content_type = buf_str(&r->type);
    r->reply.headers = buf_str(&r->lines);
    r->reply.length = length;
    front_reply_begin(r->front, r->x, &r->reply);
    http_reply_data(r->x, r->body.data, r->body.len);
    buf_clear(&r->body);
}

static void note_receipt(struct relay *r, struct span note)
{
    sha256_of(note.data, note.len, r->hash);
    r->hashed = true;
}

/* Receipt and bill are on disk, or there are none. */
static void part(struct relay *r, struct span note)
{
    if (r->x && r->held) {
        draft_headers(&r->draft, note, &r->lines);
        let_go(r, (int64_t)r->body.len);
    } else if (r->x) {
        struct buf out = { 0 };
        if (r->events && note.len)
            draft_comment(note, &out);
        buf_append(&out, r->tail.data, r->tail.len);
        if (r->usage.len && r->events) /* a comment: whoever reads events skips it */
            buf_printf(&out, ": x-tokenworks-usage: %s\n\n", buf_str(&r->usage));
        http_reply_data(r->x, out.data, out.len);
        buf_release(&out);
    }
    finish(r);
}

/* The client's share of the end: it is all on disk. */
static void booked(void *arg, int64_t cost_micros)
{
    struct relay *r = arg;
    struct buf usage = { 0 };
    ledger_usage_header(&r->bill.use, cost_micros, &usage);
    if (r->x && r->held)
        http_field_write(&r->lines, "x-tokenworks-usage", buf_str(&usage));
    else if (r->x && r->tells)
        buf_puts(&r->usage, buf_str(&usage));
    buf_release(&usage);
    part(r, (struct span){ r->note.data, r->note.len });
}

/* Books it with the receipt's hash, when there is one. done NULL: nobody waits. true: booked() follows. */
static bool settle(struct relay *r, ledger_done_fn *done)
{
    bool billed = account_settle(r->front->accounts, &r->bill, r->end, "stop", r->hashed ? r->hash : NULL, done, r);
    json_decref(r->end);
    r->end = NULL;
    return billed;
}

static void receipt_kept(void *arg, const struct trustlog_answer *a)
{
    struct relay *r = arg;
    struct http_exchange *x = r->x;
    if (!a->code) {
        note_receipt(r, a->text);
        buf_append(&r->note, a->text.data, a->text.len);
        if (!settle(r, booked))
            part(r, (struct span){ r->note.data, r->note.len });
        return;
    }
    settle(r, NULL); /* its tokens were given all the same */
    if (x) {         /* no answer without its receipt: the stream breaks off before its end */
        front_note(r->front, x, 503);
        http_exchange_set_user(x, NULL);
    }
    relay_free(r);
    if (x)
        http_reply_cut(x);
}

/* The engine's end: the client gets the end of its reply when receipt and bill, in this order, are on disk. */
static void take_end(struct relay *r, const struct frame *f)
{
    json_t *end = r->end = jsonx_parse(f->payload, f->length, NULL);
    recent_figures(r->line, end);
    if (r->held && r->reply.status >= 500) /* an error instead of the answer: nothing of that was sent */
        json_object_set_new(json_object_get(end, "usage"), "completion_tokens", json_integer(0));
    draft_usage(&r->draft, json_object_get(end, "usage"));
    trace_end_frame(&r->trace, end);
    const char *finish = json_string_value(json_object_get(end, "finish"));
    r->finish = finish && !strcmp(finish, "length") ? "length" : finish && !strcmp(finish, "failed") ? "error" : "stop";
    r->ending = true;
    if (r->draft.log && !r->draft.filed)
        draft_file(&r->draft, r->finish, receipt_kept, r);
    else if (!settle(r, booked))
        part(r, SPAN(""));
}

static void fail(struct relay *r, const struct error *e, int64_t retry_s)
{
    struct http_exchange *x = r->x;
    struct front *f = r->front;
    http_exchange_set_user(x, NULL);
    recent_close(r->line, e->status);
    r->line = NULL;
    r->trace.status = r->begun ? r->status : e->status;
    snprintf(r->trace.error, sizeof r->trace.error, "%s", e->code ? e->code : e->type ? e->type : "error");
    if (!r->begun) {
        char retry[40] = "";
        if (retry_s > 0)
            snprintf(retry, sizeof retry, "Retry-After: %lld\r\n", (long long)retry_s);
        struct buf lines = { 0 };
        buf_append(&lines, r->lines.data, r->lines.len);
        buf_puts(&lines, retry);
        struct draft draft = r->draft;
        relay_free(r);
        if (draft.log)
            receipts_refuse(f, x, draft.filed ? NULL : &draft, e, buf_str(&lines));
        else
            front_reply_error(f, x, e, buf_str(&lines));
        buf_release(&lines);
        return;
    }
    bool events = r->events || r->ndjson;
    if (!events || !r->draft.log)
        front_note(f, x, r->status);
    account_settle(f->accounts, &r->bill, NULL, "failed", NULL, NULL, NULL);
    if (events) {
        struct buf b = { 0 };
        error_event(r->route->dialect, e, &b);
        draft_response(&r->draft, b.data, b.len);
        http_reply_data(x, b.data, b.len);
        buf_release(&b);
    }
    if (events && r->draft.log && !r->draft.filed) { /* the stream ends with the receipt of its failure */
        link_call_close(r->link, &r->call);
        http_exchange_set_user(x, r);
        r->ending = true;
        buf_clear(&r->tail);
        draft_file(&r->draft, "error", receipt_kept, r);
        return;
    }
    draft_file(&r->draft, "error", NULL, NULL);
    relay_free(r);
    if (events)
        http_reply_end(x);
    else
        http_reply_cut(x);
}

/* ---- engine to client */

static int64_t header_length(const json_t *headers)
{
    const char *text = json_string_value(json_object_get(headers, "content-length"));
    int64_t n = json_integer_value(json_object_get(headers, "content-length"));
    for (const char *p = text; p && *p >= '0' && *p <= '9' && n < 1LL << 50; p++)
        n = n * 10 + (*p - '0');
    return n > 0 ? n : -1;
}

/* Fields a reply's owner sets itself; an engine that sends them is not obeyed. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = { "content-length", "content-type", "transfer-encoding", "connection", "date" };
    for (size_t i = 0; i < MEM_COUNT(ours); i++)
        if (!strcasecmp(name, ours[i]))
            return true;
    return !strncasecmp(name, "access-control-", 15);
}

/* Replies whose parts are made to be read as they come. */
static bool is_stream(const char *type)
{
    return type && (!strncmp(type, "text/event-stream", 17) || !strcmp(type, "message/ohttp-chunked-res") ||
                    !strncmp(type, "application/x-ndjson", 20));
}

static bool take_head(struct relay *r, const struct frame *f)
{
    json_t *v = jsonx_parse(f->payload, f->length, NULL);
    int64_t status = json_integer_value(json_object_get(v, "status"));
    if (r->begun || r->held || status < 200 || status > 599) {
        json_decref(v);
        return false;
    }
    json_t *headers = json_object_get(v, "headers"), *value;
    const char *name, *type = json_string_value(json_object_get(headers, "content-type"));
    struct buf lines = { .max = 16 * 1024 };
    buf_append(&lines, r->lines.data, r->lines.len);
    int count = 0;
    json_object_foreach(headers, name, value)
        if (json_is_string(value) && !is_ours(name) && ++count <= HEADERS_MAX)
            http_field_write(&lines, name, json_string_value(value)); /* what is no field is left out */
    r->events = type && !strncmp(type, "text/event-stream", 17);
    r->ndjson = type && !strncmp(type, "application/x-ndjson", 20);
    if (r->events)
        buf_puts(&lines, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    buf_clear(&r->lines);
    buf_append(&r->lines, lines.data, lines.len);
    buf_release(&lines);
    buf_puts(&r->type, type ? type : "application/json");
    r->reply.status = r->status = r->trace.status = (int)status;
    r->held = true;
    if (is_stream(type)) {
        draft_headers(&r->draft, SPAN(""), &r->lines);
        let_go(r, -1);
    } else if (r->bill.ticket < 0 && !r->draft.log) {
        let_go(r, header_length(headers));
    }
    json_decref(v);
    return true;
}

static void give_credit(struct relay *r)
{
    if (r->used < WINDOW / 2 || http_reply_pending(r->x) > PENDING_LOW)
        return;
    unsigned char le[4] = { (unsigned char)r->used, (unsigned char)(r->used >> 8), 0, 0 };
    link_call_send(r->link, &r->call, FRAME_CREDIT, 0, le, sizeof le);
    r->used = 0;
}

/* Gives the client a piece of a stream and remembers what is not yet with the system. */
static void send_piece(struct relay *r, const char *p, size_t n, int64_t tokens)
{
    struct piece piece = { (uint32_t)n, (uint32_t)tokens };
    if (!http_reply_pending(r->x))
        buf_clear(&r->unsent);
    http_reply_data(r->x, p, n);
    if (r->bill.ticket >= 0)
        buf_append(&r->unsent, &piece, sizeof piece);
    account_data(r->front->accounts, &r->bill, tokens);
}

/* The client is gone: tokens whose bytes it had not wholly taken were not sent. */
static void take_back_unsent(struct relay *r, size_t pending)
{
    for (size_t end = r->unsent.len; end >= sizeof(struct piece) && pending; end -= sizeof(struct piece)) {
        struct piece piece;
        memcpy(&piece, r->unsent.data + end - sizeof piece, sizeof piece);
        account_unsent(&r->bill, piece.tokens);
        pending -= piece.bytes < pending ? piece.bytes : pending;
    }
}

/* What ends a stream waits for the receipt, which stands before it. The engine sends it at a frame's end. */
static size_t stream_end_bytes(const char *p, size_t n)
{
    static const char done[] = "data: [DONE]\n\n";
    const size_t len = sizeof done - 1;
    return n >= len && !memcmp(p + n - len, done, len) ? len : 0;
}

static bool take_data(struct relay *r, const struct frame *f)
{
    const char *p = f->payload;
    size_t n = f->length, tokens = r->events ? 1 : 0; /* an event is about a token, where the engine does not say */
    if (f->flags & FRAME_TOKENS) { /* u16 count, count x u32 ids, then the bytes they are */
        tokens = n < 2 ? 0 : (size_t)(unsigned char)p[0] | (size_t)(unsigned char)p[1] << 8;
        if (n < 2 + 4 * tokens)
            return false;
        p += 2 + 4 * tokens;
        n -= 2 + 4 * tokens;
    }
    if ((!r->begun && !r->held) || http_reply_pending(r->x) > PENDING_MAX)
        return false;
    draft_response(&r->draft, p, n);
    draft_tokens(&r->draft, (int64_t)tokens);
    if (r->held && r->body.len + n <= HELD_MAX) {
        buf_append(&r->body, p, n);
    } else {
        if (r->held) {
            draft_headers(&r->draft, SPAN(""), &r->lines);
            let_go(r, -1);
        }
        size_t kept = r->draft.log && r->events ? stream_end_bytes(p, n) : 0;
        buf_append(&r->tail, p + n - kept, kept);
        send_piece(r, p, n - kept, (int64_t)tokens);
    }
    r->used++;
    give_credit(r);
    return true;
}

static void take_error(struct relay *r, const struct frame *f)
{
    json_t *v = jsonx_parse(f->payload, f->length, NULL);
    json_t *o = json_object_get(v, "error");
    int64_t status = json_integer_value(json_object_get(v, "status"));
    int64_t retry_s = json_integer_value(json_object_get(v, "retry_after"));
    const char *message = json_string_value(json_object_get(o, "message"));
    struct error e = {
        .status = status >= 400 && status <= 599 ? (int)status : 500,
        .message = message ? message : "the engine failed",
        .type = json_string_value(json_object_get(o, "type")),
        .param = json_string_value(json_object_get(o, "param")),
        .code = json_string_value(json_object_get(o, "code")),
    };
    if (retry_s <= 0 && (e.status == 429 || e.status == 503))
        retry_s = 1;
    fail(r, &e, retry_s);
    json_decref(v);
}

/* What the ledger refused: 429, 403 or 503 in its own words. */
static void refuse_account(struct relay *r, const struct ledger_answer *a)
{
    int status = a->verdict == LEDGER_FORBIDDEN ? 403 : a->verdict == LEDGER_BUSY ? 503 : 429;
    const char *code = status == 403 ? "model_not_allowed" : status == 503 ? "ledger_busy" : "rate_limit_exceeded";
    buf_clear(&r->lines);
    ledger_rate_headers(a, &r->lines); /* Retry-After is among them */
    fail(r, &(struct error){ .status = status, .message = a->message, .code = code }, 0);
}

static void take_usage(struct relay *r, const struct frame *f)
{
    struct ledger_answer answer;
    json_t *usage = jsonx_parse(f->payload, f->length, NULL);
    draft_usage(&r->draft, usage);
    if (r->sealed) /* should the client leave early, its receipt says what the engine decided */
        draft_from_engine(&r->draft, json_object_get(usage, "receipt"));
    recent_figures(r->line, usage);
    bool fits = account_usage(r->front->accounts, &r->bill, usage, &answer);
    json_decref(usage);
    if (fits)
        return;
    link_call_send(r->link, &r->call, FRAME_CANCEL, 0, NULL, 0);
    account_abandon(r->front->accounts, &r->bill);
    refuse_account(r, &answer);
}

/* A sealed exchange's receipt goes back to its engine, which alone can put it into the answer. */
static void receipt_for_engine(void *arg, const struct trustlog_answer *a)
{
    struct receipt_ask *q = arg;
    struct relay *r = q->r;
    mem_free(q);
    if (!r)
        return;
    r->ask = NULL;
    if (!a->code) {
        note_receipt(r, a->text);
        link_call_send(r->link, &r->call, FRAME_RECEIPT, 0, a->text.data, a->text.len);
        return;
    }
    link_call_send(r->link, &r->call, FRAME_CANCEL, 0, NULL, 0);
    fail(r, &(struct error){ .status = 503, .message = "the receipt of this request could not be kept" }, 1);
}

static bool take_receipt(struct relay *r, const struct frame *f)
{
    json_t *v = jsonx_parse(f->payload, f->length, NULL);
    bool ok = r->sealed && !r->draft.filed && draft_from_engine(&r->draft, json_object_get(v, "receipt"));
    const char *finish = json_string_value(json_object_get(v, "finish"));
    if (ok) {
        draft_usage(&r->draft, json_object_get(v, "usage"));
        r->ask = MEM_NEW(struct receipt_ask);
        r->ask->r = r;
        draft_file(&r->draft, !r->draft.r.allow ? "denied" : finish && finish[0] ? finish : "stop", receipt_for_engine,
                   r->ask);
    }
    json_decref(v);
    return ok;
}

static void call_frame(struct link_call *c, const struct frame *f)
{
    struct relay *r = c->arg;
    bool ok = true;
    switch (f->kind) {
    case FRAME_HEAD: ok = take_head(r, f); break;
    case FRAME_DATA: ok = take_data(r, f); break;
    case FRAME_USAGE: take_usage(r, f); return;
    case FRAME_ERROR: take_error(r, f); return;
    case FRAME_RECEIPT: ok = take_receipt(r, f); break;
    case FRAME_END:
        if (r->begun || r->held) {
            take_end(r, f);
            return;
        }
        ok = false;
        break;
    default: ok = false;
    }
    if (ok)
        return;
    log_line(LOG_ERROR, "front", "the engine of %s sent a %d frame that does not fit its exchange",
             link_model_id(r->link), (int)f->kind);
    if (f->kind != FRAME_END)
        link_call_send(r->link, &r->call, FRAME_CANCEL, 0, NULL, 0);
    struct error e = { .status = 502, .message = "the engine's reply was malformed" };
    fail(r, &e, 0);
}

static void call_lost(struct link_call *c, const char *why)
{
    struct relay *r = c->arg;
    struct error e = { .status = 503, .code = "engine_restarting",
                       .message = "the engine stopped while it worked on this request; it is being started again" };
    fail(r, &e, link_retry_s(r->link));
}

/* ---- client to engine */

/* The id of a stored response ends in a mark of its model, so that who asks for it is led to the right engine. */
static void make_response_id(const char *prefix, const char *model, char *out, size_t size)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint8_t random[RESPONSE_ID_BYTES];
    rng_system(random, sizeof random);
    size_t n = (size_t)snprintf(out, size, "%s", prefix);
    for (size_t i = 0; i < sizeof random && n + 1 < size; i++)
        out[n++] = digits[random[i] % (sizeof digits - 1)];
    out[n] = '\0';
    if (!strcmp(prefix, "resp_") && n + RESPONSE_MARK_BYTES < size)
        response_mark(model, out + n);
}

/* What is left of its time, at least a millisecond: the engine says when it is over; 0: it has no deadline. */
static int64_t left_ms(const struct relay *r)
{
    int64_t left = r->claim.deadline_ms - (clock_mono_ns() - r->started_ns) / 1000000;
    return !r->claim.deadline_ms ? 0 : left > 0 ? left : 1;
}

/* How a request is sealed, by its content type; NULL: it is not. */
static const char *sealed_how(const struct http_head *h)
{
    const struct http_field *type = http_head_field(h, "content-type");
    if (type && http_slice_is(type->value, "message/ohttp-chunked-req"))
        return "chunked";
    return type && http_slice_is(type->value, "message/ohttp-req") ? "whole" : NULL;
}

static void send_request(struct relay *r, int64_t allowance)
{
    const struct http_head *h = http_request_head(r->x);
    struct http_slice body = http_request_body(r->x);
    const char *tenant = front_tenant(r->front, http_request_head(r->x));
    json_t *head = json_pack("{s:s%, s:s%, s:s, s:I, s:s, s:I, s:I, s:I}", "method", h->method.p, h->method.n, "path",
                             h->path.p, h->path.n, "tenant", tenant, "created",
                             (json_int_t)(r->draft.log ? r->draft.r.started : clock_wall_s()), "response_id",
                             r->response_id, "deadline_ms", (json_int_t)left_ms(r), "priority",
                             (json_int_t)r->claim.priority, "weight", (json_int_t)r->claim.weight);
    if (r->sealed)
        json_object_set_new(head, "sealed", json_string(sealed_how(h)));
    if (allowance >= 0)
        json_object_set_new(head, "allowance", json_integer(allowance));
    struct buf b = { 0 };
    jsonx_dump(head, &b);
    json_decref(head);
    buf_putc(&b, '\n');
    size_t first = FRAME_PAYLOAD_MAX - b.len < body.n ? FRAME_PAYLOAD_MAX - b.len : body.n;
    buf_append(&b, body.p, first);
    link_call_send(r->link, &r->call, FRAME_REQUEST, first < body.n ? FRAME_MORE : 0, b.data, b.len);
    buf_release(&b);
    for (size_t at = first; at < body.n;) {
        size_t n = body.n - at < FRAME_PAYLOAD_MAX ? body.n - at : FRAME_PAYLOAD_MAX;
        link_call_send(r->link, &r->call, FRAME_REQUEST, at + n < body.n ? FRAME_MORE : 0, body.p + at, n);
        at += n;
    }
    static const unsigned char window[4] = { WINDOW, 0, 0, 0 };
    link_call_send(r->link, &r->call, FRAME_CREDIT, 0, window, sizeof window);
}

/* The request's id for the ledger: with an Idempotency-Key one that a repeated request has again. false: refused. */
static bool name_request(struct relay *r, const struct ledger_key *key, char id[REPEAT_ID_SIZE])
{
    const struct http_head *h = http_request_head(r->x);
    const struct http_field *field = http_head_field(h, "idempotency-key");
    snprintf(id, REPEAT_ID_SIZE, "%s", r->response_id);
    if (!field || !accounts_booking(r->front->accounts))
        return true;
    struct repeat_ask ask = { key ? key->id : 0, field->value, h->path, http_request_body(r->x),
                              clock_wall_ns() / 1000000 };
    enum repeat_verdict v = repeat_begin(r->front->repeats, &ask, id, &r->repeat);
    if (v == REPEAT_GO)
        return true;
    fail(r, &(struct error){ .status = v == REPEAT_MALFORMED ? 400 : v == REPEAT_DIFFERENT ? 422 : 409,
                             .message = repeat_sentence(v), .code = "idempotency_key" }, v == REPEAT_UNDER_WAY);
    return false;
}

/* Asks the ledger; false: refused, and r is gone. */
static bool admit(struct relay *r, const struct envelope *env, struct ledger_answer *answer)
{
    struct accounts *a = r->front->accounts;
    const struct ledger_key *key = accounts_key(a, keys_shown(http_request_head(r->x)));
    char id[REPEAT_ID_SIZE];
    recent_tenant(r->line, front_tenant(r->front, http_request_head(r->x)));
    if (!name_request(r, key, id))
        return false;
    struct account_ask ask = { .key = key, .model = link_model_id(r->link), .request_id = id,
                               .path = http_request_head(r->x)->path, .body_bytes = (int64_t)http_request_body(r->x).n,
                               .choices = env->choices, .max_tokens = env->max_tokens,
                               .ctx = json_integer_value(json_object_get(link_facts(r->link), "ctx")) };
    if (!account_admit(a, &r->bill, &ask, answer)) {
        refuse_account(r, answer);
        return false;
    }
    if (accounts_booking(a))
        ledger_rate_headers(answer, &r->lines);
    return true;
}

/* The engine takes calls: the request goes to it. */
static void model_ready(void *arg)
{
    struct relay *r = arg;
    r->trace.ready_mono_ns = clock_mono_ns();
    if (!link_call_open(r->link, &r->call)) {
        struct error busy = { .status = 503, .code = "engine_unavailable",
                              .message = "the engine cannot take this request now; try again in a moment" };
        fail(r, &busy, link_retry_s(r->link));
        return;
    }
    struct ledger_answer answer;
    struct policy_decision why;
    char who[SIGNATURE_TENANT_MAX + 1];
    const struct trustlog_model *model = introduce_model(r->front, r->link);
    struct http_exchange *x = r->x;
    struct front *f = r->front;
    const char *tenant = front_tenant(f, http_request_head(x)), *stopped = introduce_stopped(f, r->link);
    if (stopped) {
        draft_deny(&r->draft, "gate/revoked");
        fail(r, &(struct error){ .status = 403, .message = stopped, .code = "revoked" }, 0);
        return;
    }
    r->draft.r.has_numerics = introduce_numerics(f, r->link, r->draft.r.numerics);
    snprintf(who, sizeof who, "%s", tenant);
    if (!r->sealed && !signature_check(f, r->link, x, &r->draft, who)) {
        fail(r, &(struct error){ .status = 400, .message = GATE_REFUSAL, .code = "not_accepted" }, 0);
        return;
    }
    if (r->sealed ? !draft_may_seal(&r->draft, model, tenant, &why)
                  : !draft_decide(&r->draft, model, http_request_head(x), who, &why)) {
        struct draft draft = r->draft;
        http_exchange_set_user(x, NULL);
        relay_free(r);
        receipts_problem(f, x, &draft, &why);
        return;
    }
    if (admit(r, &r->env, &answer)) {
        send_request(r, answer.allowance_tokens);
        http_request_forget_body(r->x);
    }
}

static void model_refused(void *arg, const struct error *e, int64_t retry_s)
{
    fail(arg, e, retry_s);
}

static struct relay *begin(struct front *f, struct http_exchange *x, const struct route *route, struct link *link)
{
    struct relay *r = MEM_NEW(struct relay);
    *r = (struct relay){ .call = { .frame = call_frame, .lost = call_lost, .arg = r }, .front = f, .link = link, .x = x,
                         .route = route, .next = f->relays, .started_ns = clock_mono_ns(),
                         .wait = { .ready = model_ready, .refused = model_refused, .arg = r } };
    if (r->next)
        r->next->prev = r;
    f->relays = r;
    f->relay_count++;
    r->bill.ticket = r->repeat = -1;
    make_response_id(route->id_prefix, link_model_id(link), r->response_id, sizeof r->response_id);
    r->line = recent_open(f->recents, r->response_id, route->path, link_model_id(link));
    draft_begin(&r->draft, f->trust, r->response_id, http_request_body(x));
    r->tells = http_head_field(http_request_head(x), "x-tokenworks-usage") != NULL;
    http_exchange_set_user(x, r);
    return r;
}

static void refuse_unknown(struct front *f, struct http_exchange *x, const char *name)
{
    struct buf sentence = { 0 };
    buf_printf(&sentence, "The model '%s' does not exist here; there are: ", name);
    models_names(f->models, &sentence);
    front_reply_error(f, x, &(struct error){ .status = 404, .message = buf_str(&sentence),
                                             .type = "invalid_request_error", .param = "model",
                                             .code = "model_not_found" }, NULL);
    buf_release(&sentence);
}

static void begin_trace(struct relay *r)
{
    trace_begin(r->front->telemetry, &r->trace, http_request_head(r->x));
    snprintf(r->trace.model, sizeof r->trace.model, "%.127s", link_model_id(r->link));
    snprintf(r->trace.response_id, sizeof r->trace.response_id, "%s", r->response_id);
    r->trace.max_tokens = r->env.max_tokens;
    r->trace.stream = r->env.stream;
}

/* What it claims of the scheduler; then it waits for its model. */
static void want(struct relay *r)
{
    const struct http_head *h = http_request_head(r->x);
    struct error refusal;
    struct err why;
    if (!claim_read(h, &r->env, accounts_key(r->front->accounts, keys_shown(h)), &r->claim, &refusal, &why))
        fail(r, &refusal, 0);
    else {
        recent_tenant(r->line, front_tenant(r->front, h));
        recent_claim(r->line, r->claim.priority, r->claim.deadline_ms);
        if (models_want(r->front->models, r->link, &r->wait))
            model_ready(r);
    }
}

void answer_relay(struct front *f, struct http_exchange *x, const struct route *route)
{
    struct http_slice body = http_request_body(x);
    struct envelope env = { .model = "" };
    struct err e = { 0 };
    const char *param = "";
    if (http_slice_is(http_request_head(x)->method, "POST") && envelope_scan(body.p, body.n, &env, &param, &e)) {
        front_reply_error(f, x, &(struct error){ .status = 400, .message = e.text, .param = param }, NULL);
        return;
    }
    struct link *link = front_find_named(f, route->dialect, env.model);
    if (link)
        relay_start(f, x, route, link, &env);
    else
        refuse_unknown(f, x, env.model);
}

void relay_start(struct front *f, struct http_exchange *x, const struct route *route, struct link *link,
                 const struct envelope *env)
{
    struct relay *r = begin(f, x, route, link);
    r->env = *env;
    begin_trace(r);
    want(r);
}

/* The key id, the first byte, names the engine; TW-Max-Tokens outside bounds what it may take. */
void answer_sealed(struct front *f, struct http_exchange *x, const struct route *route)
{
    struct http_slice body = http_request_body(x);
    const struct http_field *most = http_head_field(http_request_head(x), "tw-max-tokens");
    struct envelope env = { .model = "", .choices = 1 };
    struct link *link = body.n ? introduce_link(f, (uint8_t)body.p[0]) : NULL;
    uint64_t tokens = 0;
    if (most && (!code_uint((struct span){ most->value.p, most->value.n }, &tokens) || tokens > INT32_MAX)) {
        front_reply_error(f, x, &(struct error){ .status = 400, .message = "TW-Max-Tokens is a number" }, NULL);
        return;
    }
    /* The key died with its engine, or never was: the client asks for the offer and seals again. */
    if (!link || link_state(link) != LINK_READY) {
        front_reply_error(f, x, &(struct error){ .status = 503, .code = "sealed_key_gone",
                          .message = "no engine here has the key this was sealed to; ask /v1/evidence again" },
                          "Retry-After: 1\r\n");
        return;
    }
    env.max_tokens = (int64_t)tokens;
    struct relay *r = begin(f, x, route, link);
    r->sealed = r->draft.r.sealed = true;
    r->env = env;
    begin_trace(r);
    want(r);
}

void relay_gone(struct http_exchange *x, void *front)
{
    struct relay *r = http_exchange_user(x);
    if (receipts_gone(front, x) || evidence_gone(front, x) || adapters_gone(front, x) || !r)
        return; /* it left before its request was whole */
    struct front *f = r->front;
    http_exchange_set_user(x, NULL);
    r->x = NULL;
    if (r->ending) /* all was sent but the last byte: billed as it is, freed by booked() */
        return;
    take_back_unsent(r, http_reply_pending(x));
    if (r->call.id && link_state(r->link) == LINK_READY)
        link_call_send(r->link, &r->call, FRAME_CANCEL, 0, NULL, 0);
    f->metrics.cancelled++;
    r->trace.status = 499;
    snprintf(r->trace.error, sizeof r->trace.error, "client_left");
    front_note(f, x, 499);
    account_settle(f->accounts, &r->bill, NULL, "cancelled", NULL, NULL, NULL);
    draft_file(&r->draft, "aborted", NULL, NULL);
    relay_free(r);
}

void relay_drained(struct http_exchange *x, void *front)
{
    struct relay *r = http_exchange_user(x);
    if (r && (r->begun || r->held) && !r->ending)
        give_credit(r);
}

void relay_cut_all(struct front *f, const char *why)
{
    struct error e = { .status = 503, .message = why, .code = "shutting_down" };
    for (struct relay *r = f->relays, *next; r; r = next) {
        next = r->next;
        if (r->ending)
            continue;
        if (r->call.id && link_state(r->link) == LINK_READY)
            link_call_send(r->link, &r->call, FRAME_CANCEL, 0, NULL, 0);
        fail(r, &e, 1);
    }
}
