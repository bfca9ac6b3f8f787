/* introduce -- see introduce.h. */
#include "front/introduce.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/front_impl.h"

#include <stdio.h>
#include <string.h>

enum { LOOK_EVERY_MS = 250 };

struct introduction {
    const struct link *link;
    struct trustlog_model model;
    uint64_t epoch;                 /* of the key that clients are shown */
    uint64_t next, previous;        /* 0: none; epochs begin with 1 */
    int64_t since_ns, previous_until_ns;
    bool has_numerics, has_weights, takes_sealed;
    uint8_t numerics[HASH_BYTES], weights[HASH_BYTES];
};

struct introductions {
    struct front *front;
    struct loop_timer *timer;
    struct introduction of[TRUSTLOG_MODELS_MAX];
    int count;
};

static void look_at_epochs(void *arg);

struct introductions *introductions_new(struct front *f)
{
    struct introductions *t = MEM_NEW(struct introductions);
    t->front = f;
    t->timer = loop_timer_new(f->loop, look_at_epochs, t);
    loop_timer_set(t->timer, LOOK_EVERY_MS);
    return t;
}

void introductions_free(struct introductions *t)
{
    if (t)
        loop_timer_free(t->timer);
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

/* Policy and model as they hold now. */
static void put_holding(const struct front *f, const struct introduction *in, json_t *o)
{
    struct span policy = trustlog_policy_text(f->trust);
    char text[HASH_TEXT_MAX] = "";
    json_object_set_new(o, "policy", json_stringn(policy.data, policy.len));
    json_object_set_new(o, "policy_note", json_string(policy.len ? trustlog_policy_note(f->trust) : ""));
    json_object_set_new(o, "model", json_string(in->model.is_signed ? in->model.name : ""));
    if (in->model.is_signed)
        code_hash_text(text, in->model.note);
    json_object_set_new(o, "model_note", json_string(text));
}

static bool has_epoch(const struct introduction *in, uint8_t key_id)
{
    return (in->epoch && (uint8_t)in->epoch == key_id) || (in->next && (uint8_t)in->next == key_id) ||
           (in->previous && (uint8_t)in->previous == key_id);
}

/* A new epoch whose key id, its last byte, no living key has: fewer than 256 are alive. */
static uint64_t free_epoch(const struct front *f)
{
    for (int tries = 0; tries < 256; tries++) {
        uint64_t epoch = trustlog_epoch(f->trust);
        bool used = !(uint8_t)epoch;
        for (int i = 0; i < f->introductions->count; i++)
            used |= has_epoch(&f->introductions->of[i], (uint8_t)epoch);
        if (!used)
            return epoch;
    }
    return trustlog_epoch(f->trust);
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
    *in = (struct introduction){ .link = k };
    in->epoch = free_epoch(f);
    enum err_code c = trustlog_model(f->trust, path, &in->model, e);
    if (c)
        return c;
    if (!in->model.is_signed)
        log_line(LOG_WARN, "front", "no model note lists %s: receipts name no model; sign it with "
                 "`tokenworks trust model --name NAME %s`", path, path);
    json_t *o = json_pack("{s:s, s:I, s:s}", "boot", trustlog_boot(f->trust), "epoch", (json_int_t)in->epoch, "site",
                          trustlog_place(f->trust));
    put_holding(f, in, o);
    set_hex(o, "build", trustlog_build(f->trust));
    if (in->model.is_signed)
        set_hex(o, "sha256", in->model.sha256);
    json_object_set_new(o, "clients", trustlog_clients(f->trust));
    json_object_set_new(hello, "trust", o);
    return ERR_OK;
}

/* Two frames: each has its own limit. */
static void tell_engine(struct front *f, struct link *k)
{
    json_t *o = json_object(), *clients = json_pack("{s:o}", "clients", trustlog_clients(f->trust));
    put_holding(f, find(f, k), o);
    link_say(k, FRAME_TRUST, o);
    link_say(k, FRAME_TRUST, clients);
    json_decref(o);
    json_decref(clients);
}

/* Its node note for that epoch, with this key configuration. */
static void note(struct front *f, const struct introduction *in, uint64_t epoch, const char *config, bool renewed)
{
    uint8_t raw[TRUSTLOG_CONFIG_MAX];
    size_t n = sizeof raw;
    const char *path = link_model_path(in->link), *slash = strrchr(path, '/');
    bool sealed = config && code_unbase64(raw, &n, span_of(config));
    const struct trustlog_engine g = { .epoch = epoch, .renewed = renewed, .model = &in->model,
                                       .file = slash ? slash + 1 : path,
                                       .weights = in->has_weights ? in->weights : NULL,
                                       .numerics = in->has_numerics ? in->numerics : NULL,
                                       .sandbox = json_string_value(json_object_get(link_trust(in->link), "sandbox")),
                                       .ohttp_config = { (char *)raw, sealed ? n : 0 } };
    trustlog_engine(f->trust, (int)(in - f->introductions->of), &g);
}

void introduce_ready(struct front *f, struct link *k)
{
    struct introduction *in = f->trust ? find(f, k) : NULL;
    const json_t *trust = link_trust(k);
    const char *config = json_string_value(json_object_get(trust, "ohttp"));
    const char *numerics = json_string_value(json_object_get(trust, "numerics"));
    const char *weights = json_string_value(json_object_get(trust, "weights"));
    if (!in || link_is_far(k))
        return;
    in->has_numerics = numerics && code_unhex(in->numerics, HASH_BYTES, span_of(numerics));
    in->has_weights = weights && code_unhex(in->weights, HASH_BYTES, span_of(weights));
    in->takes_sealed = config != NULL;
    in->since_ns = clock_mono_ns();
    note(f, in, in->epoch, config, false);
    tell_engine(f, k); /* what changed while it loaded */
}

/* Who has it may have other weights than who had it: those of the note are kept to while somebody has them. */
void introduce_far(struct front *f, struct link *k, const char *hash, bool still)
{
    struct introductions *t = f->introductions;
    struct introduction *in = f->trust ? find(f, k) : NULL;
    struct trustlog_model model;
    uint8_t weights[HASH_BYTES];
    struct err e = { 0 };
    if (!f->trust || !code_unhex(weights, HASH_BYTES, span_of(hash)) || (!in && t->count == TRUSTLOG_MODELS_MAX) ||
        (in && (!memcmp(in->weights, weights, HASH_BYTES) || (still && in->model.is_signed))))
        return;
    if (trustlog_weights(f->trust, weights, &model, &e))
        log_line(LOG_WARN, "front", "%s, as workers have it: %s", link_model_id(k), e.text);
    if (in && still && !model.is_signed)
        return;
    if (!in)
        in = &t->of[t->count++];
    *in = (struct introduction){ .link = k, .model = model, .has_weights = true, .since_ns = clock_mono_ns() };
    in->epoch = free_epoch(f);
    memcpy(in->weights, weights, HASH_BYTES);
    if (!model.is_signed)
        log_line(LOG_WARN, "front", "no model note lists %s as the fleet's workers have it (sha256 %.16s...): receipts "
                 "name no model", link_model_id(k), hash);
    note(f, in, in->epoch, NULL, false);
}

bool introduce_weights(const struct front *f, const struct link *k, char hex[HASH_HEX + 1])
{
    const struct introduction *in = f->trust ? find(f, k) : NULL;
    if (in && in->has_weights)
        code_hex(hex, in->weights, HASH_BYTES);
    return in && in->has_weights;
}

/* ---- epochs */

static void say_number(struct link *k, const char *word, uint64_t epoch)
{
    json_t *v = json_pack("{s:I}", word, (json_int_t)epoch);
    link_say(k, FRAME_TRUST, v);
    json_decref(v);
}

static void look_at_epoch(struct front *f, struct introduction *in, int64_t now)
{
    struct link *k = (struct link *)(uintptr_t)in->link;
    if (link_state(k) != LINK_READY)
        return;
    if (in->previous && now >= in->previous_until_ns) {
        say_number(k, "retire", in->previous);
        in->previous = 0;
    }
    if (in->takes_sealed && !in->next && !in->previous && now - in->since_ns >= f->options.key_epoch_s * 1000000000LL) {
        in->next = free_epoch(f);
        say_number(k, "renew", in->next);
    }
}

static void look_at_epochs(void *arg)
{
    struct introductions *t = arg;
    int64_t now = clock_mono_ns();
    for (int i = 0; t->front->trust && i < t->count; i++)
        look_at_epoch(t->front, &t->of[i], now);
    loop_timer_set(t->timer, LOOK_EVERY_MS);
}

void introduce_said(void *front, struct link *k, const json_t *said)
{
    struct front *f = front;
    struct introduction *in = f->trust ? find(f, k) : NULL;
    const char *config = json_string_value(json_object_get(said, "ohttp"));
    if (in && in->next && config && json_integer_value(json_object_get(said, "epoch")) == (json_int_t)in->next)
        note(f, in, in->next, config, true);
}

void introduce_offered(void *front, int slot, uint64_t epoch)
{
    struct front *f = front;
    struct introduction *in = &f->introductions->of[slot];
    if (!in->next || in->next != epoch)
        return; /* its first, or that of an engine which is gone */
    int64_t now = clock_mono_ns();
    in->previous = in->epoch;
    in->previous_until_ns = now + f->options.key_grace_s * 1000000000LL;
    in->epoch = epoch;
    in->next = 0;
    in->since_ns = now;
    log_line(LOG_INFO, "front", "%s takes sealed requests under a new key, epoch %llu", link_model_id(in->link),
             (unsigned long long)epoch);
}

int introduce_nodes(const struct front *f, const struct link *k, char out[INTRODUCE_NODES][INTRODUCE_NODE_MAX + 1])
{
    const struct introduction *in = f->trust ? find(f, k) : NULL;
    int n = 0;
    if (!in)
        return 0;
    snprintf(out[n++], INTRODUCE_NODE_MAX + 1, "%.64s.%llu", trustlog_boot(f->trust), (unsigned long long)in->epoch);
    if (in->previous)
        snprintf(out[n++], INTRODUCE_NODE_MAX + 1, "%.64s.%llu", trustlog_boot(f->trust),
                 (unsigned long long)in->previous);
    return n;
}

/* ---- what holds */

void introduce_changed(void *front)
{
    struct front *f = front;
    const char *stopped;
    for (int i = 0; i < f->introductions->count; i++) {
        struct introduction *in = &f->introductions->of[i];
        const struct trustlog_model *m = trustlog_slot_model(f->trust, i, &stopped);
        if (link_state(in->link) != LINK_READY)
            continue;
        if (m)
            in->model = *m;
        tell_engine(f, (struct link *)(uintptr_t)in->link);
    }
}

const char *introduce_stopped(const struct front *f, const struct link *k)
{
    const char *stopped = NULL;
    if (f->trust)
        trustlog_slot_model(f->trust, introduce_slot(f, k), &stopped);
    return stopped;
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
        if (f->introductions->of[i].takes_sealed && has_epoch(&f->introductions->of[i], key_id))
            return (struct link *)(uintptr_t)f->introductions->of[i].link;
    return NULL;
}

bool introduce_takes_sealed(const struct front *f)
{
    bool takes = false;
    for (int i = 0; f->trust && i < f->introductions->count; i++)
        takes |= f->introductions->of[i].takes_sealed;
    return takes;
}

bool introduce_numerics(const struct front *f, const struct link *k, uint8_t out[HASH_BYTES])
{
    const struct introduction *in = f->trust ? find(f, k) : NULL;
    if (in && in->has_numerics)
        memcpy(out, in->numerics, HASH_BYTES);
    return in && in->has_numerics;
}
