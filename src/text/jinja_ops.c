/* jinja_ops -- arithmetic as Python's: whole numbers stay whole (63 bits, overflow is an error), // and %
 * round down, strings and lists add and repeat, % formats. */
#include "text/jinja_run.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static const struct jv failed = { .type = J_FAIL };

static struct jv overflow(struct jrun *r)
{
    return jfail(r, ERR_LIMIT, "a whole number passes 63 bits");
}

static struct jv zero(struct jrun *r)
{
    return jfail(r, ERR_INVALID, "division by zero");
}

static const char *op_text(enum jtok op)
{
    switch (op) {
    case T_ADD: return "+";
    case T_SUB: return "-";
    case T_MUL: return "*";
    case T_DIV: return "/";
    case T_FLOORDIV: return "//";
    case T_MOD: return "%";
    default: return "**";
    }
}

static struct jv int_pow(struct jrun *r, int64_t base, int64_t exp)
{
    if (exp < 0)
        return base ? jfloat(pow((double)base, (double)exp))
                    : jfail(r, ERR_INVALID, "0.0 cannot be raised to a negative power");
    int64_t v = 1;
    bool over = false;
    if (base == 0 || base == 1 || base == -1)
        return jint(exp == 0 ? 1 : base == -1 && exp % 2 == 0 ? 1 : base);
    for (int64_t i = 0; i < exp && !over; i++) /* at most 63 rounds: |base| > 1 */
        over = __builtin_mul_overflow(v, base, &v);
    return over ? overflow(r) : jint(v);
}

static struct jv int_arith(struct jrun *r, enum jtok op, int64_t a, int64_t b)
{
    int64_t v;
    if (b == 0 && (op == T_DIV || op == T_FLOORDIV || op == T_MOD))
        return zero(r);
    switch (op) {
    case T_ADD: return __builtin_add_overflow(a, b, &v) ? overflow(r) : jint(v);
    case T_SUB: return __builtin_sub_overflow(a, b, &v) ? overflow(r) : jint(v);
    case T_MUL: return __builtin_mul_overflow(a, b, &v) ? overflow(r) : jint(v);
    case T_DIV: return jfloat((double)a / (double)b);
    case T_FLOORDIV:
        if (b == -1)
            return __builtin_sub_overflow((int64_t)0, a, &v) ? overflow(r) : jint(v);
        return jint(a / b - (a % b != 0 && (a < 0) != (b < 0)));
    case T_MOD:
        if (b == -1)
            return jint(0);
        v = a % b;
        return jint(v != 0 && (v < 0) != (b < 0) ? v + b : v);
    default: return int_pow(r, a, b);
    }
}

/* Python's float_divmod. */
static void float_divmod(double a, double b, double *div, double *mod)
{
    double m = fmod(a, b), d = (a - m) / b;
    if (m != 0) {
        if ((b < 0) != (m < 0)) {
            m += b;
            d -= 1.0;
        }
    } else {
        m = copysign(0.0, b);
    }
    if (d != 0) {
        double f = floor(d);
        d = d - f > 0.5 ? f + 1.0 : f;
    } else {
        d = copysign(0.0, a / b);
    }
    *div = d;
    *mod = m;
}

static struct jv float_arith(struct jrun *r, enum jtok op, double a, double b)
{
    double d, m;
    if (b == 0 && (op == T_DIV || op == T_FLOORDIV || op == T_MOD))
        return zero(r);
    switch (op) {
    case T_ADD: return jfloat(a + b);
    case T_SUB: return jfloat(a - b);
    case T_MUL: return jfloat(a * b);
    case T_DIV: return jfloat(a / b);
    case T_FLOORDIV: case T_MOD:
        float_divmod(a, b, &d, &m);
        return jfloat(op == T_MOD ? m : d);
    default:
        if (a < 0 && b != floor(b))
            return jfail(r, ERR_UNSUPPORTED, "complex numbers are not supported");
        if (a == 0 && b < 0)
            return jfail(r, ERR_INVALID, "0.0 cannot be raised to a negative power");
        d = pow(a, b);
        return isinf(d) && !isinf(a) && !isinf(b) ? jfail(r, ERR_INVALID, "numerical result out of range") : jfloat(d);
    }
}

static struct jv repeat(struct jrun *r, struct jv v, int64_t count)
{
    size_t n = v.type == J_STR ? v.s->n : v.l->n, total;
    if (count < 0)
        count = 0;
    if (!mem_mul_ok(n, (size_t)count, &total) || total > r->arena.limit / (v.type == J_STR ? 1 : sizeof v))
        return jfail(r, ERR_LIMIT, "a repetition is longer than the render's memory");
    if (v.type != J_STR) {
        struct jv l = jlist_new(r, (enum jtype)v.type, total);
        for (size_t i = 0; !jis_fail(l) && i < total; i++)
            if (!jlist_add(r, l.l, v.l->v[i % n]))
                return failed;
        return l;
    }
    char *p = jalloc(r, total + 1, 1);
    if (!p || !jcharge(r, total / 64 + (n ? (size_t)count / 8 : 0)))
        return failed;
    for (size_t i = 0; n && i < (size_t)count; i++)
        memcpy(p + i * n, v.s->p, n);
    struct jv out = jstr_ref(r, p, total);
    out.markup = v.markup;
    return out;
}

static struct jv add_strings(struct jrun *r, struct jv a, struct jv b)
{
    if (a.markup != b.markup) { /* joining with safe text escapes the other */
        if (!a.markup)
            a = jstr_escape(r, a);
        else
            b = jstr_escape(r, b);
    }
    if (jis_fail(a) || jis_fail(b))
        return failed;
    struct jv v = jstr_join2(r, a.s, b.s);
    v.markup = a.markup;
    return v;
}

static struct jv add_lists(struct jrun *r, struct jv a, struct jv b)
{
    struct jv l = jlist_new(r, (enum jtype)a.type, a.l->n + b.l->n);
    for (size_t i = 0; !jis_fail(l) && i < a.l->n + b.l->n; i++)
        if (!jlist_add(r, l.l, i < a.l->n ? a.l->v[i] : b.l->v[i - a.l->n]))
            return failed;
    return l;
}

static bool is_seq(struct jv v)
{
    return v.type == J_STR || v.type == J_LIST || v.type == J_TUPLE;
}

struct jv jarith(struct jrun *r, enum jtok op, struct jv a, struct jv b)
{
    if (jis_num(a) && jis_num(b))
        return jis_int(a) && jis_int(b) ? int_arith(r, op, jint_of(a), jint_of(b))
                                        : float_arith(r, op, jfloat_of(a), jfloat_of(b));
    if (op == T_MOD && a.type == J_STR)
        return jformat_percent(r, a, b, NULL);
    if (a.type == J_UNDEF || b.type == J_UNDEF)
        return jundef_fail(r, a.type == J_UNDEF ? a : b);
    if (op == T_ADD && a.type == b.type && a.type == J_STR)
        return add_strings(r, a, b);
    if (op == T_ADD && a.type == b.type && is_seq(a))
        return add_lists(r, a, b);
    if (op == T_MUL && is_seq(a) && jis_int(b))
        return repeat(r, a, jint_of(b));
    if (op == T_MUL && jis_int(a) && is_seq(b))
        return repeat(r, b, jint_of(a));
    if (op == T_ADD && is_seq(a))
        return jfail(r, ERR_INVALID, "can only concatenate %s (not \"%s\") to %s", jtype_name(a), jtype_name(b),
                     jtype_name(a));
    return jfail(r, ERR_INVALID, "unsupported operand type(s) for %s: '%s' and '%s'", op_text(op), jtype_name(a),
                 jtype_name(b));
}

struct jv jneg(struct jrun *r, struct jv a, bool negate)
{
    if (jis_int(a)) {
        int64_t v = jint_of(a);
        return negate ? v == INT64_MIN ? overflow(r) : jint(-v) : jint(v);
    }
    if (a.type == J_FLOAT)
        return jfloat(negate ? -a.f : a.f);
    if (a.type == J_UNDEF)
        return jundef_fail(r, a);
    return jfail(r, ERR_INVALID, "bad operand type for unary %s: '%s'", negate ? "-" : "+", jtype_name(a));
}

bool jindex(struct jrun *r, struct jv v, const char *what, int64_t *out)
{
    if (jis_int(v)) {
        *out = jint_of(v);
        return true;
    }
    if (v.type == J_UNDEF)
        jundef_fail(r, v);
    else
        jfail(r, ERR_INVALID, "%s must be an integer, not '%s'", what, jtype_name(v));
    return false;
}
