/* usage -- tokenworks usage: what was used and what it cost; prices, statements, exports, retention. */
#include "cmd/cmd.h"

#include "base/clock.h"
#include "cmd/ledger_args.h"
#include "ledger/energy.h"
#include "ledger/report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct usage_options {
    const char *state, *tenant, *by, *from, *to, *month, *out, *provider, *prompt, *cached, *output, *source;
    double idle_watts, core_watts;
    bool json;
};

#define TEXT(name, letter, arg, help, field) \
    { name, letter, OPT_STRING, arg, help, OPT_FIELD(struct usage_options, field), 0, 0 }
static const struct opt rows[] = {
    TEXT("state", 0, "DIR", "state folder", state),
    TEXT("tenant", 't', "NAME", "of this tenant only", tenant),
    TEXT("by", 'b', "WHAT", "one line for each tenant, team, key, model, day, month or tenant-day", by),
    TEXT("from", 0, "DATE", "from this day on (price: in force from then)", from),
    TEXT("to", 0, "DATE", "before this day", to),
    TEXT("month", 0, "YYYY-MM", "the statement's month (default: this one)", month),
    TEXT("out", 'o', "FILE", "write the export there", out),
    TEXT("provider", 0, "NAME", "who sends the bill, in the export", provider),
    TEXT("prompt", 0, "AMOUNT", "price of a million prompt tokens", prompt),
    TEXT("cached", 0, "AMOUNT", "price of a million cached prompt tokens (default: --prompt)", cached),
    TEXT("output", 0, "AMOUNT", "price of a million output tokens", output),
    TEXT("source", 0, "TEXT", "where the price comes from: list, own cost ...", source),
    { "idle-watts", 0, OPT_FLOAT, "W", "machine: what it draws idle", OPT_FIELD(struct usage_options, idle_watts), 0,
      1e5 },
    { "core-watts", 0, OPT_FLOAT, "W", "machine: what each busy core adds",
      OPT_FIELD(struct usage_options, core_watts), 0, 1e5 },
    { "json", 0, OPT_FLAG, NULL, "print JSON: money in millionths, energy in millijoules",
      OPT_FIELD(struct usage_options, json), 0, 0 },
    { 0 },
};
const struct opt_command cmd_usage_spec = {
    "usage", "[show|statement|export|price MODEL|prices|currency CODE|verify|purge DATE|\n"
    "                        retention DAYS|machine|energy] [options]",
    "what was used and what it cost",
    "show (the default) sums by --by over whole days. statement is one tenant's month. export writes FOCUS 1.2 CSV, a\n"
    "line for each request. price sets a model's price from a day on ('*': every other model). verify proves that\n"
    "rows and sums agree. purge deletes rows of requests before a day, retention lets the server do so after DAYS\n"
    "(0: never); sums stay. machine states the watts this machine draws, for where it has no counter; energy shows\n"
    "where its joules come from. Days are UTC.",
    rows,
};

static enum err_code read_range(struct store *s, const struct usage_options *o, struct report_range *r, struct err *e)
{
    int64_t now = ledger_args_now_ms();
    *r = (struct report_range){ 0, (meter_day(now) + 1) * 86400000, 0 };
    enum err_code c = o->from ? ledger_args_date(o->from, now, &r->from_ms, e) : ERR_OK;
    if (!c && o->to)
        c = ledger_args_date(o->to, now, &r->to_ms, e);
    return !c && o->tenant ? admin_tenant_find(s, o->tenant, &r->tenant, e) : c;
}

static enum err_code show(struct store *s, void *options, char **args, struct err *e)
{
    const struct usage_options *o = options;
    struct report_range r;
    int by = 0;
    while (o->by && report_by_names[by] && strcmp(report_by_names[by], o->by))
        by++;
    if (!report_by_names[by])
        return err_set(e, ERR_INVALID, "'%.40s' is nothing to sum by: tenant, team, key, model, day or month", o->by);
    enum err_code c = read_range(s, o, &r, e);
    return c ? c : report_usage(s, &r, (enum report_by)by, o->json, stdout, e);
}

static enum err_code statement(struct store *s, void *options, char **args, struct err *e)
{
    const struct usage_options *o = options;
    int64_t tenant = 0, when = ledger_args_now_ms();
    if (!o->tenant)
        return err_set(e, ERR_INVALID, "say whose statement: --tenant NAME");
    enum err_code c = admin_tenant_find(s, o->tenant, &tenant, e);
    if (!c && o->month)
        c = ledger_args_date(o->month, when, &when, e);
    return c ? c : report_statement(s, tenant, meter_month(when), o->json, stdout, e);
}

static enum err_code export(struct store *s, void *options, char **args, struct err *e)
{
    const struct usage_options *o = options;
    struct report_range r;
    struct report_export sums;
    enum err_code c = read_range(s, o, &r, e);
    if (c)
        return c;
    FILE *f = o->out ? fopen(o->out, "wx") : stdout;
    if (!f)
        return err_errno(e, "%s: cannot create (an export overwrites nothing)", o->out);
    c = report_focus(s, &r, o->provider ? o->provider : "Tokenworks", f, &sums, e);
    if (o->out && fclose(f) && !c)
        c = err_errno(e, "%s: cannot write", o->out);
    if (!c) {
        struct buf b = { 0 };
        price_print(sums.cost_micros, &b);
        fprintf(stderr, "%lld requests, %lld prompt and %lld output tokens, cost %s\n", (long long)sums.rows,
                (long long)sums.prompt, (long long)sums.output, buf_str(&b));
        buf_release(&b);
    }
    return c;
}

static enum err_code price(struct store *s, void *options, char **args, struct err *e)
{
    const struct usage_options *o = options;
    struct price p = { 0 };
    int64_t from = 0;
    if (!o->prompt || !o->output)
        return err_set(e, ERR_INVALID, "a price needs --prompt and --output, for a million tokens each");
    enum err_code c = price_parse(o->prompt, PRICE_MICROS_MAX, &p.prompt, e);
    if (!c)
        c = price_parse(o->cached ? o->cached : o->prompt, PRICE_MICROS_MAX, &p.cached, e);
    if (!c)
        c = price_parse(o->output, PRICE_MICROS_MAX, &p.output, e);
    if (!c && o->from)
        c = ledger_args_date(o->from, ledger_args_now_ms(), &from, e);
    return c ? c : admin_price_set(s, args[0], o->from ? from : ledger_args_now_ms(), &p,
                                   o->source ? o->source : "list", e);
}

static enum err_code prices(struct store *s, void *options, char **args, struct err *e)
{
    return report_list(s, REPORT_PRICES, ((struct usage_options *)options)->json, stdout, e);
}

static enum err_code currency(struct store *s, void *options, char **args, struct err *e)
{
    return admin_currency_set(s, args[0], e);
}

static enum err_code verify(struct store *s, void *options, char **args, struct err *e)
{
    struct admin_check k;
    enum err_code c = admin_verify(s, &k, e);
    if (c)
        return c;
    struct buf b = { 0 };
    price_print(k.cost_micros, &b);
    printf("%lld rows, %lld requests in the daily sums, cost of the rows %s, %lld differences\n", (long long)k.rows,
           (long long)k.requests, buf_str(&b), (long long)k.wrong);
    buf_release(&b);
    return k.wrong ? err_set(e, ERR_CORRUPT, "rows and daily sums differ; keep a copy of the file and report it") :
           ERR_OK;
}

static enum err_code unsent_before(struct store *s, int64_t before_ms, int64_t *count, struct err *e)
{
    char sql[80];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM usage WHERE settled_ms < %lld", (long long)before_ms);
    return store_int(s, sql, NULL, 0, count, e);
}

static enum err_code purge(struct store *s, void *options, char **args, struct err *e)
{
    int64_t before, gone = 0, kept = 0, now = ledger_args_now_ms();
    enum err_code c = ledger_args_date(args[0], now, &before, e);
    if (!c && before > now)
        c = err_set(e, ERR_INVALID, "%s is not over yet; nothing was deleted", args[0]);
    if (!c)
        c = admin_purge(s, meter_day(before), &gone, e);
    if (!c)
        fprintf(stderr, "%lld rows deleted; their daily sums stay\n", (long long)gone);
    if (!c && before > 0 && !unsent_before(s, before, &kept, e) && kept)
        fprintf(stderr, "%lld rows stay: they have not reached the fleet's book yet\n", (long long)kept);
    return c;
}

static enum err_code retention(struct store *s, void *options, char **args, struct err *e)
{
    int64_t days = 0;
    enum err_code c = opt_parse_int(args[0], 0, ADMIN_RETENTION_MAX, &days, e);
    return c ? c : admin_retention_set(s, days, e);
}

static enum err_code machine(struct store *s, void *options, char **args, struct err *e)
{
    const struct usage_options *o = options;
    if (o->idle_watts < 0 || o->core_watts < 0)
        return err_set(e, ERR_INVALID, "state both: --idle-watts W --core-watts W");
    return admin_machine_set(s, (int64_t)(o->idle_watts * 1000), (int64_t)(o->core_watts * 1000), e);
}

static enum err_code energy(struct store *s, void *options, char **args, struct err *e)
{
    struct directory d;
    enum err_code c = store_load(s, ledger_args_now_ms(), &d, e);
    if (c)
        return c;
    struct energy_model model = { (double)d.idle_mw / 1000, (double)d.core_mw / 1000 };
    directory_free(&d);
    struct energy *meter = energy_open("", &model);
    struct buf b = { 0 };
    energy_describe(meter, &b);
    energy_read(meter, clock_mono_ns());
    nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
    int64_t mj = energy_read(meter, clock_mono_ns());
    printf("%s\n%lld.%03lld J in the last second\n", buf_str(&b), (long long)(mj / 1000), (long long)(mj % 1000));
    buf_release(&b);
    energy_close(meter);
    return ERR_OK;
}

static const struct ledger_verb verbs[] = {
    { "show", 0, false, show },       { "statement", 0, false, statement }, { "export", 0, false, export },
    { "price", 1, true, price },      { "prices", 0, false, prices },       { "currency", 1, true, currency },
    { "verify", 0, false, verify },   { "purge", 1, false, purge },         { "energy", 0, true, energy },
    { "machine", 0, true, machine },  { "retention", 1, true, retention },
    { NULL, 0, false, NULL },
};

int cmd_usage(int argc, char **argv)
{
    struct usage_options o = { .idle_watts = -1, .core_watts = -1 };
    int positional;
    enum opt_result r = opt_parse(&cmd_usage_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    return ledger_args_run(&cmd_usage_spec, verbs, "show", o.state, &o, positional, argv);
}
