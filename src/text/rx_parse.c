/* rx_parse -- ECMA-262 patterns to expressions over UTF-8.
 *
 * ^ and $ become the markers RX_START and RX_END, consumed by a text that has one of each at its ends; a
 * look-ahead at the top level becomes an intersection with the rest of the pattern. What regular languages
 * cannot say (back-references) or we do not (\b, look-behind, flags) is refused by name. */
#include "text/rx.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

enum { DEPTH_MAX = 100, CLASS_RANGES_MAX = 4000 };

struct parser {
    struct rx *x;
    const char *p, *end;
    struct err *e;
    bool failed;
    int depth;
    rx_id tail; /* what may follow a look-ahead's condition */
};

struct ranges {
    uint32_t lo[CLASS_RANGES_MAX], hi[CLASS_RANGES_MAX];
    size_t n;
};

static rx_id parse_alternatives(struct parser *q);

static rx_id fail(struct parser *q, const char *what)
{
    if (!q->failed)
        err_set(q->e, ERR_UNSUPPORTED, "the pattern %s", what);
    q->failed = true;
    q->p = q->end;
    return RX_EMPTY;
}

static bool peek(const struct parser *q, char c)
{
    return q->p < q->end && *q->p == c;
}

static bool accept(struct parser *q, char c)
{
    if (!peek(q, c))
        return false;
    q->p++;
    return true;
}

/* The next code point. */
static uint32_t take(struct parser *q)
{
    utf8proc_int32_t c = 0;
    utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)q->p, q->end - q->p, &c);
    if (k <= 0)
        return fail(q, "is not valid UTF-8");
    q->p += k;
    return (uint32_t)c;
}

/* ---- classes */

static void add(struct ranges *r, uint32_t lo, uint32_t hi)
{
    if (r->n < CLASS_RANGES_MAX) {
        r->lo[r->n] = lo;
        r->hi[r->n++] = hi;
    }
}

static void sort_ranges(struct ranges *r)
{
    for (size_t i = 1; i < r->n; i++)
        for (size_t k = i; k && r->lo[k] < r->lo[k - 1]; k--) {
            uint32_t lo = r->lo[k], hi = r->hi[k];
            r->lo[k] = r->lo[k - 1];
            r->hi[k] = r->hi[k - 1];
            r->lo[k - 1] = lo;
            r->hi[k - 1] = hi;
        }
}

static void invert(struct ranges *r)
{
    static _Thread_local struct ranges in; /* too large for the stack of a deep recursion */
    uint32_t at = 0;
    in = *r;
    sort_ranges(&in);
    r->n = 0;
    for (size_t i = 0; i < in.n; i++) {
        if (in.lo[i] > at)
            add(r, at, in.lo[i] - 1);
        if (in.hi[i] + 1 > at)
            at = in.hi[i] + 1;
    }
    if (at <= 0x10FFFF)
        add(r, at, 0x10FFFF);
}

static void add_shorthand(struct ranges *r, char c)
{
    static _Thread_local struct ranges part;
    static const uint32_t space[][2] = { { 9, 13 }, { 32, 32 }, { 0xA0, 0xA0 }, { 0x1680, 0x1680 }, { 0x2000, 0x200A },
                                         { 0x2028, 0x2029 }, { 0x202F, 0x202F }, { 0x205F, 0x205F }, { 0x3000, 0x3000 },
                                         { 0xFEFF, 0xFEFF } };
    char kind = c | 32;
    part.n = 0;
    if (kind == 'd' || kind == 'w')
        add(&part, '0', '9');
    if (kind == 'w') {
        add(&part, 'A', 'Z');
        add(&part, '_', '_');
        add(&part, 'a', 'z');
    }
    for (size_t i = 0; kind == 's' && i < sizeof space / sizeof space[0]; i++)
        add(&part, space[i][0], space[i][1]);
    if (c != kind)
        invert(&part);
    for (size_t i = 0; i < part.n; i++)
        add(r, part.lo[i], part.hi[i]);
}

/* \p{L}, \p{Lu}, \p{Letter} ...: by general category. */
static void add_property(struct parser *q, struct ranges *r, bool negated)
{
    static const char *const names[] = { "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No",
            "Pc", "Pd",
                                         "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp",
                                                 "Cc", "Cf",
                                         "Cs", "Co" };
    static _Thread_local struct ranges part;
    char name[16] = { 0 };
    size_t n = 0;
    part.n = 0;
    if (accept(q, '{')) {
        while (q->p < q->end && *q->p != '}' && n + 1 < sizeof name)
            name[n++] = *q->p++;
        accept(q, '}');
    } else if (q->p < q->end) {
        name[n++] = *q->p++;
    }
    if (!strcmp(name, "Letter"))
        name[1] = name[2] = 0;
    bool known = false, in = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        known |= !strncmp(names[i], name, strlen(name));
    if (!known || !name[0] || strlen(name) > 2) {
        fail(q, "uses a Unicode property we do not know");
        return;
    }
    for (uint32_t c = 0, from = 0; c <= 0x110000; c++) {
        bool is = c < 0x110000 && !strncmp(names[utf8proc_category((utf8proc_int32_t)c)], name, strlen(name));
        if (is && !in)
            from = c;
        if (!is && in)
            add(&part, from, c - 1);
        in = is;
    }
    if (negated)
        invert(&part);
    for (size_t i = 0; i < part.n; i++)
        add(r, part.lo[i], part.hi[i]);
}

static uint32_t hex(struct parser *q, int digits)
{
    uint32_t v = 0;
    for (int i = 0; i < digits; i++) {
        char c = q->p < q->end ? *q->p : 0;
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0)
            return fail(q, "has an incomplete \\x or \\u escape");
        v = v << 4 | (uint32_t)d;
        q->p++;
    }
    return v;
}

static uint32_t unicode_escape(struct parser *q)
{
    uint32_t v = 0;
    if (accept(q, '{')) {
        while (q->p < q->end && *q->p != '}' && v < 0x110000)
            v = v << 4 | hex(q, 1);
        accept(q, '}');
        return v;
    }
    v = hex(q, 4);
    if (v >= 0xD800 && v < 0xDC00 && q->end - q->p >= 6 && q->p[0] == '\\' && q->p[1] == 'u') {
        q->p += 2;
        v = 0x10000 + ((v - 0xD800) << 10) + (hex(q, 4) - 0xDC00);
    }
    return v;
}

/* After a backslash: a class into r (true) or one character into *c. */
static bool parse_escape(struct parser *q, struct ranges *r, uint32_t *c, bool in_class)
{
    static const char from[] = "tnrvf", to[] = "\t\n\r\v\f";
    if (q->p == q->end)
        return fail(q, "ends in a backslash"), false;
    char k = *q->p;
    const char *simple = k ? strchr(from, k) : NULL;
    *c = 0;
    if (k && strchr("dDwWsS", k)) {
        q->p++;
        add_shorthand(r, k);
        return true;
    }
    if (k == 'p' || k == 'P') {
        q->p++;
        add_property(q, r, k == 'P');
        return true;
    }
    if (simple) {
        q->p++;
        *c = (unsigned char)to[simple - from];
    } else if (k == 'x' || k == 'u') {
        q->p++;
        *c = k == 'x' ? hex(q, 2) : unicode_escape(q);
    } else if (k == 'c' && q->end - q->p >= 2) {
        *c = (uint32_t)(q->p[1] & 31);
        q->p += 2;
    } else if (k == '0') {
        q->p++;
    } else if (k == 'b' && in_class) {
        q->p++;
        *c = 8;
    } else if ((k >= '1' && k <= '9') || k == 'k') {
        fail(q, "uses a back-reference");
    } else if (k == 'b' || k == 'B') {
        fail(q, "uses \\b");
    } else if (k == 'A' || k == 'Z' || k == 'z' || k == 'G') {
        fail(q, "uses an anchor that ECMA-262 does not have");
    } else {
        *c = take(q);
    }
    return false;
}

static rx_id from_ranges(struct parser *q, struct ranges *r)
{
    rx_id out = RX_EMPTY;
    sort_ranges(r);
    for (size_t i = 0; i < r->n; i++)
        out = rx_or(q->x, out, rx_code_points(q->x, r->lo[i], r->hi[i]));
    return out;
}

static rx_id parse_class(struct parser *q)
{
    static _Thread_local struct ranges r;
    bool negated = accept(q, '^');
    r.n = 0;
    for (;;) {
        uint32_t lo, hi, unused;
        if (q->p == q->end)
            return fail(q, "has a [ without ]");
        if (accept(q, ']'))
            break;
        bool is_class = false;
        lo = 0;
        if (accept(q, '\\'))
            is_class = parse_escape(q, &r, &lo, true);
        else
            lo = take(q);
        hi = lo;
        if (!is_class && q->end - q->p >= 2 && *q->p == '-' && q->p[1] != ']') {
            q->p++;
            size_t before = r.n;
            if (accept(q, '\\')) {
                if (parse_escape(q, &r, &hi, true)) { /* [a-\d]: the dash is a dash */
                    (void)before;
                    add(&r, '-', '-');
                    hi = lo;
                }
            } else {
                hi = take(q);
            }
        }
        (void)unused;
        if (hi < lo)
            return fail(q, "has a class range out of order");
        if (!is_class)
            add(&r, lo, hi);
        if (r.n >= CLASS_RANGES_MAX)
            return fail(q, "has a class that is too large");
    }
    if (negated)
        invert(&r);
    return from_ranges(q, &r);
}

static rx_id parse_dot(struct parser *q)
{
    rx_id a = rx_or(q->x, rx_code_points(q->x, 0, 9), rx_code_points(q->x, 11, 12));
    a = rx_or(q->x, a, rx_code_points(q->x, 14, 0x2027));
    return rx_or(q->x, a, rx_code_points(q->x, 0x202A, 0x10FFFF));
}

/* ---- groups, repetition */

static rx_id parse_group(struct parser *q)
{
    if (accept(q, '?')) {
        if (accept(q, '<')) {
            if (peek(q, '=') || peek(q, '!'))
                return fail(q, "uses look-behind");
            while (q->p < q->end && *q->p != '>')
                q->p++;
            accept(q, '>');
        } else if (peek(q, '=') || peek(q, '!')) {
            return fail(q, "uses a look-ahead inside a group");
        } else if (!accept(q, ':')) {
            return fail(q, "uses group flags");
        }
    }
    rx_id a = parse_alternatives(q);
    if (!accept(q, ')'))
        return fail(q, "has a ( without )");
    return a;
}

static rx_id parse_atom(struct parser *q)
{
    static _Thread_local struct ranges r;
    char k = *q->p;
    uint32_t c;
    switch (k) {
    case '(': q->p++; return parse_group(q);
    case '[': q->p++; return parse_class(q);
    case '.': q->p++; return parse_dot(q);
    case '^': q->p++; return rx_byte_range(q->x, RX_START, RX_START);
    case '$': q->p++; return rx_byte_range(q->x, RX_END, RX_END);
    case '*': case '+': case '?': return fail(q, "repeats nothing");
    case '\\':
        q->p++;
        r.n = 0;
        if (parse_escape(q, &r, &c, false))
            return from_ranges(q, &r);
        return q->failed ? RX_EMPTY : rx_code_points(q->x, c, c);
    default:
        c = take(q);
        return q->failed ? RX_EMPTY : rx_code_points(q->x, c, c);
    }
}

static bool parse_number(struct parser *q, uint32_t *out)
{
    const char *start = q->p;
    uint32_t v = 0;
    while (q->p < q->end && *q->p >= '0' && *q->p <= '9')
        v = v > RX_REPEAT_MAX ? v : v * 10 + (uint32_t)(*q->p++ - '0');
    *out = v;
    return q->p > start;
}

/* {m}, {m,}, {m,n}; false (nothing read) when the brace is only a brace. */
static bool parse_braces(struct parser *q, uint32_t *min, uint32_t *max)
{
    const char *start = q->p;
    q->p++;
    bool ok = parse_number(q, min);
    *max = *min;
    if (ok && accept(q, ',') && !parse_number(q, max))
        *max = UINT32_MAX;
    if (ok && accept(q, '}'))
        return true;
    q->p = start;
    return false;
}

static rx_id parse_repeat(struct parser *q)
{
    rx_id a = parse_atom(q);
    while (q->p < q->end && !q->failed) {
        uint32_t min = 0, max = UINT32_MAX;
        if (*q->p == '{') {
            if (!parse_braces(q, &min, &max))
                break;
        } else if (*q->p == '*' || *q->p == '+' || *q->p == '?') {
            min = *q->p == '+';
            max = *q->p == '?' ? 1 : UINT32_MAX;
            q->p++;
        } else {
            break;
        }
        accept(q, '?'); /* lazy or not, the language is the same */
        if (max < min || (max != UINT32_MAX && max > RX_REPEAT_MAX) || min > RX_REPEAT_MAX)
            return fail(q, "has a repetition out of order or too large");
        a = rx_repeat(q->x, a, min, max);
    }
    return a;
}

static bool at_lookahead(const struct parser *q)
{
    return q->end - q->p >= 3 && q->p[0] == '(' && q->p[1] == '?' && (q->p[2] == '=' || q->p[2] == '!');
}

/* (?=A)rest: texts that match rest and begin with A. */
static rx_id parse_lookahead(struct parser *q);

static rx_id parse_sequence(struct parser *q, bool top)
{
    rx_id a = RX_EPS;
    while (q->p < q->end && *q->p != '|' && *q->p != ')' && !q->failed) {
        if (top && at_lookahead(q))
            return rx_cat(q->x, a, parse_lookahead(q));
        a = rx_cat(q->x, a, parse_repeat(q));
    }
    return top ? rx_cat(q->x, a, q->tail) : a;
}

static rx_id parse_lookahead(struct parser *q)
{
    bool negative = q->p[2] == '!';
    q->p += 3;
    rx_id cond = rx_cat(q->x, parse_alternatives(q), q->tail);
    if (!accept(q, ')'))
        return fail(q, "has a ( without )");
    rx_id rest = parse_sequence(q, true);
    return rx_and(q->x, negative ? rx_not(q->x, cond) : cond, rest);
}

static rx_id parse_alternatives(struct parser *q)
{
    rx_id a = RX_EMPTY;
    if (++q->depth > DEPTH_MAX)
        return fail(q, "is nested too deep");
    do
        a = rx_or(q->x, a, parse_sequence(q, false));
    while (accept(q, '|'));
    q->depth--;
    return a;
}

rx_id rx_parse(struct rx *x, const char *p, size_t n, bool whole, struct err *e)
{
    struct parser q = { .x = x, .p = p, .end = p + n, .e = e };
    rx_id start = rx_byte_range(x, RX_START, RX_START), end = rx_byte_range(x, RX_END, RX_END);
    rx_id any = rx_any_text(x), out = RX_EMPTY;
    /* Around the match: for a search any text, the marker at its far end unless ^ or $ took it. */
    q.tail = rx_or(x, rx_cat(x, whole ? RX_EPS : any, end), RX_EPS);
    rx_id lead = rx_or(x, rx_cat(x, start, whole ? RX_EPS : any), RX_EPS);
    do
        out = rx_or(x, out, rx_cat(x, lead, parse_sequence(&q, true)));
    while (accept(&q, '|'));
    if (q.p < q.end)
        fail(&q, "has a ) without (");
    if (q.failed)
        return RX_NONE;
    rx_id text = rx_cat(x, start, rx_cat(x, any, end)); /* one marker at each end, UTF-8 between */
    out = rx_derive(x, rx_and(x, out, text), RX_START);
    return rx_before_end(x, out);
}
