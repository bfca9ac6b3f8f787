/* jinja_print -- str(), repr() and json.dumps() of a value, byte for byte as CPython writes them. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- floats: the fewest digits that read back as the same number */

void jfloat_repr(double f, struct buf *out)
{
    char text[40], digits[20];
    if (isnan(f) || isinf(f)) {
        buf_puts(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    for (int prec = 0; prec < 17; prec++) {
        snprintf(text, sizeof text, "%.*e", prec, f);
        if (strtod(text, NULL) == f)
            break;
    }
    const char *p = text;
    int n = 0, exp = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    if (*p == '-')
        buf_putc(out, *p++);
    for (; *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (exp < -4 || exp >= 16) {
        buf_putc(out, digits[0]);
        if (n > 1)
            buf_putc(out, '.');
        buf_append(out, digits + 1, (size_t)n - 1);
        buf_printf(out, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
        return;
    }
    if (exp < 0) {
        buf_puts(out, "0.");
        for (int i = -1; i > exp; i--)
            buf_putc(out, '0');
        buf_append(out, digits, (size_t)n);
        return;
    }
    for (int i = 0; i <= exp; i++)
        buf_putc(out, i < n ? digits[i] : '0');
    buf_putc(out, '.');
    if (n > exp + 1)
        buf_append(out, digits + exp + 1, (size_t)(n - exp - 1));
    else
        buf_putc(out, '0');
}

/* ---- repr */

static void repr_char(struct buf *out, uint32_t c, const char *p, size_t len, char quote)
{
    if (c == (uint32_t)quote || c == '\\')
        buf_printf(out, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        buf_puts(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    else if (ju_printable(c))
        buf_append(out, p, len);
    else
        buf_printf(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

static void repr_string(const struct jstr *s, bool markup, struct buf *out)
{
    bool single = s->n && memchr(s->p, '\'', s->n), dbl = s->n && memchr(s->p, '"', s->n);
    char quote = single && !dbl ? '"' : '\'';
    buf_puts(out, markup ? "Markup(" : "");
    buf_putc(out, quote);
    for (size_t i = 0, len; i < s->n; i += len) {
        uint32_t c = ju_decode(s->p + i, s->n - i, &len);
        repr_char(out, c, s->p + i, len, quote);
    }
    buf_putc(out, quote);
    buf_puts(out, markup ? ")" : "");
}

static bool repr_items(struct jrun *r, const struct jlist *l, const char *ends, struct buf *out)
{
    buf_putc(out, ends[0]);
    for (size_t i = 0; i < l->n; i++) {
        buf_puts(out, i ? ", " : "");
        if (!jv_repr(r, l->v[i], out))
            return false;
    }
    if (l->n == 1 && ends[0] == '(')
        buf_putc(out, ',');
    buf_putc(out, ends[1]);
    return true;
}

static bool repr_dict(struct jrun *r, const struct jdict *d, struct buf *out)
{
    buf_putc(out, '{');
    for (size_t i = 0; i < d->n; i++) {
        buf_puts(out, i ? ", " : "");
        if (!jv_repr(r, d->v[i].key, out) || !buf_puts(out, ": ") || !jv_repr(r, d->v[i].val, out))
            return false;
    }
    buf_putc(out, '}');
    return true;
}

static bool repr_view(struct jrun *r, struct jv v, struct buf *out)
{
    buf_printf(out, "%s([", jtype_name(v));
    for (size_t i = 0; i < v.d->n; i++) {
        const struct jpair *p = &v.d->v[i];
        buf_puts(out, i ? ", " : "");
        struct jv item = v.view == JVIEW_KEYS ? p->key : v.view == JVIEW_VALUES ? p->val
                                                                               : jpair_tuple(r, p->key, p->val);
        if (!jv_repr(r, item, out))
            return false;
    }
    buf_puts(out, "])");
    return true;
}

static bool repr_object(struct jrun *r, struct jv v, struct buf *out)
{
    size_t n;
    switch ((enum jtype)v.type) {
    case J_RANGE:
        buf_printf(out, "range(%lld, %lld", (long long)v.range->start, (long long)v.range->stop);
        if (v.range->step != 1)
            buf_printf(out, ", %lld", (long long)v.range->step);
        return buf_putc(out, ')');
    case J_NS:
        return buf_puts(out, "<Namespace ") && repr_dict(r, v.d, out) && buf_putc(out, '>');
    case J_LOOP:
        return jloop_length(r, v.loop, &n) &&
               buf_printf(out, "<LoopContext %lld/%zu>", (long long)v.loop->index0 + 1, n);
    case J_FUNC:
        if (v.fn->kind == JF_MACRO && v.fn->macro->kind == N_MACRO)
            return buf_printf(out, "<Macro '%.*s'>", jshow(v.fn->macro->sym->s.n), v.fn->macro->sym->s.p);
        if (v.fn->kind == JF_MACRO)
            return buf_puts(out, "<Macro anonymous>");
        return buf_printf(out, "<function %s>", v.fn->row->name);
    default:
        return buf_printf(out, "<%s object>", jtype_name(v));
    }
}

static bool repr_inner(struct jrun *r, struct jv v, struct buf *out)
{
    switch ((enum jtype)v.type) {
    case J_FAIL: case J_MISSING: return false;
    case J_UNDEF: return buf_puts(out, "Undefined");
    case J_NONE: return buf_puts(out, "None");
    case J_BOOL: return buf_puts(out, v.b ? "True" : "False");
    case J_INT: return buf_printf(out, "%lld", (long long)v.i);
    case J_FLOAT: jfloat_repr(v.f, out); return true;
    case J_STR: repr_string(v.s, v.markup, out); return jcharge(r, v.s->n / 16);
    case J_LIST: return repr_items(r, v.l, "[]", out);
    case J_TUPLE: return repr_items(r, v.l, "()", out);
    case J_DICT: return repr_dict(r, v.d, out);
    case J_VIEW: return repr_view(r, v, out);
    default: return repr_object(r, v, out);
    }
}

static bool check_room(struct jrun *r, const struct buf *out)
{
    if (out->overflow)
        jfail(r, ERR_LIMIT, "the template builds a string of more than %zu bytes", out->max);
    return !r->failed;
}

bool jv_repr(struct jrun *r, struct jv v, struct buf *out)
{
    if (!jcharge(r, 4) || !jenter(r)) /* formatting costs more than walking */
        return false;
    repr_inner(r, v, out);
    jleave(r);
    return check_room(r, out);
}

bool jv_print(struct jrun *r, struct jv v, struct buf *out)
{
    if (v.type == J_STR)
        buf_append(out, v.s->p, v.s->n);
    else if (v.type != J_UNDEF)
        return jv_repr(r, v, out);
    return check_room(r, out);
}

struct jv jv_str(struct jrun *r, struct jv v)
{
    if (v.type == J_STR || v.type == J_FAIL)
        return v;
    struct buf b;
    jbuf_init(r, &b);
    if (jv_print(r, v, &b))
        return jstr_from_buf(r, &b);
    buf_release(&b);
    return (struct jv){ .type = J_FAIL };
}

/* ---- JSON */

static void dump_char(struct buf *out, uint32_t c, const char *p, size_t len, bool ascii)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *simple = c && c < 0x80 ? strchr(from, (int)c) : NULL;
    if (simple)
        buf_printf(out, "\\%c", to[simple - from]);
    else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000))
        buf_printf(out, "\\u%04x", c);
    else if (ascii && c >= 0x10000)
        buf_printf(out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
    else
        buf_append(out, p, len);
}

static bool dump_string(struct jrun *r, const struct jstr *s, bool ascii, struct buf *out)
{
    buf_putc(out, '"');
    for (size_t i = 0, len; i < s->n; i += len) {
        uint32_t c = ju_decode(s->p + i, s->n - i, &len);
        dump_char(out, c, s->p + i, len, ascii);
    }
    buf_putc(out, '"');
    return jcharge(r, s->n / 16);
}

static bool dump_float(double f, struct buf *out)
{
    if (isnan(f) || isinf(f))
        return buf_puts(out, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
    jfloat_repr(f, out);
    return true;
}

static void dump_line(const struct jjson *how, int level, struct buf *out)
{
    if (!how->indent)
        return;
    buf_putc(out, '\n');
    for (int i = 0; i < level; i++)
        buf_append(out, how->indent, how->indent_n);
}

static bool dump_inner(struct jrun *r, struct jv v, const struct jjson *how, int level, struct buf *out);

static bool dump_list(struct jrun *r, const struct jlist *l, const struct jjson *how, int level, struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            buf_append(out, how->item_sep, how->item_n);
        dump_line(how, level + 1, out);
        if (!dump_inner(r, l->v[i], how, level + 1, out))
            return false;
    }
    if (l->n)
        dump_line(how, level, out);
    return buf_putc(out, ']');
}

static bool dump_key(struct jrun *r, struct jv k, const struct jjson *how, struct buf *out)
{
    if (k.type == J_STR)
        return dump_string(r, k.s, how->ascii, out);
    if (k.type != J_NONE && !jis_num(k))
        return jfail(r, ERR_INVALID, "keys must be str, int, float, bool or None, not %s", jtype_name(k)), false;
    buf_putc(out, '"');
    return dump_inner(r, k, how, 0, out) && buf_putc(out, '"');
}

static bool dump_dict(struct jrun *r, const struct jdict *d, const struct jjson *how, int level, struct buf *out)
{
    uint32_t *order = NULL;
    if (how->sort && d->n) {
        struct jv *keys = jalloc(r, d->n, sizeof *keys);
        order = jalloc(r, d->n, sizeof *order);
        for (size_t i = 0; keys && i < d->n; i++)
            keys[i] = d->v[i].key;
        if (!keys || !order || !jsort(r, keys, d->n, false, order))
            return false;
    }
    buf_putc(out, '{');
    for (size_t i = 0; i < d->n; i++) {
        const struct jpair *p = &d->v[order ? order[i] : i];
        if (i)
            buf_append(out, how->item_sep, how->item_n);
        dump_line(how, level + 1, out);
        if (!dump_key(r, p->key, how, out) || !buf_append(out, how->key_sep, how->key_n) ||
            !dump_inner(r, p->val, how, level + 1, out))
            return false;
    }
    if (d->n)
        dump_line(how, level, out);
    return buf_putc(out, '}');
}

static bool dump_inner(struct jrun *r, struct jv v, const struct jjson *how, int level, struct buf *out)
{
    bool ok = false;
    if (!jcharge(r, 4) || !jenter(r))
        return false;
    switch ((enum jtype)v.type) {
    case J_NONE: ok = buf_puts(out, "null"); break;
    case J_BOOL: ok = buf_puts(out, v.b ? "true" : "false"); break;
    case J_INT: ok = buf_printf(out, "%lld", (long long)v.i); break;
    case J_FLOAT: ok = dump_float(v.f, out); break;
    case J_STR: ok = dump_string(r, v.s, how->ascii, out); break;
    case J_LIST: case J_TUPLE: ok = dump_list(r, v.l, how, level, out); break;
    case J_DICT: ok = dump_dict(r, v.d, how, level, out); break;
    default: jfail(r, ERR_INVALID, "Object of type %s is not JSON serializable", jtype_name(v)); break;
    }
    jleave(r);
    return check_room(r, out) && ok;
}

bool jv_json(struct jrun *r, struct jv v, const struct jjson *how, struct buf *out)
{
    return dump_inner(r, v, how, 0, out);
}
