/* pages -- the KV memory of one simulated engine: which pages are held, which are remembered, which are free.
 *
 * The bookkeeping of infer/kv.h without the memory: a page that is computed whole gets a name (the text up to its
 * end) and is shared by all who ask for that name; one that nobody holds any more stays until its place is needed,
 * the least recently used first. Names are 64-bit hashes made by the caller.
 *
 * I1  held + idle + free = capacity. */
#ifndef PLAN_PAGES_H
#define PLAN_PAGES_H
#include <stdbool.h>
#include <stdint.h>

struct pages;
struct pages *pages_new(int capacity); /* >= 1 */
void pages_free(struct pages *p);
int pages_capacity(const struct pages *p);
int pages_available(const struct pages *p);       /* free, or idle */
bool pages_find(struct pages *p, uint64_t name);  /* holds the page of that name; false: there is none */
bool pages_take(struct pages *p);                 /* holds a page without a name; false: all are held */
void pages_name(struct pages *p, uint64_t name);  /* a held page's text is computed; an equal one is held instead */
void pages_drop(struct pages *p, uint64_t name);  /* a named page is held once less */
void pages_give(struct pages *p, int count);      /* held pages without names are free again */
#endif
