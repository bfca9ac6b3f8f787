/* computed -- see computed.h. */
#include "trust/computed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BOOT_BYTES = 8 };

static void hash_word(bool has, const uint8_t hash[HASH_BYTES], char out[HASH_TEXT_MAX])
{
    snprintf(out, HASH_TEXT_MAX, "-");
    if (has)
        code_hash_text(out, hash);
}

void computed_text(const struct computed *c, char out[COMPUTED_TEXT_MAX])
{
    char model[HASH_TEXT_MAX], numerics[HASH_TEXT_MAX];
    hash_word(c->has_model, c->model, model);
    hash_word(c->has_numerics, c->numerics, numerics);
    snprintf(out, COMPUTED_TEXT_MAX, "%s/%s/%s boot=%016" PRIx64 " model=%s numerics=%s tokens=%" PRIu64,
             c->jurisdiction, c->site, c->worker, c->boot, model, numerics, c->tokens);
}

static bool take_name(struct span v, char out[COMPUTED_NAME_MAX + 1])
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    bool ok = v.len > 0 && v.len <= COMPUTED_NAME_MAX;
    for (size_t i = 0; ok && i < v.len; i++)
        ok = v.data[i] && strchr(allowed, v.data[i]);
    if (ok)
        snprintf(out, COMPUTED_NAME_MAX + 1, "%.*s", (int)v.len, v.data);
    return ok;
}

static bool take_place(struct span place, struct computed *c)
{
    struct span country, rest, site, worker;
    if (!span_cut(place, '/', &country, &rest) || !span_cut(rest, '/', &site, &worker) || country.len != 2)
        return false;
    for (int i = 0; i < 2; i++) {
        if (country.data[i] < 'A' || country.data[i] > 'Z')
            return false;
        c->jurisdiction[i] = country.data[i];
    }
    return take_name(site, c->site) && take_name(worker, c->worker);
}

/* "key=value" at the start of *rest, up to the next blank; the last one has none behind it. */
static bool take_pair(struct span *rest, const char *key, bool last, struct span *value)
{
    struct span pair = *rest, left, right;
    if (last == span_cut(*rest, ' ', &left, &right))
        return false;
    if (!last) {
        pair = left;
        *rest = right;
    }
    return span_cut(pair, '=', &left, value) && span_is(left, key);
}

static bool take_hash(struct span v, bool *has, uint8_t out[HASH_BYTES])
{
    *has = !span_is(v, "-");
    return !*has || code_unhash_text(out, v);
}

bool computed_parse(struct span text, struct computed *out)
{
    struct computed c = { .tokens = 0 };
    struct span place, rest, v;
    uint8_t boot[BOOT_BYTES];
    if (!span_cut(text, ' ', &place, &rest) || !take_place(place, &c) || !take_pair(&rest, "boot", false, &v) ||
        !code_unhex(boot, BOOT_BYTES, v))
        return false;
    for (int i = 0; i < BOOT_BYTES; i++)
        c.boot = c.boot << 8 | boot[i];
    if (!take_pair(&rest, "model", false, &v) || !take_hash(v, &c.has_model, c.model) ||
        !take_pair(&rest, "numerics", false, &v) || !take_hash(v, &c.has_numerics, c.numerics) ||
        !take_pair(&rest, "tokens", true, &v) || !code_uint(v, &c.tokens))
        return false;
    *out = c;
    return true;
}
