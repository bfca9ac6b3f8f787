/* oplog -- an operating log only the auditor can read: crypto_secretstream_xchacha20poly1305, its key boxed to the
 * auditor's X25519 key. Lines cannot be changed, moved or dropped, and a cut end shows.
 *
 *     "tokenworks-oplog-1" LF, sealed key (80 bytes), stream header (24 bytes), then records:
 *     u32 little-endian length, ciphertext; the last one carries TAG_FINAL
 */
#ifndef TRUST_OPLOG_H
#define TRUST_OPLOG_H
#include "trust/code.h"

enum { OPLOG_LINE_MAX = 65536, OPLOG_KEY_BYTES = 32 };

struct oplog;

void oplog_keypair(uint8_t secret[OPLOG_KEY_BYTES], uint8_t pub[OPLOG_KEY_BYTES]);
/* Writes to fd, which stays the caller's. One thread. */
enum err_code oplog_begin(int fd, const uint8_t auditor[OPLOG_KEY_BYTES], struct oplog **out, struct err *e);
enum err_code oplog_add(struct oplog *o, struct span line, struct err *e);
enum err_code oplog_end(struct oplog *o, struct err *e); /* writes the last record and frees o */

/* The lines, each ended with LF, appended to out. *complete: the last record is there. ERR_DENIED: changed, or for
 * another auditor; what came before the change is in out. */
enum err_code oplog_read(struct span file, const uint8_t secret[OPLOG_KEY_BYTES], struct buf *out, bool *complete,
                         struct err *e);
#endif
