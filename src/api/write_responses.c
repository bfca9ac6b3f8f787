/* write_responses -- /v1/responses: the response object, or the events that build it. docs/dialects.md shows both.
 *
 * Every part of the answer is an output item: text a message with one output_text, a thought a reasoning item, a call a
 * function_call. Item ids are made from the response's own, so that a resumed response has the same bytes. */
#include "api/blocks.h"
#include "api/store.h"
#include "api/translate.h"

#include <stdio.h>
#include <string.h>

enum { ITEM_ID_BYTES = 160 };

static void item_id(const struct api_job *j, int index, enum api_delta_kind kind, char out[ITEM_ID_BYTES])
{
    const char *tail = strchr(j->id, '_');
    snprintf(out, ITEM_ID_BYTES, "%s_%.120s_%d", kind == API_TEXT ? "msg" : kind == API_REASONING ? "rs" : "fc",
             tail ? tail + 1 : j->id, index);
}

static json_t *logprobs_of(const struct api_job *j, int first, int end)
{
    struct buf b = { 0 };
    if (j->params.top_logprobs < 0 || first == end)
        return json_array();
    api_logprobs_list(j, &j->choices[0], first, end, &b);
    json_t *v = jsonx_parse(buf_str(&b), b.len, NULL);
    buf_release(&b);
    return v ? v : json_array();
}

/* ---- items */

static json_t *text_part(const char *text, size_t n, json_t *logprobs)
{
    return json_pack("{s:s, s:s%, s:[], s:o}", "type", "output_text", "text", text, n, "annotations", "logprobs",
                     logprobs);
}

static json_t *thought_part(const char *text, size_t n)
{
    return json_pack("{s:s, s:s%}", "type", "reasoning_text", "text", text, n);
}

/* whole: with its text; else as it looks when it begins. */
static json_t *item_of(const struct api_job *j, int index, const struct api_part *p, const char *status, bool whole)
{
    char id[ITEM_ID_BYTES];
    const char *text = whole ? buf_str(&p->text) : "";
    size_t n = whole ? p->text.len : 0;
    item_id(j, index, p->kind, id);
    if (p->kind == API_CALL_OPEN)
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s%}", "id", id, "type", "function_call", "status", status,
                         "call_id", p->id, "name", p->name, "arguments", text, n);
    json_t *content = json_array();
    if (p->kind == API_REASONING) {
        if (whole)
            json_array_append_new(content, thought_part(text, n));
        return json_pack("{s:s, s:s, s:s, s:[], s:o}", "id", id, "type", "reasoning", "status", status, "summary",
                         "content", content);
    }
    int count = j->stream ? 0 : j->choices[0].token_count; /* a stream's went out with their deltas */
    if (whole)
        json_array_append_new(content, text_part(text, n, logprobs_of(j, 0, count)));
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", id, "type", "message", "status", status, "role", "assistant",
                     "content", content);
}

/* ---- the response object */

static void echo(const struct api_job *j, json_t *to, const char *key, json_t *otherwise)
{
    json_t *v = json_object_get(j->ask, key);
    if (v && !json_is_null(v)) {
        json_object_set(to, key, v);
        json_decref(otherwise);
    } else {
        json_object_set_new(to, key, otherwise);
    }
}

static bool stores(const struct api_job *j)
{
    return j->store && !json_is_false(json_object_get(j->ask, "store"));
}

/* Each tool with every key the object has, absent ones null. */
static json_t *tools_of(const struct api_job *j)
{
    static const char *const keys[] = { "description", "parameters", "strict" };
    json_t *list = json_deep_copy(json_object_get(j->ask, "tools")), *tool;
    size_t i;
    if (!json_is_array(list)) {
        json_decref(list);
        return json_array();
    }
    json_array_foreach(list, i, tool)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (!json_object_get(tool, keys[k]))
                json_object_set_new(tool, keys[k], json_null());
    return list;
}

static json_t *text_field(const struct api_job *j)
{
    json_t *text = json_deep_copy(json_object_get(j->ask, "text"));
    if (!json_is_object(text)) {
        json_decref(text);
        text = json_object();
    }
    if (!json_is_object(json_object_get(text, "format")))
        json_object_set_new(text, "format", json_pack("{s:s}", "type", "text"));
    return text;
}

static json_t *reasoning_field(const struct api_job *j)
{
    const json_t *r = json_object_get(j->ask, "reasoning"), *v;
    json_t *out = json_pack("{s:n, s:n}", "effort", "summary");
    if ((v = json_object_get(r, "effort")))
        json_object_set(out, "effort", (json_t *)v);
    if ((v = json_object_get(r, "summary")))
        json_object_set(out, "summary", (json_t *)v);
    return out;
}

static void put_request_fields(const struct api_job *j, json_t *to)
{
    echo(j, to, "instructions", json_null());
    echo(j, to, "max_output_tokens", json_null());
    echo(j, to, "max_tool_calls", json_null());
    echo(j, to, "metadata", json_object());
    echo(j, to, "parallel_tool_calls", json_true());
    echo(j, to, "previous_response_id", json_null());
    echo(j, to, "prompt_cache_key", json_null());
    echo(j, to, "safety_identifier", json_null());
    echo(j, to, "tool_choice", json_string("auto"));
    echo(j, to, "truncation", json_string("disabled"));
    echo(j, to, "user", json_null());
    json_object_set_new(to, "service_tier", json_string("default"));
    json_object_set_new(to, "background", json_false());
    json_object_set_new(to, "store", json_boolean(stores(j)));
    json_object_set_new(to, "temperature", json_real((double)j->params.temperature));
    json_object_set_new(to, "top_p", json_real((double)j->params.top_p));
    json_object_set_new(to, "presence_penalty", json_real((double)j->params.presence_penalty));
    json_object_set_new(to, "frequency_penalty", json_real((double)j->params.frequency_penalty));
    json_object_set_new(to, "top_logprobs", json_integer(j->params.top_logprobs > 0 ? j->params.top_logprobs : 0));
    json_object_set_new(to, "seed", json_integer((json_int_t)j->params.seed));
    json_object_set_new(to, "tools", tools_of(j));
    json_object_set_new(to, "text", text_field(j));
    json_object_set_new(to, "reasoning", reasoning_field(j));
}

static json_t *usage_of(const struct api_job *j, const struct api_usage *u)
{
    return json_pack("{s:i, s:{s:i}, s:i, s:{s:i}, s:i}", "input_tokens", u->prompt_tokens, "input_tokens_details",
                     "cached_tokens", u->cached_tokens, "output_tokens", u->completion_tokens, "output_tokens_details",
                     "reasoning_tokens", j->choices[0].thought_tokens, "total_tokens",
                     u->prompt_tokens + u->completion_tokens);
}

/* u NULL: it has only begun. */
static json_t *response_of(const struct api_job *j, const char *status, const struct api_usage *u)
{
    const struct api_choice *c = &j->choices[0];
    bool cut = c->finish == INFER_LENGTH;
    json_t *output = json_array();
    json_t *r = json_pack("{s:s, s:s, s:I, s:s, s:s, s:n, s:n}", "id", j->id, "object", "response", "created_at",
                          (json_int_t)j->created, "status", status, "model", j->model->id, "error",
                          "incomplete_details");
    for (int i = 0; u && i < c->parts.count; i++)
        json_array_append_new(output, item_of(j, i, &c->parts.v[i], cut && i == c->parts.count - 1 ? "incomplete" :
                                              "completed", true));
    json_object_set_new(r, "output", output);
    json_object_set_new(r, "completed_at", u && !cut ? json_integer((json_int_t)(j->created +
                        j->measured.total_ns / 1000000000)) : json_null());
    if (u && cut)
        json_object_set_new(r, "incomplete_details", json_pack("{s:s}", "reason", "max_output_tokens"));
    json_object_set_new(r, "usage", u ? usage_of(j, u) : json_null());
    put_request_fields(j, r);
    return r;
}

static const char *final_status(const struct api_job *j)
{
    return j->choices[0].finish == INFER_LENGTH ? "incomplete" : "completed";
}

/* ---- stored for the next turn */

/* The answer as a message of the conversation. */
static json_t *answer_message(const struct api_parts *p)
{
    json_t *m = json_pack("{s:s}", "role", "assistant");
    struct buf text = { 0 }, thought = { 0 };
    api_parts_join(p, API_TEXT, &text);
    api_parts_join(p, API_REASONING, &thought);
    json_object_set_new(m, "content", json_stringn(buf_str(&text), text.len));
    if (thought.len)
        json_object_set_new(m, "reasoning_content", json_stringn(buf_str(&thought), thought.len));
    for (int i = 0; i < p->count; i++) {
        if (p->v[i].kind != API_CALL_OPEN)
            continue;
        json_t *id = json_string(p->v[i].id), *name = json_string(p->v[i].name);
        json_t *arguments = json_stringn(buf_str(&p->v[i].text), p->v[i].text.len);
        api_add_call(m, id, name, arguments);
        json_decref(id);
        json_decref(name);
        json_decref(arguments);
    }
    buf_release(&text);
    buf_release(&thought);
    return m;
}

/* The input as items with ids; a string is one message. */
static json_t *input_items(const struct api_job *j)
{
    const json_t *input = json_object_get(j->ask, "input");
    json_t *items = json_deep_copy(input), *item;
    size_t i;
    if (json_is_string(input)) {
        json_decref(items);
        items = json_pack("[{s:s, s:s, s:[{s:s, s:O}]}]", "type", "message", "role", "user", "content", "type",
                          "input_text", "text", input);
    }
    json_array_foreach(items, i, item) {
        if (!json_object_get(item, "id"))
            json_object_set_new(item, "id", json_sprintf("in_%s_%zu", j->id, i));
        if (!json_object_get(item, "type"))
            json_object_set_new(item, "type", json_string("message"));
    }
    return items;
}

static void keep(const struct api_job *j, const json_t *response)
{
    struct buf texts[API_STORED_KINDS] = { { 0 } };
    if (!stores(j))
        return;
    json_t *input = input_items(j);
    json_array_append_new(j->conversation, answer_message(&j->choices[0].parts));
    jsonx_dump(j->conversation, &texts[API_STORED_MESSAGES]);
    jsonx_dump(response, &texts[API_STORED_RESPONSE]);
    jsonx_dump(input, &texts[API_STORED_INPUT]);
    api_store_put(j->store, j->space, j->id, texts);
    json_decref(input);
    for (int i = 0; i < API_STORED_KINDS; i++)
        buf_release(&texts[i]);
}

static void whole(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    json_t *r = response_of(j, final_status(j), u);
    jsonx_dump(r, out);
    keep(j, r);
    json_decref(r);
}

/* ---- events */

/* Takes `rest`, the event's other fields. */
static void event(struct api_job *j, const char *type, json_t *rest, struct buf *out)
{
    json_t *v = json_pack("{s:s, s:i}", "type", type, "sequence_number", j->blocks.sequence++);
    json_object_update(v, rest);
    buf_printf(out, "event: %s\ndata: ", type);
    jsonx_dump(v, out);
    buf_puts(out, "\n\n");
    json_decref(v);
    json_decref(rest);
}

static void begin(struct api_job *j, struct buf *out)
{
    json_t *r = response_of(j, "in_progress", NULL);
    event(j, "response.created", json_pack("{s:O}", "response", r), out);
    event(j, "response.in_progress", json_pack("{s:o}", "response", r), out);
}

/* {"item_id","output_index"} and, but for calls, "content_index". */
static json_t *place(const struct api_job *j, int index, const struct api_part *p)
{
    char id[ITEM_ID_BYTES];
    item_id(j, index, p->kind, id);
    json_t *v = json_pack("{s:s, s:i}", "item_id", id, "output_index", index);
    if (p->kind != API_CALL_OPEN)
        json_object_set_new(v, "content_index", json_integer(0));
    return v;
}

static json_t *part_event(const struct api_job *j, int index, const struct api_part *p, bool whole_part)
{
    json_t *v = place(j, index, p);
    const char *text = whole_part ? buf_str(&p->text) : "";
    size_t n = whole_part ? p->text.len : 0;
    json_object_set_new(v, "part", p->kind == API_TEXT ? text_part(text, n, json_array()) : thought_part(text, n));
    return v;
}

static void block_open(struct api_job *j, int index, const struct api_part *p, struct buf *out)
{
    event(j, "response.output_item.added",
          json_pack("{s:i, s:o}", "output_index", index, "item", item_of(j, index, p, "in_progress", false)), out);
    if (p->kind != API_CALL_OPEN)
        event(j, "response.content_part.added", part_event(j, index, p, false), out);
}

static void block_piece(struct api_job *j, int index, const struct api_part *p, const struct api_delta *d,
                        struct buf *out)
{
    json_t *v = place(j, index, p);
    json_object_set_new(v, "delta", json_stringn(d->text, d->length));
    if (p->kind == API_TEXT)
        json_object_set_new(v, "logprobs", logprobs_of(j, j->choices[0].token_sent, j->choices[0].token_ready));
    event(j, p->kind == API_TEXT ? "response.output_text.delta" : p->kind == API_REASONING ?
          "response.reasoning_text.delta" : "response.function_call_arguments.delta", v, out);
}

static void block_close(struct api_job *j, int index, const struct api_part *p, struct buf *out)
{
    bool cut = j->choices[0].finish == INFER_LENGTH;
    json_t *v = place(j, index, p);
    json_object_set_new(v, p->kind == API_CALL_OPEN ? "arguments" : "text",
                        json_stringn(buf_str(&p->text), p->text.len));
    if (p->kind == API_CALL_OPEN)
        json_object_set_new(v, "name", json_string(p->name));
    if (p->kind == API_TEXT)
        json_object_set_new(v, "logprobs", json_array());
    event(j, p->kind == API_TEXT ? "response.output_text.done" : p->kind == API_REASONING ?
          "response.reasoning_text.done" : "response.function_call_arguments.done", v, out);
    if (p->kind != API_CALL_OPEN)
        event(j, "response.content_part.done", part_event(j, index, p, true), out);
    event(j, "response.output_item.done",
          json_pack("{s:i, s:o}", "output_index", index, "item",
                    item_of(j, index, p, cut ? "incomplete" : "completed", true)), out);
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
    json_t *r = response_of(j, final_status(j), u);
    keep(j, r);
    event(j, j->choices[0].finish == INFER_LENGTH ? "response.incomplete" : "response.completed",
          json_pack("{s:o}", "response", r), out);
    buf_puts(out, "data: [DONE]\n\n");
}

static void error(struct api_job *j, const struct api_error *e, struct buf *out)
{
    if (!j->stream) {
        api_error_json(e, out);
        return;
    }
    json_t *r = response_of(j, "failed", NULL);
    json_object_set_new(r, "error", json_pack("{s:s, s:s}", "code", "server_error", "message", e->message));
    event(j, "response.failed", json_pack("{s:o}", "response", r), out);
}

const struct api_writer api_write_responses = {
    .stream_type = "text/event-stream", .keeps_parts = true, .begin = begin, .delta = delta, .finish = finish,
    .end = end, .whole = whole, .error = error,
};
