/* answers -- what the front knows by itself: health, the models, and the figures the console shows. */
#include "base/clock.h"
#include "front/front_impl.h"

#include <string.h>

static void reply_json(struct front *f, struct http_exchange *x, int status, json_t *v)
{
    struct buf b = { 0 };
    jsonx_dump(v, &b);
    json_decref(v);
    front_reply_json(f, x, status, &b);
    buf_release(&b);
}

bool answer_ready(const struct front *f)
{
    for (int i = 0; i < models_count(f->models); i++)
        if (models_expected(f->models, i) && link_state(models_link(f->models, i)) != LINK_READY)
            return false;
    return front_fleet_ready(f->fleet);
}

/* 200 as long as this process answers at all: who gets no answer starts it again. */
void answer_live(struct front *f, struct http_exchange *x, const struct route *r)
{
    reply_json(f, x, 200, json_pack("{s:s}", "status", "ok"));
}

/* 200 when requests may come: every engine that is to be there is ready, and of a fleet somebody who has a model is
 * heard; else 503 with how far loading has come, or a sentence. */
void answer_health(struct front *f, struct http_exchange *x, const struct route *r)
{
    double progress = 1;
    bool ready = true, failed = false;
    const char *waits = front_fleet_waits(f->fleet);
    for (int i = 0; i < models_count(f->models); i++) {
        const struct link *k = models_link(f->models, i);
        if (!models_expected(f->models, i))
            continue;
        ready = ready && link_state(k) == LINK_READY;
        failed = failed || link_state(k) == LINK_DOWN;
        if (link_state(k) != LINK_READY && link_loading(k) < progress)
            progress = link_loading(k);
    }
    if (f->draining)
        reply_json(f, x, 503, json_pack("{s:s}", "status", "draining"));
    else if (ready && waits)
        reply_json(f, x, 503, json_pack("{s:s}", "status", waits));
    else if (ready)
        reply_json(f, x, 200, json_pack("{s:s}", "status", "ok"));
    else if (failed)
        reply_json(f, x, 503, json_pack("{s:s}", "status", "restarting"));
    else
        reply_json(f, x, 503, json_pack("{s:s, s:i}", "status", "loading", "percent", (int)(100 * progress)));
}

static json_t *model_object(const struct front *f, int i)
{
    const struct link *k = models_link(f->models, i);
    json_t *aliases = json_array();
    for (int n = 0; models_alias(f->models, i, n); n++)
        json_array_append_new(aliases, json_string(models_alias(f->models, i, n)));
    json_t *v = json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", link_model_id(k), "object", "model", "created",
                          (json_int_t)f->started_s, "owned_by", "tokenworks", "state", link_state_name(k), "aliases",
                          aliases);
    if (models_need_bytes(f->models, i))
        json_object_set_new(v, "memory_bytes", json_integer(models_need_bytes(f->models, i)));
    if (link_fault(k)[0] && link_state(k) != LINK_READY)
        json_object_set_new(v, "fault", json_string(link_fault(k)));
    if (link_facts(k))
        json_object_set(v, "meta", (json_t *)(uintptr_t)link_facts(k)); /* jansson counts references in place */
    return v;
}

void answer_models(struct front *f, struct http_exchange *x, const struct route *r)
{
    json_t *list = json_array();
    models_rescan(f->models);
    for (int i = 0; i < models_count(f->models); i++)
        if (models_offered(f->models, i))
            json_array_append_new(list, model_object(f, i));
    reply_json(f, x, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void answer_model(struct front *f, struct http_exchange *x, const struct route *r)
{
    struct http_slice path = http_request_head(x)->path;
    char name[256] = "";
    size_t skip = strlen("/v1/models/");
    if (path.n - skip < sizeof name)
        memcpy(name, path.p + skip, path.n - skip);
    struct link *k = name[0] ? front_find_model(f, name) : NULL;
    for (int i = 0; k && i < models_count(f->models); i++)
        if (models_link(f->models, i) == k && models_offered(f->models, i)) {
            reply_json(f, x, 200, model_object(f, i));
            return;
        }
    front_reply_error(f, x, &(struct error){ .status = 404, .message = "no model of this name is served here",
                                             .type = "invalid_request_error", .param = "model",
                                             .code = "model_not_found" }, NULL);
}

/* What the console draws: the models with their facts and latest figures. */
void answer_stats(struct front *f, struct http_exchange *x, const struct route *r)
{
    json_t *models = json_array();
    for (int i = 0; i < models_count(f->models); i++) {
        const struct link *k = models_link(f->models, i);
        if (!models_offered(f->models, i))
            continue;
        json_t *v = json_pack("{s:s, s:s, s:f, s:I}", "id", link_model_id(k), "state", link_state_name(k), "loading",
                              link_loading(k), "restarts", (json_int_t)link_restarts(k));
        json_object_set(v, "facts", (json_t *)(uintptr_t)link_facts(k));
        json_object_set(v, "stats", (json_t *)(uintptr_t)link_stats(k));
        json_array_append_new(models, v);
    }
    reply_json(f, x, 200,
               json_pack("{s:s, s:I, s:i, s:b, s:b, s:o}", "version", TW_VERSION, "uptime_s",
                         (json_int_t)(clock_wall_s() - f->started_s), "in_flight", f->relay_count, "draining",
                         f->draining, "fleet", f->fleet != NULL, "models", models));
}

/* A user's key sees the requests of its own tenant. */
void answer_requests(struct front *f, struct http_exchange *x, const struct route *r)
{
    const struct ledger_key *key = accounts_key(f->accounts, keys_shown(http_request_head(x)));
    struct buf b = { 0 };
    recents_json(f->recents, key && key->role == LEDGER_USER ? key->tenant : NULL, &b);
    front_reply_json(f, x, 200, &b);
    buf_release(&b);
}

void answer_tco(struct front *f, struct http_exchange *x, const struct route *r)
{
    struct http_slice body = http_request_body(x);
    struct err e = { 0 };
    if (!f->options.tco) {
        answer_unknown(f, x, r);
        return;
    }
    json_t *question = jsonx_parse(body.p, body.n, &e), *answer = question ? f->options.tco(question, &e) : NULL;
    json_decref(question);
    if (answer)
        reply_json(f, x, 200, answer);
    else
        front_reply_error(f, x, &(struct error){ .status = 400, .message = e.text }, NULL);
}
