/* kv -- the pages that hold K and V, who uses each, and the tree that remembers prefixes.
 *
 * A page holds KERN_PAGE_TOKENS positions of all layers. Pages are counted: a sequence holds one reference to
 * each of its pages, the prefix tree one to each page it remembers. A tree node is a whole page: it is found by
 * (parent node, the page's tokens), so two requests that begin alike share pages up to the last whole one.
 * The memory is asked for once; nothing is allocated later.
 *
 * I1  refs[p] = sequences holding p + (p is in the tree).
 * I2  p is on the free list exactly when refs[p] = 0.
 * I3  p is on the idle list exactly when it is in the tree and refs[p] = 1: nobody uses it, it may be evicted.
 * I4  whoever holds a node's page holds its ancestors' pages; releases go from the last page to the first. So
 *     the head of the idle list never has children in the tree.
 *
 * Owner: the step thread. */
#ifndef INFER_KV_H
#define INFER_KV_H
#include "kern/kern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KV_NONE = -1, KV_CHAIN_BYTES = 32 };
/* In a name space: its pages leave this process in no form (sealed requests). */
#define KV_SPACE_PRIVATE ((uint64_t)1 << 63)

struct kv_pool;

struct kv_pool *kv_pool_new(size_t page_bytes, int pages);
void kv_pool_free(struct kv_pool *kv);
int kv_pages(const struct kv_pool *kv);
int kv_pages_free(const struct kv_pool *kv); /* never used, or given back */
int kv_pages_idle(const struct kv_pool *kv); /* remembered by the tree, evictable */
unsigned char *kv_page(const struct kv_pool *kv, int page);
void kv_exclude_from_dumps(struct kv_pool *kv); /* prompts are in here: MADV_DONTDUMP */

/* A page with one reference, evicting the least recently used idle one if need be; KV_NONE when all are held. */
int kv_take(struct kv_pool *kv);
void kv_hold(struct kv_pool *kv, int page);
void kv_release(struct kv_pool *kv, int page);

/* The node under `parent` (KV_NONE: a root of name space `space`) whose page holds exactly these
 * KERN_PAGE_TOKENS tokens, or KV_NONE. Takes no reference. Different spaces never see each other's pages. */
int kv_tree_find(const struct kv_pool *kv, uint64_t space, int parent, const int32_t *tokens);
/* Remembers `page` (held by the caller, full and computed) under parent. Returns page, or, when an equal node
 * exists already, that one: the caller then holds it instead and releases its own. */
int kv_tree_insert(struct kv_pool *kv, uint64_t space, int parent, const int32_t *tokens, int page);
/* A page that follows `page`, a node, and begins with these `count` tokens: of several only the one remembered last is
 * looked at. Its KERN_PAGE_TOKENS tokens into *next, valid until a page is taken; KV_NONE: there is none. */
int kv_tree_next(const struct kv_pool *kv, int page, const int32_t *tokens, int count, const int32_t **next);

/* Somewhere pages outlive their eviction, and the process. chain names a page: a hash of root, the name space and all
 * tokens up to its last. save: true when it is kept. load: true when page holds what was saved under that chain. */
struct kv_spill {
    bool (*save)(void *arg, const uint8_t chain[KV_CHAIN_BYTES], const void *page);
    bool (*load)(void *arg, const uint8_t chain[KV_CHAIN_BYTES], void *page);
    void *arg;
};
void kv_set_spill(struct kv_pool *kv, const struct kv_spill *s, const uint8_t root[KV_CHAIN_BYTES]); /* before use */
/* kv_tree_find, and what is not in memory is looked for in the spill: it may evict idle pages. */
int kv_tree_find_anywhere(struct kv_pool *kv, uint64_t space, int parent, const int32_t *tokens);
/* Saves pages that are not saved yet, at most so many; returns how many it saved. 0: all are. */
int kv_save_some(struct kv_pool *kv, int pages_max);

void kv_tree_forget_idle(struct kv_pool *kv); /* evicts every idle page: tests, and the baseline they compare */
#endif
