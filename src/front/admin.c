/* admin -- /tokenworks/admin/NOUN/VERB: what the commands key, tenant and usage do to the ledger, for keys whose role
 * is admin; auditors may read. A verb takes a JSON object (none with GET) and gives JSON.
 *
 * It works on the file like a command does, and the running ledger notices within a second. Runs on the loop's thread:
 * a verb is one short transaction. What takes long (erase, purge, export, verify) stays with the commands. */
#include "base/clock.h"
#include "base/mem.h"
#include "front/front_impl.h"
#include "ledger/admin.h"
#include "ledger/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 64 * 1024, EXPIRES_DAYS_MAX = 36500 };
#define JOULES_MAX 1000000000
#define LIMITS "requests_per_minute", "tokens_per_minute", "concurrent", "tokens_per_day", "tokens_per_month", \
               "money_per_day", "money_per_month", "joules_per_day", "joules_per_month"
static const char *const limit_fields[LEDGER_LIMITS] = { LIMITS }; /* in the order of enum ledger_limit */

struct call {
    struct store *store;
    const json_t *in;
    int64_t now_ms;
    FILE *out;
};

/* A field that is text; missing: ERR_INVALID naming it. */
static enum err_code need_text(const struct call *c, const char *field, const char **out, struct err *e)
{
    const char *text = NULL;
    enum err_code code = jsonx_get_string(c->in, field, &text, e);
    if (!code && !text)
        return err_set(e, ERR_INVALID, "'%s' is needed", field);
    if (!code)
        *out = text;
    return code;
}

static enum err_code set_limit(const struct call *c, enum ledger_scope scope, int64_t id, enum ledger_limit kind,
                               struct err *e)
{
    const char *field = limit_fields[kind], *amount = NULL;
    bool money = kind == LEDGER_DAY_MONEY || kind == LEDGER_MONTH_MONEY;
    bool energy = kind == LEDGER_DAY_ENERGY || kind == LEDGER_MONTH_ENERGY;
    int64_t value = -1;
    enum err_code code = money ? jsonx_get_string(c->in, field, &amount, e) :
                         jsonx_get_int(c->in, field, 0, energy ? JOULES_MAX : ADMIN_LIMIT_MAX, &value, e);
    if (!code && amount)
        code = price_parse(amount, ADMIN_LIMIT_MAX, &value, e);
    if (code || value < 0)
        return code;
    return admin_limit_set(c->store, scope, id, kind, energy ? value * 1000 : value, e);
}

static enum err_code set_limits(const struct call *c, enum ledger_scope scope, int64_t id, struct err *e)
{
    enum err_code code = ERR_OK;
    for (int k = 0; k < LEDGER_LIMITS && !code; k++)
        code = set_limit(c, scope, id, (enum ledger_limit)k, e);
    return code;
}

static enum err_code find_tenant(const struct call *c, const char *field, int64_t *id, struct err *e)
{
    const char *name = NULL;
    enum err_code code = need_text(c, field, &name, e);
    return code ? code : admin_tenant_find(c->store, name, id, e);
}

/* ---- tenant */

static enum err_code set_priority(const struct call *c, int64_t tenant, struct err *e)
{
    int64_t priority = ADMIN_PRIORITY_MAX + 1;
    enum err_code code = jsonx_get_int(c->in, "priority", -ADMIN_PRIORITY_MAX, ADMIN_PRIORITY_MAX, &priority, e);
    return code || priority > ADMIN_PRIORITY_MAX ? code : admin_tenant_priority(c->store, tenant, (int)priority, e);
}

static enum err_code tenant_add(struct call *c, struct err *e)
{
    const char *name = NULL;
    int64_t weight = 1, id = 0;
    enum err_code code = need_text(c, "name", &name, e);
    if (!code)
        code = jsonx_get_int(c->in, "weight", 1, ADMIN_WEIGHT_MAX, &weight, e);
    if (!code)
        code = admin_tenant_add(c->store, name, (int)weight, c->now_ms, &id, e);
    if (!code)
        code = set_priority(c, id, e);
    if (!code)
        code = set_limits(c, LEDGER_TENANT, id, e);
    fprintf(c->out, "{\"id\":%lld}", (long long)id);
    return code;
}

static enum err_code tenant_set(struct call *c, struct err *e)
{
    int64_t weight = 0, id = 0, team = 0;
    const char *name = NULL;
    enum err_code code = find_tenant(c, "name", &id, e);
    if (!code)
        code = jsonx_get_int(c->in, "weight", 1, ADMIN_WEIGHT_MAX, &weight, e);
    if (!code && weight)
        code = admin_tenant_weight(c->store, id, (int)weight, e);
    if (!code)
        code = set_priority(c, id, e);
    if (!code)
        code = jsonx_get_string(c->in, "team", &name, e);
    if (!code && name)
        code = admin_team_need(c->store, id, name, c->now_ms, &team, e);
    if (!code)
        code = set_limits(c, team ? LEDGER_TEAM : LEDGER_TENANT, team ? team : id, e);
    fprintf(c->out, "{\"id\":%lld}", (long long)id);
    return code;
}

static enum err_code tenant_model(struct call *c, struct err *e)
{
    const char *name = NULL;
    int64_t id = 0;
    enum err_code code = need_text(c, "model", &name, e);
    if (!code)
        code = admin_model_need(c->store, name, &id, e);
    if (!code)
        code = set_limits(c, LEDGER_MODEL, id, e);
    fprintf(c->out, "{\"id\":%lld}", (long long)id);
    return code;
}

static enum err_code tenant_list(struct call *c, struct err *e)
{
    return report_list(c->store, REPORT_TENANTS, true, c->out, e);
}

static enum err_code limits_list(struct call *c, struct err *e)
{
    return report_list(c->store, REPORT_LIMITS, true, c->out, e);
}

/* ---- key */

static enum err_code read_role(const struct call *c, enum ledger_role *out, struct err *e)
{
    const char *text = NULL;
    enum err_code code = jsonx_get_string(c->in, "role", &text, e);
    for (int i = LEDGER_USER; text && i <= LEDGER_AUDITOR; i++)
        if (!strcmp(text, ledger_role_names[i])) {
            *out = (enum ledger_role)i;
            return ERR_OK;
        }
    return code || !text ? code : err_set(e, ERR_INVALID, "'role' is user, admin or auditor");
}

static enum err_code key_add(struct call *c, struct err *e)
{
    struct admin_key k = { .name = "" };
    char text[LEDGER_KEY_CHARS + 1] = "";
    const char *team = NULL;
    int64_t id = 0, days = 0;
    enum err_code code = find_tenant(c, "tenant", &k.tenant, e);
    if (!code && !(code = jsonx_get_string(c->in, "team", &team, e)) && team)
        code = admin_team_need(c->store, k.tenant, team, c->now_ms, &k.team, e);
    if (!code)
        code = jsonx_get_string(c->in, "name", &k.name, e);
    if (!code)
        code = jsonx_get_string(c->in, "models", &k.models, e);
    if (!code)
        code = jsonx_get_string(c->in, "jurisdictions", &k.jurisdictions, e);
    if (!code)
        code = jsonx_get_int(c->in, "expires_days", 1, EXPIRES_DAYS_MAX, &days, e);
    if (!code)
        code = read_role(c, &k.role, e);
    k.expires_ms = days ? c->now_ms + days * 86400000 : 0;
    if (!code)
        code = admin_key_add(c->store, &k, c->now_ms, text, &id, e);
    if (!code)
        code = set_limits(c, LEDGER_KEY, id, e);
    fprintf(c->out, "{\"id\":%lld,\"key\":\"%s\"}", (long long)id, text);
    mem_wipe(text, sizeof text);
    return code;
}

/* "id": the key's number or the beginning the list shows. */
static enum err_code find_key(const struct call *c, int64_t *id, struct err *e)
{
    const json_t *v = json_object_get(c->in, "id");
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
    const char *which = json_is_integer(v) ? number : json_string_value(v);
    return which ? admin_key_find(c->store, which, id, e) : err_set(e, ERR_INVALID, "'id' is needed");
}

static enum err_code key_revoke(struct call *c, struct err *e)
{
    int64_t id = 0;
    enum err_code code = find_key(c, &id, e);
    if (!code)
        code = admin_key_revoke(c->store, id, c->now_ms, e);
    fprintf(c->out, "{\"id\":%lld}", (long long)id);
    return code;
}

static enum err_code key_limit(struct call *c, struct err *e)
{
    int64_t id = 0;
    enum err_code code = find_key(c, &id, e);
    if (!code)
        code = set_limits(c, LEDGER_KEY, id, e);
    fprintf(c->out, "{\"id\":%lld}", (long long)id);
    return code;
}

static enum err_code key_list(struct call *c, struct err *e)
{
    return report_list(c->store, REPORT_KEYS, true, c->out, e);
}

/* ---- usage */

static enum err_code usage_show(struct call *c, struct err *e)
{
    struct report_range r = { 0, c->now_ms + 86400000, 0 };
    const char *by = report_by_names[0], *tenant = NULL;
    int at = 0;
    enum err_code code = jsonx_get_string(c->in, "by", &by, e);
    while (!code && report_by_names[at] && strcmp(report_by_names[at], by))
        at++;
    if (!code && !report_by_names[at])
        code = err_set(e, ERR_INVALID, "'by' is tenant, team, key, model, day, month or tenant-day");
    if (!code)
        code = jsonx_get_int(c->in, "from_ms", 0, INT64_MAX / 4, &r.from_ms, e);
    if (!code)
        code = jsonx_get_int(c->in, "to_ms", 0, INT64_MAX / 4, &r.to_ms, e);
    if (!code && !(code = jsonx_get_string(c->in, "tenant", &tenant, e)) && tenant)
        code = admin_tenant_find(c->store, tenant, &r.tenant, e);
    return code ? code : report_usage(c->store, &r, (enum report_by)at, true, c->out, e);
}

static enum err_code usage_price(struct call *c, struct err *e)
{
    const char *model = NULL, *text[3] = { NULL, NULL, NULL }, *source = "";
    struct price p = { 0 };
    enum err_code code = need_text(c, "model", &model, e);
    if (!code)
        code = need_text(c, "prompt", &text[0], e);
    if (!code)
        code = need_text(c, "output", &text[2], e);
    text[1] = text[0];
    if (!code)
        code = jsonx_get_string(c->in, "cached", &text[1], e);
    if (!code)
        code = jsonx_get_string(c->in, "source", &source, e);
    int64_t *const to[3] = { &p.prompt, &p.cached, &p.output };
    for (int i = 0; i < 3 && !code; i++)
        code = price_parse(text[i], PRICE_MICROS_MAX, to[i], e);
    if (!code)
        code = admin_price_set(c->store, model, c->now_ms, &p, source, e);
    fputs("{}", c->out);
    return code;
}

static enum err_code usage_prices(struct call *c, struct err *e)
{
    return report_list(c->store, REPORT_PRICES, true, c->out, e);
}

/* ---- the table, and what all verbs share */

enum { FIELDS_MAX = 20 };
static const struct verb {
    const char *path;                  /* after /tokenworks/admin/ */
    bool reads;
    enum err_code (*run)(struct call *c, struct err *e);
    const char *fields[FIELDS_MAX];    /* it takes; ended by NULL */
} verbs[] = {
    { "tenant/list", true, tenant_list, { NULL } },
    { "tenant/limits", true, limits_list, { NULL } },
    { "tenant/add", false, tenant_add, { "name", "weight", "priority", LIMITS, NULL } },
    { "tenant/set", false, tenant_set, { "name", "team", "weight", "priority", LIMITS, NULL } },
    { "tenant/model", false, tenant_model, { "model", LIMITS, NULL } },
    { "key/list", true, key_list, { NULL } },
    { "key/limits", true, limits_list, { NULL } },
    { "key/add", false, key_add,
      { "tenant", "team", "name", "models", "jurisdictions", "role", "expires_days", LIMITS, NULL } },
    { "key/revoke", false, key_revoke, { "id", NULL } },
    { "key/limit", false, key_limit, { "id", LIMITS, NULL } },
    { "usage/show", true, usage_show, { "by", "from_ms", "to_ms", "tenant", NULL } },
    { "usage/prices", true, usage_prices, { NULL } },
    { "usage/price", false, usage_price, { "model", "prompt", "cached", "output", "source", NULL } },
};

static const struct verb *find_verb(struct http_slice path)
{
    size_t skip = strlen("/tokenworks/admin/");
    struct http_slice rest = { path.p + skip, path.n - skip };
    for (size_t i = 0; i < MEM_COUNT(verbs); i++)
        if (http_slice_is(rest, verbs[i].path))
            return &verbs[i];
    return NULL;
}

static enum err_code refuse_unknown(const struct verb *v, const json_t *in, struct err *e)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)in, name, value) {
        int i = 0;
        while (v->fields[i] && strcmp(v->fields[i], name))
            i++;
        if (!v->fields[i])
            return err_set(e, ERR_INVALID, "'%.60s' is no field of %s", name, v->path);
    }
    return ERR_OK;
}

/* All of a verb or nothing of it. */
static enum err_code run_whole(const struct verb *v, struct call *c, struct err *e)
{
    enum err_code code = refuse_unknown(v, c->in, e);
    if (!code)
        code = store_exec(c->store, "PRAGMA busy_timeout = 200", e); /* clients wait meanwhile */
    if (!code)
        code = store_exec(c->store, v->reads ? "BEGIN" : "BEGIN IMMEDIATE", e);
    if (code)
        return code;
    code = v->run(c, e);
    if (!code)
        code = store_exec(c->store, "COMMIT", e);
    if (code)
        store_exec(c->store, "ROLLBACK", NULL);
    return code;
}

static enum err_code run(const struct front *f, const struct verb *v, const json_t *in, char **text, size_t *n,
                         struct err *e)
{
    struct call c = { .in = in, .now_ms = clock_wall_ns() / 1000000, .out = open_memstream(text, n) };
    if (!c.out)
        return err_errno(e, "cannot answer");
    char *path = store_path(f->options.ledger_dir);
    enum err_code code = store_open(path, false, c.now_ms, &c.store, e);
    mem_free(path);
    if (!code) {
        code = run_whole(v, &c, e);
        store_close(c.store);
    }
    if (fclose(c.out) && !code)
        code = err_errno(e, "cannot answer");
    return code;
}

static void refuse(struct front *f, struct http_exchange *x, int status, const char *message)
{
    front_reply_error(f, x, &(struct error){ .status = status, .message = message }, NULL);
}

void answer_admin(struct front *f, struct http_exchange *x, const struct route *r)
{
    const struct http_head *h = http_request_head(x);
    const struct ledger_key *key = accounts_key(f->accounts, keys_shown(h));
    const struct verb *v = find_verb(h->path);
    struct http_slice body = http_request_body(x);
    bool posted = http_slice_is(h->method, "POST");
    if (!key || key->role == LEDGER_USER)
        refuse(f, x, 403, "this needs a key of the role admin: tokenworks key add --role admin");
    else if (!v)
        refuse(f, x, 404, "there is no such verb; docs/ledger.md lists them");
    else if (!v->reads && key->role != LEDGER_ADMIN)
        refuse(f, x, 403, "auditors may look and change nothing");
    else if (!v->reads && !posted)
        refuse(f, x, 405, "this verb changes something: POST it");
    else if (body.n > BODY_MAX)
        refuse(f, x, 413, "the body is larger than any of these verbs needs");
    else {
        struct err e = { 0 };
        char *text = NULL;
        size_t n = 0;
        json_t *in = posted ? jsonx_parse(body.p, body.n, &e) : json_object();
        enum err_code c = json_is_object(in) ? run(f, v, in, &text, &n, &e) :
                          err_set(&e, ERR_INVALID, "the body must be a JSON object");
        if (c)
            refuse(f, x, c == ERR_NOT_FOUND ? 404 : c == ERR_INVALID || c == ERR_LIMIT ? 400 : 503, e.text);
        else
            front_reply_json(f, x, 200, &(struct buf){ .data = text, .len = n });
        if (text)
            mem_wipe(text, n); /* a fresh key may be in it */
        free(text);
        json_decref(in);
    }
}
