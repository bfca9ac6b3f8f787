/* sandbox_seccomp -- the system calls an engine or keeper makes once everything is open. The rest kills it.
 *
 * Three answers: allow (the table), a mild errno for what a C library tries in passing (opening a locale,
 * asking whether stderr is a terminal), and KILL_PROCESS for everything else: socket, connect, execve, ptrace,
 * io_uring, process_vm_*, fork, kill, mount, bpf ... are simply not in the table. */
#include "base/sandbox_impl.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

/* By name: libseccomp knows the numbers, and a name the machine lacks is passed over. */
static const char *const allowed[] = {
    /* bytes through descriptors already held */
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "close", "fstat",
    "fsync", "fdatasync", "ftruncate", "fallocate", "dup", "dup2", "dup3", "fcntl", "recvmsg", "recvfrom", "sendmsg",
    "shutdown", "getsockopt", "getsockname", "getpeername",
    /* waiting */
    "poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "epoll_create1",
    "eventfd2", "pipe2", "timerfd_create", "timerfd_settime", "timerfd_gettime",
    /* memory (mmap and mprotect: below, never executable) */
    "munmap", "mremap", "madvise", "brk", "mlock", "mlock2", "munlock", "mincore",
    /* threads and signals (clone: below) */
    "futex", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "sched_yield", "sched_getaffinity",
    "sched_setaffinity", "membarrier", "getcpu", "gettid", "getpid", "getppid", "exit", "exit_group",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigpending", "rt_sigsuspend",
    "sigaltstack", "restart_syscall",
    /* clocks, chance, who and where am I */
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times", "getrusage",
    "getrandom", "uname", "sysinfo", "getuid", "geteuid", "getgid", "getegid", "umask",
};

/* Refused without a death. */
static const struct {
    const char *name;
    int error;
} refused[] = {
    { "open", EACCES },      { "openat", EACCES },    { "openat2", EACCES }, { "access", EACCES },
    { "faccessat", EACCES }, { "faccessat2", EACCES }, { "stat", EACCES },   { "lstat", EACCES },
    { "statx", EACCES },     { "readlink", EACCES },  { "readlinkat", EACCES }, { "getcwd", EACCES },
    { "ioctl", ENOTTY },     { "clone3", ENOSYS }, /* its flags lie in memory: glibc falls back to clone */
};

static int rule(scmp_filter_ctx f, uint32_t action, const char *name, unsigned n, const struct scmp_arg_cmp *args)
{
    int nr = seccomp_syscall_resolve_name(name);
    if (nr < 0) /* unknown here, or a pseudo number of another architecture */
        return 0;
    return seccomp_rule_add_array(f, action, nr, n, args);
}

static int table_rules(scmp_filter_ctx f, int *count)
{
    int r = 0;
    for (size_t i = 0; !r && i < MEM_COUNT(allowed); i++) {
        *count += seccomp_syscall_resolve_name(allowed[i]) >= 0;
        r = rule(f, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
    }
    for (size_t i = 0; !r && i < MEM_COUNT(refused); i++)
        r = rule(f, SCMP_ACT_ERRNO((uint32_t)refused[i].error), refused[i].name, 0, NULL);
    return r;
}

/* Calls whose arguments decide. */
static int argument_rules(scmp_filter_ctx f, bool threads, int *count)
{
    const struct scmp_arg_cmp no_exec = SCMP_A2_64(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    const struct scmp_arg_cmp exec = SCMP_A2_64(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC);
    const struct scmp_arg_cmp thread = SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
    const struct scmp_arg_cmp self = SCMP_A0_64(SCMP_CMP_EQ, (uint64_t)getpid());
    const struct scmp_arg_cmp no_address = SCMP_A4_64(SCMP_CMP_EQ, 0);
    const struct scmp_arg_cmp read_limit = SCMP_A2_64(SCMP_CMP_EQ, 0);
    const struct scmp_arg_cmp by_fd = SCMP_A3_64(SCMP_CMP_EQ, AT_EMPTY_PATH);
    const struct scmp_arg_cmp by_path = SCMP_A3_64(SCMP_CMP_NE, AT_EMPTY_PATH);
    const struct scmp_arg_cmp name = SCMP_A0_64(SCMP_CMP_EQ, PR_SET_NAME);
    const struct scmp_arg_cmp other = SCMP_A0_64(SCMP_CMP_NE, PR_SET_NAME);
    const struct {
        const char *call;
        uint32_t action;
        const struct scmp_arg_cmp *arg;
        bool wanted;
    } rows[] = {
        { "mmap", SCMP_ACT_ALLOW, &no_exec, true },
        { "mmap", SCMP_ACT_ERRNO(EPERM), &exec, true },
        { "mprotect", SCMP_ACT_ALLOW, &no_exec, true },
        { "mprotect", SCMP_ACT_ERRNO(EPERM), &exec, true },
        { "clone", SCMP_ACT_ALLOW, &thread, threads },
        { "tgkill", SCMP_ACT_ALLOW, &self, true },
        { "sendto", SCMP_ACT_ALLOW, &no_address, true }, /* that is send(2) */
        { "prlimit64", SCMP_ACT_ALLOW, &read_limit, true },
        { "newfstatat", SCMP_ACT_ALLOW, &by_fd, true }, /* that is fstat(3) */
        { "newfstatat", SCMP_ACT_ERRNO(EACCES), &by_path, true },
        { "prctl", SCMP_ACT_ALLOW, &name, true },
        { "prctl", SCMP_ACT_ERRNO(EPERM), &other, true },
    };
    int r = 0;
    for (size_t i = 0; !r && i < MEM_COUNT(rows); i++) {
        if (!rows[i].wanted)
            continue;
        *count += rows[i].action == SCMP_ACT_ALLOW;
        r = rule(f, rows[i].action, rows[i].call, 1, rows[i].arg);
    }
    return r;
}

enum err_code sandbox_seccomp_enter(bool threads, int *count, struct err *e)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!f)
        return err_set(e, ERR_DENIED, "seccomp is missing: it needs a kernel with CONFIG_SECCOMP_FILTER");
    int n = 0;
    int r = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: a call costs what it did before */
    if (!r)
        r = table_rules(f, &n);
    if (!r)
        r = argument_rules(f, threads, &n);
    if (!r)
        r = seccomp_load(f);
    seccomp_release(f);
    if (r)
        return err_set(e, ERR_DENIED, "the seccomp filter cannot be installed (%s): it needs CONFIG_SECCOMP_FILTER and "
                       "a container profile that allows seccomp", strerror(-r));
    *count = n;
    return ERR_OK;
}
