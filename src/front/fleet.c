/* fleet -- see fleet.h: the bus, what the gateway is asked and asks, and what an operator sees of the fleet. */
#include "front/fleet.h"

#include "api/prefix.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "front/fleet_bills.h"
#include "front/fleet_impl.h"
#include "trust/numerics.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SECRET_FILE_MAX = 4096, HEARD_MS = 2 * HEARTBEAT_MS };

/* ---- who we are */

/* The machine's name with what no subject may have made a dash. */
static void machine_name(char out[FLEET_NAME_MAX + 1])
{
    char host[256] = "";
    size_t n = 0;
    gethostname(host, sizeof host - 1);
    for (const char *p = host; *p && *p != '.' && n < FLEET_NAME_MAX; p++)
        out[n++] = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-';
    out[n] = '\0';
    if (!n)
        snprintf(out, FLEET_NAME_MAX + 1, "here");
}

static enum err_code take_name(char out[FLEET_NAME_MAX + 1], const char *text, const char *option, struct err *e)
{
    char lower[FLEET_NAME_MAX + 2];
    size_t n = 0;
    for (; text && text[n] && n < sizeof lower - 1; n++)
        lower[n] = (char)tolower((unsigned char)text[n]);
    lower[n] = '\0';
    if (!fleet_name_ok(lower))
        return err_set(e, ERR_INVALID, "--nats needs %s: 1 to %d letters, digits and dashes", option, FLEET_NAME_MAX);
    memcpy(out, lower, n + 1);
    return ERR_OK;
}

static enum err_code take_names(struct front_fleet *t, struct err *e)
{
    const struct fleet_options *o = t->o;
    char unused[FLEET_NAME_MAX + 1];
    enum err_code c = take_name(t->me.site, o->site, "--site", e);
    c = c ? c : take_name(t->me.jurisdiction, o->jurisdiction, "--jurisdiction", e);
    if (!c && o->name)
        c = take_name(t->me.name, o->name, "a --name", e);
    else if (!c)
        machine_name(t->me.name);
    for (int i = 0; !c && i < o->jurisdiction_count; i++)
        c = take_name(unused, o->jurisdictions[i], "every name under jurisdictions", e);
    return c;
}

static enum err_code read_secret(struct front_fleet *t, struct err *e)
{
    struct buf b = { 0 };
    rng_system(t->secret, sizeof t->secret);
    enum err_code c = t->o->secret_file ? file_read(t->o->secret_file, SECRET_FILE_MAX, &b, e) : ERR_OK;
    if (!c && t->o->secret_file && b.len < 16)
        c = err_set(e, ERR_INVALID, "%s: a fleet's secret has 16 bytes at least (openssl rand -hex 32 makes one)",
                    t->o->secret_file);
    if (!c && b.len)
        sha256_of(b.data, b.len, t->secret);
    if (b.data)
        mem_wipe(b.data, b.cap);
    buf_release(&b);
    return c;
}

/* ---- the bus, the roster */

static void bus_up(void *arg)
{
    struct front_fleet *t = arg;
    t->up_ns = clock_mono_ns();
    t->down[0] = '\0';
    log_line(LOG_INFO, "fleet", "on the bus as %s/%s/%s%s%s", t->me.jurisdiction, t->me.site, t->me.name,
             t->worker ? ", worker" : "", t->gateway ? ", gateway" : "");
}

static void bus_down(void *arg, const char *why)
{
    struct front_fleet *t = arg;
    snprintf(t->down, sizeof t->down, "%s", why);
    log_line(LOG_WARN, "fleet", "the bus is away: %s", why);
}

static void bus_refused(void *arg, const char *why)
{
    log_line(LOG_ERROR, "fleet", "the bus refuses: %s", why);
}

/* For the evidence: which file they have it from. */
static void introduce_weights_of(struct front_fleet *t, const struct fleet_model *m)
{
    struct link *k = models_find(t->front->models, m->id);
    char had[HASH_HEX + 1] = "";
    if (!k || !link_is_far(k))
        return;
    bool still = introduce_weights(t->front, k, had) && fleet_gateway_has(t->gateway, m->id, had);
    introduce_far(t->front, k, m->hash, still);
}

/* What only others have becomes far links; what nobody has any more is not offered. */
static void models_changed(void *arg)
{
    struct front_fleet *t = arg;
    struct models *models = t->front->models;
    int n = fleet_gateway_model_count(t->gateway);
    for (int i = 0; i < models_count(models); i++) {
        const char *id = link_model_id(models_link(models, i));
        bool known = !link_is_far(models_link(models, i));
        struct fleet_model m;
        for (int k = 0; !known && k < n; k++) {
            fleet_gateway_model(t->gateway, k, &m);
            known = !strcmp(m.id, id);
        }
        if (!known)
            models_far_set(models, t->gateway, id, false, NULL);
    }
    for (int k = 0; k < n; k++) {
        struct fleet_model m;
        fleet_gateway_model(t->gateway, k, &m);
        introduce_weights_of(t, &m); /* before who waits for the model hears of it; a new link is first there below */
        bool known = m.facts || !t->front->trust; /* which weights they are is the evidence's first question */
        models_far_set(models, t->gateway, m.id, m.workers > 0 && known, m.facts);
        introduce_weights_of(t, &m);
    }
}

struct fleet_limits *front_fleet_limits(const struct front_fleet *t)
{
    return t ? t->limits : NULL;
}

bool front_fleet_ready(const struct front_fleet *t)
{
    return !t || (bus_is_up(t->bus) && clock_mono_ns() - t->up_ns > HEARD_MS * 1000000LL);
}

/* Where data may go: here, and where the configuration says; with evidence to no outside provider. names: what out
 * borrows. */
static void fill_where(const struct front_fleet *t, struct fleet_ask *out,
                       char names[FLEET_JURISDICTIONS_MAX][FLEET_NAME_MAX + 1])
{
    out->outside = t->o->outside && !t->front->trust;
    out->jurisdictions[out->jurisdiction_count++] = t->me.jurisdiction;
    for (int i = 0; i < t->o->jurisdiction_count; i++) {
        if (out->jurisdiction_count == FLEET_JURISDICTIONS_MAX ||
            take_name(names[i], t->o->jurisdictions[i], "", NULL) || !strcmp(names[i], t->me.jurisdiction))
            continue;
        out->jurisdictions[out->jurisdiction_count++] = names[i];
    }
}

const char *front_fleet_waits(const struct front_fleet *t)
{
    struct fleet_ask where = { .model = "" };
    char names[FLEET_JURISDICTIONS_MAX][FLEET_NAME_MAX + 1];
    if (!front_fleet_ready(t))
        return "the fleet's bus is not reached";
    if (!t || !t->gateway || t->worker)
        return NULL;
    fill_where(t, &where, names);
    return fleet_gateway_serves(t->gateway, &where) ? NULL :
           "no worker with a model that this gateway may ask is heard";
}

enum err_code front_fleet_open(struct front *f, const struct fleet_options *o, struct front_fleet **out, struct err *e)
{
    static const struct bus_events events = { bus_up, bus_down, bus_refused };
    static const struct fleet_gateway_events heard = { models_changed };
    struct front_fleet *t = MEM_NEW(struct front_fleet);
    *t = (struct front_fleet){ .front = f, .o = o };
    *out = t;
    enum err_code c = take_names(t, e);
    c = c ? c : read_secret(t, e);
    c = c ? c : numerics_build(t->build, e);
    if (c)
        return c;
    struct bus_options bus = o->bus;
    char inbox[FLEET_SUBJECT_MAX];
    fleet_subject(&t->me, 'g', "js", inbox); /* what the servers' permissions let this gateway hear */
    bus.name = t->me.name;
    bus.inbox = inbox;
    t->bus = bus_open(f->loop, &bus, &events, t, e);
    if (!t->bus)
        return e->code;
    if (o->gateway)
        t->gateway = fleet_gateway_new(f->loop, t->bus, &t->me, &heard, t, e);
    if (o->gateway && !t->gateway)
        return e->code;
    if (o->gateway && o->limits && fleet_limits_open(f->loop, &bus, &t->me, &t->limits, e))
        return e->code;
    if (o->gateway && o->bills && fleet_bills_open(&bus, &t->me, f->options.ledger_dir, &t->bills, e))
        return e->code;
    return o->worker ? host_open(t, e) : ERR_OK;
}

void front_fleet_close(struct front_fleet *t)
{
    if (!t)
        return;
    host_close(t);
    fleet_limits_close(t->limits);
    fleet_bills_close(t->bills);
    fleet_gateway_free(t->gateway);
    bus_close(t->bus);
    mem_wipe(t->secret, sizeof t->secret);
    mem_free(t);
}

void front_fleet_hello(const struct front_fleet *t, json_t *hello)
{
    char hex[HASH_HEX + 1];
    if (!t)
        return;
    code_hex(hex, t->build, HASH_BYTES);
    json_object_set_new(hello, "identity", json_pack("{s:s}", "build", hex));
}

/* ---- a request to others' workers */

static void mix(struct sha256 *s, const void *p, size_t n)
{
    uint64_t length = n;
    sha256_update(s, &length, sizeof length);
    sha256_update(s, p, n);
}

static void begin_mix(const struct front_fleet *t, struct sha256 *s, const char *purpose, const char *tenant)
{
    sha256_init(s);
    mix(s, t->secret, sizeof t->secret);
    mix(s, purpose, strlen(purpose));
    mix(s, tenant, strlen(tenant));
}

/* Prompts of two tenants have no hash in common, and nobody without the secret can make one. */
static void hash_beginnings(const struct front_fleet *t, const struct fleet_request *r, struct fleet_ask *ask)
{
    struct api_prefix p = { 0 };
    struct sha256 s;
    uint8_t salt[SHA256_BYTES];
    begin_mix(t, &s, "prefix", r->tenant);
    sha256_final(&s, salt);
    if (r->resumable && !api_prefix_of(salt, r->body.p, r->body.n, &p, NULL))
        fleet_ask_prefix(ask, &p);
    api_prefix_release(&p);
}

int64_t front_fleet_seed(const struct front_fleet *t, const struct fleet_request *r)
{
    uint64_t seed;
    uint8_t digest[SHA256_BYTES];
    struct sha256 s;
    begin_mix(t, &s, "seed", r->tenant);
    mix(&s, r->idempotency.p, r->idempotency.n);
    mix(&s, r->path.p, r->path.n);
    mix(&s, r->body.p, r->body.n);
    sha256_final(&s, digest);
    memcpy(&seed, digest, sizeof seed);
    if (!r->idempotency.n)
        rng_system(&seed, sizeof seed);
    return (int64_t)(seed >> 11); /* whole in a double, as JSON elsewhere may have it */
}

enum err_code front_fleet_call(struct front_fleet *t, struct link *k, struct link_call *c,
                               const struct fleet_request *r, struct err *e)
{
    struct fleet_ask ask = { .model = link_model_id(k), .prompt_bytes = (int64_t)r->body.n,
                             .max_tokens = r->max_tokens, .deadline_ms = r->deadline_ms, .resumable = r->resumable };
    char names[FLEET_JURISDICTIONS_MAX][FLEET_NAME_MAX + 1], hash[HASH_HEX + 1];
    fill_where(t, &ask, names);
    hash_beginnings(t, r, &ask);
    const struct trustlog_model *m = introduce_model(t->front, k);
    json_t *places = r->draft ? draft_places(r->draft, m) : NULL;
    ask.named = t->front->trust != NULL;
    ask.places = places;
    if (m->is_signed) {
        code_hex(hash, m->sha256, HASH_BYTES);
        ask.hash = hash;
    }
    enum err_code code = link_far_open(k, c, &ask, e);
    json_decref(places);
    return code;
}

/* ---- what an operator sees and does */

static void put_figures(const char *family, json_t *v, struct buf *out)
{
    const char *name;
    json_t *x;
    json_object_foreach(v, name, x) {
        bool counts = !strcmp(name, "sent") || !strcmp(name, "again") || !strcmp(name, "failed");
        buf_printf(out, "# TYPE tokenworks_fleet_%s_%s%s %s\ntokenworks_fleet_%s_%s%s %lld\n", family, name,
                   counts ? "_total" : "", counts ? "counter" : "gauge", family, name, counts ? "_total" : "",
                   json_is_integer(x) ? (long long)json_integer_value(x) : (long long)json_is_true(x));
    }
    json_decref(v);
}

/* The same figures as in /tokenworks/fleet: rows on their way to the fleet's book, and limits held in common. */
void front_fleet_metrics(const struct front_fleet *t, struct buf *out)
{
    if (t && t->bills)
        put_figures("bills", fleet_bills_state(t->bills), out);
    if (t && t->limits)
        put_figures("limits", fleet_limits_state(t->limits), out);
}

static void refuse(struct front *f, struct http_exchange *x, int status, const char *message)
{
    front_reply_error(f, x, &(struct error){ .status = status, .message = message }, NULL);
}

static void reply(struct front *f, struct http_exchange *x, json_t *v)
{
    struct buf b = { 0 };
    jsonx_dump(v, &b);
    json_decref(v);
    front_reply_json(f, x, 200, &b);
    buf_release(&b);
}

static void show(struct front *f, struct http_exchange *x)
{
    struct front_fleet *t = f->fleet;
    const struct ledger_key *key = accounts_key(f->accounts, keys_shown(http_request_head(x)));
    if (key && key->role == LEDGER_USER) {
        refuse(f, x, 403, "this needs a key of the role admin or auditor: tokenworks key add --role admin");
        return;
    }
    json_t *v = t->gateway ? fleet_gateway_state(t->gateway) : json_object();
    json_object_set_new(v, "me", json_pack("{s:s, s:s, s:s, s:b, s:b}", "jurisdiction", t->me.jurisdiction, "site",
                                           t->me.site, "name", t->me.name, "worker", t->worker != NULL, "gateway",
                                           t->gateway != NULL));
    json_object_set_new(v, "bus", json_pack("{s:b, s:s}", "up", bus_is_up(t->bus), "why", t->down));
    if (t->bills)
        json_object_set_new(v, "bills", fleet_bills_state(t->bills));
    if (t->limits)
        json_object_set_new(v, "limits", fleet_limits_state(t->limits));
    reply(f, x, v);
}

static void drain(struct front *f, struct http_exchange *x)
{
    struct http_slice body = http_request_body(x);
    struct err e = { 0 };
    const char *site = NULL, *worker = NULL;
    json_t *in = jsonx_parse(body.p, body.n, &e);
    bool read = json_is_object(in) && !jsonx_get_string(in, "site", &site, &e) &&
                !jsonx_get_string(in, "worker", &worker, &e) && site && worker;
    if (!load_allowed(f, http_request_head(x)))
        refuse(f, x, 403, "this needs a key of the role admin: tokenworks key add --role admin");
    else if (!read)
        refuse(f, x, 400, "the body must be {\"site\": SITE, \"worker\": NAME}");
    else if (fleet_gateway_drain(f->fleet->gateway, site, worker, &e))
        refuse(f, x, e.code == ERR_NOT_FOUND ? 404 : 503, e.text);
    else
        reply(f, x, json_pack("{s:s, s:s, s:s}", "site", site, "worker", worker, "state", "draining"));
    json_decref(in);
}

void answer_fleet(struct front *f, struct http_exchange *x, const struct route *r)
{
    bool get = http_slice_is(http_request_head(x)->method, "GET");
    if (!f->fleet)
        refuse(f, x, 404, "this server is in no fleet: start it with --nats");
    else if (!strcmp(r->path, "/tokenworks/fleet"))
        show(f, x);
    else if (get || !f->fleet->gateway)
        refuse(f, x, get ? 405 : 404, "POST /tokenworks/fleet/drain to a gateway");
    else
        drain(f, x);
}
