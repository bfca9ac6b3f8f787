/* schema_alts -- one schema to alternatives, each of one kind of value; and, or, not of such lists. */
#include "text/schema_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void schema_alts_push(struct schema *c, struct s_alts *a, struct s_alt alt)
{
    if (alt.kind <= SK_STRING && (alt.r == RX_EMPTY || alt.smin > alt.smax))
        return;
    if (a->n == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 8;
        struct s_alt *v = schema_alloc(c, cap, sizeof *v);
        if (!v)
            return;
        if (a->n)
            memcpy(v, a->v, a->n * sizeof *v);
        a->v = v;
        a->cap = cap;
    }
    a->v[a->n++] = alt;
}

static struct s_alt plain_string(void)
{
    return (struct s_alt){ .kind = SK_STRING, .r = RX_NONE, .smax = UINT64_MAX };
}

static struct s_alt scalar(rx_id r)
{
    return (struct s_alt){ .kind = SK_SCALAR, .r = r };
}

struct s_alts schema_all(struct schema *c)
{
    struct s_alts a = { 0 };
    schema_alts_push(c, &a, scalar(rx_or(c->x, c->number, c->nonnumber)));
    schema_alts_push(c, &a, plain_string());
    schema_alts_push(c, &a, (struct s_alt){ .kind = SK_ARRAY });
    schema_alts_push(c, &a, (struct s_alt){ .kind = SK_OBJECT });
    return a;
}

static bool same_fact(const struct s_fact *a, const struct s_fact *b)
{
    return a->kind == b->kind && a->neg == b->neg && a->s == b->s && a->min == b->min && a->max == b->max &&
           (a->name == b->name || (a->name && b->name && !strcmp(a->name, b->name))) &&
           (a->needs == b->needs || (a->needs && b->needs && !strcmp(a->needs, b->needs)));
}

static struct s_alt with_facts(struct schema *c, struct s_alt a, const struct s_fact *f, size_t n)
{
    struct s_fact *v = schema_alloc(c, a.nfact + n + 1, sizeof *v);
    if (!v)
        return a;
    if (a.nfact)
        memcpy(v, a.fact, a.nfact * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        bool have = false;
        for (size_t k = 0; k < a.nfact && !have; k++)
            have = same_fact(&v[k], &f[i]);
        if (!have)
            v[a.nfact++] = f[i];
    }
    a.fact = v;
    return a;
}

static struct s_alt meet(struct schema *c, const struct s_alt *a, const struct s_alt *b)
{
    struct s_alt m = *a;
    if (a->kind == SK_SCALAR) {
        m.r = rx_and(c->x, a->r, b->r);
    } else if (a->kind == SK_STRING) {
        m.r = !a->r ? b->r : !b->r ? a->r : rx_and(c->x, a->r, b->r);
        m.smin = a->smin > b->smin ? a->smin : b->smin;
        m.smax = a->smax < b->smax ? a->smax : b->smax;
    } else {
        m = with_facts(c, m, b->fact, b->nfact);
    }
    return m;
}

bool schema_alts_and(struct schema *c, struct s_alts *a, const struct s_alts *b)
{
    struct s_alts out = { 0 };
    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < b->n; k++) {
            if (a->v[i].kind == b->v[k].kind)
                schema_alts_push(c, &out, meet(c, &a->v[i], &b->v[k]));
            if (out.n > SCHEMA_ALTS_MAX)
                return schema_fail(c, NULL, "anyOf", "multiplies into too many alternatives");
        }
    *a = out;
    return !c->failed;
}

/* Union; scalars and strings with an expression melt into one, equal facts are kept once. */
bool schema_alts_or(struct schema *c, struct s_alts *a, const struct s_alts *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct s_alt *n = &b->v[i];
        bool merged = false;
        for (size_t k = 0; k < a->n && !merged; k++) {
            struct s_alt *o = &a->v[k];
            if (o->kind != n->kind)
                continue;
            if (o->kind == SK_SCALAR) {
                o->r = rx_or(c->x, o->r, n->r);
                merged = true;
            } else if (o->kind == SK_STRING && o->smin == n->smin && o->smax == n->smax) {
                o->r = o->r && n->r ? rx_or(c->x, o->r, n->r) : RX_NONE;
                merged = true;
            } else if (o->kind >= SK_ARRAY && o->nfact == n->nfact) {
                merged = true;
                for (size_t f = 0; f < n->nfact && merged; f++)
                    merged = same_fact(&o->fact[f], &n->fact[f]);
            }
        }
        if (!merged)
            schema_alts_push(c, a, *n);
        if (a->n > SCHEMA_ALTS_MAX)
            return schema_fail(c, NULL, "anyOf", "has too many alternatives");
    }
    return !c->failed;
}

/* ---- building blocks: everything, but values of one kind restricted */

static void restrict_scalar(struct schema *c, struct s_alts *a, rx_id r)
{
    struct s_alts out = { 0 };
    for (size_t i = 0; i < a->n; i++) {
        struct s_alt m = a->v[i];
        if (m.kind == SK_SCALAR)
            m.r = rx_and(c->x, m.r, r);
        schema_alts_push(c, &out, m);
    }
    *a = out;
}

static void restrict_number(struct schema *c, struct s_alts *a, rx_id numbers)
{
    restrict_scalar(c, a, rx_or(c->x, c->nonnumber, numbers));
}

static void restrict_string(struct schema *c, struct s_alts *a, rx_id r, uint64_t min, uint64_t max)
{
    struct s_alt s = { .kind = SK_STRING, .r = r, .smin = min, .smax = max };
    struct s_alts out = { 0 };
    for (size_t i = 0; i < a->n; i++)
        schema_alts_push(c, &out, a->v[i].kind == SK_STRING ? meet(c, &a->v[i], &s) : a->v[i]);
    *a = out;
}

static void restrict_facts(struct schema *c, struct s_alts *a, enum s_kind kind, struct s_fact f)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->v[i].kind == kind)
            a->v[i] = with_facts(c, a->v[i], &f, 1);
}

/* Only values of that kind, with the facts: what a negated keyword leaves. */
static void only_facts(struct schema *c, struct s_alts *out, enum s_kind kind, const struct s_fact *f, size_t n)
{
    schema_alts_push(c, out, with_facts(c, (struct s_alt){ .kind = kind }, f, n));
}

/* ---- keywords */

static bool types(struct schema *c, const json_t *s, const json_t *t, bool neg, struct s_alts *out)
{
    static const char *const names[] = { "null", "boolean", "number", "integer", "string", "array", "object" };
    bool has[7] = { 0 };
    size_t n = json_is_array(t) ? json_array_size(t) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_is_array(t) ? json_array_get(t, i) : t);
        bool known = false;
        for (int k = 0; name && k < 7; k++)
            if (!strcmp(name, names[k]))
                has[k] = known = true;
        if (!known && name && !strcmp(name, "any"))
            memset(has, 1, sizeof has), known = true;
        if (!known)
            return schema_fail(c, s, "type", "names a type that JSON does not have");
    }
    rx_id null = rx_literal(c->x, "null", 4), r = RX_EMPTY;
    rx_id booleans = rx_or(c->x, rx_literal(c->x, "true", 4), rx_literal(c->x, "false", 5));
    rx_id whole = c->whole;
    if (has[0] != neg)
        r = rx_or(c->x, r, null);
    if (has[1] != neg)
        r = rx_or(c->x, r, booleans);
    if (!neg && has[2])
        r = rx_or(c->x, r, c->number);
    else if (!neg && has[3])
        r = rx_or(c->x, r, whole);
    else if (neg && !has[2])
        r = rx_or(c->x, r, has[3] ? rx_and(c->x, c->plain, rx_not(c->x, whole)) : c->number);
    schema_alts_push(c, out, scalar(r));
    if (has[4] != neg)
        schema_alts_push(c, out, plain_string());
    if (has[5] != neg)
        schema_alts_push(c, out, (struct s_alt){ .kind = SK_ARRAY });
    if (has[6] != neg)
        schema_alts_push(c, out, (struct s_alt){ .kind = SK_OBJECT });
    return !c->failed;
}

/* A list or object as a schema that allows it alone. */
static json_t *exact(struct schema *c, const json_t *v)
{
    json_t *s = json_object();
    if (json_is_array(v)) {
        json_t *items = json_array();
        for (size_t i = 0; i < json_array_size(v); i++)
            json_array_append_new(items, json_pack("{s:O}", "const", json_array_get(v, i)));
        json_object_set_new(s, "type", json_string("array"));
        json_object_set_new(s, "minItems", json_integer((json_int_t)json_array_size(v)));
        json_object_set_new(s, "maxItems", json_integer((json_int_t)json_array_size(v)));
        json_object_set_new(s, "prefixItems", items);
    } else {
        json_t *props = json_object(), *required = json_array(), *one;
        const char *key;
        json_object_foreach((json_t *)v, key, one) {
            json_object_set_new(props, key, json_pack("{s:O}", "const", one));
            json_array_append_new(required, json_string(key));
        }
        json_object_set_new(s, "type", json_string("object"));
        json_object_set_new(s, "properties", props);
        json_object_set_new(s, "required", required);
        json_object_set_new(s, "additionalProperties", json_false());
    }
    json_array_append_new(c->made, s);
    return s;
}

bool schema_literal(struct schema *c, const json_t *v, struct s_alts *out)
{
    struct rx_decimal d;
    if (json_is_string(v)) {
        schema_alts_push(c, out, (struct s_alt){ .kind = SK_STRING, .smax = UINT64_MAX,
                         .r = rx_literal(c->x, json_string_value(v), json_string_length(v)) });
    } else if (json_is_number(v)) {
        if (!schema_decimal(v, &d))
            return schema_fail(c, NULL, "const", "holds a number that is out of range");
        schema_alts_push(c, out, scalar(rx_number_equal(c->x, d)));
    } else if (json_is_null(v) || json_is_boolean(v)) {
        const char *t = json_is_null(v) ? "null" : json_is_true(v) ? "true" : "false";
        schema_alts_push(c, out, scalar(rx_literal(c->x, t, strlen(t))));
    } else {
        return schema_alts(c, exact(c, v), false, out);
    }
    return !c->failed;
}

/* enum: the words as one tree, everything else one by one. */
static bool enumeration(struct schema *c, const json_t *list, struct s_alts *out)
{
    size_t n = json_array_size(list), words = 0;
    const char **p = schema_alloc(c, n + 1, sizeof *p);
    size_t *len = schema_alloc(c, n + 1, sizeof *len);
    for (size_t i = 0; p && len && i < n; i++) {
        const json_t *v = json_array_get(list, i);
        struct s_alts one = { 0 };
        if (json_is_string(v)) {
            p[words] = json_string_value(v);
            len[words++] = json_string_length(v);
        } else if (!schema_literal(c, v, &one) || !schema_alts_or(c, out, &one)) {
            return false;
        }
    }
    if (words)
        schema_alts_push(c, out, (struct s_alt){ .kind = SK_STRING, .r = rx_words(c->x, p, len, words),
                                                 .smax = UINT64_MAX });
    return !c->failed;
}

/* Everything but the literals; lists and objects among them cannot be taken out. */
static bool without(struct schema *c, const json_t *s, const char *kw, const struct s_alts *literals,
        struct s_alts *out)
{
    struct s_alts all = schema_all(c);
    for (size_t i = 0; i < literals->n; i++) {
        const struct s_alt *a = &literals->v[i];
        if (a->kind >= SK_ARRAY)
            return schema_fail(c, s, kw, "cannot be negated when it lists arrays or objects");
        if (a->kind == SK_SCALAR) /* equal numbers have many texts: complement within the plain ones */
            restrict_scalar(c, &all, rx_and(c->x, rx_or(c->x, c->nonnumber, c->plain), rx_not(c->x, a->r)));
        else
            restrict_string(c, &all, rx_and(c->x, rx_any_text(c->x), rx_not(c->x, a->r)), 0, UINT64_MAX);
    }
    return schema_alts_or(c, out, &all);
}

static bool count_of(struct schema *c, const json_t *s, const char *kw, const json_t *v, uint64_t *out)
{
    double d = json_number_value(v);
    if (!json_is_number(v) || d < 0 || d != floor(d))
        return schema_fail(c, s, kw, "must be a whole number, not negative");
    *out = d > 1e9 ? 1000000000 : (uint64_t)d;
    return true;
}

bool schema_decimal(const json_t *v, struct rx_decimal *out)
{
    char text[64];
    if (json_is_integer(v))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    else
        for (int prec = 1; prec <= 17; prec++) {
            snprintf(text, sizeof text, "%.*g", prec, json_real_value(v));
            if (strtod(text, NULL) == json_real_value(v))
                break;
        }
    char *plus = strchr(text, '+');
    if (plus)
        memmove(plus, plus + 1, strlen(plus));
    return rx_decimal_parse(text, out);
}

/* minimum and its kin as expressions: the numbers it allows (or, negated, forbids). */
static bool bound(struct schema *c, const json_t *s, const char *kw, const json_t *v, bool neg, rx_id *out)
{
    struct rx_decimal d;
    bool lower = strstr(kw, "inimum") != NULL, open = kw[0] == 'e';
    if (!json_is_number(v))
        return schema_fail(c, s, kw, "must be a number");
    if (!schema_decimal(v, &d)) {
        double f = json_number_value(v);
        if (fabs(f) < 1e15 || (lower ? f > 0 : f < 0))
            return schema_fail(c, s, kw, "is out of the range we can hold exactly");
        *out = neg ? RX_EMPTY : rx_number_plain(c->x); /* a bound beyond all we would write; 20 digits stay inside */
        rx_id digit = rx_byte_range(c->x, '0', '9');
        if (!neg)
            *out = rx_and(c->x, *out, rx_cat(c->x, rx_opt(c->x, rx_byte_range(c->x, '-', '-')),
                          rx_cat(c->x, rx_repeat(c->x, digit, 1, 15), rx_opt(c->x, rx_cat(c->x,
                          rx_byte_range(c->x, '.', '.'), rx_repeat(c->x, digit, 1, UINT32_MAX))))));
        return true;
    }
    if (neg) {
        lower = !lower;
        open = !open;
    }
    *out = lower ? rx_number_range(c->x, &d, open, NULL, false) : rx_number_range(c->x, NULL, false, &d, open);
    return !c->failed;
}

static bool numbers(struct schema *c, const json_t *s, const char *kw, const json_t *v, bool neg, rx_id *out)
{
    struct rx_decimal d;
    if (strcmp(kw, "multipleOf"))
        return bound(c, s, kw, v, neg, out);
    if (!json_is_number(v) || !schema_decimal(v, &d))
        return schema_fail(c, s, kw, "must be a positive number");
    *out = rx_number_multiple(c->x, d);
    if (*out == RX_NONE)
        return schema_fail(c, s, kw, "is not a divisor we can enforce");
    if (neg)
        *out = rx_and(c->x, c->plain, rx_not(c->x, *out));
    return true;
}

static bool text_rx(struct schema *c, const json_t *s, const char *kw, const json_t *v, bool *ignored, rx_id *out)
{
    *ignored = false;
    if (!json_is_string(v))
        return schema_fail(c, s, kw, "must be a string");
    if (!strcmp(kw, "pattern")) {
        struct err e;
        *out = rx_parse(c->x, json_string_value(v), json_string_length(v), false, &e);
        return *out || schema_fail(c, s, kw, e.text + strlen("the pattern "));
    }
    bool known = true;
    *out = schema_format(c, json_string_value(v), &known);
    *ignored = !known;
    return *out || *ignored || schema_fail(c, s, kw, "is a format we cannot enforce");
}

static bool is(const char *kw, const char *a)
{
    return !strcmp(kw, a);
}

/* Lengths, counts and other facts: positive restricts *out, negated adds what it leaves to *out. */
static bool sizes(struct schema *c, const json_t *s, const char *kw, const json_t *v, bool neg, struct s_alts *out)
{
    uint64_t n;
    bool lower = kw[1] == 'i', str = strstr(kw, "Length") != NULL;
    if (!count_of(c, s, kw, v, &n))
        return false;
    if (neg && lower && !n)
        return true; /* nothing is shorter than zero */
    bool min = lower != neg;
    uint64_t limit = !neg ? n : lower ? n - 1 : n + 1;
    enum s_kind kind = strstr(kw, "Items") ? SK_ARRAY : SK_OBJECT;
    struct s_fact f = { .kind = min ? SF_MIN : SF_MAX, .min = limit };
    if (str && !neg)
        restrict_string(c, out, RX_NONE, min ? limit : 0, min ? UINT64_MAX : limit);
    else if (str)
        schema_alts_push(c, out, (struct s_alt){ .kind = SK_STRING, .smin = min ? limit : 0,
                                                 .smax = min ? UINT64_MAX : limit });
    else if (!neg)
        restrict_facts(c, out, kind, f);
    else
        only_facts(c, out, kind, &f, 1);
    return !c->failed;
}

static bool required(struct schema *c, const json_t *s, const json_t *v, bool neg, struct s_alts *out)
{
    if (!json_is_array(v))
        return json_is_boolean(v) || schema_fail(c, s, "required", "must be a list of names");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *name = json_string_value(json_array_get(v, i));
        if (!name)
            return schema_fail(c, s, "required", "must be a list of names");
        struct s_fact f = { .kind = neg ? SF_PROP : SF_REQUIRED, .name = name, .s = neg ? c->no : NULL };
        if (neg)
            only_facts(c, out, SK_OBJECT, &f, 1);
        else
            restrict_facts(c, out, SK_OBJECT, f);
    }
    return !c->failed;
}

/* dependentRequired, dependentSchemas and the older dependencies. */
static bool dependencies(struct schema *c, const json_t *s, const char *kw, const json_t *v, struct s_alts *out)
{
    const char *key;
    json_t *d;
    json_object_foreach((json_t *)v, key, d) {
        if (json_is_array(d) || json_is_string(d)) {
            for (size_t i = 0; i < (json_is_array(d) ? json_array_size(d) : 1); i++) {
                const char *name = json_string_value(json_is_array(d) ? json_array_get(d, i) : d);
                if (!name)
                    return schema_fail(c, s, kw, "must list names");
                restrict_facts(c, out, SK_OBJECT, (struct s_fact){ .kind = SF_NEEDS, .name = key, .needs = name });
            }
            continue;
        }
        /* without the key, or with it and under the schema */
        struct s_alts either = schema_all(c), with = schema_all(c), then = { 0 };
        restrict_facts(c, &either, SK_OBJECT, (struct s_fact){ .kind = SF_PROP, .name = key, .s = c->no });
        restrict_facts(c, &with, SK_OBJECT, (struct s_fact){ .kind = SF_REQUIRED, .name = key });
        for (size_t i = 0; i < with.n;)
            if (with.v[i].kind != SK_OBJECT)
                with.v[i] = with.v[--with.n];
            else
                i++;
        if (!schema_alts(c, d, false, &then) || !schema_alts_and(c, &with, &then) ||
            !schema_alts_or(c, &either, &with) || !schema_alts_and(c, out, &either))
            return false;
    }
    return !c->failed;
}

static bool contains(struct schema *c, const json_t *s, const json_t *v, struct s_alts *out)
{
    struct s_fact f = { .kind = SF_CONTAINS, .s = v, .min = 1, .max = UINT64_MAX };
    const json_t *lo = json_object_get(s, "minContains"), *hi = json_object_get(s, "maxContains");
    if ((lo && !count_of(c, s, "minContains", lo, &f.min)) || (hi && !count_of(c, s, "maxContains", hi, &f.max)))
        return false;
    if (f.min || hi)
        restrict_facts(c, out, SK_ARRAY, f);
    return true;
}

/* ---- combinators */

static bool any_of(struct schema *c, const json_t *list, bool neg, struct s_alts *out)
{
    struct s_alts u = { 0 };
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct s_alts one = { 0 };
        if (!schema_alts(c, json_array_get(list, i), neg, &one) || !schema_alts_or(c, &u, &one))
            return false;
    }
    *out = u;
    return true;
}

static bool all_of(struct schema *c, const json_t *list, bool neg, struct s_alts *out)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct s_alts one = { 0 };
        if (!schema_alts(c, json_array_get(list, i), neg, &one) || !schema_alts_and(c, out, &one))
            return false;
    }
    return true;
}

/* Exactly one: each of them, without those of the others it may overlap with. */
static bool one_of(struct schema *c, const json_t *s, const json_t *list, struct s_alts *out)
{
    struct s_alts u = { 0 };
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        struct s_alts mine = { 0 };
        if (!schema_alts(c, json_array_get(list, i), false, &mine))
            return false;
        for (size_t k = 0; k < n; k++) {
            struct s_item pair[2] = { { json_array_get(list, i), false }, { json_array_get(list, k), false } };
            struct s_conj both = { pair, 2, 2 };
            struct s_alts other = { 0 };
            if (k == i || schema_unsat(c, &both, 4))
                continue;
            if (!schema_alts(c, pair[1].s, true, &other) || !schema_alts_and(c, &mine, &other))
                return false;
        }
        if (!schema_alts_or(c, &u, &mine))
            return false;
    }
    return schema_alts_and(c, out, &u);
}

/* None of them, or two. */
static bool not_one_of(struct schema *c, const json_t *list, struct s_alts *out)
{
    struct s_alts none = schema_all(c);
    size_t n = json_array_size(list);
    if (!all_of(c, list, true, &none) || !schema_alts_or(c, out, &none))
        return false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++) {
            struct s_alts one = { 0 }, two = { 0 };
            if (!schema_alts(c, json_array_get(list, i), false, &one) ||
                !schema_alts(c, json_array_get(list, k), false, &two) || !schema_alts_and(c, &one, &two) ||
                !schema_alts_or(c, out, &one))
                return false;
        }
    return true;
}

static bool if_then_else(struct schema *c, const json_t *s, struct s_alts *out)
{
    const json_t *i = json_object_get(s, "if"), *t = json_object_get(s, "then"), *e = json_object_get(s, "else");
    struct s_alts yes = { 0 }, no = { 0 }, part;
    if ((!t && !e) || c->no_if)
        return true;
    if (!schema_alts(c, i, false, &yes) || !schema_alts(c, i, true, &no))
        return false;
    part = (struct s_alts){ 0 };
    if (t && (!schema_alts(c, t, false, &part) || !schema_alts_and(c, &yes, &part)))
        return false;
    part = (struct s_alts){ 0 };
    if (e && (!schema_alts(c, e, false, &part) || !schema_alts_and(c, &no, &part)))
        return false;
    return schema_alts_or(c, &yes, &no) && schema_alts_and(c, out, &yes);
}

static bool is_number_kw(const char *kw)
{
    return is(kw, "minimum") || is(kw, "maximum") || is(kw, "exclusiveMinimum") || is(kw, "exclusiveMaximum") ||
           is(kw, "multipleOf");
}

static bool is_size_kw(const char *kw)
{
    return is(kw, "minLength") || is(kw, "maxLength") || is(kw, "minItems") || is(kw, "maxItems") ||
           is(kw, "minProperties") || is(kw, "maxProperties");
}

static bool is_layer_kw(const char *kw)
{
    return is(kw, "properties") || is(kw, "patternProperties") || is(kw, "additionalProperties") || is(kw, "items") ||
           is(kw, "prefixItems") || is(kw, "additionalItems");
}

/* Draft 4: "exclusiveMinimum": true changes what minimum means. */
static const char *bound_name(const json_t *s, const char *kw)
{
    if (is(kw, "minimum") && json_is_true(json_object_get(s, "exclusiveMinimum")))
        return "exclusiveMinimum";
    if (is(kw, "maximum") && json_is_true(json_object_get(s, "exclusiveMaximum")))
        return "exclusiveMaximum";
    return kw;
}

/* One keyword of a schema that must hold: restricts *out. */
static bool apply(struct schema *c, const json_t *s, const char *kw, const json_t *v, struct s_alts *out)
{
    struct s_alts part = { 0 };
    rx_id r;
    bool ignored;
    if (is(kw, "type"))
        return types(c, s, v, false, &part) && schema_alts_and(c, out, &part);
    if (is(kw, "enum"))
        return enumeration(c, v, &part) && schema_alts_and(c, out, &part);
    if (is(kw, "const"))
        return schema_literal(c, v, &part) && schema_alts_and(c, out, &part);
    if (is_number_kw(kw)) {
        if (json_is_boolean(v))
            return true;
        if (!numbers(c, s, bound_name(s, kw), v, false, &r))
            return false;
        restrict_number(c, out, r);
        return true;
    }
    if (is_size_kw(kw))
        return sizes(c, s, kw, v, false, out);
    if (is(kw, "pattern") || is(kw, "format")) {
        if (!text_rx(c, s, kw, v, &ignored, &r))
            return false;
        if (!ignored)
            restrict_string(c, out, r, 0, UINT64_MAX);
        return true;
    }
    if (is(kw, "required"))
        return required(c, s, v, false, out);
    if (is(kw, "allOf"))
        return all_of(c, v, false, out);
    if (is(kw, "anyOf"))
        return any_of(c, v, false, &part) && schema_alts_and(c, out, &part);
    if (is(kw, "oneOf"))
        return one_of(c, s, v, out);
    if (is(kw, "not"))
        return schema_alts(c, v, true, &part) && schema_alts_and(c, out, &part);
    if (is(kw, "if"))
        return if_then_else(c, s, out);
    if (is(kw, "propertyNames"))
        restrict_facts(c, out, SK_OBJECT, (struct s_fact){ .kind = SF_NAMES, .s = v });
    if (is(kw, "dependencies") || is(kw, "dependentRequired") || is(kw, "dependentSchemas"))
        return dependencies(c, s, kw, v, out);
    if (is(kw, "contains"))
        return contains(c, s, v, out);
    if (is(kw, "uniqueItems") && json_is_true(v))
        restrict_facts(c, out, SK_ARRAY, (struct s_fact){ .kind = SF_UNIQUE, .s = s });
    if ((is(kw, "unevaluatedProperties") || is(kw, "unevaluatedItems")) && !schema_is_true(v))
        return schema_fail(c, s, kw, "is not supported");
    if (is(kw, "$dynamicRef") || is(kw, "$recursiveRef"))
        return schema_fail(c, s, kw, "is not supported");
    return !c->failed;
}

/* properties negated: one of them is there and does not fit. */
static bool negate_properties(struct schema *c, const json_t *v, struct s_alts *out)
{
    const char *key;
    json_t *p;
    json_object_foreach((json_t *)v, key, p) {
        struct s_fact f[2] = { { .kind = SF_PROP, .name = key, .s = p, .neg = true },
                               { .kind = SF_REQUIRED, .name = key } };
        if (!schema_is_true(p))
            only_facts(c, out, SK_OBJECT, f, 2);
    }
    return !c->failed;
}

/* One keyword of a schema that must not hold: adds to *out the values that break it. */
static bool breakers(struct schema *c, const json_t *s, const char *kw, const json_t *v, struct s_alts *out)
{
    struct s_alts part = { 0 };
    rx_id r;
    bool ignored;
    if (is(kw, "type"))
        return types(c, s, v, true, &part) && schema_alts_or(c, out, &part);
    if (is(kw, "enum"))
        return enumeration(c, v, &part) && without(c, s, kw, &part, out);
    if (is(kw, "const"))
        return schema_literal(c, v, &part) && without(c, s, kw, &part, out);
    if (is_number_kw(kw)) {
        if (json_is_boolean(v))
            return true;
        if (!numbers(c, s, bound_name(s, kw), v, true, &r))
            return false;
        schema_alts_push(c, &part, scalar(r));
        return schema_alts_or(c, out, &part);
    }
    if (is_size_kw(kw))
        return sizes(c, s, kw, v, true, out);
    if (is(kw, "pattern") || is(kw, "format")) {
        if (!text_rx(c, s, kw, v, &ignored, &r))
            return false;
        if (!ignored)
            schema_alts_push(c, out, (struct s_alt){ .kind = SK_STRING, .smax = UINT64_MAX,
                             .r = rx_and(c->x, rx_any_text(c->x), rx_not(c->x, r)) });
        return true;
    }
    if (is(kw, "required"))
        return required(c, s, v, true, out);
    if (is(kw, "properties"))
        return negate_properties(c, v, out);
    if (is(kw, "allOf"))
        return any_of(c, v, true, &part) && schema_alts_or(c, out, &part);
    if (is(kw, "anyOf")) {
        part = schema_all(c);
        return all_of(c, v, true, &part) && schema_alts_or(c, out, &part);
    }
    if (is(kw, "not"))
        return schema_alts(c, v, false, &part) && schema_alts_or(c, out, &part);
    if ((is(kw, "additionalProperties") || is(kw, "additionalItems") || is(kw, "unevaluatedProperties")) &&
        schema_is_true(v))
        return true;
    if (is(kw, "additionalProperties") && json_is_false(v)) {
        only_facts(c, out, SK_OBJECT, &(struct s_fact){ .kind = SF_EXTRA, .s = s }, 1);
        return true;
    }
    if (is(kw, "contains") && !json_object_get(s, "minContains") && !json_object_get(s, "maxContains")) {
        only_facts(c, out, SK_ARRAY, &(struct s_fact){ .kind = SF_ITEMS, .s = v, .neg = true }, 1);
        return true;
    }
    if (is(kw, "oneOf"))
        return not_one_of(c, v, out);
    if (is(kw, "items") && !json_is_array(v) && !json_object_get(s, "prefixItems")) {
        struct s_fact f = { .kind = SF_CONTAINS, .s = v, .neg = true, .min = 1, .max = UINT64_MAX };
        if (!schema_is_true(v))
            only_facts(c, out, SK_ARRAY, &f, 1);
        return true;
    }
    static const char *const undecided[] = { "if", "patternProperties", "additionalProperties", "propertyNames",
        "items", "prefixItems", "additionalItems", "contains", "uniqueItems", "dependencies", "dependentRequired",
        "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef" };
    for (size_t i = 0; i < sizeof undecided / sizeof undecided[0]; i++)
        if (is(kw, undecided[i]) && !(is(kw, "uniqueItems") && !json_is_true(v)))
            return schema_fail(c, s, kw, "cannot be negated (under not, oneOf or if)");
    return !c->failed;
}

static bool of_object(struct schema *c, const json_t *s, bool neg, struct s_alts *out)
{
    const char *kw, *ref = json_string_value(json_object_get(s, "$ref"));
    struct s_alts a = neg ? (struct s_alts){ 0 } : schema_all(c), part = { 0 };
    json_t *v;
    bool layer = false;
    if (ref) {
        const json_t *to = schema_resolve(c, s, ref);
        if (!to || !schema_alts(c, to, neg, &part))
            return false;
        if (neg ? !schema_alts_or(c, &a, &part) : !schema_alts_and(c, &a, &part))
            return false;
    }
    if (!ref || !c->ref_hides)
        json_object_foreach((json_t *)s, kw, v) {
            layer |= is_layer_kw(kw);
            if (neg ? !breakers(c, s, kw, v, &a) : !apply(c, s, kw, v, &a))
                return false;
        }
    if (layer && !neg) {
        restrict_facts(c, &a, SK_OBJECT, (struct s_fact){ .kind = SF_LAYER, .s = s });
        restrict_facts(c, &a, SK_ARRAY, (struct s_fact){ .kind = SF_LAYER, .s = s });
    }
    return schema_alts_or(c, out, &a);
}

bool schema_alts(struct schema *c, const json_t *s, bool neg, struct s_alts *out)
{
    bool ok = true;
    if (c->failed)
        return false;
    if (++c->depth > SCHEMA_DEPTH_MAX)
        return schema_fail(c, s, "$ref", "refers to itself without a value between, or is nested too deep");
    if (json_is_boolean(s)) {
        struct s_alts all = schema_all(c);
        ok = json_is_true(s) == neg || schema_alts_or(c, out, &all);
    } else if (json_is_object(s)) {
        ok = of_object(c, s, neg, out);
    } else {
        ok = schema_fail(c, s, "", "must be an object or a boolean");
    }
    c->depth--;
    return ok && !c->failed;
}
