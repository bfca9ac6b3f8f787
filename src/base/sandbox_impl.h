/* sandbox_impl -- what sandbox.c asks of each mechanism's file. Not for other floors. */
#ifndef BASE_SANDBOX_IMPL_H
#define BASE_SANDBOX_IMPL_H
#include "base/sandbox.h"

#include <stddef.h>

enum err_code sandbox_ns_enter(bool *user_ns, struct err *e);          /* an empty network namespace, and IPC, UTS */
enum err_code sandbox_landlock_enter(int *abi, struct err *e);         /* deny every path, TCP port and scope */
enum err_code sandbox_seccomp_enter(bool threads, int *allowed, struct err *e);
enum err_code sandbox_fds_check(struct err *e);                        /* no descriptor leads out */
/* Tries to get out in every way there is; ERR_DENIED when one goes through. */
enum err_code sandbox_prove(char *out, size_t size, struct err *e);
#endif
