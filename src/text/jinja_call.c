/* jinja_call -- calling things: arguments, macros, built-in functions. */
#include "text/jinja_run.h"

#include <string.h>

static const struct jv failed = { .type = J_FAIL };

/* ---- arguments */

static bool eval_star(struct jrun *r, struct jv list, struct jargs *out)
{
    struct jv all = jv_list(r, list);
    if (jis_fail(all))
        return false;
    struct jv *pos = jalloc(r, out->npos + all.l->n + 1, sizeof *pos);
    if (!pos)
        return false;
    if (out->npos)
        memcpy(pos, out->pos, out->npos * sizeof *pos);
    if (all.l->n)
        memcpy(pos + out->npos, all.l->v, all.l->n * sizeof *pos);
    out->pos = pos;
    out->npos += all.l->n;
    return true;
}

static bool eval_star2(struct jrun *r, struct jv d, struct jargs *out)
{
    if (d.type != J_DICT)
        return jfail(r, ERR_INVALID, "argument after ** must be a mapping, not %s", jtype_name(d)), false;
    struct jkw *kw = jalloc(r, out->nkw + d.d->n + 1, sizeof *kw);
    if (!kw)
        return false;
    if (out->nkw)
        memcpy(kw, out->kw, out->nkw * sizeof *kw);
    for (size_t i = 0; i < d.d->n; i++) {
        if (d.d->v[i].key.type != J_STR)
            return jfail(r, ERR_INVALID, "keywords must be strings"), false;
        kw[out->nkw++] = (struct jkw){ d.d->v[i].key.s, d.d->v[i].val };
    }
    out->kw = kw;
    return true;
}

bool jargs_eval(struct jrun *r, const struct jcallargs *ca, struct jscope *s, struct jargs *out)
{
    *out = (struct jargs){ 0 };
    if (!ca)
        return true;
    if (ca->npos && !(out->pos = jalloc(r, ca->npos, sizeof *out->pos)))
        return false;
    if (ca->nkw && !(out->kw = jalloc(r, ca->nkw, sizeof *out->kw)))
        return false;
    for (size_t i = 0; i < ca->npos; i++) {
        out->pos[i] = jeval(r, ca->pos[i], s);
        if (jis_fail(out->pos[i]))
            return false;
    }
    out->npos = ca->npos;
    if (ca->star) {
        struct jv v = jeval(r, ca->star, s);
        if (jis_fail(v) || !eval_star(r, v, out))
            return false;
    }
    for (size_t i = 0; i < ca->nkw; i++) {
        out->kw[i] = (struct jkw){ &ca->kw[i].name->s, jeval(r, ca->kw[i].value, s) };
        if (jis_fail(out->kw[i].v))
            return false;
    }
    out->nkw = ca->nkw;
    if (ca->star2) {
        struct jv v = jeval(r, ca->star2, s);
        if (jis_fail(v) || !eval_star2(r, v, out))
            return false;
    }
    return true;
}

/* ---- built-ins */

/* The number of the parameter called name in "width first blank", or -1. */
static int param_index(const char *params, const struct jstr *name)
{
    int k = 0;
    while (*params) {
        size_t n = strcspn(params, " ");
        if (n == name->n && !memcmp(params, name->p, n))
            return k;
        params += n + (params[n] == ' ');
        k++;
    }
    return -1;
}

static size_t param_count(const char *params)
{
    size_t k = *params != 0;
    for (; *params; params++)
        k += *params == ' ';
    return k;
}

struct jv jbuiltin_call(struct jrun *r, const struct jbuiltin *row, struct jv self, const struct jargs *args)
{
    struct jv a[JPARAMS_MAX];
    if (!jcharge(r, 1))
        return failed;
    if (!row->params)
        return row->fn(r, self, NULL, args);
    size_t n = param_count(row->params);
    for (size_t i = 0; i < JPARAMS_MAX; i++)
        a[i] = i < args->npos && i < n ? args->pos[i] : jmissing();
    if (args->npos > n)
        return jfail(r, ERR_INVALID, "%s() takes at most %zu arguments (%zu given)", row->name, n, args->npos);
    for (size_t i = 0; i < args->nkw; i++) {
        const struct jstr *name = args->kw[i].name;
        int k = param_index(row->params, name);
        if (k < 0 || !jis_missing(a[k]))
            return jfail(r, ERR_INVALID, k < 0 ? "%s() got an unexpected keyword argument '%.*s'"
                                               : "%s() got multiple values for argument '%.*s'",
                         row->name, name->n > 60 ? 60 : (int)name->n, name->p);
        a[k] = args->kw[i].v;
    }
    for (int i = 0; i < row->required; i++)
        if (jis_missing(a[i]))
            return jfail(r, ERR_INVALID, "%s() is missing an argument (it takes: %s)", row->name, row->params);
    return row->fn(r, self, a, args);
}

/* ---- macros */

struct jv jmacro_new(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jfunc *f = jalloc(r, 1, sizeof *f);
    if (!f)
        return failed;
    *f = (struct jfunc){ .kind = JF_MACRO, .macro = n, .scope = s };
    for (; s && !s->captured; s = s->parent)
        s->captured = true;
    return (struct jv){ .type = J_FUNC, .fn = f };
}

static const struct jkw *find_kw(const struct jargs *args, const struct jstr *name)
{
    for (size_t i = 0; i < args->nkw; i++)
        if (args->kw[i].name->n == name->n && !memcmp(args->kw[i].name->p, name->p, name->n))
            return &args->kw[i];
    return NULL;
}

static bool is_param(const struct jnode *n, const struct jstr *name)
{
    for (size_t i = 0; i < n->nparams; i++)
        if (n->params[i]->s.n == name->n && !memcmp(n->params[i]->s.p, name->p, name->n))
            return true;
    return false;
}

static struct jv param_value(struct jrun *r, const struct jnode *n, size_t i, const struct jargs *args,
                             struct jscope *s)
{
    if (i < args->npos)
        return args->pos[i];
    const struct jkw *kw = find_kw(args, &n->params[i]->s);
    if (kw)
        return kw->v;
    size_t first_default = n->nparams - n->ndefaults;
    if (i >= first_default)
        return jeval(r, n->defaults[i - first_default], s);
    return jundef_hint(r, "a macro parameter was not provided");
}

/* caller, kwargs and varargs, for the macros that mention them; what nobody takes is an error. */
static bool bind_special(struct jrun *r, const struct jnode *n, const struct jargs *args, struct jscope *s)
{
    const struct template *t = r->t;
    struct jv rest = jdict_new(r), more = jlist_new(r, J_TUPLE, 0), caller = jmissing();
    for (size_t i = 0; i < args->nkw; i++) {
        const struct jkw *kw = &args->kw[i];
        size_t taken = args->npos < n->nparams ? args->npos : n->nparams;
        bool param = is_param(n, kw->name);
        for (size_t k = 0; k < taken; k++)
            if (find_kw(args, &n->params[k]->s) == kw)
                param = false; /* given by position already: left over, as Python's macro object does it */
        if (param)
            continue;
        if (n->wants_caller && jstr_is(kw->name, "caller"))
            caller = kw->v;
        else if (n->wants_kwargs) {
            if (!jdict_set(r, rest.d, (struct jv){ .type = J_STR, .s = (struct jstr *)kw->name }, kw->v))
                return false;
        } else
            return jfail(r, ERR_INVALID, "macro '%.*s' takes no keyword argument '%.*s'", jshow(n->sym->s.n),
                         n->sym->s.p, jshow(kw->name->n), kw->name->p), false;
    }
    if (args->npos > n->nparams && !n->wants_varargs)
        return jfail(r, ERR_INVALID, "macro '%.*s' takes not more than %zu argument(s)", jshow(n->sym->s.n),
                     n->sym->s.p, n->nparams), false;
    for (size_t i = n->nparams; i < args->npos; i++)
        if (!jlist_add(r, more.l, args->pos[i]))
            return false;
    if (n->wants_caller && jis_missing(caller))
        caller = jundef_hint(r, "No caller defined");
    return (!n->wants_caller || jscope_set(r, s, t->s_caller, caller)) &&
           (!n->wants_kwargs || jscope_set(r, s, t->s_kwargs, rest)) &&
           (!n->wants_varargs || jscope_set(r, s, t->s_varargs, more)) && !r->failed;
}

struct jv jcall_macro(struct jrun *r, const struct jfunc *f, const struct jargs *args)
{
    const struct jnode *n = f->macro;
    struct jscope *s = jscope_new(r, f->scope);
    struct jcapture c;
    if (!s || !bind_special(r, n, args, s) || !jenter(r))
        return failed;
    bool ok = true;
    for (size_t i = 0; ok && i < n->nparams; i++)
        ok = jscope_set(r, s, n->params[i], param_value(r, n, i, args, s));
    int line = r->line;
    jcapture_begin(r, &c);
    ok = ok && jexec(r, &n->body, s) == JX_OK;
    struct jv v = jcapture_end(r, &c, ok);
    if (ok)
        r->line = line;
    jleave(r);
    return v;
}

static struct jv call_joiner(struct jrun *r, struct jcycler *j)
{
    if (j->pos++)
        return j->v[0];
    return jstr_lit(r, "");
}

/* What a method of safe text returns is safe as well. */
static struct jv keep_markup(struct jv v)
{
    if (v.type == J_STR)
        v.markup = 1;
    else if (v.type == J_LIST || v.type == J_TUPLE)
        for (size_t i = 0; i < v.l->n; i++)
            v.l->v[i].markup = v.l->v[i].type == J_STR;
    return v;
}

static struct jv call_builtin(struct jrun *r, const struct jfunc *f, const struct jargs *args)
{
    struct jv v = jbuiltin_call(r, f->row, f->self, args);
    return f->self.type == J_STR && f->self.markup ? keep_markup(v) : v;
}

struct jv jcall(struct jrun *r, struct jv fn, const struct jargs *args)
{
    if (fn.type == J_FUNC)
        return fn.fn->kind == JF_MACRO ? jcall_macro(r, fn.fn, args) : call_builtin(r, fn.fn, args);
    if (fn.type == J_LOOP)
        return jloop_recurse(r, fn.loop, args);
    if (fn.type == J_JOINER)
        return call_joiner(r, fn.cycler);
    if (fn.type == J_UNDEF)
        return jundef_fail(r, fn);
    return jis_fail(fn) ? fn : jfail(r, ERR_INVALID, "'%s' object is not callable", jtype_name(fn));
}
