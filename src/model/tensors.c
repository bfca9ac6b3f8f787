/* tensors -- groups of tensor rows that several architectures share, and what the symbols of shapes mean.
 *
 * Names are those of GGUF files; shapes are [rows][cols], the file's ne being {cols, rows}. */
#include "model/parts.h"

#include "base/assert.h"

#include <stddef.h>

#define LAYER(field) offsetof(struct layer, field)
#define MODEL(field) offsetof(struct model, field)
#define END { .name = NULL }

enum { OPT = TENSOR_OPTIONAL, DENSE = TENSOR_DENSE, SPARSE = TENSOR_SPARSE };

const struct tensor_row tensors_model[] = {
    { "token_embd.weight", TENSOR_MATRIX, MODEL(token_embd), DIM_W, DIM_D, 0, 0, 0 },
    { "output.weight", TENSOR_MATRIX, MODEL(output), DIM_W, DIM_D, OPT, 0, 0 },
    { "output.bias", TENSOR_VECTOR, MODEL(output_bias), DIM_W, DIM_ONE, OPT, 0, 0 },
    { "output_norm.weight", TENSOR_VECTOR, MODEL(output_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    END,
};

const struct tensor_row tensors_rope_factors[] = {
    { "rope_freqs.weight", TENSOR_VECTOR, MODEL(rope_freqs), DIM_HALF_ROT, DIM_ONE, OPT, 0, 0 },
    { "rope_factors_long.weight", TENSOR_VECTOR, MODEL(rope_long), DIM_HALF_ROT, DIM_ONE, OPT, 0, 0 },
    { "rope_factors_short.weight", TENSOR_VECTOR, MODEL(rope_short), DIM_HALF_ROT, DIM_ONE, OPT, 0, 0 },
    END,
};

const struct tensor_row tensors_qkv[] = {
    { "attn_q.weight", TENSOR_MATRIX, LAYER(q), DIM_Q, DIM_D, 0, 0, 0 },
    { "attn_k.weight", TENSOR_MATRIX, LAYER(k), DIM_K, DIM_D, 0, 0, 0 },
    { "attn_v.weight", TENSOR_MATRIX, LAYER(v), DIM_V, DIM_D, 0, 0, 0 },
    { "attn_output.weight", TENSOR_MATRIX, LAYER(o), DIM_D, DIM_O, 0, 0, 0 },
    { "attn_q.bias", TENSOR_VECTOR, LAYER(q_bias), DIM_Q, DIM_ONE, OPT, 0, 0 },
    { "attn_k.bias", TENSOR_VECTOR, LAYER(k_bias), DIM_K, DIM_ONE, OPT, 0, 0 },
    { "attn_v.bias", TENSOR_VECTOR, LAYER(v_bias), DIM_V, DIM_ONE, OPT, 0, 0 },
    { "attn_output.bias", TENSOR_VECTOR, LAYER(o_bias), DIM_D, DIM_ONE, OPT, 0, 0 },
    END,
};

const struct tensor_row tensors_qkv_fused[] = {
    { "attn_qkv.weight", TENSOR_MATRIX, LAYER(q), DIM_Q, DIM_D, 0, DIM_QKV, 0 },
    { "attn_qkv.weight", TENSOR_MATRIX, LAYER(k), DIM_K, DIM_D, 0, DIM_QKV, DIM_Q },
    { "attn_qkv.weight", TENSOR_MATRIX, LAYER(v), DIM_V, DIM_D, 0, DIM_QKV, DIM_QK },
    { "attn_output.weight", TENSOR_MATRIX, LAYER(o), DIM_D, DIM_O, 0, 0, 0 },
    { "attn_output.bias", TENSOR_VECTOR, LAYER(o_bias), DIM_D, DIM_ONE, OPT, 0, 0 },
    END,
};

const struct tensor_row tensors_pre_norms[] = {
    { "attn_norm.weight", TENSOR_VECTOR, LAYER(attn_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    { "ffn_norm.weight", TENSOR_VECTOR, LAYER(ffn_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    END,
};

const struct tensor_row tensors_post_norms[] = {
    { "post_attention_norm.weight", TENSOR_VECTOR, LAYER(attn_post_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    { "post_ffw_norm.weight", TENSOR_VECTOR, LAYER(ffn_post_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    END,
};

const struct tensor_row tensors_head_norms[] = {
    { "attn_q_norm.weight", TENSOR_VECTOR, LAYER(q_norm), DIM_HEAD, DIM_ONE, 0, 0, 0 },
    { "attn_k_norm.weight", TENSOR_VECTOR, LAYER(k_norm), DIM_HEAD, DIM_ONE, 0, 0, 0 },
    END,
};

const struct tensor_row tensors_ffn[] = {
    { "ffn_gate.weight", TENSOR_MATRIX, LAYER(gate), DIM_F, DIM_D, DENSE, 0, 0 },
    { "ffn_up.weight", TENSOR_MATRIX, LAYER(up), DIM_F, DIM_D, DENSE, 0, 0 },
    { "ffn_down.weight", TENSOR_MATRIX, LAYER(down), DIM_D, DIM_F, DENSE, 0, 0 },
    { "ffn_gate.bias", TENSOR_VECTOR, LAYER(gate_bias), DIM_F, DIM_ONE, DENSE | OPT, 0, 0 },
    { "ffn_up.bias", TENSOR_VECTOR, LAYER(up_bias), DIM_F, DIM_ONE, DENSE | OPT, 0, 0 },
    { "ffn_down.bias", TENSOR_VECTOR, LAYER(down_bias), DIM_D, DIM_ONE, DENSE | OPT, 0, 0 },
    END,
};

const struct tensor_row tensors_ffn_fused[] = {
    { "ffn_up.weight", TENSOR_MATRIX, LAYER(gate), DIM_F, DIM_D, DENSE, DIM_FF, 0 },
    { "ffn_up.weight", TENSOR_MATRIX, LAYER(up), DIM_F, DIM_D, DENSE, DIM_FF, DIM_F },
    { "ffn_down.weight", TENSOR_MATRIX, LAYER(down), DIM_D, DIM_F, DENSE, 0, 0 },
    END,
};

const struct tensor_row tensors_experts[] = {
    { "ffn_gate_inp.weight", TENSOR_MATRIX, LAYER(router), DIM_E, DIM_D, SPARSE, 0, 0 },
    { "ffn_gate_exps.weight", TENSOR_EXPERTS, LAYER(gate_exps), DIM_EF, DIM_D, SPARSE, 0, 0 },
    { "ffn_up_exps.weight", TENSOR_EXPERTS, LAYER(up_exps), DIM_EF, DIM_D, SPARSE, 0, 0 },
    { "ffn_down_exps.weight", TENSOR_EXPERTS, LAYER(down_exps), DIM_D, DIM_EF, SPARSE, 0, 0 },
    END,
};

const struct tensor_row tensors_encoder[] = {
    { "token_embd.weight", TENSOR_MATRIX, MODEL(token_embd), DIM_W, DIM_D, 0, 0, 0 },
    { "token_types.weight", TENSOR_VECTOR, MODEL(segment_embd), DIM_SEGMENTS, DIM_D, OPT, 0, 0 },
    { "token_embd_norm.weight", TENSOR_VECTOR, MODEL(embd_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    { "token_embd_norm.bias", TENSOR_VECTOR, MODEL(embd_norm_bias), DIM_D, DIM_ONE, 0, 0, 0 },
    { "cls.weight", TENSOR_MATRIX, MODEL(head), DIM_HEAD_ROWS, DIM_D, OPT, 0, 0 },
    { "cls.bias", TENSOR_VECTOR, MODEL(head_bias), DIM_HEAD_ROWS, DIM_ONE, OPT, 0, 0 },
    { "cls.output.weight", TENSOR_MATRIX, MODEL(head_out), DIM_LABELS, DIM_HEAD_COLS, OPT, 0, 0 },
    { "cls.output.bias", TENSOR_VECTOR, MODEL(head_out_bias), DIM_LABELS, DIM_ONE, OPT, 0, 0 },
    END,
};

const struct tensor_row tensors_out_norms[] = {
    { "attn_output_norm.weight", TENSOR_VECTOR, LAYER(attn_out_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    { "attn_output_norm.bias", TENSOR_VECTOR, LAYER(attn_out_norm_bias), DIM_D, DIM_ONE, 0, 0, 0 },
    { "layer_output_norm.weight", TENSOR_VECTOR, LAYER(out_norm), DIM_D, DIM_ONE, 0, 0, 0 },
    { "layer_output_norm.bias", TENSOR_VECTOR, LAYER(out_norm_bias), DIM_D, DIM_ONE, 0, 0, 0 },
    END,
};

size_t dim_value(const struct model_dims *d, enum dim_symbol s)
{
    size_t q = (size_t)d->heads * (size_t)d->k_dim, k = (size_t)d->kv_heads * (size_t)d->k_dim;
    size_t v = (size_t)d->kv_heads * (size_t)d->v_dim;
    switch (s) {
    case DIM_ONE: return 1;
    case DIM_D: return (size_t)d->dim;
    case DIM_Q: return q;
    case DIM_K: return k;
    case DIM_V: return v;
    case DIM_O: return (size_t)d->heads * (size_t)d->v_dim;
    case DIM_QK: return q + k;
    case DIM_QKV: return q + k + v;
    case DIM_F: return (size_t)d->ffn;
    case DIM_FF: return 2 * (size_t)d->ffn;
    case DIM_E: return (size_t)d->experts;
    case DIM_EF: return (size_t)d->expert_ffn;
    case DIM_HEAD: return (size_t)d->k_dim;
    case DIM_H: return (size_t)d->heads;
    case DIM_W: return (size_t)d->vocab;
    case DIM_HALF_ROT: return (size_t)d->rope.n_rot / 2;
    case DIM_CTX: return (size_t)d->ctx_train;
    case DIM_SEGMENTS: return (size_t)d->segments;
    case DIM_HEAD_ROWS: return (size_t)d->head_rows;
    case DIM_HEAD_COLS: return (size_t)(d->head_rows ? d->head_rows : d->dim);
    case DIM_LABELS: return (size_t)d->labels;
    }
    ASSERT(!"a dimension symbol");
    return 0;
}
