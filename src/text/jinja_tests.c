/* jinja_tests -- what may follow `is`. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <string.h>

static const struct jv failed = { .type = J_FAIL };

static struct jv answer(int t)
{
    return t < 0 ? failed : jbool(t);
}

static struct jv remainder_is(struct jrun *r, struct jv v, struct jv n, int64_t want)
{
    struct jv m = v.type == J_STR ? jfail(r, ERR_INVALID, "not all arguments converted during string formatting")
                                  : jarith(r, T_MOD, v, n);
    return jis_fail(m) ? m : answer(jv_equal(r, m, jint(want)));
}

static struct jv t_odd(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return remainder_is(r, v, jint(2), 1);
}

static struct jv t_even(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return remainder_is(r, v, jint(2), 0);
}

static struct jv t_divisibleby(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return remainder_is(r, v, a[0], 0);
}

static struct jv t_defined(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type != J_UNDEF);
}

static struct jv t_undefined(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_UNDEF);
}

static struct jv t_filter(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_STR && jfilter_find(v.s->p, v.s->n));
}

static struct jv t_test(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_STR && jtest_find(v.s->p, v.s->n));
}

static struct jv t_none(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_NONE);
}

static struct jv t_boolean(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_BOOL);
}

static struct jv t_true(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_BOOL && v.b);
}

static struct jv t_false(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_BOOL && !v.b);
}

static struct jv t_integer(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_INT);
}

static struct jv t_float(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_FLOAT);
}

static struct jv t_number(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(jis_num(v));
}

static struct jv t_string(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_STR);
}

static struct jv t_mapping(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_DICT);
}

static struct jv t_sequence(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_STR || v.type == J_LIST || v.type == J_TUPLE || v.type == J_DICT || v.type == J_RANGE ||
                 v.type == J_UNDEF);
}

static struct jv t_iterable(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(jv_iterable(v));
}

static struct jv t_callable(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_FUNC || v.type == J_LOOP || v.type == J_JOINER || v.type == J_UNDEF);
}

static struct jv t_case(struct jrun *r, struct jv v, const char *method)
{
    struct jv s = jv_str(r, v);
    struct jargs none = { 0 };
    return jis_fail(s) ? s : jbuiltin_call(r, jmethod_find(s, method, strlen(method)), s, &none);
}

static struct jv t_lower(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return t_case(r, v, "islower");
}

static struct jv t_upper(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return t_case(r, v, "isupper");
}

/* Python's `is`: the same object. Numbers and strings here have no identity; equal and of one type will do. */
static struct jv t_sameas(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    if (v.type != a[0].type)
        return jbool(false);
    switch ((enum jtype)v.type) {
    case J_LIST: case J_TUPLE: return jbool(v.l == a[0].l);
    case J_DICT: return jbool(v.d == a[0].d);
    case J_VIEW: case J_UNDEF: return jbool(v.u == a[0].u);
    default: return answer(jv_equal(r, v, a[0]));
    }
}

static struct jv t_escaped(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return jbool(v.type == J_STR && v.markup);
}

static struct jv t_in(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return answer(jv_contains(r, v, a[0]));
}

static struct jv t_eq(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return answer(jv_equal(r, v, a[0]));
}

static struct jv t_ne(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    int q = jv_equal(r, v, a[0]);
    return q < 0 ? failed : jbool(!q);
}

static struct jv t_gt(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return answer(jv_less(r, v, a[0], '>'));
}

static struct jv t_ge(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return answer(jv_less(r, v, a[0], 'g'));
}

static struct jv t_lt(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return answer(jv_less(r, v, a[0], '<'));
}

static struct jv t_le(struct jrun *r, struct jv v, struct jv *a, const struct jargs *raw)
{
    return answer(jv_less(r, v, a[0], 'l'));
}

static const struct jbuiltin rows[] = {
    { "defined", t_defined, "", 0 },
    { "undefined", t_undefined, "", 0 },
    { "none", t_none, "", 0 },
    { "string", t_string, "", 0 },
    { "mapping", t_mapping, "", 0 },
    { "iterable", t_iterable, "", 0 },
    { "sequence", t_sequence, "", 0 },
    { "number", t_number, "", 0 },
    { "integer", t_integer, "", 0 },
    { "float", t_float, "", 0 },
    { "boolean", t_boolean, "", 0 },
    { "true", t_true, "", 0 },
    { "false", t_false, "", 0 },
    { "callable", t_callable, "", 0 },
    { "filter", t_filter, "", 0 },
    { "test", t_test, "", 0 },
    { "odd", t_odd, "", 0 },
    { "even", t_even, "", 0 },
    { "divisibleby", t_divisibleby, "num", 1 },
    { "lower", t_lower, "", 0 },
    { "upper", t_upper, "", 0 },
    { "escaped", t_escaped, "", 0 },
    { "sameas", t_sameas, "other", 1 },
    { "in", t_in, "seq", 1 },
    { "==", t_eq, "b", 1 },
    { "eq", t_eq, "b", 1 },
    { "equalto", t_eq, "b", 1 },
    { "!=", t_ne, "b", 1 },
    { "ne", t_ne, "b", 1 },
    { ">", t_gt, "b", 1 },
    { "gt", t_gt, "b", 1 },
    { "greaterthan", t_gt, "b", 1 },
    { ">=", t_ge, "b", 1 },
    { "ge", t_ge, "b", 1 },
    { "<", t_lt, "b", 1 },
    { "lt", t_lt, "b", 1 },
    { "lessthan", t_lt, "b", 1 },
    { "<=", t_le, "b", 1 },
    { "le", t_le, "b", 1 },
};

const struct jbuiltin *jtest_find(const char *p, size_t n)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strlen(rows[i].name) == n && !memcmp(rows[i].name, p, n))
            return &rows[i];
    return NULL;
}
