/* policy_test -- decisions as a table, residency, raising and lowering classes, and files that must not load. */
#include "../test.h"
#include "help.h"
#include "trust/policy.h"

static const char file[] =
    "{ 'version': 1,"
    "  'groups': { 'EU': ['DE','FR','AT'], 'EEA': ['EU','NO','IS','LI'] },"
    "  'classes': ['public','internal','confidential','secret'],"
    "  'sites': { 'berlin': { 'jurisdiction':'DE', 'operator-law':['DE'] },"
    "             'oslo':   { 'jurisdiction':'NO', 'operator-law':['NO'] },"
    "             'frankfurt-us': { 'jurisdiction':'DE', 'operator-law':['DE','US'] },"
    "             'virginia': { 'jurisdiction':'US', 'operator-law':['US'] } },"
    "  'tenants': { 'clinic': { 'home':'DE', 'process-in':['EU'], 'store-in':['DE'], 'default-class':'confidential',"
    "                           'signed':true },"
    "               'press':  { 'home':'FR', 'process-in':['EEA','US'], 'default-class':'public' } },"
    "  'models': { 'small': { 'max-class':'secret', 'territory':['EEA','US'] },"
    "              'big':   { 'max-class':'internal', 'territory':['EEA'] } },"
    "  'rules': [ { 'id':'no-cloud-act', 'effect':'deny', 'when': { 'operator-law-in':['US'],"
    "               'class-at-least':'confidential' } },"
    "             { 'id':'clinic-ok', 'effect':'allow', 'when': { 'tenant':['clinic'], 'class-at-most':'confidential' } },"
    "             { 'id':'press-ok', 'effect':'allow', 'when': { 'tenant':['press'] } },"
    "             { 'id':'nothing-secret', 'effect':'deny', 'when': { 'class-at-least':'secret' } } ] }";

static struct policy *load(const char *text, struct err *e)
{
    struct policy *p = NULL;
    struct buf b = { 0 };
    for (; *text; text++)
        buf_putc(&b, *text == '\'' ? '"' : *text);
    uint8_t hash[HASH_BYTES];
    policy_parse_text(help_buf(&b), hash, &p, e);
    buf_release(&b);
    return p;
}

static void decisions(void)
{
    static const struct {
        const char *tenant, *model, *site, *data_class;
        bool is_signed, stores, allow;
        const char *rule, *in_force;
    } rows[] = {
        { "clinic", "small", "berlin", NULL, true, false, true, "clinic-ok", "confidential" },
        { "clinic", "small", "berlin", "public", true, false, true, "clinic-ok", "confidential" }, /* not lowered */
        { "clinic", "small", "berlin", "secret", true, false, false, "nothing-secret", "secret" }, /* raised */
        { "clinic", "small", "berlin", NULL, false, false, false, "builtin/signature", "confidential" },
        { "clinic", "small", "oslo", NULL, true, false, false, "builtin/process-in", "confidential" },
        { "clinic", "small", "virginia", NULL, true, false, false, "builtin/process-in", "confidential" },
        { "clinic", "small", "frankfurt-us", NULL, true, false, false, "no-cloud-act", "confidential" },
        { "clinic", "big", "berlin", NULL, true, false, false, "builtin/model-class", "confidential" },
        { "clinic", "big", "berlin", "public", true, false, false, "builtin/model-class", "confidential" },
        { "clinic", "small", "berlin", NULL, true, true, true, "clinic-ok", "confidential" },
        { "press", "small", "virginia", NULL, false, false, true, "press-ok", "public" },
        { "press", "big", "virginia", NULL, false, false, false, "builtin/territory", "public" },
        { "press", "big", "oslo", NULL, false, false, true, "press-ok", "public" },
        { "press", "big", "oslo", NULL, false, true, false, "builtin/store-in", "public" },
        { "press", "small", "virginia", "confidential", false, false, false, "no-cloud-act", "confidential" },
        { "press", "small", "virginia", "top", false, false, false, "builtin/unknown-class", "public" },
        { "nobody", "small", "berlin", NULL, true, false, false, "builtin/unknown-tenant", "" },
        { NULL, "small", "berlin", NULL, true, false, false, "builtin/unknown-tenant", "" },
        { "press", "other", "berlin", NULL, true, false, false, "builtin/unknown-model", "public" },
        { "press", "small", "moon", NULL, true, false, false, "builtin/unknown-site", "" },
    };
    struct err e = { 0 };
    struct policy *p = load(file, &e);
    if (!p)
        printf("# %s\n", e.text);
    CHECK(p != NULL);
    for (size_t i = 0; p && i < MEM_COUNT(rows); i++) {
        struct policy_decision d;
        struct buf trace = { 0 };
        const struct policy_request r = { .tenant = rows[i].tenant, .model = rows[i].model, .site = rows[i].site,
                                          .data_class = rows[i].data_class, .is_signed = rows[i].is_signed,
                                          .stores = rows[i].stores };
        policy_decide(p, &r, &d);
        CHECK_INT(d.allow, rows[i].allow);
        CHECK_STR(d.rule, rows[i].rule);
        CHECK_STR(d.data_class, rows[i].in_force);
        policy_explain(p, &r, &trace);
        CHECK(strstr(trace.data, rows[i].rule) != NULL && strstr(trace.data, d.allow ? "=> allow" : "=> deny"));
        buf_release(&trace);
    }
    policy_free(p);
}

/* An auditor decides again from the class written in the receipt: it must come out the same. */
static void deciding_again_is_the_same(void)
{
    struct policy *p = load(file, NULL);
    static const char *const classes[] = { NULL, "public", "internal", "confidential", "secret" };
    for (int t = 0; policy_tenant(p, t); t++)
        for (int m = 0; policy_model(p, m); m++)
            for (size_t c = 0; c < MEM_COUNT(classes); c++) {
                struct policy_request r = { .tenant = policy_tenant(p, t), .model = policy_model(p, m),
                                            .site = "berlin", .data_class = classes[c], .is_signed = true };
                struct policy_decision once, twice;
                policy_decide(p, &r, &once);
                r.data_class = once.data_class;
                policy_decide(p, &r, &twice);
                CHECK_INT(once.allow, twice.allow);
                CHECK_STR(once.rule, twice.rule);
            }
    policy_free(p);
}

static void nothing_is_allowed_by_default(void)
{
    struct policy *p = load("{'version':1,'classes':['a'],'sites':{'s':{'jurisdiction':'DE','operator-law':['DE']}},"
                            "'tenants':{'t':{'home':'DE','process-in':['DE'],'default-class':'a'}},"
                            "'models':{'m':{'max-class':'a','territory':['DE']}},'rules':[]}", NULL);
    struct policy_decision d;
    policy_decide(p, &(struct policy_request){ .tenant = "t", .model = "m", .site = "s" }, &d);
    CHECK_INT(d.allow, 0);
    CHECK_STR(d.rule, "builtin/default");
    CHECK(policy_requires_signature(p, "unknown"));
    CHECK(!policy_requires_signature(p, "t"));
    struct buf b = { 0 };
    policy_problem(&d, &b);
    CHECK_STR(b.data, "{\"type\":\"about:blank\",\"title\":\"Not allowed by policy\",\"status\":403,"
                      "\"detail\":\"no rule of the policy allows it\",\"rule\":\"builtin/default\"}");
    buf_release(&b);
    policy_free(p);
}

static void files_that_must_not_load(void)
{
#define HEAD "{'version':1,'classes':['a','b'],'sites':{'s':{'jurisdiction':'DE','operator-law':['DE']}},"
#define TENANT "'tenants':{'t':{'home':'DE','process-in':['DE'],'default-class':'a'}},"
#define MODEL "'models':{'m':{'max-class':'a','territory':['DE']}},"
    static const char *const bad[] = {
        "", "[]", "{}", "{'version':2}", HEAD "'tenants':{},'models':{},'rules':{}}",
        HEAD TENANT MODEL "'rules':[],'extra':1}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'allow'}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'maybe','when':{}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'builtin/x','effect':'allow','when':{}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'allow','when':{}},{'id':'x','effect':'deny','when':{}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'deny','when':{'tennant':['t']}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'deny','when':{'tenant':['T']}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'deny','when':{'tenant':'t'}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'deny','when':{'site':['moon']}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'deny','when':{'jurisdiction-in':['UK']}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'deny','when':{'jurisdiction-in':[]}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'deny','when':{'class-at-least':'c'}}]}",
        HEAD TENANT MODEL "'rules':[{'id':'x','effect':'deny','when':{'signed':'yes'}}]}",
        HEAD "'tenants':{'t':{'home':'DE','process-in':['EU'],'default-class':'a'}}," MODEL "'rules':[]}",
        HEAD "'tenants':{'t':{'home':'de','process-in':['DE'],'default-class':'a'}}," MODEL "'rules':[]}",
        HEAD "'tenants':{'t':{'home':'DE','default-class':'a'}}," MODEL "'rules':[]}",
        HEAD "'tenants':{'t u':{'home':'DE','process-in':['DE'],'default-class':'a'}}," MODEL "'rules':[]}",
        HEAD TENANT "'models':{'m':{'max-class':'z','territory':['DE']}},'rules':[]}",
        HEAD TENANT "'models':{'m':{'max-class':'a'}},'rules':[]}",
        "{'version':1,'groups':{'DE':['FR']},'classes':['a'],'sites':{},'tenants':{},'models':{},'rules':[]}",
        "{'version':1,'groups':{'A':['B'],'B':['DE']},'classes':['a'],'sites':{},'tenants':{},'models':{},'rules':[]}",
        "{'version':1,'classes':['a','a'],'sites':{},'tenants':{},'models':{},'rules':[]}",
        "{'version':1,'version':1,'classes':['a'],'sites':{},'tenants':{},'models':{},'rules':[]}",
    };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        struct err e = { 0 };
        struct policy *p = load(bad[i], &e);
        if (p)
            printf("# loaded: %s\n", bad[i]);
        CHECK(p == NULL);
        policy_free(p);
    }
    struct policy *p = load(HEAD TENANT MODEL "'rules':[]}", NULL);
    CHECK(p != NULL);
    policy_free(p);
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    RUN(decisions);
    RUN(deciding_again_is_the_same);
    RUN(nothing_is_allowed_by_default);
    RUN(files_that_must_not_load);
    DONE();
}
