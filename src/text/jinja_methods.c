/* jinja_methods -- methods of str that cut, search and join; those of dict, list and cycler; the lookup of all. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <string.h>

static const struct jv failed = { .type = J_FAIL };

static bool want_str(struct jrun *r, struct jv v, const char *what)
{
    if (v.type == J_STR)
        return true;
    if (v.type == J_UNDEF)
        jundef_fail(r, v);
    else
        jfail(r, ERR_INVALID, "%s must be str, not %s", what, jtype_name(v));
    return false;
}

/* A piece of s as a value. */
static struct jv piece(struct jrun *r, const struct jstr *s, size_t from, size_t to)
{
    return jstr_ref(r, s->p + from, to - from);
}

static bool given(struct jv v)
{
    return !jis_missing(v) && v.type != J_NONE;
}

/* ---- strip */

static struct jv strip(struct jrun *r, struct jv self, struct jv chars, bool left, bool right)
{
    const struct jstr *s = self.s, *set = NULL;
    if (given(chars)) {
        if (!want_str(r, chars, "strip arg"))
            return failed;
        set = chars.s;
    }
    if (!jcharge(r, s->n / 64 + 1))
        return failed;
    size_t from = left ? ju_lead(s->p, s->n, set ? set->p : NULL, set ? set->n : 0) : 0;
    size_t end = s->n - (right ? ju_trail(s->p + from, s->n - from, set ? set->p : NULL, set ? set->n : 0) : 0);
    return jcharge(r, (s->n - (end - from)) / 16 * (set ? set->n / 16 + 1 : 1)) ? piece(r, s, from, end) : failed;
}

static struct jv m_strip(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return strip(r, self, a[0], true, true);
}

static struct jv m_lstrip(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return strip(r, self, a[0], true, false);
}

static struct jv m_rstrip(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return strip(r, self, a[0], false, true);
}

static bool has_prefix(const struct jstr *s, const struct jstr *pre)
{
    return pre->n <= s->n && !memcmp(s->p, pre->p, pre->n);
}

static bool has_suffix(const struct jstr *s, const struct jstr *suf)
{
    return suf->n <= s->n && !memcmp(s->p + s->n - suf->n, suf->p, suf->n);
}

static struct jv m_removeprefix(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    if (!want_str(r, a[0], "removeprefix() argument"))
        return failed;
    return has_prefix(self.s, a[0].s) ? piece(r, self.s, a[0].s->n, self.s->n) : self;
}

static struct jv m_removesuffix(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    if (!want_str(r, a[0], "removesuffix() argument"))
        return failed;
    return has_suffix(self.s, a[0].s) ? piece(r, self.s, 0, self.s->n - a[0].s->n) : self;
}

/* self[start:end], which startswith, find and count look at. */
static struct jv window(struct jrun *r, struct jv self, struct jv start, struct jv end)
{
    if (!given(start) && !given(end))
        return self;
    return jslice(r, self, given(start) ? start : jnone(), given(end) ? end : jnone(), jnone());
}

static struct jv affix(struct jrun *r, struct jv self, struct jv *a,
                       bool (*test)(const struct jstr *, const struct jstr *))
{
    struct jv s = window(r, self, a[1], a[2]);
    if (jis_fail(s))
        return s;
    if (a[0].type != J_TUPLE)
        return want_str(r, a[0], "startswith/endswith first arg") ? jbool(test(s.s, a[0].s)) : failed;
    for (size_t i = 0; i < a[0].l->n; i++) {
        if (!want_str(r, a[0].l->v[i], "an entry of the startswith/endswith tuple") || !jcharge(r, 1))
            return failed;
        if (test(s.s, a[0].l->v[i].s))
            return jbool(true);
    }
    return jbool(false);
}

static struct jv m_startswith(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return affix(r, self, a, has_prefix);
}

static struct jv m_endswith(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return affix(r, self, a, has_suffix);
}

/* ---- search */

static struct jv search(struct jrun *r, struct jv self, struct jv *a, bool last, bool must)
{
    struct jv s = window(r, self, a[1], a[2]);
    if (jis_fail(s) || !want_str(r, a[0], "what to find") || !jcharge(r, s.s->n / 16))
        return failed;
    size_t at = last ? ju_rfind(s.s->p, s.s->n, a[0].s->p, a[0].s->n) : ju_find(s.s->p, s.s->n, a[0].s->p, a[0].s->n);
    if (last && at != SIZE_MAX && !jcharge(r, (s.s->n - at) / 8))
        return failed;
    if (at == SIZE_MAX)
        return must ? jfail(r, ERR_INVALID, "substring not found") : jint(-1);
    int64_t before = 0;
    if (given(a[1])) {
        size_t n = jstr_chars(self.s);
        if (!jindex(r, a[1], "start", &before))
            return failed;
        before = before < 0 ? before + (int64_t)n : before;
        before = before < 0 ? 0 : before;
    }
    return jint(before + (int64_t)ju_count(s.s->p, at));
}

static struct jv m_find(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return search(r, self, a, false, false);
}

static struct jv m_rfind(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return search(r, self, a, true, false);
}

static struct jv m_index(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return search(r, self, a, false, true);
}

static struct jv m_rindex(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return search(r, self, a, true, true);
}

static struct jv m_count(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv s = window(r, self, a[1], a[2]);
    if (jis_fail(s) || !want_str(r, a[0], "what to count") || !jcharge(r, s.s->n / 16))
        return failed;
    if (!a[0].s->n)
        return jint((int64_t)jstr_chars(s.s) + 1);
    int64_t count = 0;
    for (size_t at = 0, hit; (hit = ju_find(s.s->p + at, s.s->n - at, a[0].s->p, a[0].s->n)) != SIZE_MAX; count++)
        at += hit + a[0].s->n;
    return jint(count);
}

/* ---- split */

/* On runs of whitespace; at most max cuts. From the right the words come reversed, the caller turns them. */
static struct jv split_blank(struct jrun *r, const struct jstr *s, int64_t max, bool right)
{
    struct jv out = jlist_new(r, J_LIST, 0);
    size_t from = ju_lead(s->p, s->n, NULL, 0), end = s->n - ju_trail(s->p + from, s->n - from, NULL, 0);
    while (!jis_fail(out) && from < end) {
        size_t a = right ? 0 : from, b = right ? end : s->n, len; /* the last cut keeps the blanks beyond it */
        if (max-- != 0) {
            if (right) {
                for (a = end; a > from;) {
                    size_t prev = a - 1;
                    while (prev > from && ((unsigned char)s->p[prev] & 0xC0) == 0x80)
                        prev--;
                    if (ju_space(ju_decode(s->p + prev, s->n - prev, &len)))
                        break;
                    a = prev;
                }
            } else {
                for (b = from; b < end && !ju_space(ju_decode(s->p + b, s->n - b, &len)); b += len)
                    ;
            }
        }
        if (!jcharge(r, (b - a) / 16) || !jlist_add(r, out.l, piece(r, s, a, b)))
            return failed;
        if (right)
            end = a > from ? a - ju_trail(s->p + from, a - from, NULL, 0) : from;
        else
            from = b < end ? b + ju_lead(s->p + b, end - b, NULL, 0) : end;
    }
    return out;
}

static struct jv split_on(struct jrun *r, const struct jstr *s, const struct jstr *sep, int64_t max, bool right)
{
    struct jv out = jlist_new(r, J_LIST, 0);
    size_t from = 0, end = s->n;
    if (jis_fail(out) || !jcharge(r, s->n / 16))
        return failed;
    for (; max != 0; max--) {
        size_t hit = right ? ju_rfind(s->p, end, sep->p, sep->n) : ju_find(s->p + from, end - from, sep->p, sep->n);
        if (hit == SIZE_MAX)
            break;
        if (!jlist_add(r, out.l, right ? piece(r, s, hit + sep->n, end) : piece(r, s, from, from + hit)))
            return failed;
        if (right)
            end = hit;
        else
            from += hit + sep->n;
    }
    return jlist_add(r, out.l, piece(r, s, from, end)) ? out : failed;
}

static struct jv split(struct jrun *r, struct jv self, struct jv *a, bool right)
{
    int64_t max = -1;
    if (!jis_missing(a[1]) && !jindex(r, a[1], "maxsplit", &max))
        return failed;
    struct jv out;
    if (!given(a[0])) {
        out = split_blank(r, self.s, max, right);
    } else {
        if (!want_str(r, a[0], "the separator"))
            return failed;
        if (!a[0].s->n)
            return jfail(r, ERR_INVALID, "empty separator");
        out = split_on(r, self.s, a[0].s, max, right);
    }
    for (size_t i = 0; right && !jis_fail(out) && i < out.l->n / 2; i++) {
        struct jv t = out.l->v[i];
        out.l->v[i] = out.l->v[out.l->n - 1 - i];
        out.l->v[out.l->n - 1 - i] = t;
    }
    return out;
}

static struct jv m_split(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return split(r, self, a, false);
}

static struct jv m_rsplit(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return split(r, self, a, true);
}

static struct jv m_splitlines(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    const struct jstr *s = self.s;
    int keep = jis_missing(a[0]) ? 0 : jv_truth(r, a[0]);
    struct jv out = jlist_new(r, J_LIST, 0);
    if (jis_fail(out) || keep < 0 || !jcharge(r, s->n / 16))
        return failed;
    for (size_t from = 0; from < s->n;) {
        size_t end = from, len = 0;
        while (end < s->n && !ju_line_break(ju_decode(s->p + end, s->n - end, &len)))
            end += len;
        size_t next = end < s->n ? end + len : end;
        if (next < s->n && s->p[end] == '\r' && s->p[next] == '\n')
            next++;
        if (!jlist_add(r, out.l, piece(r, s, from, keep ? next : end)))
            return failed;
        from = next;
    }
    return out;
}

static struct jv partition(struct jrun *r, struct jv self, struct jv sep, bool last)
{
    const struct jstr *s = self.s;
    struct jv out = jlist_new(r, J_TUPLE, 3);
    if (!want_str(r, sep, "the separator") || jis_fail(out) || !jcharge(r, s->n / 16))
        return failed;
    if (!sep.s->n)
        return jfail(r, ERR_INVALID, "empty separator");
    size_t hit = last ? ju_rfind(s->p, s->n, sep.s->p, sep.s->n) : ju_find(s->p, s->n, sep.s->p, sep.s->n);
    bool none = hit == SIZE_MAX;
    struct jv head = none ? (last ? jstr_lit(r, "") : self) : piece(r, s, 0, hit);
    struct jv tail = none ? (last ? self : jstr_lit(r, "")) : piece(r, s, hit + sep.s->n, s->n);
    bool ok = jlist_add(r, out.l, head) && jlist_add(r, out.l, none ? jstr_lit(r, "") : sep) &&
              jlist_add(r, out.l, tail);
    return ok ? out : failed;
}

static struct jv m_partition(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return partition(r, self, a[0], false);
}

static struct jv m_rpartition(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return partition(r, self, a[0], true);
}

/* ---- join, replace */

static struct jv m_join(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jiter *it = jiter_open(r, a[0]);
    struct jv item;
    struct buf b;
    int more = -1;
    jbuf_init(r, &b);
    for (size_t i = 0; it && (more = jiter_next(r, it, &item)) == 1; i++) {
        if (item.type != J_STR) {
            jfail(r, ERR_INVALID, "sequence item %zu: expected str instance, %s found", i, jtype_name(item));
            break;
        }
        if (i)
            buf_append(&b, self.s->p, self.s->n);
        buf_append(&b, item.s->p, item.s->n);
        if (b.overflow)
            break;
    }
    if (!r->failed && (more == 0 || b.overflow))
        return jstr_from_buf(r, &b);
    buf_release(&b);
    return failed;
}

static struct jv m_replace(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    const struct jstr *s = self.s;
    int64_t max = -1;
    struct buf b;
    if (!want_str(r, a[0], "replace() argument 1") || !want_str(r, a[1], "replace() argument 2") ||
        (!jis_missing(a[2]) && !jindex(r, a[2], "replace() argument 3", &max)) || !jcharge(r, s->n / 16))
        return failed;
    const struct jstr *old = a[0].s, *new = a[1].s;
    jbuf_init(r, &b);
    size_t at = 0;
    for (; max != 0 && !b.overflow; max--) {
        size_t hit = at <= s->n ? ju_find(s->p + at, s->n - at, old->p, old->n) : SIZE_MAX;
        if (hit == SIZE_MAX || !jcharge(r, 1))
            break;
        buf_append(&b, s->p + at, hit);
        buf_append(&b, new->p, new->n);
        at += hit + old->n;
        if (!old->n) { /* between all characters */
            if (at == s->n) {
                at++;
                break;
            }
            size_t k = ju_len((unsigned char)s->p[at]);
            buf_append(&b, s->p + at, k);
            at += k;
        }
    }
    if (at < s->n)
        buf_append(&b, s->p + at, s->n - at);
    return jstr_from_buf(r, &b);
}

static struct jv m_format(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return jformat_braces(r, self, raw);
}

const struct jbuiltin jmethod_str_rows[] = {
    { "strip", m_strip, "chars", 0 },
    { "lstrip", m_lstrip, "chars", 0 },
    { "rstrip", m_rstrip, "chars", 0 },
    { "removeprefix", m_removeprefix, "prefix", 1 },
    { "removesuffix", m_removesuffix, "suffix", 1 },
    { "startswith", m_startswith, "prefix start end", 1 },
    { "endswith", m_endswith, "suffix start end", 1 },
    { "find", m_find, "sub start end", 1 },
    { "rfind", m_rfind, "sub start end", 1 },
    { "index", m_index, "sub start end", 1 },
    { "rindex", m_rindex, "sub start end", 1 },
    { "count", m_count, "sub start end", 1 },
    { "split", m_split, "sep maxsplit", 0 },
    { "rsplit", m_rsplit, "sep maxsplit", 0 },
    { "splitlines", m_splitlines, "keepends", 0 },
    { "partition", m_partition, "sep", 1 },
    { "rpartition", m_rpartition, "sep", 1 },
    { "join", m_join, "iterable", 1 },
    { "replace", m_replace, "old new count", 2 },
    { "format", m_format, NULL, 0 },
    { 0 },
};
