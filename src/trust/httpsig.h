/* httpsig -- signatures over HTTP requests (RFC 9421, ed25519) and their bodies (RFC 9530, sha-256).
 *
 * The message is a bhttp_message, whose path carries the query. Our own profile is one label, `tw`, over exactly the
 * components in httpsig_ours, with created, expires, nonce, keyid and tag in that order. */
#ifndef TRUST_HTTPSIG_H
#define TRUST_HTTPSIG_H
#include "trust/bhttp.h"
#include "trust/key.h"
#include "trust/sfv.h"

enum { HTTPSIG_COMPONENTS = 11, HTTPSIG_LIFE_MAX_S = 300, HTTPSIG_KEYID_MAX = 160, HTTPSIG_NONCE_MAX = 64 };
extern const char *const httpsig_ours[HTTPSIG_COMPONENTS];

/* The signature base: one line for each component, then "@signature-params". A component that the message lacks, or
 * carries twice, is ERR_INVALID. params: the inner list with its parameters, as it stands in Signature-Input. */
enum err_code httpsig_base(const struct bhttp_message *m, const struct span *components, int count,
                           struct span params, struct buf *out, struct err *e);

struct httpsig {
    int64_t created, expires;
    struct span nonce, keyid;
    struct span params;           /* as it stands */
    uint8_t sig[KEY_SIG_BYTES];
};

/* Finds our one signature and checks its shape; ERR_NOT_FOUND when the message carries no signature at all. */
enum err_code httpsig_find(const struct bhttp_message *m, struct httpsig *out, struct err *e);
/* The signature holds under that key. base_hash: SHA-256 of the signature base, for the receipt. */
enum err_code httpsig_verify(const struct bhttp_message *m, const struct httpsig *s, const struct key_public *k,
                             uint8_t base_hash[HASH_BYTES], struct err *e);
/* Appends the values of Signature-Input and Signature. The message must carry every component already. */
enum err_code httpsig_sign(const struct bhttp_message *m, const struct key_secret *k, int64_t created,
                           int64_t expires, const char *nonce, struct buf *input, struct buf *signature, struct err *e);
void httpsig_keyid(const struct key_public *k, char out[HTTPSIG_KEYID_MAX]); /* "<name>+<hex id>" */

void httpsig_digest(struct span content, struct buf *out); /* "sha-256=:...:" */
enum err_code httpsig_check_digest(struct span field, struct span content, struct err *e);

/* RFC 9110 5.6.7, the one preferred form: "Sun, 06 Nov 1994 08:49:37 GMT". */
bool httpsig_date(struct span text, int64_t *unix_s);
void httpsig_date_text(int64_t unix_s, char out[32]);
#endif
