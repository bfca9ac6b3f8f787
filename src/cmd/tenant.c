/* tenant -- tokenworks tenant: whom the factory serves, with what weight and limits, and how one is forgotten. */
#include "cmd/cmd.h"

#include "cmd/ledger_args.h"
#include "ledger/report.h"

#include <stdio.h>
#include <string.h>

struct tenant_options {
    const char *state, *team;
    int64_t weight, priority;
    bool json, yes;
    struct limit_args limits;
};

enum { PRIORITY_NONE = ADMIN_PRIORITY_MAX + 1 }; /* not given */

static const struct opt rows[] = {
    { "state", 0, OPT_STRING, "DIR", "state folder", OPT_FIELD(struct tenant_options, state), 0, 0 },
    { "weight", 'w', OPT_INT, "N", "share under load, against other tenants' (default 1)",
      OPT_FIELD(struct tenant_options, weight), 1, ADMIN_WEIGHT_MAX },
    { "priority", 0, OPT_INT, "N", "highest class its requests may ask for, -100 to 100 (0)",
      OPT_FIELD(struct tenant_options, priority), -ADMIN_PRIORITY_MAX, ADMIN_PRIORITY_MAX },
    { "team", 0, OPT_STRING, "NAME", "with set: the limits are this team's; made when new",
      OPT_FIELD(struct tenant_options, team), 0, 0 },
    { "yes", 'y', OPT_FLAG, NULL, "erase without asking", OPT_FIELD(struct tenant_options, yes), 0, 0 },
    { "json", 0, OPT_FLAG, NULL, "print JSON", OPT_FIELD(struct tenant_options, json), 0, 0 },
    LIMIT_ROWS(struct tenant_options, limits),
    { 0 },
};
const struct opt_command cmd_tenant_spec = {
    "tenant", "add NAME|set NAME|list|model MODEL|limits|erase NAME [options]", "tenants and their limits",
    "add and set take limits; set --team limits one team. model sets the limits of a model, over all tenants. erase\n"
    "revokes the tenant's keys and removes its names and its rows for good; only sums without a name stay.",
    rows,
};

static enum err_code add(struct store *s, void *options, char **args, struct err *e)
{
    const struct tenant_options *o = options;
    int64_t id = 0;
    enum err_code c = store_exec(s, "BEGIN IMMEDIATE", e);
    if (c)
        return c;
    c = admin_tenant_add(s, args[0], o->weight > 0 ? (int)o->weight : 1, ledger_args_now_ms(), &id, e);
    if (!c && o->priority != PRIORITY_NONE)
        c = admin_tenant_priority(s, id, (int)o->priority, e);
    if (!c)
        c = limit_args_set(s, LEDGER_TENANT, id, &o->limits, e);
    if (!c)
        c = store_exec(s, "COMMIT", e);
    if (c)
        store_exec(s, "ROLLBACK", NULL);
    else
        fprintf(stderr, "tenant %lld: %s\n", (long long)id, args[0]);
    return c;
}

static enum err_code set(struct store *s, void *options, char **args, struct err *e)
{
    const struct tenant_options *o = options;
    int64_t id = 0, team = 0;
    enum err_code c = admin_tenant_find(s, args[0], &id, e);
    if (!c && o->weight > 0)
        c = admin_tenant_weight(s, id, (int)o->weight, e);
    if (!c && o->priority != PRIORITY_NONE)
        c = admin_tenant_priority(s, id, (int)o->priority, e);
    if (!c && o->team)
        c = admin_team_need(s, id, o->team, ledger_args_now_ms(), &team, e);
    return c ? c : limit_args_set(s, team ? LEDGER_TEAM : LEDGER_TENANT, team ? team : id, &o->limits, e);
}

static enum err_code list(struct store *s, void *options, char **args, struct err *e)
{
    return report_list(s, REPORT_TENANTS, ((struct tenant_options *)options)->json, stdout, e);
}

static enum err_code limits(struct store *s, void *options, char **args, struct err *e)
{
    return report_list(s, REPORT_LIMITS, ((struct tenant_options *)options)->json, stdout, e);
}

static enum err_code model(struct store *s, void *options, char **args, struct err *e)
{
    int64_t id = 0;
    enum err_code c = admin_model_need(s, args[0], &id, e);
    return c ? c : limit_args_set(s, LEDGER_MODEL, id, &((struct tenant_options *)options)->limits, e);
}

static enum err_code erase(struct store *s, void *options, char **args, struct err *e)
{
    int64_t id = 0; /* a second time by its new name, erased-ID, should the log have been in use */
    enum err_code c = admin_tenant_find(s, args[0], &id, e);
    if (!c && !((struct tenant_options *)options)->yes)
        c = err_set(e, ERR_INVALID, "this cannot be undone; say --yes to erase '%s'", args[0]);
    if (!c)
        c = admin_tenant_erase(s, id, ledger_args_now_ms(), e);
    if (!c)
        fprintf(stderr, "erased; its sums stay as erased-%lld\n", (long long)id);
    return c;
}

static const struct ledger_verb verbs[] = {
    { "add", 1, true, add },         { "set", 1, false, set },        { "list", 0, false, list },
    { "model", 1, true, model },     { "limits", 0, false, limits },  { "erase", 1, false, erase },
    { NULL, 0, false, NULL },
};

int cmd_tenant(int argc, char **argv)
{
    struct tenant_options o = { .weight = -1, .priority = PRIORITY_NONE, .limits = LIMIT_ARGS_NONE };
    int positional;
    enum opt_result r = opt_parse(&cmd_tenant_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    return ledger_args_run(&cmd_tenant_spec, verbs, NULL, o.state, &o, positional, argv);
}
