/* exchange -- one request of a client, through as many attempts as it takes. Inside the gateway; see gateway.h.
 *
 *   exchange_open --> OPEN --REQUEST: its parts go to the worker picked--> RUNNING --END, or an ERROR meant--> over
 *                                                    ^                      |
 *                                                    | attempt + 1: somebody| its worker is silent, stands still, was
 *                                                    | may take it          | started anew, lost its engine, drains, is
 *                                                    |                      | full; frames are missing; the bus is away
 *                                                    `------- MOVING <------'  at most GATEWAY_RESUMES times
 *                                                               `--nobody within EXCHANGE_WAIT_MS: ERROR 503--> over
 *   RUNNING --its worker is under suspicion--> RUNNING, and begun at another one too: I5
 *   any --exchange_cancel: CANCEL--> OVER --gateway_forget--> gone
 *
 * I1  The client sees one HEAD, each USAGE once, each byte and token once (delivered.h), then one END or ERROR.
 * I2  A frame counts only with the exchange's id, its present attempt, and the next seq. Older attempts' are dropped, a
 *     seq that was left out means that frames were lost: the attempt is given up.
 * I3  Credit: what the worker may still send is what the client may still take; while the client's part is sent again,
 *     EXCHANGE_AGAIN_FRAMES at least, since most of those frames go no further (a client gets so many more than it
 *     asked for at most). Of an attempt that was given up nothing is left over: the next one starts with all that the
 *     client has not used.
 * I4  An attempt that began to answer is continued with equal numerics, or not at all.
 * I5  A hedge is a second attempt beside the present one, made because its worker is under suspicion (roster.h). It is
 *     resumed like any later attempt, and nothing of it reaches the client before it has won: it wins with the first
 *     thing that the client does not have yet, or when the present attempt is given up; then it is the present one.
 *     It is dropped when the present attempt goes on, or when anything is wrong with it. So a wrong suspicion costs
 *     work, never an answer, nor one of the GATEWAY_RESUMES.
 *
 * What a worker does besides frames of work (worker.h): a CREDIT of 0 asks whether it still has the attempt; it answers
 * with a CREDIT of 0 whose seq is the count of its frames so far, or with ERROR, code unknown_exchange. So a request, a
 * credit or an end that was lost with a connection is found out within EXCHANGE_PROBE_MS. */
#ifndef FLEET_EXCHANGE_H
#define FLEET_EXCHANGE_H
#include "fleet/delivered.h"
#include "fleet/gateway.h"
#include "fleet/route.h"

enum {
    EXCHANGE_WAIT_MS = 3000,      /* for a worker, or for the bus to come back */
    EXCHANGE_PROBE_MS = 1000,     /* of silence */
    EXCHANGE_DEAF_MS = 4000,      /* of silence in spite of probes */
    EXCHANGE_EXCLUDE_MS = 600,    /* who gave it back gets it again after two beats at the earliest */
    EXCHANGE_ANY_MS = 2000,       /* for the one try without a worker's name */
    EXCHANGE_AGAIN_FRAMES = 32,
    EXCHANGE_HEDGES = 8,          /* of one request; after each that was in vain a pause, twice as long */
    EXCHANGE_HEDGE_PAUSE_MS = 100,
    EXCHANGE_RESUME_TOKENS = 40000, /* told to the next worker: the head must fit into a part; the rest it draws */
};

enum exchange_state { EXCHANGE_OPEN, EXCHANGE_RUNNING, EXCHANGE_MOVING, EXCHANGE_OVER };

struct fleet_attempt {
    uint32_t number, serial;      /* serial: where, by the roster; 0: with whoever has the model */
    struct fleet_place at;
    int part;                     /* of call->parts */
    char numerics[65];
    uint64_t seq_in, seq_out;
    int64_t given, received;      /* data frames */
    bool headed;                  /* its HEAD was here */
    int usages;                   /* USAGE frames of it */
    int64_t heard_ms, probed_ms, sent_ms;
    struct delivered_at told;     /* of the one that is not `now`; else told.a has it */
};

struct fleet_exchange {
    struct fleet_gateway *g;
    struct fleet_call *call;
    uint64_t id;
    enum exchange_state state;
    struct fleet_ask ask;         /* its strings are names[] */
    char names[FLEET_JURISDICTIONS_MAX + 1][HEARTBEAT_ID_MAX], hash[65];
    json_t *head;                 /* as the client's side sent it, and what never changes of ours */
    char *body;                   /* [body_n], owned; NULL once it is not needed again */
    size_t body_n;
    int64_t opened_ms;

    struct fleet_attempt now, hedge; /* under way; hedge: while hedged */
    bool hedged;
    bool trying, spoiled;         /* a frame of the hedge is being taken: it is `now` meanwhile; something was wrong */
    int hedges;                   /* begun so far */
    int64_t hedged_ms;            /* the last one was, or was dropped */

    int moves, begun;             /* attempts given up; attempts sent */
    uint32_t excluded[ROUTE_EXCLUDED_MAX];
    int64_t excluded_ms[ROUTE_EXCLUDED_MAX];
    int excluded_count;
    int64_t wait_until_ms;
    char *refusal;                /* the last ERROR that was not taken for the answer, owned; or NULL */
    size_t refusal_n;
    char why[ERR_TEXT_MAX];       /* it was moved the last time */

    char numerics[65];            /* of the attempt that began to answer */
    int status;                   /* of the HEAD that was passed; 0: none yet */
    int usages_passed;
    json_t *usage;                /* the first one */
    struct delivered told;
    int64_t granted, passed;      /* data frames */
    uint64_t seq_client;
};

/* Opened and closed by gateway.c, which keeps the table. */
enum err_code exchange_open(struct fleet_gateway *g, const struct fleet_ask *ask, struct fleet_call *c, uint64_t id,
                            struct fleet_exchange **out, struct err *e);
void exchange_free(struct fleet_exchange *x); /* cancels nothing */

/* From the client's side. Each may end it: x is gone then. */
void exchange_request(struct fleet_exchange *x, const char *payload, size_t n);
void exchange_begin(struct fleet_exchange *x, json_t *head, const char *body, size_t n); /* takes head */
void exchange_credit(struct fleet_exchange *x, uint32_t frames);
void exchange_pass_on(struct fleet_exchange *x, enum frame_kind kind, uint16_t flags, const void *payload, size_t n);
void exchange_cancel(struct fleet_exchange *x);

/* From the bus and the roster. Each may end it: x is gone then. */
void exchange_take(struct fleet_exchange *x, const struct frame *f);
void exchange_move(struct fleet_exchange *x, const char *why);
/* The worker of that serial is lost. */
void exchange_lost(struct fleet_exchange *x, uint32_t serial, const char *why);
bool exchange_expects(const struct fleet_exchange *x, uint32_t attempt); /* frames of it */
/* Its worker is under suspicion: a hedge is begun, if that is possible now. */
void exchange_hedge(struct fleet_exchange *x);
void exchange_tick(struct fleet_exchange *x);
void exchange_fail(struct fleet_exchange *x, int status, const char *code, const char *message);

/* Between exchange.c (attempts), exchange_send.c and exchange_take.c. */
bool exchange_send_request(struct fleet_exchange *x); /* false: the bus did not take all of it */
void exchange_send_cancel(struct fleet_exchange *x);
void exchange_top_up(struct fleet_exchange *x);       /* I3 */
void exchange_probe(struct fleet_exchange *x);
void exchange_give_up(struct fleet_exchange *x, const char *why, bool exclude, bool wait);
void exchange_end(struct fleet_exchange *x, const struct frame *f); /* passes the last frame; x is gone */
void exchange_swap(struct fleet_exchange *x);         /* the present attempt and the hedge change places */
void exchange_win(struct fleet_exchange *x);          /* being tried: the hedge goes on, the other is cancelled */
void exchange_drop_hedge(struct fleet_exchange *x);
#endif
