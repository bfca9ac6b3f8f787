/* jinja_attr -- obj.name, obj[key], obj[a:b:c] and attribute paths, as the sandboxed environment has them:
 * a dot looks for a method first and an entry second, brackets the other way round. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <string.h>

static const struct jv failed = { .type = J_FAIL };

static bool one_of(const struct jstr *name, const char *const *set)
{
    for (; *set; set++)
        if (jstr_is(name, *set))
            return true;
    return false;
}

/* Methods that exist in Python and that the immutable sandbox keeps out of reach. */
static bool is_mutator(struct jv obj, const struct jstr *name)
{
    static const char *const dict[] = { "clear", "pop", "popitem", "setdefault", "update", NULL };
    static const char *const list[] = { "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove",
                                        NULL };
    return (obj.type == J_DICT && one_of(name, dict)) || (obj.type == J_LIST && one_of(name, list)) ||
           (name->n > 4 && name->p[0] == '_' && name->p[1] == '_' && name->p[name->n - 1] == '_');
}

static struct jv method_new(struct jrun *r, const struct jbuiltin *row, struct jv self)
{
    struct jfunc *f = jalloc(r, 1, sizeof *f);
    if (!f)
        return failed;
    *f = (struct jfunc){ .kind = JF_BUILTIN, .row = row, .self = self };
    return (struct jv){ .type = J_FUNC, .fn = f };
}

static struct jv macro_attr(struct jrun *r, const struct jfunc *f, const struct jstr *name)
{
    const struct jnode *n = f->macro;
    if (f->kind != JF_MACRO)
        return jmissing();
    if (jstr_is(name, "name"))
        return n->kind == N_MACRO ? (struct jv){ .type = J_STR, .s = (struct jstr *)&n->sym->s } : jnone();
    if (jstr_is(name, "catch_kwargs")) return jbool(n->wants_kwargs);
    if (jstr_is(name, "catch_varargs")) return jbool(n->wants_varargs);
    if (jstr_is(name, "caller")) return jbool(n->wants_caller);
    if (!jstr_is(name, "arguments"))
        return jmissing();
    struct jv l = jlist_new(r, J_TUPLE, n->nparams);
    for (size_t i = 0; !jis_fail(l) && i < n->nparams; i++)
        if (!jlist_add(r, l.l, (struct jv){ .type = J_STR, .s = (struct jstr *)&n->params[i]->s }))
            return failed;
    return l;
}

/* getattr(obj, name): J_MISSING when there is none. */
static struct jv own_attr(struct jrun *r, struct jv obj, const struct jstr *name)
{
    const struct jbuiltin *row = jmethod_find(obj, name->p, name->n);
    if (row)
        return method_new(r, row, obj);
    if (is_mutator(obj, name))
        return jundef_security(r, obj, name);
    switch ((enum jtype)obj.type) {
    case J_NS: {
        struct jv *v = jdict_get_text(r, obj.d, name->p, name->n);
        return v ? *v : jmissing();
    }
    case J_LOOP: return jloop_attr(r, obj, name);
    case J_FUNC: return macro_attr(r, obj.fn, name);
    case J_TUPLE:
        if (obj.l->group && jstr_is(name, "grouper"))
            return obj.l->v[0];
        if (obj.l->group && jstr_is(name, "list"))
            return obj.l->v[1];
        return jmissing();
    case J_CYCLER:
        if (jstr_is(name, "current") && obj.cycler->n)
            return obj.cycler->v[obj.cycler->pos % obj.cycler->n];
        return jmissing();
    case J_INT: case J_BOOL:
        if (jstr_is(name, "real") || jstr_is(name, "numerator"))
            return jint(jint_of(obj));
        return jstr_is(name, "imag") ? jint(0) : jstr_is(name, "denominator") ? jint(1) : jmissing();
    default: return jmissing();
    }
}

/* obj[key] without a look at attributes: J_MISSING where Python raises LookupError or TypeError. */
static struct jv own_item(struct jrun *r, struct jv obj, struct jv key)
{
    if (obj.type == J_DICT) {
        if (key.type == J_LIST || key.type == J_DICT)
            return jmissing();
        struct jv *v = jdict_get(r, obj.d, key);
        return r->failed ? failed : v ? *v : jmissing();
    }
    if (!jis_int(key))
        return jmissing();
    size_t n;
    int64_t i = jint_of(key);
    if (obj.type != J_STR && obj.type != J_LIST && obj.type != J_TUPLE && obj.type != J_RANGE)
        return jmissing();
    if (!jv_len(r, obj, &n) || (obj.type == J_STR && !jcharge(r, n / 64)))
        return failed;
    if (i < 0)
        i += (int64_t)n;
    if (i < 0 || (size_t)i >= n)
        return jmissing();
    if (obj.type == J_RANGE)
        return jint(jrange_at(obj.range, (uint64_t)i));
    if (obj.type != J_STR)
        return obj.l->v[i];
    size_t at = n == obj.s->n ? (size_t)i : ju_offset(obj.s->p, obj.s->n, (size_t)i);
    struct jv c = jstr_ref(r, obj.s->p + at, ju_len((unsigned char)obj.s->p[at]));
    c.markup = obj.markup;
    return c;
}

struct jv jattr(struct jrun *r, struct jv obj, const struct jstr *name)
{
    if (obj.type == J_UNDEF)
        return jundef_fail(r, obj);
    struct jv key = { .type = J_STR, .s = (struct jstr *)name };
    struct jv v = own_attr(r, obj, name);
    if (jis_missing(v) && obj.type == J_DICT)
        v = own_item(r, obj, key);
    return jis_missing(v) ? jundef_attr(r, obj, key) : v;
}

struct jv jitem(struct jrun *r, struct jv obj, struct jv key)
{
    if (obj.type == J_UNDEF)
        return jundef_fail(r, obj);
    struct jv v = own_item(r, obj, key);
    if (jis_missing(v) && key.type == J_STR)
        v = own_attr(r, obj, key.s);
    return jis_missing(v) ? jundef_attr(r, obj, key) : v;
}

struct jv jpath(struct jrun *r, struct jv obj, struct jv path, struct jv dflt)
{
    if (path.type == J_NONE || jis_missing(path))
        return obj;
    if (path.type != J_STR) {
        obj = jitem(r, obj, path);
        return obj.type == J_UNDEF && dflt.type != J_MISSING && dflt.type != J_NONE ? dflt : obj;
    }
    const char *p = path.s->p, *end = p + path.s->n;
    for (bool more = true; more && !jis_fail(obj);) {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        more = dot != NULL;
        size_t n = (size_t)((more ? dot : end) - p), digits = 0;
        int64_t index = 0;
        while (digits < n && n < 10 && p[digits] >= '0' && p[digits] <= '9')
            index = index * 10 + (p[digits++] - '0');
        struct jv key = n && digits == n ? jint(index) : jstr_ref(r, p, n);
        obj = jis_fail(key) ? key : jitem(r, obj, key);
        if (obj.type == J_UNDEF && dflt.type != J_MISSING && dflt.type != J_NONE)
            obj = dflt;
        p += n + 1;
    }
    return obj;
}

/* ---- slices */

struct span {
    int64_t start, stop, step;
    size_t n;
};

static bool slice_part(struct jrun *r, struct jv v, int64_t *out)
{
    if (v.type == J_NONE)
        return true;
    if (!jis_int(v)) {
        if (v.type == J_UNDEF)
            jundef_fail(r, v);
        jfail(r, ERR_INVALID, "slice indices must be integers or None");
        return false;
    }
    *out = jint_of(v);
    return true;
}

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high)
{
    if (i < 0)
        i = i < -n ? low : i + n;
    return i < low ? low : i > high ? high : i;
}

static bool span_of(struct jrun *r, int64_t n, struct jv start, struct jv stop, struct jv step, struct span *out)
{
    struct span s = { .step = 1 };
    if (!slice_part(r, step, &s.step))
        return false;
    if (s.step == 0)
        return jfail(r, ERR_INVALID, "slice step cannot be zero"), false;
    if (s.step < -INT64_MAX)
        s.step = -INT64_MAX;
    bool back = s.step < 0;
    int64_t low = back ? -1 : 0, high = back ? n - 1 : n;
    s.start = back ? high : low;
    s.stop = back ? low : high;
    int64_t a = 0, b = 0;
    if (!slice_part(r, start, &a) || !slice_part(r, stop, &b))
        return false;
    if (start.type != J_NONE)
        s.start = clamp(a, n, low, high);
    if (stop.type != J_NONE)
        s.stop = clamp(b, n, low, high);
    if (back ? s.stop < s.start : s.start < s.stop)
        s.n = back ? (size_t)((s.start - s.stop - 1) / -s.step) + 1 : (size_t)((s.stop - s.start - 1) / s.step) + 1;
    *out = s;
    return true;
}

static struct jv slice_string(struct jrun *r, struct jv v, const struct span *sp)
{
    struct jstr *s = v.s;
    bool ascii = jstr_chars(s) == s->n;
    if (!jcharge(r, s->n / 64))
        return failed;
    if (sp->step == 1) {
        size_t a = ascii ? (size_t)sp->start : ju_offset(s->p, s->n, (size_t)sp->start);
        size_t len = ascii ? sp->n : ju_offset(s->p + a, s->n - a, sp->n);
        return jstr_ref(r, s->p + a, len);
    }
    size_t *at = ascii ? NULL : jalloc(r, s->chars + 1, sizeof *at);
    char *out = jalloc(r, ascii ? sp->n + 1 : s->n + 1, 1);
    size_t k = 0;
    if (!out || (!ascii && !at) || !jcharge(r, sp->n / 8))
        return failed;
    for (size_t i = 0, c = 0; at && i < s->n; i += ju_len((unsigned char)s->p[i]))
        at[c++] = i;
    for (size_t i = 0; i < sp->n; i++) {
        size_t c = (size_t)(sp->start + (int64_t)i * sp->step), pos = at ? at[c] : c;
        size_t len = ju_len((unsigned char)s->p[pos]);
        memcpy(out + k, s->p + pos, len);
        k += len;
    }
    return jstr_ref(r, out, k);
}

static struct jv slice_range(struct jrun *r, const struct jrange *g, const struct span *sp)
{
    struct jrange *out = jalloc(r, 1, sizeof *out);
    if (!out)
        return failed;
    *out = (struct jrange){ .start = jrange_at(g, (uint64_t)sp->start), .n = sp->n };
    if (__builtin_mul_overflow(g->step, sp->step, &out->step))
        return jfail(r, ERR_LIMIT, "a range step is too large");
    out->stop = jrange_at(out, sp->n);
    return (struct jv){ .type = J_RANGE, .range = out };
}

struct jv jslice(struct jrun *r, struct jv obj, struct jv start, struct jv stop, struct jv step)
{
    size_t n;
    struct span sp;
    if (obj.type == J_UNDEF)
        return jundef_fail(r, obj);
    if (obj.type != J_STR && obj.type != J_LIST && obj.type != J_TUPLE && obj.type != J_RANGE)
        return jfail(r, ERR_INVALID, obj.type == J_DICT ? "unhashable type: 'slice' (a %s cannot be sliced)"
                                                        : "'%s' object is not subscriptable", jtype_name(obj));
    if (!jv_len(r, obj, &n) || !span_of(r, (int64_t)n, start, stop, step, &sp))
        return failed;
    if (obj.type == J_RANGE)
        return slice_range(r, obj.range, &sp);
    if (obj.type == J_STR) {
        struct jv v = slice_string(r, obj, &sp);
        v.markup = obj.markup;
        return v;
    }
    struct jv l = jlist_new(r, (enum jtype)obj.type, sp.n);
    for (size_t i = 0; !jis_fail(l) && i < sp.n; i++)
        if (!jlist_add(r, l.l, obj.l->v[sp.start + (int64_t)i * sp.step]))
            return failed;
    return l;
}
