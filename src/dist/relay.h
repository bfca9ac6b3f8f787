/* relay -- the engine's end of a split model: gives each step's rows to carrier 0 and takes the wanted ones back.
 *
 *     relay_accept    before the sandbox: carrier 0 comes to the listening socket
 *     relay_begin     the other ranks load their layers while this process loads its own
 *     relay_open      they get room for pages and rows; returns when all are ready
 *     relay_rest      then the scheduler's steps go through here
 *
 * A rank that dies ends them all: the carrier's end of the socket closes, and `lost` is called, which does not return.
 * Threads: all of it is the step thread's. */
#ifndef DIST_RELAY_H
#define DIST_RELAY_H
#include "dist/setup.h"

struct relay;

struct relay_door {
    int listener;   /* where carrier 0 comes */
    int life;       /* closes when mpirun ends */
    int owner;      /* the front's socket: closes when nobody wants this engine any more */
    int wait_ms;
    void (*lost)(void *arg, const char *why) __attribute__((noreturn));
    void *arg;
};
/* The descriptors stay the caller's. */
enum err_code relay_accept(const struct relay_door *door, struct relay **out, struct err *e);
void relay_free(struct relay *r);

enum err_code relay_begin(struct relay *r, const struct dist_setup *s, struct err *e);

struct relay_pages {
    const unsigned char *first; /* pages lie one after the other from here */
    size_t bytes;
    int count;
};
enum err_code relay_open(struct relay *r, const struct parcel_limits *limits, const struct relay_pages *pages,
                         struct err *e);
struct model_rest relay_rest(struct relay *r); /* valid from relay_accept on; run after relay_open */
void relay_check(struct relay *r);             /* between steps: calls lost when a rank is gone; never waits */
#endif
