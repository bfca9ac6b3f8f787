/* arena -- see arena.h. */
#include "base/arena.h"

#include "base/mem.h"

#include <string.h>

enum { BLOCK_BYTES = 16 * 1024, ALIGN = 16 };

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(ALIGN) char data[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){ .limit = limit };
}

void arena_release(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;
        mem_free(a->blocks);
        a->blocks = next;
    }
    a->used = 0;
}

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
    size_t n;
    if (!mem_mul_ok(count, size, &n) || !mem_add_ok(n, ALIGN - 1, &n))
        return NULL;
    n &= ~(size_t)(ALIGN - 1);
    if (n > a->limit - a->used)
        return NULL;
    struct arena_block *b = a->blocks;
    if (!b || b->cap - b->used < n) {
        size_t cap = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        b = mem_new(1, sizeof *b + cap); /* zeroed, and never handed out twice */
        b->cap = cap;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += n;
    a->used += n;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = n == (size_t)-1 ? NULL : arena_alloc(a, n + 1, 1);
    if (p)
        memcpy(p, s, n);
    return p;
}
