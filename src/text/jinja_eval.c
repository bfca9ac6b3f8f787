/* jinja_eval -- expressions: the value of a node in a scope. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <string.h>

static const struct jv failed = { .type = J_FAIL };

/* ---- scopes */

struct jscope *jscope_new(struct jrun *r, struct jscope *parent)
{
    struct jscope *s = jalloc(r, 1, sizeof *s);
    if (s)
        s->parent = parent;
    return s;
}

bool jscope_set(struct jrun *r, struct jscope *s, const struct jsym *sym, struct jv v)
{
    if (jis_fail(v))
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].sym == sym) {
            s->v[i].v = v;
            return true;
        }
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        struct jbinding *grown = jalloc(r, cap, sizeof *grown);
        if (!grown)
            return false;
        if (s->n)
            memcpy(grown, s->v, s->n * sizeof *grown);
        s->v = grown;
        s->cap = cap;
    }
    s->v[s->n++] = (struct jbinding){ sym, v };
    return true;
}

/* What the context, else Jinja's own functions, say about a name; asked once per name and render. */
static struct jv global_get(struct jrun *r, const struct jsym *sym)
{
    struct jv *cached = &r->global[sym->id];
    if (!jis_missing(*cached))
        return *cached;
    struct jv *given = jdict_get_text(r, r->context.d, sym->s.p, sym->s.n);
    if (given)
        return *cached = *given;
    const struct jbuiltin *row = jglobal_find(sym->s.p, sym->s.n);
    if (!row)
        return *cached = jundef_name(r, &sym->s);
    struct jfunc *f = jalloc(r, 1, sizeof *f);
    if (!f)
        return failed;
    *f = (struct jfunc){ .kind = JF_BUILTIN, .row = row, .self = jnone() };
    return *cached = (struct jv){ .type = J_FUNC, .fn = f };
}

struct jv jscope_get(struct jrun *r, struct jscope *s, const struct jsym *sym)
{
    for (; s; s = s->parent)
        for (size_t i = 0; i < s->n; i++)
            if (s->v[i].sym == sym)
                return s->v[i].v;
    return global_get(r, sym);
}

/* ---- nodes */

static struct jv eval_sequence(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv l = jlist_new(r, n->kind == N_TUPLE ? J_TUPLE : J_LIST, n->n);
    for (size_t i = 0; !jis_fail(l) && i < n->n; i++)
        if (!jlist_add(r, l.l, jeval(r, n->list[i], s)))
            return failed;
    return l;
}

static struct jv eval_dict(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv d = jdict_new(r);
    for (size_t i = 0; !jis_fail(d) && i + 1 < n->n; i += 2) {
        struct jv key = jeval(r, n->list[i], s), val = jis_fail(key) ? key : jeval(r, n->list[i + 1], s);
        if (!jdict_set(r, d.d, key, val))
            return failed;
    }
    return d;
}

static struct jv eval_logic(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv v = failed;
    for (size_t i = 0; i < n->n; i++) {
        v = jeval(r, n->list[i], s);
        if (i + 1 == n->n)
            break;
        int t = jv_truth(r, v);
        if (t < 0)
            return failed;
        if (t == (n->kind == N_OR))
            break;
    }
    return v;
}

static int compare(struct jrun *r, enum jtok op, struct jv a, struct jv b)
{
    int q;
    switch (op) {
    case T_EQ: return jv_equal(r, a, b);
    case T_NE: return (q = jv_equal(r, a, b)) < 0 ? q : !q;
    case T_LT: return jv_less(r, a, b, '<');
    case T_LE: return jv_less(r, a, b, 'l');
    case T_GT: return jv_less(r, a, b, '>');
    case T_GE: return jv_less(r, a, b, 'g');
    case T_NAME: return jv_contains(r, a, b);
    default: return (q = jv_contains(r, a, b)) < 0 ? q : !q;
    }
}

static struct jv eval_compare(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv left = jeval(r, n->list[0], s);
    for (size_t i = 1; i < n->n; i++) {
        struct jv right = jis_fail(left) ? left : jeval(r, n->list[i], s);
        int q = compare(r, (enum jtok)n->ops[i - 1], left, right);
        if (q < 0 || r->failed)
            return failed;
        if (!q)
            return jbool(false);
        left = right;
    }
    return jbool(true);
}

static struct jv eval_arith(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv left = jeval(r, n->list[0], s);
    for (size_t i = 1; i < n->n && !jis_fail(left); i++) {
        struct jv right = jeval(r, n->list[i], s);
        left = jis_fail(right) ? right : jarith(r, (enum jtok)n->ops[i - 1], left, right);
    }
    return left;
}

static struct jv eval_concat(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv left = jv_str(r, jeval(r, n->list[0], s));
    for (size_t i = 1; i < n->n && !jis_fail(left); i++) {
        struct jv right = jv_str(r, jeval(r, n->list[i], s));
        left = jis_fail(right) ? right : jstr_join2(r, left.s, right.s);
    }
    return left;
}

static struct jv eval_cond(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    int t = jv_truth(r, jeval(r, n->a, s));
    if (t < 0)
        return failed;
    if (t)
        return jeval(r, n->b, s);
    return n->c ? jeval(r, n->c, s)
                : jundef_hint(r, "an inline if-expression evaluated to false and has no else");
}

static struct jv eval_slice(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv obj = jeval(r, n->a, s), part[3];
    const struct jnode *nodes[3] = { n->b, n->c, n->d };
    if (jis_fail(obj))
        return obj;
    for (int i = 0; i < 3; i++) {
        part[i] = nodes[i] ? jeval(r, nodes[i], s) : jnone();
        if (jis_fail(part[i]))
            return failed;
    }
    return jslice(r, obj, part[0], part[1], part[2]);
}

static struct jv eval_call(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jargs args;
    struct jv fn = jeval(r, n->a, s);
    if (jis_fail(fn) || !jargs_eval(r, n->args, s, &args))
        return failed;
    return jcall(r, fn, &args);
}

struct jv jeval_filter(struct jrun *r, const struct jnode *n, struct jv value, struct jscope *s)
{
    struct jargs args;
    if (!n->builtin)
        return jfail(r, ERR_INVALID, "there is no filter named '%.*s'", jshow(n->sym->s.n), n->sym->s.p);
    if (jis_fail(value) || !jargs_eval(r, n->args, s, &args))
        return failed;
    return jbuiltin_call(r, n->builtin, value, &args);
}

/* In a filter block or set block the innermost filter has no operand: it takes what was captured. */
static struct jv eval_filter(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    return jeval_filter(r, n, jeval(r, n->a, s), s);
}

static struct jv eval_test(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jargs args;
    struct jv value = jeval(r, n->a, s);
    if (!n->builtin)
        return jfail(r, ERR_INVALID, "there is no test named '%.*s'", jshow(n->sym->s.n), n->sym->s.p);
    if (jis_fail(value) || !jargs_eval(r, n->args, s, &args))
        return failed;
    return jbuiltin_call(r, n->builtin, value, &args);
}

static struct jv eval_unary(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv v = jeval(r, n->a, s);
    if (n->kind != N_NOT)
        return jis_fail(v) ? v : jneg(r, v, n->kind == N_NEG);
    int t = jv_truth(r, v);
    return t < 0 ? failed : jbool(!t);
}

static struct jv eval_item(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv obj = jeval(r, n->a, s), key = jis_fail(obj) ? obj : jeval(r, n->b, s);
    return jis_fail(key) ? key : jitem(r, obj, key);
}

static struct jv eval_attr(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv obj = jeval(r, n->a, s);
    return jis_fail(obj) ? obj : jattr(r, obj, &n->sym->s);
}

struct jv jeval(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv v = failed;
    if (!jenter(r))
        return failed;
    switch (n->kind) {
    case N_CONST: v = n->value; break;
    case N_NAME: v = jscope_get(r, s, n->sym); break;
    case N_TUPLE: case N_LIST: v = eval_sequence(r, n, s); break;
    case N_DICT: v = eval_dict(r, n, s); break;
    case N_ATTR: v = eval_attr(r, n, s); break;
    case N_ITEM: v = eval_item(r, n, s); break;
    case N_SLICE: v = eval_slice(r, n, s); break;
    case N_CALL: v = eval_call(r, n, s); break;
    case N_FILTER: v = eval_filter(r, n, s); break;
    case N_TEST: v = eval_test(r, n, s); break;
    case N_NOT: case N_NEG: case N_POS: v = eval_unary(r, n, s); break;
    case N_AND: case N_OR: v = eval_logic(r, n, s); break;
    case N_ARITH: v = eval_arith(r, n, s); break;
    case N_CONCAT: v = eval_concat(r, n, s); break;
    case N_COMPARE: v = eval_compare(r, n, s); break;
    case N_COND: v = eval_cond(r, n, s); break;
    default: v = jfail(r, ERR_INVALID, "the template uses a statement as a value"); break;
    }
    jleave(r);
    return r->failed ? failed : v;
}
