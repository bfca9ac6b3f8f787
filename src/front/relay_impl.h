/* relay_impl -- what relay.c and relay_take.c share. Nobody else includes this. */
#ifndef FRONT_RELAY_IMPL_H
#define FRONT_RELAY_IMPL_H
#include "front/claim.h"
#include "front/envelope.h"
#include "front/front_impl.h"

enum { RELAY_WINDOW = 64 };

struct receipt_ask {
    struct relay *r; /* NULL: it ended while the keeper signed */
};

struct relay {
    struct link_call call;
    struct model_wait wait;   /* until its model is loaded */
    struct envelope env;
    struct front *front;
    struct link *link;
    struct http_exchange *x;
    const struct route *route;
    struct relay *prev, *next;
    bool begun, events;       /* head was relayed; as an event stream */
    bool ndjson;              /* or as a stream of lines (Ollama's) */
    bool held;                /* the head is here, in reply, lines, type and body, and goes out with the end */
    bool tells;               /* a stream whose client asked what it took */
    struct http_reply reply;
    struct buf type, body;
    struct buf unsent;        /* of a stream: a struct piece per data frame since the client had taken all */
    int repeat;               /* its place in front's repeats; -1: none */
    char response_id[64];
    int used;                 /* data frames since credit was last given */
    int status;
    int64_t started_ns;
    struct recent_line *line; /* where people can see it; may be NULL */
    struct claim claim;
    struct bill bill;
    struct buf lines;         /* header lines of the rate limits */
    bool ending;              /* the engine is done; the reply ends when bill and receipt are on disk */
    struct draft draft;       /* of its receipt */
    struct buf tail, usage;   /* of a stream: the event that ends it; what it took, for who asked */
    const char *finish;       /* for the receipt */
    json_t *end;              /* the engine's last word, until it is booked */
    struct buf note;          /* the receipt, */
    uint8_t hash[LEDGER_HASH_BYTES]; /* and its hash for the ledger's row */
    bool hashed;
    struct trace trace;
    bool sealed;              /* only the engine can read it */
    struct receipt_ask *ask;  /* its receipt is being made */
    struct fleet_hold hold;   /* of its tenant's limits in the fleet */
    int64_t allowance;        /* tokens it may use in all; -1: any number */
};

/* relay.c */
void relay_free(struct relay *r);

/* relay_take.c: a link_call's events; an error to the client, and r is gone; the client has taken more; what it never
 * took is not billed. */
void relay_frame(struct link_call *c, const struct frame *f);
void relay_lost(struct link_call *c, const char *why);
void relay_fail(struct relay *r, const struct error *e, int64_t retry_s);
void relay_give_credit(struct relay *r);
void relay_take_back_unsent(struct relay *r, size_t pending);
void relay_refuse_account(struct relay *r, const struct ledger_answer *a); /* what the ledger refused */
#endif
