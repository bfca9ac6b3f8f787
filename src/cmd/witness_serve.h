/* witness_serve -- see witness_serve.c: serves until SIGTERM or SIGINT. */
#ifndef CMD_WITNESS_SERVE_H
#define CMD_WITNESS_SERVE_H
#include "base/opt.h"
#include "trust/witness.h"

enum err_code witness_serve(struct witness *w, const char *listen, struct err *e);
#endif
