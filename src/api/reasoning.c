/* reasoning -- how much a model is to think: the template's own variables where it has them, else a limit in tokens
 * that the sampler keeps (infer_thought). */
#include "api/job.h"

#include <string.h>

enum { THOUGHT_TOKENS_MAX = 1 << 30, EFFORT_MINIMAL = 256, EFFORT_LOW = 1024, EFFORT_MEDIUM = 4096 };

static bool says(const json_t *v, const char *word)
{
    return json_is_string(v) && !strcmp(json_string_value(v), word);
}

/* A variable of the client's for the template. One the template never names would be ignored: refused, except where
 * ignoring it is what was asked for. */
static bool take_variable(struct api_job *j, const char *param, const char *key, json_t *v, json_t *context,
                          struct api_error *error)
{
    static const char *const ours[] = { "messages", "tools", "documents", "bos_token", "eos_token",
                                        "add_generation_prompt" };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strcmp(key, ours[i]))
            return api_refuse(error, 400, param, "invalid_value", "'%s' may not set '%s'", param, key);
    bool asks_nothing = (!strcmp(key, "enable_thinking") && json_is_false(v)) ||
                        (!strcmp(key, "reasoning_effort") && says(v, "none")) || json_is_null(v);
    if (!asks_nothing && !template_mentions(j->model->chat, key))
        return api_refuse(error, 400, param, "unsupported_parameter", "the chat template of the model '%s' knows "
                          "nothing of '%.60s'; leave it out", j->model->id, key);
    json_object_set(context, key, v);
    return true;
}

static void limit(struct api_job *j, int tokens)
{
    if (!j->tools.limited || tokens < j->tools.thought.tokens_max)
        j->tools.thought.tokens_max = tokens;
    j->tools.limited = true;
}

/* On or off, by whichever name the template has for it; off also as a limit of nothing. */
static bool set_thinking(struct api_job *j, const char *param, bool on, json_t *context, struct api_error *error)
{
    static const char *const names[] = { "enable_thinking", "thinking" };
    bool told = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !told; i++)
        if ((told = template_mentions(j->model->chat, names[i])))
            json_object_set_new(context, names[i], json_boolean(on));
    if (!told && !on)
        json_object_set_new(context, "enable_thinking", json_false());
    if (!on && j->tools.form->think_open)
        limit(j, 0);
    return told || !on || j->tools.form->think_open ||
           api_refuse(error, 400, param, "unsupported_parameter", "the chat template of the model '%s' knows nothing "
                         "of "
                      "'enable_thinking'; leave it out", j->model->id);
}

/* reasoning_effort: the template's variable; else none is off, and the lower ones are limits. */
static bool set_effort(struct api_job *j, const char *param, json_t *v, json_t *context, struct api_error *error)
{
    static const struct {
        const char *word;
        int tokens; /* 0: no limit */
    } efforts[] = { { "minimal", EFFORT_MINIMAL }, { "low", EFFORT_LOW }, { "medium", EFFORT_MEDIUM }, { "high", 0 },
                    { "xhigh", 0 }, { "max", 0 } };
    if (!json_is_string(v))
        return api_refuse(error, 400, param, "invalid_type", "'%s' must be a string", param);
    bool named = template_mentions(j->model->chat, "reasoning_effort");
    if (named)
        json_object_set(context, "reasoning_effort", v);
    if (says(v, "none"))
        return set_thinking(j, param, false, context, error);
    if (named)
        return true;
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++)
        if (says(v, efforts[i].word) && j->tools.form->think_open) {
            if (efforts[i].tokens)
                limit(j, efforts[i].tokens);
            return true;
        }
    return j->tools.form->think_open ?
           api_refuse(error, 400, param, "invalid_value", "'%s' may be none, minimal, low, medium or high", param) :
           api_refuse(error, 400, param, "unsupported_parameter", "the chat template of the model '%s' knows nothing "
                         "of "
                      "'reasoning_effort'; leave it out", j->model->id);
}

static bool read_budget(struct api_job *j, const json_t *obj, const char *key, const char *param,
                        struct api_error *error)
{
    struct err e;
    int64_t v = -1;
    if (jsonx_get_int(obj, key, -1, THOUGHT_TOKENS_MAX, &v, &e))
        return api_refuse(error, 400, param, "invalid_value", "%s", e.text);
    if (v < 0)
        return true;
    if (!j->tools.form->think_open && v)
        return api_refuse(error, 400, param, "unsupported_parameter", "the model '%s' does not think aloud, so '%s' "
                          "has "
                          "nothing to limit; leave it out", j->model->id, param);
    if (j->tools.form->think_open)
        limit(j, (int)v);
    return true;
}

/* {"effort", "max_tokens", "enabled"}: how routers of many models ask. */
static bool read_object(struct api_job *j, const json_t *body, json_t *context, struct api_error *error)
{
    const json_t *r = json_object_get(body, "reasoning");
    const char *key;
    json_t *v;
    if (!r || json_is_null(r))
        return true;
    if (!json_is_object(r))
        return api_refuse(error, 400, "reasoning", "invalid_type", "'reasoning' must be an object");
    json_object_foreach((json_t *)r, key, v) {
        if (json_is_null(v))
            continue;
        if (!strcmp(key, "effort") ? !set_effort(j, "reasoning.effort", v, context, error) :
            !strcmp(key, "max_tokens") ? !read_budget(j, r, "max_tokens", "reasoning.max_tokens", error) :
            !strcmp(key, "enabled") && json_is_boolean(v) ?
            !set_thinking(j, "reasoning.enabled", json_is_true(v), context, error) :
            !api_refuse(error, 400, "reasoning", "unknown_parameter", "'reasoning.%.60s' is not supported; it may have "
                        "effort, max_tokens and enabled", key))
            return false;
    }
    return true;
}

bool api_reasoning_read(struct api_job *j, const json_t *body, json_t *context, struct api_error *error)
{
    json_t *kwargs = json_object_get(body, "chat_template_kwargs"), *v;
    const char *key;
    if (kwargs && !json_is_null(kwargs) && !json_is_object(kwargs))
        return api_refuse(error, 400, "chat_template_kwargs", "invalid_type",
                          "'chat_template_kwargs' must be an object");
    if (json_is_object(kwargs))
        json_object_foreach(kwargs, key, v) {
            if (!take_variable(j, "chat_template_kwargs", key, v, context, error))
                return false;
            if (!strcmp(key, "thinking_budget") && json_is_integer(v) &&
                !read_budget(j, kwargs, key, "chat_template_kwargs", error))
                return false;
        }
    v = json_object_get(body, "enable_thinking");
    if (v && !json_is_null(v) && !json_is_boolean(v))
        return api_refuse(error, 400, "enable_thinking", "invalid_type", "'enable_thinking' must be true or false");
    if (json_is_boolean(v) && !set_thinking(j, "enable_thinking", json_is_true(v), context, error))
        return false;
    v = json_object_get(body, "reasoning_effort");
    if (v && !json_is_null(v) && !set_effort(j, "reasoning_effort", v, context, error))
        return false;
    return read_budget(j, body, "thinking_budget", "thinking_budget", error) && read_object(j, body, context, error);
}
