/* tlog_proof -- proofs and witness requests: what parses, written again, is the same; none leads to a root. */
#include "base/assert.h"
#include "trust/proof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct proof p;
    static const uint8_t root[HASH_BYTES];
    struct span in = { (const char *)data, size };
    struct buf out = { 0 };
    if (proof_parse(in, &p, NULL))
        return 0;
    proof_write(&p, &out);
    ASSERT(span_same((struct span){ out.data, out.len }, in));
    ASSERT(tree_check_leaf(root, p.index, p.index + 1 + size, &p.path, root, NULL) != ERR_OK);
    tree_check_grown(size, root, p.index, root, &p.path, NULL);
    buf_release(&out);
    return 0;
}
