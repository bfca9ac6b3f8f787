/* chat -- /v1/chat/completions: messages are checked field by field, rewritten as chat templates expect them
 * (roles they know, content as one string, tool arguments as objects), rendered and encoded.
 *
 * The client's JSON is never handed to the template as it came: what the template sees was built here. */
#include "api/job.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Put behind the last message's content to find where it ends in the rendered text: whatever the template does to
 * the end of a message then happens to the marker. */
static const char CONTINUE_MARK[] = "twContinuesHere5f3a9c71";

enum { PATH_MAX_BYTES = 72 };
struct where { /* "messages[3].content" */
    char path[PATH_MAX_BYTES];
};

static struct where at(size_t message, const char *field)
{
    struct where w;
    snprintf(w.path, sizeof w.path, "messages[%zu]%s%.40s", message, *field ? "." : "", field);
    return w;
}

static const char *string_or_null(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

/* The text parts of an array, a newline between them; anything that is no text part is refused by its type. */
static bool join_parts(const json_t *parts, size_t message, struct buf *out, struct api_error *error)
{
    size_t i;
    const json_t *part;
    if (json_array_size(parts) > API_PARTS_MAX)
        return api_refuse(error, 400, at(message, "content").path, "invalid_value", "more than %d content parts",
                          API_PARTS_MAX);
    json_array_foreach(parts, i, part) {
        char param[sizeof ((struct api_error *)0)->param];
        snprintf(param, sizeof param, "messages[%zu].content[%zu].type", message, i);
        const char *type = string_or_null(part, "type");
        const json_t *text = json_object_get(part, "text");
        if (!type)
            return api_refuse(error, 400, param, "invalid_type", "each content part must be an object with a 'type'");
        if (strcmp(type, "text"))
            return api_refuse(error, 400, param, "unsupported_value", "content parts of type '%.60s' are not "
                              "supported; this server takes text only", type);
        if (!json_is_string(text))
            return api_refuse(error, 400, param, "invalid_type", "a content part of type 'text' must have a string "
                              "'text'");
        if (i)
            buf_putc(out, '\n');
        buf_append(out, json_string_value(text), json_string_length(text));
    }
    return true;
}

static bool take_content(const json_t *message, size_t i, bool may_lack, json_t *to, struct api_error *error)
{
    const json_t *content = json_object_get(message, "content");
    if (!content || json_is_null(content)) {
        if (!may_lack)
            return api_refuse(error, 400, at(i, "content").path, "missing_required_parameter",
                              "message %zu has no content", i);
        json_object_set_new(to, "content", json_null());
        return true;
    }
    if (json_is_string(content)) {
        json_object_set(to, "content", (json_t *)content);
        return true;
    }
    if (!json_is_array(content))
        return api_refuse(error, 400, at(i, "content").path, "invalid_type",
                          "'content' must be a string or an array of text parts");
    struct buf text = { 0 };
    bool ok = join_parts(content, i, &text, error);
    if (ok)
        json_object_set_new(to, "content", json_stringn(buf_str(&text), text.len));
    buf_release(&text);
    return ok;
}

/* Templates want a call's arguments as the object the string holds. */
static json_t *take_call(const json_t *call)
{
    const json_t *f = json_object_get(call, "function"), *args = json_object_get(f, "arguments");
    const char *name = string_or_null(f, "name"), *type = string_or_null(call, "type");
    if (!name || !json_is_string(args) || (type && strcmp(type, "function")))
        return NULL;
    json_t *parsed = jsonx_parse(json_string_value(args), json_string_length(args), NULL);
    if (!json_is_object(parsed)) {
        json_decref(parsed);
        parsed = json_incref((json_t *)args);
    }
    json_t *out = json_pack("{s:s, s:{s:s, s:o}}", "type", "function", "function", "name", name, "arguments", parsed);
    if (out && string_or_null(call, "id"))
        json_object_set(out, "id", json_object_get(call, "id"));
    return out;
}

static bool take_calls(const json_t *message, size_t i, json_t *to, struct api_error *error)
{
    const json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t k;
    if (!calls || json_is_null(calls) || (json_is_array(calls) && !json_array_size(calls)))
        return true;
    if (!json_is_array(calls))
        return api_refuse(error, 400, at(i, "tool_calls").path, "invalid_type", "'tool_calls' must be an array");
    json_t *list = json_array();
    json_object_set_new(to, "tool_calls", list);
    json_array_foreach(calls, k, call) {
        json_t *taken = take_call(call);
        if (!taken)
            return api_refuse(error, 400, at(i, "tool_calls").path, "invalid_value", "tool call %zu must be "
                              "{\"id\", \"type\": \"function\", \"function\": {\"name\", \"arguments\": string}}", k);
        json_array_append_new(list, taken);
    }
    return true;
}

/* What a message may carry besides role and content, and for which roles. */
static bool take_extras(const json_t *message, size_t i, const char *role, json_t *to, struct api_error *error)
{
    const char *key;
    json_t *v;
    bool assistant = !strcmp(role, "assistant"), tool = !strcmp(role, "tool");
    json_object_foreach((json_t *)message, key, v) {
        bool empty = json_is_null(v) || (json_is_array(v) && !json_array_size(v));
        if (!strcmp(key, "role") || !strcmp(key, "content") || empty)
            continue;
        bool text = !strcmp(key, "name") || (tool && !strcmp(key, "tool_call_id")) ||
                    (assistant && !strcmp(key, "reasoning_content"));
        if (text && !json_is_string(v))
            return api_refuse(error, 400, at(i, key).path, "invalid_type", "'%.60s' must be a string", key);
        if (text)
            json_object_set(to, key, v);
        else if (!(assistant && (!strcmp(key, "tool_calls") || !strcmp(key, "annotations"))))
            return api_refuse(error, 400, at(i, key).path, "unknown_parameter",
                              "'%.60s' in a message of role '%s' is not supported; leave it out", key, role);
    }
    return !assistant || take_calls(message, i, to, error);
}

static bool take_message(struct api_job *j, const json_t *message, size_t i, json_t *list, struct api_error *error)
{
    static const char *const roles[] = { "system", "developer", "user", "assistant", "tool" };
    const char *role = string_or_null(message, "role");
    bool known = false;
    for (size_t k = 0; role && k < MEM_COUNT(roles); k++)
        known |= !strcmp(role, roles[k]);
    if (!known)
        return api_refuse(error, 400, at(i, "role").path, "invalid_value", "message %zu must be an object whose "
                          "'role' is system, developer, user, assistant or tool", i);
    /* templates that know `developer` take it for another name of `system`; the others know only the latter */
    const char *shown = strcmp(role, "developer") ? role : "system";
    json_t *to = json_pack("{s:s}", "role", shown);
    json_array_append_new(list, to);
    bool calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
    return take_content(message, i, calls, to, error) && take_extras(message, i, role, to, error);
}

static bool take_messages(struct api_job *j, const json_t *body, json_t *list, struct api_error *error)
{
    const json_t *messages = json_object_get(body, "messages"), *m;
    size_t i;
    if (!messages || json_is_null(messages))
        return api_refuse(error, 400, "messages", "missing_required_parameter", "'messages' is required");
    if (!json_is_array(messages) || !json_array_size(messages))
        return api_refuse(error, 400, "messages", "invalid_type", "'messages' must be an array with at least one "
                          "message");
    if (json_array_size(messages) > API_MESSAGES_MAX)
        return api_refuse(error, 400, "messages", "invalid_value", "'messages' has more than %d messages",
                          API_MESSAGES_MAX);
    json_array_foreach(messages, i, m)
        if (!take_message(j, m, i, list, error))
            return false;
    return true;
}

/* A variable of the client's for the template. One the template never names would be ignored: refused, except where
 * ignoring it is what was asked for. */
static bool take_variable(struct api_job *j, const char *param, const char *key, json_t *v, json_t *context,
                          struct api_error *error)
{
    static const char *const ours[] = { "messages", "tools", "documents", "bos_token", "eos_token",
                                        "add_generation_prompt" };
    for (size_t i = 0; i < MEM_COUNT(ours); i++)
        if (!strcmp(key, ours[i]))
            return api_refuse(error, 400, param, "invalid_value", "'%s' may not set '%s'", param, key);
    bool asks_nothing = (!strcmp(key, "enable_thinking") && json_is_false(v)) ||
                        (!strcmp(key, "reasoning_effort") && json_is_string(v) &&
                         !strcmp(json_string_value(v), "none")) || json_is_null(v);
    if (!asks_nothing && !template_mentions(j->model->chat, key))
        return api_refuse(error, 400, param, "unsupported_parameter", "the chat template of the model '%s' knows "
                          "nothing of '%.60s'; leave it out", j->model->id, key);
    json_object_set(context, key, v);
    return true;
}

static bool take_variables(struct api_job *j, const json_t *body, json_t *context, struct api_error *error)
{
    json_t *kwargs = json_object_get(body, "chat_template_kwargs"), *v;
    const char *key;
    if (kwargs && !json_is_null(kwargs) && !json_is_object(kwargs))
        return api_refuse(error, 400, "chat_template_kwargs", "invalid_type",
                          "'chat_template_kwargs' must be an object");
    if (json_is_object(kwargs))
        json_object_foreach(kwargs, key, v)
            if (!take_variable(j, "chat_template_kwargs", key, v, context, error))
                return false;
    v = json_object_get(body, "enable_thinking");
    if (v && !json_is_null(v) && !json_is_boolean(v))
        return api_refuse(error, 400, "enable_thinking", "invalid_type", "'enable_thinking' must be true or false");
    if (v && !take_variable(j, "enable_thinking", "enable_thinking", v, context, error))
        return false;
    v = json_object_get(body, "reasoning_effort");
    if (v && !json_is_null(v) && !json_is_string(v))
        return api_refuse(error, 400, "reasoning_effort", "invalid_type", "'reasoning_effort' must be a string");
    return !v || take_variable(j, "reasoning_effort", "reasoning_effort", v, context, error);
}

static void set_token(json_t *context, const char *key, const struct vocab *v, int id)
{
    struct gguf_str s = id >= 0 ? vocab_token_text(v, id) : (struct gguf_str){ "", 0 };
    json_t *text = json_stringn(s.data, s.len);
    json_object_set_new(context, key, text ? text : json_string(""));
}

/* Whether the answer opens a new turn (*opens) or goes on with the last message (*goes_on). */
static bool read_ending(const json_t *body, bool *opens, bool *goes_on, struct api_error *error)
{
    struct err e;
    const json_t *v = json_object_get(body, "add_generation_prompt");
    *goes_on = false;
    if (jsonx_get_bool(body, "continue_final_message", goes_on, &e))
        return api_refuse(error, 400, "continue_final_message", "invalid_type", "%s", e.text);
    *opens = !*goes_on;
    if (jsonx_get_bool(body, "add_generation_prompt", opens, &e))
        return api_refuse(error, 400, "add_generation_prompt", "invalid_type", "%s", e.text);
    if (*opens && *goes_on && v)
        return api_refuse(error, 400, "continue_final_message", "invalid_value",
                          "'continue_final_message' and 'add_generation_prompt' exclude each other");
    return true;
}

static bool mark_last(json_t *messages, struct api_error *error)
{
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *content = json_object_get(last, "content");
    if (strcmp(json_string_value(json_object_get(last, "role")), "assistant") || !json_is_string(content))
        return api_refuse(error, 400, "continue_final_message", "invalid_value",
                          "'continue_final_message' needs a last message of role assistant with text to go on with");
    struct buf b = { 0 };
    buf_append(&b, json_string_value(content), json_string_length(content));
    buf_puts(&b, CONTINUE_MARK);
    json_object_set_new(last, "content", json_stringn(buf_str(&b), b.len));
    buf_release(&b);
    return true;
}

static bool cut_at_mark(struct buf *text, struct api_error *error)
{
    size_t n = sizeof CONTINUE_MARK - 1;
    for (size_t i = text->len >= n ? text->len - n + 1 : 0; i-- > 0;)
        if (!memcmp(text->data + i, CONTINUE_MARK, n)) {
            text->len = i;
            text->data[i] = '\0';
            return true;
        }
    return api_refuse(error, 400, "continue_final_message", "unsupported_parameter",
                      "the chat template of this model does not show the last message's text, so it cannot go on");
}

static bool render(struct api_job *j, const json_t *context, bool goes_on, struct api_error *error)
{
    struct buf text = { 0 };
    struct err e;
    char now[32];
    time_t t = (time_t)j->created;
    struct tm tm;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm) ? &tm : &(struct tm){ .tm_mday = 1 });
    bool ok = true;
    if (template_render(j->model->chat, context, now, NULL, &text, &e)) {
        err_prefix(&e, "the chat template refuses these messages");
        ok = api_refuse_err(error, "messages", &e);
    }
    ok = ok && (!goes_on || cut_at_mark(&text, error)) &&
         api_prompt_encode(j, buf_str(&text), text.len, "messages", &j->prompts[0], error);
    buf_release(&text);
    return ok;
}

bool api_chat_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    bool opens, goes_on;
    j->prompt_count = 1;
    j->prompts = mem_new(1, sizeof *j->prompts);
    j->echo_text = mem_new(1, sizeof *j->echo_text);
    json_t *messages = json_array(), *context = json_object();
    bool ok = read_ending(body, &opens, &goes_on, error) && take_messages(j, body, messages, error) &&
              take_variables(j, body, context, error) && (!goes_on || mark_last(messages, error));
    if (ok) {
        json_object_set(context, "messages", messages);
        json_object_set_new(context, "tools", json_null());
        json_object_set_new(context, "documents", json_null());
        json_object_set_new(context, "add_generation_prompt", json_boolean(opens));
        set_token(context, "bos_token", j->model->vocab, vocab_bos(j->model->vocab));
        set_token(context, "eos_token", j->model->vocab, vocab_eos(j->model->vocab));
        if (template_mentions(j->model->chat, "date_string") && !template_mentions(j->model->chat, "strftime_now")) {
            char day[32];
            time_t t = (time_t)j->created;
            struct tm tm;
            strftime(day, sizeof day, "%d %b %Y", gmtime_r(&t, &tm) ? &tm : &(struct tm){ .tm_mday = 1 });
            if (!json_object_get(context, "date_string"))
                json_object_set_new(context, "date_string", json_string(day));
        }
        ok = render(j, context, goes_on, error);
    }
    json_decref(messages);
    json_decref(context);
    return ok;
}
