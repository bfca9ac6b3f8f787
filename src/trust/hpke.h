/* hpke -- RFC 9180, base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305 (suite 0x0020/0x0001/0x0003).
 *
 * AES-128-GCM is there because the vectors of RFC 9458 use it; key configurations we hand out never name it. */
#ifndef TRUST_HPKE_H
#define TRUST_HPKE_H
#include "trust/code.h"

enum hpke_aead { HPKE_AES_128_GCM = 1, HPKE_CHACHA20_POLY1305 = 3 };
enum { HPKE_KEM = 0x0020, HPKE_KDF = 0x0001, HPKE_KEY_BYTES = 32, HPKE_TAG_BYTES = 16, HPKE_NONCE_BYTES = 12,
       HPKE_LABEL_MAX = 256 };

struct hpke {
    enum hpke_aead aead;
    uint8_t key[32], base_nonce[HPKE_NONCE_BYTES], exporter[HASH_BYTES];
    uint64_t seq;
};

size_t hpke_key_bytes(enum hpke_aead aead); /* 16 or 32 */
void hpke_keypair(uint8_t secret[HPKE_KEY_BYTES], uint8_t pub[HPKE_KEY_BYTES]);
void hpke_public(const uint8_t secret[HPKE_KEY_BYTES], uint8_t pub[HPKE_KEY_BYTES]);

/* Sender: enc goes ahead of the ciphertext. ephemeral NULL: a fresh one; vectors give theirs. */
enum err_code hpke_send(enum hpke_aead aead, const uint8_t to[HPKE_KEY_BYTES], struct span info,
                        const uint8_t *ephemeral, uint8_t enc[HPKE_KEY_BYTES], struct hpke *out, struct err *e);
/* Receiver. ERR_DENIED for a point of small order. */
enum err_code hpke_receive(enum hpke_aead aead, const uint8_t secret[HPKE_KEY_BYTES],
                           const uint8_t enc[HPKE_KEY_BYTES], struct span info, struct hpke *out, struct err *e);
void hpke_wipe(struct hpke *h);

/* out has room for the text and HPKE_TAG_BYTES (seal), or for that much less (open). */
enum err_code hpke_seal(struct hpke *h, struct span aad, struct span text, uint8_t *out, struct err *e);
enum err_code hpke_open(struct hpke *h, struct span aad, struct span sealed, uint8_t *out, struct err *e);
void hpke_export(const struct hpke *h, struct span context, uint8_t *out, size_t n); /* n at most 8160 */

/* The parts OHTTP needs for its responses. */
void hkdf_extract(struct span salt, struct span ikm, uint8_t prk[HASH_BYTES]);
void hkdf_expand(const uint8_t prk[HASH_BYTES], struct span info, uint8_t *out, size_t n);
enum err_code aead_seal(enum hpke_aead aead, const uint8_t *key, const uint8_t nonce[HPKE_NONCE_BYTES],
                        struct span aad, struct span text, uint8_t *out, struct err *e);
enum err_code aead_open(enum hpke_aead aead, const uint8_t *key, const uint8_t nonce[HPKE_NONCE_BYTES],
                        struct span aad, struct span sealed, uint8_t *out, struct err *e);
#endif
