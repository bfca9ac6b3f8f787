/* telemetry -- a span per request for an OpenTelemetry collector: OTLP over HTTP as JSON, with the gen_ai.* attributes.
 *
 * Times, counts, model, status: never a prompt, an answer, a key or a path outside the table of routes. A client's W3C
 * traceparent is continued, and not exported when it says "not sampled". Spans go through a bounded queue to a thread
 * of its own; when the collector is slow or gone they are dropped and counted, and no request waits.
 *
 * Owner: the loop's thread, but for the thread inside. */
#ifndef FRONT_TELEMETRY_H
#define FRONT_TELEMETRY_H
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "net/http_parse.h"

#include <stdbool.h>
#include <stdint.h>

enum { TELEMETRY_QUEUE_MAX = 2048, TELEMETRY_BATCH_MAX = 128, TRACE_TEXT_MAX = 128 };

struct telemetry_options {
    const char *endpoint;      /* http or https; "/v1/traces" is added unless it ends so; NULL: no telemetry */
    const char *headers;       /* "name=value,name=value" to send along, or NULL */
    const char *service;       /* service.name; NULL: tokenworks */
};

struct telemetry;
/* NULL and ERR_OK when off. */
enum err_code telemetry_open(const struct telemetry_options *o, struct telemetry **out, struct err *e);
void telemetry_close(struct telemetry *t);  /* gives what is queued a moment to go out; NULL is allowed */
void telemetry_metrics(const struct telemetry *t, struct buf *out);

/* What is known of one request. Begun zeroed; everything may stay empty. */
struct trace {
    bool on;
    uint8_t trace_id[16], span_id[8], parent_id[8];
    bool has_parent;
    int64_t start_ns;          /* wall clock */
    int64_t start_mono_ns, ready_mono_ns; /* it came; its model was there */
    char model[TRACE_TEXT_MAX], response_id[64];
    int64_t max_tokens;        /* 0: not stated */
    bool stream;
    int status;                /* what the client was told; 499: it left */
    char error[64];            /* a code such as engine_restarting; "": none */
    char finish[24];
    int64_t prompt, cached, output;              /* tokens; -1: not known */
    double queue_ms, prefill_ms, decode_ms;      /* in the engine; < 0: not known */
};
void trace_begin(struct telemetry *t, struct trace *s, const struct http_head *h);
void trace_end_frame(struct trace *s, const json_t *end);   /* the engine's last word: finish, usage and times */
void trace_send(struct telemetry *t, const struct trace *s, const char *route);

/* "00-TRACE-PARENT-FLAGS" (W3C Trace Context); false: malformed, and nothing is continued. */
bool traceparent_parse(struct http_slice text, uint8_t trace[16], uint8_t parent[8], bool *sampled);
/* One span as OTLP JSON: exported for the tests. */
void trace_json(const struct trace *s, const char *route, int64_t end_ns, struct buf *out);
#endif
