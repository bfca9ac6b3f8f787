/* front -- see front.h: how the process starts, drains and ends. */
#include "front/front.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/front_impl.h"
#include "net/tls.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { DRAIN_POLL_MS = 20, DRAIN_FLUSH_MS = 1000, ALIVE_MS = 500 };

/* While draining: done when no engine works for a client and every reply is with the system. */
static void drain_poll(void *arg)
{
    struct front *f = arg;
    int64_t now = clock_mono_ns();
    int works = front_fleet_busy(f->fleet);
    bool busy = f->relay_count || works || batches_busy(f->batches) ||
                (f->server && http_server_busy(f->server));
    if (!busy || now > f->drain_until_ns + DRAIN_FLUSH_MS * 1000000LL) {
        loop_stop(f->loop);
        return;
    }
    if (f->relay_count && now > f->drain_until_ns) {
        log_line(LOG_WARN, "front", "%d requests were not done in time and are cut", f->relay_count);
        relay_cut_all(f, "the server is shutting down");
    }
    if (works && now > f->drain_until_ns) {
        log_line(LOG_WARN, "front", "%d requests of the fleet were not done in time and go on elsewhere", works);
        front_fleet_give_back(f->fleet);
    }
    loop_timer_set(f->drain_timer, DRAIN_POLL_MS);
}

static void asked_to_stop(void *arg)
{
    struct front *f = arg;
    if (f->draining) { /* asked twice: at once */
        loop_stop(f->loop);
        return;
    }
    f->draining = true;
    batches_drain(f->batches);
    front_fleet_drain(f->fleet);
    notify_stopping(f->notify);
    f->drain_until_ns = clock_mono_ns() + f->options.drain_ms * 1000000LL;
    log_line(LOG_INFO, "front", "shutting down: %d requests may finish within %lld s",
             f->relay_count + front_fleet_busy(f->fleet),
             (long long)(f->options.drain_ms / 1000));
    if (f->server)
        http_server_drain(f->server);
    drain_poll(f);
}

/* A gateway becomes ready when the bus is there, which no engine says. */
static void tell_ready(struct front *f)
{
    if (!f->told_ready && answer_ready(f)) {
        notify_ready(f->notify);
        f->told_ready = true;
    }
}

static void stay_alive(void *arg)
{
    struct front *f = arg;
    notify_alive(f->notify);
    tell_ready(f);
    loop_timer_set(f->alive_timer, ALIVE_MS);
}

/* A renewed certificate, without a restart. */
static void asked_to_reload(void *arg)
{
    struct front *f = arg;
    struct err e = { 0 };
    if (!f->options.http.tls)
        return;
    if (tls_reload(f->options.http.tls, &e))
        log_line(LOG_ERROR, "front", "the certificate in use stays: %s", e.text);
    else
        log_line(LOG_INFO, "front", "certificate and key were read again");
}

static void link_changed(void *arg, struct link *k)
{
    struct front *f = arg;
    enum link_state state = link_state(k);
    if (state == LINK_READY)
        introduce_ready(f, k);
    if (state == LINK_READY)
        adapters_again(f, k);
    if (state == LINK_LOADING) {
        char text[300];
        snprintf(text, sizeof text, "loading %.200s, %d %%", link_model_id(k), (int)(100 * link_loading(k)));
        notify_status(f->notify, text);
    }
    if (state == LINK_READY)
        tell_ready(f);
    if (f->options.narrate && (state == LINK_LOADING || state == LINK_READY))
        f->options.narrate(f->options.narrate_arg, link_model_id(k), link_loading(k), state == LINK_READY);
}

static enum err_code say_hello(void *arg, struct link *k, const char *path, json_t *hello, struct err *e)
{
    struct front *f = arg;
    front_fleet_hello(f->fleet, hello);
    return introduce_hello(f, k, path, hello, e);
}

static void hopeless(void *arg, const char *why)
{
    struct front *f = arg;
    f->result = err_set(&f->error, ERR_IO, "%s", why);
    loop_stop(f->loop);
}

static void error_json(const struct http_exchange *x, int status, const char *sentence, struct buf *out, void *front)
{
    struct front *f = front;
    int other = 0;
    while (route_name(other + 1))
        other++;
    metrics_count(f, other, status);
    enum dialect d = x ? route_of(x)->dialect : DIALECT_OPENAI;
    error_body(d, &(struct error){ .status = status, .message = sentence }, out);
}

/* A descriptor per connection, and some of our own; the usual soft limit is 1024. */
static void raise_descriptor_limit(int connections)
{
    struct rlimit r;
    rlim_t want = (rlim_t)connections + 256;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= want)
        return;
    r.rlim_cur = want < r.rlim_max ? want : r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur < want)
        log_line(LOG_WARN, "front", "only %lld descriptors are allowed: fewer than the %d connections asked for",
                 (long long)r.rlim_cur, connections);
}

static void warn_if_open(struct front *f)
{
    bool keyed = keys_count(f->keys) || accounts_have_keys(f->accounts);
    const char *a = f->options.http.address;
    bool loopback = !strncmp(a, "127.", 4) || !strcmp(a, "::1") || !strcmp(a, "localhost");
    if (!loopback && !keyed)
        log_line(LOG_WARN, "front", "no API key is set: whoever reaches %s may use this server", a);
    if (!loopback && keyed && !f->options.http.tls)
        log_line(LOG_WARN, "front", "API keys travel in the clear to %s: give --tls-cert and --tls-key", a);
}

/* No answer without its receipt: when those cannot be kept any more, the server ends. */
static void evidence_failed(void *arg, const char *why)
{
    struct front *f = arg;
    f->result = err_set(&f->error, ERR_IO, "the evidence cannot be kept: %s", why);
    loop_stop(f->loop);
}

static enum err_code spill_key(void *arg, const char *model_id, uint8_t *out, struct err *e)
{
    char purpose[300];
    snprintf(purpose, sizeof purpose, "spill %.240s", model_id);
    return trustlog_storage(arg, purpose, out, e);
}

static enum err_code open_trust(struct front *f, struct err *e)
{
    const struct front_options *o = &f->options;
    const struct trustlog_options t = { .dir = o->trust_dir, .place = o->trust_site, .loop = f->loop,
                                        .jurisdiction = o->trust_jurisdiction, .best_effort = o->trust_best_effort,
                                        .air_gapped = o->air_gapped, .renew_s = o->key_epoch_s * 3 / 2,
                                        .failed = evidence_failed, .changed = introduce_changed,
                                        .offered = introduce_offered, .arg = f };
    f->introductions = introductions_new(f);
    enum err_code c = o->trust_dir ? trustlog_open(&t, &f->trust, e) : ERR_OK;
    f->signatures = signatures_new(f->trust);
    if (f->trust) {
        f->options.spill.key = spill_key;
        f->options.spill.arg = f->trust;
    }
    return c;
}

/* The key is the keeper's; without one, or when there was none at first, it lies in the state folder, what it seals
 * does not. */
static bool open_batches(struct front *f, struct err *e)
{
    struct buf file = { 0 };
    uint8_t key[SEALBOX_KEY];
    if (!f->options.batches_dir)
        return true;
    buf_printf(&file, "%s/batches.key", f->options.ledger_dir);
    bool kept = f->trust && access(buf_str(&file), F_OK);
    if (!kept || !trustlog_storage(f->trust, "batches", key, e))
        f->batches = batches_new(f, f->options.batches_dir, buf_str(&file), kept ? key : NULL, e);
    mem_wipe(key, sizeof key);
    buf_release(&file);
    return f->batches != NULL;
}

struct front *front_new(const struct front_options *o, struct err *e)
{
    static const struct http_handler handler = { routes_head, routes_request, relay_drained, relay_gone, error_json };
    struct front *f = MEM_NEW(struct front);
    f->options = *o;
    f->started_s = clock_wall_s();
    f->notify = notify_open();
    f->keys = keys_load(o->key_file, o->plain_key, e);
    f->loop = f->keys ? loop_new(e) : NULL;
    struct accounts_options accounts = { o->ledger_dir, o->trust_jurisdiction, o->ledger,
                                         o->oidc.issuer ? &o->oidc : NULL };
    f->accounts = f->loop ? accounts_open(f->loop, &accounts, e) : NULL;
    f->recents = recents_new();
    f->repeats = repeats_new();
    bool booked = f->accounts || o->ledger == ACCOUNTS_OFF;
    bool kept = booked && f->loop && !open_trust(f, e) && !telemetry_open(&o->telemetry, &f->telemetry, e);
    kept = kept && open_batches(f, e);
    kept = kept && (o->no_http || (f->server = http_server_new(f->loop, &o->http, &handler, f, e)));
    if (!kept) {
        front_free(f);
        return NULL;
    }
    f->models = models_new(&(struct models_options){ .loop = f->loop, .front = &f->options, .changed = link_changed,
                                                     .hello = say_hello, .trust = introduce_said, .arg = f,
                                                     .hopeless = hopeless });
    if (o->fleet.bus.url && front_fleet_open(f, &f->options.fleet, &f->fleet, e)) {
        front_free(f);
        return NULL;
    }
    f->drain_timer = loop_timer_new(f->loop, drain_poll, f);
    f->alive_timer = loop_timer_new(f->loop, stay_alive, f);
    raise_descriptor_limit(o->http.connections_max);
    warn_if_open(f);
    loop_on_signal(f->loop, SIGTERM, asked_to_stop, f);
    loop_on_signal(f->loop, SIGINT, asked_to_stop, f);
    loop_on_signal(f->loop, SIGHUP, asked_to_reload, f);
    return f;
}

int front_port(const struct front *f)
{
    return f->server ? http_server_port(f->server) : 0;
}

enum err_code front_run(struct front *f, struct err *e)
{
    models_start(f->models);
    batches_start(f->batches);
    stay_alive(f);
    if (!f->result)
        loop_run(f->loop);
    if (f->result)
        *e = f->error;
    return f->result;
}

void front_free(struct front *f)
{
    if (!f)
        return;
    if (f->server)
        http_server_free(f->server);  /* open exchanges are cancelled, so no call is left on a link */
    adapters_close(f);            /* but these */
    batches_free(f->batches);     /* lines under way are done again at the next start */
    trustlog_close(f->trust);     /* every receipt is on disk */
    f->trust = NULL;
    accounts_close(f->accounts);  /* and so is what they used: no relay is left */
    f->accounts = NULL;
    introductions_free(f->introductions);
    front_fleet_close(f->fleet);
    signatures_free(f->signatures);
    models_free(f->models);
    telemetry_close(f->telemetry);
    notify_close(f->notify);
    loop_timer_free(f->alive_timer);
    loop_timer_free(f->drain_timer);
    repeats_free(f->repeats);
    recents_free(f->recents);
    loop_free(f->loop);
    keys_free(f->keys);
    mem_free(f);
}
