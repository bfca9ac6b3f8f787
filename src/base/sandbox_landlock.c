/* sandbox_landlock -- Landlock: a rule set that handles everything the kernel knows of and allows none of it.
 *
 * Numbers beyond the header of Debian 12 (ABI 2) come from the kernel's uapi/linux/landlock.h; a kernel refuses
 * bits it does not know, so each ABI gets its own mask. */
#include "base/sandbox_impl.h"

#include <errno.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ABI_TRUNCATE = 3, ABI_NET = 4, ABI_IOCTL = 5, ABI_SCOPE = 6, ABI_KNOWN = 6 };

/* The structure as ABI 6 has it; older kernels take a shorter one. */
struct ruleset_attr {
    uint64_t fs, net, scoped;
};

static uint64_t fs_mask(int abi)
{
    uint64_t bits = 13; /* ABI 1: execute .. make_sym */
    if (abi >= 2)
        bits = 14; /* refer */
    if (abi >= ABI_TRUNCATE)
        bits = 15;
    if (abi >= ABI_IOCTL)
        bits = 16; /* ioctl on devices */
    return ((uint64_t)1 << bits) - 1;
}

enum err_code sandbox_landlock_enter(int *abi, struct err *e)
{
    long found = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (found < SANDBOX_LANDLOCK_ABI_MIN)
        return err_set(e, ERR_DENIED, "Landlock is missing (%s): it needs Linux 5.19 or later with Landlock enabled "
                       "(boot with lsm=landlock,...; a container profile that allows landlock_create_ruleset)",
                       found < 0 ? strerror(errno) : "ABI 1");
    int use = found > ABI_KNOWN ? ABI_KNOWN : (int)found;
    struct ruleset_attr attr = { .fs = fs_mask(use) };
    size_t size = sizeof attr.fs;
    if (use >= ABI_NET) {
        attr.net = 3; /* bind and connect TCP */
        size = 2 * sizeof attr.fs;
    }
    if (use >= ABI_SCOPE) {
        attr.scoped = 3; /* abstract Unix sockets and signals to processes outside */
        size = sizeof attr;
    }
    int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (fd < 0)
        return err_set(e, ERR_DENIED, "Landlock refuses a rule set of ABI %d: %s", use, strerror(errno));
    long r = syscall(SYS_landlock_restrict_self, fd, 0);
    int saved = errno;
    close(fd);
    if (r)
        return err_set(e, ERR_DENIED, "Landlock cannot be entered (%s): it needs no_new_privs or CAP_SYS_ADMIN",
                       strerror(saved));
    *abi = use;
    return ERR_OK;
}
