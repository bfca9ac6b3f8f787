/* exchange_take -- see exchange.h: what comes from the worker. Each function's last act may end the exchange. */
#include "fleet/exchange.h"

#include "base/log.h"
#include "base/mem.h"
#include "fleet/gateway_impl.h"

#include <stdio.h>
#include <string.h>

static json_t *parse_object(const struct frame *f)
{
    json_t *v = jsonx_parse(f->payload, f->length, NULL);
    if (json_is_object(v))
        return v;
    json_decref(v);
    return NULL;
}

static void pass(struct fleet_exchange *x, const struct frame *f)
{
    struct frame out = *f;
    exchange_win(x);
    out.id = x->id;
    out.attempt = 0;
    out.seq = x->seq_client++;
    x->call->part = x->now.part;
    x->call->frame(x->call, &out);
}

static void malformed(struct fleet_exchange *x, const char *what)
{
    char why[ERR_TEXT_MAX];
    snprintf(why, sizeof why, "worker %s sent %s", x->now.at.name, what);
    log_line(LOG_ERROR, "fleet", "%s", why);
    x->spoiled = true;
    if (x->trying)
        return;
    exchange_fail(x, 502, "engine_failed", why);
}

static void different(struct fleet_exchange *x)
{
    x->spoiled = true;
    if (x->trying)
        return;
    exchange_fail(x, 502, "resume_mismatch", "the worker that went on with this request computed another answer than "
                  "the one before; what was received is not whole");
}

static void take_head(struct fleet_exchange *x, const struct frame *f)
{
    json_t *v = parse_object(f);
    int status = (int)json_integer_value(json_object_get(v, "status"));
    json_decref(v);
    if (x->now.headed || status < 100 || status > 599) {
        malformed(x, "a head that does not fit");
        return;
    }
    x->now.headed = true;
    if (!x->status) {
        x->status = status;
        snprintf(x->numerics, sizeof x->numerics, "%s", x->now.numerics);
        pass(x, f);
    } else if (x->status != status) {
        different(x);
    }
}

static void take_data(struct fleet_exchange *x, const struct frame *f)
{
    struct buf scratch = { 0 };
    struct frame out;
    x->now.received++;
    x->told.lenient = !x->status && !x->trying;
    enum delivered_verdict v = x->ask.resumable ? delivered_take(&x->told, f, &scratch, &out) : DELIVERED_NEW;
    if (v == DELIVERED_NEW && !x->now.headed) {
        malformed(x, "data before a head");
    } else if (v == DELIVERED_NEW) {
        x->passed++;
        exchange_top_up(x);
        pass(x, x->ask.resumable ? &out : f);
    } else if (v == DELIVERED_KNOWN || v == DELIVERED_KEPT) {
        if (v == DELIVERED_KEPT)
            exchange_win(x); /* it is further than the other */
        exchange_top_up(x);
    } else if (v == DELIVERED_DIFFERENT) {
        different(x);
    } else {
        malformed(x, "data that is malformed");
    }
    buf_release(&scratch);
}

/* A later attempt's counts of the prompt are the first one's: nobody pays twice. */
static json_t *with_first(const struct fleet_exchange *x, json_t *usage)
{
    static const char *const kept[] = { "prompt_tokens", "cached_tokens" };
    for (size_t i = 0; i < MEM_COUNT(kept); i++) {
        json_t *v = json_object_get(x->usage, kept[i]);
        if (v && json_object_get(usage, kept[i]))
            json_object_set(usage, kept[i], v);
    }
    return usage;
}

static void take_usage(struct fleet_exchange *x, const struct frame *f)
{
    json_t *v = parse_object(f);
    if (!v) {
        malformed(x, "usage that is malformed");
        return;
    }
    struct buf b = { 0 };
    bool known = x->now.usages++ < x->usages_passed;
    if (!x->usage && !json_is_true(json_object_get(v, "queued"))) /* only counted yet: nothing is known of the cache */
        x->usage = json_incref(v);
    if (!known) {
        x->usages_passed++;
        if (x->now.number) {
            jsonx_dump(with_first(x, v), &b);
            pass(x, &(struct frame){ .kind = FRAME_USAGE, .flags = f->flags, .payload = buf_str(&b), .length = b.len });
        } else {
            pass(x, f);
        }
    }
    buf_release(&b);
    json_decref(v);
}

static void take_end(struct fleet_exchange *x, const struct frame *f)
{
    if (!delivered_caught_up(&x->told)) {
        different(x); /* it is shorter */
        return;
    }
    json_t *v = x->now.number ? parse_object(f) : NULL;
    struct frame out = *f;
    struct buf b = { 0 };
    if (v) {
        with_first(x, json_object_get(v, "usage"));
        jsonx_dump(v, &b);
        out.payload = buf_str(&b);
        out.length = b.len;
    }
    exchange_end(x, &out);
    buf_release(&b);
    json_decref(v);
}

/* Errors that say: this worker cannot go on with it, another one may. */
static bool is_gone(const char *code)
{
    static const char *const gone[] = { "draining", "engine_lost", "engine_restarting", "engine_unavailable",
                                        "shutting_down", "unknown_exchange", "frames_lost", "body_crc32" };
    for (size_t i = 0; code && i < MEM_COUNT(gone); i++)
        if (!strcmp(code, gone[i]))
            return true;
    return false;
}

/* An error is the answer, unless it is the worker's trouble. One that has no room is asked again by nobody: if no other
 * has room at once, its error is the answer too. */
static void take_error(struct fleet_exchange *x, const struct frame *f)
{
    json_t *v = parse_object(f), *o = json_object_get(v, "error");
    const char *code = json_string_value(json_object_get(o, "code"));
    const char *message = json_string_value(json_object_get(o, "message"));
    int status = (int)json_integer_value(json_object_get(v, "status"));
    bool gone = is_gone(code), full = status == 503 && !x->status;
    if (x->trying) {
        x->spoiled = true;
        json_decref(v);
        return;
    }
    if (x->ask.resumable && (gone || full)) {
        char why[ERR_TEXT_MAX];
        snprintf(why, sizeof why, "%.300s", message ? message : "its worker gave it back");
        bool lost = code && (!strcmp(code, "unknown_exchange") || !strcmp(code, "frames_lost"));
        mem_free(x->refusal);
        x->refusal = lost ? NULL : mem_dup(f->payload, f->length);
        x->refusal_n = f->length;
        json_decref(v);
        exchange_give_up(x, why, !lost, gone);
        return;
    }
    json_decref(v);
    exchange_end(x, f);
}

static void take_next(struct fleet_exchange *x, const struct frame *f)
{
    switch (f->kind) {
    case FRAME_HEAD: take_head(x, f); break;
    case FRAME_DATA: take_data(x, f); break;
    case FRAME_USAGE: take_usage(x, f); break;
    case FRAME_END: take_end(x, f); break;
    case FRAME_ERROR: take_error(x, f); break;
    case FRAME_RECEIPT: pass(x, f); break;
    default: malformed(x, "a frame that no answer has");
    }
}

static void take(struct fleet_exchange *x, const struct frame *f)
{
    x->now.heard_ms = gateway_now_ms();
    bool sign = f->kind == FRAME_CREDIT; /* its seq is the count of frames so far: not one of them */
    if (f->seq > x->now.seq_in) {
        x->spoiled = true;
        if (!x->trying)
            exchange_move(x, "frames of its answer were lost on the way");
        return;
    }
    if (f->kind == FRAME_ERROR && f->seq < x->now.seq_in && !sign) {
        take_error(x, f); /* of a worker that knows nothing of what was sent: unknown_exchange */
        return;
    }
    if (sign || f->seq < x->now.seq_in)
        return;
    x->now.seq_in++;
    if (!x->trying && f->kind != FRAME_ERROR)
        exchange_drop_hedge(x); /* it goes on: I5 */
    take_next(x, f);
}

/* A frame of the hedge. */
static void try_hedge(struct fleet_exchange *x, const struct frame *f)
{
    struct fleet_gateway *g = x->g;
    uint64_t id = x->id;
    exchange_swap(x);
    x->trying = true;
    x->spoiled = false;
    take(x, f);
    if (!gateway_has(g, id) || !x->trying)
        return; /* it has won, and may be over */
    x->trying = false;
    exchange_swap(x);
    if (x->spoiled)
        exchange_drop_hedge(x);
}

void exchange_take(struct fleet_exchange *x, const struct frame *f)
{
    if (!exchange_expects(x, f->attempt))
        return; /* I2 */
    if (f->attempt == x->now.number)
        take(x, f);
    else
        try_hedge(x, f);
}
