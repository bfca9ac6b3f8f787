/* policy -- see policy.h: the decision, and the decision explained, are one function with two kinds of listener. */
#include "trust/policy_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool country_has(const struct country_set *s, int number)
{
    return s->bit[number / 64] >> number % 64 & 1;
}

bool country_overlap(const struct country_set *a, const struct country_set *b)
{
    for (int i = 0; i < COUNTRY_WORDS; i++)
        if (a->bit[i] & b->bit[i])
            return true;
    return false;
}

/* What a request is about, once its names are looked up. */
struct facts {
    const struct policy_tenant *tenant;
    const struct policy_model *model;
    const struct policy_site *site;
    int data_class;
    const struct policy_request *r;
};

static void __attribute__((format(printf, 2, 3))) say(struct buf *trace, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    if (!trace)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_printf(trace, "%s\n", line);
}

static void decide(struct policy_decision *out, bool allow, const char *rule, const char *why)
{
    out->allow = allow;
    snprintf(out->rule, sizeof out->rule, "%s", rule);
    snprintf(out->why, sizeof out->why, "%s", why);
}

static bool same(const char *a, const char *b)
{
    return a && !strcmp(a, b);
}

static int find_class(const struct policy *p, const char *name)
{
    for (int i = 0; i < p->class_count; i++)
        if (!strcmp(p->classes[i], name))
            return i;
    return -1;
}

/* Looks everything up; false when something is unknown, which is decided here. */
static bool gather(const struct policy *p, const struct policy_request *r, struct facts *f, struct policy_decision *out)
{
    *f = (struct facts){ .r = r };
    for (int i = 0; i < p->site_count; i++)
        if (same(r->site, p->sites[i].name))
            f->site = &p->sites[i];
    if (f->site)
        country_code(f->site->jurisdiction, out->jurisdiction);
    for (int i = 0; i < p->tenant_count; i++)
        if (same(r->tenant, p->tenants[i].name))
            f->tenant = &p->tenants[i];
    for (int i = 0; i < p->model_count; i++)
        if (same(r->model, p->models[i].name))
            f->model = &p->models[i];
    if (!f->site)
        return decide(out, false, "builtin/unknown-site", "the site is not in the policy"), false;
    if (!f->tenant)
        return decide(out, false, "builtin/unknown-tenant", "the tenant is not in the policy"), false;
    f->data_class = f->tenant->default_class;
    int asked = r->data_class ? find_class(p, r->data_class) : f->data_class;
    if (asked > f->data_class)
        f->data_class = asked;
    snprintf(out->data_class, sizeof out->data_class, "%s", p->classes[f->data_class]);
    if (asked < 0)
        return decide(out, false, "builtin/unknown-class", "the data class is not in the policy"), false;
    if (!f->model)
        return decide(out, false, "builtin/unknown-model", "the model is not in the policy"), false;
    return true;
}

static bool builtin_denial(const struct facts *f, struct buf *trace, struct policy_decision *out)
{
    const int where = f->site->jurisdiction;
    const struct {
        bool bad;
        const char *rule, *why;
    } rows[] = {
        { f->tenant->must_sign && !f->r->is_signed, "builtin/signature", "the tenant's requests must be signed" },
        { f->tenant->must_seal && !f->r->is_sealed, "builtin/sealed", "the tenant's requests must be sealed" },
        { !country_has(&f->tenant->process_in, where), "builtin/process-in",
          "the tenant's data must not be processed in this jurisdiction" },
        { f->r->stores && !country_has(&f->tenant->store_in, where), "builtin/store-in",
          "the tenant's data must not be stored in this jurisdiction" },
        { f->data_class > f->model->max_class, "builtin/model-class",
          "the data class is above what the model may see" },
        { !country_has(&f->model->territory, where), "builtin/territory",
          "the model must not be used in this jurisdiction" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        say(trace, "%-22s %s", rows[i].rule, rows[i].bad ? "DENIES" : "passes");
        if (rows[i].bad) {
            decide(out, false, rows[i].rule, rows[i].why);
            return true;
        }
    }
    return false;
}

static bool listed(const struct policy_names *n, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (same(name, n->name[i]))
            return true;
    return !n->given;
}

/* The first condition that does not hold, or NULL: the rule applies. */
static const char *unmet(const struct policy_rule *r, const struct facts *f)
{
    const int where = f->site->jurisdiction;
    const struct {
        bool ok;
        const char *name;
    } rows[] = {
        { listed(&r->tenants, f->r->tenant), "tenant" },
        { listed(&r->models, f->r->model), "model" },
        { listed(&r->sites, f->r->site), "site" },
        { !r->has_in || country_has(&r->in, where), "jurisdiction-in" },
        { !r->has_not_in || !country_has(&r->not_in, where), "jurisdiction-not-in" },
        { !r->has_law_in || country_overlap(&r->law_in, &f->site->law), "operator-law-in" },
        { !r->has_law_not_in || !country_overlap(&r->law_not_in, &f->site->law), "operator-law-not-in" },
        { r->class_at_least < 0 || f->data_class >= r->class_at_least, "class-at-least" },
        { r->class_at_most < 0 || f->data_class <= r->class_at_most, "class-at-most" },
        { !r->has_signed || f->r->is_signed == r->is_signed, "signed" },
        { !r->has_sealed || f->r->is_sealed == r->is_sealed, "sealed" },
        { !r->has_stores || f->r->stores == r->stores, "stores" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!rows[i].ok)
            return rows[i].name;
    return NULL;
}

static void decide_by_rules(const struct policy *p, const struct facts *f, struct buf *trace,
                            struct policy_decision *out)
{
    const struct policy_rule *allow = NULL, *deny = NULL;
    for (int i = 0; i < p->rule_count; i++) {
        const struct policy_rule *r = &p->rules[i];
        const char *not_met = unmet(r, f);
        say(trace, "%-22s %s%s", r->id, not_met ? "does not apply: " : r->allow ? "ALLOWS" : "DENIES",
            not_met ? not_met : "");
        if (!not_met && r->allow && !allow)
            allow = r;
        if (!not_met && !r->allow && !deny)
            deny = r;
    }
    if (deny)
        decide(out, false, deny->id, "a rule of the policy denies it");
    else if (allow)
        decide(out, true, allow->id, "a rule of the policy allows it");
    else
        decide(out, false, "builtin/default", "no rule of the policy allows it");
}

static void run(const struct policy *p, const struct policy_request *r, struct buf *trace, struct policy_decision *out)
{
    struct facts f;
    *out = (struct policy_decision){ 0 };
    if (!gather(p, r, &f, out))
        return;
    say(trace, "tenant %s, model %s, site %s in %s, class %s%s%s%s", r->tenant, r->model, r->site, out->jurisdiction,
        out->data_class, r->is_signed ? ", signed" : "", r->is_sealed ? ", sealed" : "", r->stores ? ", stores" : "");
    if (!builtin_denial(&f, trace, out))
        decide_by_rules(p, &f, trace, out);
}

void policy_decide(const struct policy *p, const struct policy_request *r, struct policy_decision *out)
{
    run(p, r, NULL, out);
}

void policy_explain(const struct policy *p, const struct policy_request *r, struct buf *out)
{
    struct policy_decision d;
    run(p, r, out, &d);
    say(out, "=> %s by %s: %s", d.allow ? "allow" : "deny", d.rule, d.why);
}

bool policy_requires_signature(const struct policy *p, const char *tenant)
{
    for (int i = 0; i < p->tenant_count; i++)
        if (same(tenant, p->tenants[i].name))
            return p->tenants[i].must_sign;
    return true;
}

const char *policy_tenant(const struct policy *p, int n)
{
    return n >= 0 && n < p->tenant_count ? p->tenants[n].name : NULL;
}

const char *policy_model(const struct policy *p, int n)
{
    return n >= 0 && n < p->model_count ? p->models[n].name : NULL;
}

const char *policy_site(const struct policy *p, int n, char jurisdiction[3])
{
    if (n < 0 || n >= p->site_count)
        return NULL;
    country_code(p->sites[n].jurisdiction, jurisdiction);
    return p->sites[n].name;
}

void policy_problem(const struct policy_decision *d, struct buf *out)
{
    buf_puts(out, "{\"type\":\"about:blank\",\"title\":\"Not allowed by policy\",\"status\":403,\"detail\":");
    jsonx_quote(d->why, strlen(d->why), out);
    buf_puts(out, ",\"rule\":");
    jsonx_quote(d->rule, strlen(d->rule), out);
    buf_puts(out, "}");
}
