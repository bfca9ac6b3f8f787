/* kv -- see kv.h. Node n of the tree is page n, so the tree's arrays are as long as the pool. */
#include "infer/kv.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/sha256.h"

#include <string.h>
#include <sys/mman.h>

struct node {
    int refs;
    bool in_tree;
    int next;             /* free list, or idle list towards newer */
    int prev;             /* idle list towards older */
    int chain_next;       /* next node in the hash bucket */
    int parent;           /* KV_NONE: a root */
    int children;
    int latest;           /* the child remembered last: a hint, it may be gone */
    uint64_t space, hash;
    bool saved;           /* in the spill, or never to be */
    uint8_t chain[KV_CHAIN_BYTES]; /* with a spill only */
    int32_t tokens[KERN_PAGE_TOKENS];
};

struct kv_pool {
    unsigned char *base; /* [pages][page_bytes] */
    size_t page_bytes;
    int pages, free_count, idle_count;
    int free_head;
    int idle_oldest, idle_newest;
    struct node *nodes;  /* [pages] */
    int *buckets;        /* [bucket_count], a power of two */
    size_t bucket_count;
    struct kv_spill spill; /* save NULL: none */
    uint8_t root[KV_CHAIN_BYTES];
    int save_next;       /* where kv_save_some goes on */
};

struct kv_pool *kv_pool_new(size_t page_bytes, int pages)
{
    ASSERT(pages > 0 && page_bytes % 64 == 0);
    struct kv_pool *kv = MEM_NEW(struct kv_pool);
    size_t bytes;
    ASSERT(mem_mul_ok(page_bytes, (size_t)pages, &bytes));
    kv->base = mem_aligned(bytes);
    kv->page_bytes = page_bytes;
    kv->pages = kv->free_count = pages;
    kv->nodes = mem_new((size_t)pages, sizeof *kv->nodes);
    for (int i = 0; i < pages; i++)
        kv->nodes[i] = (struct node){ .next = i + 1 < pages ? i + 1 : KV_NONE, .parent = KV_NONE };
    kv->idle_oldest = kv->idle_newest = KV_NONE;
    for (kv->bucket_count = 64; kv->bucket_count < 2 * (size_t)pages; kv->bucket_count *= 2)
        ;
    kv->buckets = mem_new(kv->bucket_count, sizeof *kv->buckets);
    memset(kv->buckets, 0xff, kv->bucket_count * sizeof *kv->buckets); /* KV_NONE */
    return kv;
}

void kv_pool_free(struct kv_pool *kv)
{
    if (!kv)
        return;
    mem_aligned_free(kv->base, kv->page_bytes * (size_t)kv->pages);
    mem_free(kv->nodes);
    mem_free(kv->buckets);
    mem_free(kv);
}

int kv_pages(const struct kv_pool *kv)
{
    return kv->pages;
}

int kv_pages_free(const struct kv_pool *kv)
{
    return kv->free_count;
}

int kv_pages_idle(const struct kv_pool *kv)
{
    return kv->idle_count;
}

unsigned char *kv_page(const struct kv_pool *kv, int page)
{
    ASSERT(page >= 0 && page < kv->pages);
    return kv->base + (size_t)page * kv->page_bytes;
}

void kv_exclude_from_dumps(struct kv_pool *kv)
{
    size_t bytes = kv->page_bytes * (size_t)kv->pages;
    uintptr_t first = ((uintptr_t)kv->base + 4095) & ~(uintptr_t)4095;
    uintptr_t end = ((uintptr_t)kv->base + bytes) & ~(uintptr_t)4095;
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTDUMP); /* core dumps are off as well: sandbox */
}

/* ---- the two lists */

static void idle_append(struct kv_pool *kv, int p)
{
    struct node *n = &kv->nodes[p];
    n->prev = kv->idle_newest;
    n->next = KV_NONE;
    if (kv->idle_newest == KV_NONE)
        kv->idle_oldest = p;
    else
        kv->nodes[kv->idle_newest].next = p;
    kv->idle_newest = p;
    kv->idle_count++;
}

static void idle_remove(struct kv_pool *kv, int p)
{
    struct node *n = &kv->nodes[p];
    if (n->prev == KV_NONE)
        kv->idle_oldest = n->next;
    else
        kv->nodes[n->prev].next = n->next;
    if (n->next == KV_NONE)
        kv->idle_newest = n->prev;
    else
        kv->nodes[n->next].prev = n->prev;
    kv->idle_count--;
}

static void free_push(struct kv_pool *kv, int p)
{
    kv->nodes[p].next = kv->free_head;
    kv->free_head = p;
    kv->free_count++;
}

/* ---- the tree */

/* FNV-1a over words, then a finaliser. Equality is always checked, so a bad hash costs time only. */
static uint64_t node_hash(uint64_t space, int parent, const int32_t *tokens)
{
    uint64_t h = 0xcbf29ce484222325u ^ space;
    h = (h ^ (uint64_t)(uint32_t)parent) * 0x100000001b3u;
    for (int i = 0; i < KERN_PAGE_TOKENS; i++)
        h = (h ^ (uint32_t)tokens[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static int *bucket(const struct kv_pool *kv, uint64_t hash)
{
    return &kv->buckets[hash & (kv->bucket_count - 1)];
}

static int find(const struct kv_pool *kv, uint64_t space, int parent, const int32_t *tokens, uint64_t hash)
{
    for (int p = *bucket(kv, hash); p != KV_NONE; p = kv->nodes[p].chain_next) {
        const struct node *n = &kv->nodes[p];
        if (n->hash == hash && n->parent == parent && n->space == space &&
            !memcmp(n->tokens, tokens, sizeof n->tokens))
            return p;
    }
    return KV_NONE;
}

int kv_tree_find(const struct kv_pool *kv, uint64_t space, int parent, const int32_t *tokens)
{
    return find(kv, space, parent, tokens, node_hash(space, parent, tokens));
}

/* The name of a page in the spill. The parent is in the same tree, so its chain is there. */
static void make_chain(const struct kv_pool *kv, uint64_t space, int parent, const int32_t *tokens,
                       uint8_t out[KV_CHAIN_BYTES])
{
    struct sha256 h;
    sha256_init(&h);
    sha256_update(&h, parent == KV_NONE ? kv->root : kv->nodes[parent].chain, KV_CHAIN_BYTES);
    if (parent == KV_NONE)
        sha256_update(&h, &space, sizeof space);
    sha256_update(&h, tokens, KERN_PAGE_TOKENS * sizeof *tokens);
    sha256_final(&h, out);
}

static bool save_page(struct kv_pool *kv, int p);

int kv_tree_insert(struct kv_pool *kv, uint64_t space, int parent, const int32_t *tokens, int page)
{
    struct node *n = &kv->nodes[page];
    ASSERT(n->refs > 0 && !n->in_tree);
    ASSERT(parent == KV_NONE || kv->nodes[parent].in_tree);
    uint64_t hash = node_hash(space, parent, tokens);
    int twin = find(kv, space, parent, tokens, hash);
    if (parent != KV_NONE)
        kv->nodes[parent].latest = twin != KV_NONE ? twin : page;
    if (twin != KV_NONE)
        return twin;
    n->in_tree = true;
    n->refs++;
    n->parent = parent;
    n->children = 0;
    n->latest = KV_NONE;
    n->space = space;
    n->hash = hash;
    memcpy(n->tokens, tokens, sizeof n->tokens);
    n->chain_next = *bucket(kv, hash);
    *bucket(kv, hash) = page;
    n->saved = !kv->spill.save || space & KV_SPACE_PRIVATE;
    if (!n->saved)
        make_chain(kv, space, parent, tokens, n->chain);
    if (parent != KV_NONE)
        kv->nodes[parent].children++;
    return page;
}

int kv_tree_next(const struct kv_pool *kv, int page, const int32_t *tokens, int count, const int32_t **next)
{
    ASSERT(kv->nodes[page].in_tree && count >= 0 && count <= KERN_PAGE_TOKENS);
    int p = kv->nodes[page].latest;
    if (p == KV_NONE || !kv->nodes[p].in_tree || kv->nodes[p].parent != page)
        return KV_NONE; /* evicted, and perhaps in use elsewhere */
    if (memcmp(kv->nodes[p].tokens, tokens, (size_t)count * sizeof *tokens) != 0)
        return KV_NONE;
    *next = kv->nodes[p].tokens;
    return p;
}

/* ---- the spill */

void kv_set_spill(struct kv_pool *kv, const struct kv_spill *s, const uint8_t root[KV_CHAIN_BYTES])
{
    ASSERT(kv->free_count == kv->pages);
    kv->spill = *s;
    memcpy(kv->root, root, sizeof kv->root);
}

static bool save_page(struct kv_pool *kv, int p)
{
    struct node *n = &kv->nodes[p];
    if (!n->in_tree || n->saved)
        return false;
    n->saved = true; /* one try: a full disk is not asked again and again */
    return kv->spill.save(kv->spill.arg, n->chain, kv_page(kv, p));
}

int kv_save_some(struct kv_pool *kv, int pages_max)
{
    int saved = 0;
    for (int i = 0; kv->spill.save && i < kv->pages && saved < pages_max; i++) {
        saved += save_page(kv, kv->save_next);
        kv->save_next = (kv->save_next + 1) % kv->pages;
    }
    return saved;
}

int kv_tree_find_anywhere(struct kv_pool *kv, uint64_t space, int parent, const int32_t *tokens)
{
    uint8_t chain[KV_CHAIN_BYTES];
    int p = kv_tree_find(kv, space, parent, tokens);
    if (p != KV_NONE || !kv->spill.load || space & KV_SPACE_PRIVATE)
        return p;
    make_chain(kv, space, parent, tokens, chain);
    p = kv_take(kv);
    if (p == KV_NONE)
        return KV_NONE;
    bool found = kv->spill.load(kv->spill.arg, chain, kv_page(kv, p));
    if (found) {
        kv_tree_insert(kv, space, parent, tokens, p);
        kv->nodes[p].saved = true;
    }
    kv_release(kv, p); /* idle in the tree, or free again */
    return found ? p : KV_NONE;
}

static void evict_oldest(struct kv_pool *kv)
{
    int p = kv->idle_oldest;
    struct node *n = &kv->nodes[p];
    save_page(kv, p);
    ASSERT(n->children == 0 && n->refs == 1); /* I3, I4 */
    idle_remove(kv, p);
    int *link = bucket(kv, n->hash);
    while (*link != p)
        link = &kv->nodes[*link].chain_next;
    *link = n->chain_next;
    if (n->parent != KV_NONE)
        kv->nodes[n->parent].children--;
    n->in_tree = false;
    n->parent = KV_NONE;
    n->refs = 0;
    free_push(kv, p);
}

void kv_tree_forget_idle(struct kv_pool *kv)
{
    while (kv->idle_oldest != KV_NONE)
        evict_oldest(kv);
}

/* ---- references */

int kv_take(struct kv_pool *kv)
{
    if (!kv->free_count && kv->idle_count)
        evict_oldest(kv);
    if (!kv->free_count)
        return KV_NONE;
    int p = kv->free_head;
    kv->free_head = kv->nodes[p].next;
    kv->free_count--;
    kv->nodes[p].refs = 1;
    return p;
}

void kv_hold(struct kv_pool *kv, int page)
{
    struct node *n = &kv->nodes[page];
    ASSERT(n->refs > 0);
    if (n->in_tree && n->refs == 1)
        idle_remove(kv, page);
    n->refs++;
}

void kv_release(struct kv_pool *kv, int page)
{
    struct node *n = &kv->nodes[page];
    ASSERT(n->refs > (n->in_tree ? 1 : 0));
    n->refs--;
    if (n->in_tree && n->refs == 1)
        idle_append(kv, page);
    else if (!n->refs)
        free_push(kv, page);
}
