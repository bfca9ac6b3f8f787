/* load -- the directory read from the file: tenants, teams, keys, limits, prices, and the sums of the running day and
 * month that the counters start from. One read transaction, so that all of it is of one moment. */
#include "ledger/store.h"

#include "base/mem.h"

#include <string.h>

void directory_free(struct directory *d)
{
    mem_free(d->tenants);
    mem_free(d->teams);
    mem_free(d->keys);
    mem_free(d->models);
    mem_free(d->prices);
    mem_free(d->used);
    *d = (struct directory){ 0 };
}

static void text(sqlite3_stmt *st, int column, char *out, size_t n)
{
    const char *s = (const char *)sqlite3_column_text(st, column);
    size_t len = s ? strlen(s) : 0;
    len = len < n ? len : n - 1;
    if (len)
        memcpy(out, s, len);
    out[len] = '\0';
}

typedef void row_fn(sqlite3_stmt *st, void *item);

/* Every row of a query as an item of a fresh array. */
static enum err_code read_rows(struct store *s, const char *sql, int64_t a, int64_t b, size_t size, row_fn *fill,
                               void *array, int *count, struct err *e)
{
    sqlite3_stmt *st;
    enum err_code c = store_prepare(s, sql, &st, e);
    if (c)
        return c;
    if (sqlite3_bind_parameter_count(st)) {
        sqlite3_bind_int64(st, 1, a);
        sqlite3_bind_int64(st, 2, b);
    }
    char *items = NULL;
    int n = 0, cap = 0, rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            items = mem_grow(items, (size_t)cap, size);
        }
        memset(items + (size_t)n * size, 0, size);
        fill(st, items + (size_t)n * size);
        n++;
    }
    c = rc == SQLITE_DONE ? ERR_OK : store_fault(s, "read the file", e);
    sqlite3_finalize(st);
    memcpy(array, &items, sizeof items); /* *array is some struct's pointer */
    *count = n;
    return c;
}

static void fill_tenant(sqlite3_stmt *st, void *item)
{
    struct dir_tenant *t = item;
    t->id = sqlite3_column_int64(st, 0);
    text(st, 1, t->name, sizeof t->name);
    t->weight = sqlite3_column_int(st, 2);
    t->priority = sqlite3_column_int(st, 3);
}

static void fill_team(sqlite3_stmt *st, void *item)
{
    struct dir_team *t = item;
    t->id = sqlite3_column_int64(st, 0);
    t->tenant = sqlite3_column_int64(st, 1);
    text(st, 2, t->name, sizeof t->name);
}

static void fill_key(sqlite3_stmt *st, void *item)
{
    struct dir_key *k = item;
    k->id = sqlite3_column_int64(st, 0);
    k->tenant = sqlite3_column_int64(st, 1);
    k->team = sqlite3_column_int64(st, 2);
    text(st, 3, k->name, sizeof k->name);
    if (sqlite3_column_bytes(st, 4) == LEDGER_HASH_BYTES)
        memcpy(k->hash, sqlite3_column_blob(st, 4), LEDGER_HASH_BYTES);
    int role = sqlite3_column_int(st, 5);
    k->role = role == LEDGER_ADMIN ? LEDGER_ADMIN : role == LEDGER_AUDITOR ? LEDGER_AUDITOR : LEDGER_USER;
    text(st, 6, k->models, sizeof k->models);
    text(st, 7, k->jurisdictions, sizeof k->jurisdictions);
    k->expires_ms = sqlite3_column_int64(st, 8);
    k->revoked_ms = sqlite3_column_int64(st, 9);
}

static void fill_model(sqlite3_stmt *st, void *item)
{
    struct dir_model *m = item;
    m->id = sqlite3_column_int64(st, 0);
    text(st, 1, m->name, sizeof m->name);
}

static void fill_price(sqlite3_stmt *st, void *item)
{
    struct dir_price *p = item;
    text(st, 0, p->model, sizeof p->model);
    p->from_ms = sqlite3_column_int64(st, 1);
    p->price = (struct price){ sqlite3_column_int64(st, 2), sqlite3_column_int64(st, 3), sqlite3_column_int64(st, 4) };
}

/* scope, id, then day's tokens, money, energy, then month's */
static void fill_used(sqlite3_stmt *st, void *item)
{
    struct dir_used *u = item;
    u->scope = (enum ledger_scope)sqlite3_column_int(st, 0);
    u->id = sqlite3_column_int64(st, 1);
    for (int i = 0; i < 2 * METER_KINDS; i++)
        u->used[i / METER_KINDS][i % METER_KINDS] = sqlite3_column_int64(st, 2 + i);
}

#define SUMS " sum((prompt + output) * (day = ?1)), sum(cost_micros * (day = ?1)), sum(energy_mj * (day = ?1))," \
             " sum(prompt + output), sum(cost_micros), sum(energy_mj) FROM daily "
static const char used_sql[] =
    "SELECT 0, key," SUMS "WHERE day >= ?2 GROUP BY key UNION ALL "
    "SELECT 1, team," SUMS "WHERE day >= ?2 AND team > 0 GROUP BY team UNION ALL "
    "SELECT 2, tenant," SUMS "WHERE day >= ?2 GROUP BY tenant UNION ALL "
    "SELECT 3, model.id," SUMS "JOIN model ON model.name = daily.model WHERE day >= ?2 GROUP BY model.id";

/* Limits go to their subjects: arrays are ordered by id, so are the rows. */
static struct ledger_limits *limits_of(struct directory *d, int scope, int64_t id)
{
    for (int i = 0; scope == LEDGER_KEY && i < d->key_count; i++)
        if (d->keys[i].id == id)
            return &d->keys[i].limits;
    for (int i = 0; scope == LEDGER_TEAM && i < d->team_count; i++)
        if (d->teams[i].id == id)
            return &d->teams[i].limits;
    for (int i = 0; scope == LEDGER_TENANT && i < d->tenant_count; i++)
        if (d->tenants[i].id == id)
            return &d->tenants[i].limits;
    for (int i = 0; scope == LEDGER_MODEL && i < d->model_count; i++)
        if (d->models[i].id == id)
            return &d->models[i].limits;
    return NULL;
}

static enum err_code read_limits(struct store *s, struct directory *d, struct err *e)
{
    sqlite3_stmt *st;
    enum err_code c = store_prepare(s, "SELECT scope, id, kind, value FROM limits ORDER BY scope, id", &st, e);
    if (c)
        return c;
    int rc, last_scope = -1;
    int64_t last_id = 0;
    struct ledger_limits *limits = NULL;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        int scope = sqlite3_column_int(st, 0), kind = sqlite3_column_int(st, 2);
        int64_t id = sqlite3_column_int64(st, 1);
        if (scope != last_scope || id != last_id)
            limits = limits_of(d, scope, id);
        last_scope = scope;
        last_id = id;
        if (limits && kind >= 0 && kind < LEDGER_LIMITS)
            limits->v[kind] = sqlite3_column_int64(st, 3);
    }
    c = rc == SQLITE_DONE ? ERR_OK : store_fault(s, "read the file", e);
    sqlite3_finalize(st);
    return c;
}

#define READ(sql, type, fill, field) \
    if (!c) \
        c = read_rows(s, sql, d.day, meter_day(meter_month_start_ms(d.month)), sizeof(type), fill, &d.field##s, \
                      &d.field##_count, e)

enum err_code store_load(struct store *s, int64_t now_ms, struct directory *out, struct err *e)
{
    struct directory d = { .day = meter_day(now_ms), .month = meter_month(now_ms) };
    int64_t version = 0;
    enum err_code c = store_exec(s, "BEGIN", e);
    if (c)
        return c;
    READ("SELECT id, name, weight, priority FROM tenant ORDER BY id", struct dir_tenant, fill_tenant, tenant);
    READ("SELECT id, tenant, name FROM team ORDER BY id", struct dir_team, fill_team, team);
    READ("SELECT id, tenant, team, name, hash, role, models, jurisdictions, expires_ms, revoked_ms FROM key"
         " ORDER BY id", struct dir_key, fill_key, key);
    READ("SELECT id, name FROM model ORDER BY id", struct dir_model, fill_model, model);
    READ("SELECT model, from_ms, prompt, cached, output FROM price ORDER BY model, from_ms", struct dir_price,
         fill_price, price);
    if (!c)
        c = read_rows(s, used_sql, d.day, meter_day(meter_month_start_ms(d.month)), sizeof *d.used, fill_used, &d.used,
                      &d.used_count, e);
    if (!c)
        c = read_limits(s, &d, e);
    static const char meta[] = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1";
    if (!c && !(c = store_int(s, meta, "retention_days", 0, &d.retention_days, e)) &&
        !(c = store_int(s, meta, "idle_mw", 30000, &d.idle_mw, e)))
        c = store_int(s, meta, "core_mw", 6000, &d.core_mw, e);
    if (!c)
        c = store_int(s, "PRAGMA data_version", NULL, 0, &version, e);
    sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    if (c) {
        directory_free(&d);
        return c;
    }
    s->seen_version = version;
    *out = d;
    return ERR_OK;
}
