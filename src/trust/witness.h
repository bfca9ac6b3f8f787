/* witness -- remembers the last checkpoint of each log and cosigns only what grew out of it
 * (C2SP tlog-witness v1.0.0, `add-checkpoint`). One state folder, one process: a file lock keeps it so.
 *
 * Over HTTP or as a file carried by hand: the request is the same text.
 *
 *     old <size> LF  (base64 hash LF)*  LF  <checkpoint note>
 */
#ifndef TRUST_WITNESS_H
#define TRUST_WITNESS_H
#include "trust/checkpoint.h"
#include "trust/tree.h"

enum { WITNESS_LOGS_MAX = 32, WITNESS_REQUEST_MAX = 1 << 16 };

struct witness {
    char *dir;             /* <dir>/<hex SHA-256 of origin>/checkpoint */
    int lock_fd;
    struct key_secret key; /* type 0x04 */
    int log_count;
    struct key_public logs[WITNESS_LOGS_MAX];
};

enum err_code witness_open(struct witness *w, const char *dir, const struct key_secret *key, struct err *e);
enum err_code witness_add_log(struct witness *w, const struct key_public *log, struct err *e);
void witness_close(struct witness *w);

/* Fills *status with the HTTP status of the standard and out with the response's body: the cosignature line for
 * 200, the known size for 409. The checkpoint is on disk, synced, before 200 is returned. */
enum err_code witness_add_checkpoint(struct witness *w, struct span request, int64_t now_s, int *status,
                                     struct buf *out, struct err *e);
/* The latest cosigned checkpoint of a log, for the monitor's GET. ERR_NOT_FOUND: none yet. */
enum err_code witness_latest(const struct witness *w, const struct key_public *log, struct buf *out, struct err *e);

/* The log's side: writes a request. */
void witness_request(uint64_t old_size, const struct tree_proof *p, struct span checkpoint, struct buf *out);
#endif
