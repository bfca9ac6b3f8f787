/* trace_json -- a request's span as OTLP JSON, and the header that continues a trace.
 *
 * The format: opentelemetry-proto's JSON encoding (ids in hex, 64-bit integers as text) with the attribute names of the
 * semantic conventions for generative AI and HTTP. Below the request's span stand what it waited for: its model, its
 * turn, its prompt, its tokens. */
#include "base/mem.h"
#include "base/rng.h"
#include "front/telemetry.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KIND_INTERNAL = 1, KIND_SERVER = 2, STATUS_ERROR = 2 };

static bool unhex(struct http_slice s, size_t at, uint8_t *out, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) {
        int v = 0;
        for (int k = 0; k < 2; k++) {
            char c = s.p[at + 2 * i + (size_t)k];
            int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (digit < 0)
                return false;
            v = v << 4 | digit;
        }
        out[i] = (uint8_t)v;
        any |= out[i];
    }
    return any || n == 1; /* an id of zeros is none */
}

bool traceparent_parse(struct http_slice s, uint8_t trace[16], uint8_t parent[8], bool *sampled)
{
    uint8_t version, flags, t[16], p[8];
    if (s.n < 55 || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-' || !unhex(s, 0, &version, 1) ||
        version == 0xff || (version == 0 && s.n != 55) || (s.n > 55 && s.p[55] != '-') || !unhex(s, 3, t, 16) ||
        !unhex(s, 36, p, 8) || !unhex(s, 53, &flags, 1))
        return false;
    memcpy(trace, t, sizeof t);
    memcpy(parent, p, sizeof p);
    *sampled = flags & 1;
    return true;
}

static void put_hex(struct buf *b, const char *key, const uint8_t *id, size_t n)
{
    buf_printf(b, "\"%s\":\"", key);
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%02x", id[i]);
    buf_puts(b, "\",");
}

static void text(struct buf *b, const char *key, const char *v)
{
    if (!*v)
        return;
    buf_printf(b, "{\"key\":\"%s\",\"value\":{\"stringValue\":", key);
    jsonx_quote(v, strlen(v), b);
    buf_puts(b, "}},");
}

static void number(struct buf *b, const char *key, int64_t v)
{
    if (v >= 0)
        buf_printf(b, "{\"key\":\"%s\",\"value\":{\"intValue\":\"%lld\"}},", key, (long long)v);
}

static void yes(struct buf *b, const char *key, bool v)
{
    buf_printf(b, "{\"key\":\"%s\",\"value\":{\"boolValue\":%s}},", key, v ? "true" : "false");
}

static void end_list(struct buf *b, char close)
{
    if (b->data[b->len - 1] == ',')
        b->len--;
    buf_putc(b, close);
}

static void begin_span(struct buf *b, const struct trace *s, const uint8_t id[8], const uint8_t *parent)
{
    buf_puts(b, "{");
    put_hex(b, "traceId", s->trace_id, sizeof s->trace_id);
    put_hex(b, "spanId", id, 8);
    if (parent)
        put_hex(b, "parentSpanId", parent, 8);
}

static void times(struct buf *b, int kind, int64_t from_ns, int64_t to_ns)
{
    buf_printf(b, ",\"kind\":%d,\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\",\"attributes\":[", kind,
               (long long)from_ns, (long long)(to_ns > from_ns ? to_ns : from_ns));
}

/* A part of the request that took ms, if that is known; returns where it ended. */
static int64_t child(struct buf *b, const struct trace *s, const char *name, int64_t from_ns, double ms)
{
    if (ms < 0)
        return from_ns;
    uint8_t id[8];
    int64_t to_ns = from_ns + llround(ms * 1e6);
    rng_system(id, sizeof id);
    buf_puts(b, ",");
    begin_span(b, s, id, s->span_id);
    buf_printf(b, "\"name\":\"%s\"", name);
    times(b, KIND_INTERNAL, from_ns, to_ns);
    end_list(b, ']');
    buf_puts(b, "}");
    return to_ns;
}

static const char *operation(const char *route)
{
    if (strstr(route, "embed"))
        return "embeddings";
    return !strcmp(route, "/v1/completions") || !strcmp(route, "/api/generate") ? "text_completion" : "chat";
}

static void attributes(struct buf *b, const struct trace *s, const char *route)
{
    text(b, "gen_ai.operation.name", operation(route));
    text(b, "gen_ai.provider.name", "tokenworks");
    text(b, "gen_ai.request.model", s->model);
    text(b, "gen_ai.response.model", s->finish[0] ? s->model : "");
    text(b, "gen_ai.response.id", s->response_id);
    number(b, "gen_ai.request.max_tokens", s->max_tokens ? s->max_tokens : -1);
    yes(b, "tokenworks.stream", s->stream);
    number(b, "gen_ai.usage.input_tokens", s->prompt);
    number(b, "gen_ai.usage.cache_read.input_tokens", s->cached);
    number(b, "gen_ai.usage.output_tokens", s->output);
    if (s->finish[0]) {
        buf_puts(b, "{\"key\":\"gen_ai.response.finish_reasons\",\"value\":{\"arrayValue\":{\"values\":["
                 "{\"stringValue\":");
        jsonx_quote(s->finish, strlen(s->finish), b);
        buf_puts(b, "}]}}},");
    }
    text(b, "http.request.method", "POST");
    text(b, "http.route", route);
    number(b, "http.response.status_code", s->status ? s->status : -1);
    text(b, "error.type", s->error);
}

void trace_json(const struct trace *s, const char *route, int64_t end_ns, struct buf *out)
{
    begin_span(out, s, s->span_id, s->has_parent ? s->parent_id : NULL);
    char name[TRACE_TEXT_MAX + 32];
    snprintf(name, sizeof name, "%s %s", operation(route), s->model);
    buf_puts(out, "\"name\":");
    jsonx_quote(name, strlen(name), out);
    times(out, KIND_SERVER, s->start_ns, end_ns);
    attributes(out, s, route);
    end_list(out, ']');
    if (s->status >= 500 || s->error[0])
        buf_printf(out, ",\"status\":{\"code\":%d}", STATUS_ERROR);
    buf_puts(out, "}");
    int64_t at = s->start_ns;
    if (s->ready_mono_ns)
        at = child(out, s, "wait for model", at, (double)(s->ready_mono_ns - s->start_mono_ns) / 1e6);
    at = child(out, s, "queue", at, s->queue_ms);
    at = child(out, s, "prefill", at, s->prefill_ms);
    child(out, s, "decode", at, s->decode_ms);
}
