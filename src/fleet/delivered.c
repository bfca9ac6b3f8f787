/* delivered -- see delivered.h. */
#include "fleet/delivered.h"

#include "base/mem.h"

#include <string.h>

void delivered_init(struct delivered *d)
{
    *d = (struct delivered){ .shown = 0 };
    sha256_init(&d->sum);
}

void delivered_release(struct delivered *d)
{
    mem_free(d->tokens);
    *d = (struct delivered){ .shown = 0 };
}

void delivered_again(struct delivered *d)
{
    struct sha256 sum = d->sum;
    d->a = (struct delivered_at){ .mark = sum.bytes, .token_mark = d->token_count };
    sha256_final(&sum, d->a.want);
    sha256_init(&d->a.again);
}

bool delivered_caught_up(const struct delivered *d)
{
    return d->a.at >= d->a.mark && d->a.token_at >= d->a.token_mark;
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

/* The attempt draws another token than was kept, of which nobody was shown anything: I2. */
static bool forget_rest(struct delivered *d)
{
    if (!d->lenient || d->sum.bytes)
        return false;
    d->token_count = d->a.token_mark = d->a.token_at;
    return true;
}

/* ids: count of them as the frame has them. known: how many are kept already. */
static enum delivered_verdict take_tokens(struct delivered *d, const char *ids, size_t count, size_t *known)
{
    struct delivered_at *a = &d->a;
    *known = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t id = le32(ids + 4 * i);
        if (a->token_at < a->token_mark && d->tokens[a->token_at] != id && !forget_rest(d))
            return DELIVERED_DIFFERENT;
        if (a->token_at < a->token_mark)
            ++*known;
        else if (!remember(d, id))
            return DELIVERED_MALFORMED;
        a->token_at++;
    }
    return DELIVERED_NEW;
}

static enum delivered_verdict take_bytes(struct delivered *d, const char *p, size_t n, size_t *known)
{
    struct delivered_at *a = &d->a;
    uint64_t left = a->at < a->mark ? a->mark - a->at : 0;
    *known = n < left ? n : (size_t)left;
    a->at += n;
    if (*known) {
        sha256_update(&a->again, p, *known);
        if (*known == left) {
            uint8_t got[SHA256_BYTES];
            struct sha256 sum = a->again;
            sha256_final(&sum, got);
            if (memcmp(got, a->want, sizeof got))
                return DELIVERED_DIFFERENT;
        }
    }
    sha256_update(&d->sum, p + *known, n - *known);
    return DELIVERED_NEW;
}

/* Tokens up to here that were not let through yet. */
static size_t due_tokens(const struct delivered *d)
{
    size_t due = d->a.token_at > d->shown ? d->a.token_at - d->shown : 0;
    return due < UINT16_MAX ? due : UINT16_MAX;
}

/* New bytes, and before them the ids that are due. */
static void let_through(struct delivered *d, const struct frame *f, const char *bytes, size_t n, struct buf *scratch,
                        struct frame *out)
{
    size_t due = due_tokens(d);
    buf_clear(scratch);
    if (f->flags & FRAME_TOKENS) {
        buf_put_u16(scratch, (uint16_t)due);
        for (size_t i = 0; i < due; i++)
            buf_put_u32(scratch, d->tokens[d->shown + i]);
        d->shown += due;
    }
    buf_append(scratch, bytes, n);
    out->payload = buf_str(scratch);
    out->length = scratch->len;
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
    if (known_bytes == n)
        return known_ids < count ? DELIVERED_KEPT : DELIVERED_KNOWN;
    *out = *f;
    if (!known_bytes && (count == due_tokens(d) || !(f->flags & FRAME_TOKENS)))
        d->shown += count; /* it goes on as it is */
    else
        let_through(d, f, bytes + known_bytes, n - known_bytes, scratch, out);
    return DELIVERED_NEW;
}
