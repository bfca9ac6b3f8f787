/* keys -- the API keys a front accepts: their SHA-256 only. A key file has a line per key: 64 hex digits of its
 * SHA-256, then optionally a blank and a name; '#' starts a comment. */
#ifndef FRONT_KEYS_H
#define FRONT_KEYS_H
#include "base/err.h"
#include "net/http_parse.h"

#include <stdbool.h>

struct keys;

/* file (NULL: none) and the key itself in plain (NULL: none) together. No key at all: an empty set. */
struct keys *keys_load(const char *file, const char *plain, struct err *e);
void keys_free(struct keys *k);
int keys_count(const struct keys *k);
/* What the request shows: x-api-key, else Authorization: Bearer; empty when neither. */
struct http_slice keys_shown(const struct http_head *h);
/* Looks at Authorization: Bearer and x-api-key. The name of the key that fits ("" when it has none), or NULL.
 * Takes the same time whichever key of the set it is, and when none fits. */
const char *keys_check(const struct keys *k, const struct http_head *h);
#endif
