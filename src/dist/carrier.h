/* carrier -- the process beside engine or stage that speaks MPI: it moves parcels and looks at no content.
 *
 * Rank 0 goes to the engine's socket; each further rank starts a stage process. A step goes 0, 1, ... N-1, and the
 * wanted rows come back to 0. Waiting costs next to nothing: MPI's own waits would keep a processor busy each.
 * Any failure ends this process, and with it, by MPI, all ranks: the engine sees its socket close. */
#ifndef DIST_CARRIER_H
#define DIST_CARRIER_H
#include "base/err.h"

struct carrier_options {
    const char *socket;          /* abstract name of the engine's listening socket: rank 0 */
    const char *model;           /* path of the model's file: all others */
    const char *const *stage;    /* program and arguments of a stage; its socket is on descriptor 3 */
};

/* Returns when the engine closed its socket; a failure before MPI's start comes back as an error, later ones do not
 * return. */
enum err_code carrier_run(const struct carrier_options *o, struct err *e);
#endif
