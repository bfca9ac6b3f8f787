/* relay_take -- see relay.c: what comes back from the engine, and how the reply to the client ends.
 *
 * A metered reply that is no stream is held back (HELD_MAX bytes at most) until its row is on disk: its head can then
 * say what it took, and a client that was billed nothing has seen nothing.
 *
 * With evidence (receipts.h) the end of every reply waits until its receipt is on disk: the last event of a stream, the
 * whole of what is held, an error. */
#include "base/log.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "front/relay_impl.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    PENDING_LOW = 128 * 1024,
    PENDING_MAX = 80 << 20,   /* RELAY_WINDOW of the largest frames and some: an engine that ignores credit */
    HEADERS_MAX = 16,
    HELD_MAX = 256 * 1024,
};

struct piece {
    uint32_t bytes, tokens;
};

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
    draft_computed(&r->draft, &r->call.far);
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

void relay_fail(struct relay *r, const struct error *e, int64_t retry_s)
{
    struct http_exchange *x = r->x;
    struct front *f = r->front;
    http_exchange_set_user(x, NULL);
    draft_computed(&r->draft, &r->call.far);
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

void relay_give_credit(struct relay *r)
{
    if (r->used < RELAY_WINDOW / 2 || http_reply_pending(r->x) > PENDING_LOW)
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
    if (r->bill.ticket >= 0 || r->draft.log)
        buf_append(&r->unsent, &piece, sizeof piece);
    account_data(r->front->accounts, &r->bill, tokens);
}

/* The client is gone: tokens whose bytes it had not wholly taken were not sent. */
void relay_take_back_unsent(struct relay *r, size_t pending)
{
    for (size_t end = r->unsent.len; end >= sizeof(struct piece) && pending; end -= sizeof(struct piece)) {
        struct piece piece;
        memcpy(&piece, r->unsent.data + end - sizeof piece, sizeof piece);
        account_unsent(&r->bill, piece.tokens);
        draft_tokens(&r->draft, -(int64_t)piece.tokens);
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
    draft_computed(&r->draft, &r->call.far);
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
    relay_give_credit(r);
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
    relay_fail(r, &e, retry_s);
    json_decref(v);
}

/* What the ledger refused: 429, 403 or 503 in its own words. */
void relay_refuse_account(struct relay *r, const struct ledger_answer *a)
{
    int status = a->verdict == LEDGER_FORBIDDEN ? 403 : a->verdict == LEDGER_BUSY ? 503 : 429;
    const char *code = status == 403 ? "model_not_allowed" : status == 503 ? "ledger_busy" : "rate_limit_exceeded";
    buf_clear(&r->lines);
    ledger_rate_headers(a, &r->lines); /* Retry-After is among them */
    relay_fail(r, &(struct error){ .status = status, .message = a->message, .code = code }, 0);
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
    relay_refuse_account(r, &answer);
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
    relay_fail(r, &(struct error){ .status = 503, .message = "the receipt of this request could not be kept" }, 1);
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

void relay_frame(struct link_call *c, const struct frame *f)
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
    relay_fail(r, &e, 0);
}

void relay_lost(struct link_call *c, const char *why)
{
    struct relay *r = c->arg;
    struct error e = { .status = 503, .code = "engine_restarting",
                       .message = "the engine stopped while it worked on this request; it is being started again" };
    relay_fail(r, &e, link_retry_s(r->link));
}
