/* policy_impl -- a policy as policy_parse.c leaves it and policy.c reads it. Not for other floors. */
#ifndef TRUST_POLICY_IMPL_H
#define TRUST_POLICY_IMPL_H
#include "trust/policy.h"

enum { COUNTRIES = 26 * 26, COUNTRY_WORDS = (COUNTRIES + 63) / 64 };

struct country_set {
    uint64_t bit[COUNTRY_WORDS];
};

struct policy_site {
    char *name;
    int jurisdiction; /* country number */
    struct country_set law;
};

struct policy_tenant {
    char *name;
    int home, default_class;
    bool must_sign, must_seal;
    struct country_set process_in, store_in;
};

struct policy_model {
    char *name;
    int max_class;
    struct country_set territory;
};

struct policy_names { /* a list of names in a rule; count 0 with `given` false: no condition */
    bool given;
    int count;
    char **name;
};

struct policy_rule {
    char *id;
    bool allow;
    struct policy_names tenants, models, sites;
    bool has_in, has_not_in, has_law_in, has_law_not_in, has_signed, has_sealed, has_stores;
    struct country_set in, not_in, law_in, law_not_in;
    bool is_signed, is_sealed, stores;
    int class_at_least, class_at_most; /* -1: no condition */
};

struct policy_group {
    char *name;
    struct country_set countries;
};

struct policy {
    int group_count, class_count, site_count, tenant_count, model_count, rule_count;
    struct policy_group *groups;
    char **classes; /* lowest first */
    struct policy_site *sites;
    struct policy_tenant *tenants;
    struct policy_model *models;
    struct policy_rule *rules;
};

int country_number(const char *code); /* 0..675, or -1 when no ISO 3166-1 alpha-2 code */
void country_code(int number, char out[3]);
bool country_has(const struct country_set *s, int number);
bool country_overlap(const struct country_set *a, const struct country_set *b);
#endif
