/* jwt -- see jwt.h. */
#include "trust/jwt.h"

#include "base/mem.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>

enum kind { RS256, ES256, EDDSA };
static const char *const algorithms[] = { "RS256", "ES256", "EdDSA" };

enum {
    RSA_BITS_MIN = 2048,
    RSA_BITS_MAX = 8192,
    P256_BYTES = 32,
    ED25519_BYTES = 32,
    SIGNATURE_MAX = RSA_BITS_MAX / 8,
};

struct jwk {
    char kid[JWT_KID_MAX + 1]; /* "" when it has none */
    enum kind kind;
    EVP_PKEY *key;
};

struct jwks {
    struct jwk v[JWKS_KEYS_MAX];
    int count;
};

/* ---- base64url without padding, of one spelling */

static int digit(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 :
           c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* *n: in room, out bytes. */
static bool unbase64url(const char *text, size_t len, uint8_t *out, size_t *n)
{
    size_t at = 0;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < len; i++) {
        int d = digit(text[i]);
        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            if (at == *n)
                return false;
            have -= 8;
            out[at++] = (uint8_t)(bits >> have);
        }
    }
    if (have == 6 || (bits & ((1u << have) - 1)))
        return false; /* a lone character, or stray bits: another spelling of the same bytes */
    *n = at;
    return true;
}

static bool member_bytes(const json_t *o, const char *name, uint8_t *out, size_t *n)
{
    const json_t *v = json_object_get(o, name);
    return json_is_string(v) && unbase64url(json_string_value(v), json_string_length(v), out, n);
}

static const char *member_text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

/* ---- keys */

/* A public key from its parameters; bld is released. */
static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *bld, bool ok)
{
    OSSL_PARAM *params = ok ? OSSL_PARAM_BLD_to_param(bld) : NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    return key;
}

static EVP_PKEY *read_rsa(const json_t *o)
{
    uint8_t n[RSA_BITS_MAX / 8], e[8];
    size_t n_len = sizeof n, e_len = sizeof e;
    if (!member_bytes(o, "n", n, &n_len) || !member_bytes(o, "e", e, &e_len))
        return NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *bn = BN_bin2bn(n, (int)n_len, NULL), *be = BN_bin2bn(e, (int)e_len, NULL);
    bool ok = bld && bn && be && BN_num_bits(bn) >= RSA_BITS_MIN && BN_is_odd(be) && BN_num_bits(be) >= 2 &&
              OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) &&
              OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be);
    EVP_PKEY *key = make_key("RSA", bld, ok);
    BN_free(bn);
    BN_free(be);
    return key;
}

static EVP_PKEY *read_p256(const json_t *o)
{
    uint8_t point[1 + 2 * P256_BYTES] = { 4 };
    size_t x = P256_BYTES, y = P256_BYTES;
    if (strcmp(member_text(o, "crv"), "P-256") || !member_bytes(o, "x", point + 1, &x) || x != P256_BYTES ||
        !member_bytes(o, "y", point + 1 + P256_BYTES, &y) || y != P256_BYTES)
        return NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    bool ok = bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) &&
              OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point);
    return make_key("EC", bld, ok); /* a point off the curve is refused */
}

static EVP_PKEY *read_ed25519(const json_t *o)
{
    uint8_t x[ED25519_BYTES];
    size_t n = sizeof x;
    if (strcmp(member_text(o, "crv"), "Ed25519") || !member_bytes(o, "x", x, &n) || n != sizeof x)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof x);
}

/* false: a key of a kind or use that is not ours. */
static bool read_key(const json_t *o, struct jwk *out)
{
    static const struct { const char *kty; EVP_PKEY *(*read)(const json_t *o); } kinds[] = {
        [RS256] = { "RSA", read_rsa }, [ES256] = { "EC", read_p256 }, [EDDSA] = { "OKP", read_ed25519 },
    };
    const char *use = member_text(o, "use"), *alg = member_text(o, "alg"), *kid = member_text(o, "kid");
    if ((*use && strcmp(use, "sig")) || strlen(kid) > JWT_KID_MAX)
        return false;
    for (size_t i = 0; i < MEM_COUNT(kinds); i++) {
        if (strcmp(kinds[i].kty, member_text(o, "kty")) || (*alg && strcmp(alg, algorithms[i])))
            continue;
        *out = (struct jwk){ .kind = (enum kind)i, .key = kinds[i].read(o) };
        memcpy(out->kid, kid, strlen(kid) + 1);
        return out->key != NULL;
    }
    return false;
}

enum err_code jwks_parse(const char *json, size_t n, struct jwks **out, struct err *e)
{
    if (n > JWKS_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "a key set has at most %d bytes", JWKS_BYTES_MAX);
    json_t *set = jsonx_parse(json, n, e);
    const json_t *keys = json_object_get(set, "keys");
    struct jwks *k = MEM_NEW(struct jwks);
    for (size_t i = 0; i < json_array_size(keys) && k->count < JWKS_KEYS_MAX; i++)
        k->count += read_key(json_array_get(keys, i), &k->v[k->count]);
    bool parsed = set != NULL;
    json_decref(set);
    if (k->count) {
        *out = k;
        return ERR_OK;
    }
    mem_free(k);
    return parsed ? err_set(e, ERR_INVALID, "the key set has no key that can be used: RSA of 2048 bits or more, P-256 "
                            "or Ed25519, for signatures") : e ? e->code : ERR_INVALID;
}

void jwks_free(struct jwks *k)
{
    for (int i = 0; k && i < k->count; i++)
        EVP_PKEY_free(k->v[i].key);
    mem_free(k);
}

int jwks_count(const struct jwks *k)
{
    return k ? k->count : 0;
}

/* ---- tokens */

/* The three parts of a token. */
struct parts {
    const char *p[3];
    size_t n[3];
};

static bool split(const char *text, size_t n, struct parts *out)
{
    size_t start = 0, part = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && text[i] != '.') {
            if (digit(text[i]) < 0)
                return false;
            continue;
        }
        if (part == 3 || i == start)
            return false;
        out->p[part] = text + start;
        out->n[part++] = i - start;
        start = i + 1;
    }
    return part == 3;
}

bool jwt_looks_like(const char *text, size_t n)
{
    struct parts parts;
    return n <= JWT_BYTES_MAX && split(text, n, &parts);
}

static json_t *decode_object(const char *text, size_t len)
{
    uint8_t bytes[JWT_BYTES_MAX];
    size_t n = sizeof bytes;
    bool ok = unbase64url(text, len, bytes, &n) && !memmem(bytes, n, "\\u0000", 6); /* no text that ends early */
    json_t *v = ok ? jsonx_parse((const char *)bytes, n, NULL) : NULL;
    if (json_is_object(v))
        return v;
    json_decref(v);
    return NULL;
}

/* The key the header names, of the algorithm the header names; without a kid the only one of that algorithm. */
static const struct jwk *find_key(const struct jwks *k, const char *kid, const char *alg)
{
    const struct jwk *found = NULL;
    for (int i = 0; i < jwks_count(k); i++) {
        if (strcmp(algorithms[k->v[i].kind], alg) || (*kid && strcmp(k->v[i].kid, kid)))
            continue;
        if (found)
            return NULL; /* two fit: which is meant nobody can say */
        found = &k->v[i];
    }
    return found;
}

/* r || s as the curve's signatures are written in tokens -> DER, for OpenSSL. */
static size_t ecdsa_der(const uint8_t *sig, uint8_t *out, size_t room)
{
    ECDSA_SIG *s = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig, P256_BYTES, NULL), *v = BN_bin2bn(sig + P256_BYTES, P256_BYTES, NULL);
    if (!s || !r || !v || !ECDSA_SIG_set0(s, r, v)) {
        BN_free(r);
        BN_free(v);
        ECDSA_SIG_free(s);
        return 0;
    }
    int n = i2d_ECDSA_SIG(s, NULL);
    bool fits = n > 0 && (size_t)n <= room;
    if (fits)
        n = i2d_ECDSA_SIG(s, &out);
    ECDSA_SIG_free(s);
    return fits ? (size_t)n : 0;
}

static bool signature_ok(const struct jwk *k, const char *text, size_t signed_bytes, const char *sig_text,
                         size_t sig_len)
{
    uint8_t sig[SIGNATURE_MAX], der[2 * P256_BYTES + 16];
    const uint8_t *s = sig;
    size_t n = sizeof sig;
    if (!unbase64url(sig_text, sig_len, sig, &n))
        return false;
    if (k->kind == ES256) {
        n = n == 2 * P256_BYTES ? ecdsa_der(sig, der, sizeof der) : 0;
        s = der;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const EVP_MD *md = k->kind == EDDSA ? NULL : EVP_sha256();
    bool ok = n && ctx && EVP_DigestVerifyInit(ctx, NULL, md, NULL, k->key) == 1 &&
              EVP_DigestVerify(ctx, s, n, (const uint8_t *)text, signed_bytes) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static bool has_audience(const json_t *aud, const char *want)
{
    if (json_is_string(aud))
        return !strcmp(json_string_value(aud), want);
    for (size_t i = 0; i < json_array_size(aud); i++)
        if (json_is_string(json_array_get(aud, i)) && !strcmp(json_string_value(json_array_get(aud, i)), want))
            return true;
    return false;
}

/* A moment in seconds; fractions are allowed. false: no number. */
static bool moment(const json_t *claims, const char *name, double *out)
{
    const json_t *v = json_object_get(claims, name);
    if (json_is_number(v))
        *out = json_number_value(v);
    return json_is_number(v);
}

static enum jwt_verdict check_claims(const json_t *claims, const struct jwt_rules *r)
{
    double exp = 0, nbf = 0, now = (double)r->now_s, leeway = (double)r->leeway_s;
    bool has_nbf = json_object_get(claims, "nbf") != NULL;
    if (!moment(claims, "exp", &exp) || (has_nbf && !moment(claims, "nbf", &nbf)))
        return JWT_MALFORMED;
    if (strcmp(member_text(claims, "iss"), r->issuer))
        return JWT_WRONG_ISSUER;
    if (!has_audience(json_object_get(claims, "aud"), r->audience))
        return JWT_WRONG_AUDIENCE;
    if (!(now < exp + leeway))
        return JWT_EXPIRED;
    return has_nbf && !(now + leeway >= nbf) ? JWT_NOT_YET : JWT_OK;
}

enum jwt_verdict jwt_verify(const struct jwks *k, const char *text, size_t n, const struct jwt_rules *r,
                            json_t **claims)
{
    struct parts parts;
    if (n > JWT_BYTES_MAX || !split(text, n, &parts))
        return JWT_MALFORMED;
    json_t *head = decode_object(parts.p[0], parts.n[0]);
    const char *type = member_text(head, "typ");
    bool plain = head && !json_object_get(head, "crit") && (!*type || !strcmp(type, "JWT") || !strcmp(type, "at+jwt"));
    const struct jwk *key = plain ? find_key(k, member_text(head, "kid"), member_text(head, "alg")) : NULL;
    json_decref(head);
    if (!plain)
        return JWT_MALFORMED;
    if (!key)
        return JWT_UNKNOWN_KEY;
    if (!signature_ok(key, text, parts.n[0] + 1 + parts.n[1], parts.p[2], parts.n[2]))
        return JWT_BAD_SIGNATURE;
    json_t *found = decode_object(parts.p[1], parts.n[1]);
    enum jwt_verdict v = found ? check_claims(found, r) : JWT_MALFORMED;
    if (v == JWT_OK)
        *claims = found;
    else
        json_decref(found);
    return v;
}

const char *jwt_sentence(enum jwt_verdict v)
{
    switch (v) {
    case JWT_OK: break;
    case JWT_MALFORMED: return "the token is malformed";
    case JWT_UNKNOWN_KEY: return "the token is signed with a key its issuer does not publish";
    case JWT_BAD_SIGNATURE: return "the token's signature is wrong";
    case JWT_EXPIRED: return "the token has expired";
    case JWT_NOT_YET: return "the token is not valid yet";
    case JWT_WRONG_ISSUER: return "the token is another issuer's";
    case JWT_WRONG_AUDIENCE: return "the token is for another service";
    }
    return "";
}
