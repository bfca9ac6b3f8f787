/* ranks -- the further ranks of a model over several machines: mpirun and what it starts, beside one engine.
 *
 * The engine gets two descriptors in its hello: the socket where carrier 0 will come, and a pipe that closes when
 * mpirun ends. From then on they look after themselves: when the engine goes, carrier 0 sees it and all ranks end;
 * when a rank goes, mpirun ends the others and the engine with them. */
#ifndef FRONT_RANKS_H
#define FRONT_RANKS_H
#include "base/err.h"
#include "base/json.h"

enum { RANKS_FDS = 2 };

/* options: of the model; "ranks" below 2, or none: nothing is started, and *pid is -1. SIGTERM
 * ends them all; fds are the caller's to close. */
enum err_code ranks_start(const json_t *options, const char *model_path, int *pid, int fds[RANKS_FDS], struct err *e);
#endif
