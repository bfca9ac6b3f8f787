/* message -- see message.h. */
#include "keeper/message.h"

#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static enum err_code send_all(int fd, const void *data, size_t n, struct err *e)
{
    const char *p = data;
    while (n) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return errno == EPIPE ? err_set(e, ERR_NOT_FOUND, "the keeper's socket is closed")
                                  : err_errno(e, "the keeper's socket");
        p += w;
        n -= (size_t)w;
    }
    return ERR_OK;
}

static enum err_code read_all(int fd, void *data, size_t n, struct err *e)
{
    char *p = data;
    while (n) {
        ssize_t r = read(fd, p, n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return err_errno(e, "the keeper's socket");
        if (r == 0)
            return err_set(e, ERR_NOT_FOUND, "the keeper's socket is closed");
        p += r;
        n -= (size_t)r;
    }
    return ERR_OK;
}

enum err_code keeper_send(int fd, const struct keeper_message *m, struct err *e)
{
    const size_t n = m->payload.len;
    const uint8_t head[KEEPER_HEADER_BYTES] = { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24),
                                                m->kind, m->status };
    if (n > KEEPER_PAYLOAD_MAX)
        return err_set(e, ERR_LIMIT, "a message to the keeper has at most %d bytes", KEEPER_PAYLOAD_MAX);
    enum err_code c = send_all(fd, head, sizeof head, e);
    return c ? c : send_all(fd, buf_str(&m->payload), n, e);
}

enum err_code keeper_receive(int fd, struct keeper_message *m, struct err *e)
{
    uint8_t head[KEEPER_HEADER_BYTES];
    enum err_code c = read_all(fd, head, sizeof head, e);
    if (c)
        return c;
    size_t n = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (n > KEEPER_PAYLOAD_MAX || head[6] || head[7])
        return err_set(e, ERR_CORRUPT, "a malformed message on the keeper's socket");
    buf_clear(&m->payload);
    char *room = buf_reserve(&m->payload, n);
    if (!room)
        return err_set(e, ERR_LIMIT, "no room for the message");
    m->kind = head[4];
    m->status = head[5];
    c = read_all(fd, room, n, e);
    if (!c) {
        m->payload.len = n;
        m->payload.data[n] = '\0';
    }
    return c;
}
