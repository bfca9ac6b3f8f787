/* chat -- /v1/chat/completions: messages are checked field by field, rewritten as chat templates expect them
 * (roles they know, content as one string, tool arguments as objects), rendered and encoded.
 *
 * The client's JSON is never handed to the template as it came: what the template sees was built here. */
#include "api/job.h"

#include "api/calls_probe.h"
#include "api/window.h"
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
        json_object_set_new(to, "content", json_string("")); /* templates ask what is in it */
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

/* A past thought under the name the template reads. */
static void place_thought(const struct calls_form *f, json_t *to)
{
    json_t *thought = json_object_get(to, "reasoning_content");
    thought = thought ? thought : json_object_get(to, "reasoning");
    if (!thought || !f->think_key)
        return;
    json_incref(thought);
    json_object_del(to, "reasoning");
    json_object_set(to, "reasoning_content", thought);
    if (*f->think_key)
        json_object_set(to, f->think_key, thought);
    else if (json_is_string(json_object_get(to, "content")))
        json_object_set_new(to, "content", json_pack("[{s:s,s:O},{s:s,s:O}]", "type", "thinking", "thinking", thought,
                                                     "type", "text", "text", json_object_get(to, "content")));
    json_decref(thought);
}

/* Past calls, written into the text where the template leaves them out. */
static void place_calls(const struct calls_form *f, json_t *to)
{
    const json_t *calls = json_object_get(to, "tool_calls"), *content = json_object_get(to, "content");
    if (!calls || f->writes_calls)
        return;
    struct buf text = { 0 };
    if (json_string_length(content)) {
        buf_append(&text, json_string_value(content), json_string_length(content));
        buf_putc(&text, '\n');
    }
    calls_write(f, calls, &text);
    json_object_set_new(to, "content", json_stringn(buf_str(&text), text.len));
    json_object_del(to, "tool_calls");
    buf_release(&text);
}

/* A result as a user's words where the template has no place for it; those of one turn are one message. */
static bool place_result(const struct calls_form *f, json_t *to, json_t *list, struct api_error *error)
{
    const json_t *content = json_object_get(to, "content");
    if (f->writes_results || strcmp(json_string_value(json_object_get(to, "role")), "tool"))
        return true;
    size_t n = json_array_size(list);
    json_t *before = n > 1 ? json_array_get(list, n - 2) : NULL;
    const char *said = json_string_value(json_object_get(before, "content"));
    static const char tag[] = "<tool_response>\n";
    bool more = said && !strncmp(said, tag, sizeof tag - 1);
    struct buf text = { 0 };
    buf_puts(&text, more ? said : "");
    buf_puts(&text, more ? "\n" : "");
    buf_puts(&text, tag);
    buf_append(&text, json_string_value(content), json_string_length(content));
    buf_puts(&text, "\n</tool_response>");
    json_t *m = more ? before : to;
    json_object_clear(m);
    json_object_set_new(m, "role", json_string("user"));
    json_object_set_new(m, "content", json_stringn(buf_str(&text), text.len));
    if (more)
        json_array_remove(list, n - 1);
    buf_release(&text);
    return true;
}

/* What a message may carry besides role and content, and for which roles. */
static bool take_extras(const struct api_job *j, const json_t *message, size_t i, const char *role, json_t *to,
                        struct api_error *error)
{
    const char *key;
    json_t *v;
    bool assistant = !strcmp(role, "assistant"), tool = !strcmp(role, "tool");
    json_object_foreach((json_t *)message, key, v) {
        bool empty = json_is_null(v) || (json_is_array(v) && !json_array_size(v));
        if (!strcmp(key, "role") || !strcmp(key, "content") || empty)
            continue;
        bool text = !strcmp(key, "name") || (tool && !strcmp(key, "tool_call_id")) ||
                    (assistant && (!strcmp(key, "reasoning_content") || !strcmp(key, "reasoning")));
        if (text && !json_is_string(v))
            return api_refuse(error, 400, at(i, key).path, "invalid_type", "'%.60s' must be a string", key);
        if (text)
            json_object_set(to, key, v);
        else if (!(assistant && (!strcmp(key, "tool_calls") || !strcmp(key, "annotations"))))
            return api_refuse(error, 400, at(i, key).path, "unknown_parameter",
                              "'%.60s' in a message of role '%s' is not supported; leave it out", key, role);
    }
    if (assistant)
        place_thought(j->tools.form, to);
    return !assistant || (take_calls(message, i, to, error) && (place_calls(j->tools.form, to), true));
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
    return take_content(message, i, calls, to, error) && take_extras(j, message, i, role, to, error) &&
           place_result(j->tools.form, to, list, error);
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
    ok = ok && (!goes_on || cut_at_mark(&text, error)) && api_answer_begin(j, &text, error) &&
         api_prompt_encode(j, buf_str(&text), text.len, "messages", &j->prompts[0], error);
    buf_release(&text);
    return ok;
}

static long count_tokens(struct api_job *j, const json_t *context)
{
    struct buf text = { 0 };
    struct vocab_ids ids = { 0 };
    struct err e;
    bool ok = !template_render(j->model->chat, context, "1970-01-01T00:00:00", NULL, &text, &e) &&
              !vocab_encode(j->model->vocab, buf_str(&text), text.len, true, &ids, &e);
    long n = ok ? (long)ids.count + 1 : -1; /* BOS may come before it */
    vocab_ids_release(&ids);
    buf_release(&text);
    return n;
}

/* A template that shows no tools: the first message tells of them. as_user: the template knows no system's message. */
static void instruct(const struct api_job *j, json_t *messages, bool as_user)
{
    const struct calls_form *f = j->tools.form;
    struct buf text = { 0 };
    calls_instruct(f, j->tools.list, &text);
    const char *role = as_user ? "user" : "system";
    json_t *first = json_array_get(messages, 0), *content = json_object_get(first, "content");
    if (first && !strcmp(json_string_value(json_object_get(first, "role")), role) && json_is_string(content)) {
        struct buf both = { 0 };
        buf_append(&both, text.data, text.len);
        buf_puts(&both, "\n\n");
        buf_append(&both, json_string_value(content), json_string_length(content));
        json_object_set_new(first, "content", json_stringn(buf_str(&both), both.len));
        buf_release(&both);
    } else {
        json_array_insert_new(messages, 0, json_pack("{s:s,s:s}", "role", role, "content", buf_str(&text)));
    }
    buf_release(&text);
}

static void fill_context(struct api_job *j, json_t *context, json_t *messages, bool opens)
{
    const struct vocab *v = j->model->vocab;
    json_object_set(context, "messages", messages);
    json_object_set_new(context, "add_generation_prompt", json_boolean(opens));
    calls_context(j->model->chat, context, j->tools.form->lists_tools ? j->tools.list : NULL, "", "");
    set_token(context, "bos_token", v, vocab_bos(v));
    set_token(context, "eos_token", v, vocab_eos(v));
    if (template_mentions(j->model->chat, "date_string") && !template_mentions(j->model->chat, "strftime_now")) {
        char day[32];
        time_t t = (time_t)j->created;
        struct tm tm;
        strftime(day, sizeof day, "%d %b %Y", gmtime_r(&t, &tm) ? &tm : &(struct tm){ .tm_mday = 1 });
        if (!json_object_get(context, "date_string"))
            json_object_set_new(context, "date_string", json_string(day));
    }
}

bool api_chat_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    bool opens, goes_on;
    j->prompt_count = 1;
    j->prompts = mem_new(1, sizeof *j->prompts);
    j->echo_text = mem_new(1, sizeof *j->echo_text);
    json_t *messages = json_array(), *context = json_object(), *plain = NULL;
    bool ok = api_tools_read(j, body, error) && read_ending(body, &opens, &goes_on, error) &&
              take_messages(j, body, messages, error) && api_reasoning_read(j, body, context, error) &&
              (!goes_on || mark_last(messages, error));
    if (ok) {
        bool tell = j->tools.list && !j->tools.form->lists_tools;
        if (tell) {
            plain = json_deep_copy(messages);
            instruct(j, messages, false);
        }
        fill_context(j, context, messages, opens);
        api_window_roll(j, context, messages, count_tokens);
        ok = render(j, context, goes_on, error);
        if (!ok && tell) { /* some templates know no system's message */
            instruct(j, plain, true);
            json_object_set(context, "messages", plain);
            ok = render(j, context, goes_on, error);
        }
    }
    json_decref(messages);
    json_decref(context);
    json_decref(plain);
    return ok;
}
