/* jinja_str -- Python's view of text over UTF-8: code points, whitespace, case, what is printable. */
#ifndef TEXT_JINJA_STR_H
#define TEXT_JINJA_STR_H
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool ju_valid(const char *p, size_t n);            /* well-formed UTF-8, no surrogates */
size_t ju_count(const char *p, size_t n);          /* code points */
size_t ju_len(unsigned char first);                /* bytes of the character that starts so */
uint32_t ju_decode(const char *p, size_t n, size_t *len); /* p valid, n > 0 */
void ju_put(struct buf *b, uint32_t cp);           /* appends as UTF-8 */
size_t ju_offset(const char *p, size_t n, size_t chars); /* byte offset of that character; n when past the end */
size_t ju_find(const char *p, size_t n, const char *what, size_t what_n);  /* first, or SIZE_MAX */
size_t ju_rfind(const char *p, size_t n, const char *what, size_t what_n); /* last, or SIZE_MAX */

bool ju_space(uint32_t cp);        /* str.isspace */
bool ju_line_break(uint32_t cp);   /* where str.splitlines breaks */
bool ju_printable(uint32_t cp);    /* what repr() leaves as it is */
bool ju_alpha(uint32_t cp);
bool ju_digit(uint32_t cp);        /* str.isdigit, and isnumeric near enough */
bool ju_decimal(uint32_t cp);
bool ju_upper(uint32_t cp);
bool ju_lower(uint32_t cp);
bool ju_word(uint32_t cp);         /* \w */

/* Length of leading (trailing) bytes of p[0..n) made of characters in set; set NULL is whitespace. */
size_t ju_lead(const char *p, size_t n, const char *set, size_t set_n);
size_t ju_trail(const char *p, size_t n, const char *set, size_t set_n);

enum ju_case { JU_UPPER, JU_LOWER, JU_TITLE_FIRST, JU_SWAP, JU_FOLD };
void ju_put_case(struct buf *b, uint32_t cp, enum ju_case to); /* full mapping: sharp s becomes SS */
#endif
