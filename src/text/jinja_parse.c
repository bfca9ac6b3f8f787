/* jinja_parse -- expressions: precedence climbing as Jinja2's own parser does it, oddities included.
 *
 * (`-x|f` is (-x)|f, `not` binds looser than comparison, a test takes one bare argument, an unknown filter
 * inside a conditional is an error only when reached.) */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct jnode *jparse_fail(struct jparser *p, int line, const char *fmt, ...)
{
    if (!p->failed) {
        char text[ERR_TEXT_MAX];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        err_set(p->err, ERR_INVALID, "template line %d: %s", line, text);
        p->failed = true;
    }
    return NULL;
}

static struct jnode *no_memory(struct jparser *p)
{
    if (!p->failed)
        err_set(p->err, ERR_LIMIT, "the template is too long");
    p->failed = true;
    return NULL;
}

struct jnode *jparse_new(struct jparser *p, enum jkind kind, int line)
{
    struct jnode *n = arena_alloc(&p->t->arena, 1, sizeof *n);
    if (!n)
        return no_memory(p);
    n->kind = kind;
    n->line = line;
    n->height = 1;
    return n;
}

struct jnode *jparse_height(struct jparser *p, struct jnode *n, const struct jnode *child)
{
    if (!n || !child)
        return NULL;
    if (child->height >= JINJA_HEIGHT_MAX)
        return jparse_fail(p, n->line, "expressions and blocks are nested deeper than %d", JINJA_HEIGHT_MAX);
    if (n->height <= child->height)
        n->height = child->height + 1;
    return n;
}

/* Grows an arena array by doubling. */
static void *grow(struct jparser *p, void *old, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return old;
    size_t want = *cap ? *cap * 2 : 4;
    void *v = arena_alloc(&p->t->arena, want, size);
    if (!v)
        return no_memory(p);
    if (n)
        memcpy(v, old, n * size);
    *cap = want;
    return v;
}

bool jparse_push(struct jparser *p, struct jnode *n, size_t *cap, struct jnode *child)
{
    if (!jparse_height(p, n, child))
        return false;
    struct jnode **list = grow(p, n->list, n->n, cap, sizeof *list);
    if (!list)
        return false;
    n->list = list;
    n->list[n->n++] = child;
    return true;
}

bool jparse_is_name(const struct jparser *p, const char *name)
{
    return p->tok->type == T_NAME && jstr_is(&p->tok->sym->s, name);
}

bool jparse_skip_name(struct jparser *p, const char *name)
{
    if (!jparse_is_name(p, name))
        return false;
    p->tok++;
    return true;
}

bool jparse_expect(struct jparser *p, enum jtok type, const char *what)
{
    if (p->failed)
        return false;
    if (p->tok->type != type) {
        jparse_fail(p, p->tok->line, "expected %s", what);
        return false;
    }
    p->tok++;
    return true;
}

static bool accept(struct jparser *p, enum jtok type)
{
    if (p->tok->type != type)
        return false;
    p->tok++;
    return true;
}

/* ---- literals */

static struct jnode *constant(struct jparser *p, struct jv v)
{
    struct jnode *n = jparse_new(p, N_CONST, p->tok->line);
    if (n)
        n->value = v;
    return n;
}

static void note_special(struct jparser *p, const struct jsym *sym)
{
    if (!p->macro)
        return;
    p->macro->caller |= sym == p->t->s_caller;
    p->macro->kwargs |= sym == p->t->s_kwargs;
    p->macro->varargs |= sym == p->t->s_varargs;
}

static struct jnode *parse_word(struct jparser *p)
{
    const struct jsym *sym = p->tok->sym;
    struct jnode *n;
    if (jstr_is(&sym->s, "true") || jstr_is(&sym->s, "True")) {
        n = constant(p, jbool(true));
    } else if (jstr_is(&sym->s, "false") || jstr_is(&sym->s, "False")) {
        n = constant(p, jbool(false));
    } else if (jstr_is(&sym->s, "none") || jstr_is(&sym->s, "None")) {
        n = constant(p, jnone());
    } else {
        n = jparse_new(p, N_NAME, p->tok->line);
        note_special(p, sym);
        ((struct jsym *)sym)->variable = true; /* still being parsed: nobody else has it */
    }
    if (n)
        n->sym = sym;
    p->tok++;
    return n;
}

/* Adjacent strings are one. */
static struct jnode *parse_strings(struct jparser *p)
{
    struct jnode *n = constant(p, (struct jv){ .type = J_STR, .s = p->tok->s });
    size_t total = 0, count = 0, chars = 0;
    for (; p->tok[count].type == T_STRING; count++) {
        total += p->tok[count].s->n;
        chars += p->tok[count].s->chars;
    }
    if (n && count > 1) {
        char *text = arena_alloc(&p->t->arena, total + 1, 1);
        struct jstr *s = arena_alloc(&p->t->arena, 1, sizeof *s);
        if (!text || !s)
            return no_memory(p);
        *s = (struct jstr){ .p = text, .n = total, .chars = chars };
        for (size_t i = 0; i < count; i++) {
            memcpy(text, p->tok[i].s->p, p->tok[i].s->n);
            text += p->tok[i].s->n;
        }
        n->value.s = s;
    }
    p->tok += count;
    return n;
}

static struct jnode *parse_list(struct jparser *p)
{
    struct jnode *n = jparse_new(p, N_LIST, p->tok->line);
    size_t cap = 0;
    p->tok++;
    while (!p->failed && p->tok->type != T_RBRACKET) {
        if (n->n && !jparse_expect(p, T_COMMA, "','"))
            return NULL;
        if (p->tok->type == T_RBRACKET)
            break;
        if (!jparse_push(p, n, &cap, jparse_expression(p, true)))
            return NULL;
    }
    return jparse_expect(p, T_RBRACKET, "']'") ? n : NULL;
}

static struct jnode *parse_dict(struct jparser *p)
{
    struct jnode *n = jparse_new(p, N_DICT, p->tok->line);
    size_t cap = 0;
    p->tok++;
    while (!p->failed && p->tok->type != T_RBRACE) {
        if (n->n && !jparse_expect(p, T_COMMA, "','"))
            return NULL;
        if (p->tok->type == T_RBRACE)
            break;
        if (!jparse_push(p, n, &cap, jparse_expression(p, true)) || !jparse_expect(p, T_COLON, "':'") ||
            !jparse_push(p, n, &cap, jparse_expression(p, true)))
            return NULL;
    }
    return jparse_expect(p, T_RBRACE, "'}'") ? n : NULL;
}

struct jnode *jparse_primary(struct jparser *p)
{
    struct jnode *n;
    switch (p->tok->type) {
    case T_NAME: return parse_word(p);
    case T_STRING: return parse_strings(p);
    case T_INT:
        n = constant(p, jint(p->tok->i));
        p->tok++;
        return n;
    case T_FLOAT:
        n = constant(p, jfloat(p->tok->f));
        p->tok++;
        return n;
    case T_LPAREN:
        p->tok++;
        n = jparse_tuple(p, true, 0, true);
        return jparse_expect(p, T_RPAREN, "')'") ? n : NULL;
    case T_LBRACKET: return parse_list(p);
    case T_LBRACE: return parse_dict(p);
    case T_EOF: return jparse_fail(p, p->tok->line, "the template ends inside a tag");
    default: return jparse_fail(p, p->tok->line, "expected an expression");
    }
}

static bool tuple_end(const struct jparser *p, int ends)
{
    return p->tok->type == T_VAR_END || p->tok->type == T_BLOCK_END || p->tok->type == T_RPAREN ||
           ((ends & JEND_IN) && jparse_is_name(p, "in")) || ((ends & JEND_RECURSIVE) && jparse_is_name(p, "recursive"));
}

struct jnode *jparse_tuple(struct jparser *p, bool cond, int ends, bool parens)
{
    int line = p->tok->line;
    struct jnode *first = NULL, *n = NULL;
    size_t cap = 0;
    if (!tuple_end(p, ends)) {
        first = jparse_expression(p, cond);
        if (!first || p->tok->type != T_COMMA)
            return first;
    } else if (!parens) {
        return jparse_fail(p, line, "expected an expression");
    }
    n = jparse_new(p, N_TUPLE, line);
    if (first && !jparse_push(p, n, &cap, first))
        return NULL;
    while (n && accept(p, T_COMMA)) {
        if (tuple_end(p, ends))
            break;
        if (!jparse_push(p, n, &cap, jparse_expression(p, cond)))
            return NULL;
    }
    return n;
}

/* ---- calls, subscripts, filters, tests */

static bool push_kwarg(struct jparser *p, struct jnode *owner, size_t *cap)
{
    struct jcallargs *ca = owner->args;
    struct jkwarg *kw = grow(p, ca->kw, ca->nkw, cap, sizeof *kw);
    if (!kw)
        return false;
    ca->kw = kw;
    kw[ca->nkw].name = p->tok->sym;
    p->tok += 2;
    struct jnode *value = jparse_expression(p, true);
    kw[ca->nkw++].value = value;
    return jparse_height(p, owner, value) != NULL;
}

static bool push_positional(struct jparser *p, struct jnode *owner, size_t *cap)
{
    struct jcallargs *ca = owner->args;
    struct jnode **pos = grow(p, ca->pos, ca->npos, cap, sizeof *pos);
    if (!pos)
        return false;
    ca->pos = pos;
    struct jnode *value = jparse_expression(p, true);
    pos[ca->npos++] = value;
    return jparse_height(p, owner, value) != NULL;
}

static bool parse_one_arg(struct jparser *p, struct jnode *owner, size_t *pos_cap, size_t *kw_cap)
{
    struct jcallargs *ca = owner->args;
    int line = p->tok->line;
    bool ok = true;
    if (accept(p, T_MUL)) {
        ok = !ca->star && !ca->star2;
        ca->star = ok ? jparse_expression(p, true) : NULL;
        if (ok && !jparse_height(p, owner, ca->star))
            return false;
    } else if (accept(p, T_POW)) {
        ok = !ca->star2;
        ca->star2 = ok ? jparse_expression(p, true) : NULL;
        if (ok && !jparse_height(p, owner, ca->star2))
            return false;
    } else if (p->tok->type == T_NAME && p->tok[1].type == T_ASSIGN) {
        ok = !ca->star2;
        if (ok && !push_kwarg(p, owner, kw_cap))
            return false;
    } else {
        ok = !ca->star && !ca->star2 && !ca->nkw;
        if (ok && !push_positional(p, owner, pos_cap))
            return false;
    }
    if (!ok)
        jparse_fail(p, line, "invalid syntax for function call expression");
    return ok;
}

static bool parse_call_args(struct jparser *p, struct jnode *owner)
{
    size_t pos_cap = 0, kw_cap = 0;
    bool comma = false;
    owner->args = arena_alloc(&p->t->arena, 1, sizeof *owner->args);
    if (!owner->args)
        return no_memory(p), false;
    if (!jparse_expect(p, T_LPAREN, "'('"))
        return false;
    while (p->tok->type != T_RPAREN) {
        if (comma) {
            if (!jparse_expect(p, T_COMMA, "',' or ')'"))
                return false;
            if (p->tok->type == T_RPAREN)
                break;
        }
        if (!parse_one_arg(p, owner, &pos_cap, &kw_cap))
            return false;
        comma = true;
    }
    return jparse_expect(p, T_RPAREN, "')'");
}

static struct jnode *parse_call(struct jparser *p, struct jnode *callee)
{
    struct jnode *n = jparse_new(p, N_CALL, p->tok->line);
    if (!jparse_height(p, n, callee))
        return NULL;
    n->a = callee;
    return parse_call_args(p, n) ? n : NULL;
}

static struct jnode *parse_slice_part(struct jparser *p, struct jnode *n)
{
    struct jnode *part = jparse_expression(p, true);
    return jparse_height(p, n, part) ? part : NULL;
}

/* What stands in brackets: an expression or a slice (an N_SLICE without its object). */
static struct jnode *parse_subscribed(struct jparser *p)
{
    int line = p->tok->line;
    struct jnode *start = NULL;
    if (p->tok->type != T_COLON) {
        start = jparse_expression(p, true);
        if (!start || p->tok->type != T_COLON)
            return start;
    }
    struct jnode *n = jparse_new(p, N_SLICE, line);
    if (!n || (start && !jparse_height(p, n, start)))
        return NULL;
    n->b = start;
    p->tok++;
    if (p->tok->type != T_COLON && p->tok->type != T_RBRACKET && p->tok->type != T_COMMA)
        n->c = parse_slice_part(p, n);
    if (accept(p, T_COLON) && p->tok->type != T_RBRACKET && p->tok->type != T_COMMA)
        n->d = parse_slice_part(p, n);
    return p->failed ? NULL : n;
}

static struct jnode *parse_bracket(struct jparser *p, struct jnode *obj, int line)
{
    struct jnode *key = parse_subscribed(p);
    if (!key)
        return NULL;
    if (p->tok->type == T_COMMA) {
        struct jnode *t = jparse_new(p, N_TUPLE, line);
        size_t cap = 0;
        do {
            if (key->kind == N_SLICE)
                return jparse_fail(p, line, "slices with several dimensions are not supported");
            if (!jparse_push(p, t, &cap, key))
                return NULL;
        } while (accept(p, T_COMMA) && p->tok->type != T_RBRACKET && (key = parse_subscribed(p)));
        key = t;
    }
    if (!jparse_expect(p, T_RBRACKET, "']'"))
        return NULL;
    struct jnode *n = key->kind == N_SLICE ? key : jparse_new(p, N_ITEM, line);
    if (!jparse_height(p, n, obj) || (n != key && !jparse_height(p, n, key)))
        return NULL;
    n->a = obj;
    if (n != key)
        n->b = key;
    return n;
}

static struct jnode *parse_subscript(struct jparser *p, struct jnode *obj)
{
    int line = p->tok->line;
    if (p->tok++->type == T_LBRACKET) {
        if (p->tok->type == T_RBRACKET)
            return jparse_fail(p, line, "expected an expression in []");
        return parse_bracket(p, obj, line);
    }
    struct jnode *n = NULL;
    if (p->tok->type == T_NAME) {
        n = jparse_new(p, N_ATTR, line);
        if (n)
            n->sym = p->tok->sym;
    } else if (p->tok->type == T_INT) {
        n = jparse_new(p, N_ITEM, line);
        if (n)
            n->b = constant(p, jint(p->tok->i));
    } else {
        return jparse_fail(p, p->tok->line, "expected a name or a number after '.'");
    }
    p->tok++;
    if (!jparse_height(p, n, obj))
        return NULL;
    n->a = obj;
    return n;
}

static struct jnode *parse_postfix(struct jparser *p, struct jnode *n)
{
    while (n) {
        if (p->tok->type == T_DOT || p->tok->type == T_LBRACKET)
            n = parse_subscript(p, n);
        else if (p->tok->type == T_LPAREN)
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static void note_unknown(struct jparser *p, const struct jnode *n)
{
    if (n->builtin || p->soft)
        return;
    p->unknown++;
    p->unknown_sym = n->sym;
    p->unknown_line = n->line;
}

struct jnode *jparse_filter_chain(struct jparser *p, struct jnode *node, bool start_inline)
{
    while (!p->failed && (p->tok->type == T_PIPE || start_inline)) {
        if (!start_inline)
            p->tok++;
        start_inline = false;
        struct jnode *n = jparse_new(p, N_FILTER, p->tok->line);
        if (!n || p->tok->type != T_NAME)
            return jparse_fail(p, p->tok->line, "expected the name of a filter");
        n->sym = p->tok++->sym;
        n->builtin = jfilter_find(n->sym->s.p, n->sym->s.n);
        if (p->tok->type == T_DOT)
            return jparse_fail(p, p->tok->line, "there are no filters with a dot in their name");
        if (p->tok->type == T_LPAREN && !parse_call_args(p, n))
            return NULL;
        note_unknown(p, n);
        if (node && !jparse_height(p, n, node))
            return NULL;
        n->a = node;
        node = n;
    }
    return p->failed ? NULL : node;
}

static struct jnode *negate(struct jparser *p, struct jnode *n, int line)
{
    struct jnode *not = jparse_new(p, N_NOT, line);
    if (!jparse_height(p, not, n))
        return NULL;
    not->a = n;
    return not;
}

static bool starts_test_argument(const struct jparser *p)
{
    switch (p->tok->type) {
    case T_NAME:
        return !jparse_is_name(p, "else") && !jparse_is_name(p, "or") && !jparse_is_name(p, "and");
    case T_STRING: case T_INT: case T_FLOAT: case T_LBRACKET: case T_LBRACE: return true;
    default: return false;
    }
}

static bool parse_bare_argument(struct jparser *p, struct jnode *n)
{
    if (jparse_is_name(p, "is"))
        return jparse_fail(p, p->tok->line, "You cannot chain multiple tests with is"), false;
    struct jnode *arg = parse_postfix(p, jparse_primary(p));
    n->args = arena_alloc(&p->t->arena, 1, sizeof *n->args);
    struct jnode **pos = arena_alloc(&p->t->arena, 1, sizeof *pos);
    if (!n->args || !pos)
        return no_memory(p), false;
    pos[0] = arg;
    n->args->pos = pos;
    n->args->npos = 1;
    return jparse_height(p, n, arg) != NULL;
}

static struct jnode *parse_test(struct jparser *p, struct jnode *node)
{
    int line = p->tok++->line;
    bool negated = jparse_skip_name(p, "not");
    struct jnode *n = jparse_new(p, N_TEST, line);
    if (!jparse_height(p, n, node) || p->tok->type != T_NAME)
        return jparse_fail(p, line, "expected the name of a test after 'is'");
    n->a = node;
    n->sym = p->tok++->sym;
    n->builtin = jtest_find(n->sym->s.p, n->sym->s.n);
    if (p->tok->type == T_LPAREN) {
        if (!parse_call_args(p, n))
            return NULL;
    } else if (starts_test_argument(p) && !parse_bare_argument(p, n)) {
        return NULL;
    }
    note_unknown(p, n);
    return negated ? negate(p, n, line) : n;
}

/* ---- operators, tightest first */

static struct jnode *parse_unary(struct jparser *p, bool with_filter)
{
    struct jnode *n;
    enum jtok op = p->tok->type;
    if (p->depth >= JINJA_HEIGHT_MAX)
        return jparse_fail(p, p->tok->line, "expressions are nested deeper than %d", JINJA_HEIGHT_MAX);
    p->depth++;
    if (op == T_SUB || op == T_ADD) {
        n = jparse_new(p, op == T_SUB ? N_NEG : N_POS, p->tok->line);
        p->tok++;
        struct jnode *a = parse_unary(p, false);
        n = jparse_height(p, n, a);
        if (n)
            n->a = a;
    } else {
        n = jparse_primary(p);
    }
    n = parse_postfix(p, n);
    while (n && with_filter) {
        if (p->tok->type == T_PIPE)
            n = jparse_filter_chain(p, n, false);
        else if (jparse_is_name(p, "is"))
            n = parse_test(p, n);
        else if (p->tok->type == T_LPAREN)
            n = parse_call(p, n);
        else
            break;
    }
    p->depth--;
    return n;
}

static struct jnode *parse_unary_filtered(struct jparser *p)
{
    return parse_unary(p, true);
}

/* One level of left-associative operators as one node: operands next, joined by the operators in set. */
static struct jnode *parse_chain(struct jparser *p, enum jkind kind, const enum jtok *set,
                                 struct jnode *(*next)(struct jparser *p))
{
    struct jnode *first = next(p), *n = NULL;
    size_t cap = 0, ops_cap = 0;
    while (first) {
        const enum jtok *op = set;
        while (*op != T_EOF && *op != p->tok->type)
            op++;
        if (*op == T_EOF)
            break;
        if (!n) {
            n = jparse_new(p, kind, p->tok->line);
            if (!jparse_push(p, n, &cap, first))
                return NULL;
        }
        uint8_t *ops = grow(p, n->ops, n->n - 1, &ops_cap, 1);
        if (!ops)
            return NULL;
        n->ops = ops;
        ops[n->n - 1] = (uint8_t)*op;
        p->tok++;
        if (!jparse_push(p, n, &cap, next(p)))
            return NULL;
    }
    return n ? n : first;
}

static struct jnode *parse_pow(struct jparser *p)
{
    static const enum jtok set[] = { T_POW, T_EOF };
    return parse_chain(p, N_ARITH, set, parse_unary_filtered);
}

static struct jnode *parse_math2(struct jparser *p)
{
    static const enum jtok set[] = { T_MUL, T_DIV, T_FLOORDIV, T_MOD, T_EOF };
    return parse_chain(p, N_ARITH, set, parse_pow);
}

static struct jnode *parse_concat(struct jparser *p)
{
    static const enum jtok set[] = { T_TILDE, T_EOF };
    return parse_chain(p, N_CONCAT, set, parse_math2);
}

static struct jnode *parse_math1(struct jparser *p)
{
    static const enum jtok set[] = { T_ADD, T_SUB, T_EOF };
    return parse_chain(p, N_ARITH, set, parse_concat);
}

/* The comparison at the current token as stored in ops (T_NAME `in`, T_DATA `not in`), or T_EOF; skips it. */
static enum jtok compare_op(struct jparser *p)
{
    enum jtok op = p->tok->type;
    if (op == T_EQ || op == T_NE || op == T_GT || op == T_GE || op == T_LT || op == T_LE) {
        p->tok++;
        return op;
    }
    if (jparse_skip_name(p, "in"))
        return T_NAME;
    if (jparse_is_name(p, "not") && p->tok[1].type == T_NAME && jstr_is(&p->tok[1].sym->s, "in")) {
        p->tok += 2;
        return T_DATA;
    }
    return T_EOF;
}

static struct jnode *parse_compare(struct jparser *p)
{
    struct jnode *first = parse_math1(p), *n = NULL;
    size_t cap = 0, ops_cap = 0;
    while (first) {
        int line = p->tok->line;
        enum jtok op = compare_op(p);
        if (op == T_EOF)
            break;
        if (!n) {
            n = jparse_new(p, N_COMPARE, line);
            if (!jparse_push(p, n, &cap, first))
                return NULL;
        }
        uint8_t *ops = grow(p, n->ops, n->n - 1, &ops_cap, 1);
        if (!ops)
            return NULL;
        n->ops = ops;
        ops[n->n - 1] = (uint8_t)op;
        if (!jparse_push(p, n, &cap, parse_math1(p)))
            return NULL;
    }
    return n ? n : first;
}

static struct jnode *parse_not(struct jparser *p)
{
    int nots = 0, line = p->tok->line;
    while (jparse_skip_name(p, "not"))
        nots++;
    struct jnode *n = parse_compare(p);
    if (nots && n)
        n = negate(p, n, line);
    if (nots > 1 && nots % 2 == 0 && n) /* not not x is a bool, like not x */
        n = negate(p, n, line);
    return n;
}

static struct jnode *parse_logic(struct jparser *p, enum jkind kind, const char *word,
                                 struct jnode *(*next)(struct jparser *p))
{
    struct jnode *first = next(p), *n = NULL;
    size_t cap = 0;
    while (first && jparse_skip_name(p, word)) {
        if (!n) {
            n = jparse_new(p, kind, p->tok->line);
            if (!jparse_push(p, n, &cap, first))
                return NULL;
        }
        if (!jparse_push(p, n, &cap, next(p)))
            return NULL;
    }
    return n ? n : first;
}

static struct jnode *parse_and(struct jparser *p)
{
    return parse_logic(p, N_AND, "and", parse_not);
}

static struct jnode *parse_or(struct jparser *p)
{
    return parse_logic(p, N_OR, "or", parse_and);
}

struct jnode *jparse_expression(struct jparser *p, bool cond)
{
    int unknown = p->unknown;
    if (p->failed || p->depth >= JINJA_HEIGHT_MAX)
        return jparse_fail(p, p->tok->line, "expressions are nested deeper than %d", JINJA_HEIGHT_MAX);
    p->depth++;
    struct jnode *n = parse_or(p);
    while (n && cond && jparse_is_name(p, "if")) {
        struct jnode *c = jparse_new(p, N_COND, p->tok->line);
        p->tok++;
        struct jnode *test = parse_or(p);
        if (!jparse_height(p, c, n) || !jparse_height(p, c, test))
            return NULL;
        c->b = n;
        c->a = test;
        if (jparse_skip_name(p, "else")) {
            c->c = jparse_expression(p, true);
            if (!jparse_height(p, c, c->c))
                return NULL;
        }
        p->unknown = unknown; /* forgiven: inside a conditional */
        n = c;
    }
    p->depth--;
    return n;
}
