/* chain -- from the root keys to the key that may sign a statement: one key, one role, nothing expired, revoked or
 * older than what was seen before.
 *
 *     root keys (threshold) -> root note -> release, model, policy, revoke, log, node keys
 *     node key -> node note -> the receipt key of one boot
 */
#ifndef TRUST_CHAIN_H
#define TRUST_CHAIN_H
#include "trust/statement.h"

enum { CHAIN_ROOTS_MAX = 16, CHAIN_REVOKED_MAX = 4096, CHAIN_SKEW_S = 300, NODE_LIFE_MAX_S = 24 * 3600 };

struct chain {
    char site[NOTE_SIGS_MAX * 2 + 1];
    bool development;               /* made by `trust init` on one machine: not for production */
    uint64_t seq;                   /* of the root note */
    int64_t created, expires;
    int root_count, threshold;
    struct key_public roots[CHAIN_ROOTS_MAX];
    struct key_public keys[STATEMENT_TYPES]; /* by the type of statement they sign; close: the node's, receipt: none */
    struct key_public log;
    uint64_t seen[STATEMENT_TYPES]; /* highest seq accepted: older is a rollback. The caller keeps it between runs */
    int revoked_count;
    struct span revoked[CHAIN_REVOKED_MAX]; /* hash or vkey texts; owned */
};

/* The first root note, believed because its hash (or its keys) were given by hand. Checks that it is signed by a
 * threshold of the keys it names and that no two roles share a key. */
enum err_code chain_init(struct chain *c, struct span note, struct err *e);
/* A later root note: one seq further, signed by a threshold of the old keys and of its own. */
enum err_code chain_rotate(struct chain *c, struct span note, struct err *e);
void chain_release(struct chain *c);
enum err_code chain_check_expiry(const struct chain *c, int64_t now_s, struct err *e);

/* A release, model, policy, node, revoke or close note: right key, right type, in its time, not revoked, not older
 * than one seen of that kind (for models: of that name, which the caller checks with last_seq). Fills n and out. */
enum err_code chain_open(struct chain *c, enum statement_type type, struct span bytes, int64_t now_s, struct note *n,
                         struct statement *out, struct err *e);
/* Takes in a revoke note: from now on its target is refused. */
enum err_code chain_revoke(struct chain *c, struct span bytes, int64_t now_s, struct err *e);
bool chain_is_revoked(const struct chain *c, struct span hash_or_vkey);

/* A receipt under the key of its node statement; the statement's times must lie inside the node's. */
enum err_code chain_open_receipt(const struct statement *node, struct span bytes, struct note *n,
                                 struct statement *out, struct err *e);
#endif
