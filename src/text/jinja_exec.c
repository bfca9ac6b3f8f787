/* jinja_exec -- statements: output, assignment, branches, captures. Loops are in jinja_loop.c.
 *
 * Scopes: for, with, macros, filter and set blocks open one; if does not. What a scope sets is gone with it. */
#include "text/jinja_run.h"

#include <string.h>

/* ---- output */

bool jemit(struct jrun *r, const char *p, size_t n)
{
    if (!jcharge(r, n / 64 + 1))
        return false;
    if (!n || buf_append(r->out, p, n)) {
        if (r->capturing)
            r->captured += n;
        return true;
    }
    jfail(r, ERR_LIMIT, "the template writes more than %zu bytes", r->out->max);
    return false;
}

void jbuf_init(struct jrun *r, struct buf *b)
{
    size_t used = r->arena.used + r->captured;
    buf_init(b, used < r->arena.limit ? r->arena.limit - used : 1);
}

void jcapture_begin(struct jrun *r, struct jcapture *c)
{
    jbuf_init(r, &c->buf);
    c->outer = r->out;
    r->out = &c->buf;
    r->capturing++;
}

struct jv jcapture_end(struct jrun *r, struct jcapture *c, bool ok)
{
    r->out = c->outer;
    r->capturing--;
    r->captured -= c->buf.len;
    if (ok)
        return jstr_from_buf(r, &c->buf);
    buf_release(&c->buf);
    return (struct jv){ .type = J_FAIL };
}

static bool emit_value(struct jrun *r, struct jv v)
{
    if (v.type == J_STR)
        return jemit(r, v.s->p, v.s->n);
    struct jv s = jv_str(r, v);
    return !jis_fail(s) && jemit(r, s.s->p, s.s->n);
}

static enum jflow exec_print(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    for (size_t i = 0; i < n->n; i++) {
        struct jv v = jeval(r, n->list[i], s);
        if (jis_fail(v) || !emit_value(r, v))
            return JX_FAIL;
    }
    return JX_OK;
}

/* ---- assignment */

static bool assign_tuple(struct jrun *r, const struct jnode *target, struct jv v, struct jscope *s)
{
    if (v.type == J_UNDEF) { /* unpacks as an empty sequence */
        jfail(r, ERR_INVALID, "not enough values to unpack (expected %zu, got 0)", target->n);
        return false;
    }
    struct jiter *it = jiter_open(r, v);
    struct jv item;
    for (size_t i = 0; it && i < target->n; i++) {
        int more = jiter_next(r, it, &item);
        if (more == 0)
            jfail(r, ERR_INVALID, "not enough values to unpack (expected %zu, got %zu)", target->n, i);
        if (more != 1 || !jassign(r, target->list[i], item, s))
            return false;
    }
    int more = it ? jiter_next(r, it, &item) : -1;
    if (more == 1)
        jfail(r, ERR_INVALID, "too many values to unpack (expected %zu)", target->n);
    return more == 0;
}

bool jassign(struct jrun *r, const struct jnode *target, struct jv v, struct jscope *s)
{
    if (jis_fail(v))
        return false;
    if (target->kind == N_NAME)
        return jscope_set(r, s, target->sym, v);
    if (target->kind == N_TUPLE) {
        if (!jenter(r))
            return false;
        bool ok = assign_tuple(r, target, v, s);
        jleave(r);
        return ok;
    }
    struct jv ns = jscope_get(r, s, target->sym);
    if (ns.type != J_NS) {
        jfail(r, ERR_INVALID, "cannot assign attribute on non-namespace object");
        return false;
    }
    struct jv key = { .type = J_STR, .s = (struct jstr *)&target->sym2->s };
    return jdict_set(r, ns.d, key, v);
}

static enum jflow exec_set_block(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jcapture c;
    struct jscope *inner = jscope_new(r, s);
    if (!inner)
        return JX_FAIL;
    jcapture_begin(r, &c);
    enum jflow flow = jexec(r, &n->body, inner);
    struct jv text = jcapture_end(r, &c, flow == JX_OK);
    if (flow != JX_OK)
        return flow;
    if (n->kind == N_FILTERBLOCK || n->b) {
        /* the chain was parsed from the inside out: its innermost filter has no operand */
        const struct jnode *chain[JINJA_HEIGHT_MAX + 1];
        size_t k = 0;
        for (const struct jnode *f = n->b; f; f = f->a)
            chain[k++] = f;
        while (k && !jis_fail(text))
            text = jeval_filter(r, chain[--k], text, inner);
    }
    if (jis_fail(text))
        return JX_FAIL;
    bool ok = n->kind == N_FILTERBLOCK ? emit_value(r, text) : jassign(r, n->a, text, s);
    return ok ? JX_OK : JX_FAIL;
}

/* ---- the rest */

static enum jflow exec_if(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    for (size_t i = 0; i + 1 < n->n; i += 2) {
        int t = jv_truth(r, jeval(r, n->list[i], s));
        if (t < 0)
            return JX_FAIL;
        if (t)
            return jexec(r, &n->list[i + 1]->body, s);
    }
    return jexec(r, &n->orelse, s);
}

static enum jflow exec_with(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jscope *inner = jscope_new(r, s);
    if (!inner)
        return JX_FAIL;
    for (size_t i = 0; i + 1 < n->n; i += 2)
        if (!jassign(r, n->list[i], jeval(r, n->list[i + 1], s), inner))
            return JX_FAIL;
    return jexec(r, &n->body, inner);
}

static enum jflow exec_scope(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    if (n->a) {
        int t = jv_truth(r, jeval(r, n->a, s));
        if (t)
            jfail(r, ERR_UNSUPPORTED, "autoescape is not supported in chat templates");
        if (r->failed)
            return JX_FAIL;
    }
    struct jscope *inner = jscope_new(r, s);
    return inner ? jexec(r, &n->body, inner) : JX_FAIL;
}

static enum jflow exec_call_block(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jargs args;
    struct jv fn = jeval(r, n->a->a, s), caller = jmacro_new(r, n, s);
    if (jis_fail(fn) || jis_fail(caller) || !jargs_eval(r, n->a->args, s, &args))
        return JX_FAIL;
    struct jkw *kw = jalloc(r, args.nkw + 1, sizeof *kw);
    if (!kw)
        return JX_FAIL;
    if (args.nkw)
        memcpy(kw, args.kw, args.nkw * sizeof *kw);
    kw[args.nkw++] = (struct jkw){ &r->t->s_caller->s, caller };
    args.kw = kw;
    struct jv v = jcall(r, fn, &args);
    return !jis_fail(v) && emit_value(r, v) ? JX_OK : JX_FAIL;
}

static enum jflow exec_one(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    switch (n->kind) {
    case N_DATA: return jemit(r, n->value.s->p, n->value.s->n) ? JX_OK : JX_FAIL;
    case N_PRINT: return exec_print(r, n, s);
    case N_IF: return exec_if(r, n, s);
    case N_FOR: return jexec_for(r, n, s);
    case N_SET: return jassign(r, n->a, jeval(r, n->b, s), s) ? JX_OK : JX_FAIL;
    case N_SETBLOCK: case N_FILTERBLOCK: return exec_set_block(r, n, s);
    case N_MACRO: return jscope_set(r, s, n->sym, jmacro_new(r, n, s)) ? JX_OK : JX_FAIL;
    case N_CALLBLOCK: return exec_call_block(r, n, s);
    case N_WITH: return exec_with(r, n, s);
    case N_SCOPE: return exec_scope(r, n, s);
    case N_BREAK: return JX_BREAK;
    case N_CONTINUE: return JX_CONTINUE;
    default:
        jfail(r, ERR_UNSUPPORTED, "a chat template cannot include or import others");
        return JX_FAIL;
    }
}

enum jflow jexec(struct jrun *r, const struct jbody *body, struct jscope *s)
{
    enum jflow flow = JX_OK;
    if (!jenter(r))
        return JX_FAIL;
    for (size_t i = 0; i < body->n && flow == JX_OK; i++) {
        const struct jnode *n = body->v[i];
        if (!r->failed)
            r->line = n->line;
        flow = jcharge(r, 1) ? exec_one(r, n, s) : JX_FAIL;
    }
    jleave(r);
    return flow;
}
