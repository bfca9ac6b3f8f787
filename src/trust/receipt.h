/* receipt -- the statement a node leaves for every request, allowed, denied or aborted; commitments and pseudonyms.
 *
 * Who does what: the engine computes the commitments (it alone sees content), the front fills the rest and asks the
 * keeper, which owns boot, seq and prev and so the chain, for the signature. Then the front logs the leaf. */
#ifndef TRUST_RECEIPT_H
#define TRUST_RECEIPT_H
#include "trust/computed.h"
#include "trust/statement.h"

enum { RECEIPT_NAME_MAX = 128, RECEIPT_TEXT_MAX = 512, RECEIPT_NOTE_MAX = 8192, COMMIT_SALT_BYTES = 32,
       TENANT_TAG_BYTES = 16, PSEUDONYM_KEY_BYTES = 32 };

struct receipt {
    char id[RECEIPT_NAME_MAX + 1], boot[RECEIPT_NAME_MAX + 1];
    uint64_t seq;
    bool has_prev, has_release, has_model, has_policy, has_tenant, has_numerics, has_seed, has_response, has_reqsig;
    uint8_t prev[HASH_BYTES];     /* SHA-256 of the previous receipt's note; absent in the first of a boot */
    uint8_t release[HASH_BYTES];  /* of the release note; likewise model and policy */
    uint8_t model[HASH_BYTES], policy[HASH_BYTES];
    bool allow;
    char rule[RECEIPT_NAME_MAX + 1];
    uint8_t tenant[TENANT_TAG_BYTES];
    char site[RECEIPT_NAME_MAX + 1], jurisdiction[3], data_class[RECEIPT_NAME_MAX + 1]; /* "" class: absent */
    bool sealed, stored;          /* transport sealed|open, retention stored|none: the policy's inputs */
    uint8_t numerics[HASH_BYTES];
    uint64_t seed;
    char sampling[RECEIPT_TEXT_MAX + 1]; /* "temperature=0.7 top_p=0.9"; "" absent */
    uint8_t request[HASH_BYTES], response[HASH_BYTES]; /* commitments; no response for a denial */
    uint8_t reqsig[HASH_BYTES];   /* SHA-256 of the request's signature base */
    uint64_t tokens_in, tokens_out;
    char finish[RECEIPT_NAME_MAX + 1]; /* stop, length, denied, aborted, error */
    int64_t started, ended;       /* Unix seconds */
    int computed_count;           /* 0: here. Else the fleet's workers that had the request */
    struct computed computed[COMPUTED_MAX];
};

/* The data class a request asks for, as policy and receipt can name it: what could be no name reads as
 * "no-such-class". */
void receipt_class(struct span asked, char out[RECEIPT_NAME_MAX + 1]);

enum err_code receipt_text(const struct receipt *r, struct buf *out, struct err *e);
enum err_code receipt_parse(struct span text, struct receipt *out, struct err *e);

/* c1 = SHA-256("tokenworks/commit/v1\0" || role || salt || content), over content as it arrives. */
struct commit {
    uint64_t state[16]; /* the hash's state */
};
enum commit_role { COMMIT_REQUEST, COMMIT_RESPONSE };
void commit_begin(struct commit *c, enum commit_role role, const uint8_t salt[COMMIT_SALT_BYTES]);
void commit_add(struct commit *c, const void *data, size_t n);
void commit_end(struct commit *c, uint8_t out[HASH_BYTES]);

/* The month a pseudonym key serves, "2026-11". Destroying the key ends the link between tag and tenant. */
void pseudonym_month(int64_t unix_s, char out[8]);
void pseudonym_tag(const uint8_t key[PSEUDONYM_KEY_BYTES], const char *month, const char *tenant,
                   uint8_t out[TENANT_TAG_BYTES]);
#endif
