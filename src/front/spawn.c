/* spawn -- see spawn.h. */
#include "front/spawn.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Between fork and exec: only calls that are safe after a fork. */
static void become_engine(const char *const *argv, int socket, int parent) __attribute__((noreturn));
static void become_engine(const char *const *argv, int socket, int parent)
{
    static const char *const own[] = { "tokenworks", "engine", NULL };
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it died before prctl */
    int null = open("/dev/null", O_RDONLY);
    if (socket == SPAWN_SOCKET_FD)
        fcntl(socket, F_SETFD, 0);
    else if (dup2(socket, SPAWN_SOCKET_FD) < 0)
        _exit(1);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    if (null >= 0 && null != STDIN_FILENO)
        dup2(null, STDIN_FILENO);
    close_range(SPAWN_SOCKET_FD + 1, ~0u, 0);
    /* A core file would hold prompts. A limit of 1 byte also stops those that are piped to a program (core(5)). */
    setrlimit(RLIMIT_CORE, &(struct rlimit){ .rlim_cur = 1, .rlim_max = 1 });
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(argv ? argv[0] : "/proc/self/exe", (char *const *)(uintptr_t)(argv ? argv : own));
    static const char failed[] = "tokenworks: cannot start the engine program\n";
    if (write(STDERR_FILENO, failed, sizeof failed - 1) < 0)
        _exit(127);
    _exit(127);
}

enum err_code spawn_engine(const char *const *argv, int *pid, int *socket, struct err *e)
{
    int pair[2], parent = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return err_errno(e, "cannot make a socket pair for the engine");
    int child = fork();
    if (child == 0)
        become_engine(argv, pair[1], parent);
    close(pair[1]);
    if (child < 0) {
        close(pair[0]);
        return err_errno(e, "cannot start the engine");
    }
    *pid = child;
    *socket = pair[0];
    return ERR_OK;
}

void spawn_end(int *pid, int grace_ms, char *how, size_t how_size)
{
    int status = 0;
    int64_t until = clock_mono_ns() + grace_ms * 1000000LL;
    while (waitpid(*pid, &status, WNOHANG) == 0) {
        if (clock_mono_ns() > until) {
            kill(*pid, SIGKILL);
            waitpid(*pid, &status, 0);
            break;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
    *pid = -1;
    if (!how)
        return;
    if (WIFSIGNALED(status))
        snprintf(how, how_size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(how, how_size, "exit status %d", WEXITSTATUS(status));
}

bool spawn_ended(int *pid, bool now)
{
    if (now)
        kill(*pid, SIGKILL);
    if (waitpid(*pid, NULL, WNOHANG) == 0)
        return false;
    *pid = -1;
    return true;
}
