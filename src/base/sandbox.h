/* sandbox -- a process gives away what it will never need: network, files, new programs, being looked at.
 *
 * For processes that handle hostile bytes (engine) or secrets (keeper). Call sandbox_enter once, after
 * opening everything and before making threads: namespaces and Landlock bind the calling thread and what it
 * starts. Afterwards the process can use the descriptors it holds, memory, clocks and its own threads.
 *
 * Opening a path afterwards fails with EACCES; a system call that no honest engine makes (socket, execve,
 * ptrace, io_uring ...) kills the process. Each mechanism is a file: sandbox_ns.c, sandbox_landlock.c,
 * sandbox_seccomp.c; sandbox.c holds the order and the small ones. */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H
#include "base/err.h"

#include <stdbool.h>

enum { SANDBOX_TEXT_MAX = 512, SANDBOX_LANDLOCK_ABI_MIN = 2 };

struct sandbox_profile {
    const char *name; /* "engine", "keeper": for messages and the report */
    bool threads;     /* the process will make threads */
    bool air_gapped;  /* every layer is needed, and that there is no way out is tried and logged: the proof */
    bool best_effort; /* --sandbox=best-effort: install what can be installed and say what is missing */
};

struct sandbox_report {
    bool network_ns;     /* an empty network namespace: loopback down, no route, no inherited network socket */
    bool user_ns;        /* got through an unprivileged user namespace (not root) */
    int landlock_abi;    /* 0: Landlock not installed */
    bool seccomp;        /* default KILL_PROCESS */
    int syscalls;        /* how many the filter lets through */
    bool no_new_privs, no_dump, no_core, no_caps;
    /* The canonical line whose SHA-256 the node note carries: "engine netns=1 landlock=6 seccomp=kill:61 ..." */
    char text[SANDBOX_TEXT_MAX];
    char proof[SANDBOX_TEXT_MAX];   /* air_gapped: what was tried before the filter closed, and how it failed */
    char missing[SANDBOX_TEXT_MAX]; /* best effort: the layers that are not there, and why; "" when all are */
};

/* ERR_DENIED names the layer that is missing and the permission it needs, unless p->best_effort. On failure
 * the process may already be partly confined and must exit. ERR_INVALID: threads exist, or a descriptor is open
 * that leads out (a network socket, a datagram socket). Builds with sanitizers leave seccomp out and say so. */
enum err_code sandbox_enter(const struct sandbox_profile *p, struct sandbox_report *out, struct err *e);

/* ERR_OK when this process has no way out: no network device but a loopback that is down, no route for either
 * family, no descriptor that is a network socket. ERR_DENIED names what was found. For --air-gapped. */
enum err_code sandbox_check_no_route(struct err *e);
#endif
