/* blocks -- deltas as a row of blocks, each opened, filled and closed before the next: what the newer dialects stream.
 * A block is a part of the choice (its writer keeps parts); j->blocks says which one is open. One choice only. */
#ifndef API_BLOCKS_H
#define API_BLOCKS_H
#include "api/writer.h"

struct api_block_writer {
    void (*open)(struct api_job *j, int index, const struct api_part *p, struct buf *out);
    void (*piece)(struct api_job *j, int index, const struct api_part *p, const struct api_delta *d, struct buf *out);
    void (*close)(struct api_job *j, int index, const struct api_part *p, struct buf *out);
};

void api_blocks_delta(struct api_job *j, const struct api_delta *d, const struct api_block_writer *w,
                      struct buf *out);
void api_blocks_finish(struct api_job *j, const struct api_block_writer *w, struct buf *out);
#endif
