/* gate -- what a request must show before it is run: in time, signed by an enrolled key over everything that
 * matters, never seen before, for this node, its body unchanged. Policy comes after, and elsewhere.
 *
 * The order is fixed (docs/trust.md); what failed goes to our log, the client sees GATE_REFUSAL whatever it was.
 * Owned by the engine's thread. */
#ifndef TRUST_GATE_H
#define TRUST_GATE_H
#include "trust/httpsig.h"
#include "trust/seen.h"

enum { GATE_SKEW_S = 60, GATE_NAME_MAX = 128, GATE_SEEN_MAX = 1 << 20 };
#define GATE_REFUSAL "the request was not accepted"

/* The key enrolled under keyid and its tenant. ERR_NOT_FOUND unknown, ERR_DENIED revoked or expired. */
typedef enum err_code (*gate_find_key)(void *ctx, struct span keyid, int64_t now_s, struct key_public *key,
                                       char tenant[GATE_NAME_MAX + 1], struct err *e);

struct gate {
    gate_find_key find_key;
    void *ctx;
    char node[GATE_NAME_MAX + 1];          /* "boot.epoch" of this engine; TW-Node must name it */
    char previous_node[GATE_NAME_MAX + 1]; /* accepted for ten minutes after an epoch; "" none */
    struct seen *encs, *nonces;
};

struct gate_result {
    bool is_signed;
    char tenant[GATE_NAME_MAX + 1];     /* of the signature; "" when not signed */
    char model[GATE_NAME_MAX + 1], data_class[GATE_NAME_MAX + 1], policy[GATE_NAME_MAX + 1]; /* as asked; "" absent */
    uint8_t reqsig[HASH_BYTES];         /* for the receipt */
};

void gate_init(struct gate *g, const char *node, gate_find_key find_key, void *ctx);
void gate_release(struct gate *g);

/* enc: of a sealed request, else NULL. outer_tenant: whom the API key named; a signature by another is refused.
 * An unsigned request passes as unsigned: whether that is allowed is the policy's to say. */
enum err_code gate_check(struct gate *g, const struct bhttp_message *m, const uint8_t *enc, const char *outer_tenant,
                         int64_t now_s, struct gate_result *out, struct err *e);
#endif
