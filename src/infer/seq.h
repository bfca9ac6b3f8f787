/* seq -- one sequence: its tokens, how far they are computed, the KV pages that hold them.
 *
 * tokens[0..prompt) came in, the rest were drawn. Positions below `computed` have their K and V in pages.
 * Everything is allocated by seq_new for the longest the sequence may grow. Owner: the step thread. */
#ifndef INFER_SEQ_H
#define INFER_SEQ_H
#include "infer/kv.h"
#include "infer/params.h"

struct seq {
    struct kv_pool *kv;      /* borrowed */
    uint64_t space;          /* name space in the prefix tree */
    int32_t *tokens;         /* [count], room for token_max */
    int prompt, count, token_max;
    int computed;
    int *pages;              /* [page_count] page numbers, room for ceil(token_max / 32) */
    unsigned char **page_at; /* the same as addresses, for model_run */
    int page_count;
    int shared;              /* the first `shared` pages are nodes of the tree */
    int cached_tokens;       /* prompt tokens found in the tree when it was last started */
};

/* token_max >= prompt_count >= 1. Copies the prompt. */
void seq_init(struct seq *s, struct kv_pool *kv, uint64_t space, const int32_t *prompt, int prompt_count,
              int token_max);
void seq_release(struct seq *s);            /* gives its pages back and frees */

/* Adopts whole pages of the tree for as many leading tokens as it can, leaving at least the last token to be
 * computed (its logits are wanted). Call when computed == 0. */
void seq_adopt_prefix(struct seq *s);
/* Makes room for positions up to end (exclusive). false: no page to be had; what was taken stays held. */
bool seq_reserve(struct seq *s, int end);
/* Pages seq_reserve(s, end) would have to take. */
int seq_pages_missing(const struct seq *s, int end);
/* Positions below `end` are computed now: whole pages become shareable. */
void seq_computed(struct seq *s, int end);
void seq_append(struct seq *s, int32_t token); /* count < token_max */
/* Parks: all pages go back (whole ones stay in the tree while there is room); computed = 0. */
void seq_drop_pages(struct seq *s);
#endif
