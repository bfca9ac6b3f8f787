/* arch_gpt_oss -- gpt-oss: experts in MXFP4 with biases, attention sinks, every other layer a window
 * (docs/models/gpt-oss.md). */
#include "model/arch.h"

enum { PERIOD = 2 };

static enum err_code keys(const struct keys *k, struct model_dims *d, struct err *e)
{
    if (!d->experts)
        return err_set(e, ERR_CORRUPT, "%s: key 'gpt-oss.expert_count' is missing or 0", gguf_name(k->f));
    return keys_window(k, PERIOD, d, e);
}

static void layer(struct step *s, const struct layer *l)
{
    step_norm(s, l->attn_norm);
    step_attention(s, l, NORM_HEADS);
    step_add(s, NULL);
    step_norm(s, l->ffn_norm);
    step_experts(s, l, ACT_SWIGLU_OAI);
    step_add(s, NULL);
}

#define LAYER(field) offsetof(struct layer, field)
static const struct tensor_row own[] = {
    { "attn_norm.weight", TENSOR_VECTOR, LAYER(attn_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    { "post_attention_norm.weight", TENSOR_VECTOR, LAYER(ffn_norm), DIM_D, DIM_ONE, 0, 0, 0 }, /* by its place */
    { "attn_sinks.weight", TENSOR_VECTOR, LAYER(sinks), DIM_H, DIM_ONE, 0, 0, 0 },
    { "ffn_gate_inp.bias", TENSOR_VECTOR, LAYER(router_bias), DIM_E, DIM_ONE, 0, 0, 0 },
    { "ffn_gate_exps.bias", TENSOR_VECTOR, LAYER(gate_exps_bias), DIM_E, DIM_EF, 0, 0, 0 },
    { "ffn_up_exps.bias", TENSOR_VECTOR, LAYER(up_exps_bias), DIM_E, DIM_EF, 0, 0, 0 },
    { "ffn_down_exps.bias", TENSOR_VECTOR, LAYER(down_exps_bias), DIM_E, DIM_D, 0, 0, 0 },
    { .name = NULL },
};
static const struct tensor_row *const of_layer[] = { own, tensors_qkv, tensors_experts, NULL };
static const struct tensor_row *const of_model[] = { tensors_model, NULL };

const struct model_arch arch_gpt_oss = {
    .name = "gpt-oss", .rope_style = KERN_ROPE_HALVES, .keys = keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .layer = layer,
};
