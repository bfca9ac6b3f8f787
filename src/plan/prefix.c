/* prefix -- see prefix.h. A hash table of fixed size with chains, and a doubly linked list in order of use. */
#include "plan/prefix.h"

#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>

struct block {
    int64_t id;
    int chain;       /* next in its bucket, -1 ends */
    int older, newer;
};
struct prefix {
    struct block *blocks;
    int *bucket;
    int buckets, capacity, count, newest, oldest;
};

struct prefix *prefix_new(int capacity)
{
    struct prefix *p = MEM_NEW(struct prefix);
    p->capacity = capacity < 1 ? 1 : capacity;
    for (p->buckets = 16; p->buckets < 2 * p->capacity && p->buckets < 1 << 28;)
        p->buckets *= 2;
    p->blocks = mem_new((size_t)p->capacity, sizeof *p->blocks);
    p->bucket = mem_new((size_t)p->buckets, sizeof *p->bucket);
    for (int i = 0; i < p->buckets; i++)
        p->bucket[i] = -1;
    p->newest = p->oldest = -1;
    return p;
}

void prefix_free(struct prefix *p)
{
    if (!p)
        return;
    mem_free(p->blocks);
    mem_free(p->bucket);
    mem_free(p);
}

static int *bucket_of(struct prefix *p, int64_t id)
{
    uint64_t h = (uint64_t)id * 0x9E3779B97F4A7C15u;
    return &p->bucket[(h >> 32) & (uint64_t)(p->buckets - 1)];
}

static int find(struct prefix *p, int64_t id)
{
    int i = *bucket_of(p, id);
    while (i >= 0 && p->blocks[i].id != id)
        i = p->blocks[i].chain;
    return i;
}

static void unlink_use(struct prefix *p, int i)
{
    struct block *b = &p->blocks[i];
    *(b->older >= 0 ? &p->blocks[b->older].newer : &p->oldest) = b->newer;
    *(b->newer >= 0 ? &p->blocks[b->newer].older : &p->newest) = b->older;
}

static void link_newest(struct prefix *p, int i)
{
    p->blocks[i].older = p->newest;
    p->blocks[i].newer = -1;
    *(p->newest >= 0 ? &p->blocks[p->newest].newer : &p->oldest) = i;
    p->newest = i;
}

static int take_slot(struct prefix *p)
{
    if (p->count < p->capacity)
        return p->count++;
    int i = p->oldest, *at = bucket_of(p, p->blocks[i].id);
    while (*at != i)
        at = &p->blocks[*at].chain;
    *at = p->blocks[i].chain;
    unlink_use(p, i);
    return i;
}

int prefix_touch(struct prefix *p, const int64_t *ids, int count)
{
    int hits = 0;
    bool leading = true;
    for (int k = 0; k < count; k++) {
        int i = find(p, ids[k]);
        leading = leading && i >= 0;
        hits += leading;
        if (i >= 0) {
            unlink_use(p, i);
        } else {
            i = take_slot(p);
            int *head = bucket_of(p, ids[k]);
            p->blocks[i].id = ids[k];
            p->blocks[i].chain = *head;
            *head = i;
        }
        link_newest(p, i);
    }
    return hits;
}
