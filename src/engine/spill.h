/* spill -- pages of the prefix tree on disk, sealed, in a file whose descriptor the front handed over.
 *
 * The file is a ring of slots; the oldest is written over. A slot:
 *
 *     chain[32]  stamp u64  nonce[24]  page, sealed under (id, chain, stamp)  tag[16]
 *
 * chain is a keyed hash of everything that leads to the page: the id (build, rung, kv type, model file, page size), the
 * tenant's name space and the tokens from the first one on. Equal chain means equal bits, and without the key it says
 * nothing. What was changed, torn or made by another model, build or key is not found: never an error, computed again.
 * Owner: the step thread. */
#ifndef ENGINE_SPILL_H
#define ENGINE_SPILL_H
#include "base/json.h"
#include "infer/kv.h"

#include <stdint.h>

struct spill;
/* hello's spill object {"key","bytes","build"} and the descriptor, taken over. model_fd: the model file, for the id. */
struct spill *spill_new(const json_t *hello, int fd, int model_fd);
void spill_free(struct spill *s); /* NULL is allowed */
uint64_t spill_salt(const struct spill *s);  /* of the name spaces: the same after a restart */
/* Pages of this pool are saved and found from now on; isa and kv_type go into the id. */
void spill_attach(struct spill *s, struct kv_pool *kv, size_t page_bytes, const char *isa, const char *kv_type);

struct spill_stats {
    int64_t saved, loaded, damaged;  /* pages; damaged: found and not what they should be */
};
const struct spill_stats *spill_stats(const struct spill *s);
#endif
