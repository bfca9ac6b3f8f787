/* kv_test -- pages: references against a count kept aside, prefix sharing, eviction of the oldest, no leak. */
#include "../test.h"
#include "base/rng.h"
#include "infer/kv.h"
#include "infer/seq.h"

enum { PAGES = 40, LIVE_MAX = 12 };

static void whole_pages_are_shared(void)
{
    struct kv_pool *kv = kv_pool_new(64, 16);
    int32_t prompt[100];
    for (int i = 0; i < 100; i++)
        prompt[i] = i;
    struct seq a, b, c;
    seq_init(&a, kv, 1, prompt, 100, 110);
    seq_adopt_prefix(&a);
    CHECK_INT(a.cached_tokens, 0);
    CHECK(seq_reserve(&a, 100));
    seq_computed(&a, 100);
    seq_init(&b, kv, 1, prompt, 100, 110);
    seq_adopt_prefix(&b);
    CHECK_INT(b.cached_tokens, 96);
    CHECK(b.pages[2] == a.pages[2]);
    seq_init(&c, kv, 2, prompt, 100, 110); /* another name space sees nothing */
    seq_adopt_prefix(&c);
    CHECK_INT(c.cached_tokens, 0);
    seq_release(&a);
    seq_release(&b);
    seq_release(&c);
    CHECK_INT(kv_pages_idle(kv), 3);
    CHECK_INT(kv_pages_free(kv), 13);
    /* 96 tokens exactly: the last must be computed again, so only two pages are adopted */
    seq_init(&b, kv, 1, prompt, 96, 110);
    seq_adopt_prefix(&b);
    CHECK_INT(b.cached_tokens, 64);
    seq_release(&b);
    kv_tree_forget_idle(kv);
    CHECK_INT(kv_pages_free(kv), 16);
    kv_pool_free(kv);
}

static void equal_pages_computed_twice_become_one(void)
{
    struct kv_pool *kv = kv_pool_new(64, 8);
    int32_t prompt[65] = { 0 };
    struct seq a, b;
    seq_init(&a, kv, 0, prompt, 65, 70);
    seq_init(&b, kv, 0, prompt, 65, 70);
    CHECK(seq_reserve(&a, 65) && seq_reserve(&b, 65));
    CHECK_INT(kv_pages_free(kv), 2);
    seq_computed(&a, 65);
    seq_computed(&b, 65);
    CHECK(a.pages[0] == b.pages[0] && a.pages[1] == b.pages[1] && a.pages[2] != b.pages[2]);
    CHECK(b.page_at[1] == kv_page(kv, b.pages[1]));
    CHECK_INT(kv_pages_free(kv), 4);
    seq_release(&a);
    seq_release(&b);
    kv_pool_free(kv);
}

/* Random sequences over few distinct tokens, so that sharing, twins and eviction all happen. */
static void random_life_leaks_nothing(void)
{
    struct rng r = { .seed = 11 };
    struct kv_pool *kv = kv_pool_new(64, PAGES);
    struct seq live[LIVE_MAX];
    int n = 0, taken = 0, refused = 0;
    for (int round = 0; round < 20000; round++) {
        if (n && (n == LIVE_MAX || rng_below(&r, 3) == 0)) {
            int i = (int)rng_below(&r, (uint64_t)n);
            seq_release(&live[i]);
            live[i] = live[--n];
            continue;
        }
        int32_t prompt[256];
        int length = 1 + (int)rng_below(&r, 256);
        for (int i = 0; i < length; i++)
            prompt[i] = i % 32 == 0 ? (int32_t)rng_below(&r, 3) : i;
        struct seq *s = &live[n++];
        seq_init(s, kv, 0, prompt, length, 260);
        seq_adopt_prefix(s);
        int end = s->computed + (int)rng_below(&r, (uint64_t)(length - s->computed + 1));
        if (seq_reserve(s, end))
            taken++, seq_computed(s, end);
        else
            refused++;
        int held = 0;
        bool seen[PAGES] = { false };
        for (int i = 0; i < n; i++)
            for (int k = 0; k < live[i].page_count; k++)
                held += !seen[live[i].pages[k]], seen[live[i].pages[k]] = true;
        CHECK_INT(kv_pages_free(kv) + kv_pages_idle(kv) + held, PAGES);
    }
    CHECK(taken > 1000);
    CHECK(refused > 10);
    while (n)
        seq_release(&live[--n]);
    CHECK_INT(kv_pages_free(kv) + kv_pages_idle(kv), PAGES);
    kv_tree_forget_idle(kv);
    CHECK_INT(kv_pages_free(kv), PAGES);
    kv_pool_free(kv);
}

int main(void)
{
    RUN(whole_pages_are_shared);
    RUN(equal_pages_computed_twice_become_one);
    RUN(random_life_leaks_nothing);
    DONE();
}
