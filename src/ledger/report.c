/* report -- listings and sums: fixed queries, and one printer that shows any of them. A column's name says how it
 * reads: _micros is money, _mj energy, _ms a moment (0: none), _day a day. */
#include "ledger/report.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

enum { COLUMNS_MAX = 20, ROWS_MAX = 100000 };

const char *const report_by_names[] = { "tenant", "team", "key", "model", "day", "month", "tenant-day", NULL };

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), t = strlen(tail);
    return n >= t && !strcmp(s + n - t, tail);
}

static void put_day(int64_t day, struct buf *out)
{
    int y, m, d;
    meter_day_civil(day, &y, &m, &d);
    buf_printf(out, "%04d-%02d-%02d", y, m, d);
}

static void put_cell(sqlite3_stmt *st, int i, struct buf *out)
{
    const char *name = sqlite3_column_name(st, i);
    int64_t v = sqlite3_column_int64(st, i);
    if (ends_with(name, "_micros"))
        price_print(v, out);
    else if (ends_with(name, "_mj"))
        buf_printf(out, "%lld.%03lld J", (long long)(v / 1000), (long long)(v % 1000));
    else if (ends_with(name, "_day") || !strcmp(name, "day"))
        put_day(v, out);
    else if (ends_with(name, "_ms") && !v)
        buf_putc(out, '-');
    else if (ends_with(name, "_ms")) {
        put_day(v / 86400000, out);
        buf_printf(out, " %02d:%02d", (int)(v / 3600000 % 24), (int)(v / 60000 % 60));
    } else {
        const char *text = (const char *)sqlite3_column_text(st, i);
        buf_puts(out, text && *text ? text : "-");
    }
}

static void put_json_row(sqlite3_stmt *st, bool first, struct buf *out)
{
    buf_puts(out, first ? "[\n{" : ",\n{");
    for (int i = 0; i < sqlite3_column_count(st); i++) {
        const char *name = sqlite3_column_name(st, i), *text = (const char *)sqlite3_column_text(st, i);
        buf_printf(out, "%s\"%s\":", i ? "," : "", name);
        if (sqlite3_column_type(st, i) == SQLITE_INTEGER)
            buf_printf(out, "%lld", (long long)sqlite3_column_int64(st, i));
        else
            jsonx_quote(text ? text : "", text ? strlen(text) : 0, out);
    }
    buf_putc(out, '}');
}

static size_t shown_width(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

/* "cost_micros" -> "cost" */
static void put_title(const char *name, struct buf *out)
{
    static const char *const tails[] = { "_micros", "_mj", "_ms", "_day" };
    size_t n = strlen(name);
    for (size_t i = 0; i < MEM_COUNT(tails); i++)
        if (ends_with(name, tails[i]))
            n -= strlen(tails[i]);
    for (size_t i = 0; i < n; i++)
        buf_putc(out, name[i] == '_' ? ' ' : name[i]);
}

static void print_table(char **cells, int rows, int columns, FILE *out)
{
    size_t width[COLUMNS_MAX] = { 0 };
    for (int i = 0; i < rows * columns; i++) {
        size_t w = shown_width(cells[i]);
        width[i % columns] = w > width[i % columns] ? w : width[i % columns];
    }
    for (int i = 0; i < rows * columns; i++) {
        bool last = i % columns == columns - 1;
        fputs(cells[i], out);
        for (size_t k = shown_width(cells[i]); !last && k < width[i % columns] + 2; k++)
            putc(' ', out);
        if (last)
            putc('\n', out);
    }
}

static enum err_code show_table(struct store *s, sqlite3_stmt *st, FILE *out, struct err *e)
{
    int columns = sqlite3_column_count(st), count = 0, cap = 0, rc = SQLITE_ROW;
    char **cells = NULL;
    for (int row = 0; row <= ROWS_MAX; row++) {
        if (row && (rc = sqlite3_step(st)) != SQLITE_ROW)
            break;
        if (count + columns > cap) {
            cap = (cap + columns) * 2;
            cells = mem_grow(cells, (size_t)cap, sizeof *cells);
        }
        for (int i = 0; i < columns; i++) {
            struct buf b = { 0 };
            if (row)
                put_cell(st, i, &b);
            else
                put_title(sqlite3_column_name(st, i), &b);
            cells[count++] = buf_take(&b);
        }
    }
    enum err_code c = rc == SQLITE_DONE ? ERR_OK : rc == SQLITE_ROW ?
                      err_set(e, ERR_LIMIT, "more than %d lines; ask for less, or with --json", ROWS_MAX) :
                      store_fault(s, "read the file", e);
    if (!c)
        print_table(cells, count / columns, columns, out);
    for (int i = 0; i < count; i++)
        mem_free(cells[i]);
    mem_free(cells);
    return c;
}

static enum err_code show_json(struct store *s, sqlite3_stmt *st, FILE *out, struct err *e)
{
    struct buf b = { 0 };
    bool first = true;
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        buf_clear(&b);
        put_json_row(st, first, &b);
        fputs(buf_str(&b), out);
        first = false;
    }
    buf_release(&b);
    if (rc != SQLITE_DONE)
        return store_fault(s, "read the file", e);
    fputs(first ? "[]\n" : "\n]\n", out);
    return ERR_OK;
}

/* v: bound to ?1 and on. */
static enum err_code show(struct store *s, const char *sql, const int64_t *v, int count, bool json, FILE *out,
                          struct err *e)
{
    sqlite3_stmt *st;
    enum err_code c = store_prepare(s, sql, &st, e);
    if (c)
        return c;
    for (int i = 0; i < count; i++)
        sqlite3_bind_int64(st, i + 1, v[i]);
    c = json ? show_json(s, st, out, e) : show_table(s, st, out, e);
    sqlite3_finalize(st);
    return c;
}

enum err_code report_list(struct store *s, enum report_list what, bool json, FILE *out, struct err *e)
{
    static const char *const sql[] = {
        [REPORT_TENANTS] = "SELECT tenant.id, tenant.name, weight, priority,"
            " count(key.id) FILTER (WHERE revoked_ms = 0) AS keys,"
            " tenant.created_ms AS created_ms, erased_ms FROM tenant LEFT JOIN key ON key.tenant = tenant.id"
            " GROUP BY tenant.id",
        [REPORT_KEYS] = "SELECT key.id, hint || '...' AS key, key.name, tenant.name AS tenant,"
            " coalesce(team.name, '') AS team, CASE role WHEN 0 THEN 'user' WHEN 1 THEN 'admin' ELSE 'auditor' END AS"
            " role, models, jurisdictions, key.created_ms AS created_ms, expires_ms, revoked_ms FROM key"
            " JOIN tenant ON tenant.id = key.tenant LEFT JOIN team ON team.id = key.team ORDER BY key.id",
        [REPORT_PRICES] = "SELECT model, from_ms, prompt AS prompt_micros, cached AS cached_micros,"
            " output AS output_micros, (SELECT value FROM meta WHERE name = 'currency') AS currency, source FROM price"
            " ORDER BY model, from_ms",
        [REPORT_LIMITS] = "SELECT CASE scope WHEN 0 THEN 'key' WHEN 1 THEN 'team' WHEN 2 THEN 'tenant' ELSE 'model' END"
            " AS scope, limits.id, CASE scope WHEN 0 THEN (SELECT hint FROM key WHERE key.id = limits.id)"
            " WHEN 1 THEN (SELECT name FROM team WHERE team.id = limits.id) WHEN 2 THEN (SELECT name FROM tenant WHERE"
            " tenant.id = limits.id) ELSE (SELECT name FROM model WHERE model.id = limits.id) END AS name,"
            " CASE kind WHEN 0 THEN 'requests per minute' WHEN 1 THEN 'tokens per minute' WHEN 2 THEN"
            " 'concurrent requests' WHEN 3 THEN 'tokens per day' WHEN 4 THEN 'tokens per month' WHEN 5 THEN"
            " 'money per day (micro-units)' WHEN 6 THEN 'money per month (micro-units)'"
            " WHEN 7 THEN 'energy per day (mJ)' ELSE 'energy per month (mJ)' END AS what, value FROM limits"
            " ORDER BY scope, limits.id, kind",
    };
    return show(s, sql[what], NULL, 0, json, out, e);
}

#define SUM(column, name) "coalesce(sum(" #column "), 0) AS " #name
#define SUMS SUM(requests, requests) ", " SUM(prompt, prompt_tokens) ", " SUM(cached, cached_tokens) ", " \
             SUM(output, output_tokens) ", " SUM(cost_micros, cost_micros) ", " SUM(energy_mj, energy_mj) " FROM daily "
#define RANGE "WHERE day >= ?1 AND day < ?2 AND (?3 = 0 OR daily.tenant = ?3) GROUP BY 1 ORDER BY 1"

enum err_code report_usage(struct store *s, const struct report_range *r, enum report_by by, bool json, FILE *out,
                           struct err *e)
{
    static const char *const sql[] = {
        [REPORT_BY_TENANT] = "SELECT name AS tenant, " SUMS "JOIN tenant ON tenant.id = daily.tenant " RANGE,
        [REPORT_BY_TEAM] = "SELECT coalesce(name, '') AS team, " SUMS "LEFT JOIN team ON team.id = daily.team " RANGE,
        [REPORT_BY_KEY] = "SELECT daily.key AS key, coalesce(key.name, '') AS name, " SUMS
            "LEFT JOIN key ON key.id = daily.key " RANGE,
        [REPORT_BY_MODEL] = "SELECT model, " SUMS RANGE,
        [REPORT_BY_DAY] = "SELECT day, " SUMS RANGE,
        [REPORT_BY_TENANT_DAY] = "SELECT day, name AS tenant, " SUMS "JOIN tenant ON tenant.id = daily.tenant WHERE"
            " day >= ?1 AND day < ?2 AND (?3 = 0 OR daily.tenant = ?3) GROUP BY 1, 2 ORDER BY 1, 2",
        [REPORT_BY_MONTH] = "SELECT strftime('%Y-%m', day * 86400, 'unixepoch') AS month, " SUMS RANGE,
    };
    const int64_t v[] = { meter_day(r->from_ms), meter_day(r->to_ms + 86399999), r->tenant };
    return show(s, sql[by], v, 3, json, out, e);
}

static void put_tenant(struct store *s, int64_t tenant, struct buf *out)
{
    sqlite3_stmt *st;
    if (store_prepare(s, "SELECT name FROM tenant WHERE id = ?1", &st, NULL))
        return;
    sqlite3_bind_int64(st, 1, tenant);
    buf_printf(out, "tenant %s", sqlite3_step(st) == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : "unknown");
    sqlite3_finalize(st);
}

enum err_code report_statement(struct store *s, int64_t tenant, int64_t month, bool json, FILE *out, struct err *e)
{
    static const char lines[] = "SELECT model, key, " SUMS
        "WHERE day >= ?1 AND day < ?2 AND tenant = ?3 GROUP BY model, key ORDER BY model, key";
    static const char total[] = "SELECT (SELECT value FROM meta WHERE name = 'currency') AS currency, " SUMS
        "WHERE day >= ?1 AND day < ?2 AND tenant = ?3";
    const int64_t v[] = { meter_day(meter_month_start_ms(month)), meter_day(meter_month_start_ms(month + 1)), tenant };
    if (!json) {
        struct buf b = { 0 };
        buf_puts(&b, "Statement from ");
        put_day(v[0], &b);
        buf_puts(&b, " to ");
        put_day(v[1] - 1, &b);
        buf_puts(&b, " (UTC), ");
        put_tenant(s, tenant, &b);
        fprintf(out, "%s\n\n", buf_str(&b));
        buf_release(&b);
    }
    enum err_code c = show(s, lines, v, 3, json, out, e);
    if (c || json)
        return c;
    fputs("\nTotal\n", out);
    return show(s, total, v, 3, false, out, e);
}
