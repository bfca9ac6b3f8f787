/* client -- HTTP requests to other servers, blocking, with the reply streamed as it arrives. The door to libcurl.
 *
 * A client keeps its connection between requests. One thread uses it at a time; make one per thread. */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_CLIENT_ERROR_BODY_MAX = 64 * 1024, HTTP_CLIENT_HEADERS_MAX = 16,
       HTTP_CLIENT_FIELDS_BYTES_MAX = 64 * 1024 };

struct http_client;
struct http_client *http_client_new(void);
void http_client_free(struct http_client *c);

struct http_client_request {
    const char *method;          /* NULL: POST with a body, else GET */
    const char *url;             /* http or https */
    const char *headers[HTTP_CLIENT_HEADERS_MAX]; /* "Name: value"; NULL ends the list */
    const char *bearer;          /* API key, or NULL; not sent on to another host by a redirect */
    const void *body;            /* sent as application/json unless headers say otherwise; NULL: none */
    size_t body_len;
    int64_t connect_ms;          /* 0: 10 s */
    int64_t stall_ms;            /* without a byte for so long is an error; 0: never */
    int64_t total_ms;            /* 0: no limit */
    bool follow;                 /* redirects, up to ten, never from https to http */
    const char *ca_file;         /* PEM; NULL: the system's */
    size_t reply_max;            /* of a reply that is collected; 0: 64 MiB */
    /* 2xx bodies go here as they come instead of into reply->body; false ends the transfer (ERR_BUSY). */
    bool (*on_data)(void *arg, const char *data, size_t n);
    void *arg;
    struct buf *fields;          /* gets the reply's header lines, "Name: value" LF, before its body; may be NULL */
};

struct http_client_reply {
    int status;                  /* 0: none came */
    char content_type[128];
    int64_t length;              /* of the body as announced; -1: not */
    int64_t retry_after_s;       /* 0: not given */
    int64_t first_byte_ns;       /* clock_mono_ns of the body's first byte; 0: none */
    struct buf body;             /* release it */
};

/* ERR_OK: a whole reply came, whatever its status. ERR_IO: no connection, broken off, too slow. ERR_LIMIT:
 * larger than reply_max. *reply is filled as far as it got, always. */
enum err_code http_client_run(struct http_client *c, const struct http_client_request *r,
                              struct http_client_reply *reply, struct err *e);
void http_client_reply_release(struct http_client_reply *reply);
#endif
