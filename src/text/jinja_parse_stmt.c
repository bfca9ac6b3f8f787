/* jinja_parse_stmt -- statements: tags, their bodies and what ends them. */
#include "text/jinja_run.h"

#include <string.h>

static bool parse_body(struct jparser *p, struct jnode *owner, struct jbody *body, const char *const *ends);

static struct jnode *parse_name_target(struct jparser *p)
{
    if (p->tok->type != T_NAME)
        return jparse_fail(p, p->tok->line, "expected a name");
    struct jnode *n = jparse_new(p, N_NAME, p->tok->line);
    if (n)
        n->sym = p->tok->sym;
    p->tok++;
    return n;
}

static bool can_assign(const struct jnode *n)
{
    if (n->kind == N_TUPLE) {
        for (size_t i = 0; i < n->n; i++)
            if (!can_assign(n->list[i]))
                return false;
        return true;
    }
    return n->kind == N_NAME || n->kind == N_NSREF;
}

static struct jnode *parse_target_item(struct jparser *p, bool with_ns)
{
    if (with_ns && p->tok->type == T_NAME && p->tok[1].type == T_DOT) {
        struct jnode *n = jparse_new(p, N_NSREF, p->tok->line);
        if (!n || p->tok[2].type != T_NAME)
            return jparse_fail(p, p->tok->line, "expected a name after '.'");
        n->sym = p->tok->sym;
        n->sym2 = p->tok[2].sym;
        p->tok += 3;
        return n;
    }
    return jparse_primary(p);
}

static struct jnode *parse_target(struct jparser *p, bool with_ns, int ends)
{
    int line = p->tok->line;
    struct jnode *n = parse_target_item(p, with_ns);
    if (n && p->tok->type == T_COMMA) {
        struct jnode *t = jparse_new(p, N_TUPLE, line);
        size_t cap = 0;
        if (!jparse_push(p, t, &cap, n))
            return NULL;
        while (p->tok->type == T_COMMA) {
            p->tok++;
            if (p->tok->type == T_BLOCK_END || p->tok->type == T_ASSIGN ||
                ((ends & JEND_IN) && jparse_is_name(p, "in")))
                break;
            if (!jparse_push(p, t, &cap, parse_target_item(p, with_ns)))
                return NULL;
        }
        n = t;
    }
    if (n && !can_assign(n))
        return jparse_fail(p, line, "can't assign to this");
    return n;
}

/* ---- the tags */

static struct jnode *parse_if(struct jparser *p, int line)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL }, *const last[] = { "endif", NULL };
    /* list: condition, N_SCOPE holding the body, condition, ... */
    struct jnode *n = jparse_new(p, N_IF, line);
    size_t cap = 0;
    bool soft = p->soft;
    p->soft = true;
    do {
        struct jnode *branch = jparse_new(p, N_SCOPE, p->tok->line);
        if (!jparse_push(p, n, &cap, jparse_tuple(p, false, 0, false)) || !parse_body(p, branch, &branch->body, ends) ||
            !jparse_push(p, n, &cap, branch))
            return NULL;
    } while (jparse_skip_name(p, "elif"));
    if (jparse_skip_name(p, "else")) {
        if (!parse_body(p, n, &n->orelse, last))
            return NULL;
    }
    p->tok++; /* endif */
    p->soft = soft;
    return n;
}

static bool mentions_loop(const struct jparser *p, const struct jnode *target)
{
    if (target->kind == N_NAME)
        return target->sym == p->t->s_loop;
    for (size_t i = 0; i < target->n; i++)
        if (mentions_loop(p, target->list[i]))
            return true;
    return false;
}

static struct jnode *parse_for(struct jparser *p, int line)
{
    static const char *const ends[] = { "else", "endfor", NULL }, *const last[] = { "endfor", NULL };
    struct jnode *n = jparse_new(p, N_FOR, line);
    struct jnode *target = parse_target(p, false, JEND_IN);
    if (!n || !target)
        return NULL;
    if (mentions_loop(p, target))
        return jparse_fail(p, line, "can't assign to the special variable loop");
    if (!jparse_skip_name(p, "in"))
        return jparse_fail(p, p->tok->line, "expected 'in'");
    n->a = target;
    n->b = jparse_tuple(p, false, JEND_RECURSIVE, false);
    if (!jparse_height(p, n, n->b))
        return NULL;
    bool soft = p->soft;
    p->soft = false;
    if (jparse_skip_name(p, "if")) {
        n->c = jparse_expression(p, true);
        if (!jparse_height(p, n, n->c))
            return NULL;
    }
    n->recursive = jparse_skip_name(p, "recursive");
    p->loops++;
    if (!parse_body(p, n, &n->body, ends))
        return NULL;
    p->loops--;
    if (jparse_skip_name(p, "else") && !parse_body(p, n, &n->orelse, last))
        return NULL;
    p->soft = soft;
    p->tok++; /* endfor */
    return n;
}

static struct jnode *parse_set(struct jparser *p, int line)
{
    static const char *const ends[] = { "endset", NULL };
    struct jnode *target = parse_target(p, true, 0);
    if (!target)
        return NULL;
    if (p->tok->type == T_ASSIGN) {
        p->tok++;
        struct jnode *n = jparse_new(p, N_SET, line), *value = jparse_tuple(p, true, 0, false);
        if (!jparse_height(p, n, value))
            return NULL;
        n->a = target;
        n->b = value;
        return n;
    }
    struct jnode *n = jparse_new(p, N_SETBLOCK, line);
    if (!n)
        return NULL;
    bool soft = p->soft;
    p->soft = false;
    n->a = target;
    if (p->tok->type == T_PIPE) {
        n->b = jparse_filter_chain(p, NULL, false);
        if (!jparse_height(p, n, n->b))
            return NULL;
    }
    if (!parse_body(p, n, &n->body, ends))
        return NULL;
    p->soft = soft;
    p->tok++;
    return n;
}

static bool parse_signature(struct jparser *p, struct jnode *n)
{
    enum { PARAMS_MAX = 64 };
    const struct jsym *params[PARAMS_MAX];
    struct jnode *defaults[PARAMS_MAX];
    if (!jparse_expect(p, T_LPAREN, "'('"))
        return false;
    while (p->tok->type != T_RPAREN) {
        if (n->nparams && !jparse_expect(p, T_COMMA, "',' or ')'"))
            return false;
        struct jnode *name = parse_name_target(p);
        if (!name)
            return false;
        if (n->nparams == PARAMS_MAX)
            return jparse_fail(p, n->line, "a macro has more than %d parameters", PARAMS_MAX), false;
        params[n->nparams++] = name->sym;
        if (p->tok->type == T_ASSIGN) {
            p->tok++;
            struct jnode *dflt = jparse_expression(p, true);
            if (!jparse_height(p, n, dflt))
                return false;
            defaults[n->ndefaults++] = dflt;
        } else if (n->ndefaults) {
            return jparse_fail(p, n->line, "non-default argument follows default argument"), false;
        }
    }
    p->tok++;
    n->params = arena_alloc(&p->t->arena, n->nparams + 1, sizeof *n->params);
    n->defaults = arena_alloc(&p->t->arena, n->ndefaults + 1, sizeof *n->defaults);
    if (!n->params || !n->defaults)
        return jparse_fail(p, n->line, "the template is too long"), false;
    if (n->nparams)
        memcpy(n->params, params, n->nparams * sizeof *params);
    if (n->ndefaults)
        memcpy(n->defaults, defaults, n->ndefaults * sizeof *defaults);
    return true;
}

static bool is_param(const struct jnode *n, const struct jsym *sym)
{
    for (size_t i = 0; i < n->nparams; i++)
        if (n->params[i] == sym)
            return true;
    return false;
}

/* The body of a macro or call block: a function of its own, which may use caller, kwargs and varargs. */
static bool parse_macro_body(struct jparser *p, struct jnode *n, const char *const *ends)
{
    struct jmacro_use use = { 0 }, *outer = p->macro;
    int loops = p->loops;
    bool soft = p->soft;
    p->macro = &use;
    p->loops = 0;
    p->soft = false;
    bool ok = parse_body(p, n, &n->body, ends);
    p->macro = outer;
    p->loops = loops;
    p->soft = soft;
    n->wants_caller = use.caller && !is_param(n, p->t->s_caller);
    n->wants_kwargs = use.kwargs && !is_param(n, p->t->s_kwargs);
    n->wants_varargs = use.varargs && !is_param(n, p->t->s_varargs);
    if (outer) {
        outer->caller |= use.caller;
        outer->kwargs |= use.kwargs;
        outer->varargs |= use.varargs;
    }
    for (size_t i = 0; ok && use.caller && i + n->ndefaults < n->nparams; i++)
        if (n->params[i] == p->t->s_caller)
            return jparse_fail(p, n->line, "a macro parameter named caller needs a default"), false;
    if (ok)
        p->tok++;
    return ok;
}

static struct jnode *parse_macro(struct jparser *p, int line)
{
    static const char *const ends[] = { "endmacro", NULL };
    struct jnode *n = jparse_new(p, N_MACRO, line), *name = parse_name_target(p);
    if (!n || !name)
        return NULL;
    n->sym = name->sym;
    return parse_signature(p, n) && parse_macro_body(p, n, ends) ? n : NULL;
}

static struct jnode *parse_call_block(struct jparser *p, int line)
{
    static const char *const ends[] = { "endcall", NULL };
    struct jnode *n = jparse_new(p, N_CALLBLOCK, line);
    if (!n || (p->tok->type == T_LPAREN && !parse_signature(p, n)))
        return NULL;
    n->sym = p->t->s_caller;
    n->a = jparse_expression(p, true);
    if (!jparse_height(p, n, n->a))
        return NULL;
    if (n->a->kind != N_CALL)
        return jparse_fail(p, line, "expected a call in {%% call %%}");
    return parse_macro_body(p, n, ends) ? n : NULL;
}

static struct jnode *parse_filter_block(struct jparser *p, int line)
{
    static const char *const ends[] = { "endfilter", NULL };
    struct jnode *n = jparse_new(p, N_FILTERBLOCK, line);
    bool soft = p->soft;
    p->soft = false;
    struct jnode *filter = jparse_filter_chain(p, NULL, true);
    if (!jparse_height(p, n, filter))
        return NULL;
    n->b = filter;
    if (!parse_body(p, n, &n->body, ends))
        return NULL;
    p->soft = soft;
    p->tok++;
    return n;
}

static struct jnode *parse_with(struct jparser *p, int line)
{
    static const char *const ends[] = { "endwith", NULL };
    struct jnode *n = jparse_new(p, N_WITH, line); /* list: target, value, target, value */
    size_t cap = 0;
    while (n && !p->failed && p->tok->type != T_BLOCK_END) {
        if (n->n && !jparse_expect(p, T_COMMA, "','"))
            return NULL;
        struct jnode *target = parse_target_item(p, false);
        if (!target || !can_assign(target))
            return jparse_fail(p, line, "can't assign to this");
        if (!jparse_push(p, n, &cap, target) || !jparse_expect(p, T_ASSIGN, "'='") ||
            !jparse_push(p, n, &cap, jparse_expression(p, true)))
            return NULL;
    }
    bool soft = p->soft;
    p->soft = false;
    if (!n || !parse_body(p, n, &n->body, ends))
        return NULL;
    p->soft = soft;
    p->tok++;
    return n;
}

/* A body with a scope of its own: generation, block, autoescape. */
static struct jnode *parse_scope(struct jparser *p, int line, const char *end, bool named, bool with_expr)
{
    const char *const ends[] = { end, NULL };
    struct jnode *n = jparse_new(p, N_SCOPE, line);
    if (!n || (named && !parse_name_target(p)))
        return NULL;
    if (with_expr) {
        n->a = jparse_expression(p, true);
        if (!jparse_height(p, n, n->a))
            return NULL;
    }
    if (named) {
        jparse_skip_name(p, "scoped");
        jparse_skip_name(p, "required");
    }
    if (!parse_body(p, n, &n->body, ends))
        return NULL;
    p->tok++;
    if (named && p->tok->type == T_NAME)
        p->tok++;
    return n;
}

static struct jnode *parse_print_tag(struct jparser *p, int line)
{
    struct jnode *n = jparse_new(p, N_PRINT, line);
    size_t cap = 0;
    while (n && !p->failed && p->tok->type != T_BLOCK_END) {
        if (n->n && !jparse_expect(p, T_COMMA, "','"))
            return NULL;
        if (!jparse_push(p, n, &cap, jparse_expression(p, true)))
            return NULL;
    }
    return n;
}

static struct jnode *parse_jump(struct jparser *p, int line, enum jkind kind)
{
    if (!p->loops)
        return jparse_fail(p, line, "'%s' outside a loop", kind == N_BREAK ? "break" : "continue");
    return jparse_new(p, kind, line);
}

/* include, import, from, extends: they parse, and fail when reached, for there is nothing to load from. */
static struct jnode *parse_no_loader(struct jparser *p, int line)
{
    while (p->tok->type != T_BLOCK_END && p->tok->type != T_EOF)
        p->tok++;
    return jparse_new(p, N_NOLOADER, line);
}

static struct jnode *parse_statement(struct jparser *p)
{
    const struct jtoken *tag = p->tok;
    if (tag->type != T_NAME)
        return jparse_fail(p, tag->line, "expected the name of a tag");
    const struct jstr *s = &tag->sym->s;
    p->tok++;
    if (jstr_is(s, "if")) return parse_if(p, tag->line);
    if (jstr_is(s, "for")) return parse_for(p, tag->line);
    if (jstr_is(s, "set")) return parse_set(p, tag->line);
    if (jstr_is(s, "macro")) return parse_macro(p, tag->line);
    if (jstr_is(s, "call")) return parse_call_block(p, tag->line);
    if (jstr_is(s, "filter")) return parse_filter_block(p, tag->line);
    if (jstr_is(s, "with")) return parse_with(p, tag->line);
    if (jstr_is(s, "print")) return parse_print_tag(p, tag->line);
    if (jstr_is(s, "generation")) return parse_scope(p, tag->line, "endgeneration", false, false);
    if (jstr_is(s, "block")) return parse_scope(p, tag->line, "endblock", true, false);
    if (jstr_is(s, "autoescape")) return parse_scope(p, tag->line, "endautoescape", false, true);
    if (jstr_is(s, "break")) return parse_jump(p, tag->line, N_BREAK);
    if (jstr_is(s, "continue")) return parse_jump(p, tag->line, N_CONTINUE);
    if (jstr_is(s, "include") || jstr_is(s, "import") || jstr_is(s, "from") || jstr_is(s, "extends"))
        return parse_no_loader(p, tag->line);
    return jparse_fail(p, tag->line, "unknown tag '%.*s'", s->n > 60 ? 60 : (int)s->n, s->p);
}

/* ---- bodies */

static bool body_push(struct jparser *p, struct jnode *owner, struct jnode *list, size_t *cap, struct jnode *n)
{
    return n && (!owner || jparse_height(p, owner, n)) && jparse_push(p, list, cap, n);
}

static bool at_end(const struct jparser *p, const char *const *ends)
{
    for (size_t i = 0; ends && ends[i]; i++)
        if (jparse_is_name(p, ends[i]))
            return true;
    return false;
}

static struct jnode *parse_data(struct jparser *p)
{
    struct jnode *n = jparse_new(p, N_DATA, p->tok->line);
    if (n)
        n->value = (struct jv){ .type = J_STR, .s = p->tok->s };
    p->tok++;
    return n;
}

static struct jnode *parse_output(struct jparser *p)
{
    struct jnode *n = jparse_new(p, N_PRINT, p->tok->line);
    size_t cap = 0;
    p->tok++;
    if (!jparse_push(p, n, &cap, jparse_tuple(p, true, 0, false)) || !jparse_expect(p, T_VAR_END, "'}}'"))
        return NULL;
    return n;
}

/* Statements until "{% end": stops on the end's name. owner NULL is the whole template. */
static bool parse_statements(struct jparser *p, struct jnode *owner, struct jbody *body, const char *const *ends)
{
    struct jnode *list = jparse_new(p, N_SCOPE, p->tok->line);
    size_t cap = 0;
    while (list && !p->failed) {
        struct jnode *n;
        list->height = 1;
        if (p->tok->type == T_EOF) {
            if (owner)
                jparse_fail(p, p->tok->line, "the template ends before {%% %s %%} (of line %d)", ends[0], owner->line);
            break;
        } else if (p->tok->type == T_DATA) {
            n = parse_data(p);
        } else if (p->tok->type == T_VAR_BEGIN) {
            n = parse_output(p);
        } else {
            p->tok++; /* T_BLOCK_BEGIN: the lexer makes no other */
            if (at_end(p, ends))
                break;
            n = parse_statement(p);
            if (n && !jparse_expect(p, T_BLOCK_END, "'%}'"))
                return false;
        }
        if (!body_push(p, owner, list, &cap, n))
            return false;
    }
    if (p->failed)
        return false;
    body->v = list->list;
    body->n = list->n;
    return true;
}

static bool parse_body(struct jparser *p, struct jnode *owner, struct jbody *body, const char *const *ends)
{
    if (!owner || p->failed)
        return false;
    if (p->tok->type == T_COLON)
        p->tok++;
    if (!jparse_expect(p, T_BLOCK_END, "'%}'"))
        return false;
    if (p->depth >= JINJA_HEIGHT_MAX)
        return jparse_fail(p, owner->line, "blocks are nested deeper than %d", JINJA_HEIGHT_MAX), false;
    p->depth++;
    bool ok = parse_statements(p, owner, body, ends);
    p->depth--;
    return ok;
}

enum err_code jparse_template(struct template *t, const struct jtoken *tokens, struct err *e)
{
    struct err own = { 0 };
    struct jparser p = { .t = t, .tok = tokens, .err = e ? e : &own };
    p.err->code = ERR_OK;
    if (parse_statements(&p, NULL, &t->body, NULL) && p.unknown)
        jparse_fail(&p, p.unknown_line, "there is no filter or test named '%.*s'",
                    p.unknown_sym->s.n > 60 ? 60 : (int)p.unknown_sym->s.n, p.unknown_sym->s.p);
    return p.failed ? p.err->code : ERR_OK;
}
