/* tree -- see tree.h. */
#include "trust/tree.h"

#include "base/assert.h"

#include <sodium.h>
#include <string.h>

void tree_leaf_hash(uint8_t out[HASH_BYTES], const void *leaf, size_t n)
{
    const uint8_t zero = 0;
    crypto_hash_sha256_state s;
    crypto_hash_sha256_init(&s);
    crypto_hash_sha256_update(&s, &zero, 1);
    crypto_hash_sha256_update(&s, leaf, n);
    crypto_hash_sha256_final(&s, out);
}

void tree_node_hash(uint8_t out[HASH_BYTES], const uint8_t left[HASH_BYTES], const uint8_t right[HASH_BYTES])
{
    uint8_t both[1 + 2 * HASH_BYTES];
    both[0] = 1;
    memcpy(both + 1, left, HASH_BYTES);
    memcpy(both + 1 + HASH_BYTES, right, HASH_BYTES);
    crypto_hash_sha256(out, both, sizeof both);
}

void tree_edge_add(struct tree_edge *t, const uint8_t leaf_hash[HASH_BYTES])
{
    uint8_t h[HASH_BYTES];
    unsigned level = 0;
    memcpy(h, leaf_hash, HASH_BYTES);
    for (; t->size >> level & 1; level++)
        tree_node_hash(h, t->full[level], h);
    ASSERT(level <= TREE_LEVELS_MAX);
    memcpy(t->full[level], h, HASH_BYTES);
    t->size++;
}

void tree_edge_root(const struct tree_edge *t, uint8_t out[HASH_BYTES])
{
    bool any = false;
    if (!t->size)
        code_sha256(out, NULL, 0);
    for (unsigned level = 0; level <= TREE_LEVELS_MAX; level++) {
        if (!(t->size >> level & 1))
            continue;
        if (any)
            tree_node_hash(out, t->full[level], out);
        else
            memcpy(out, t->full[level], HASH_BYTES);
        any = true;
    }
}

/* The highest level at which a full subtree starting at `start` fits below `end`. */
static unsigned fit(uint64_t start, uint64_t end)
{
    unsigned level = 0;
    while (level < TREE_LEVELS_MAX && !(start >> level & 1) && end - start >= (uint64_t)2 << level)
        level++;
    return level;
}

/* The hash over the leaves [start, end), where start is a multiple of the power of two that covers the range. */
static enum err_code range_hash(uint64_t start, uint64_t end, tree_read read, void *ctx, uint8_t out[HASH_BYTES],
                                struct err *e)
{
    uint8_t piece[TREE_LEVELS_MAX + 1][HASH_BYTES];
    int n = 0;
    for (uint64_t at = start; at < end;) {
        ASSERT(n <= TREE_LEVELS_MAX);
        unsigned level = fit(at, end);
        enum err_code c = read(ctx, level, at >> level, piece[n++], e);
        if (c)
            return c;
        at += (uint64_t)1 << level;
    }
    ASSERT(n > 0);
    memcpy(out, piece[n - 1], HASH_BYTES);
    for (int i = n - 2; i >= 0; i--)
        tree_node_hash(out, piece[i], out);
    return ERR_OK;
}

enum err_code tree_root(uint64_t size, tree_read read, void *ctx, uint8_t out[HASH_BYTES], struct err *e)
{
    if (size)
        return range_hash(0, size, read, ctx, out, e);
    code_sha256(out, NULL, 0);
    return ERR_OK;
}

/* The largest power of two smaller than n (n >= 2): where RFC 6962 splits a tree. */
static uint64_t split(uint64_t n)
{
    uint64_t k = 1;
    while (k << 1 < n)
        k <<= 1;
    return k;
}

static void reverse(struct tree_proof *p)
{
    uint8_t t[HASH_BYTES];
    for (int i = 0, j = p->count - 1; i < j; i++, j--) {
        memcpy(t, p->hash[i], HASH_BYTES);
        memcpy(p->hash[i], p->hash[j], HASH_BYTES);
        memcpy(p->hash[j], t, HASH_BYTES);
    }
}

enum err_code tree_prove_leaf(uint64_t index, uint64_t size, tree_read read, void *ctx, struct tree_proof *out,
                              struct err *e)
{
    if (index >= size || size >> TREE_LEVELS_MAX)
        return err_set(e, ERR_INVALID, "leaf %llu is not in a tree of %llu", (unsigned long long)index,
                       (unsigned long long)size);
    out->count = 0;
    for (uint64_t start = 0, end = size; end - start > 1;) { /* from the root down; turned round below */
        uint64_t mid = start + split(end - start);
        bool left = index < mid;
        enum err_code c = left ? range_hash(mid, end, read, ctx, out->hash[out->count++], e)
                               : range_hash(start, mid, read, ctx, out->hash[out->count++], e);
        if (c)
            return c;
        start = left ? start : mid;
        end = left ? mid : end;
    }
    reverse(out);
    return ERR_OK;
}

enum err_code tree_prove_grown(uint64_t old_size, uint64_t size, tree_read read, void *ctx, struct tree_proof *out,
                               struct err *e)
{
    if (old_size > size || size >> TREE_LEVELS_MAX)
        return err_set(e, ERR_INVALID, "a tree of %llu does not grow into one of %llu", (unsigned long long)old_size,
                       (unsigned long long)size);
    out->count = 0;
    if (!old_size || old_size == size)
        return ERR_OK;
    uint64_t start = 0, end = size;
    enum err_code c = ERR_OK;
    while (old_size != end) { /* SUBPROOF(m, D_n, b): old_size is the end of what both trees hold */
        uint64_t mid = start + split(end - start);
        bool left = old_size <= mid;
        c = left ? range_hash(mid, end, read, ctx, out->hash[out->count++], e)
                 : range_hash(start, mid, read, ctx, out->hash[out->count++], e);
        if (c)
            return c;
        start = left ? start : mid;
        end = left ? mid : end;
    }
    if (start) /* not the whole old tree: its last full part comes first */
        c = range_hash(start, end, read, ctx, out->hash[out->count++], e);
    reverse(out);
    return c;
}

enum err_code tree_check_leaf(const uint8_t leaf_hash[HASH_BYTES], uint64_t index, uint64_t size,
                              const struct tree_proof *p, const uint8_t root[HASH_BYTES], struct err *e)
{
    if (index >= size)
        return err_set(e, ERR_DENIED, "the inclusion proof is for leaf %llu of %llu", (unsigned long long)index,
                       (unsigned long long)size);
    uint64_t fn = index, sn = size - 1;
    uint8_t r[HASH_BYTES];
    memcpy(r, leaf_hash, HASH_BYTES);
    for (int i = 0; i < p->count; i++) {
        if (!sn)
            return err_set(e, ERR_DENIED, "the inclusion proof is too long");
        if (fn & 1 || fn == sn) {
            tree_node_hash(r, p->hash[i], r);
            while (!(fn & 1) && fn) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            tree_node_hash(r, r, p->hash[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    if (sn || !code_same(r, root, HASH_BYTES))
        return err_set(e, ERR_DENIED, "the inclusion proof does not lead to the root");
    return ERR_OK;
}

/* Steps 4 to 6 of RFC 9162 2.1.4.2, from the first hash on. */
static bool check_path(uint64_t fn, uint64_t sn, const uint8_t *first, const struct tree_proof *p, int next,
                       const uint8_t old_root[HASH_BYTES], const uint8_t root[HASH_BYTES])
{
    uint8_t fr[HASH_BYTES], sr[HASH_BYTES];
    memcpy(fr, first, HASH_BYTES);
    memcpy(sr, first, HASH_BYTES);
    for (int i = next; i < p->count; i++) {
        if (!sn)
            return false;
        if (fn & 1 || fn == sn) {
            tree_node_hash(fr, p->hash[i], fr);
            tree_node_hash(sr, p->hash[i], sr);
            while (!(fn & 1) && fn) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            tree_node_hash(sr, sr, p->hash[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return !sn && code_same(fr, old_root, HASH_BYTES) && code_same(sr, root, HASH_BYTES);
}

enum err_code tree_check_grown(uint64_t old_size, const uint8_t old_root[HASH_BYTES], uint64_t size,
                               const uint8_t root[HASH_BYTES], const struct tree_proof *p, struct err *e)
{
    bool ok;
    uint8_t empty[HASH_BYTES];
    code_sha256(empty, NULL, 0);
    if (old_size > size) {
        ok = false;
    } else if (old_size == size) {
        ok = !p->count && code_same(old_root, root, HASH_BYTES);
    } else if (!old_size) {
        ok = !p->count && code_same(old_root, empty, HASH_BYTES);
    } else if (!p->count) {
        ok = false;
    } else {
        bool whole = !(old_size & (old_size - 1)); /* a full tree: its root is the first hash */
        uint64_t fn = old_size - 1, sn = size - 1;
        for (; fn & 1; sn >>= 1)
            fn >>= 1;
        ok = check_path(fn, sn, whole ? old_root : p->hash[0], p, whole ? 0 : 1, old_root, root);
    }
    if (!ok)
        return err_set(e, ERR_DENIED, "the tree of %llu leaves is not the beginning of the tree of %llu: the log was "
                       "rewritten or forked", (unsigned long long)old_size, (unsigned long long)size);
    return ERR_OK;
}
