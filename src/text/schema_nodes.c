/* schema_nodes -- the alternatives that are arrays and objects, with their children, in the grammar's form. */
#include "text/schema_impl.h"

#include "base/mem.h"

#include <string.h>

enum { PATTERNS_MAX = 6, NAMES_MAX = 20000, PREFIX_MAX = 5000, EXTRAS_MAX = 8 };

static void *galloc(struct schema *c, size_t count, size_t size)
{
    void *p = arena_alloc(&c->g->arena, count ? count : 1, size);
    if (!p)
        schema_fail(c, NULL, "properties", "make the grammar too large");
    return p;
}

static bool copy_conj(struct schema *c, struct s_conj *to, const struct s_conj *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (!schema_conj_add(c, to, from->v[i].s, from->v[i].neg))
            return false;
    return true;
}

/* ---- arrays */

/* The tuple part of a layer, in either spelling, or NULL. */
static const json_t *tuple_of(const json_t *s)
{
    const json_t *p = json_object_get(s, "prefixItems"), *i = json_object_get(s, "items");
    return p ? p : json_is_array(i) ? i : NULL;
}

static const json_t *tail_of(const json_t *s)
{
    const json_t *i = json_object_get(s, "items");
    return json_is_array(i) ? json_object_get(s, "additionalItems") : i;
}

/* Item at (G_NONE: those behind every tuple) under all layers, and under contains when hit is +1 or -1. */
static bool item_node(struct schema *c, const struct s_alt *a, uint32_t at, int hit, const struct s_fact *contains,
                      uint32_t *out)
{
    struct s_conj conj = { 0 };
    for (size_t i = 0; i < a->nfact; i++) {
        const struct s_fact *f = &a->fact[i];
        if (f->kind == SF_ITEMS && !schema_conj_add(c, &conj, f->s, f->neg))
            return false;
        if (f->kind != SF_LAYER)
            continue;
        const json_t *t = tuple_of(f->s), *s = at < json_array_size(t) ? json_array_get(t, at) : tail_of(f->s);
        if (!schema_conj_add(c, &conj, s, false))
            return false;
    }
    if (hit && !schema_conj_add(c, &conj, contains->s, hit > 0 ? contains->neg : !contains->neg))
        return false;
    *out = schema_node(c, &conj);
    return !c->failed;
}

/* The texts of the scalars an enum lists, when that is all items can be: what uniqueItems needs. */
static struct g_names *literal_items(struct schema *c, const struct s_alt *a)
{
    const json_t *list = NULL, *one;
    for (size_t i = 0; i < a->nfact; i++)
        if (a->fact[i].kind == SF_LAYER && !tuple_of(a->fact[i].s)) {
            const json_t *items = tail_of(a->fact[i].s);
            const char *ref = json_string_value(json_object_get(items, "$ref"));
            if (ref)
                items = schema_resolve(c, items, ref);
            if (json_object_get(items, "enum"))
                list = json_object_get(items, "enum");
        }
    struct s_conj conj = { 0 };
    struct s_alts alts = { 0 };
    size_t n = json_array_size(list), i;
    if (!list || !n)
        return NULL;
    for (i = 0; i < a->nfact; i++)
        if (a->fact[i].kind == SF_LAYER && !schema_conj_add(c, &conj, tail_of(a->fact[i].s), false))
            return NULL;
    if (!schema_normalise(c, &conj, &alts))
        return NULL;
    struct g_names *names = galloc(c, 1, sizeof *names);
    if (!names)
        return NULL;
    names->name = galloc(c, n, sizeof *names->name);
    names->len = galloc(c, n, sizeof *names->len);
    json_array_foreach((json_t *)list, i, one) {
        bool ok = false;
        if (!json_is_string(one))
            return NULL; /* numbers have several texts */
        for (size_t k = 0; k < alts.n; k++)
            ok |= alts.v[k].kind == SK_STRING && schema_rx_matches(c, schema_string_rx(c, &alts.v[k]),
                                                  json_string_value(one), json_string_length(one)) == 1;
        bool twice = false;
        for (uint32_t k = 0; k < names->count; k++)
            twice |= names->len[k] == json_string_length(one) && !memcmp(names->name[k], json_string_value(one),
                    names->len[k]);
        if (!ok || twice)
            continue;
        names->name[names->count] = arena_strndup(&c->g->arena, json_string_value(one), json_string_length(one));
        names->len[names->count++] = (uint32_t)json_string_length(one);
    }
    for (size_t k = 0; k < alts.n; k++)
        if (alts.v[k].kind != SK_STRING)
            return NULL;
    g_names_build(c->g, names);
    return names;
}

static bool array_items(struct schema *c, const struct s_alt *a, struct g_array *g, const struct s_fact *contains)
{
    g->prefix = galloc(c, g->nprefix, sizeof *g->prefix);
    g->hit_prefix = galloc(c, g->nprefix, sizeof *g->prefix);
    g->miss_prefix = galloc(c, g->nprefix, sizeof *g->prefix);
    bool ok = !c->failed, misses = contains && contains->max != UINT64_MAX;
    for (uint32_t i = 0; ok && i <= g->nprefix; i++) {
        uint32_t at = i < g->nprefix ? i : G_NONE;
        uint32_t *plain = i < g->nprefix ? &g->prefix[i] : &g->rest, *hit = i < g->nprefix ? &g->hit_prefix[i]
                : &g->hit_rest;
        uint32_t *miss = i < g->nprefix ? &g->miss_prefix[i] : &g->miss_rest;
        ok = item_node(c, a, at, 0, NULL, plain);
        *hit = *miss = *plain;
        if (ok && contains)
            ok = item_node(c, a, at, 1, contains, hit);
        if (ok && misses)
            ok = item_node(c, a, at, -1, contains, miss);
    }
    return ok;
}

bool schema_array(struct schema *c, const struct s_alt *a, uint32_t *out)
{
    struct g_array g = { .max = G_NONE, .cmax = G_NONE };
    const struct s_fact *contains = NULL, *unique = NULL;
    *out = G_NONE;
    for (size_t i = 0; i < a->nfact; i++) {
        const struct s_fact *f = &a->fact[i];
        if (f->kind == SF_MIN && f->min > g.min)
            g.min = (uint32_t)f->min;
        if (f->kind == SF_MAX && f->min < g.max)
            g.max = (uint32_t)f->min;
        if (f->kind == SF_UNIQUE)
            unique = f;
        if (f->kind == SF_CONTAINS) {
            if (contains)
                return schema_fail(c, f->s, "contains", "stands twice on one array");
            contains = f;
        }
        if (f->kind == SF_LAYER && json_array_size(tuple_of(f->s)) > g.nprefix)
            g.nprefix = (uint32_t)json_array_size(tuple_of(f->s));
    }
    if (g.max != G_NONE && g.min > g.max)
        return true;
    if (g.nprefix > PREFIX_MAX)
        return schema_fail(c, NULL, "prefixItems", "is too long");
    if (contains) {
        g.contains = true;
        g.cmin = contains->min > 1000000 ? 1000000 : (uint32_t)contains->min;
        g.cmax = contains->max > 1000000 ? G_NONE : (uint32_t)contains->max;
    }
    if (unique && (g.max == G_NONE || g.max > 1)) {
        g.unique = contains || g.nprefix ? NULL : literal_items(c, a);
        g.distinct = !g.unique && !contains && !g.nprefix;
        g.where = unique->s;
        if (c->failed || (!g.unique && !g.distinct))
            return c->failed ? false : schema_fail(c, unique->s, "uniqueItems", "goes with lists of strings only");
        if (g.unique && (g.max == G_NONE || g.max > g.unique->count))
            g.max = g.unique->count;
        if (g.min > g.max)
            return true;
    }
    if (!array_items(c, a, &g, contains))
        return false;
    struct grammar *gr = c->g;
    if (gr->narray == gr->array_cap) {
        gr->array_cap = gr->array_cap ? gr->array_cap * 2 : 64;
        gr->array = mem_grow(gr->array, gr->array_cap, sizeof *gr->array);
    }
    *out = gr->narray;
    gr->array[gr->narray++] = g;
    return true;
}

/* ---- objects */

struct object {
    struct schema *c;
    const struct s_alt *a;
    const char *pattern[PATTERNS_MAX]; /* all patterns of all layers */
    rx_id rx[PATTERNS_MAX];
    size_t patterns;
    rx_id allowed;                     /* propertyNames; RX_NONE: any */
    const char **name;
    size_t names, cap;
    const json_t *extra[EXTRAS_MAX];   /* layers that must not cover one of the keys */
    size_t extras;
};

static bool add_name(struct object *o, const char *name)
{
    for (size_t i = 0; i < o->names && o->names < 64; i++)
        if (!strcmp(o->name[i], name))
            return true;
    if (o->names == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 32;
        const char **v = schema_alloc(o->c, cap, sizeof *v);
        if (!v || cap > NAMES_MAX * 2)
            return false;
        if (o->names)
            memcpy(v, o->name, o->names * sizeof *v);
        o->name = v;
        o->cap = cap;
    }
    o->name[o->names++] = name;
    return true;
}

static bool add_pattern(struct object *o, const json_t *at, const char *p)
{
    struct err e;
    for (size_t i = 0; i < o->patterns; i++)
        if (!strcmp(o->pattern[i], p))
            return true;
    if (o->patterns == PATTERNS_MAX)
        return schema_fail(o->c, at, "patternProperties", "has too many patterns on one object");
    rx_id r = rx_parse(o->c->x, p, strlen(p), false, &e);
    if (!r)
        return schema_fail(o->c, at, "patternProperties", e.text);
    o->rx[o->patterns] = r;
    o->pattern[o->patterns++] = p;
    return true;
}

/* propertyNames as an expression over names. */
static bool add_allowed(struct object *o, const struct s_fact *f)
{
    struct s_conj conj = { 0 };
    struct s_alts alts;
    rx_id r = RX_EMPTY;
    if (!schema_conj_add(o->c, &conj, f->s, f->neg) || !schema_normalise(o->c, &conj, &alts))
        return false;
    for (size_t i = 0; i < alts.n; i++)
        if (alts.v[i].kind == SK_STRING)
            r = rx_or(o->c->x, r, schema_string_rx(o->c, &alts.v[i]));
    o->allowed = o->allowed ? rx_and(o->c->x, o->allowed, r) : r;
    return true;
}

static bool collect(struct object *o)
{
    const char *key;
    json_t *unused;
    for (size_t i = 0; i < o->a->nfact; i++) {
        const struct s_fact *f = &o->a->fact[i];
        bool ok = true;
        if (f->kind == SF_EXTRA) {
            if (o->extras == EXTRAS_MAX)
                return schema_fail(o->c, f->s, "additionalProperties", "is negated too often");
            o->extra[o->extras++] = f->s;
        }
        if (f->kind == SF_LAYER || f->kind == SF_EXTRA) {
            json_object_foreach(json_object_get(f->s, "properties"), key, unused)
                ok = ok && add_name(o, key);
            json_object_foreach(json_object_get(f->s, "patternProperties"), key, unused)
                ok = ok && add_pattern(o, f->s, key);
        } else if (f->kind == SF_REQUIRED || f->kind == SF_PROP) {
            ok = add_name(o, f->name);
        } else if (f->kind == SF_NEEDS) {
            ok = add_name(o, f->name) && add_name(o, f->needs);
        } else if (f->kind == SF_NAMES) {
            ok = add_allowed(o, f);
        }
        if (!ok)
            return false;
    }
    return !o->c->failed;
}

static bool matches(const struct object *o, size_t pattern, const char *name)
{
    return schema_rx_matches(o->c, o->rx[pattern], name, strlen(name)) == 1;
}

/* What holds for the value of a key: the named one, or (name NULL) one that matches the patterns in set. */
static bool key_conj(const struct object *o, const char *name, unsigned set, struct s_conj *conj)
{
    const char *pattern;
    json_t *s;
    for (size_t i = 0; i < o->a->nfact; i++) {
        const struct s_fact *f = &o->a->fact[i];
        if (f->kind == SF_PROP && name && !strcmp(f->name, name) && !schema_conj_add(o->c, conj, f->s, f->neg))
            return false;
        if (f->kind != SF_LAYER)
            continue;
        const json_t *own = name ? json_object_get(json_object_get(f->s, "properties"), name) : NULL;
        bool covered = own != NULL;
        if (own && !schema_conj_add(o->c, conj, own, false))
            return false;
        json_object_foreach(json_object_get(f->s, "patternProperties"), pattern, s)
            for (size_t k = 0; k < o->patterns; k++)
                if (!strcmp(o->pattern[k], pattern) && (set >> k & 1)) {
                    covered = true;
                    if (!schema_conj_add(o->c, conj, s, false))
                        return false;
                }
        const json_t *more = json_object_get(f->s, "additionalProperties");
        if (!covered && more && !schema_conj_add(o->c, conj, more, false))
            return false;
    }
    return !o->c->failed;
}

/* Which extras a key is: not among a layer's properties, and of the patterns it matches (set) none is there. */
static uint8_t hits_of(const struct object *o, const char *name, unsigned set)
{
    uint8_t hits = 0;
    for (size_t i = 0; i < o->extras; i++) {
        bool covered = name && json_object_get(json_object_get(o->extra[i], "properties"), name);
        for (size_t k = 0; k < o->patterns; k++)
            covered |= (set >> k & 1) && json_object_get(json_object_get(o->extra[i], "patternProperties"),
                    o->pattern[k]);
        hits |= (uint8_t)(!covered << i);
    }
    return hits;
}

static bool known_values(struct object *o, struct g_object *g)
{
    struct s_conj never = { 0 };
    schema_conj_add(o->c, &never, o->c->no, false);
    for (uint32_t i = 0; i < g->names.count; i++) {
        struct s_conj conj = { 0 };
        const char *name = g->names.name[i];
        unsigned set = 0;
        for (size_t k = 0; k < o->patterns; k++)
            set |= (unsigned)matches(o, k, name) << k;
        bool ok = !o->allowed || schema_rx_matches(o->c, o->allowed, name, g->names.len[i]) == 1;
        if (!ok ? !copy_conj(o->c, &conj, &never) : !key_conj(o, name, set, &conj))
            return false;
        g->value[i] = schema_node(o->c, &conj);
        g->hit[i] = hits_of(o, name, set);
    }
    return !o->c->failed;
}

static bool is_never(const struct s_conj *conj)
{
    for (size_t i = 0; i < conj->n; i++)
        if (json_is_false(conj->v[i].s) && !conj->v[i].neg)
            return true;
    return false;
}

/* The keys that are no known name: one class for each set of patterns they can match. */
static bool other_keys(struct object *o, struct g_object *g)
{
    struct rx *x = o->c->x;
    size_t *len = schema_alloc(o->c, o->names + 1, sizeof *len);
    for (size_t i = 0; len && i < o->names; i++)
        len[i] = strlen(o->name[i]);
    if (!o->patterns && !o->allowed) {
        struct s_conj conj = { 0 };
        if (!key_conj(o, NULL, 0, &conj))
            return false;
        g->rest = is_never(&conj) ? G_NONE : schema_node(o->c, &conj);
        g->rest_hit = hits_of(o, NULL, 0);
        return true;
    }
    rx_id base = rx_and(x, rx_any_text(x), rx_not(x, rx_words(x, o->name, len, o->names)));
    if (o->allowed)
        base = rx_and(x, base, o->allowed);
    g->cls = galloc(o->c, (size_t)1 << o->patterns, sizeof *g->cls);
    for (unsigned set = 0; g->cls && set < 1u << o->patterns; set++) {
        struct s_conj conj = { 0 };
        bool empty;
        if (!key_conj(o, NULL, set, &conj))
            return false;
        if (is_never(&conj))
            continue;
        rx_id keys = base;
        for (size_t k = 0; k < o->patterns; k++)
            keys = rx_and(x, keys, set >> k & 1 ? o->rx[k] : rx_not(x, o->rx[k]));
        uint32_t dfa = schema_dfa(o->c, keys, NULL, "patternProperties", &empty);
        if (dfa == G_NONE && !empty)
            return false;
        if (dfa != G_NONE)
            g->cls[g->ncls++] = (struct g_class){ dfa, schema_node(o->c, &conj), hits_of(o, NULL, set) };
    }
    return !o->c->failed;
}

static bool take_facts(struct object *o, struct g_object *g)
{
    uint32_t *needs_cap = schema_alloc(o->c, g->names.count + 1, sizeof *needs_cap);
    for (size_t i = 0; needs_cap && i < o->a->nfact; i++) {
        const struct s_fact *f = &o->a->fact[i];
        if (f->kind == SF_MIN && f->min > g->min)
            g->min = (uint32_t)f->min;
        if (f->kind == SF_MAX && f->min < g->max)
            g->max = (uint32_t)f->min;
        if (f->kind == SF_REQUIRED)
            g->required[g_names_find(&g->names, f->name, strlen(f->name))] = 1;
        if (f->kind != SF_NEEDS)
            continue;
        uint32_t k = g_names_find(&g->names, f->name, strlen(f->name)), n = g->needs[k] ? g->needs[k][0] : 0;
        uint32_t *list = galloc(o->c, n + 2, sizeof *list);
        if (!list)
            return false;
        if (n)
            memcpy(list, g->needs[k], (n + 1) * sizeof *list);
        list[0] = n + 1;
        list[n + 1] = g_names_find(&g->names, f->needs, strlen(f->needs));
        g->needs[k] = list;
    }
    for (uint32_t i = 0; i < g->names.count; i++)
        g->nrequired += g->required[i];
    return !o->c->failed;
}

/* Counting keys of a class needs to know a key is new, which only endless languages can promise. */
static bool check_counts(struct object *o, struct g_object *g)
{
    if (g->min <= g->nrequired || (g->rest == G_NONE && !g->ncls))
        return true;
    g->distinct = true;
    for (uint32_t i = 0; i < g->ncls; i++) {
        const struct rx_dfa *d = o->c->g->dfa[g->cls[i].dfa];
        for (uint32_t s = 0; s < d->states; s++)
            if (!d->infinite[s])
                return schema_fail(o->c, NULL, "minProperties", "cannot count keys that match a finite pattern");
    }
    return true;
}

bool schema_object(struct schema *c, const struct s_alt *a, uint32_t *out)
{
    struct object o = { .c = c, .a = a };
    struct g_object g = { .max = UINT32_MAX, .rest = G_NONE };
    *out = G_NONE;
    if (!collect(&o))
        return false;
    g.names.name = galloc(c, o.names, sizeof *g.names.name);
    g.names.len = galloc(c, o.names, sizeof *g.names.len);
    if (c->failed)
        return false;
    for (size_t i = 0; i < o.names; i++) {
        g.names.name[i] = arena_strndup(&c->g->arena, o.name[i], strlen(o.name[i]));
        g.names.len[i] = (uint32_t)strlen(o.name[i]);
    }
    g.names.count = (uint32_t)o.names;
    g_names_build(c->g, &g.names); /* sorts, drops doubles */
    g.value = galloc(c, g.names.count, sizeof *g.value);
    g.required = galloc(c, g.names.count, 1);
    g.needs = galloc(c, g.names.count, sizeof *g.needs);
    g.hit = galloc(c, g.names.count, 1);
    g.want = (uint8_t)((1u << o.extras) - 1);
    if (c->failed || !take_facts(&o, &g) || !known_values(&o, &g) || !other_keys(&o, &g) || !check_counts(&o, &g))
        return false;
    if (g.min > g.max || g.nrequired > g.max)
        return true;
    g.simple = g.max == UINT32_MAX;
    for (uint32_t i = 0; i < g.names.count; i++)
        g.simple &= g.needs[i] == NULL;
    struct grammar *gr = c->g;
    if (gr->nobject == gr->object_cap) {
        gr->object_cap = gr->object_cap ? gr->object_cap * 2 : 64;
        gr->object = mem_grow(gr->object, gr->object_cap, sizeof *gr->object);
    }
    *out = gr->nobject;
    gr->object[gr->nobject++] = g;
    return true;
}
