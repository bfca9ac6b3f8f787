/* jinja_format -- "%s" % x and "{}".format(x): Python's two ways to put values into text. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 100000, PRECISION_MAX = 100 };

/* One field: what stands between % and its letter, or behind the colon. */
struct spec {
    uint32_t fill;
    char align;       /* '<' '>' '^' '=' or 0 */
    char sign;        /* '+' ' ' '-' or 0 */
    bool alt, zero;
    int width, prec;  /* prec -1: not given */
    char group;       /* ',' '_' or 0 */
    char type;        /* 0: not given */
};

static const struct jv failed = { .type = J_FAIL };

static void pad(struct buf *out, uint32_t fill, size_t n)
{
    while (n--)
        ju_put(out, fill);
}

/* sign ("-", "0x" ...) and body into the field's width. */
static void put_field(struct buf *out, const struct spec *sp, const char *sign, const char *body, size_t n, char dflt)
{
    size_t len = strlen(sign) + ju_count(body, n), space = (size_t)sp->width > len ? (size_t)sp->width - len : 0;
    char align = sp->align ? sp->align : dflt;
    uint32_t fill = sp->fill ? sp->fill : ' ';
    size_t before = align == '>' ? space : align == '^' ? space / 2 : 0, inside = align == '=' ? space : 0;
    pad(out, fill, before);
    buf_puts(out, sign);
    pad(out, fill, inside);
    buf_append(out, body, n);
    pad(out, fill, space - before - inside);
}

/* Puts a separator every `every` digits of the whole part. */
static void group_digits(struct buf *b, char sep, int every)
{
    size_t whole = 0;
    while (whole < b->len && b->data[whole] != '.' && b->data[whole] != 'e')
        whole++;
    struct buf g = { 0 };
    for (size_t i = 0; i < b->len; i++) {
        if (i && i < whole && (whole - i) % (size_t)every == 0)
            buf_putc(&g, sep);
        buf_putc(&g, b->data[i]);
    }
    buf_release(b);
    *b = g;
}

static void put_int(struct buf *out, const struct spec *sp, int64_t v)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    char text[70], sign[4];
    size_t at = sizeof text, k = 0;
    unsigned base = sp->type == 'x' || sp->type == 'X' ? 16 : sp->type == 'o' ? 8 : sp->type == 'b' ? 2 : 10;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do
        text[--at] = digits[u % base + (sp->type == 'X' ? 16 : 0)];
    while (u /= base);
    if (v < 0)
        sign[k++] = '-';
    else if (sp->sign == '+' || sp->sign == ' ')
        sign[k++] = sp->sign;
    if (sp->alt && base != 10) {
        sign[k++] = '0';
        sign[k++] = sp->type;
    }
    sign[k] = 0;
    struct buf b = { 0 };
    for (int i = (int)(sizeof text - at); i < sp->prec; i++)
        buf_putc(&b, '0');
    buf_append(&b, text + at, sizeof text - at);
    if (sp->group)
        group_digits(&b, sp->group, base == 10 ? 3 : 4);
    put_field(out, sp, sign, buf_str(&b), b.len, '>');
    buf_release(&b);
}

static void put_float(struct buf *out, const struct spec *sp, double f)
{
    char fmt[8] = "%", text[420];
    struct buf b = { 0 };
    char type = sp->type ? sp->type : 'r';
    int prec = sp->prec < 0 ? 6 : sp->prec > PRECISION_MAX ? PRECISION_MAX : sp->prec;
    double mag = fabs(f) * (type == '%' ? 100.0 : 1.0);
    if (type == 'r' && sp->prec < 0) {
        jfloat_repr(mag, &b);
    } else {
        size_t k = 1;
        if (sp->alt)
            fmt[k++] = '#';
        fmt[k++] = '.';
        fmt[k++] = '*';
        fmt[k++] = type == 'r' || type == 'n' ? 'g' : type == '%' ? 'f' : type;
        fmt[k] = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        int n = snprintf(text, sizeof text, fmt, prec, mag);
#pragma GCC diagnostic pop
        buf_append(&b, text, n > 0 && (size_t)n < sizeof text ? (size_t)n : 0);
        if (type == 'r' && !memchr(text, '.', b.len) && !memchr(text, 'e', b.len) && isfinite(f))
            buf_puts(&b, ".0");
        if (type == '%')
            buf_putc(&b, '%');
    }
    if (sp->group && isfinite(f))
        group_digits(&b, sp->group, 3);
    const char *sign = signbit(f) && !isnan(f) ? "-" : sp->sign == '+' ? "+" : sp->sign == ' ' ? " " : "";
    put_field(out, sp, sign, buf_str(&b), b.len, '>');
    buf_release(&b);
}

static void put_text(struct buf *out, const struct spec *sp, const struct jstr *s, char dflt)
{
    size_t n = sp->prec >= 0 ? ju_offset(s->p, s->n, (size_t)sp->prec) : s->n;
    put_field(out, sp, "", s->p, n, dflt);
}

static bool check_room(struct jrun *r, const struct buf *out)
{
    if (out->overflow)
        jfail(r, ERR_LIMIT, "the template builds a string of more than %zu bytes", out->max);
    return !r->failed;
}

static struct jv repr_of(struct jrun *r, struct jv v)
{
    struct buf b;
    jbuf_init(r, &b);
    if (jv_repr(r, v, &b))
        return jstr_from_buf(r, &b);
    buf_release(&b);
    return failed;
}

static int64_t float_to_int(struct jrun *r, double f)
{
    if (!(fabs(f) < 9.2e18)) {
        jfail(r, ERR_INVALID, "a float is too large to become a whole number");
        return 0;
    }
    return (int64_t)f;
}

/* ---- % */

struct percent {
    struct jrun *r;
    const char *p, *end;
    struct jv args;       /* tuple or single value */
    size_t used;
    bool mapping;
};

static struct jv next_arg(struct percent *x)
{
    if (x->args.type == J_TUPLE) {
        if (x->used < x->args.l->n)
            return x->args.l->v[x->used++];
    } else if (x->used++ == 0) {
        return x->args;
    }
    return jfail(x->r, ERR_INVALID, "not enough arguments for format string");
}

static int read_number(struct percent *x, int max)
{
    if (x->p < x->end && *x->p == '*') {
        int64_t n;
        x->p++;
        if (!jindex(x->r, next_arg(x), "* in a format", &n))
            return 0;
        return n > max ? max : n < -max ? -max : (int)n;
    }
    int n = 0;
    while (x->p < x->end && *x->p >= '0' && *x->p <= '9') {
        n = n * 10 + (*x->p++ - '0');
        if (n > max)
            n = max;
    }
    return n;
}

static bool percent_key(struct percent *x, struct jv *out)
{
    const char *start = ++x->p;
    int open = 1;
    for (; x->p < x->end; x->p++) {
        open += (*x->p == '(') - (*x->p == ')');
        if (!open)
            break;
    }
    if (x->p == x->end)
        return jfail(x->r, ERR_INVALID, "incomplete format key"), false;
    if (x->args.type != J_DICT)
        return jfail(x->r, ERR_INVALID, "format requires a mapping"), false;
    size_t n = (size_t)(x->p++ - start);
    struct jv *v = jdict_get_text(x->r, x->args.d, start, n);
    if (!v)
        return jfail(x->r, ERR_INVALID, "the format names '%.*s', which is not there", jshow(n), start), false;
    *out = *v;
    x->mapping = true;
    return true;
}

static bool percent_number(struct percent *x, struct spec *sp, struct jv v, struct buf *out)
{
    struct jrun *r = x->r;
    bool whole = sp->type != 'f' && sp->type != 'F' && sp->type != 'e' && sp->type != 'E' && sp->type != 'g' &&
                 sp->type != 'G';
    if (v.type == J_UNDEF)
        return jundef_fail(r, v), false;
    if (!jis_num(v) || (v.type == J_FLOAT && (sp->type == 'x' || sp->type == 'X' || sp->type == 'o')))
        return jfail(r, ERR_INVALID, "%%%c format: a real number is required, not %s", sp->type, jtype_name(v)), false;
    if (sp->zero && sp->align != '<') {
        sp->align = '=';
        sp->fill = '0';
    }
    if (whole) {
        int64_t i = v.type == J_FLOAT ? float_to_int(r, v.f) : jint_of(v);
        put_int(out, sp, i);
    } else {
        put_float(out, sp, jfloat_of(v));
    }
    return !r->failed;
}

static bool percent_convert(struct percent *x, struct spec *sp, struct jv v, struct buf *out)
{
    struct jrun *r = x->r;
    if (jis_fail(v))
        return false;
    switch (sp->type) {
    case 's': case 'r': case 'a': {
        struct jv s = sp->type == 's' ? jv_str(r, v) : repr_of(r, v);
        if (!jis_fail(s))
            put_text(out, sp, s.s, '>');
        return !jis_fail(s);
    }
    case 'c':
        if (v.type == J_STR && jstr_chars(v.s) == 1) {
            put_text(out, sp, v.s, '>');
            return true;
        }
        if (jis_int(v) && jint_of(v) >= 0 && jint_of(v) < 0x110000 && (jint_of(v) < 0xD800 || jint_of(v) > 0xDFFF)) {
            ju_put(out, (uint32_t)jint_of(v));
            return true;
        }
        return jfail(r, ERR_INVALID, "%%c requires int or char"), false;
    case 'd': case 'i': case 'u': case 'x': case 'X': case 'o':
    case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
        return percent_number(x, sp, v, out);
    default:
        return jfail(r, ERR_INVALID, "unsupported format character after %%"), false;
    }
}

static bool percent_field(struct percent *x, struct buf *out)
{
    struct spec sp = { .prec = -1 };
    struct jv v = jmissing();
    if (x->p < x->end && *x->p == '(' && !percent_key(x, &v))
        return false;
    for (; x->p < x->end && *x->p && strchr("-+ #0", *x->p); x->p++) {
        sp.align = *x->p == '-' ? '<' : sp.align;
        sp.sign = *x->p == '+' || (*x->p == ' ' && sp.sign != '+') ? *x->p : sp.sign;
        sp.alt |= *x->p == '#';
        sp.zero |= *x->p == '0';
    }
    sp.width = read_number(x, WIDTH_MAX);
    if (sp.width < 0) {
        sp.align = '<';
        sp.width = -sp.width;
    }
    if (x->p < x->end && *x->p == '.') {
        x->p++;
        sp.prec = read_number(x, WIDTH_MAX);
        sp.prec = sp.prec < 0 ? 0 : sp.prec;
    }
    while (x->p < x->end && (*x->p == 'l' || *x->p == 'h' || *x->p == 'L'))
        x->p++;
    if (x->p == x->end)
        return jfail(x->r, ERR_INVALID, "incomplete format"), false;
    sp.type = *x->p++;
    if (sp.type == '%')
        return buf_putc(out, '%');
    return jcharge(x->r, (size_t)sp.width / 16 + 1) &&
           percent_convert(x, &sp, jis_missing(v) ? next_arg(x) : v, out) && check_room(x->r, out);
}

struct jv jformat_percent(struct jrun *r, struct jv format, struct jv args, const struct jargs *named)
{
    struct percent x = { .r = r, .p = format.s->p, .end = format.s->p + format.s->n, .args = args };
    struct buf out;
    if (named) {
        x.args = jdict_new(r);
        for (size_t i = 0; !jis_fail(x.args) && i < named->nkw; i++)
            if (!jdict_set(r, x.args.d, (struct jv){ .type = J_STR, .s = (struct jstr *)named->kw[i].name },
                           named->kw[i].v))
                return failed;
    }
    jbuf_init(r, &out);
    while (x.p < x.end && !r->failed) {
        const char *pct = memchr(x.p, '%', (size_t)(x.end - x.p));
        size_t n = (size_t)((pct ? pct : x.end) - x.p);
        buf_append(&out, x.p, n);
        x.p += n;
        if (pct) {
            x.p++;
            percent_field(&x, &out);
        }
    }
    bool subscriptable = x.args.type == J_DICT || x.args.type == J_LIST || x.args.type == J_RANGE ||
                         x.args.type == J_UNDEF;
    size_t have = x.args.type == J_TUPLE ? x.args.l->n : !subscriptable;
    if (!r->failed && !x.mapping && x.used < have)
        jfail(r, ERR_INVALID, "not all arguments converted during string formatting");
    if (r->failed) {
        buf_release(&out);
        return failed;
    }
    return jstr_from_buf(r, &out);
}

/* ---- str.format */

struct braces {
    struct jrun *r;
    const struct jargs *args;
    size_t automatic;
};

static const char *parse_spec(const char *p, const char *end, struct spec *sp)
{
    size_t len = 0;
    *sp = (struct spec){ .prec = -1 };
    if (p < end) {
        uint32_t first = ju_decode(p, (size_t)(end - p), &len);
        if (p + len < end && p[len] && strchr("<>^=", p[len])) {
            sp->fill = first;
            sp->align = p[len];
            p += len + 1;
        } else if (*p && strchr("<>^=", *p)) {
            sp->align = *p++;
        }
    }
    if (p < end && (*p == '+' || *p == '-' || *p == ' '))
        sp->sign = *p++;
    if (p < end && *p == 'z')
        p++;
    if (p < end && *p == '#')
        sp->alt = *p++;
    if (p < end && *p == '0') {
        sp->zero = true;
        p++;
    }
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        sp->width = sp->width > WIDTH_MAX ? WIDTH_MAX : sp->width * 10 + (*p - '0');
    if (p < end && (*p == ',' || *p == '_'))
        sp->group = *p++;
    if (p < end && *p == '.') {
        sp->prec = 0;
        for (p++; p < end && *p >= '0' && *p <= '9'; p++)
            sp->prec = sp->prec > WIDTH_MAX ? WIDTH_MAX : sp->prec * 10 + (*p - '0');
    }
    if (p < end)
        sp->type = *p++;
    return p;
}

static bool put_formatted(struct jrun *r, struct jv v, const struct jstr *text, struct buf *out)
{
    struct spec sp;
    if (!text->n || v.type == J_UNDEF || v.type == J_NONE || v.type >= J_LIST) {
        if (text->n && v.type != J_UNDEF)
            return jfail(r, ERR_INVALID, "unsupported format string passed to %s.__format__", jtype_name(v)), false;
        return jv_print(r, v, out);
    }
    if (parse_spec(text->p, text->p + text->n, &sp) != text->p + text->n || !jcharge(r, (size_t)sp.width / 16))
        return jfail(r, ERR_INVALID, "Invalid format specifier"), false;
    if (sp.zero && !sp.align && jis_num(v))
        sp.align = '=';
    if (sp.zero && !sp.fill)
        sp.fill = '0';
    if (v.type == J_STR && (!sp.type || sp.type == 's') && sp.align != '=') {
        put_text(out, &sp, v.s, '<');
        return true;
    }
    bool floaty = sp.type && strchr("eEfFgGn%", sp.type);
    if (jis_int(v) && (!sp.type || strchr("dbnoxX", sp.type)) && sp.prec < 0)
        put_int(out, &sp, jint_of(v));
    else if (jis_num(v) && (floaty || !sp.type))
        put_float(out, &sp, jfloat_of(v));
    else
        return jfail(r, ERR_INVALID, "Unknown format code '%c' for object of type '%s'", sp.type ? sp.type : ' ',
                     jtype_name(v)), false;
    return true;
}

static struct jv named_arg(struct braces *x, const char *p, size_t n)
{
    struct jrun *r = x->r;
    size_t digits = 0, index = 0;
    while (digits < n && digits < 6 && p[digits] >= '0' && p[digits] <= '9')
        index = index * 10 + (size_t)(p[digits++] - '0');
    if (!n || digits == n) {
        if (!n)
            index = x->automatic++;
        return index < x->args->npos ? x->args->pos[index]
                                     : jfail(r, ERR_INVALID, "Replacement index %zu out of range", index);
    }
    for (size_t i = 0; i < x->args->nkw; i++)
        if (x->args->kw[i].name->n == n && !memcmp(x->args->kw[i].name->p, p, n))
            return x->args->kw[i].v;
    return jfail(r, ERR_INVALID, "the format names '%.*s', which is not there", jshow(n), p);
}

/* name, then any of .attr and [index]. */
static struct jv field_value(struct braces *x, const char *p, const char *end)
{
    struct jrun *r = x->r;
    const char *q = p;
    while (q < end && *q != '.' && *q != '[')
        q++;
    struct jv v = named_arg(x, p, (size_t)(q - p));
    while (q < end && !jis_fail(v)) {
        bool dot = *q++ == '.';
        p = q;
        while (q < end && (dot ? *q != '.' && *q != '[' : *q != ']'))
            q++;
        struct jv key = jstr_ref(r, p, (size_t)(q - p));
        if (jis_fail(key))
            return key;
        if (dot) {
            v = jattr(r, v, key.s);
        } else {
            bool number = q > p && q - p < 10;
            for (const char *d = p; d < q; d++)
                number &= *d >= '0' && *d <= '9';
            v = jitem(r, v, number ? jint(strtol(p, NULL, 10)) : key);
            q += q < end;
        }
        if (v.type == J_UNDEF)
            return jundef_fail(r, v);
    }
    return v;
}

static bool format_into(struct braces *x, const char *p, const char *end, struct buf *out, int level);

static bool brace_field(struct braces *x, const char *p, const char *end, struct buf *out, int level)
{
    struct jrun *r = x->r;
    const char *name_end = p;
    int square = 0;
    for (; name_end < end && (square || (*name_end != '!' && *name_end != ':')); name_end++)
        square += (*name_end == '[') - (*name_end == ']');
    struct jv v = field_value(x, p, name_end);
    const char *q = name_end;
    if (q < end && *q == '!') {
        char conv = q + 1 < end ? q[1] : 0;
        q += 2;
        if (!jis_fail(v))
            v = conv == 's' ? jv_str(r, v) : conv == 'r' || conv == 'a'
              ? repr_of(r, v) : jfail(r, ERR_INVALID, "unknown conversion specifier");
    }
    if (jis_fail(v))
        return false;
    struct buf spec = { 0 };
    bool ok = q >= end || format_into(x, q + 1, end, &spec, level + 1);
    struct jv text = jstr_from_buf(r, &spec);
    return ok && !jis_fail(text) && put_formatted(r, v, text.s, out) && check_room(r, out);
}

static bool format_into(struct braces *x, const char *p, const char *end, struct buf *out, int level)
{
    if (level > 2)
        return jfail(x->r, ERR_INVALID, "Max string recursion exceeded"), false;
    while (p < end) {
        if ((*p == '{' || *p == '}') && p + 1 < end && p[1] == *p && level == 0) {
            buf_putc(out, *p);
            p += 2;
        } else if (*p == '{') {
            const char *q = p + 1;
            for (int open = 1; q < end; q++) {
                open += (*q == '{') - (*q == '}');
                if (!open)
                    break;
            }
            if (q == end)
                return jfail(x->r, ERR_INVALID, "expected '}' before end of string"), false;
            if (!jcharge(x->r, 1) || !brace_field(x, p + 1, q, out, level))
                return false;
            p = q + 1;
        } else if (*p == '}') {
            return jfail(x->r, ERR_INVALID, "Single '}' encountered in format string"), false;
        } else {
            buf_putc(out, *p++);
        }
    }
    return true;
}

struct jv jformat_braces(struct jrun *r, struct jv format, const struct jargs *args)
{
    struct braces x = { .r = r, .args = args };
    struct buf out;
    jbuf_init(r, &out);
    if (format_into(&x, format.s->p, format.s->p + format.s->n, &out, 0) && jcharge(r, format.s->n / 64))
        return jstr_from_buf(r, &out);
    buf_release(&out);
    return failed;
}
