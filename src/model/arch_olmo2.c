/* arch_olmo2 -- OLMo 2 and 3: blocks are normed behind, not before; q and k are normed as whole rows
 * (docs/models/olmo2.md). */
#include "model/arch.h"

enum { PERIOD = 4 };

static enum err_code keys(const struct keys *k, struct model_dims *d, struct err *e)
{
    return keys_window(k, PERIOD, d, e); /* OLMo 3; 2 has no window */
}

/* OLMo 3 stretches only the layers that see everything. */
static enum err_code local_rope(const struct keys *k, struct rope_spec *r, struct err *e)
{
    r->scaling = ROPE_NONE;
    r->attn_factor = 1;
    return keys_float_or(k, "rope.freq_base_swa", 1.0001, (double)r->base, &r->base, e);
}

static void layer(struct step *s, const struct layer *l)
{
    step_norm(s, NULL);
    step_attention(s, l, NORM_ROWS);
    step_add(s, l->attn_post_norm);
    step_norm(s, NULL);
    step_ffn(s, l, ACT_SILU);
    step_add(s, l->ffn_post_norm);
}

static const struct tensor_row row_norms[] = {
    { "attn_q_norm.weight", TENSOR_VECTOR, offsetof(struct layer, q_norm), DIM_Q, DIM_ONE, 0, 0, 0 },
    { "attn_k_norm.weight", TENSOR_VECTOR, offsetof(struct layer, k_norm), DIM_K, DIM_ONE, 0, 0, 0 },
    { .name = NULL },
};
static const struct tensor_row *const of_layer[] = { tensors_post_norms, tensors_qkv, row_norms, tensors_ffn, NULL };
static const struct tensor_row *const of_model[] = { tensors_model, NULL };

const struct model_arch arch_olmo2 = {
    .name = "olmo2", .rope_style = KERN_ROPE_HALVES, .keys = keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .local_rope = local_rope, .layer = layer,
};
