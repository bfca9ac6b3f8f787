/* delivered_test -- what a client gets of an answer that is sent again and again, cut differently each time: once. */
#include "../test.h"
#include "base/mem.h"
#include "base/rng.h"
#include "fleet/delivered.h"

#include <stdlib.h>

enum { TOKENS_MOST = 80 };

struct answer {
    int tokens;
    uint32_t id[TOKENS_MOST];
    int from[TOKENS_MOST + 1];    /* where each token's bytes begin; none to 12 of them */
    char bytes[TOKENS_MOST * 12];
};

static void make(struct answer *a, struct rng *r)
{
    a->tokens = (int)rng_below(r, TOKENS_MOST);
    a->from[0] = 0;
    for (int i = 0; i < a->tokens; i++) {
        a->id[i] = (uint32_t)rng_next(r);
        a->from[i + 1] = a->from[i] + (int)rng_below(r, 13) + (i == a->tokens - 1);
    }
    for (int i = 0; i < a->from[a->tokens]; i++)
        a->bytes[i] = (char)rng_next(r);
}

/* Tokens [at, to) as a DATA frame. */
static struct frame cut(const struct answer *a, int at, int to, struct buf *b)
{
    buf_clear(b);
    buf_put_u16(b, (uint16_t)(to - at));
    for (int i = at; i < to; i++)
        buf_put_u32(b, a->id[i]);
    buf_append(b, a->bytes + a->from[at], (size_t)(a->from[to] - a->from[at]));
    return (struct frame){ .kind = FRAME_DATA, .flags = FRAME_TOKENS, .payload = buf_str(b), .length = b->len };
}

struct got {
    uint32_t id[2 * TOKENS_MOST];
    int tokens;
    struct buf bytes;
};

static void take(struct got *g, const struct frame *f)
{
    const unsigned char *u = (const unsigned char *)f->payload;
    int count = u[0] | u[1] << 8;
    CHECK(f->length >= 2 + 4 * (size_t)count && f->length > 2);
    for (int i = 0; i < count && g->tokens < 2 * TOKENS_MOST; i++) {
        const unsigned char *t = u + 2 + 4 * i;
        g->id[g->tokens++] = t[0] | (uint32_t)t[1] << 8 | (uint32_t)t[2] << 16 | (uint32_t)t[3] << 24;
    }
    buf_append(&g->bytes, f->payload + 2 + 4 * count, f->length - 2 - 4 * (size_t)count);
}

/* One attempt up to some token; what is new goes to g. */
static void attempt(struct delivered *d, const struct answer *a, int until, struct rng *r, struct got *g)
{
    struct buf payload = { 0 }, scratch = { 0 };
    delivered_again(d);
    for (int at = 0; at < until;) {
        int to = at + 1 + (int)rng_below(r, 9);
        to = to > until ? until : to;
        struct frame f = cut(a, at, to, &payload), out;
        enum delivered_verdict v = delivered_take(d, &f, &scratch, &out);
        CHECK(v == DELIVERED_NEW || v == DELIVERED_KEPT || v == DELIVERED_KNOWN);
        if (v == DELIVERED_NEW)
            take(g, &out);
        at = to;
    }
    buf_release(&payload);
    buf_release(&scratch);
}

static void once_and_whole(void)
{
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct rng r = { seed, 0 };
        struct answer a;
        struct delivered d;
        struct got g = { .tokens = 0 };
        int failures = test_failures;
        make(&a, &r);
        delivered_init(&d);
        for (int left = (int)rng_below(&r, 4); left > 0; left--)
            attempt(&d, &a, (int)rng_below(&r, (uint64_t)a.tokens + 1), &r, &g);
        attempt(&d, &a, a.tokens, &r, &g);
        CHECK(delivered_caught_up(&d));
        CHECK_INT(g.tokens, a.tokens);
        CHECK(!memcmp(g.id, a.id, (size_t)a.tokens * sizeof a.id[0]));
        CHECK_INT((int)g.bytes.len, a.from[a.tokens]);
        CHECK(!g.bytes.len || !memcmp(g.bytes.data, a.bytes, g.bytes.len));
        delivered_release(&d);
        buf_release(&g.bytes);
        if (test_failures > failures) {
            printf("# seed %d\n", (int)seed);
            return;
        }
    }
}

/* One byte or one id that differs, among what the client has, never passes for the same answer. */
static void a_difference_is_seen(void)
{
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct rng r = { seed, 0 };
        struct answer a;
        struct delivered d;
        struct got g = { .tokens = 0 };
        struct buf payload = { 0 }, scratch = { 0 };
        struct frame out;
        do
            make(&a, &r);
        while (a.tokens < 2 || !a.from[a.tokens]);
        delivered_init(&d);
        attempt(&d, &a, a.tokens, &r, &g);
        if (seed & 1)
            a.id[rng_below(&r, (uint64_t)a.tokens)] ^= 1u << rng_below(&r, 32);
        else
            a.bytes[rng_below(&r, (uint64_t)a.from[a.tokens])] ^= (char)(1 << rng_below(&r, 8));
        delivered_again(&d);
        struct frame f = cut(&a, 0, a.tokens, &payload);
        CHECK_INT(delivered_take(&d, &f, &scratch, &out), DELIVERED_DIFFERENT);
        delivered_release(&d);
        buf_release(&g.bytes);
        buf_release(&payload);
        buf_release(&scratch);
    }
}

/* Of an answer that is no stream nothing was shown: what another worker draws instead is as good. */
static void nothing_shown_yet(void)
{
    struct answer a = { .tokens = 3, .id = { 5, 6, 7 }, .from = { 0, 0, 0, 4 }, .bytes = "abcd" };
    for (int lenient = 0; lenient < 2; lenient++) {
        struct delivered d;
        struct buf payload = { 0 }, scratch = { 0 };
        struct frame f, out;
        struct got g = { .tokens = 0 };
        delivered_init(&d);
        delivered_again(&d);
        a.id[1] = 6;
        f = cut(&a, 0, 2, &payload);
        CHECK_INT(delivered_take(&d, &f, &scratch, &out), DELIVERED_KEPT);
        CHECK_INT(d.token_count, 2);
        d.lenient = lenient;
        a.id[1] = 8;
        delivered_again(&d);
        f = cut(&a, 0, 2, &payload);
        CHECK_INT(delivered_take(&d, &f, &scratch, &out), lenient ? DELIVERED_KEPT : DELIVERED_DIFFERENT);
        f = cut(&a, 2, 3, &payload);
        if (lenient && delivered_take(&d, &f, &scratch, &out) == DELIVERED_NEW)
            take(&g, &out);
        CHECK(!lenient || (g.tokens == 3 && !memcmp(g.id, a.id, sizeof g.id[0] * 3) && delivered_caught_up(&d)));
        if (lenient) { /* the bytes were shown: now it must be the same */
            a.id[0] = 9;
            delivered_again(&d);
            f = cut(&a, 0, 1, &payload);
            CHECK_INT(delivered_take(&d, &f, &scratch, &out), DELIVERED_DIFFERENT);
            a.id[0] = 5;
        }
        delivered_release(&d);
        buf_release(&payload);
        buf_release(&scratch);
        buf_release(&g.bytes);
    }
}

static void hostile_frames(void)
{
    static const struct {
        uint16_t flags;
        size_t n;
        char p[12];
        enum delivered_verdict want;
    } cases[] = {
        { FRAME_TOKENS, 0, "", DELIVERED_MALFORMED },
        { FRAME_TOKENS, 1, "\x00", DELIVERED_MALFORMED },
        { FRAME_TOKENS, 5, "\x01\x00\x01\x02\x03", DELIVERED_MALFORMED },
        { FRAME_TOKENS, 6, "\xff\xff\x01\x02\x03\x04", DELIVERED_MALFORMED },
        { FRAME_TOKENS, 2, "\x00\x00", DELIVERED_KNOWN },
        { FRAME_TOKENS, 6, "\x01\x00\x01\x02\x03\x04", DELIVERED_KEPT },
        { FRAME_TOKENS, 7, "\x01\x00\x01\x02\x03\x04z", DELIVERED_NEW },
        { 0, 0, "", DELIVERED_KNOWN },
        { 0, 3, "abc", DELIVERED_NEW },
    };
    for (size_t i = 0; i < MEM_COUNT(cases); i++) {
        struct delivered d;
        struct buf scratch = { 0 };
        struct frame f = { .kind = FRAME_DATA, .flags = cases[i].flags, .payload = cases[i].p,
                           .length = cases[i].n }, out;
        delivered_init(&d);
        delivered_again(&d);
        CHECK_INT(delivered_take(&d, &f, &scratch, &out), cases[i].want);
        delivered_release(&d);
        buf_release(&scratch);
    }
}

int main(void)
{
    RUN(once_and_whole);
    RUN(a_difference_is_seen);
    RUN(nothing_shown_yet);
    RUN(hostile_frames);
    DONE();
}
