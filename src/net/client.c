/* client -- see client.h. */
#include "net/client.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { CONNECT_MS = 10 * 1000, REPLY_MAX = 64 << 20, REDIRECTS_MAX = 10, URL_MAX = 8192 };

struct http_client {
    CURL *curl;
};

struct transfer {
    CURL *curl;
    const struct http_client_request *request;
    struct http_client_reply *reply;
    bool stopped, too_large;
};

static pthread_once_t once = PTHREAD_ONCE_INIT; /* libcurl wants one global start before any thread uses it */
static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct http_client *http_client_new(void)
{
    pthread_once(&once, start_curl);
    struct http_client *c = MEM_NEW(struct http_client);
    c->curl = curl_easy_init();
    ASSERT(c->curl);
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    mem_free(c);
}

static size_t take_data(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t n = size * count;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    t->reply->status = (int)status; /* on_data may look */
    if (!t->reply->first_byte_ns)
        t->reply->first_byte_ns = clock_mono_ns();
    if (t->request->on_data && status >= 200 && status < 300) {
        t->stopped = !t->request->on_data(t->request->arg, data, n);
        return t->stopped ? 0 : n;
    }
    t->too_large = !buf_append(&t->reply->body, data, n);
    return t->too_large ? 0 : n;
}

/* A line with its CRLF. Those of an answer that was redirected, or of 1xx, do not stay. */
static size_t take_field(char *line, size_t size, size_t count, void *arg)
{
    struct buf *fields = arg;
    size_t n = size * count, end = n;
    while (end && (line[end - 1] == '\r' || line[end - 1] == '\n'))
        end--;
    if (end >= 5 && !memcmp(line, "HTTP/", 5)) {
        buf_clear(fields);
    } else if (end && fields->len + end < HTTP_CLIENT_FIELDS_BYTES_MAX) {
        buf_append(fields, line, end);
        buf_putc(fields, '\n');
    }
    return n;
}

static struct curl_slist *make_headers(const struct http_client_request *r)
{
    struct curl_slist *list = NULL;
    bool type = false;
    for (int i = 0; i < HTTP_CLIENT_HEADERS_MAX && r->headers[i]; i++) {
        type = type || !strncasecmp(r->headers[i], "content-type:", 13);
        list = curl_slist_append(list, r->headers[i]);
    }
    if (r->body && !type)
        list = curl_slist_append(list, "Content-Type: application/json");
    return curl_slist_append(list, "Expect:"); /* we know that our bodies are wanted */
}

static void set_options(CURL *h, struct transfer *t, const struct http_client_request *r)
{
    curl_easy_setopt(h, CURLOPT_URL, r->url);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "tokenworks/" TW_VERSION);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)(r->connect_ms ? r->connect_ms : CONNECT_MS));
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)r->total_ms);
    if (r->stall_ms) {
        curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)((r->stall_ms + 999) / 1000));
    }
    if (r->follow) {
        bool secure = !strncasecmp(r->url, "https:", 6);
        curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(h, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
        curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    }
    if (r->ca_file)
        curl_easy_setopt(h, CURLOPT_CAINFO, r->ca_file);
    if (r->bearer) {
        curl_easy_setopt(h, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(h, CURLOPT_XOAUTH2_BEARER, r->bearer);
    }
    if (r->body) {
        curl_easy_setopt(h, CURLOPT_POST, 1L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, r->body);
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
    }
    if (r->method && !strcmp(r->method, "HEAD"))
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    else if (r->method)
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, r->method);
    if (r->fields) {
        curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, take_field);
        curl_easy_setopt(h, CURLOPT_HEADERDATA, r->fields);
    }
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_data);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
}

static void read_reply(CURL *h, struct http_client_reply *reply)
{
    long status = 0;
    const char *type = NULL;
    curl_off_t length = -1, retry = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(h, CURLINFO_CONTENT_TYPE, &type);
    curl_easy_getinfo(h, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &retry);
    reply->status = (int)status;
    reply->length = length;
    reply->retry_after_s = retry;
    snprintf(reply->content_type, sizeof reply->content_type, "%s", type ? type : "");
}

enum err_code http_client_run(struct http_client *c, const struct http_client_request *r,
                              struct http_client_reply *reply, struct err *e)
{
    struct transfer t = { .curl = c->curl, .request = r, .reply = reply };
    char why[CURL_ERROR_SIZE] = "";
    *reply = (struct http_client_reply){ .length = -1 };
    reply->body.max = r->reply_max ? r->reply_max : REPLY_MAX;
    if (r->on_data)
        reply->body.max = HTTP_CLIENT_ERROR_BODY_MAX;
    if (strlen(r->url) > URL_MAX)
        return err_set(e, ERR_INVALID, "the URL is longer than %d bytes", URL_MAX);
    curl_easy_reset(c->curl); /* keeps the connection */
    struct curl_slist *headers = make_headers(r);
    set_options(c->curl, &t, r);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
    read_reply(c->curl, reply);
    curl_slist_free_all(headers);
    if (t.stopped)
        return err_set(e, ERR_BUSY, "%s: stopped", r->url);
    if (t.too_large)
        return err_set(e, ERR_LIMIT, "%s: the reply is larger than %zu bytes", r->url, reply->body.max);
    if (code)
        return err_set(e, ERR_IO, "%s: %s", r->url, why[0] ? why : curl_easy_strerror(code));
    return ERR_OK;
}

void http_client_reply_release(struct http_client_reply *reply)
{
    buf_release(&reply->body);
}
