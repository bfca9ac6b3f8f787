/* tools -- the tools of a chat request and which of them may, or must, be called. */
#include "api/job.h"

#include "base/mem.h"

#include <string.h>

static const char *text_of(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

static bool good_name(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
              s[i] == '_' || s[i] == '-' || s[i] == '.'))
            return false;
    return n && n <= API_TOOL_NAME_MAX;
}

static json_t *find_tool(const json_t *list, const char *name)
{
    size_t i;
    json_t *t;
    json_array_foreach(list, i, t)
        if (!strcmp(text_of(json_object_get(t, "function"), "name"), name))
            return t;
    return NULL;
}

/* One tool, rebuilt: what the template sees was checked here. */
static bool take_tool(const json_t *tool, size_t i, json_t *list, struct api_error *error)
{
    char param[60];
    const char *type = text_of(tool, "type");
    const json_t *f = json_object_get(tool, "function");
    json_t *parameters = json_object_get(f, "parameters"), *strict = json_object_get(f, "strict");
    snprintf(param, sizeof param, "tools[%zu]", i);
    if (type && strcmp(type, "function"))
        return api_refuse(error, 400, param, "unsupported_value", "tools of type '%.40s' are not supported; this "
                          "server "
                          "knows functions", type);
    const char *name = text_of(f, "name");
    if (!type || !name)
        return api_refuse(error, 400, param, "invalid_value", "a tool must be {\"type\": \"function\", \"function\": "
                          "{\"name\", \"description\", \"parameters\"}}");
    if (!good_name(name))
        return api_refuse(error, 400, param, "invalid_value", "the function name '%.80s' must have 1 to %d letters, "
                          "digits, '_', '-' or '.'", name, API_TOOL_NAME_MAX);
    if (find_tool(list, name))
        return api_refuse(error, 400, param, "invalid_value", "two tools have the name '%.64s'", name);
    if (parameters && !json_is_null(parameters) && !json_is_object(parameters))
        return api_refuse(error, 400, param, "invalid_type", "'parameters' of '%.64s' must be a JSON Schema object",
                          name);
    if (strict && !json_is_null(strict) && !json_is_boolean(strict))
        return api_refuse(error, 400, param, "invalid_type", "'strict' of '%.64s' must be true or false", name);
    json_t *out = json_object(), *fn = json_object(), *description = json_object_get(f, "description");
    json_object_set_new(fn, "name", json_string(name));
    if (json_is_string(description))
        json_object_set(fn, "description", description);
    if (json_is_object(parameters))
        json_object_set(fn, "parameters", parameters);
    else
        json_object_set_new(fn, "parameters", json_pack("{s:s,s:{},s:b}", "type", "object", "properties",
                                                        "additionalProperties", 0));
    if (json_is_true(strict))
        json_object_set(fn, "strict", strict);
    json_object_set_new(out, "type", json_string("function"));
    json_object_set_new(out, "function", fn);
    json_array_append_new(list, out);
    return true;
}

static bool take_tools(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *tools = json_object_get(body, "tools"), *t;
    size_t i;
    if (!tools || json_is_null(tools) || (json_is_array(tools) && !json_array_size(tools)))
        return true;
    if (!json_is_array(tools))
        return api_refuse(error, 400, "tools", "invalid_type", "'tools' must be an array");
    if (json_array_size(tools) > API_TOOLS_MAX)
        return api_refuse(error, 400, "tools", "invalid_value", "'tools' has %zu entries; at most %d fit one request",
                          json_array_size(tools), API_TOOLS_MAX);
    j->tools.list = json_array();
    json_array_foreach(tools, i, t)
        if (!take_tool(t, i, j->tools.list, error))
            return false;
    j->tools.choice = API_CALL_MAY;
    j->tools.allowed = json_incref(j->tools.list);
    return true;
}

static bool no_such_tool(struct api_error *error, const char *name)
{
    return api_refuse(error, 400, "tool_choice", "invalid_value", "'tool_choice' names '%.64s', which 'tools' does not "
                      "have", name ? name : "nothing");
}

/* {"type":"function","function":{"name"}}: exactly this one. */
static bool choose_one(struct api_job *j, const json_t *choice, struct api_error *error)
{
    const char *name = text_of(json_object_get(choice, "function"), "name");
    name = name ? name : text_of(choice, "name");
    json_t *tool = name ? find_tool(j->tools.list, name) : NULL;
    if (!tool)
        return no_such_tool(error, name);
    json_decref(j->tools.allowed);
    j->tools.allowed = json_pack("[O]", tool);
    j->tools.choice = API_CALL_MUST;
    j->tools.many = false;
    return true;
}

/* {"type":"allowed_tools","allowed_tools":{"mode","tools":[...]}}; the inner object's fields may stand outside. */
static bool choose_some(struct api_job *j, const json_t *choice, struct api_error *error)
{
    const json_t *inner = json_object_get(choice, "allowed_tools"), *t;
    inner = json_is_object(inner) ? inner : choice;
    const char *mode = text_of(inner, "mode");
    json_t *allowed = json_array();
    size_t i;
    json_decref(j->tools.allowed);
    j->tools.allowed = allowed;
    json_array_foreach(json_object_get(inner, "tools"), i, t) {
        const char *name = text_of(json_object_get(t, "function"), "name");
        name = name ? name : text_of(t, "name");
        json_t *tool = name ? find_tool(j->tools.list, name) : NULL;
        if (!tool)
            return no_such_tool(error, name);
        json_array_append(allowed, tool);
    }
    if (!mode || (strcmp(mode, "auto") && strcmp(mode, "required")) || !json_array_size(allowed))
        return api_refuse(error, 400, "tool_choice", "invalid_value", "'allowed_tools' needs a 'mode' of auto or "
                          "required and at least one of the request's tools");
    j->tools.choice = !strcmp(mode, "auto") ? API_CALL_MAY : API_CALL_MUST;
    return true;
}

static bool take_choice(struct api_job *j, const json_t *body, struct api_error *error)
{
    static const char *const words[] = { "none", "auto", "required" };
    const json_t *v = json_object_get(body, "tool_choice");
    const char *type = text_of(v, "type"), *word = json_string_value(v);
    if (!v || json_is_null(v))
        return true;
    for (int i = 0; word && i < 3; i++)
        if (!strcmp(word, words[i]) && (j->tools.list || i < 2)) {
            if (j->tools.list)
                j->tools.choice = (enum api_call_choice)i;
            return true;
        }
    if (!j->tools.list && (word || json_is_object(v)))
        return api_refuse(error, 400, "tool_choice", "invalid_value", "'tool_choice' asks for a call, but the request "
                          "has "
                          "no 'tools'");
    if (type && !strcmp(type, "function"))
        return choose_one(j, v, error);
    if (type && !strcmp(type, "allowed_tools"))
        return choose_some(j, v, error);
    return api_refuse(error, 400, "tool_choice", "invalid_value", "'tool_choice' may be none, auto, required, "
                      "{\"type\": \"function\", \"function\": {\"name\"}} or {\"type\": \"allowed_tools\", ...}");
}

bool api_tools_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    struct err e;
    j->tools.many = true;
    if (jsonx_get_bool(body, "parallel_tool_calls", &j->tools.many, &e))
        return api_refuse(error, 400, "parallel_tool_calls", "invalid_type", "%s", e.text);
    j->tools.form = j->model->form;
    if (!j->tools.form)
        j->tools.form = j->tools.own = api_form_new(j->model);
    if (!take_tools(j, body, error) || !take_choice(j, body, error))
        return false;
    const char *why = j->params.ignore_eos ? "ignore_eos" : j->params.min_tokens ? "min_tokens" :
                      j->stops.count ? "stop" : NULL;
    if (j->tools.choice == API_CALL_MUST && why)
        return api_refuse(error, 400, why, "invalid_value", "an answer that must be a call ends where the call ends; "
                          "leave out '%s'", why);
    return true;
}

static void token_text(const struct vocab *v, int id, char out[200])
{
    struct gguf_str s = id >= 0 ? vocab_token_text(v, id) : (struct gguf_str){ "", 0 };
    snprintf(out, 200, "%.*s", (int)(s.len < 199 ? s.len : 199), s.data);
}

struct calls_form *api_form_new(const struct api_model *m)
{
    char bos[200], eos[200];
    token_text(m->vocab, vocab_bos(m->vocab), bos);
    token_text(m->vocab, vocab_eos(m->vocab), eos);
    struct calls_form *f = calls_derive(m->chat, bos, eos);
    /* a vocabulary with these tokens belongs to a model that thinks, whatever its template shows */
    if (!f->think_open && vocab_find(m->vocab, "<think>", 7) >= 0 && vocab_find(m->vocab, "</think>", 8) >= 0) {
        f->think_open = mem_strdup("<think>");
        f->think_close = mem_strdup("</think>");
    }
    return f;
}

void api_tools_release(struct api_tools *t)
{
    calls_form_free(t->own);
    json_decref(t->list);
    json_decref(t->allowed);
    vocab_ids_release(&t->close);
    mem_free(t->shown);
}

bool api_tools_shows(const struct api_tools *t, int32_t id)
{
    for (int i = 0; i < t->shown_count; i++)
        if (t->shown[i] == id)
            return true;
    return false;
}
