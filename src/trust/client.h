/* client -- the side that asks: refuses to send until a site has shown who it is, then seals, signs, and checks what
 * comes back. Used by `tokenworks proxy`; one per site, one thread.
 *
 * It sends only if: the root is the log's first leaf or follows from the root it knows; the checkpoint carries the
 * log's signature and the quorum, freshly, and grew out of the last one seen; node, release, policy and model notes are
 * in it, signed in their roles, in their time, not revoked, not older than seen; the node runs that release, policy
 * and model, and stands where the client allows. */
#ifndef TRUST_CLIENT_H
#define TRUST_CLIENT_H
#include "trust/httpsig.h"
#include "trust/offer.h"
#include "trust/ohttp.h"
#include "trust/quorum.h"
#include "trust/receipt.h"

enum { CLIENT_COUNTRIES_MAX = 64, CLIENT_STATE_MAX = 1 << 16 };

struct client {
    struct quorum quorum;
    struct chain chain;
    bool known;                   /* a site was accepted before: chain, size and root are set */
    uint64_t size;                /* of the last checkpoint accepted */
    uint8_t root[HASH_BYTES];
    uint8_t root_note[HASH_BYTES];
    int64_t max_age_s;            /* of cosignatures; 0: any */
    int country_count;            /* none: anywhere */
    char countries[CLIENT_COUNTRIES_MAX][3];
};

struct client_session { /* what was accepted; notes are owned */
    struct buf node_note;
    struct note node_parsed;
    struct statement node;
    char node_id[RECEIPT_NAME_MAX + 24];       /* TW-Node: boot.epoch */
    char policy[HASH_TEXT_MAX], model[HASH_TEXT_MAX]; /* hashes of the notes, for TW-Policy and TW-Model */
    uint8_t ohttp_id, ohttp_key[HPKE_KEY_BYTES];
    bool can_seal;
    int country_count;                         /* the client's, for workers of a fleet too */
    char countries[CLIENT_COUNTRIES_MAX][3];
};

enum err_code client_init(struct client *c, struct span trust_policy, struct err *e);
void client_release(struct client *c);
/* What must survive a restart: last checkpoint, numbers seen, the root note (of the offer accepted last). */
void client_save(const struct client *c, struct span root_note, struct buf *out);
enum err_code client_load(struct client *c, struct span saved, struct err *e);

/* ERR_DENIED says what is missing; nothing of c changes then. */
enum err_code client_accept(struct client *c, const struct offer *o, int64_t now_s, struct client_session *out,
                            struct err *e);
void client_session_release(struct client_session *s);

struct client_request {
    const char *method, *authority, *path, *data_class; /* data_class NULL: the tenant's default */
    struct span body;                                   /* application/json */
    const struct key_secret *key;                       /* NULL: unsigned */
    int64_t now_s;
};
/* A sealed request in chunks (message/ohttp-chunked-req), ready to send; x opens the response. */
enum err_code client_seal(const struct client_session *s, const struct client_request *r, struct ohttp *x,
                          struct buf *out, struct err *e);

/* The same, signed and not sealed: its header lines, "Name: value" LF; with an empty value "Name;" LF, as libcurl has
 * it. */
enum err_code client_sign(const struct client_session *s, const struct client_request *r, struct buf *lines,
                          struct err *e);

/* The receipt that came with a response: the node's, about this policy and model, committing to exactly these bytes,
 * and computed nowhere but where the client allows. */
struct client_salts { /* what the commitments are made with */
    bool sealed;
    uint8_t request[COMMIT_SALT_BYTES], response[COMMIT_SALT_BYTES];
};
void client_salts_sealed(const struct ohttp *x, struct client_salts *out);
enum err_code client_check_receipt(const struct client_session *s, const struct client_salts *salts,
                                   struct span receipt_note, struct span request, struct span response,
                                   struct receipt *out, struct err *e);
#endif
