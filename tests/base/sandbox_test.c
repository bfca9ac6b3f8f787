/* sandbox_test -- what a process inside the sandbox can still do, and that everything else is refused or deadly. */
#include "../test.h"
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef TW_SANITIZED
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
enum { KILLED = -1, NO_SANDBOX = 99, NOBODY = 65534 };

static int pair[2]; /* a socketpair the child inherits */

/* Runs act in a sandboxed child: its exit status, or KILLED when seccomp killed it, or minus the signal. */
static int inside(int (*act)(void))
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct sandbox_report r;
        struct err e = { 0 };
        if (sandbox_enter(&(struct sandbox_profile){ .name = "test", .threads = true }, &r, &e)) {
            fprintf(stderr, "# %s\n", e.text);
            _exit(NO_SANDBOX);
        }
        _exit(act());
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? KILLED : -WTERMSIG(status);
    return WEXITSTATUS(status);
}

static void *thread_work(void *arg)
{
    *(int *)arg = 7;
    return NULL;
}

static int honest_work(void)
{
    int got = 0, ev = eventfd(0, EFD_NONBLOCK), ep = epoll_create1(0);
    struct epoll_event want = { .events = EPOLLIN }, seen;
    pthread_t t;
    char byte = 'x', in = 0;
    struct iovec v = { &byte, 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    void *big = mmap(NULL, 1 << 24, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct timespec now;
    if (big == MAP_FAILED || madvise(big, 1 << 24, MADV_DONTDUMP) || munmap(big, 1 << 24))
        return 1;
    if (epoll_ctl(ep, EPOLL_CTL_ADD, ev, &want) || eventfd_write(ev, 1) || epoll_wait(ep, &seen, 1, 0) != 1)
        return 2;
    if (pthread_create(&t, NULL, thread_work, &got) || pthread_join(t, NULL) || got != 7)
        return 3;
    if (sendmsg(pair[0], &m, 0) != 1 || recv(pair[1], &in, 1, 0) != 1 || in != 'x')
        return 4;
    if (send(pair[1], &byte, 1, MSG_NOSIGNAL) != 1 || read(pair[0], &in, 1) != 1)
        return 5;
    if (getentropy(&in, 1) || clock_gettime(CLOCK_REALTIME, &now) || sched_yield())
        return 6;
    free(malloc((size_t)1 << 26));
    fprintf(stderr, "# a line on stderr still works\n");
    return 0;
}

static void honest_work_goes_on(void)
{
    CHECK_INT(inside(honest_work), 0);
}

/* Refused with an errno: the child exits 0 when the call failed with EACCES. */
static int open_read(void) { return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 1; }
static int open_write(void) { return open("/tmp/tw-sandbox", O_WRONLY | O_CREAT, 0600) < 0 && errno == EACCES ? 0 : 1; }
static int open_proc_mem(void) { return open("/proc/self/mem", O_RDWR) < 0 && errno == EACCES ? 0 : 1; }
static int map_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED && errno == EPERM ? 0 : 1;
}

static void paths_and_code_are_refused(void)
{
    CHECK_INT(inside(open_read), 0);
    CHECK_INT(inside(open_write), 0);
    CHECK_INT(inside(open_proc_mem), 0);
    if (!SANITIZED)
        CHECK_INT(inside(map_code), 0);
}

/* Deadly: each comes back only if it is survived, whatever the call returned. */
static int survived(long result)
{
    return result == 0 ? 1 : 2;
}
static int tcp4(void) { return survived(socket(AF_INET, SOCK_STREAM, 0)); }
static int udp6(void) { return survived(socket(AF_INET6, SOCK_DGRAM, 0)); }
static int unix_socket(void) { return survived(socket(AF_UNIX, SOCK_STREAM, 0)); }
static int netlink(void) { return survived(socket(AF_NETLINK, SOCK_RAW, 0)); }
static int packet(void) { return survived(socket(AF_PACKET, SOCK_RAW, 0)); }
static int vsock(void) { return survived(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static int new_pair(void) { int p[2]; return survived(socketpair(AF_UNIX, SOCK_DGRAM, 0, p)); }
static int connect_abstract(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0tw" };
    return survived(connect(pair[0], (struct sockaddr *)&a, sizeof a));
}
static int send_to_address(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x08080808) };
    return survived(sendto(pair[0], "x", 1, 0, (struct sockaddr *)&a, sizeof a));
}
static int uring(void) { return survived(syscall(SYS_io_uring_setup, 8, NULL)); }
static int run_program(void)
{
    char *const argv[] = { (char *)"true", NULL };
    return survived(execv("/bin/true", argv));
}
static int run_program_at(void) { return survived(syscall(SYS_execveat, -100, "/bin/true", NULL, NULL, 0)); }
static int trace_parent(void) { return survived(ptrace(PTRACE_SEIZE, getppid(), NULL, NULL)); }
static int read_parent(void)
{
    char b;
    struct iovec l = { &b, 1 }, r = { &b, 1 };
    return survived(syscall(SYS_process_vm_readv, getppid(), &l, 1, &r, 1, 0));
}
static int make_child(void) { return fork() == 0 ? 0 : 1; }
static int kill_parent(void) { return survived(kill(getppid(), 0)); }
static int join_namespace(void) { return survived(setns(pair[0], CLONE_NEWNET)); }
static int mount_proc(void) { return survived(syscall(SYS_mount, "proc", "/proc", "proc", 0, NULL)); }
static int load_bpf(void) { return survived(syscall(SYS_bpf, 0, NULL, 0)); }
static int pidfd_steal(void) { return survived(syscall(438 /* pidfd_getfd */, pair[0], 0, 0)); }

static void every_way_out_is_deadly(void)
{
    if (SANITIZED)
        SKIP("the seccomp filter is left out of sanitizer builds");
    static int (*const acts[])(void) = {
        tcp4, udp6, unix_socket, netlink, packet, vsock, new_pair, connect_abstract, send_to_address, uring,
        run_program, run_program_at, trace_parent, read_parent, make_child, kill_parent, join_namespace, mount_proc,
        load_bpf, pidfd_steal,
    };
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        int got = inside(acts[i]);
        if (got != KILLED)
            printf("# act %zu ended with %d\n", i, got);
        CHECK_INT(got, KILLED);
    }
}

/* What holds without seccomp as well: the network namespace alone. */
static int reach_loopback(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int reached = fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a) && send(fd, "x", 1, 0) == 1;
    if (fd >= 0)
        close(fd);
    return reached;
}

static void no_route_even_to_loopback(void)
{
    CHECK_INT(inside(reach_loopback), SANITIZED ? 0 : KILLED);
    struct err e = { 0 };
    if (reach_loopback()) { /* the test's own process has a network: the check must say so */
        CHECK_INT(sandbox_check_no_route(&e), ERR_DENIED);
        CHECK(strstr(e.text, "device") || strstr(e.text, "route"));
    }
}

/* Enters with something open or running that must not be; returns the error code. */
static int enter_with(void (*spoil)(void), bool best_effort, const char *must_say)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct sandbox_report r = { 0 };
        struct err e = { 0 };
        spoil();
        int c = sandbox_enter(&(struct sandbox_profile){ .name = "t", .best_effort = best_effort }, &r, &e);
        const char *said = c ? e.text : r.missing;
        if (!strstr(said, must_say))
            fprintf(stderr, "# said: %s\n", said);
        _exit(strstr(said, must_say) ? c : NO_SANDBOX);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void open_udp(void) { CHECK(socket(AF_INET, SOCK_DGRAM, 0) >= 0); }
static void open_unix_dgram(void) { CHECK(socket(AF_UNIX, SOCK_DGRAM, 0) >= 0); }
static void *wait_forever(void *arg)
{
    pause();
    return arg;
}
static void start_thread(void)
{
    pthread_t t;
    CHECK(!pthread_create(&t, NULL, wait_forever, NULL));
}

static void inherited_ways_out_are_named(void)
{
    CHECK_INT(enter_with(open_udp, true, "network socket"), ERR_INVALID);
    CHECK_INT(enter_with(open_unix_dgram, true, "datagram socket"), ERR_INVALID);
    if (!SANITIZED)
        CHECK_INT(enter_with(start_thread, true, "threads exist"), ERR_INVALID);
}

static void forbid(const char *name, int error)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(f && !seccomp_rule_add(f, SCMP_ACT_ERRNO((uint32_t)error), seccomp_syscall_resolve_name(name), 0));
    CHECK(!seccomp_load(f));
    seccomp_release(f);
}
static void no_unshare(void) { forbid("unshare", EPERM); }
static void no_landlock(void) { forbid("landlock_create_ruleset", ENOSYS); }
static void no_seccomp(void) { forbid("seccomp", EINVAL); }
static void no_capset(void) { forbid("capset", EPERM); }
static void nothing(void) {}

static void a_missing_layer_is_named(void)
{
    CHECK_INT(enter_with(no_unshare, false, "CAP_SYS_ADMIN"), ERR_DENIED);
    CHECK_INT(enter_with(no_landlock, false, "Landlock is missing"), ERR_DENIED);
    CHECK_INT(enter_with(no_capset, false, "capabilities"), ERR_IO);
    CHECK_INT(enter_with(no_unshare, true, "CAP_SYS_ADMIN"), ERR_OK);
    CHECK_INT(enter_with(no_landlock, true, "Landlock is missing"), ERR_OK);
    CHECK_INT(enter_with(nothing, false, ""), ERR_OK);
    if (!SANITIZED)
        CHECK_INT(enter_with(no_seccomp, false, "seccomp filter cannot be installed"), ERR_DENIED);
}

static int crash(void)
{
    raise(SIGSEGV); /* tgkill to ourselves is allowed: abort must work */
    return 1;
}

/* --air-gapped: half a sandbox is none, and what was tried is told. */
static int enter_air_gapped(bool forbidden)
{
    struct sandbox_report r = { 0 };
    struct err e = { 0 };
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (forbidden)
            forbid("unshare", EPERM);
        int c = sandbox_enter(&(struct sandbox_profile){ .name = "t", .best_effort = true, .air_gapped = true }, &r, &e);
        bool told = strstr(r.proof, "tcp 192.0.2.1: ENETUNREACH") && strstr(r.proof, "lo (down)") && r.network_ns;
        _exit(c ? 1 : told ? 0 : 2);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void an_air_gap_is_proved(void)
{
    CHECK_INT(enter_air_gapped(false), 0);
    if (!SANITIZED)
        CHECK_INT(enter_air_gapped(true), 1);
}

static void no_core_is_written(void)
{
    struct rlimit big = { RLIM_INFINITY, RLIM_INFINITY };
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct sandbox_report r;
        setrlimit(RLIMIT_CORE, &big);
        signal(SIGSEGV, SIG_DFL);
        if (sandbox_enter(&(struct sandbox_profile){ .name = "t" }, &r, NULL))
            _exit(NO_SANDBOX);
        _exit(crash());
    }
    int status = 0;
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    CHECK(!WCOREDUMP(status));
}

/* As an ordinary user, its own user's tracer is refused, and its memory file too. */
static int try_to_look(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    int traced = !ptrace(PTRACE_SEIZE, pid, NULL, NULL);
    int opened = open(path, O_RDONLY) >= 0;
    return traced * 2 + opened;
}

static int look_from_outside(void)
{
    int ready[2];
    struct sandbox_report r;
    struct err e = { 0 };
    char c;
    if (setgid(NOBODY) || setuid(NOBODY) || pipe(ready))
        return 50;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* changing user cleared it; a process started as that user has it */
    pid_t pid = fork();
    if (pid == 0) {
        if (sandbox_enter(&(struct sandbox_profile){ .name = "t" }, &r, &e) || !r.user_ns) {
            fprintf(stderr, "# %s\n", e.text);
            _exit(NO_SANDBOX);
        }
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            poll(NULL, 0, 1000);
    }
    close(ready[1]);
    int got = read(ready[0], &c, 1) == 1 ? try_to_look(pid) : 51;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return got;
}

static void nobody_may_look_inside(void)
{
    if (geteuid())
        SKIP("needs root to become another user");
#ifdef __SANITIZE_THREAD__
    SKIP("the thread sanitizer's own thread keeps user namespaces away");
#endif
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(look_from_outside());
    int status = 0;
    waitpid(pid, &status, 0);
    CHECK_INT(WEXITSTATUS(status), 0);
}

static void report_says_what_is_installed(void)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct sandbox_report r;
        if (sandbox_enter(&(struct sandbox_profile){ .name = "engine", .threads = true }, &r, NULL))
            _exit(NO_SANDBOX);
        bool ok = !strncmp(r.text, "engine netns=1 landlock=", 24) && strstr(r.text, "nodump=1 nocore=1 nocaps=1") &&
                  r.landlock_abi >= SANDBOX_LANDLOCK_ABI_MIN && !r.missing[0] &&
                  strstr(r.text, SANITIZED ? "left-out" : "seccomp=kill:");
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    CHECK_INT(WEXITSTATUS(status), 0);
}

int main(void)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return 1;
    RUN(honest_work_goes_on);
    RUN(paths_and_code_are_refused);
    RUN(every_way_out_is_deadly);
    RUN(no_route_even_to_loopback);
    RUN(inherited_ways_out_are_named);
    RUN(a_missing_layer_is_named);
    RUN(an_air_gap_is_proved);
    RUN(no_core_is_written);
    RUN(nobody_may_look_inside);
    RUN(report_says_what_is_installed);
    DONE();
}
