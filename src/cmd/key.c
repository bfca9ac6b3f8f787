/* key -- tokenworks key: API keys are made, listed, limited and revoked. A running server notices within a second. */
#include "cmd/cmd.h"

#include "base/mem.h"
#include "cmd/ledger_args.h"
#include "ledger/report.h"

#include <stdio.h>
#include <string.h>

struct key_options {
    const char *state, *tenant, *team, *name, *models, *jurisdictions, *role, *expires;
    bool json;
    struct limit_args limits;
};

static const struct opt rows[] = {
    { "state", 0, OPT_STRING, "DIR", "state folder", OPT_FIELD(struct key_options, state), 0, 0 },
    { "tenant", 't', OPT_STRING, "NAME", "whose key it is (needed)", OPT_FIELD(struct key_options, tenant), 0, 0 },
    { "team", 0, OPT_STRING, "NAME", "a team of the tenant; made when new", OPT_FIELD(struct key_options, team), 0, 0 },
    { "name", 'n', OPT_STRING, "TEXT", "what it is for", OPT_FIELD(struct key_options, name), 0, 0 },
    { "models", 'm', OPT_STRING, "A,B", "the only models it may use", OPT_FIELD(struct key_options, models), 0, 0 },
    { "jurisdictions", 0, OPT_STRING, "DE,FR", "the only places it may be served from",
      OPT_FIELD(struct key_options, jurisdictions), 0, 0 },
    { "role", 0, OPT_STRING, "ROLE", "user (default), admin or auditor", OPT_FIELD(struct key_options, role), 0, 0 },
    { "expires", 0, OPT_STRING, "WHEN", "a date like 2027-01-31, or 90d", OPT_FIELD(struct key_options, expires),
      0, 0 },
    { "json", 0, OPT_FLAG, NULL, "print JSON", OPT_FIELD(struct key_options, json), 0, 0 },
    LIMIT_ROWS(struct key_options, limits),
    { 0 },
};
const struct opt_command cmd_key_spec = {
    "key", "add|list|revoke ID|limit ID|limits [options]", "API keys: make, list, limit, revoke",
    "add prints a new key on standard output, once: only its SHA-256 is kept. revoke and limit take the number that\n"
    "list shows, or the key's first eight characters, or the key. As soon as one key exists every route of the\n"
    "server asks for one. A running server notices all changes within a second.",
    rows,
};

static enum err_code read_role(const char *text, enum ledger_role *out, struct err *e)
{
    for (int i = LEDGER_USER; text && i <= LEDGER_AUDITOR; i++)
        if (!strcmp(text, ledger_role_names[i])) {
            *out = (enum ledger_role)i;
            return ERR_OK;
        }
    return text ? err_set(e, ERR_INVALID, "'%.40s' is no role: user, admin or auditor", text) : ERR_OK;
}

/* The key and its limits in one transaction: a key never exists without the limits it was asked for with. */
static enum err_code add_in_transaction(struct store *s, const struct key_options *o, struct admin_key *k,
                                        char text[LEDGER_KEY_CHARS + 1], int64_t *id, struct err *e)
{
    int64_t now = ledger_args_now_ms();
    enum err_code c = admin_tenant_find(s, o->tenant, &k->tenant, e);
    if (!c && o->team)
        c = admin_team_need(s, k->tenant, o->team, now, &k->team, e);
    if (!c)
        c = admin_key_add(s, k, now, text, id, e);
    if (!c)
        c = limit_args_set(s, LEDGER_KEY, *id, &o->limits, e);
    return c ? c : store_exec(s, "COMMIT", e);
}

static enum err_code add(struct store *s, void *options, char **args, struct err *e)
{
    const struct key_options *o = options;
    char text[LEDGER_KEY_CHARS + 1];
    int64_t id = 0;
    struct admin_key k = { .name = o->name ? o->name : "", .models = o->models, .jurisdictions = o->jurisdictions };
    if (!o->tenant)
        return err_set(e, ERR_INVALID, "say whose key it is: --tenant NAME ('local' is there from the start)");
    enum err_code c = read_role(o->role, &k.role, e);
    if (!c && o->expires)
        c = ledger_args_date(o->expires, ledger_args_now_ms(), &k.expires_ms, e);
    if (!c)
        c = store_exec(s, "BEGIN IMMEDIATE", e);
    if (c)
        return c;
    c = add_in_transaction(s, o, &k, text, &id, e);
    if (c) {
        store_exec(s, "ROLLBACK", NULL);
        return c;
    }
    fprintf(stderr, "key %lld for the tenant '%s'; it is shown only this once\n", (long long)id, o->tenant);
    if (o->json)
        printf("{\"id\":%lld,\"key\":\"%s\"}\n", (long long)id, text);
    else
        puts(text);
    mem_wipe(text, sizeof text);
    return ERR_OK;
}

static enum err_code list(struct store *s, void *options, char **args, struct err *e)
{
    return report_list(s, REPORT_KEYS, ((struct key_options *)options)->json, stdout, e);
}

static enum err_code limits(struct store *s, void *options, char **args, struct err *e)
{
    return report_list(s, REPORT_LIMITS, ((struct key_options *)options)->json, stdout, e);
}

static enum err_code revoke(struct store *s, void *options, char **args, struct err *e)
{
    int64_t id;
    enum err_code c = admin_key_find(s, args[0], &id, e);
    if (!c)
        c = admin_key_revoke(s, id, ledger_args_now_ms(), e);
    if (!c)
        fprintf(stderr, "key %lld is revoked\n", (long long)id);
    return c;
}

static enum err_code limit(struct store *s, void *options, char **args, struct err *e)
{
    int64_t id;
    enum err_code c = admin_key_find(s, args[0], &id, e);
    return c ? c : limit_args_set(s, LEDGER_KEY, id, &((struct key_options *)options)->limits, e);
}

static const struct ledger_verb verbs[] = {
    { "add", 0, true, add },       { "list", 0, false, list },     { "revoke", 1, false, revoke },
    { "limit", 1, false, limit },  { "limits", 0, false, limits }, { NULL, 0, false, NULL },
};

int cmd_key(int argc, char **argv)
{
    struct key_options o = { .limits = LIMIT_ARGS_NONE };
    int positional;
    enum opt_result r = opt_parse(&cmd_key_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    return ledger_args_run(&cmd_key_spec, verbs, NULL, o.state, &o, positional, argv);
}
