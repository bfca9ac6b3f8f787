/* lora -- what adapters add to products, inside model/. */
#ifndef MODEL_LORA_H
#define MODEL_LORA_H
#include "model/adapter.h"
#include "model/parts.h"

/* The matrices an adapter may add to. */
enum lora_slot { LORA_Q, LORA_K, LORA_V, LORA_O, LORA_GATE, LORA_UP, LORA_DOWN, LORA_SLOTS };

struct lora_pair {
    struct kern_matrix a, b; /* [rank][inputs], [outputs][rank]; a.panels 0: nothing is added here */
    float scale;
};

struct lora_layer {
    struct lora_pair pairs[LORA_SLOTS];
};

struct model_adapter {
    struct model_adapter_facts facts;
    int layers;
    struct lora_layer *of; /* [layers] */
};

/* Rows of a batch that have the same adapter. */
struct lora_group {
    const struct model_adapter *adapter;
    int first, count;      /* in rows */
};

struct lora_work {
    int rank_max;
    size_t low_stride;     /* floats */
    float *low;            /* [LORA_TOGETHER][R][rank]: A x */
    float *part;           /* [threads][LORA_ROWS][LORA_COLS]: a piece of B A x */
    int32_t *rows;         /* [R] group after group */
    struct lora_group groups[MODEL_ADAPTERS_MAX];
    int group_count;       /* 0: no row of this batch has an adapter */
    void *block;
    size_t bytes;
};

enum { LORA_TOGETHER = 3, LORA_ROWS = 32, LORA_COLS = 128 };

/* Sorts the batch's rows into groups. */
struct model_work;
void lora_lay_out(struct model_work *w, const struct model_batch *b);
void lora_work_free(struct model_work *w);
#endif
