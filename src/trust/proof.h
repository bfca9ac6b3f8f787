/* proof -- an inclusion proof that travels alone (C2SP tlog-proof): index, hashes, checkpoint.
 *
 *     c2sp.org/tlog-proof@v1
 *     extra <base64>            optional, unauthenticated
 *     index <n>
 *     <base64 hash>             zero or more
 *     <empty line>
 *     <checkpoint note>
 */
#ifndef TRUST_PROOF_H
#define TRUST_PROOF_H
#include "trust/quorum.h"
#include "trust/tree.h"

enum { PROOF_TEXT_MAX = 1 << 16 };

struct proof {
    uint64_t index;
    struct tree_proof path;
    struct span extra;      /* base64 as it stands; empty when absent */
    struct span checkpoint; /* the note */
};

enum err_code proof_parse(struct span text, struct proof *out, struct err *e); /* points into text */
void proof_write(const struct proof *p, struct buf *out);
/* The leaf is in the log: checkpoint believed by q, path leads to its root. */
enum err_code proof_check(const struct proof *p, const struct quorum *q, const struct quorum_time *when,
                          struct span leaf, struct err *e);
#endif
