/* policy_parse -- a tree of names and lists becomes a struct policy, or a sentence that says where it is wrong. */
#include "trust/policy_impl.h"

#include "base/mem.h"
#include "base/yaml.h"

#include <stdio.h>
#include <string.h>

/* ISO 3166-1 alpha-2, officially assigned. */
static const char iso[] =
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ "
    "CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO "
    "FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE "
    "JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO "
    "MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW "
    "PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM "
    "TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW ";

int country_number(const char *code)
{
    char word[4] = { 0 };
    if (strlen(code) != 2 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z')
        return -1;
    snprintf(word, sizeof word, "%s ", code);
    for (const char *at = iso; *at; at += 3)
        if (!memcmp(at, word, 3))
            return (code[0] - 'A') * 26 + code[1] - 'A';
    return -1;
}

void country_code(int number, char out[3])
{
    out[0] = (char)('A' + number / 26);
    out[1] = (char)('A' + number % 26);
    out[2] = '\0';
}

static enum err_code wrong(struct err *e, const char *where, const char *what)
{
    return err_set(e, ERR_INVALID, "policy: %.100s %s", where, what);
}

static bool name_ok(const char *s)
{
    size_t n = strlen(s);
    return n && n <= POLICY_NAME_MAX &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@-") == n;
}

/* Every key of obj is in the list (NULL-terminated). */
static enum err_code only_keys(const json_t *obj, const char *where, const char *const *keys, struct err *e)
{
    const char *key;
    json_t *value;
    if (!json_is_object(obj))
        return wrong(e, where, "must be a mapping");
    json_object_foreach((json_t *)(uintptr_t)obj, key, value)
    {
        bool known = false;
        for (int i = 0; keys[i]; i++)
            known |= !strcmp(key, keys[i]);
        if (!known)
            return err_set(e, ERR_INVALID, "policy: %.100s has an unknown key '%.60s'", where, key);
    }
    return ERR_OK;
}

static enum err_code text_of(const json_t *v, const char *where, const char **out, struct err *e)
{
    if (!json_is_string(v) || json_string_length(v) != strlen(json_string_value(v)) || !name_ok(json_string_value(v)))
        return wrong(e, where, "must be a name (letters, digits and ._:/@-)");
    *out = json_string_value(v);
    return ERR_OK;
}

static enum err_code flag_of(const json_t *obj, const char *key, const char *where, bool *has, bool *out, struct err *e)
{
    const json_t *v = json_object_get(obj, key);
    if (v && !json_is_boolean(v))
        return wrong(e, where, "has a flag that is neither true nor false");
    *has = v != NULL;
    *out = json_is_true(v);
    return ERR_OK;
}

static enum err_code class_of(const struct policy *p, const json_t *v, const char *where, int *out, struct err *e)
{
    const char *name;
    enum err_code c = text_of(v, where, &name, e);
    if (c)
        return c;
    for (int i = 0; i < p->class_count; i++)
        if (!strcmp(p->classes[i], name)) {
            *out = i;
            return ERR_OK;
        }
    return wrong(e, where, "names a data class that is not in 'classes'");
}

static enum err_code country_of(const json_t *v, const char *where, int *out, struct err *e)
{
    const char *code;
    enum err_code c = text_of(v, where, &code, e);
    if (c)
        return c;
    *out = country_number(code);
    return *out < 0 ? wrong(e, where, "is no ISO 3166-1 alpha-2 country") : ERR_OK;
}

/* A list of countries and groups. */
static enum err_code countries_of(const struct policy *p, const json_t *list, const char *where,
                                  struct country_set *out, struct err *e)
{
    if (!json_is_array(list) || !json_array_size(list))
        return wrong(e, where, "must be a list of countries or groups, not empty");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name;
        bool group = false;
        enum err_code c = text_of(json_array_get(list, i), where, &name, e);
        if (c)
            return c;
        for (int g = 0; g < p->group_count; g++)
            if (!strcmp(p->groups[g].name, name)) {
                group = true;
                for (int w = 0; w < COUNTRY_WORDS; w++)
                    out->bit[w] |= p->groups[g].countries.bit[w];
            }
        int number = country_number(name);
        if (!group && number < 0)
            return err_set(e, ERR_INVALID, "policy: %.100s: '%s' is neither a country nor a group", where, name);
        if (!group)
            out->bit[number / 64] |= (uint64_t)1 << number % 64;
    }
    return ERR_OK;
}

/* An object of named things: how many, within bounds. */
static enum err_code count_of(const json_t *obj, const char *where, int *out, struct err *e)
{
    if (!json_is_object(obj) || json_object_size(obj) > POLICY_ITEMS_MAX)
        return wrong(e, where, "must be a mapping of names, not too many");
    *out = (int)json_object_size(obj);
    return ERR_OK;
}

static enum err_code parse_groups(struct policy *p, const json_t *obj, struct err *e)
{
    const char *name;
    json_t *list;
    int n = 0;
    if (!obj)
        return ERR_OK;
    enum err_code c = count_of(obj, "groups", &n, e);
    if (c)
        return c;
    p->groups = mem_new((size_t)n + 1, sizeof *p->groups);
    json_object_foreach((json_t *)(uintptr_t)obj, name, list)
    {
        struct policy_group g = { 0 };
        if (!name_ok(name) || country_number(name) >= 0)
            return wrong(e, "groups", "has a name that is malformed or a country's");
        c = countries_of(p, list, name, &g.countries, e); /* groups defined before may be used */
        if (c)
            return c;
        g.name = mem_strdup(name);
        p->groups[p->group_count++] = g;
    }
    return ERR_OK;
}

static enum err_code parse_classes(struct policy *p, const json_t *list, struct err *e)
{
    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > 64)
        return wrong(e, "classes", "must be a list of data classes, lowest first");
    p->classes = mem_new(json_array_size(list), sizeof *p->classes);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name;
        enum err_code c = text_of(json_array_get(list, i), "classes", &name, e);
        if (c)
            return c;
        for (int k = 0; k < p->class_count; k++)
            if (!strcmp(p->classes[k], name))
                return wrong(e, "classes", "names a class twice");
        p->classes[p->class_count++] = mem_strdup(name);
    }
    return ERR_OK;
}

static enum err_code parse_site(struct policy *p, const char *name, const json_t *v, struct err *e)
{
    static const char *const keys[] = { "jurisdiction", "operator-law", NULL };
    struct policy_site s = { 0 };
    enum err_code c = name_ok(name) ? only_keys(v, name, keys, e) : wrong(e, "sites", "has a malformed name");
    if (!c)
        c = country_of(json_object_get(v, "jurisdiction"), name, &s.jurisdiction, e);
    if (!c)
        c = countries_of(p, json_object_get(v, "operator-law"), name, &s.law, e);
    if (c)
        return c;
    s.name = mem_strdup(name);
    p->sites[p->site_count++] = s;
    return ERR_OK;
}

static enum err_code parse_tenant(struct policy *p, const char *name, const json_t *v, struct err *e)
{
    static const char *const keys[] = { "home", "process-in", "store-in", "default-class", "signed", "sealed", NULL };
    struct policy_tenant t = { 0 };
    bool has;
    enum err_code c = name_ok(name) ? only_keys(v, name, keys, e) : wrong(e, "tenants", "has a malformed name");
    if (!c)
        c = country_of(json_object_get(v, "home"), name, &t.home, e);
    if (!c)
        c = countries_of(p, json_object_get(v, "process-in"), name, &t.process_in, e);
    if (!c && json_object_get(v, "store-in"))
        c = countries_of(p, json_object_get(v, "store-in"), name, &t.store_in, e);
    if (!c)
        c = class_of(p, json_object_get(v, "default-class"), name, &t.default_class, e);
    if (!c)
        c = flag_of(v, "signed", name, &has, &t.must_sign, e);
    if (!c)
        c = flag_of(v, "sealed", name, &has, &t.must_seal, e);
    if (c)
        return c;
    t.name = mem_strdup(name);
    p->tenants[p->tenant_count++] = t;
    return ERR_OK;
}

static enum err_code parse_model(struct policy *p, const char *name, const json_t *v, struct err *e)
{
    static const char *const keys[] = { "max-class", "territory", NULL };
    struct policy_model m = { 0 };
    enum err_code c = name_ok(name) ? only_keys(v, name, keys, e) : wrong(e, "models", "has a malformed name");
    if (!c)
        c = class_of(p, json_object_get(v, "max-class"), name, &m.max_class, e);
    if (!c)
        c = countries_of(p, json_object_get(v, "territory"), name, &m.territory, e);
    if (c)
        return c;
    m.name = mem_strdup(name);
    p->models[p->model_count++] = m;
    return ERR_OK;
}

static enum err_code names_of(const json_t *when, const char *key, const char *where, struct policy_names *out,
                              struct err *e)
{
    const json_t *list = json_object_get(when, key);
    if (!list)
        return ERR_OK;
    if (!json_is_array(list) || json_array_size(list) > POLICY_ITEMS_MAX)
        return wrong(e, where, "has a condition that is not a list of names");
    out->given = true;
    out->name = mem_new(json_array_size(list) + 1, sizeof *out->name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name;
        enum err_code c = text_of(json_array_get(list, i), where, &name, e);
        if (c)
            return c;
        out->name[out->count++] = mem_strdup(name);
    }
    return ERR_OK;
}

/* Names in rules must exist: a rule about a tenant misspelt would never deny anything. */
static enum err_code names_known(const struct policy *p, const struct policy_rule *r, struct err *e)
{
    for (int i = 0; i < r->tenants.count + r->models.count + r->sites.count; i++) {
        int m = i - r->tenants.count, s = m - r->models.count;
        const char *name = m < 0 ? r->tenants.name[i] : s < 0 ? r->models.name[m] : r->sites.name[s];
        bool known = false;
        for (int k = 0; m < 0 && k < p->tenant_count; k++)
            known |= !strcmp(p->tenants[k].name, name);
        for (int k = 0; m >= 0 && s < 0 && k < p->model_count; k++)
            known |= !strcmp(p->models[k].name, name);
        for (int k = 0; s >= 0 && k < p->site_count; k++)
            known |= !strcmp(p->sites[k].name, name);
        if (!known)
            return err_set(e, ERR_INVALID, "policy: rule %.60s names '%.60s', which is not defined", r->id, name);
    }
    return ERR_OK;
}

static enum err_code parse_places(const struct policy *p, struct policy_rule *r, const json_t *when, struct err *e)
{
    struct {
        const char *key;
        bool *has;
        struct country_set *set;
    } rows[] = { { "jurisdiction-in", &r->has_in, &r->in }, { "jurisdiction-not-in", &r->has_not_in, &r->not_in },
                 { "operator-law-in", &r->has_law_in, &r->law_in },
                 { "operator-law-not-in", &r->has_law_not_in, &r->law_not_in } };
    enum err_code c = ERR_OK;
    for (size_t i = 0; !c && i < MEM_COUNT(rows); i++) {
        const json_t *list = json_object_get(when, rows[i].key);
        *rows[i].has = list != NULL;
        if (list)
            c = countries_of(p, list, r->id, rows[i].set, e);
    }
    return c;
}

static enum err_code parse_when(const struct policy *p, struct policy_rule *r, const json_t *when, struct err *e)
{
    static const char *const keys[] = { "tenant", "model", "site", "jurisdiction-in", "jurisdiction-not-in",
                                        "operator-law-in", "operator-law-not-in", "class-at-least", "class-at-most",
                                        "signed", "sealed", "stores", NULL };
    const json_t *least = json_object_get(when, "class-at-least"), *most = json_object_get(when, "class-at-most");
    enum err_code c = only_keys(when, r->id, keys, e);
    if (!c)
        c = names_of(when, "tenant", r->id, &r->tenants, e);
    if (!c)
        c = names_of(when, "model", r->id, &r->models, e);
    if (!c)
        c = names_of(when, "site", r->id, &r->sites, e);
    if (!c)
        c = names_known(p, r, e);
    if (!c)
        c = parse_places(p, r, when, e);
    if (!c && least)
        c = class_of(p, least, r->id, &r->class_at_least, e);
    if (!c && most)
        c = class_of(p, most, r->id, &r->class_at_most, e);
    if (!c)
        c = flag_of(when, "signed", r->id, &r->has_signed, &r->is_signed, e);
    if (!c)
        c = flag_of(when, "sealed", r->id, &r->has_sealed, &r->is_sealed, e);
    return c ? c : flag_of(when, "stores", r->id, &r->has_stores, &r->stores, e);
}

static enum err_code parse_rule(struct policy *p, const json_t *v, struct err *e)
{
    static const char *const keys[] = { "id", "effect", "when", NULL };
    const char *id = "", *effect = "";
    enum err_code c = only_keys(v, "rules", keys, e);
    if (!c)
        c = text_of(json_object_get(v, "id"), "rules", &id, e);
    if (!c)
        c = text_of(json_object_get(v, "effect"), id, &effect, e);
    if (c)
        return c;
    if (!strncmp(id, "builtin/", 8) || (strcmp(effect, "allow") && strcmp(effect, "deny")))
        return wrong(e, id, "must have effect allow or deny, and an id that does not begin with builtin/");
    for (int i = 0; i < p->rule_count; i++)
        if (!strcmp(p->rules[i].id, id))
            return wrong(e, id, "is the id of two rules");
    struct policy_rule *r = &p->rules[p->rule_count++];
    *r = (struct policy_rule){ .id = mem_strdup(id), .allow = !strcmp(effect, "allow"), .class_at_least = -1,
                               .class_at_most = -1 };
    const json_t *when = json_object_get(v, "when");
    return when ? parse_when(p, r, when, e) : wrong(e, id, "needs 'when' (an empty mapping holds always)");
}

typedef enum err_code (*item_parser)(struct policy *p, const char *name, const json_t *v, struct err *e);

static enum err_code parse_items(struct policy *p, const json_t *obj, item_parser parse, struct err *e)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)obj, name, v)
    {
        enum err_code c = parse(p, name, v, e);
        if (c)
            return c;
    }
    return ERR_OK;
}

static enum err_code parse_tree(struct policy *p, const json_t *tree, struct err *e)
{
    static const char *const keys[] = { "version", "groups", "classes", "sites", "tenants", "models", "rules", NULL };
    const json_t *sites = json_object_get(tree, "sites"), *tenants = json_object_get(tree, "tenants");
    const json_t *models = json_object_get(tree, "models"), *rules = json_object_get(tree, "rules");
    int s = 0, t = 0, m = 0;
    enum err_code c = only_keys(tree, "the file", keys, e);
    if (!c && json_integer_value(json_object_get(tree, "version")) != 1)
        c = wrong(e, "version", "must be 1");
    if (!c)
        c = parse_groups(p, json_object_get(tree, "groups"), e);
    if (!c)
        c = parse_classes(p, json_object_get(tree, "classes"), e);
    if (!c)
        c = count_of(sites, "sites", &s, e);
    if (!c)
        c = count_of(tenants, "tenants", &t, e);
    if (!c)
        c = count_of(models, "models", &m, e);
    if (!c && (!json_is_array(rules) || json_array_size(rules) > POLICY_ITEMS_MAX))
        c = wrong(e, "rules", "must be a list, not too long");
    if (c)
        return c;
    p->sites = mem_new((size_t)s + 1, sizeof *p->sites);
    p->tenants = mem_new((size_t)t + 1, sizeof *p->tenants);
    p->models = mem_new((size_t)m + 1, sizeof *p->models);
    p->rules = mem_new(json_array_size(rules) + 1, sizeof *p->rules);
    c = parse_items(p, sites, parse_site, e);
    if (!c)
        c = parse_items(p, tenants, parse_tenant, e);
    if (!c)
        c = parse_items(p, models, parse_model, e);
    for (size_t i = 0; !c && i < json_array_size(rules); i++)
        c = parse_rule(p, json_array_get(rules, i), e);
    return c;
}

enum err_code policy_parse(const json_t *tree, struct policy **out, struct err *e)
{
    struct policy *p = MEM_NEW(struct policy);
    enum err_code c = parse_tree(p, tree, e);
    if (c)
        policy_free(p);
    else
        *out = p;
    return c;
}

enum err_code policy_parse_text(struct span text, uint8_t hash[HASH_BYTES], struct policy **out, struct err *e)
{
    if (text.len > POLICY_FILE_MAX)
        return err_set(e, ERR_LIMIT, "the policy file is larger than %d bytes", POLICY_FILE_MAX);
    struct yaml_doc doc = { 0 };
    enum err_code c = yaml_parse(text.data, text.len, "policy", &doc, e); /* JSON is YAML too */
    if (!c)
        c = policy_parse(doc.root, out, e);
    yaml_doc_release(&doc);
    if (!c && hash)
        code_sha256(hash, text.data, text.len);
    return c;
}

static void free_names(struct policy_names *n)
{
    for (int i = 0; i < n->count; i++)
        mem_free(n->name[i]);
    mem_free(n->name);
}

void policy_free(struct policy *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->group_count; i++)
        mem_free(p->groups[i].name);
    for (int i = 0; i < p->class_count; i++)
        mem_free(p->classes[i]);
    for (int i = 0; i < p->site_count; i++)
        mem_free(p->sites[i].name);
    for (int i = 0; i < p->tenant_count; i++)
        mem_free(p->tenants[i].name);
    for (int i = 0; i < p->model_count; i++)
        mem_free(p->models[i].name);
    for (int i = 0; i < p->rule_count; i++) {
        free_names(&p->rules[i].tenants);
        free_names(&p->rules[i].models);
        free_names(&p->rules[i].sites);
        mem_free(p->rules[i].id);
    }
    mem_free(p->groups);
    mem_free(p->classes);
    mem_free(p->sites);
    mem_free(p->tenants);
    mem_free(p->models);
    mem_free(p->rules);
    mem_free(p);
}
