/* key -- see key.h. */
#include "trust/key.h"

#include "base/mem.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char PRIVATE_PREFIX[] = "PRIVATE+KEY+";

static uint32_t key_id(const char *name, uint8_t type, const uint8_t pub[KEY_PUBLIC_BYTES])
{
    uint8_t text[KEY_NAME_MAX + 2 + KEY_PUBLIC_BYTES], hash[HASH_BYTES];
    size_t n = strlen(name);
    memcpy(text, name, n);
    text[n] = '\n';
    text[n + 1] = type;
    memcpy(text + n + 2, pub, KEY_PUBLIC_BYTES);
    code_sha256(hash, text, n + 2 + KEY_PUBLIC_BYTES);
    return (uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 | (uint32_t)hash[2] << 8 | hash[3];
}

/* Names are ASCII here: a subset of the standard's, so that no two look alike. */
bool key_name_ok(struct span name)
{
    if (!name.len || name.len > KEY_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] <= ' ' || name.data[i] >= 0x7f || name.data[i] == '+')
            return false;
    return true;
}

/* <name>+<id>+<base64>: shared by both kinds; material is 1 + 32 bytes. */
static enum err_code parse(struct span text, const char *what, char name[KEY_NAME_MAX + 1], uint32_t *id,
                           uint8_t material[1 + 32], struct err *e)
{
    struct span n, rest, hex, base64;
    uint8_t raw[4];
    if (text.len >= KEY_TEXT_MAX || !span_cut(text, '+', &n, &rest) || !span_cut(rest, '+', &hex, &base64))
        return err_set(e, ERR_INVALID, "not a %s: it reads NAME+ID+BASE64", what);
    if (!key_name_ok(n) || !code_unhex(raw, sizeof raw, hex))
        return err_set(e, ERR_INVALID, "the %s has a wrong name or key id", what);
    if (!code_unbase64_exact(material, 1 + 32, base64))
        return err_set(e, ERR_INVALID, "the %s is not 33 bytes in base64", what);
    if (material[0] != KEY_NOTE && material[0] != KEY_COSIGNATURE)
        return err_set(e, ERR_UNSUPPORTED, "the %s has type 0x%02x; 0x01 and 0x04 are known", what, material[0]);
    memcpy(name, n.data, n.len);
    name[n.len] = '\0';
    *id = (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
    return ERR_OK;
}

enum err_code key_public_parse(struct span vkey, struct key_public *out, struct err *e)
{
    struct key_public k = { 0 };
    uint8_t material[33];
    enum err_code c = parse(vkey, "verifier key", k.name, &k.id, material, e);
    if (c)
        return c;
    k.type = material[0];
    memcpy(k.key, material + 1, KEY_PUBLIC_BYTES);
    if (k.id != key_id(k.name, k.type, k.key))
        return err_set(e, ERR_INVALID, "the verifier key of %s does not match its key id", k.name);
    *out = k;
    return ERR_OK;
}

void key_public_text(const struct key_public *k, char out[KEY_TEXT_MAX])
{
    uint8_t material[33];
    char base64[48];
    material[0] = k->type;
    memcpy(material + 1, k->key, KEY_PUBLIC_BYTES);
    sodium_bin2base64(base64, sizeof base64, material, sizeof material, sodium_base64_VARIANT_ORIGINAL);
    snprintf(out, KEY_TEXT_MAX, "%s+%08x+%s", k->name, k->id, base64);
}

enum err_code key_secret_new(const char *name, uint8_t type, const uint8_t *seed, struct key_secret *out,
                             struct err *e)
{
    if (!key_name_ok(span_of(name)))
        return err_set(e, ERR_INVALID, "'%.40s' is no key name: 1 to %d printable characters, no space, no plus", name,
                       KEY_NAME_MAX);
    struct key_secret k = { .pub.type = type };
    snprintf(k.pub.name, sizeof k.pub.name, "%s", name);
    if (seed)
        crypto_sign_seed_keypair(k.pub.key, k.secret, seed);
    else
        crypto_sign_keypair(k.pub.key, k.secret);
    k.pub.id = key_id(name, type, k.pub.key);
    *out = k;
    key_secret_wipe(&k);
    return ERR_OK;
}

enum err_code key_secret_parse(struct span skey, struct key_secret *out, struct err *e)
{
    const size_t prefix = sizeof PRIVATE_PREFIX - 1;
    char name[KEY_NAME_MAX + 1];
    uint8_t material[33];
    uint32_t id = 0;
    if (skey.len < prefix || memcmp(skey.data, PRIVATE_PREFIX, prefix))
        return err_set(e, ERR_INVALID, "not a signer key: it begins with %s", PRIVATE_PREFIX);
    struct span rest = { skey.data + prefix, skey.len - prefix };
    struct key_secret k = { 0 };
    enum err_code c = parse(rest, "signer key", name, &id, material, e);
    if (!c)
        c = key_secret_new(name, material[0], material + 1, &k, e);
    if (!c && k.pub.id != id)
        c = err_set(e, ERR_INVALID, "the signer key of %s does not match its key id", name);
    if (!c)
        *out = k;
    mem_wipe(material, sizeof material);
    key_secret_wipe(&k);
    return c;
}

void key_secret_text(const struct key_secret *k, char out[KEY_TEXT_MAX])
{
    uint8_t material[33];
    char base64[48];
    material[0] = k->pub.type;
    memcpy(material + 1, k->secret, KEY_SEED_BYTES);
    sodium_bin2base64(base64, sizeof base64, material, sizeof material, sodium_base64_VARIANT_ORIGINAL);
    snprintf(out, KEY_TEXT_MAX, "%s%s+%08x+%s", PRIVATE_PREFIX, k->pub.name, k->pub.id, base64);
    mem_wipe(material, sizeof material);
    mem_wipe(base64, sizeof base64);
}

void key_secret_wipe(struct key_secret *k)
{
    mem_wipe(k, sizeof *k);
}

bool key_verify(const struct key_public *k, const void *data, size_t n, const uint8_t sig[KEY_SIG_BYTES])
{
    return !crypto_sign_verify_detached(sig, data, n, k->key);
}

void key_sign(const struct key_secret *k, const void *data, size_t n, uint8_t sig[KEY_SIG_BYTES])
{
    crypto_sign_detached(sig, NULL, data, n, k->secret);
}
