/* vault -- see sealed.h: the engine's keys, and what a sealed request must pass before anything runs.
 *
 * There are two keys while an epoch ends: the new one, and the one before it until the front retires that. */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/sealed_impl.h"

#include <stdio.h>
#include <string.h>

enum { CLIENTS_MAX = 4096 };

struct client_key { /* an enrolled signing key */
    char tenant[GATE_NAME_MAX + 1];
    struct key_public key;
};

enum { NEW, OLD, KEYS };

struct vault {
    struct ohttp_key keys[KEYS];          /* the newest first */
    int64_t epochs[KEYS];
    int key_count;
    char boot[GATE_NAME_MAX + 1];
    struct gate gate;
    struct policy *policy;                /* NULL: none was signed */
    char site[POLICY_NAME_MAX + 1], model[POLICY_NAME_MAX + 1]; /* as the policy calls them; model "": unsigned */
    char model_note[HASH_TEXT_MAX], policy_note[HASH_TEXT_MAX]; /* what a request may name; "" none */
    int client_count;
    struct client_key *clients;
};

/* ---- start */

static enum err_code find_key(void *ctx, struct span keyid, int64_t now_s, struct key_public *key,
                              char tenant[GATE_NAME_MAX + 1], struct err *e)
{
    const struct vault *v = ctx;
    char id[HTTPSIG_KEYID_MAX];
    for (int i = 0; i < v->client_count; i++) {
        httpsig_keyid(&v->clients[i].key, id);
        if (!span_is(keyid, id))
            continue;
        *key = v->clients[i].key;
        memcpy(tenant, v->clients[i].tenant, GATE_NAME_MAX + 1);
        return ERR_OK;
    }
    return err_set(e, ERR_NOT_FOUND, "no key is enrolled under this keyid");
}

/* [["tenant", "vkey"], ...]: all that there are. */
static enum err_code read_clients(struct vault *v, const json_t *list, struct err *e)
{
    size_t n = json_array_size(list);
    if (n > CLIENTS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d enrolled keys", CLIENTS_MAX);
    struct client_key *all = mem_new(n + 1, sizeof *all);
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(list, i);
        const char *tenant = json_string_value(json_array_get(pair, 0));
        const char *key = json_string_value(json_array_get(pair, 1));
        if (!tenant || !key || key_public_parse(span_of(key), &all[i].key, e)) {
            mem_free(all);
            return err_set(e, ERR_INVALID, "an enrolled key is malformed");
        }
        snprintf(all[i].tenant, sizeof all[i].tenant, "%s", tenant);
    }
    mem_free(v->clients);
    v->clients = all;
    v->client_count = (int)n;
    return ERR_OK;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* Which requests a policy lets run. Nothing changes when it cannot be read. */
static enum err_code take_policy(struct vault *v, const json_t *said, struct err *e)
{
    const char *text = text_of(said, "policy");
    struct policy *policy = NULL;
    enum err_code c = *text ? policy_parse_text(span_of(text), NULL, &policy, e) : ERR_OK;
    if (c)
        return c;
    policy_free(v->policy);
    v->policy = policy;
    snprintf(v->policy_note, sizeof v->policy_note, "%s", text_of(said, "policy_note"));
    snprintf(v->model, sizeof v->model, "%s", text_of(said, "model"));
    snprintf(v->model_note, sizeof v->model_note, "%s", text_of(said, "model_note"));
    return ERR_OK;
}

static void name_nodes(struct vault *v)
{
    struct gate *g = &v->gate;
    g->previous_node[0] = '\0';
    snprintf(g->node, sizeof g->node, "%.64s.%lld", v->boot, (long long)v->epochs[NEW]);
    if (v->key_count > OLD)
        snprintf(g->previous_node, sizeof g->previous_node, "%.64s.%lld", v->boot, (long long)v->epochs[OLD]);
}

/* A key for an epoch; the one before goes on opening, the one before that is gone. */
static void renew(struct vault *v, int64_t epoch)
{
    mem_wipe(&v->keys[OLD], sizeof v->keys[OLD]);
    v->keys[OLD] = v->keys[NEW];
    v->epochs[OLD] = v->epochs[NEW];
    v->key_count = v->key_count ? KEYS : 1;
    v->epochs[NEW] = epoch;
    ohttp_key_new((uint8_t)epoch, &v->keys[NEW]);
    name_nodes(v);
}

static void retire(struct vault *v, int64_t epoch)
{
    if (v->key_count < KEYS || v->epochs[OLD] != epoch)
        return;
    mem_wipe(&v->keys[OLD], sizeof v->keys[OLD]);
    v->key_count = OLD;
    name_nodes(v);
}

enum err_code engine_vault_new(const json_t *trust, struct vault **out, struct err *e)
{
    int64_t epoch = 0;
    *out = NULL;
    if (!trust)
        return ERR_OK;
    struct vault *v = MEM_NEW(struct vault);
    enum err_code c = trust_init(e);
    gate_init(&v->gate, "", find_key, v);
    if (!c)
        c = jsonx_get_int(trust, "epoch", 0, INT64_MAX, &epoch, e);
    if (!c)
        c = take_policy(v, trust, e);
    if (!c)
        c = read_clients(v, json_object_get(trust, "clients"), e);
    snprintf(v->site, sizeof v->site, "%s", text_of(trust, "site"));
    snprintf(v->boot, sizeof v->boot, "%s", text_of(trust, "boot"));
    renew(v, epoch);
    if (c)
        engine_vault_free(v);
    else
        *out = v;
    return c;
}

enum err_code engine_vault_told(struct vault *v, const json_t *said, struct buf *answer, struct err *e)
{
    int64_t epoch = 0;
    enum err_code c = ERR_OK;
    if (json_object_get(said, "renew")) {
        c = jsonx_get_int(said, "renew", 1, INT64_MAX, &epoch, e);
        if (c)
            return c;
        renew(v, epoch);
        buf_printf(answer, "{\"epoch\":%lld,\"ohttp\":\"", (long long)epoch);
        engine_vault_config(v, answer);
        buf_puts(answer, "\"}");
    } else if (json_object_get(said, "retire")) {
        c = jsonx_get_int(said, "retire", 0, INT64_MAX, &epoch, e);
        if (!c)
            retire(v, epoch);
    }
    if (!c && json_object_get(said, "policy"))
        c = take_policy(v, said, e);
    if (!c && json_object_get(said, "clients"))
        c = read_clients(v, json_object_get(said, "clients"), e);
    return c;
}

void engine_vault_free(struct vault *v)
{
    if (!v)
        return;
    mem_wipe(v->keys, sizeof v->keys);
    gate_release(&v->gate);
    policy_free(v->policy);
    mem_free(v->clients);
    mem_free(v);
}

void engine_vault_config(const struct vault *v, struct buf *base64)
{
    struct buf raw = { 0 };
    ohttp_config_write(&v->keys[NEW], &raw);
    code_base64(base64, raw.data, raw.len);
    buf_release(&raw);
}

/* ---- a request */

static enum err_code open_seal(struct vault *v, const struct sealed_envelope *in, struct sealed *s, struct err *e)
{
    if (in->body.len < OHTTP_REQUEST_HEAD)
        return err_set(e, ERR_CORRUPT, "a sealed request is longer than that");
    struct span head = { in->body.data, OHTTP_REQUEST_HEAD };
    struct span rest = { in->body.data + OHTTP_REQUEST_HEAD, in->body.len - OHTTP_REQUEST_HEAD };
    enum err_code c = ohttp_receive(v->keys, v->key_count, in->chunked, head, &s->x, e);
    if (c)
        return c;
    if (!in->chunked)
        return ohttp_open_request(&s->x, rest, &s->plain, e);
    struct ohttp_stream stream;
    ohttp_request_stream(&s->x, &stream);
    c = ohttp_read(&stream, rest, &s->plain, e);
    if (!c)
        c = ohttp_read_end(&stream, &s->plain, e); /* nothing runs before the final chunk */
    ohttp_stream_release(&stream);
    return c;
}

static void commit_request(struct sealed *s)
{
    uint8_t salt[COMMIT_SALT_BYTES];
    struct commit c;
    ohttp_salt(&s->x, "request", salt);
    commit_begin(&c, COMMIT_REQUEST, salt);
    commit_add(&c, s->message.content.data, s->message.content.len);
    commit_end(&c, s->request);
    ohttp_salt(&s->x, "response", salt);
    commit_begin(&s->response, COMMIT_RESPONSE, salt);
    mem_wipe(salt, sizeof salt);
}

/* What was agreed on before sending is what runs here. */
static enum err_code check_agreed(const struct vault *v, const struct gate_result *g, struct err *e)
{
    if (g->model[0] && strcmp(g->model, v->model_note))
        return err_set(e, ERR_DENIED, "the request is for another model");
    if (g->policy[0] && strcmp(g->policy, v->policy_note))
        return err_set(e, ERR_DENIED, "the request was made under another policy");
    return ERR_OK;
}

static enum err_code pass_gate(struct vault *v, const struct sealed_envelope *in, struct sealed *s,
                               struct gate_result *g, struct err *e)
{
    const struct bhttp_message *m = &s->message;
    if (!m->is_request || !span_is(m->method, "POST") || m->path.len >= sizeof s->path)
        return err_set(e, ERR_INVALID, "only POST requests travel sealed");
    memcpy(s->path, m->path.data, m->path.len);
    enum err_code c = gate_check(&v->gate, m, s->x.enc, in->tenant[0] ? in->tenant : NULL, in->now_s, g, e);
    return c ? c : check_agreed(v, g, e);
}

static void refuse(struct sealed *s, int status, const char *type, const struct buf *body)
{
    struct buf plain = { 0 };
    sealed_head(s, status, type, false);
    buf_append(&plain, body->data, body->len);
    sealed_content(s, &plain, NULL);
    buf_release(&plain);
}

static void decide(struct vault *v, struct sealed *s, const struct gate_result *g)
{
    char asked[POLICY_NAME_MAX + 1];
    receipt_class(span_of(g->data_class), asked);
    const struct policy_request q = { .tenant = s->tenant, .model = v->model[0] ? v->model : NULL, .site = v->site,
                                      .data_class = asked[0] ? asked : NULL,
                                      .is_signed = g->is_signed, .is_sealed = true };
    struct policy_decision d = { .allow = true, .rule = "builtin/no-policy" };
    struct buf problem = { 0 };
    if (v->policy)
        policy_decide(v->policy, &q, &d);
    s->allow = d.allow;
    snprintf(s->rule, sizeof s->rule, "%s", d.rule);
    snprintf(s->data_class, sizeof s->data_class, "%s", 
             !d.data_class[0] || !strcmp(d.rule, "builtin/unknown-class") ? asked : d.data_class);
    if (!d.allow) {
        policy_problem(&d, &problem);
        refuse(s, 403, "application/problem+json", &problem);
    }
    buf_release(&problem);
}

struct sealed *engine_vault_open(struct vault *v, const struct sealed_envelope *in, struct api_error *error)
{
    struct sealed *s = MEM_NEW(struct sealed);
    struct gate_result g = { 0 };
    struct err e = { 0 };
    enum err_code c = open_seal(v, in, s, &e);
    if (!c)
        c = bhttp_parse((struct span){ buf_str(&s->plain), s->plain.len }, &s->message, &e);
    if (c) {
        log_line(LOG_INFO, "engine", "a sealed request was refused: %s", e.text);
        *error = (struct api_error){ .status = 400, .type = "invalid_request_error", .message = GATE_REFUSAL };
        sealed_free(s);
        return NULL;
    }
    commit_request(s);
    snprintf(s->tenant, sizeof s->tenant, "%s", in->tenant);
    snprintf(s->policy, sizeof s->policy, "%s", v->policy_note);
    c = pass_gate(v, in, s, &g, &e);
    if (c) { /* one sentence whatever it was; which one is in our log */
        struct buf body = { 0 };
        const struct api_error same = { .status = 400, .type = "invalid_request_error", .message = GATE_REFUSAL };
        log_line(LOG_INFO, "engine", "a sealed request was refused: %s", e.text);
        api_error_json(&same, &body);
        snprintf(s->rule, sizeof s->rule, "gate/request");
        refuse(s, 400, "application/json", &body);
        buf_release(&body);
        return s;
    }
    s->is_signed = g.is_signed;
    memcpy(s->reqsig, g.reqsig, sizeof s->reqsig);
    if (g.is_signed)
        snprintf(s->tenant, sizeof s->tenant, "%s", g.tenant);
    decide(v, s, &g);
    return s;
}
