/* form -- see form.h. */
#include "sched/form.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "text/grammar_join.h"

#include <string.h>

enum { WAYS_MAX = 24 }; /* tokens that begin one text; more of them never do */

struct form {
    const struct form_tokens *tokens;
    struct grammar_state *state, *later; /* later: behind tokens that are forced; made when first there are any */
    struct grammar_cache *cache;
    uint32_t *allowed;        /* [(count + 31) / 32], of state when `fresh` */
    uint32_t *ahead;          /* the same, for states after it */
    bool fresh;
    struct buf bytes, longest;
    const struct infer_thought *thought; /* NULL: none, or over */
    bool thinking;
    int thought_tokens, closing; /* drawn within the thought; of `close` already drawn */
    struct buf seen;          /* the end of the text, as long as a mark */
};

struct form *form_new(const struct form_tokens *t, const struct grammar *g, const struct infer_thought *thought)
{
    ASSERT(t->trie && t->vocab);
    struct form *f = MEM_NEW(struct form);
    f->tokens = t;
    f->state = g ? grammar_start(g) : NULL;
    f->cache = g ? grammar_cache_new(g, t->trie) : NULL;
    f->thought = thought;
    f->thinking = thought && thought->begun;
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
    grammar_state_free(f->later);
    mem_free(f->allowed);
    mem_free(f->ahead);
    buf_release(&f->bytes);
    buf_release(&f->longest);
    buf_release(&f->seen);
    mem_free(f);
}

/* ---- a limit on thinking */

static bool must_close(const struct form *f)
{
    return f->thought && f->thinking && (f->thought_tokens >= f->thought->tokens_max || f->closing);
}

/* Whether the text just came to contain the mark. Looks at no more than the mark's length before the last token. */
static bool shows(struct form *f, const char *mark)
{
    size_t n = strlen(mark), keep = n + f->bytes.len;
    if (f->seen.len > keep)
        buf_drop_front(&f->seen, f->seen.len - keep);
    return f->seen.len >= n && n && memmem(f->seen.data, f->seen.len, mark, n);
}

static void follow_thought(struct form *f, int32_t token)
{
    const struct infer_thought *t = f->thought;
    buf_clear(&f->bytes);
    vocab_token_bytes(f->tokens->vocab, token, true, &f->bytes);
    buf_append(&f->seen, f->bytes.data, f->bytes.len);
    if (!f->thinking) {
        f->thinking = shows(f, t->open);
        if (f->thinking)
            buf_clear(&f->seen);
        return;
    }
    f->closing += must_close(f);
    f->thought_tokens++;
    if (shows(f, t->end) || f->closing == t->close_count) {
        f->thinking = false;
        f->thought = NULL;
    }
}

/* ---- the mask */

const uint32_t *form_mask(struct form *f)
{
    const struct form_tokens *t = f->tokens;
    if (must_close(f)) {
        int32_t id = f->thought->close[f->closing];
        memset(f->allowed, 0, ((size_t)t->count + 31) / 32 * sizeof *f->allowed);
        f->allowed[id >> 5] |= 1u << (id & 31);
        return f->allowed;
    }
    if (!f->state || f->fresh)
        return f->state ? f->allowed : NULL;
    grammar_mask(f->state, t->trie, f->cache, f->allowed);
    for (int i = 0; grammar_can_end(f->state) && i < t->end_count; i++)
        f->allowed[t->end_tokens[i] >> 5] |= 1u << (t->end_tokens[i] & 31);
    f->fresh = true;
    return f->allowed;
}

static bool advance(struct form *f, struct grammar_state *state, int32_t token)
{
    buf_clear(&f->bytes);
    grammar_token_bytes(f->tokens->vocab, token, &f->bytes);
    return f->bytes.len && grammar_advance_bytes(state, f->bytes.data, f->bytes.len);
}

bool form_follow(struct form *f, int32_t token)
{
    f->fresh = false;
    bool ok = !f->state || advance(f, f->state, token);
    if (f->thought)
        follow_thought(f, token);
    return ok;
}

bool form_must_end(const struct form *f)
{
    return f->state && grammar_must_end(f->state);
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
        grammar_token_bytes(f->tokens->vocab, ids[i], &f->bytes);
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
    if (must_close(f)) {
        for (; n < max && f->closing + n < f->thought->close_count; n++)
            out[n] = f->thought->close[f->closing + n];
        return n;
    }
    while (f->state && n < max) {
        const struct grammar_state *at = state ? state : f->state;
        if (grammar_can_end(at)) /* an end token is a way of its own */
            break;
        if (state)
            grammar_mask(state, f->tokens->trie, f->cache, f->ahead);
        int32_t id = only_way(f, state ? f->ahead : form_mask(f));
        if (id < 0)
            break;
        if (!state && f->later)
            grammar_state_copy(f->later, f->state);
        else if (!state)
            f->later = grammar_state_clone(f->state);
        state = f->later;
        out[n++] = id;
        if (!advance(f, state, id))
            break;
    }
    return n;
}
