/* sealbox -- see sealbox.h. */
#include "trust/sealbox.h"

#include "base/rng.h"

#include <sodium.h>
#include <string.h>

enum { NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES };
_Static_assert(NONCE + TAG == SEALBOX_EXTRA, "the header says what a box adds");

void sealbox_seal(const uint8_t key[SEALBOX_KEY], const void *name, size_t name_len, const void *data, size_t n,
                  uint8_t *out)
{
    rng_system(out, NONCE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + NONCE, NULL, data, n, name, name_len, NULL, out, key);
}

bool sealbox_open(const uint8_t key[SEALBOX_KEY], const void *name, size_t name_len, const uint8_t *sealed, size_t n,
                  void *out)
{
    if (!crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed + NONCE, n + TAG, name, name_len, sealed,
                                                    key))
        return true;
    memset(out, 0, n);
    return false;
}

void sealbox_derive(const uint8_t master[SEALBOX_KEY], const void *purpose, size_t n, uint8_t out[SEALBOX_KEY])
{
    static const char label[] = "tokenworks/storage/v1"; /* its NUL ends it */
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, master, SEALBOX_KEY);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)label, sizeof label);
    crypto_auth_hmacsha256_update(&state, purpose, n);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof state);
}
