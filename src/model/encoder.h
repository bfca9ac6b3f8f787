/* encoder -- what the encoders' arch files share. */
#ifndef MODEL_ENCODER_H
#define MODEL_ENCODER_H
#include "model/arch.h"

/* Kinds of text and the head, from the tensors' own shapes; refuses what is no encoder. */
enum err_code encoder_keys(const struct keys *k, struct model_dims *d, struct err *e);
/* Attention, then the feed-forward block; x is normed after each. */
void encoder_layer(struct step *s, const struct layer *l, enum activation act);
#endif
