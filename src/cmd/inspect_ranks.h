/* inspect_ranks -- inspect --ranks N: the memory each rank of a split model would need. */
#ifndef CMD_INSPECT_RANKS_H
#define CMD_INSPECT_RANKS_H
#include "base/buf.h"
#include "base/json.h"
#include "model/model.h"

struct inspect_parts {
    const struct gguf_file *f;
    int ranks, ctx, rows, logit_rows;
    enum kern_type kv_type;
    int64_t pages;         /* of all layers; each rank keeps its layers' share */
    size_t host_bytes;     /* of rank 0: it has the tokenizer */
};

/* [{"rank","first_layer","layers","weight_bytes","kv_bytes","work_bytes","total_bytes"}], or {"reason"}. */
json_t *inspect_ranks_json(const struct inspect_parts *p);
void inspect_ranks_text(const struct inspect_parts *p, struct buf *out);
#endif
