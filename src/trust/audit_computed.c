/* audit_computed -- receipts of a fleet's gateway: each worker they name stands where the policy in force then let the
 * request be computed, had weights that were signed, and their tokens add up to those that were given. */
#include "trust/audit_impl.h"

#include <inttypes.h>
#include <string.h>

static void fail(struct audit *a, const struct receipt *r, const struct computed *c, const char *what, const char *more)
{
    audit_fail(a, "receipt %s/%" PRIu64 ": computed by %s/%s/%s, %s%s", r->boot, r->seq, c->jurisdiction, c->site,
               c->worker, what, more);
}

/* What can be said without knowing whose it was: the site is in the policy, in this jurisdiction. */
static bool check_place(struct audit *a, const struct policy *p, const struct receipt *r, const struct computed *c)
{
    const char *name;
    char where[3];
    for (int i = 0; (name = policy_site(p, i, where)); i++) {
        if (strcmp(name, c->site))
            continue;
        if (strcmp(where, c->jurisdiction))
            fail(a, r, c, "but the policy in force puts that site in ", where);
        return !strcmp(where, c->jurisdiction);
    }
    fail(a, r, c, "a site that the policy in force does not know", "");
    return false;
}

static void check_policy(struct audit *a, const struct policy *p, const struct receipt *r, const struct computed *c)
{
    char model[256];
    const char *tenant = NULL;
    struct policy_decision d;
    if (!check_place(a, p, r, c) || !audit_tenant(a, p, r, &tenant))
        return; /* decisions are not evaluated again: counted and said there */
    const struct policy_request q = { .tenant = tenant, .model = audit_model_name(a, r, model), .site = c->site,
                                      .data_class = r->data_class[0] ? r->data_class : NULL,
                                      .is_signed = r->has_reqsig, .is_sealed = r->sealed, .stores = r->stored };
    policy_decide(p, &q, &d);
    if (!d.allow)
        fail(a, r, c, "where the policy in force denies it by ", d.rule);
}

static bool lists(const struct statement *model, const uint8_t weights[HASH_BYTES])
{
    struct span list = statement_get(model, "files"), pair, name, hash;
    uint8_t have[HASH_BYTES];
    while (statement_next(&list, &pair))
        if (span_cut(pair, '=', &name, &hash) && code_unhash_text(have, hash) && !memcmp(have, weights, HASH_BYTES))
            return true;
    return false;
}

static void check_part(struct audit *a, const struct receipt *r, const struct computed *c)
{
    const struct audit_note *policy = r->has_policy ? audit_find(a, STATEMENT_POLICY, r->policy) : NULL;
    const struct audit_note *model = r->has_model ? audit_find(a, STATEMENT_MODEL, r->model) : NULL;
    if (policy && policy->policy)
        check_policy(a, policy->policy, r, c);
    if (model && (!c->has_model || !lists(&model->s, c->model)))
        fail(a, r, c, "by weights that its model note does not list", "");
    a->r->parts++;
}

void audit_computed(struct audit *a, const struct receipt *r)
{
    const struct computed *last = &r->computed[r->computed_count - 1];
    uint64_t left = r->tokens_out;
    bool fits = true, stated = false;
    for (int i = 0; i < r->computed_count; i++) {
        check_part(a, r, &r->computed[i]);
        fits = fits && r->computed[i].tokens <= left;
        left -= fits ? r->computed[i].tokens : 0;
    }
    if (!fits || left)
        audit_fail(a, "receipt %s/%" PRIu64 " counts %" PRIu64 " tokens; those of its workers come to another sum",
                   r->boot, r->seq, r->tokens_out);
    if (!r->allow && !audit_is_gate_rule(r->rule))
        fail(a, r, last, "though it was denied by ", r->rule);
    if (!r->has_numerics)
        return;
    for (int i = 0; i < r->computed_count; i++) {
        const struct computed *c = &r->computed[i];
        bool same = c->has_numerics && !memcmp(c->numerics, r->numerics, HASH_BYTES);
        stated = stated || same;
        if (c->tokens && !same)
            fail(a, r, c, "which states another arithmetic than the receipt", "");
    }
    if (!stated)
        audit_fail(a, "receipt %s/%" PRIu64 " names an arithmetic that none of its workers states", r->boot, r->seq);
}
