/* stop -- finds the first stop string in text that arrives in pieces: Knuth-Morris-Pratt, one automaton for each
 * string, so a byte costs O(1) amortised whatever the strings are, and what must be held back is known exactly. */
#ifndef API_STOP_H
#define API_STOP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STOP_STRINGS_MAX = 16, STOP_BYTES_MAX = 1024 }; /* API_STOPS_MAX, API_STOP_BYTES_MAX */

struct stop_string {
    char *text;     /* owned, len bytes */
    uint16_t *fail; /* [len]: length of the longest proper border of text[0..i] */
    int len;        /* 1..STOP_BYTES_MAX */
};

struct stop_set { /* immutable once filled; shared by the choices of a job */
    struct stop_string strings[STOP_STRINGS_MAX];
    int count;
};

struct stop_state { /* zero at the start of a text */
    uint16_t at[STOP_STRINGS_MAX]; /* bytes of each string matched by the end of the text so far */
};

void stop_set_add(struct stop_set *s, const char *text, int len); /* room and length are the caller's to check */
void stop_set_release(struct stop_set *s);
/* Reads text up to the byte that completes a string: true, *used = bytes read including it, *match = bytes of the
 * longest string completed there. Otherwise false and everything was read. */
bool stop_feed(const struct stop_set *s, struct stop_state *st, const char *text, size_t n, size_t *used,
               size_t *match);
/* How many bytes at the end of the text so far may begin a stop string. */
size_t stop_held(const struct stop_set *s, const struct stop_state *st);
#endif
