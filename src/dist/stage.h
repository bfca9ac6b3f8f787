/* stage -- the computing process of a rank after the first: some layers of the model, their keys and values, and
 * nothing else. Started by its carrier with a socket; sandboxed like an engine before it reads the model's file. */
#ifndef DIST_STAGE_H
#define DIST_STAGE_H
#include "base/err.h"

/* Until the carrier closes the socket. */
enum err_code stage_run(int socket, struct err *e);
#endif
