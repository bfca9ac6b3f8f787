/* arch_nomic_bert -- nomic-embed-text: BERT with rotary positions and a gated feed-forward block
 * (docs/models/nomic-bert.md). */
#include "model/encoder.h"

static void layer(struct step *s, const struct layer *l)
{
    encoder_layer(s, l, ACT_SILU);
}

static const struct tensor_row *const of_layer[] = { tensors_qkv_fused, tensors_out_norms, tensors_ffn, NULL };
static const struct tensor_row *const of_model[] = { tensors_encoder, NULL };

const struct model_arch arch_nomic_bert = {
    .name = "nomic-bert", .rope_style = KERN_ROPE_HALVES, .encoder = true, .keys = encoder_keys,
    .layer_tensors = of_layer, .model_tensors = of_model, .layer = layer,
};
