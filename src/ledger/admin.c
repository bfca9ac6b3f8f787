/* admin -- see admin.h. */
#include "ledger/admin.h"

#include "base/mem.h"
#include "ledger/erased.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EMPTY_LOG_TRIES = 5 }; /* each waits for SQLite's busy timeout */

static enum err_code check_name(const char *what, const char *name, struct err *e)
{
    size_t n = strlen(name);
    bool ok = n >= 1 && n <= LEDGER_NAME_MAX;
    for (size_t i = 0; i < n; i++)
        ok &= (unsigned char)name[i] >= 0x20 && name[i] != 0x7F;
    return ok ? ERR_OK :
           err_set(e, ERR_INVALID, "a %s's name must have 1 to %d printable bytes", what, LEDGER_NAME_MAX);
}

/* Runs one statement with up to two texts (?1, ?2) and integers (?3 on). */
static enum err_code change(struct store *s, const char *sql, const char *a, const char *b, const int64_t *v, int count,
                            struct err *e)
{
    sqlite3_stmt *st;
    enum err_code c = store_prepare(s, sql, &st, e);
    if (c)
        return c;
    if (a)
        sqlite3_bind_text(st, 1, a, -1, SQLITE_STATIC);
    if (b)
        sqlite3_bind_text(st, 2, b, -1, SQLITE_STATIC);
    for (int i = 0; i < count; i++)
        sqlite3_bind_int64(st, 3 + i, v[i]);
    c = store_step_done(s, st, "change the ledger", e);
    sqlite3_finalize(st);
    return c;
}

/* ---- tenants, teams, models */

enum err_code admin_tenant_find(struct store *s, const char *name, int64_t *id, struct err *e)
{
    int64_t found;
    enum err_code c = store_int(s, "SELECT id FROM tenant WHERE name = ?1", name, 0, &found, e);
    if (!c && !found)
        c = err_set(e, ERR_NOT_FOUND, "there is no tenant '%s'; 'tokenworks tenant list' shows them", name);
    if (!c)
        *id = found;
    return c;
}

static enum err_code check_weight(int weight, struct err *e)
{
    return weight >= 1 && weight <= ADMIN_WEIGHT_MAX ? ERR_OK :
           err_set(e, ERR_INVALID, "a weight must be between 1 and %d", ADMIN_WEIGHT_MAX);
}

enum err_code admin_tenant_add(struct store *s, const char *name, int weight, int64_t now_ms, int64_t *id,
                               struct err *e)
{
    int64_t found = 0;
    enum err_code c = check_name("tenant", name, e);
    if (!c)
        c = check_weight(weight, e);
    if (!c)
        c = store_int(s, "SELECT id FROM tenant WHERE name = ?1", name, 0, &found, e);
    if (!c && found)
        c = err_set(e, ERR_INVALID, "the tenant '%s' exists already", name);
    if (!c)
        c = change(s, "INSERT INTO tenant(name, weight, created_ms) VALUES(?1, ?3, ?4)", name, NULL,
                   (int64_t[]){ weight, now_ms }, 2, e);
    if (!c)
        *id = sqlite3_last_insert_rowid(s->db);
    return c;
}

enum err_code admin_tenant_weight(struct store *s, int64_t id, int weight, struct err *e)
{
    enum err_code c = check_weight(weight, e);
    const int64_t v[] = { weight, id };
    return c ? c : change(s, "UPDATE tenant SET weight = ?3 WHERE id = ?4", NULL, NULL, v, 2, e);
}

enum err_code admin_tenant_priority(struct store *s, int64_t id, int priority, struct err *e)
{
    const int64_t v[] = { priority, id };
    return change(s, "UPDATE tenant SET priority = ?3 WHERE id = ?4", NULL, NULL, v, 2, e);
}

enum err_code admin_team_need(struct store *s, int64_t tenant, const char *name, int64_t now_ms, int64_t *id,
                              struct err *e)
{
    char sql[96];
    enum err_code c = check_name("team", name, e);
    if (!c)
        c = change(s, "INSERT INTO team(name, tenant, created_ms) VALUES(?1, ?3, ?4) ON CONFLICT DO NOTHING", name,
                   NULL, (int64_t[]){ tenant, now_ms }, 2, e);
    snprintf(sql, sizeof sql, "SELECT id FROM team WHERE name = ?1 AND tenant = %lld", (long long)tenant);
    return c ? c : store_int(s, sql, name, 0, id, e);
}

enum err_code admin_model_need(struct store *s, const char *name, int64_t *id, struct err *e)
{
    enum err_code c = check_name("model", name, e);
    if (!c)
        c = change(s, "INSERT INTO model(name) VALUES(?1) ON CONFLICT DO NOTHING", name, NULL, NULL, 0, e);
    return c ? c : store_int(s, "SELECT id FROM model WHERE name = ?1", name, 0, id, e);
}

/* ---- keys */

/* "a, b" -> "a b" */
static enum err_code make_list(const char *what, const char *from, char *out, struct err *e)
{
    size_t n = 0;
    out[0] = '\0';
    for (const char *p = from ? from : ""; *p;) {
        p += strspn(p, ", ");
        size_t len = strcspn(p, ", ");
        if (n + len + 1 > DIRECTORY_LIST_MAX)
            return err_set(e, ERR_INVALID, "the list of %s is longer than %d bytes", what, DIRECTORY_LIST_MAX);
        if (len && n)
            out[n++] = ' ';
        memcpy(out + n, p, len);
        n += len;
        out[n] = '\0';
        p += len;
    }
    return ERR_OK;
}

/* In place, to one spelling. */
static enum err_code check_places(char *list, struct err *e)
{
    for (char *p = list; *p;) {
        size_t n = strcspn(p, " ");
        char place[LEDGER_JURISDICTION_MAX + 1];
        if (!ledger_place(p, n, place, sizeof place))
            return err_set(e, ERR_INVALID, "'%.*s' is no jurisdiction: write a country's two letters, like DE, or a "
                           "part of it, like DE-BY", (int)(n < 40 ? n : 40), p);
        memcpy(p, place, n);
        p += n + strspn(p + n, " ");
    }
    return ERR_OK;
}

static enum err_code insert_key(struct store *s, const struct admin_key *k, const char *models, const char *places,
                                const char *text, const uint8_t *hash, int64_t now_ms, struct err *e)
{
    sqlite3_stmt *st;
    enum err_code c = store_prepare(s, "INSERT INTO key(tenant, team, name, hash, hint, role, models, jurisdictions,"
                                    " created_ms, expires_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)", &st, e);
    if (c)
        return c;
    sqlite3_bind_int64(st, 1, k->tenant);
    sqlite3_bind_int64(st, 2, k->team);
    sqlite3_bind_text(st, 3, k->name, -1, SQLITE_STATIC);
    sqlite3_bind_blob(st, 4, hash, LEDGER_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(st, 5, text, ADMIN_HINT_BYTES, SQLITE_TRANSIENT);
    sqlite3_bind_int(st, 6, (int)k->role);
    sqlite3_bind_text(st, 7, models, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 8, places, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 9, now_ms);
    sqlite3_bind_int64(st, 10, k->expires_ms);
    c = store_step_done(s, st, "add the key", e);
    sqlite3_finalize(st);
    return c;
}

enum err_code admin_key_add(struct store *s, const struct admin_key *k, int64_t now_ms,
                            char text[LEDGER_KEY_CHARS + 1], int64_t *id, struct err *e)
{
    char models[DIRECTORY_LIST_MAX + 1], places[DIRECTORY_LIST_MAX + 1], fresh[LEDGER_KEY_CHARS + 1];
    uint8_t hash[LEDGER_HASH_BYTES];
    if (*k->name && check_name("key", k->name, e))
        return ERR_INVALID;
    if (make_list("models", k->models, models, e) || make_list("jurisdictions", k->jurisdictions, places, e) ||
        check_places(places, e))
        return ERR_INVALID;
    if (k->expires_ms && k->expires_ms <= now_ms)
        return err_set(e, ERR_INVALID, "the key would have expired already; give a date in the future");
    ledger_key_make(fresh, hash);
    enum err_code c = insert_key(s, k, models, places, fresh, hash, now_ms, e);
    if (!c) {
        *id = sqlite3_last_insert_rowid(s->db);
        memcpy(text, fresh, sizeof fresh);
    }
    mem_wipe(fresh, sizeof fresh);
    return c;
}

enum err_code admin_key_find(struct store *s, const char *which, int64_t *id, struct err *e)
{
    char start[ADMIN_HINT_BYTES + 1], *end;
    int64_t number = strtoll(which, &end, 10), count = 0, found = 0;
    enum err_code c;
    if (*which && !*end) {
        char digits[24];
        snprintf(digits, sizeof digits, "%lld", (long long)number);
        c = store_int(s, "SELECT id FROM key WHERE id = CAST(?1 AS INTEGER)", digits, 0, &found, e);
    } else {
        snprintf(start, sizeof start, "%s", which);
        c = store_int(s, "SELECT count(*) FROM key WHERE hint = ?1", start, 0, &count, e);
        if (!c)
            c = store_int(s, "SELECT id FROM key WHERE hint = ?1", start, 0, &found, e);
    }
    if (!c && count > 1)
        c = err_set(e, ERR_INVALID, "%lld keys begin with '%s'; give the number that 'tokenworks key list' shows",
                    (long long)count, start);
    else if (!c && !found)
        c = err_set(e, ERR_NOT_FOUND, "there is no such key; 'tokenworks key list' shows their numbers");
    if (!c)
        *id = found;
    return c;
}

enum err_code admin_key_revoke(struct store *s, int64_t id, int64_t now_ms, struct err *e)
{
    enum err_code c = change(s, "UPDATE key SET revoked_ms = ?3 WHERE id = ?4 AND revoked_ms = 0", NULL, NULL,
                             (int64_t[]){ now_ms, id }, 2, e);
    if (!c && !sqlite3_changes(s->db))
        c = err_set(e, ERR_INVALID, "the key %lld was revoked before", (long long)id);
    return c;
}

/* ---- limits and prices */

enum err_code admin_limit_set(struct store *s, enum ledger_scope scope, int64_t id, enum ledger_limit kind,
                              int64_t value, struct err *e)
{
    const int64_t v[] = { scope, id, kind, value };
    if (value < 0 || value > ADMIN_LIMIT_MAX)
        return err_set(e, ERR_INVALID, "a limit of %s must be between 0 (none) and %lld", ledger_limit_names[kind],
                       (long long)ADMIN_LIMIT_MAX);
    if (!value)
        return change(s, "DELETE FROM limits WHERE scope = ?3 AND id = ?4 AND kind = ?5", NULL, NULL, v, 3, e);
    return change(s, "INSERT INTO limits VALUES(?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET value = excluded.value", NULL,
                  NULL, v, 4, e);
}

enum err_code admin_price_set(struct store *s, const char *model, int64_t from_ms, const struct price *p,
                              const char *source, struct err *e)
{
    const int64_t v[] = { from_ms, p->prompt, p->cached, p->output };
    enum err_code c = check_name("model", model, e);
    for (int i = 1; i < 4 && !c; i++)
        if (v[i] < 0 || v[i] > PRICE_MICROS_MAX)
            c = err_set(e, ERR_INVALID, "a price must be between 0 and %lld for a million tokens",
                        (long long)(PRICE_MICROS_MAX / 1000000));
    return c ? c : change(s, "INSERT INTO price(model, source, from_ms, prompt, cached, output)"
                          " VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET prompt = excluded.prompt,"
                          " cached = excluded.cached, output = excluded.output, source = excluded.source",
                          model, source, v, 4, e);
}

enum err_code admin_currency_set(struct store *s, const char *currency, struct err *e)
{
    int64_t billed = 0;
    bool ok = strlen(currency) == 3;
    for (int i = 0; ok && i < 3; i++)
        ok = currency[i] >= 'A' && currency[i] <= 'Z';
    if (!ok)
        return err_set(e, ERR_INVALID, "a currency is three capital letters (ISO 4217), like EUR");
    enum err_code c = store_int(s, "SELECT 1 FROM daily WHERE cost_micros > 0 LIMIT 1", NULL, 0, &billed, e);
    if (!c && billed)
        c = err_set(e, ERR_INVALID, "something was billed already: the currency can no longer change");
    return c ? c : change(s, "UPDATE meta SET value = ?1 WHERE name = 'currency'", currency, NULL, NULL, 0, e);
}

/* ---- retention, erasure, proof */

enum err_code admin_purge_step(struct store *s, int64_t before_day, int64_t *rows, struct err *e)
{
    const int64_t v[] = { before_day * 86400000, ADMIN_PURGE_STEP, erased_sent(s) };
    enum err_code c = store_exec(s, "BEGIN IMMEDIATE", e);
    if (c)
        return c;
    /* first say that these days' rows are incomplete, then delete: admin_verify looks at later days only */
    c = change(s, "UPDATE meta SET value = max(CAST(value AS INTEGER), ?3) WHERE name = 'purged_before_day'", NULL,
               NULL, &before_day, 1, e);
    c = c ? c : erased_keep_last(s, e);
    if (!c)
        c = change(s, "DELETE FROM usage WHERE id IN (SELECT id FROM usage WHERE settled_ms < ?3 AND id <= ?5"
                   " LIMIT ?4)", NULL, NULL, v, 3, e);
    int64_t gone = sqlite3_changes64(s->db);
    if (!c)
        c = store_exec(s, "COMMIT", e);
    if (c)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    else
        *rows = gone;
    return c;
}

enum err_code admin_purge(struct store *s, int64_t before_day, int64_t *rows, struct err *e)
{
    int64_t all = 0, gone = ADMIN_PURGE_STEP;
    while (gone == ADMIN_PURGE_STEP) {
        enum err_code c = admin_purge_step(s, before_day, &gone, e);
        if (c)
            return c;
        all += gone;
    }
    *rows = all;
    return ERR_OK;
}

static enum err_code set_number(struct store *s, const char *name, int64_t value, struct err *e)
{
    return change(s, "INSERT INTO meta VALUES(?1, ?3) ON CONFLICT DO UPDATE SET value = excluded.value", name, NULL,
                  &value, 1, e);
}

enum err_code admin_retention_set(struct store *s, int64_t days, struct err *e)
{
    if (days < 0 || days > ADMIN_RETENTION_MAX)
        return err_set(e, ERR_INVALID, "rows are kept for 1 to %d days, or 0 for ever", ADMIN_RETENTION_MAX);
    return set_number(s, "retention_days", days, e);
}

enum err_code admin_machine_set(struct store *s, int64_t idle_mw, int64_t core_mw, struct err *e)
{
    if (idle_mw < 0 || core_mw < 0 || idle_mw > 100000000 || core_mw > 100000000)
        return err_set(e, ERR_INVALID, "a machine draws between 0 and 100000 watts");
    enum err_code c = set_number(s, "idle_mw", idle_mw, e);
    return c ? c : set_number(s, "core_mw", core_mw, e);
}

/* secure_delete has zeroed the pages; the write-ahead log still holds what they held until it is emptied. */
static enum err_code rewrite_file(struct store *s, struct err *e)
{
    int64_t busy = 1;
    enum err_code c = store_exec(s, "VACUUM", e);
    for (int i = 0; i < EMPTY_LOG_TRIES && !c && busy; i++)
        c = store_int(s, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, 1, &busy, e);
    if (!c && busy)
        c = err_set(e, ERR_BUSY, "erased, but another process keeps the old log (%s-wal) in use; say it again later",
                    sqlite3_db_filename(s->db, "main"));
    return c;
}

enum err_code admin_tenant_erase(struct store *s, int64_t id, int64_t now_ms, struct err *e)
{
    static const char *const steps[] = {
        "DELETE FROM usage WHERE tenant = ?3",
        ("UPDATE key SET revoked_ms = CASE revoked_ms WHEN 0 THEN ?4 ELSE revoked_ms END, name = '', hint = '',"
         " hash = randomblob(32), models = '', jurisdictions = '' WHERE tenant = ?3"),
        "UPDATE team SET name = 'erased-' || id WHERE tenant = ?3",
        "UPDATE tenant SET name = 'erased-' || id, erased_ms = ?4 WHERE id = ?3",
    };
    if (id == 1)
        return err_set(e, ERR_INVALID, "the tenant of requests without a key cannot be erased; use 'usage purge'");
    enum err_code c = store_exec(s, "BEGIN IMMEDIATE", e);
    if (c)
        return c;
    c = erased_keep_last(s, e);
    c = c ? c : erased_keep_tenant(s, id, now_ms, e);
    for (size_t i = 0; i < MEM_COUNT(steps) && !c; i++)
        c = change(s, steps[i], NULL, NULL, (int64_t[]){ id, now_ms }, strstr(steps[i], "?4") ? 2 : 1, e);
    if (!c)
        c = store_exec(s, "COMMIT", e);
    if (c)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return c ? c : rewrite_file(s, e);
}

static const char wrong_sql[] =
    "WITH kept AS (SELECT CAST(value AS INTEGER) AS day FROM meta WHERE name = 'purged_before_day'),"
    " sums AS (SELECT settled_ms / 86400000 AS day, tenant, key, model, count(*), sum(prompt), sum(cached),"
    "  sum(output), sum(cost_micros), sum(energy_mj) FROM usage"
    "  WHERE settled_ms >= (SELECT day FROM kept) * 86400000 GROUP BY 1, 2, 3, 4),"
    " book AS (SELECT day, tenant, key, model, requests, prompt, cached, output, cost_micros, energy_mj FROM daily"
    "  WHERE day >= (SELECT day FROM kept) AND tenant NOT IN (SELECT id FROM tenant WHERE erased_ms > 0))"
    "SELECT (SELECT count(*) FROM (SELECT * FROM sums EXCEPT SELECT * FROM book)) +"
    " (SELECT count(*) FROM (SELECT * FROM book EXCEPT SELECT * FROM sums))";

enum err_code admin_verify(struct store *s, struct admin_check *out, struct err *e)
{
    struct admin_check k = { 0 };
    enum err_code c = store_exec(s, "BEGIN", e);
    if (c)
        return c;
    c = store_int(s, "SELECT count(*) FROM usage", NULL, 0, &k.rows, e);
    if (!c)
        c = store_int(s, "SELECT sum(requests) FROM daily", NULL, 0, &k.requests, e);
    if (!c)
        c = store_int(s, "SELECT sum(cost_micros) FROM usage", NULL, 0, &k.cost_micros, e);
    if (!c)
        c = store_int(s, wrong_sql, NULL, 0, &k.wrong, e);
    sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    if (!c)
        *out = k;
    return c;
}
