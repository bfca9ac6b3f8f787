/* fleet_host -- see fleet.h: the worker's side. A request of a gateway goes to the local engine like a client's, and
 * the engine's frames go back as they are.
 *
 *   open --model ready--> the engine --END, ERROR--> over          close: the gateway no longer wants it, cancel
 *     `--model not ready: waits, as a client's would               lost: the engine died, the gateway goes on elsewhere
 *
 * An engine of which nothing is heard (link_stands) is told of at once: gateways then begin its requests elsewhere too.
 *
 * A handle is a number, never a pointer: what the worker says of a call that is over finds nothing. */
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/fleet_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct host_call {
    struct link_call call;
    struct model_wait wait;
    struct host_call *next;
    struct front_fleet *t;
    struct link *link;
    struct fleet_work *work;      /* NULL: it is over for the worker */
    uintptr_t handle;
    json_t *head;
    struct buf body;              /* until the engine has it */
    int64_t credit;               /* given before it had; -1: none was */
};

struct host_prefixes {            /* of a model: what it has computed lately, the latest first */
    struct host_prefixes *next;
    char id[HEARTBEAT_ID_MAX];
    uint64_t hash[HEARTBEAT_PREFIXES_MAX];
    int count;
};

/* ---- beginnings */

static struct host_prefixes *prefixes_of(struct front_fleet *t, const char *id)
{
    struct host_prefixes *p = t->prefixes;
    while (p && strcmp(p->id, id))
        p = p->next;
    return p;
}

static void note_prefix(struct host_prefixes *p, uint64_t hash)
{
    int at = 0;
    while (at < p->count && p->hash[at] != hash)
        at++;
    if (at == p->count && p->count < HEARTBEAT_PREFIXES_MAX)
        p->count++;
    at = at < p->count ? at : p->count - 1;
    memmove(p->hash + 1, p->hash, (size_t)at * sizeof *p->hash);
    p->hash[0] = hash;
}

/* Shortest first: the longest is the latest in the end. */
static void note_prefixes(struct front_fleet *t, const char *id, const json_t *list)
{
    struct host_prefixes *p = prefixes_of(t, id);
    const json_t *v;
    size_t i;
    if (!p && json_array_size(list)) {
        p = MEM_NEW(struct host_prefixes);
        snprintf(p->id, sizeof p->id, "%s", id);
        p->next = t->prefixes;
        t->prefixes = p;
    }
    json_array_foreach(list, i, v)
        if (json_string_length(v) == 16)
            note_prefix(p, strtoull(json_string_value(v), NULL, 16));
}

/* ---- a call's life */

static struct host_call *find(struct front_fleet *t, const void *handle)
{
    struct host_call *c = t->calls;
    while (c && c->handle != (uintptr_t)handle)
        c = c->next;
    return c;
}

static void call_free(struct host_call *c)
{
    struct host_call **at = &c->t->calls;
    struct models *models = c->t->front->models;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    models_forget(models, &c->wait);
    if (c->call.id) {
        link_call_close(c->link, &c->call);
        models_released(models, c->link);
    }
    json_decref(c->head);
    buf_release(&c->body);
    mem_free(c);
}

/* The last frame of a work; the call is gone. */
static void end(struct host_call *c, const struct frame *f)
{
    struct fleet_work *w = c->work;
    call_free(c);
    fleet_work_frame(w, f);
}

static void refuse(struct host_call *c, int status, const char *code, const char *sentence)
{
    struct buf b = { 0 };
    buf_printf(&b, "{\"status\":%d,\"error\":{\"message\":", status);
    jsonx_quote(sentence, strlen(sentence), &b);
    buf_printf(&b, ",\"type\":\"server_error\",\"param\":null,\"code\":\"%s\"}}", code);
    end(c, &(struct frame){ .kind = FRAME_ERROR, .payload = buf_str(&b), .length = b.len });
    buf_release(&b);
}

static void on_frame(struct link_call *call, const struct frame *f)
{
    struct host_call *c = call->arg;
    if (f->kind == FRAME_END || f->kind == FRAME_ERROR)
        end(c, f);
    else
        fleet_work_frame(c->work, f);
}

static void on_lost(struct link_call *call, const char *why)
{
    struct host_call *c = call->arg;
    struct fleet_work *w = c->work;
    call_free(c);
    fleet_work_lost(w, why);
}

static void send_credit(struct host_call *c, int64_t frames)
{
    unsigned char le[4];
    frames = frames < INT32_MAX ? frames : INT32_MAX;
    for (int i = 0; i < 4; i++)
        le[i] = (unsigned char)((uint64_t)frames >> 8 * i);
    link_call_send(c->link, &c->call, FRAME_CREDIT, 0, le, sizeof le);
}

static void ready(void *arg)
{
    struct host_call *c = arg;
    if (!link_call_open(c->link, &c->call)) {
        refuse(c, 503, "engine_unavailable", "the engine cannot take this request now");
        return;
    }
    link_call_request(c->link, &c->call, c->head, buf_str(&c->body), c->body.len);
    buf_release(&c->body);
    json_decref(c->head);
    c->head = NULL;
    if (c->credit >= 0)
        send_credit(c, c->credit);
}

static void refused(void *arg, const struct error *e, int64_t retry_s)
{
    refuse(arg, e->status, e->code ? e->code : "engine_unavailable", e->message);
}

/* ---- what the worker asks */

static bool open_work(void *arg, struct fleet_work *w, const json_t *head, const char *body, size_t n, void **call,
                      int *status, const char **code, struct err *why)
{
    static uintptr_t handles; /* unique in the process, so in every fleet of it */
    struct front_fleet *t = arg;
    const char *id = json_string_value(json_object_get(head, "model"));
    struct link *k = id && *id ? models_find(t->front->models, id) : NULL;
    if (!k || link_is_far(k)) {
        *status = 503;
        *code = "engine_unavailable";
        err_set(why, ERR_NOT_FOUND, "this worker has no model '%.200s'", id ? id : "");
        return false;
    }
    struct host_call *c = MEM_NEW(struct host_call);
    *c = (struct host_call){ .call = { .frame = on_frame, .lost = on_lost, .arg = c }, .next = t->calls, .t = t,
                             .wait = { .ready = ready, .refused = refused, .arg = c, .model = -1 }, .link = k,
                             .work = w, .handle = ++handles, .credit = -1,
                             .head = json_incref((json_t *)(uintptr_t)head) };
    t->calls = c;
    buf_append(&c->body, body, n);
    note_prefixes(t, link_model_id(k), json_object_get(head, "prefix"));
    *call = (void *)c->handle;
    if (models_want(t->front->models, k, &c->wait))
        ready(c);
    return true;
}

static void credit(void *arg, void *call, uint32_t frames)
{
    struct host_call *c = find(arg, call);
    if (c && c->call.id && !c->head)
        send_credit(c, frames);
    else if (c)
        c->credit = (c->credit < 0 ? 0 : c->credit) + frames;
}

static void close_work(void *arg, void *call)
{
    struct host_call *c = find(arg, call);
    if (c && c->call.id && link_state(c->link) == LINK_READY)
        link_call_send(c->link, &c->call, FRAME_CANCEL, 0, NULL, 0);
    if (c)
        call_free(c);
}

static void drain(void *arg)
{
    struct front_fleet *t = arg;
    log_line(LOG_INFO, "fleet", "an order to drain came: new requests go to others");
    fleet_worker_drain(t->worker);
}

/* ---- the heartbeat */

static int64_t number(const json_t *stats, const char *section, const char *name)
{
    return (int64_t)json_number_value(json_object_get(json_object_get(stats, section), name));
}

static void copy_hex(const json_t *facts, const char *key, char out[65])
{
    const char *s = json_string_value(json_object_get(facts, key));
    snprintf(out, 65, "%s", s ? s : "");
}

static void describe_model(struct front_fleet *t, int i, struct heartbeat_model *m)
{
    const struct link *k = models_link(t->front->models, i);
    const json_t *facts = link_facts(k), *s = link_stats(k);
    const struct host_prefixes *p = prefixes_of(t, link_model_id(k));
    *m = (struct heartbeat_model){
        .ctx = json_integer_value(json_object_get(facts, "ctx")),
        .running = number(s, "gauges", "num_requests_running"),
        .waiting = number(s, "gauges", "num_requests_waiting"), .kv_pages = number(s, "gauges", "kv_pages"),
        .kv_pages_free = number(s, "gauges", "kv_pages") - number(s, "gauges", "kv_pages_used"),
        .prefill_backlog = number(s, "gauges", "prefill_backlog_tokens"),
        .steps = number(s, "counters", "steps_total"),
        .tokens_per_s = (double)(number(s, "gauges", "generation_tokens_per_second") +
                                 number(s, "gauges", "prefill_tokens_per_second")),
        .aliases = json_array(), .facts = json_copy((json_t *)(uintptr_t)facts) };
    snprintf(m->id, sizeof m->id, "%s", link_model_id(k));
    m->stands = t->stood >> i & 1;
    copy_hex(facts, "hash", m->hash);
    copy_hex(facts, "numerics", m->numerics);
    for (int n = 0; models_alias(t->front->models, i, n); n++)
        json_array_append_new(m->aliases, json_string(models_alias(t->front->models, i, n)));
    json_object_set(m->facts, "aliases", m->aliases);
    m->prefix_count = p ? p->count : 0;
    memcpy(m->prefixes, p ? p->hash : m->prefixes, sizeof m->prefixes);
}

/* What is loaded: a model that waits to be asked for is nobody's business but this machine's. */
static void describe(void *arg, struct heartbeat *h)
{
    struct front_fleet *t = arg;
    const struct models *models = t->front->models;
    h->models = mem_new(HEARTBEAT_MODELS_MAX, sizeof *h->models);
    for (int i = 0; i < models_count(models) && h->model_count < HEARTBEAT_MODELS_MAX; i++)
        if (!link_is_far(models_link(models, i)) && link_state(models_link(models, i)) == LINK_READY)
            describe_model(t, i, &h->models[h->model_count++]);
}

static bool alarm_of_engines(void *arg)
{
    struct front_fleet *t = arg;
    const struct models *models = t->front->models;
    uint64_t stood = 0;
    for (int i = 0; i < models_count(models) && i < HEARTBEAT_MODELS_MAX; i++)
        if (!link_is_far(models_link(models, i)) && link_stands(models_link(models, i)))
            stood |= UINT64_C(1) << i;
    bool changed = stood != t->stood;
    if (changed)
        log_line(LOG_WARN, "fleet", stood ? "an engine gives no sign of life; gateways are told" :
                                            "the engine gives signs of life again");
    t->stood = stood;
    return changed;
}

/* ---- begin and end */

enum err_code host_open(struct front_fleet *t, struct err *e)
{
    static const struct fleet_host host = { describe, open_work, credit, close_work, drain, alarm_of_engines };
    t->worker = fleet_worker_new(t->front->loop, t->bus, &t->me, &host, t, e);
    return t->worker ? ERR_OK : e->code;
}

void host_close(struct front_fleet *t)
{
    fleet_worker_free(t->worker);
    t->worker = NULL;
    while (t->calls)
        call_free(t->calls);
    while (t->prefixes) {
        struct host_prefixes *p = t->prefixes;
        t->prefixes = p->next;
        mem_free(p);
    }
}

void front_fleet_drain(struct front_fleet *t)
{
    if (t && t->worker)
        fleet_worker_drain(t->worker);
}

int front_fleet_busy(const struct front_fleet *t)
{
    return t && t->worker ? fleet_worker_busy(t->worker) : 0;
}

void front_fleet_give_back(struct front_fleet *t)
{
    while (t && t->calls) {
        struct host_call *c = t->calls;
        if (c->call.id && link_state(c->link) == LINK_READY)
            link_call_send(c->link, &c->call, FRAME_CANCEL, 0, NULL, 0);
        refuse(c, 503, "draining", "the worker is shut down");
    }
}
