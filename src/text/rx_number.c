/* rx_number -- the texts of JSON numbers in a range, equal to a value, multiples of a value.
 *
 * Bounds are decimals. A plain number is [-] whole [. fraction] without an exponent; ranges, equality and
 * multiples speak of plain numbers only, so that their complements within the plain numbers are exact. */
#include "text/rx.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS_MAX = 40, MULTIPLE_STATES_MAX = 4096 };

static rx_id ch(struct rx *x, char c)
{
    return rx_byte_range(x, (unsigned char)c, (unsigned char)c);
}

static rx_id digits(struct rx *x, char lo, char hi)
{
    return lo > hi ? RX_EMPTY : rx_byte_range(x, (unsigned char)lo, (unsigned char)hi);
}

static rx_id any_digit(struct rx *x)
{
    return digits(x, '0', '9');
}

static rx_id whole_part(struct rx *x)
{
    return rx_or(x, ch(x, '0'), rx_cat(x, digits(x, '1', '9'), rx_star(x, any_digit(x))));
}

static rx_id fraction(struct rx *x, rx_id digit)
{
    return rx_opt(x, rx_cat(x, ch(x, '.'), rx_repeat(x, digit, 1, UINT32_MAX)));
}

rx_id rx_number_plain(struct rx *x)
{
    return rx_cat(x, rx_opt(x, ch(x, '-')), rx_cat(x, whole_part(x), fraction(x, any_digit(x))));
}

rx_id rx_number_any(struct rx *x)
{
    rx_id e = rx_or(x, ch(x, 'e'), ch(x, 'E')), sign = rx_opt(x, rx_or(x, ch(x, '+'), ch(x, '-')));
    rx_id exp = rx_cat(x, e, rx_cat(x, sign, rx_repeat(x, any_digit(x), 1, UINT32_MAX)));
    return rx_cat(x, rx_number_plain(x), rx_opt(x, exp));
}

rx_id rx_number_integer(struct rx *x)
{
    return rx_cat(x, rx_opt(x, ch(x, '-')), rx_cat(x, whole_part(x), fraction(x, ch(x, '0'))));
}

/* ---- decimals */

bool rx_decimal_parse(const char *t, struct rx_decimal *out)
{
    bool neg = *t == '-';
    int64_t m = 0;
    int scale = 0, exp = 0;
    bool point = false;
    for (t += neg; (*t >= '0' && *t <= '9') || (*t == '.' && !point); t++) {
        if (*t == '.') {
            point = true;
            continue;
        }
        if (__builtin_mul_overflow(m, (int64_t)10, &m) || __builtin_add_overflow(m, (int64_t)(*t - '0'), &m))
            return false;
        scale += point;
    }
    if ((*t | 32) == 'e') {
        char *end;
        long v = strtol(t + 1, &end, 10);
        if (v > 400 || v < -400)
            return false;
        exp = (int)v;
        t = end;
    }
    scale -= exp;
    while (m && m % 10 == 0 && scale > 0) {
        m /= 10;
        scale--;
    }
    for (; scale < 0 && m; scale++)
        if (__builtin_mul_overflow(m, (int64_t)10, &m))
            return false;
    if (!m)
        scale = 0;
    *out = (struct rx_decimal){ neg ? -m : m, scale };
    return *t == 0 && scale < DIGITS_MAX - 20;
}

struct text { /* |v| as digits: whole without leading zeros ("0" for zero), fraction without trailing zeros */
    char whole[DIGITS_MAX], frac[DIGITS_MAX];
    size_t wn, fn;
};

static struct text text_of(struct rx_decimal v)
{
    struct text t = { .wn = 0 };
    char d[DIGITS_MAX];
    uint64_t m = v.mantissa < 0 ? 0 - (uint64_t)v.mantissa : (uint64_t)v.mantissa;
    int n = snprintf(d, sizeof d, "%0*llu", v.scale + 1, (unsigned long long)m);
    t.wn = (size_t)(n - v.scale);
    t.fn = (size_t)v.scale;
    memcpy(t.whole, d, t.wn);
    memcpy(t.frac, d + t.wn, t.fn);
    while (t.fn && t.frac[t.fn - 1] == '0')
        t.fn--;
    return t;
}

/* Fractions (".123", or nothing) above the digits f (below when !above); equal ones when or_equal. */
static rx_id fraction_side(struct rx *x, const char *f, size_t n, bool above, bool or_equal)
{
    rx_id any = rx_star(x, any_digit(x)), zeros = rx_star(x, ch(x, '0')), r = RX_EMPTY, prefix = RX_EPS;
    for (size_t i = 0; i < n; i++) {
        rx_id other = above ? digits(x, (char)(f[i] + 1), '9') : digits(x, '0', (char)(f[i] - 1));
        r = rx_or(x, r, rx_cat(x, prefix, rx_cat(x, other, any)));
        if (!above && i) /* a proper prefix is smaller */
            r = rx_or(x, r, prefix);
        prefix = rx_cat(x, prefix, ch(x, f[i]));
    }
    if (above)
        r = rx_or(x, r, rx_cat(x, prefix, rx_cat(x, zeros, rx_cat(x, digits(x, '1', '9'), any))));
    if (or_equal)
        r = rx_or(x, r, n ? rx_cat(x, prefix, zeros) : rx_cat(x, ch(x, '0'), zeros));
    r = rx_cat(x, ch(x, '.'), rx_and(x, r, rx_repeat(x, any_digit(x), 1, UINT32_MAX)));
    /* no fraction at all is .0: below f when f has digits, equal when it has none */
    if ((!above && n) || (or_equal && !n))
        r = rx_or(x, r, RX_EPS);
    return r;
}

/* Magnitudes (no sign) >= or <= t, strictly when open. */
static rx_id side(struct rx *x, const struct text *t, bool above, bool open)
{
    rx_id any = any_digit(x), r = RX_EMPTY, prefix = RX_EPS, frac = fraction(x, any);
    for (size_t i = 0; i < t->wn; i++) { /* as many digits, the first difference at i */
        char lo = i == 0 && t->wn > 1 ? '1' : '0';
        rx_id other = above ? digits(x, (char)(t->whole[i] + 1), '9') : digits(x, lo, (char)(t->whole[i] - 1));
        uint32_t left = (uint32_t)(t->wn - i - 1);
        r = rx_or(x, r, rx_cat(x, prefix, rx_cat(x, other, rx_cat(x, rx_repeat(x, any, left, left), frac))));
        prefix = rx_cat(x, prefix, ch(x, t->whole[i]));
    }
    r = rx_or(x, r, rx_cat(x, prefix, fraction_side(x, t->frac, t->fn, above, !open)));
    rx_id first = digits(x, '1', '9');
    if (above) {
        r = rx_or(x, r, rx_cat(x, first, rx_cat(x, rx_repeat(x, any, (uint32_t)t->wn, UINT32_MAX), frac)));
    } else if (t->wn > 1) {
        r = rx_or(x, r, rx_cat(x, first, rx_cat(x, rx_repeat(x, any, 0, (uint32_t)t->wn - 2), frac)));
        r = rx_or(x, r, rx_cat(x, ch(x, '0'), frac));
    }
    return r;
}

static rx_id zero(struct rx *x)
{
    return rx_cat(x, ch(x, '0'), fraction(x, ch(x, '0')));
}

/* Numbers above v, or below; a minus sign turns magnitudes round. -0 is 0. */
static rx_id half_line(struct rx *x, struct rx_decimal v, bool above, bool open)
{
    struct text t = text_of(v);
    rx_id mag = rx_cat(x, whole_part(x), fraction(x, any_digit(x))), minus = ch(x, '-');
    bool neg = v.mantissa < 0;
    if (v.mantissa == 0) {
        rx_id z = zero(x), nonzero = rx_and(x, mag, rx_not(x, z));
        rx_id strict = above ? nonzero : rx_cat(x, minus, nonzero);
        return open ? strict : rx_or(x, strict, rx_cat(x, rx_opt(x, minus), z));
    }
    if (above != neg) /* above a positive, below... : only one sign */
        return neg ? RX_EMPTY : above ? side(x, &t, true, open) : RX_EMPTY;
    if (above) /* above a negative: everything without a sign, and small magnitudes with one */
        return rx_or(x, mag, rx_cat(x, minus, side(x, &t, false, open)));
    return rx_or(x, rx_cat(x, minus, mag), side(x, &t, false, open));
}

rx_id rx_number_range(struct rx *x, const struct rx_decimal *lo, bool lo_open, const struct rx_decimal *hi,
        bool hi_open)
{
    rx_id r = rx_number_plain(x);
    if (lo && !hi && lo->mantissa == 0 && !lo_open) /* the sign decides: exponents may stay */
        return rx_or(x, rx_and(x, rx_number_any(x), rx_cat(x, any_digit(x), rx_any_text(x))),
                     rx_cat(x, ch(x, '-'), zero(x)));
    if (lo)
        r = rx_and(x, r, half_line(x, *lo, true, lo_open));
    if (hi) {
        struct text t = text_of(*hi);
        rx_id below = hi->mantissa < 0 ? rx_cat(x, ch(x, '-'), side(x, &t, true, hi_open)) : half_line(x, *hi,
                false, hi_open);
        r = rx_and(x, r, below);
    }
    return r;
}

rx_id rx_number_equal(struct rx *x, struct rx_decimal v)
{
    struct text t = text_of(v);
    rx_id zeros = rx_star(x, ch(x, '0'));
    rx_id r = t.fn ? rx_cat(x, ch(x, '.'), rx_cat(x, rx_literal(x, t.frac, t.fn), zeros)) : fraction(x, ch(x, '0'));
    r = rx_cat(x, rx_literal(x, t.whole, t.wn), r);
    if (v.mantissa == 0)
        return rx_cat(x, rx_opt(x, ch(x, '-')), r);
    return v.mantissa < 0 ? rx_cat(x, ch(x, '-'), r) : r;
}

/* ---- multiples: the remainder of the digits read so far is the state; solved as equations by elimination
 * would blow up, so only steps that decimal notation shows are done: d * 10^k with d in 1, 2, 5 and 25-like. */

rx_id rx_number_multiple(struct rx *x, struct rx_decimal v)
{
    int64_t m = v.mantissa;
    int places = v.scale; /* digits after the point that may matter */
    if (m <= 0)
        return RX_NONE;
    int tail = 0;        /* m divides 10^tail: the last `tail` digits decide */
    int64_t power = 1;
    while (tail < 4 && power % m != 0) {
        power *= 10;
        tail++;
    }
    if (power % m != 0)
        return RX_NONE;
    /* The number scaled by 10^places must be a multiple of m: its last `tail` digits are one of power/m values. */
    rx_id any = any_digit(x), r = RX_EMPTY, zeros = rx_star(x, ch(x, '0'));
    for (int64_t k = 0; k < power; k += m) {
        char d[24];
        snprintf(d, sizeof d, "%0*lld", tail, (long long)k);
        /* as digits of whole and fraction: the last min(tail, places) of them stand behind the point */
        int behind = tail < places ? tail : places, before = tail - behind;
        rx_id whole = rx_cat(x, rx_star(x, any), rx_literal(x, d, (size_t)before));
        if (before) /* short numbers: leading zeros of d may be missing */
            for (int cut = 1; cut <= before && d[cut - 1] == '0'; cut++)
                whole = rx_or(x, whole, rx_literal(x, d + cut, (size_t)(before - cut)));
        whole = rx_and(x, whole, whole_part(x));
        rx_id frac = rx_cat(x, rx_repeat(x, any, (uint32_t)(places - behind), (uint32_t)(places - behind)),
                            rx_cat(x, rx_literal(x, d + before, (size_t)behind), zeros));
        rx_id full = rx_cat(x, ch(x, '.'), rx_and(x, frac, rx_repeat(x, any, 1, UINT32_MAX)));
        /* fewer digits behind the point: the missing ones are zeros */
        for (int have = places - 1; have >= 0; have--) {
            bool fits = true;
            for (int i = have < places - behind ? 0 : have - (places - behind); i < behind; i++)
                fits &= d[before + i] == '0';
            if (!fits)
                break;
            int lit = have < places - behind ? 0 : have - (places - behind);
            rx_id part = rx_cat(x, rx_repeat(x, any, (uint32_t)(have - lit), (uint32_t)(have - lit)),
                                rx_literal(x, d + before, (size_t)lit));
            full = rx_or(x, full, have ? rx_cat(x, ch(x, '.'), part) : RX_EPS);
        }
        if (places == 0)
            full = fraction(x, ch(x, '0'));
        r = rx_or(x, r, rx_cat(x, whole, full));
    }
    return rx_cat(x, rx_opt(x, ch(x, '-')), r);
}
