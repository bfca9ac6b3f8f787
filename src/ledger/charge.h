/* charge -- the machine's joules given to the requests that caused them: each interval's energy is split by the tokens
 * computed in it. Pure.
 *
 * A request that ends between two readings is charged at the last known rate, and the next reading pays that back. So
 *
 * C1  what requests were charged, plus idle, minus prepaid, equals what was read: no joule is charged twice or lost.
 *
 * Time in which nothing was computed is idle and charged to nobody. */
#ifndef LEDGER_CHARGE_H
#define LEDGER_CHARGE_H
#include <stdbool.h>
#include <stdint.h>

struct charge {            /* one request's */
    int64_t work;          /* tokens computed since the last reading */
    int64_t mj;
    bool modelled;         /* some of it is */
};

struct charge_pool {
    int64_t work;          /* of all requests since the last reading, ended ones included */
    int64_t prepaid_mj;    /* charged before it was read */
    int64_t idle_mj;
    double mj_per_work;    /* of the last interval with work in it */
    bool modelled;
};

void charge_work(struct charge_pool *p, struct charge *c, int64_t tokens);
/* The request ends: settles its pending work at the last rate; returns all it was charged. */
int64_t charge_end(struct charge_pool *p, struct charge *c);
/* A reading: mj since the last one, over the n requests still running. */
void charge_reading(struct charge_pool *p, struct charge **running, int n, int64_t mj, bool modelled);
#endif
