/* arch_bert -- BERT: learned positions, a feed-forward block without a gate (docs/models/bert.md). */
#include "model/encoder.h"

static void layer(struct step *s, const struct layer *l)
{
    encoder_layer(s, l, ACT_GELU);
}

/* The single matrix before the activation takes the gate's place. */
static const struct tensor_row ffn[] = {
    { "ffn_up.weight", TENSOR_MATRIX, offsetof(struct layer, gate), DIM_F, DIM_D, 0, 0, 0 },
    { "ffn_up.bias", TENSOR_VECTOR, offsetof(struct layer, gate_bias), DIM_F, DIM_ONE, TENSOR_OPTIONAL, 0, 0 },
    { "ffn_down.weight", TENSOR_MATRIX, offsetof(struct layer, down), DIM_D, DIM_F, 0, 0, 0 },
    { "ffn_down.bias", TENSOR_VECTOR, offsetof(struct layer, down_bias), DIM_D, DIM_ONE, TENSOR_OPTIONAL, 0, 0 },
    { .name = NULL },
};
static const struct tensor_row positions[] = {
    { "position_embd.weight", TENSOR_VECTOR, offsetof(struct model, pos_embd), DIM_CTX, DIM_D, 0, 0, 0 },
    { .name = NULL },
};
static const struct tensor_row *const of_layer[] = { tensors_qkv, tensors_out_norms, ffn, NULL };
static const struct tensor_row *const of_model[] = { tensors_encoder, positions, NULL };

const struct model_arch arch_bert = {
    .name = "bert", .encoder = true, .no_rope = true, .keys = encoder_keys, .layer_tensors = of_layer,
    .model_tensors = of_model, .layer = layer,
};
