/* provider -- tokenworks provider: an outside OpenAI-compatible service as one more site of the fleet. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/nats_args.h"
#include "cmd/provider_config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES_MAX = 4096, DRAIN_POLL_MS = 50 };

struct provider_args {
    struct nats_args nats;
    const char *site, *jurisdiction, *name;
    int64_t drain_s;
    bool log_json;
};

#define FIELD(name) OPT_FIELD(struct provider_args, name)
static const struct opt rows[] = {
    NATS_ROWS(struct provider_args, nats),
    { "site", 0, OPT_STRING, "NAME", "the provider's site in the fleet's names (outside)", FIELD(site), 0, 0 },
    { "jurisdiction", 0, OPT_STRING, "CC", "the country whose law reaches what is sent there", FIELD(jurisdiction), 0,
      0 },
    { "name", 0, OPT_STRING, "NAME", "of this worker (provider)", FIELD(name), 0, 0 },
    { "drain-s", 0, OPT_INT, "N", "seconds running requests have after SIGTERM (30)", FIELD(drain_s), 0, 86400 },
    { "log-json", 0, OPT_FLAG, NULL, "log lines as JSON objects", FIELD(log_json), 0, 0 },
    { 0 },
};

const struct opt_command cmd_provider_spec = {
    "provider", "FILE.yaml --jurisdiction CC [options]", "offer an outside provider's models to the fleet",
    "Joins the fleet as a worker whose engines are an OpenAI-compatible service elsewhere. Gateways use it only where\n"
    "their configuration and the tenant's jurisdictions allow it, and when no worker of the house can take a request\n"
    "in time. What the provider promised is held against what was got: `tokenworks fleet status`.\n"
    "The file names url, key-file, models with their prices, and what was promised (docs/fleet-books.md). The key may\n"
    "come in $TOKENWORKS_PROVIDER_KEY instead. Prompts sent there leave the house: its jurisdiction is yours to state\n"
    "truthfully.",
    rows,
};

struct running {
    struct loop *loop;
    struct fleet_worker *worker;
    struct loop_timer *timer;
    int64_t drain_ms, until_ns;
    bool draining;
};

static void poll_drain(void *arg)
{
    struct running *r = arg;
    if (!fleet_worker_busy(r->worker) || clock_mono_ns() > r->until_ns)
        loop_stop(r->loop);
    else
        loop_timer_set(r->timer, DRAIN_POLL_MS);
}

static void asked_to_stop(void *arg)
{
    struct running *r = arg;
    if (r->draining) {
        loop_stop(r->loop);
        return;
    }
    r->draining = true;
    r->until_ns = clock_mono_ns() + r->drain_ms * 1000000;
    fleet_worker_drain(r->worker);
    poll_drain(r);
}

static void bus_up(void *arg)
{
    log_line(LOG_INFO, "fleet", "joined the fleet");
}

static void bus_down(void *arg, const char *why)
{
    log_line(LOG_WARN, "fleet", "the bus is away: %s; trying again", why);
}

static void bus_refused(void *arg, const char *why)
{
    log_line(LOG_ERROR, "fleet", "%s", why);
}

/* The key, without the line's end; NULL: there is none. Wipe and free it. */
static enum err_code read_key(const char *file, char **out, struct err *e)
{
    const char *env = getenv("TOKENWORKS_PROVIDER_KEY");
    struct buf b = { 0 };
    *out = !file && env && *env ? mem_strdup(env) : NULL;
    if (!file)
        return ERR_OK;
    enum err_code c = file_read(file, KEY_BYTES_MAX, &b, e);
    if (!c) {
        size_t n = strcspn(buf_str(&b), "\r\n");
        *out = mem_strndup(buf_str(&b), n);
        if (!n)
            c = err_set(e, ERR_INVALID, "%s: the first line must be the key", file);
    }
    if (b.data)
        mem_wipe(b.data, b.len);
    buf_release(&b);
    return c;
}

static enum err_code place_of(const struct provider_args *a, struct fleet_place *p, struct err *e)
{
    const char *const names[] = { a->jurisdiction, a->site, a->name };
    const char *const options[] = { "--jurisdiction", "--site", "--name" };
    char *const out[] = { p->jurisdiction, p->site, p->name };
    for (int i = 0; i < 3; i++) {
        if (!names[i])
            return err_set(e, ERR_INVALID, "%s is needed: which country's law reaches what is sent there", options[i]);
        if (!fleet_name_ok(names[i]))
            return err_set(e, ERR_INVALID, "%s %.40s: a name is 1 to %d of a-z, 0-9 and -", options[i], names[i],
                           FLEET_NAME_MAX);
        snprintf(out[i], FLEET_NAME_MAX + 1, "%s", names[i]);
    }
    return ERR_OK;
}

static enum err_code run(const struct provider_args *a, const struct provider_options *o, struct err *e)
{
    static const struct bus_events events = { bus_up, bus_down, bus_refused };
    struct fleet_place me;
    struct bus *bus = NULL;
    struct provider *p = NULL;
    enum err_code c = place_of(a, &me, e);
    struct running r = { .loop = c ? NULL : loop_new(e), .drain_ms = a->drain_s * 1000 };
    struct bus_options where = nats_bus(&a->nats, me.name);
    if (r.loop)
        p = provider_new(r.loop, o, e);
    if (p)
        bus = bus_open(r.loop, &where, &events, NULL, e);
    if (bus)
        r.worker = fleet_worker_new(r.loop, bus, &me, &provider_host, p, e);
    if (r.worker) {
        r.timer = loop_timer_new(r.loop, poll_drain, &r);
        loop_on_signal(r.loop, SIGTERM, asked_to_stop, &r);
        loop_on_signal(r.loop, SIGINT, asked_to_stop, &r);
        printf("offering %d models of %s as %s.%s.%s\n", o->model_count, o->url, me.jurisdiction, me.site, me.name);
        fflush(stdout);
        loop_run(r.loop);
        loop_timer_free(r.timer);
    }
    c = c ? c : r.worker ? ERR_OK : e->code;
    fleet_worker_free(r.worker);
    provider_free(p);
    bus_close(bus);
    loop_free(r.loop);
    return c;
}

int cmd_provider(int argc, char **argv)
{
    struct provider_args a = { .nats = NATS_ARGS_DEFAULT, .site = "outside", .name = "provider", .drain_s = 30 };
    struct provider_options o;
    struct yaml_doc doc = { 0 };
    struct err e = { 0 };
    const char *key_file = NULL;
    char *key = NULL;
    int n;
    enum opt_result r = opt_parse(&cmd_provider_spec, argc, argv, &a, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (n != 1) {
        fprintf(stderr, "tokenworks provider: name the provider's FILE.yaml; --help shows what is in it\n");
        return 2;
    }
    log_set(LOG_INFO, a.log_json);
    enum err_code c = provider_config_read(argv[1], &doc, &o, &key_file, &e);
    c = c ? c : read_key(key_file, &key, &e);
    o.key = key;
    unsetenv("TOKENWORKS_PROVIDER_KEY");
    c = c ? c : run(&a, &o, &e);
    if (key)
        mem_wipe(key, strlen(key));
    mem_free(key);
    yaml_doc_release(&doc);
    return c ? cmd_fail(&cmd_provider_spec, &e) : 0;
}
