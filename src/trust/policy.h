/* policy -- who may have what processed where: attributes, deny by default, one file, a pure function.
 *
 * What each key of the file means is in docs/policy.md. Built-in denials come
 * first (rule ids "builtin/..."), then the first explicit deny, then any allow, else "builtin/default" denies. */
#ifndef TRUST_POLICY_H
#define TRUST_POLICY_H
#include "base/json.h"
#include "trust/code.h"

enum { POLICY_NAME_MAX = 128, POLICY_FILE_MAX = 256 << 10, POLICY_ITEMS_MAX = 4096, POLICY_WHY_MAX = 200 };

struct policy;

struct policy_request {
    const char *tenant, *model, *site;
    const char *data_class; /* NULL: the tenant's default. It raises the default, never lowers it */
    bool is_signed, is_sealed;
    bool stores;            /* content would be kept at rest: the tenant's store-in counts too */
};

struct policy_decision {
    bool allow;
    char rule[POLICY_NAME_MAX + 1];       /* which rule decided */
    char data_class[POLICY_NAME_MAX + 1]; /* the class in force; "" when the tenant is unknown */
    char jurisdiction[3];                 /* of the site; "" when unknown */
    char why[POLICY_WHY_MAX + 1];         /* one sentence for a person */
};

/* Takes any tree; an unknown key, an unknown country, a name used but not defined is refused with its place. */
enum err_code policy_parse(const json_t *tree, struct policy **out, struct err *e);
/* The file's bytes, YAML or JSON: parsed, and hashed as signed policy notes name it. hash may be NULL. */
enum err_code policy_parse_text(struct span text, uint8_t hash[HASH_BYTES], struct policy **out, struct err *e);
void policy_free(struct policy *p);

void policy_decide(const struct policy *p, const struct policy_request *r, struct policy_decision *out);
/* The same, with a line for every step and rule. */
void policy_explain(const struct policy *p, const struct policy_request *r, struct buf *out);

bool policy_requires_signature(const struct policy *p, const char *tenant); /* true too when unknown */
/* For the auditor: the n-th tenant's and model's names; NULL at the end. */
const char *policy_tenant(const struct policy *p, int n);
const char *policy_model(const struct policy *p, int n);
/* The n-th site's name, and the jurisdiction it lies in; NULL at the end. */
const char *policy_site(const struct policy *p, int n, char jurisdiction[3]);

/* The body of a refusal: application/problem+json with the rule's id, never the rule's content. */
void policy_problem(const struct policy_decision *d, struct buf *out);
#endif
