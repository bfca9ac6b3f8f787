/* trustlog_thread -- the thread that owns keeper, log and receipts: takes tasks, commits them in batches, answers.
 *
 *   tasks of one batch -> work() each -> evidence_commit -> done() of each on the loop, in order */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/cosign.h"
#include "front/trustlog_impl.h"
#include "trust/archive.h"

#include <stdio.h>
#include <string.h>

enum { COMMIT_EVERY_MS = 50, BATCH_MAX = 1024 };

/* ---- one task */

static struct span as_span(const struct buf *b)
{
    return (struct span){ buf_str(b), b->len };
}

/* The pseudonym of a tenant this month; the keeper has the key. */
static enum err_code find_tag(struct trustlog *t, const char *month, const char *tenant, const uint8_t **out,
                              struct err *e)
{
    for (int i = 0; i < t->tag_count; i++)
        if (!strcmp(t->tags[i].tenant, tenant) && !strcmp(t->tags[i].month, month)) {
            *out = t->tags[i].tag;
            return ERR_OK;
        }
    if (t->tag_count == TAGS_MAX)
        t->tag_count = 0; /* begin again: asking is cheap */
    struct tag *g = &t->tags[t->tag_count];
    snprintf(g->month, sizeof g->month, "%s", month);
    snprintf(g->tenant, sizeof g->tenant, "%.*s", RECEIPT_NAME_MAX, tenant);
    enum err_code c = keeper_client_tag(&t->keeper, month, tenant, g->tag, e);
    t->tag_count += !c;
    *out = g->tag;
    return c;
}

static enum err_code make_receipt(struct trustlog *t, struct task *k, struct err *e)
{
    struct receipt *r = &k->receipt;
    const uint8_t *tag = NULL;
    char month[8];
    enum err_code c = ERR_OK;
    pseudonym_month(r->started, month);
    r->has_tenant = k->name[0] != '\0';
    if (r->has_tenant)
        c = find_tag(t, month, k->name, &tag, e);
    if (c)
        return c;
    if (tag)
        memcpy(r->tenant, tag, sizeof r->tenant);
    struct buf text = { 0 };
    snprintf(r->boot, sizeof r->boot, "%s", t->boot);
    k->malformed = c = receipt_text(r, &text, e); /* one that cannot be written is no failure of the site */
    buf_release(&text);
    if (!c)
        c = keeper_client_receipt(&t->keeper, r, &k->out, e);
    return c ? c : evidence_add(t->evidence, r->id, as_span(&k->out), e);
}

/* The four notes a client is shown about s, once node is among them. */
static void next_offer(const struct trustlog *t, struct slot *s, const uint8_t node[HASH_BYTES])
{
    struct offered *o = &s->next;
    *o = (struct offered){ .epoch = s->epoch };
    code_hash_text(o->hash[OFFER_NODE], node);
    memcpy(o->hash[OFFER_RELEASE], t->held->release, HASH_TEXT_MAX);
    memcpy(o->hash[OFFER_POLICY], t->held->policy.hash, HASH_TEXT_MAX);
    snprintf(o->hash[OFFER_MODEL], HASH_TEXT_MAX, "-");
    if (s->model.is_signed)
        code_hash_text(o->hash[OFFER_MODEL], s->model.note);
    s->waits = true;
    for (int i = OFFER_RELEASE; i < OFFER_PARTS; i++) /* only the key is new: until it is logged the old one will do */
        if (strcmp(s->now.hash[i], o->hash[i]))
            s->now = (struct offered){ .epoch = 0 };
}

enum err_code trustlog_log_node(struct trustlog *t, struct slot *s, struct err *e)
{
    struct buf text = { 0 }, note = { 0 };
    char vkey[KEY_TEXT_MAX], model[HASH_TEXT_MAX] = "-";
    uint8_t raw[HASH_BYTES];
    int64_t now = clock_wall_s();
    key_public_text(&t->keeper.receipt, vkey);
    if (s->model.is_signed)
        code_hash_text(model, s->model.note);
    const struct boot_node n = { .name = t->chain->site, .boot = t->boot, .previous_boot = t->previous,
                                 .site = t->place, .jurisdiction = t->held->jurisdiction,
                                 .release = t->held->release, .policy = t->held->policy.hash, .models = model,
                                 .epoch = s->epoch, .numerics = s->has_numerics ? s->numerics : NULL,
                                 .previous_receipts = t->previous_receipts,
                                 .ohttp_config = { (const char *)s->config, s->config_len }, .receipt_key = vkey,
                                 .sandbox = s->used && s->file[0] ? s->sandbox : t->keeper.sandbox,
                                 .not_before = now, .not_after = now + NODE_LIFE_MAX_S };
    enum err_code c = boot_node_text(&n, &text, e);
    if (!c)
        c = keeper_client_node(&t->keeper, as_span(&text), &note, e);
    if (!c)
        c = site_file_note(&t->site, t->log, STATEMENT_NODE, as_span(&note), &s->leaf, e);
    if (!c) {
        code_sha256(raw, note.data, note.len);
        next_offer(t, s, raw);
        s->noted_s = now;
    }
    buf_release(&text);
    buf_release(&note);
    return c;
}

static enum err_code note_engine(struct trustlog *t, struct task *k, struct err *e)
{
    struct slot *s = &t->slots[k->slot];
    enum err_code c = evidence_commit(t->evidence, e); /* leaves keep the order of what they say */
    if (k->engine->renewed)
        k->engine->now = s->now; /* its last key is good until the new one is shown */
    *s = *k->engine;
    t->looked_s = 0; /* which note holds for it */
    return c ? c : trustlog_log_node(t, s, e);
}

bool trustlog_shown(struct trustlog *t, struct slot *s)
{
    struct buf proof = { 0 };
    if (!tlog_prove(t->log, s->leaf, &proof, NULL)) {
        s->now = s->next;
        s->waits = false;
    }
    buf_release(&proof);
    return !s->waits;
}

static enum err_code make_offer(struct trustlog *t, struct task *k, struct err *e)
{
    struct slot *s = k->slot < 0 ? &t->bare : &t->slots[k->slot];
    struct offer o = { 0 };
    if (!s->used)
        return err_set(e, ERR_BUSY, "the model is still loading");
    if (t->held->stopped[0])
        return err_set(e, ERR_DENIED, "%s", t->held->stopped);
    if (!s->now.hash[OFFER_NODE][0] && !trustlog_shown(t, s))
        return err_set(e, ERR_BUSY, "the node's statement is not in the published log yet");
    const char *const hashes[OFFER_PARTS] = { s->now.hash[0], s->now.hash[1], s->now.hash[2], s->now.hash[3] };
    enum err_code c = offer_build(&t->site, t->log, hashes, k->since, &o, e);
    if (!c)
        offer_write(&o, &k->out);
    offer_release(&o);
    return c;
}

static enum err_code get_receipt(struct trustlog *t, struct task *k, struct err *e)
{
    struct buf note = { 0 }, index = { 0 };
    uint64_t leaf = 0;
    enum err_code c = evidence_get(t->evidence, k->name, &note, &leaf, e);
    buf_printf(&index, "%s/index", t->site.dir);
    if (c == ERR_NOT_FOUND)
        c = archive_find(t->site.pub, buf_str(&index), t->boot, k->name, t->log, &note,
                         k->kind == TASK_PROOF ? &leaf : NULL, e);
    if (!c && k->kind == TASK_PROOF)
        c = tlog_prove(t->log, leaf, &k->out, e);
    else if (!c)
        buf_append(&k->out, note.data, note.len);
    buf_release(&note);
    buf_release(&index);
    return c;
}

static void break_down(struct trustlog *t, const struct err *why)
{
    if (t->broken)
        return;
    t->broken = true;
    t->fault = *why;
}

static void work(struct trustlog *t, struct task *k)
{
    struct err *e = &k->error;
    if (t->broken) {
        *e = t->fault;
        k->code = t->fault.code;
        return;
    }
    switch (k->kind) {
    case TASK_RECEIPT: k->code = make_receipt(t, k, e); break;
    case TASK_NODE: k->code = note_engine(t, k, e); break;
    case TASK_GET:
    case TASK_PROOF: k->code = get_receipt(t, k, e); break;
    case TASK_OFFER: k->code = make_offer(t, k, e); break;
    case TASK_COSIGNED: k->code = tlog_cosigned(t->log, as_span(&k->out), e); break;
    case TASK_FAULT: break_down(t, e); break;
    case TASK_TEND: trustlog_tend(t, k); break;
    }
    if (k->code && !k->malformed && (k->kind == TASK_RECEIPT || k->kind == TASK_NODE || k->kind == TASK_TEND))
        break_down(t, e);
}

/* ---- done */

static void tell(struct trustlog *t, struct task *k)
{
    if (k->kind == TASK_TEND)
        trustlog_tended(t, k);
    if (k->done)
        k->done(k->arg, &(struct trustlog_answer){ k->code, k->error.text, as_span(&k->out) });
    buf_release(&k->out);
    mem_free(k->engine);
    mem_free(k);
}

/* On the loop. Each task done is told once; the posts may be more than the tasks. */
static void tell_done(void *arg)
{
    struct trustlog *t = arg;
    for (;;) { /* until the list is empty: it grows by at most TRUSTLOG_WAITING_MAX */
        pthread_mutex_lock(&t->lock);
        struct task *k = t->first_done;
        t->first_done = k ? k->next : NULL;
        pthread_mutex_unlock(&t->lock);
        if (!k)
            return;
        tell(t, k);
    }
}

static void tell_broken(void *arg)
{
    struct trustlog *t = arg;
    t->o.failed(t->o.arg, t->fault.text);
}

static void finish_batch(struct trustlog *t, struct task **batch, int count)
{
    struct err e = { 0 };
    bool was_broken = t->broken;
    if (!t->broken && evidence_commit(t->evidence, &e))
        break_down(t, &e);
    for (int i = 0; i < count; i++)
        if (t->broken && batch[i]->kind == TASK_RECEIPT && !batch[i]->code) {
            batch[i]->code = t->fault.code; /* I1: signed, but not on disk */
            batch[i]->error = t->fault;
            buf_clear(&batch[i]->out);
        }
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < count; i++) {
        if (t->first_done)
            t->last_done->next = batch[i];
        else
            t->first_done = batch[i];
        t->last_done = batch[i];
    }
    pthread_mutex_unlock(&t->lock);
    loop_post(t->loop, tell_done, t);
    if (t->broken && !was_broken) {
        log_line(LOG_ERROR, "front", "the evidence cannot be written: %s", t->fault.text);
        loop_post(t->loop, tell_broken, t);
    }
}

/* A batch begins with the first task; it closes when the last commit is COMMIT_EVERY_MS ago, or it is full. */
static void *thread_main(void *arg)
{
    struct trustlog *t = arg;
    struct task *batch[BATCH_MAX];
    int64_t last_ns = 0;
    for (struct task *k; (k = queue_pop(t->in, -1));) {
        int count = 0;
        do {
            batch[count++] = k;
            pthread_mutex_lock(&t->owner);
            work(t, k);
            pthread_mutex_unlock(&t->owner);
            int64_t left_ms = COMMIT_EVERY_MS - (clock_mono_ns() - last_ns) / 1000000;
            k = count == BATCH_MAX ? NULL : queue_pop(t->in, left_ms > 0 ? left_ms : 0);
        } while (k);
        pthread_mutex_lock(&t->owner);
        finish_batch(t, batch, count);
        pthread_mutex_unlock(&t->owner);
        last_ns = clock_mono_ns();
    }
    return NULL;
}

/* ---- life */

enum err_code trustlog_thread_start(struct trustlog *t, struct err *e)
{
    t->in = queue_new(TRUSTLOG_WAITING_MAX);
    if (pthread_create(&t->thread, NULL, thread_main, t))
        return err_set(e, ERR_LIMIT, "no thread for the evidence");
    pthread_setname_np(t->thread, "tw-trustlog");
    t->running = true;
    t->cosigner = cosigner_start(t, &t->site);
    return ERR_OK;
}

static void file_close_note(struct trustlog *t)
{
    struct buf note = { 0 };
    struct err e = { 0 };
    uint64_t index;
    enum err_code c = t->broken ? t->fault.code : keeper_client_end(&t->keeper, &note, &e);
    if (!c)
        c = site_file_note(&t->site, t->log, STATEMENT_CLOSE, as_span(&note), &index, &e);
    if (c && !t->broken)
        log_line(LOG_ERROR, "front", "the boot ends without a close note: %s", e.text);
    buf_clear(&note);
    if (!c && cosigner_last(t->cosigner, &note) && tlog_cosigned(t->log, as_span(&note), &e))
        log_line(LOG_ERROR, "front", "the last checkpoint is not published: %s", e.text);
    buf_release(&note);
}

void trustlog_thread_stop(struct trustlog *t)
{
    if (t->running) {
        cosigner_stop(t->cosigner);
        queue_close(t->in); /* what is inside is still worked off */
        pthread_join(t->thread, NULL);
        t->running = false;
        tell_done(t);
        file_close_note(t);
        cosigner_free(t->cosigner);
        t->cosigner = NULL;
    }
    if (t->in)
        queue_free(t->in);
    t->in = NULL;
}

void trustlog_push(struct trustlog *t, struct task *k)
{
    if (queue_try_push(t->in, k))
        return;
    k->code = err_set(&k->error, ERR_BUSY, "too many receipts wait for the disk"); /* told at once: nobody waits */
    tell(t, k);
}

void trustlog_rolled_back(struct trustlog *t, const struct err *why)
{
    struct task *k = MEM_NEW(struct task);
    k->kind = TASK_FAULT;
    k->error = *why;
    trustlog_push(t, k);
}

enum err_code trustlog_find_model(struct trustlog *t, const char *file, const uint8_t *weights,
                                  struct served_model *out, struct err *e)
{
    int64_t now = clock_wall_s();
    pthread_mutex_lock(&t->owner);
    enum err_code c = weights ? served_weights(&t->site, t->log, t->chain, weights, now, out, e)
                              : served_model(&t->site, t->log, t->chain, file, now, out, e);
    pthread_mutex_unlock(&t->owner);
    return c;
}
