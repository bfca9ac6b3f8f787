/* http_server -- HTTP/1.1 for programs that stream: one request at a time per connection, hang-up seen at once.
 *
 * Stands on libevent's bufferevents with the strict parser of http_parse, not on evhttp: evhttp 2.1 tells
 * nothing of a client's hang-up while a response waits for its next piece, nor how much of the response the
 * client has not taken yet, and its parser takes lines that end with a bare LF.
 *
 * A connection is in one state:
 *
 *   HEAD --whole head--> BODY --whole body--> HANDLING --http_reply_end--> HEAD    (keep-alive)
 *     |                    |                      |                  `---> FLUSH   (Connection: close)
 *     `------ refused: error reply -------------> LINGER (reads what still comes, so the reply survives) --> closed
 *
 * A second request sent before the first one's reply ended waits in the input buffer and is served in its turn;
 * more than HTTP_PIPELINE_MAX waiting bytes close the connection. A client that closes its sending side while a
 * reply is under way is taken to be gone. Everything here belongs to the loop's thread. */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H
#include "net/http_parse.h"
#include "net/loop.h"

struct tls;
struct http_server;
struct http_exchange; /* one request and its reply; valid from `head` until http_reply_end, http_reply_cut or `gone` */

enum { HTTP_PIPELINE_MAX = 64 * 1024, HTTP_LINGER_BYTES_MAX = 4 << 20 };

struct http_server_options {
    const char *address;      /* "127.0.0.1", "::1", "localhost" */
    int port;                 /* 0: any free one, see http_server_port */
    size_t body_max;          /* one request's body */
    size_t bodies_max;        /* the bodies of all requests being read or handled; beyond it 503 */
    int connections_max;      /* beyond it 503 at once */
    int64_t head_ms;          /* from the first byte of a head to its last */
    int64_t idle_ms;          /* between requests */
    int64_t body_ms;          /* for a body, and a second more for every HTTP_BODY_BYTES_PER_S received */
    int64_t write_ms;         /* without any byte taken by a client we have bytes for */
    struct tls *tls;          /* borrowed; NULL: plain HTTP */
};
enum { HTTP_BODY_BYTES_PER_S = 16 * 1024 };
extern const struct http_server_options http_server_defaults;

struct http_handler {
    /* A head was read. Replying here refuses the request before its body is read. */
    void (*head)(struct http_exchange *x, void *arg);
    /* Its body is there too. Reply now or later. */
    void (*request)(struct http_exchange *x, void *arg);
    /* The unsent part of the reply shrank below HTTP_DRAINED_BYTES (may come more often than that). */
    void (*drained)(struct http_exchange *x, void *arg);
    /* The client left before the reply's end; x ends with this call. */
    void (*gone)(struct http_exchange *x, void *arg);
    /* The body (JSON) of an error the server itself replies with: malformed, too large, too slow. x: NULL when it has
     * no head yet. */
    void (*error_body)(const struct http_exchange *x, int status, const char *sentence, struct buf *out, void *arg);
};
enum { HTTP_DRAINED_BYTES = 64 * 1024 };

struct http_server *http_server_new(struct loop *l, const struct http_server_options *o, const struct http_handler *h,
                                    void *arg, struct err *e);
void http_server_free(struct http_server *s);      /* closes every connection; `gone` is called for open exchanges */
int http_server_port(const struct http_server *s);
void http_server_drain(struct http_server *s);     /* closes idle connections, and each other one with its next reply */

int http_server_busy(const struct http_server *s); /* connections with a request or an unsent reply */

struct http_server_counts {
    int64_t connections, accepted, refused, bytes_in, bytes_out, bad_requests;
    size_t bodies_bytes;
};
const struct http_server_counts *http_server_counts(const struct http_server *s);

/* ---- the request */
const struct http_head *http_request_head(const struct http_exchange *x);
struct http_slice http_request_body(const struct http_exchange *x);   /* in `request` and until the reply's end */
/* In `head`: a reply that refuses the request follows later; its body is not read, and `request` never comes. Later:
 * nothing. */
void http_request_hold(struct http_exchange *x);
void http_request_forget_body(struct http_exchange *x);               /* frees it before that */
const char *http_request_peer(const struct http_exchange *x);         /* "127.0.0.1" */
int64_t http_request_started_ns(const struct http_exchange *x);       /* clock_mono_ns when its head was whole */
void http_exchange_set_user(struct http_exchange *x, void *user);
void *http_exchange_user(const struct http_exchange *x);

/* ---- the reply */
struct http_reply {
    int status;
    const char *content_type;  /* NULL: none */
    const char *headers;       /* further lines written by http_field_write, or NULL */
    int64_t length;            /* of the body; -1: not known, the body is sent chunked */
    bool close;                /* the connection's last reply */
};
void http_reply_begin(struct http_exchange *x, const struct http_reply *r);
void http_reply_data(struct http_exchange *x, const void *data, size_t n); /* copied; dropped for HEAD */
void http_reply_end(struct http_exchange *x);
void http_reply_cut(struct http_exchange *x);  /* closes without an end: the client sees a broken reply */
void http_reply_whole(struct http_exchange *x, const struct http_reply *r, const void *data, size_t n);
size_t http_reply_pending(const struct http_exchange *x); /* bytes the client has not taken yet */
bool http_reply_started(const struct http_exchange *x);
#endif
