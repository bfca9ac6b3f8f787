/* structured -- response_format and the guided_* fields: which grammar the answer must follow.
 *
 * Fail closed: what the grammar floor cannot enforce is 400 with the keyword and its path, never approximated. */
#include "api/job.h"

#include "base/mem.h"
#include "text/grammar.h"

#include <string.h>

static bool refuse_grammar(struct api_error *error, const char *param, const struct err *e)
{
    const char *code = e->code == ERR_UNSUPPORTED ? "unsupported_schema" : "invalid_value";
    return api_refuse(error, 400, param, code, "'%s': %s", param, e->text);
}

static struct grammar *from_choices(const json_t *v, struct err *e)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v) || !n) {
        err_set(e, ERR_INVALID, "must be a list of strings with at least one");
        return NULL;
    }
    const char **words = mem_new(n, sizeof *words);
    size_t *lengths = mem_new(n, sizeof *lengths), good = 0;
    for (; good < n && json_is_string(json_array_get(v, good)); good++) {
        words[good] = json_string_value(json_array_get(v, good));
        lengths[good] = json_string_length(json_array_get(v, good));
    }
    struct grammar *g = NULL;
    if (good < n)
        err_set(e, ERR_INVALID, "must be a list of strings");
    else
        g = grammar_from_choices(words, lengths, n, e);
    mem_free(words);
    mem_free(lengths);
    return g;
}

/* A schema as an object (true and false are schemas too), or as JSON text of one: vLLM's clients send both. */
static struct grammar *from_schema(const json_t *v, struct err *e)
{
    if (!json_is_string(v))
        return grammar_from_schema(v, e);
    json_t *parsed = jsonx_parse(json_string_value(v), json_string_length(v), e);
    struct grammar *g = parsed ? grammar_from_schema(parsed, e) : NULL;
    json_decref(parsed);
    return g;
}

static struct grammar *from_text(const json_t *v, struct grammar *(*make)(const char *, size_t, struct err *),
                                 struct err *e)
{
    if (json_is_string(v))
        return make(json_string_value(v), json_string_length(v), e);
    err_set(e, ERR_INVALID, "must be a string");
    return NULL;
}

static struct grammar *from_guided(const char *field, const json_t *v, struct err *e)
{
    if (!strcmp(field, "guided_json"))
        return from_schema(v, e);
    if (!strcmp(field, "guided_regex"))
        return from_text(v, grammar_from_regex, e);
    if (!strcmp(field, "guided_grammar"))
        return from_text(v, grammar_from_gbnf, e);
    return from_choices(v, e);
}

/* {"type": "text" | "json_object" | "json_schema", "json_schema": {"name", "description", "schema", "strict"}} */
static bool from_format(const json_t *format, struct grammar **out, struct api_error *error)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    struct err e = { 0 };
    if (!type)
        return api_refuse(error, 400, "response_format", "invalid_type",
                          "'response_format' must be an object with a 'type'");
    if (!strcmp(type, "text"))
        return true;
    if (!strcmp(type, "json_object")) {
        *out = grammar_json_object(&e);
        return *out || refuse_grammar(error, "response_format", &e);
    }
    if (strcmp(type, "json_schema"))
        return api_refuse(error, 400, "response_format", "invalid_value",
                          "'response_format.type' is '%.40s'; it may be text, json_object or json_schema", type);
    const json_t *schema = json_object_get(json_object_get(format, "json_schema"), "schema");
    if (!schema)
        return api_refuse(error, 400, "response_format", "invalid_value",
                          "'response_format.json_schema.schema' is missing");
    *out = from_schema(schema, &e);
    return *out || refuse_grammar(error, "response_format", &e);
}

bool api_structured_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    static const char *const guided[] = { "guided_json", "guided_regex", "guided_choice", "guided_grammar" };
    const json_t *format = json_object_get(body, "response_format");
    struct err e = { 0 };
    if (format && !json_is_null(format) && !from_format(format, &j->grammar, error))
        return false;
    for (size_t i = 0; i < MEM_COUNT(guided); i++) {
        const json_t *v = json_object_get(body, guided[i]);
        if (!v || json_is_null(v))
            continue;
        if (j->grammar)
            return api_refuse(error, 400, guided[i], "invalid_value",
                              "'%s' and another field both say what the answer must look like; send one", guided[i]);
        j->grammar = from_guided(guided[i], v, &e);
        if (!j->grammar)
            return refuse_grammar(error, guided[i], &e);
    }
    if (j->grammar && (j->params.ignore_eos || j->params.min_tokens))
        return api_refuse(error, 400, j->params.ignore_eos ? "ignore_eos" : "min_tokens", "invalid_value",
                          "an answer with a fixed form ends where its form ends; leave out 'ignore_eos' and "
                          "'min_tokens'");
    if (j->grammar && j->stops.count)
        return api_refuse(error, 400, "stop", "invalid_value",
                          "a stop string could cut an answer with a fixed form; leave out 'stop'");
    j->params.grammar = j->grammar;
    return true;
}
