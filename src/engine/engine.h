/* engine -- the process that understands bytes: one model, one socketpair to the front, nothing else.
 *
 * Start: the front's hello frame brings the model's descriptor and the options; the engine locks itself into the
 * sandbox, loads, answers hello, and serves until the front closes the stream. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H
#include "base/err.h"

/* Returns when the front closed the stream (ERR_OK) or the model cannot be served; the front was told why. */
enum err_code engine_run(int socket, struct err *e);
#endif
