/* form -- see form.h. */
#include "sched/form.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

#include <string.h>

enum { WAYS_MAX = 24 }; /* tokens that begin one text; more of them never do */

struct form {
    const struct form_tokens *tokens;
    struct grammar_state *state;
    struct grammar_cache *cache;
    uint32_t *allowed;        /* [(count + 31) / 32], of state when `fresh` */
    uint32_t *ahead;          /* the same, for states after it */
    bool fresh;
    struct buf bytes, longest;
};

struct form *form_new(const struct form_tokens *t, const struct grammar *g)
{
    ASSERT(t->trie && t->vocab);
    struct form *f = MEM_NEW(struct form);
    f->tokens = t;
    f->state = grammar_start(g);
    f->cache = grammar_cache_new(g, t->trie);
    f->allowed = mem_new(((size_t)t->count + 31) / 32, sizeof *f->allowed);
    f->ahead = mem_new(((size_t)t->count + 31) / 32, sizeof *f->ahead);
    return f;
}

void form_free(struct form *f)
{
    if (!f)
        return;
    grammar_cache_free(f->cache);
    grammar_state_free(f->state);
    mem_free(f->allowed);
    mem_free(f->ahead);
    buf_release(&f->bytes);
    buf_release(&f->longest);
    mem_free(f);
}

const uint32_t *form_mask(struct form *f)
{
    const struct form_tokens *t = f->tokens;
    if (f->fresh)
        return f->allowed;
    grammar_mask(f->state, t->trie, f->cache, f->allowed);
    for (int i = 0; grammar_can_end(f->state) && i < t->end_count; i++)
        f->allowed[t->end_tokens[i] >> 5] |= 1u << (t->end_tokens[i] & 31);
    f->fresh = true;
    return f->allowed;
}

static bool advance(struct form *f, struct grammar_state *state, int32_t token)
{
    buf_clear(&f->bytes);
    vocab_token_bytes(f->tokens->vocab, token, false, &f->bytes);
    return f->bytes.len && grammar_advance_bytes(state, f->bytes.data, f->bytes.len);
}

bool form_follow(struct form *f, int32_t token)
{
    f->fresh = false;
    return advance(f, f->state, token);
}

bool form_must_end(const struct form *f)
{
    return grammar_must_end(f->state);
}

/* The ids of a mask, or more than WAYS_MAX when there are more. */
static int ways(const uint32_t *mask, int count, int32_t out[WAYS_MAX])
{
    int n = 0;
    for (int w = 0; w < (count + 31) / 32; w++)
        for (uint32_t bits = mask[w]; bits; bits &= bits - 1) {
            if (n == WAYS_MAX)
                return WAYS_MAX + 1;
            out[n++] = w * 32 + __builtin_ctz(bits);
        }
    return n;
}

/* The longest of the tokens a mask allows when all the others begin it; -1 when they part. */
static int32_t only_way(struct form *f, const uint32_t *mask)
{
    int32_t ids[WAYS_MAX], best = -1;
    int n = ways(mask, f->tokens->count, ids);
    buf_clear(&f->longest);
    for (int i = 0; i < n && n <= WAYS_MAX; i++) {
        buf_clear(&f->bytes);
        vocab_token_bytes(f->tokens->vocab, ids[i], false, &f->bytes);
        bool longer = f->bytes.len > f->longest.len;
        size_t common = longer ? f->longest.len : f->bytes.len;
        if (common && memcmp(f->bytes.data, f->longest.data, common) != 0)
            return -1;
        if (longer) {
            buf_clear(&f->longest);
            buf_append(&f->longest, f->bytes.data, f->bytes.len);
            best = ids[i];
        }
    }
    return best;
}

int form_forced(struct form *f, int32_t *out, int max)
{
    struct grammar_state *state = NULL;
    int n = 0;
    while (n < max) {
        const struct grammar_state *at = state ? state : f->state;
        if (grammar_can_end(at)) /* an end token is a way of its own */
            break;
        if (state)
            grammar_mask(state, f->tokens->trie, f->cache, f->ahead);
        int32_t id = only_way(f, state ? f->ahead : form_mask(f));
        if (id < 0)
            break;
        if (!state)
            state = grammar_state_clone(f->state);
        out[n++] = id;
        if (!advance(f, state, id))
            break;
    }
    grammar_state_free(state);
    return n;
}
