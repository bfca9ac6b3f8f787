/* job -- from request bytes to a job: which dialect, which fields, which prompts; and what the caller may ask. */
#include "api/job.h"

#include "api/translate.h"
#include "api/vectors.h"
#include "api/window.h"
#include "api/writer.h"
#include "base/assert.h"
#include "base/mem.h"
#include "text/grammar.h"

#include <string.h>

_Static_assert((int)STOP_STRINGS_MAX == (int)API_STOPS_MAX, "stop.h and api.h agree");
_Static_assert((int)STOP_BYTES_MAX == (int)API_STOP_BYTES_MAX, "stop.h and api.h agree");

bool api_prompt_encode(struct api_job *j, const char *text, size_t n, const char *param, struct vocab_ids *out,
                       struct api_error *error)
{
    const struct vocab *v = j->model->vocab;
    struct err e;
    struct vocab_ids ids = { 0 };
    int bos = vocab_bos(v);
    if (vocab_encode(v, text, n, true, &ids, &e)) {
        vocab_ids_release(&ids);
        return api_refuse_err(error, param, &e);
    }
    bool has_bos = ids.count && ids.v[0] == bos;
    if (bos >= 0 && !has_bos && (vocab_add_bos(v) || !ids.count))
        vocab_ids_push(out, bos); /* an empty prompt starts from BOS even where the file asks for none */
    for (size_t i = 0; i < ids.count; i++)
        vocab_ids_push(out, ids.v[i]);
    vocab_ids_release(&ids);
    return out->count || api_refuse(error, 400, param, "invalid_value", "the prompt is empty and this model has no "
                                    "token to begin with");
}

static bool check_lengths(const struct api_job *j, const char *param, struct api_error *error)
{
    for (int i = 0; i < j->prompt_count; i++)
        if (j->prompts[i].count >= (size_t)j->model->ctx)
            return api_refuse(error, 400, param, "context_length_exceeded", "the prompt has %zu tokens; the context "
                              "of the model '%s' holds %d with the answer. Shorten the prompt", j->prompts[i].count,
                              j->model->id, j->model->ctx);
    if ((int64_t)j->prompt_count * j->n > API_CHOICES_MAX)
        return api_refuse(error, 400, "n", "invalid_value", "%d prompts with 'n' %d make more than %d choices",
                          j->prompt_count, j->n, API_CHOICES_MAX);
    return true;
}

static void write_head(struct api_job *j)
{
    const struct api_model *m = j->model;
    const char *print = m->fingerprint ? m->fingerprint : m->id;
    bool chat = j->dialect == API_CHAT;
    j->object = chat ? j->stream ? "chat.completion.chunk" : "chat.completion" : "text_completion";
    buf_puts(&j->head, "{\"id\":");
    jsonx_quote(j->id, strlen(j->id), &j->head);
    buf_printf(&j->head, ",\"object\":\"%s\",\"created\":%lld,\"model\":", j->object, (long long)j->created);
    api_put_model(j, &j->head);
    buf_puts(&j->head, ",\"system_fingerprint\":");
    jsonx_quote(print, strlen(print), &j->head);
    api_window_report(j, &j->head);
}

/* Where there may be calls or thoughts, each choice tells them apart. */
static void begin_replies(struct api_job *j)
{
    struct api_tools *t = &j->tools;
    if (!t->form || j->text_only || (!t->form->think_open && !t->list && !t->form->skips))
        return;
    for (int i = 0; i < api_job_choices(j); i++) {
        struct reply_spec s = { .form = t->form, .tools = t->choice == API_CALL_NEVER ? NULL : t->allowed,
                                .thoughts = t->form->think_open != NULL, .in_thought = t->in_thought,
                                .live = true, .seed = j->id, .choice = i };
        j->choices[i].reply = reply_new(&s);
    }
}

/* The answer is known: nothing is to be generated. */
static void drop_prompts(struct api_job *j)
{
    for (int i = 0; i < j->prompt_count; i++) {
        vocab_ids_release(&j->prompts[i]);
        if (j->echo_text)
            buf_release(&j->echo_text[i]);
    }
    j->prompt_count = 0;
    j->stream = false;
}

static bool read_body(struct api_job *j, const json_t *body, const struct api_request *r, struct api_error *error)
{
    bool chat = j->dialect == API_CHAT;
    if (j->model->pooling.encoder)
        return api_refuse(error, 400, "model", "unsupported_model", "the model '%s' is an encoder: it makes embeddings "
                          "and does not generate text", j->model->id);
    if (!api_fields_check(body, j->dialect, j->model, error) || !api_sampling_read(j, body, r, error) ||
        !api_structured_read(j, body, error) || !api_window_read(j, body, error))
        return false;
    if (chat ? !api_chat_read(j, body, error) : !api_completion_read(j, body, error))
        return false;
    if (j->route->after && !j->route->after(j, error))
        return false;
    if (j->route->count) {
        j->route->count(j);
        return true;
    }
    api_window_cut(j);
    if (!check_lengths(j, chat ? "messages" : "prompt", error))
        return false;
    j->choices = mem_new((size_t)api_job_choices(j), sizeof *j->choices);
    begin_replies(j);
    write_head(j);
    return true;
}

/* The operator's defaults for this model, where the body is silent. */
static void add_defaults(json_t *body, const json_t *defaults)
{
    const char *key;
    json_t *value;
    bool long_name = json_object_get(body, "max_completion_tokens") != NULL;
    json_object_foreach((json_t *)(uintptr_t)defaults, key, value)
        if (!json_object_get(body, key) && !(long_name && !strcmp(key, "max_tokens")))
            json_object_set(body, key, value);
}

/* The body as its route has it, or as what the route makes of it. */
static bool read_any(struct api_job *j, json_t *body, const struct api_request *r, struct api_error *error)
{
    json_t *chat = NULL;
    if (!api_adapter_read(j, body, error))
        return false;
    if (j->route->vectors)
        return j->route->vectors(j, body, error);
    if (!j->route->translate) {
        if (j->dialect == API_CHAT && json_is_object(body) && !api_functions_read(j, body, error))
            return false;
        add_defaults(body, j->model->defaults);
        bool read = read_body(j, body, r, error);
        if (!read)
            api_rename(j, error);
        return read;
    }
    j->ask = json_incref(body);
    if (!j->route->translate(j, body, &chat, error))
        return false;
    if (chat)
        add_defaults(chat, j->model->defaults);
    bool ok = !chat || read_body(j, chat, r, error);
    if (!ok)
        api_rename(j, error);
    json_decref(chat);
    return ok;
}

static bool read_request(struct api_job *j, const struct api_request *r, struct api_error *error)
{
    struct err e;
    if (j->route->find)
        return j->route->find(j, r->path + strlen(j->route->path) - 1, error);
    json_t *body = jsonx_parse(r->body, r->body_len, &e);
    if (!body)
        return api_refuse(error, 400, "", "invalid_json", "the request body is not valid: %s", e.text);
    bool ok = read_any(j, body, r, error);
    json_decref(body);
    return ok;
}

struct api_job *api_job_parse(const struct api_model *m, const struct api_request *r, struct api_error *error)
{
    const char *method = r->method ? r->method : "POST";
    const struct api_route *route = api_route_find(method, r->path);
    if (!route) {
        api_refuse(error, 404, "", "unknown_url", "no such route: %.20s %.100s", method, r->path);
        return NULL;
    }
    struct api_job *j = MEM_NEW(struct api_job);
    j->route = route;
    j->dialect = route->form;
    j->model = m;
    j->id = mem_strdup(r->response_id);
    j->created = r->created;
    j->text_only = r->text_only;
    j->writer = r->text_only ? &api_write_text : route->writer;
    j->store = r->store;
    j->space = r->space;
    if (read_request(j, r, error)) {
        if (j->grammar && m->trie)
            grammar_trie_prepare(m->trie);
        if (j->ready.len)
            drop_prompts(j);
        return j;
    }
    api_job_free(j);
    return NULL;
}

void api_job_free(struct api_job *j)
{
    if (!j)
        return;
    api_adapter_let_go(j);
    for (int i = 0; j->choices && i < api_job_choices(j); i++) {
        buf_release(&j->choices[i].pending);
        api_parts_release(&j->choices[i].parts);
        reply_free(j->choices[i].reply);
        mem_free(j->choices[i].tokens);
        vocab_ids_release(&j->choices[i].ids);
        buf_release(&j->choices[i].stop_text);
    }
    api_vectors_free(j);
    drop_prompts(j);
    mem_free(j->choices);
    mem_free(j->prompts);
    mem_free(j->echo_text);
    mem_free(j->params.bias);
    grammar_free(j->grammar);
    api_tools_release(&j->tools);
    mem_free(j->id);
    stop_set_release(&j->stops);
    buf_release(&j->head);
    buf_release(&j->ready);
    json_decref(j->ask);
    json_decref(j->origins);
    json_decref(j->conversation);
    mem_free(j);
}

int api_job_choices(const struct api_job *j)
{
    return j->prompt_count * j->n;
}

const struct vocab_ids *api_job_prompt(const struct api_job *j, int choice)
{
    ASSERT(choice >= 0 && choice < api_job_choices(j));
    return &j->prompts[choice / j->n];
}

const struct infer_params *api_job_params(const struct api_job *j)
{
    return &j->params;
}

void api_job_measured(struct api_job *j, const struct api_measure *m)
{
    j->measured = *m;
}

bool api_job_stream(const struct api_job *j)
{
    return j->stream;
}

int api_job_status(const struct api_job *j)
{
    return j->failed == INFER_RUNNING ? 200 : j->failed == INFER_CANCELLED ? 503 :
           j->failed == INFER_DEADLINE ? 504 : 500;
}

const char *api_job_content_type(const struct api_job *j)
{
    return j->stream ? j->writer->stream_type : "application/json";
}
