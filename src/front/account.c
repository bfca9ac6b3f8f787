/* account -- see account.h. The ledger is opened at once or, with ACCOUNTS_AUTO, as soon as it holds a key. */
#include "front/account.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { EVERY_MS = 1000, TENANTS_SHOWN = 64 };

struct accounts {
    struct loop *loop;
    char *dir, *jurisdiction;
    struct ledger *ledger;       /* NULL: no key yet, nothing is booked */
    struct loop_watch *watch;
    struct loop_timer *timer;
    struct energy *energy;
    struct oidc *oidc;           /* NULL: keys only */
    struct ledger_key owner;     /* what accounts_owner returns for tokens */
    bool locked; /* a key was seen: revoking the last one must not open the doors */
};

static int64_t now_ms(void)
{
    return clock_wall_ns() / 1000000;
}

static void poll_ledger(void *arg)
{
    struct accounts *a = arg;
    ledger_poll(a->ledger, now_ms());
    accounts_have_keys(a); /* looks, so that a key revoked before anybody asked has locked too */
}

static enum err_code open_ledger(struct accounts *a, struct err *e)
{
    enum err_code c = ledger_open(a->dir, a->jurisdiction, now_ms(), &a->ledger, e);
    if (c)
        return c;
    struct energy_model machine = ledger_machine(a->ledger);
    a->energy = energy_open("", &machine);
    a->watch = loop_watch_new(a->loop, ledger_fd(a->ledger), poll_ledger, a);
    return ERR_OK;
}

/* Once a second: the joules since the last time; or, without a ledger, whether there is one with a key now. */
static void each_second(void *arg)
{
    struct accounts *a = arg;
    struct err e;
    if (a->ledger) {
        ledger_energy(a->ledger, energy_read(a->energy, clock_mono_ns()), energy_modelled(a->energy));
    } else if (ledger_ever_had_keys(a->dir, now_ms())) {
        a->locked = true; /* even if it cannot be opened: nobody gets in without a key any more */
        if (open_ledger(a, &e))
            log_line(LOG_ERROR, "front", "%s; every request is refused until the ledger can be read", e.text);
        else
            log_line(LOG_INFO, "front", "the ledger has a key: from now on every route asks for one");
    }
    loop_timer_set(a->timer, EVERY_MS);
}

struct accounts *accounts_open(struct loop *l, const struct accounts_options *o, struct err *e)
{
    *e = (struct err){ 0 };
    if (o->oidc && o->mode == ACCOUNTS_OFF) {
        err_set(e, ERR_INVALID, "oidc needs the ledger, which was switched off");
        return NULL;
    }
    if (o->mode == ACCOUNTS_OFF)
        return NULL;
    struct accounts *a = MEM_NEW(struct accounts);
    a->loop = l;
    a->dir = mem_strdup(o->dir);
    a->jurisdiction = mem_strdup(o->jurisdiction ? o->jurisdiction : "");
    /* revoking the last key must not open the doors */
    a->locked = o->oidc || ledger_ever_had_keys(o->dir, now_ms());
    enum err_code c = a->locked || o->mode == ACCOUNTS_ON ? open_ledger(a, e) : ERR_OK;
    a->oidc = !c && o->oidc ? oidc_new(o->oidc, e) : NULL;
    if (c || (o->oidc && !a->oidc)) {
        accounts_close(a);
        return NULL;
    }
    a->timer = loop_timer_new(l, each_second, a);
    loop_timer_set(a->timer, EVERY_MS);
    return a;
}

void accounts_close(struct accounts *a)
{
    if (!a)
        return;
    loop_watch_free(a->watch);
    loop_timer_free(a->timer);
    ledger_close(a->ledger);
    oidc_free(a->oidc);
    energy_close(a->energy);
    mem_free(a->dir);
    mem_free(a->jurisdiction);
    mem_free(a);
}

bool accounts_booking(const struct accounts *a)
{
    return a && a->ledger;
}

bool accounts_have_keys(struct accounts *a)
{
    if (accounts_booking(a) && ledger_has_keys(a->ledger))
        a->locked = true;
    return a && a->locked;
}

const struct ledger_key *accounts_key(const struct accounts *a, struct http_slice shown)
{
    const struct ledger_key *key = NULL;
    if (!accounts_booking(a) || !shown.n)
        return NULL;
    if (ledger_key_lookup(a->ledger, shown.p, shown.n, now_ms(), &key) == LEDGER_FOUND)
        return key;
    return oidc_key(a->oidc, a->ledger, shown, now_ms() / 1000);
}

const struct ledger_key *accounts_owner(struct accounts *a, int64_t id, const char *tenant, const char *team)
{
    if (!accounts_booking(a))
        return NULL;
    if (id)
        return ledger_key_by_id(a->ledger, id, now_ms());
    return ledger_principal(a->ledger, tenant, team, &a->owner) ? &a->owner : NULL;
}

/* The most tokens all choices together can have after such a prompt. */
static int64_t worst_output(const struct bill *b, int64_t prompt)
{
    int64_t room = b->ctx > prompt ? b->ctx - prompt : 0, most = b->max_output;
    return b->choices * (most && (most < room || !b->ctx) ? most : room);
}

/* What a route answers with when max_tokens is not stated: -1: no tokens, 0: as many as there is room for. */
static int64_t usual_output(struct http_slice path)
{
    static const char *const none[] = { "/v1/embeddings", "/v1/rerank", "/rerank", "/api/embed" };
    for (size_t i = 0; i < MEM_COUNT(none); i++)
        if (http_slice_is(path, none[i]))
            return -1;
    return http_slice_is(path, "/v1/completions") ? 16 : 0;
}

bool account_admit(struct accounts *a, struct bill *b, const struct account_ask *ask, struct ledger_answer *answer)
{
    enum { BYTES_A_TOKEN = 4 };
    int64_t usual = usual_output(ask->path), prompt = ask->body_bytes / BYTES_A_TOKEN;
    *b = (struct bill){ .ticket = -1, .max_output = ask->max_tokens > 0 ? ask->max_tokens : usual > 0 ? usual : 0,
                        .choices = usual < 0 ? 0 : ask->choices > 1 ? ask->choices : 1, .ctx = ask->ctx };
    *answer = (struct ledger_answer){ .ticket = -1, .allowance_tokens = -1 };
    if (!accounts_booking(a))
        return true;
    prompt = ask->ctx && prompt > ask->ctx - 1 && usual >= 0 ? ask->ctx - 1 : prompt;
    struct ledger_ask whole = { .key = ask->key, .model = ask->model, .request_id = ask->request_id,
                                .prompt_tokens = prompt, .output_tokens = worst_output(b, prompt) };
    ledger_admit(a->ledger, &whole, now_ms(), answer);
    b->ticket = answer->verdict == LEDGER_ADMITTED ? answer->ticket : -1;
    if (b->ticket >= 0)
        b->worst = ledger_held(a->ledger, b->ticket);
    return answer->verdict == LEDGER_ADMITTED;
}

struct ledger_limits account_tenant_limits(const struct accounts *a, const struct ledger_key *key)
{
    return accounts_booking(a) ? ledger_tenant_limits(a->ledger, key) : (struct ledger_limits){ .v = { 0 } };
}

static void read_counts(struct bill *b, const json_t *usage)
{
    jsonx_get_int(usage, "prompt_tokens", 0, INT64_MAX, &b->prompt, NULL);
    jsonx_get_int(usage, "cached_tokens", 0, INT64_MAX, &b->cached, NULL);
}

/* Tokens computed so far, in all. */
static void work(struct accounts *a, struct bill *b, int64_t tokens)
{
    if (tokens > b->worked) {
        ledger_worked(a->ledger, b->ticket, tokens - b->worked);
        b->worked = tokens;
    }
}

bool account_usage(struct accounts *a, struct bill *b, const json_t *usage, struct ledger_answer *answer)
{
    if (!a || b->ticket < 0)
        return true;
    read_counts(b, usage);
    if (!b->held) {
        ledger_revise(a->ledger, b->ticket, b->prompt, worst_output(b, b->prompt), now_ms(), answer);
        if (answer->verdict != LEDGER_ADMITTED)
            return false;
    }
    b->held = true;
    if (json_is_true(json_object_get(usage, "queued")))
        return true;
    b->counted = true;
    work(a, b, b->prompt - b->cached);
    return true;
}

void account_data(struct accounts *a, struct bill *b, int64_t tokens)
{
    if (!a || b->ticket < 0)
        return;
    b->output += tokens;
    work(a, b, b->prompt - b->cached + b->output);
}

void account_unsent(struct bill *b, int64_t tokens)
{
    b->output -= tokens < b->output ? tokens : b->output;
}

/* A time of the engine's end frame; it is another process: nothing it says may hurt. */
static int64_t micros(const json_t *end, const char *field)
{
    double ms = json_number_value(json_object_get(end, field));
    return ms > 0 && ms < 1e12 ? (int64_t)(1000 * ms) : 0;
}

bool account_settle(struct accounts *a, struct bill *b, const json_t *end, const char *finish, const uint8_t *receipt,
                    ledger_done_fn *done, void *arg)
{
    if (!a || b->ticket < 0)
        return false;
    if (!b->counted) { /* the engine had not begun */
        account_abandon(a, b);
        return false;
    }
    const json_t *usage = json_object_get(end, "usage");
    const char *said = json_string_value(json_object_get(end, "finish"));
    read_counts(b, usage);
    jsonx_get_int(usage, "completion_tokens", 0, INT64_MAX, &b->output, NULL);
    work(a, b, b->prompt - b->cached + b->output);
    b->use = (struct ledger_use){
        .prompt_tokens = b->prompt, .cached_tokens = b->cached, .output_tokens = b->output, .energy_mj = -1,
        .queue_us = micros(end, "queue_ms"), .prefill_us = micros(end, "prefill_ms"),
        .decode_us = micros(end, "decode_ms"), .kv_page_ms = micros(end, "kv_page_ms") / 1000,
        .finish = said ? said : finish, .receipt_hash = receipt,
    };
    int64_t cost = ledger_settle(a->ledger, b->ticket, &b->use, now_ms(), done, arg);
    b->booked = (struct ledger_amount){ b->use.prompt_tokens + b->use.output_tokens, cost, b->use.energy_mj };
    b->use.finish = NULL; /* the caller's, like the receipt */
    b->use.receipt_hash = NULL;
    b->settled = true;
    b->ticket = -1;
    return done != NULL;
}

void account_abandon(struct accounts *a, struct bill *b)
{
    if (a && b->ticket >= 0)
        ledger_abandon(a->ledger, b->ticket, now_ms());
    b->ticket = -1;
}

/* ---- figures */

static void put_family(struct buf *out, const char *name, const char *help)
{
    buf_printf(out, "# HELP tokenworks_tenant_%s_total %s\n# TYPE tokenworks_tenant_%s_total counter\n", name, help,
               name);
}

static void put_sample(struct buf *out, const char *name, const char *tenant, const char *more)
{
    buf_printf(out, "tokenworks_tenant_%s_total{tenant=", name);
    jsonx_quote(tenant, strlen(tenant), out);
    buf_printf(out, "%s} ", more);
}

static void put_thousandths(struct buf *out, int64_t v)
{
    buf_printf(out, "%lld.%03lld\n", (long long)(v / 1000), (long long)(v % 1000));
}

static void put_tenants(const struct ledger_total *t, int count, struct buf *out)
{
    static const char *const kinds[] = { ",kind=\"prompt\"", ",kind=\"cached\"", ",kind=\"output\"" };
    put_family(out, "requests", "Requests booked, by tenant.");
    for (int i = 0; i < count; i++) {
        put_sample(out, "requests", t[i].tenant, "");
        buf_printf(out, "%lld\n", (long long)t[i].requests);
    }
    put_family(out, "tokens", "Tokens booked, by tenant; cached ones are among the prompt's.");
    for (int i = 0; i < count; i++)
        for (int k = 0; k < 3; k++) {
            put_sample(out, "tokens", t[i].tenant, kinds[k]);
            buf_printf(out, "%lld\n", (long long)t[i].tokens[k]);
        }
    put_family(out, "cost", "Money booked, by tenant, in the ledger's currency.");
    for (int i = 0; i < count; i++) {
        put_sample(out, "cost", t[i].tenant, "");
        buf_printf(out, "%lld.%06lld\n", (long long)(t[i].cost_micros / 1000000),
                   (long long)(t[i].cost_micros % 1000000));
    }
    put_family(out, "energy_joules", "Joules booked, by tenant.");
    for (int i = 0; i < count; i++) {
        put_sample(out, "energy_joules", t[i].tenant, "");
        put_thousandths(out, t[i].energy_mj);
    }
}

void accounts_metrics(const struct accounts *a, struct buf *out)
{
    struct ledger_total totals[TENANTS_SHOWN];
    struct ledger_stats s;
    if (!accounts_booking(a))
        return;
    put_tenants(totals, ledger_totals(a->ledger, totals, TENANTS_SHOWN), out);
    ledger_get_stats(a->ledger, &s);
    const struct { const char *name, *type, *help; int64_t v; } one[] = {
        { "rows_total", "counter", "Rows made durable.", s.rows },
        { "duplicates_total", "counter", "Rows that were there already: repeated requests.", s.duplicates },
        { "commits_total", "counter", "Groups of rows written.", s.commits },
        { "failed_commits_total", "counter", "Groups of rows the disk refused.", s.failed_commits },
        { "queued", "gauge", "Rows not yet durable.", s.queued },
        { "in_flight", "gauge", "Requests admitted and not settled.", s.in_flight },
    };
    for (size_t i = 0; i < MEM_COUNT(one); i++)
        buf_printf(out, "# HELP tokenworks_ledger_%s %s\n# TYPE tokenworks_ledger_%s %s\ntokenworks_ledger_%s %lld\n",
                   one[i].name, one[i].help, one[i].name, one[i].type, one[i].name, (long long)one[i].v);
    buf_puts(out, "# HELP tokenworks_ledger_idle_joules_total Joules read while nothing was computed.\n"
             "# TYPE tokenworks_ledger_idle_joules_total counter\ntokenworks_ledger_idle_joules_total ");
    put_thousandths(out, s.idle_mj);
}
