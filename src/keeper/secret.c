/* secret -- see secret.h. */
#include "keeper/secret.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447 /* the same on every architecture */
#endif

static void *map_memfd(size_t bytes)
{
    int fd = (int)syscall(SYS_memfd_secret, 0);
    void *p = MAP_FAILED;
    if (fd < 0)
        return MAP_FAILED;
    if (!ftruncate(fd, (off_t)bytes))
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return p;
}

static void *map_locked(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return p;
    if (mlock(p, bytes) || madvise(p, bytes, MADV_DONTDUMP) || madvise(p, bytes, MADV_WIPEONFORK)) {
        munmap(p, bytes);
        return MAP_FAILED;
    }
    return p;
}

enum err_code secret_new(size_t bytes, struct secret *out, struct err *e)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bytes = (bytes + page - 1) / page * page;
    void *p = map_memfd(bytes);
    const char *kind = "memfd_secret";
    if (p == MAP_FAILED) {
        p = map_locked(bytes);
        kind = "mlock";
    }
    if (p == MAP_FAILED)
        return err_set(e, ERR_DENIED, "no memory for keys that stays out of swap (%s): it needs memfd_secret, or mlock "
                       "(raise RLIMIT_MEMLOCK: LimitMEMLOCK= in systemd)", strerror(errno));
    *out = (struct secret){ p, bytes, kind };
    return ERR_OK;
}

void secret_free(struct secret *s)
{
    if (!s->data)
        return;
    mem_wipe(s->data, s->bytes);
    munmap(s->data, s->bytes);
    *s = (struct secret){ 0 };
}
