/* arch_phi3 -- Phi 3, 3.5 and 4: fused projections, LongRoPE (docs/models/phi3.md). */
#include "model/arch.h"

static void layer(struct step *s, const struct layer *l)
{
    step_norm(s, l->attn_norm);
    step_attention(s, l, NORM_HEADS);
    step_add(s, NULL);
    step_norm(s, l->ffn_norm);
    step_ffn(s, l, ACT_SILU);
    step_add(s, NULL);
}

static const struct tensor_row *const of_layer[] = {
    tensors_pre_norms, tensors_qkv_fused, tensors_ffn_fused, NULL,
};
static const struct tensor_row *const of_model[] = { tensors_model, tensors_rope_factors, NULL };

const struct model_arch arch_phi3 = {
    .name = "phi3", .rope_style = KERN_ROPE_HALVES, .layer_tensors = of_layer, .model_tensors = of_model,
    .layer = layer,
};
