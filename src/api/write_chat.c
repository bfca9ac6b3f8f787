/* write_chat -- /v1/chat/completions: deltas as chunks, or parts as one message. */
#include "api/writer.h"

#include <string.h>

static void open_delta(const struct api_job *j, int choice, struct buf *out)
{
    openai_event_open(j, out);
    buf_printf(out, "{\"index\":%d,\"delta\":{", choice);
}

static void close_delta(const struct api_job *j, int choice, struct buf *out)
{
    buf_puts(out, "},\"logprobs\":");
    openai_put_tail(j, &j->choices[choice], out);
    openai_event_close(j, j->choices[choice].finish != INFER_RUNNING, out);
}

static void begin(struct api_job *j, struct buf *out)
{
    for (int i = 0; i < api_job_choices(j); i++) {
        open_delta(j, i, out);
        buf_puts(out, "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
        close_delta(j, i, out);
    }
}

/* The older shape: {"name","arguments"}, of one call. */
static void put_function_piece(const struct api_delta *d, struct buf *out)
{
    bool opens = d->kind == API_CALL_OPEN;
    buf_puts(out, opens ? "\"function_call\":{\"name\":" : "\"function_call\":{\"arguments\":");
    jsonx_quote(opens ? d->name : d->text, opens ? strlen(d->name) : d->length, out);
    buf_puts(out, opens ? ",\"arguments\":\"\"}" : "}");
}

/* {"index","id","type","function":{"name","arguments"}}: the first piece of a call names it, the others add to it. */
static void put_call_piece(const struct api_delta *d, struct buf *out)
{
    buf_printf(out, "\"tool_calls\":[{\"index\":%d,", d->call);
    if (d->kind == API_CALL_OPEN) {
        buf_puts(out, "\"id\":");
        jsonx_quote(d->id, strlen(d->id), out);
        buf_puts(out, ",\"type\":\"function\",\"function\":{\"name\":");
        jsonx_quote(d->name, strlen(d->name), out);
        buf_puts(out, ",\"arguments\":\"\"}}]");
    } else {
        buf_puts(out, "\"function\":{\"arguments\":");
        jsonx_quote(d->text, d->length, out);
        buf_puts(out, "}}]");
    }
}

static void delta(struct api_job *j, int choice, const struct api_delta *d, struct buf *out)
{
    bool call = d->kind == API_CALL_OPEN || d->kind == API_CALL_ARGS;
    if (d->kind == API_CALL_CLOSE || (call && j->functions && d->call))
        return;
    open_delta(j, choice, out);
    if (d->kind == API_TEXT || d->kind == API_REASONING) {
        buf_puts(out, d->kind == API_TEXT ? "\"content\":" : "\"reasoning_content\":");
        jsonx_quote(d->text, d->length, out);
    } else if (j->functions) {
        put_function_piece(d, out);
    } else {
        put_call_piece(d, out);
    }
    close_delta(j, choice, out);
}

static void finish(struct api_job *j, int choice, struct buf *out)
{
    open_delta(j, choice, out);
    close_delta(j, choice, out);
}

static void put_joined(const struct api_parts *p, enum api_delta_kind kind, struct buf *out)
{
    struct buf text = { 0 };
    api_parts_join(p, kind, &text);
    jsonx_quote(buf_str(&text), text.len, out);
    buf_release(&text);
}

static void put_calls(const struct api_parts *p, struct buf *out)
{
    const char *comma = ",\"tool_calls\":[";
    for (int i = 0; i < p->count; i++) {
        const struct api_part *call = &p->v[i];
        if (call->kind != API_CALL_OPEN)
            continue;
        buf_puts(out, comma);
        buf_puts(out, "{\"id\":");
        jsonx_quote(call->id, strlen(call->id), out);
        buf_puts(out, ",\"type\":\"function\",\"function\":{\"name\":");
        jsonx_quote(call->name, strlen(call->name), out);
        buf_puts(out, ",\"arguments\":");
        jsonx_quote(buf_str(&call->text), call->text.len, out);
        buf_puts(out, "}}");
        comma = ",";
    }
    if (comma[1] == '\0')
        buf_putc(out, ']');
}

static void put_function(const struct api_parts *p, struct buf *out)
{
    for (int i = 0; i < p->count; i++) {
        const struct api_part *call = &p->v[i];
        if (call->kind != API_CALL_OPEN)
            continue;
        buf_puts(out, ",\"function_call\":{\"name\":");
        jsonx_quote(call->name, strlen(call->name), out);
        buf_puts(out, ",\"arguments\":");
        jsonx_quote(buf_str(&call->text), call->text.len, out);
        buf_putc(out, '}');
        return;
    }
}

static void put_choice(const struct api_job *j, int i, struct buf *out)
{
    const struct api_parts *p = &j->choices[i].parts;
    bool calls = api_parts_count(p, API_CALL_OPEN) > 0;
    buf_printf(out, "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":", i);
    if (calls && !api_parts_count(p, API_TEXT))
        buf_puts(out, "null");
    else
        put_joined(p, API_TEXT, out);
    if (api_parts_count(p, API_REASONING)) {
        buf_puts(out, ",\"reasoning_content\":");
        put_joined(p, API_REASONING, out);
    }
    if (j->functions)
        put_function(p, out);
    else
        put_calls(p, out);
    buf_puts(out, ",\"refusal\":null},\"logprobs\":");
    openai_put_tail(j, &j->choices[i], out);
}

static void whole(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    openai_whole(j, u, out, put_choice);
}

const struct api_writer api_write_chat = {
    .stream_type = "text/event-stream", .begin = begin, .delta = delta, .finish = finish, .end = openai_end,
    .whole = whole, .error = openai_error,
};
