/* receipts -- a request's way to its receipt: what is committed to, what was decided, and replies that wait for it.
 *
 *   draft_begin -> draft_decide or draft_deny -> draft_response ... -> draft_file -> done(note) on the loop
 *
 * A draft without a trustlog (log == NULL) does nothing: every function may be called on it. Owner: the loop. */
#ifndef FRONT_RECEIPTS_H
#define FRONT_RECEIPTS_H
#include "base/json.h"
#include "fleet/gateway.h"
#include "front/error.h"
#include "front/trustlog.h"
#include "net/http_server.h"

enum { DRAFT_ID_SIZE = 64 };

struct draft {
    struct trustlog *log;
    struct receipt r;
    char tenant[RECEIPT_NAME_MAX + 1];
    uint8_t salt[COMMIT_SALT_BYTES]; /* goes to the client; of a sealed request it counts until that is opened */
    struct commit request, response;
    bool decided, by_engine;         /* by_engine: the commitments are the engine's, under the seal's own salts */
    bool filed;                      /* draft_file was called */
    int part;                        /* of r.computed: who answers now */
};

struct front;

/* The id must not have been used before; NULL: one is made. The request's commitment is over body. */
void draft_begin(struct draft *d, struct trustlog *t, const char *id, struct http_slice body);
/* The policy's decision about an open request. false: it was denied, and *out says why. */
bool draft_decide(struct draft *d, const struct trustlog_model *m, const struct http_head *h, const char *tenant,
                  struct policy_decision *out);
/* A sealed request may reach its engine: no policy that the engine will ask could still be denied it here. */
bool draft_may_seal(struct draft *d, const struct trustlog_model *m, const char *tenant, struct policy_decision *out);
/* What the engine found in a sealed request: decision, commitments. false: malformed. */
bool draft_from_engine(struct draft *d, const json_t *v);
/* A refusal before the policy was asked: "gate/key", "limit/rate" ... */
void draft_deny(struct draft *d, const char *rule);
void draft_response(struct draft *d, const void *data, size_t n);
void draft_usage(struct draft *d, const json_t *usage); /* of a usage or end frame: counts, seed, sampling */
void draft_tokens(struct draft *d, int64_t n);          /* given to the client, while nobody else counts; < 0: not */
/* Who of the fleet had it so far, and who answers now: what is given from here on is that one's. */
void draft_computed(struct draft *d, const struct fleet_call *c);
/* Where the fleet may compute it, as trustlog_places; for an open request that was allowed. */
json_t *draft_places(const struct draft *d, const struct trustlog_model *m);
/* Once. finish: stop, length, denied, aborted, error. done may be NULL; without a trustlog it is never called. */
void draft_file(struct draft *d, const char *finish, trustlog_done done, void *arg);
/* "TW-Receipt-Id: ...", the salt, and the note when it is there already. */
void draft_headers(const struct draft *d, struct span note, struct buf *lines);
void draft_comment(struct span note, struct buf *out); /* ": tw-receipt <base64>" and an empty line */

/* Whether this exchange's answer is one that gets a receipt. */
bool receipts_wanted(struct front *f, const struct http_exchange *x);
/* An error reply with its receipt: goes out once the receipt is on disk. d NULL: none was begun; *d is copied.
 * type NULL: application/json. */
void receipts_refuse(struct front *f, struct http_exchange *x, const struct draft *d, const struct error *e,
                     const char *headers);
void receipts_problem(struct front *f, struct http_exchange *x, const struct draft *d,
                      const struct policy_decision *why);
bool receipts_waiting(struct front *f, const struct http_exchange *x); /* a reply of it waits for its receipt */
bool receipts_gone(struct front *f, const struct http_exchange *x);    /* it did, and its client left */
#endif
