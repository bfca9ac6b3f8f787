/* ledger_args -- see ledger_args.h. */
#include "cmd/ledger_args.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum err_code set_money(struct store *s, enum ledger_scope scope, int64_t id, enum ledger_limit kind,
                               const char *amount, struct err *e)
{
    int64_t micros;
    if (!amount)
        return ERR_OK;
    enum err_code c = price_parse(amount, ADMIN_LIMIT_MAX, &micros, e);
    return c ? c : admin_limit_set(s, scope, id, kind, micros, e);
}

enum err_code limit_args_set(struct store *s, enum ledger_scope scope, int64_t id, const struct limit_args *a,
                             struct err *e)
{
    const struct {
        enum ledger_limit kind;
        int64_t value, factor;
    } v[] = {
        { LEDGER_REQUESTS_MINUTE, a->requests_minute, 1 }, { LEDGER_TOKENS_MINUTE, a->tokens_minute, 1 },
        { LEDGER_CONCURRENT, a->concurrent, 1 }, { LEDGER_DAY_TOKENS, a->tokens_day, 1 },
        { LEDGER_MONTH_TOKENS, a->tokens_month, 1 }, { LEDGER_DAY_ENERGY, a->joules_day, 1000 },
        { LEDGER_MONTH_ENERGY, a->joules_month, 1000 },
    };
    enum err_code c = ERR_OK;
    for (size_t i = 0; i < MEM_COUNT(v) && !c; i++)
        if (v[i].value >= 0)
            c = admin_limit_set(s, scope, id, v[i].kind, v[i].value * v[i].factor, e);
    if (!c)
        c = set_money(s, scope, id, LEDGER_DAY_MONEY, a->money_day, e);
    return c ? c : set_money(s, scope, id, LEDGER_MONTH_MONEY, a->money_month, e);
}

int64_t ledger_args_now_ms(void)
{
    return clock_wall_ns() / 1000000;
}

enum err_code ledger_args_open(const char *state, bool create, struct store **out, struct err *e)
{
    char *dir = file_state_dir(state), *path = store_path(dir);
    enum err_code c = create ? file_make_dirs(dir, e) : ERR_OK;
    if (!c)
        c = store_open(path, create, ledger_args_now_ms(), out, e);
    mem_free(path);
    mem_free(dir);
    return c;
}

enum err_code ledger_args_date(const char *text, int64_t now_ms, int64_t *out, struct err *e)
{
    int n[3] = { 0, 0, 1 }, parts = 0;
    char *end = NULL;
    const char *p = text;
    for (; parts < 3 && *p >= '0' && *p <= '9'; parts++) {
        long v = strtol(p, &end, 10);
        n[parts] = v >= 0 && v < 100000 ? (int)v : -1;
        p = *end == '-' && end[1] ? end + 1 : end;
    }
    if (parts == 1 && !strcmp(p, "d") && n[0] > 0) {
        *out = now_ms + (int64_t)n[0] * 86400000;
        return ERR_OK;
    }
    int64_t day = n[0] >= 1970 && n[0] <= 9999 && n[1] >= 1 && n[1] <= 12 && n[2] >= 1 && n[2] <= 31 ?
                  meter_civil_day(n[0], n[1], n[2]) : -1;
    int y = 0, m = 0, d = 0;
    if (day >= 0)
        meter_day_civil(day, &y, &m, &d); /* 31 February comes back as something else */
    if (parts < 2 || *p || day < 0 || y != n[0] || m != n[1] || d != n[2])
        return err_set(e, ERR_INVALID, "'%.40s' is no date: write 2026-01-31, or 2026-01 for a month's first day, "
                       "or 90d", text);
    *out = day * 86400000;
    return ERR_OK;
}

int ledger_args_run(const struct opt_command *spec, const struct ledger_verb *verbs, const char *fallback,
                    const char *state, void *options, int positional, char **argv)
{
    const char *name = positional ? argv[1] : fallback;
    const struct ledger_verb *v = verbs;
    while (v->name && (!name || strcmp(v->name, name)))
        v++;
    if (!v->name || positional - (positional > 0) != v->arguments) {
        fprintf(stderr, "tokenworks %s: %s (tokenworks %s --help shows the forms)\n", spec->name,
                !name ? "say what to do" : v->name ? "a wrong number of arguments" : "no such verb", spec->name);
        return 2;
    }
    struct store *s;
    struct err e;
    if (ledger_args_open(state, v->create, &s, &e))
        return cmd_fail(spec, &e);
    enum err_code c = v->run(s, options, argv + 2, &e);
    store_close(s);
    if (!c && fflush(stdout))
        c = err_errno(&e, "cannot write the answer");
    return c ? cmd_fail(spec, &e) : 0;
}
