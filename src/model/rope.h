/* rope -- rotary positions: frequencies fixed at load, cosines and sines for a row's position on demand.
 *
 * Pair i of n_rot / 2 turns by position * frequency[i]. Base form: frequency[i] = base^(-2 i / n_rot)
 * (Su et al., RoFormer, 2021). What scaling changes, all independent of the position:
 *   linear   frequency / factor (position interpolation)
 *   YaRN     between frequency and frequency / factor by a ramp over i; cosine and sine times
 *            1 + 0.1 ln factor (Peng et al., 2023)
 *   factors  frequency[i] / factors[i], given as a tensor (Llama 3, LongRoPE) */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H
#include "kern/kern.h"

enum rope_scaling { ROPE_NONE, ROPE_LINEAR, ROPE_YARN, ROPE_LONG };

struct rope_spec {
    enum rope_scaling scaling;
    int n_rot;
    float base, factor;           /* factor >= 1 stretches the context */
    float attn_factor;            /* multiplies cosine and sine */
    float ext_factor, beta_fast, beta_slow, log_multiplier; /* YaRN */
    int ctx_orig;                 /* positions before stretching */
};

struct rope {
    enum kern_rope_style style;
    int n_rot;
    double freq[KERN_HEAD_DIM_MAX / 2];
    float scale; /* of cosine and sine */
};

/* factors [n_rot / 2] or NULL. */
void rope_init(struct rope *r, const struct rope_spec *spec, enum kern_rope_style style, const float *factors);
/* out [n_rot / 2][2]: cosine, sine. */
void rope_fill(const struct rope *r, int pos, float *out);
#endif
