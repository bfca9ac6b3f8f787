/* jinja_filters_str -- filters on text, and tojson. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <string.h>

static const struct jv failed = { .type = J_FAIL };

/* str(v) of an argument that may be absent. */
static struct jv text_or(struct jrun *r, struct jv v, const char *dflt)
{
    return jis_missing(v) ? jstr_lit(r, dflt) : jv_str(r, v);
}

static struct jv keep_markup(struct jv v, struct jv self)
{
    if (v.type == J_STR)
        v.markup = self.type == J_STR && self.markup;
    return v;
}

/* Filters that are a method of str applied to str(value). */
static struct jv via_method(struct jrun *r, struct jv self, const char *name, struct jv a, struct jv b)
{
    struct jv s = jv_str(r, self), pos[2] = { a, b };
    if (jis_fail(s))
        return s;
    struct jargs args = { .pos = pos, .npos = jis_missing(a) ? 0 : jis_missing(b) ? 1 : 2 };
    return keep_markup(jbuiltin_call(r, jmethod_find(s, name, strlen(name)), s, &args), self);
}

static struct jv f_upper(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return via_method(r, self, "upper", jmissing(), jmissing());
}

static struct jv f_lower(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return via_method(r, self, "lower", jmissing(), jmissing());
}

static struct jv f_capitalize(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return via_method(r, self, "capitalize", jmissing(), jmissing());
}

static struct jv f_trim(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return via_method(r, self, "strip", a[0], jmissing());
}

static struct jv f_center(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return via_method(r, self, "center", jis_missing(a[0]) ? jint(80) : a[0], jmissing());
}

static struct jv f_string(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return jv_str(r, self);
}

/* Unlike str.title: a word begins after blanks, '-' and opening brackets only. */
static struct jv f_title(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv s = jv_str(r, self);
    struct buf b;
    if (jis_fail(s))
        return s;
    jbuf_init(r, &b);
    bool start = true;
    for (size_t i = 0, len; i < s.s->n; i += len) {
        uint32_t c = ju_decode(s.s->p + i, s.s->n - i, &len);
        ju_put_case(&b, c, start ? JU_UPPER : JU_LOWER);
        start = ju_space(c) || (c < 0x80 && strchr("-({[<", (int)c) && c);
    }
    return jcharge(r, s.s->n / 8) ? jstr_from_buf(r, &b) : (buf_release(&b), failed);
}

static struct jv f_replace(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv s = jv_str(r, self), pos[3] = { jv_str(r, a[0]), jv_str(r, a[1]), a[2] };
    if (jis_fail(s) || jis_fail(pos[0]) || jis_fail(pos[1]))
        return failed;
    struct jargs args = { .pos = pos, .npos = jis_missing(a[2]) || a[2].type == J_NONE ? 2 : 3 };
    return jbuiltin_call(r, jmethod_find(s, "replace", 7), s, &args);
}

struct jv jstr_escape(struct jrun *r, struct jv v)
{
    struct jv s = jv_str(r, v);
    if (jis_fail(s))
        return s;
    if (!(v.type == J_STR && v.markup)) {
        struct buf b;
        jbuf_init(r, &b);
        for (size_t i = 0; i < s.s->n; i++) {
            char c = s.s->p[i];
            const char *e = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '\'' ? "&#39;"
                          : c == '"' ? "&#34;" : NULL;
            if (e)
                buf_puts(&b, e);
            else
                buf_putc(&b, c);
        }
        s = jcharge(r, s.s->n / 16) ? jstr_from_buf(r, &b) : (buf_release(&b), failed);
    }
    s.markup = 1;
    return s;
}

static struct jv f_escape(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return jstr_escape(r, self);
}

static struct jv f_forceescape(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    self = jv_str(r, self);
    self.markup = 0;
    return jis_fail(self) ? self : jstr_escape(r, self);
}

static struct jv f_safe(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv s = jv_str(r, self);
    s.markup = 1;
    return s;
}

static struct jv f_format(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv s = jv_str(r, self);
    if (raw->npos && raw->nkw)
        return jfail(r, ERR_INVALID, "can't handle positional and keyword arguments at the same time");
    struct jv t = jlist_new(r, J_TUPLE, raw->npos);
    for (size_t i = 0; !jis_fail(t) && i < raw->npos; i++)
        if (!jlist_add(r, t.l, raw->pos[i]))
            return failed;
    return jis_fail(s) || jis_fail(t) ? failed : jformat_percent(r, s, t, raw->nkw ? raw : NULL);
}

static struct jv f_indent(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t width = 4;
    int first = jis_missing(a[1]) ? 0 : jv_truth(r, a[1]), blank = jis_missing(a[2]) ? 0 : jv_truth(r, a[2]);
    if (self.type != J_STR)
        return self.type == J_UNDEF ? jundef_fail(r, self)
                                    : jfail(r, ERR_INVALID, "indent takes a string, not '%s'", jtype_name(self));
    struct jv ind = a[0];
    if (ind.type != J_STR) {
        if (!jis_missing(ind) && !jindex(r, ind, "the width of indent", &width))
            return failed;
        ind = jarith(r, T_MUL, jstr_lit(r, " "), jint(width));
    }
    struct jargs none = { 0 };
    struct jv lines = jis_fail(ind) ? ind : jbuiltin_call(r, jmethod_find(self, "splitlines", 10), self, &none);
    if (jis_fail(lines) || first < 0 || blank < 0)
        return failed;
    struct buf b;
    jbuf_init(r, &b);
    if (self.s->n) { /* a text that ends in a newline keeps it: Python appends one before splitting */
        size_t k = self.s->n, brk = ju_trail(self.s->p, k, "\n\r\v\f\x1c\x1d\x1e\xc2\x85\xe2\x80\xa8\xe2\x80\xa9", 15);
        if (brk && self.s->p[k - 1] != '\r' && !jlist_add(r, lines.l, jstr_lit(r, "")))
            return failed;
    } else if (!jlist_add(r, lines.l, jstr_lit(r, ""))) {
        return failed;
    }
    for (size_t i = 0; i < lines.l->n; i++) {
        const struct jstr *line = lines.l->v[i].s;
        buf_puts(&b, i ? "\n" : "");
        if (i ? (blank || line->n) : first != 0)
            buf_append(&b, ind.s->p, ind.s->n);
        buf_append(&b, line->p, line->n);
    }
    return keep_markup(jcharge(r, b.len / 64) ? jstr_from_buf(r, &b) : (buf_release(&b), failed), self);
}

static struct jv f_truncate(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t length = 255, leeway = 5;
    struct jv end = text_or(r, a[2], "..."), s = self;
    int kill = jis_missing(a[1]) ? 0 : jv_truth(r, a[1]);
    size_t n;
    if (jis_fail(end) || kill < 0 || !jv_len(r, s, &n))
        return failed;
    if ((!jis_missing(a[0]) && !jindex(r, a[0], "the length of truncate", &length)) ||
        (!jis_missing(a[3]) && a[3].type != J_NONE && !jindex(r, a[3], "the leeway of truncate", &leeway)))
        return failed;
    int64_t end_n = (int64_t)jstr_chars(end.s);
    if (length < end_n || leeway < 0 || length > INT32_MAX || leeway > INT32_MAX)
        return jfail(r, ERR_INVALID, "truncate needs a length of at least %lld", (long long)end_n);
    if ((int64_t)n <= length + leeway)
        return s;
    if (s.type != J_STR)
        return jfail(r, ERR_INVALID, "truncate takes a string, not '%s'", jtype_name(s));
    n = ju_offset(s.s->p, s.s->n, (size_t)(length - end_n));
    if (!kill) {
        size_t space = ju_rfind(s.s->p, n, " ", 1);
        n = space == SIZE_MAX ? n : space;
    }
    struct jv head = jstr_ref(r, s.s->p, n);
    return jis_fail(head) ? head : jstr_join2(r, head.s, end.s);
}

static struct jv f_wordcount(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv s = jv_str(r, self);
    if (jis_fail(s) || !jcharge(r, s.s->n / 8))
        return failed;
    int64_t words = 0;
    bool in = false;
    for (size_t i = 0, len; i < s.s->n; i += len) {
        bool w = ju_word(ju_decode(s.s->p + i, s.s->n - i, &len));
        words += w && !in;
        in = w;
    }
    return jint(words);
}

static void url_quote(struct buf *b, const struct jstr *s, bool for_query)
{
    for (size_t i = 0; i < s->n; i++) {
        unsigned char c = (unsigned char)s->p[i];
        if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || strchr("_.-~", c ? c : ' ') ||
            (c == '/' && !for_query))
            buf_putc(b, (char)c);
        else if (c == ' ' && for_query)
            buf_putc(b, '+');
        else
            buf_printf(b, "%%%02X", c);
    }
}

static struct jv f_urlencode(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct buf b;
    jbuf_init(r, &b);
    if (self.type != J_DICT && self.type != J_LIST && self.type != J_TUPLE) {
        struct jv s = jv_str(r, self);
        if (!jis_fail(s))
            url_quote(&b, s.s, false);
        return jis_fail(s) ? s : jstr_from_buf(r, &b);
    }
    size_t n = self.type == J_DICT ? self.d->n : self.l->n;
    for (size_t i = 0; i < n; i++) {
        struct jv key, val;
        if (self.type == J_DICT) {
            key = self.d->v[i].key;
            val = self.d->v[i].val;
        } else {
            struct jv p = self.l->v[i];
            if ((p.type != J_TUPLE && p.type != J_LIST) || p.l->n != 2)
                return buf_release(&b), jfail(r, ERR_INVALID, "urlencode takes pairs of key and value");
            key = p.l->v[0];
            val = p.l->v[1];
        }
        key = jv_str(r, key);
        val = jv_str(r, val);
        if (jis_fail(key) || jis_fail(val))
            return buf_release(&b), failed;
        buf_puts(&b, i ? "&" : "");
        url_quote(&b, key.s, true);
        buf_putc(&b, '=');
        url_quote(&b, val.s, true);
    }
    return jstr_from_buf(r, &b);
}

/* ---- tojson, with the arguments of json.dumps that Hugging Face passes on */

static bool json_indent(struct jrun *r, struct jv v, struct jjson *how)
{
    if (jis_missing(v) || v.type == J_NONE)
        return true;
    if (v.type != J_STR) {
        int64_t n;
        if (!jindex(r, v, "indent", &n))
            return false;
        v = jarith(r, T_MUL, jstr_lit(r, " "), jint(n));
        if (jis_fail(v))
            return false;
    }
    how->indent = v.s->p;
    how->indent_n = v.s->n;
    how->item_n = 1; /* "," without the blank: the line ends there */
    return true;
}

static bool json_separators(struct jrun *r, struct jv v, struct jjson *how)
{
    if (jis_missing(v) || v.type == J_NONE)
        return true;
    if ((v.type != J_TUPLE && v.type != J_LIST) || v.l->n != 2 || v.l->v[0].type != J_STR || v.l->v[1].type != J_STR)
        return jfail(r, ERR_INVALID, "separators must be a pair of strings"), false;
    how->item_sep = v.l->v[0].s->p;
    how->item_n = v.l->v[0].s->n;
    how->key_sep = v.l->v[1].s->p;
    how->key_n = v.l->v[1].s->n;
    return true;
}

static struct jv f_tojson(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jjson how = { .item_sep = ", ", .item_n = 2, .key_sep = ": ", .key_n = 2 };
    int ascii = jis_missing(a[0]) ? 0 : jv_truth(r, a[0]), sort = jis_missing(a[3]) ? 0 : jv_truth(r, a[3]);
    if (ascii < 0 || sort < 0 || !json_indent(r, a[1], &how) || !json_separators(r, a[2], &how))
        return failed;
    how.ascii = ascii;
    how.sort = sort;
    struct buf b;
    jbuf_init(r, &b);
    if (jv_json(r, self, &how, &b))
        return jstr_from_buf(r, &b);
    buf_release(&b);
    return failed;
}

const struct jbuiltin jfilter_string_rows[] = {
    { "upper", f_upper, "", 0 },
    { "lower", f_lower, "", 0 },
    { "capitalize", f_capitalize, "", 0 },
    { "title", f_title, "", 0 },
    { "trim", f_trim, "chars", 0 },
    { "center", f_center, "width", 0 },
    { "string", f_string, "", 0 },
    { "replace", f_replace, "old new count", 2 },
    { "escape", f_escape, "", 0 },
    { "e", f_escape, "", 0 },
    { "forceescape", f_forceescape, "", 0 },
    { "safe", f_safe, "", 0 },
    { "format", f_format, NULL, 0 },
    { "indent", f_indent, "width first blank", 0 },
    { "truncate", f_truncate, "length killwords end leeway", 0 },
    { "wordcount", f_wordcount, "", 0 },
    { "urlencode", f_urlencode, "", 0 },
    { "tojson", f_tojson, "ensure_ascii indent separators sort_keys", 0 },
    { 0 },
};
