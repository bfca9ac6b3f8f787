/* jinja_str -- see jinja_str.h. The character tables are utf8proc's. */
#include "text/jinja_str.h"

#include <string.h>
#include <utf8proc.h>

size_t ju_len(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

uint32_t ju_decode(const char *p, size_t n, size_t *len)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t k = ju_len(s[0]);
    if (k > n)
        k = n;
    *len = k;
    uint32_t cp = k == 1 ? s[0] : s[0] & (0x7Fu >> k);
    for (size_t i = 1; i < k; i++)
        cp = cp << 6 | (s[i] & 0x3F);
    return cp;
}

bool ju_valid(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        if ((unsigned char)p[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t cp;
        size_t left = n - i > 4 ? 4 : n - i;
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)p + i, (utf8proc_ssize_t)left, &cp);
        if (k <= 0)
            return false;
        i += (size_t)k;
    }
    return true;
}

size_t ju_count(const char *p, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)p[i] & 0xC0) != 0x80;
    return count;
}

void ju_put(struct buf *b, uint32_t cp)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t k = utf8proc_encode_char((utf8proc_int32_t)cp, bytes);
    buf_append(b, bytes, (size_t)k);
}

size_t ju_offset(const char *p, size_t n, size_t chars)
{
    size_t i = 0;
    while (i < n && chars--)
        i += ju_len((unsigned char)p[i]);
    return i < n ? i : n;
}

size_t ju_find(const char *p, size_t n, const char *what, size_t what_n)
{
    if (!what_n)
        return 0;
    const char *at = n ? memmem(p, n, what, what_n) : NULL;
    return at ? (size_t)(at - p) : SIZE_MAX;
}

size_t ju_rfind(const char *p, size_t n, const char *what, size_t what_n)
{
    if (what_n > n)
        return SIZE_MAX;
    for (size_t i = n - what_n + 1; i-- > 0;)
        if (!what_n || (p[i] == what[0] && !memcmp(p + i, what, what_n)))
            return i;
    return SIZE_MAX;
}

bool ju_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F ||
           cp == 0x3000;
}

bool ju_line_break(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

static utf8proc_category_t category(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp);
}

bool ju_printable(uint32_t cp)
{
    if (cp < 0x7F)
        return cp >= 0x20;
    utf8proc_category_t c = category(cp);
    return c != UTF8PROC_CATEGORY_CN && c != UTF8PROC_CATEGORY_CC && c != UTF8PROC_CATEGORY_CF &&
           c != UTF8PROC_CATEGORY_CS && c != UTF8PROC_CATEGORY_CO && c != UTF8PROC_CATEGORY_ZL &&
           c != UTF8PROC_CATEGORY_ZP && c != UTF8PROC_CATEGORY_ZS;
}

bool ju_alpha(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool ju_decimal(uint32_t cp)
{
    return cp < 0x80 ? cp >= '0' && cp <= '9' : category(cp) == UTF8PROC_CATEGORY_ND;
}

bool ju_digit(uint32_t cp)
{
    return ju_decimal(cp) || cp == 0xB2 || cp == 0xB3 || cp == 0xB9 || (cp >= 0x2070 && cp <= 0x2089 && cp != 0x2071 &&
           category(cp) == UTF8PROC_CATEGORY_NO);
}

bool ju_upper(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LU;
}

bool ju_lower(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LL || cp == 0xAA || cp == 0xBA;
}

bool ju_word(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return cp == '_' || (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) ||
           (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO);
}

static bool in_set(const char *c, size_t k, const char *set, size_t set_n)
{
    if (!set) {
        size_t len;
        return ju_space(ju_decode(c, k, &len));
    }
    for (size_t i = 0; i < set_n; i += ju_len((unsigned char)set[i]))
        if (i + k <= set_n && !memcmp(set + i, c, k))
            return true;
    return false;
}

size_t ju_lead(const char *p, size_t n, const char *set, size_t set_n)
{
    size_t i = 0;
    while (i < n) {
        size_t k = ju_len((unsigned char)p[i]);
        if (i + k > n || !in_set(p + i, k, set, set_n))
            break;
        i += k;
    }
    return i;
}

size_t ju_trail(const char *p, size_t n, const char *set, size_t set_n)
{
    size_t end = n;
    while (end) {
        size_t i = end - 1;
        while (i && ((unsigned char)p[i] & 0xC0) == 0x80)
            i--;
        if (!in_set(p + i, end - i, set, set_n))
            break;
        end = i;
    }
    return n - end;
}

void ju_put_case(struct buf *b, uint32_t cp, enum ju_case to)
{
    utf8proc_int32_t c = (utf8proc_int32_t)cp;
    if (to == JU_SWAP)
        to = ju_upper(cp) ? JU_LOWER : JU_UPPER;
    if (cp == 0xDF && to != JU_LOWER) { /* sharp s, the one special mapping in common use */
        buf_puts(b, to == JU_UPPER ? "SS" : to == JU_FOLD ? "ss" : "Ss");
        return;
    }
    if (cp == 0x130 && (to == JU_LOWER || to == JU_FOLD)) {
        buf_puts(b, "i\xCC\x87");
        return;
    }
    if (to == JU_FOLD) {
        utf8proc_int32_t out[8];
        int boundary = 0;
        utf8proc_ssize_t k = utf8proc_decompose_char(c, out, 8, UTF8PROC_CASEFOLD, &boundary);
        for (utf8proc_ssize_t i = 0; i < k && k <= 8; i++)
            ju_put(b, (uint32_t)out[i]);
        return;
    }
    ju_put(b, (uint32_t)(to == JU_UPPER ? utf8proc_toupper(c) : to == JU_LOWER ? utf8proc_tolower(c)
                                                                               : utf8proc_totitle(c)));
}
