/* arch_llama -- Llama 1 to 3, Mistral, Mixtral and everything converted to their shape (docs/models/llama.md). */
#include "model/arch.h"

static enum err_code keys(const struct keys *k, struct model_dims *d, struct err *e)
{
    return keys_float_or(k, "attention.scale", 1e-9, (double)d->attn_scale, &d->attn_scale, e);
}

static void layer(struct step *s, const struct layer *l)
{
    step_norm(s, l->attn_norm);
    step_attention(s, l, NORM_HEADS);
    step_add(s, NULL);
    step_norm(s, l->ffn_norm);
    if (s->d->experts)
        step_experts(s, l, ACT_SILU);
    else
        step_ffn(s, l, ACT_SILU);
    step_add(s, NULL);
}

static const struct tensor_row *const of_layer[] = {
    tensors_pre_norms, tensors_qkv, tensors_ffn, tensors_experts, NULL,
};
static const struct tensor_row *const of_model[] = { tensors_model, tensors_rope_factors, NULL };

const struct model_arch arch_llama = {
    .name = "llama", .rope_style = KERN_ROPE_INTERLEAVED, .keys = keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .layer = layer,
};
