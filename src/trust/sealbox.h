/* sealbox -- bytes sealed for a disk: XChaCha20-Poly1305 with a random nonce, bound to what they are called. */
#ifndef TRUST_SEALBOX_H
#define TRUST_SEALBOX_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEALBOX_KEY = 32, SEALBOX_EXTRA = 24 + 16 };

/* out gets n + SEALBOX_EXTRA bytes; name is sealed with them. */
void sealbox_seal(const uint8_t key[SEALBOX_KEY], const void *name, size_t name_len, const void *data, size_t n,
                  uint8_t *out);
/* The key for one purpose, out of the one a keeper holds: HMAC-SHA-256. */
void sealbox_derive(const uint8_t master[SEALBOX_KEY], const void *purpose, size_t n, uint8_t out[SEALBOX_KEY]);
/* false: changed, of another name or key; out (n bytes) is then zeroed. */
bool sealbox_open(const uint8_t key[SEALBOX_KEY], const void *name, size_t name_len, const uint8_t *sealed, size_t n,
                  void *out);
#endif
