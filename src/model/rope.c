/* rope -- see rope.h. Angles are computed in double precision: position * frequency loses nothing at 128k. */
#include "model/rope.h"

#include <math.h>

/* The pair whose wave turns n times over the original context. */
static double yarn_pair(const struct rope_spec *s, double turns)
{
    return s->n_rot * log(s->ctx_orig / (turns * 2.0 * 3.14159265358979323846)) / (2.0 * log((double)s->base));
}

/* 1 for the fast pairs that keep their frequency, 0 for the slow ones that are interpolated, a ramp between. */
static double yarn_keep(const struct rope_spec *s, int pair)
{
    double low = fmax(0.0, floor(yarn_pair(s, (double)s->beta_fast)));
    double high = fmin(s->n_rot - 1.0, ceil(yarn_pair(s, (double)s->beta_slow)));
    double ramp = (pair - low) / fmax(0.001, high - low);
    return 1.0 - fmin(1.0, fmax(0.0, ramp));
}

static double yarn_scale(double factor, double multiplier)
{
    return factor <= 1.0 ? 1.0 : 0.1 * multiplier * log(factor) + 1.0;
}

void rope_init(struct rope *r, const struct rope_spec *s, enum kern_rope_style style, const float *factors)
{
    bool yarn = s->scaling == ROPE_YARN && s->ext_factor > 0;
    double stretch = s->scaling == ROPE_LINEAR || s->scaling == ROPE_YARN ? (double)s->factor : 1.0;
    *r = (struct rope){ .style = style, .n_rot = s->n_rot };
    for (int i = 0; i < s->n_rot / 2; i++) {
        double f = pow((double)s->base, -2.0 * i / s->n_rot) / (factors ? (double)factors[i] : 1.0);
        double keep = yarn ? yarn_keep(s, i) * (double)s->ext_factor : 0.0;
        r->freq[i] = f / stretch * (1.0 - keep) + f * keep;
    }
    double scale = (double)s->attn_factor;
    if (yarn && s->log_multiplier > 0)
        scale *= yarn_scale(stretch, 1.0) / yarn_scale(stretch, (double)s->log_multiplier);
    else if (yarn)
        scale *= yarn_scale(stretch, 1.0);
    r->scale = (float)scale;
}

void rope_fill(const struct rope *r, int pos, float *out)
{
    for (int i = 0; i < r->n_rot / 2; i++) {
        double angle = pos * r->freq[i];
        out[2 * i] = (float)cos(angle) * r->scale;
        out[2 * i + 1] = (float)sin(angle) * r->scale;
    }
}
