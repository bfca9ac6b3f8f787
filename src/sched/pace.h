/* pace -- how much a step takes on beside the tokens it owes: prompt rows and guesses, within the targets.
 *
 * While sequences decode, a step must not take longer than the target time between tokens. What the decoding rows
 * leave of it goes to guesses that pay and then to prompts. When a target for the first token is set and every prompt
 * would meet it at a gentler pace, a step takes at most a few times what its decoding rows take: the tokens of those
 * that run come more evenly. Times are predicted by a step-time model (steptime.h); nothing here reads a clock.
 *
 * Owner: the step thread. */
#ifndef SCHED_PACE_H
#define SCHED_PACE_H
#include "sched/steptime.h"

struct pace_goal {
    double itl_ms;      /* time between tokens; 0: prompts get prefill_rows, whatever they take */
    double ttft_ms;     /* time to the first token; 0: as soon as itl_ms allows */
    int prefill_rows;   /* prompt rows beside decoding ones, while nothing is known of their time */
};

struct pace {
    const struct steptime_model *model;
    const struct pace_goal *goal;
    double owed_ms;   /* of the decoding rows */
    double left_ms;   /* for guesses and prompts; without end where nobody's tokens wait */
    double kept_ms;   /* of it, for the prompt that is next: no guess gets it */
    double rate;      /* tokens in a ms of the step as it is */
    double worth;     /* the least chance of being right that pays for a guess's row */
    int rows;         /* room for prompt rows */
    bool begun;       /* a prompt has rows: the next one may have none */
};

/* owed: the rows that decode. rows: what the step has room for beside them. known: the model has seen prompts. */
void pace_begin(struct pace *p, const struct pace_goal *g, const struct steptime_model *m,
                const struct steptime_load *owed, int rows, bool known);

/* A prompt waits, at `pos`, for so many rows: guesses leave it half of the time there is, and its smallest chunk. */
void pace_keep(struct pace *p, int pos, int rows);
/* A row for a guess that is right with this chance; false: it does not pay, or there is no time. */
bool pace_guess(struct pace *p, double chance);

/* Whether a prompt that has waited for waited_ms misses its target at the gentle pace; rows: what is to be computed
 * until it has its first token, the prompts before it too. */
bool pace_late(const struct pace *p, double rows, double waited_ms);
/* No prompt is late: this step stays gentle. */
void pace_calm(struct pace *p);
/* Rows for the prompt that is next, at `pos` of it, of those it wants. */
int pace_chunk(struct pace *p, int pos, int want);
#endif
