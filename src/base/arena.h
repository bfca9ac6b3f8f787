/* arena -- memory that is freed all at once, with a limit. One per request, one per parsed document.
 *
 * Not thread-safe: it belongs to whoever made it. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H
#include <stddef.h>

struct arena_block;
struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used, limit;         /* bytes handed out; used never passes limit */
};

void arena_init(struct arena *a, size_t limit);
void arena_release(struct arena *a);
/* Zeroed, 16-byte aligned; NULL once the limit would be passed: the caller says what was too large. */
void *arena_alloc(struct arena *a, size_t count, size_t size);
char *arena_strndup(struct arena *a, const char *s, size_t n);
#endif
