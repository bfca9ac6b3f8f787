/* sha256 -- SHA-256 (FIPS 180-4) for naming inputs and files: below trust/, where OpenSSL enters.
 *
 * Not for secrets. Portable C, about 250 MB/s. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H
#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_HEX_MAX = 65 };

struct sha256 {
    uint32_t state[8];
    uint64_t bytes;      /* fed so far */
    uint8_t block[64];   /* the unfinished block: bytes % 64 of it are filled */
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t n);
void sha256_final(struct sha256 *s, uint8_t out[SHA256_BYTES]); /* s must be initialised again before reuse */
void sha256_of(const void *data, size_t n, uint8_t out[SHA256_BYTES]);
/* Lower-case hexadecimal and a NUL. */
void sha256_hex(const uint8_t digest[SHA256_BYTES], char out[SHA256_HEX_MAX]);
#endif
