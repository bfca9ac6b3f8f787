/* arch_glm4 -- GLM 4 (0414), dense: norms on both sides, half of each head rotated (docs/models/glm4.md). */
#include "model/arch.h"

static void layer(struct step *s, const struct layer *l)
{
    step_norm(s, l->attn_norm);
    step_attention(s, l, NORM_HEADS);
    step_add(s, l->attn_post_norm);
    step_norm(s, l->ffn_norm);
    step_ffn(s, l, ACT_SILU);
    step_add(s, l->ffn_post_norm);
}

static const struct tensor_row *const of_layer[] = {
    tensors_pre_norms, tensors_post_norms, tensors_qkv, tensors_ffn_fused, NULL,
};
static const struct tensor_row *const of_model[] = { tensors_model, NULL };

const struct model_arch arch_glm4 = {
    .name = "glm4", .rope_style = KERN_ROPE_INTERLEAVED, .layer_tensors = of_layer, .model_tensors = of_model,
    .layer = layer,
};
