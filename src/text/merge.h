/* merge -- the engine both merging tokenisers share: symbols in a chain, the best neighbouring pair joined first.
 *
 * A max-heap would need the pair's text; instead each heap item carries the pair's joint length, and an item is
 * stale when that length no longer fits (symbols only ever grow to the right, so equal length is equal text).
 * O(n log n) in the symbols: at most n - 1 joins, each offering at most two new pairs. */
#ifndef TEXT_MERGE_H
#define TEXT_MERGE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge_symbol {
    int32_t prev, next; /* -1 at the ends */
    uint32_t off, len;  /* of the text; len 0 once joined into the left neighbour */
    int32_t id;         /* what the vocabulary calls it; -1 nothing */
};

struct merge_item { /* smallest key first */
    uint64_t key;   /* order << 32 | left */
    uint32_t size;  /* bytes of both symbols together */
    int32_t id;     /* what they become */
};

struct merge_heap {
    struct merge_item *v; /* owned */
    size_t count, cap;
};

struct merge_work { /* scratch, reused from word to word; zero-initialised is empty */
    struct merge_symbol *symbols;
    size_t count, cap;
    struct merge_heap heap;
};

/* Would left and right join? Lower order joins earlier. */
typedef bool (*merge_pair_fn)(const void *ctx, const char *text, const struct merge_symbol *left,
                              const struct merge_symbol *right, uint32_t *order, int32_t *id);

void merge_release(struct merge_work *w);
void merge_clear(struct merge_work *w);
/* Appends a symbol to the chain; symbols must be adjacent in the text. */
void merge_add(struct merge_work *w, uint32_t off, uint32_t len, int32_t id);
/* Joins until no pair is left. Afterwards walk symbols[0] by .next. */
void merge_run(struct merge_work *w, const char *text, merge_pair_fn pair, const void *ctx);

void merge_heap_push(struct merge_heap *h, struct merge_item item);
bool merge_heap_pop(struct merge_heap *h, struct merge_item *out);
#endif
