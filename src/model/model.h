/* model -- a decoder's weights and its forward pass over a batch of rows from many sequences.
 *
 * A model is loaded once and immutable; the forward pass is a function of (weights, batch, KV pages) and
 * writes KV pages, its own work buffers and the logits. Architectures are one file each, arch_<name>.c: keys,
 * tensors, one layer function; the loader checks every shape once. No `if (arch)` anywhere else.
 *
 * Threads: model_forward is called by one thread at a time for a given work; it uses the pool. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H
#include "base/err.h"
#include "base/pool.h"
#include "gguf/gguf.h"
#include "kern/kern.h"

struct model;
struct model_adapter;
struct model_work; /* activations for a batch: sized once, then frozen */

/* How a text's rows become one vector; the numbers are the files' (<arch>.pooling_type). */
enum model_pooling {
    MODEL_POOL_UNSAID = -1,
    MODEL_POOL_NONE, /* a vector for each token */
    MODEL_POOL_MEAN,
    MODEL_POOL_CLS,  /* the first token's */
    MODEL_POOL_LAST,
    MODEL_POOL_RANK, /* the first token's, through the classification head: scores */
};

struct model_facts {
    const char *arch;        /* "llama" */
    const char *name;        /* general.name, or "" */
    const char *type_name;   /* the commonest tensor type, "Q4_1" */
    int vocab, ctx_train, layers, dim, heads, kv_heads, ffn, experts, experts_used;
    int64_t params;          /* weights counted */
    size_t weight_bytes;     /* packed, resident */
    bool causal;             /* false for encoders */
    enum model_pooling pooling; /* what the file says; MODEL_POOL_UNSAID when nothing */
    int labels;              /* scores its classification head gives (rank); 0: it has none */
    bool has_segments;       /* an encoder that tells a second text from the first */
};

/* A model over several processes: each has a run of layers, the first one embedding, last norm and output as well. */
struct model_part {
    int first, end;                 /* layers [first, end); both 0: all of them */
};

/* The ways keys and values can be stored: "f16", "bf16", "f32", "q8_0", in any case of letters. */
bool model_kv_type_by_name(const char *name, enum kern_type *out);

struct model_load_options {
    const struct kern_table *kern;  /* borrowed; must outlive the model */
    enum kern_type kv_type;         /* KERN_F16 by default (zero means F32!) */
    int ctx;                        /* positions a sequence may reach; 0: what the model was trained for */
    struct model_part part;         /* what is loaded; never of an encoder */
    void (*progress)(void *arg, double fraction); /* or NULL */
    void *progress_arg;
};

/* Repacks the weights (threads of the pool share the work). f may be closed afterwards. */
enum err_code model_load(const struct gguf_file *f, const struct model_load_options *o, struct pool *pool,
                         struct model **out, struct err *e);
void model_free(struct model *m);
const struct model_facts *model_facts(const struct model *m);
int model_ctx(const struct model *m);               /* as loaded */
struct model_part model_part(const struct model *m); /* as loaded, spelled out */
size_t model_kv_page_bytes(const struct model *m);  /* one page of KERN_PAGE_TOKENS positions, all layers it has */

/* What loading would take, from the file alone (inspect and the memory plan). */
struct model_needs {
    size_t weight_bytes, kv_page_bytes, work_bytes;
};
enum err_code model_measure(const struct gguf_file *f, const struct model_load_options *o, int rows_max,
                            int logit_rows_max, struct model_needs *out, struct err *e);

/* Where to cut the layers for `parts` processes, so that the largest part is as small as can be: part i has
 * [cut[i], cut[i + 1]). cut: [parts + 1]. ERR_INVALID: more parts than layers, or an encoder. */
enum err_code model_cut(const struct gguf_file *f, int parts, int *cut, struct err *e);

/* rows_max: tokens in a step; logit_rows_max: rows whose logits are wanted in a step. */
struct model_work *model_work_new(const struct model *m, struct pool *pool, int rows_max, int logit_rows_max);
void model_work_free(struct model_work *w);
size_t model_work_bytes(const struct model_work *w);

/* Consecutive positions of one sequence: a decode step has one row, a prefill chunk many. An encoder's run is a whole
 * text: pos_first is 0, and its pages are needed during the call only. */
struct model_run {
    int rows;                     /* >= 1 */
    int pos_first;
    unsigned char *const *pages;  /* the sequence's pages; enough for pos_first + rows positions */
    const struct model_adapter *adapter; /* adapter.h; NULL: the model as it is */
};

struct model_batch {
    int rows;                     /* the sum of runs' rows, <= rows_max */
    const int32_t *tokens;        /* [rows], each < vocab: checked by the caller */
    const struct model_run *runs; /* rows in this order */
    int run_count;
    const int32_t *logit_rows;    /* [logit_count] ascending rows whose logits are wanted */
    int logit_count;
    const int32_t *state_rows;    /* [state_count] ascending rows whose last hidden state is wanted; none of them is a
                                     logit row */
    int state_count;
    const uint8_t *segments;      /* encoders: [rows] 0 or 1, which of two texts; NULL: all 0 */
};
/* The layers after a part, in other processes. Called once in each step by the thread that called model_forward, after
 * this part's layers: x [rows] at x_stride floats is the residual of every row; on return that of the wanted rows
 * (logit_rows, state_rows) is the one after the model's last layer. Borrowed until the work is freed. */
struct model_rest {
    void (*run)(void *arg, const struct model_batch *b, float *x, size_t x_stride);
    void *arg;
};
void model_work_set_rest(struct model_work *w, const struct model_rest *rest);
/* A part after the first: x [rows][dim], the residual after the layers before, becomes the one after its own. Tokens
 * are not looked at; which rows are wanted counts in the last part only, where the others' x means nothing then. */
void model_forward_part(const struct model *m, struct model_work *w, const struct model_batch *b, float *x);

/* The last hidden state of a row that was in state_rows, after the last norm: [dim], valid until the next call. */
const float *model_state(const struct model *m, const struct model_work *w, int row);
/* The classification head on such a row's state: out [labels]. Overwrites what is not a state; the calling thread
 * does it alone. */
void model_rank(const struct model *m, struct model_work *w, int row, float *out);
/* logits [logit_count][vocab], owned by w, valid until the next call. */
const float *model_forward(const struct model *m, struct model_work *w, const struct model_batch *b);
#endif
