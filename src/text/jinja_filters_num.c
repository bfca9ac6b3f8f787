/* jinja_filters_num -- filters that make or take numbers, and the lookup of all filters. */
#include "text/jinja_run.h"
#include "text/jinja_str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct jv failed = { .type = J_FAIL };

static struct jv f_abs(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    if (self.type == J_FLOAT)
        return jfloat(fabs(self.f));
    if (jis_int(self))
        return jint_of(self) < 0 ? jneg(r, self, true) : jint(jint_of(self));
    return self.type == J_UNDEF ? jundef_fail(r, self)
                                : jfail(r, ERR_INVALID, "bad operand type for abs(): '%s'", jtype_name(self));
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

/* The text of a number without blanks around and single underscores between digits; false: too long for one. */
static bool number_text(const struct jstr *s, char *out, size_t max)
{
    size_t lead = ju_lead(s->p, s->n, NULL, 0), end = s->n - ju_trail(s->p + lead, s->n - lead, NULL, 0), k = 0;
    for (size_t i = lead; i < end; i++) {
        char c = s->p[i];
        if (c == '_') {
            if (i == lead || i + 1 >= end || !is_hex(s->p[i - 1]) || !is_hex(s->p[i + 1]))
                return false;
            continue;
        }
        if (k + 1 >= max || !c)
            return false;
        out[k++] = c;
    }
    out[k] = 0;
    return k > 0;
}

static bool parse_float(const struct jstr *s, double *out)
{
    char text[512], *end;
    if (!number_text(s, text, sizeof text) || strpbrk(text, "xXpP(") || strlen(text) == 0)
        return false;
    *out = strtod(text, &end);
    return *end == 0 && (unsigned char)text[0] > ' ';
}

/* int(text, base): 1 done, 0 no number, -1 past 63 bits (error set). */
static int parse_int(struct jrun *r, const struct jstr *s, int64_t base, int64_t *out)
{
    char text[512];
    if (!number_text(s, text, sizeof text))
        return 0;
    const char *p = text;
    bool neg = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    int prefix = *p == '0' && p[1] ? (p[1] | 32) == 'x' ? 16 : (p[1] | 32) == 'o' ? 8 : (p[1] | 32) == 'b' ? 2 : 0 : 0;
    if (prefix && (base == prefix || base == 0)) {
        base = prefix;
        p += 2;
    }
    if (base == 0)
        base = 10;
    if (base < 2 || base > 36 || !*p)
        return 0;
    int64_t v = 0;
    bool over = false;
    for (; *p; p++) {
        int d = *p >= '0' && *p <= '9' ? *p - '0' : (*p | 32) >= 'a' && (*p | 32) <= 'z' ? (*p | 32) - 'a' + 10 : 99;
        if (d >= base)
            return 0;
        over |= __builtin_mul_overflow(v, base, &v) || __builtin_sub_overflow(v, (int64_t)d, &v);
    }
    if (over || (!neg && v == INT64_MIN)) {
        jfail(r, ERR_LIMIT, "a whole number passes 63 bits");
        return -1;
    }
    *out = neg ? v : -v;
    return 1;
}

static struct jv int_from_float(struct jrun *r, double f, struct jv dflt)
{
    if (isnan(f) || isinf(f))
        return dflt;
    return fabs(f) < 9.2e18 ? jint((int64_t)f) : jfail(r, ERR_LIMIT, "a whole number passes 63 bits");
}

static struct jv f_int(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv dflt = jis_missing(a[0]) ? jint(0) : a[0];
    int64_t base = 10, v;
    double f;
    if (!jis_missing(a[1]) && !jindex(r, a[1], "the base of int", &base))
        return failed;
    if (jis_int(self))
        return jint(jint_of(self));
    if (self.type == J_FLOAT)
        return int_from_float(r, self.f, dflt);
    if (self.type == J_UNDEF)
        return jundef_fail(r, self);
    if (self.type != J_STR)
        return dflt;
    int done = parse_int(r, self.s, base, &v);
    if (done)
        return done < 0 ? failed : jint(v);
    return parse_float(self.s, &f) ? int_from_float(r, f, dflt) : dflt;
}

static struct jv f_float(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    struct jv dflt = jis_missing(a[0]) ? jfloat(0) : a[0];
    double f;
    if (jis_num(self))
        return jfloat(jfloat_of(self));
    if (self.type == J_UNDEF)
        return jundef_fail(r, self);
    return self.type == J_STR && parse_float(self.s, &f) ? jfloat(f) : dflt;
}

/* round(x, digits): the decimal nearest to the exact value, ties to even. printf rounds exactly so. */
static struct jv round_common(struct jrun *r, struct jv v, int64_t digits)
{
    char text[420];
    if (jis_int(v)) {
        if (digits >= 0)
            return jint(jint_of(v));
        if (digits < -18)
            return jint(0);
        int64_t unit = 1, x = jint_of(v);
        for (int64_t i = digits; i < 0; i++)
            unit *= 10;
        int64_t rest = x % unit, base = x - rest;
        if (rest < 0) {
            rest += unit;
            base -= unit;
        }
        bool up = rest > unit / 2 || (rest == unit / 2 && (base / unit) % 2 != 0);
        return jarith(r, T_ADD, jint(base), jint(up ? unit : 0));
    }
    if (!isfinite(v.f) || digits > 300)
        return v;
    if (digits < 0) {
        double unit = pow(10, (double)-digits);
        return digits < -308 ? jfloat(copysign(0.0, v.f)) : jfloat(rint(v.f / unit) * unit);
    }
    snprintf(text, sizeof text, "%.*f", digits > 60 ? 60 : (int)digits, v.f);
    return digits > 60 ? v : jfloat(strtod(text, NULL));
}

static struct jv f_round(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    int64_t digits = 0;
    bool ceiling = a[1].type == J_STR && jstr_is(a[1].s, "ceil");
    bool flooring = a[1].type == J_STR && jstr_is(a[1].s, "floor");
    if (!jis_missing(a[1]) && !ceiling && !flooring && !(a[1].type == J_STR && jstr_is(a[1].s, "common")))
        return jfail(r, ERR_INVALID, "method must be common, ceil or floor");
    if (!jis_missing(a[0]) && !jindex(r, a[0], "the precision of round", &digits))
        return failed;
    if (self.type == J_UNDEF)
        return jundef_fail(r, self);
    if (!jis_num(self))
        return jfail(r, ERR_INVALID, "type %s doesn't define __round__ method", jtype_name(self));
    if (!ceiling && !flooring)
        return round_common(r, self, digits);
    double unit = pow(10, (double)digits), v = jfloat_of(self) * unit;
    return jfloat((ceiling ? ceil(v) : floor(v)) / unit);
}

static struct jv f_filesizeformat(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw)
{
    static const char units[] = "kMGTPEZY";
    char text[64];
    int binary = jis_missing(a[0]) ? 0 : jv_truth(r, a[0]);
    double bytes = 0, base = binary ? 1024 : 1000, unit = base;
    if (binary < 0 || (!jis_num(self) && !(self.type == J_STR && parse_float(self.s, &bytes))))
        return jfail(r, ERR_INVALID, "filesizeformat takes a number, not '%s'", jtype_name(self));
    if (jis_num(self))
        bytes = jfloat_of(self);
    if (bytes == 1)
        return jstr_lit(r, "1 Byte");
    if (bytes < base) {
        snprintf(text, sizeof text, "%lld Bytes", (long long)bytes);
        return jstr_copy(r, text, strlen(text));
    }
    int i = 0;
    for (; i < 8; i++) {
        unit *= base;
        if (bytes < unit || i == 7)
            break;
    }
    snprintf(text, sizeof text, "%.1f %c%s", base * bytes / unit, binary && !i ? 'K' : units[i], binary ? "iB" : "B");
    return jstr_copy(r, text, strlen(text));
}

const struct jbuiltin jfilter_num_rows[] = {
    { "abs", f_abs, "", 0 },
    { "int", f_int, "default base", 0 },
    { "float", f_float, "default", 0 },
    { "round", f_round, "precision method", 0 },
    { "filesizeformat", f_filesizeformat, "binary", 0 },
    { 0 },
};

const struct jbuiltin *jfilter_find(const char *p, size_t n)
{
    const struct jbuiltin *const tables[] = { jfilter_string_rows, jfilter_seq_rows, jfilter_num_rows };
    for (int t = 0; t < 3; t++)
        for (const struct jbuiltin *row = tables[t]; row->name; row++)
            if (strlen(row->name) == n && !memcmp(row->name, p, n))
                return row;
    return NULL;
}
