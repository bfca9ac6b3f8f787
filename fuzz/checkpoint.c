/* checkpoint -- checkpoints, trust policies and tile paths: a checkpoint that parses, written again, is the same. */
#include "base/assert.h"
#include "base/mem.h"
#include "trust/quorum.h"
#include "trust/tiles.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = { (const char *)data, size };
    struct checkpoint cp;
    static struct quorum q;
    if (!checkpoint_parse(in, &cp, NULL)) {
        struct buf out = { 0 };
        char *origin = mem_strndup(cp.origin.data, cp.origin.len);
        checkpoint_text(origin, cp.size, cp.root, &out);
        ASSERT(span_same((struct span){ out.data, out.len }, in));
        mem_free(origin);
        buf_release(&out);
    }
    if (!quorum_parse(in, &q, NULL))
        ASSERT(q.root >= -1 && q.root < q.node_count);
    if (tiles_path_ok(in))
        for (size_t i = 0; i + 1 < in.len; i++)
            ASSERT(in.data[i] != '.' || in.data[i + 1] != '.');
    return 0;
}
