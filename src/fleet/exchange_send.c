/* exchange_send -- see exchange.h: what goes to the worker. Nothing here ends the exchange. */
#include "fleet/exchange.h"

#include "base/assert.h"
#include "base/mem.h"
#include "fleet/gateway_impl.h"

static bool send_frame(struct fleet_exchange *x, enum frame_kind kind, uint16_t flags, const void *payload, size_t n)
{
    struct frame f = { .kind = kind, .flags = flags, .id = x->id, .attempt = x->now.number, .seq = x->now.seq_out,
                       .payload = payload, .length = n };
    bool sent = false;
    if (x->now.at.name[0]) {
        sent = gateway_publish(x->g, &x->now.at, &f);
    } else if (kind == FRAME_REQUEST) {
        char subject[FLEET_SUBJECT_MAX];
        const char *where = x->ask.jurisdiction_count ? x->ask.jurisdictions[0] : x->g->me.jurisdiction;
        fleet_subject_any(where, x->ask.model, subject);
        sent = gateway_publish_to(x->g, subject, &f);
    }
    if (sent)
        x->now.seq_out++;
    return sent;
}

/* What the next worker needs of the answer so far. */
static json_t *resume_of(const struct fleet_exchange *x)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < x->told.token_count && i < EXCHANGE_RESUME_TOKENS; i++)
        json_array_append_new(tokens, json_integer(x->told.tokens[i]));
    return json_pack("{s:o, s:I}", "tokens", tokens, "cached_tokens",
                     json_integer_value(json_object_get(x->usage, "cached_tokens")));
}

/* The attempt's head: what is left of the deadline, and what is known of the answer. */
static void write_head(const struct fleet_exchange *x, struct buf *out)
{
    int64_t deadline = json_integer_value(json_object_get(x->head, "deadline_ms"));
    int64_t left = deadline - (gateway_now_ms() - x->opened_ms);
    bool as_is = deadline <= 0 && !x->usage && !x->status;
    json_t *head = as_is ? json_incref(x->head) : json_copy(x->head);
    if (deadline > 0)
        json_object_set_new(head, "deadline_ms", json_integer(left > 0 ? left : 1));
    if (x->usage || x->status)
        json_object_set_new(head, "resume", resume_of(x));
    jsonx_dump(head, out);
    buf_putc(out, '\n');
    json_decref(head);
}

bool exchange_send_request(struct fleet_exchange *x)
{
    struct buf b = { 0 };
    write_head(x, &b);
    size_t room = b.len < FLEET_PART_MAX ? FLEET_PART_MAX - b.len : 0;
    size_t at = x->body_n < room ? x->body_n : room;
    buf_append(&b, x->body, at);
    bool ok = send_frame(x, FRAME_REQUEST, at < x->body_n ? FRAME_MORE : 0, b.data, b.len);
    buf_release(&b);
    while (ok && at < x->body_n) {
        size_t n = x->body_n - at < FLEET_PART_MAX ? x->body_n - at : FLEET_PART_MAX;
        ok = send_frame(x, FRAME_REQUEST, at + n < x->body_n ? FRAME_MORE : 0, x->body + at, n);
        at += n;
    }
    if (ok && !x->ask.resumable) { /* it is not sent again */
        x->g->bodies_bytes -= (int64_t)x->body_n;
        mem_free(x->body);
        x->body = NULL;
        x->body_n = 0;
    }
    return ok;
}

void exchange_send_cancel(struct fleet_exchange *x)
{
    if (!send_frame(x, FRAME_CANCEL, 0, NULL, 0) && x->now.at.name[0])
        gateway_cancel_later(x->g, &x->now.at, x->id, x->now.number);
}

/* Data frames the worker should be able to send now: I3. */
static int64_t wanted(const struct fleet_exchange *x)
{
    int64_t client = x->granted - x->passed;
    int64_t again = delivered_caught_up(&x->told) ? 0 : EXCHANGE_AGAIN_FRAMES;
    return client > again ? client : again;
}

static bool send_credit(struct fleet_exchange *x, int64_t frames)
{
    ASSERT(frames >= 0 && frames <= UINT32_MAX);
    unsigned char le[4];
    for (int i = 0; i < 4; i++)
        le[i] = (unsigned char)((uint64_t)frames >> 8 * i);
    if (!send_frame(x, FRAME_CREDIT, 0, le, sizeof le))
        return false;
    x->now.given += frames;
    return true;
}

static int64_t need(const struct fleet_exchange *x)
{
    int64_t n = wanted(x) - (x->now.given - x->now.received);
    return n < 0 ? 0 : n > 1 << 20 ? 1 << 20 : n;
}

void exchange_top_up(struct fleet_exchange *x)
{
    int64_t n = x->state == EXCHANGE_RUNNING ? need(x) : 0;
    bool low = x->now.given - x->now.received <= EXCHANGE_AGAIN_FRAMES / 2;
    if (n && (low || n >= EXCHANGE_AGAIN_FRAMES / 2)) /* else not worth a message yet */
        send_credit(x, n);
}

/* A credit of nothing would do; what is needed anyway goes along. */
void exchange_probe(struct fleet_exchange *x)
{
    x->now.probed_ms = gateway_now_ms();
    int64_t n = need(x);
    if (n)
        send_credit(x, n);
    send_credit(x, 0);
}

void exchange_credit(struct fleet_exchange *x, uint32_t frames)
{
    x->granted += frames;
    exchange_top_up(x);
}

void exchange_pass_on(struct fleet_exchange *x, enum frame_kind kind, uint16_t flags, const void *payload, size_t n)
{
    if (x->state == EXCHANGE_RUNNING && !send_frame(x, kind, flags, payload, n))
        exchange_move(x, "the connection to the fleet is away");
}
