/* multi -- see multi.h. libcurl's multi interface, connections kept and used again.
 *
 * Driven by epoll and curl_multi_socket_action: curl_multi_perform visits every open call at each turn, which at a
 * thousand calls took 3 ms and was the larger part of what a load run measured. */
#include "net/multi.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { CONNECT_MS = 10000, EVENTS_AT_ONCE = 256, WAIT_MS_MAX = 60000 };

struct multi_call {
    struct multi *multi;
    struct multi_call *prev, *next;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    char why[CURL_ERROR_SIZE];
    struct multi_request request; /* callbacks and arg only */
};

struct multi {
    CURLM *curl;
    int epoll;
    int64_t timer_at_ns; /* when libcurl wants to be called next; -1: no wish */
    char *ca_file;
    char no_proxy[1024];
    int64_t connect_ms;
    int active;
    struct multi_call *calls; /* all open ones */
};

static void init_once(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* libcurl tells which socket it waits for, and for what. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    (void)easy;
    struct multi *c = arg;
    struct epoll_event ev = { .data.fd = fd };
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, fd, &ev);
        return 0;
    }
    ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(c->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) && errno == EEXIST)
        epoll_ctl(c->epoll, EPOLL_CTL_MOD, fd, &ev);
    curl_multi_assign(c->curl, fd, c);
    return 0;
}

static int on_timer(CURLM *curl, long ms, void *arg)
{
    (void)curl;
    struct multi *c = arg;
    c->timer_at_ns = ms < 0 ? -1 : clock_mono_ns() + ms * 1000000;
    return 0;
}

enum err_code multi_new(const struct multi_options *o, struct multi **out, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
    struct multi *c = MEM_NEW(struct multi);
    c->curl = curl_multi_init();
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->timer_at_ns = -1;
    if (!c->curl || c->epoll < 0) {
        multi_free(c);
        return err_set(e, ERR_IO, "cannot start libcurl");
    }
    curl_multi_setopt(c->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->curl, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->curl, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(c->curl, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->curl, CURLMOPT_MAXCONNECTS, (long)MULTI_CALLS_MAX);
    curl_multi_setopt(c->curl, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    const char *env = getenv("no_proxy");
    env = env ? env : getenv("NO_PROXY");
    snprintf(c->no_proxy, sizeof(c->no_proxy), "localhost,127.0.0.1,::1%s%s", env ? "," : "", env ? env : "");
    c->ca_file = o && o->ca_file ? mem_strdup(o->ca_file) : NULL;
    c->connect_ms = o && o->connect_ms ? o->connect_ms : CONNECT_MS;
    *out = c;
    return ERR_OK;
}

static void call_free(struct multi_call *k)
{
    struct multi *c = k->multi;
    curl_multi_remove_handle(c->curl, k->easy);
    curl_easy_cleanup(k->easy);
    curl_slist_free_all(k->headers);
    mem_free(k->body);
    if (k->prev)
        k->prev->next = k->next;
    else
        c->calls = k->next;
    if (k->next)
        k->next->prev = k->prev;
    c->active--;
    mem_free(k);
}

void multi_free(struct multi *c)
{
    if (!c)
        return;
    while (c->calls)
        call_free(c->calls);
    if (c->curl)
        curl_multi_cleanup(c->curl);
    if (c->epoll >= 0)
        close(c->epoll);
    mem_free(c->ca_file);
    mem_free(c);
}

static size_t on_data(char *bytes, size_t size, size_t n, void *arg)
{
    struct multi_call *k = arg;
    size_t len = size * n;
    if (k->request.data && !k->request.data(k, bytes, len, k->request.arg))
        return len ? 0 : 1; /* any other count than len aborts */
    return len;
}

static void set_options(struct multi_call *k, const struct multi_request *r)
{
    CURL *h = k->easy;
    curl_easy_setopt(h, CURLOPT_URL, r->url);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(h, CURLOPT_NOPROXY, k->multi->no_proxy);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)k->multi->connect_ms);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)r->total_ms);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, k->why);
    curl_easy_setopt(h, CURLOPT_PRIVATE, k);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, k);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, k->headers);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "tokenworks/" TW_VERSION);
    if (k->multi->ca_file)
        curl_easy_setopt(h, CURLOPT_CAINFO, k->multi->ca_file);
    if (k->body) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, k->body);
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, r->method);
}

enum err_code multi_start(struct multi *c, const struct multi_request *r, struct err *e)
{
    if (c->active >= MULTI_CALLS_MAX)
        return err_set(e, ERR_BUSY, "more than %d requests at once", MULTI_CALLS_MAX);
    struct multi_call *k = MEM_NEW(struct multi_call);
    k->multi = c;
    k->easy = curl_easy_init();
    ASSERT(k->easy); /* no memory */
    k->request = (struct multi_request){ .data = r->data, .done = r->done, .arg = r->arg };
    if (r->body)
        k->body = mem_strndup(r->body, r->body_len);
    for (int i = 0; i < MULTI_HEADERS_MAX && r->headers[i]; i++)
        k->headers = curl_slist_append(k->headers, r->headers[i]);
    k->headers = curl_slist_append(k->headers, "Expect:"); /* no waiting for 100 Continue */
    set_options(k, r);
    k->next = c->calls;
    if (c->calls)
        c->calls->prev = k;
    c->calls = k;
    c->active++;
    CURLMcode m = curl_multi_add_handle(c->curl, k->easy);
    if (m) {
        call_free(k);
        return err_set(e, ERR_IO, "cannot start the request: %s", curl_multi_strerror(m));
    }
    return ERR_OK;
}

int multi_active(const struct multi *c)
{
    return c->active;
}

int multi_status(const struct multi_call *c)
{
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

static void finish(struct multi_call *k, CURLcode code)
{
    curl_off_t retry = 0;
    curl_easy_getinfo(k->easy, CURLINFO_RETRY_AFTER, &retry);
    struct multi_result r = {
        .status = multi_status(k), .whole = code == CURLE_OK, .retry_after_s = (int64_t)retry,
        .error = code == CURLE_OK ? NULL : k->why[0] ? k->why : curl_easy_strerror(code),
    };
    if (k->request.done)
        k->request.done(k, &r, k->request.arg);
    call_free(k);
}

void multi_abort(struct multi *c)
{
    while (c->calls)
        finish(c->calls, CURLE_ABORTED_BY_CALLBACK);
}

bool multi_forget(struct multi *c, const void *arg)
{
    for (struct multi_call *k = c->calls; k; k = k->next)
        if (k->request.arg == arg) {
            call_free(k);
            return true;
        }
    return false;
}

int multi_fd(const struct multi *c)
{
    return c->epoll;
}

int64_t multi_due_ms(const struct multi *c)
{
    int64_t left = c->timer_at_ns < 0 ? -1 : (c->timer_at_ns - clock_mono_ns() + 999999) / 1000000;
    return c->timer_at_ns >= 0 && left < 0 ? 0 : left;
}

/* How long epoll may sleep: what the caller allows, and no longer than libcurl wants. */
static int sleep_ms(const struct multi *c, int64_t wait_ms)
{
    int64_t ms = wait_ms > WAIT_MS_MAX ? WAIT_MS_MAX : wait_ms;
    if (c->timer_at_ns >= 0) {
        int64_t left = (c->timer_at_ns - clock_mono_ns() + 999999) / 1000000;
        ms = left < ms ? left : ms;
    }
    return ms < 0 ? 0 : (int)ms;
}

void multi_poll(struct multi *c, int64_t wait_ms)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int running = 0, left = 0;
    CURLMsg *msg;
    int n = epoll_wait(c->epoll, events, EVENTS_AT_ONCE, sleep_ms(c, wait_ms));
    for (int i = 0; i < n; i++) {
        uint32_t got = events[i].events;
        int what = (got & EPOLLIN ? CURL_CSELECT_IN : 0) | (got & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (got & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(c->curl, events[i].data.fd, what, &running);
    }
    if (c->timer_at_ns >= 0 && c->timer_at_ns <= clock_mono_ns()) {
        c->timer_at_ns = -1; /* before the call: it may set a new one */
        curl_multi_socket_action(c->curl, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    while ((msg = curl_multi_info_read(c->curl, &left))) {
        struct multi_call *k = NULL;
        if (msg->msg != CURLMSG_DONE)
            continue;
        CURLcode code = msg->data.result; /* msg is gone once the handle is */
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&k);
        finish(k, code);
    }
}
