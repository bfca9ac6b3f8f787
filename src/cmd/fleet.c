/* fleet -- tokenworks fleet: what a gateway sees of its fleet, and orders to workers. */
#include "base/json.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "net/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TOTAL_MS = 10000, EVENTS_SHOWN = 8 };

struct fleet_asked {
    const char *url, *key;
    bool json;
    int64_t count;
};

#define FIELD(name) OPT_FIELD(struct fleet_asked, name)
static const struct opt rows[] = {
    { "url", 'u', OPT_STRING, "URL", "a gateway of the fleet (http://127.0.0.1:8080)", FIELD(url), 0, 0 },
    { "key", 'k', OPT_STRING, "KEY", "a key of the role admin ($TOKENWORKS_API_KEY)", FIELD(key), 0, 0 },
    { "json", 0, OPT_FLAG, NULL, "status: what the gateway says, as it is", FIELD(json), 0, 0 },
    { "count", 'n', OPT_INT, "N", "top: so many times, then end (until interrupted)", FIELD(count), 1, 1 << 30 },
    { 0 } };
const struct opt_command cmd_fleet_spec = {
    "fleet", "status | top | drain SITE WORKER [--url GATEWAY]", "show a fleet, drain a worker",
    "status: sites, workers, their load and what happened lately, as one gateway sees it. top: the same every second.\n"
    "drain: the worker takes no new requests, and says so to every gateway; stop it when it has nothing left to do.",
    rows };

/* A reply's JSON, or what the server said instead. */
static enum err_code ask(const struct fleet_asked *o, const char *path, const char *body, json_t **out, struct err *e)
{
    struct http_client *client = http_client_new();
    struct http_client_reply reply;
    struct buf url = { 0 };
    size_t n = strlen(o->url);
    buf_printf(&url, "%.*s%s", (int)(n && o->url[n - 1] == '/' ? n - 1 : n), o->url, path);
    struct http_client_request r = { .url = buf_str(&url), .bearer = o->key, .body = body,
                                     .body_len = body ? strlen(body) : 0, .total_ms = TOTAL_MS };
    enum err_code c = http_client_run(client, &r, &reply, e);
    json_t *v = c ? NULL : jsonx_parse(buf_str(&reply.body), reply.body.len, NULL);
    const char *why = json_string_value(json_object_get(json_object_get(v, "error"), "message"));
    if (!c && (reply.status != 200 || !json_is_object(v))) {
        c = err_set(e, ERR_IO, "%s: %s", o->url, why ? why : "this is no gateway of a fleet");
        json_decref(v);
    } else if (!c) {
        *out = v;
    }
    buf_release(&url);
    http_client_reply_release(&reply);
    http_client_free(client);
    return c;
}

static const char *text(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "";
}

static long long number(const json_t *v, const char *key)
{
    return (long long)json_number_value(json_object_get(v, key));
}

static void print_worker(const json_t *site, const json_t *w)
{
    const json_t *models = json_object_get(w, "models"), *m;
    char where[80];
    size_t i;
    snprintf(where, sizeof where, "%s/%s/%s", text(site, "jurisdiction"), text(site, "site"), text(w, "name"));
    if (!json_array_size(models))
        printf("%-28s %-8s %6lld %5.1f  (no model)\n", where, text(w, "state"), number(w, "age_ms"),
               json_number_value(json_object_get(w, "rtt_ms")));
    json_array_foreach(models, i, m) {
        long long pages = number(m, "kv_pages"), used = pages - number(m, "kv_pages_free");
        printf("%-28s %-8s %6lld %5.1f %4lld %4lld %3lld%% %7.1f  %s\n", i ? "" : where, i ? "" : text(w, "state"),
               number(w, "age_ms"), json_number_value(json_object_get(w, "rtt_ms")), number(m, "running"),
               number(m, "waiting"), pages ? 100 * used / pages : 0,
               json_number_value(json_object_get(m, "tokens_per_s")), text(m, "id"));
    }
}

static void print_events(const json_t *events)
{
    size_t n = json_array_size(events);
    for (size_t i = n > EVENTS_SHOWN ? n - EVENTS_SHOWN : 0; i < n; i++) {
        const json_t *v = json_array_get(events, i);
        time_t at = (time_t)number(v, "at");
        char when[32];
        struct tm tm;
        strftime(when, sizeof when, "%H:%M:%S", localtime_r(&at, &tm));
        printf("%s  %s\n", when, text(v, "what"));
    }
}

/* What goes to the fleet's book and what limits are held in common, where this gateway does so. */
static void print_common(const json_t *bills, const json_t *limits)
{
    if (bills)
        printf("bills: %lld rows sent to the home site, %lld wait%s\n", number(bills, "sent"), number(bills, "waiting"),
               json_is_true(json_object_get(bills, "reached")) ? "" : "; the home site's stream is not reached");
    if (limits)
        printf("limits: %lld in common, something is held of %lld, %lld requests wait for more%s\n",
               number(limits, "limits"), number(limits, "held"), number(limits, "waiting"),
               json_is_true(json_object_get(limits, "reached")) ? "" : "; the home site's bucket is not reached");
}

static void print_state(const json_t *v)
{
    const json_t *site, *w, *g, *moves = json_object_get(v, "moves"), *bus = json_object_get(v, "bus");
    size_t i, k;
    if (!json_is_true(json_object_get(bus, "up")))
        printf("the bus is away: %s\n", text(bus, "why"));
    printf("%-28s %-8s %6s %5s %4s %4s %4s %7s  %s\n", "WORKER", "STATE", "AGE ms", "RTT", "RUN", "WAIT", "KV", "TOK/S",
           "MODEL");
    json_array_foreach(json_object_get(v, "sites"), i, site)
        json_array_foreach(json_object_get(site, "workers"), k, w)
            print_worker(site, w);
    json_array_foreach(json_object_get(v, "gateways"), i, g)
        printf("%s/%s/%s  gateway%s\n", text(g, "jurisdiction"), text(g, "site"), text(g, "name"),
               json_is_true(json_object_get(g, "self")) ? ", this one" : "");
    printf("%lld requests under way here, %lld went on elsewhere, %lld failed, %lld refused\n", number(v, "open"),
           number(moves, "resumed"), number(moves, "failed"), number(moves, "refused"));
    print_common(json_object_get(v, "bills"), json_object_get(v, "limits"));
    print_events(json_object_get(v, "events"));
}

static enum err_code status(const struct fleet_asked *o, struct err *e)
{
    json_t *v = NULL;
    enum err_code c = ask(o, "/tokenworks/fleet", NULL, &v, e);
    if (c)
        return c;
    if (o->json) {
        struct buf b = { 0 };
        jsonx_dump(v, &b);
        printf("%s\n", buf_str(&b));
        buf_release(&b);
    } else {
        print_state(v);
    }
    json_decref(v);
    return ERR_OK;
}

static enum err_code top(const struct fleet_asked *o, struct err *e)
{
    enum err_code c = ERR_OK;
    for (int64_t i = 0; !c && (!o->count || i < o->count); i++) {
        if (i)
            sleep(1);
        if (isatty(STDOUT_FILENO))
            printf("\033[H\033[2J");
        c = status(o, e);
        fflush(stdout);
    }
    return c;
}

static enum err_code drain(const struct fleet_asked *o, const char *site, const char *worker, struct err *e)
{
    struct buf b = { 0 };
    json_t *v = json_pack("{s:s, s:s}", "site", site, "worker", worker), *said = NULL;
    jsonx_dump(v, &b);
    json_decref(v);
    enum err_code c = ask(o, "/tokenworks/fleet/drain", buf_str(&b), &said, e);
    buf_release(&b);
    json_decref(said);
    if (!c)
        printf("%s/%s drains: no new requests go there; `tokenworks fleet status` shows when it has none\n", site,
               worker);
    return c;
}

int cmd_fleet(int argc, char **argv)
{
    struct fleet_asked o = { .url = "http://127.0.0.1:8080", .key = getenv("TOKENWORKS_API_KEY") };
    struct err e = { 0 };
    int n;
    enum opt_result r = opt_parse(&cmd_fleet_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    const char *verb = n ? argv[1] : "";
    enum err_code c;
    if (n == 1 && !strcmp(verb, "status"))
        c = status(&o, &e);
    else if (n == 1 && !strcmp(verb, "top"))
        c = top(&o, &e);
    else if (n == 3 && !strcmp(verb, "drain"))
        c = drain(&o, argv[2], argv[3], &e);
    else {
        fprintf(stderr, "tokenworks fleet: say status, top, or drain SITE WORKER (tokenworks fleet --help)\n");
        return 2;
    }
    return c ? cmd_fail(&cmd_fleet_spec, &e) : 0;
}
