/* code -- bytes as text: SHA-256, hex and base64 with one spelling each, numbers and times as our notes write them.
 *
 * Everything that is signed has exactly one encoding; the decoders here refuse every other. */
#ifndef TRUST_CODE_H
#define TRUST_CODE_H
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HASH_BYTES = 32, HASH_HEX = 64, HASH_TEXT_MAX = 7 + HASH_HEX + 1, TIME_TEXT_MAX = 21 };

/* A run of someone else's bytes. */
struct span {
    const char *data;
    size_t len;
};
#define SPAN(literal) ((struct span){ (literal), sizeof(literal) - 1 })
struct span span_of(const char *s);
bool span_is(struct span s, const char *text);
bool span_same(struct span a, struct span b);
/* The line up to the next LF, which is taken away from *rest too; false when no LF is left. */
bool span_line(struct span *rest, struct span *line);
/* Splits at the first sep; false when there is none. */
bool span_cut(struct span s, char sep, struct span *left, struct span *right);

enum err_code trust_init(struct err *e); /* once per process, before anything else of this floor */

void code_sha256(uint8_t out[HASH_BYTES], const void *data, size_t n);
bool code_same(const void *a, const void *b, size_t n); /* constant time */

void code_hex(char *out, const uint8_t *data, size_t n); /* lower case, 2n characters and a NUL */
bool code_unhex(uint8_t *out, size_t n, struct span text); /* exactly 2n lower-case digits */

bool code_base64(struct buf *out, const void *data, size_t n);
/* Standard alphabet with padding, no other byte, no stray bits. *n: in room, out bytes. */
bool code_unbase64(uint8_t *out, size_t *n, struct span text);
bool code_unbase64_exact(uint8_t *out, size_t n, struct span text);

bool code_uint(struct span text, uint64_t *out);          /* decimal, no sign, no leading zero */
void code_hash_text(char out[HASH_TEXT_MAX], const uint8_t hash[HASH_BYTES]); /* "sha256:<hex>" */
bool code_unhash_text(uint8_t hash[HASH_BYTES], struct span text);
void code_time_text(char out[TIME_TEXT_MAX], int64_t unix_s); /* "2026-11-21T10:12:43Z" */
bool code_untime_text(int64_t *unix_s, struct span text);
#endif
