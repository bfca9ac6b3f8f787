/* signature -- requests that are signed (RFC 9421) and not sealed: the front verifies what an engine verifies of sealed
 * ones, by the same gate (trust/gate.h): enrolled key, exactly our components, in time, not seen before, the body as
 * signed, for this node, under the policy and model that hold. Owner: the loop. */
#ifndef FRONT_SIGNATURE_H
#define FRONT_SIGNATURE_H
#include "front/receipts.h"

struct link;
struct signatures;

struct signatures *signatures_new(struct trustlog *t); /* NULL, which the others take, without evidence */
void signatures_free(struct signatures *s);

/* An unsigned request passes, unsigned: whether it may is the policy's to say. A signed one gives the draft its reqsig,
 * and tenant, when no API key named one ("" before), its name. false: it is refused as the log says, the client hears
 * GATE_REFUSAL. */
enum { SIGNATURE_TENANT_MAX = 128 };
bool signature_check(struct front *f, const struct link *k, struct http_exchange *x, struct draft *d,
                     char tenant[SIGNATURE_TENANT_MAX + 1]);
#endif
