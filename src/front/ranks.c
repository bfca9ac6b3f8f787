/* ranks -- see ranks.h. */
#include "front/ranks.h"


#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ARGS_MAX = 48, NAME_MAX_BYTES = 64, PATH_BYTES = 4096 };

struct command {
    const char *v[ARGS_MAX];
    int n;
};

static void add(struct command *c, const char *const *words)
{
    for (; *words && c->n < ARGS_MAX - 1; words++)
        c->v[c->n++] = *words;
}

/* A name nobody can guess before it is bound; the engine asks who came, besides. */
static enum err_code listen_for_carrier(char *name, size_t size, int *fd, struct err *e)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    uint64_t dice[2];
    if (getrandom(dice, sizeof dice, 0) != (ssize_t)sizeof dice)
        return err_errno(e, "no random bytes for a socket's name");
    snprintf(name, size, "tokenworks-%016llx%016llx", (unsigned long long)dice[0], (unsigned long long)dice[1]);
    memcpy(a.sun_path + 1, name, strlen(name));
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    if (*fd < 0 || bind(*fd, (struct sockaddr *)&a, n) || listen(*fd, 1))
        return err_errno(e, "cannot make a socket for the ranks");
    return ERR_OK;
}

static enum err_code find_mpirun(char *out, size_t size, struct err *e)
{
    const char *path = getenv("PATH");
    path = path && *path ? path : "/usr/local/bin:/usr/bin:/bin";
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, ":");
        snprintf(out, size, "%.*s/mpirun", (int)n, p);
        if (!access(out, X_OK))
            return ERR_OK;
        p += n + (p[n] == ':');
    }
    return err_set(e, ERR_NOT_FOUND, "--ranks needs mpirun, and there is none: install openmpi-bin on every machine");
}

/* Between fork and exec: only calls that are safe after a fork. */
static void become_mpirun(const char *const *argv, int life, int parent) __attribute__((noreturn));
static void become_mpirun(const char *const *argv, int life, int parent)
{
    enum { LIFE_FD = 3 };
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY);
    if (getppid() != parent || null < 0 || dup2(null, STDIN_FILENO) < 0)
        _exit(1);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    if (life == LIFE_FD)
        fcntl(life, F_SETFD, 0);
    else if (dup2(life, LIFE_FD) < 0)
        _exit(1);
    close_range(LIFE_FD + 1, ~0u, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* One machine: shared memory and loopback. A dead link between machines is noticed within ten seconds. hwloc's gl part
 * would look for X servers. */
static void command_line(struct command *c, const char *mpirun, const char *hostfile, const char *ranks)
{
    add(c, (const char *const[]){ mpirun, NULL });
    if (!geteuid())
        add(c, (const char *const[]){ "--allow-run-as-root", NULL });
    if (hostfile)
        add(c, (const char *const[]){ "--hostfile", hostfile, "--map-by", "node", NULL });
    else
        add(c, (const char *const[]){ "--mca", "btl", "self,vader,tcp", NULL });
    add(c, (const char *const[]){ "--oversubscribe", "--bind-to", "none", "--quiet", "-x", "HWLOC_COMPONENTS=-gl",
                                  "--mca", "mpi_yield_when_idle", "1",
                                  "--mca", "btl_vader_single_copy_mechanism", "none",
                                  "--mca", "oob_tcp_keepalive_time", "4", "--mca", "oob_tcp_keepalive_intvl", "2",
                                  "--mca", "oob_tcp_keepalive_probes", "3", "-n", ranks, NULL });
}

static enum err_code start(const struct command *c, int *pid, int *life, struct err *e)
{
    int pair[2], parent = getpid();
    if (pipe2(pair, O_CLOEXEC))
        return err_errno(e, "cannot make a pipe for the ranks");
    int child = fork();
    if (child == 0)
        become_mpirun(c->v, pair[1], parent);
    close(pair[1]);
    if (child < 0) {
        close(pair[0]);
        return err_errno(e, "cannot start mpirun");
    }
    *pid = child;
    *life = pair[0];
    return ERR_OK;
}

enum err_code ranks_start(const json_t *options, const char *model_path, int *pid, int fds[RANKS_FDS], struct err *e)
{
    int ranks = (int)json_integer_value(json_object_get(options, "ranks"));
    const char *hostfile = json_string_value(json_object_get(options, "hostfile"));
    char name[NAME_MAX_BYTES], mpirun[PATH_BYTES], self[PATH_BYTES], number[16], model[PATH_BYTES];
    struct command c = { .n = 0 };
    *pid = -1;
    fds[0] = fds[1] = -1;
    if (ranks < 2)
        return ERR_OK;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    snprintf(number, sizeof number, "%d", ranks);
    if (!realpath(model_path, model))
        return err_errno(e, "%s: cannot open the model", model_path);
    enum err_code code = find_mpirun(mpirun, sizeof mpirun, e);
    code = code ? code : listen_for_carrier(name, sizeof name, &fds[0], e);
    if (!code) {
        command_line(&c, mpirun, hostfile, number);
        add(&c, (const char *const[]){ self, "carrier", "--socket", name, "--model", model, NULL });
        code = start(&c, pid, &fds[1], e);
    }
    if (code && fds[0] >= 0) {
        close(fds[0]);
        fds[0] = -1;
    }
    return code;
}
