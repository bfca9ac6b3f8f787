/* seen -- what was seen in the last minutes: replays of sealed requests (enc) and signed ones (keyid, nonce).
 *
 * Bounded, in memory only: a restart makes a new HPKE key, so nothing sealed before can be replayed after. When the
 * set is full of things that are still young, new requests are refused rather than old ones forgotten. */
#ifndef TRUST_SEEN_H
#define TRUST_SEEN_H
#include "trust/code.h"

struct seen;

struct seen *seen_new(int capacity, int64_t keep_s);
void seen_free(struct seen *s);
/* ERR_OK: new, and remembered. ERR_DENIED: seen before. ERR_BUSY: full. */
enum err_code seen_add(struct seen *s, const void *what, size_t n, int64_t now_s, struct err *e);
#endif
