/* leader -- see leader.h. */
#include "dist/leader.h"

#include "base/mem.h"
#include "dist/port.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct leader {
    int socket, block_fd;
    void (*lost)(void *arg, const char *why) __attribute__((noreturn));
    void *arg;
    struct parcel_limits limits;
    struct leader_pages pages;
    void *block;
};

static enum err_code wait_for_carrier(const struct leader_door *d, struct err *e)
{
    struct pollfd fds[] = { { .fd = d->listener, .events = POLLIN }, { .fd = d->life, .events = POLLIN },
                            { .fd = d->owner, .events = POLLRDHUP } };
    int n = poll(fds, MEM_COUNT(fds), d->wait_ms);
    if (n < 0)
        return err_errno(e, "cannot wait for the ranks");
    if (!n)
        return err_set(e, ERR_BUSY, "the ranks did not start within %d s; is every host of the hostfile reachable by "
                       "ssh, and this machine its first?", d->wait_ms / 1000);
    if (fds[2].revents)
        return err_set(e, ERR_NOT_FOUND, "the server is gone");
    if (!(fds[0].revents & POLLIN))
        return err_set(e, ERR_IO, "mpirun ended before the ranks were there; what it said is above");
    return ERR_OK;
}

/* Only a process of the same user is let in: others can read the socket's name. */
static bool is_own(int socket)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    return !getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &n) && peer.uid == geteuid();
}

enum err_code leader_accept(const struct leader_door *door, struct leader **out, struct err *e)
{
    int socket = -1, block = -1;
    enum err_code c = wait_for_carrier(door, e);
    if (!c && (socket = accept4(door->listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        c = err_errno(e, "the carrier cannot be let in");
    if (!c && !is_own(socket))
        c = err_set(e, ERR_DENIED, "a process of another user came instead of the carrier");
    if (!c)
        c = port_block_new(&block, e);
    if (c) {
        if (socket >= 0)
            close(socket);
        return c;
    }
    struct leader *r = *out = MEM_NEW(struct leader);
    *r = (struct leader){ .socket = socket, .block_fd = block, .lost = door->lost, .arg = door->arg };
    return ERR_OK;
}

void leader_free(struct leader *r)
{
    if (!r)
        return;
    port_block_unmap(r->block, r->limits.block_bytes);
    close(r->socket);
    close(r->block_fd);
    mem_free(r);
}

enum err_code leader_begin(struct leader *r, const struct dist_setup *s, struct err *e)
{
    return port_send(r->socket, NOTE_SETUP, s, sizeof *s, -1, e) ? err_prefix(e, "the ranks") : ERR_OK;
}

enum err_code leader_open(struct leader *r, const struct parcel_limits *limits, const struct leader_pages *pages,
                         struct err *e)
{
    struct dist_opening opening = { *limits };
    struct dist_report report;
    r->pages = *pages;
    enum err_code c = parcel_limits_set(&opening.limits, e);
    c = c ? c : port_block_size(r->block_fd, opening.limits.block_bytes, e);
    c = c ? c : port_block_map(r->block_fd, opening.limits.block_bytes, &r->block, e);
    if (c)
        return c;
    r->limits = opening.limits;
    c = port_send(r->socket, NOTE_OPENING, &opening, sizeof opening, r->block_fd, e);
    c = c ? c : port_receive(r->socket, NOTE_REPORT, &report, sizeof report, NULL, e);
    if (c)
        return err_prefix(e, "the ranks cannot start");
    report.text[sizeof report.text - 1] = '\0';
    return report.failed ? err_set(e, ERR_IO, "%s", report.text) : ERR_OK;
}

static void run(void *arg, const struct model_batch *b, float *x, size_t x_stride)
{
    struct leader *r = arg;
    struct err e = { 0 };
    struct parcel_source s = { b, x, x_stride, r->pages.first, r->pages.bytes };
    parcel_write(&s, &r->limits, r->block);
    enum err_code c = port_send(r->socket, NOTE_STEP, NULL, 0, -1, &e);
    c = c ? c : port_receive(r->socket, NOTE_DONE, NULL, 0, NULL, &e);
    if (c)
        r->lost(r->arg, e.text);
    if (b->logit_count + b->state_count)
        parcel_take_back(b, &r->limits, r->block, x, x_stride);
}

struct model_rest leader_rest(struct leader *r)
{
    return (struct model_rest){ run, r };
}

void leader_check(struct leader *r)
{
    if (port_stirs(r->socket))
        r->lost(r->arg, "between two steps");
}
