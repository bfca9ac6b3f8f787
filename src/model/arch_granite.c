/* arch_granite -- Granite 3: Llama's layer with four scales (docs/models/granite.md). */
#include "model/arch.h"

static enum err_code keys(const struct keys *k, struct model_dims *d, struct err *e)
{
    enum err_code c;
    bool rotated;
    float divisor;
    if ((c = keys_float_or(k, "embedding_scale", 0.0, 1.0, &d->embed_scale, e)) ||
        (c = keys_float_or(k, "residual_scale", 0.0, 1.0, &d->residual_scale, e)) ||
        (c = keys_float_or(k, "attention.scale", 1e-9, (double)d->attn_scale, &d->attn_scale, e)) ||
        (c = keys_float_or(k, "logit_scale", 1e-9, 1.0, &divisor, e)) ||
        (c = keys_bool_or(k, "rope.scaling.finetuned", true, &rotated, e)))
        return c;
    d->logit_scale = 1.0f / divisor;
    if (!rotated)
        return err_set(e, ERR_UNSUPPORTED, "%s: a granite model without rotary positions is not supported",
                       gguf_name(k->f));
    return ERR_OK;
}

static void layer(struct step *s, const struct layer *l)
{
    step_norm(s, l->attn_norm);
    step_attention(s, l, NORM_HEADS);
    step_add(s, NULL);
    step_norm(s, l->ffn_norm);
    step_ffn(s, l, ACT_SILU);
    step_add(s, NULL);
}

static const struct tensor_row *const of_layer[] = { tensors_pre_norms, tensors_qkv, tensors_ffn, NULL };
static const struct tensor_row *const of_model[] = { tensors_model, tensors_rope_factors, NULL };

const struct model_arch arch_granite = {
    .name = "granite", .rope_style = KERN_ROPE_INTERLEAVED, .keys = keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .layer = layer,
};
