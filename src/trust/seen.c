/* seen -- see seen.h. Open addressing over BLAKE2b keyed by chance, so that nobody can choose collisions. */
#include "trust/seen.h"

#include "base/mem.h"
#include "base/rng.h"

#include <sodium.h>
#include <string.h>

struct slot {
    uint8_t tag[16];
    int64_t until; /* 0: never used; in the past: free, but a chain may run through it */
};

struct seen {
    uint8_t key[32];
    int64_t keep_s;
    int limit, count;    /* count: slots not 0 */
    size_t mask;         /* slots - 1 */
    struct slot *slots;
};

struct seen *seen_new(int capacity, int64_t keep_s)
{
    struct seen *s = MEM_NEW(struct seen);
    size_t slots = 16;
    while (slots < (size_t)capacity * 2)
        slots *= 2;
    rng_system(s->key, sizeof s->key);
    s->keep_s = keep_s;
    s->limit = capacity;
    s->mask = slots - 1;
    s->slots = mem_new(slots, sizeof *s->slots);
    return s;
}

void seen_free(struct seen *s)
{
    if (s)
        mem_free(s->slots);
    mem_free(s);
}

/* Drops what is over: all that is young is put into fresh slots. */
static void sweep(struct seen *s, int64_t now_s)
{
    struct slot *old = s->slots;
    s->slots = mem_new(s->mask + 1, sizeof *s->slots);
    s->count = 0;
    for (size_t i = 0; i <= s->mask; i++) {
        size_t at;
        if (old[i].until <= now_s)
            continue;
        memcpy(&at, old[i].tag, sizeof at);
        for (at &= s->mask; s->slots[at].until; at = (at + 1) & s->mask)
            ;
        s->slots[at] = old[i];
        s->count++;
    }
    mem_free(old);
}

enum err_code seen_add(struct seen *s, const void *what, size_t n, int64_t now_s, struct err *e)
{
    uint8_t tag[16];
    size_t at;
    crypto_generichash(tag, sizeof tag, what, n, s->key, sizeof s->key);
    if (s->count >= s->limit)
        sweep(s, now_s);
    memcpy(&at, tag, sizeof at);
    for (at &= s->mask; s->slots[at].until; at = (at + 1) & s->mask)
        if (s->slots[at].until > now_s && !memcmp(s->slots[at].tag, tag, sizeof tag))
            return err_set(e, ERR_DENIED, "this request was seen before");
    if (s->count >= s->limit)
        return err_set(e, ERR_BUSY, "too many requests to remember: try again later");
    memcpy(s->slots[at].tag, tag, sizeof tag);
    s->slots[at].until = now_s + s->keep_s;
    s->count++;
    return ERR_OK;
}
