/* multi -- see multi.h. libcurl's multi interface: connections are kept and used again. */
#include "net/multi.h"

#include "base/assert.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 10000 };

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

enum err_code multi_new(const struct multi_options *o, struct multi **out, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
    struct multi *c = MEM_NEW(struct multi);
    c->curl = curl_multi_init();
    if (!c->curl) {
        mem_free(c);
        return err_set(e, ERR_IO, "cannot start libcurl");
    }
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
    curl_multi_cleanup(c->curl);
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

void multi_poll(struct multi *c, int64_t wait_ms)
{
    int running = 0, left = 0;
    CURLMsg *msg;
    curl_multi_perform(c->curl, &running);
    if (wait_ms > 0) {
        curl_multi_poll(c->curl, NULL, 0, wait_ms > 60000 ? 60000 : (int)wait_ms, NULL);
        curl_multi_perform(c->curl, &running);
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
