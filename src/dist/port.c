/* port -- see port.h. */
#include "dist/port.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct head {
    uint32_t kind, length;
};

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static enum err_code gone(struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "the other side is gone");
}

enum err_code port_send(int socket, enum note_kind kind, const void *data, size_t n, int fd, struct err *e)
{
    struct head head = { (uint32_t)kind, (uint32_t)n };
    char bytes[sizeof head + NOTE_BYTES_MAX];
    union control control = { .bytes = { 0 } };
    ASSERT(n <= NOTE_BYTES_MAX);
    memcpy(bytes, &head, sizeof head);
    if (n)
        memcpy(bytes + sizeof head, data, n);
    for (size_t sent = 0, all = sizeof head + n; sent < all;) {
        struct iovec v = { bytes + sent, all - sent };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
        if (fd >= 0 && !sent) {
            m.msg_control = control.bytes;
            m.msg_controllen = sizeof control.bytes;
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof fd);
            memcpy(CMSG_DATA(c), &fd, sizeof fd);
        }
        ssize_t got = sendmsg(socket, &m, MSG_NOSIGNAL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EPIPE || errno == ECONNRESET ? gone(e) : err_errno(e, "a note cannot be sent");
        sent += (size_t)got;
    }
    return ERR_OK;
}

/* Exactly n bytes; a descriptor that comes with them goes to *fd, or is closed. */
static enum err_code take(int socket, void *data, size_t n, int *fd, struct err *e)
{
    for (size_t done = 0; done < n;) {
        union control control;
        struct iovec v = { (char *)data + done, n - done };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes };
        ssize_t got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return !got || errno == ECONNRESET ? gone(e) : err_errno(e, "a note cannot be received");
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int))) {
            int came;
            memcpy(&came, CMSG_DATA(c), sizeof came);
            if (*fd >= 0)
                close(*fd);
            *fd = came;
        }
        done += (size_t)got;
    }
    return ERR_OK;
}

enum err_code port_receive(int socket, enum note_kind kind, void *data, size_t n, int *fd, struct err *e)
{
    struct head head;
    int came = -1;
    enum err_code c = take(socket, &head, sizeof head, &came, e);
    if (!c && (head.kind != (uint32_t)kind || head.length != n))
        c = err_set(e, ERR_CORRUPT, "a note of kind %u with %u bytes came, kind %d with %zu is expected", head.kind,
                    head.length, (int)kind, n);
    if (!c && n)
        c = take(socket, data, n, &came, e);
    if (!c && fd && came < 0)
        c = err_set(e, ERR_CORRUPT, "a note came without its descriptor");
    if (!c && fd)
        *fd = came;
    else if (came >= 0)
        close(came);
    return c;
}

bool port_stirs(int socket)
{
    struct pollfd p = { .fd = socket, .events = POLLIN | POLLRDHUP };
    return poll(&p, 1, 0) > 0;
}

/* ---- the block */

enum err_code port_block_new(int *fd, struct err *e)
{
    *fd = memfd_create("tokenworks-rows", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return *fd < 0 ? err_errno(e, "shared memory cannot be made") : ERR_OK;
}

enum err_code port_block_size(int fd, uint64_t bytes, struct err *e)
{
    if (ftruncate(fd, (off_t)bytes) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return err_errno(e, "shared memory of %llu bytes cannot be had", (unsigned long long)bytes);
    return ERR_OK;
}

enum err_code port_block_map(int fd, uint64_t bytes, void **out, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) || (uint64_t)st.st_size != bytes || !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
        return err_set(e, ERR_CORRUPT, "the shared memory is not what was announced");
    void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_errno(e, "shared memory cannot be mapped");
    *out = p;
    return ERR_OK;
}

void port_block_unmap(void *block, uint64_t bytes)
{
    if (block)
        munmap(block, (size_t)bytes);
}
