/* ranks -- the engine as rank 0 of a model over several machines (dist/leader.h): from the options to the first step.
 * With one rank, all of it does nothing. */
#ifndef ENGINE_RANKS_H
#define ENGINE_RANKS_H
#include "dist/leader.h"
#include "lib/runtime.h"

enum { RANKS_FDS = 2 };     /* on the hello: where carrier 0 comes, and what closes when mpirun ends */

struct ranks {
    int count;              /* 1: the model is here as a whole */
    bool apart;             /* on machines of their own: each has its memory to itself */
    int listener, life;
    struct leader *leader;
    struct model_rest rest;
};

void ranks_take_fds(struct ranks *r, const int fds[RANKS_FDS]);
enum err_code ranks_accept(struct ranks *r, int front, struct err *e);   /* before the sandbox */
/* The cut: into o->part, and, unless nobody came, to the others, which begin to load. */
enum err_code ranks_begin(struct ranks *r, int model_fd, const char *sandbox_mode, struct runtime_options *o,
                          struct err *e);
/* Returns when all are ready. */
enum err_code ranks_open(struct ranks *r, const struct runtime_options *o, struct runtime *runtime, struct err *e);
void ranks_check(struct ranks *r);                                       /* ends the process when one is gone */
void ranks_release(struct ranks *r);
#endif
