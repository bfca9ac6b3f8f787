/* adapter -- which LoRA adapter a request wants: by name in `lora`, or as MODEL:NAME in `model`. */
#include "api/job.h"

#include <stdio.h>
#include <string.h>

/* ---- the list */

void api_adapters_init(struct api_adapters *a)
{
    memset(a, 0, sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
}

void api_adapters_release(struct api_adapters *a)
{
    for (int i = 0; i < API_ADAPTERS_MAX; i++)
        model_adapter_free(a->slots[i].adapter);
    pthread_mutex_destroy(&a->lock);
}

/* The slot of this name, or -1. Under the lock. */
static int find(const struct api_adapters *a, const char *name)
{
    for (int i = 0; i < API_ADAPTERS_MAX; i++)
        if (a->slots[i].adapter && !strcmp(a->slots[i].name, name))
            return i;
    return -1;
}

enum err_code api_adapters_put(struct api_adapters *a, const char *name, struct model_adapter *adapter, struct err *e)
{
    enum err_code c = ERR_OK;
    int free_slot = 0;
    if (!*name || strlen(name) >= API_ADAPTER_NAME_MAX || strchr(name, ':'))
        return err_set(e, ERR_INVALID, "adapter '%.80s': a name has 1 to %d bytes and no colon", name,
                       API_ADAPTER_NAME_MAX - 1);
    pthread_mutex_lock(&a->lock);
    while (free_slot < API_ADAPTERS_MAX && a->slots[free_slot].adapter)
        free_slot++;
    if (find(a, name) >= 0)
        c = err_set(e, ERR_BUSY, "adapter '%s': there is one of this name already", name);
    else if (free_slot == API_ADAPTERS_MAX)
        c = err_set(e, ERR_LIMIT, "adapter '%s': the model has %d already, which is the most", name, API_ADAPTERS_MAX);
    else {
        snprintf(a->slots[free_slot].name, API_ADAPTER_NAME_MAX, "%s", name);
        a->slots[free_slot].adapter = adapter;
        a->slots[free_slot].users = 0;
    }
    pthread_mutex_unlock(&a->lock);
    return c;
}

enum err_code api_adapters_drop(struct api_adapters *a, const char *name, struct err *e)
{
    struct model_adapter *gone = NULL;
    enum err_code c = ERR_OK;
    pthread_mutex_lock(&a->lock);
    int at = find(a, name);
    if (at < 0)
        c = err_set(e, ERR_NOT_FOUND, "there is no adapter '%.80s'", name);
    else if (a->slots[at].users)
        c = err_set(e, ERR_BUSY, "adapter '%s': requests under way use it; try again when they have ended", name);
    else {
        gone = a->slots[at].adapter;
        a->slots[at].adapter = NULL;
    }
    pthread_mutex_unlock(&a->lock);
    model_adapter_free(gone);
    return c;
}

json_t *api_adapters_names(struct api_adapters *a)
{
    json_t *names = json_array();
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < API_ADAPTERS_MAX; i++)
        if (a->slots[i].adapter)
            json_array_append_new(names, json_string(a->slots[i].name));
    pthread_mutex_unlock(&a->lock);
    return names;
}

/* ---- a request's */

static bool take(struct api_job *j, const char *name)
{
    struct api_adapters *a = j->model->adapters;
    if (!a)
        return false;
    pthread_mutex_lock(&a->lock);
    int at = find(a, name);
    if (at >= 0) {
        j->adapter_name = a->slots[at].name; /* stays while the job is its user */
        j->adapter = a->slots[at].adapter;
        j->adapter_slot = at;
        a->slots[at].users++;
    }
    pthread_mutex_unlock(&a->lock);
    return at >= 0;
}

void api_adapter_let_go(struct api_job *j)
{
    if (!j->adapter)
        return;
    struct api_adapters *a = j->model->adapters;
    pthread_mutex_lock(&a->lock);
    a->slots[j->adapter_slot].users--;
    pthread_mutex_unlock(&a->lock);
    j->adapter = NULL;
}

static void list(const struct api_job *j, struct buf *out)
{
    json_t *names = j->model->adapters ? api_adapters_names(j->model->adapters) : NULL, *v;
    size_t i;
    json_array_foreach(names, i, v)
        buf_printf(out, "%s%s", i ? ", " : "", json_string_value(v));
    if (!json_array_size(names))
        buf_puts(out, "none");
    json_decref(names);
}

bool api_adapter_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *field = json_object_get(body, "lora");
    const char *model = json_string_value(json_object_get(body, "model")), *name = json_string_value(field);
    const char *colon = model ? strrchr(model, ':') : NULL;
    if (field && !json_is_null(field) && !name)
        return api_refuse(error, 400, "lora", "invalid_type", "'lora' must be the name of an adapter");
    if (!name && colon && strcmp(model, j->model->id) != 0) {
        /* a colon may also be part of an alias: the front knows which there are */
        size_t n = (size_t)(colon - model);
        bool ours = strlen(j->model->id) == n && !memcmp(model, j->model->id, n);
        if (take(j, colon + 1) || !ours || !strcmp(colon + 1, "latest")) /* Ollama's tag of a model without one */
            return true;
        name = colon + 1; /* it was taken out a moment ago */
    }
    if (!name || take(j, name))
        return true;
    struct buf names = { 0 };
    list(j, &names);
    api_refuse(error, 404, "lora", "adapter_not_found", "the model '%s' has no adapter '%.60s'; it has: %.200s",
               j->model->id, name, buf_str(&names));
    buf_release(&names);
    return false;
}

void api_put_model(const struct api_job *j, struct buf *out)
{
    struct buf name = { 0 };
    buf_puts(&name, j->model->id);
    if (j->adapter)
        buf_printf(&name, ":%s", j->adapter_name);
    jsonx_quote(buf_str(&name), name.len, out);
    buf_release(&name);
}

const struct model_adapter *api_job_adapter(const struct api_job *j)
{
    return j->adapter;
}
