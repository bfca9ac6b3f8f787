/* claim -- what a request claims of the scheduler: its class, its deadline, its tenant's weight. The body's fields
 * `priority` and `deadline_ms` go before the headers TW-Priority and TW-Deadline-Ms. */
#ifndef FRONT_CLAIM_H
#define FRONT_CLAIM_H
#include "front/envelope.h"
#include "front/error.h"
#include "ledger/ledger.h"
#include "net/http_parse.h"

enum { CLAIM_PRIORITY_MAX = 100, CLAIM_DEADLINE_MS_MAX = 86400000 };

struct claim {
    int64_t priority, deadline_ms, weight; /* deadline_ms 0: none; weight 0: not stated */
};

/* false: refused as *e says (400, or 403 for a class above the tenant's); why holds its sentence. key NULL: nobody's,
 * every class is open. */
bool claim_read(const struct http_head *h, const struct envelope *env, const struct ledger_key *key,
                struct claim *out, struct error *e, struct err *why);
#endif
