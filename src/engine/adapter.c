/* adapter -- see adapter.h. */
#include "engine/adapter.h"

#include "base/json.h"
#include "lib/runtime.h"

#include <stdio.h>

static enum err_code change(struct runtime *r, const json_t *v, int fd, struct err *e)
{
    const char *name = json_string_value(json_object_get(v, "name"));
    if (!name)
        return err_set(e, ERR_INVALID, "an adapter needs a name");
    if (json_is_true(json_object_get(v, "remove")))
        return runtime_adapter_remove(r, name, e);
    return fd < 0 ? err_set(e, ERR_INVALID, "adapter '%.80s': no file came with it", name) :
                    runtime_adapter_add(r, name, fd, e);
}

static int status_of(enum err_code c)
{
    return c == ERR_NOT_FOUND ? 404 : c == ERR_BUSY ? 409 : c == ERR_IO ? 500 : 400;
}

bool engine_adapter_change(struct runtime *r, const struct frame *f, int fd, struct api_error *error)
{
    struct err e = { 0 };
    json_t *v = jsonx_parse(f->payload, f->length, &e);
    enum err_code c = v ? change(r, v, fd, &e) : e.code;
    json_decref(v);
    if (!c)
        return true;
    *error = (struct api_error){ .status = status_of(c) };
    snprintf(error->type, sizeof error->type, "%s", c == ERR_IO ? "server_error" : "invalid_request_error");
    snprintf(error->param, sizeof error->param, "%s", c == ERR_LIMIT || c == ERR_BUSY ? "name" : "file");
    snprintf(error->message, sizeof error->message, "%s", e.text);
    return false;
}
