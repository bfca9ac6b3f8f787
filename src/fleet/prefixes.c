/* prefixes -- see prefixes.h. */
#include "fleet/prefixes.h"

#include "api/siphash.h"
#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

struct entry {
    uint64_t key;    /* with serial 0: free */
    uint32_t serial;
    uint32_t used;   /* by the table's count of notes, which may wrap: a wrong victim now and then */
};

struct prefixes {
    uint64_t mask;
    uint32_t notes;
    struct entry (*sets)[PREFIXES_WAYS];
};

struct prefixes *prefixes_new(int sets)
{
    ASSERT(sets > 0 && (sets & (sets - 1)) == 0);
    struct prefixes *t = MEM_NEW(struct prefixes);
    t->mask = (uint64_t)sets - 1;
    t->sets = mem_new((size_t)sets, sizeof *t->sets);
    return t;
}

void prefixes_free(struct prefixes *t)
{
    if (!t)
        return;
    mem_free(t->sets);
    mem_free(t);
}

uint64_t prefixes_model(const char *model_id)
{
    static const uint8_t key[SIPHASH_KEY_BYTES] = { 0 };
    return siphash(key, model_id, strlen(model_id));
}

/* Which entry of its set has it; -1: none. */
static int find(const struct prefixes *t, uint64_t key, uint32_t serial)
{
    const struct entry *set = t->sets[key & t->mask];
    for (int i = 0; i < PREFIXES_WAYS; i++)
        if (set[i].serial == serial && set[i].key == key)
            return i;
    return -1;
}

void prefixes_note(struct prefixes *t, uint64_t model, uint64_t hash, uint32_t serial)
{
    uint64_t key = model ^ hash;
    struct entry *set = t->sets[key & t->mask];
    int at = find(t, key, serial);
    t->notes++;
    for (int i = 0; at < 0 && i < PREFIXES_WAYS; i++)
        if (!set[i].serial)
            at = i;
    if (at < 0) {
        at = 0;
        for (int i = 1; i < PREFIXES_WAYS; i++)
            if (t->notes - set[i].used > t->notes - set[at].used)
                at = i;
    }
    set[at] = (struct entry){ key, serial, t->notes };
}

bool prefixes_has(const struct prefixes *t, uint64_t model, uint64_t hash, uint32_t serial)
{
    return find(t, model ^ hash, serial) >= 0;
}
