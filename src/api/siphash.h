/* siphash -- SipHash-2-4, a keyed hash of 64 bits (Aumasson and Bernstein, INDOCRYPT 2012): without the key nobody
 * can tell or choose what a text hashes to. Checked against the authors' vectors. */
#ifndef API_SIPHASH_H
#define API_SIPHASH_H
#include <stddef.h>
#include <stdint.h>

enum { SIPHASH_KEY_BYTES = 16 };
uint64_t siphash(const uint8_t key[SIPHASH_KEY_BYTES], const void *data, size_t n);
#endif
