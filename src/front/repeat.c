/* repeat -- see repeat.h. A plain table, searched whole: only requests with an Idempotency-Key come here. */
#include "front/repeat.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

#include <string.h>

enum { DAY_MS = 86400000 };

struct entry {
    uint8_t key[DIGEST_BYTES];    /* owner and Idempotency-Key */
    uint8_t whole[DIGEST_BYTES];  /* and the route and the body */
    int64_t since_ms;
    int tries;                    /* 0: the entry is free */
    int parts;                    /* tries that were cut short and booked so */
    bool under_way;
};

struct repeats {
    struct entry v[REPEATS_MAX];
    int count;                    /* v[count..] were never used */
};

struct repeats *repeats_new(void)
{
    return MEM_NEW(struct repeats);
}

void repeats_free(struct repeats *r)
{
    mem_free(r);
}

const char *repeat_sentence(enum repeat_verdict v)
{
    switch (v) {
    case REPEAT_MALFORMED: return "an Idempotency-Key is 1 to 255 printable characters";
    case REPEAT_UNDER_WAY: return "a request with this Idempotency-Key is being answered; wait for it to end";
    case REPEAT_DIFFERENT: return "this Idempotency-Key came with another request before; use a new one";
    case REPEAT_WORN: return "this Idempotency-Key was used too often; use a new one";
    case REPEAT_GO: break;
    }
    return "";
}

static void digest_parts(const struct repeat_ask *a, uint8_t key[DIGEST_BYTES], uint8_t whole[DIGEST_BYTES])
{
    struct buf b = { 0 };
    buf_put_u64(&b, (uint64_t)a->owner);
    buf_append(&b, a->key.p, a->key.n);
    digest_sha256(b.data, b.len, key);
    buf_clear(&b);
    buf_append(&b, key, DIGEST_BYTES); /* of fixed length, so that no two sets of parts give the same bytes */
    buf_put_u64(&b, a->path.n);
    buf_append(&b, a->path.p, a->path.n);
    uint8_t body[DIGEST_BYTES];
    digest_sha256(a->body.n ? a->body.p : "", a->body.n, body);
    buf_append(&b, body, sizeof body);
    digest_sha256(b.data, b.len, whole);
    buf_release(&b);
}

static bool printable(struct http_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    return s.n > 0 && s.n <= REPEAT_KEY_MAX;
}

/* The entry of this key, else one to use for it, else NULL when all are under way. */
static struct entry *find(struct repeats *r, const uint8_t key[DIGEST_BYTES], int64_t now_ms)
{
    struct entry *oldest = NULL;
    for (int i = 0; i < r->count; i++) {
        struct entry *e = &r->v[i];
        if (!e->under_way && now_ms - e->since_ms > DAY_MS)
            e->tries = 0;
        if (e->tries && !memcmp(e->key, key, DIGEST_BYTES))
            return e;
        if (!e->under_way && (!oldest || !e->tries || (oldest->tries && e->since_ms < oldest->since_ms)))
            oldest = e;
    }
    if (r->count < REPEATS_MAX && (!oldest || oldest->tries))
        oldest = &r->v[r->count++];
    if (oldest)
        *oldest = (struct entry){ .tries = 0 };
    return oldest;
}

enum repeat_verdict repeat_begin(struct repeats *r, const struct repeat_ask *ask, char id[REPEAT_ID_SIZE], int *slot)
{
    uint8_t key[DIGEST_BYTES], whole[DIGEST_BYTES];
    if (!printable(ask->key))
        return REPEAT_MALFORMED;
    digest_parts(ask, key, whole);
    struct entry *e = find(r, key, ask->now_ms);
    if (!e || e->under_way)
        return REPEAT_UNDER_WAY;
    if (e->tries && memcmp(e->whole, whole, sizeof whole))
        return REPEAT_DIFFERENT;
    if (e->tries >= REPEAT_TRIES)
        return REPEAT_WORN;
    if (!e->tries)
        e->since_ms = ask->now_ms;
    memcpy(e->key, key, sizeof key);
    memcpy(e->whole, whole, sizeof whole);
    e->tries++;
    e->under_way = true;
    *slot = (int)(e - r->v);
    memcpy(id, "idem-", 5);
    for (int i = 0; i < DIGEST_BYTES; i++) {
        id[5 + 2 * i] = "0123456789abcdef"[whole[i] >> 4];
        id[6 + 2 * i] = "0123456789abcdef"[whole[i] & 15];
    }
    char *end = id + 5 + 2 * DIGEST_BYTES;
    if (e->parts) { /* below REPEAT_TRIES: a digit */
        *end++ = '-';
        *end++ = (char)('0' + e->parts);
    }
    *end = '\0';
    return REPEAT_GO;
}

void repeat_end(struct repeats *r, int slot, enum repeat_outcome o)
{
    ASSERT(slot >= 0 && slot < r->count && r->v[slot].under_way);
    r->v[slot].under_way = false;
    r->v[slot].tries -= o == REPEAT_NOT_BOOKED;
    r->v[slot].parts += o == REPEAT_PART;
}
