/* mem -- allocation that cannot be got wrong: sizes multiplied with a check, failure is final.
 *
 * mem_* abort with a sentence when the system has no memory: the callers' sizes are bounded by named
 * limits, so running out means the machine is misconfigured, not that a request was large. Sizes that
 * come from outside are checked with mem_mul_ok/mem_add_ok first, or taken through mem_try_new. */
#ifndef BASE_MEM_H
#define BASE_MEM_H
#include <stdbool.h>
#include <stddef.h>

void *mem_new(size_t count, size_t size);                 /* zeroed; free with mem_free */
void *mem_try_new(size_t count, size_t size);             /* zeroed, or NULL */
void *mem_grow(void *old, size_t count, size_t size);     /* realloc; the new part is not zeroed */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);               /* n bytes, then a NUL */
void *mem_dup(const void *p, size_t n);
void *mem_aligned(size_t bytes);                          /* 64-byte aligned, zeroed; large ones on huge pages */
void mem_aligned_free(void *p, size_t bytes);
void mem_free(void *p);
void mem_trim(void);                                      /* gives freed memory back to the system: after loading */
void mem_wipe(void *p, size_t n);                         /* for secrets: not optimised away */

/* true and *out = the result if it does not overflow; else false and *out untouched. */
bool mem_mul_ok(size_t a, size_t b, size_t *out);
bool mem_add_ok(size_t a, size_t b, size_t *out);

#define MEM_NEW(type) ((type *)mem_new(1, sizeof(type)))
#define MEM_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#endif
