/* load -- POST /tokenworks/models/load and /tokenworks/models/unload, {"model": NAME}: an operator brings a model in
 * or out of memory. Where the ledger has keys it wants one of the role admin; a key of the key file will do as well.
 * Answers at once: GET /v1/models shows the state. */
#include "base/mem.h"
#include "front/front_impl.h"

#include <string.h>

static void refuse(struct front *f, struct http_exchange *x, int status, const char *message, const char *code)
{
    front_reply_error(f, x, &(struct error){ .status = status, .message = message, .code = code }, NULL);
}

bool load_allowed(const struct front *f, const struct http_head *h)
{
    const struct ledger_key *key = accounts_key(f->accounts, keys_shown(h));
    return key ? key->role == LEDGER_ADMIN : !accounts_have_keys(f->accounts) || keys_check(f->keys, h);
}

void answer_load(struct front *f, struct http_exchange *x, const struct route *r)
{
    const struct http_head *h = http_request_head(x);
    if (adapters_path(h->path)) {
        answer_adapters(f, x, r);
        return;
    }
    struct http_slice body = http_request_body(x);
    bool load = http_slice_is(h->path, "/tokenworks/models/load");
    struct err e = { 0 };
    const char *name = NULL;
    json_t *in = jsonx_parse(body.p, body.n, &e);
    struct link *k = NULL;
    if (json_is_object(in) && !jsonx_get_string(in, "model", &name, &e) && name)
        k = models_find(f->models, name);
    if (!load && !http_slice_is(h->path, "/tokenworks/models/unload"))
        refuse(f, x, 404, "there are load and unload", "unknown_route");
    else if (!http_slice_is(h->method, "POST"))
        refuse(f, x, 405, "this route does not take that method", NULL);
    else if (!load_allowed(f, h))
        refuse(f, x, 403, "this needs a key of the role admin: tokenworks key add --role admin", NULL);
    else if (!name)
        refuse(f, x, 400, "the body must be {\"model\": NAME}", NULL);
    else if (!k)
        refuse(f, x, 404, "no model of this name is served here", "model_not_found");
    else if (link_is_far(k))
        refuse(f, x, 409, "other machines have this model: it is loaded and unloaded where it runs", "model_elsewhere");
    else if (!load && !models_unload(f->models, k))
        refuse(f, x, 409, "this model is pinned in the configuration: it is never unloaded", "model_pinned");
    else {
        if (load)
            models_load(f->models, k);
        struct buf b = { 0 };
        json_t *v = json_pack("{s:s, s:s}", "id", link_model_id(k), "state", link_state_name(k));
        jsonx_dump(v, &b);
        json_decref(v);
        front_reply_json(f, x, 200, &b);
        buf_release(&b);
    }
    json_decref(in);
}
