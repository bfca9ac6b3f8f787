/* arch_smollm3 -- SmolLM 3: Llama's layer, every fourth one without rotary positions (docs/models/smollm3.md). */
#include "model/arch.h"

enum { NO_ROPE_PERIOD = 4 };

static int layer_rope(const struct model_dims *d, int layer)
{
    return (layer + 1) % NO_ROPE_PERIOD ? 0 : -1;
}

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
    step_ffn(s, l, ACT_SILU);
    step_add(s, NULL);
}

static const struct tensor_row *const of_layer[] = { tensors_pre_norms, tensors_qkv, tensors_ffn, NULL };
static const struct tensor_row *const of_model[] = { tensors_model, NULL };

const struct model_arch arch_smollm3 = {
    .name = "smollm3", .rope_style = KERN_ROPE_INTERLEAVED, .keys = keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .layer_rope = layer_rope, .layer = layer,
};
