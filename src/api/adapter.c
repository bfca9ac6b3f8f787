/* adapter -- which LoRA adapter a request wants: by name in `lora`, or as MODEL:NAME in `model`. */
#include "api/job.h"

#include <string.h>

static bool take(struct api_job *j, const char *name)
{
    const struct api_adapters *a = j->model->adapters;
    int count = a ? a->count : 0;
    for (int i = 0; i < count; i++)
        if (!strcmp(a->slots[i].name, name)) {
            j->adapter_name = a->slots[i].name;
            j->adapter = a->slots[i].adapter;
            return true;
        }
    return false;
}

static void list(const struct api_job *j, struct buf *out)
{
    const struct api_adapters *a = j->model->adapters;
    int count = a ? a->count : 0;
    for (int i = 0; i < count; i++)
        buf_printf(out, "%s%s", i ? ", " : "", a->slots[i].name);
    if (!count)
        buf_puts(out, "none");
}

bool api_adapter_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *field = json_object_get(body, "lora");
    const char *model = json_string_value(json_object_get(body, "model")), *name = json_string_value(field);
    const char *colon = model ? strrchr(model, ':') : NULL;
    if (field && !json_is_null(field) && !name)
        return api_refuse(error, 400, "lora", "invalid_type", "'lora' must be the name of an adapter");
    if (!name) { /* a colon may also be part of the model's own name: the front knows which models there are */
        if (colon && strcmp(model, j->model->id) != 0)
            take(j, colon + 1);
        return true;
    }
    if (take(j, name))
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
