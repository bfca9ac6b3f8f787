/* jinja_globals -- the functions every template has: range, dict, namespace, cycler, joiner, raise_exception,
 * strftime_now. Nothing else is reachable. */
#include "text/jinja_run.h"

#include <string.h>

enum { RANGE_MAX = 100000 }; /* as in Jinja2's sandbox */

static const struct jv failed = { .type = J_FAIL };

static struct jv g_range(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t v[3] = { 0, 0, 1 };
    if (raw->nkw || raw->npos < 1 || raw->npos > 3)
        return jfail(r, ERR_INVALID, "range expected 1 to 3 arguments, got %zu", raw->npos);
    for (size_t i = 0; i < raw->npos; i++)
        if (!jindex(r, raw->pos[i], "an argument of range", &v[raw->npos == 1 ? 1 : i]))
            return failed;
    if (v[2] == 0)
        return jfail(r, ERR_INVALID, "range() arg 3 must not be zero");
    uint64_t span = v[2] > 0 ? (uint64_t)v[1] - (uint64_t)v[0] : (uint64_t)v[0] - (uint64_t)v[1];
    uint64_t step = v[2] > 0 ? (uint64_t)v[2] : 0 - (uint64_t)v[2];
    bool empty = v[2] > 0 ? v[0] >= v[1] : v[0] <= v[1];
    uint64_t n = empty ? 0 : (span - 1) / step + 1;
    if (n > RANGE_MAX)
        return jfail(r, ERR_LIMIT, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", RANGE_MAX);
    struct jrange *g = jalloc(r, 1, sizeof *g);
    if (!g)
        return failed;
    *g = (struct jrange){ v[0], v[1], v[2], (size_t)n };
    return (struct jv){ .type = J_RANGE, .range = g };
}

/* The entries of one argument of dict() or namespace(): a dict or a list of pairs. */
static bool add_entries(struct jrun *r, struct jdict *d, struct jv from)
{
    if (from.type == J_DICT || from.type == J_NS) {
        for (size_t i = 0; i < from.d->n; i++)
            if (!jdict_set(r, d, from.d->v[i].key, from.d->v[i].val))
                return false;
        return true;
    }
    struct jiter *it = jiter_open(r, from);
    struct jv pair;
    int more = -1;
    while (it && (more = jiter_next(r, it, &pair)) == 1) {
        struct jv two = jv_list(r, pair);
        if (jis_fail(two))
            return false;
        if (two.l->n != 2)
            return jfail(r, ERR_INVALID, "dictionary update sequence element has length %zu; 2 is required", two.l->n),
                   false;
        if (!jdict_set(r, d, two.l->v[0], two.l->v[1]))
            return false;
    }
    return more == 0;
}

static struct jv g_dict(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv d = jdict_new(r);
    if (jis_fail(d))
        return d;
    if (raw->npos > 1)
        return jfail(r, ERR_INVALID, "dict expected at most 1 argument, got %zu", raw->npos);
    if (raw->npos && !add_entries(r, d.d, raw->pos[0]))
        return failed;
    for (size_t i = 0; i < raw->nkw; i++)
        if (!jdict_set(r, d.d, (struct jv){ .type = J_STR, .s = (struct jstr *)raw->kw[i].name }, raw->kw[i].v))
            return failed;
    return d;
}

static struct jv g_namespace(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv ns = g_dict(r, self, a, raw);
    if (!jis_fail(ns))
        ns.type = J_NS;
    return ns;
}

static struct jv cycler_new(struct jrun *r, enum jtype type, const struct jv *v, size_t n)
{
    struct jcycler *c = jalloc(r, 1, sizeof *c);
    struct jv *copy = jalloc(r, n, sizeof *copy);
    if (!c || !copy)
        return failed;
    memcpy(copy, v, n * sizeof *copy);
    *c = (struct jcycler){ .v = copy, .n = n };
    return (struct jv){ .type = (uint8_t)type, .cycler = c };
}

static struct jv g_cycler(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return raw->npos ? cycler_new(r, J_CYCLER, raw->pos, raw->npos)
                     : jfail(r, ERR_INVALID, "at least one item has to be provided");
}

static struct jv g_joiner(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv sep = jis_missing(a[0]) ? jstr_lit(r, ", ") : a[0];
    return jis_fail(sep) ? sep : cycler_new(r, J_JOINER, &sep, 1);
}

static struct jv g_raise(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv s = jv_str(r, a[0]);
    if (!jis_fail(s)) {
        jfail(r, ERR_INVALID, "%.*s", s.s->n > ERR_TEXT_MAX ? ERR_TEXT_MAX : (int)s.s->n, s.s->p);
        r->raised = true;
    }
    return failed;
}

static struct jv g_strftime(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    if (a[0].type != J_STR)
        return jfail(r, ERR_INVALID, "strftime_now() takes a string, not '%s'", jtype_name(a[0]));
    return jstrftime(r, a[0]);
}

static const struct jbuiltin rows[] = {
    { "range", g_range, NULL, 0 },
    { "dict", g_dict, NULL, 0 },
    { "namespace", g_namespace, NULL, 0 },
    { "cycler", g_cycler, NULL, 0 },
    { "joiner", g_joiner, "sep", 0 },
    { "raise_exception", g_raise, "message", 1 },
    { "strftime_now", g_strftime, "format", 1 },
};

const struct jbuiltin *jglobal_find(const char *p, size_t n)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strlen(rows[i].name) == n && !memcmp(rows[i].name, p, n))
            return &rows[i];
    return NULL;
}
