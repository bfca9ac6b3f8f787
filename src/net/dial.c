/* dial -- see dial.h. I1: `lock` guards all that both threads touch; who comes last frees it. */
#include "net/dial.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct dial {
    pthread_mutex_t lock;
    bool done, cancelled;
    int bell;              /* eventfd: rings when done */
    /* the thread's, until done */
    char *host, *port;
    int timeout_ms, fd;
    char why[ERR_TEXT_MAX];
    /* the loop's */
    struct loop_watch *watch;
    dial_fn fn;
    void *arg;
};

static void dial_free(struct dial *d)
{
    if (d->fd >= 0)
        close(d->fd);
    close(d->bell);
    mem_free(d->host);
    mem_free(d->port);
    pthread_mutex_destroy(&d->lock);
    mem_free(d);
}

/* The socket, connected; or -1 with errno. */
static int connect_to(const struct addrinfo *a, int timeout_ms)
{
    int on = 1, failed = 0;
    socklen_t n = sizeof failed;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!connect(fd, a->ai_addr, a->ai_addrlen))
        return fd;
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    if (errno != EINPROGRESS)
        failed = errno;
    else if (poll(&p, 1, timeout_ms) != 1)
        failed = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &n);
    if (!failed)
        return fd;
    close(fd);
    errno = failed;
    return -1;
}

static void *run(void *arg)
{
    struct dial *d = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV }, *found = NULL;
    int rc = getaddrinfo(d->host, d->port, &hints, &found), fd = -1;
    if (rc)
        snprintf(d->why, sizeof d->why, "%s", gai_strerror(rc));
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = connect_to(a, d->timeout_ms);
        if (fd < 0)
            snprintf(d->why, sizeof d->why, "%s", strerror(errno));
    }
    if (found)
        freeaddrinfo(found);
    pthread_mutex_lock(&d->lock);
    d->fd = fd;
    d->done = true;
    bool last = d->cancelled;
    uint64_t one = 1;
    ssize_t n = last ? 0 : write(d->bell, &one, sizeof one);
    (void)n;
    pthread_mutex_unlock(&d->lock);
    if (last)
        dial_free(d);
    return NULL;
}

static void answered(void *arg)
{
    struct dial *d = arg;
    pthread_mutex_lock(&d->lock); /* the thread has let go of it */
    int fd = d->fd;
    d->fd = -1;
    pthread_mutex_unlock(&d->lock);
    loop_watch_free(d->watch);
    d->fn(d->arg, fd, d->why);
    dial_free(d);
}

struct dial *dial_start(struct loop *l, const char *host, const char *port, int timeout_ms, dial_fn fn, void *arg)
{
    pthread_t thread;
    struct dial *d = MEM_NEW(struct dial);
    *d = (struct dial){ .bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .host = mem_strdup(host), .fd = -1,
                        .port = mem_strdup(port), .timeout_ms = timeout_ms, .fn = fn, .arg = arg };
    pthread_mutex_init(&d->lock, NULL);
    if (d->bell < 0 || pthread_create(&thread, NULL, run, d)) {
        dial_free(d);
        return NULL;
    }
    pthread_detach(thread);
    d->watch = loop_watch_new(l, d->bell, answered, d);
    return d;
}

void dial_cancel(struct dial *d)
{
    if (!d)
        return;
    loop_watch_free(d->watch);
    pthread_mutex_lock(&d->lock);
    bool last = d->done;
    d->cancelled = true;
    pthread_mutex_unlock(&d->lock);
    if (last)
        dial_free(d);
}
