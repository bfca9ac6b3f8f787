/* delivered -- what the client of an exchange has: so many bytes, their running hash, and the token ids behind them.
 *
 * A later attempt sends the same answer from its first byte on. What the client has is compared and held back; a frame
 * that straddles the mark is cut. Bytes are compared by SHA-256 at the mark, tokens one by one.
 *
 * Tokens that come without bytes (of an answer that is no stream, of a call of a tool that is not whole yet) are kept,
 * so that the next worker need not draw them; they go to the client before the next bytes.
 *
 * I1  What delivered_take() lets through, laid end to end, is one answer: no byte and no token twice, none missing.
 * I2  Nothing of it was let through yet and `lenient` is set: another answer is as good. The one kept is forgotten. */
#ifndef FLEET_DELIVERED_H
#define FLEET_DELIVERED_H
#include "base/buf.h"
#include "base/sha256.h"
#include "wire/frame.h"

enum { DELIVERED_TOKENS_MAX = 1 << 20 };

struct delivered_at {             /* how far an attempt is */
    struct sha256 again;          /* of its bytes up to the mark */
    uint8_t want[SHA256_BYTES];   /* of the bytes up to the mark, as the client has them */
    uint64_t mark, at;            /* bytes: delivered when it began; seen of it */
    size_t token_mark, token_at;  /* tokens: kept when it began; seen of it */
};

struct delivered {
    struct sha256 sum;            /* of all bytes let through */
    uint32_t *tokens;             /* [token_count], owned: let through or kept */
    size_t token_count, token_room;
    size_t shown;                 /* of them were let through */
    bool lenient;                 /* I2 */
    struct delivered_at a;        /* of the attempt whose frames are taken */
};

enum delivered_verdict {
    DELIVERED_NEW,                /* *out goes to the client */
    DELIVERED_KEPT,               /* tokens without bytes that are new: they go with the next bytes */
    DELIVERED_KNOWN,              /* it has all of this */
    DELIVERED_DIFFERENT,          /* the answer is not the same one */
    DELIVERED_MALFORMED,          /* no DATA frame, or more tokens than DELIVERED_TOKENS_MAX */
};

void delivered_init(struct delivered *d);
void delivered_release(struct delivered *d);
void delivered_again(struct delivered *d); /* an attempt begins at its first byte */
/* f: a DATA frame of the attempt under way. out: what is new of it, its payload f's or scratch's. */
enum delivered_verdict delivered_take(struct delivered *d, const struct frame *f, struct buf *scratch,
                                      struct frame *out);
bool delivered_caught_up(const struct delivered *d); /* this attempt has sent all that the client has */
#endif
