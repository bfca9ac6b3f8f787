/* fleet -- this server's part in a fleet of machines (fleet/): as a worker it offers its engines on the bus, as a
 * gateway it has requests answered by others' workers.
 *
 * fleet.c has the gateway's side: models that only others have appear as far links (link.h), and a request to one of
 * them may go where its tenant's data may go: to the gateway's own jurisdiction, and to those the configuration names.
 * Where evidence is kept, of those to the sites alone where the policy allows it, and to workers of the signed weights;
 * its receipt names them. fleet_host.c has the worker's side. Owner: the loop. */
#ifndef FRONT_FLEET_H
#define FRONT_FLEET_H
#include "base/json.h"
#include "fleet/bus.h"
#include "fleet/gateway.h"
#include "front/link.h"
#include "net/http_parse.h"

struct fleet_options {            /* all borrowed */
    struct bus_options bus;       /* url NULL: no fleet */
    const char *site, *jurisdiction;
    const char *name;             /* NULL: the machine's */
    bool worker, gateway;
    const char *jurisdictions[FLEET_JURISDICTIONS_MAX]; /* where data may go beside our own */
    int jurisdiction_count;
    bool limits;                  /* tenants' limits hold for all gateways together (fleet_limits.h) */
    bool bills;                   /* rows of the ledger go on to the fleet's book (fleet_bills.h) */
    bool outside;                 /* data may go to outside providers there (fleet/provider.h) */
    const char *secret_file;      /* the fleet's own; NULL: one that dies with this process */
};

struct draft;
struct front;
struct front_fleet;
struct fleet_limits;
/* Everything that front_fleet_* is given may be NULL: no fleet. */
enum err_code front_fleet_open(struct front *f, const struct fleet_options *o, struct front_fleet **out,
                               struct err *e);
void front_fleet_close(struct front_fleet *t); /* works under way go back to their gateways */
bool front_fleet_ready(const struct front_fleet *t); /* the bus is there, and workers had time to be heard */
/* NULL: a request would find a worker. Else why not, in a sentence; a server with engines of its own needs only the
 * bus. */
const char *front_fleet_waits(const struct front_fleet *t);
void front_fleet_metrics(const struct front_fleet *t, struct buf *out);

/* What an engine's hello needs for a fleet; adds "identity". A link_hello_fn's part. */
void front_fleet_hello(const struct front_fleet *t, json_t *hello);

struct fleet_request {            /* of a client, as far as routing may know it */
    const char *tenant;
    struct http_slice path, body, idempotency; /* idempotency: the key's value; empty: none */
    int64_t max_tokens, deadline_ms;
    bool resumable;
    const struct draft *draft;    /* of its receipt, decided; NULL: it has none */
};
/* Opens a call at a far link. ERR_BUSY, ERR_DENIED (only where the data must not go), ERR_LIMIT. */
enum err_code front_fleet_call(struct front_fleet *t, struct link *k, struct link_call *c,
                               const struct fleet_request *r, struct err *e);
/* For the head of a request: the same for each that repeats it with its Idempotency-Key, at any gateway of a fleet. */
int64_t front_fleet_seed(const struct front_fleet *t, const struct fleet_request *r);

/* NULL: each gateway counts for itself. */
struct fleet_limits *front_fleet_limits(const struct front_fleet *t);

/* As a worker: draining is said from now on; how many works are under way; those left are given back. */
void front_fleet_drain(struct front_fleet *t);
int front_fleet_busy(const struct front_fleet *t);
void front_fleet_give_back(struct front_fleet *t);
#endif
