/* digest -- SHA-256 and comparison in constant time, for API keys. */
#ifndef NET_DIGEST_H
#define NET_DIGEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGEST_BYTES = 32 };

void digest_sha256(const void *data, size_t n, uint8_t out[DIGEST_BYTES]);
bool digest_equal(const uint8_t a[DIGEST_BYTES], const uint8_t b[DIGEST_BYTES]); /* constant time */
#endif
