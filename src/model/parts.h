/* parts -- what a model is made of, inside model/: dimensions, layers, the row of an architecture.
 *
 * Dimension letters in comments here and in every file of this folder:
 *   D embedding   L layers   H query heads   G key/value heads   K, V values per key and value head
 *   F feed-forward   E experts   U experts used for a token   W vocabulary   R rows of a batch */
#ifndef MODEL_PARTS_H
#define MODEL_PARTS_H
#include "model/model.h"
#include "model/rope.h"

enum {
    MODEL_LAYERS_MAX = 1024,
    MODEL_DIM_MAX = 1 << 17,
    MODEL_FFN_MAX = 1 << 20,
    MODEL_HEADS_MAX = 1024,
    MODEL_EXPERTS_MAX = 1024,
    MODEL_USED_MAX = 64,
    MODEL_VOCAB_MAX = 1 << 22,
    MODEL_CTX_MAX = 1 << 26,
    MODEL_ROPES_MAX = 2,
    MODEL_SEGMENTS_MAX = 64,
    MODEL_LABELS_MAX = 1024,
};

struct model_dims {
    int vocab, dim, layers, heads, kv_heads, k_dim, v_dim, ffn;
    int experts, experts_used, expert_ffn; /* 0 where there are none */
    int ctx_train;
    int window, window_period;  /* every period-th layer sees everything, the others the window; 0: no window */
    int segments, head_rows, labels; /* encoders: kinds of text; rows of the head's two matrices, 0 without them */
    float eps;
    float embed_scale;          /* multiplies embeddings */
    float residual_scale;       /* multiplies what a block adds to the residual */
    float logit_scale;          /* multiplies logits */
    float attn_scale;           /* multiplies q.k */
    float attn_softcap, logit_softcap; /* 0: none */
    struct rope_spec rope;      /* of the layers that see everything */
};

struct layer {
    int index;
    int window; /* 0: sees everything */
    int rope;   /* which of the model's ropes; -1: positions are not rotated */
    const float *attn_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm; /* [D] */
    const float *q_norm, *k_norm; /* [K] for each head, or [H K] and [G K] for the whole row */
    const float *sinks;           /* [H] */
    const float *attn_out_norm, *attn_out_norm_bias, *out_norm, *out_norm_bias; /* [D] encoders: of x after a block */
    struct kern_matrix q, k, v, o; /* [H K][D], [G K][D], [G V][D], [D][H V] */
    const float *q_bias, *k_bias, *v_bias, *o_bias;
    struct kern_matrix gate, up, down; /* [F][D], [F][D], [D][F] */
    const float *gate_bias, *up_bias, *down_bias;
    struct kern_matrix router;         /* [E][D] */
    const float *router_bias;          /* [E] */
    struct kern_matrix *gate_exps, *up_exps, *down_exps; /* [E] matrices each, like gate, up, down; owned */
    const float *gate_exps_bias, *up_exps_bias, *down_exps_bias; /* [E][F], [E][F], [E][D] */
};

struct model {
    const struct model_arch *arch;
    const struct kern_table *kern; /* borrowed */
    struct model_facts facts;
    char *name;                    /* of facts */
    struct model_dims d;
    int ctx;
    struct model_part part;        /* the layers that are here; the others have shapes and no weights */
    struct kern_matrix token_embd, output; /* [W][D]; output.data is token_embd's when the file ties them */
    const float *output_norm, *output_bias;
    /* Encoders: positions and kinds of text added to a token's embedding, the norm of the sum; the head. */
    const float *pos_embd, *segment_embd;             /* [ctx_train][D], [segments][D] */
    const float *embd_norm, *embd_norm_bias;          /* [D] */
    struct kern_matrix head, head_out;                /* [head_rows][D], [labels][head_rows or D] */
    const float *head_bias, *head_out_bias;
    const float *rope_freqs, *rope_long, *rope_short; /* [n_rot / 2] divisors of frequencies, or NULL */
    struct rope ropes[MODEL_ROPES_MAX];
    int rope_count;
    struct layer *layers;          /* [L] */
    struct kern_kv *kv;            /* [L]; offsets of the part's layers only */
    size_t kv_page_bytes;
    bool int_weights;              /* some matrix multiplies int8 activations */
    unsigned char *weights;        /* every matrix and vector, one block */
    size_t weight_bytes;
};

/* ---- the table of tensors an architecture declares */

enum dim_symbol {
    DIM_ONE, DIM_D, DIM_Q, DIM_K, DIM_V, DIM_O, DIM_QK, DIM_QKV, DIM_F, DIM_FF, DIM_E, DIM_EF, DIM_HEAD, DIM_H,
    DIM_W, DIM_HALF_ROT, DIM_CTX, DIM_SEGMENTS, DIM_HEAD_ROWS, DIM_HEAD_COLS, DIM_LABELS,
};

enum tensor_kind {
    TENSOR_VECTOR,  /* a const float *: rows values, or [rows][cols] */
    TENSOR_MATRIX,  /* a struct kern_matrix */
    TENSOR_EXPERTS, /* a struct kern_matrix *: one for each expert */
};

enum tensor_flag {
    TENSOR_OPTIONAL = 1,
    TENSOR_DENSE = 2,  /* only in models without experts */
    TENSOR_SPARSE = 4, /* only in models with them */
};

struct tensor_row {
    const char *name; /* after "blk.N." for a layer's; NULL ends the table */
    enum tensor_kind kind;
    size_t field;     /* offset in struct layer or struct model */
    enum dim_symbol rows, cols;
    int flags;
    /* Fused tensors: these rows are part of a tensor of `of` rows, after its first `after` ones. */
    enum dim_symbol of, after;
};

/* ---- an architecture */

struct step;
struct keys;

struct model_arch {
    const char *name; /* general.architecture */
    enum kern_rope_style rope_style;
    bool encoder;     /* sees a whole text at once; norms with a mean and a bias */
    bool no_rope;     /* its positions are in embeddings */
    /* Keys beyond the common ones; may change any dimension. NULL: none. */
    enum err_code (*keys)(const struct keys *k, struct model_dims *d, struct err *e);
    const struct tensor_row *const *layer_tensors; /* groups, ends with NULL */
    const struct tensor_row *const *model_tensors;
    /* The rope of layers with a window, from that of the others. NULL: the same. */
    enum err_code (*local_rope)(const struct keys *k, struct rope_spec *rope, struct err *e);
    /* Which rope a layer uses, where that is neither "global" nor "local by window". NULL: that. */
    int (*layer_rope)(const struct model_dims *d, int layer);
    void (*layer)(struct step *s, const struct layer *l);
};

const struct model_arch *model_arch_find(struct gguf_str name); /* NULL: none */
const char *model_arch_names(void);                             /* "llama, qwen2, ..." */

/* Groups that several architectures share (tensors.c). */
extern const struct tensor_row tensors_model[];        /* token_embd, output (tied when absent), output_norm */
extern const struct tensor_row tensors_rope_factors[]; /* rope_freqs, rope_factors_long and _short */
extern const struct tensor_row tensors_qkv[];          /* attn_q, attn_k, attn_v, attn_output with optional biases */
extern const struct tensor_row tensors_qkv_fused[];    /* attn_qkv split in three */
extern const struct tensor_row tensors_pre_norms[];    /* attn_norm, ffn_norm */
extern const struct tensor_row tensors_post_norms[];   /* post_attention_norm, post_ffw_norm */
extern const struct tensor_row tensors_head_norms[];   /* attn_q_norm, attn_k_norm for each head */
extern const struct tensor_row tensors_ffn[];          /* ffn_gate, ffn_up, ffn_down with optional biases */
extern const struct tensor_row tensors_ffn_fused[];    /* ffn_up holds gate and up */
extern const struct tensor_row tensors_experts[];      /* router and experts */

extern const struct tensor_row tensors_encoder[];      /* token_embd and what is added to it; the head */
extern const struct tensor_row tensors_out_norms[];    /* attn_output_norm, layer_output_norm */

size_t dim_value(const struct model_dims *d, enum dim_symbol s);

/* Where layers' keys and values lie in a page: fills m->kv and m->kv_page_bytes (kv.c). */
enum err_code kv_layout(struct model *m, enum kern_type type, struct err *e);
#endif
