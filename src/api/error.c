/* error -- refusals: filling struct api_error and writing the error object clients know. */
#include "api/job.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool api_refuse(struct api_error *error, int status, const char *param, const char *code, const char *fmt, ...)
{
    va_list ap;
    *error = (struct api_error){ .status = status };
    const char *type = status >= 500 ? "server_error" : "invalid_request_error";
    snprintf(error->type, sizeof error->type, "%s", type);
    snprintf(error->param, sizeof error->param, "%s", param);
    snprintf(error->code, sizeof error->code, "%s", code);
    va_start(ap, fmt);
    vsnprintf(error->message, sizeof error->message, fmt, ap);
    va_end(ap);
    return false;
}

bool api_refuse_err(struct api_error *error, const char *param, const struct err *e)
{
    switch (e->code) {
    case ERR_UNSUPPORTED: return api_refuse(error, 400, param, "unsupported_value", "%s", e->text);
    case ERR_NOT_FOUND:   return api_refuse(error, 404, param, "not_found", "%s", e->text);
    case ERR_BUSY:        return api_refuse(error, 503, param, "overloaded", "%s", e->text);
    case ERR_IO:          return api_refuse(error, 500, param, "", "%s", e->text);
    default:              return api_refuse(error, 400, param, "invalid_value", "%s", e->text);
    }
}

/* null where there is nothing to say, as OpenAI's objects do. */
static void put_or_null(const char *key, const char *s, struct buf *out)
{
    buf_printf(out, ",\"%s\":", key);
    if (*s)
        jsonx_quote(s, strlen(s), out);
    else
        buf_puts(out, "null");
}

void api_error_json(const struct api_error *e, struct buf *out)
{
    buf_puts(out, "{\"error\":{\"message\":");
    jsonx_quote(e->message, strlen(e->message), out);
    buf_puts(out, ",\"type\":");
    jsonx_quote(e->type, strlen(e->type), out);
    put_or_null("param", e->param, out);
    put_or_null("code", e->code, out);
    buf_puts(out, "}}");
}
