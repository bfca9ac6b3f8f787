/* merge -- see merge.h. A binary heap and a doubly linked list in one array. */
#include "text/merge.h"

#include "base/mem.h"

enum { FIRST_CAP = 64 };

void merge_heap_push(struct merge_heap *h, struct merge_item item)
{
    if (h->count == h->cap) {
        h->cap = h->cap ? h->cap * 2 : FIRST_CAP;
        h->v = mem_grow(h->v, h->cap, sizeof(*h->v));
    }
    size_t i = h->count++;
    while (i > 0 && h->v[(i - 1) / 2].key > item.key) {
        h->v[i] = h->v[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->v[i] = item;
}

bool merge_heap_pop(struct merge_heap *h, struct merge_item *out)
{
    if (h->count == 0)
        return false;
    *out = h->v[0];
    struct merge_item last = h->v[--h->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->v[child + 1].key < h->v[child].key)
            child++;
        if (last.key <= h->v[child].key)
            break;
        h->v[i] = h->v[child];
        i = child;
    }
    h->v[i] = last;
    return true;
}

void merge_release(struct merge_work *w)
{
    mem_free(w->symbols);
    mem_free(w->heap.v);
    *w = (struct merge_work){ 0 };
}

void merge_clear(struct merge_work *w)
{
    w->count = 0;
    w->heap.count = 0;
}

void merge_add(struct merge_work *w, uint32_t off, uint32_t len, int32_t id)
{
    if (w->count == w->cap) {
        w->cap = w->cap ? w->cap * 2 : FIRST_CAP;
        w->symbols = mem_grow(w->symbols, w->cap, sizeof(*w->symbols));
    }
    int32_t i = (int32_t)w->count++;
    w->symbols[i] = (struct merge_symbol){ .prev = i - 1, .next = -1, .off = off, .len = len, .id = id };
    if (i > 0)
        w->symbols[i - 1].next = i;
}

struct run {
    struct merge_work *w;
    const char *text;
    merge_pair_fn pair;
    const void *ctx;
};

static void offer(struct run *r, int32_t left, int32_t right)
{
    if (left < 0 || right < 0)
        return;
    const struct merge_symbol *a = &r->w->symbols[left], *b = &r->w->symbols[right];
    uint32_t order;
    int32_t id;
    if (!r->pair(r->ctx, r->text, a, b, &order, &id))
        return;
    merge_heap_push(&r->w->heap, (struct merge_item){
        .key = (uint64_t)order << 32 | (uint32_t)left, .size = a->len + b->len, .id = id });
}

void merge_run(struct merge_work *w, const char *text, merge_pair_fn pair, const void *ctx)
{
    struct run r = { w, text, pair, ctx };
    for (size_t i = 1; i < w->count; i++)
        offer(&r, (int32_t)i - 1, (int32_t)i);
    struct merge_item item;
    while (merge_heap_pop(&w->heap, &item)) {
        int32_t left = (int32_t)(item.key & 0xffffffff);
        struct merge_symbol *a = &w->symbols[left];
        if (a->len == 0 || a->next < 0)
            continue;
        struct merge_symbol *b = &w->symbols[a->next];
        if (a->len + b->len != item.size)
            continue; /* stale: one of them has grown since */
        a->len += b->len;
        a->id = item.id;
        b->len = 0;
        a->next = b->next;
        if (b->next >= 0)
            w->symbols[b->next].prev = left;
        offer(&r, a->prev, left);
        offer(&r, left, a->next);
    }
}
