/* mem -- see mem.h. */
#include "base/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGN = 64, HUGE_BYTES = 2 << 20 };

static void out_of_memory(size_t count, size_t size) __attribute__((noreturn, cold));
static void out_of_memory(size_t count, size_t size)
{
    fprintf(stderr, "tokenworks: out of memory asking for %zu x %zu bytes\n", count, size);
    abort();
}

void *mem_try_new(size_t count, size_t size)
{
    return calloc(count ? count : 1, size ? size : 1);
}

void *mem_new(size_t count, size_t size)
{
    void *p = mem_try_new(count, size);
    if (!p)
        out_of_memory(count, size);
    return p;
}

void *mem_grow(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (!mem_mul_ok(count ? count : 1, size, &bytes))
        out_of_memory(count, size);
    void *p = realloc(old, bytes);
    if (!p)
        out_of_memory(count, size);
    return p;
}

char *mem_strndup(const char *s, size_t n)
{
    char *p = mem_new(n + 1, 1);
    memcpy(p, s, n);
    return p;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

void *mem_dup(const void *p, size_t n)
{
    void *copy = mem_new(n, 1);
    memcpy(copy, p, n);
    return copy;
}

static size_t page_up(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

/* At a large page's boundary, so that all but the end lies on large pages. */
static void *map_large(size_t bytes)
{
    size_t whole;
    if (!mem_add_ok(bytes, 2 * (size_t)HUGE_BYTES, &whole))
        out_of_memory(1, bytes);
    unsigned char *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        out_of_memory(1, bytes);
    size_t before = (HUGE_BYTES - (uintptr_t)p % HUGE_BYTES) % HUGE_BYTES, used = before + page_up(bytes);
    if (before)
        munmap(p, before);
    munmap(p + used, whole - used);
    madvise(p + before, bytes, MADV_HUGEPAGE); /* a hint: refusal costs speed only */
    return p + before;
}

void *mem_aligned(size_t bytes)
{
    if (bytes >= HUGE_BYTES)
        return map_large(bytes);
    void *p = NULL;
    if (posix_memalign(&p, ALIGN, bytes ? bytes : 1))
        out_of_memory(1, bytes);
    memset(p, 0, bytes);
    return p;
}

void mem_aligned_free(void *p, size_t bytes)
{
    if (!p)
        return;
    if (bytes >= HUGE_BYTES)
        munmap(p, page_up(bytes));
    else
        free(p);
}

void mem_free(void *p)
{
    free(p);
}

void mem_trim(void)
{
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

void mem_wipe(void *p, size_t n)
{
    explicit_bzero(p, n);
}

bool mem_mul_ok(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

bool mem_add_ok(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}
