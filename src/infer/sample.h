/* sample -- from a row of logits to a token: a pure function of (logits, history, params, position).
 *
 * Order: logit bias; repetition, frequency and presence penalties; forbidden end tokens; the allowed mask;
 * then temperature 0 takes the largest (the first of equals), else temperature, min_p, top_k, top_p, and one
 * draw rng_unit(seed, position), which walks what is left in the order of ids. The vocabulary is never sorted: vector
 * passes count and sum what is above a cut until few candidates are left, and quickselect finds it among them.
 * Log-probabilities are of the raw logits (before all of the above), as OpenAI's clients expect of a model. */
#ifndef INFER_SAMPLE_H
#define INFER_SAMPLE_H
#include "infer/params.h"

#include <stddef.h>

struct sample_input {
    const float *logits;        /* [vocab]; not changed */
    int vocab;
    const int32_t *history;     /* prompt then generated tokens, the penalties' subject */
    int prompt_count, history_count;
    const struct infer_params *params;
    uint64_t seed;              /* params->seed + the choice's index */
    const int32_t *end_tokens;  /* [end_count] tokens that end a turn */
    int end_count;
    const uint32_t *allowed;    /* bit i set: token i may be drawn; NULL: all. At least one bit is set */
};

struct sample_scratch; /* one for each thread that samples */
struct sample_scratch *sample_scratch_new(int vocab);
void sample_scratch_free(struct sample_scratch *s);

/* The position of the draw is history_count. */
void sample_token(const struct sample_input *in, struct sample_scratch *scratch, struct infer_token *out);
#endif
