/* carry -- see carry.h. */
#include "ledger/carry.h"

#include "base/json.h"
#include "base/mem.h"
#include "ledger/admin.h"
#include "ledger/erased.h"

#include <stdio.h>
#include <string.h>

enum { VERSION = 1 };

struct carry {
    struct store *store;
    sqlite3_stmt *next;
};

static const char next_sql[] =
    "SELECT u.id, u.request_id, t.name, coalesce(m.name, ''), coalesce(k.name, ''), u.model, u.jurisdiction, u.finish,"
    " u.started_ms, u.settled_ms, u.prompt, u.cached, u.output, u.queue_us, u.prefill_us, u.decode_us, u.kv_page_ms,"
    " u.energy_mj, u.energy_modelled, u.cost_micros, u.receipt FROM usage u JOIN tenant t ON t.id = u.tenant"
    " LEFT JOIN team m ON m.id = u.team LEFT JOIN key k ON k.id = u.key WHERE u.id > ?1 ORDER BY u.id LIMIT 1";

/* In the order of the columns above. */
static const char *const texts[] = { "request_id", "tenant", "team", "key", "model", "jurisdiction", "finish" };
static const char *const numbers[] = { "started_ms", "settled_ms", "prompt", "cached", "output", "queue_us",
                                       "prefill_us", "decode_us", "kv_page_ms", "energy_mj", "energy_modelled",
                                       "cost_micros" };
enum { REQUEST_ID, TENANT, TEAM, KEY, MODEL, JURISDICTION, FINISH, TEXTS };
enum { STARTED, SETTLED, PROMPT, CACHED, OUTPUT, QUEUE, PREFILL, DECODE, KV_PAGES, ENERGY, MODELLED, COST, NUMBERS };

enum err_code carry_open(const char *dir, bool create, int64_t now_ms, struct carry **out, struct err *e)
{
    struct carry *c = MEM_NEW(struct carry);
    char *path = store_path(dir);
    enum err_code code = store_open(path, create, now_ms, &c->store, e);
    mem_free(path);
    if (code)
        carry_close(c);
    else
        *out = c;
    return code;
}

void carry_close(struct carry *c)
{
    if (!c)
        return;
    sqlite3_finalize(c->next);
    store_close(c->store);
    mem_free(c);
}

/* ---- out */

static void write_row(sqlite3_stmt *st, struct buf *out)
{
    json_t *v = json_pack("{s:i}", "v", VERSION);
    for (int i = 0; i < TEXTS; i++)
        json_object_set_new(v, texts[i], json_string((const char *)sqlite3_column_text(st, 1 + i)));
    for (int i = 0; i < NUMBERS; i++)
        json_object_set_new(v, numbers[i], json_integer(sqlite3_column_int64(st, 1 + TEXTS + i)));
    const uint8_t *receipt = sqlite3_column_blob(st, 1 + TEXTS + NUMBERS);
    if (receipt && sqlite3_column_bytes(st, 1 + TEXTS + NUMBERS) == LEDGER_HASH_BYTES) {
        char hex[2 * LEDGER_HASH_BYTES + 1];
        for (int i = 0; i < LEDGER_HASH_BYTES; i++)
            snprintf(hex + 2 * i, 3, "%02x", receipt[i]);
        json_object_set_new(v, "receipt", json_string(hex));
    }
    jsonx_dump(v, out);
    json_decref(v);
}

enum err_code carry_next(struct carry *c, uint64_t after, uint64_t *at, char id[LEDGER_REQUEST_ID_MAX + 1],
                         struct buf *json, struct err *e)
{
    enum err_code code = c->next ? ERR_OK : store_prepare(c->store, next_sql, &c->next, e);
    if (code)
        return code;
    sqlite3_bind_int64(c->next, 1, (sqlite3_int64)after);
    int rc = sqlite3_step(c->next);
    if (rc == SQLITE_ROW) {
        *at = (uint64_t)sqlite3_column_int64(c->next, 0);
        snprintf(id, LEDGER_REQUEST_ID_MAX + 1, "%s", (const char *)sqlite3_column_text(c->next, 1));
        write_row(c->next, json);
    } else {
        code = rc == SQLITE_DONE ? err_set(e, ERR_NOT_FOUND, "no row after %llu", (unsigned long long)after)
                                 : store_fault(c->store, "read a row", e);
    }
    sqlite3_reset(c->next);
    return code;
}

enum err_code carry_last(struct carry *c, uint64_t *last, struct err *e)
{
    int64_t n = 0;
    enum err_code code = erased_last(c->store, &n, e);
    *last = (uint64_t)n;
    return code;
}

/* ---- in */

static bool unhex(const char *text, uint8_t out[LEDGER_HASH_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(text) != 2 * LEDGER_HASH_BYTES || strspn(text, digits) != 2 * LEDGER_HASH_BYTES)
        return false;
    for (int i = 0; i < LEDGER_HASH_BYTES; i++)
        out[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 | (strchr(digits, text[2 * i + 1]) - digits));
    return true;
}

/* The fields, checked; text[] is borrowed from v. */
static enum err_code read_row(const json_t *v, const char *text[TEXTS], int64_t number[NUMBERS], struct err *e)
{
    static const int most[TEXTS] = { LEDGER_REQUEST_ID_MAX, LEDGER_NAME_MAX, LEDGER_NAME_MAX, LEDGER_NAME_MAX,
                                     LEDGER_NAME_MAX, LEDGER_JURISDICTION_MAX, STORE_FINISH_MAX - 1 };
    int64_t version = 0;
    enum err_code c = jsonx_get_int(v, "v", 0, INT64_MAX, &version, e);
    if (!c && version != VERSION)
        c = err_set(e, ERR_INVALID, "a carried row is of version %d, not %lld", VERSION, (long long)version);
    for (int i = 0; i < TEXTS && !c; i++) {
        text[i] = "";
        c = jsonx_get_string(v, texts[i], &text[i], e);
        bool needed = i == REQUEST_ID || i == TENANT || i == MODEL;
        if (!c && ((needed && !*text[i]) || strlen(text[i]) > (size_t)most[i]))
            c = err_set(e, ERR_INVALID, "a carried row's %s is missing or too long", texts[i]);
    }
    for (int i = 0; i < NUMBERS && !c; i++) {
        number[i] = 0;
        c = jsonx_get_int(v, numbers[i], 0, INT64_MAX / 4, &number[i], e);
    }
    if (!c && number[CACHED] > number[PROMPT])
        c = err_set(e, ERR_INVALID, "a carried row has more cached tokens than the prompt");
    return c;
}

/* The tenant and team of these names, made where they are missing. */
static enum err_code find_owner(struct store *s, const char *tenant, const char *team, int64_t now_ms,
                                int64_t *tenant_id, int64_t *team_id, struct err *e)
{
    enum err_code c = store_int(s, "SELECT id FROM tenant WHERE name = ?1", tenant, 0, tenant_id, e);
    if (!c && !*tenant_id)
        c = admin_tenant_add(s, tenant, 1, now_ms, tenant_id, e);
    if (!c && *team)
        c = admin_team_need(s, *tenant_id, team, now_ms, team_id, e);
    return c;
}

static enum err_code insert(struct store *s, const char *text[TEXTS], const int64_t n[NUMBERS], const uint8_t *receipt,
                            const int64_t owner[3], bool *fresh, struct err *e)
{
    struct usage_row *r = MEM_NEW(struct usage_row), *rows[1] = { r };
    *r = (struct usage_row){
        .settled = { .booking = { .tenant = owner[0], .team = owner[1], .key = owner[2], .started_ms = n[STARTED] },
                     .settled_ms = n[SETTLED], .cost_micros = n[COST] },
        .use = { .prompt_tokens = n[PROMPT], .cached_tokens = n[CACHED], .output_tokens = n[OUTPUT],
                 .queue_us = n[QUEUE], .prefill_us = n[PREFILL], .decode_us = n[DECODE], .kv_page_ms = n[KV_PAGES],
                 .energy_modelled = n[MODELLED] != 0 },
        .has_receipt = receipt != NULL };
    r->settled.used.v[METER_ENERGY] = n[ENERGY];
    snprintf(r->settled.booking.request_id, sizeof r->settled.booking.request_id, "%s", text[REQUEST_ID]);
    snprintf(r->settled.booking.model, sizeof r->settled.booking.model, "%s", text[MODEL]);
    snprintf(r->finish, sizeof r->finish, "%s", text[FINISH]);
    snprintf(r->jurisdiction, sizeof r->jurisdiction, "%s", text[JURISDICTION]);
    if (receipt)
        memcpy(r->receipt, receipt, sizeof r->receipt);
    enum err_code c = store_insert(s, rows, 1, e);
    *fresh = !c && !r->duplicate;
    mem_free(r);
    return c;
}

enum err_code carry_take(struct carry *c, const char *json, size_t n, int64_t now_ms, bool *fresh, struct err *e)
{
    const char *text[TEXTS], *hex = NULL;
    int64_t number[NUMBERS], owner[3] = { 0 };
    uint8_t receipt[LEDGER_HASH_BYTES];
    char sql[96];
    json_t *v = jsonx_parse(json, n, e);
    enum err_code code = json_is_object(v) ? read_row(v, text, number, e)
                                           : err_set(e, ERR_INVALID, "a carried row is no JSON object");
    code = code ? code : jsonx_get_string(v, "receipt", &hex, e);
    if (!code && hex && !unhex(hex, receipt))
        code = err_set(e, ERR_INVALID, "a carried row's receipt is no SHA-256");
    code = code ? code : erased_check(c->store, text[TENANT], number[SETTLED], e);
    code = code ? code : find_owner(c->store, text[TENANT], text[TEAM], now_ms, &owner[0], &owner[1], e);
    snprintf(sql, sizeof sql, "SELECT id FROM key WHERE name = ?1 AND tenant = %lld", (long long)owner[0]);
    if (!code && *text[KEY])
        code = store_int(c->store, sql, text[KEY], 0, &owner[2], e);
    code = code ? code : insert(c->store, text, number, hex ? receipt : NULL, owner, fresh, e);
    json_decref(v);
    return code;
}
