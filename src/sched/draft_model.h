/* draft_model -- a small model of the same vocabulary that guesses what the large one will say (draft.h).
 *
 * It keeps K and V of its own for the few sequences it guesses for, follows their texts, and draws each guess as the
 * large model's sampler would: with the same parameters, seed and position, so that where the two agree about the
 * next token the draws agree as well. Its guesses are never trusted, so nothing here changes what is said.
 *
 * Owner: the step thread. After draft_model_new only draft_model_join allocates. */
#ifndef SCHED_DRAFT_MODEL_H
#define SCHED_DRAFT_MODEL_H
#include "infer/sample.h"
#include "infer/seq.h"
#include "model/model.h"
#include "sched/draft.h"
#include "sched/steptime.h"

enum {
    DRAFT_STREAMS_MAX = 4, /* sequences it guesses for in a step: with more, rows are dear and guesses do not pay */
    DRAFT_CATCH_UP = 128,  /* rows of texts it has not read yet, in a step */
};

struct draft_model;

/* Its part of a sequence; zeros: none yet. */
struct draft_reader {
    struct seq seq;      /* a copy of the text, then what was guessed */
    int read;            /* positions whose K and V are of what stands in seq.tokens */
};

/* What is wanted of it in a step for one sequence. */
struct draft_wish {
    struct draft_reader *reader;
    const struct seq *text;
    struct sample_input sample; /* but logits and history */
    struct draft_guess *out;
    double chance;       /* that a guess is right, given that those before it were */
    int most;            /* guesses at most */
};

struct draft_model *draft_model_new(const struct model *m, struct pool *pool, size_t kv_bytes);
void draft_model_free(struct draft_model *d);
size_t draft_model_kv_bytes(const struct draft_model *d);

/* What a guess must bring, in tokens: worth for the row in which it is checked, worth_ms for each ms of guessing. */
struct draft_price {
    double worth, worth_ms;
    double ms;           /* time there is for reading on */
};

/* Guesses for all wishes at once, each as long as it pays. A reader far behind its text reads on and guesses later. */
void draft_model_guess(struct draft_model *d, struct draft_wish *wishes, int count, const struct draft_price *price);

void draft_reader_park(struct draft_reader *r);   /* gives its pages back */
void draft_reader_release(struct draft_reader *r);
#endif
