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
