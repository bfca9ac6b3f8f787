/* responses -- /v1/responses: items, instructions, functions and text formats, rewritten as a chat body; and what is
 * asked about an earlier response by its id.
 *
 * A response that is stored keeps its conversation (without its instructions, as OpenAI does) in api_store, and
 * previous_response_id puts it before the new input. */
#include "api/fields.h"
#include "api/store.h"
#include "api/translate.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { CREATE = 1, COUNT = 2, EITHER = CREATE | COUNT, WHERE_BYTES = 96 };

static bool says(const json_t *v, const char *word)
{
    return json_is_string(v) && !strcmp(json_string_value(v), word);
}

static bool is_disabled(const json_t *v)
{
    return says(v, "disabled");
}

static const struct api_field fields[] = {
    { "model", EITHER, STRING, NULL },
    { "input", EITHER, READ, NULL },
    { "instructions", EITHER, STRING, NULL },
    { "previous_response_id", EITHER, STRING, NULL },
    { "tools", EITHER, READ, NULL },
    { "tool_choice", EITHER, READ, NULL },
    { "parallel_tool_calls", EITHER, BOOLEAN, NULL },
    { "text", EITHER, READ, NULL },
    { "reasoning", EITHER, READ, NULL },
    { "truncation", EITHER, NOT_YET, is_disabled },
    { "stream", CREATE, READ, NULL },
    { "stream_options", CREATE, READ, NULL },
    { "max_output_tokens", CREATE, READ, NULL },
    { "temperature", CREATE, READ, NULL },
    { "top_p", CREATE, READ, NULL },
    { "presence_penalty", CREATE, READ, NULL },
    { "frequency_penalty", CREATE, READ, NULL },
    { "top_k", CREATE, READ, NULL },
    { "min_p", CREATE, READ, NULL },
    { "seed", CREATE, READ, NULL },
    { "top_logprobs", CREATE, READ, NULL },
    { "include", CREATE, READ, NULL },
    { "store", CREATE, BOOLEAN, NULL },
    { "metadata", CREATE, OBJECT, NULL },
    { "user", CREATE, STRING, NULL },
    { "safety_identifier", CREATE, STRING, NULL },
    { "prompt_cache_key", CREATE, STRING, NULL },
    { "prompt_cache_retention", CREATE, ANY, NULL },
    { "prompt_cache_options", CREATE, ANY, NULL },
    { "service_tier", CREATE, STRING, NULL },
    { "max_tool_calls", CREATE, ANY, NULL }, /* counts calls of tools that run on the server: there are none */
    { "background", CREATE, NOT_YET, api_is_false },
    { "conversation", EITHER, NOT_YET, NULL },
    { "prompt", CREATE, NOT_YET, NULL },
    { "moderation", CREATE, NOT_YET, NULL },
    { "context_management", CREATE, NOT_YET, api_is_empty },
    { NULL, 0, READ, NULL },
};

const struct api_name api_names_responses[] = {
    { "max_tokens", "max_output_tokens" }, { "response_format", "text.format" },
    { "response_format.json_schema.schema", "text.format.schema" }, { "reasoning_effort", "reasoning.effort" },
    { "messages", "input" }, { NULL, NULL },
};

static const char *text_of(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));
    return s ? s : "";
}

/* ---- items */

static bool refuse_part(const char *where, const json_t *part, struct api_error *error)
{
    return api_refuse(error, 400, where, "unsupported_value", "%s: content of type '%.60s' is not supported; this "
                      "server takes text only", where, text_of(part, "type"));
}

/* A string, or a list of text parts, as the content of a message. */
static bool take_content(const json_t *v, const char *where, json_t *message, struct api_error *error)
{
    size_t i;
    const json_t *part;
    if (json_is_string(v)) {
        json_object_set(message, "content", (json_t *)v);
        return true;
    }
    if (!json_is_array(v))
        return api_refuse(error, 400, where, "invalid_type", "'%s' must be a string or a list of parts", where);
    json_object_set_new(message, "content", json_array());
    json_array_foreach(v, i, part) {
        char path[WHERE_BYTES];
        snprintf(path, sizeof path, "%.60s[%zu]", where, i);
        const char *type = text_of(part, "type");
        const json_t *text = json_object_get(part, strcmp(type, "refusal") ? "text" : "refusal");
        bool known = !strcmp(type, "input_text") || !strcmp(type, "output_text") || !strcmp(type, "text") ||
                     !strcmp(type, "refusal");
        if (!known || !json_is_string(text))
            return refuse_part(path, part, error);
        api_add_text(message, text);
    }
    return true;
}

static json_t *last_assistant(const json_t *messages)
{
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    return !strcmp(text_of(last, "role"), "assistant") ? last : NULL;
}

/* The assistant's turn that a call or thought belongs to: the one under way, or a new one. */
static json_t *assistant_turn(struct api_job *j, json_t *messages, const char *where)
{
    json_t *m = last_assistant(messages);
    return m ? m : api_add_message(j, messages, "assistant", where);
}

static bool take_message_item(struct api_job *j, const json_t *item, const char *where, json_t *messages,
                              struct api_error *error)
{
    static const char *const roles[] = { "user", "assistant", "system", "developer" };
    const char *role = text_of(item, "role");
    bool known = false;
    for (size_t i = 0; i < MEM_COUNT(roles); i++)
        known |= !strcmp(role, roles[i]);
    if (!known)
        return api_refuse(error, 400, where, "invalid_value",
                          "%s: 'role' must be user, assistant, system or developer", where);
    char path[WHERE_BYTES];
    snprintf(path, sizeof path, "%.60s.content", where);
    json_t *m = last_assistant(messages);
    bool goes_in = m && !strcmp(role, "assistant") && !json_object_get(m, "content") &&
                   !json_object_get(m, "tool_calls");
    if (!goes_in) /* else a thought opened the turn */
        m = api_add_message(j, messages, role, where);
    return take_content(json_object_get(item, "content"), path, m, error);
}

/* A thought's own text, or its summary where that is all there is. */
static bool take_reasoning(struct api_job *j, const json_t *item, const char *where, json_t *messages,
                           struct api_error *error)
{
    const json_t *content = json_object_get(item, "content"), *part;
    struct buf text = { 0 };
    size_t i;
    if (!json_array_size(content))
        content = json_object_get(item, "summary");
    json_array_foreach(content, i, part)
        buf_puts(&text, text_of(part, "text"));
    if (!text.len && json_is_string(json_object_get(item, "encrypted_content"))) {
        buf_release(&text);
        return api_refuse(error, 400, where, "unsupported_value", "%s: reasoning that another server encrypted cannot "
                          "be read here; leave the item out", where);
    }
    if (text.len) {
        json_t *m = api_add_message(j, messages, "assistant", where);
        json_object_set_new(m, "reasoning_content", json_stringn(buf_str(&text), text.len));
    }
    buf_release(&text);
    return true;
}

static bool take_output(struct api_job *j, const json_t *item, const char *where, json_t *messages,
                        struct api_error *error)
{
    char path[WHERE_BYTES];
    if (!json_is_string(json_object_get(item, "call_id")))
        return api_refuse(error, 400, where, "missing_required_parameter", "%s needs a 'call_id'", where);
    snprintf(path, sizeof path, "%.60s.output", where);
    json_t *m = api_add_message(j, messages, "tool", where);
    api_copy(item, "call_id", m, "tool_call_id");
    return take_content(json_object_get(item, "output"), path, m, error);
}

static bool take_item(struct api_job *j, const json_t *item, size_t i, json_t *messages, struct api_error *error)
{
    char where[WHERE_BYTES];
    snprintf(where, sizeof where, "input[%zu]", i);
    const char *type = text_of(item, "type");
    if (!*type ? json_object_get(item, "role") != NULL : !strcmp(type, "message"))
        return take_message_item(j, item, where, messages, error);
    if (!strcmp(type, "function_call")) {
        const json_t *name = json_object_get(item, "name"), *arguments = json_object_get(item, "arguments");
        if (!json_is_string(name) || !json_is_string(arguments))
            return api_refuse(error, 400, where, "invalid_value", "%s must have a 'name' and 'arguments', a string",
                              where);
        api_add_call(assistant_turn(j, messages, where), json_object_get(item, "call_id"), name, arguments);
        return true;
    }
    if (!strcmp(type, "function_call_output"))
        return take_output(j, item, where, messages, error);
    if (!strcmp(type, "reasoning"))
        return take_reasoning(j, item, where, messages, error);
    return api_refuse(error, 400, where, "unsupported_value", "%s: items of type '%.60s' are not supported here; send "
                      "messages, function calls and their outputs", where, type);
}

static bool take_input(struct api_job *j, const json_t *body, json_t *messages, struct api_error *error)
{
    const json_t *input = json_object_get(body, "input"), *item;
    size_t i;
    if (json_is_string(input)) {
        json_object_set(api_add_message(j, messages, "user", "input"), "content", (json_t *)input);
        return true;
    }
    if (!json_is_array(input) || !json_array_size(input))
        return api_refuse(error, 400, "input", "missing_required_parameter",
                          "'input' must be a string or a list with at least one item");
    json_array_foreach(input, i, item)
        if (!take_item(j, item, i, messages, error))
            return false;
    return true;
}

/* ---- the conversation */

static bool refuse_gone(const char *id, const char *param, int status, struct api_error *error)
{
    return api_refuse(error, status, param, status == 404 ? "not_found" : "previous_response_not_found", "no response "
                      "'%.80s' is kept: it was never stored, was forgotten for newer ones, or the model was restarted "
                      "since", id);
}

static bool take_previous(struct api_job *j, const json_t *body, json_t *messages, struct api_error *error)
{
    const json_t *id = json_object_get(body, "previous_response_id");
    if (!json_is_string(id))
        return true;
    struct buf text = { 0 };
    if (!j->store || !api_store_get(j->store, j->space, json_string_value(id), API_STORED_MESSAGES, &text)) {
        buf_release(&text);
        return refuse_gone(json_string_value(id), "previous_response_id", 400, error);
    }
    json_t *before = jsonx_parse(buf_str(&text), text.len, NULL);
    json_array_extend(messages, before);
    json_decref(before);
    buf_release(&text);
    return true;
}

/* messages: the conversation alone; the chat body has the instructions before it. */
static bool take_messages(struct api_job *j, const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *instructions = json_object_get(body, "instructions");
    json_t *messages = json_array(), *all = json_array();
    bool told = json_is_string(instructions) && json_string_length(instructions);
    bool ok = take_previous(j, body, messages, error) && take_input(j, body, messages, error);
    if (ok && told)
        json_array_append_new(all, json_pack("{s:s, s:O}", "role", "system", "content", instructions));
    if (ok && told && j->origins)
        json_array_insert_new(j->origins, 0, json_string("instructions"));
    json_array_extend(all, messages);
    json_object_set_new(chat, "messages", all);
    j->conversation = messages;
    return ok;
}

/* ---- tools, format, reasoning */

static bool take_tools(const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *tools = json_object_get(body, "tools"), *tool;
    size_t i;
    if (!tools || json_is_null(tools) || api_is_empty(tools))
        return true;
    if (!json_is_array(tools))
        return api_refuse(error, 400, "tools", "invalid_type", "'tools' must be a list");
    json_t *list = json_array();
    json_object_set_new(chat, "tools", list);
    json_array_foreach(tools, i, tool) {
        char where[WHERE_BYTES];
        snprintf(where, sizeof where, "tools[%zu]", i);
        const json_t *name = json_object_get(tool, "name");
        if (strcmp(text_of(tool, "type"), "function"))
            return api_refuse(error, 400, where, "unsupported_value", "%s: tools of type '%.60s' run on the server, "
                              "and this one runs none; only functions are supported", where, text_of(tool, "type"));
        if (!json_is_string(name))
            return api_refuse(error, 400, where, "missing_required_parameter", "%s needs a 'name'", where);
        json_t *f = api_function(name, json_object_get(tool, "description"), json_object_get(tool, "parameters"));
        api_copy(tool, "strict", json_object_get(f, "function"), "strict");
        json_array_append_new(list, f);
    }
    return true;
}

/* {"type":"allowed_tools","mode","tools":[{"type":"function","name"}]}: only those are offered. */
static bool allow_tools(const json_t *choice, json_t *chat, struct api_error *error)
{
    const json_t *allowed = json_object_get(choice, "tools"), *one, *f;
    json_t *left = json_array();
    size_t i, k;
    json_array_foreach(allowed, i, one)
        json_array_foreach(json_object_get(chat, "tools"), k, f)
            if (!strcmp(text_of(one, "name"), text_of(json_object_get(f, "function"), "name")))
                json_array_append(left, (json_t *)f);
    bool ok = json_array_size(left) == json_array_size(allowed) && json_array_size(left);
    json_object_set_new(chat, "tools", left);
    json_object_set_new(chat, "tool_choice", json_string(!strcmp(text_of(choice, "mode"), "required") ? "required" :
                                                         "auto"));
    return ok || api_refuse(error, 400, "tool_choice", "invalid_value",
                            "'tool_choice.tools' must name functions that are among 'tools'");
}

static bool take_choice(const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *choice = json_object_get(body, "tool_choice");
    api_copy(body, "parallel_tool_calls", chat, "parallel_tool_calls");
    if (!choice || json_is_null(choice))
        return true;
    if (says(choice, "auto") || says(choice, "none") || says(choice, "required"))
        api_copy(body, "tool_choice", chat, "tool_choice");
    else if (!strcmp(text_of(choice, "type"), "function") && json_is_string(json_object_get(choice, "name")))
        json_object_set_new(chat, "tool_choice", api_function(json_object_get(choice, "name"), NULL, NULL));
    else if (!strcmp(text_of(choice, "type"), "allowed_tools"))
        return allow_tools(choice, chat, error);
    else
        return api_refuse(error, 400, "tool_choice", "invalid_value", "'tool_choice' must be auto, none, required, or "
                          "name a function");
    return true;
}

static bool is_medium(const json_t *v)
{
    return says(v, "medium"); /* the default */
}

static bool take_text(const json_t *body, json_t *chat, struct api_error *error)
{
    static const struct api_field known[] = {
        { "format", 1, OBJECT, NULL }, { "verbosity", 1, NOT_YET, is_medium }, { NULL, 0, READ, NULL },
    };
    const json_t *text = json_object_get(body, "text"), *format = json_object_get(text, "format");
    if (!text || json_is_null(text))
        return true;
    if (!api_fields_of(text, known, 1, "text", error))
        return false;
    if (!format || json_is_null(format))
        return true;
    if (strcmp(text_of(format, "type"), "json_schema")) {
        json_object_set(chat, "response_format", (json_t *)format);
        return true;
    }
    if (!json_object_get(format, "schema"))
        return api_refuse(error, 400, "text.format.schema", "missing_required_parameter",
                          "'text.format.schema' is missing");
    json_object_set_new(chat, "response_format", api_schema_format(json_object_get(format, "schema"),
                        json_object_get(format, "name"), json_object_get(format, "strict")));
    return true;
}

static bool take_effort(const json_t *body, json_t *chat, struct api_error *error)
{
    static const struct api_field known[] = {
        { "effort", 1, STRING, NULL }, { "summary", 1, STRING, NULL }, /* thoughts are shown whole, asked or not */
        { "generate_summary", 1, STRING, NULL }, { NULL, 0, READ, NULL },
    };
    const json_t *reasoning = json_object_get(body, "reasoning");
    if (!reasoning || json_is_null(reasoning))
        return true;
    api_copy(reasoning, "effort", chat, "reasoning_effort");
    return api_fields_of(reasoning, known, 1, "reasoning", error);
}

static bool take_include(const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *include = json_object_get(body, "include"), *one, *top = json_object_get(body, "top_logprobs");
    bool wanted = json_is_integer(top) && json_integer_value(top) > 0;
    size_t i;
    if (include && !json_is_null(include) && !json_is_array(include))
        return api_refuse(error, 400, "include", "invalid_type", "'include' must be a list");
    json_array_foreach(include, i, one) {
        wanted |= says(one, "message.output_text.logprobs");
        if (!says(one, "message.output_text.logprobs") && !says(one, "reasoning.encrypted_content"))
            return api_refuse(error, 400, "include", "unsupported_value", "'include' may hold "
                              "message.output_text.logprobs and reasoning.encrypted_content; the rest is not here");
    }
    if (wanted) {
        json_object_set_new(chat, "logprobs", json_true());
        api_copy(body, "top_logprobs", chat, "top_logprobs");
    }
    return true;
}

static bool take_all(struct api_job *j, const json_t *body, json_t *chat, struct api_error *error)
{
    return take_messages(j, body, chat, error) && take_tools(body, chat, error) && take_choice(body, chat, error) &&
           take_text(body, chat, error) && take_effort(body, chat, error);
}

bool api_translate_responses(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error)
{
    static const char *const same[] = { "stream", "temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty",
                                        "frequency_penalty" };
    if (!api_fields_of(body, fields, CREATE, "", error))
        return false;
    *chat = json_object();
    for (size_t i = 0; i < MEM_COUNT(same); i++)
        api_copy(body, same[i], *chat, same[i]);
    api_copy(body, "max_output_tokens", *chat, "max_tokens");
    const json_t *options = json_object_get(body, "stream_options");
    if (json_object_get(options, "include_usage") == NULL)
        api_copy(body, "stream_options", *chat, "stream_options");
    if (take_all(j, body, *chat, error) && take_include(body, *chat, error))
        return true;
    json_decref(*chat);
    *chat = NULL;
    return false;
}

bool api_translate_input_tokens(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error)
{
    if (!api_fields_of(body, fields, COUNT, "", error))
        return false;
    *chat = json_object();
    if (take_all(j, body, *chat, error))
        return true;
    json_decref(*chat);
    *chat = NULL;
    return false;
}

void api_count_input_tokens(struct api_job *j)
{
    buf_printf(&j->ready, "{\"object\":\"response.input_tokens\",\"input_tokens\":%zu}", j->prompts[0].count);
}

/* ---- by id */

static void put_items(struct api_job *j, const struct buf *text)
{
    json_t *items = jsonx_parse(buf_str(text), text->len, NULL);
    size_t n = json_array_size(items);
    const json_t *first = json_array_get(items, 0), *last = json_array_get(items, n - 1);
    json_t *list = json_pack("{s:s, s:s, s:s, s:b}", "object", "list", "first_id", text_of(first, "id"), "last_id",
                             text_of(last, "id"), "has_more", false);
    json_object_set_new(list, "data", items);
    jsonx_dump(list, &j->ready);
    json_decref(list);
}

bool api_find_response(struct api_job *j, const char *rest, struct api_error *error)
{
    char id[128] = "";
    const char *slash = strchr(rest, '/');
    size_t n = slash ? (size_t)(slash - rest) : strlen(rest);
    bool items = slash && !strcmp(slash, "/input_items");
    struct buf text = { 0 };
    if (n < sizeof id)
        memcpy(id, rest, n);
    if (slash && !items)
        return api_refuse(error, 404, "", "unknown_url", "no such route: /v1/responses/ID%.60s", slash);
    if (!j->store || !api_store_get(j->store, j->space, id, items ? API_STORED_INPUT : API_STORED_RESPONSE, &text)) {
        buf_release(&text);
        return refuse_gone(id, "", 404, error);
    }
    if (items)
        put_items(j, &text);
    else
        buf_append(&j->ready, text.data, text.len);
    buf_release(&text);
    return true;
}

bool api_delete_response(struct api_job *j, const char *rest, struct api_error *error)
{
    if (!j->store || !api_store_delete(j->store, j->space, rest))
        return refuse_gone(rest, "", 404, error);
    buf_puts(&j->ready, "{\"id\":");
    jsonx_quote(rest, strlen(rest), &j->ready);
    buf_puts(&j->ready, ",\"object\":\"response\",\"deleted\":true}");
    return true;
}
