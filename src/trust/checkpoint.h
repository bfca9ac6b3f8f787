/* checkpoint -- what a log says it holds (C2SP tlog-checkpoint v1.0.0), and what witnesses say about that
 * (tlog-cosignature v1.0.1, Ed25519, type 0x04).
 *
 *     <origin> LF <size> LF base64(<root>) LF          no extension lines
 *     cosigned: "cosignature/v1" LF "time <unix seconds>" LF <the text above>
 */
#ifndef TRUST_CHECKPOINT_H
#define TRUST_CHECKPOINT_H
#include "trust/note.h"

enum { CHECKPOINT_TEXT_MAX = 1024, COSIG_BYTES = 8 + KEY_SIG_BYTES };

struct checkpoint {
    struct span origin;
    uint64_t size;
    uint8_t root[HASH_BYTES];
};

enum err_code checkpoint_parse(struct span text, struct checkpoint *out, struct err *e);
void checkpoint_text(const char *origin, uint64_t size, const uint8_t root[HASH_BYTES], struct buf *out);

/* Parses the note in bytes, checks the log's signature and that the origin is the key's name. */
enum err_code checkpoint_open(struct span bytes, const struct key_public *log, struct note *n, struct checkpoint *out,
                              struct err *e);

/* Appends the witness's signature line for a checkpoint's text. */
enum err_code cosign_make(struct span text, const struct key_secret *witness, int64_t now_s, struct buf *out,
                          struct err *e);
/* The witness has cosigned n at *time_s. ERR_NOT_FOUND: it has not; ERR_DENIED: a wrong signature. */
enum err_code cosign_verify(const struct note *n, const struct key_public *witness, int64_t *time_s, struct err *e);
#endif
