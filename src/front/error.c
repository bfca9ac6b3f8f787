/* error -- see error.h. */
#include "front/error.h"

#include "base/json.h"

#include <string.h>

static const char *openai_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static const char *anthropic_type(int status)
{
    switch (status) {
    case 413: return "request_too_large";
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : openai_type(status);
    }
}

static void quote_or_null(const char *s, struct buf *out)
{
    if (s && *s)
        jsonx_quote(s, strlen(s), out);
    else
        buf_puts(out, "null");
}

void error_body(enum dialect d, const struct error *e, struct buf *out)
{
    if (d == DIALECT_OLLAMA) {
        buf_puts(out, "{\"error\":");
        quote_or_null(e->message, out);
        buf_putc(out, '}');
    } else if (d == DIALECT_ANTHROPIC) {
        buf_puts(out, "{\"type\":\"error\",\"error\":{\"type\":");
        quote_or_null(anthropic_type(e->status), out);
        buf_puts(out, ",\"message\":");
        quote_or_null(e->message, out);
        if (e->code && *e->code) {
            buf_puts(out, ",\"details\":{\"error_code\":");
            quote_or_null(e->code, out);
            buf_putc(out, '}');
        }
        buf_puts(out, "}}");
    } else {
        buf_puts(out, "{\"error\":{\"message\":");
        quote_or_null(e->message, out);
        buf_puts(out, ",\"type\":");
        quote_or_null(e->type && *e->type ? e->type : openai_type(e->status), out);
        buf_puts(out, ",\"param\":");
        quote_or_null(e->param, out);
        buf_puts(out, ",\"code\":");
        quote_or_null(e->code, out);
        buf_puts(out, "}}");
    }
}

void error_event(enum dialect d, const struct error *e, struct buf *out)
{
    if (d == DIALECT_ANTHROPIC)
        buf_puts(out, "event: error\n");
    if (d != DIALECT_OLLAMA)
        buf_puts(out, "data: ");
    error_body(d, e, out);
    buf_puts(out, d == DIALECT_OLLAMA ? "\n" : "\n\n");
}
