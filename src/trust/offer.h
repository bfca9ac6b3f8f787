/* offer -- what a site shows a client before the client sends anything: root, checkpoint, and the node, release,
 * policy and model notes, each with its proof. One JSON document; the front serves it, the proxy checks it.
 *
 *     {"root", "root_proof", "checkpoint", "since", "grown": [base64 hash...],
 *      "node": {"note", "proof"}, "release": {...}, "policy": {...}, "model": {...}}
 */
#ifndef TRUST_OFFER_H
#define TRUST_OFFER_H
#include "trust/site.h"

enum { OFFER_BYTES_MAX = 1 << 20 };
enum offer_part { OFFER_NODE, OFFER_RELEASE, OFFER_POLICY, OFFER_MODEL, OFFER_PARTS };

struct offer {
    struct buf root, root_proof, checkpoint;
    uint64_t since;           /* the size the client knew: grown proves from there to the checkpoint */
    struct tree_proof grown;
    struct buf note[OFFER_PARTS], proof[OFFER_PARTS];
};

/* From the site's folder: hashes name the four notes ("sha256:..."). ERR_BUSY while one of them is not in the
 * published checkpoint yet. */
enum err_code offer_build(const struct site *s, struct tlog *log, const char *const hashes[OFFER_PARTS],
                          uint64_t since, struct offer *out, struct err *e);
void offer_write(const struct offer *o, struct buf *json);
enum err_code offer_parse(struct span json, struct offer *out, struct err *e);
void offer_release(struct offer *o);
/* Where a leaf stands, searched from the log's end. */
enum err_code offer_find_leaf(struct tlog *log, struct span leaf, uint64_t *index, struct err *e);
enum statement_type offer_type(enum offer_part part);
#endif
