/* multi -- many HTTP requests at once, each with its callbacks, on the caller's thread. For one at a time: client.
 *
 * With client.c the door to libcurl. One struct multi belongs to one thread; multi_poll runs all callbacks. HTTP
 * and HTTPS only, no redirects followed; servers are verified against the system's certificates. Loopback
 * addresses are always reached directly, others through the proxy the environment names. */
#ifndef NET_MULTI_H
#define NET_MULTI_H
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct multi;
struct multi_call;

enum { MULTI_CALLS_MAX = 4096, MULTI_HEADERS_MAX = 16 };

struct multi_options {
    const char *ca_file; /* PEM, instead of the system's certificates; NULL */
    int64_t connect_ms;  /* 0: 10 s */
};

struct multi_result {
    int status;              /* HTTP status; 0 when none came */
    bool whole;              /* the response ended as its framing says */
    const char *error;       /* what went wrong with the connection; NULL: nothing */
    int64_t retry_after_s;   /* from a 429 or 503; 0: none */
};

struct multi_request {
    const char *method, *url;
    const char *headers[MULTI_HEADERS_MAX]; /* "Name: value", up to NULL; copied */
    const void *body;                        /* copied; NULL: none */
    size_t body_len;
    int64_t total_ms;                        /* the whole exchange; 0: unlimited */
    /* Response bytes as they come, of any status. false ends the exchange: done follows with whole == false. */
    bool (*data)(struct multi_call *c, const char *bytes, size_t n, void *arg);
    /* The end, once for each started call; c is gone when it returns. */
    void (*done)(struct multi_call *c, const struct multi_result *r, void *arg);
    void *arg;
};

enum err_code multi_new(const struct multi_options *o, struct multi **out, struct err *e);
void multi_free(struct multi *c); /* open calls end without their done */

/* Queues the exchange; bytes go out in multi_poll. More than MULTI_CALLS_MAX at once is ERR_BUSY. */
enum err_code multi_start(struct multi *c, const struct multi_request *r, struct err *e);
/* Ends every open call now: done follows with an error. */
void multi_abort(struct multi *c);
/* Ends the open call with this arg now, without its done; false: there is none. Not from within a callback. */
bool multi_forget(struct multi *c, const void *arg);
int multi_active(const struct multi *c);
int multi_status(const struct multi_call *c); /* within data: the response's status */
/* Moves everything that can move; waits at most wait_ms for something to. */
void multi_poll(struct multi *c, int64_t wait_ms);
/* For a loop that waits itself: multi_poll(c, 0) is due when this descriptor is readable, or after so many ms
 * (-1: no hurry). */
int multi_fd(const struct multi *c);
int64_t multi_due_ms(const struct multi *c);
#endif
