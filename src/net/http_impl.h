/* http_impl -- what http_server.c, http_conn.c and http_reply.c share. Nobody else includes this. */
#ifndef NET_HTTP_IMPL_H
#define NET_HTTP_IMPL_H
#include "net/http_server.h"

struct bufferevent;

enum conn_state { CONN_HEAD, CONN_BODY, CONN_HANDLING, CONN_FLUSH, CONN_LINGER };

struct http_exchange { /* which is the connection: it carries one exchange at a time */
    struct http_server *server;
    struct http_exchange *prev, *next;
    struct bufferevent *bev;
    struct loop_timer *timer, *flush;
    enum conn_state state;
    char peer[64];
    bool secure;
    bool advancing, again; /* conn_advance is running; was asked for once more */
    bool doomed;           /* to be freed when conn_advance has returned */

    /* the request */
    size_t scanned;        /* of the input, while the head is incomplete */
    bool any_byte;         /* of the head was seen: head_ms counts */
    struct buf head_bytes; /* what head's slices point into */
    struct http_head head;
    struct http_chunks chunks;
    struct buf body;
    size_t body_counted;   /* our part of server->counts.bodies_bytes */
    int64_t started_ns, body_started_ns, body_received;
    int64_t lingered;

    /* the reply */
    struct buf out;        /* written in this turn of the loop: all of it goes to the socket at its end */
    bool open;             /* handler->head was called and the exchange is not over */
    bool started, body_unread, chunked_reply, head_only, last;
    void *user;
};

struct http_server {
    struct loop *loop;
    struct http_server_options options;
    struct http_handler handler;
    void *arg;
    struct evconnlistener *listener;
    struct loop_timer *listen_again; /* after running out of descriptors */
    int port;
    bool draining;
    struct http_exchange *first;
    struct http_server_counts counts;
    int64_t date_s;        /* what date was made of */
    char date[64];
};

struct http_exchange *conn_new(struct http_server *s, int fd, const char *peer);
void conn_turn_away(struct http_server *s, int fd); /* one too many: 503, whatever it asks */
void conn_free(struct http_exchange *x);          /* without telling anybody */
void conn_abort(struct http_exchange *x);         /* tells `gone` if an exchange is open, then frees */
void conn_advance(struct http_exchange *x);       /* takes the next step the input allows; may free x */
void conn_reply_over(struct http_exchange *x);    /* the reply is written: on to the next request, or close */
void conn_count_body(struct http_exchange *x);    /* brings bodies_bytes up to date */
struct buf *conn_out(struct http_exchange *x);    /* to append to; goes out at the end of the loop's turn */
#endif
