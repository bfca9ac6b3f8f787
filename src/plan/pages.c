/* pages -- see pages.h. A hash table of named pages with chains; the idle ones in a list by age. */
#include "plan/pages.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stddef.h>

struct named {
    uint64_t name;
    int refs;         /* 0: idle */
    int chain;        /* next in its bucket, or of the unused ones; -1 ends */
    int older, newer; /* while idle */
};
struct pages {
    struct named *named;
    int *bucket;
    int buckets, capacity, free, idle, unused, newest, oldest;
};

struct pages *pages_new(int capacity)
{
    ASSERT(capacity >= 1);
    struct pages *p = MEM_NEW(struct pages);
    p->capacity = p->free = capacity;
    for (p->buckets = 16; p->buckets < 2 * capacity && p->buckets < 1 << 28;)
        p->buckets *= 2;
    p->named = mem_new((size_t)capacity, sizeof *p->named);
    p->bucket = mem_new((size_t)p->buckets, sizeof *p->bucket);
    for (int i = 0; i < p->buckets; i++)
        p->bucket[i] = -1;
    for (int i = 0; i < capacity; i++)
        p->named[i].chain = i + 1 < capacity ? i + 1 : -1;
    p->newest = p->oldest = -1;
    return p;
}

void pages_free(struct pages *p)
{
    if (!p)
        return;
    mem_free(p->named);
    mem_free(p->bucket);
    mem_free(p);
}

int pages_capacity(const struct pages *p)
{
    return p->capacity;
}

int pages_available(const struct pages *p)
{
    return p->free + p->idle;
}

static int *bucket_of(struct pages *p, uint64_t name)
{
    return &p->bucket[((name * 0x9E3779B97F4A7C15u) >> 32) & (uint64_t)(p->buckets - 1)];
}

static int find(struct pages *p, uint64_t name)
{
    int i = *bucket_of(p, name);
    while (i >= 0 && p->named[i].name != name)
        i = p->named[i].chain;
    return i;
}

static void leave_idle(struct pages *p, int i)
{
    struct named *n = &p->named[i];
    *(n->older >= 0 ? &p->named[n->older].newer : &p->oldest) = n->newer;
    *(n->newer >= 0 ? &p->named[n->newer].older : &p->newest) = n->older;
    p->idle--;
}

bool pages_find(struct pages *p, uint64_t name)
{
    int i = find(p, name);
    if (i < 0)
        return false;
    if (!p->named[i].refs++)
        leave_idle(p, i);
    return true;
}

static void forget_oldest(struct pages *p)
{
    int i = p->oldest, *at = bucket_of(p, p->named[i].name);
    leave_idle(p, i);
    while (*at != i)
        at = &p->named[*at].chain;
    *at = p->named[i].chain;
    p->named[i].chain = p->unused;
    p->unused = i;
    p->free++;
}

bool pages_take(struct pages *p)
{
    if (!p->free && !p->idle)
        return false;
    if (!p->free)
        forget_oldest(p);
    p->free--;
    return true;
}

void pages_name(struct pages *p, uint64_t name)
{
    if (pages_find(p, name)) {
        p->free++;
        return;
    }
    int i = p->unused, *head = bucket_of(p, name);
    ASSERT(i >= 0);
    p->unused = p->named[i].chain;
    p->named[i] = (struct named){ .name = name, .refs = 1, .chain = *head };
    *head = i;
}

void pages_drop(struct pages *p, uint64_t name)
{
    int i = find(p, name);
    ASSERT(i >= 0 && p->named[i].refs > 0);
    if (--p->named[i].refs)
        return;
    p->named[i].older = p->newest;
    p->named[i].newer = -1;
    *(p->newest >= 0 ? &p->named[p->newest].newer : &p->oldest) = i;
    p->newest = i;
    p->idle++;
}

void pages_give(struct pages *p, int count)
{
    p->free += count;
    ASSERT(p->free + p->idle <= p->capacity);
}
