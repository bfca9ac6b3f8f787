/* jinja_loop -- {% for %} and what its body sees as `loop`.
 *
 * Items are fetched one ahead only when asked for (loop.last, loop.nextitem), and counted only when
 * loop.length or revindex is read, as in Jinja2: a filter on the loop runs while the loop runs. */
#include "text/jinja_run.h"

/* ---- the loop object */

int jloop_next(struct jrun *r, struct jloop *l, struct jv *out)
{
    int more = 1;
    if (l->have_after) {
        *out = l->after;
        l->have_after = false;
        if (jis_missing(*out))
            return 0;
    } else {
        more = jiter_next(r, l->it, out);
    }
    if (more == 1) {
        l->index0++;
        l->have_before = l->index0 > 0;
        l->before = l->current;
        l->current = *out;
    }
    return more;
}

/* The next item without moving; J_MISSING at the end. */
static struct jv peek(struct jrun *r, struct jloop *l)
{
    if (!l->have_after) {
        int more = jiter_next(r, l->it, &l->after);
        if (more < 0)
            return (struct jv){ .type = J_FAIL };
        if (!more)
            l->after = jmissing();
        l->have_after = true;
    }
    return l->after;
}

bool jloop_length(struct jrun *r, struct jloop *l, size_t *out)
{
    if (!l->have_length) {
        if (l->source.type != J_ITER) {
            if (!jv_len(r, l->source, &l->length))
                return false;
        } else {
            struct jv rest = jv_list(r, (struct jv){ .type = J_ITER, .it = l->it });
            if (jis_fail(rest))
                return false;
            l->it = jiter_open(r, rest);
            if (!l->it)
                return false;
            l->length = rest.l->n + (size_t)(l->index0 + 1) + (l->have_after && !jis_missing(l->after));
        }
        l->have_length = true;
    }
    *out = l->length;
    return true;
}

static struct jv loop_cycle(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    if (!raw->npos)
        return jfail(r, ERR_INVALID, "no items for cycling given");
    return raw->pos[(size_t)self.loop->index0 % raw->npos];
}

static struct jv loop_changed(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv now = jlist_new(r, J_TUPLE, raw->npos);
    for (size_t i = 0; !jis_fail(now) && i < raw->npos; i++)
        if (!jlist_add(r, now.l, raw->pos[i]))
            return (struct jv){ .type = J_FAIL };
    if (jis_fail(now))
        return now;
    int same = jis_missing(self.loop->changed) ? 0 : jv_equal(r, self.loop->changed, now);
    self.loop->changed = now;
    return same < 0 ? (struct jv){ .type = J_FAIL } : jbool(!same);
}

static struct jv bound(struct jrun *r, const struct jbuiltin *row, struct jv self)
{
    struct jfunc *f = jalloc(r, 1, sizeof *f);
    if (!f)
        return (struct jv){ .type = J_FAIL };
    *f = (struct jfunc){ .kind = JF_BUILTIN, .row = row, .self = self };
    return (struct jv){ .type = J_FUNC, .fn = f };
}

static struct jv from_end(struct jrun *r, struct jloop *l, int64_t passed)
{
    size_t length;
    return jloop_length(r, l, &length) ? jint((int64_t)length - passed) : (struct jv){ .type = J_FAIL };
}

struct jv jloop_attr(struct jrun *r, struct jv loop, const struct jstr *name)
{
    static const struct jbuiltin cycle = { "cycle", loop_cycle, NULL, 0 };
    static const struct jbuiltin changed = { "changed", loop_changed, NULL, 0 };
    struct jloop *l = loop.loop;
    if (jstr_is(name, "index")) return jint(l->index0 + 1);
    if (jstr_is(name, "index0")) return jint(l->index0);
    if (jstr_is(name, "first")) return jbool(l->index0 == 0);
    if (jstr_is(name, "depth")) return jint(l->depth0 + 1);
    if (jstr_is(name, "depth0")) return jint(l->depth0);
    if (jstr_is(name, "length")) return from_end(r, l, 0);
    if (jstr_is(name, "revindex")) return from_end(r, l, l->index0);
    if (jstr_is(name, "revindex0")) return from_end(r, l, l->index0 + 1);
    if (jstr_is(name, "previtem")) return l->have_before ? l->before : jundef_hint(r, "there is no previous item");
    if (jstr_is(name, "cycle")) return bound(r, &cycle, loop);
    if (jstr_is(name, "changed")) return bound(r, &changed, loop);
    bool last = jstr_is(name, "last");
    if (last || jstr_is(name, "nextitem")) {
        struct jv next = peek(r, l);
        if (jis_fail(next))
            return next;
        if (last)
            return jbool(jis_missing(next));
        return jis_missing(next) ? jundef_hint(r, "there is no next item") : next;
    }
    return jmissing();
}

/* ---- running it */

/* One scope per iteration; taken again when nothing closed over it. */
static struct jscope *iteration_scope(struct jrun *r, struct jscope *old, struct jscope *parent)
{
    if (!old || old->captured)
        return jscope_new(r, parent);
    old->n = 0;
    return old;
}

static struct jloop *loop_new(struct jrun *r, const struct jnode *n, struct jv items, struct jscope *s, int depth0)
{
    struct jloop *l = jalloc(r, 1, sizeof *l);
    struct jiter *it = l ? jiter_open(r, items) : NULL;
    if (!it)
        return NULL;
    *l = (struct jloop){ .it = it, .index0 = -1, .depth0 = depth0, .source = items, .changed = jmissing(),
                         .node = n, .scope = s };
    if (n->c) {
        l->source = jiter_value(r, (struct jiter){ .kind = JI_FOR, .from = it, .node = n, .scope = s });
        if (jis_fail(l->source))
            return NULL;
        l->it = l->source.it;
    }
    return l;
}

static enum jflow run(struct jrun *r, const struct jnode *n, struct jloop *l, struct jscope *s)
{
    struct jscope *inner = NULL;
    struct jv item;
    bool completed = false; /* Jinja2 runs else unless a body reached its end */
    int more;
    while ((more = jloop_next(r, l, &item)) == 1) {
        inner = iteration_scope(r, inner, s);
        if (!inner || !jscope_set(r, inner, r->t->s_loop, (struct jv){ .type = J_LOOP, .loop = l }) ||
            !jassign(r, n->a, item, inner))
            return JX_FAIL;
        enum jflow flow = jexec(r, &n->body, inner);
        if (flow == JX_FAIL)
            return flow;
        if (flow == JX_BREAK)
            break;
        completed |= flow == JX_OK;
    }
    if (more < 0)
        return JX_FAIL;
    if (completed || !n->orelse.n)
        return JX_OK;
    inner = jscope_new(r, s);
    return inner ? jexec(r, &n->orelse, inner) : JX_FAIL;
}

enum jflow jexec_for(struct jrun *r, const struct jnode *n, struct jscope *s)
{
    struct jv items = jeval(r, n->b, s);
    struct jloop *l = jis_fail(items) ? NULL : loop_new(r, n, items, s, 0);
    return l ? run(r, n, l, s) : JX_FAIL;
}

/* loop(children) inside a recursive loop: the text of the loop over them, one level deeper. */
struct jv jloop_recurse(struct jrun *r, struct jloop *l, const struct jargs *args)
{
    if (!l->node->recursive)
        return jfail(r, ERR_INVALID, "The loop must have the 'recursive' marker to be called recursively.");
    if (args->npos != 1 || args->nkw)
        return jfail(r, ERR_INVALID, "loop() takes one argument, what to loop over");
    if (!jenter(r))
        return (struct jv){ .type = J_FAIL };
    struct jcapture c;
    struct jloop *deeper = loop_new(r, l->node, args->pos[0], l->scope, l->depth0 + 1);
    jcapture_begin(r, &c);
    enum jflow flow = deeper ? run(r, l->node, deeper, l->scope) : JX_FAIL;
    jleave(r);
    return jcapture_end(r, &c, flow == JX_OK);
}
