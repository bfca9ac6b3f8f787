/* fields -- every field of a request body and what becomes of it. The table is the law: what is not in it is
 * refused by name, and what is in it as NOT_YET is refused unless its value asks for nothing. A feature that
 * arrives moves its row from NOT_YET to READ and reads the field where it belongs.
 *
 * A null stands for an absent field everywhere, as OpenAI's own clients send it. */
#include "api/fields.h"

#include <stdio.h>
#include <string.h>

bool api_is_false(const json_t *v)
{
    return json_is_false(v);
}

bool api_is_empty(const json_t *v)
{
    return (json_is_array(v) && !json_array_size(v)) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_string(v) && !json_string_length(v));
}

static bool says(const json_t *v, const char *word)
{
    return json_is_string(v) && !strcmp(json_string_value(v), word);
}

static bool is_text_modality(const json_t *v)
{
    return json_is_array(v) && json_array_size(v) == 1 && says(json_array_get(v, 0), "text");
}

enum { BOTH = API_CHAT | API_COMPLETION };

static const struct api_field fields[] = {
    { "model", BOTH, STRING, NULL }, /* the front has routed by it */
    { "messages", API_CHAT, READ, NULL },
    { "prompt", API_COMPLETION, READ, NULL },
    { "stream", BOTH, READ, NULL },
    { "stream_options", BOTH, READ, NULL },
    { "stop", BOTH, READ, NULL },
    { "max_tokens", BOTH, READ, NULL },
    { "max_completion_tokens", API_CHAT, READ, NULL },
    { "min_tokens", BOTH, READ, NULL },
    { "ignore_eos", BOTH, READ, NULL },
    { "temperature", BOTH, READ, NULL },
    { "top_p", BOTH, READ, NULL },
    { "top_k", BOTH, READ, NULL },
    { "min_p", BOTH, READ, NULL },
    { "seed", BOTH, READ, NULL },
    { "logprobs", BOTH, READ, NULL },
    { "top_logprobs", API_CHAT, READ, NULL },
    { "logit_bias", BOTH, READ, NULL },
    { "frequency_penalty", BOTH, READ, NULL },
    { "presence_penalty", BOTH, READ, NULL },
    { "repetition_penalty", BOTH, READ, NULL },
    { "n", BOTH, READ, NULL },
    { "priority", BOTH, READ, NULL }, /* the front has read both; sampling.c checks them */
    { "deadline_ms", BOTH, READ, NULL },
    { "best_of", API_COMPLETION, READ, NULL },
    { "echo", API_COMPLETION, READ, NULL },
    { "chat_template_kwargs", API_CHAT, READ, NULL },
    { "enable_thinking", API_CHAT, READ, NULL },
    { "reasoning_effort", API_CHAT, READ, NULL },
    { "add_generation_prompt", API_CHAT, READ, NULL },
    { "continue_final_message", API_CHAT, READ, NULL },
    { "user", BOTH, STRING, NULL },
    { "metadata", BOTH, OBJECT, NULL },
    { "service_tier", BOTH, STRING, NULL },
    { "safety_identifier", BOTH, STRING, NULL },
    { "prompt_cache_key", BOTH, STRING, NULL },
    { "tools", API_CHAT, READ, NULL },
    { "tool_choice", API_CHAT, READ, NULL },
    { "parallel_tool_calls", API_CHAT, READ, NULL },
    { "reasoning", API_CHAT, READ, NULL },
    { "thinking_budget", API_CHAT, READ, NULL },
    { "store", BOTH, NOT_YET, api_is_false },
    { "suffix", API_COMPLETION, NOT_YET, api_is_empty },
    { "response_format", BOTH, READ, NULL },
    { "guided_json", BOTH, READ, NULL },
    { "guided_regex", BOTH, READ, NULL },
    { "guided_choice", BOTH, READ, NULL },
    { "guided_grammar", BOTH, READ, NULL },
    { "lora", BOTH, READ, NULL },
    { "truncate_prompt_tokens", BOTH, READ, NULL },
    { "context_overflow", API_CHAT, READ, NULL },
    { "modalities", API_CHAT, NOT_YET, is_text_modality },
    { "functions", API_CHAT, READ, NULL }, /* the older names: functions.c */
    { "function_call", API_CHAT, READ, NULL },
    { "audio", API_CHAT, NOT_YET, NULL },
    { "prediction", API_CHAT, NOT_YET, NULL },
    { "web_search_options", API_CHAT, NOT_YET, NULL },
    { "verbosity", API_CHAT, NOT_YET, NULL },
    { NULL, 0, READ, NULL },
};

static const struct api_field *find(const struct api_field *table, const char *name, int dialect)
{
    for (const struct api_field *f = table; f->name; f++)
        if ((f->dialects & dialect) && !strcmp(f->name, name))
            return f;
    return NULL;
}

static bool check_value(const struct api_field *f, const json_t *v, const char *path, struct api_error *error)
{
    switch (f->use) {
    case STRING:
        return json_is_string(v) || api_refuse(error, 400, path, "invalid_type", "'%s' must be a string", path);
    case OBJECT:
        return json_is_object(v) || api_refuse(error, 400, path, "invalid_type", "'%s' must be an object", path);
    case BOOLEAN:
        return json_is_boolean(v) ||
               api_refuse(error, 400, path, "invalid_type", "'%s' must be true or false", path);
    case NOT_YET:
        return (f->harmless && f->harmless(v)) ||
               api_refuse(error, 400, path, "unsupported_parameter",
                          "'%s' with this value is not supported yet; leave it out", path);
    case READ:
    case ANY:
        break;
    }
    return true;
}

bool api_fields_of(const json_t *obj, const struct api_field *table, int dialect, const char *prefix,
                   struct api_error *error)
{
    const char *name;
    json_t *v;
    if (!json_is_object(obj))
        return api_refuse(error, 400, prefix, "invalid_type", *prefix ? "'%.60s' must be an object" :
                          "the request body must be a JSON object%s", prefix);
    if (json_object_size(obj) > API_BODY_FIELDS_MAX)
        return api_refuse(error, 400, prefix, "invalid_value", "the request body has more than %d fields",
                          API_BODY_FIELDS_MAX);
    json_object_foreach((json_t *)obj, name, v) {
        char path[sizeof error->param];
        snprintf(path, sizeof path, "%s%s%.60s", prefix, *prefix ? "." : "", name);
        const struct api_field *f = find(table, name, dialect);
        if (!f)
            return api_refuse(error, 400, path, "unknown_parameter", "unknown parameter '%s': the server does "
                              "not know this field for this route; leave it out", path);
        if (!json_is_null(v) && !check_value(f, v, path, error))
            return false;
    }
    return true;
}

bool api_fields_check(const json_t *body, enum api_dialect dialect, const struct api_model *m,
                      struct api_error *error)
{
    if (!api_fields_of(body, fields, (int)dialect, "", error))
        return false;
    if (dialect == API_CHAT && !m->chat)
        return api_refuse(error, 400, "messages", "no_chat_template",
                          "the model '%s' has no chat template; send its prompt to /v1/completions", m->id);
    return true;
}
