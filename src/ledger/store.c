/* store -- see store.h. */
#include "ledger/store.h"

#include "base/file.h"
#include "base/mem.h"
#include "ledger/erased.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BUSY_WAIT_MS = 10000, APPLICATION_ID = 0x74776c67 /* "twlg" */ };

static const char schema[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE tenant(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, weight INTEGER NOT NULL,"
    "  created_ms INTEGER NOT NULL, erased_ms INTEGER NOT NULL DEFAULT 0, priority INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE team(id INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL REFERENCES tenant,"
    "  name TEXT NOT NULL, created_ms INTEGER NOT NULL, UNIQUE(tenant, name));"
    "CREATE TABLE model(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE key(id INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL REFERENCES tenant,"
    "  team INTEGER NOT NULL DEFAULT 0, name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE CHECK(length(hash) = 32),"
    "  hint TEXT NOT NULL, role INTEGER NOT NULL, models TEXT NOT NULL, jurisdictions TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE limits(scope INTEGER NOT NULL, id INTEGER NOT NULL, kind INTEGER NOT NULL, value INTEGER NOT NULL"
    "  CHECK(value > 0), PRIMARY KEY(scope, id, kind)) WITHOUT ROWID;"
    "CREATE TABLE price(model TEXT NOT NULL, from_ms INTEGER NOT NULL, prompt INTEGER NOT NULL,"
    "  cached INTEGER NOT NULL, output INTEGER NOT NULL, source TEXT NOT NULL, PRIMARY KEY(model, from_ms))"
    "  WITHOUT ROWID;"
    "CREATE TABLE usage(id INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, started_ms INTEGER NOT NULL,"
    "  settled_ms INTEGER NOT NULL, tenant INTEGER NOT NULL, team INTEGER NOT NULL, key INTEGER NOT NULL,"
    "  model TEXT NOT NULL, prompt INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL,"
    "  queue_us INTEGER NOT NULL, prefill_us INTEGER NOT NULL, decode_us INTEGER NOT NULL,"
    "  kv_page_ms INTEGER NOT NULL, energy_mj INTEGER NOT NULL, energy_modelled INTEGER NOT NULL,"
    "  cost_micros INTEGER NOT NULL, finish TEXT NOT NULL, jurisdiction TEXT NOT NULL, receipt BLOB);"
    "CREATE TABLE daily(day INTEGER NOT NULL, tenant INTEGER NOT NULL, team INTEGER NOT NULL, key INTEGER NOT NULL,"
    "  model TEXT NOT NULL, requests INTEGER NOT NULL, prompt INTEGER NOT NULL, cached INTEGER NOT NULL,"
    "  output INTEGER NOT NULL, cost_micros INTEGER NOT NULL, energy_mj INTEGER NOT NULL,"
    "  PRIMARY KEY(day, tenant, key, model)) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('currency', 'EUR'), ('purged_before_day', '0'), ('retention_days', '0'),"
    " ('idle_mw', '30000'), ('core_mw', '6000');";

enum err_code store_fault(struct store *s, const char *what, struct err *e)
{
    int rc = sqlite3_extended_errcode(s->db);
    enum err_code code = (rc & 0xFF) == SQLITE_BUSY || (rc & 0xFF) == SQLITE_LOCKED ? ERR_BUSY :
                         (rc & 0xFF) == SQLITE_CORRUPT || (rc & 0xFF) == SQLITE_NOTADB ? ERR_CORRUPT :
                         (rc & 0xFF) == SQLITE_CONSTRAINT ? ERR_INVALID : ERR_IO;
    return err_set(e, code, "ledger: cannot %s: %s", what, sqlite3_errmsg(s->db));
}

enum err_code store_exec(struct store *s, const char *sql, struct err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : store_fault(s, "change the file", e);
}

enum err_code store_prepare(struct store *s, const char *sql, sqlite3_stmt **out, struct err *e)
{
    return sqlite3_prepare_v2(s->db, sql, -1, out, NULL) == SQLITE_OK ? ERR_OK : store_fault(s, "read the file", e);
}

enum err_code store_step_done(struct store *s, sqlite3_stmt *st, const char *what, struct err *e)
{
    int rc = sqlite3_step(st);
    enum err_code c = rc == SQLITE_DONE || rc == SQLITE_ROW ? ERR_OK : store_fault(s, what, e);
    sqlite3_reset(st);
    return c;
}

enum err_code store_int(struct store *s, const char *sql, const char *text, int64_t none, int64_t *out, struct err *e)
{
    sqlite3_stmt *st;
    if (store_prepare(s, sql, &st, e))
        return e ? e->code : ERR_IO;
    if (text)
        sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
    int rc = sqlite3_step(st);
    enum err_code c = rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : store_fault(s, "read the file", e);
    if (!c)
        *out = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : none;
    sqlite3_finalize(st);
    return c;
}

/* ---- opening */

char *store_path(const char *dir)
{
    struct buf b = { 0 };
    buf_printf(&b, "%s/ledger.db", dir);
    return buf_take(&b);
}

static enum err_code make_schema(struct store *s, int64_t now_ms, struct err *e)
{
    struct buf b = { 0 };
    buf_printf(&b, "%s INSERT INTO tenant VALUES(1, 'local', 1, %lld, 0, 0);"
               " PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;", schema, (long long)now_ms,
               APPLICATION_ID, STORE_VERSION);
    enum err_code c = store_exec(s, buf_str(&b), e);
    if (c)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    buf_release(&b);
    return c;
}

/* A file of an older version: brought to this one in the transaction that found it. */
static enum err_code upgrade(struct store *s, struct err *e)
{
    enum err_code c = store_exec(s, "ALTER TABLE tenant ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;"
                                 "PRAGMA user_version = 2; COMMIT;", e);
    if (c)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return c;
}

/* Makes the schema in an empty file; two processes that start at once are told apart by the write lock. */
static enum err_code check_schema(struct store *s, const char *path, int64_t now_ms, struct err *e)
{
    int64_t version = 0, application = 0, tables = 0;
    enum err_code c;
    if ((c = store_exec(s, "BEGIN IMMEDIATE", e)) != ERR_OK)
        return c;
    if (!(c = store_int(s, "PRAGMA user_version", NULL, 0, &version, e)) &&
        !(c = store_int(s, "PRAGMA application_id", NULL, 0, &application, e)))
        c = store_int(s, "SELECT count(*) FROM sqlite_schema", NULL, 0, &tables, e);
    if (!c && !version && !tables)
        return make_schema(s, now_ms, e);
    if (!c && version == 1 && application == APPLICATION_ID)
        return upgrade(s, e);
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    if (!c && application != APPLICATION_ID)
        c = err_set(e, ERR_INVALID, "%s is no ledger of this program; move it away", path);
    else if (!c && version > STORE_VERSION)
        c = err_set(e, ERR_UNSUPPORTED, "%s was written by a newer version (format %lld, this one knows %d); use that "
                    "version", path, (long long)version, STORE_VERSION);
    return c;
}

/* SQLite would make the file with mode 0644. A file that exists is not opened here: closing any descriptor of it would
 * drop the locks that other connections of this process hold. */
static enum err_code need_file(const char *path, bool create, struct err *e)
{
    if (!access(path, F_OK))
        return ERR_OK;
    if (!create)
        return err_set(e, ERR_NOT_FOUND, "%s: there is no ledger yet; 'tokenworks tenant add' or 'tokenworks serve' "
                       "makes one", path);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
    if (fd < 0 && errno != EEXIST)
        return err_errno(e, "%s: cannot create", path);
    if (fd >= 0)
        close(fd);
    return ERR_OK;
}

enum err_code store_open(const char *path, bool create, int64_t now_ms, struct store **out, struct err *e)
{
    if (now_ms < 0)
        return err_set(e, ERR_INVALID, "the system's clock stands before 1970; set it first");
    enum err_code c = need_file(path, create, e);
    if (c)
        return c;
    struct store *s = MEM_NEW(struct store);
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        c = s->db ? store_fault(s, "open the file", e) : err_set(e, ERR_IO, "%s: no memory to open", path);
    if (!c) {
        sqlite3_busy_timeout(s->db, BUSY_WAIT_MS);
        sqlite3_extended_result_codes(s->db, 1);
        c = store_exec(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                       "PRAGMA secure_delete=ON; PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-16384;", e);
        if (c == ERR_CORRUPT)
            c = err_set(e, c, "%s is no ledger, or a damaged one (%s): put a backup in its place, or move it away to "
                        "begin a new one", path, sqlite3_errmsg(s->db));
    }
    if (!c)
        c = check_schema(s, path, now_ms, e);
    if (c)
        store_close(s);
    else
        *out = s;
    return c;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    sqlite3_finalize(s->insert);
    sqlite3_finalize(s->sum);
    sqlite3_close(s->db);
    mem_free(s);
}

bool store_changed(struct store *s)
{
    int64_t version = s->seen_version;
    return !store_int(s, "PRAGMA data_version", NULL, 0, &version, NULL) && version != s->seen_version;
}

/* ---- rows */

static const char insert_sql[] =
    "INSERT INTO usage(request_id, started_ms, settled_ms, tenant, team, key, model, prompt, cached, output, queue_us,"
    " prefill_us, decode_us, kv_page_ms, energy_mj, energy_modelled, cost_micros, finish, jurisdiction, receipt, id)"
    " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20," ERASED_NEXT_SQL ")"
    " ON CONFLICT(request_id) DO NOTHING";
static const char sum_sql[] =
    "INSERT INTO daily VALUES(?1,?2,?3,?4,?5,1,?6,?7,?8,?9,?10) ON CONFLICT(day, tenant, key, model) DO UPDATE SET"
    " requests = requests + 1, prompt = prompt + excluded.prompt, cached = cached + excluded.cached,"
    " output = output + excluded.output, cost_micros = cost_micros + excluded.cost_micros,"
    " energy_mj = energy_mj + excluded.energy_mj";

static void bind_ints(sqlite3_stmt *st, int first, const int64_t *v, int count)
{
    for (int i = 0; i < count; i++)
        sqlite3_bind_int64(st, first + i, v[i]);
}

static enum err_code insert_row(struct store *s, struct usage_row *r, struct err *e)
{
    const struct book_booking *b = &r->settled.booking;
    const struct ledger_use *u = &r->use;
    sqlite3_stmt *st = s->insert;
    sqlite3_bind_text(st, 1, b->request_id, -1, SQLITE_STATIC);
    bind_ints(st, 2, (int64_t[]){ b->started_ms, r->settled.settled_ms, b->tenant, b->team, b->key }, 5);
    sqlite3_bind_text(st, 7, b->model, -1, SQLITE_STATIC);
    bind_ints(st, 8, (int64_t[]){ u->prompt_tokens, u->cached_tokens, u->output_tokens, u->queue_us, u->prefill_us,
                                  u->decode_us, u->kv_page_ms, r->settled.used.v[METER_ENERGY], u->energy_modelled,
                                  r->settled.cost_micros }, 10);
    sqlite3_bind_text(st, 18, r->finish, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 19, r->jurisdiction, -1, SQLITE_STATIC);
    if (r->has_receipt)
        sqlite3_bind_blob(st, 20, r->receipt, sizeof r->receipt, SQLITE_STATIC);
    else
        sqlite3_bind_null(st, 20);
    enum err_code c = store_step_done(s, st, "book a request", e);
    if (c)
        return c;
    r->duplicate = sqlite3_changes(s->db) == 0;
    if (r->duplicate)
        return ERR_OK;
    bind_ints(s->sum, 1, (int64_t[]){ meter_day(r->settled.settled_ms), b->tenant, b->team, b->key }, 4);
    sqlite3_bind_text(s->sum, 5, b->model, -1, SQLITE_STATIC);
    bind_ints(s->sum, 6, (int64_t[]){ u->prompt_tokens, u->cached_tokens, u->output_tokens, r->settled.cost_micros,
                                      r->settled.used.v[METER_ENERGY] }, 5);
    return store_step_done(s, s->sum, "add to the day's sums", e);
}

enum err_code store_insert(struct store *s, struct usage_row **rows, int count, struct err *e)
{
    enum err_code c = ERR_OK;
    if (!s->insert)
        c = store_prepare(s, insert_sql, &s->insert, e);
    if (!c && !s->sum)
        c = store_prepare(s, sum_sql, &s->sum, e);
    if (!c)
        c = store_exec(s, "BEGIN IMMEDIATE", e);
    if (c)
        return c;
    for (int i = 0; i < count && !c; i++)
        c = insert_row(s, rows[i], e);
    if (!c)
        c = store_exec(s, "COMMIT", e);
    if (c)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return c;
}
