/* repeat -- requests that carry an Idempotency-Key: a client that heard no end may send the same request again and is
 * billed once, because its row in the ledger has the same request id whatever happens in between.
 *
 * The id is made of whose key it is, the Idempotency-Key, the route and the body, so it outlives a restart and nobody
 * can reach another's. A try that was cut short was billed for what was sent of it; the next one is a row of its own.
 * What is kept in memory, for a day, refuses misuse: the same key at the same time, the same key with another body, and
 * the same request over and over. No content is kept: a repeated request is computed anew.
 * Owner: the loop's thread. */
#ifndef FRONT_REPEAT_H
#define FRONT_REPEAT_H
#include "net/digest.h"
#include "net/http_parse.h"

#include <stdbool.h>

enum {
    REPEAT_KEY_MAX = 255,         /* bytes of an Idempotency-Key */
    REPEAT_TRIES = 3,             /* sent so often it is billed once; then it is refused */
    REPEATS_MAX = 4096,           /* remembered; the oldest that is not under way gives way */
    REPEAT_ID_SIZE = 5 + 2 * DIGEST_BYTES + 3,
};

struct repeats;
struct repeats *repeats_new(void);
void repeats_free(struct repeats *r);

enum repeat_verdict { REPEAT_GO, REPEAT_MALFORMED, REPEAT_UNDER_WAY, REPEAT_DIFFERENT, REPEAT_WORN };

struct repeat_ask {
    int64_t owner;                /* of the ledger's key; 0: nobody's */
    struct http_slice key, path, body;
    int64_t now_ms;
};
/* GO: *slot is to be given to repeat_end once; id is the request's for the ledger. */
enum repeat_verdict repeat_begin(struct repeats *r, const struct repeat_ask *ask, char id[REPEAT_ID_SIZE], int *slot);
enum repeat_outcome { REPEAT_NOT_BOOKED, REPEAT_PART, REPEAT_WHOLE };
void repeat_end(struct repeats *r, int slot, enum repeat_outcome o); /* NOT_BOOKED: as if it had not been sent */
const char *repeat_sentence(enum repeat_verdict v);
#endif
