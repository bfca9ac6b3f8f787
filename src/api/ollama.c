/* ollama -- /api/chat and /api/generate, rewritten as a chat body (raw prompts: as a completion body).
 *
 * Options that only tell Ollama's runner how to use its machine are accepted; those that would change tokens and are
 * not ours are refused by name. What Ollama itself assumes when an option is absent is assumed here too. */
#include "api/fields.h"
#include "api/translate.h"
#include "api/writer.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { CHAT = 1, GENERATE = 2, EITHER = CHAT | GENERATE, WHERE_BYTES = 96 };

static bool is_zero(const json_t *v)
{
    return json_is_number(v) && json_number_value(v) == 0; /* off */
}

static bool is_one(const json_t *v)
{
    return json_is_number(v) && json_number_value(v) == 1; /* off */
}

static bool is_true(const json_t *v)
{
    return json_is_true(v);
}

static const struct api_field fields[] = {
    { "model", EITHER, STRING, NULL },
    { "messages", CHAT, READ, NULL },
    { "tools", CHAT, READ, NULL },
    { "prompt", GENERATE, READ, NULL },
    { "system", GENERATE, READ, NULL },
    { "raw", GENERATE, BOOLEAN, NULL },
    { "context", GENERATE, READ, NULL },
    { "template", GENERATE, NOT_YET, api_is_empty },
    { "suffix", GENERATE, NOT_YET, api_is_empty },
    { "images", GENERATE, NOT_YET, api_is_empty },
    { "format", EITHER, READ, NULL },
    { "options", EITHER, READ, NULL },
    { "stream", EITHER, BOOLEAN, NULL },
    { "think", EITHER, READ, NULL },
    { "logprobs", EITHER, BOOLEAN, NULL },
    { "top_logprobs", EITHER, READ, NULL },
    { "keep_alive", EITHER, ANY, NULL }, /* how long a model stays is the operator's to say */
    { "truncate", EITHER, NOT_YET, api_is_false },
    { "shift", EITHER, NOT_YET, api_is_false },
    { "_debug_render_only", EITHER, NOT_YET, api_is_false },
    { NULL, 0, READ, NULL },
};

static const struct api_field option_fields[] = {
    { "num_predict", 1, READ, NULL }, { "temperature", 1, READ, NULL }, { "top_k", 1, READ, NULL },
    { "top_p", 1, READ, NULL }, { "min_p", 1, READ, NULL }, { "seed", 1, READ, NULL }, { "stop", 1, READ, NULL },
    { "repeat_penalty", 1, READ, NULL }, { "repeat_last_n", 1, READ, NULL },
    { "presence_penalty", 1, READ, NULL }, { "frequency_penalty", 1, READ, NULL },
    { "num_ctx", 1, ANY, NULL }, { "num_keep", 1, ANY, NULL }, { "num_batch", 1, ANY, NULL },
    { "num_gpu", 1, ANY, NULL }, { "main_gpu", 1, ANY, NULL }, { "num_thread", 1, ANY, NULL }, { "numa", 1, ANY, NULL },
    { "use_mmap", 1, ANY, NULL }, { "use_mlock", 1, ANY, NULL }, { "low_vram", 1, ANY, NULL },
    { "f16_kv", 1, ANY, NULL }, { "draft_num_predict", 1, ANY, NULL },
    { "typical_p", 1, NOT_YET, is_one }, { "tfs_z", 1, NOT_YET, is_one }, { "mirostat", 1, NOT_YET, is_zero },
    { "mirostat_tau", 1, ANY, NULL }, { "mirostat_eta", 1, ANY, NULL }, /* nothing without mirostat */
    { "penalize_newline", 1, NOT_YET, is_true },
    { NULL, 0, READ, NULL },
};

const struct api_name api_names_ollama[] = {
    { "max_tokens", "options.num_predict" }, { "temperature", "options.temperature" }, { "top_k", "options.top_k" },
    { "top_p", "options.top_p" }, { "min_p", "options.min_p" }, { "seed", "options.seed" }, { "stop", "options.stop" },
    { "repetition_penalty", "options.repeat_penalty" }, { "presence_penalty", "options.presence_penalty" },
    { "frequency_penalty", "options.frequency_penalty" }, { "response_format", "format" },
    { "enable_thinking", "think" }, { "reasoning_effort", "think" }, { NULL, NULL },
};

/* ---- what both routes share */

static void take_length(const json_t *options, json_t *chat)
{
    const json_t *n = json_object_get(options, "num_predict");
    bool no_end = json_is_integer(n) && json_integer_value(n) < 0; /* -1: no limit, -2: fill the context */
    if (!no_end)
        api_copy(options, "num_predict", chat, "max_tokens");
}

/* Ollama penalises what came within the last N tokens; here it is the whole answer (and prompt) or nothing. */
static bool check_window(const json_t *options, json_t *chat, struct api_error *error)
{
    const json_t *window = json_object_get(options, "repeat_last_n");
    const json_t *penalty = json_object_get(chat, "repetition_penalty");
    bool active = (penalty && json_number_value(penalty) != 1) || json_number_value(json_object_get(chat,
                  "presence_penalty")) != 0 || json_number_value(json_object_get(chat, "frequency_penalty")) != 0;
    if (!window || json_is_null(window) || !active || (json_is_integer(window) && json_integer_value(window) == -1))
        return true;
    return api_refuse(error, 400, "options.repeat_last_n", "unsupported_value", "'options.repeat_last_n' other than -1 "
                      "is not supported: penalties look at the whole text; leave it out");
}

static bool take_options(const struct api_job *j, const json_t *body, json_t *chat, struct api_error *error)
{
    static const struct { const char *theirs, *ours; double absent; } numbers[] = {
        { "temperature", "temperature", 0.8 }, { "top_k", "top_k", 40 }, { "top_p", "top_p", 0.9 },
        { "min_p", "min_p", 0 }, { "repeat_penalty", "repetition_penalty", 1 },
        { "presence_penalty", "presence_penalty", 0 }, { "frequency_penalty", "frequency_penalty", 0 },
    };
    const json_t *o = json_object_get(body, "options");
    o = o && !json_is_null(o) ? o : NULL;
    if (o && !api_fields_of(o, option_fields, 1, "options", error))
        return false;
    for (size_t i = 0; i < MEM_COUNT(numbers); i++) {
        api_copy(o, numbers[i].theirs, chat, numbers[i].ours);
        bool ours = json_object_get(j->model->defaults, numbers[i].ours) != NULL;
        bool whole = !strcmp(numbers[i].ours, "top_k");
        if (!json_object_get(chat, numbers[i].ours) && !ours)
            json_object_set_new(chat, numbers[i].ours,
                                whole ? json_integer((json_int_t)numbers[i].absent) : json_real(numbers[i].absent));
    }
    const json_t *seed = json_object_get(o, "seed");
    if (!json_is_integer(seed) || json_integer_value(seed) != -1) /* -1: any */
        api_copy(o, "seed", chat, "seed");
    if (!api_is_empty(json_object_get(o, "stop")))
        api_copy(o, "stop", chat, "stop");
    take_length(o, chat);
    return check_window(o, chat, error);
}

/* "json", a schema, or nothing. */
static bool take_format(const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *format = json_object_get(body, "format");
    if (!format || json_is_null(format) || (json_is_string(format) && api_is_empty(format)))
        return true;
    if (json_is_object(format)) {
        json_object_set_new(chat, "response_format", api_schema_format(format, NULL, NULL));
        return true;
    }
    if (!json_is_string(format) || strcmp(json_string_value(format), "json"))
        return api_refuse(error, 400, "format", "invalid_value", "'format' must be \"json\" or a JSON schema");
    json_object_set_new(chat, "response_format", json_pack("{s:s}", "type", "json_object"));
    return true;
}

static bool take_think(const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *think = json_object_get(body, "think");
    if (!think || json_is_null(think))
        return true;
    if (!json_is_boolean(think) && !json_is_string(think))
        return api_refuse(error, 400, "think", "invalid_type", "'think' must be true, false or a level like \"low\"");
    api_copy(body, "think", chat, json_is_boolean(think) ? "enable_thinking" : "reasoning_effort");
    return true;
}

/* What both bodies say alike. */
static bool take_common(const struct api_job *j, const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *stream = json_object_get(body, "stream");
    json_object_set_new(chat, "stream", json_boolean(!json_is_false(stream))); /* absent: a stream */
    const json_t *logprobs = json_object_get(body, "logprobs"), *top = json_object_get(body, "top_logprobs");
    if (top && !json_is_null(top) && (!json_is_integer(top) || json_integer_value(top) < 0 ||
                                      json_integer_value(top) > INFER_TOP_LOGPROBS_MAX))
        return api_refuse(error, 400, "top_logprobs", "invalid_value",
                          "'top_logprobs' must be a whole number from 0 to %d", INFER_TOP_LOGPROBS_MAX);
    if (json_is_true(logprobs) && j->dialect == API_CHAT) {
        json_object_set_new(chat, "logprobs", json_true());
        api_copy(body, "top_logprobs", chat, "top_logprobs");
    } else if (json_is_true(logprobs)) {
        json_object_set_new(chat, "logprobs", json_integer(json_integer_value(top)));
    }
    return take_options(j, body, chat, error) && take_format(body, chat, error) &&
           (j->dialect == API_COMPLETION || take_think(body, chat, error));
}

/* Nothing was asked: the answer says that the model is there. (Ollama's clients load a model this way.) */
static bool make_loaded(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *keep = json_object_get(body, "keep_alive");
    if (is_zero(keep) || (json_is_string(keep) && !strcmp(json_string_value(keep), "0")))
        return api_refuse(error, 400, "keep_alive", "unsupported_value", "models are unloaded by the operator, "
                          "or when their memory is needed; leave out 'keep_alive'");
    ollama_put_loaded(j, &j->ready);
    return true;
}

/* ---- /api/chat */

static bool take_calls(const json_t *message, const char *where, json_t *to, struct api_error *error)
{
    const json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;
    if (!calls || json_is_null(calls))
        return true;
    json_array_foreach(calls, i, call) {
        const json_t *f = json_object_get(call, "function");
        const json_t *name = json_object_get(f, "name"), *arguments = json_object_get(f, "arguments");
        if (!json_is_string(name) || !json_is_object(arguments))
            return api_refuse(error, 400, where, "invalid_value", "%s: tool call %zu must be {\"function\": {\"name\", "
                              "\"arguments\": {...}}}", where, i);
        api_add_call(to, json_object_get(call, "id"), name, arguments);
    }
    return true;
}

static bool take_message(struct api_job *j, const json_t *message, size_t i, json_t *messages, struct api_error *error)
{
    static const struct api_field known[] = {
        { "role", 1, READ, NULL }, { "content", 1, READ, NULL }, { "thinking", 1, STRING, NULL },
        { "images", 1, NOT_YET, api_is_empty }, { "tool_calls", 1, READ, NULL }, { "tool_name", 1, STRING, NULL },
        { "name", 1, STRING, NULL }, { "tool_call_id", 1, STRING, NULL }, { NULL, 0, READ, NULL },
    };
    static const char *const roles[] = { "system", "user", "assistant", "tool" };
    char where[WHERE_BYTES];
    snprintf(where, sizeof where, "messages[%zu]", i);
    if (!api_fields_of(message, known, 1, where, error))
        return false;
    const char *role = json_string_value(json_object_get(message, "role")), *shown = NULL;
    for (size_t k = 0; role && k < MEM_COUNT(roles); k++)
        shown = strcasecmp(role, roles[k]) ? shown : roles[k];
    if (!shown)
        return api_refuse(error, 400, where, "invalid_value", "%s: 'role' is system, user, assistant or tool", where);
    const json_t *content = json_object_get(message, "content");
    if (content && !json_is_null(content) && !json_is_string(content))
        return api_refuse(error, 400, where, "invalid_type", "%s: 'content' must be a string", where);
    json_t *to = api_add_message(j, messages, shown, where);
    json_object_set_new(to, "content", json_is_string(content) ? json_incref((json_t *)content) : json_string(""));
    if (!strcmp(shown, "assistant") && !api_is_empty(json_object_get(message, "thinking")))
        api_copy(message, "thinking", to, "reasoning_content");
    if (!strcmp(shown, "tool")) {
        api_copy(message, "tool_name", to, "name");
        api_copy(message, "tool_call_id", to, "tool_call_id");
    }
    return take_calls(message, where, to, error);
}

static bool take_chat(struct api_job *j, const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *list = json_object_get(body, "messages"), *m;
    json_t *messages = json_array();
    size_t i;
    json_object_set_new(chat, "messages", messages);
    if (!json_is_array(list))
        return api_refuse(error, 400, "messages", "invalid_type", "'messages' must be a list of messages");
    json_array_foreach(list, i, m)
        if (!take_message(j, m, i, messages, error))
            return false;
    if (!api_is_empty(json_object_get(body, "tools")))
        api_copy(body, "tools", chat, "tools");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    if (!strcmp(json_string_value(json_object_get(last, "role")), "assistant") && !json_object_get(last, "tool_calls"))
        json_object_set_new(chat, "continue_final_message", json_true()); /* as Ollama goes on from it */
    return take_common(j, body, chat, error);
}

static bool finish_translation(bool ok, json_t **chat)
{
    if (ok)
        return true;
    json_decref(*chat);
    *chat = NULL;
    return false;
}

bool api_translate_ollama_chat(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error)
{
    if (!api_fields_of(body, fields, CHAT, "", error))
        return false;
    const json_t *messages = json_object_get(body, "messages");
    if (!messages || json_is_null(messages) || api_is_empty(messages))
        return make_loaded(j, body, error);
    *chat = json_object();
    return finish_translation(take_chat(j, body, *chat, error), chat);
}

/* ---- /api/generate */

static bool check_string(const json_t *body, const char *key, struct api_error *error)
{
    const json_t *v = json_object_get(body, key);
    return !v || json_is_null(v) || json_is_string(v) ||
           api_refuse(error, 400, key, "invalid_type", "'%s' must be a string", key);
}

static bool take_generate(struct api_job *j, const json_t *body, json_t *chat, struct api_error *error)
{
    const json_t *system = json_object_get(body, "system"), *context = json_object_get(body, "context");
    if (json_is_true(json_object_get(body, "raw"))) {
        if (json_is_string(system) && !api_is_empty(system))
            return api_refuse(error, 400, "system", "invalid_value", "'system' has no place in a raw prompt");
        if (json_is_array(context) && !api_is_empty(context))
            return api_refuse(error, 400, "context", "invalid_value", "'context' has no place before a raw prompt");
        j->dialect = API_COMPLETION;
        api_copy(body, "prompt", chat, "prompt");
        json_object_set_new(chat, "max_tokens", json_integer(j->model->ctx)); /* no limit, unless options say one */
        return take_common(j, body, chat, error);
    }
    json_t *messages = json_array();
    json_object_set_new(chat, "messages", messages);
    if (json_is_string(system) && !api_is_empty(system))
        json_object_set(api_add_message(j, messages, "system", "system"), "content", (json_t *)system);
    json_object_set(api_add_message(j, messages, "user", "prompt"), "content", json_object_get(body, "prompt"));
    j->keep_ids = true;
    return take_common(j, body, chat, error);
}

bool api_translate_generate(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error)
{
    if (!api_fields_of(body, fields, GENERATE, "", error) || !check_string(body, "prompt", error) ||
        !check_string(body, "system", error))
        return false;
    const json_t *prompt = json_object_get(body, "prompt");
    if (!prompt || json_is_null(prompt) || api_is_empty(prompt))
        return make_loaded(j, body, error);
    *chat = json_object();
    return finish_translation(take_generate(j, body, *chat, error), chat);
}

/* "context" of an earlier answer: its tokens come before the prompt's, whose own beginning-of-text is dropped. */
bool api_prompt_context(struct api_job *j, struct api_error *error)
{
    const json_t *context = json_object_get(j->ask, "context"), *v;
    const struct vocab *vocab = j->model->vocab;
    size_t i;
    if (!context || json_is_null(context) || api_is_empty(context) || j->dialect != API_CHAT)
        return true;
    if (!json_is_array(context))
        return api_refuse(error, 400, "context", "invalid_type", "'context' must be the list of an earlier answer");
    struct vocab_ids old = j->prompts[0], joined = { 0 };
    json_array_foreach(context, i, v) {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= vocab_size(vocab)) {
            vocab_ids_release(&joined);
            return api_refuse(error, 400, "context", "invalid_value", "'context' has no token %zu of this model; send "
                              "the list of an earlier answer as it was", i);
        }
        vocab_ids_push(&joined, (int32_t)id);
    }
    for (size_t k = old.count && old.v[0] == vocab_bos(vocab) ? 1 : 0; k < old.count; k++)
        vocab_ids_push(&joined, old.v[k]);
    vocab_ids_release(&old);
    j->prompts[0] = joined;
    return true;
}
