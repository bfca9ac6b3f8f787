/* trustlog -- see trustlog.h: what is decided at the start, and what the loop asks. The thread is trustlog_thread.c. */
#include "front/trustlog.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/spawn.h"
#include "front/trustlog_impl.h"
#include "trust/archive.h"
#include "trust/httpsig.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- start */

static enum err_code start_keeper(struct trustlog *t, struct err *e)
{
    const char *how = t->o.air_gapped ? "--air-gapped" : t->o.best_effort ? "--best-effort" : NULL;
    const char *argv[] = { "/proc/self/exe", "keeper", "--site", t->site.dir, "--boot", t->boot, how, NULL };
    int socket = -1;
    enum err_code c = spawn_engine(argv, &t->keeper_pid, &socket, e);
    if (!c) {
        c = keeper_client_open(socket, &t->keeper, e);
        if (c)
            close(socket);
    }
    return c ? err_prefix(e, "the keeper did not start") : ERR_OK;
}

static enum err_code open_log(struct trustlog *t, struct err *e)
{
    struct buf dir = { 0 };
    buf_printf(&dir, "%s/log", t->site.pub);
    const struct tlog_options o = { .dir = buf_str(&dir), .key = t->keeper.log, .sign = keeper_client_sign,
                                    .sign_ctx = &t->keeper, .witnessed = site_is_witnessed(&t->site) };
    enum err_code c = tlog_open(&o, &t->log, e);
    buf_release(&dir);
    return c;
}

/* Which boot was the last, from <dir>/boot; "" for the first. */
static void read_previous(struct trustlog *t)
{
    struct buf path = { 0 }, text = { 0 };
    struct span rest, line;
    buf_printf(&path, "%s/boot", t->site.dir);
    if (!file_read(buf_str(&path), sizeof t->previous, &text, NULL)) {
        rest = (struct span){ buf_str(&text), text.len };
        if (span_line(&rest, &line) && line.len < sizeof t->previous)
            snprintf(t->previous, sizeof t->previous, "%.*s", (int)line.len, line.data);
    }
    buf_release(&path);
    buf_release(&text);
}

static enum err_code write_boot(const struct trustlog *t, struct err *e)
{
    struct buf path = { 0 }, text = { 0 };
    buf_printf(&path, "%s/boot", t->site.dir);
    buf_printf(&text, "%s\n", t->boot);
    enum err_code c = file_write(buf_str(&path), text.data, text.len, e);
    buf_release(&path);
    buf_release(&text);
    return c;
}

static enum err_code start(struct trustlog *t, const struct trustlog_options *o, struct err *e)
{
    int64_t now = clock_wall_s();
    uint8_t last[HASH_BYTES];
    site_open(&t->site, o->dir);
    t->chain = MEM_NEW(struct chain);
    snprintf(t->where, sizeof t->where, "%.2s", o->jurisdiction ? o->jurisdiction : "");
    boot_id(t->boot);
    read_previous(t);
    enum err_code c = trust_init(e);
    if (!c)
        c = served_chain(&t->site, now, t->chain, e);
    if (!c)
        c = numerics_build(t->build, e);
    if (!c)
        c = start_keeper(t, e);
    if (!c)
        c = open_log(t, e);
    if (!c)
        c = evidence_recover(t->site.pub, t->previous, t->log, &t->previous_receipts, last, e);
    snprintf(t->place, sizeof t->place, "%s", o->place ? o->place : t->chain->site);
    if (!c)
        c = trustlog_stand(t, now, &t->standing, e);
    t->held = t->standing;
    if (!c)
        c = evidence_open(t->site.pub, t->boot, t->log, &t->evidence, e);
    if (!c)
        c = write_boot(t, e);
    if (!c) /* whoever gets a receipt before an engine is ready finds its key in this one */
        c = trustlog_log_node(t, &t->bare, e);
    return c;
}

enum err_code trustlog_open(const struct trustlog_options *o, struct trustlog **out, struct err *e)
{
    struct trustlog *t = MEM_NEW(struct trustlog);
    t->loop = o->loop;
    t->o = *o;
    t->keeper_pid = -1;
    t->keeper.fd = -1;
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->owner, NULL);
    enum err_code c = start(t, o, e);
    if (!c)
        c = trustlog_thread_start(t, e);
    if (c) {
        trustlog_close(t);
        return c;
    }
    log_line(LOG_INFO, "front", "evidence of site %s, boot %.8s: policy %.15s, %s, %s keys in %s", t->place, t->boot,
             t->standing->policy.hash, t->standing->jurisdiction, t->chain->development ? "development" : "production",
             t->keeper.memory);
    trustlog_tend_later(t);
    *out = t;
    return ERR_OK;
}

/* So that they are found quickly when they are those of an earlier boot. */
static void index_receipts(const struct trustlog *t)
{
    struct buf index = { 0 };
    struct err e = { 0 };
    buf_printf(&index, "%s/index", t->site.dir);
    if (archive_index(t->site.pub, buf_str(&index), t->boot, &e))
        log_line(LOG_WARN, "front", "no index of this boot's receipts: %s", e.text);
    buf_release(&index);
}

void trustlog_close(struct trustlog *t)
{
    enum { GRACE_MS = 3000 };
    if (!t)
        return;
    t->ending = true;
    loop_timer_free(t->timer);
    t->timer = NULL;
    trustlog_thread_stop(t);
    if (t->evidence)
        index_receipts(t);
    evidence_close(t->evidence);
    tlog_close(t->log);
    if (t->keeper.fd >= 0)
        keeper_client_close(&t->keeper);
    if (t->keeper_pid > 0)
        spawn_end(&t->keeper_pid, GRACE_MS, NULL, 0);
    standing_free(t->standing);
    if (t->chain)
        chain_release(t->chain);
    mem_free(t->chain);
    site_close(&t->site);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->owner);
    mem_free(t);
}

/* ---- what the loop asks and is answered at once */

const char *trustlog_place(const struct trustlog *t)
{
    return t->place;
}

const char *trustlog_boot(const struct trustlog *t)
{
    return t->boot;
}

const char *trustlog_public(const struct trustlog *t)
{
    return t->site.pub;
}

const char *trustlog_policy_note(const struct trustlog *t)
{
    return t->standing->policy.hash;
}

json_t *trustlog_clients(const struct trustlog *t)
{
    json_t *list = json_array();
    const struct enrolled *all = &t->standing->clients;
    for (int i = 0; i < all->count; i++)
        json_array_append_new(list, json_pack("[s, s]", all->of[i].tenant, all->of[i].vkey));
    return list;
}

const uint8_t *trustlog_build(const struct trustlog *t)
{
    return t->build;
}

struct span trustlog_policy_text(const struct trustlog *t)
{
    const struct buf *text = &t->standing->policy.text;
    return (struct span){ buf_str(text), text->len };
}

enum err_code trustlog_client(const struct trustlog *t, struct span keyid, struct key_public *key,
                              char tenant[ENROLLED_TENANT_MAX + 1], struct err *e)
{
    const struct enrolled *all = &t->standing->clients;
    for (int i = 0; i < all->count; i++) {
        const struct enrolled_key *k = &all->of[i];
        struct key_public found;
        char id[HTTPSIG_KEYID_MAX];
        if (strncmp(k->vkey, keyid.data, keyid.len) || key_public_parse(span_of(k->vkey), &found, NULL))
            continue; /* a vkey begins with its keyid */
        httpsig_keyid(&found, id);
        if (!span_is(keyid, id))
            continue;
        *key = found;
        memcpy(tenant, k->tenant, ENROLLED_TENANT_MAX + 1);
        return ERR_OK;
    }
    return err_set(e, ERR_NOT_FOUND, "no key is enrolled under this keyid");
}

enum err_code trustlog_storage(struct trustlog *t, const char *purpose, uint8_t out[SEALBOX_KEY], struct err *e)
{
    pthread_mutex_lock(&t->owner);
    enum err_code c = keeper_client_storage(&t->keeper, purpose, out, e);
    pthread_mutex_unlock(&t->owner);
    return c;
}

const char *trustlog_stopped(const struct trustlog *t)
{
    return t->standing->stopped[0] ? t->standing->stopped : NULL;
}

void trustlog_describe(const struct trustlog *t, struct receipt *r)
{
    const struct standing *s = t->standing;
    r->has_release = code_unhash_text(r->release, span_of(s->release));
    r->has_policy = code_unhash_text(r->policy, span_of(s->policy.hash));
    snprintf(r->site, sizeof r->site, "%s", t->place);
    memcpy(r->jurisdiction, s->jurisdiction, sizeof r->jurisdiction);
}

const struct trustlog_model *trustlog_slot_model(const struct trustlog *t, int slot, const char **stopped)
{
    const struct standing *s = t->standing;
    *stopped = s->stopped[0] ? s->stopped : NULL;
    if (slot < 0 || slot >= s->slot_count || !s->slots[slot].known)
        return NULL;
    if (!*stopped && s->slots[slot].stopped[0])
        *stopped = s->slots[slot].stopped;
    return &s->slots[slot].model;
}

void trustlog_decide(const struct trustlog *t, const struct policy_request *q, struct policy_decision *out)
{
    struct policy_request here = *q;
    here.site = t->place;
    *out = (struct policy_decision){ .allow = true, .rule = "builtin/no-policy" };
    if (t->standing->policy.policy)
        policy_decide(t->standing->policy.policy, &here, out);
    memcpy(out->jurisdiction, t->standing->jurisdiction, sizeof out->jurisdiction);
}

json_t *trustlog_places(const struct trustlog *t, const struct policy_request *q)
{
    const struct policy *p = t->standing->policy.policy;
    json_t *list = p ? json_array() : NULL;
    struct policy_request there = *q;
    struct policy_decision d;
    char where[3];
    for (int i = 0; p && (there.site = policy_site(p, i, where)); i++) {
        policy_decide(p, &there, &d);
        if (d.allow)
            json_array_append_new(list, json_sprintf("%c%c/%s", tolower((unsigned char)where[0]),
                                                     tolower((unsigned char)where[1]), there.site));
    }
    return list;
}

static enum err_code find_model(struct trustlog *t, const char *file, const uint8_t *weights,
                                struct trustlog_model *out, struct err *e)
{
    struct served_model m;
    *out = (struct trustlog_model){ 0 };
    snprintf(out->name, sizeof out->name, "%s", file);
    enum err_code c = trustlog_find_model(t, file, weights, &m, e);
    if (c || !strcmp(m.hash, "-"))
        return c;
    snprintf(out->name, sizeof out->name, "%s", m.name);
    out->is_signed = code_unhash_text(out->note, span_of(m.hash));
    memcpy(out->sha256, m.sha256, HASH_BYTES);
    return ERR_OK;
}

enum err_code trustlog_model(struct trustlog *t, const char *file, struct trustlog_model *out, struct err *e)
{
    const char *slash = strrchr(file, '/');
    return find_model(t, slash ? slash + 1 : file, NULL, out, e);
}

enum err_code trustlog_weights(struct trustlog *t, const uint8_t sha256[HASH_BYTES], struct trustlog_model *out,
                               struct err *e)
{
    return find_model(t, "", sha256, out, e);
}

uint64_t trustlog_epoch(struct trustlog *t)
{
    return ++t->epoch;
}

/* ---- what is asked of the thread */

static struct task *new_task(enum task_kind kind, trustlog_done done, void *arg)
{
    struct task *k = MEM_NEW(struct task);
    k->kind = kind;
    k->done = done;
    k->arg = arg;
    return k;
}

void trustlog_receipt(struct trustlog *t, const struct receipt *r, const char *tenant, trustlog_done done, void *arg)
{
    struct task *k = new_task(TASK_RECEIPT, done, arg);
    k->receipt = *r;
    snprintf(k->name, sizeof k->name, "%s", tenant ? tenant : "");
    trustlog_push(t, k);
}

void trustlog_get(struct trustlog *t, const char *id, bool proof, trustlog_done done, void *arg)
{
    struct task *k = new_task(proof ? TASK_PROOF : TASK_GET, done, arg);
    snprintf(k->name, sizeof k->name, "%s", id);
    trustlog_push(t, k);
}

void trustlog_offer(struct trustlog *t, int slot, uint64_t since, trustlog_done done, void *arg)
{
    struct task *k = new_task(TASK_OFFER, done, arg);
    k->slot = slot;
    k->since = since;
    trustlog_push(t, k);
}

void trustlog_engine(struct trustlog *t, int slot, const struct trustlog_engine *g)
{
    struct task *k = new_task(TASK_NODE, NULL, NULL);
    struct slot *s = k->engine = MEM_NEW(struct slot);
    k->slot = slot;
    *s = (struct slot){ .used = true, .renewed = g->renewed, .epoch = g->epoch, .model = *g->model,
                        .has_weights = g->weights != NULL, .has_numerics = g->numerics != NULL };
    snprintf(s->file, sizeof s->file, "%s", g->file);
    snprintf(s->sandbox, sizeof s->sandbox, "%s", g->sandbox ? g->sandbox : "");
    if (g->weights)
        memcpy(s->weights, g->weights, HASH_BYTES);
    if (g->numerics)
        memcpy(s->numerics, g->numerics, HASH_BYTES);
    s->config_len = g->ohttp_config.len <= sizeof s->config ? g->ohttp_config.len : 0;
    memcpy(s->config, g->ohttp_config.data, s->config_len);
    trustlog_push(t, k);
}
