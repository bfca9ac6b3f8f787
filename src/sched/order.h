/* order -- who is served before whom: priority classes, then deadlines, then fairness between tenants.
 *
 * Fairness is by virtual token counters: a tenant's counter grows with the tokens computed for it, divided by its
 * weight, and the tenant with the smallest counter goes first. One that comes to the queue after it had nothing there
 * is lifted to the smallest counter of those that wait: it can neither save up service nor owe any.
 *
 * Two orders are made of it:
 *   order_first   who gets the next free place and the next chunk of prompt rows: class, earliest deadline, smallest
 *                 counter, fewest running, oldest. It moves with every token.
 *   order_keeps   who keeps its place and its pages: class, earliest deadline, the smaller seat number (of a tenant's
 *                 running sequences the oldest has 0, the next 1, ..., divided by its weight), oldest. It only changes
 *                 when sequences come and go, so that two of them never take pages from each other in turns.
 *
 * I1  The first by order_keeps stays the first until it ends, or something of a higher class or an earlier deadline
 *     comes, or an older one is back. So the oldest of the highest class always ends.
 * I2  order_displaces(q, v) implies that, once v waits and q runs, v does not displace q.
 *
 * Owner: the step thread. Nothing is allocated after order_new. */
#ifndef SCHED_ORDER_H
#define SCHED_ORDER_H
#include <stdbool.h>
#include <stdint.h>

enum {
    ORDER_INPUT_COST = 1,  /* of a prompt token that is computed; cached ones are free */
    ORDER_OUTPUT_COST = 2, /* of a token that is drawn */
    ORDER_WEIGHT_MAX = 1000000,
};

struct order;
struct order_tenant;

/* What a request says of itself; zeros: nobody's, of weight 1, class 0, without a deadline. */
struct order_claim {
    uint64_t tenant;
    int weight;
    int priority;          /* larger goes first */
    int64_t deadline_ns;   /* monotonic; 0: none */
};

/* A sequence's part in it, inside whatever the sequence is. */
struct order_seat {
    struct order_tenant *tenant;
    int priority;
    int64_t deadline_ns;
    uint64_t arrival;      /* smaller is older */
    int number;            /* while it runs: order_number */
    bool running;
    int charged;           /* positions it was charged for: what is computed again after parking is free */
};

struct order *order_new(int seats_max); /* sequences at once, running and waiting */
void order_free(struct order *o);

void order_enter(struct order *o, struct order_seat *s, const struct order_claim *c); /* it waits now */
void order_run(struct order *o, struct order_seat *s, bool running);                  /* it starts, or waits again */
void order_leave(struct order *o, struct order_seat *s);
void order_cached(struct order_seat *s, int tokens); /* positions that were found computed: free */
/* Positions below `computed` are computed, of a prompt of `prompt`; and tokens were drawn. */
void order_computed(struct order *o, struct order_seat *s, int computed, int prompt);
void order_drawn(struct order *o, struct order_seat *s, int tokens);

bool order_first(const struct order_seat *a, const struct order_seat *b);
bool order_own(const struct order_seat *a, const struct order_seat *b);   /* class, deadline, age */
bool order_keeps(const struct order_seat *a, const struct order_seat *b);
/* Numbers running sequences: order_number_begin, then each of them once in the order of order_own. */
void order_number_begin(struct order *o);
void order_number(struct order_seat *s);
/* Whether q, which waits, should have the place or the pages of v, the last by order_keeps of those that run. */
bool order_displaces(const struct order_seat *q, const struct order_seat *v);
/* Whether v's tenant had more than its part while q waits: v then makes way for q's prompt in a step. */
bool order_yields(const struct order_seat *v, const struct order_seat *q);

int64_t order_counter(const struct order_seat *s); /* of its tenant; for tests and figures */
#endif
