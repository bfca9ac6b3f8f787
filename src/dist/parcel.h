/* parcel -- one step on its way through the ranks: which rows are whose, where their pages are, and the rows.
 *
 *     head | runs | page numbers | wanted rows | padding to 64 | x [rows][dim] float32
 *
 * It lies in a block of memory that a computing process shares with its carrier, and travels between carriers as one
 * message. Byte order and layout are the machine's own: all ranks run the same build (setup.h). A stage overwrites x in
 * place; the last one packs the wanted rows together at its start, and only these go back to rank 0.
 *
 * Whoever takes one from another process copies the head and checks that copy (parcel_head_ok), for the other may write
 * to the block meanwhile; who computes checks the rest as well (parcel_read). */
#ifndef DIST_PARCEL_H
#define DIST_PARCEL_H
#include "model/model.h"

enum parcel_kind { PARCEL_STEP = 1, PARCEL_END };
enum { PARCEL_MAGIC = 0x50325754 };

struct parcel_head {
    uint32_t magic, kind;
    int32_t rows, runs, pages, wanted;
};

/* What both ends know to hold. */
struct parcel_limits {
    int32_t rows_max, runs_max, ctx, dim;
    int32_t page_count;     /* pages of the pool: their numbers are below */
    int32_t unused;
    uint64_t block_bytes;
};

/* Fills block_bytes from the others. ERR_LIMIT: more than a message may have. */
enum err_code parcel_limits_set(struct parcel_limits *l, struct err *e);
bool parcel_limits_ok(const struct parcel_limits *l);

bool parcel_head_ok(const struct parcel_head *h, const struct parcel_limits *l);
size_t parcel_x_offset(const struct parcel_head *h);
size_t parcel_bytes(const struct parcel_head *h, const struct parcel_limits *l);

/* Rank 0: the batch of a step and its rows. Pages are told by their number from `pages` on. */
struct parcel_source {
    const struct model_batch *batch;
    const float *x;
    size_t x_stride;        /* floats */
    const unsigned char *pages;
    size_t page_bytes;
};
void parcel_write(const struct parcel_source *s, const struct parcel_limits *l, void *block);
/* And what came back: the wanted rows, into their places. */
void parcel_take_back(const struct model_batch *b, const struct parcel_limits *l, const void *block, float *x,
                      size_t x_stride);

/* A stage: the batch again, over pages of its own. Everything is sized once. */
struct parcel_reader;
struct parcel_reader *parcel_reader_new(const struct parcel_limits *l, unsigned char *pages, size_t page_bytes);
void parcel_reader_free(struct parcel_reader *r);
/* ERR_CORRUPT: not a step. *batch and *x are borrowed from reader and block until the next call. */
enum err_code parcel_read(struct parcel_reader *r, void *block, struct model_batch *batch, float **x, struct err *e);
/* The last stage: the wanted rows packed together at the start of x. */
void parcel_pack_wanted(const struct parcel_reader *r, const struct model_batch *batch, float *x);
#endif
