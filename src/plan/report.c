/* report -- a plan as one HTML page that a board can read: what to buy, what it costs, whether it holds. */
#include "plan/output.h"

#include "plan/charts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
    "<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,'DejaVu Sans',sans-serif;max-width:820px;"
    "margin:2rem "
    "auto;padding:0 1rem;color:#1d2430;background:#fff}h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;"
    "margin:2.2rem 0 .4rem;"
    "border-bottom:1px solid #8884}p{margin:.4rem 0}.cards{display:grid;"
    "grid-template-columns:repeat(auto-fill,minmax(180px,1fr));"
    "gap:.6rem;margin:1rem 0}.card{border:1px solid #8884;border-radius:6px;padding:.5rem .7rem}.card b{display:block;"
    "font-size:1.25rem}.card small{opacity:.7}table{border-collapse:collapse;width:100%;"
    "font-size:.86rem}th,td{padding:.2rem "
    ".5rem;text-align:right;border-bottom:1px solid "
    "#8883}th:first-child,td:first-child,.t{text-align:left}.legend{font-size:.8rem}"
    ".legend span{margin-right:.9rem;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;"
    "margin-right:.35em;"
    "border-radius:2px}.bad{color:#b5493a;font-weight:600}.good{color:#2c7a4b}.note{font-size:.86rem;opacity:.8}"
    "code{font-size:.8rem;word-break:break-all}@media(prefers-color-scheme:dark){body{color:#d7dce3;"
    "background:#14181e}}"
    "@media print{body{margin:0;max-width:none}h2{break-after:avoid}svg,table{break-inside:avoid}}</style>\n";

static void card(struct buf *out, const char *what, const char *prefix, double v, const char *note)
{
    buf_printf(out, "<div class=\"card\"><small>%s</small><b>", what);
    chart_number(out, prefix, v);
    buf_printf(out, "</b><small>%s</small></div>\n", note);
}

static int units_in_service(const struct plan *p, int t)
{
    int n = 0;
    for (int h = 0; h < p->s->hw_count; h++)
        for (int l = 0; l < p->s->site_count; l++)
            n += decision_installed(&p->result.decision, h, l, t);
    return n;
}

static void head(const struct plan *p, struct buf *out)
{
    const struct scenario *s = p->s;
    char first[16], last[16], note[120];
    scenario_quarter_name(s, 0, first);
    scenario_quarter_name(s, s->quarters - 1, last);
    buf_puts(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
                  "content=\"width=device-width\"><title>");
    chart_text(out, *s->title ? s->title : s->id);
    buf_puts(out, "</title>\n");
    buf_puts(out, style);
    buf_puts(out, "</head><body>\n<h1>");
    chart_text(out, *s->title ? s->title : s->id);
    buf_printf(out, "</h1>\n<p class=\"note\">%s to %s, %d quarters; money in US dollars", first, last, s->quarters);
    buf_printf(out, ", discounted at %.1f %% a year</p>\n<p>", 100 * s->finance.discount);
    chart_text(out, s->about);
    buf_puts(out, "</p>\n<div class=\"cards\">\n");
    card(out, "Net present cost", "USD ", p->result.npv, "all of the plan, less residual value");
    card(out, "Capital", "USD ", p->cost.capex, "machines, freight, duty, sites");
    snprintf(note, sizeof note, "P10 %.3g, P90 %.3g", p->sense.p10, p->sense.p90);
    card(out, "A million output tokens", "USD ", p->cost.usd_per_mtok, p->has_sense ? note : "levelised");
    snprintf(note, sizeof note, "in service in %s", last);
    card(out, "Units", "", units_in_service(p, s->quarters - 1), note);
    card(out, "Energy", "", p->cost.kwh / 1000, "MWh over the plan");
    card(out, "CO2 of it", "", p->cost.co2_kg / 1000, "tonnes");
    buf_puts(out, "</div>\n");
}

static void verdict(const struct plan *p, struct buf *out)
{
    const struct scenario *s = p->s;
    double asked = 0, unmet = 0, api = 0;
    for (int k = 0; k < s->demand_count; k++)
        for (int t = 0; t < s->quarters; t++) {
            asked += s->demands[k].rate[t];
            unmet += *decision_unmet(&p->result.decision, k, t);
            for (int q = 0; q < s->api_count; q++)
                api += *decision_api(&p->result.decision, k, q, t);
        }
    asked = fmax(asked, 1e-12);
    buf_printf(out, "<p>Of the tokens asked for, %.1f %% are served on own machines, %.1f %% bought from an API "
                    "and %.1f %% "
                    "not served. ", 100 * (asked - unmet - api) / asked, 100 * api / asked, 100 * unmet / asked);
    if (!p->simulated)
        buf_puts(out, "The service levels were not simulated.</p>\n");
    else if (!p->slo.failed)
        buf_printf(out, "<span class=\"good\">All %d service levels hold</span> in the simulated peak hours.</p>\n",
                   p->slo.count);
    else
        buf_printf(out, "<span class=\"bad\">%d of %d service levels do not hold</span> in the simulated peak "
                        "hours, after %d "
                        "rounds.</p>\n", p->slo.failed, p->slo.count, p->rounds);
}

/* ---- what to buy */

static void order_row(const struct plan *p, struct buf *out, int h, int sup, int l, int t)
{
    const struct scenario *s = p->s;
    int n = *decision_buy(&p->result.decision, h, sup, l, t);
    char when[16], arrives[16];
    if (!n)
        return;
    scenario_quarter_name(s, t, when);
    scenario_quarter_name(s, t + (int)s->suppliers[sup].offers[h].lead_q, arrives);
    buf_printf(out, "<tr><td>%s</td><td class=\"t\">%s</td><td class=\"t\">%s</td><td class=\"t\">%s</td><td>%d</td>"
                    "<td>%s</td><td>", when, s->hw[h].id, s->suppliers[sup].id, s->sites[l].id, n, arrives);
    chart_number(out, "USD ", n * scenario_price(s, h, sup, t) * scenario_uplift(s, h, sup, l));
    buf_puts(out, "</td></tr>\n");
}

static void orders(const struct plan *p, struct buf *out)
{
    const struct scenario *s = p->s;
    buf_puts(out, "<h2>What to order</h2>\n<table><tr><th>order in</th><th class=\"t\">machine</th><th "
                  "class=\"t\">from</th>"
                  "<th class=\"t\">to</th><th>units</th><th>in service</th><th>landed price</th></tr>\n");
    for (int t = 0; t < s->quarters; t++)
        for (int h = 0; h < s->hw_count; h++)
            for (int sup = 0; sup < s->supplier_count; sup++)
                for (int l = 0; l < s->site_count; l++)
                    order_row(p, out, h, sup, l, t);
    buf_puts(out, "</table>\n");
}

/* ---- charts */

static char quarter_names[QUARTERS_MAX][16];

static void name_columns(const struct scenario *s, struct chart_bars *b)
{
    b->columns = s->quarters;
    for (int t = 0; t < s->quarters; t++) {
        scenario_quarter_name(s, t, quarter_names[t]);
        b->column_names[t] = quarter_names[t] + 2; /* "27-Q1" */
    }
}

static void costs_chart(const struct plan *p, struct buf *out)
{
    static struct chart_bars b; /* large; only the report uses it */
    b = (struct chart_bars){ .unit = "USD ", .series = COST_KINDS };
    name_columns(p->s, &b);
    for (int k = 0; k < COST_KINDS; k++) {
        b.series_names[k] = cost_names[k];
        for (int t = 0; t < p->s->quarters; t++)
            b.v[t][k] = p->cost.by_quarter[t][k];
    }
    buf_puts(out, "<h2>Costs, quarter by quarter</h2>\n");
    chart_stacked_bars(out, &b);
    buf_puts(out, "<table><tr><th>kind</th><th>whole plan, undiscounted</th></tr>\n");
    for (int k = 0; k < COST_KINDS; k++)
        if (p->cost.total[k] != 0) {
            buf_printf(out, "<tr><td>%s</td><td>", cost_names[k]);
            chart_number(out, "USD ", p->cost.total[k]);
            buf_puts(out, "</td></tr>\n");
        }
    buf_puts(out, "</table>\n");
}

static void timeline_chart(const struct plan *p, struct buf *out)
{
    static struct chart_bars b;
    static char names[CHART_SERIES_MAX][2 * PLAN_ID_MAX + 8];
    const struct scenario *s = p->s;
    b = (struct chart_bars){ .unit = "" };
    name_columns(s, &b);
    for (int l = 0; l < s->site_count; l++)
        for (int h = 0; h < s->hw_count && b.series < CHART_SERIES_MAX; h++) {
            int any = 0;
            for (int t = 0; t < s->quarters; t++)
                any |= (int)(b.v[t][b.series] = decision_installed(&p->result.decision, h, l, t));
            if (!any)
                continue;
            snprintf(names[b.series], sizeof names[0], "%s at %s", s->hw[h].id, s->sites[l].id);
            b.series_names[b.series] = names[b.series];
            b.series++;
        }
    if (!b.series)
        return;
    buf_puts(out, "<h2>Timeline: units in service</h2>\n");
    chart_stacked_bars(out, &b);
}

static void flows_chart(const struct plan *p, struct buf *out)
{
    static struct chart_flows f;
    const struct scenario *s = p->s;
    const struct decision *d = &p->result.decision;
    int t = s->quarters - 1, none = s->site_count + s->api_count;
    f = (struct chart_flows){ .unit = " tok/s", .left = s->demand_count, .right = none + 1 };
    for (int k = 0; k < s->demand_count; k++)
        f.left_names[k] = s->demands[k].id;
    for (int l = 0; l < s->site_count; l++)
        f.right_names[l] = s->sites[l].id;
    for (int q = 0; q < s->api_count; q++)
        f.right_names[s->site_count + q] = s->apis[q].id;
    f.right_names[none] = "not served";
    for (int k = 0; k < s->demand_count; k++)
        for (int to = 0; to <= none && f.flows < CHART_FLOWS_MAX; to++) {
            double v = to < s->site_count ? *decision_flow(d, k, to, t)
                     : to < none ? *decision_api(d, k, to - s->site_count, t) : *decision_unmet(d, k, t);
            if (v > 1e-6 * s->demands[k].rate[t] && v > 0)
                f.flow[f.flows++] = (struct chart_flow){ k, to, v };
        }
    buf_printf(out, "<h2>Map of flows, %s</h2>\n<p class=\"note\">Mean output tokens a second: from the demands "
                    "on the left "
                    "to sites and APIs on the right, as residency and latency allow.</p>\n", quarter_names[t]);
    chart_flow_map(out, &f);
}

static void places_chart(const struct plan *p, struct buf *out)
{
    struct chart_place places[SITES_MAX];
    const struct scenario *s = p->s;
    int n = 0, t = s->quarters - 1;
    for (int l = 0; l < s->site_count; l++) {
        double sum = 0;
        if (s->sites[l].lat > 90)
            continue;
        for (int k = 0; k < s->demand_count; k++)
            sum += *decision_flow(&p->result.decision, k, l, t);
        places[n++] = (struct chart_place){ s->sites[l].id, s->sites[l].lat, s->sites[l].lon, sum };
    }
    if (n > 1)
        chart_places(out, " tok/s", places, n);
}

static void slo_table(const struct plan *p, struct buf *out)
{
    const struct scenario *s = p->s;
    if (!p->simulated)
        return;
    buf_puts(out, "<h2>Will it hold?</h2>\n<p class=\"note\">Each demand's worst quarter at its peak hour, in a "
                  "simulated fleet "
                  "with failures of devices and units; 99th percentiles with 95 "
                  "% confidence.</p>\n<table><tr><th>demand</th>"
                  "<th>quarter</th><th>first token, ms</th><th>limit</th><th>between tokens, "
                  "ms</th><th>limit</th><th></th></tr>\n");
    for (int k = 0; k < s->demand_count; k++) {
        const struct slo_check *worst = NULL;
        double most = -1;
        for (int i = 0; i < p->slo.count; i++) {
            const struct slo_check *c = &p->slo.checks[i];
            double size = fmax(c->ttft_ms / c->ttft_limit, c->itl_ms / c->itl_limit) + (c->holds ? 0 : 1e9);
            if (c->demand == k && size > most) {
                most = size;
                worst = c;
            }
        }
        if (!worst)
            continue;
        buf_printf(out, "<tr><td>%s</td><td>%s</td><td>%.0f", s->demands[k].id, quarter_names[worst->quarter],
                   worst->ttft_ms);
        if (isfinite(worst->ttft_half))
            buf_printf(out, " \xC2\xB1 %.0f", worst->ttft_half);
        buf_printf(out, "</td><td>%.0f</td><td>%.1f</td><td>%.0f</td><td class=\"%s\">%s</td></tr>\n",
                   worst->ttft_limit,
                   worst->itl_ms, worst->itl_limit, worst->holds ? "good" : "bad", worst->holds ? "holds" : "fails");
    }
    buf_puts(out, "</table>\n");
}

static void tornado(const struct plan *p, struct buf *out)
{
    struct chart_tornado_bar bars[SENSE_BARS_MAX];
    if (!p->has_sense || !p->sense.bar_count)
        return;
    int n = p->sense.bar_count < 14 ? p->sense.bar_count : 14;
    for (int i = 0; i < n; i++)
        bars[i] = (struct chart_tornado_bar){ p->s->figures[p->sense.bars[i].figure].path, p->sense.bars[i].low,
                                              p->sense.bars[i].high };
    buf_puts(out, "<h2>What it hangs on</h2>\n<p class=\"note\">Net present cost with one assumed figure 10 "
                  "% lower or higher; the "
                  "machines kept as planned, the flows found again. Replace the top ones by figures you have seen "
                  "or measured.");
    if (p->sense.skipped)
        buf_printf(out, " %d figures were left out for time.", p->sense.skipped);
    buf_puts(out, "</p>\n");
    chart_tornado(out, "USD ", p->result.npv, bars, n);
}

static void suppliers(const struct plan *p, struct buf *out)
{
    struct chart_share shares[CHART_SERIES_MAX], countries[CHART_SERIES_MAX];
    const struct scenario *s = p->s;
    int n = 0, c = 0;
    for (int i = 0; i < s->supplier_count && n < CHART_SERIES_MAX; i++)
        if (p->cost.spend_company[i] > 0)
            shares[n++] = (struct chart_share){ s->suppliers[i].company, p->cost.spend_company[i] };
    for (int i = 0; i < s->place_count && c < CHART_SERIES_MAX; i++)
        if (p->cost.spend_country[i] > 0)
            countries[c++] = (struct chart_share){ s->places[i], p->cost.spend_country[i] };
    if (!n)
        return;
    buf_printf(out, "<h2>Who supplies</h2>\n<p class=\"note\">Spend on machines by company (Herfindahl index %.0f "
                    "of 10,000: above "
                    "1,800 is highly concentrated) and by country of assembly.</p>\n", p->cost.hhi);
    chart_shares(out, shares, n);
    chart_shares(out, countries, c);
}

static void against_api(const struct plan *p, struct buf *out)
{
    const struct scenario *s = p->s;
    if (!s->api_count)
        return;
    buf_puts(out, "<h2>Against an API</h2>\n<table><tr><th>demand</th>");
    for (int q = 0; q < s->api_count; q++)
        buf_printf(out, "<th>%s</th>", s->apis[q].id);
    buf_puts(out, "</tr>\n");
    for (int k = 0; k < s->demand_count; k++) {
        const struct plan_demand *d = &s->demands[k];
        buf_printf(out, "<tr><td>%s</td>", d->id);
        for (int q = 0; q < s->api_count; q++) {
            const struct plan_api *a = &s->apis[q];
            double usd = a->out + d->input / d->output * ((1 - d->cached) * a->in + d->cached * a->cached);
            buf_printf(out, "<td>%.2f%s</td>", usd, d->api_ok[q] ? "" : " (not allowed)");
        }
        buf_puts(out, "</tr>\n");
    }
    buf_printf(out, "</table>\n<p class=\"note\">US dollars per million output tokens with their input at list "
                    "price; the plan's "
                    "own mean is %.2f.</p>\n", p->cost.usd_per_mtok);
}

static void certificate(const struct plan *p, struct buf *out)
{
    buf_puts(out, "<h2>Certificate</h2>\n<p>No plan within these figures and rules costs less than ");
    chart_number(out, "USD ", p->result.bound);
    buf_printf(out, ": this one is at most %.2f %% above the best there is%s. Solved in %.1f s: %d columns, %d of "
                    "them whole "
                    "numbers, %d rows; planned %d time%s. Another program, which never sees the matrix, checked "
                    "every rule and "
                    "the cost.</p>\n<p class=\"note\">Inputs, SHA-256: <code>%s</code></p>\n", 100 * p->result.gap,
               p->result.proven ? "" : " (the search was stopped before the gap asked for)", p->result.seconds,
               p->result.columns, p->result.integers, p->result.rows, p->rounds, p->rounds == 1 ? "" : "s",
               p->s->inputs_sha256);
}

static void figures(const struct plan *p, struct buf *out)
{
    const struct scenario *s = p->s;
    int by_class[3] = { 0 };
    for (int i = 0; i < s->figure_count; i++)
        by_class[s->figures[i].cls]++;
    buf_printf(out, "<h2>Figures</h2>\n<p>%d seen in a source, %d measured, %d "
                    "assumed.</p>\n<details><summary>All %d</summary>\n"
                    "<table><tr><th>figure</th><th>value</th><th class=\"t\">unit</th><th class=\"t\">class</th>"
                    "<th class=\"t\">source</th></tr>\n", by_class[CLASS_SEEN], by_class[CLASS_MEASURED],
                        by_class[CLASS_ASSUMED],
               s->figure_count);
    for (int i = 0; i < s->figure_count; i++) {
        const struct figure *f = &s->figures[i];
        buf_puts(out, "<tr><td>");
        chart_text(out, f->path);
        buf_printf(out, "</td><td>%.6g</td><td class=\"t\">", f->value);
        chart_text(out, f->unit);
        buf_printf(out, "</td><td class=\"t\">%s</td><td class=\"t\">", figure_class_name(f->cls));
        chart_text(out, f->source);
        buf_puts(out, *f->date ? ", " : "");
        chart_text(out, f->date);
        buf_puts(out, "</td></tr>\n");
    }
    buf_puts(out, "</table></details>\n");
}

void plan_to_html(const struct plan *p, struct buf *out)
{
    head(p, out);
    verdict(p, out);
    orders(p, out);
    costs_chart(p, out);
    timeline_chart(p, out);
    flows_chart(p, out);
    places_chart(p, out);
    slo_table(p, out);
    tornado(p, out);
    suppliers(p, out);
    against_api(p, out);
    certificate(p, out);
    figures(p, out);
    buf_puts(out, "</body></html>\n");
}
