/* arch_gemma3 -- Gemma 3: as Gemma 2 without the attention cap, q and k normed for each head, five layers in six a
 * window with a rope of their own (docs/models/gemma3.md). */
#include "model/arch.h"

#include <math.h>

enum { PERIOD = 6, LAYERS_27B = 62 };

static enum err_code keys(const struct keys *k, struct model_dims *d, struct err *e)
{
    d->embed_scale = sqrtf((float)d->dim);
    if (d->layers == LAYERS_27B)
        d->attn_scale = 1.0f / sqrtf((float)(d->dim / d->heads));
    enum err_code c = keys_window(k, PERIOD, d, e);
    if (c)
        return c;
    return keys_float_or(k, "final_logit_softcapping", 0.0, 0.0, &d->logit_softcap, e);
}

/* Layers with a window: base 10000, not stretched. */
static enum err_code local_rope(const struct keys *k, struct rope_spec *r, struct err *e)
{
    r->scaling = ROPE_NONE;
    return keys_float_or(k, "rope.freq_base_swa", 1.0001, 10000.0, &r->base, e);
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
    tensors_pre_norms, tensors_post_norms, tensors_qkv, tensors_head_norms, tensors_ffn, NULL,
};
static const struct tensor_row *const of_model[] = { tensors_model, NULL };

const struct model_arch arch_gemma3 = {
    .name = "gemma3", .rope_style = KERN_ROPE_HALVES, .keys = keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .local_rope = local_rope, .layer = layer,
};
