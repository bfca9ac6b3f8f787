/* telemetry -- see telemetry.h. */
#include "front/telemetry.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/queue.h"
#include "base/rng.h"
#include "net/client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SEND_MS = 5000, CLOSE_SEND_MS = 1000, GATHER_MS = 1000, HEADERS_MAX = 8, HEADER_MAX = 1024 };

struct telemetry {
    struct queue *queue;          /* of char *: one span each, as JSON */
    pthread_t thread;
    char url[1024];
    char *headers[HEADERS_MAX + 1];
    struct buf head;              /* of a batch, up to its spans */
    atomic_llong sent, failed;    /* spans; counters only, so relaxed */
    int64_t dropped;              /* the loop's */
    atomic_bool closing;          /* release by telemetry_close, acquire by the thread */
};

/* ---- the sending thread */

static bool post(struct telemetry *t, struct http_client *client, const struct buf *body)
{
    struct http_client_reply reply;
    bool closing = atomic_load_explicit(&t->closing, memory_order_acquire);
    struct http_client_request r = { .url = t->url, .body = body->data, .body_len = body->len,
                                     .total_ms = closing ? CLOSE_SEND_MS : SEND_MS };
    for (int i = 0; t->headers[i]; i++)
        r.headers[i] = t->headers[i];
    bool ok = !http_client_run(client, &r, &reply, NULL) && reply.status >= 200 && reply.status < 300;
    http_client_reply_release(&reply);
    return ok;
}

static void *sender(void *arg)
{
    struct telemetry *t = arg;
    struct http_client *client = http_client_new();
    bool said = false;
    for (char *span; (span = queue_pop(t->queue, -1));) { /* until the queue is closed and empty */
        struct buf body = { 0 };
        int64_t count = 0, until = clock_mono_ns() + GATHER_MS * 1000000LL;
        buf_append(&body, t->head.data, t->head.len);
        while (span) {
            buf_puts(&body, count++ ? "," : "");
            buf_puts(&body, span);
            mem_free(span);
            int64_t left = (until - clock_mono_ns()) / 1000000;
            span = count < TELEMETRY_BATCH_MAX && left > 0 ? queue_pop(t->queue, left) : NULL;
        }
        buf_puts(&body, "]}]}]}");
        bool ok = post(t, client, &body);
        atomic_fetch_add_explicit(ok ? &t->sent : &t->failed, count, memory_order_relaxed);
        if (!ok && !said)
            log_line(LOG_WARN, "front", "the telemetry collector at %s takes no spans; they are dropped", t->url);
        said = !ok;
        buf_release(&body);
    }
    http_client_free(client);
    return NULL;
}

/* ---- life */

/* "a=b,c=d" as header lines; anything that is no such pair is left out. */
static void take_headers(struct telemetry *t, const char *text)
{
    int count = 0;
    while (text && *text && count < HEADERS_MAX) {
        size_t n = strcspn(text, ",");
        const char *eq = memchr(text, '=', n);
        if (eq && eq > text && n < HEADER_MAX && !memchr(text, '\r', n) && !memchr(text, '\n', n)) {
            struct buf line = { 0 };
            buf_append(&line, text, (size_t)(eq - text));
            buf_puts(&line, ": ");
            buf_append(&line, eq + 1, n - (size_t)(eq + 1 - text));
            t->headers[count++] = buf_take(&line);
        }
        text += n + (text[n] == ',');
    }
}

enum err_code telemetry_open(const struct telemetry_options *o, struct telemetry **out, struct err *e)
{
    static const char path[] = "/v1/traces";
    *out = NULL;
    if (!o->endpoint || !*o->endpoint)
        return ERR_OK;
    size_t n = strlen(o->endpoint), p = sizeof path - 1;
    if (strncmp(o->endpoint, "http://", 7) && strncmp(o->endpoint, "https://", 8))
        return err_set(e, ERR_INVALID, "the telemetry endpoint must be an http or https URL, not %.100s", o->endpoint);
    struct telemetry *t = MEM_NEW(struct telemetry);
    bool whole = n >= p && !strcmp(o->endpoint + n - p, path);
    int slash = !whole && o->endpoint[n - 1] == '/';
    if (n + p + 1 >= sizeof t->url) {
        mem_free(t);
        return err_set(e, ERR_INVALID, "the telemetry endpoint is too long");
    }
    snprintf(t->url, sizeof t->url, "%.*s%s", (int)n - slash, o->endpoint, whole ? "" : path);
    take_headers(t, o->headers);
    const char *service = o->service && *o->service ? o->service : "tokenworks";
    buf_puts(&t->head, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":"
             "{\"stringValue\":");
    jsonx_quote(service, strlen(service), &t->head);
    buf_puts(&t->head, "}},{\"key\":\"service.version\",\"value\":{\"stringValue\":\"" TW_VERSION "\"}}]},"
             "\"scopeSpans\":[{\"scope\":{\"name\":\"tokenworks\",\"version\":\"" TW_VERSION "\"},\"spans\":[");
    t->queue = queue_new(TELEMETRY_QUEUE_MAX);
    pthread_create(&t->thread, NULL, sender, t);
    *out = t;
    return ERR_OK;
}

void telemetry_close(struct telemetry *t)
{
    if (!t)
        return;
    atomic_store_explicit(&t->closing, true, memory_order_release);
    queue_close(t->queue);
    pthread_join(t->thread, NULL);
    queue_free(t->queue);
    for (int i = 0; t->headers[i]; i++) {
        mem_wipe(t->headers[i], strlen(t->headers[i])); /* a collector's token */
        mem_free(t->headers[i]);
    }
    buf_release(&t->head);
    mem_free(t);
}

void telemetry_metrics(const struct telemetry *t, struct buf *out)
{
    if (!t)
        return;
    buf_printf(out, "# HELP tokenworks_telemetry_spans_total Request spans, by what became of them.\n"
               "# TYPE tokenworks_telemetry_spans_total counter\n"
               "tokenworks_telemetry_spans_total{result=\"sent\"} %lld\n"
               "tokenworks_telemetry_spans_total{result=\"refused\"} %lld\n"
               "tokenworks_telemetry_spans_total{result=\"dropped\"} %lld\n",
               (long long)atomic_load_explicit(&t->sent, memory_order_relaxed),
               (long long)atomic_load_explicit(&t->failed, memory_order_relaxed), (long long)t->dropped);
}

/* ---- a request */

void trace_begin(struct telemetry *t, struct trace *s, const struct http_head *h)
{
    *s = (struct trace){ .prompt = -1, .cached = -1, .output = -1, .queue_ms = -1, .prefill_ms = -1, .decode_ms = -1 };
    if (!t)
        return;
    const struct http_field *f = http_head_field(h, "traceparent");
    bool sampled = true;
    s->on = true;
    s->has_parent = f && traceparent_parse(f->value, s->trace_id, s->parent_id, &sampled);
    if (!s->has_parent)
        rng_system(s->trace_id, sizeof s->trace_id);
    rng_system(s->span_id, sizeof s->span_id);
    s->start_ns = clock_wall_ns();
    s->start_mono_ns = clock_mono_ns();
    s->on = !s->has_parent || sampled;
}

void trace_end_frame(struct trace *s, const json_t *end)
{
    const json_t *usage = json_object_get(end, "usage");
    const char *finish = json_string_value(json_object_get(end, "finish"));
    if (!s->on || !json_is_object(end))
        return;
    snprintf(s->finish, sizeof s->finish, "%s", finish ? finish : "");
    if (json_is_object(usage)) {
        s->prompt = json_integer_value(json_object_get(usage, "prompt_tokens"));
        s->cached = json_integer_value(json_object_get(usage, "cached_tokens"));
        s->output = json_integer_value(json_object_get(usage, "completion_tokens"));
    }
    static const char *const names[] = { "queue_ms", "prefill_ms", "decode_ms" };
    double *const to[] = { &s->queue_ms, &s->prefill_ms, &s->decode_ms };
    for (size_t i = 0; i < MEM_COUNT(names); i++)
        if (json_is_number(json_object_get(end, names[i])))
            *to[i] = json_number_value(json_object_get(end, names[i]));
}

void trace_send(struct telemetry *t, const struct trace *s, const char *route)
{
    if (!t || !s->on)
        return;
    struct buf b = { 0 };
    trace_json(s, route, s->start_ns + clock_mono_ns() - s->start_mono_ns, &b);
    char *text = buf_take(&b);
    if (queue_try_push(t->queue, text))
        return;
    t->dropped++;
    mem_free(text);
}
