/* gateway -- see gateway.h: the table of exchanges, what comes from the bus, the tick that keeps it all alive.
 *
 * A HELLO frame without payload comes back as it is from a worker's req subject, and from our own inbox by way of the
 * server: the first measures the round trip, the second is the sign of life that roster.h I1 asks for. Its seq is when
 * it was sent, in us; its id the worker's serial, 0 our own. */
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "fleet/gateway_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOT_BITS = 16, RTT_EVERY_MS = 2000, RTT_MAX_MS = 10000, TURN_AWAY_MS = 100,
    KNOCK_AFTER_MS = 150, KNOCK_EVERY_MS = 75,
};

int64_t gateway_now_ms(void)
{
    return clock_mono_ns() / 1000000;
}

/* ---- publishing */

bool gateway_publish_to(struct fleet_gateway *g, const char *subject, const struct frame *f)
{
    struct buf b = { 0 };
    frame_write(&b, f);
    bool ok = post_frames(g->post, subject, g->inbox, b.data, b.len);
    buf_release(&b);
    return ok;
}

bool gateway_publish(struct fleet_gateway *g, const struct fleet_place *to, const struct frame *f)
{
    char subject[FLEET_SUBJECT_MAX];
    fleet_subject(to, 'w', "req", subject);
    return gateway_publish_to(g, subject, f);
}

void gateway_cancel_later(struct fleet_gateway *g, const struct fleet_place *to, uint64_t id, uint32_t attempt)
{
    if (to->name[0] && g->cancel_count < GATEWAY_CANCELS_MAX)
        g->cancels[g->cancel_count++] = (struct gateway_cancel){ *to, id, attempt };
}

static void send_cancels(struct fleet_gateway *g)
{
    while (g->cancel_count) {
        const struct gateway_cancel *c = &g->cancels[g->cancel_count - 1];
        struct frame f = { .kind = FRAME_CANCEL, .id = c->id, .attempt = c->attempt };
        if (!gateway_publish(g, &c->at, &f))
            return;
        g->cancel_count--;
    }
}

/* ---- the table of exchanges */

static int free_slot(struct fleet_gateway *g)
{
    for (int n = 0; n < g->slots; n++, g->hint++)
        if (!g->xs[g->hint % g->slots])
            return g->hint = g->hint % g->slots;
    if (g->slots == GATEWAY_EXCHANGES_MAX)
        return -1;
    int was = g->slots;
    g->slots = was ? 2 * was : 64;
    g->xs = mem_grow(g->xs, (size_t)g->slots, sizeof(struct fleet_exchange *));
    memset(g->xs + was, 0, (size_t)(g->slots - was) * sizeof(struct fleet_exchange *));
    return g->hint = was;
}

static struct fleet_exchange *find(const struct fleet_gateway *g, uint64_t id)
{
    uint64_t slot = id & ((1u << SLOT_BITS) - 1);
    struct fleet_exchange *x = slot < (uint64_t)g->slots ? g->xs[slot] : NULL;
    return x && x->id == id ? x : NULL;
}

bool gateway_has(const struct fleet_gateway *g, uint64_t id)
{
    return find(g, id) != NULL;
}

void gateway_forget(struct fleet_gateway *g, struct fleet_exchange *x)
{
    g->xs[x->id & ((1u << SLOT_BITS) - 1)] = NULL;
    g->open--;
    exchange_free(x);
}

static void note_asked(struct fleet_gateway *g, const char *jurisdiction)
{
    for (int i = 0; i < g->asked_count; i++)
        if (!strcmp(g->asked[i], jurisdiction))
            return;
    if (g->asked_count < FLEET_JURISDICTIONS_MAX)
        snprintf(g->asked[g->asked_count++], sizeof g->asked[0], "%s", jurisdiction);
}

enum err_code fleet_call_open(struct fleet_gateway *g, const struct fleet_ask *ask, struct fleet_call *c,
                              struct err *e)
{
    int slot = free_slot(g);
    c->x = NULL;
    c->retry_s = 1;
    c->at = (struct fleet_place){ .name = "" };
    c->attempts = c->part_count = c->part = 0;
    for (int i = 0; i < ask->jurisdiction_count; i++)
        note_asked(g, ask->jurisdictions[i]);
    if (slot < 0)
        return err_set(e, ERR_BUSY, "%d requests are under way, as many as a gateway carries; try again in 1 s",
                       GATEWAY_EXCHANGES_MAX);
    if (g->bodies_bytes + ask->prompt_bytes > GATEWAY_BODIES_MAX)
        return err_set(e, ERR_BUSY, "%d MB of requests are under way, as much as a gateway keeps; try again in 1 s",
                       GATEWAY_BODIES_MAX >> 20);
    uint64_t id = ++g->serial << SLOT_BITS | (uint64_t)slot;
    struct fleet_exchange *x;
    enum err_code code = bus_is_up(g->bus) ? exchange_open(g, ask, c, id, &x, e)
                       : err_set(e, ERR_BUSY, "the connection to the fleet is away; try again in 1 s");
    if (code) {
        g->refused++;
        return code;
    }
    g->xs[slot] = c->x = x;
    g->open++;
    return ERR_OK;
}

void fleet_call_request(struct fleet_call *c, const json_t *head, const char *body, size_t n)
{
    if (c->x)
        exchange_begin(c->x, json_copy((json_t *)(uintptr_t)head), body, n); /* it is only read */
}

void fleet_call_send(struct fleet_call *c, enum frame_kind kind, uint16_t flags, const void *payload, size_t n)
{
    struct fleet_exchange *x = c->x;
    if (!x)
        return;
    const unsigned char *u = payload;
    switch (kind) {
    case FRAME_REQUEST: exchange_request(x, payload, n); break;
    case FRAME_CANCEL: exchange_cancel(x); break;
    case FRAME_CREDIT:
        ASSERT(n == 4);
        exchange_credit(x, u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24);
        break;
    default: exchange_pass_on(x, kind, flags, payload, n);
    }
}

void fleet_call_close(struct fleet_call *c)
{
    struct fleet_exchange *x = c->x;
    if (!x)
        return;
    c->x = NULL;
    exchange_cancel(x);
    gateway_forget(x->g, x);
}

void fleet_call_where(const struct fleet_call *c, struct fleet_place *out, int *attempts)
{
    *out = c->at;
    *attempts = c->attempts;
}

/* ---- from the bus */

static void take_echo(struct fleet_gateway *g, const struct frame *f)
{
    struct roster_worker *w = f->id && f->id <= UINT32_MAX ? roster_by_serial(g->roster, (uint32_t)f->id) : NULL;
    double ms = (double)(clock_mono_ns() / 1000 - (int64_t)f->seq) / 1e3;
    if (w && ms >= 0 && ms < RTT_MAX_MS)
        roster_rtt(w, ms);
    if (w)
        roster_sign(g->roster, w->serial, gateway_now_ms());
}

/* Nobody here waits for this: its worker is told to stop, if it said who it is. */
static void turn_away(struct fleet_gateway *g, const struct bus_message *m, const struct frame *f)
{
    struct fleet_place p;
    char role, last[FLEET_NAME_MAX + 1];
    bool goes_on = f->kind == FRAME_HEAD || f->kind == FRAME_DATA || f->kind == FRAME_USAGE;
    if (goes_on && f->id == g->turned_id && gateway_now_ms() - g->turned_ms < TURN_AWAY_MS)
        return; /* it was told a moment ago */
    g->turned_id = f->id;
    g->turned_ms = gateway_now_ms();
    if (goes_on && fleet_subject_read(m->reply, &p, &role, last) && role == 'w')
        gateway_publish(g, &p, &(struct frame){ .kind = FRAME_CANCEL, .id = f->id, .attempt = f->attempt });
}

static struct frame echo(uint32_t serial)
{
    return (struct frame){ .kind = FRAME_HELLO, .id = serial, .seq = (uint64_t)(clock_mono_ns() / 1000) };
}

bool gateway_knock(struct fleet_gateway *g, uint32_t serial, const char *model)
{
    struct roster_worker *w = serial ? roster_by_serial(g->roster, serial) : NULL;
    int64_t now = gateway_now_ms();
    if (!w)
        return false;
    if (roster_silence_ms(g->roster, w) >= KNOCK_AFTER_MS && now - w->knocked_ms >= KNOCK_EVERY_MS) {
        struct frame f = echo(serial);
        w->knocked_ms = now;
        gateway_publish(g, &w->place, &f);
    }
    return roster_suspects(w, model);
}

/* The request went to nobody in particular: this is who took it. */
static void learn_place(struct fleet_gateway *g, struct fleet_exchange *x, const struct bus_message *m)
{
    struct fleet_place p;
    char role, last[FLEET_NAME_MAX + 1];
    if (!fleet_subject_read(m->reply, &p, &role, last) || role != 'w')
        return;
    const struct roster_worker *w = roster_by_place(g->roster, &p);
    x->now.at = x->call->at = p;
    x->now.serial = w && w->life == ROSTER_ALIVE ? w->serial : 0;
    exchange_top_up(x);
}

static void on_inbox(void *arg, const struct bus_message *m)
{
    struct fleet_gateway *g = arg;
    roster_heard(g->roster, gateway_now_ms());
    for (size_t at = 0; at < m->n;) { /* every turn takes a frame */
        struct frame f;
        struct err e;
        long took = frame_parse(m->data + at, m->n - at, &f, &e);
        if (took <= 0) {
            log_line(LOG_WARN, "fleet", "a message that holds no whole frame came to %s", m->subject);
            return;
        }
        at += (size_t)took;
        struct fleet_exchange *x = find(g, f.id);
        if (f.kind == FRAME_HELLO) {
            take_echo(g, &f);
        } else if (x && exchange_expects(x, f.attempt)) {
            if (!x->now.at.name[0])
                learn_place(g, x, m);
            roster_sign(g->roster, f.attempt == x->now.number ? x->now.serial : x->hedge.serial, gateway_now_ms());
            exchange_take(x, &f);
        } else {
            turn_away(g, m, &f);
        }
    }
}

static void tell_models(struct fleet_gateway *g)
{
    if (!g->catalog_stale)
        return;
    g->catalog_stale = false;
    if (catalog_update(&g->catalog, g->roster) && g->events.models)
        g->events.models(g->arg);
}

static void on_worker(void *arg, const struct bus_message *m)
{
    struct fleet_gateway *g = arg;
    struct fleet_place p;
    struct err e;
    char role, last[FLEET_NAME_MAX + 1];
    if (!fleet_subject_read(m->subject, &p, &role, last) || role != 'w')
        return;
    if (roster_beat(g->roster, &p, m->data, m->n, gateway_now_ms(), &e))
        log_line(LOG_WARN, "fleet", "%s", e.text);
    else
        route_learn(g->known, roster_by_place(g->roster, &p));
    tell_models(g);
}

static void on_gateway(void *arg, const struct bus_message *m)
{
    struct fleet_gateway *g = arg;
    struct fleet_place p;
    char role, last[FLEET_NAME_MAX + 1];
    roster_heard(g->roster, gateway_now_ms());
    if (!fleet_subject_read(m->subject, &p, &role, last) || role != 'g')
        return;
    json_t *v = jsonx_parse(m->data, m->n, NULL);
    const char *boot = json_string_value(json_object_get(v, "boot"));
    int at = 0;
    while (at < g->peer_count && (strcmp(g->peers[at].place.name, p.name) || strcmp(g->peers[at].place.site, p.site) ||
                                  strcmp(g->peers[at].place.jurisdiction, p.jurisdiction)))
        at++;
    for (int i = 0; at == GATEWAY_PEERS_MAX && i < GATEWAY_PEERS_MAX; i++)
        if (gateway_now_ms() - g->peers[i].heard_ms > ROSTER_FORGET_MS)
            at = i;
    if (at < GATEWAY_PEERS_MAX && boot) {
        g->peer_count += at == g->peer_count;
        g->peers[at] = (struct gateway_peer){ p, strtoull(boot, NULL, 16), gateway_now_ms() };
    }
    json_decref(v);
}

/* ---- from the roster */

static void on_lost(void *arg, uint32_t serial, const char *why)
{
    struct fleet_gateway *g = arg;
    const struct roster_worker *w = roster_by_serial(g->roster, serial);
    char text[ERR_TEXT_MAX];
    snprintf(text, sizeof text, "its worker %s %s", w ? w->place.name : "", why);
    for (int i = 0; i < g->slots; i++) /* an exchange that ends may open others: the table is read anew */
        if (g->xs[i])
            exchange_lost(g->xs[i], serial, text);
}

static void on_suspected(void *arg, uint32_t serial)
{
    struct fleet_gateway *g = arg;
    for (int i = 0; i < g->slots; i++)
        if (g->xs[i] && g->xs[i]->now.serial == serial && gateway_knock(g, serial, g->xs[i]->ask.model))
            exchange_hedge(g->xs[i]);
}

static void on_changed(void *arg)
{
    struct fleet_gateway *g = arg;
    g->catalog_stale = true;
}

/* ---- the tick */

static void beat(struct fleet_gateway *g)
{
    char subject[FLEET_SUBJECT_MAX];
    struct buf b = { 0 };
    fleet_subject(&g->me, 'g', "hb", subject);
    buf_printf(&b, "{\"v\":1,\"boot\":\"%016" PRIx64 "\",\"rate_ms\":%d,\"open\":%d}", g->boot, GATEWAY_HEARTBEAT_MS,
               g->open);
    bus_publish(g->bus, subject, NULL, b.data, b.len);
    buf_release(&b);
}

static bool may_reach(const struct fleet_gateway *g, const char *jurisdiction)
{
    bool may = !strcmp(jurisdiction, g->me.jurisdiction);
    for (int i = 0; i < g->asked_count && !may; i++)
        may = !strcmp(jurisdiction, g->asked[i]);
    return may;
}

/* Only where requests of this gateway may go: elsewhere the bus would refuse it, and nobody needs to know. */
static void measure(struct fleet_gateway *g)
{
    for (int i = 0; i < roster_count(g->roster); i++) {
        const struct roster_worker *w = roster_at(g->roster, i);
        struct frame f = echo(w->serial);
        if (w->life != ROSTER_DEAD && may_reach(g, w->place.jurisdiction))
            gateway_publish(g, &w->place, &f);
    }
}

static void came_back(struct fleet_gateway *g)
{
    roster_amnesty(g->roster, gateway_now_ms());
    g->beat_ms = 0;
    for (int i = 0; i < g->slots; i++)
        if (g->xs[i] && g->xs[i]->state == EXCHANGE_RUNNING)
            exchange_probe(g->xs[i]);
}

/* The bus is away: all wait for it, but not for ever. */
static void wait_for_bus(struct fleet_gateway *g, int64_t now)
{
    for (int i = 0; now - g->down_ms >= EXCHANGE_WAIT_MS && i < g->slots; i++)
        if (g->xs[i] && g->xs[i]->state != EXCHANGE_OPEN && g->xs[i]->state != EXCHANGE_OVER)
            exchange_fail(g->xs[i], 503, "engine_unavailable", "the connection to the fleet is away; try again");
}

static void keep_going(struct fleet_gateway *g, int64_t now)
{
    send_cancels(g);
    if (roster_tick(g->roster, now)) {
        struct frame f = echo(0);
        gateway_publish_to(g, g->inbox, &f);
    }
    if (now - g->beat_ms >= GATEWAY_HEARTBEAT_MS) {
        g->beat_ms = now;
        beat(g);
    }
    if (now - g->rtt_ms >= RTT_EVERY_MS) {
        g->rtt_ms = now;
        measure(g);
    }
    for (int i = 0; i < g->slots; i++)
        if (g->xs[i])
            exchange_tick(g->xs[i]);
}

static void on_tick(void *arg)
{
    struct fleet_gateway *g = arg;
    int64_t now = gateway_now_ms();
    bool up = bus_is_up(g->bus);
    loop_timer_set(g->tick, GATEWAY_TICK_MS);
    if (up && !g->was_up)
        came_back(g);
    if (!up && g->was_up) {
        g->down_ms = now;
        roster_say(g->roster, "the connection to the fleet is away");
    }
    g->was_up = up;
    if (up)
        keep_going(g, now);
    else
        wait_for_bus(g, now);
    tell_models(g);
}

/* ---- begin and end */

static bool subscribe(struct fleet_gateway *g, struct err *e)
{
    static const struct fleet_place anywhere = { "*", "*", "*" };
    char workers[FLEET_SUBJECT_MAX], gateways[FLEET_SUBJECT_MAX];
    fleet_subject(&g->me, 'g', "in", g->inbox);
    fleet_subject(&anywhere, 'w', "hb", workers);
    fleet_subject(&anywhere, 'g', "hb", gateways);
    g->subs[0] = bus_subscribe(g->bus, g->inbox, NULL, on_inbox, g, e);
    g->subs[1] = g->subs[0] ? bus_subscribe(g->bus, workers, NULL, on_worker, g, e) : NULL;
    g->subs[2] = g->subs[1] ? bus_subscribe(g->bus, gateways, NULL, on_gateway, g, e) : NULL;
    return g->subs[2] != NULL;
}

struct fleet_gateway *fleet_gateway_new(struct loop *l, struct bus *b, const struct fleet_place *me,
                                        const struct fleet_gateway_events *events, void *arg, struct err *e)
{
    static const struct roster_events heard = { on_lost, on_changed, on_suspected };
    if (!fleet_name_ok(me->jurisdiction) || !fleet_name_ok(me->site) || !fleet_name_ok(me->name)) {
        err_set(e, ERR_INVALID, "jurisdiction, site and name of a gateway are 1 to %d of a-z, 0-9 and -",
                FLEET_NAME_MAX);
        return NULL;
    }
    struct fleet_gateway *g = MEM_NEW(struct fleet_gateway);
    g->loop = l;
    g->bus = b;
    g->me = *me;
    g->events = events ? *events : (struct fleet_gateway_events){ NULL };
    g->arg = arg;
    rng_system(&g->boot, sizeof g->boot);
    rng_system(&g->dice.seed, sizeof g->dice.seed);
    g->serial = g->boot >> 24; /* nobody takes our frames for those of who had our name before */
    g->roster = roster_new(&heard, g);
    g->known = prefixes_new(PREFIXES_SETS);
    g->tick = loop_timer_new(l, on_tick, g);
    g->post = post_new(l, b);
    if (!subscribe(g, e)) {
        fleet_gateway_free(g);
        return NULL;
    }
    loop_timer_set(g->tick, 0);
    return g;
}

void fleet_gateway_free(struct fleet_gateway *g)
{
    if (!g)
        return;
    ASSERT(!g->open); /* whoever opened a call closes it first */
    for (size_t i = 0; i < MEM_COUNT(g->subs); i++)
        if (g->subs[i])
            bus_unsubscribe(g->subs[i]);
    loop_timer_free(g->tick);
    post_free(g->post);
    roster_free(g->roster);
    catalog_release(&g->catalog);
    prefixes_free(g->known);
    mem_free(g->xs);
    mem_free(g);
}

int fleet_gateway_model_count(const struct fleet_gateway *g)
{
    return g->catalog.count;
}

void fleet_gateway_model(const struct fleet_gateway *g, int i, struct fleet_model *out)
{
    ASSERT(i >= 0 && i < g->catalog.count);
    *out = g->catalog.models[i];
}

bool fleet_gateway_has(const struct fleet_gateway *g, const char *model, const char *hash)
{
    for (int i = 0; i < roster_count(g->roster); i++) {
        const struct roster_worker *w = roster_at(g->roster, i);
        const struct roster_model *m = w->life == ROSTER_DEAD ? NULL : roster_model_of(w, model);
        if (m && !strcmp(m->beat.hash, hash))
            return true;
    }
    return false;
}

void fleet_gateway_random(struct fleet_gateway *g, bool random)
{
    g->policy = random ? ROUTE_RANDOM : ROUTE_BEST;
}

enum err_code fleet_gateway_drain(struct fleet_gateway *g, const char *site, const char *worker, struct err *e)
{
    static const char order[] = "{\"drain\":true}";
    struct buf names = { .max = ERR_TEXT_MAX / 2 };
    char subject[FLEET_SUBJECT_MAX];
    for (int i = 0; i < roster_count(g->roster); i++) {
        const struct roster_worker *w = roster_at(g->roster, i);
        if (w->life == ROSTER_DEAD)
            continue;
        if (strcmp(w->place.site, site) || strcmp(w->place.name, worker)) {
            buf_printf(&names, "%s%s/%s", names.len ? ", " : "", w->place.site, w->place.name);
            continue;
        }
        buf_release(&names);
        fleet_subject(&w->place, 'w', "ctl", subject);
        if (bus_publish(g->bus, subject, NULL, order, sizeof order - 1))
            return ERR_OK;
        return err_set(e, ERR_BUSY, "the connection to the fleet is away; try again");
    }
    err_set(e, ERR_NOT_FOUND, "there is no worker %.40s/%.40s; there are: %s", site, worker,
            names.len ? buf_str(&names) : "none");
    buf_release(&names);
    return ERR_NOT_FOUND;
}
