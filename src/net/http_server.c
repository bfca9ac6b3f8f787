/* http_server -- see http_server.h. The listener; connections are in http_conn.c, replies in http_reply.c. */
#include "net/http_server.h"

#include "base/mem.h"
#include "net/http_impl.h"

#include <errno.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 512,
    LISTEN_PAUSE_MS = 200,
    TURNED_AWAY_MAX = 256, /* connections beyond the limit that are still told so */
};

const struct http_server_options http_server_defaults = {
    .address = "127.0.0.1", .port = 8080, .body_max = 32 << 20, .bodies_max = (size_t)1 << 30,
    .connections_max = 4096, .head_ms = 10 * 1000, .idle_ms = 75 * 1000, .body_ms = 30 * 1000, .write_ms = 60 * 1000,
};

static void accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int addr_n, void *arg)
{
    struct http_server *s = arg;
    char peer[64] = "";
    getnameinfo(addr, (socklen_t)addr_n, peer, sizeof peer, NULL, 0, NI_NUMERICHOST);
    s->counts.accepted++;
    if (s->counts.connections >= s->options.connections_max) {
        s->counts.refused++;
        if (s->counts.connections >= s->options.connections_max + TURNED_AWAY_MAX || s->options.tls)
            close(fd);
        else
            conn_turn_away(s, fd);
        return;
    }
    conn_new(s, fd, peer);
}

/* Out of descriptors: the listener would wake us without end. */
static void accept_failed(struct evconnlistener *l, void *arg)
{
    struct http_server *s = arg;
    evconnlistener_disable(l);
    loop_timer_set(s->listen_again, LISTEN_PAUSE_MS);
}

static void listen_again(void *arg)
{
    struct http_server *s = arg;
    evconnlistener_enable(s->listener);
}

static int bound_port(evutil_socket_t fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n))
        return 0;
    if (a.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

static enum err_code listen_on(struct http_server *s, struct err *e)
{
    const struct http_server_options *o = &s->options;
    struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found = NULL;
    char port[16];
    snprintf(port, sizeof port, "%d", o->port);
    int rc = getaddrinfo(o->address, port, &hints, &found);
    if (rc)
        return err_set(e, ERR_INVALID, "cannot listen on %s: %s; give ADDR:PORT, like 127.0.0.1:8080", o->address,
                       gai_strerror(rc));
    s->listener = evconnlistener_new_bind(loop_base(s->loop), accepted, s,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, BACKLOG,
                                          found->ai_addr, (int)found->ai_addrlen);
    int why = errno;
    freeaddrinfo(found);
    errno = why;
    if (!s->listener)
        return errno == EADDRINUSE ? err_set(e, ERR_BUSY, "cannot listen on %s port %d: another program has it; name "
                                             "another with --listen", o->address, o->port) :
                                     err_errno(e, "cannot listen on %s port %d", o->address, o->port);
    evconnlistener_set_error_cb(s->listener, accept_failed);
    s->port = bound_port(evconnlistener_get_fd(s->listener));
    return ERR_OK;
}

struct http_server *http_server_new(struct loop *l, const struct http_server_options *o, const struct http_handler *h,
                                    void *arg, struct err *e)
{
    struct http_server *s = MEM_NEW(struct http_server);
    *s = (struct http_server){ .loop = l, .options = *o, .handler = *h, .arg = arg };
    s->listen_again = loop_timer_new(l, listen_again, s);
    if (listen_on(s, e)) {
        http_server_free(s);
        return NULL;
    }
    return s;
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    if (s->listener)
        evconnlistener_free(s->listener);
    while (s->first)
        conn_abort(s->first);
    loop_timer_free(s->listen_again);
    mem_free(s);
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_drain(struct http_server *s)
{
    s->draining = true;
    for (struct http_exchange *x = s->first, *next; x; x = next) {
        next = x->next;
        if (x->state == CONN_HEAD && !x->any_byte && !http_reply_pending(x))
            conn_free(x);
    }
}

int http_server_busy(const struct http_server *s)
{
    int busy = 0;
    for (const struct http_exchange *x = s->first; x; x = x->next)
        busy += x->state != CONN_HEAD || x->any_byte || http_reply_pending(x);
    return busy;
}

const struct http_server_counts *http_server_counts(const struct http_server *s)
{
    return &s->counts;
}
