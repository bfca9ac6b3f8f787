/* store -- the conversations /v1/responses may go on with: in memory only, bounded, the least recently used forgotten
 * first, each tenant's apart. A restart forgets all; nothing is ever written down.
 *
 * T1  An id is found only in the name space it was put into.
 * T2  A space holds at most STORE_SPACE_BYTES, all of them STORE_BYTES and STORE_ENTRIES_MAX.
 * Any thread: the engine's reader looks up, its step thread puts. */
#ifndef API_STORE_H
#define API_STORE_H
#include "base/buf.h"

enum { STORE_ENTRIES_MAX = 4096, STORE_BYTES = 64 << 20, STORE_SPACE_BYTES = 16 << 20 };

enum api_stored { API_STORED_MESSAGES, API_STORED_RESPONSE, API_STORED_INPUT, API_STORED_KINDS };

struct api_store;
struct api_store *api_store_new(void);
void api_store_free(struct api_store *s);
/* Copies the texts, JSON each. What is too large for its space is not kept: false. */
bool api_store_put(struct api_store *s, uint64_t space, const char *id, const struct buf texts[API_STORED_KINDS]);
/* Appends one of the texts; false: not there (any more). */
bool api_store_get(struct api_store *s, uint64_t space, const char *id, enum api_stored kind, struct buf *out);
bool api_store_delete(struct api_store *s, uint64_t space, const char *id);
#endif
