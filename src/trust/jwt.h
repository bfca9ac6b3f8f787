/* jwt -- tokens that somebody else issued (RFC 7519), checked against the issuer's keys (RFC 7517): RS256, ES256 and
 * EdDSA with Ed25519, nothing else.
 *
 * The key says which algorithm it is for, and the token's header must say the same: a public key can never serve as a
 * secret, and "none" is nobody's algorithm. A token with a critical extension is refused, for none is known here. */
#ifndef TRUST_JWT_H
#define TRUST_JWT_H
#include "base/err.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JWT_BYTES_MAX = 8192, JWKS_BYTES_MAX = 256 * 1024, JWKS_KEYS_MAX = 64, JWT_KID_MAX = 255, JWT_TEXT_MAX = 512 };

struct jwks;
/* Keys of other kinds and uses are passed over; RSA needs 2048 bits. ERR_INVALID when it is no key set or none of its
 * keys can be used. */
enum err_code jwks_parse(const char *json, size_t n, struct jwks **out, struct err *e);
void jwks_free(struct jwks *k);
int jwks_count(const struct jwks *k);

struct jwt_rules {
    const char *issuer, *audience; /* both must fit exactly; audience: one of the token's */
    int64_t now_s, leeway_s;
};

enum jwt_verdict {
    JWT_OK, JWT_MALFORMED, JWT_UNKNOWN_KEY, JWT_BAD_SIGNATURE, JWT_EXPIRED, JWT_NOT_YET, JWT_WRONG_ISSUER,
    JWT_WRONG_AUDIENCE,
};

/* Whether text has the form of one: three runs of base64url with dots between. Cheap. */
bool jwt_looks_like(const char *text, size_t n);
/* JWT_OK: *claims is the payload, the caller's to release. UNKNOWN_KEY: the issuer may have new keys. A token must say
 * when it expires. */
enum jwt_verdict jwt_verify(const struct jwks *k, const char *text, size_t n, const struct jwt_rules *r,
                            json_t **claims);
const char *jwt_sentence(enum jwt_verdict v);
#endif
