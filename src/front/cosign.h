/* cosign -- the log's head brought to the witnesses, and what they signed brought back.
 *
 * cosign_ask is one exchange with one witness (C2SP tlog-witness add-checkpoint). A server has a thread that asks every
 * witness with an address whenever the log has grown, and takes in <site>/cosigned, which `tokenworks trust log cosign`
 * leaves for it: signatures carried by hand. */
#ifndef FRONT_COSIGN_H
#define FRONT_COSIGN_H
#include "net/client.h"
#include "trust/site.h"

/* head: the note; t reads the tree under it. Appends the witness's line. A 409 tells the size it knows: asked
 * again from there, once. ERR_CORRUPT: it has seen more of this log than we have. */
struct cosign_head {
    struct span note;
    struct tiles *tiles;
    uint64_t size;
};
enum err_code cosign_ask(struct http_client *http, const char *url, const struct cosign_head *head, struct buf *lines,
                         struct err *e);
/* The note carries the log's signature and the quorum's. */
enum err_code cosign_gather(const struct site *s, struct span note, struct err *e);

struct trustlog;
struct cosigner;
struct cosigner *cosigner_start(struct trustlog *t, const struct site *s); /* NULL: no witness is named */
void cosigner_stop(struct cosigner *c); /* the thread ends */
/* After it: asks once more, about the log's last head. false: no quorum; else note is to be published. */
bool cosigner_last(struct cosigner *c, struct buf *note);
void cosigner_free(struct cosigner *c);
#endif
