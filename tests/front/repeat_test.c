/* repeat_test -- requests with an Idempotency-Key: the same id for the same request, nobody else's, and what is misuse. */
#include "../test.h"
#include "front/repeat.h"

enum { DAY_MS = 86400000 };

static struct repeat_ask ask(int64_t owner, const char *key, const char *path, const char *body, int64_t now_ms)
{
    return (struct repeat_ask){ owner, { key, strlen(key) }, { path, strlen(path) }, { body, strlen(body) }, now_ms };
}

static enum repeat_verdict begin(struct repeats *r, struct repeat_ask a, char id[REPEAT_ID_SIZE], int *slot)
{
    return repeat_begin(r, &a, id, slot);
}

static void the_same_request_has_the_same_id(void)
{
    struct repeats *r = repeats_new(), *later = repeats_new();
    char id[REPEAT_ID_SIZE], other[REPEAT_ID_SIZE];
    int slot;
    CHECK_INT(begin(r, ask(1, "k", "/p", "body", 5), id, &slot), REPEAT_GO);
    repeat_end(r, slot, REPEAT_WHOLE);
    CHECK_INT(begin(r, ask(1, "k", "/p", "body", 6), other, &slot), REPEAT_GO);
    CHECK_STR(other, id);
    repeat_end(r, slot, REPEAT_WHOLE);
    CHECK_INT(begin(later, ask(1, "k", "/p", "body", 7), other, &slot), REPEAT_GO); /* after a restart */
    CHECK_STR(other, id);
    repeat_end(later, slot, REPEAT_WHOLE);
    static const struct { int64_t owner; const char *key, *path, *body; } differ[] = {
        { 2, "k", "/p", "body" }, { 1, "K", "/p", "body" }, { 3, "k", "/pb", "ody" }, { 4, "k", "/p", "bod" },
    };
    for (size_t i = 0; i < 4; i++) {
        CHECK_INT(begin(r, ask(differ[i].owner, differ[i].key, differ[i].path, differ[i].body, 8), other, &slot),
                  REPEAT_GO);
        CHECK(strcmp(other, id) != 0);
    }
    repeats_free(r);
    repeats_free(later);
}

static void misuse_is_refused(void)
{
    struct repeats *r = repeats_new();
    char id[REPEAT_ID_SIZE], part[REPEAT_ID_SIZE], longest[REPEAT_KEY_MAX + 2];
    int slot, again;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    CHECK_INT(begin(r, ask(1, "", "/p", "b", 0), id, &slot), REPEAT_MALFORMED);
    CHECK_INT(begin(r, ask(1, "a\tb", "/p", "b", 0), id, &slot), REPEAT_MALFORMED);
    CHECK_INT(begin(r, ask(1, longest, "/p", "b", 0), id, &slot), REPEAT_MALFORMED);
    CHECK_INT(begin(r, ask(1, longest + 1, "/p", "b", 0), id, &slot), REPEAT_GO);
    CHECK_INT(begin(r, ask(1, longest + 1, "/p", "b", 0), id, &again), REPEAT_UNDER_WAY);
    repeat_end(r, slot, REPEAT_NOT_BOOKED); /* as if it had not been sent */
    for (int i = 0; i < REPEAT_TRIES; i++) {
        CHECK_INT(begin(r, ask(1, "k", "/p", "b", 0), i ? part : id, &slot), REPEAT_GO);
        CHECK(!i || strcmp(part, id) != 0); /* what was cut short was billed: a row of its own */
        repeat_end(r, slot, REPEAT_PART);
    }
    CHECK_INT(begin(r, ask(1, "k", "/p", "b", 0), id, &slot), REPEAT_WORN);
    CHECK_INT(begin(r, ask(1, "k", "/p", "other", 0), id, &slot), REPEAT_DIFFERENT);
    CHECK_INT(begin(r, ask(1, "k", "/p", "other", DAY_MS + 1), id, &slot), REPEAT_GO); /* a day later it is new */
    for (int v = REPEAT_MALFORMED; v <= REPEAT_WORN; v++)
        CHECK(*repeat_sentence((enum repeat_verdict)v) != '\0');
    repeats_free(r);
}

static void a_full_table_gives_way_but_never_what_is_under_way(void)
{
    struct repeats *r = repeats_new();
    char id[REPEAT_ID_SIZE], key[32];
    int slot, held;
    CHECK_INT(begin(r, ask(1, "held", "/p", "b", 0), id, &held), REPEAT_GO);
    for (int i = 0; i < 2 * REPEATS_MAX; i++) {
        snprintf(key, sizeof key, "k%d", i);
        CHECK_INT(begin(r, ask(1, key, "/p", "b", i), id, &slot), REPEAT_GO);
        repeat_end(r, slot, REPEAT_WHOLE);
    }
    CHECK_INT(begin(r, ask(1, "held", "/p", "b", 0), id, &slot), REPEAT_UNDER_WAY);
    CHECK_INT(begin(r, ask(1, "k0", "/p", "another", 1), id, &slot), REPEAT_GO); /* the oldest was forgotten */
    repeats_free(r);
}

int main(void)
{
    RUN(the_same_request_has_the_same_id);
    RUN(misuse_is_refused);
    RUN(a_full_table_gives_way_but_never_what_is_under_way);
    DONE();
}
