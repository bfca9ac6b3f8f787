/* code -- see code.h. */
#include "trust/code.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct span span_of(const char *s)
{
    return (struct span){ s, strlen(s) };
}

bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && !memcmp(s.data, text, s.len);
}

bool span_same(struct span a, struct span b)
{
    return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

bool span_line(struct span *rest, struct span *line)
{
    const char *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    if (!end)
        return false;
    *line = (struct span){ rest->data, (size_t)(end - rest->data) };
    rest->len -= line->len + 1;
    rest->data = end + 1;
    return true;
}

bool span_cut(struct span s, char sep, struct span *left, struct span *right)
{
    const char *at = s.len ? memchr(s.data, sep, s.len) : NULL;
    if (!at)
        return false;
    *left = (struct span){ s.data, (size_t)(at - s.data) };
    *right = (struct span){ at + 1, s.len - left->len - 1 };
    return true;
}

enum err_code trust_init(struct err *e)
{
    return sodium_init() < 0 ? err_set(e, ERR_IO, "libsodium cannot start: no source of randomness") : ERR_OK;
}

void code_sha256(uint8_t out[HASH_BYTES], const void *data, size_t n)
{
    crypto_hash_sha256(out, data, n);
}

bool code_same(const void *a, const void *b, size_t n)
{
    return !sodium_memcmp(a, b, n);
}

void code_hex(char *out, const uint8_t *data, size_t n)
{
    sodium_bin2hex(out, 2 * n + 1, data, n);
}

bool code_unhex(uint8_t *out, size_t n, struct span text)
{
    if (text.len != 2 * n)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!((text.data[i] >= '0' && text.data[i] <= '9') || (text.data[i] >= 'a' && text.data[i] <= 'f')))
            return false;
    size_t got = 0;
    return !sodium_hex2bin(out, n, text.data, text.len, NULL, &got, NULL) && got == n;
}

bool code_base64(struct buf *out, const void *data, size_t n)
{
    size_t need = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_ORIGINAL); /* with the NUL */
    char *p = buf_reserve(out, need);
    if (!p)
        return false;
    sodium_bin2base64(p, need, data, n, sodium_base64_VARIANT_ORIGINAL);
    out->len += need - 1;
    return true;
}

/* libsodium 1.0.18 takes 0xAF for '/' (and its like): the fuzzer found it, so the alphabet is checked here. */
static bool is_base64(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' ||
              (c == '=' && i + 2 >= text.len)))
            return false;
    }
    return true;
}

bool code_unbase64(uint8_t *out, size_t *n, struct span text)
{
    size_t got = 0;
    if (text.len % 4 || !is_base64(text) || sodium_base642bin(out, *n, text.data, text.len, NULL, &got, NULL,
                                          sodium_base64_VARIANT_ORIGINAL))
        return false;
    *n = got;
    return true;
}

bool code_unbase64_exact(uint8_t *out, size_t n, struct span text)
{
    size_t got = n;
    return code_unbase64(out, &got, text) && got == n;
}

bool code_uint(struct span text, uint64_t *out)
{
    uint64_t v = 0;
    if (!text.len || (text.len > 1 && text.data[0] == '0'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.data[i] - (unsigned)'0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

void code_hash_text(char out[HASH_TEXT_MAX], const uint8_t hash[HASH_BYTES])
{
    memcpy(out, "sha256:", 7);
    code_hex(out + 7, hash, HASH_BYTES);
}

bool code_unhash_text(uint8_t hash[HASH_BYTES], struct span text)
{
    return text.len == 7 + HASH_HEX && !memcmp(text.data, "sha256:", 7) &&
           code_unhex(hash, HASH_BYTES, (struct span){ text.data + 7, HASH_HEX });
}

void code_time_text(char out[TIME_TEXT_MAX], int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm = { 0 };
    gmtime_r(&t, &tm);
    if (!strftime(out, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm))
        out[0] = '\0';
}

bool code_untime_text(int64_t *unix_s, struct span text)
{
    char copy[TIME_TEXT_MAX], again[TIME_TEXT_MAX];
    struct tm tm = { 0 };
    if (text.len != sizeof copy - 1)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    const char *end = strptime(copy, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (!end || *end)
        return false;
    int64_t t = (int64_t)timegm(&tm);
    code_time_text(again, t); /* one spelling only: the 30th of February does not come back */
    if (strcmp(copy, again))
        return false;
    *unix_s = t;
    return true;
}
