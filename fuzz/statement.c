/* statement -- statements and receipts: what parses, written again from its values, gives the same bytes. */
#include "base/assert.h"
#include "trust/receipt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct statement s;
    struct receipt r;
    struct buf out = { 0 };
    struct span in = { (const char *)data, size };
    enum statement_type type;
    uint8_t hash[HASH_BYTES];
    statement_leaf_parse(in, &type, hash);
    if (statement_parse(in, &s, NULL))
        return 0;
    ASSERT(!statement_write(s.type, s.value, s.count, &out, NULL));
    ASSERT(span_same((struct span){ out.data, out.len }, in));
    if (s.type == STATEMENT_RECEIPT && !receipt_parse(in, &r, NULL)) {
        buf_clear(&out);
        ASSERT(!receipt_text(&r, &out, NULL) && span_same((struct span){ out.data, out.len }, in));
    }
    buf_release(&out);
    return 0;
}
