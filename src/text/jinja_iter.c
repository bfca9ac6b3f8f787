/* jinja_iter -- walking values, and the generators that map, select and filtered loops return.
 *
 * A generator is walked once, whoever walks it; its work happens as it is walked. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <string.h>

bool jv_iterable(struct jv v)
{
    switch ((enum jtype)v.type) {
    case J_UNDEF: case J_STR: case J_LIST: case J_TUPLE: case J_DICT: case J_VIEW: case J_RANGE: case J_ITER:
    case J_LOOP: return true;
    default: return false;
    }
}

struct jv jiter_value(struct jrun *r, struct jiter it)
{
    struct jiter *copy = jalloc(r, 1, sizeof *copy);
    if (!copy)
        return (struct jv){ .type = J_FAIL };
    *copy = it;
    return (struct jv){ .type = J_ITER, .it = copy };
}

struct jiter *jiter_open(struct jrun *r, struct jv v)
{
    struct jiter it = { .src = v };
    switch ((enum jtype)v.type) {
    case J_FAIL: return NULL;
    case J_ITER: return v.it;
    case J_UNDEF: it.done = true; break;
    case J_STR: it.kind = JI_STR; break;
    case J_LIST: case J_TUPLE: it.kind = JI_SEQ; break;
    case J_DICT: it.kind = JI_DICT; it.view = JVIEW_KEYS; break;
    case J_VIEW: it.kind = JI_DICT; it.view = v.view; break;
    case J_RANGE: it.kind = JI_RANGE; break;
    default:
        jfail(r, ERR_INVALID, "'%s' object is not iterable", jtype_name(v));
        return NULL;
    }
    return jiter_value(r, it).it;
}

/* ---- the lazy ones */

static int next_map(struct jrun *r, struct jiter *it, struct jv *out)
{
    struct jv item;
    int more = jiter_next(r, it->from, &item);
    if (more != 1)
        return more;
    *out = it->row ? jbuiltin_call(r, it->row, item, &it->args) : jpath(r, item, it->attr, it->dflt);
    return jis_fail(*out) ? -1 : 1;
}

static int next_selected(struct jrun *r, struct jiter *it, struct jv *out)
{
    int more;
    while ((more = jiter_next(r, it->from, out)) == 1) {
        struct jv v = jis_missing(it->attr) ? *out : jpath(r, *out, it->attr, jmissing());
        if (!jis_fail(v) && it->row)
            v = jbuiltin_call(r, it->row, v, &it->args);
        int t = jv_truth(r, v);
        if (t < 0)
            return -1;
        if (t != it->negate)
            return 1;
    }
    return more;
}

static int next_filtered(struct jrun *r, struct jiter *it, struct jv *out)
{
    int more;
    while ((more = jiter_next(r, it->from, out)) == 1) {
        struct jscope *s = jscope_new(r, it->scope);
        if (!s || !jassign(r, it->node->a, *out, s))
            return -1;
        int t = jv_truth(r, jeval(r, it->node->c, s));
        if (t)
            return t;
    }
    return more;
}

static int next_lazy(struct jrun *r, struct jiter *it, struct jv *out)
{
    if (!it->from)
        it->from = jiter_open(r, jbuiltin_call(r, it->row, it->src, &it->args));
    return it->from ? jiter_next(r, it->from, out) : -1;
}

/* ---- the plain ones */

static int next_dict(struct jrun *r, struct jiter *it, struct jv *out)
{
    const struct jdict *d = it->src.d;
    if (it->pos >= d->n)
        return 0;
    const struct jpair *pair = &d->v[it->pos++];
    *out = it->view == JVIEW_KEYS ? pair->key : it->view == JVIEW_VALUES ? pair->val
                                                                         : jpair_tuple(r, pair->key, pair->val);
    return jis_fail(*out) ? -1 : 1;
}

static int next_char(struct jrun *r, struct jiter *it, struct jv *out)
{
    const struct jstr *s = it->src.s;
    if (it->pos >= s->n)
        return 0;
    size_t k = ju_len((unsigned char)s->p[it->pos]);
    *out = jstr_ref(r, s->p + it->pos, k);
    it->pos += k;
    return jis_fail(*out) ? -1 : 1;
}

static int next_range(struct jiter *it, struct jv *out)
{
    const struct jrange *g = it->src.range;
    if (it->pos >= g->n)
        return 0;
    *out = jint(jrange_at(g, it->pos++));
    return 1;
}

static int next_seq(struct jiter *it, struct jv *out)
{
    const struct jlist *l = it->src.l;
    if (it->pos >= l->n)
        return 0;
    size_t i = it->pos++;
    *out = l->v[it->kind == JI_REVERSED ? l->n - 1 - i : i];
    return 1;
}

int jiter_next(struct jrun *r, struct jiter *it, struct jv *out)
{
    int more = 0;
    if (it->done)
        return 0;
    if (!jenter(r))
        return -1;
    switch (it->kind) {
    case JI_SEQ: case JI_REVERSED: more = next_seq(it, out); break;
    case JI_STR: more = next_char(r, it, out); break;
    case JI_DICT: more = next_dict(r, it, out); break;
    case JI_RANGE: more = next_range(it, out); break;
    case JI_MAP: more = next_map(r, it, out); break;
    case JI_SELECT: more = next_selected(r, it, out); break;
    case JI_FOR: more = next_filtered(r, it, out); break;
    case JI_LAZY: more = next_lazy(r, it, out); break;
    }
    jleave(r);
    it->done = more != 1;
    return r->failed ? -1 : more;
}

struct jv jv_list(struct jrun *r, struct jv v)
{
    size_t n = 0;
    if (v.type == J_LIST || v.type == J_TUPLE || v.type == J_DICT || v.type == J_VIEW)
        n = v.type == J_LIST || v.type == J_TUPLE ? v.l->n : v.d->n;
    struct jiter *it = jiter_open(r, v);
    struct jv l = it ? jlist_new(r, J_LIST, n) : (struct jv){ .type = J_FAIL }, item;
    int more = -1;
    while (!jis_fail(l) && (more = jiter_next(r, it, &item)) == 1)
        if (!jlist_add(r, l.l, item))
            return (struct jv){ .type = J_FAIL };
    return more == 0 ? l : (struct jv){ .type = J_FAIL };
}
