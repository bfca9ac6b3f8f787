/* arch_qwen3 -- Qwen 3, dense: every head of q and k is normed before it is rotated (docs/models/qwen3.md). */
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
    tensors_pre_norms, tensors_qkv, tensors_head_norms, tensors_ffn, NULL,
};
static const struct tensor_row *const of_model[] = { tensors_model, NULL };

const struct model_arch arch_qwen3 = {
    .name = "qwen3", .rope_style = KERN_ROPE_HALVES, .layer_tensors = of_layer, .model_tensors = of_model,
    .layer = layer,
};
