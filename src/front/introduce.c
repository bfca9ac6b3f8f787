/* introduce -- see introduce.h. */
#include "front/introduce.h"

#include "base/log.h"
#include "base/mem.h"
#include "front/front_impl.h"

#include <string.h>

struct introduction {
    const struct link *link;
    struct trustlog_model model;
    uint64_t epoch;
    bool has_numerics, takes_sealed;
    uint8_t numerics[HASH_BYTES];
};

struct introductions {
    struct introduction of[TRUSTLOG_MODELS_MAX];
    int count;
};

struct introductions *introductions_new(void)
{
    return MEM_NEW(struct introductions);
}

void introductions_free(struct introductions *t)
{
    mem_free(t);
}

static struct introduction *find(const struct front *f, const struct link *k)
{
    for (int i = 0; i < f->introductions->count; i++)
        if (f->introductions->of[i].link == k)
            return &f->introductions->of[i];
    return NULL;
}

static void set_hex(json_t *o, const char *key, const uint8_t hash[HASH_BYTES])
{
    char hex[HASH_HEX + 1];
    code_hex(hex, hash, HASH_BYTES);
    json_object_set_new(o, key, json_string(hex));
}

enum err_code introduce_hello(void *front, struct link *k, const char *path, json_t *hello, struct err *e)
{
    struct front *f = front;
    if (!f->trust)
        return ERR_OK;
    struct introductions *t = f->introductions;
    struct introduction *in = find(f, k);
    if (!in && t->count == TRUSTLOG_MODELS_MAX)
        return err_set(e, ERR_LIMIT, "the evidence knows at most %d models", TRUSTLOG_MODELS_MAX);
    if (!in)
        in = &t->of[t->count++];
    *in = (struct introduction){ .link = k, .epoch = trustlog_epoch(f->trust) };
    enum err_code c = trustlog_model(f->trust, path, &in->model, e);
    if (c)
        return c;
    if (!in->model.is_signed)
        log_line(LOG_WARN, "front", "no model note lists %s: receipts name no model; sign it with "
                 "`tokenworks trust model --name NAME %s`", path, path);
    struct span policy = trustlog_policy_text(f->trust);
    char text[HASH_TEXT_MAX];
    json_t *o = json_pack("{s:s, s:I, s:s, s:s%, s:s}", "boot", trustlog_boot(f->trust), "epoch", (json_int_t)in->epoch,
                          "site", trustlog_place(f->trust), "policy", policy.data, policy.len, "model",
                          in->model.is_signed ? in->model.name : "");
    set_hex(o, "build", trustlog_build(f->trust));
    if (in->model.is_signed) {
        set_hex(o, "sha256", in->model.sha256);
        code_hash_text(text, in->model.note);
        json_object_set_new(o, "model_note", json_string(text));
    }
    if (policy.len)
        json_object_set_new(o, "policy_note", json_string(trustlog_policy_note(f->trust)));
    json_object_set_new(o, "clients", trustlog_clients(f->trust));
    json_object_set_new(hello, "trust", o);
    return ERR_OK;
}

void introduce_ready(struct front *f, struct link *k)
{
    struct introduction *in = f->trust ? find(f, k) : NULL;
    const json_t *trust = link_trust(k);
    const char *config = json_string_value(json_object_get(trust, "ohttp"));
    const char *numerics = json_string_value(json_object_get(trust, "numerics"));
    const char *sandbox = json_string_value(json_object_get(trust, "sandbox"));
    uint8_t raw[256];
    size_t n = sizeof raw;
    if (!in)
        return;
    in->has_numerics = numerics && code_unhex(in->numerics, HASH_BYTES, span_of(numerics));
    in->takes_sealed = config && code_unbase64(raw, &n, span_of(config));
    const struct trustlog_engine g = { .epoch = in->epoch, .model = &in->model, .sandbox = sandbox,
                                       .ohttp_config = { (char *)raw, in->takes_sealed ? n : 0 } };
    trustlog_engine(f->trust, introduce_slot(f, k), &g);
}

const struct trustlog_model *introduce_model(const struct front *f, const struct link *k)
{
    static const struct trustlog_model none;
    const struct introduction *in = f->trust ? find(f, k) : NULL;
    return in ? &in->model : &none;
}

int introduce_slot(const struct front *f, const struct link *k)
{
    const struct introduction *in = f->trust ? find(f, k) : NULL;
    return in ? (int)(in - f->introductions->of) : -1;
}

struct link *introduce_link(const struct front *f, uint8_t key_id)
{
    for (int i = 0; f->trust && i < f->introductions->count; i++)
        if (f->introductions->of[i].takes_sealed && (uint8_t)f->introductions->of[i].epoch == key_id)
            return (struct link *)(uintptr_t)f->introductions->of[i].link;
    return NULL;
}

bool introduce_numerics(const struct front *f, const struct link *k, uint8_t out[HASH_BYTES])
{
    const struct introduction *in = f->trust ? find(f, k) : NULL;
    if (in && in->has_numerics)
        memcpy(out, in->numerics, HASH_BYTES);
    return in && in->has_numerics;
}
