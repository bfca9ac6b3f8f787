/* write_ollama -- /api/chat and /api/generate: one JSON object a line, or one for all. A call goes out whole. */
#include "api/blocks.h"

#include <string.h>
#include <time.h>

static void put_text(const char *s, size_t n, struct buf *out)
{
    jsonx_quote(s, n, out);
}

/* {"model":..,"created_at":..  with the name the client used. */
static void put_open(const struct api_job *j, struct buf *out)
{
    const json_t *asked = json_object_get(j->ask, "model");
    const char *name = json_string_length(asked) ? json_string_value(asked) : j->model->id;
    char at[40];
    time_t t = (time_t)j->created;
    struct tm tm;
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm) ? &tm : &(struct tm){ .tm_mday = 1 });
    buf_puts(out, "{\"model\":");
    put_text(name, strlen(name), out);
    buf_printf(out, ",\"created_at\":\"%s\"", at);
}

static bool is_chat(const struct api_job *j)
{
    return j->writer == &api_write_ollama_chat;
}

void ollama_put_loaded(const struct api_job *j, struct buf *out)
{
    put_open(j, out);
    buf_puts(out, is_chat(j) ? ",\"message\":{\"role\":\"assistant\",\"content\":\"\"}" : ",\"response\":\"\"");
    buf_puts(out, ",\"done\":true,\"done_reason\":\"load\"}\n");
}

static void put_call(const struct api_part *p, int index, struct buf *out)
{
    buf_puts(out, "{\"id\":");
    put_text(p->id, strlen(p->id), out);
    buf_printf(out, ",\"function\":{\"index\":%d,\"name\":", index);
    put_text(p->name, strlen(p->name), out);
    buf_puts(out, ",\"arguments\":");
    json_t *v = jsonx_parse(buf_str(&p->text), p->text.len, NULL);
    if (json_is_object(v))
        buf_append(out, p->text.data, p->text.len);
    else
        buf_puts(out, "{}"); /* a call cut short: done_reason says length */
    json_decref(v);
    buf_puts(out, "}}");
}

/* The logprobs that are ready in a stream, all of them in a whole answer. */
static void put_logprobs(const struct api_job *j, struct buf *out)
{
    const struct api_choice *c = &j->choices[0];
    int first = j->stream ? c->token_sent : 0, end = j->stream ? c->token_ready : c->token_count;
    if (j->params.top_logprobs < 0 || first == end)
        return;
    buf_puts(out, ",\"logprobs\":");
    api_logprobs_list(j, c, first, end, out);
}

/* content or thinking, whichever is said; the other is left out. */
static void put_piece(const struct api_job *j, enum api_delta_kind kind, const char *text, size_t n, struct buf *out)
{
    bool chat = is_chat(j), thought = kind == API_REASONING;
    put_open(j, out);
    buf_puts(out, chat ? ",\"message\":{\"role\":\"assistant\",\"content\":" : ",\"response\":");
    put_text(thought ? "" : text, thought ? 0 : n, out);
    if (thought) {
        buf_puts(out, ",\"thinking\":");
        put_text(text, n, out);
    }
    buf_puts(out, chat ? "}" : "");
    put_logprobs(j, out);
    buf_puts(out, ",\"done\":false}\n");
}

static void block_open(struct api_job *j, int index, const struct api_part *p, struct buf *out)
{
}

static void block_piece(struct api_job *j, int index, const struct api_part *p, const struct api_delta *d,
                        struct buf *out)
{
    if (p->kind != API_CALL_OPEN)
        put_piece(j, p->kind, d->text, d->length, out);
}

static void block_close(struct api_job *j, int index, const struct api_part *p, struct buf *out)
{
    if (p->kind != API_CALL_OPEN || !is_chat(j))
        return;
    int call = 0;
    for (int i = 0; i < index; i++)
        call += j->choices[0].parts.v[i].kind == API_CALL_OPEN;
    put_open(j, out);
    buf_puts(out, ",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[");
    put_call(p, call, out);
    buf_puts(out, "]},\"done\":false}\n");
}

static const struct api_block_writer blocks = { block_open, block_piece, block_close };

static void begin(struct api_job *j, struct buf *out)
{
}

static void delta(struct api_job *j, int choice, const struct api_delta *d, struct buf *out)
{
    api_blocks_delta(j, d, &blocks, out);
}

static void finish(struct api_job *j, int choice, struct buf *out)
{
    api_blocks_finish(j, &blocks, out);
}

/* Prompt and answer as tokens, to be sent back as "context". */
static void put_context(const struct api_job *j, struct buf *out)
{
    const struct vocab_ids *lists[] = { &j->prompts[0], &j->choices[0].ids };
    const char *comma = ",\"context\":[";
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->count; i++, comma = ",")
            buf_printf(out, "%s%d", comma, (int)lists[k]->v[i]);
    buf_puts(out, comma[1] ? "" : "]");
}

/* Nanoseconds; waiting for the model's attention is what Ollama calls loading. None is ever zero. */
static void put_done(const struct api_job *j, const struct api_usage *u, struct buf *out)
{
    const struct api_measure *m = &j->measured;
    buf_printf(out, ",\"done\":true,\"done_reason\":\"%s\"",
               j->choices[0].finish == INFER_LENGTH ? "length" : "stop");
    if (j->keep_ids)
        put_context(j, out);
    buf_printf(out, ",\"total_duration\":%lld,\"load_duration\":%lld,\"prompt_eval_count\":%d,"
               "\"prompt_eval_duration\":%lld,\"eval_count\":%d,\"eval_duration\":%lld}\n", (long long)m->total_ns,
               (long long)m->queue_ns, u->prompt_tokens, (long long)m->prefill_ns, u->completion_tokens,
               (long long)m->decode_ns);
}

static void end(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    put_open(j, out);
    buf_puts(out, is_chat(j) ? ",\"message\":{\"role\":\"assistant\",\"content\":\"\"}" : ",\"response\":\"\"");
    put_logprobs(j, out);
    put_done(j, u, out);
}

static void put_joined(const struct api_parts *p, enum api_delta_kind kind, const char *key, struct buf *out)
{
    struct buf text = { 0 };
    api_parts_join(p, kind, &text);
    if (kind == API_TEXT || text.len) {
        buf_printf(out, "%s:", key);
        put_text(buf_str(&text), text.len, out);
    }
    buf_release(&text);
}

static void whole(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    const struct api_parts *p = &j->choices[0].parts;
    bool chat = is_chat(j);
    const char *comma = ",\"tool_calls\":[";
    int call = 0;
    put_open(j, out);
    put_joined(p, API_TEXT, chat ? ",\"message\":{\"role\":\"assistant\",\"content\"" : ",\"response\"", out);
    put_joined(p, API_REASONING, ",\"thinking\"", out);
    for (int i = 0; chat && i < p->count; i++) {
        if (p->v[i].kind != API_CALL_OPEN)
            continue;
        buf_puts(out, comma);
        put_call(&p->v[i], call++, out);
        comma = ",";
    }
    buf_puts(out, call ? "]" : "");
    buf_puts(out, chat ? "}" : "");
    put_logprobs(j, out);
    put_done(j, u, out);
}

static void error(struct api_job *j, const struct api_error *e, struct buf *out)
{
    buf_puts(out, "{\"error\":");
    put_text(e->message, strlen(e->message), out);
    buf_puts(out, "}\n");
}

const struct api_writer api_write_ollama_chat = {
    .stream_type = "application/x-ndjson", .keeps_parts = true, .begin = begin, .delta = delta, .finish = finish,
    .end = end, .whole = whole, .error = error,
};
const struct api_writer api_write_ollama_generate = {
    .stream_type = "application/x-ndjson", .keeps_parts = true, .begin = begin, .delta = delta, .finish = finish,
    .end = end, .whole = whole, .error = error,
};
