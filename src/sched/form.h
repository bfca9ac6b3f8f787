/* form -- what a sequence's text must look like: its place in a grammar, and the tokens that may come next.
 *
 * One thread at a time per form: the step thread, or the pool thread that draws for the sequence. */
#ifndef SCHED_FORM_H
#define SCHED_FORM_H
#include "infer/params.h"
#include "text/grammar.h"
#include "text/vocab.h"

struct form;

/* The tokens a text is made of; all borrowed. */
struct form_tokens {
    const struct vocab *vocab;
    const struct grammar_trie *trie;
    int count;                 /* ids */
    const int32_t *end_tokens; /* [end_count] */
    int end_count;
};

/* All must outlive it. g: NULL for any text; thought: NULL for no limit. */
struct form *form_new(const struct form_tokens *t, const struct grammar *g, const struct infer_thought *thought);
void form_free(struct form *f);

/* The tokens that may come next, a bit each: the grammar's, and the end tokens where the text may end; NULL: all. Valid
 * until the form is followed. */
const uint32_t *form_mask(struct form *f);
/* Follows a drawn token. false: it was not allowed, which only a vocabulary that cannot spell the text allows. */
bool form_follow(struct form *f, int32_t token);
bool form_must_end(const struct form *f);
/* The tokens that come next where the grammar leaves one way to go on: of the tokens that spell it the longest, as
 * a model nearly always writes it. A guess for drafts, no promise. Returns how many, at most max. */
int form_forced(struct form *f, int32_t *out, int max);
#endif
