/* jinja_methods2 -- methods of str about case, classes of characters and padding; of dict, list, tuple, cycler. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <math.h>
#include <string.h>

static const struct jv failed = { .type = J_FAIL };

/* ---- case */

enum { CAPITALIZE = 100, TITLE };

static struct jv recase(struct jrun *r, const struct jstr *s, int how)
{
    struct buf b;
    if (!jcharge(r, s->n / 8))
        return failed;
    jbuf_init(r, &b);
    bool cased = false;
    for (size_t i = 0, len; i < s->n; i += len) {
        uint32_t c = ju_decode(s->p + i, s->n - i, &len);
        enum ju_case to = how == CAPITALIZE ? i ? JU_LOWER : JU_TITLE_FIRST
                        : how == TITLE ? cased ? JU_LOWER : JU_TITLE_FIRST : (enum ju_case)how;
        ju_put_case(&b, c, to);
        cased = ju_upper(c) || ju_lower(c);
    }
    return jstr_from_buf(r, &b);
}

static struct jv m_upper(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return recase(r, self.s, JU_UPPER);
}

static struct jv m_lower(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return recase(r, self.s, JU_LOWER);
}

static struct jv m_swapcase(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return recase(r, self.s, JU_SWAP);
}

static struct jv m_casefold(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return recase(r, self.s, JU_FOLD);
}

static struct jv m_capitalize(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return recase(r, self.s, CAPITALIZE);
}

static struct jv m_title(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return recase(r, self.s, TITLE);
}

/* ---- classes: every character has it, and there is one */

static struct jv all_are(struct jrun *r, const struct jstr *s, bool (*test)(uint32_t), bool empty)
{
    if (!jcharge(r, s->n / 16))
        return failed;
    for (size_t i = 0, len; i < s->n; i += len)
        if (!test(ju_decode(s->p + i, s->n - i, &len)))
            return jbool(false);
    return jbool(s->n > 0 || empty);
}

static bool alnum(uint32_t c)
{
    return ju_alpha(c) || ju_digit(c);
}

static bool ascii(uint32_t c)
{
    return c < 0x80;
}

static struct jv m_isalpha(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return all_are(r, self.s, ju_alpha, false);
}

static struct jv m_isdigit(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return all_are(r, self.s, ju_digit, false);
}

static struct jv m_isdecimal(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return all_are(r, self.s, ju_decimal, false);
}

static struct jv m_isalnum(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return all_are(r, self.s, alnum, false);
}

static struct jv m_isspace(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return all_are(r, self.s, ju_space, false);
}

static struct jv m_isascii(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return all_are(r, self.s, ascii, true);
}

static struct jv m_isprintable(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return all_are(r, self.s, ju_printable, true);
}

static struct jv m_isidentifier(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    const struct jstr *s = self.s;
    size_t len;
    if (!s->n || ju_decimal(ju_decode(s->p, s->n, &len)))
        return jbool(false);
    return all_are(r, s, ju_word, false);
}

/* No letter of the other case, and one of this. */
static struct jv one_case(struct jrun *r, const struct jstr *s, bool (*want)(uint32_t), bool (*not)(uint32_t))
{
    bool found = false;
    if (!jcharge(r, s->n / 16))
        return failed;
    for (size_t i = 0, len; i < s->n; i += len) {
        uint32_t c = ju_decode(s->p + i, s->n - i, &len);
        if (not(c))
            return jbool(false);
        found |= want(c);
    }
    return jbool(found);
}

static struct jv m_islower(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return one_case(r, self.s, ju_lower, ju_upper);
}

static struct jv m_isupper(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return one_case(r, self.s, ju_upper, ju_lower);
}

static struct jv m_istitle(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    bool cased = false, found = false;
    for (size_t i = 0, len; i < self.s->n; i += len) {
        uint32_t c = ju_decode(self.s->p + i, self.s->n - i, &len);
        if ((ju_upper(c) && cased) || (ju_lower(c) && !cased))
            return jbool(false);
        cased = ju_upper(c) || ju_lower(c);
        found |= cased;
    }
    return jcharge(r, self.s->n / 16) ? jbool(found) : failed;
}

/* ---- padding */

static struct jv justify(struct jrun *r, struct jv self, struct jv *a, char side)
{
    int64_t width;
    struct jv fill = jis_missing(a[1]) ? jstr_lit(r, " ") : a[1];
    if (!jindex(r, a[0], "the width", &width) || jis_fail(fill))
        return failed;
    if (fill.type != J_STR || jstr_chars(fill.s) != 1)
        return jfail(r, ERR_INVALID, "The fill character must be exactly one character long");
    int64_t n = (int64_t)jstr_chars(self.s), space = width > n ? width - n : 0;
    int64_t left = side == 'r' ? space : side == 'c' ? space / 2 + (space & width & 1) : 0;
    struct jv before = jarith(r, T_MUL, fill, jint(left)), after = jarith(r, T_MUL, fill, jint(space - left));
    if (jis_fail(before) || jis_fail(after))
        return failed;
    struct jv v = jstr_join2(r, before.s, self.s);
    return jis_fail(v) ? v : jstr_join2(r, v.s, after.s);
}

static struct jv m_center(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return justify(r, self, a, 'c');
}

static struct jv m_ljust(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return justify(r, self, a, 'l');
}

static struct jv m_rjust(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return justify(r, self, a, 'r');
}

static struct jv m_zfill(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t width;
    const struct jstr *s = self.s;
    if (!jindex(r, a[0], "the width", &width))
        return failed;
    int64_t n = (int64_t)jstr_chars(self.s), space = width > n ? width - n : 0;
    size_t sign = s->n && (s->p[0] == '-' || s->p[0] == '+');
    struct jv zeros = jarith(r, T_MUL, jstr_lit(r, "0"), jint(space));
    struct jv head = jstr_ref(r, s->p, sign), rest = jstr_ref(r, s->p + sign, s->n - sign);
    if (jis_fail(zeros) || jis_fail(head) || jis_fail(rest))
        return failed;
    struct jv v = jstr_join2(r, head.s, zeros.s);
    return jis_fail(v) ? v : jstr_join2(r, v.s, rest.s);
}

static struct jv m_expandtabs(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t size = 8, column = 0;
    struct buf b;
    if ((!jis_missing(a[0]) && !jindex(r, a[0], "the tab size", &size)) || size > 1000 || !jcharge(r, self.s->n / 4))
        return failed;
    jbuf_init(r, &b);
    for (size_t i = 0, len; i < self.s->n; i += len) {
        uint32_t c = ju_decode(self.s->p + i, self.s->n - i, &len);
        if (c == '\t') {
            for (int64_t k = size > 0 ? size - column % size : 0; k > 0; k--, column++)
                buf_putc(&b, ' ');
        } else {
            buf_append(&b, self.s->p + i, len);
            column = c == '\n' || c == '\r' ? 0 : column + 1;
        }
    }
    return jstr_from_buf(r, &b);
}

const struct jbuiltin jmethod_str2_rows[] = {
    { "upper", m_upper, "", 0 },
    { "lower", m_lower, "", 0 },
    { "swapcase", m_swapcase, "", 0 },
    { "casefold", m_casefold, "", 0 },
    { "capitalize", m_capitalize, "", 0 },
    { "title", m_title, "", 0 },
    { "isalpha", m_isalpha, "", 0 },
    { "isdigit", m_isdigit, "", 0 },
    { "isnumeric", m_isdigit, "", 0 },
    { "isdecimal", m_isdecimal, "", 0 },
    { "isalnum", m_isalnum, "", 0 },
    { "isspace", m_isspace, "", 0 },
    { "isascii", m_isascii, "", 0 },
    { "isprintable", m_isprintable, "", 0 },
    { "isidentifier", m_isidentifier, "", 0 },
    { "islower", m_islower, "", 0 },
    { "isupper", m_isupper, "", 0 },
    { "istitle", m_istitle, "", 0 },
    { "center", m_center, "width fillchar", 1 },
    { "ljust", m_ljust, "width fillchar", 1 },
    { "rjust", m_rjust, "width fillchar", 1 },
    { "zfill", m_zfill, "width", 1 },
    { "expandtabs", m_expandtabs, "tabsize", 0 },
    { 0 },
};

/* ---- dict */

static struct jv d_get(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv *v = jdict_get(r, self.d, a[0]);
    return r->failed ? failed : v ? *v : jis_missing(a[1]) ? jnone() : a[1];
}

static struct jv d_keys(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return (struct jv){ .type = J_VIEW, .view = JVIEW_KEYS, .d = self.d };
}

static struct jv d_values(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return (struct jv){ .type = J_VIEW, .view = JVIEW_VALUES, .d = self.d };
}

static struct jv d_items(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return (struct jv){ .type = J_VIEW, .view = JVIEW_ITEMS, .d = self.d };
}

static struct jv d_copy(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return self; /* nothing can change either */
}

static const struct jbuiltin dict_rows[] = {
    { "get", d_get, "key default", 1 },
    { "keys", d_keys, "", 0 },
    { "values", d_values, "", 0 },
    { "items", d_items, "", 0 },
    { "copy", d_copy, "", 0 },
    { 0 },
};

/* ---- list, tuple, cycler, float */

static struct jv l_count(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t count = 0;
    for (size_t i = 0; i < self.l->n; i++) {
        int q = jv_equal(r, self.l->v[i], a[0]);
        if (q < 0)
            return failed;
        count += q;
    }
    return jint(count);
}

static struct jv l_index(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t n = (int64_t)self.l->n, start = 0, stop = n;
    if ((!jis_missing(a[1]) && !jindex(r, a[1], "start", &start)) ||
        (!jis_missing(a[2]) && !jindex(r, a[2], "stop", &stop)))
        return failed;
    start = start < -n ? 0 : start < 0 ? start + n : start;
    stop = stop < 0 ? stop + n : stop > n ? n : stop;
    for (int64_t i = start; i < stop; i++) {
        int q = jv_equal(r, self.l->v[i], a[0]);
        if (q)
            return q < 0 ? failed : jint(i);
    }
    return jfail(r, ERR_INVALID, "the value is not in the list");
}

static const struct jbuiltin list_rows[] = {
    { "count", l_count, "value", 1 },
    { "index", l_index, "value start stop", 1 },
    { "copy", d_copy, "", 0 }, /* lists only */
    { 0 },
};

static struct jv c_next(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jcycler *c = self.cycler;
    struct jv v = c->v[c->pos];
    c->pos = (c->pos + 1) % c->n;
    return v;
}

static struct jv c_reset(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    self.cycler->pos = 0;
    return jnone();
}

static const struct jbuiltin cycler_rows[] = {
    { "next", c_next, "", 0 },
    { "reset", c_reset, "", 0 },
    { 0 },
};

static struct jv f_is_integer(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    return jbool(isfinite(self.f) && self.f == floor(self.f));
}

static const struct jbuiltin float_rows[] = { { "is_integer", f_is_integer, "", 0 }, { 0 } };

static const struct jbuiltin *find_row(const struct jbuiltin *rows, const char *p, size_t n)
{
    for (; rows->name; rows++)
        if (strlen(rows->name) == n && !memcmp(rows->name, p, n))
            return rows;
    return NULL;
}

const struct jbuiltin *jmethod_find(struct jv self, const char *p, size_t n)
{
    const struct jbuiltin *row;
    switch ((enum jtype)self.type) {
    case J_STR: return (row = find_row(jmethod_str_rows, p, n)) ? row : find_row(jmethod_str2_rows, p, n);
    case J_DICT: return find_row(dict_rows, p, n);
    case J_LIST: return find_row(list_rows, p, n);
    case J_TUPLE: return n == 4 ? NULL : find_row(list_rows, p, n);
    case J_CYCLER: return find_row(cycler_rows, p, n);
    case J_FLOAT: return find_row(float_rows, p, n);
    default: return NULL;
    }
}
