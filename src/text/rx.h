/* rx -- regular languages over bytes as an algebra: and, or, not, repetition; and the DFA of one.
 *
 * Expressions are hash-consed nodes of one struct rx; building a DFA takes derivatives (Brzozowski 1964)
 * until no new state appears. Complement and intersection are nodes like any other, which is what JSON
 * Schema asks for (allOf, not, oneOf on strings). All work is counted: a language that needs more nodes or
 * states than the limits is refused, never approximated.
 * The markers RX_START and RX_END are bytes that UTF-8 does not have: they stand for ^ and $ while a
 * pattern is put together and are gone from what rx_search returns. */
#ifndef TEXT_RX_H
#define TEXT_RX_H
#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RX_NODES_MAX = 1 << 20, RX_STATES_MAX = 40000, RX_REPEAT_MAX = 100000, RX_WORK_MAX = 8000000 };
enum { RX_START = 0xFE, RX_END = 0xFF };

typedef uint32_t rx_id; /* a node; only meaningful within its struct rx */
enum { RX_NONE = 0, RX_EMPTY = 1, RX_EPS = 2, RX_ALL = 3 }; /* no node; no word; the empty word; every word */

struct rx;
struct rx *rx_new(void);
void rx_free(struct rx *x);
bool rx_failed(const struct rx *x); /* a limit was met: every id made since is RX_EMPTY */

rx_id rx_byte_range(struct rx *x, unsigned lo, unsigned hi);
rx_id rx_literal(struct rx *x, const char *p, size_t n);
rx_id rx_cat(struct rx *x, rx_id a, rx_id b);
rx_id rx_or(struct rx *x, rx_id a, rx_id b);
rx_id rx_and(struct rx *x, rx_id a, rx_id b);
rx_id rx_not(struct rx *x, rx_id a);
rx_id rx_repeat(struct rx *x, rx_id a, uint32_t min, uint32_t max); /* max UINT32_MAX: no bound */
rx_id rx_star(struct rx *x, rx_id a);
rx_id rx_opt(struct rx *x, rx_id a);
/* One of these words; sorted here, shared prefixes shared. */
rx_id rx_words(struct rx *x, const char *const *words, const size_t *lengths, size_t count);
rx_id rx_code_points(struct rx *x, uint32_t lo, uint32_t hi); /* their UTF-8; surrogates left out */
rx_id rx_any_char(struct rx *x);                              /* one character of UTF-8 */
rx_id rx_any_text(struct rx *x);                              /* any UTF-8 */
bool rx_nullable(const struct rx *x, rx_id a);
rx_id rx_derive(struct rx *x, rx_id a, unsigned byte);
rx_id rx_before_end(struct rx *x, rx_id a); /* { w : w RX_END in a } */

/* An ECMA-262 pattern (the subset without back-references and \b). whole: it must match all of the text, as
 * for guided regex; else anywhere in it, as JSON Schema says. RX_NONE with a sentence when unsupported. */
rx_id rx_parse(struct rx *x, const char *p, size_t n, bool whole, struct err *e);

/* A DFA: immutable, state 0 the start; only states from which a word can still be completed exist. */
struct rx_dfa {
    uint32_t states, classes;
    uint8_t class_of[256];
    uint32_t *next;  /* [states][classes], RX_DEAD for none */
    uint8_t *accept; /* [states] */
    uint32_t *dist;  /* [states]: the fewest characters (not bytes) to a word's end; UTF-8 languages */
    uint32_t dist_max;
    uint8_t *infinite; /* [states]: infinitely many words lead on from here */
};
#define RX_DEAD UINT32_MAX
/* NULL: the language is empty (*empty set) or too large (e says so). */
struct rx_dfa *rx_dfa_new(struct rx *x, rx_id a, bool *empty, struct err *e);
void rx_dfa_free(struct rx_dfa *d);
struct rx_dfa *rx_dfa_copy(const struct rx_dfa *d);
static inline uint32_t rx_dfa_step(const struct rx_dfa *d, uint32_t state, unsigned byte)
{
    return d->next[(size_t)state * d->classes + d->class_of[byte]];
}
/* Whether the two languages share a word; -1 when that is too much work to say. */
int rx_disjoint(struct rx *x, rx_id a, rx_id b);

/* ---- JSON numbers as texts (rx_number.c) */
struct rx_decimal {  /* mantissa * 10^-scale */
    int64_t mantissa;
    int scale;
};
bool rx_decimal_parse(const char *text, struct rx_decimal *out); /* false: not a number we can hold exactly */
rx_id rx_number_any(struct rx *x);     /* every JSON number */
rx_id rx_number_plain(struct rx *x);   /* those without an exponent */
rx_id rx_number_integer(struct rx *x); /* whole ones without an exponent; 1.0 counts */
/* Plain numbers from lo (NULL: no bound) to hi. */
rx_id rx_number_range(struct rx *x, const struct rx_decimal *lo, bool lo_open, const struct rx_decimal *hi,
        bool hi_open);
rx_id rx_number_equal(struct rx *x, struct rx_decimal v);
/* Plain multiples of v > 0; RX_NONE when that takes too many states. */
rx_id rx_number_multiple(struct rx *x, struct rx_decimal v);
#endif
