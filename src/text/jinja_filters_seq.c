/* jinja_filters_seq -- filters on lists, dicts and generators. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <string.h>

static const struct jv failed = { .type = J_FAIL };

static int flag(struct jrun *r, struct jv v, bool dflt)
{
    return jis_missing(v) ? dflt : jv_truth(r, v);
}

/* What comparisons that ignore case compare: text in lower case, anything else itself. */
static struct jv fold(struct jrun *r, struct jv v, bool case_sensitive)
{
    if (case_sensitive || v.type != J_STR)
        return v;
    struct jargs none = { 0 };
    return jbuiltin_call(r, jmethod_find(v, "lower", 5), v, &none);
}

static struct jv f_length(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    size_t n;
    return jv_len(r, self, &n) ? jint((int64_t)n) : failed;
}

static struct jv f_first(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jiter *it = jiter_open(r, self);
    struct jv v;
    int more = it ? jiter_next(r, it, &v) : -1;
    return more < 0 ? failed : more ? v : jundef_hint(r, "No first item, sequence was empty.");
}

static struct jv f_last(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    if (self.type == J_ITER || self.type == J_LOOP)
        return jfail(r, ERR_INVALID, "'%s' object is not reversible", jtype_name(self));
    if (self.type == J_STR && self.s->n)
        return jitem(r, self, jint(-1));
    struct jv l = jv_list(r, self);
    if (jis_fail(l))
        return l;
    return l.l->n ? l.l->v[l.l->n - 1] : jundef_hint(r, "No last item, sequence was empty.");
}

static struct jv f_list(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return jv_list(r, self);
}

static struct jv make_items(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    if (self.type == J_UNDEF)
        return jiter_value(r, (struct jiter){ .done = true });
    if (self.type != J_DICT)
        return jfail(r, ERR_INVALID, "Can only get item pairs from a mapping.");
    return jiter_value(r, (struct jiter){ .kind = JI_DICT, .view = JVIEW_ITEMS, .src = self });
}

static struct jv f_join(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv sep = jis_missing(a[0]) ? jstr_lit(r, "") : jv_str(r, a[0]), item;
    struct jiter *it = jis_fail(sep) ? NULL : jiter_open(r, self);
    struct buf b;
    int more = -1;
    if (!it)
        return failed;
    jbuf_init(r, &b);
    for (bool first = true; (more = jiter_next(r, it, &item)) == 1; first = false) {
        if (!jis_missing(a[1]) && a[1].type != J_NONE)
            item = jpath(r, item, a[1], jmissing());
        if (!first)
            buf_append(&b, sep.s->p, sep.s->n);
        if (jis_fail(item) || !jv_print(r, item, &b) || !jcharge(r, 1))
            break;
    }
    if (more == 0 && !r->failed)
        return jstr_from_buf(r, &b);
    buf_release(&b);
    return failed;
}

/* Puts the lists keys[i] and values[i] in the order of keys. */
static struct jv sorted(struct jrun *r, const struct jlist *values, const struct jlist *keys, bool reverse)
{
    uint32_t *order = jalloc(r, values->n + 1, sizeof *order);
    if (!order || !jsort(r, keys->v, values->n, reverse, order))
        return failed;
    struct jv out = jlist_new(r, J_LIST, values->n);
    for (size_t i = 0; !jis_fail(out) && i < values->n; i++)
        if (!jlist_add(r, out.l, values->v[order[i]]))
            return failed;
    return out;
}

/* The sort key of one item: a list with one entry for each of the comma-separated attributes. */
static struct jv multi_key(struct jrun *r, struct jv item, struct jv attr, bool case_sensitive)
{
    struct jv key = jlist_new(r, J_LIST, 1);
    if (jis_fail(key))
        return key;
    if (attr.type != J_STR) {
        struct jv v = jpath(r, item, attr, jmissing());
        return jlist_add(r, key.l, jis_fail(v) ? v : fold(r, v, case_sensitive)) ? key : failed;
    }
    const char *p = attr.s->p, *end = p + attr.s->n;
    while (p <= end) {
        const char *comma = p < end ? memchr(p, ',', (size_t)(end - p)) : NULL;
        size_t n = (size_t)((comma ? comma : end) - p);
        struct jv path = jstr_ref(r, p, n), v = jis_fail(path) ? path : jpath(r, item, path, jmissing());
        if (!jlist_add(r, key.l, jis_fail(v) ? v : fold(r, v, case_sensitive)))
            return failed;
        p += n + 1;
        if (!comma)
            break;
    }
    return key;
}

static struct jv f_sort(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int reverse = flag(r, a[0], false), cs = flag(r, a[1], false);
    struct jv l = jv_list(r, self), keys = jlist_new(r, J_LIST, 0);
    if (jis_fail(l) || jis_fail(keys) || reverse < 0 || cs < 0)
        return failed;
    for (size_t i = 0; i < l.l->n; i++)
        if (!jlist_add(r, keys.l, multi_key(r, l.l->v[i], a[2], cs)))
            return failed;
    return sorted(r, l.l, keys.l, reverse);
}

static struct jv f_dictsort(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int cs = flag(r, a[0], false), reverse = flag(r, a[2], false);
    bool by_value = a[1].type == J_STR && jstr_is(a[1].s, "value");
    if (!jis_missing(a[1]) && !by_value && !(a[1].type == J_STR && jstr_is(a[1].s, "key")))
        return jfail(r, ERR_INVALID, "You can only sort by either \"key\" or \"value\"");
    if (self.type != J_DICT)
        return self.type == J_UNDEF ? jundef_fail(r, self)
                                    : jfail(r, ERR_INVALID, "'%s object' has no attribute 'items'", jtype_name(self));
    struct jv items = jlist_new(r, J_LIST, self.d->n), keys = jlist_new(r, J_LIST, self.d->n);
    if (jis_fail(items) || jis_fail(keys) || cs < 0 || reverse < 0)
        return failed;
    for (size_t i = 0; i < self.d->n; i++) {
        const struct jpair *p = &self.d->v[i];
        if (!jlist_add(r, items.l, jpair_tuple(r, p->key, p->val)) ||
            !jlist_add(r, keys.l, fold(r, by_value ? p->val : p->key, cs)))
            return failed;
    }
    return sorted(r, items.l, keys.l, reverse);
}

static struct jv make_unique(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int cs = flag(r, a[0], false), more = -1;
    struct jiter *it = jiter_open(r, self);
    struct jv seen = jdict_new(r), out = jlist_new(r, J_LIST, 0), item;
    if (!it || jis_fail(seen) || jis_fail(out) || cs < 0)
        return failed;
    while ((more = jiter_next(r, it, &item)) == 1) {
        struct jv key = jpath(r, item, a[1], jmissing());
        key = jis_fail(key) ? key : fold(r, key, cs);
        size_t before = seen.d->n;
        if (!jdict_set(r, seen.d, key, jnone()))
            return failed;
        if (seen.d->n > before && !jlist_add(r, out.l, item))
            return failed;
    }
    return more < 0 ? failed : jiter_value(r, (struct jiter){ .kind = JI_SEQ, .src = out });
}

static bool group_add(struct jrun *r, struct jv *groups, struct jv item, struct jv key, bool fresh)
{
    if (!fresh)
        return jlist_add(r, groups->l->v[groups->l->n - 1].l->v[1].l, item);
    struct jv list = jlist_new(r, J_LIST, 0);
    if (jis_fail(list) || !jlist_add(r, list.l, item))
        return false;
    struct jv g = jpair_tuple(r, key, list);
    if (jis_fail(g))
        return false;
    g.l->group = true;
    return jlist_add(r, groups->l, g);
}

static struct jv f_groupby(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int cs = flag(r, a[2], false);
    struct jv l = jv_list(r, self), keys = jlist_new(r, J_LIST, 0), out = jlist_new(r, J_LIST, 0);
    if (jis_fail(l) || jis_fail(keys) || jis_fail(out) || cs < 0)
        return failed;
    for (size_t i = 0; i < l.l->n; i++) {
        struct jv v = jpath(r, l.l->v[i], a[0], a[1]);
        if (!jlist_add(r, keys.l, jis_fail(v) ? v : fold(r, v, cs)))
            return failed;
    }
    uint32_t *order = jalloc(r, l.l->n + 1, sizeof *order);
    if (!order || !jsort(r, keys.l->v, l.l->n, false, order))
        return failed;
    for (size_t i = 0; i < l.l->n; i++) {
        int same = i ? jv_equal(r, keys.l->v[order[i]], keys.l->v[order[i - 1]]) : 0;
        struct jv item = l.l->v[order[i]], key = cs || same ? keys.l->v[order[i]] : jpath(r, item, a[0], a[1]);
        if (same < 0 || jis_fail(key) || !group_add(r, &out, item, key, !same))
            return failed;
    }
    return out;
}

/* ---- generators */

static struct jv make_map(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jiter it = { .kind = JI_MAP, .attr = jnone(), .dflt = jmissing() };
    if (!raw->npos) {
        bool named = false;
        for (size_t i = 0; i < raw->nkw; i++) {
            if (jstr_is(raw->kw[i].name, "attribute")) {
                it.attr = raw->kw[i].v;
                named = true;
            } else if (jstr_is(raw->kw[i].name, "default")) {
                it.dflt = raw->kw[i].v;
            } else {
                return jfail(r, ERR_INVALID, "map got an unexpected keyword argument");
            }
        }
        if (!named)
            return jfail(r, ERR_INVALID, "map requires a filter argument");
    } else {
        struct jv name = raw->pos[0];
        it.row = name.type == J_STR ? jfilter_find(name.s->p, name.s->n) : NULL;
        if (!it.row)
            return jfail(r, ERR_INVALID, "map names a filter that does not exist");
        it.args = (struct jargs){ raw->pos + 1, raw->npos - 1, raw->kw, raw->nkw };
    }
    it.done = jv_truth(r, self) == 0;
    it.from = it.done ? NULL : jiter_open(r, self);
    return it.done || it.from ? jiter_value(r, it) : failed;
}

static struct jv selection(struct jrun *r, struct jv self, const struct jargs *raw, bool attr, bool negate)
{
    struct jiter it = { .kind = JI_SELECT, .attr = jmissing(), .negate = negate };
    size_t used = 0;
    if (attr) {
        if (!raw->npos)
            return jfail(r, ERR_INVALID, "Missing parameter for attribute name");
        it.attr = raw->pos[used++];
    }
    if (raw->npos > used) {
        struct jv name = raw->pos[used++];
        it.row = name.type == J_STR ? jtest_find(name.s->p, name.s->n) : NULL;
        if (!it.row)
            return jfail(r, ERR_INVALID, "select names a test that does not exist");
        it.args = (struct jargs){ raw->pos + used, raw->npos - used, raw->kw, raw->nkw };
    }
    it.done = jv_truth(r, self) == 0;
    it.from = it.done ? NULL : jiter_open(r, self);
    return it.done || it.from ? jiter_value(r, it) : failed;
}

static struct jv make_select(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return selection(r, self, raw, false, false);
}

static struct jv make_reject(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return selection(r, self, raw, false, true);
}

static struct jv make_selectattr(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return selection(r, self, raw, true, false);
}

static struct jv make_rejectattr(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return selection(r, self, raw, true, true);
}

static struct jv f_reverse(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    if (self.type == J_STR)
        return jslice(r, self, jnone(), jnone(), jint(-1));
    if (!jv_iterable(self))
        return jfail(r, ERR_INVALID, "argument must be iterable");
    struct jv l = jv_list(r, self);
    if (jis_fail(l))
        return l;
    if (self.type == J_ITER)
        return jslice(r, l, jnone(), jnone(), jint(-1));
    return jiter_value(r, (struct jiter){ .kind = JI_REVERSED, .src = l });
}

/* ---- cutting into rows and columns */

static bool positive(struct jrun *r, struct jv v, const char *what, int64_t *out)
{
    if (!jindex(r, v, what, out))
        return false;
    if (*out < 1 || *out > 1000000)
        return jfail(r, ERR_INVALID, "%s must be between 1 and 1000000", what), false;
    return true;
}

static struct jv make_batch(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t size;
    struct jv l = jv_list(r, self), out = jlist_new(r, J_LIST, 0), row = jmissing();
    if (jis_fail(l) || jis_fail(out) || !positive(r, a[0], "the size of a batch", &size))
        return failed;
    for (size_t i = 0; i < l.l->n; i++) {
        if (i % (size_t)size == 0) {
            row = jlist_new(r, J_LIST, 0);
            if (jis_fail(row) || !jlist_add(r, out.l, row))
                return failed;
        }
        if (!jlist_add(r, row.l, l.l->v[i]))
            return failed;
    }
    bool fill = !jis_missing(a[1]) && a[1].type != J_NONE && !jis_missing(row);
    while (fill && row.l->n < (size_t)size)
        if (!jlist_add(r, row.l, a[1]))
            return failed;
    return jiter_value(r, (struct jiter){ .kind = JI_SEQ, .src = out });
}

static struct jv make_slice(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t slices;
    struct jv l = jv_list(r, self), out = jlist_new(r, J_LIST, 0);
    if (jis_fail(l) || jis_fail(out) || !positive(r, a[0], "the number of slices", &slices))
        return failed;
    size_t each = l.l->n / (size_t)slices, extra = l.l->n % (size_t)slices, at = 0;
    for (size_t k = 0; k < (size_t)slices; k++) {
        struct jv part = jlist_new(r, J_LIST, each + 1);
        if (jis_fail(part))
            return part;
        for (size_t i = 0; i < each + (k < extra); i++)
            if (!jlist_add(r, part.l, l.l->v[at++]))
                return failed;
        if (!jis_missing(a[1]) && a[1].type != J_NONE && k >= extra && !jlist_add(r, part.l, a[1]))
            return failed;
        if (!jlist_add(r, out.l, part))
            return failed;
    }
    return jiter_value(r, (struct jiter){ .kind = JI_SEQ, .src = out });
}

/* ---- folding */

static struct jv f_sum(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv total = jis_missing(a[1]) ? jint(0) : a[1], item;
    struct jiter *it = jiter_open(r, self);
    int more = -1;
    if (total.type == J_STR)
        return jfail(r, ERR_INVALID, "sum() can't sum strings");
    while (it && !jis_fail(total) && (more = jiter_next(r, it, &item)) == 1) {
        item = jpath(r, item, a[0], jmissing());
        total = jis_fail(item) ? item : jarith(r, T_ADD, total, item);
    }
    return more < 0 ? failed : total;
}

static struct jv extreme(struct jrun *r, struct jv self, struct jv *a, char op)
{
    struct jiter *it = jiter_open(r, self);
    struct jv best = jmissing(), best_key = jmissing(), item;
    int more = -1, cs = flag(r, a[0], false);
    while (it && cs >= 0 && (more = jiter_next(r, it, &item)) == 1) {
        struct jv key = jpath(r, item, a[1], jmissing());
        key = jis_fail(key) ? key : fold(r, key, cs);
        int better = jis_missing(best) ? !jis_fail(key) : jv_less(r, key, best_key, op);
        if (better < 0 || jis_fail(key))
            return failed;
        if (better) {
            best = item;
            best_key = key;
        }
    }
    if (more < 0)
        return failed;
    return jis_missing(best) ? jundef_hint(r, "No aggregated item, sequence was empty.") : best;
}

static struct jv f_min(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return extreme(r, self, a, '<');
}

static struct jv f_max(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return extreme(r, self, a, '>');
}

static struct jv f_default(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int boolean = flag(r, a[1], false), t = boolean > 0 ? jv_truth(r, self) : 1;
    if (boolean < 0 || t < 0)
        return failed;
    if (self.type != J_UNDEF && t)
        return self;
    return jis_missing(a[0]) ? jstr_lit(r, "") : a[0];
}

static struct jv f_attr(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv name = jv_str(r, a[0]);
    if (jis_fail(name))
        return name;
    if (self.type == J_DICT && !jmethod_find(self, name.s->p, name.s->n))
        return jundef_attr(r, self, name);
    return jattr(r, self, name.s);
}

/* ---- the filters that are generators in Jinja2: what they are given is looked at when they are walked */

static struct jv lazy(struct jrun *r, struct jv self, const struct jbuiltin *make, const struct jargs *raw)
{
    return jiter_value(r, (struct jiter){ .kind = JI_LAZY, .src = self, .row = make, .args = *raw });
}

#define LAZY(name, params, required) \
    static struct jv f_##name(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw) \
    { \
        static const struct jbuiltin make = { #name, make_##name, params, required }; \
        return lazy(r, self, &make, raw); \
    }
LAZY(items, "", 0)
LAZY(unique, "case_sensitive attribute", 0)
LAZY(map, NULL, 0)
LAZY(select, NULL, 0)
LAZY(reject, NULL, 0)
LAZY(selectattr, NULL, 0)
LAZY(rejectattr, NULL, 0)
LAZY(batch, "linecount fill_with", 1)
LAZY(slice, "slices fill_with", 1)
#undef LAZY

const struct jbuiltin jfilter_seq_rows[] = {
    { "length", f_length, "", 0 },
    { "count", f_length, "", 0 },
    { "first", f_first, "", 0 },
    { "last", f_last, "", 0 },
    { "list", f_list, "", 0 },
    { "items", f_items, "", 0 },
    { "join", f_join, "d attribute", 0 },
    { "sort", f_sort, "reverse case_sensitive attribute", 0 },
    { "dictsort", f_dictsort, "case_sensitive by reverse", 0 },
    { "unique", f_unique, "case_sensitive attribute", 0 },
    { "groupby", f_groupby, "attribute default case_sensitive", 1 },
    { "map", f_map, NULL, 0 },
    { "select", f_select, NULL, 0 },
    { "reject", f_reject, NULL, 0 },
    { "selectattr", f_selectattr, NULL, 0 },
    { "rejectattr", f_rejectattr, NULL, 0 },
    { "reverse", f_reverse, "", 0 },
    { "batch", f_batch, "linecount fill_with", 1 },
    { "slice", f_slice, "slices fill_with", 1 },
    { "sum", f_sum, "attribute start", 0 },
    { "min", f_min, "case_sensitive attribute", 0 },
    { "max", f_max, "case_sensitive attribute", 0 },
    { "default", f_default, "default_value boolean", 0 },
    { "d", f_default, "default_value boolean", 0 },
    { "attr", f_attr, "name", 1 },
    { 0 },
};
