/* gateway -- the fleet as one who has no engine sees it: which models there are, and an exchange with one of them that
 * goes on when the worker under it does not.
 *
 * Reading order: roster.h (who is alive), route.h (who gets a request), exchange.c (attempts, resume), gateway.c.
 *
 * An exchange sends the same frames as a socketpair to an engine and gets the same ones back. When its worker is silent
 * for HEARTBEAT_MISSED beats, stands still, says that its engine died, or is drained away, the request goes to another
 * worker with an equal numerics id, at most GATEWAY_RESUMES times: same head (response_id, created, seed) and body,
 * attempt + 1, and what was drawn so far as "resume": {"tokens": [..], "cached_tokens": n}. The engine there computes
 * the same tokens again, all in a few steps since they are given as guesses (engine: they are verified, not believed),
 * and sends the same response bytes from the first one on; what the client already has is compared and not sent on.
 * Different bytes are an error, never an answer. The repeated prompt is not billed: the first usage stands.
 *
 * Sealed requests are never resumed. Owner: the loop's thread. */
#ifndef FLEET_GATEWAY_H
#define FLEET_GATEWAY_H
#include "api/prefix.h"
#include "base/json.h"
#include "fleet/bus.h"
#include "fleet/subject.h"
#include "wire/frame.h"

enum { GATEWAY_RESUMES = 3, FLEET_JURISDICTIONS_MAX = 16, FLEET_PREFIX_MAX = 32, FLEET_PARTS_MAX = 8 };

struct fleet_gateway;

struct fleet_model {              /* of the roster, all workers together */
    char id[256];
    const json_t *facts;          /* borrowed until the next change; as link_facts. NULL: not heard yet */
    const json_t *aliases;        /* a list of names, or NULL; borrowed likewise */
    char hash[65], numerics[65];  /* of the worker that has most room; "" unknown */
    int workers, ready;           /* that have it; that would take a request now: then there are facts */
};

struct fleet_gateway_events {
    void (*models)(void *arg);    /* which models there are, or whether they are ready, changed */
};

struct fleet_gateway *fleet_gateway_new(struct loop *l, struct bus *b, const struct fleet_place *me,
                                        const struct fleet_gateway_events *events, void *arg, struct err *e);
void fleet_gateway_free(struct fleet_gateway *g);
int fleet_gateway_model_count(const struct fleet_gateway *g);
void fleet_gateway_model(const struct fleet_gateway *g, int i, struct fleet_model *out);
/* Somebody who is alive has that model from a file of that hash (64 hex digits). */
bool fleet_gateway_has(const struct fleet_gateway *g, const char *model, const char *hash);

/* What routing may know of a request. */
struct fleet_ask {
    const char *model;            /* id */
    const char *jurisdictions[FLEET_JURISDICTIONS_MAX]; /* where its data may go; count 0: the gateway's own only */
    int jurisdiction_count;
    const json_t *places;         /* ["JURISDICTION/SITE", ..]: there too, and nowhere else; NULL: anywhere there */
    const char *hash;             /* to workers that state this model file alone, 64 hex digits; NULL: any */
    bool named;                   /* to workers that are known alone: a receipt will name them */
    uint64_t prefix[FLEET_PREFIX_MAX]; /* by fleet_ask_prefix: hashes of ever longer beginnings, shortest first */
    int prefix_count;
    int64_t prompt_bytes, max_tokens;
    int64_t deadline_ms;          /* 0: none; overload is answered early when nobody could make it */
    bool outside;                 /* it may go to a provider (provider.h), where jurisdictions allow that one */
    bool resumable;               /* false: sealed, or an encoder's: a failure is an error */
};

/* Takes those beginnings of the chain that every request names: 1, 2, 4, 8, 16, 20, 24, 28, 32, 40 .. 1792 blocks. */
void fleet_ask_prefix(struct fleet_ask *ask, const struct api_prefix *p);

struct fleet_part {               /* a worker that had the request, as the bus and its beat name it */
    struct fleet_place place;
    uint64_t boot;
    char hash[65], numerics[65];  /* of its model; "" it did not say */
};

struct fleet_call {
    void (*frame)(struct fleet_call *c, const struct frame *f); /* end and error close the call before this runs */
    void *arg;
    struct fleet_exchange *x;     /* the gateway's */
    int retry_s;                  /* after ERR_BUSY: what to put into Retry-After */
    struct fleet_place at;        /* see fleet_call_where */
    int attempts;
    struct fleet_part parts[FLEET_PARTS_MAX]; /* who had it: each life of a worker once, in order of first time */
    int part_count, part;         /* part: whose the frame is that came last */
};

/* ERR_BUSY: nobody may and can take it now; ERR_DENIED: no allowed jurisdiction has the model. One sentence. */
enum err_code fleet_call_open(struct fleet_gateway *g, const struct fleet_ask *ask, struct fleet_call *c,
                              struct err *e);
/* A request, its head and body: a REQUEST whose head nobody writes and reads again. */
void fleet_call_request(struct fleet_call *c, const json_t *head, const char *body, size_t n);
/* REQUEST (whole payload, head LF body, any length: the gateway cuts it into parts), CREDIT (no data comes before the
 * first one), CANCEL. */
void fleet_call_send(struct fleet_call *c, enum frame_kind kind, uint16_t flags, const void *payload, size_t n);
void fleet_call_close(struct fleet_call *c);  /* forgets it; cancels it when it is not over. Not open: nothing */
/* Where its last attempt is or was, over or not, for receipts and the console: "" when nowhere. */
void fleet_call_where(const struct fleet_call *c, struct fleet_place *out, int *attempts);

/* {"sites":[{"jurisdiction","site","workers":[{"name","state","boot","age_ms","rtt_ms","models":[..]}]}],
 *  "gateways":[..], "moves":{"resumed","failed","refused"},"events":[{"at","what"}]}: for the console and
 * `tokenworks fleet status`. A new reference. */
json_t *fleet_gateway_state(const struct fleet_gateway *g);
/* Who may take a request is drawn by lot, without regard to load and prefixes: to compare with. */
void fleet_gateway_random(struct fleet_gateway *g, bool random);
/* Whether somebody who is alive has a model and may be asked, as far as jurisdictions and outside go; full or draining,
 * he is somebody. */
bool fleet_gateway_serves(const struct fleet_gateway *g, const struct fleet_ask *where);
/* Orders a worker to drain; ERR_NOT_FOUND names the ones there are. */
enum err_code fleet_gateway_drain(struct fleet_gateway *g, const char *site, const char *worker, struct err *e);
#endif
