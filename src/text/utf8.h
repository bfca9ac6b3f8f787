/* utf8 -- one character in, one character out, strictly: no overlong forms, no surrogates, nothing past U+10FFFF. */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H
#include <stddef.h>
#include <stdint.h>

/* The length (1..4) of the character at s[0..n) with *cp set, or 0 when the bytes are not one (*cp untouched). */
int utf8_decode(const char *s, size_t n, uint32_t *cp);
/* Writes 1..4 bytes for a code point that utf8_decode could have given; returns how many. */
int utf8_encode(uint32_t cp, char out[4]);
/* How many bytes the first byte promises (1..4); 0 for a byte that starts nothing. */
int utf8_promised(unsigned char first);
/* White space as the pre-tokenisers mean it (Unicode White_Space). */
int utf8_is_space(uint32_t cp);
#endif
