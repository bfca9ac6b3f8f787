/* erased -- see erased.h. */
#include "ledger/erased.h"

#include "base/file.h"
#include "base/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MARK_MAX = 64, TOMB_MAX = 80 };

enum err_code erased_last(struct store *s, int64_t *last, struct err *e)
{
    return store_int(s, "SELECT " ERASED_NEXT_SQL " - 1", NULL, 0, last, e);
}

static void mark_path(const struct store *s, struct buf *out)
{
    const char *db = sqlite3_db_filename(s->db, "main"), *slash = strrchr(db, '/');
    buf_printf(out, "%.*s%s", slash ? (int)(slash - db + 1) : 0, db, CARRY_MARK_FILE);
}

int64_t erased_sent(const struct store *s)
{
    struct buf path = { 0 }, text = { 0 };
    struct err e = { .text = "" };
    mark_path(s, &path);
    enum err_code c = file_read(buf_str(&path), MARK_MAX, &text, &e);
    int64_t sent = !c ? strtoll(buf_str(&text), NULL, 10) : access(buf_str(&path), F_OK) ? INT64_MAX : 0;
    buf_release(&path);
    buf_release(&text);
    return sent < 0 ? 0 : sent;
}

enum err_code erased_keep_last(struct store *s, struct err *e)
{
    return store_exec(s, "INSERT INTO meta SELECT 'usage_last', " ERASED_NEXT_SQL " - 1 WHERE true"
                      " ON CONFLICT(name) DO UPDATE SET value = excluded.value", e);
}

/* The name of the row in meta that remembers it: "erased:" and hex; "" while nobody was ever erased, so no salt is. */
static enum err_code tomb_of(struct store *s, const char *tenant, char out[TOMB_MAX], struct err *e)
{
    sqlite3_stmt *st;
    out[0] = '\0';
    enum err_code c = store_prepare(s, "SELECT value FROM meta WHERE name = 'erased_salt'", &st, e);
    if (c)
        return c;
    if (sqlite3_step(st) == SQLITE_ROW) {
        const char *salt = (const char *)sqlite3_column_text(st, 0);
        uint8_t digest[SHA256_BYTES];
        char hex[SHA256_HEX_MAX];
        struct sha256 h;
        sha256_init(&h);
        sha256_update(&h, salt, strlen(salt) + 1);
        sha256_update(&h, tenant, strlen(tenant));
        sha256_final(&h, digest);
        sha256_hex(digest, hex);
        snprintf(out, TOMB_MAX, "erased:%.64s", hex);
    }
    sqlite3_finalize(st);
    return c;
}

/* The tenant's name; "" when there is none of that number. */
static enum err_code name_of(struct store *s, int64_t id, char out[LEDGER_NAME_MAX + 1], struct err *e)
{
    sqlite3_stmt *st;
    enum err_code c = store_prepare(s, "SELECT name FROM tenant WHERE id = ?1", &st, e);
    if (c)
        return c;
    out[0] = '\0';
    sqlite3_bind_int64(st, 1, id);
    if (sqlite3_step(st) == SQLITE_ROW)
        snprintf(out, LEDGER_NAME_MAX + 1, "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return ERR_OK;
}

enum err_code erased_keep_tenant(struct store *s, int64_t id, int64_t now_ms, struct err *e)
{
    char sql[256], name[LEDGER_NAME_MAX + 1], tomb[TOMB_MAX];
    int64_t unsent = 0, sent = erased_sent(s);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM usage WHERE tenant = %lld AND id > %lld", (long long)id,
             (long long)sent);
    enum err_code c = store_int(s, sql, NULL, 0, &unsent, e);
    if (!c && unsent)
        c = err_set(e, ERR_BUSY, "%lld requests of it have not reached the fleet's book yet, and would never: run this "
                    "gateway while its bus is there, or delete %s beside the ledger to leave them out",
                    (long long)unsent, CARRY_MARK_FILE);
    c = c ? c : name_of(s, id, name, e);
    if (c || !strncmp(name, "erased-", 7))
        return c;
    c = store_exec(s, "INSERT OR IGNORE INTO meta VALUES('erased_salt', hex(randomblob(16)))", e);
    c = c ? c : tomb_of(s, name, tomb, e);
    snprintf(sql, sizeof sql, "INSERT INTO meta VALUES('%s', %lld) ON CONFLICT(name) DO UPDATE SET value ="
             " excluded.value", c ? "" : tomb, (long long)now_ms);
    return c ? c : store_exec(s, sql, e);
}

enum err_code erased_check(struct store *s, const char *tenant, int64_t settled_ms, struct err *e)
{
    char tomb[TOMB_MAX];
    int64_t erased_ms = -1, purged = 0;
    enum err_code c = store_int(s, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'purged_before_day'", NULL, 0,
                                &purged, e);
    c = c ? c : tomb_of(s, tenant, tomb, e);
    c = c ? c : store_int(s, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1", tomb, -1, &erased_ms, e);
    if (c)
        return c;
    if (settled_ms <= erased_ms)
        return err_set(e, ERR_INVALID, "its tenant was erased here after it: it does not come back");
    if (meter_day(settled_ms) < purged)
        return err_set(e, ERR_INVALID, "its day was purged here, so that nobody can tell whether it was billed; its "
                       "gateway's ledger has it");
    return ERR_OK;
}
