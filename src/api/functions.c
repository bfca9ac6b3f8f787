/* functions -- the names chat had for tools before: `functions`, `function_call`, and messages of role function. The
 * body is rewritten in place with today's names before anyone reads it; job.functions remembers to answer in the old
 * shape, which has room for one call. */
#include "api/fields.h"
#include "api/job.h"
#include "api/translate.h"

#include <string.h>

const struct api_name api_names_functions[] = {
    { "tools", "functions" }, { "tool_choice", "function_call" }, { NULL, NULL },
};

static const json_t *given(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return v && !json_is_null(v) ? v : NULL;
}

static bool both(struct api_error *error, const char *old, const char *today)
{
    return api_refuse(error, 400, old, "invalid_value", "'%s' is an older name for '%s'; send only the latter", old,
                      today);
}

static bool take_functions(struct api_job *j, json_t *body, struct api_error *error)
{
    const json_t *list = given(body, "functions"), *tools = given(body, "tools"), *f;
    size_t i;
    if (list && !json_is_array(list))
        return api_refuse(error, 400, "functions", "invalid_type", "'functions' must be an array");
    if (json_array_size(list) && tools && !api_is_empty(tools))
        return both(error, "functions", "tools");
    if (json_array_size(list)) {
        json_t *out = json_array();
        json_array_foreach(list, i, f)
            json_array_append_new(out, json_pack("{s:s, s:O}", "type", "function", "function", f));
        json_object_set_new(body, "tools", out);
        json_object_set_new(body, "parallel_tool_calls", json_false());
        j->functions = true;
    }
    json_object_del(body, "functions");
    return true;
}

/* "none", "auto" or {"name"}. */
static bool take_choice(struct api_job *j, json_t *body, struct api_error *error)
{
    const json_t *choice = given(body, "function_call"), *name = json_object_get(choice, "name");
    const char *word = json_string_value(choice);
    if (choice && (name || j->functions) && given(body, "tool_choice"))
        return both(error, "function_call", "tool_choice");
    if (choice && !json_is_string(name) && !(word && (!strcmp(word, "none") || !strcmp(word, "auto"))))
        return api_refuse(error, 400, "function_call", "invalid_value",
                          "'function_call' may be none, auto or {\"name\": ...}");
    if (name && !j->functions)
        return api_refuse(error, 400, "function_call", "invalid_value", "'function_call' asks for a call, but the "
                          "request has no 'functions'");
    if (name)
        json_object_set_new(body, "tool_choice", api_function(name, NULL, NULL));
    else if (j->functions && choice)
        json_object_set(body, "tool_choice", (json_t *)choice);
    json_object_del(body, "function_call");
    return true;
}

/* A call and its result had no id: their place among the messages makes one. Nine letters and digits: every template
 * takes them. */
static void take_message(json_t *message, int *calls)
{
    const json_t *call = given(message, "function_call"), *name = json_object_get(call, "name");
    const json_t *arguments = json_object_get(call, "arguments");
    const char *role = json_string_value(json_object_get(message, "role"));
    if (role && !strcmp(role, "function")) {
        json_object_set_new(message, "role", json_string("tool")); /* frees role */
        json_object_set_new(message, "tool_call_id", json_sprintf("call%05d", *calls));
    } else if (role && !strcmp(role, "assistant") && json_is_string(name) && json_is_string(arguments) &&
        !given(message, "tool_calls")) {
        json_t *id = json_sprintf("call%05d", ++*calls);
        json_object_del(message, "tool_calls");
        api_add_call(message, id, name, arguments);
        json_object_del(message, "function_call");
        json_decref(id);
    }
}

bool api_functions_read(struct api_job *j, json_t *body, struct api_error *error)
{
    json_t *message;
    size_t i;
    int calls = 0;
    if (!take_functions(j, body, error) || !take_choice(j, body, error))
        return false;
    json_array_foreach(json_object_get(body, "messages"), i, message)
        take_message(message, &calls);
    return true;
}
