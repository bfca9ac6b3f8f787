/* account -- the ledger as the front uses it: a key becomes a tenant, a request is admitted, counted and booked.
 *
 * A request's bill goes through account_admit, then account_usage when the engine has counted its prompt, then
 * account_settle or account_abandon, once. With no ledger (a == NULL) everything is admitted and nothing is booked.
 * Owner: the loop's thread. */
#ifndef FRONT_ACCOUNT_H
#define FRONT_ACCOUNT_H
#include "base/json.h"
#include "front/oidc.h"
#include "ledger/ledger.h"
#include "net/http_parse.h"
#include "net/loop.h"

enum accounts_mode {
    ACCOUNTS_AUTO,  /* books from the moment a key exists in the ledger; looks for one every second until then */
    ACCOUNTS_ON,    /* makes the ledger when missing, and books from the start */
    ACCOUNTS_OFF,
};

struct accounts;
/* NULL with ACCOUNTS_OFF or an error: *e says which (e->code ERR_OK when off). */
struct accounts_options {
    const char *dir, *jurisdiction;  /* where this machine stands, or NULL */
    enum accounts_mode mode;
    const struct oidc_options *oidc; /* NULL: keys only. With it the ledger is opened at once */
};
struct accounts *accounts_open(struct loop *l, const struct accounts_options *o, struct err *e);
void accounts_close(struct accounts *a); /* calls what account_settle still owes */
bool accounts_booking(const struct accounts *a);
void accounts_metrics(const struct accounts *a, struct buf *out); /* what was booked, in Prometheus' format */

bool accounts_have_keys(struct accounts *a); /* and from then on, even if all are revoked */
const struct ledger_key *accounts_key(const struct accounts *a, struct http_slice shown); /* NULL: no such key */

/* The key of that number, or, with 0, one that stands for a token of this tenant and team: for work that outlives its
 * request. NULL: no longer. */
const struct ledger_key *accounts_owner(struct accounts *a, int64_t id, const char *tenant, const char *team);

struct bill {
    int ticket;                      /* -1: none */
    int64_t max_output;              /* 0: not stated */
    int64_t choices, ctx;            /* for the worst case when it is not */
    struct ledger_amount worst;      /* as admitted */
    struct ledger_amount booked;     /* once settled */
    int64_t prompt, cached, output;  /* output: data frames seen, until the engine says */
    int64_t worked;                  /* tokens told to the ledger for their share of the joules */
    bool held, counted, settled;     /* the hold is exact; the engine has begun; it was booked */
    struct ledger_use use;           /* once settled: what was booked */
};

struct account_ask {
    const struct ledger_key *key;    /* NULL: nobody's */
    const char *model, *request_id;
    struct http_slice path;
    int64_t body_bytes, choices, max_tokens, ctx; /* max_tokens 0: not stated; ctx 0: not known */
};
/* false: refused, *answer says how. The hold is a guess from the body's length until the engine has counted. */
bool account_admit(struct accounts *a, struct bill *b, const struct account_ask *ask, struct ledger_answer *answer);
/* A usage frame: the prompt is counted ("queued"), or begun. false: the worst case no longer fits; abandon and
 * refuse. */
bool account_usage(struct accounts *a, struct bill *b, const json_t *usage, struct ledger_answer *answer);
void account_data(struct accounts *a, struct bill *b, int64_t tokens); /* so many were given to the client */
void account_unsent(struct bill *b, int64_t tokens);                   /* so many of them it never took */
/* end: the engine's end frame, or NULL when there was none. true: done(arg) follows once the row is on disk; false:
 * there was nothing to book. receipt: LEDGER_HASH_BYTES, or NULL. */
bool account_settle(struct accounts *a, struct bill *b, const json_t *end, const char *finish, const uint8_t *receipt,
                    ledger_done_fn *done, void *arg);
void account_abandon(struct accounts *a, struct bill *b);
/* The limits of a key's tenant, all zero without a ledger; key NULL: nobody's. */
struct ledger_limits account_tenant_limits(const struct accounts *a, const struct ledger_key *key);
#endif
