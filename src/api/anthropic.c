/* anthropic -- /v1/messages and its count_tokens: system, content blocks, tools and thinking, rewritten as a chat body.
 *
 * Tool results become messages of their own, in the place of the block that carried them. What only Anthropic's models
 * could read (signed thinking of another server, images, documents, server tools) is refused by its path. */
#include "api/fields.h"
#include "api/translate.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { CREATE = 1, COUNT = 2, EITHER = CREATE | COUNT, WHERE_BYTES = 96 };

static bool is_standard(const json_t *v)
{
    return json_is_string(v) && !strcmp(json_string_value(v), "standard");
}

static const struct api_field fields[] = {
    { "model", EITHER, STRING, NULL },
    { "messages", EITHER, READ, NULL },
    { "system", EITHER, READ, NULL },
    { "tools", EITHER, READ, NULL },
    { "tool_choice", EITHER, READ, NULL },
    { "thinking", EITHER, READ, NULL },
    { "output_config", EITHER, READ, NULL },
    { "max_tokens", CREATE, READ, NULL },
    { "stop_sequences", CREATE, READ, NULL },
    { "stream", CREATE, READ, NULL },
    { "temperature", CREATE, READ, NULL },
    { "top_p", CREATE, READ, NULL },
    { "top_k", CREATE, READ, NULL },
    { "metadata", CREATE, OBJECT, NULL },
    { "service_tier", CREATE, STRING, NULL },
    { "cache_control", EITHER, OBJECT, NULL }, /* every prefix is cached here, asked or not */
    { "user_profile_id", EITHER, STRING, NULL },
    { "workspace_id", EITHER, STRING, NULL },
    { "speed", EITHER, NOT_YET, is_standard },
    { "thread", EITHER, READ, NULL },
    { "inference_geo", EITHER, NOT_YET, NULL }, /* a promise about the place: policy is not asked here */
    { "diagnostics", CREATE, NOT_YET, api_is_empty },
    { "container", CREATE, NOT_YET, NULL },
    { "mcp_servers", EITHER, NOT_YET, api_is_empty },
    { "context_management", EITHER, NOT_YET, api_is_empty },
    { NULL, 0, READ, NULL },
};

static const struct api_field tool_fields[] = {
    { "type", EITHER, STRING, NULL },
    { "name", EITHER, STRING, NULL },
    { "description", EITHER, STRING, NULL },
    { "input_schema", EITHER, OBJECT, NULL },
    { "cache_control", EITHER, OBJECT, NULL },
    { "eager_input_streaming", EITHER, BOOLEAN, NULL }, /* arguments come as they are made, always */
    { "strict", EITHER, BOOLEAN, NULL },
    { "input_examples", EITHER, NOT_YET, api_is_empty },
    { "defer_loading", EITHER, NOT_YET, api_is_false },
    { "allowed_callers", EITHER, NOT_YET, api_is_empty },
    { NULL, 0, READ, NULL },
};

const struct api_name api_names_messages[] = {
    { "stop", "stop_sequences" }, { "response_format", "output_config.format" },
    { "reasoning_effort", "output_config.effort" }, { "enable_thinking", "thinking" },
    { "thinking_budget", "thinking.budget_tokens" }, { "parallel_tool_calls", "tool_choice.disable_parallel_tool_use" },
    { NULL, NULL },
};

static const char *type_of(const json_t *block)
{
    const char *type = json_string_value(json_object_get(block, "type"));
    return type ? type : "";
}

static bool refuse_block(const char *where, const json_t *block, struct api_error *error)
{
    const char *type = type_of(block);
    if (!*type)
        return api_refuse(error, 400, where, "invalid_type", "%s must be an object with a 'type'", where);
    if (!strcmp(type, "image") || !strcmp(type, "document"))
        return api_refuse(error, 400, where, "unsupported_value", "%s: content of type '%s' is not supported; this "
                          "server takes text only", where, type);
    return api_refuse(error, 400, where, "unsupported_value", "%s: content of type '%.60s' is not supported here; "
                      "leave it out", where, type);
}

/* Text, or a list of text blocks, into the parts of a message. */
static bool take_text(const json_t *v, const char *where, json_t *message, struct api_error *error)
{
    size_t i;
    const json_t *block;
    if (json_is_string(v)) {
        json_object_set(message, "content", (json_t *)v);
        return true;
    }
    if (!json_is_array(v))
        return api_refuse(error, 400, where, "invalid_type", "'%s' must be a string or a list of text blocks", where);
    json_object_set_new(message, "content", json_array());
    json_array_foreach(v, i, block) {
        char path[WHERE_BYTES];
        snprintf(path, sizeof path, "%.60s[%zu]", where, i);
        if (strcmp(type_of(block), "text") || !json_is_string(json_object_get(block, "text")))
            return refuse_block(path, block, error);
        api_add_text(message, json_object_get(block, "text"));
    }
    return true;
}

/* {"type":"tool_result","tool_use_id","content","is_error"}: a message of role tool. */
static bool take_result(struct api_job *j, const json_t *block, const char *where, json_t *messages,
                        struct api_error *error)
{
    const json_t *id = json_object_get(block, "tool_use_id"), *content = json_object_get(block, "content");
    char path[WHERE_BYTES];
    if (!json_is_string(id))
        return api_refuse(error, 400, where, "missing_required_parameter", "%s needs a 'tool_use_id'", where);
    json_t *m = api_add_message(j, messages, "tool", where);
    json_object_set(m, "tool_call_id", (json_t *)id);
    if (json_is_true(json_object_get(block, "is_error"))) { /* said in the text: templates have no place for it */
        json_t *word = json_string("The tool failed:");
        api_add_text(m, word);
        json_decref(word);
    }
    if (!content || json_is_null(content)) {
        if (!json_object_get(m, "content"))
            json_object_set_new(m, "content", json_string(""));
        return true;
    }
    snprintf(path, sizeof path, "%.60s.content", where);
    json_t *parts = json_incref(json_object_get(m, "content"));
    bool ok = take_text(content, path, m, error);
    if (ok && parts) { /* the word before what the tool said */
        json_t *said = json_incref(json_object_get(m, "content"));
        json_object_set(m, "content", parts);
        if (json_is_string(said))
            api_add_text(m, said);
        else
            json_array_extend(parts, said);
        json_decref(said);
    }
    json_decref(parts);
    return ok;
}

static bool take_user(struct api_job *j, const json_t *blocks, const char *where, json_t *messages,
                      struct api_error *error)
{
    size_t i;
    const json_t *block;
    json_t *open = NULL; /* the user message that text goes to; a tool result closes it */
    json_array_foreach(blocks, i, block) {
        char path[WHERE_BYTES];
        snprintf(path, sizeof path, "%.40s.content[%zu]", where, i);
        const char *type = type_of(block);
        if (!strcmp(type, "text") && json_is_string(json_object_get(block, "text"))) {
            open = open ? open : api_add_message(j, messages, "user", path);
            api_add_text(open, json_object_get(block, "text"));
        } else if (!strcmp(type, "tool_result")) {
            open = NULL;
            if (!take_result(j, block, path, messages, error))
                return false;
        } else {
            return refuse_block(path, block, error);
        }
    }
    return true;
}

static bool take_assistant_block(json_t *m, const json_t *block, const char *path, struct api_error *error)
{
    const char *type = type_of(block);
    const json_t *text = json_object_get(block, "text"), *thought = json_object_get(block, "thinking");
    const json_t *name = json_object_get(block, "name"), *input = json_object_get(block, "input");
    if (!strcmp(type, "text") && json_is_string(text)) {
        api_add_text(m, text);
    } else if (!strcmp(type, "thinking") && json_is_string(thought)) {
        const char *before = json_string_value(json_object_get(m, "reasoning_content"));
        json_object_set_new(m, "reasoning_content", json_sprintf("%s%s", before ? before : "",
                                                                 json_string_value(thought)));
    } else if (!strcmp(type, "tool_use")) {
        if (!json_is_string(name) || !json_is_object(input))
            return api_refuse(error, 400, path, "invalid_value", "%s must have a 'name' and an object 'input'", path);
        api_add_call(m, json_object_get(block, "id"), name, input);
    } else {
        return refuse_block(path, block, error);
    }
    return true;
}

static bool take_assistant(struct api_job *j, const json_t *blocks, const char *where, json_t *messages,
                           struct api_error *error)
{
    size_t i;
    const json_t *block;
    json_t *m = api_add_message(j, messages, "assistant", where);
    json_array_foreach(blocks, i, block) {
        char path[WHERE_BYTES];
        snprintf(path, sizeof path, "%.40s.content[%zu]", where, i);
        if (!take_assistant_block(m, block, path, error))
            return false;
    }
    if (!json_object_get(m, "content") && !json_object_get(m, "tool_calls"))
        json_object_set_new(m, "content", json_string(""));
    return true;
}

static bool take_message(struct api_job *j, const json_t *message, size_t i, json_t *messages,
                         struct api_error *error)
{
    char where[WHERE_BYTES];
    snprintf(where, sizeof where, "messages[%zu]", i);
    const char *role = json_string_value(json_object_get(message, "role")), *key;
    const json_t *content = json_object_get(message, "content");
    bool user = role && !strcmp(role, "user");
    json_t *v;
    if (!user && !(role && (!strcmp(role, "assistant") || !strcmp(role, "system"))))
        return api_refuse(error, 400, where, "invalid_value", "%s must be an object whose 'role' is user or assistant",
                          where);
    json_object_foreach((json_t *)message, key, v)
        if (strcmp(key, "role") && strcmp(key, "content"))
            return api_refuse(error, 400, where, "unknown_parameter", "%s: unknown field '%.60s'; leave it out", where,
                              key);
    if (json_is_array(content) && json_array_size(content) && strcmp(role, "system"))
        return user ? take_user(j, content, where, messages, error)
                    : take_assistant(j, content, where, messages, error);
    char path[WHERE_BYTES];
    snprintf(path, sizeof path, "%.60s.content", where);
    return take_text(content, path, api_add_message(j, messages, role, where), error);
}

static bool take_messages(struct api_job *j, const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *list = json_object_get(body, "messages"), *system = json_object_get(body, "system"), *m;
    json_t *messages = json_array();
    size_t i;
    json_object_set_new(chat, "messages", messages);
    if (!json_is_array(list) || !json_array_size(list))
        return api_refuse(error, 400, "messages", "invalid_type",
                          "'messages' must be a list with at least one message");
    bool says = system && !json_is_null(system) && !api_is_empty(system);
    if (says && !take_text(system, "system", api_add_message(j, messages, "system", "system"), error))
        return false;
    json_array_foreach(list, i, m)
        if (!take_message(j, m, i, messages, error))
            return false;
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (role && !strcmp(role, "assistant") && !json_object_get(last, "tool_calls")) /* the answer goes on from it */
        json_object_set_new(chat, "continue_final_message", json_true());
    return true;
}

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
        const char *type = type_of(tool);
        const json_t *name = json_object_get(tool, "name"), *schema = json_object_get(tool, "input_schema");
        if (*type && strcmp(type, "custom"))
            return api_refuse(error, 400, where, "unsupported_value", "%s: tools of type '%.60s' run on Anthropic's "
                              "servers or need its models; only your own tools are supported here", where, type);
        if (!api_fields_of(tool, tool_fields, EITHER, where, error))
            return false;
        if (!json_is_string(name) || !json_is_object(schema))
            return api_refuse(error, 400, where, "invalid_value", "%s must have a 'name' and an object 'input_schema'",
                              where);
        json_t *f = api_function(name, json_object_get(tool, "description"), schema);
        api_copy(tool, "strict", json_object_get(f, "function"), "strict");
        json_array_append_new(list, f);
    }
    return true;
}

static bool take_choice(const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *choice = json_object_get(body, "tool_choice"), *name = json_object_get(choice, "name");
    const json_t *alone = json_object_get(choice, "disable_parallel_tool_use");
    const char *type = type_of(choice);
    if (!choice || json_is_null(choice))
        return true;
    if (json_is_true(alone))
        json_object_set_new(chat, "parallel_tool_calls", json_false());
    if (!strcmp(type, "auto") || !strcmp(type, "none"))
        json_object_set_new(chat, "tool_choice", json_string(type));
    else if (!strcmp(type, "any"))
        json_object_set_new(chat, "tool_choice", json_string("required"));
    else if (!strcmp(type, "tool") && json_is_string(name))
        json_object_set_new(chat, "tool_choice", api_function(name, NULL, NULL));
    else
        return api_refuse(error, 400, "tool_choice", "invalid_value",
                          "'tool_choice.type' must be auto, any, none, or tool with a 'name'");
    return true;
}

/* {"type":"enabled","budget_tokens":N} | {"type":"adaptive"} | {"type":"disabled"}; absent: none, as with Anthropic. */
static bool take_thinking(const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *thinking = json_object_get(body, "thinking");
    const char *type = type_of(thinking);
    if (!thinking || json_is_null(thinking) || !strcmp(type, "disabled")) {
        json_object_set_new(chat, "enable_thinking", json_false());
        return true;
    }
    if (strcmp(type, "enabled") && strcmp(type, "adaptive"))
        return api_refuse(error, 400, "thinking.type", "invalid_value",
                          "'thinking.type' must be enabled, adaptive or disabled");
    json_object_set_new(chat, "enable_thinking", json_true());
    api_copy(thinking, "budget_tokens", chat, "thinking_budget");
    return true;
}

/* {"format":{"type":"json_schema","schema"},"effort":"low"|...} */
static bool take_output(const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *config = json_object_get(body, "output_config"), *format = json_object_get(config, "format");
    const char *key;
    json_t *v;
    if (!config || json_is_null(config))
        return true;
    json_object_foreach((json_t *)config, key, v)
        if (strcmp(key, "format") && strcmp(key, "effort"))
            return api_refuse(error, 400, "output_config", "unknown_parameter",
                              "unknown field 'output_config.%.60s'; leave it out", key);
    api_copy(config, "effort", chat, "reasoning_effort");
    if (!format || json_is_null(format))
        return true;
    if (strcmp(type_of(format), "json_schema") || !json_object_get(format, "schema"))
        return api_refuse(error, 400, "output_config.format", "invalid_value",
                          "'output_config.format' must be {\"type\": \"json_schema\", \"schema\": {...}}");
    json_object_set_new(chat, "response_format", api_schema_format(json_object_get(format, "schema"), NULL, NULL));
    return true;
}

static bool take_all(struct api_job *j, const json_t *body, json_t *chat, struct api_error *error)
{
    return take_messages(j, body, chat, error) && take_tools(body, chat, error) && take_choice(body, chat, error) &&
           take_thinking(body, chat, error) && take_output(body, chat, error);
}

/* Their clients' tool loop asks for a conversation that the server holds; told in their own code that there is none, it
 * sends the whole conversation instead. */
static bool check_thread(const json_t *body, struct api_error *error)
{
    const json_t *thread = json_object_get(body, "thread");
    return !thread || json_is_null(thread) ||
           api_refuse(error, 400, "thread", "thread_unsupported_request", "'thread' is not supported: no conversation "
                      "is held here; send all its messages");
}

bool api_translate_messages(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error)
{
    static const char *const same[] = { "max_tokens", "stream", "temperature", "top_p", "top_k" };
    if (!api_fields_of(body, fields, CREATE, "", error) || !check_thread(body, error))
        return false;
    if (!json_is_integer(json_object_get(body, "max_tokens")))
        return api_refuse(error, 400, "max_tokens", "missing_required_parameter",
                          "'max_tokens' is required: how many tokens the answer may have");
    *chat = json_object();
    for (size_t i = 0; i < MEM_COUNT(same); i++)
        api_copy(body, same[i], *chat, same[i]);
    api_copy(body, "stop_sequences", *chat, "stop");
    if (take_all(j, body, *chat, error))
        return true;
    json_decref(*chat);
    *chat = NULL;
    return false;
}

bool api_translate_count(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error)
{
    if (!api_fields_of(body, fields, COUNT, "", error) || !check_thread(body, error))
        return false;
    *chat = json_object();
    if (take_all(j, body, *chat, error))
        return true;
    json_decref(*chat);
    *chat = NULL;
    return false;
}

void api_count_tokens(struct api_job *j)
{
    buf_printf(&j->ready, "{\"input_tokens\":%zu}", j->prompts[0].count);
}
