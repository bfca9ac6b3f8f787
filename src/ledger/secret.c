/* secret -- an API key's text and what is stored of it. 256 random bits need no slow hash: nobody tries them all. */
#include "ledger/ledger.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/sha256.h"

#include <ctype.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"; /* RFC 4648, 5 */

void ledger_key_make(char text[LEDGER_KEY_CHARS + 1], uint8_t hash[LEDGER_HASH_BYTES])
{
    uint8_t raw[33] = { 0 }; /* the last byte stays 0: 43 characters carry 258 bits, 256 of them random */
    rng_system(raw, 32);
    memcpy(text, "tw-", 3);
    for (int i = 0; i < 43; i++) {
        int bit = i * 6, byte = bit / 8, shift = bit % 8;
        int two = raw[byte] << 8 | raw[byte + (byte < 32)];
        text[3 + i] = alphabet[two >> (10 - shift) & 63];
    }
    text[LEDGER_KEY_CHARS] = '\0';
    mem_wipe(raw, sizeof raw);
    sha256_of(text, LEDGER_KEY_CHARS, hash);
}

bool ledger_key_hash(const char *text, size_t n, uint8_t hash[LEDGER_HASH_BYTES])
{
    if (n != LEDGER_KEY_CHARS || memcmp(text, "tw-", 3))
        return false;
    for (size_t i = 3; i < n; i++)
        if (!text[i] || !strchr(alphabet, text[i]))
            return false;
    sha256_of(text, n, hash);
    return true;
}

bool ledger_place(const char *text, size_t n, char *out, size_t size)
{
    if (n >= size || n < 2 || n > LEDGER_JURISDICTION_MAX || (n > 2 && (text[2] != '-' || n == 3)))
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)text[i];
        if (i < 2 ? !isalpha(ch) : i > 2 && !isalnum(ch))
            return false;
        out[i] = (char)toupper(ch);
    }
    out[n] = '\0';
    return true;
}

bool ledger_key_may_be_served(const struct ledger_key *k, const char *jurisdiction)
{
    for (const char *p = k->jurisdictions; *p;) {
        size_t n = strcspn(p, " ");
        if (n && !strncmp(p, jurisdiction, n) && (!jurisdiction[n] || jurisdiction[n] == '-'))
            return true;
        p += n + strspn(p + n, " ");
    }
    return !*k->jurisdictions;
}

bool ledger_key_may_use(const struct ledger_key *k, const char *model)
{
    size_t n = strlen(model);
    if (!*k->models)
        return true;
    for (const char *p = k->models; *p;) {
        size_t len = strcspn(p, " ");
        if (len == n && !memcmp(p, model, n))
            return true;
        p += len + (p[len] == ' ');
    }
    return false;
}
