/* serve_fleet -- the settings of serve, worker and gateway that make a server part of a fleet. */
#ifndef CMD_SERVE_FLEET_H
#define CMD_SERVE_FLEET_H
#include "cmd/serve.h"
#include "cmd/serve_config.h"
#include "front/front.h"

/* Fills f->fleet, and what a worker's front leaves out. ERR_INVALID: what is missing or does not go together. */
enum err_code serve_fleet_options(const struct serve_options *o, enum serve_as as, struct front_options *f,
                                  struct err *e);
#endif
