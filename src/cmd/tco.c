/* tco -- tokenworks tco: the quick question:
    one machine or rack of one's own against an API price or a rented one. */
#include "cmd/cmd.h"

#include "base/json.h"
#include "cmd/tco_ask.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FLOAT(name, arg, help, field, lo, hi) \
    { name, 0, OPT_FLOAT, arg, help, OPT_FIELD(struct tco_ask, field), lo, hi }
static const struct opt rows[] = {
    { "hardware", 'h', OPT_STRING, "ID", "a machine of the catalogue (default gb300-nvl72)",
      OPT_FIELD(struct tco_ask, hardware), 0, 0 },
    { "model", 'm', OPT_STRING, "ID", "a model of the catalogue (default deepseek-r1)",
      OPT_FIELD(struct tco_ask, model), 0, 0 },
    { "api", 'a', OPT_STRING, "ID", "an API of the catalogue to compare with", OPT_FIELD(struct tco_ask, api),
     0, 0 },
    FLOAT("units", "N", "how many (default 1)", units, 0.001, 1e7),
    FLOAT("price", "USD", "of a unit, instead of the catalogue's", price, 0.01, 1e12),
    FLOAT("uplift", "SHARE", "freight, duty and network on top (default the machine's network)", uplift, -1, 10),
    FLOAT("life", "YEARS", "instead of the catalogue's", life, 0.1, 50),
    FLOAT("discount", "SHARE", "a year (default 0.08)", discount, 0, 1),
    FLOAT("power-price", "USD", "a kWh (default 0.10)", power_price, 0, 10),
    FLOAT("pue", "X", "power of the site per power of the machines (default 1.3)", pue, 1, 4),
    FLOAT("utilisation", "SHARE", "of the year at full rate (default 0.5)", utilisation, 0.0001, 1),
    FLOAT("rate", "TOK/S", "output tokens of a busy unit, instead of what the catalogue gives", rate, 1e-6, 1e12),
    FLOAT("staff", "USD", "a year (default 0)", staff, 0, 1e12),
    FLOAT("rent", "USD", "a kW and month (default 0)", rent, 0, 1e5),
    FLOAT("maintenance", "SHARE", "of the price a year, instead of the catalogue's", maintenance, -1, 1),
    FLOAT("input", "TOKENS", "of a request's prompt (default 1000)", input, 1, 1e7),
    FLOAT("output", "TOKENS", "of its answer (default 300)", output, 1, 1e7),
    FLOAT("cached", "SHARE", "of the prompt found in the cache (default 0)", cached, 0, 0.99),
    FLOAT("itl", "MS", "limit between tokens, 99th percentile (default 100)", itl, 0.1, 1e6),
    FLOAT("cloud", "USD", "an hour of one rented device (accelerator)", cloud, 0, 1e5),
    { "json", 0, OPT_FLAG, NULL, "print the numbers as JSON", OPT_FIELD(struct tco_ask, json), 0, 0 },
    { 0 },
};
const struct opt_command cmd_tco_spec = {
    "tco", "[options]", "what a million tokens costs on a machine of one's own, against an API or a rented machine",
    "  tokenworks tco --hardware h200x8 --model llama-3.1-8b --api gpt-oss-120b --cloud 1.60\n"
    "`tokenworks plan --catalogue` lists machines, models and APIs; every figure can be given instead.", rows,
};

static void print_table(const struct tco_ask *o, const struct tco_input *in)
{
    struct tco_result r;
    struct tco_spread s;
    tco_compute(in, &r);
    tco_spread(in, 1, &s);
    printf("%g x %s, %s: %.0f output tok/s each, %.0f %% of the year\n\n", in->units, o->hardware, o->model, in->rate,
           100 * in->utilisation);
    printf("capital              %14.0f USD  (recovered over %g years at %.1f %%: %.5f a year)\n", r.capex,
           in->life_y,
           100 * in->discount, r.crf);
    printf("a year: capital      %14.0f USD\n        energy       %14.0f USD  (%.0f kWh)\n"
           "        maintenance  %14.0f USD\n",
           r.annuity, r.energy, r.kwh, r.maintenance);
    if (r.staff + r.rent > 0)
        printf("        staff, rent  %14.0f USD\n", r.staff + r.rent);
    printf("        all          %14.0f USD  (%.2f USD a device-hour)\n\n", r.total, r.usd_device_hour);
    printf("a million output tokens, all in   %8.4f USD  (P10 %.4f, P50 %.4f, P90 %.4f)  %.3f kWh\n",
           r.usd_per_mtok, s.p10,
           s.p50, s.p90, r.kwh_per_mtok);
    printf("by machine-seconds: input %8.4f  cached %8.4f  output %8.4f USD a million\n", r.usd_in, r.usd_cached,
           r.usd_out);
    if (o->api) {
        printf("\nat %s: %.4f USD a million output tokens with their input; %.0f USD a year\n", o->api,
               r.api_per_mtok,
               r.api_usd);
        if (r.breakeven_utilisation <= 1)
            printf("own machines are cheaper above %.1f %% utilisation", 100 * r.breakeven_utilisation);
        else
            printf("own machines are not cheaper at any utilisation");
        if (isfinite(r.payback_y))
            printf("; here they pay for themselves in %.1f years", r.payback_y);
        puts("");
    }
    if (in->cloud_hour > 0 && isfinite(r.breakeven_hours))
        printf("rented at %.2f USD a device-hour: owned is cheaper after %.0f hours of use\n", in->cloud_hour,
               r.breakeven_hours);
    else if (in->cloud_hour > 0)
        printf("rented at %.2f USD a device-hour: always cheaper than running one's own\n", in->cloud_hour);
    puts("\nUSD a million output tokens, each figure 20 % lower and higher:");
    for (int i = 0; i < s.bar_count; i++)
        printf("  %-12s %8.4f .. %8.4f\n", s.bars[i].name, s.bars[i].low, s.bars[i].high);
}

int cmd_tco(int argc, char **argv)
{
    int count;
    struct tco_ask o = tco_ask_defaults;
    enum opt_result r = opt_parse(&cmd_tco_spec, argc, argv, &o, &count);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (count) {
        fprintf(stderr, "tokenworks tco: takes options only (tokenworks tco --help)\n");
        return 2;
    }
    struct err e = { 0 };
    struct tco_input in;
    if (tco_ask_figures(&o, &in, &e))
        return cmd_fail(&cmd_tco_spec, &e);
    if (!o.json) {
        print_table(&o, &in);
        return 0;
    }
    json_t *v = tco_to_json(&in);
    json_dumpf(v, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
    puts("");
    json_decref(v);
    return 0;
}
