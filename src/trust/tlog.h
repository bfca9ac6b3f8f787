/* tlog -- the log's writer: append leaves, commit a batch, survive a power cut at every write.
 *
 * Owned by one thread of one process (a file lock holds others off).
 *
 * I1  A leaf is acknowledged when tlog_commit returns ERR_OK, not before; then it is in every later tree.
 * I2  Every byte below the size in `head` is on disk, synced, before `head` names that size.
 * I3  No checkpoint is signed that does not grow out of the last one signed and of the last one witnessed.
 * I4  At start the root is computed again from the tiles and must be the one in `head`.
 *
 *     head        the last checkpoint signed: where recovery begins
 *     checkpoint  what is published: head, or with witnesses the last checkpoint the quorum cosigned
 *
 *     open -> ready -append-> pending -commit-> ready      any failure -> failed: reopen
 */
#ifndef TRUST_TLOG_H
#define TRUST_TLOG_H
#include "trust/checkpoint.h"
#include "trust/disk.h"
#include "trust/proof.h"
#include "trust/tiles.h"

struct tlog;

/* Signs a checkpoint's text into a note. grown proves it from the last size signed, so that a keeper can hold I3. */
typedef enum err_code (*tlog_sign)(void *ctx, struct span text, const struct tree_proof *grown, struct buf *note,
                                   struct err *e);

struct tlog_options {
    const char *dir;
    struct key_public key; /* its name is the origin */
    tlog_sign sign;
    void *sign_ctx;
    const struct disk *disk; /* NULL: the real one */
    bool witnessed;          /* `checkpoint` waits for tlog_cosigned */
};

enum err_code tlog_open(const struct tlog_options *o, struct tlog **out, struct err *e);
void tlog_close(struct tlog *t);

/* At most TILE_ENTRY_MAX bytes. *index is where the leaf will stand once committed. */
enum err_code tlog_append(struct tlog *t, struct span leaf, uint64_t *index, struct err *e);
enum err_code tlog_commit(struct tlog *t, struct err *e);

uint64_t tlog_size(const struct tlog *t);    /* committed */
struct span tlog_head(const struct tlog *t); /* the note; valid until the next commit */
struct tiles *tlog_tiles(struct tlog *t);    /* to read and prove from; same thread */

/* Somebody saw this log at this size and root: ERR_DENIED, and no signature any more, when we are behind or differ. */
enum err_code tlog_floor(struct tlog *t, uint64_t size, const uint8_t root[HASH_BYTES], struct err *e);
/* A checkpoint of ours that came back with cosignatures (verified by the caller): published, and a floor. */
enum err_code tlog_cosigned(struct tlog *t, struct span note, struct err *e);

/* The proof for a leaf in the published checkpoint. ERR_BUSY: it is not in there yet. */
enum err_code tlog_prove(struct tlog *t, uint64_t index, struct buf *out, struct err *e);

/* A tlog_sign for a key in this process; ctx is a struct key_secret. */
enum err_code tlog_sign_with_key(void *ctx, struct span text, const struct tree_proof *grown, struct buf *note,
                                 struct err *e);
#endif
