/* adapter -- a LoRA adapter: for some matrices W of a model two thin ones, so that y = W x + scale B (A x).
 *
 * Loaded from a GGUF file of its own (general.type "adapter", adapter.type "lora"), whose every tensor must have a
 * place in the model: <tensor>.lora_a [rank][inputs] and <tensor>.lora_b [outputs][rank]. Immutable once loaded, and
 * bound to that model's shapes. Each run of a batch names its own (model_run.adapter): rows of one adapter are
 * multiplied together, and a row's bits depend neither on the others nor on their adapters.
 *
 * Source: Hu et al., LoRA, 2021. */
#ifndef MODEL_ADAPTER_H
#define MODEL_ADAPTER_H
#include "model/model.h"

enum {
    MODEL_ADAPTERS_MAX = 16, /* in a batch */
    MODEL_RANK_MAX = 512,
};

struct model_adapter;

struct model_adapter_facts {
    int rank;          /* the largest */
    int matrices;      /* that it adds to */
    float alpha;       /* 0: the file has none, and nothing is scaled */
    size_t bytes;      /* resident */
    uint64_t id;       /* no two loaded ones share it: keeps their cached prefixes apart */
};

/* scale: beside alpha / rank. f may be closed afterwards. */
enum err_code model_adapter_load(const struct gguf_file *f, const struct model *m, float scale,
                                 struct model_adapter **out, struct err *e);
void model_adapter_free(struct model_adapter *a); /* NULL is fine */
/* What an adapter of this rank needs at most, from the model's header. */
size_t model_adapter_measure(const struct gguf_file *model, int rank);
const struct model_adapter_facts *model_adapter_facts(const struct model_adapter *a);

/* Room in a work for runs with adapters of at most this rank; once, before any such run. */
void model_work_allow_adapters(struct model_work *w, int rank_max);
#endif
