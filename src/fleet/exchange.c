/* exchange -- see exchange.h: opened, sent to somebody, moved to somebody else, ended. */
#include "fleet/exchange.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/rng.h"
#include "fleet/crc32.h"
#include "fleet/gateway_impl.h"

#include <stdio.h>
#include <string.h>

/* ---- from open to the first attempt */

static void copy_ask(struct fleet_exchange *x, const struct fleet_ask *ask)
{
    ASSERT(ask->jurisdiction_count >= 0 && ask->jurisdiction_count <= FLEET_JURISDICTIONS_MAX);
    ASSERT(ask->prefix_count >= 0 && ask->prefix_count <= FLEET_PREFIX_MAX);
    x->ask = *ask;
    snprintf(x->names[FLEET_JURISDICTIONS_MAX], sizeof x->names[0], "%s", ask->model);
    x->ask.model = x->names[FLEET_JURISDICTIONS_MAX];
    for (int i = 0; i < ask->jurisdiction_count; i++) {
        snprintf(x->names[i], sizeof x->names[i], "%s", ask->jurisdictions[i]);
        x->ask.jurisdictions[i] = x->names[i];
    }
    json_incref((json_t *)(uintptr_t)x->ask.places);
    if (ask->hash) {
        snprintf(x->hash, sizeof x->hash, "%s", ask->hash);
        x->ask.hash = x->hash;
    }
}

/* avoid: a serial; 0: nobody. */
static enum err_code pick(struct fleet_exchange *x, uint32_t avoid, struct route_pick *p, struct err *e)
{
    struct fleet_gateway *g = x->g;
    struct route_query q = { .ask = &x->ask, .home = g->me.jurisdiction, .numerics = x->status ? x->numerics : "",
                             .policy = g->policy }; /* I4 */
    int64_t now = gateway_now_ms();
    for (int i = 0; i < x->excluded_count; i++)
        if (now - x->excluded_ms[i] < EXCHANGE_EXCLUDE_MS)
            q.excluded[q.excluded_count++] = x->excluded[i];
    if (avoid)
        q.excluded[q.excluded_count++] = avoid;
    return route_pick(g->roster, g->known, &q, &g->dice, p, &x->call->retry_s, e);
}

enum err_code exchange_open(struct fleet_gateway *g, const struct fleet_ask *ask, struct fleet_call *c, uint64_t id,
                            struct fleet_exchange **out, struct err *e)
{
    struct fleet_exchange *x = MEM_NEW(struct fleet_exchange);
    struct route_pick p;
    x->g = g;
    x->call = c;
    x->id = id;
    x->opened_ms = gateway_now_ms();
    delivered_init(&x->told);
    copy_ask(x, ask);
    enum err_code code = pick(x, 0, &p, e);
    if (code == ERR_NOT_FOUND && !ask->named && catalog_find(&g->catalog, ask->model))
        code = ERR_OK; /* nobody is heard of now: the one try without a name */
    if (code) {
        exchange_free(x);
        return code == ERR_NOT_FOUND ? ERR_BUSY : code;
    }
    *out = x;
    return ERR_OK;
}

void exchange_free(struct fleet_exchange *x)
{
    json_decref(x->head);
    json_decref(x->usage);
    json_decref((json_t *)(uintptr_t)x->ask.places);
    delivered_release(&x->told);
    x->g->bodies_bytes -= (int64_t)x->body_n;
    mem_free(x->body);
    mem_free(x->refusal);
    mem_free(x);
}

/* What every attempt's head has: FRAME_REQUEST in wire/frame.h. */
static void complete_head(struct fleet_exchange *x)
{
    json_t *where = json_array(), *prefix = json_array();
    char hex[17];
    if (!x->ask.jurisdiction_count)
        json_array_append_new(where, json_string(x->g->me.jurisdiction));
    for (int i = 0; i < x->ask.jurisdiction_count; i++)
        json_array_append_new(where, json_string(x->ask.jurisdictions[i]));
    for (int i = 0; i < x->ask.prefix_count; i++) {
        snprintf(hex, sizeof hex, "%016llx", (unsigned long long)x->ask.prefix[i]);
        json_array_append_new(prefix, json_string(hex));
    }
    json_object_set_new(x->head, "model", json_string(x->ask.model));
    if (!json_object_get(x->head, "seed")) {
        uint64_t seed;
        rng_system(&seed, sizeof seed);
        json_object_set_new(x->head, "seed", json_integer((json_int_t)(seed >> 11)));
    }
    json_object_set_new(x->head, "body_bytes", json_integer((json_int_t)x->body_n));
    json_object_set_new(x->head, "body_crc32", json_integer(fleet_crc32(0, x->body, x->body_n)));
    json_object_set_new(x->head, "jurisdictions", where);
    json_object_set_new(x->head, "prefix", prefix);
    if (x->ask.places)
        json_object_set_new(x->head, "places", json_copy((json_t *)(uintptr_t)x->ask.places));
    if (x->ask.resumable) /* so that its tokens are known though nothing is shown of them */
        json_object_set_new(x->head, "tell", json_true());
}

/* ---- attempts */

/* Its place among those who have had it, for who asked; -1: it has been with too many. */
static int part_of(struct fleet_call *c, const struct route_pick *p)
{
    struct fleet_part part = { .place = p->worker->place, .boot = p->worker->boot };
    snprintf(part.hash, sizeof part.hash, "%s", p->model->beat.hash);
    snprintf(part.numerics, sizeof part.numerics, "%s", p->model->beat.numerics);
    for (int i = 0; i < c->part_count; i++) {
        const struct fleet_part *had = &c->parts[i];
        if (had->boot == part.boot && !strcmp(had->place.name, part.place.name) &&
            !strcmp(had->place.site, part.place.site) && !strcmp(had->place.jurisdiction, part.place.jurisdiction) &&
            !strcmp(had->hash, part.hash) && !strcmp(had->numerics, part.numerics))
            return i;
    }
    if (c->part_count == FLEET_PARTS_MAX)
        return -1;
    c->parts[c->part_count] = part;
    return c->part_count++;
}

/* Fills x->now with a new attempt and sends it; false: the bus is away. */
static bool send_attempt(struct fleet_exchange *x, const struct route_pick *p)
{
    int64_t now = gateway_now_ms();
    x->now = (struct fleet_attempt){ .number = (uint32_t)x->begun++, .heard_ms = now, .probed_ms = now,
                                     .sent_ms = now };
    x->call->attempts = x->begun;
    delivered_again(&x->told);
    if (p) {
        x->now.serial = p->worker->serial;
        x->now.at = p->worker->place;
        x->now.part = part_of(x->call, p);
        snprintf(x->now.numerics, sizeof x->now.numerics, "%s", p->model->beat.numerics);
        route_sent(x->g->known, &x->ask, p);
    }
    return exchange_send_request(x);
}

static void say_where(struct fleet_exchange *x)
{
    x->call->at = x->now.at;
    roster_say(x->g->roster, "a request of %.80s goes on at %s/%s/%s: %.100s", x->ask.model, x->now.at.jurisdiction,
               x->now.at.site, x->now.at.name, x->why);
}

static void begin_attempt(struct fleet_exchange *x, const struct route_pick *p)
{
    if (p && part_of(x->call, p) < 0) {
        exchange_fail(x, 503, "engine_unavailable", "this request was with too many workers; try again");
        return;
    }
    bool sent = send_attempt(x, p);
    x->state = EXCHANGE_RUNNING;
    x->call->at = x->now.at;
    if (x->moves)
        say_where(x);
    if (!sent) { /* the bus is away: not this worker's fault */
        gateway_cancel_later(x->g, &x->now.at, x->id, x->now.number);
        x->state = EXCHANGE_MOVING;
        return;
    }
    if (x->moves)
        x->g->resumed++;
    exchange_top_up(x);
}

/* Nobody is heard of who has it: one try with whoever listens. The answer is small enough for one message, or none. */
static bool may_ask_any(const struct fleet_exchange *x)
{
    return !x->begun && !x->ask.named && bus_is_up(x->g->bus) && x->body_n < FLEET_PART_MAX / 2;
}

/* Tries to place it; false: not now. May end it when there is no hope. */
static void place(struct fleet_exchange *x)
{
    struct route_pick p;
    struct err e = { 0 };
    enum err_code code = pick(x, 0, &p, &e);
    if (!code && bus_is_up(x->g->bus)) {
        begin_attempt(x, &p);
        return;
    }
    if (code == ERR_NOT_FOUND && may_ask_any(x)) {
        begin_attempt(x, NULL);
        return;
    }
    x->state = EXCHANGE_MOVING;
    if (gateway_now_ms() < x->wait_until_ms)
        return;
    exchange_fail(x, 503, "engine_unavailable", !bus_is_up(x->g->bus) ? "the connection to the fleet is away; try again"
                  : x->why[0] ? x->why : e.text);
}

void exchange_request(struct fleet_exchange *x, const char *payload, size_t n)
{
    const char *lf = memchr(payload, '\n', n);
    json_t *head = lf ? jsonx_parse(payload, (size_t)(lf - payload), NULL) : NULL;
    exchange_begin(x, head, lf ? lf + 1 : "", lf ? n - (size_t)(lf + 1 - payload) : 0);
}

void exchange_begin(struct fleet_exchange *x, json_t *head, const char *body, size_t n)
{
    if (!json_is_object(head) || x->state != EXCHANGE_OPEN) {
        json_decref(head);
        exchange_fail(x, 500, "internal", "a request frame without a head, or twice");
        return;
    }
    x->head = head;
    x->body_n = n;
    x->body = mem_dup(body, n);
    x->g->bodies_bytes += (int64_t)x->body_n;
    complete_head(x);
    x->wait_until_ms = gateway_now_ms() + EXCHANGE_WAIT_MS;
    place(x);
}

/* Who gave it back is not asked again at once. */
static void exclude(struct fleet_exchange *x)
{
    int at = x->excluded_count < ROUTE_EXCLUDED_MAX ? x->excluded_count++ : 0;
    for (int i = 0; i < x->excluded_count; i++)
        if (x->excluded[i] == x->now.serial)
            at = i;
    x->excluded[at] = x->now.serial;
    x->excluded_ms[at] = gateway_now_ms();
}

/* The present attempt is no good any more and the hedge is all there is: I5. */
static void go_on_with_hedge(struct fleet_exchange *x)
{
    x->hedged = false;
    exchange_swap(x);
    x->g->resumed++;
    say_where(x);
}

void exchange_give_up(struct fleet_exchange *x, const char *why, bool exclude_it, bool wait)
{
    if (x->state != EXCHANGE_RUNNING)
        return;
    exchange_send_cancel(x);
    if (exclude_it)
        exclude(x);
    snprintf(x->why, sizeof x->why, "%s", why);
    if (x->hedged) {
        go_on_with_hedge(x);
        return;
    }
    if (!x->ask.resumable || x->moves == GATEWAY_RESUMES || (x->status && !x->numerics[0])) {
        exchange_fail(x, 503, "engine_unavailable", why);
        return;
    }
    x->moves++;
    x->ask.deadline_ms = 0; /* it was admitted; the engine watches its deadline (exchange_send.c) */
    x->wait_until_ms = gateway_now_ms() + (wait ? EXCHANGE_WAIT_MS : 0);
    place(x);
}

void exchange_move(struct fleet_exchange *x, const char *why)
{
    exchange_give_up(x, why, false, true);
}

void exchange_lost(struct fleet_exchange *x, uint32_t serial, const char *why)
{
    if (x->state == EXCHANGE_RUNNING && x->hedged && x->hedge.serial == serial)
        exchange_drop_hedge(x);
    if (x->state == EXCHANGE_RUNNING && x->now.serial == serial)
        exchange_move(x, why);
}

bool exchange_expects(const struct fleet_exchange *x, uint32_t attempt)
{
    return x->state == EXCHANGE_RUNNING &&
           (attempt == x->now.number || (x->hedged && attempt == x->hedge.number));
}

/* ---- hedges: I5 */

void exchange_swap(struct fleet_exchange *x)
{
    struct fleet_attempt was = x->now;
    was.told = x->told.a;
    x->now = x->hedge;
    x->told.a = x->hedge.told;
    x->hedge = was;
}

/* Worth one, and late enough after the last. */
static bool may_hedge(const struct fleet_exchange *x)
{
    bool waits = x->granted > x->passed; /* else its client reads slowly, and nothing is missed */
    return x->state == EXCHANGE_RUNNING && !x->hedged && x->ask.resumable && x->now.serial && waits &&
           x->hedges < EXCHANGE_HEDGES && (!x->status || x->numerics[0]) &&
           (!x->hedges || gateway_now_ms() - x->hedged_ms >= EXCHANGE_HEDGE_PAUSE_MS << x->hedges);
}

void exchange_hedge(struct fleet_exchange *x)
{
    struct route_pick p;
    struct err e;
    if (!may_hedge(x))
        return;
    x->ask.deadline_ms = 0; /* it was admitted */
    if (pick(x, x->now.serial, &p, &e) || roster_suspects(p.worker, x->ask.model) || p.model->beat.outside)
        return; /* a suspicion is no reason to pay somebody outside, nor to show it to them */
    if (part_of(x->call, &p) < 0)
        return;
    snprintf(x->why, sizeof x->why, "its worker %s gave no sign of life", x->now.at.name);
    x->hedges++;
    x->hedged_ms = gateway_now_ms();
    exchange_swap(x);
    x->hedged = send_attempt(x, &p);
    if (x->hedged)
        exchange_top_up(x);
    else
        gateway_cancel_later(x->g, &x->now.at, x->id, x->now.number);
    exchange_swap(x);
}

void exchange_win(struct fleet_exchange *x)
{
    if (!x->trying)
        return;
    x->trying = x->hedged = false;
    exchange_swap(x);
    exchange_send_cancel(x);
    exchange_swap(x);
    x->g->resumed++;
    say_where(x);
}

void exchange_drop_hedge(struct fleet_exchange *x)
{
    if (!x->hedged)
        return;
    exchange_swap(x);
    exchange_send_cancel(x);
    exchange_swap(x);
    x->hedged = false;
    x->hedged_ms = gateway_now_ms();
}

/* ---- the tick */

static void probe_in_time(struct fleet_exchange *x, int64_t now)
{
    if (now - x->now.heard_ms >= EXCHANGE_PROBE_MS && now - x->now.probed_ms >= EXCHANGE_PROBE_MS)
        exchange_probe(x);
}

static void tend_hedge(struct fleet_exchange *x, int64_t now)
{
    gateway_knock(x->g, x->hedge.serial, x->ask.model);
    if (now - x->hedge.heard_ms >= EXCHANGE_DEAF_MS) {
        exchange_drop_hedge(x);
        return;
    }
    exchange_swap(x);
    probe_in_time(x, now);
    exchange_swap(x);
}

void exchange_tick(struct fleet_exchange *x)
{
    int64_t now = gateway_now_ms();
    bool running = x->state == EXCHANGE_RUNNING;
    if (x->state == EXCHANGE_MOVING) {
        place(x);
    } else if (running && !x->now.serial && !x->now.seq_in && now - x->now.sent_ms >= EXCHANGE_ANY_MS) {
        exchange_fail(x, 503, "engine_unavailable", "no worker that has this model is heard of; try again");
    } else if (running && now - x->now.heard_ms >= EXCHANGE_DEAF_MS) {
        exchange_move(x, "its worker does not answer");
    } else if (running) {
        probe_in_time(x, now);
        bool suspect = gateway_knock(x->g, x->now.serial, x->ask.model);
        if (x->hedged)
            tend_hedge(x, now);
        else if (suspect)
            exchange_hedge(x);
    }
}

/* ---- the end */

void exchange_cancel(struct fleet_exchange *x)
{
    exchange_drop_hedge(x);
    if (x->state == EXCHANGE_RUNNING)
        exchange_send_cancel(x);
    x->state = EXCHANGE_OVER;
}

void exchange_end(struct fleet_exchange *x, const struct frame *f)
{
    struct fleet_call *c = x->call;
    struct frame last = *f;
    exchange_win(x);
    exchange_drop_hedge(x);
    roster_done(x->g->roster, x->now.serial, x->ask.model);
    last.id = x->id;
    last.attempt = 0;
    last.seq = x->seq_client++;
    c->part = x->now.part;
    c->x = NULL;
    gateway_forget(x->g, x);
    c->frame(c, &last);
}

void exchange_fail(struct fleet_exchange *x, int status, const char *code, const char *message)
{
    struct buf b = { 0 };
    if (x->state == EXCHANGE_RUNNING)
        exchange_send_cancel(x);
    if (x->refusal && status == 503) {
        buf_append(&b, x->refusal, x->refusal_n); /* what the last worker said is more to the point */
    } else {
        buf_printf(&b, "{\"status\":%d,\"error\":{\"message\":", status);
        jsonx_quote(message, strlen(message), &b);
        buf_printf(&b, ",\"type\":\"server_error\",\"param\":null,\"code\":\"%s\"}}", code);
    }
    x->g->failed++;
    roster_say(x->g->roster, "a request of %.80s failed: %.100s", x->ask.model, message);
    exchange_end(x, &(struct frame){ .kind = FRAME_ERROR, .payload = buf_str(&b), .length = b.len });
    buf_release(&b);
}
