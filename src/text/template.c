/* template -- parse once, render often: the outside of the Jinja engine. See template.h.
 *
 * source --jinja_lex--> tokens --jinja_parse, jinja_parse_stmt--> tree --jinja_eval, jinja_exec--> text.
 * Values are in jinja_value, what a template may do with them in jinja_ops, _attr, _methods, _filters_*,
 * _tests, _globals; all of it below reads and writes one struct jrun, which lives for one render. */
#include "text/template.h"
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <string.h>

enum { TREE_BYTES_MAX = 256 << 20, SYMS_MAX = 1 << 20 };
static const struct template_limits defaults = {
    .memory_max = (size_t)256 << 20, .output_max = (size_t)64 << 20, .ops_max = 20000000, .depth_max = 1200,
};

/* ---- names */

static uint32_t hash(const char *p, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h;
}

/* The slot of the name, taken or free. */
static uint32_t slot_of(const struct template *t, const char *p, size_t n)
{
    uint32_t s = hash(p, n) & (t->slots - 1);
    while (t->slot[s]) {
        const struct jstr *have = &t->sym[t->slot[s] - 1]->s;
        if (have->n == n && !memcmp(have->p, p, n))
            break;
        s = (s + 1) & (t->slots - 1);
    }
    return s;
}

static bool grow_syms(struct template *t)
{
    uint32_t cap = t->syms_cap ? t->syms_cap * 2 : 64, slots = cap * 2;
    const struct jsym **sym = arena_alloc(&t->arena, cap, sizeof *sym);
    uint32_t *slot = arena_alloc(&t->arena, slots, sizeof *slot);
    if (!sym || !slot || cap > SYMS_MAX)
        return false;
    if (t->syms)
        memcpy(sym, t->sym, t->syms * sizeof *sym);
    t->sym = sym;
    t->slot = slot;
    t->slots = slots;
    t->syms_cap = cap;
    for (uint32_t i = 0; i < t->syms; i++)
        t->slot[slot_of(t, sym[i]->s.p, sym[i]->s.n)] = i + 1;
    return true;
}

const struct jsym *template_intern(struct template *t, const char *p, size_t n)
{
    if (t->syms == t->syms_cap && !grow_syms(t))
        return NULL;
    uint32_t s = slot_of(t, p, n);
    if (t->slot[s])
        return t->sym[t->slot[s] - 1];
    struct jsym *sym = arena_alloc(&t->arena, 1, sizeof *sym);
    char *copy = arena_strndup(&t->arena, p, n);
    if (!sym || !copy)
        return NULL;
    *sym = (struct jsym){ .s = { .p = copy, .n = n, .chars = ju_count(p, n) }, .id = t->syms };
    t->sym[t->syms++] = sym;
    t->slot[s] = t->syms;
    return sym;
}

const struct jsym *template_sym(const struct template *t, const char *p, size_t n)
{
    uint32_t s = slot_of(t, p, n);
    return t->slot[s] ? t->sym[t->slot[s] - 1] : NULL;
}

bool template_mentions(const struct template *t, const char *variable)
{
    const struct jsym *sym = template_sym(t, variable, strlen(variable));
    return sym && sym->variable;
}

/* ---- parsing */

struct template *template_parse(const char *text, size_t n, struct err *e)
{
    struct template *t = MEM_NEW(struct template);
    struct jtoken *tokens;
    size_t count;
    arena_init(&t->arena, TREE_BYTES_MAX);
    t->s_loop = template_intern(t, "loop", 4); /* the first 64 cannot fail: the arena has room */
    t->s_caller = template_intern(t, "caller", 6);
    t->s_kwargs = template_intern(t, "kwargs", 6);
    t->s_varargs = template_intern(t, "varargs", 7);
    if (!jinja_lex(t, text, n, &tokens, &count, e) && !jparse_template(t, tokens, e))
        return t;
    template_free(t);
    return NULL;
}

void template_free(struct template *t)
{
    if (!t)
        return;
    arena_release(&t->arena);
    mem_free(t);
}

/* ---- rendering */

static bool prepare(struct jrun *r, const json_t *context)
{
    r->context = context ? jv_from_json(r, context) : jdict_new(r);
    r->root = jscope_new(r, NULL);
    r->global = jalloc(r, r->t->syms + 1, sizeof *r->global); /* zeroed: all J_MISSING */
    return !r->failed;
}

enum err_code template_render(const struct template *t, const json_t *context, const char *now_iso,
                              const struct template_limits *lim, struct buf *out, struct err *e)
{
    struct template_limits l = lim ? *lim : defaults;
    struct buf text;
    l.memory_max = l.memory_max ? l.memory_max : defaults.memory_max;
    l.output_max = l.output_max ? l.output_max : defaults.output_max;
    l.ops_max = l.ops_max ? l.ops_max : defaults.ops_max;
    l.depth_max = l.depth_max ? l.depth_max : defaults.depth_max;
    if (context && !json_is_object(context))
        return err_set(e, ERR_INVALID, "the context of a template must be an object");
    struct jrun r = { .t = t, .err = e, .ops = l.ops_max, .ops_max = l.ops_max, .depth_max = l.depth_max,
                      .now_iso = now_iso };
    rng_system(&r.hash_seed, sizeof r.hash_seed);
    arena_init(&r.arena, l.memory_max);
    buf_init(&text, l.output_max);
    r.out = &text;
    if (prepare(&r, context) && jexec(&r, &t->body, r.root) == JX_OK && !buf_append(out, text.data, text.len))
        jfail(&r, ERR_LIMIT, "the rendered text is longer than %zu bytes", out->max);
    if (r.failed && !r.raised && r.line && e) {
        char where[40];
        size_t have = strlen(e->text);
        int k = snprintf(where, sizeof where, " (template line %d)", r.line);
        if (k > 0 && have + (size_t)k < sizeof e->text)
            memcpy(e->text + have, where, (size_t)k + 1);
    }
    buf_release(&text);
    arena_release(&r.arena);
    return r.failed ? r.code : ERR_OK;
}
