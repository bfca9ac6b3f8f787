/* bus_nats -- the bus on a NATS server: one connection, on the loop, in nats_wire's words.
 *
 *   AWAY --a pause--> DIALLING --INFO, TLS--> GREETING --PONG: all subscriptions are there--> UP
 *     ^------------ refused, closed, silent, malformed, GREET_MS over: down() is told, once ----'
 *
 * Not by the client library: it has a thread that reads, one that delivers and one that must be ours for publishing,
 * since it holds its lock while it writes; so each message woke three threads beside the loop's. It still signs logins
 * (nats_login.c) and speaks with JetStream (lease.c, rows.c).
 *
 * Owner: the loop's thread. I1: a message finds its subscription by (slot, serial), so that one for a subscription that
 * is gone finds none. I2: whoever drops the connection returns at once: the stream is gone. I3: servers that were not
 * named are never dialled, whatever INFO says. */
#include "fleet/bus_impl.h"
#include "fleet/nats_login.h"
#include "fleet/nats_options.h"
#include "fleet/nats_wire.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "net/dial.h"
#include "net/stream.h"
#include "net/tls.h"

#include <stdio.h>
#include <string.h>

enum {
    SLOT_BITS = 16,
    PAUSE_MS_FIRST = 100,
    PAUSE_MS_MAX = 2000,
    STEADY_MS = 2000,             /* up for so long, the next pause is the first again */
    GREET_MS = 2000,              /* from connected to UP */
    FAREWELL_MS = 1000,
};

enum nats_state { AWAY, DIALLING, GREETING, UP };

struct nats_sub {
    struct bus_sub base;
    uint64_t id;                  /* serial << SLOT_BITS | slot */
    char *subject, *queue;        /* queue NULL: none */
    bus_message_fn fn;
    void *arg;
};

struct nats_bus {
    struct bus base;
    struct loop *loop;
    struct bus_options options;   /* strings owned */
    struct bus_events events;
    void *arg;
    char where[200];
    struct nats_place places[NATS_SERVERS_MAX];
    int place_count, place;       /* place: dialled now, */
    int tried;                    /* after so many others */
    struct tls_client *tls;       /* NULL: plain */
    enum nats_state state;
    struct dial *dial;
    struct stream *stream;
    struct loop_timer *timer;     /* AWAY: the pause; GREETING: its end; UP: the next ping */
    bool telling;                 /* a callback runs */
    bool greeted;                 /* CONNECT and what there was of subscriptions were sent on this connection */
    int pings_out;
    bool told_down;
    char why[ERR_TEXT_MAX];       /* as told */
    int64_t pause_ms, up_ns;
    struct rng dice;
    struct buf out;               /* scratch */
    struct nats_sub **subs;       /* [slots] */
    int slots;
    uint64_t serial;
};

/* ---- what is told */

static void refused(struct nats_bus *b, const char *why)
{
    b->telling = true;
    if (b->events.refused)
        b->events.refused(b->arg, why);
    b->telling = false;
}

static void say_down(struct nats_bus *b, const char *why, bool not_let_in)
{
    bool first = !b->told_down;
    if (!first && strcmp(why, b->why))
        log_line(LOG_WARN, "fleet", "%s", why);
    snprintf(b->why, sizeof b->why, "%s", why);
    b->told_down = true;
    if (first && not_let_in)
        refused(b, b->why);
    b->telling = true;
    if (first && b->events.down)
        b->events.down(b->arg, b->why);
    b->telling = false;
}

/* ---- the end of a connection, and of an attempt at one */

/* A pause after all addresses were tried. */
static void pause_before_dial(struct nats_bus *b)
{
    b->state = AWAY;
    b->greeted = false;
    b->place = (b->place + 1) % b->place_count;
    if (++b->tried < b->place_count) {
        loop_timer_set(b->timer, 0);
        return;
    }
    b->tried = 0;
    b->pause_ms = b->pause_ms ? 2 * b->pause_ms : PAUSE_MS_FIRST;
    if (b->pause_ms > PAUSE_MS_MAX)
        b->pause_ms = PAUSE_MS_MAX;
    loop_timer_set(b->timer, b->pause_ms / 2 + (int64_t)rng_below(&b->dice, (uint64_t)b->pause_ms));
}

static bool is_about_login(const char *why)
{
    static const char *const about[] = { "authorization", "authentication", "certificate required", "bad certificate" };
    for (size_t i = 0; i < MEM_COUNT(about); i++)
        if (strcasestr(why, about[i]))
            return true;
    return false;
}

/* I2. */
static void drop(struct nats_bus *b, const char *why)
{
    char text[ERR_TEXT_MAX];
    bool was_up = b->state == UP, stranger = !was_up && is_about_login(why);
    if (was_up && clock_mono_ns() - b->up_ns > STEADY_MS * 1000000LL)
        b->pause_ms = 0;
    snprintf(text, sizeof text, was_up ? "the connection to the bus at %s is gone: %.300s" : stranger
             ? "this process is not let into the bus at %s: %.300s" : "cannot reach the bus at %s: %.300s",
             b->where, why);
    stream_free(b->stream);
    b->stream = NULL;
    pause_before_dial(b);
    say_down(b, text, stranger);
}

/* ---- what the server says */

static struct nats_sub *sub_of(const struct nats_bus *b, uint64_t id)
{
    uint64_t slot = id & ((1u << SLOT_BITS) - 1);
    struct nats_sub *s = slot < (uint64_t)b->slots ? b->subs[slot] : NULL;
    return s && s->id == id ? s : NULL;
}

static void send_out(struct nats_bus *b)
{
    stream_write(b->stream, b->out.data, b->out.len);
    buf_clear(&b->out);
}

static void say(struct nats_bus *b, const char *line)
{
    stream_write(b->stream, line, strlen(line));
}

/* All that makes the server know us; its PONG ends the greeting. */
static bool greet(struct nats_bus *b, const json_t *info)
{
    struct err e = { 0 };
    if (nats_login(&b->options, &b->places[b->place], info, &b->out, &e)) {
        drop(b, e.text);
        return false;
    }
    for (int i = 0; i < b->slots; i++)
        if (b->subs[i])
            nats_wire_sub(&b->out, b->subs[i]->subject, b->subs[i]->queue, b->subs[i]->id);
    buf_puts(&b->out, "PING\r\n");
    send_out(b);
    b->greeted = true;
    return true;
}

/* The first INFO, in the clear: TLS or not, then who we are. false: dropped. */
static bool take_info(struct nats_bus *b, const struct wire_said *said)
{
    struct err e = { 0 };
    json_t *info = jsonx_parse(said->data, said->n, &e);
    bool wants = json_is_true(json_object_get(info, "tls_required"));
    bool offers = wants || json_is_true(json_object_get(info, "tls_available"));
    int64_t most = json_integer_value(json_object_get(info, "max_payload"));
    const char *wrong = !json_is_object(info) ? "its INFO is no JSON" : wants && !b->tls ? "it wants TLS: give tls://"
                      : !offers && b->tls ? "it does not speak TLS" : NULL;
    if (b->greeted) { /* news of its cluster: I3 */
        json_decref(info);
        return true;
    }
    if (wrong) {
        drop(b, wrong);
        json_decref(info);
        return false;
    }
    if (most && most < BUS_MESSAGE_MAX) {
        char text[ERR_TEXT_MAX];
        snprintf(text, sizeof text, "the bus at %s takes messages of %lld bytes; set its max_payload to 1MB",
                 b->where, (long long)most);
        refused(b, text);
    }
    bool ok = true;
    if (b->tls && !stream_secure(b->stream, b->tls, b->places[b->place].host)) {
        drop(b, "no memory for TLS");
        ok = false;
    }
    ok = ok && greet(b, info); /* waits in the stream for TLS */
    json_decref(info);
    return ok;
}

static void greeted(struct nats_bus *b)
{
    b->state = UP;
    b->told_down = false;
    b->tried = 0;
    b->up_ns = clock_mono_ns();
    loop_timer_set(b->timer, NATS_PING_MS);
    b->telling = true;
    if (b->events.up)
        b->events.up(b->arg);
    b->telling = false;
}

/* false: dropped. After what is no permission's the server closes by itself. */
static bool take_error(struct nats_bus *b, const struct wire_said *said)
{
    char text[ERR_TEXT_MAX];
    char what[200];
    snprintf(what, sizeof what, "%.*s", (int)(said->n < sizeof what ? said->n : sizeof what), said->data);
    if (b->state != UP && strncasecmp(what, "permissions", 11)) {
        drop(b, what);
        return false;
    }
    snprintf(text, sizeof text, "the bus at %s refuses: %.170s", b->where, what);
    refused(b, text);
    return true;
}

static void take_message(struct nats_bus *b, const struct wire_said *said)
{
    if (b->state == GREETING) /* before the PONG: it knows who we are, and the rest is a moment behind */
        greeted(b);
    struct nats_sub *s = sub_of(b, said->sid);
    struct bus_message m = { said->subject, said->reply, said->data, said->n };
    if (!s)
        return;
    b->telling = true;
    s->fn(s->arg, &m);
    b->telling = false;
}

/* false: dropped. */
static bool take(struct nats_bus *b, const struct wire_said *said)
{
    switch (said->kind) {
    case WIRE_INFO: return take_info(b, said);
    case WIRE_ERR: return take_error(b, said);
    case WIRE_MSG: take_message(b, said); break;
    case WIRE_PING: say(b, "PONG\r\n"); break;
    case WIRE_PONG:
        b->pings_out = 0;
        if (b->state == GREETING)
            greeted(b);
        break;
    case WIRE_OK: break;
    }
    return true;
}

static long on_data(void *arg, const char *data, size_t n)
{
    struct nats_bus *b = arg;
    size_t at = 0;
    for (;;) { /* something said a round */
        struct wire_said said;
        struct err e;
        long took = nats_wire_parse((char *)(uintptr_t)data + at, n - at, &said, &e); /* the stream's own buffer */
        if (!took)
            return (long)at;
        if (took < 0) {
            drop(b, e.text);
            return -1;
        }
        if (!take(b, &said))
            return -1;
        at += (size_t)took;
    }
}

static void on_closed(void *arg, const char *why)
{
    drop(arg, why);
}

/* ---- dialling, and time */

static void on_dialled(void *arg, int fd, const char *why)
{
    static const struct stream_events events = { on_data, on_closed };
    struct nats_bus *b = arg;
    b->dial = NULL;
    if (fd < 0) {
        drop(b, why);
        return;
    }
    b->state = GREETING;
    b->pings_out = 0;
    b->stream = stream_new(b->loop, fd, NATS_PAYLOAD_MAX + NATS_LINE_MAX, &events, b);
    loop_timer_set(b->timer, GREET_MS);
}

static void ping(struct nats_bus *b)
{
    if (b->pings_out >= NATS_PINGS_OUT) {
        drop(b, "it does not answer");
        return;
    }
    b->pings_out++;
    say(b, "PING\r\n");
    loop_timer_set(b->timer, NATS_PING_MS);
}

static void due(void *arg)
{
    struct nats_bus *b = arg;
    const struct nats_place *p = &b->places[b->place];
    if (b->state == UP) {
        ping(b);
    } else if (b->state == GREETING) {
        drop(b, "it does not answer");
    } else {
        b->state = DIALLING;
        b->dial = dial_start(b->loop, p->host, p->port, NATS_DIAL_MS, on_dialled, b);
        if (!b->dial)
            drop(b, "no thread can be started");
    }
}

/* ---- for the owner */

static void nats_close(struct bus *base)
{
    struct nats_bus *b = (struct nats_bus *)base;
    ASSERT(!b->telling); /* not from inside a callback */
    dial_cancel(b->dial);
    if (b->stream && b->state == UP)
        stream_farewell(b->stream, FAREWELL_MS);
    stream_free(b->stream);
    loop_timer_free(b->timer);
    tls_client_free(b->tls);
    for (int i = 0; i < b->slots; i++)
        if (b->subs[i]) {
            mem_free(b->subs[i]->subject);
            mem_free(b->subs[i]->queue);
            mem_free(b->subs[i]);
        }
    for (int i = 0; i < b->place_count; i++)
        nats_place_release(&b->places[i]);
    mem_free((void *)(uintptr_t)b->options.name);
    mem_free((void *)(uintptr_t)b->options.creds);
    mem_free((void *)(uintptr_t)b->options.user);
    mem_free((void *)(uintptr_t)b->options.password);
    mem_free(b->subs);
    buf_release(&b->out);
    mem_free(b);
}

static bool nats_is_up(const struct bus *base)
{
    return ((const struct nats_bus *)base)->state == UP;
}

static int free_slot(struct nats_bus *b)
{
    for (int i = 0; i < b->slots; i++)
        if (!b->subs[i])
            return i;
    int at = b->slots, grown = b->slots ? 2 * b->slots : 16;
    ASSERT(grown <= 1 << SLOT_BITS);
    b->subs = mem_grow(b->subs, (size_t)grown, sizeof *b->subs);
    for (int i = at; i < grown; i++)
        b->subs[i] = NULL;
    b->slots = grown;
    return at;
}

static struct bus_sub *nats_subscribe(struct bus *base, const char *subject, const char *queue, bus_message_fn fn,
                                      void *arg)
{
    struct nats_bus *b = (struct nats_bus *)base;
    struct nats_sub *s = MEM_NEW(struct nats_sub);
    int slot = free_slot(b);
    *s = (struct nats_sub){ .base.bus = base, .id = ++b->serial << SLOT_BITS | (uint64_t)slot, .fn = fn, .arg = arg,
                            .subject = mem_strdup(subject), .queue = queue ? mem_strdup(queue) : NULL };
    b->subs[slot] = s;
    if (b->greeted) {
        nats_wire_sub(&b->out, subject, queue, s->id);
        send_out(b);
    }
    return &s->base;
}

static void nats_unsubscribe(struct bus_sub *base)
{
    struct nats_sub *s = (struct nats_sub *)base;
    struct nats_bus *b = (struct nats_bus *)base->bus;
    ASSERT(sub_of(b, s->id) == s);
    if (b->greeted) {
        nats_wire_unsub(&b->out, s->id);
        send_out(b);
    }
    b->subs[s->id & ((1u << SLOT_BITS) - 1)] = NULL;
    mem_free(s->subject);
    mem_free(s->queue);
    mem_free(s);
}

static bool nats_publish(struct bus *base, const char *subject, const char *reply, const void *data, size_t n)
{
    struct nats_bus *b = (struct nats_bus *)base;
    if (b->state != UP || stream_pending(b->stream) + n > BUS_PENDING_MAX)
        return false;
    nats_wire_pub(&b->out, subject, reply, data, n);
    send_out(b);
    return true;
}

static void read_places(struct nats_bus *b, const char *url)
{
    for (const char *p = url; *p && b->place_count < NATS_SERVERS_MAX;) { /* an address a round */
        size_t n = strcspn(p, ",");
        nats_place_read(p, n, &b->places[b->place_count++]);
        p += n + (p[n] == ',');
    }
    b->place = (int)rng_below(&b->dice, (uint64_t)b->place_count);
}

static char *keep(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

struct bus *bus_nats_open(struct loop *l, const struct bus_options *o, const struct bus_events *events, void *arg,
                          struct err *e)
{
    static const struct bus_ops ops = { nats_close, nats_is_up, nats_subscribe, nats_unsubscribe, nats_publish };
    natsOptions *checked = nats_options_new(o, e);
    struct tls_client *tls = NULL;
    const struct tls_client_options files = { o->ca, o->cert, o->key };
    if (!checked)
        return NULL;
    natsOptions_Destroy(checked);
    if (nats_options_tls(o) && !(tls = tls_client_new(&files, e)))
        return NULL;
    struct nats_bus *b = MEM_NEW(struct nats_bus);
    *b = (struct nats_bus){ .base.ops = &ops, .loop = l, .events = *events, .arg = arg, .tls = tls,
                            .options = { .name = keep(o->name), .creds = keep(o->creds), .user = keep(o->user),
                                         .password = keep(o->password) } };
    rng_system(&b->dice.seed, sizeof b->dice.seed);
    nats_options_where(o, b->where, sizeof b->where);
    read_places(b, o->url);
    b->timer = loop_timer_new(l, due, b);
    loop_timer_set(b->timer, 0);
    return &b->base;
}
