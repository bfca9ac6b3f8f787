/* arch_gemma2 -- Gemma 2: norms on both sides of a block, soft caps, every other layer a window
 * (docs/models/gemma2.md). */
#include "model/arch.h"

#include <math.h>

enum { WINDOW_DEFAULT = 4096, PERIOD = 2, LAYERS_27B = 46 };

static enum err_code keys(const struct keys *k, struct model_dims *d, struct err *e)
{
    enum err_code c;
    d->embed_scale = sqrtf((float)d->dim);
    d->window = WINDOW_DEFAULT;
    if (d->layers == LAYERS_27B) /* the 27B model scales by D / H instead of the head's width */
        d->attn_scale = 1.0f / sqrtf((float)(d->dim / d->heads));
    if ((c = keys_window(k, PERIOD, d, e)) ||
        (c = keys_float_or(k, "attn_logit_softcapping", 0.0, 50.0, &d->attn_softcap, e)))
        return c;
    return keys_float_or(k, "final_logit_softcapping", 0.0, 30.0, &d->logit_softcap, e);
}

static void layer(struct step *s, const struct layer *l)
{
    step_norm(s, l->attn_norm);
    step_attention(s, l, NORM_HEADS);
    step_add(s, l->attn_post_norm);
    step_norm(s, l->ffn_norm);
    step_ffn(s, l, ACT_GELU);
    step_add(s, l->ffn_post_norm);
}

static const struct tensor_row *const of_layer[] = {
    tensors_pre_norms, tensors_post_norms, tensors_qkv, tensors_ffn, NULL,
};
static const struct tensor_row *const of_model[] = { tensors_model, NULL };

const struct model_arch arch_gemma2 = {
    .name = "gemma2", .rope_style = KERN_ROPE_HALVES, .keys = keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .layer = layer,
};
