/* delivered -- see delivered.h. */
#include "fleet/delivered.h"

#include "base/mem.h"

#include <string.h>

void delivered_init(struct delivered *d)
{
    *d = (struct delivered){ .mark = 0 };
    sha256_init(&d->sum);
}

void delivered_release(struct delivered *d)
{
    mem_free(d->tokens);
    *d = (struct delivered){ .mark = 0 };
}

void delivered_again(struct delivered *d)
{
    struct sha256 sum = d->sum;
    d->mark = sum.bytes;
    d->token_mark = d->token_count;
    d->at = 0;
    d->token_at = 0;
    sha256_final(&sum, d->want);
    sha256_init(&d->again);
}

bool delivered_caught_up(const struct delivered *d)
{
    return d->at >= d->mark && d->token_at >= d->token_mark;
}

static uint32_t le32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static bool remember(struct delivered *d, uint32_t id)
{
    if (d->token_count == DELIVERED_TOKENS_MAX)
        return false;
    if (d->token_count == d->token_room) {
        d->token_room = d->token_room ? 2 * d->token_room : 64;
        d->tokens = mem_grow(d->tokens, d->token_room, sizeof *d->tokens);
    }
    d->tokens[d->token_count++] = id;
    return true;
}

/* ids: count of them as the frame has them. known: how many the client has. */
static enum delivered_verdict take_tokens(struct delivered *d, const char *ids, size_t count, size_t *known)
{
    *known = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t id = le32(ids + 4 * i);
        if (d->token_at < d->token_mark) {
            if (d->tokens[d->token_at] != id)
                return DELIVERED_DIFFERENT;
            ++*known;
        } else if (!remember(d, id)) {
            return DELIVERED_MALFORMED;
        }
        d->token_at++;
    }
    return DELIVERED_NEW;
}

static enum delivered_verdict take_bytes(struct delivered *d, const char *p, size_t n, size_t *known)
{
    uint64_t left = d->at < d->mark ? d->mark - d->at : 0;
    *known = n < left ? n : (size_t)left;
    d->at += n;
    if (*known) {
        sha256_update(&d->again, p, *known);
        if (*known == left) {
            uint8_t got[SHA256_BYTES];
            struct sha256 sum = d->again;
            sha256_final(&sum, got);
            if (memcmp(got, d->want, sizeof got))
                return DELIVERED_DIFFERENT;
        }
    }
    sha256_update(&d->sum, p + *known, n - *known);
    return DELIVERED_NEW;
}

enum delivered_verdict delivered_take(struct delivered *d, const struct frame *f, struct buf *scratch,
                                      struct frame *out)
{
    const char *ids = f->payload, *bytes = f->payload;
    size_t count = 0, n = f->length, known_ids = 0, known_bytes = 0;
    if (f->flags & FRAME_TOKENS) {
        const unsigned char *u = (const unsigned char *)f->payload;
        count = n < 2 ? 0 : (size_t)(u[0] | u[1] << 8);
        if (n < 2 + 4 * count)
            return DELIVERED_MALFORMED;
        ids += 2;
        bytes = ids + 4 * count;
        n -= 2 + 4 * count;
    }
    enum delivered_verdict v = take_tokens(d, ids, count, &known_ids);
    if (v == DELIVERED_NEW)
        v = take_bytes(d, bytes, n, &known_bytes);
    if (v != DELIVERED_NEW)
        return v;
    *out = *f;
    if (known_ids == count && known_bytes == n)
        return DELIVERED_KNOWN; /* or empty */
    if (!known_ids && !known_bytes)
        return DELIVERED_NEW;
    buf_clear(scratch);
    if (f->flags & FRAME_TOKENS) {
        buf_put_u16(scratch, (uint16_t)(count - known_ids));
        buf_append(scratch, ids + 4 * known_ids, 4 * (count - known_ids));
    }
    buf_append(scratch, bytes + known_bytes, n - known_bytes);
    out->payload = buf_str(scratch);
    out->length = scratch->len;
    return DELIVERED_NEW;
}
