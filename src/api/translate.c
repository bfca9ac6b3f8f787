/* translate -- see translate.h: the table of routes, and what the translators share. */
#include "api/translate.h"

#include "api/vectors.h"
#include "api/writer.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct api_route routes[] = {
    { .method = "POST", .path = "/v1/chat/completions", .form = API_CHAT, .writer = &api_write_chat },
    { .method = "POST", .path = "/v1/completions", .form = API_COMPLETION, .writer = &api_write_completion },
    { .method = "POST", .path = "/v1/responses", .form = API_CHAT, .writer = &api_write_responses,
      .translate = api_translate_responses, .names = api_names_responses },
    { .method = "POST", .path = "/v1/responses/input_tokens", .form = API_CHAT, .writer = &api_write_responses,
      .translate = api_translate_input_tokens, .count = api_count_input_tokens, .names = api_names_responses },
    { .method = "GET", .path = "/v1/responses/*", .form = API_CHAT, .writer = &api_write_responses,
      .find = api_find_response },
    { .method = "DELETE", .path = "/v1/responses/*", .form = API_CHAT, .writer = &api_write_responses,
      .find = api_delete_response },
    { .method = "POST", .path = "/v1/messages", .form = API_CHAT, .writer = &api_write_messages,
      .translate = api_translate_messages, .names = api_names_messages },
    { .method = "POST", .path = "/v1/messages/count_tokens", .form = API_CHAT, .writer = &api_write_messages,
      .translate = api_translate_count, .count = api_count_tokens, .names = api_names_messages },
    { .method = "POST", .path = "/v1/embeddings", .writer = &api_write_embeddings, .vectors = api_embeddings_read },
    { .method = "POST", .path = "/v1/rerank", .writer = &api_write_rerank, .vectors = api_rerank_read },
    { .method = "POST", .path = "/v2/rerank", .writer = &api_write_rerank, .vectors = api_rerank_read },
    { .method = "POST", .path = "/rerank", .writer = &api_write_rerank, .vectors = api_rerank_read },
    { .method = "POST", .path = "/api/embed", .writer = &api_write_ollama_embed, .vectors = api_ollama_embed_read },
    { .method = "POST", .path = "/api/embeddings", .writer = &api_write_ollama_embed,
      .vectors = api_ollama_embed_read },
    { .method = "POST", .path = "/api/chat", .form = API_CHAT, .writer = &api_write_ollama_chat,
      .translate = api_translate_ollama_chat, .names = api_names_ollama },
    { .method = "POST", .path = "/api/generate", .form = API_CHAT, .writer = &api_write_ollama_generate,
      .translate = api_translate_generate, .after = api_prompt_context, .names = api_names_ollama },
};

const struct api_route *api_route_find(const char *method, const char *path)
{
    for (size_t i = 0; i < MEM_COUNT(routes); i++) {
        const struct api_route *r = &routes[i];
        size_t n = strlen(r->path);
        bool fits = r->path[n - 1] == '*' ? !strncmp(r->path, path, n - 1) : !strcmp(r->path, path);
        if (fits && !strcmp(r->method, method))
            return r;
    }
    return NULL;
}

/* ---- refusals in the client's words */

/* Replaces 'ours' wherever a quoted path in the sentence begins with it, so that no part of a word is touched. */
static void replace_quoted(char *text, size_t size, const struct api_name *n)
{
    char quoted[96];
    struct buf out = { 0 };
    int len = snprintf(quoted, sizeof quoted, "'%s", n->ours);
    const char *at = text, *hit;
    while ((hit = strstr(at, quoted))) {
        buf_append(&out, at, (size_t)(hit - at));
        buf_printf(&out, "'%s", hit[len] && strchr("'.[", hit[len]) ? n->theirs : n->ours);
        at = hit + len;
    }
    buf_puts(&out, at);
    snprintf(text, size, "%s", buf_str(&out));
    buf_release(&out);
}

/* "messages[3].content" -> where message 3 came from. */
static void rename_message(const struct api_job *j, struct api_error *error)
{
    static const char head[] = "messages[";
    if (strncmp(error->param, head, sizeof head - 1))
        return;
    size_t i = strtoul(error->param + sizeof head - 1, NULL, 10);
    const char *where = json_string_value(json_array_get(j->origins, i));
    if (where)
        snprintf(error->param, sizeof error->param, "%s", where);
}

void api_rename(const struct api_job *j, struct api_error *error)
{
    rename_message(j, error);
    for (const struct api_name *n = j->functions ? api_names_functions : j->route->names; n && n->ours; n++) {
        size_t len = strlen(n->ours);
        char rest[sizeof error->param];
        replace_quoted(error->message, sizeof error->message, n);
        if (strncmp(error->param, n->ours, len) || (error->param[len] && error->param[len] != '['))
            continue;
        snprintf(rest, sizeof rest, "%s", error->param + len);
        snprintf(error->param, sizeof error->param, "%.40s%.30s", n->theirs, rest);
    }
}

/* ---- pieces of a canonical body */

void api_copy(const json_t *from, const char *key, json_t *to, const char *as)
{
    json_t *v = json_object_get(from, key);
    if (v && !json_is_null(v))
        json_object_set(to, as, v);
}

json_t *api_add_message(struct api_job *j, json_t *messages, const char *role, const char *where)
{
    json_t *m = json_pack("{s:s}", "role", role);
    json_array_append_new(messages, m);
    if (!j->origins)
        j->origins = json_array();
    while (json_array_size(j->origins) + 1 < json_array_size(messages))
        json_array_append_new(j->origins, json_null());
    json_array_append_new(j->origins, json_string(where));
    return m;
}

void api_add_text(json_t *message, const json_t *text)
{
    json_t *parts = json_object_get(message, "content");
    if (!parts) {
        parts = json_array();
        json_object_set_new(message, "content", parts);
    }
    json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "text", text));
}

void api_add_call(json_t *message, const json_t *id, const json_t *name, const json_t *arguments)
{
    struct buf text = { 0 };
    json_t *calls = json_object_get(message, "tool_calls");
    if (!calls) {
        calls = json_array();
        json_object_set_new(message, "tool_calls", calls);
    }
    if (json_is_string(arguments))
        buf_append(&text, json_string_value(arguments), json_string_length(arguments));
    else
        jsonx_dump(arguments, &text);
    json_t *call = json_pack("{s:s, s:{s:O, s:s%}}", "type", "function", "function", "name", name, "arguments",
                             buf_str(&text), text.len);
    if (id && json_is_string(id))
        json_object_set(call, "id", (json_t *)id);
    json_array_append_new(calls, call);
    buf_release(&text);
}

json_t *api_function(const json_t *name, const json_t *description, const json_t *parameters)
{
    json_t *f = json_pack("{s:O}", "name", name);
    if (json_is_string(description))
        json_object_set(f, "description", (json_t *)description);
    if (json_is_object(parameters))
        json_object_set(f, "parameters", (json_t *)parameters);
    return json_pack("{s:s, s:o}", "type", "function", "function", f);
}

json_t *api_schema_format(const json_t *schema, const json_t *name, const json_t *strict)
{
    json_t *s = json_pack("{s:O}", "schema", schema);
    json_object_set_new(s, "name", json_is_string(name) ? json_incref((json_t *)name) : json_string("answer"));
    if (json_is_boolean(strict))
        json_object_set(s, "strict", (json_t *)strict);
    return json_pack("{s:s, s:o}", "type", "json_schema", "json_schema", s);
}
