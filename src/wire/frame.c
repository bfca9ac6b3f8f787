/* frame -- see frame.h. Nothing here keeps state: the stream's owner holds the bytes. */
#include "wire/frame.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static uint64_t get_le(const char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

static void put_le(char *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (char)(v >> (8 * i));
}

static void write_header(char out[FRAME_HEADER_BYTES], const struct frame *f)
{
    ASSERT(f->length <= FRAME_PAYLOAD_MAX);
    ASSERT(f->kind >= FRAME_HELLO && f->kind <= FRAME_TRUST);
    put_le(out, f->length, 4);
    out[4] = FRAME_VERSION;
    out[5] = (char)f->kind;
    put_le(out + 6, f->flags, 2);
    put_le(out + 8, f->id, 8);
    put_le(out + 16, f->attempt, 4);
    put_le(out + 20, f->seq, 8);
}

void frame_write(struct buf *out, const struct frame *f)
{
    char header[FRAME_HEADER_BYTES];
    write_header(header, f);
    buf_append(out, header, sizeof header);
    buf_append(out, f->payload, f->length);
}

/* Checks the header at p; fills everything of *out but the payload pointer. */
static enum err_code read_header(const char *p, struct frame *out, struct err *e)
{
    uint32_t length = (uint32_t)get_le(p, 4);
    int version = (unsigned char)p[4], kind = (unsigned char)p[5];
    if (version != FRAME_VERSION)
        return err_set(e, ERR_CORRUPT, "frame version %d; this program speaks version %d", version, FRAME_VERSION);
    if (kind < FRAME_HELLO || kind > FRAME_TRUST)
        return err_set(e, ERR_CORRUPT, "frame kind %d does not exist", kind);
    if (length > FRAME_PAYLOAD_MAX)
        return err_set(e, ERR_CORRUPT, "frame of %u bytes; at most %d are allowed", length, FRAME_PAYLOAD_MAX);
    *out = (struct frame){
        .kind = (enum frame_kind)kind,
        .flags = (uint16_t)get_le(p + 6, 2),
        .id = get_le(p + 8, 8),
        .attempt = (uint32_t)get_le(p + 16, 4),
        .seq = get_le(p + 20, 8),
        .length = length,
    };
    return ERR_OK;
}

long frame_parse(const char *data, size_t n, struct frame *out, struct err *e)
{
    struct frame f;
    if (n < FRAME_HEADER_BYTES)
        return 0;
    if (read_header(data, &f, e))
        return -1;
    if (n - FRAME_HEADER_BYTES < f.length)
        return 0;
    f.payload = data + FRAME_HEADER_BYTES;
    *out = f;
    return (long)(FRAME_HEADER_BYTES + f.length);
}

/* ---- blocking helpers */

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * FRAME_FDS_MAX)];
};

struct received {
    int fds[FRAME_FDS_MAX];
    int count;
};

static void close_all(struct received *r)
{
    for (int i = 0; i < r->count; i++)
        close(r->fds[i]);
    r->count = 0;
}

/* Moves the descriptors of one message into r; those beyond FRAME_FDS_MAX for one frame are closed. */
static void take_fds(struct msghdr *m, struct received *r)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + (size_t)i * sizeof fd, sizeof fd);
            if (r->count < FRAME_FDS_MAX)
                r->fds[r->count++] = fd;
            else
                close(fd);
        }
    }
}

/* Exactly n bytes appended to in. Reading no further than the frame keeps a descriptor with its frame. */
static enum err_code recv_exactly(int socket, struct buf *in, size_t n, struct received *r, struct err *e)
{
    while (n) {
        char *p = buf_reserve(in, n);
        if (!p)
            return err_set(e, ERR_LIMIT, "the receive buffer holds no frame of this size");
        union control control;
        struct iovec v = { .iov_base = p, .iov_len = n };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes };
        ssize_t got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno != ECONNRESET)
            return err_errno(e, "cannot receive a frame");
        if (got <= 0)
            return in->len ? err_set(e, ERR_CORRUPT, "the other side closed the stream inside a frame")
                           : err_set(e, ERR_NOT_FOUND, "the other side closed the stream");
        take_fds(&m, r);
        if (m.msg_flags & MSG_CTRUNC)
            return err_set(e, ERR_CORRUPT, "more than %d descriptors came with one frame", FRAME_FDS_MAX);
        in->len += (size_t)got;
        in->data[in->len] = '\0';
        n -= (size_t)got;
    }
    return ERR_OK;
}

enum err_code frame_recv(int socket, struct buf *in, struct frame *out, int *fds, int *fd_count, struct err *e)
{
    struct received r = { .count = 0 };
    struct frame f;
    buf_clear(in);
    enum err_code c = recv_exactly(socket, in, FRAME_HEADER_BYTES, &r, e);
    if (!c)
        c = read_header(in->data, &f, e);
    if (!c)
        c = recv_exactly(socket, in, f.length, &r, e);
    if (c || !fds)
        close_all(&r);
    if (c)
        return c;
    f.payload = in->data + FRAME_HEADER_BYTES;
    if (fds) {
        memcpy(fds, r.fds, (size_t)r.count * sizeof *fds);
        *fd_count = r.count;
    }
    *out = f;
    return ERR_OK;
}

enum err_code frame_send(int socket, const struct frame *f, const int *fds, int fd_count, struct err *e)
{
    ASSERT(fd_count >= 0 && fd_count <= FRAME_FDS_MAX);
    char header[FRAME_HEADER_BYTES];
    write_header(header, f);
    struct iovec v[2] = {
        { .iov_base = header, .iov_len = sizeof header },
        { .iov_base = (void *)(uintptr_t)f->payload, .iov_len = f->length }, /* sendmsg only reads it */
    };
    union control control = { .bytes = { 0 } };
    struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
    if (fd_count) {
        size_t bytes = (size_t)fd_count * sizeof *fds;
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(c), fds, bytes);
    }
    while (v[0].iov_len + v[1].iov_len) {
        ssize_t sent = sendmsg(socket, &m, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return err_errno(e, "cannot send a frame");
        m.msg_control = NULL; /* the descriptors went with the first byte */
        m.msg_controllen = 0;
        for (int i = 0; i < 2; i++) {
            size_t n = (size_t)sent < v[i].iov_len ? (size_t)sent : v[i].iov_len;
            v[i].iov_base = (char *)v[i].iov_base + n;
            v[i].iov_len -= n;
            sent -= (ssize_t)n;
        }
    }
    return ERR_OK;
}
