/* key -- named Ed25519 keys as C2SP signed-note writes them: what verifies, and what signs.
 *
 *     <name>+<hex key id>+base64(type || public key)               a verifier key ("vkey")
 *     PRIVATE+KEY+<name>+<hex key id>+base64(type || seed)         a signer key, as Go's note package writes it
 *     key id = SHA-256(name || LF || type || public key)[0..4]
 */
#ifndef TRUST_KEY_H
#define TRUST_KEY_H
#include "trust/code.h"

enum {
    KEY_NOTE = 0x01,        /* Ed25519 over the note's text */
    KEY_COSIGNATURE = 0x04, /* timestamped Ed25519 over a checkpoint: tlog-cosignature */
    KEY_NAME_MAX = 127,
    KEY_TEXT_MAX = 256,
    KEY_PUBLIC_BYTES = 32,
    KEY_SECRET_BYTES = 64,
    KEY_SEED_BYTES = 32,
    KEY_SIG_BYTES = 64,
};

struct key_public {
    char name[KEY_NAME_MAX + 1];
    uint32_t id;
    uint8_t type;
    uint8_t key[KEY_PUBLIC_BYTES];
};

struct key_secret {
    struct key_public pub;
    uint8_t secret[KEY_SECRET_BYTES]; /* seed || public key; key_secret_wipe */
};

bool key_name_ok(struct span name); /* not empty, no space, no plus, no control character, not too long */
enum err_code key_public_parse(struct span vkey, struct key_public *out, struct err *e);
void key_public_text(const struct key_public *k, char out[KEY_TEXT_MAX]);
enum err_code key_secret_parse(struct span skey, struct key_secret *out, struct err *e);
void key_secret_text(const struct key_secret *k, char out[KEY_TEXT_MAX]);
/* From a seed, or a fresh one when seed is NULL. */
enum err_code key_secret_new(const char *name, uint8_t type, const uint8_t *seed, struct key_secret *out,
                             struct err *e);
void key_secret_wipe(struct key_secret *k);

/* false also for keys of small order and for signatures with more than one encoding. */
bool key_verify(const struct key_public *k, const void *data, size_t n, const uint8_t sig[KEY_SIG_BYTES]);
void key_sign(const struct key_secret *k, const void *data, size_t n, uint8_t sig[KEY_SIG_BYTES]);
#endif
