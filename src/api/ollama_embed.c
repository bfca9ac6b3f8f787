/* ollama_embed -- /api/embed and the older /api/embeddings, read as an embeddings body and written as Ollama does. A
 * text that is too long loses its end, as there, unless `truncate` is false. */
#include "api/fields.h"
#include "api/translate.h"
#include "api/vectors.h"
#include "api/writer.h"

#include <string.h>

static const struct api_field fields[] = {
    { "model", 3, STRING, NULL },
    { "input", 1, READ, NULL },
    { "prompt", 2, READ, NULL },
    { "dimensions", 1, READ, NULL },
    { "truncate", 1, BOOLEAN, NULL },
    { "keep_alive", 3, ANY, NULL },
    { "options", 3, NOT_YET, api_is_empty },
    { NULL, 0, READ, NULL },
};

static bool is_older(const struct api_job *j)
{
    return !strcmp(j->route->path, "/api/embeddings");
}

bool api_ollama_embed_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    if (!api_fields_of(body, fields, is_older(j) ? 2 : 1, "", error))
        return false;
    j->ask = json_incref((json_t *)body);
    json_t *as = json_object();
    api_copy(body, is_older(j) ? "prompt" : "input", as, "input");
    api_copy(body, "dimensions", as, "dimensions");
    if (!json_is_false(json_object_get(body, "truncate"))) {
        json_object_set_new(as, "truncate_prompt_tokens", json_integer(-1));
        json_object_set_new(as, "truncation_side", json_string("right"));
    }
    bool ok = api_embeddings_read(j, as, error);
    if (!ok && is_older(j) && !strcmp(error->param, "input"))
        api_refuse(error, 400, "prompt", "invalid_value", "'prompt' must be a string");
    json_decref(as);
    return ok;
}

static void whole(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    if (is_older(j)) {
        buf_puts(out, "{\"embedding\":");
        api_vector_write(j, &j->vectors->of[0], out);
        buf_puts(out, "}\n");
        return;
    }
    const json_t *asked = json_object_get(j->ask, "model");
    const char *name = json_string_length(asked) ? json_string_value(asked) : j->model->id;
    buf_puts(out, "{\"model\":");
    jsonx_quote(name, strlen(name), out);
    buf_puts(out, ",\"embeddings\":[");
    for (int i = 0; i < j->prompt_count; i++) {
        buf_puts(out, i ? "," : "");
        api_vector_write(j, &j->vectors->of[i], out);
    }
    buf_printf(out, "],\"total_duration\":%lld,\"load_duration\":%lld,\"prompt_eval_count\":%d}\n",
               (long long)j->measured.total_ns, (long long)j->measured.queue_ns, u->prompt_tokens);
}

static void error(struct api_job *j, const struct api_error *e, struct buf *out)
{
    buf_puts(out, "{\"error\":");
    jsonx_quote(e->message, strlen(e->message), out);
    buf_puts(out, "}\n");
}

const struct api_writer api_write_ollama_embed = { .stream_type = "application/json", .whole = whole, .error = error };
