/* leader -- the engine's end of a split model: gives each step's rows to carrier 0 and takes the wanted ones back.
 *
 *     leader_accept    before the sandbox: carrier 0 comes to the listening socket
 *     leader_begin     the other ranks load their layers while this process loads its own
 *     leader_open      they get room for pages and rows; returns when all are ready
 *     leader_rest      then the scheduler's steps go through here
 *
 * A rank that dies ends them all: the carrier's end of the socket closes, and `lost` is called, which does not return.
 * Threads: all of it is the step thread's. */
#ifndef DIST_LEADER_H
#define DIST_LEADER_H
#include "dist/setup.h"

struct leader;

struct leader_door {
    int listener;   /* where carrier 0 comes */
    int life;       /* closes when mpirun ends */
    int owner;      /* the front's socket: closes when nobody wants this engine any more */
    int wait_ms;
    void (*lost)(void *arg, const char *why) __attribute__((noreturn));
    void *arg;
};
/* The descriptors stay the caller's. */
enum err_code leader_accept(const struct leader_door *door, struct leader **out, struct err *e);
void leader_free(struct leader *r);

enum err_code leader_begin(struct leader *r, const struct dist_setup *s, struct err *e);

struct leader_pages {
    const unsigned char *first; /* pages lie one after the other from here */
    size_t bytes;
    int count;
};
enum err_code leader_open(struct leader *r, const struct parcel_limits *limits, const struct leader_pages *pages,
                         struct err *e);
struct model_rest leader_rest(struct leader *r); /* valid from leader_accept on; run after leader_open */
void leader_check(struct leader *r);             /* between steps: calls lost when a rank is gone; never waits */
#endif
