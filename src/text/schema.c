/* schema -- JSON Schema 2020-12 to a grammar: the nodes, references, and what can be satisfied at all.
 *
 * schema_alts turns one schema into alternatives; schema_node makes (or finds) the node of a conjunction;
 * schema_value compiles a node into the grammar, asking for its children's nodes. When no new node appears
 * the graph is whole, and a fixpoint finds which values exist: the others are taken out, so that whatever
 * the automaton lets begin can be finished. */
#include "text/schema_impl.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_MAX = 128 << 20, PATH_MAX_BYTES = 300 };

void *schema_alloc(struct schema *c, size_t count, size_t size)
{
    void *p = arena_alloc(&c->mem, count, size);
    if (!p && !c->failed) {
        c->failed = true;
        err_set(c->e, ERR_UNSUPPORTED, "the schema is too large to enforce");
    }
    return p;
}

/* ---- where things are in the document */

static void note_paths(struct schema *c, const json_t *v, const char *path, int depth)
{
    const char *key;
    json_t *child;
    size_t i;
    char text[PATH_MAX_BYTES];
    if (depth > 100 || (!json_is_object(v) && !json_is_array(v)))
        return;
    if (c->npath == c->path_cap) {
        c->path_cap = c->path_cap ? c->path_cap * 2 : 256;
        c->seen = mem_grow(c->seen, c->path_cap, sizeof *c->seen);
        c->path = mem_grow(c->path, c->path_cap, sizeof *c->path);
    }
    c->seen[c->npath] = v;
    c->path[c->npath++] = mem_strdup(path);
    if (json_is_array(v)) {
        json_array_foreach((json_t *)v, i, child) {
            snprintf(text, sizeof text, "%s/%zu", path, i);
            note_paths(c, child, text, depth + 1);
        }
        return;
    }
    json_object_foreach((json_t *)v, key, child) {
        int n = snprintf(text, sizeof text, "%s/", path);
        for (const char *k = key; *k && n > 0 && (size_t)n < sizeof text - 3; k++) {
            if (*k == '~' || *k == '/') {
                text[n++] = '~';
                text[n++] = *k == '~' ? '0' : '1';
            } else {
                text[n++] = *k;
            }
        }
        if (n > 0 && (size_t)n < sizeof text)
            text[n] = 0;
        note_paths(c, child, text, depth + 1);
    }
}

bool schema_fail(struct schema *c, const json_t *at, const char *keyword, const char *why)
{
    if (c->failed)
        return false;
    const char *path = "";
    if (!c->npath)
        note_paths(c, c->root, "#", 0);
    for (size_t i = 0; i < c->npath && at; i++)
        if (c->seen[i] == at)
            path = c->path[i];
    err_set(c->e, ERR_UNSUPPORTED, "the schema cannot be enforced: '%s' at %s/%s %s", keyword, *path ? path : "#",
            keyword, why);
    c->failed = true;
    return false;
}

/* ---- references */

static const json_t *pointer(const json_t *v, const char *p)
{
    char key[512];
    while (v && *p == '/') {
        size_t n = 0;
        for (p++; *p && *p != '/' && n + 1 < sizeof key; p++) {
            char ch = *p;
            if (ch == '~' && (p[1] == '0' || p[1] == '1'))
                ch = *++p == '0' ? '~' : '/';
            else if (ch == '%' && p[1] && p[2]) {
                char hex[3] = { p[1], p[2], 0 };
                ch = (char)strtol(hex, NULL, 16);
                p += 2;
                if (ch == '~' && (p[1] == '0' || p[1] == '1'))
                    ch = *++p == '0' ? '~' : '/';
            }
            key[n++] = ch;
        }
        key[n] = 0;
        v = json_is_array(v) ? json_array_get(v, strtoul(key, NULL, 10)) : json_object_get(v, key);
    }
    return *p ? NULL : v;
}

/* The schema that calls itself by this $id, $anchor or (old) id. */
static const json_t *by_name(const json_t *v, const char *name, size_t n, bool anchor, int depth)
{
    const char *key;
    json_t *child;
    size_t i;
    if (depth > 60)
        return NULL;
    if (json_is_array(v)) {
        json_array_foreach((json_t *)v, i, child) {
            const json_t *r = by_name(child, name, n, anchor, depth + 1);
            if (r)
                return r;
        }
        return NULL;
    }
    static const char *const ids[] = { "$id", "id", "$anchor" };
    for (int k = 0; k < 3; k++) {
        const char *id = json_string_value(json_object_get(v, ids[k]));
        if (!id || (k == 2) != (anchor && id[0] != '#'))
            continue;
        size_t len = strlen(id);
        if (len && id[len - 1] == '#' && len > 1)
            len--;
        if (anchor && id[0] == '#')
            id++, len--;
        if (len == n && !memcmp(id, name, n))
            return v;
    }
    json_object_foreach((json_t *)v, key, child) {
        const json_t *r = by_name(child, name, n, anchor, depth + 1);
        if (r && strcmp(key, "enum") && strcmp(key, "const"))
            return r;
    }
    return NULL;
}

const json_t *schema_resolve(struct schema *c, const json_t *at, const char *ref)
{
    const char *hash = strchr(ref, '#');
    size_t n = hash ? (size_t)(hash - ref) : strlen(ref);
    const json_t *base = n ? by_name(c->root, ref, n, false, 0) : c->root, *to = base;
    if (base && hash && hash[1] == '/')
        to = pointer(base, hash + 1);
    else if (base && hash && hash[1])
        to = by_name(base, hash + 1, strlen(hash + 1), true, 0);
    if (!to)
        schema_fail(c, at, "$ref", "points outside this document, or nowhere");
    return to;
}

bool schema_is_true(const json_t *s)
{
    return !s || json_is_true(s) || (json_is_object(s) && !json_object_size(s));
}

/* ---- conjunctions */

bool schema_conj_add(struct schema *c, struct s_conj *conj, const json_t *s, bool neg)
{
    if (schema_is_true(s) && !neg)
        return true;
    size_t at = 0;
    for (; at < conj->n; at++) {
        if (conj->v[at].s == s && conj->v[at].neg == neg)
            return true;
        if (conj->v[at].s > s || (conj->v[at].s == s && conj->v[at].neg > neg))
            break;
    }
    if (conj->n >= SCHEMA_CONJ_MAX)
        return schema_fail(c, s, "allOf", "puts too many schemas on one value");
    if (conj->n == conj->cap) {
        size_t cap = conj->cap ? conj->cap * 2 : 4;
        struct s_item *v = schema_alloc(c, cap, sizeof *v);
        if (!v)
            return false;
        if (conj->n)
            memcpy(v, conj->v, conj->n * sizeof *v);
        conj->v = v;
        conj->cap = cap;
    }
    memmove(conj->v + at + 1, conj->v + at, (conj->n - at) * sizeof *conj->v);
    conj->v[at] = (struct s_item){ s, neg };
    conj->n++;
    return true;
}

static uint32_t conj_hash(const struct s_conj *k)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < k->n; i++)
        h = (h ^ (uint64_t)(uintptr_t)k->v[i].s ^ k->v[i].neg) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

static bool conj_same(const struct s_conj *a, const struct s_conj *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->v[i].s != b->v[i].s || a->v[i].neg != b->v[i].neg)
            return false;
    return true;
}

static void grow_slots(struct schema *c)
{
    mem_free(c->slot);
    c->slots = c->slots ? c->slots * 2 : 1024;
    c->slot = mem_new(c->slots, sizeof *c->slot);
    for (uint32_t i = 0; i < c->g->nvalue; i++) {
        uint32_t s = conj_hash(&c->conj[i]) & (c->slots - 1);
        while (c->slot[s])
            s = (s + 1) & (c->slots - 1);
        c->slot[s] = i + 1;
    }
}

uint32_t schema_node(struct schema *c, const struct s_conj *conj)
{
    struct grammar *g = c->g;
    if (g->nvalue * 2 >= c->slots)
        grow_slots(c);
    uint32_t s = conj_hash(conj) & (c->slots - 1);
    for (; c->slot[s]; s = (s + 1) & (c->slots - 1))
        if (conj_same(&c->conj[c->slot[s] - 1], conj))
            return c->slot[s] - 1;
    if (g->nvalue >= SCHEMA_NODES_MAX) {
        schema_fail(c, NULL, "allOf", "makes too many combinations");
        return 0;
    }
    if (g->nvalue == g->value_cap) {
        g->value_cap = g->value_cap ? g->value_cap * 2 : 64;
        g->value = mem_grow(g->value, g->value_cap, sizeof *g->value);
        c->conj = mem_grow(c->conj, g->value_cap, sizeof *c->conj);
    }
    g->value[g->nvalue] = (struct g_value){ .lex = G_NONE, .str = G_NONE };
    c->conj[g->nvalue] = *conj;
    c->slot[s] = ++g->nvalue;
    return g->nvalue - 1;
}

bool schema_normalise(struct schema *c, const struct s_conj *conj, struct s_alts *out)
{
    *out = schema_all(c);
    for (size_t i = 0; i < conj->n && !c->failed; i++) {
        struct s_alts one = { 0 };
        if (!schema_alts(c, conj->v[i].s, conj->v[i].neg, &one) || !schema_alts_and(c, out, &one))
            return false;
    }
    return !c->failed;
}

/* ---- surely empty? asked by oneOf; a "false" only costs a negation */

static const json_t *layer_value(const json_t *s, const char *name)
{
    return json_object_get(json_object_get(s, "properties"), name);
}

/* Two facts that cannot both hold: a name required that a layer makes impossible, or whose schemas clash. */
static bool object_unsat(struct schema *c, const struct s_alt *a, int depth)
{
    for (size_t i = 0; i < a->nfact; i++) {
        struct s_conj conj = { 0 };
        if (a->fact[i].kind != SF_REQUIRED)
            continue;
        for (size_t k = 0; k < a->nfact; k++) {
            const struct s_fact *f = &a->fact[k];
            const json_t *p = f->kind == SF_LAYER ? layer_value(f->s, a->fact[i].name) : NULL;
            if (f->kind == SF_PROP && !strcmp(f->name, a->fact[i].name))
                schema_conj_add(c, &conj, f->s, f->neg);
            else if (p)
                schema_conj_add(c, &conj, p, false);
            else if (f->kind == SF_LAYER && !json_object_get(f->s, "patternProperties") &&
                     json_object_get(f->s, "additionalProperties"))
                schema_conj_add(c, &conj, json_object_get(f->s, "additionalProperties"), false);
        }
        if (conj.n && schema_unsat(c, &conj, depth - 1))
            return true;
    }
    return false;
}

bool schema_unsat(struct schema *c, const struct s_conj *conj, int depth)
{
    struct s_alts a;
    struct err keep = *c->e;
    if (depth <= 0 || c->failed)
        return false;
    if (!schema_normalise(c, conj, &a)) { /* unsupported here does not matter: it only means "maybe" */
        c->failed = false;
        *c->e = keep;
        return false;
    }
    for (size_t i = 0; i < a.n; i++) {
        struct s_alt *x = &a.v[i];
        bool empty = false;
        if (x->kind == SK_SCALAR)
            empty = rx_disjoint(c->x, x->r, RX_ALL) == 1;
        else if (x->kind == SK_STRING)
            empty = x->r && rx_disjoint(c->x, schema_string_rx(c, x), RX_ALL) == 1;
        else if (x->kind == SK_OBJECT)
            empty = object_unsat(c, x, depth);
        if (!empty)
            return false;
    }
    return true;
}

/* ---- compiling nodes */

uint32_t schema_dfa(struct schema *c, rx_id r, const json_t *at, const char *keyword, bool *empty)
{
    struct err e;
    struct rx_dfa *d = rx_dfa_new(c->x, r, empty, &e);
    if (d)
        return grammar_add_dfa(c->g, d);
    if (!*empty)
        schema_fail(c, at, keyword, "needs an automaton that is too large");
    return G_NONE;
}

rx_id schema_string_rx(struct schema *c, const struct s_alt *a)
{
    rx_id r = a->r ? a->r : rx_any_text(c->x);
    if (a->smin || a->smax != UINT64_MAX)
        r = rx_and(c->x, r, rx_repeat(c->x, rx_any_char(c->x), (uint32_t)a->smin,
                                      a->smax > UINT32_MAX - 1 ? UINT32_MAX : (uint32_t)a->smax));
    return r;
}

int schema_rx_matches(struct schema *c, rx_id r, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        r = rx_derive(c->x, r, (unsigned char)p[i]);
    return rx_failed(c->x) ? -1 : rx_nullable(c->x, r);
}

static bool value_scalars(struct schema *c, uint32_t id, const struct s_alts *a)
{
    const json_t *at = c->conj[id].n ? c->conj[id].v[0].s : c->root;
    rx_id scalar = RX_EMPTY, str = RX_EMPTY;
    struct g_value v = c->g->value[id];
    v.smax = UINT32_MAX;
    size_t strings = 0, plain = 0;
    bool empty;
    for (size_t i = 0; i < a->n; i++) {
        if (a->v[i].kind == SK_SCALAR)
            scalar = rx_or(c->x, scalar, a->v[i].r);
        strings += a->v[i].kind == SK_STRING;
        plain += a->v[i].kind == SK_STRING && !a->v[i].r;
    }
    if (scalar != RX_EMPTY)
        v.lex = schema_dfa(c, scalar, at, "type", &empty);
    for (size_t i = 0; i < a->n && strings; i++) {
        const struct s_alt *s = &a->v[i];
        if (s->kind != SK_STRING)
            continue;
        if (plain && !s->r && (strings == 1 || (!s->smin && s->smax == UINT64_MAX))) {
            v.plain = true;
            v.smin = (uint32_t)s->smin;
            v.smax = s->smax == UINT64_MAX ? UINT32_MAX : (uint32_t)s->smax;
            break;
        }
        struct s_alt open = *s;
        if (strings == 1 && s->smax < RX_REPEAT_MAX) { /* the automaton counts the characters itself */
            v.smax = (uint32_t)s->smax;
            open.smax = UINT64_MAX;
        }
        str = rx_or(c->x, str, schema_string_rx(c, &open));
    }
    if (!v.plain && str != RX_EMPTY)
        v.str = schema_dfa(c, str, at, "pattern", &empty);
    if (v.str != G_NONE && c->g->dfa[v.str]->dist[0] > v.smax)
        v.str = G_NONE; /* no word is that short */
    c->g->value[id] = v;
    return !c->failed;
}

static bool value_compile(struct schema *c, uint32_t id)
{
    struct s_alts a;
    if (!schema_normalise(c, &c->conj[id], &a) || !value_scalars(c, id, &a))
        return false;
    uint32_t *arr = arena_alloc(&c->g->arena, a.n + 1, sizeof *arr), *obj = arena_alloc(&c->g->arena, a.n + 1,
            sizeof *obj);
    uint32_t narr = 0, nobj = 0, k;
    if (!arr || !obj)
        return schema_fail(c, NULL, "anyOf", "makes the grammar too large");
    for (size_t i = 0; i < a.n; i++) {
        if (a.v[i].kind == SK_ARRAY) {
            if (!schema_array(c, &a.v[i], &k))
                return false;
            if (k != G_NONE)
                arr[narr++] = k;
        } else if (a.v[i].kind == SK_OBJECT) {
            if (!schema_object(c, &a.v[i], &k))
                return false;
            if (k != G_NONE)
                obj[nobj++] = k;
        }
    }
    struct g_value *v = &c->g->value[id]; /* only now: compiling may have moved the table */
    v->arr = arr;
    v->obj = obj;
    v->narr = narr;
    v->nobj = nobj;
    return true;
}

/* ---- which values exist */

static bool sat(const struct grammar *g, uint32_t v)
{
    return v != G_NONE && g->value[v].sat;
}

static bool array_sat(const struct grammar *g, const struct g_array *a)
{
    uint32_t hits = 0;
    if (a->max != G_NONE && a->min > a->max)
        return false;
    for (uint32_t i = 0; i < a->min && i <= a->nprefix; i++)
        if (!sat(g, i < a->nprefix ? a->prefix[i] : a->rest))
            return false;
    if (!a->contains || !a->cmin)
        return true;
    for (uint32_t i = 0; i < a->nprefix && sat(g, a->prefix[i]); i++)
        hits += sat(g, a->hit_prefix[i]) && (a->max == G_NONE || i < a->max);
    bool more = a->max == G_NONE || a->max > a->nprefix;
    return hits >= a->cmin || (more && sat(g, a->hit_rest) && (a->max == G_NONE ||
            a->max - a->nprefix + hits >= a->cmin));
}

static bool object_sat(const struct grammar *g, const struct g_object *o)
{
    uint32_t can = 0;
    bool open = sat(g, o->rest);
    uint8_t hits = open ? o->rest_hit : 0;
    for (uint32_t i = 0; i < o->ncls; i++) {
        open |= sat(g, o->cls[i].value);
        hits |= sat(g, o->cls[i].value) ? o->cls[i].hit : 0;
    }
    for (uint32_t i = 0; i < o->names.count; i++) {
        can += sat(g, o->value[i]);
        hits |= sat(g, o->value[i]) ? o->hit[i] : 0;
        if (o->required[i] && !sat(g, o->value[i]))
            return false;
    }
    return o->min <= o->max && o->nrequired <= o->max && (open || can >= o->min) && (hits & o->want) == o->want;
}

static void find_sat(struct grammar *g)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < g->narray; i++)
            if (!g->array[i].sat && array_sat(g, &g->array[i]))
                g->array[i].sat = changed = true;
        for (uint32_t i = 0; i < g->nobject; i++)
            if (!g->object[i].sat && object_sat(g, &g->object[i]))
                g->object[i].sat = changed = true;
        for (uint32_t i = 0; i < g->nvalue; i++) {
            struct g_value *v = &g->value[i];
            bool s = v->lex != G_NONE || v->str != G_NONE || v->plain;
            for (uint32_t k = 0; k < v->narr && !s; k++)
                s = g->array[v->arr[k]].sat;
            for (uint32_t k = 0; k < v->nobj && !s; k++)
                s = g->object[v->obj[k]].sat;
            if (s && !v->sat)
                v->sat = changed = true;
        }
    }
}

/* Takes out what has no value; arrays end before the first item that cannot be. */
static void prune(struct grammar *g)
{
    for (uint32_t i = 0; i < g->nvalue; i++) {
        struct g_value *v = &g->value[i];
        uint32_t n = 0;
        for (uint32_t k = 0; k < v->narr; k++)
            if (g->array[v->arr[k]].sat)
                v->arr[n++] = v->arr[k];
        v->narr = n;
        n = 0;
        for (uint32_t k = 0; k < v->nobj; k++)
            if (g->object[v->obj[k]].sat)
                v->obj[n++] = v->obj[k];
        v->nobj = n;
    }
    for (uint32_t i = 0; i < g->narray; i++) {
        struct g_array *a = &g->array[i];
        for (uint32_t k = 0; k <= a->nprefix; k++)
            if (!sat(g, k < a->nprefix ? a->prefix[k] : a->rest) && (a->max == G_NONE || a->max > k))
                a->max = k;
    }
}

/* Lists of distinct items keep hashes of strings: every item must be a string that can always go on. */
static bool check_distinct(struct schema *c)
{
    const struct grammar *g = c->g;
    for (uint32_t i = 0; i < g->narray; i++) {
        const struct g_array *a = &g->array[i];
        const struct g_value *v = &g->value[a->rest];
        bool ok = v->lex == G_NONE && !v->narr && !v->nobj && v->smax == UINT32_MAX;
        if (!a->distinct || a->max == 0 || a->max == 1)
            continue;
        for (uint32_t s = 0; ok && v->str != G_NONE && s < g->dfa[v->str]->states; s++)
            ok = g->dfa[v->str]->infinite[s];
        if (!ok)
            return schema_fail(c, a->where, "uniqueItems", "can be enforced on enum strings and endless strings only");
    }
    return true;
}

static void release(struct schema *c)
{
    for (size_t i = 0; i < c->npath; i++)
        mem_free(c->path[i]);
    mem_free(c->path);
    mem_free(c->seen);
    mem_free(c->slot);
    mem_free(c->conj);
    json_decref(c->made);
    json_decref(c->no);
    rx_free(c->x);
    arena_release(&c->mem);
}

struct grammar *grammar_from_schema(const json_t *schema, struct err *e)
{
    struct err own;
    struct schema c = { .g = grammar_alloc(G_JSON), .x = rx_new(), .root = schema, .made = json_array(), .e = e ? e
            : &own,
                        .no = json_false() };
    const char *dialect = json_string_value(json_object_get(schema, "$schema"));
    struct s_conj conj = { 0 };
    arena_init(&c.mem, MEMORY_MAX);
    c.ref_hides = dialect && (strstr(dialect, "draft-03") || strstr(dialect, "draft-04") || strstr(dialect,
            "draft-06") ||
                              strstr(dialect, "draft-07"));
    c.no_if = dialect && (strstr(dialect, "draft-03") || strstr(dialect, "draft-04") || strstr(dialect, "draft-06"));
    c.number = rx_number_any(c.x);
    c.plain = rx_number_plain(c.x);
    c.whole = rx_number_integer(c.x);
    if (dialect && (strstr(dialect, "draft-03") || strstr(dialect, "draft-04"))) /* there 1.0 was no integer */
        c.whole = rx_and(c.x, c.whole, rx_not(c.x, rx_cat(c.x, rx_any_text(c.x), rx_cat(c.x,
                         rx_byte_range(c.x, '.', '.'), rx_any_text(c.x)))));
    c.nonnumber = rx_or(c.x, rx_literal(c.x, "null", 4), rx_or(c.x, rx_literal(c.x, "true", 4),
                                                               rx_literal(c.x, "false", 5)));
    if (schema_conj_add(&c, &conj, schema, false))
        c.g->root = schema_node(&c, &conj);
    for (; c.done < c.g->nvalue && !c.failed; c.done++)
        value_compile(&c, c.done);
    if (!c.failed && rx_failed(c.x))
        schema_fail(&c, NULL, "pattern", "needs more work than we spend on one schema");
    if (!c.failed) {
        find_sat(c.g);
        prune(c.g);
        if (check_distinct(&c) && !c.g->value[c.g->root].sat)
            schema_fail(&c, schema, "", "allows no value at all");
    }
    release(&c);
    if (!c.failed)
        return c.g;
    grammar_free(c.g);
    return NULL;
}

struct grammar *grammar_json_object(struct err *e)
{
    json_t *s = json_pack("{s:s}", "type", "object");
    struct grammar *g = grammar_from_schema(s, e);
    json_decref(s);
    return g;
}
