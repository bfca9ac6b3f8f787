/* trustlog -- the front's side of the evidence: the keeper process, the log and the receipts of this boot.
 *
 *   draft --trustlog_receipt--> signed by the keeper --batch--> on disk, synced, in the log --> done() on the loop
 *
 * I1  done() is called with a note only after the receipt and its leaf are on disk: no answer goes out before.
 * I2  A receipt that cannot be made is a failure of the site: `failed` is called once, and nothing is signed after.
 *
 * A thread of its own owns keeper, log and receipts; it commits at most every COMMIT_EVERY_MS, at once when idle.
 * Everything here is called on the loop's thread, and so are the answers.
 *
 * What holds (policy, enrolled keys, release, which models) may change while the server runs: trustlog_tend.c looks at
 * the site's folder, logs what is new and hands a new `standing` to the loop, which says so by changed(). */
#ifndef FRONT_TRUSTLOG_H
#define FRONT_TRUSTLOG_H
#include "base/json.h"
#include "net/loop.h"
#include "trust/enrolled.h"
#include "trust/policy.h"
#include "trust/receipt.h"
#include "trust/sealbox.h"

enum { TRUSTLOG_MODELS_MAX = 64, TRUSTLOG_WAITING_MAX = 65536, TRUSTLOG_CONFIG_MAX = 256 };

struct trustlog;

struct trustlog_options {
    const char *dir;          /* the site's folder, made by `tokenworks trust init` */
    const char *place;        /* the site's name in the policy; NULL: the site's own */
    const char *jurisdiction; /* where no policy says; NULL: "ZZ", unknown */
    bool best_effort;         /* --sandbox=best-effort, for the keeper */
    bool air_gapped;          /* --air-gapped, likewise */
    struct loop *loop;
    int64_t renew_s;          /* node notes are made anew so often */
    void (*failed)(void *arg, const char *why);
    void (*changed)(void *arg);                           /* what holds is another now */
    void (*offered)(void *arg, int slot, uint64_t epoch); /* clients are shown that epoch's node note now */
    void *arg;
};

/* Starts the keeper, mends and opens the log, logs a node note. Blocks; nothing is served before. */
enum err_code trustlog_open(const struct trustlog_options *o, struct trustlog **out, struct err *e);
void trustlog_close(struct trustlog *t); /* files what waits, then the close note; then done() for whoever waits */

const char *trustlog_place(const struct trustlog *t);
const char *trustlog_boot(const struct trustlog *t);
const char *trustlog_public(const struct trustlog *t); /* the folder anybody may read */
const uint8_t *trustlog_build(const struct trustlog *t); /* SHA-256 of this program */
/* NULL: requests are taken. Else why none is: what is revoked, or has expired. */
const char *trustlog_stopped(const struct trustlog *t);
/* What holds, into a receipt: release, policy, site, jurisdiction. */
void trustlog_describe(const struct trustlog *t, struct receipt *r);
/* The keeper's key for content at rest, by what it is for. Waits for the keeper: at a start only. */
enum err_code trustlog_storage(struct trustlog *t, const char *purpose, uint8_t out[SEALBOX_KEY], struct err *e);
/* The enrolled key of that keyid, and whose it is. ERR_NOT_FOUND: none, or it is revoked. */
enum err_code trustlog_client(const struct trustlog *t, struct span keyid, struct key_public *key,
                              char tenant[ENROLLED_TENANT_MAX + 1], struct err *e);
/* What the policy says; without one everything is allowed by "builtin/no-policy". */
void trustlog_decide(const struct trustlog *t, const struct policy_request *q, struct policy_decision *out);
/* Where else in a fleet the policy lets it be computed: ["JURISDICTION/SITE", ..], jurisdictions in small letters as
 * the bus has them; new. NULL: there is no policy. */
json_t *trustlog_places(const struct trustlog *t, const struct policy_request *q);
const char *trustlog_policy_note(const struct trustlog *t);       /* its note's hash; "-" none */
json_t *trustlog_clients(const struct trustlog *t); /* enrolled, not revoked: [["tenant", "vkey"], ...]; new */
struct span trustlog_policy_text(const struct trustlog *t); /* empty: none */

/* The model note that lists the file; ERR_NOT_FOUND: none, and receipts name no model. */
struct trustlog_model {
    char name[POLICY_NAME_MAX + 1]; /* as the policy calls it; the file's name when it was never signed */
    bool is_signed;
    uint8_t note[HASH_BYTES], sha256[HASH_BYTES];
};
enum err_code trustlog_model(struct trustlog *t, const char *file, struct trustlog_model *out, struct err *e);
/* The same of weights that only others have. */
enum err_code trustlog_weights(struct trustlog *t, const uint8_t sha256[HASH_BYTES], struct trustlog_model *out,
                               struct err *e);
/* Which note holds for the engine in that slot now. NULL: as it was at its start. *stopped: why it is not served. */
const struct trustlog_model *trustlog_slot_model(const struct trustlog *t, int slot, const char **stopped);

/* ---- asked of the thread */

struct trustlog_answer {
    enum err_code code;
    const char *sentence;   /* when code */
    struct span text;       /* the note, proof or offer; valid during the call */
};
typedef void (*trustlog_done)(void *arg, const struct trustlog_answer *a);

/* Fills boot, seq, prev and the tenant's tag. done may be NULL. */
void trustlog_receipt(struct trustlog *t, const struct receipt *r, const char *tenant, trustlog_done done, void *arg);
void trustlog_get(struct trustlog *t, const char *id, bool proof, trustlog_done done, void *arg);
/* The offer of docs/receipts.md about the engine that trustlog_engine named under that slot. */
void trustlog_offer(struct trustlog *t, int slot, uint64_t since, trustlog_done done, void *arg);

/* An engine is about to start: its epoch, never used before in this boot. */
uint64_t trustlog_epoch(struct trustlog *t);
struct trustlog_engine {
    uint64_t epoch;
    bool renewed;             /* the same engine under a new key: requests to the key before are still opened */
    const char *file;         /* of the model, without folders; "": others have it, and weights says which */
    const struct trustlog_model *model;
    const uint8_t *weights, *numerics; /* HASH_BYTES each; NULL: not known */
    struct span ohttp_config; /* empty: it takes no sealed requests */
    const char *sandbox;      /* sandbox_report's text */
};
/* It is ready, or has a new key: a node note about it is signed and logged. Clients are shown the one before until the
 * new one is in the published checkpoint. */
void trustlog_engine(struct trustlog *t, int slot, const struct trustlog_engine *g);
#endif
