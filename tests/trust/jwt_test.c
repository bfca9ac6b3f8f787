/* jwt_test -- tokens of keys made here: what is accepted, and every known way to be fooled. RFC 8037 A.4's and RFC 7515
 * A.3's own tokens show that the signatures are the standard's and not only ours. */
#include "../test.h"
#include "base/buf.h"
#include "base/mem.h"
#include "trust/jwt.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { NOW = 1700000000 };
static EVP_PKEY *rsa, *ec, *ed, *other;

static void put64(struct buf *b, const void *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        for (size_t k = 0; k < 4 && k <= n - i; k++)
            buf_putc(b, digits[v >> (18 - 6 * k) & 63]);
    }
}

static void put_bn(struct buf *b, const char *name, EVP_PKEY *key, const char *param)
{
    BIGNUM *bn = NULL;
    uint8_t bytes[1024];
    EVP_PKEY_get_bn_param(key, param, &bn);
    int n = !strcmp(name, "x") || !strcmp(name, "y") ? BN_bn2binpad(bn, bytes, 32) : BN_bn2bin(bn, bytes);
    buf_printf(b, ",\"%s\":\"", name);
    put64(b, bytes, (size_t)n);
    buf_putc(b, '"');
    BN_free(bn);
}

static void put_jwk(struct buf *b, EVP_PKEY *key, const char *kid, const char *more)
{
    const char *type = EVP_PKEY_get0_type_name(key);
    buf_printf(b, "{\"kid\":\"%s\"%s", kid, more);
    if (!strcmp(type, "RSA")) {
        buf_puts(b, ",\"kty\":\"RSA\"");
        put_bn(b, "n", key, OSSL_PKEY_PARAM_RSA_N);
        put_bn(b, "e", key, OSSL_PKEY_PARAM_RSA_E);
    } else if (!strcmp(type, "EC")) {
        buf_puts(b, ",\"kty\":\"EC\",\"crv\":\"P-256\"");
        put_bn(b, "x", key, OSSL_PKEY_PARAM_EC_PUB_X);
        put_bn(b, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y);
    } else {
        uint8_t x[32];
        size_t n = sizeof x;
        EVP_PKEY_get_raw_public_key(key, x, &n);
        buf_puts(b, ",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
        put64(b, x, n);
        buf_putc(b, '"');
    }
    buf_putc(b, '}');
}

static struct jwks *keys(void)
{
    struct buf b = { 0 };
    struct jwks *k = NULL;
    struct err e = { 0 };
    buf_puts(&b, "{\"keys\":[");
    put_jwk(&b, rsa, "r1", ",\"use\":\"sig\",\"alg\":\"RS256\"");
    buf_putc(&b, ',');
    put_jwk(&b, ec, "e1", "");
    buf_putc(&b, ',');
    put_jwk(&b, ed, "d1", ",\"alg\":\"EdDSA\"");
    buf_puts(&b, ",{\"kty\":\"oct\",\"kid\":\"h1\",\"k\":\"c2VjcmV0\"}]}");
    CHECK_INT(jwks_parse(buf_str(&b), b.len, &k, &e), ERR_OK);
    CHECK_INT(jwks_count(k), 3);
    buf_release(&b);
    return k;
}

static void sign(EVP_PKEY *key, const char *text, size_t n, struct buf *out)
{
    uint8_t sig[1024];
    size_t len = sizeof sig;
    bool edwards = !strcmp(EVP_PKEY_get0_type_name(key), "ED25519");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestSignInit(ctx, NULL, edwards ? NULL : EVP_sha256(), NULL, key);
    EVP_DigestSign(ctx, sig, &len, (const uint8_t *)text, n);
    EVP_MD_CTX_free(ctx);
    if (!strcmp(EVP_PKEY_get0_type_name(key), "EC")) { /* DER -> r || s */
        const uint8_t *p = sig;
        ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)len);
        uint8_t raw[64];
        BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, 32);
        BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + 32, 32);
        ECDSA_SIG_free(s);
        put64(out, raw, sizeof raw);
        return;
    }
    put64(out, sig, len);
}

static const char good[] = "{\"iss\":\"https://id\",\"aud\":[\"x\",\"tokens\"],\"exp\":1700000100,\"nbf\":1699999900,"
                           "\"tenant\":\"ward\"}";

static struct buf token(const char *head, const char *claims, EVP_PKEY *key)
{
    struct buf b = { 0 };
    put64(&b, head, strlen(head));
    buf_putc(&b, '.');
    put64(&b, claims, strlen(claims));
    size_t n = b.len;
    buf_putc(&b, '.');
    sign(key, buf_str(&b), n, &b);
    return b;
}

static enum jwt_verdict ask(const struct jwks *k, const char *text, size_t n, int64_t now)
{
    json_t *claims = NULL;
    struct jwt_rules r = { "https://id", "tokens", now, 30 };
    enum jwt_verdict v = jwt_verify(k, text, n, &r, &claims);
    CHECK((v == JWT_OK) == (claims != NULL));
    if (claims)
        CHECK_STR(json_string_value(json_object_get(claims, "tenant")), "ward");
    json_decref(claims);
    return v;
}

static enum jwt_verdict try(const struct jwks *k, const char *head, const char *claims, EVP_PKEY *key)
{
    struct buf t = token(head, claims, key);
    enum jwt_verdict v = ask(k, buf_str(&t), t.len, NOW);
    buf_release(&t);
    return v;
}

static void three_algorithms_are_accepted(void)
{
    struct jwks *k = keys();
    CHECK_INT(try(k, "{\"alg\":\"RS256\",\"kid\":\"r1\",\"typ\":\"JWT\"}", good, rsa), JWT_OK);
    CHECK_INT(try(k, "{\"alg\":\"ES256\",\"kid\":\"e1\"}", good, ec), JWT_OK);
    CHECK_INT(try(k, "{\"alg\":\"EdDSA\",\"kid\":\"d1\",\"typ\":\"at+jwt\"}", good, ed), JWT_OK);
    CHECK_INT(try(k, "{\"alg\":\"ES256\"}", good, ec), JWT_OK); /* no kid: the only key of its kind */
    jwks_free(k);
}

static void the_algorithm_is_the_keys(void)
{
    struct jwks *k = keys();
    CHECK_INT(try(k, "{\"alg\":\"none\",\"kid\":\"r1\"}", good, rsa), JWT_UNKNOWN_KEY);
    CHECK_INT(try(k, "{\"alg\":\"HS256\",\"kid\":\"h1\"}", good, rsa), JWT_UNKNOWN_KEY);
    CHECK_INT(try(k, "{\"alg\":\"RS512\",\"kid\":\"r1\"}", good, rsa), JWT_UNKNOWN_KEY);
    CHECK_INT(try(k, "{\"alg\":\"RS256\",\"kid\":\"e1\"}", good, rsa), JWT_UNKNOWN_KEY);
    CHECK_INT(try(k, "{\"kid\":\"r1\"}", good, rsa), JWT_UNKNOWN_KEY);
    struct buf b = { 0 }; /* "none", and no signature at all */
    put64(&b, "{\"alg\":\"none\"}", 14);
    buf_putc(&b, '.');
    put64(&b, good, strlen(good));
    buf_putc(&b, '.');
    CHECK_INT(ask(k, buf_str(&b), b.len, NOW), JWT_MALFORMED);
    buf_clear(&b); /* the public key's bytes as an HMAC secret */
    put64(&b, "{\"alg\":\"HS256\",\"kid\":\"r1\"}", 26);
    buf_putc(&b, '.');
    put64(&b, good, strlen(good));
    uint8_t mac[32];
    HMAC(EVP_sha256(), "-----BEGIN", 10, b.data ? (const uint8_t *)b.data : mac, b.len, mac, NULL);
    buf_putc(&b, '.');
    put64(&b, mac, sizeof mac);
    CHECK_INT(ask(k, buf_str(&b), b.len, NOW), JWT_UNKNOWN_KEY);
    buf_release(&b);
    jwks_free(k);
}

static void a_wrong_signature_is_seen(void)
{
    struct jwks *k = keys();
    CHECK_INT(try(k, "{\"alg\":\"ES256\",\"kid\":\"e1\"}", good, other), JWT_BAD_SIGNATURE);
    struct buf t = token("{\"alg\":\"EdDSA\",\"kid\":\"d1\"}", good, ed);
    int wrong = 0;
    for (size_t i = 0; i < t.len; i++) { /* every single bit of the text counts */
        char was = t.data[i];
        t.data[i] = was == 'A' ? 'B' : 'A';
        wrong += t.data[i] != was && ask(k, buf_str(&t), t.len, NOW) != JWT_OK;
        t.data[i] = was;
    }
    CHECK_INT(wrong, (intmax_t)t.len);
    CHECK_INT(ask(k, buf_str(&t), t.len, NOW), JWT_OK);
    for (size_t n = 0; n < t.len; n++)
        CHECK(ask(k, buf_str(&t), n, NOW) != JWT_OK);
    buf_release(&t);
    jwks_free(k);
}

static void claims_are_checked(void)
{
    struct jwks *k = keys();
    const char *h = "{\"alg\":\"EdDSA\",\"kid\":\"d1\"}";
    CHECK_INT(try(k, h, "{\"iss\":\"https://id2\",\"aud\":\"tokens\",\"exp\":1700000100}", ed), JWT_WRONG_ISSUER);
    CHECK_INT(try(k, h, "{\"iss\":\"https://id\",\"aud\":\"token\",\"exp\":1700000100}", ed), JWT_WRONG_AUDIENCE);
    CHECK_INT(try(k, h, "{\"iss\":\"https://id\",\"exp\":1700000100}", ed), JWT_WRONG_AUDIENCE);
    CHECK_INT(try(k, h, "{\"iss\":\"https://id\",\"aud\":\"tokens\"}", ed), JWT_MALFORMED); /* it must end some day */
    CHECK_INT(try(k, h, "{\"iss\":\"https://id\",\"aud\":\"tokens\",\"exp\":\"x\"}", ed), JWT_MALFORMED);
    CHECK_INT(try(k, h, "{\"iss\":\"https://id\",\"aud\":\"tokens\",\"exp\":1699999970}", ed), JWT_EXPIRED);
    CHECK_INT(try(k, h, "{\"iss\":\"https://id\",\"aud\":\"tokens\",\"exp\":1700000100,\"nbf\":1700000031}", ed),
              JWT_NOT_YET);
    CHECK_INT(try(k, h, "[1]", ed), JWT_MALFORMED);
    CHECK_INT(try(k, "{\"alg\":\"EdDSA\",\"kid\":\"d1\",\"crit\":[\"b64\"],\"b64\":false}", good, ed), JWT_MALFORMED);
    CHECK_INT(try(k, "{\"alg\":\"EdDSA\",\"kid\":\"d1\",\"typ\":\"logout+jwt\"}", good, ed), JWT_MALFORMED);
    struct buf t = token(h, good, ed);
    CHECK_INT(ask(k, buf_str(&t), t.len, 1700000129), JWT_OK);
    CHECK_INT(ask(k, buf_str(&t), t.len, 1700000130), JWT_EXPIRED);
    CHECK_INT(ask(k, buf_str(&t), t.len, 1699999870), JWT_OK);
    CHECK_INT(ask(k, buf_str(&t), t.len, 1699999869), JWT_NOT_YET);
    buf_release(&t);
    jwks_free(k);
}

static void keys_roll_over(void)
{
    struct jwks *k = keys(), *fresh = NULL;
    const char *h = "{\"alg\":\"ES256\",\"kid\":\"e2\"}";
    CHECK_INT(try(k, h, good, other), JWT_UNKNOWN_KEY);
    struct buf b = { 0 };
    struct err e = { 0 };
    buf_puts(&b, "{\"keys\":[");
    put_jwk(&b, other, "e2", "");
    buf_puts(&b, "]}");
    CHECK_INT(jwks_parse(buf_str(&b), b.len, &fresh, &e), ERR_OK);
    CHECK_INT(try(fresh, h, good, other), JWT_OK);
    CHECK_INT(try(fresh, "{\"alg\":\"ES256\",\"kid\":\"e1\"}", good, ec), JWT_UNKNOWN_KEY); /* withdrawn */
    jwks_free(fresh);
    buf_clear(&b); /* two keys of a kind and no kid: nobody can say which */
    buf_puts(&b, "{\"keys\":[");
    put_jwk(&b, other, "e2", "");
    buf_putc(&b, ',');
    put_jwk(&b, ec, "e3", "");
    buf_puts(&b, "]}");
    CHECK_INT(jwks_parse(buf_str(&b), b.len, &fresh, &e), ERR_OK);
    CHECK_INT(try(fresh, "{\"alg\":\"ES256\"}", good, ec), JWT_UNKNOWN_KEY);
    jwks_free(fresh);
    buf_release(&b);
    jwks_free(k);
}

static void bad_key_sets_are_refused(void)
{
    static const char *const bad[] = {
        "", "{}", "[]", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\","
        "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}]}", /* not on the curve */
    };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        struct jwks *k = NULL;
        struct err e = { 0 };
        CHECK(jwks_parse(bad[i], strlen(bad[i]), &k, &e) != ERR_OK);
        CHECK(k == NULL && e.text[0]);
        jwks_free(k);
    }
}

/* RFC 7515 A.3: an ES256 signature over the issuer "joe"; RFC 8037 A.4: Ed25519 over text that is no claims. */
static void the_standards_own_signatures_fit(void)
{
    static const char set[] =
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
        "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    static const char es256[] =
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
        "cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    static const char eddsa[] =
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR"
        "4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    struct jwks *k = NULL;
    struct err e = { 0 };
    json_t *claims = NULL;
    CHECK_INT(jwks_parse(set, sizeof set - 1, &k, &e), ERR_OK);
    struct jwt_rules joe = { "joe", "nobody", 1300819370, 0 };
    CHECK_INT(jwt_verify(k, es256, sizeof es256 - 1, &joe, &claims), JWT_WRONG_AUDIENCE); /* past the signature */
    CHECK_INT(jwt_verify(k, eddsa, sizeof eddsa - 1, &joe, &claims), JWT_MALFORMED);      /* likewise: no claims */
    static char broken[sizeof eddsa];
    memcpy(broken, eddsa, sizeof eddsa);
    broken[30] = broken[30] == 'x' ? 'y' : 'x';
    CHECK_INT(jwt_verify(k, broken, sizeof broken - 1, &joe, &claims), JWT_BAD_SIGNATURE);
    jwks_free(k);
}

int main(void)
{
    rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    other = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    RUN(three_algorithms_are_accepted);
    RUN(the_algorithm_is_the_keys);
    RUN(a_wrong_signature_is_seen);
    RUN(claims_are_checked);
    RUN(keys_roll_over);
    RUN(bad_key_sets_are_refused);
    RUN(the_standards_own_signatures_fit);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(other);
    EVP_PKEY_free(ed);
    DONE();
}
