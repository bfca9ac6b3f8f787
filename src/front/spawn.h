/* spawn -- the engine as a process: forked, its socket on descriptor 3, nothing else inherited. */
#ifndef FRONT_SPAWN_H
#define FRONT_SPAWN_H
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { SPAWN_SOCKET_FD = 3 };

/* argv: the program and its arguments; NULL: /proc/self/exe engine. The child has our stderr as its stdout and
 * stderr, no stdin, a process group of its own (so that ^C reaches only us), leaves no core file and dies with us. */
enum err_code spawn_engine(const char *const *argv, int *pid, int *socket, struct err *e);

/* Waits up to grace_ms for the process to end by itself, then kills it; *pid becomes -1. how (may be NULL) gets
 * "exit status 1", "killed by signal 11 (Segmentation fault)" ... */
void spawn_end(int *pid, int grace_ms, char *how, size_t how_size);

/* Whether the process has ended; kill it first when `now`. *pid becomes -1 then. Never waits. */
bool spawn_ended(int *pid, bool now);
#endif
