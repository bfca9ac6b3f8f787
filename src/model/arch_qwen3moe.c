/* arch_qwen3moe -- Qwen 3 with a mixture of experts (docs/models/qwen3moe.md). */
#include "model/arch.h"

static enum err_code keys(const struct keys *k, struct model_dims *d, struct err *e)
{
    if (!d->experts)
        return err_set(e, ERR_CORRUPT, "%s: key 'qwen3moe.expert_count' is missing or 0", gguf_name(k->f));
    /* Older files give only the sum of what a token uses. */
    int share = d->ffn / d->experts_used;
    return keys_int_or(k, "expert_feed_forward_length", 1, MODEL_FFN_MAX, share > 0 ? share : 1, &d->expert_ffn, e);
}

static void layer(struct step *s, const struct layer *l)
{
    step_norm(s, l->attn_norm);
    step_attention(s, l, NORM_HEADS);
    step_add(s, NULL);
    step_norm(s, l->ffn_norm);
    step_experts(s, l, ACT_SILU);
    step_add(s, NULL);
}

static const struct tensor_row *const of_layer[] = {
    tensors_pre_norms, tensors_qkv, tensors_head_norms, tensors_experts, NULL,
};
static const struct tensor_row *const of_model[] = { tensors_model, NULL };

const struct model_arch arch_qwen3moe = {
    .name = "qwen3moe", .rope_style = KERN_ROPE_HALVES, .keys = keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .layer = layer,
};
