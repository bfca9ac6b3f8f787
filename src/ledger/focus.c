/* focus -- the FinOps Open Cost and Usage Specification 1.2 as CSV: one line for each request, all mandatory columns,
 * the conditional ones that apply, and our own with x_ in front.
 *
 * A request is priced by three meters (prompt, cached, output), FOCUS by one: a line's pricing unit is the request,
 * its quantity 1, so that cost = unit price x quantity holds to the last digit; tokens are the consumed quantity.
 * Nothing is discounted here: list, contracted, effective and billed cost are equal. */
#include "ledger/report.h"

#include "base/mem.h"

#include <string.h>

static const char header[] =
    "AvailabilityZone,BilledCost,BillingAccountId,BillingAccountName,BillingAccountType,BillingCurrency,"
    "BillingPeriodEnd,BillingPeriodStart,ChargeCategory,ChargeClass,ChargeDescription,ChargeFrequency,ChargePeriodEnd,"
    "ChargePeriodStart,ConsumedQuantity,ConsumedUnit,ContractedCost,ContractedUnitPrice,EffectiveCost,"
    "InvoiceIssuerName,ListCost,ListUnitPrice,PricingCategory,PricingCurrency,PricingQuantity,PricingUnit,"
    "ProviderName,PublisherName,RegionId,RegionName,ResourceId,ResourceName,ResourceType,ServiceCategory,"
    "ServiceName,ServiceSubcategory,SkuId,SkuMeter,SkuPriceId,SubAccountId,SubAccountName,SubAccountType,Tags,"
    "x_PromptTokens,x_CachedTokens,x_OutputTokens,x_EnergyJ,x_EnergyModelled,x_Jurisdiction,x_ReceiptHash,"
    "x_RequestId,x_KeyId\r\n";

static const char rows_sql[] =
    "SELECT request_id, started_ms, settled_ms, usage.tenant, tenant.name, usage.team, coalesce(team.name, ''), key,"
    " model, prompt, cached, output, energy_mj, energy_modelled, cost_micros, jurisdiction, hex(receipt), finish,"
    " (SELECT value FROM meta WHERE name = 'currency') FROM usage JOIN tenant ON tenant.id = usage.tenant"
    " LEFT JOIN team ON team.id = usage.team WHERE settled_ms >= ?1 AND settled_ms < ?2"
    " AND (?3 = 0 OR usage.tenant = ?3) ORDER BY usage.id";

struct line { /* the columns of rows_sql */
    const char *request_id, *tenant_name, *team_name, *model, *jurisdiction, *receipt, *finish, *currency;
    int64_t started_ms, settled_ms, tenant, team, key, prompt, cached, output, energy_mj, modelled, cost;
};

static const char *text(sqlite3_stmt *st, int i)
{
    const char *s = (const char *)sqlite3_column_text(st, i);
    return s ? s : "";
}

static void read_line(sqlite3_stmt *st, struct line *l)
{
    *l = (struct line){ .request_id = text(st, 0), .tenant_name = text(st, 4), .team_name = text(st, 6),
                        .model = text(st, 8), .jurisdiction = text(st, 15), .receipt = text(st, 16),
                        .finish = text(st, 17), .currency = text(st, 18) };
    static const int at[] = { 1, 2, 3, 5, 7, 9, 10, 11, 12, 13, 14 };
    int64_t *to[] = { &l->started_ms, &l->settled_ms, &l->tenant, &l->team, &l->key, &l->prompt, &l->cached,
                      &l->output, &l->energy_mj, &l->modelled, &l->cost };
    for (size_t i = 0; i < MEM_COUNT(at); i++)
        *to[i] = sqlite3_column_int64(st, at[i]);
}

/* RFC 4180; a cell that a spreadsheet would run as a formula gets a quote in front. */
static void cell(const char *s, struct buf *out)
{
    bool formula = *s && strchr("=+-@\t\r", *s);
    if (!formula && !strpbrk(s, ",\"\r\n")) {
        buf_puts(out, s);
    } else {
        buf_puts(out, formula ? "\"'" : "\"");
        for (; *s; s++) {
            if (*s == '"')
                buf_putc(out, '"');
            buf_putc(out, *s);
        }
        buf_putc(out, '"');
    }
}

static void put(const char *s, struct buf *out)
{
    cell(s, out);
    buf_putc(out, ',');
}

static void put_int(int64_t v, struct buf *out)
{
    buf_printf(out, "%lld,", (long long)v);
}

static void put_money(int64_t micros, struct buf *out)
{
    price_print(micros, out);
    buf_putc(out, ',');
}

static void put_time(int64_t ms, struct buf *out)
{
    int y, m, d;
    meter_day_civil(meter_day(ms), &y, &m, &d);
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02dZ,", y, m, d, (int)(ms / 3600000 % 24), (int)(ms / 60000 % 60),
               (int)(ms / 1000 % 60));
}

/* The columns up to ChargePeriodStart. A charge period is whole seconds, its end exclusive. */
static void put_charge(const struct line *l, struct buf *out)
{
    int64_t month = meter_month(l->settled_ms);
    put("", out);
    put_money(l->cost, out);
    put_int(l->tenant, out);
    put(l->tenant_name, out);
    put("Tenant", out);
    put(l->currency, out);
    put_time(meter_month_start_ms(month + 1), out);
    put_time(meter_month_start_ms(month), out);
    put("Usage", out);
    put("", out);
    struct buf what = { 0 };
    buf_printf(&what, "Tokens of one request (%s)", *l->finish ? l->finish : "done");
    put(buf_str(&what), out);
    buf_release(&what);
    put("Usage-Based", out);
    put_time((l->settled_ms / 1000 + 1) * 1000, out);
    put_time(l->started_ms < l->settled_ms ? l->started_ms : l->settled_ms, out);
}

static void put_line(const struct line *l, const char *provider, struct buf *out)
{
    struct buf sku = { 0 };
    buf_printf(&sku, "tokens/%s", l->model);
    put_charge(l, out);
    put_int(l->prompt + l->output, out);
    put("Tokens", out);
    put_money(l->cost, out); /* contracted: cost, unit price */
    put_money(l->cost, out);
    put_money(l->cost, out); /* effective */
    put(provider, out);
    put_money(l->cost, out); /* list: cost, unit price */
    put_money(l->cost, out);
    put("Standard", out);
    put(l->currency, out);
    put("1", out);
    put("Requests", out);
    put(provider, out);
    put(provider, out);
    put(l->jurisdiction, out);
    put(l->jurisdiction, out);
    put(l->model, out);
    put(l->model, out);
    put("Language model", out);
    put("AI and Machine Learning", out);
    put("Tokenworks", out);
    put("Generative AI", out);
    put(buf_str(&sku), out);
    put("Tokens", out);
    put(buf_str(&sku), out);
    buf_printf(out, l->team ? "%lld," : ",", (long long)l->team);
    put(l->team_name, out);
    put(l->team ? "Team" : "", out);
    put("{}", out);
    put_int(l->prompt, out);
    put_int(l->cached, out);
    put_int(l->output, out);
    buf_printf(out, "%lld.%03lld,%s,", (long long)(l->energy_mj / 1000), (long long)(l->energy_mj % 1000),
               l->modelled ? "true" : "false");
    put(l->jurisdiction, out);
    put(l->receipt, out);
    put(l->request_id, out);
    buf_printf(out, "%lld\r\n", (long long)l->key);
    buf_release(&sku);
}

enum err_code report_focus(struct store *s, const struct report_range *r, const char *provider, FILE *out,
                           struct report_export *sums, struct err *e)
{
    sqlite3_stmt *st;
    enum err_code c = store_prepare(s, rows_sql, &st, e);
    if (c)
        return c;
    sqlite3_bind_int64(st, 1, r->from_ms);
    sqlite3_bind_int64(st, 2, r->to_ms);
    sqlite3_bind_int64(st, 3, r->tenant);
    struct buf b = { 0 };
    struct line l;
    int rc;
    *sums = (struct report_export){ 0 };
    fputs(header, out);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        read_line(st, &l);
        buf_clear(&b);
        put_line(&l, provider, &b);
        fwrite(b.data, 1, b.len, out);
        sums->rows++;
        sums->cost_micros += l.cost;
        sums->prompt += l.prompt;
        sums->cached += l.cached;
        sums->output += l.output;
        sums->energy_mj += l.energy_mj;
    }
    c = rc == SQLITE_DONE ? ERR_OK : store_fault(s, "read the file", e);
    if (!c && (fflush(out) || ferror(out)))
        c = err_errno(e, "cannot write the export");
    sqlite3_finalize(st);
    buf_release(&b);
    return c;
}
