/* digest -- see digest.h. */
#include "net/digest.h"

#include "base/assert.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

void digest_sha256(const void *data, size_t n, uint8_t out[DIGEST_BYTES])
{
    unsigned length = 0;
    int ok = EVP_Digest(data, n, out, &length, EVP_sha256(), NULL);
    ASSERT(ok == 1 && length == DIGEST_BYTES);
}

bool digest_equal(const uint8_t a[DIGEST_BYTES], const uint8_t b[DIGEST_BYTES])
{
    return CRYPTO_memcmp(a, b, DIGEST_BYTES) == 0;
}
