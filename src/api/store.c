/* store -- see store.h. A list, the latest used first: an answer costs far more than looking through it. */
#include "api/store.h"

#include "base/mem.h"

#include <pthread.h>
#include <string.h>

struct entry {
    struct entry *next;
    uint64_t space;
    char *id;
    struct buf texts[API_STORED_KINDS];
    size_t bytes;
};

struct api_store {
    pthread_mutex_t lock;
    struct entry *first;
    size_t bytes;
    int count;
};

struct api_store *api_store_new(void)
{
    struct api_store *s = MEM_NEW(struct api_store);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void drop(struct api_store *s, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    s->bytes -= e->bytes;
    s->count--;
    for (int i = 0; i < API_STORED_KINDS; i++)
        buf_release(&e->texts[i]);
    mem_free(e->id);
    mem_free(e);
}

void api_store_free(struct api_store *s)
{
    if (!s)
        return;
    while (s->first)
        drop(s, &s->first);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

static struct entry **find(struct api_store *s, uint64_t space, const char *id)
{
    struct entry **at = &s->first;
    while (*at && ((*at)->space != space || strcmp((*at)->id, id)))
        at = &(*at)->next;
    return at;
}

/* Forgets from the end until the space, then all spaces, are within their bounds (T2). */
static void make_room(struct api_store *s, uint64_t space)
{
    for (;;) { /* each turn drops one */
        struct entry **last_of_space = NULL, **last = NULL;
        size_t in_space = 0;
        for (struct entry **at = &s->first; *at; at = &(*at)->next) {
            last = at;
            if ((*at)->space != space)
                continue;
            last_of_space = at;
            in_space += (*at)->bytes;
        }
        if (in_space > STORE_SPACE_BYTES)
            drop(s, last_of_space);
        else if (s->bytes > STORE_BYTES || s->count > STORE_ENTRIES_MAX)
            drop(s, last);
        else
            return;
    }
}

bool api_store_put(struct api_store *s, uint64_t space, const char *id, const struct buf texts[API_STORED_KINDS])
{
    size_t bytes = sizeof(struct entry) + strlen(id);
    for (int i = 0; i < API_STORED_KINDS; i++)
        bytes += texts[i].len;
    if (bytes > STORE_SPACE_BYTES)
        return false;
    struct entry *e = MEM_NEW(struct entry);
    e->space = space;
    e->id = mem_strdup(id);
    e->bytes = bytes;
    for (int i = 0; i < API_STORED_KINDS; i++)
        buf_append(&e->texts[i], texts[i].data, texts[i].len);
    pthread_mutex_lock(&s->lock);
    struct entry **old = find(s, space, id);
    if (*old)
        drop(s, old);
    e->next = s->first;
    s->first = e;
    s->bytes += bytes;
    s->count++;
    make_room(s, space);
    pthread_mutex_unlock(&s->lock);
    return true;
}

bool api_store_get(struct api_store *s, uint64_t space, const char *id, enum api_stored kind, struct buf *out)
{
    pthread_mutex_lock(&s->lock);
    struct entry **at = find(s, space, id), *e = *at;
    if (e) {
        *at = e->next; /* to the front: it was used */
        e->next = s->first;
        s->first = e;
        buf_append(out, e->texts[kind].data, e->texts[kind].len);
    }
    pthread_mutex_unlock(&s->lock);
    return e != NULL;
}

bool api_store_delete(struct api_store *s, uint64_t space, const char *id)
{
    pthread_mutex_lock(&s->lock);
    struct entry **at = find(s, space, id);
    bool found = *at != NULL;
    if (found)
        drop(s, at);
    pthread_mutex_unlock(&s->lock);
    return found;
}
