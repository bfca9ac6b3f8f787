/* plan_json -- a plan as plan.json and as CSV, and two plans compared. */
#include "plan/output.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COMPARE_NAME_MAX = 160 };

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *quarter(const struct scenario *s, int t)
{
    char name[16];
    scenario_quarter_name(s, t, name);
    return json_string(name);
}

/* Calls fn for every order. */
typedef void (*order_fn)(void *arg, const struct plan *p, int h, int sup, int l, int t, int count);
static void each_order(const struct plan *p, order_fn fn, void *arg)
{
    const struct scenario *s = p->s;
    for (int t = 0; t < s->quarters; t++)
        for (int h = 0; h < s->hw_count; h++)
            for (int sup = 0; sup < s->supplier_count; sup++)
                for (int l = 0; l < s->site_count; l++) {
                    int n = *decision_buy(&p->result.decision, h, sup, l, t);
                    if (n)
                        fn(arg, p, h, sup, l, t, n);
                }
}

static void unit_json(void *arg, const struct plan *p, int h, int sup, int l, int t, int count)
{
    const struct scenario *s = p->s;
    double usd = count * scenario_price(s, h, sup, t);
    int arrives = t + (int)s->suppliers[sup].offers[h].lead_q;
    json_array_append_new(arg, json_pack("{s:s,s:s,s:s,s:o,s:o,s:i,s:o,s:o}", "hardware", s->hw[h].id, "supplier",
        s->suppliers[sup].id, "site", s->sites[l].id, "quarter", quarter(s, t), "in_service", quarter(s, arrives),
        "count", count, "price_usd", number(usd), "landed_usd", number(usd * scenario_uplift(s, h, sup, l))));
}

static json_t *costs_json(const struct plan *p)
{
    json_t *rows = json_array();
    for (int t = 0; t < p->s->quarters; t++) {
        json_t *row = json_object();
        json_object_set_new(row, "quarter", quarter(p->s, t));
        for (int k = 0; k < COST_KINDS; k++)
            json_object_set_new(row, cost_names[k], number(p->cost.by_quarter[t][k]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *slo_json(const struct plan *p)
{
    json_t *rows = json_array();
    for (int i = 0; i < p->slo.count; i++) {
        const struct slo_check *c = &p->slo.checks[i];
        json_t *row = json_pack("{s:s,s:o,s:b}", "demand", p->s->demands[c->demand].id, "quarter",
                                quarter(p->s, c->quarter), "holds", c->holds);
        json_object_set_new(row, "ttft_p99_ms", number(c->ttft_ms));
        json_object_set_new(row, "ttft_p99_half_width_ms", number(c->ttft_half));
        json_object_set_new(row, "ttft_limit_ms", number(c->ttft_limit));
        json_object_set_new(row, "itl_p99_ms", number(c->itl_ms));
        json_object_set_new(row, "itl_p99_half_width_ms", number(c->itl_half));
        json_object_set_new(row, "itl_limit_ms", number(c->itl_limit));
        json_object_set_new(row, "tokens_per_s", number(c->tokens_per_s));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *flows_json(const struct plan *p)
{
    const struct scenario *s = p->s;
    const struct decision *d = &p->result.decision;
    json_t *rows = json_array();
    for (int t = 0; t < s->quarters; t++)
        for (int k = 0; k < s->demand_count; k++) {
            json_t *row = json_object(), *sites = json_object(), *apis = json_object();
            for (int l = 0; l < s->site_count; l++)
                if (*decision_flow(d, k, l, t) > 0)
                    json_object_set_new(sites, s->sites[l].id, number(*decision_flow(d, k, l, t)));
            for (int q = 0; q < s->api_count; q++)
                if (*decision_api(d, k, q, t) > 0)
                    json_object_set_new(apis, s->apis[q].id, number(*decision_api(d, k, q, t)));
            json_object_set_new(row, "quarter", quarter(s, t));
            json_object_set_new(row, "demand", json_string(s->demands[k].id));
            json_object_set_new(row, "tokens_per_s", number(s->demands[k].rate[t]));
            json_object_set_new(row, "sites", sites);
            json_object_set_new(row, "apis", apis);
            json_object_set_new(row, "unmet", number(*decision_unmet(d, k, t)));
            json_array_append_new(rows, row);
        }
    return rows;
}

static json_t *sensitivity_json(const struct plan *p)
{
    json_t *rows = json_array();
    for (int i = 0; i < p->sense.bar_count; i++) {
        const struct sense_bar *b = &p->sense.bars[i];
        const struct figure *f = &p->s->figures[b->figure];
        json_array_append_new(rows, json_pack("{s:s,s:f,s:s,s:s,s:o,s:o}", "figure", f->path, "value", f->value,
                                              "unit",
            f->unit, "source", f->source, "npv_usd_10_lower", number(b->low), "npv_usd_10_higher", number(b->high)));
    }
    return rows;
}

static json_t *shares_json(const struct plan *p)
{
    const struct scenario *s = p->s;
    json_t *out = json_object();
    for (int i = 0; i < s->supplier_count; i++)
        if (p->cost.spend_company[i] > 0)
            json_object_set_new(out, s->suppliers[i].company, number(p->cost.spend_company[i] / p->cost.spend));
    return out;
}

json_t *plan_to_json(const struct plan *p)
{
    const struct scenario *s = p->s;
    json_t *out = json_object(), *units = json_array();
    each_order(p, unit_json, units);
    json_object_set_new(out, "scenario", json_string(s->id));
    json_object_set_new(out, "title", json_string(s->title));
    json_object_set_new(out, "npv_usd", number(p->result.npv));
    json_object_set_new(out, "capex_usd", number(p->cost.capex));
    json_object_set_new(out, "usd_per_mtok", number(p->cost.usd_per_mtok));
    if (p->has_sense) {
        json_object_set_new(out, "usd_per_mtok_p10", number(p->sense.p10));
        json_object_set_new(out, "usd_per_mtok_p50", number(p->sense.p50));
        json_object_set_new(out, "usd_per_mtok_p90", number(p->sense.p90));
    }
    json_object_set_new(out, "mtok", number(p->cost.mtok));
    json_object_set_new(out, "mtok_own", number(p->cost.mtok_own));
    json_object_set_new(out, "kwh", number(p->cost.kwh));
    json_object_set_new(out, "co2_kg", number(p->cost.co2_kg));
    json_object_set_new(out, "units", units);
    json_object_set_new(out, "bound", number(p->result.bound));
    json_object_set_new(out, "gap", number(p->result.gap));
    json_object_set_new(out, "proven", json_boolean(p->result.proven));
    json_object_set_new(out, "seconds", number(p->result.seconds));
    json_object_set_new(out, "columns", json_integer(p->result.columns));
    json_object_set_new(out, "integers", json_integer(p->result.integers));
    json_object_set_new(out, "rows", json_integer(p->result.rows));
    json_object_set_new(out, "rounds", json_integer(p->rounds));
    json_object_set_new(out, "hhi", number(p->cost.hhi));
    json_object_set_new(out, "supplier_shares", shares_json(p));
    json_object_set_new(out, "slo", slo_json(p));
    json_object_set_new(out, "costs", costs_json(p));
    json_object_set_new(out, "flows", flows_json(p));
    json_object_set_new(out, "sensitivity", sensitivity_json(p));
    json_object_set_new(out, "inputs_sha256", json_string(s->inputs_sha256));
    return out;
}

/* ---- CSV */

/* Quotes doubled; a leading = + - @ would be a formula to a spreadsheet: put in front of it a space. */
static void csv_text(struct buf *b, const char *text)
{
    buf_putc(b, '"');
    if (strchr("=+-@", *text) && *text)
        buf_putc(b, ' ');
    for (const char *p = text; *p; p++)
        buf_puts(b, *p == '"' ? "\"\"" : (char[2]){ *p, 0 });
    buf_putc(b, '"');
}

static void csv_quarter(struct buf *b, const struct scenario *s, int t)
{
    char name[16];
    scenario_quarter_name(s, t, name);
    buf_puts(b, name);
}

static void unit_csv(void *arg, const struct plan *p, int h, int sup, int l, int t, int count)
{
    const struct scenario *s = p->s;
    struct buf *b = arg;
    double usd = count * scenario_price(s, h, sup, t);
    csv_quarter(b, s, t);
    buf_printf(b, ",%s,%s,", s->hw[h].id, s->suppliers[sup].id);
    csv_text(b, s->suppliers[sup].company);
    buf_printf(b, ",%s,%d,%.0f,%.0f\n", s->sites[l].id, count, usd, usd * scenario_uplift(s, h, sup, l));
}

static void costs_csv(const struct plan *p, struct buf *b)
{
    buf_puts(b, "quarter");
    for (int k = 0; k < COST_KINDS; k++) {
        buf_putc(b, ',');
        csv_text(b, cost_names[k]);
    }
    buf_putc(b, '\n');
    for (int t = 0; t < p->s->quarters; t++) {
        csv_quarter(b, p->s, t);
        for (int k = 0; k < COST_KINDS; k++)
            buf_printf(b, ",%.2f", p->cost.by_quarter[t][k]);
        buf_putc(b, '\n');
    }
}

static void flows_csv(const struct plan *p, struct buf *b)
{
    const struct scenario *s = p->s;
    const struct decision *d = &p->result.decision;
    buf_puts(b, "quarter,demand,to,kind,tokens_per_s\n");
    for (int t = 0; t < s->quarters; t++)
        for (int k = 0; k < s->demand_count; k++) {
            char q[16];
            scenario_quarter_name(s, t, q);
            for (int l = 0; l < s->site_count; l++)
                if (*decision_flow(d, k, l, t) > 0)
                    buf_printf(b, "%s,%s,%s,site,%.3f\n", q, s->demands[k].id, s->sites[l].id, *decision_flow(d, k,
                        l, t));
            for (int a = 0; a < s->api_count; a++)
                if (*decision_api(d, k, a, t) > 0)
                    buf_printf(b, "%s,%s,%s,api,%.3f\n", q, s->demands[k].id, s->apis[a].id, *decision_api(d, k, a,
                        t));
            if (*decision_unmet(d, k, t) > 0)
                buf_printf(b, "%s,%s,,unmet,%.3f\n", q, s->demands[k].id, *decision_unmet(d, k, t));
        }
}

static void slo_csv(const struct plan *p, struct buf *b)
{
    buf_puts(b, "quarter,demand,ttft_p99_ms,ttft_half_width_ms,ttft_limit_ms,itl_p99_ms,itl_limit_ms,holds\n");
    for (int i = 0; i < p->slo.count; i++) {
        const struct slo_check *c = &p->slo.checks[i];
        csv_quarter(b, p->s, c->quarter);
        buf_printf(b, ",%s,%.1f,%.1f,%.1f,%.2f,%.2f,%s\n", p->s->demands[c->demand].id, c->ttft_ms, c->ttft_half,
                   c->ttft_limit, c->itl_ms, c->itl_limit, c->holds ? "yes" : "no");
    }
}

static void figures_csv(const struct plan *p, struct buf *b)
{
    buf_puts(b, "figure,value,unit,class,source,date\n");
    for (int i = 0; i < p->s->figure_count; i++) {
        const struct figure *f = &p->s->figures[i];
        buf_printf(b, "%s,%.12g,", f->path, f->value);
        csv_text(b, f->unit);
        buf_printf(b, ",%s,", figure_class_name(f->cls));
        csv_text(b, f->source);
        buf_putc(b, ',');
        csv_text(b, f->date);
        buf_putc(b, '\n');
    }
}

static enum err_code write_one(const char *folder, const char *name, struct buf *b, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%s", folder, name);
    enum err_code c = file_write(buf_str(&path), buf_str(b), b->len, e);
    buf_release(&path);
    buf_clear(b);
    return c;
}

enum err_code plan_write(const struct plan *p, const char *folder, struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = file_make_dirs(folder, e);
    if (c)
        return c;
    json_t *v = plan_to_json(p);
    char *text = json_dumps(v, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
    buf_printf(&b, "%s\n", text);
    mem_free(text);
    json_decref(v);
    c = write_one(folder, "plan.json", &b, e);
    plan_to_html(p, &b);
    c = c ? c : write_one(folder, "report.html", &b, e);
    buf_puts(&b, "quarter,hardware,supplier,company,site,count,price_usd,landed_usd\n");
    each_order(p, unit_csv, &b);
    c = c ? c : write_one(folder, "units.csv", &b, e);
    costs_csv(p, &b);
    c = c ? c : write_one(folder, "costs.csv", &b, e);
    flows_csv(p, &b);
    c = c ? c : write_one(folder, "flows.csv", &b, e);
    slo_csv(p, &b);
    c = c ? c : write_one(folder, "slo.csv", &b, e);
    figures_csv(p, &b);
    c = c ? c : write_one(folder, "figures.csv", &b, e);
    buf_release(&b);
    return c;
}

/* ---- two plans */

static void compare_number(const json_t *a, const json_t *b, const char *key, const char *name, struct buf *out)
{
    double x = json_number_value(json_object_get(a, key)), y = json_number_value(json_object_get(b, key));
    buf_printf(out, "%-28s %18.6g %18.6g %+17.6g", name, x, y, y - x);
    if (x != 0)
        buf_printf(out, " %+7.1f %%", 100 * (y - x) / fabs(x));
    buf_putc(out, '\n');
}

/* Units by (hardware, site), orders of all quarters together. */
static json_t *unit_sums(const json_t *plan)
{
    json_t *sums = json_object(), *u;
    size_t i;
    json_array_foreach(json_object_get(plan, "units"), i, u) {
        char name[COMPARE_NAME_MAX];
        const char *h = json_string_value(json_object_get(u, "hardware"));
        const char *l = json_string_value(json_object_get(u, "site"));
        const char *sup = json_string_value(json_object_get(u, "supplier"));
        snprintf(name, sizeof name, "%.40s at %.40s, %.40s", h ? h : "?", l ? l : "?", sup ? sup : "?");
        json_int_t n = json_integer_value(json_object_get(u, "count")) + json_integer_value(json_object_get(sums,
            name));
        json_object_set_new(sums, name, json_integer(n));
    }
    return sums;
}

static int failed_slos(const json_t *plan)
{
    int n = 0;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(plan, "slo"), i, c)
        n += json_is_false(json_object_get(c, "holds"));
    return n;
}

enum err_code plan_compare(const json_t *a, const json_t *b, struct buf *out, struct err *e)
{
    static const char *const rows[][2] = { { "npv_usd", "NPV, USD" }, { "capex_usd", "CapEx, USD" },
        { "usd_per_mtok", "USD per Mtok" }, { "mtok", "Mtok served" }, { "mtok_own", "of it on own machines" },
        { "kwh", "kWh" }, { "co2_kg", "kg CO2" }, { "hhi", "HHI of suppliers" }, { "gap", "gap" } };
    if (!json_is_number(json_object_get(a, "npv_usd")) || !json_is_number(json_object_get(b, "npv_usd")))
        return err_set(e, ERR_INVALID, "one of the two is not a plan.json: it has no npv_usd");
    const char *first = json_string_value(json_object_get(a, "scenario"));
    const char *second = json_string_value(json_object_get(b, "scenario"));
    buf_printf(out, "%-28s %18.18s %18.18s %17s\n", "", first ? first : "first", second ? second : "second",
               "difference");
    for (size_t i = 0; i < MEM_COUNT(rows); i++)
        compare_number(a, b, rows[i][0], rows[i][1], out);
    buf_printf(out, "%-28s %18d %18d\n", "service levels missed", failed_slos(a), failed_slos(b));
    json_t *x = unit_sums(a), *y = unit_sums(b), *v;
    const char *name;
    json_object_foreach(x, name, v)
        if (!json_object_get(y, name))
            json_object_set_new(y, name, json_integer(0));
    json_object_foreach(y, name, v) {
        json_int_t was = json_integer_value(json_object_get(x, name)), is = json_integer_value(v);
        if (was != is)
            buf_printf(out, "units: %-60s %5lld -> %lld\n", name, (long long)was, (long long)is);
    }
    json_decref(x);
    json_decref(y);
    return ERR_OK;
}
