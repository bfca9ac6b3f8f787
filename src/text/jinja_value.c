/* jinja_value -- making values, and truth, equality, order, length and hashing as Python has them. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DICT_SMALL = 8, TAIL_MIN = 512 };

/* ---- the budget */

void *jalloc(struct jrun *r, size_t count, size_t size)
{
    void *p = r->arena.used + r->captured > r->arena.limit ? NULL : arena_alloc(&r->arena, count, size);
    if (!p)
        jfail(r, ERR_LIMIT, "the template needs more than %zu bytes of memory", r->arena.limit);
    return p;
}

struct jv jfail(struct jrun *r, enum err_code code, const char *fmt, ...)
{
    if (!r->failed) {
        char text[ERR_TEXT_MAX];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        err_set(r->err, code, "%s", text);
        r->failed = true;
        r->code = code;
    }
    return (struct jv){ .type = J_FAIL };
}

bool jcharge(struct jrun *r, size_t ops)
{
    if (r->failed)
        return false;
    if (ops < (size_t)r->ops) {
        r->ops -= (int64_t)ops;
        return true;
    }
    r->ops = 0;
    jfail(r, ERR_LIMIT, "the template does more work than its budget of %lld operations", (long long)r->ops_max);
    return false;
}

bool jenter(struct jrun *r)
{
    if (!jcharge(r, 1))
        return false;
    if (r->depth >= r->depth_max) {
        jfail(r, ERR_LIMIT, "the template nests deeper than %d evaluations (does a macro call itself?)", r->depth_max);
        return false;
    }
    r->depth++;
    return true;
}

void jleave(struct jrun *r)
{
    r->depth--;
}

/* ---- strings */

struct jv jstr_ref(struct jrun *r, const char *p, size_t n)
{
    struct jstr *s = jalloc(r, 1, sizeof *s);
    if (!s)
        return (struct jv){ .type = J_FAIL };
    *s = (struct jstr){ .p = p, .n = n, .chars = SIZE_MAX };
    return (struct jv){ .type = J_STR, .s = s };
}

struct jv jstr_copy(struct jrun *r, const char *p, size_t n)
{
    char *copy = n ? jalloc(r, n, 1) : (char *)"";
    if (!copy || !jcharge(r, n / 64))
        return (struct jv){ .type = J_FAIL };
    if (n)
        memcpy(copy, p, n);
    return jstr_ref(r, copy, n);
}

struct jv jstr_lit(struct jrun *r, const char *literal)
{
    return jstr_ref(r, literal, strlen(literal));
}

struct jv jstr_from_buf(struct jrun *r, struct buf *b)
{
    struct jv v = b->overflow
        ? jfail(r, ERR_LIMIT, "the template builds a string of more than %zu bytes", b->max)
        : jstr_copy(r, buf_str(b), b->len);
    buf_release(b);
    return v;
}

size_t jstr_chars(struct jstr *s)
{
    if (s->chars == SIZE_MAX)
        s->chars = ju_count(s->p, s->n);
    return s->chars;
}

/* a + b: in place when a ends where its tail ends, else into a new tail with room for as much again. */
struct jv jstr_join2(struct jrun *r, const struct jstr *a, const struct jstr *b)
{
    size_t n;
    if (!mem_add_ok(a->n, b->n, &n) || !jcharge(r, b->n / 64 + 1))
        return (struct jv){ .type = J_FAIL };
    struct jtail *t = a->tail;
    if (t && a->p == t->p && a->n == t->used && t->cap - t->used >= b->n) {
        memcpy(t->p + t->used, b->p, b->n);
        t->used = n;
    } else if (n < TAIL_MIN) {
        t = NULL;
    } else {
        t = jalloc(r, 1, sizeof *t);
        size_t cap = n < SIZE_MAX / 2 ? 2 * n : n;
        if (!t || !jcharge(r, a->n / 64))
            return (struct jv){ .type = J_FAIL };
        if (cap > (r->arena.limit - r->arena.used) / 2)
            cap = n; /* close to the limit: no slack */
        t->p = jalloc(r, cap, 1);
        if (!t->p)
            return (struct jv){ .type = J_FAIL };
        t->cap = cap;
        t->used = n;
        memcpy(t->p, a->p, a->n);
        memcpy(t->p + a->n, b->p, b->n);
    }
    char *p = t ? t->p : jalloc(r, n + 1, 1);
    if (!p)
        return (struct jv){ .type = J_FAIL };
    if (!t) {
        memcpy(p, a->p, a->n);
        memcpy(p + a->n, b->p, b->n);
    }
    struct jv v = jstr_ref(r, p, n);
    if (!jis_fail(v)) {
        v.s->tail = t;
        if (a->chars != SIZE_MAX && b->chars != SIZE_MAX)
            v.s->chars = a->chars + b->chars;
    }
    return v;
}

/* ---- lists and dicts */

struct jv jlist_new(struct jrun *r, enum jtype type, size_t cap)
{
    struct jlist *l = jalloc(r, 1, sizeof *l);
    if (!l)
        return (struct jv){ .type = J_FAIL };
    if (cap) {
        l->v = jalloc(r, cap, sizeof *l->v);
        if (!l->v)
            return (struct jv){ .type = J_FAIL };
        l->cap = cap;
    }
    return (struct jv){ .type = (uint8_t)type, .l = l };
}

bool jlist_add(struct jrun *r, struct jlist *l, struct jv v)
{
    if (jis_fail(v) || !jcharge(r, 1))
        return false;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        struct jv *grown = jalloc(r, cap, sizeof *grown);
        if (!grown)
            return false;
        if (l->n)
            memcpy(grown, l->v, l->n * sizeof *grown);
        l->v = grown;
        l->cap = cap;
    }
    l->v[l->n++] = v;
    return true;
}

struct jv jpair_tuple(struct jrun *r, struct jv a, struct jv b)
{
    struct jv t = jlist_new(r, J_TUPLE, 2);
    if (jis_fail(t) || !jlist_add(r, t.l, a) || !jlist_add(r, t.l, b))
        return (struct jv){ .type = J_FAIL };
    return t;
}

struct jv jdict_new(struct jrun *r)
{
    struct jdict *d = jalloc(r, 1, sizeof *d);
    return d ? (struct jv){ .type = J_DICT, .d = d } : (struct jv){ .type = J_FAIL };
}

/* The entry of key, or d->n. A failed comparison or unhashable key sets the error. */
static size_t dict_find(struct jrun *r, const struct jdict *d, struct jv key, uint64_t h)
{
    if (!d->slot) {
        for (size_t i = 0; i < d->n; i++)
            if (jv_equal(r, d->v[i].key, key) == 1)
                return i;
        return d->n;
    }
    for (size_t s = h & (d->slots - 1), tries = 0; tries < d->slots && d->slot[s]; s = (s + 1) & (d->slots - 1)) {
        tries++;
        if (!jcharge(r, 1) || jv_equal(r, d->v[d->slot[s] - 1].key, key) == 1)
            return r->failed ? d->n : d->slot[s] - 1;
    }
    return d->n;
}

static void dict_slot_put(struct jdict *d, uint64_t h, size_t entry)
{
    size_t s = h & (d->slots - 1);
    while (d->slot[s])
        s = (s + 1) & (d->slots - 1);
    d->slot[s] = (uint32_t)(entry + 1);
}

static bool dict_grow(struct jrun *r, struct jdict *d)
{
    size_t cap = d->cap ? d->cap * 2 : 4;
    struct jpair *v = jalloc(r, cap, sizeof *v);
    if (!v || cap > UINT32_MAX / 4)
        return false;
    if (d->n)
        memcpy(v, d->v, d->n * sizeof *v);
    d->v = v;
    d->cap = cap;
    if (cap <= DICT_SMALL)
        return true;
    d->slots = cap * 2;
    d->slot = jalloc(r, d->slots, sizeof *d->slot);
    if (!d->slot)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        uint64_t h;
        if (!jv_hash(r, v[i].key, &h))
            return false;
        dict_slot_put(d, h, i);
    }
    return true;
}

bool jdict_set(struct jrun *r, struct jdict *d, struct jv key, struct jv val)
{
    uint64_t h;
    if (jis_fail(key) || jis_fail(val) || !jcharge(r, 1) || !jv_hash(r, key, &h))
        return false;
    size_t i = dict_find(r, d, key, h);
    if (r->failed)
        return false;
    if (i < d->n) {
        d->v[i].val = val;
        return true;
    }
    if (d->n == d->cap && !dict_grow(r, d))
        return false;
    d->v[d->n] = (struct jpair){ key, val };
    if (d->slot)
        dict_slot_put(d, h, d->n);
    d->n++;
    return true;
}

struct jv *jdict_get(struct jrun *r, const struct jdict *d, struct jv key)
{
    uint64_t h;
    if (!jv_hash(r, key, &h))
        return NULL;
    size_t i = dict_find(r, d, key, h);
    return i < d->n ? &d->v[i].val : NULL;
}

struct jv *jdict_get_text(struct jrun *r, const struct jdict *d, const char *p, size_t n)
{
    struct jstr s = { .p = p, .n = n, .chars = SIZE_MAX };
    return jdict_get(r, d, (struct jv){ .type = J_STR, .s = &s });
}

static struct jv from_object(struct jrun *r, const json_t *j)
{
    struct jv d = jdict_new(r);
    const char *key;
    size_t key_n;
    json_t *val;
    if (jis_fail(d))
        return d;
    void *iter = json_object_iter((json_t *)j);
    for (; iter; iter = json_object_iter_next((json_t *)j, iter)) {
        key = json_object_iter_key(iter);
        key_n = json_object_iter_key_len(iter);
        val = json_object_iter_value(iter);
        if (!jdict_set(r, d.d, jstr_ref(r, key, key_n), jv_from_json(r, val)))
            return (struct jv){ .type = J_FAIL };
    }
    return d;
}

static struct jv from_array(struct jrun *r, const json_t *j)
{
    struct jv l = jlist_new(r, J_LIST, json_array_size(j));
    for (size_t i = 0; !jis_fail(l) && i < json_array_size(j); i++)
        if (!jlist_add(r, l.l, jv_from_json(r, json_array_get(j, i))))
            return (struct jv){ .type = J_FAIL };
    return l;
}

struct jv jv_from_json(struct jrun *r, const json_t *j)
{
    struct jv v = jnone();
    if (!jenter(r))
        return (struct jv){ .type = J_FAIL };
    switch (json_typeof(j)) {
    case JSON_OBJECT: v = from_object(r, j); break;
    case JSON_ARRAY: v = from_array(r, j); break;
    case JSON_STRING: v = jstr_ref(r, json_string_value(j), json_string_length(j)); break;
    case JSON_INTEGER: v = jint(json_integer_value(j)); break;
    case JSON_REAL: v = jfloat(json_real_value(j)); break;
    case JSON_TRUE: v = jbool(true); break;
    case JSON_FALSE: v = jbool(false); break;
    case JSON_NULL: break;
    }
    jleave(r);
    return v;
}

/* ---- undefined */

static struct jv undef_new(struct jrun *r, struct jundef what)
{
    struct jundef *u = jalloc(r, 1, sizeof *u);
    if (!u)
        return (struct jv){ .type = J_FAIL };
    *u = what;
    return (struct jv){ .type = J_UNDEF, .u = u };
}

struct jv jundef_name(struct jrun *r, const struct jstr *name)
{
    return undef_new(r, (struct jundef){ .name = name });
}

struct jv jundef_hint(struct jrun *r, const char *hint)
{
    return undef_new(r, (struct jundef){ .hint = hint });
}

struct jv jundef_security(struct jrun *r, struct jv obj, const struct jstr *name)
{
    return undef_new(r, (struct jundef){ .name = name, .on = jtype_name(obj), .security = true });
}

struct jv jundef_attr(struct jrun *r, struct jv obj, struct jv name)
{
    struct jv s = name.type == J_STR ? name : jv_str(r, name);
    if (jis_fail(s))
        return s;
    return undef_new(r, (struct jundef){ .name = s.s, .on = jtype_name(obj) });
}

struct jv jundef_fail(struct jrun *r, struct jv undef)
{
    const struct jundef *u = undef.u;
    if (u->hint)
        return jfail(r, ERR_INVALID, "%s", u->hint);
    int n = u->name->n > 100 ? 100 : (int)u->name->n;
    if (u->security)
        return jfail(r, ERR_INVALID, "access to attribute '%.*s' of '%s' object is unsafe", n, u->name->p, u->on);
    if (!u->on)
        return jfail(r, ERR_INVALID, "'%.*s' is undefined", n, u->name->p);
    if (!strcmp(u->on, "NoneType"))
        return jfail(r, ERR_INVALID, "'None' has no attribute '%.*s'", n, u->name->p);
    return jfail(r, ERR_INVALID, "'%s object' has no attribute '%.*s'", u->on, n, u->name->p);
}

/* ---- what Python says */

const char *jtype_name(struct jv v)
{
    static const char *const views[] = { "dict_keys", "dict_values", "dict_items" };
    switch ((enum jtype)v.type) {
    case J_UNDEF: return "Undefined";
    case J_NONE: return "NoneType";
    case J_BOOL: return "bool";
    case J_INT: return "int";
    case J_FLOAT: return "float";
    case J_STR: return v.markup ? "Markup" : "str";
    case J_LIST: return "list";
    case J_TUPLE: return "tuple";
    case J_DICT: return "dict";
    case J_VIEW: return views[v.view];
    case J_RANGE: return "range";
    case J_ITER: return "generator";
    case J_NS: return "Namespace";
    case J_FUNC: return "function";
    case J_LOOP: return "LoopContext";
    case J_CYCLER: return "Cycler";
    case J_JOINER: return "Joiner";
    case J_MISSING: case J_FAIL: break;
    }
    return "nothing";
}

int jv_truth(struct jrun *r, struct jv v)
{
    switch ((enum jtype)v.type) {
    case J_FAIL: return -1;
    case J_UNDEF: case J_NONE: case J_MISSING: return 0;
    case J_BOOL: return v.b;
    case J_INT: return v.i != 0;
    case J_FLOAT: return v.f != 0;
    case J_STR: return v.s->n != 0;
    case J_LIST: case J_TUPLE: return v.l->n != 0;
    case J_DICT: case J_VIEW: return v.d->n != 0;
    case J_RANGE: return v.range->n != 0;
    default: return 1;
    }
}

static int num_compare(struct jv a, struct jv b) /* -1, 0, 1; 2 unordered */
{
    if (a.type != J_FLOAT && b.type != J_FLOAT) {
        int64_t x = jint_of(a), y = jint_of(b);
        return x < y ? -1 : x > y;
    }
    double x = jfloat_of(a), y = jfloat_of(b);
    if (isnan(x) || isnan(y))
        return 2;
    if (x != y || (a.type == J_FLOAT && b.type == J_FLOAT))
        return x < y ? -1 : x > y;
    /* equal after rounding: compare the integer with the float exactly */
    if (fabs(x) >= 9223372036854775808.0)
        return 0;
    int64_t i = a.type == J_FLOAT ? (int64_t)a.f : jint_of(a), k = b.type == J_FLOAT ? (int64_t)b.f : jint_of(b);
    return i < k ? -1 : i > k;
}

int jstr_compare(const struct jstr *a, const struct jstr *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int c = n ? memcmp(a->p, b->p, n) : 0; /* UTF-8 sorts as its code points do */
    return c ? c : a->n < b->n ? -1 : a->n > b->n;
}

static int list_equal(struct jrun *r, const struct jlist *a, const struct jlist *b)
{
    if (a->n != b->n)
        return 0;
    for (size_t i = 0; i < a->n; i++) {
        int q = jv_equal(r, a->v[i], b->v[i]);
        if (q != 1)
            return q;
    }
    return 1;
}

static int dict_equal(struct jrun *r, const struct jdict *a, const struct jdict *b)
{
    if (a->n != b->n)
        return 0;
    for (size_t i = 0; i < a->n; i++) {
        struct jv *other = jdict_get(r, b, a->v[i].key);
        int q = other ? jv_equal(r, a->v[i].val, *other) : 0;
        if (q != 1)
            return r->failed ? -1 : q;
    }
    return 1;
}

static int view_equal(struct jrun *r, struct jv a, struct jv b)
{
    if (a.view == JVIEW_VALUES || b.view == JVIEW_VALUES)
        return a.d == b.d && a.view == b.view && false;
    if (a.view != b.view || a.d->n != b.d->n)
        return 0;
    if (a.view == JVIEW_ITEMS)
        return dict_equal(r, a.d, b.d);
    for (size_t i = 0; i < a.d->n; i++)
        if (!jdict_get(r, b.d, a.d->v[i].key))
            return r->failed ? -1 : 0;
    return 1;
}

static int equal_deep(struct jrun *r, struct jv a, struct jv b)
{
    if (!jenter(r))
        return -1;
    int q;
    if (a.type == J_DICT)
        q = dict_equal(r, a.d, b.d);
    else if (a.type == J_VIEW)
        q = view_equal(r, a, b);
    else
        q = list_equal(r, a.l, b.l);
    jleave(r);
    return q;
}

int jv_equal(struct jrun *r, struct jv a, struct jv b)
{
    if (jis_fail(a) || jis_fail(b) || !jcharge(r, 1))
        return -1;
    if (jis_num(a) && jis_num(b))
        return num_compare(a, b) == 0;
    if (a.type != b.type)
        return 0;
    switch ((enum jtype)a.type) {
    case J_STR:
        return a.s == b.s || (a.s->n == b.s->n && jcharge(r, a.s->n / 64) && !memcmp(a.s->p, b.s->p, a.s->n));
    case J_LIST: case J_TUPLE: case J_DICT: case J_VIEW:
        return equal_deep(r, a, b);
    case J_RANGE:
        return a.range->n == b.range->n && (!a.range->n || (a.range->start == b.range->start &&
               (a.range->n == 1 || a.range->step == b.range->step)));
    case J_UNDEF: case J_NONE: return 1;
    case J_FUNC: return a.fn == b.fn;
    case J_LOOP: return a.loop == b.loop;
    case J_NS: return a.d == b.d;
    case J_ITER: return a.it == b.it;
    case J_CYCLER: case J_JOINER: return a.cycler == b.cycler;
    default: return 0;
    }
}

static int order_result(int c, char op) /* c: -1, 0, 1, or 2 for not ordered (nan) */
{
    if (c == 2)
        return 0;
    return op == '<' ? c < 0 : op == 'l' ? c <= 0 : op == '>' ? c > 0 : c >= 0;
}

static int list_less(struct jrun *r, const struct jlist *a, const struct jlist *b, char op)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        int q = jv_equal(r, a->v[i], b->v[i]);
        if (q < 0)
            return -1;
        if (!q)
            return jv_less(r, a->v[i], b->v[i], op);
    }
    return order_result(a->n < b->n ? -1 : a->n > b->n, op);
}

int jv_less(struct jrun *r, struct jv a, struct jv b, char op)
{
    if (jis_fail(a) || jis_fail(b) || !jcharge(r, 1))
        return -1;
    if (jis_num(a) && jis_num(b))
        return order_result(num_compare(a, b), op);
    if (a.type == J_STR && b.type == J_STR) {
        int c = jcharge(r, a.s->n / 64) ? jstr_compare(a.s, b.s) : 0;
        return r->failed ? -1 : order_result(c < 0 ? -1 : c > 0, op);
    }
    if (a.type == b.type && (a.type == J_LIST || a.type == J_TUPLE)) {
        if (!jenter(r))
            return -1;
        int q = list_less(r, a.l, b.l, op);
        jleave(r);
        return q;
    }
    if (a.type == J_UNDEF || b.type == J_UNDEF) {
        jundef_fail(r, a.type == J_UNDEF ? a : b);
        return -1;
    }
    jfail(r, ERR_INVALID, "'%s' not supported between instances of '%s' and '%s'",
          op == '<' ? "<" : op == 'l' ? "<=" : op == '>' ? ">" : ">=", jtype_name(a), jtype_name(b));
    return -1;
}

bool jv_len(struct jrun *r, struct jv v, size_t *out)
{
    switch ((enum jtype)v.type) {
    case J_FAIL: return false;
    case J_UNDEF: *out = 0; return true;
    case J_STR: *out = jstr_chars(v.s); return true;
    case J_LIST: case J_TUPLE: *out = v.l->n; return true;
    case J_DICT: case J_VIEW: *out = v.d->n; return true;
    case J_RANGE: *out = v.range->n; return true;
    case J_LOOP: return jloop_length(r, v.loop, out);
    default:
        jfail(r, ERR_INVALID, "object of type '%s' has no len()", jtype_name(v));
        return false;
    }
}

static int contains_walk(struct jrun *r, struct jv item, struct jv container)
{
    struct jiter *it = jiter_open(r, container);
    if (!it)
        return -1;
    struct jv v;
    int more;
    while ((more = jiter_next(r, it, &v)) == 1) {
        int q = jv_equal(r, v, item);
        if (q)
            return q;
    }
    return more;
}

int jv_contains(struct jrun *r, struct jv item, struct jv container)
{
    if (jis_fail(item) || jis_fail(container))
        return -1;
    if (container.type == J_STR) {
        if (item.type != J_STR) {
            jfail(r, ERR_INVALID, "'in <string>' requires string as left operand, not %s", jtype_name(item));
            return -1;
        }
        if (!jcharge(r, container.s->n / 64))
            return -1;
        return ju_find(container.s->p, container.s->n, item.s->p, item.s->n) != SIZE_MAX;
    }
    if (container.type == J_DICT || (container.type == J_VIEW && container.view == JVIEW_KEYS)) {
        struct jv *found = jdict_get(r, container.d, item);
        return r->failed ? -1 : found != NULL;
    }
    if (!jv_iterable(container)) {
        jfail(r, ERR_INVALID, "argument of type '%s' is not iterable", jtype_name(container));
        return -1;
    }
    return contains_walk(r, item, container);
}

static uint64_t hash_bytes(const void *p, size_t n, uint64_t h)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001B3u;
    return h ^ h >> 29;
}

bool jv_hash(struct jrun *r, struct jv v, uint64_t *out)
{
    uint64_t h = r->hash_seed;
    switch ((enum jtype)v.type) {
    case J_FAIL: return false;
    case J_STR:
        *out = hash_bytes(v.s->p, v.s->n, h);
        return jcharge(r, v.s->n / 64);
    case J_BOOL: case J_INT: case J_FLOAT: {
        double f = jfloat_of(v) + 0.0; /* equal numbers hash alike; -0.0 becomes 0.0 */
        *out = hash_bytes(&f, sizeof f, h);
        return true;
    }
    case J_TUPLE:
        if (!jenter(r))
            return false;
        for (size_t i = 0; i < v.l->n; i++) {
            uint64_t part;
            if (!jv_hash(r, v.l->v[i], &part))
                return false;
            h = hash_bytes(&part, sizeof part, h);
        }
        jleave(r);
        *out = h;
        return true;
    case J_LIST: case J_DICT:
        jfail(r, ERR_INVALID, "unhashable type: '%s'", jtype_name(v));
        return false;
    default:
        *out = h + v.type;
        return true;
    }
}
