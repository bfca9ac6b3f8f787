/* hpke -- see hpke.h. Names follow RFC 9180: LabeledExtract, LabeledExpand, Encap, KeySchedule. */
#include "trust/hpke.h"

#include "base/assert.h"
#include "base/mem.h"

#include <limits.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <string.h>

enum { KEM_SUITE_BYTES = 5, SUITE_BYTES = 10, LABELED_MAX = 1024, EXPAND_MAX = 255 * HASH_BYTES };

size_t hpke_key_bytes(enum hpke_aead aead)
{
    return aead == HPKE_AES_128_GCM ? 16 : 32;
}

static void hmac(struct span key, struct span a, struct span b, uint8_t last, bool with_last, uint8_t out[HASH_BYTES])
{
    crypto_auth_hmacsha256_state s;
    crypto_auth_hmacsha256_init(&s, (const uint8_t *)key.data, key.len);
    crypto_auth_hmacsha256_update(&s, (const uint8_t *)a.data, a.len);
    crypto_auth_hmacsha256_update(&s, (const uint8_t *)b.data, b.len);
    if (with_last)
        crypto_auth_hmacsha256_update(&s, &last, 1);
    crypto_auth_hmacsha256_final(&s, out);
    sodium_memzero(&s, sizeof s);
}

static struct span bytes(const void *p, size_t n)
{
    return (struct span){ p, n };
}

void hkdf_extract(struct span salt, struct span ikm, uint8_t prk[HASH_BYTES])
{
    static const uint8_t zero[HASH_BYTES];
    hmac(salt.len ? salt : bytes(zero, sizeof zero), ikm, bytes("", 0), 0, false, prk);
}

void hkdf_expand(const uint8_t prk[HASH_BYTES], struct span info, uint8_t *out, size_t n)
{
    uint8_t t[HASH_BYTES];
    size_t have = 0;
    ASSERT(n <= EXPAND_MAX);
    for (uint8_t i = 1; n; i++) {
        hmac(bytes(prk, HASH_BYTES), bytes(t, have), info, i, true, t);
        have = HASH_BYTES;
        size_t take = n < HASH_BYTES ? n : HASH_BYTES;
        memcpy(out, t, take);
        out += take;
        n -= take;
    }
    sodium_memzero(t, sizeof t);
}

/* "HPKE-v1" || suite || label || value */
static size_t labeled(uint8_t out[LABELED_MAX], struct span suite, const char *label, struct span value)
{
    size_t n = 7, label_len = strlen(label);
    ASSERT(n + suite.len + label_len + value.len <= LABELED_MAX);
    memcpy(out, "HPKE-v1", 7);
    memcpy(out + n, suite.data, suite.len);
    n += suite.len;
    memcpy(out + n, label, label_len);
    n += label_len;
    if (value.len)
        memcpy(out + n, value.data, value.len);
    return n + value.len;
}

static void labeled_extract(struct span salt, struct span suite, const char *label, struct span ikm,
                            uint8_t out[HASH_BYTES])
{
    uint8_t text[LABELED_MAX];
    size_t n = labeled(text, suite, label, ikm);
    hkdf_extract(salt, bytes(text, n), out);
    sodium_memzero(text, sizeof text);
}

static void labeled_expand(const uint8_t prk[HASH_BYTES], struct span suite, const char *label, struct span info,
                           uint8_t *out, size_t n)
{
    uint8_t text[2 + LABELED_MAX] = { (uint8_t)(n >> 8), (uint8_t)n };
    size_t len = labeled(text + 2, suite, label, info);
    hkdf_expand(prk, bytes(text, 2 + len), out, n);
    sodium_memzero(text, sizeof text);
}

static void suite_of(enum hpke_aead aead, uint8_t out[SUITE_BYTES])
{
    const uint8_t id[SUITE_BYTES] = { 'H', 'P', 'K', 'E', 0, HPKE_KEM, 0, HPKE_KDF, 0, (uint8_t)aead };
    memcpy(out, id, SUITE_BYTES);
}

/* ExtractAndExpand of DHKEM. */
static void shared_secret(const uint8_t dh[32], const uint8_t enc[32], const uint8_t to[32], uint8_t out[32])
{
    static const uint8_t kem[KEM_SUITE_BYTES] = { 'K', 'E', 'M', 0, HPKE_KEM };
    const struct span suite = { (const char *)kem, sizeof kem };
    uint8_t prk[HASH_BYTES], context[64];
    memcpy(context, enc, 32);
    memcpy(context + 32, to, 32);
    labeled_extract(bytes("", 0), suite, "eae_prk", bytes(dh, 32), prk);
    labeled_expand(prk, suite, "shared_secret", bytes(context, sizeof context), out, 32);
    sodium_memzero(prk, sizeof prk);
}

static enum err_code key_schedule(enum hpke_aead aead, const uint8_t shared[32], struct span info, struct hpke *out,
                                  struct err *e)
{
    uint8_t id[SUITE_BYTES], context[1 + 2 * HASH_BYTES] = { 0 }, secret[HASH_BYTES];
    if (info.len > LABELED_MAX / 2)
        return err_set(e, ERR_LIMIT, "HPKE: the info is longer than %d bytes", LABELED_MAX / 2);
    suite_of(aead, id);
    const struct span suite = { (const char *)id, sizeof id }, none = { "", 0 };
    labeled_extract(none, suite, "psk_id_hash", none, context + 1);
    labeled_extract(none, suite, "info_hash", info, context + 1 + HASH_BYTES);
    labeled_extract(bytes(shared, 32), suite, "secret", none, secret);
    *out = (struct hpke){ .aead = aead };
    const struct span c = bytes(context, sizeof context);
    labeled_expand(secret, suite, "key", c, out->key, hpke_key_bytes(aead));
    labeled_expand(secret, suite, "base_nonce", c, out->base_nonce, HPKE_NONCE_BYTES);
    labeled_expand(secret, suite, "exp", c, out->exporter, HASH_BYTES);
    sodium_memzero(secret, sizeof secret);
    return ERR_OK;
}

void hpke_keypair(uint8_t secret[HPKE_KEY_BYTES], uint8_t pub[HPKE_KEY_BYTES])
{
    randombytes_buf(secret, HPKE_KEY_BYTES);
    crypto_scalarmult_base(pub, secret);
}

void hpke_public(const uint8_t secret[HPKE_KEY_BYTES], uint8_t pub[HPKE_KEY_BYTES])
{
    crypto_scalarmult_base(pub, secret);
}

enum err_code hpke_send(enum hpke_aead aead, const uint8_t to[HPKE_KEY_BYTES], struct span info,
                        const uint8_t *ephemeral, uint8_t enc[HPKE_KEY_BYTES], struct hpke *out, struct err *e)
{
    uint8_t secret[32], dh[32], shared[32];
    if (ephemeral)
        memcpy(secret, ephemeral, sizeof secret);
    else
        randombytes_buf(secret, sizeof secret);
    crypto_scalarmult_base(enc, secret);
    enum err_code c = crypto_scalarmult(dh, secret, to) ? err_set(e, ERR_DENIED, "HPKE: the receiver's key is a point "
                                                                                 "of small order") : ERR_OK;
    if (!c) {
        shared_secret(dh, enc, to, shared);
        c = key_schedule(aead, shared, info, out, e);
    }
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(dh, sizeof dh);
    sodium_memzero(shared, sizeof shared);
    return c;
}

enum err_code hpke_receive(enum hpke_aead aead, const uint8_t secret[HPKE_KEY_BYTES],
                           const uint8_t enc[HPKE_KEY_BYTES], struct span info, struct hpke *out, struct err *e)
{
    uint8_t dh[32], shared[32], pub[32];
    if (crypto_scalarmult(dh, secret, enc))
        return err_set(e, ERR_DENIED, "HPKE: the sender's key is a point of small order");
    crypto_scalarmult_base(pub, secret);
    shared_secret(dh, enc, pub, shared);
    enum err_code c = key_schedule(aead, shared, info, out, e);
    sodium_memzero(dh, sizeof dh);
    sodium_memzero(shared, sizeof shared);
    return c;
}

void hpke_wipe(struct hpke *h)
{
    sodium_memzero(h, sizeof *h);
}

/* ---- AEAD */

static bool gcm_crypt(bool seal, const uint8_t *key, const uint8_t *nonce, struct span aad, struct span in,
                      uint8_t *out, uint8_t *tag)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n = 0;
    bool ok = c && in.len <= INT_MAX && aad.len <= INT_MAX &&
              EVP_CipherInit_ex(c, EVP_aes_128_gcm(), NULL, key, nonce, seal) == 1 &&
              (!aad.len || EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)aad.data, (int)aad.len) == 1) &&
              (!in.len || EVP_CipherUpdate(c, out, &n, (const uint8_t *)in.data, (int)in.len) == 1) &&
              (seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, HPKE_TAG_BYTES, tag) == 1) &&
              EVP_CipherFinal_ex(c, out + in.len, &n) == 1 &&
              (!seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, HPKE_TAG_BYTES, tag) == 1);
    EVP_CIPHER_CTX_free(c);
    return ok;
}

enum err_code aead_seal(enum hpke_aead aead, const uint8_t *key, const uint8_t nonce[HPKE_NONCE_BYTES],
                        struct span aad, struct span text, uint8_t *out, struct err *e)
{
    bool ok;
    if (aead == HPKE_CHACHA20_POLY1305)
        ok = !crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, (const uint8_t *)text.data, text.len,
                                                        (const uint8_t *)aad.data, aad.len, NULL, nonce, key);
    else
        ok = gcm_crypt(true, key, nonce, aad, text, out, out + text.len);
    return ok ? ERR_OK : err_set(e, ERR_IO, "the cipher failed");
}

enum err_code aead_open(enum hpke_aead aead, const uint8_t *key, const uint8_t nonce[HPKE_NONCE_BYTES],
                        struct span aad, struct span sealed, uint8_t *out, struct err *e)
{
    bool ok = sealed.len >= HPKE_TAG_BYTES;
    if (ok && aead == HPKE_CHACHA20_POLY1305) {
        ok = !crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, (const uint8_t *)sealed.data, sealed.len,
                                                        (const uint8_t *)aad.data, aad.len, nonce, key);
    } else if (ok) {
        uint8_t tag[HPKE_TAG_BYTES];
        struct span body = { sealed.data, sealed.len - HPKE_TAG_BYTES };
        memcpy(tag, sealed.data + body.len, sizeof tag);
        ok = gcm_crypt(false, key, nonce, aad, body, out, tag);
        if (!ok)
            sodium_memzero(out, body.len);
    }
    return ok ? ERR_OK : err_set(e, ERR_DENIED, "the sealed message was changed or is for another key");
}

static enum err_code next_nonce(struct hpke *h, uint8_t out[HPKE_NONCE_BYTES], struct err *e)
{
    if (h->seq == UINT64_MAX)
        return err_set(e, ERR_LIMIT, "HPKE: too many messages under one key");
    memcpy(out, h->base_nonce, HPKE_NONCE_BYTES);
    for (int i = 0; i < 8; i++)
        out[HPKE_NONCE_BYTES - 1 - i] ^= (uint8_t)(h->seq >> (8 * i));
    return ERR_OK;
}

enum err_code hpke_seal(struct hpke *h, struct span aad, struct span text, uint8_t *out, struct err *e)
{
    uint8_t nonce[HPKE_NONCE_BYTES];
    enum err_code c = next_nonce(h, nonce, e);
    if (!c)
        c = aead_seal(h->aead, h->key, nonce, aad, text, out, e);
    h->seq += !c;
    return c;
}

enum err_code hpke_open(struct hpke *h, struct span aad, struct span sealed, uint8_t *out, struct err *e)
{
    uint8_t nonce[HPKE_NONCE_BYTES];
    enum err_code c = next_nonce(h, nonce, e);
    if (!c)
        c = aead_open(h->aead, h->key, nonce, aad, sealed, out, e);
    h->seq += !c;
    return c;
}

void hpke_export(const struct hpke *h, struct span context, uint8_t *out, size_t n)
{
    uint8_t id[SUITE_BYTES];
    suite_of(h->aead, id);
    ASSERT(context.len <= HPKE_LABEL_MAX);
    labeled_expand(h->exporter, bytes(id, sizeof id), "sec", context, out, n);
}
