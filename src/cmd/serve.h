/* serve -- what the commands serve, worker and gateway share: one option table, one way to start a front. */
#ifndef CMD_SERVE_H
#define CMD_SERVE_H
#include "base/opt.h"

enum serve_as { SERVE_HERE, SERVE_WORKER, SERVE_GATEWAY }; /* serve with --nats is a worker and a gateway */

extern const struct opt serve_rows[];
int serve_main(const struct opt_command *spec, enum serve_as as, int argc, char **argv);
#endif
