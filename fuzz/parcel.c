/* parcel -- a step from another rank: what is taken from it stays within the block, the pages and the batch. */
#include "base/assert.h"
#include "base/mem.h"
#include "dist/parcel.h"

#include <string.h>

enum { PAGES = 12, PAGE_BYTES = 64, DIM = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char pages[PAGES * PAGE_BYTES];
    struct parcel_limits l = { .rows_max = 16, .runs_max = 4, .ctx = 96, .dim = DIM, .page_count = PAGES };
    struct model_batch b;
    struct err e = { 0 };
    float *x;
    ASSERT(!parcel_limits_set(&l, &e));
    unsigned char *block = mem_new((size_t)l.block_bytes, 1);
    memcpy(block, data, size < l.block_bytes ? size : (size_t)l.block_bytes);
    struct parcel_reader *r = parcel_reader_new(&l, pages, PAGE_BYTES);
    if (!parcel_read(r, block, &b, &x, &e)) {
        int rows = 0;
        for (int i = 0; i < b.run_count; i++) {
            const struct model_run *run = &b.runs[i];
            ASSERT(run->rows >= 1 && run->pos_first >= 0 && run->pos_first + run->rows <= l.ctx);
            for (int k = 0; k <= (run->pos_first + run->rows - 1) / KERN_PAGE_TOKENS; k++)
                ASSERT(run->pages[k] >= pages && run->pages[k] <= pages + sizeof pages - PAGE_BYTES);
            rows += run->rows;
        }
        ASSERT(rows == b.rows && (unsigned char *)(x + b.rows * DIM) <= block + l.block_bytes);
        for (int i = 0; i < b.rows * DIM; i++) /* all of it may be written */
            x[i] = 0;
        parcel_pack_wanted(r, &b, x);
    } else {
        ASSERT(e.code == ERR_CORRUPT && e.text[0]);
    }
    parcel_reader_free(r);
    mem_free(block);
    return 0;
}
