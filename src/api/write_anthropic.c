/* write_anthropic -- /v1/messages: a message of content blocks, or its events. docs/dialects.md shows both. */
#include "api/blocks.h"

#include <string.h>

static void put_string(const char *s, struct buf *out)
{
    jsonx_quote(s, strlen(s), out);
}

static void put_stop(const struct api_job *j, struct buf *out)
{
    const struct api_choice *c = &j->choices[0];
    bool asked = c->generated >= j->params.max_tokens; /* else the context is full */
    const char *why = c->finish == INFER_LENGTH ? asked ? "max_tokens" : "model_context_window_exceeded" :
                      c->stop_text.len ? "stop_sequence" : c->calls ? "tool_use" : "end_turn";
    buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", why);
    if (c->stop_text.len)
        jsonx_quote(buf_str(&c->stop_text), c->stop_text.len, out);
    else
        buf_puts(out, "null");
}

/* Anthropic's input_tokens are those that were not read from the cache. */
static void put_usage(int prompt, int cached, int answer, struct buf *out)
{
    buf_printf(out, "\"usage\":{\"input_tokens\":%d,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%d,"
               "\"output_tokens\":%d}", prompt - cached, cached, answer);
}

static void put_message_open(const struct api_job *j, struct buf *out)
{
    buf_puts(out, "{\"id\":");
    put_string(j->id, out);
    buf_puts(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    put_string(j->model->id, out);
    buf_puts(out, ",\"content\":[");
}

/* ---- the stream */

static void event(const char *type, struct buf *out)
{
    buf_printf(out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void end_event(struct buf *out)
{
    buf_puts(out, "}\n\n");
}

static void begin(struct api_job *j, struct buf *out)
{
    event("message_start", out);
    buf_puts(out, ",\"message\":");
    put_message_open(j, out);
    buf_puts(out, "],\"stop_reason\":null,\"stop_sequence\":null,");
    put_usage((int)j->prompts[0].count, j->measured.cached_tokens, 0, out);
    buf_putc(out, '}');
    end_event(out);
    event("ping", out);
    end_event(out);
}

static void block_open(struct api_job *j, int index, const struct api_part *p, struct buf *out)
{
    event("content_block_start", out);
    buf_printf(out, ",\"index\":%d,\"content_block\":", index);
    if (p->kind == API_TEXT) {
        buf_puts(out, "{\"type\":\"text\",\"text\":\"\"}");
    } else if (p->kind == API_REASONING) {
        buf_puts(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    } else {
        buf_puts(out, "{\"type\":\"tool_use\",\"id\":");
        put_string(p->id, out);
        buf_puts(out, ",\"name\":");
        put_string(p->name, out);
        buf_puts(out, ",\"input\":{}}");
    }
    end_event(out);
}

static void block_piece(struct api_job *j, int index, const struct api_part *p, const struct api_delta *d,
                        struct buf *out)
{
    static const char *const kinds[] = {
        [API_TEXT] = "\"text_delta\",\"text\"", [API_REASONING] = "\"thinking_delta\",\"thinking\"",
        [API_CALL_OPEN] = "\"input_json_delta\",\"partial_json\"",
    };
    event("content_block_delta", out);
    buf_printf(out, ",\"index\":%d,\"delta\":{\"type\":%s:", index, kinds[p->kind]);
    jsonx_quote(d->text, d->length, out);
    buf_putc(out, '}');
    end_event(out);
}

static void block_close(struct api_job *j, int index, const struct api_part *p, struct buf *out)
{
    event("content_block_stop", out);
    buf_printf(out, ",\"index\":%d", index);
    end_event(out);
}

static const struct api_block_writer blocks = { block_open, block_piece, block_close };

static void delta(struct api_job *j, int choice, const struct api_delta *d, struct buf *out)
{
    api_blocks_delta(j, d, &blocks, out);
}

static void finish(struct api_job *j, int choice, struct buf *out)
{
    api_blocks_finish(j, &blocks, out);
}

static void end(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    event("message_delta", out);
    buf_puts(out, ",\"delta\":{");
    put_stop(j, out);
    buf_puts(out, "},");
    put_usage(u->prompt_tokens, u->cached_tokens, u->completion_tokens, out);
    end_event(out);
    event("message_stop", out);
    end_event(out);
}

/* ---- the whole message */

/* The arguments as an object; a call cut short has none to show but its text. */
static void put_input(const struct api_part *p, struct buf *out)
{
    json_t *v = jsonx_parse(buf_str(&p->text), p->text.len, NULL);
    if (json_is_object(v)) {
        buf_append(out, p->text.data, p->text.len);
    } else {
        buf_puts(out, "{\"partial_json\":");
        jsonx_quote(buf_str(&p->text), p->text.len, out);
        buf_putc(out, '}');
    }
    json_decref(v);
}

static void put_part(const struct api_part *p, struct buf *out)
{
    if (p->kind == API_CALL_OPEN) {
        buf_puts(out, "{\"type\":\"tool_use\",\"id\":");
        put_string(p->id, out);
        buf_puts(out, ",\"name\":");
        put_string(p->name, out);
        buf_puts(out, ",\"input\":");
        put_input(p, out);
    } else {
        buf_puts(out, p->kind == API_TEXT ? "{\"type\":\"text\",\"text\":" : "{\"type\":\"thinking\",\"thinking\":");
        jsonx_quote(buf_str(&p->text), p->text.len, out);
        if (p->kind == API_REASONING)
            buf_puts(out, ",\"signature\":\"\"");
    }
    buf_putc(out, '}');
}

static void whole(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    const struct api_parts *p = &j->choices[0].parts;
    put_message_open(j, out);
    for (int i = 0; i < p->count; i++) {
        buf_puts(out, i ? "," : "");
        put_part(&p->v[i], out);
    }
    buf_puts(out, "],");
    put_stop(j, out);
    buf_putc(out, ',');
    put_usage(u->prompt_tokens, u->cached_tokens, u->completion_tokens, out);
    buf_putc(out, '}');
}

static void error(struct api_job *j, const struct api_error *e, struct buf *out)
{
    buf_puts(out, j->stream ? "event: error\ndata: " : "");
    buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
               e->status == 503 ? "overloaded_error" : e->status >= 500 ? "api_error" : "invalid_request_error");
    put_string(e->message, out);
    buf_puts(out, j->stream ? "}}\n\n" : "}}");
}

const struct api_writer api_write_messages = {
    .stream_type = "text/event-stream", .keeps_parts = true, .begin = begin, .delta = delta, .finish = finish,
    .end = end, .whole = whole, .error = error,
};
