/* seq -- see seq.h. */
#include "infer/seq.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

static int pages_for(int tokens)
{
    return (tokens + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS;
}

void seq_init(struct seq *s, struct kv_pool *kv, uint64_t space, const int32_t *prompt, int prompt_count,
              int token_max)
{
    ASSERT(prompt_count >= 1 && token_max >= prompt_count);
    *s = (struct seq){ .kv = kv, .space = space, .token_max = token_max };
    s->prompt = s->count = prompt_count;
    s->tokens = mem_new((size_t)token_max, sizeof *s->tokens);
    memcpy(s->tokens, prompt, (size_t)prompt_count * sizeof *prompt);
    s->pages = mem_new((size_t)pages_for(token_max), sizeof *s->pages);
    s->page_at = mem_new((size_t)pages_for(token_max), sizeof *s->page_at);
}

void seq_drop_pages(struct seq *s)
{
    while (s->page_count)
        kv_release(s->kv, s->pages[--s->page_count]); /* last first: kv.h, I4 */
    s->computed = s->shared = 0;
}

void seq_release(struct seq *s)
{
    if (!s->tokens)
        return;
    seq_drop_pages(s);
    mem_free(s->tokens);
    mem_free(s->pages);
    mem_free(s->page_at);
    *s = (struct seq){ 0 };
}

static void set_page(struct seq *s, int index, int page)
{
    s->pages[index] = page;
    s->page_at[index] = kv_page(s->kv, page);
}

void seq_adopt_prefix(struct seq *s)
{
    ASSERT(s->computed == 0 && s->page_count == 0);
    int parent = KV_NONE;
    while ((s->shared + 1) * KERN_PAGE_TOKENS < s->count) {
        int page = kv_tree_find_anywhere(s->kv, s->space, parent, s->tokens + s->shared * KERN_PAGE_TOKENS);
        if (page == KV_NONE)
            break;
        kv_hold(s->kv, page);
        set_page(s, s->shared++, page);
        parent = page;
    }
    s->page_count = s->shared;
    s->computed = s->shared * KERN_PAGE_TOKENS;
    s->cached_tokens = s->computed < s->prompt ? s->computed : s->prompt;
}

int seq_pages_missing(const struct seq *s, int end)
{
    int need = pages_for(end) - s->page_count;
    return need > 0 ? need : 0;
}

bool seq_reserve(struct seq *s, int end)
{
    ASSERT(end <= s->token_max);
    while (s->page_count < pages_for(end)) {
        int page = kv_take(s->kv);
        if (page == KV_NONE)
            return false;
        set_page(s, s->page_count++, page);
    }
    return true;
}

void seq_computed(struct seq *s, int end)
{
    ASSERT(end >= s->computed && pages_for(end) <= s->page_count);
    s->computed = end;
    while ((s->shared + 1) * KERN_PAGE_TOKENS <= end) {
        int i = s->shared, own = s->pages[i], parent = i ? s->pages[i - 1] : KV_NONE;
        int kept = kv_tree_insert(s->kv, s->space, parent, s->tokens + i * KERN_PAGE_TOKENS, own);
        if (kept != own) { /* somebody computed the same page meanwhile: the same bits; hold theirs */
            kv_hold(s->kv, kept);
            kv_release(s->kv, own);
            set_page(s, i, kept);
        }
        s->shared++;
    }
}

void seq_append(struct seq *s, int32_t token)
{
    ASSERT(s->count < s->token_max);
    s->tokens[s->count++] = token;
}
