/* draft -- guesses of a sequence's next tokens, for the step to check all at once.
 *
 * A guess costs a row of the step and saves a step when it is what the sampler draws. Sources, each with its own
 * record of how often it was right, for this sequence:
 *   forced   the grammar leaves one way to go on (form.h)
 *   tree     the prefix tree knows how a text that begins like this one went on; of the same name space only
 *   long     the last four tokens stood in this text before: what followed then
 *   short    the same with the last two
 *   model    a small model of the same vocabulary draws (draft_model.h)
 * And where another engine had begun the answer (sched_spec.known): what it drew. That is right unless something is
 * wrong, so it goes before all the others, many rows at a time whether guesses pay or not, and is dropped altogether at
 * the first token that differs.
 *
 * Guesses that get no row are still compared with what is drawn, so a record is kept while drafting does not pay.
 *
 * Owner: the step thread. */
#ifndef SCHED_DRAFT_H
#define SCHED_DRAFT_H
#include "infer/seq.h"

#include <stdbool.h>

enum { DRAFT_MAX = 15 }; /* rows of a sequence in a step: 1 + 15, a tile of AMX */

enum draft_source { DRAFT_FORCED, DRAFT_TREE, DRAFT_LONG, DRAFT_SHORT, DRAFT_MODEL, DRAFT_SOURCES };

struct draft_guess {
    int32_t ids[DRAFT_MAX];
    int count;
};

struct draft {
    int32_t *known;       /* [known_count], owned; NULL: nothing, or it was wrong */
    int known_count, known_at; /* known_at: drawn here again already */
    bool from_known;      /* the rows in the step are of these */
    struct draft_guess guesses[DRAFT_SOURCES];
    struct { float right, all; } record[DRAFT_SOURCES];
    int32_t *places[2];   /* [slots] where the tokens that followed a run of 4, or of 2, stand; 0: nowhere */
    uint32_t slots;       /* a power of two */
    int indexed;          /* tokens the tables know */
    enum draft_source source; /* of the rows in the step */
    int rows;             /* in the step being made */
    int accepted, rejected;   /* rows, so far */
    int unasked;          /* tokens since the model guessed last */
};

void draft_init(struct draft *d, int token_max);
void draft_release(struct draft *d);

/* After draft_init, where there is one: what was drawn elsewhere; copied. */
void draft_know(struct draft *d, const int32_t *ids, int count);
/* What of it is still to come; NULL and 0: nothing. */
const int32_t *draft_known(const struct draft *d, int *count);
void draft_follow_known(struct draft *d, int32_t drawn);

/* Guesses from the tree and the text. What `forced` and `model` guess is put in by who makes them. */
void draft_look_up(struct draft *d, const struct seq *s);
/* The guess most likely to be right, of those there are; its source into *source, or NULL when there is none. */
const struct draft_guess *draft_best(const struct draft *d, enum draft_source *source);
/* How likely the next token of a source's guess is right, given that those before it were. */
float draft_chance(const struct draft *d, enum draft_source source);
/* After the draw: `drawn` [count] came; every source's record is brought up to date and its guess forgotten. */
void draft_learn(struct draft *d, const int32_t *drawn, int count);
#endif
