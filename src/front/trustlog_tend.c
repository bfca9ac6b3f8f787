/* trustlog_tend -- what holds may change while the server runs: a look at the site's folder, four times a second.
 *
 *   loop's timer -> TASK_TEND on the thread: statements from the inbox are checked and logged, enrolled keys are read
 *   again, node notes that grow old are made anew -> a new standing -> the loop takes it, and says so by changed()
 *
 * T1  A statement is logged before anything is decided by it, and its signer hears of it only when all is.
 * T2  What is revoked or has expired ends the service, in words, until something newer is signed. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/trustlog_impl.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LOOK_EVERY_MS = 250, LOOK_AGAIN_S = 30, TAKE_MAX = 64 };

/* ---- what holds */

void standing_free(struct standing *s)
{
    if (!s)
        return;
    served_policy_release(&s->policy);
    enrolled_release(&s->clients);
    mem_free(s);
}

static enum err_code check_key(const struct chain *c, const struct key_public *k, struct err *e)
{
    char vkey[KEY_TEXT_MAX];
    key_public_text(k, vkey);
    return chain_is_revoked(c, span_of(vkey)) ? err_set(e, ERR_DENIED, "the key %s is revoked", k->name) : ERR_OK;
}

/* Where this node stands: the policy says, or the operator. */
static enum err_code find_place(const struct trustlog *t, const struct policy *p, char out[3], struct err *e)
{
    struct policy_decision d = { 0 };
    snprintf(out, 3, "%s", t->where[0] ? t->where : "ZZ");
    if (!p)
        return ERR_OK;
    policy_decide(p, &(struct policy_request){ .site = t->place }, &d);
    if (!d.jurisdiction[0])
        return err_set(e, ERR_INVALID, "the signed policy knows no site '%s': name one of its sites with --site",
                       t->place);
    if (t->where[0] && strcmp(t->where, d.jurisdiction))
        return err_set(e, ERR_INVALID, "the signed policy puts the site '%s' in %s, not in %s", t->place,
                       d.jurisdiction, t->where);
    memcpy(out, d.jurisdiction, 3);
    return ERR_OK;
}

/* At a start the program must be the newest release; a running one may be the one before. */
static enum err_code find_release(struct trustlog *t, int64_t now_s, char out[HASH_TEXT_MAX], struct err *e)
{
    bool newer = false;
    enum err_code c = served_release(&t->site, t->log, t->chain, now_s, t->build, out, &newer, e);
    if (!c && newer && !t->held)
        c = err_set(e, ERR_DENIED, "a newer release was signed, and this program is not in it: install that one");
    return c;
}

enum err_code trustlog_stand(struct trustlog *t, int64_t now_s, struct standing **out, struct err *e)
{
    struct standing *s = MEM_NEW(struct standing);
    uint64_t seen[STATEMENT_TYPES];
    memcpy(seen, t->chain->seen, sizeof seen);
    enum err_code c = chain_check_expiry(t->chain, now_s, e);
    if (!c)
        c = check_key(t->chain, &t->keeper.log, e);
    if (!c)
        c = check_key(t->chain, &t->keeper.node, e);
    if (!c)
        c = check_key(t->chain, &t->keeper.receipt, e);
    if (!c)
        c = served_policy(&t->site, t->log, t->chain, now_s, &s->policy, e);
    memcpy(t->chain->seen, seen, sizeof seen); /* numbers are compared when a note is taken in */
    if (!c)
        c = find_release(t, now_s, s->release, e);
    memcpy(t->chain->seen, seen, sizeof seen);
    if (!c)
        c = enrolled_read(&t->site, t->chain, &s->clients, e);
    if (!c)
        c = find_place(t, s->policy.policy, s->jurisdiction, e);
    if (c)
        standing_free(s);
    else
        *out = s;
    return c;
}

/* Nothing is served; receipts of refusals go on naming what held last. */
static struct standing *stand_still(const struct standing *held, const struct err *why)
{
    struct standing *s = MEM_NEW(struct standing);
    snprintf(s->policy.hash, sizeof s->policy.hash, "%s", held->policy.hash);
    snprintf(s->release, sizeof s->release, "%s", held->release);
    snprintf(s->jurisdiction, sizeof s->jurisdiction, "%s", held->jurisdiction);
    snprintf(s->stopped, sizeof s->stopped, "nothing is served: %.300s", why->text);
    return s;
}

/* Which model note holds for an engine: the newest that lists its file, if it lists these weights. */
static void find_model(struct trustlog *t, const struct slot *slot, int64_t now_s, struct standing_model *out)
{
    struct served_model m = { .hash = "-" };
    struct err e = { 0 };
    char held[HASH_TEXT_MAX];
    out->known = true;
    out->model = slot->model;
    code_hash_text(held, slot->model.note);
    bool far = !slot->file[0];
    enum err_code c = far ? served_weights(&t->site, t->log, t->chain, slot->weights, now_s, &m, &e)
                          : served_model(&t->site, t->log, t->chain, slot->file, now_s, &m, &e);
    if (!c && code_unhash_text(out->model.note, span_of(m.hash)) && slot->has_weights &&
        !memcmp(m.sha256, slot->weights, HASH_BYTES)) {
        out->model.is_signed = true;
        memcpy(out->model.sha256, m.sha256, HASH_BYTES);
        snprintf(out->model.name, sizeof out->model.name, "%s", m.name);
        return;
    }
    out->model = slot->model; /* the note lists other weights: they are served from the next load on */
    if (!c && slot->model.is_signed && chain_is_revoked(t->chain, span_of(held)))
        c = err_set(&e, ERR_DENIED, "its note is revoked");
    if (c)
        snprintf(out->stopped, sizeof out->stopped, "%.128s is not served: %.200s",
                 far ? slot->model.name : slot->file, e.text);
}

static bool same_clients(const struct enrolled *a, const struct enrolled *b)
{
    bool same = a->count == b->count;
    for (int i = 0; same && i < a->count; i++)
        same = !strcmp(a->of[i].tenant, b->of[i].tenant) && !strcmp(a->of[i].vkey, b->of[i].vkey);
    return same;
}

static bool same_model(const struct standing_model *a, const struct standing_model *b)
{
    return a->known == b->known && !strcmp(a->stopped, b->stopped) && a->model.is_signed == b->model.is_signed &&
           !strcmp(a->model.name, b->model.name) && !memcmp(a->model.note, b->model.note, HASH_BYTES);
}

static bool same_standing(const struct standing *a, const struct standing *b)
{
    bool same = !strcmp(a->policy.hash, b->policy.hash) && !strcmp(a->release, b->release) &&
                !strcmp(a->jurisdiction, b->jurisdiction) && !strcmp(a->stopped, b->stopped) &&
                a->slot_count == b->slot_count && same_clients(&a->clients, &b->clients);
    for (int i = 0; same && i < a->slot_count; i++)
        same = same_model(&a->slots[i], &b->slots[i]);
    return same;
}

/* The new standing, or NULL when nothing is new. */
static struct standing *look(struct trustlog *t, int64_t now_s)
{
    struct standing *s = NULL;
    struct err e = { 0 };
    if (trustlog_stand(t, now_s, &s, &e))
        s = stand_still(t->held, &e);
    for (int i = 0; i < TRUSTLOG_MODELS_MAX; i++)
        if (t->slots[i].used) {
            s->slot_count = i + 1;
            find_model(t, &t->slots[i], now_s, &s->slots[i]);
        }
    if (!same_standing(s, t->held))
        return s;
    standing_free(s);
    return NULL;
}

/* ---- statements that were left for us */

/* Its file is there, reads, and knows this place: once logged it will hold. */
static enum err_code check_policy(const struct trustlog *t, const struct statement *s, struct err *e)
{
    struct buf path = { 0 }, text = { 0 };
    struct span file = statement_get(s, "file");
    struct policy *p = NULL;
    uint8_t want[HASH_BYTES], have[HASH_BYTES];
    char where[3];
    code_unhash_text(want, file);
    buf_printf(&path, "%s/policies/%.*s.policy", t->site.pub, (int)file.len - 7, file.data + 7);
    enum err_code c = file_read(buf_str(&path), POLICY_FILE_MAX, &text, e);
    if (!c)
        c = policy_parse_text((struct span){ buf_str(&text), text.len }, have, &p, e);
    if (!c && !code_same(want, have, HASH_BYTES))
        c = err_set(e, ERR_DENIED, "%s is not the file that was signed", buf_str(&path));
    if (!c)
        c = find_place(t, p, where, e);
    policy_free(p);
    buf_release(&path);
    buf_release(&text);
    return c;
}

static enum err_code check_statement(struct trustlog *t, struct span bytes, int64_t now_s, enum statement_type *type,
                                     struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct statement s;
    uint64_t seen[STATEMENT_TYPES], latest = 0;
    char hash[HASH_TEXT_MAX];
    memcpy(seen, t->chain->seen, sizeof seen);
    enum err_code c = note_parse(bytes, n, e);
    if (!c)
        c = statement_parse(n->text, &s, e);
    if (!c && s.type != STATEMENT_RELEASE && s.type != STATEMENT_MODEL && s.type != STATEMENT_POLICY &&
        s.type != STATEMENT_REVOKE)
        c = err_set(e, ERR_DENIED, "a %s statement is not taken here", statement_name(s.type));
    if (!c)
        c = chain_open(t->chain, *type = s.type, bytes, now_s, n, &s, e);
    if (!c)
        c = site_latest(&t->site, s.type, hash, &latest, e);
    if (!c && statement_uint(&s, "seq") <= latest)
        c = err_set(e, ERR_DENIED, "a %s statement with the number %llu is there already: sign it again",
                    statement_name(s.type), (unsigned long long)statement_uint(&s, "seq"));
    if (!c && s.type == STATEMENT_POLICY)
        c = check_policy(t, &s, e);
    memcpy(t->chain->seen, seen, sizeof seen);
    mem_free(n);
    return c;
}

/* ERR_OK: taken or refused. Else the log cannot be written. */
static enum err_code take(struct trustlog *t, const char *name, struct span bytes, int64_t now_s, bool *taken,
                          struct err *e)
{
    struct err why = { 0 };
    enum statement_type type;
    uint64_t index;
    if (check_statement(t, bytes, now_s, &type, &why)) {
        log_line(LOG_WARN, "front", "a statement in the inbox is refused: %s", why.text);
        inbox_refuse(&t->site, name, why.text);
        return ERR_OK;
    }
    enum err_code c = site_file_note(&t->site, t->log, type, bytes, &index, e);
    if (!c && type == STATEMENT_REVOKE)
        c = chain_revoke(t->chain, bytes, now_s, e);
    *taken = !c;
    if (!c) {
        inbox_taken(&t->site, name);
        log_line(LOG_INFO, "front", "a %s statement was logged: %.64s", statement_name(type), name);
    }
    return c;
}

static enum err_code take_inbox(struct trustlog *t, struct tidings *g, int64_t now_s, struct err *e)
{
    char name[INBOX_NAME_MAX + 1];
    struct buf note = { 0 };
    enum err_code c = ERR_OK;
    for (int i = 0; !c && i < TAKE_MAX && inbox_next(&t->site, name, &note); i++) {
        bool taken = false;
        if (!i)
            c = evidence_commit(t->evidence, e); /* leaves keep the order of what they say */
        if (!c)
            c = take(t, name, (struct span){ buf_str(&note), note.len }, now_s, &taken, e);
        if (taken) {
            g->taken = mem_grow(g->taken, (size_t)g->taken_count + 1, sizeof *g->taken);
            memcpy(g->taken[g->taken_count++], name, sizeof name);
        }
        buf_clear(&note);
    }
    buf_release(&note);
    return c;
}

/* ---- the look */

static bool clients_changed(struct trustlog *t)
{
    struct buf path = { 0 };
    struct stat st = { 0 };
    buf_printf(&path, "%s/clients", t->site.dir);
    if (stat(buf_str(&path), &st))
        st.st_mtim = (struct timespec){ 0 };
    buf_release(&path);
    bool changed = st.st_mtim.tv_sec != t->clients_changed.tv_sec || st.st_mtim.tv_nsec != t->clients_changed.tv_nsec;
    t->clients_changed = st.st_mtim;
    return changed;
}

/* Its node note names what held before, or is old. */
static bool is_stale(const struct trustlog *t, const struct slot *s, int64_t now_s)
{
    char model[HASH_TEXT_MAX] = "-";
    const char (*noted)[HASH_TEXT_MAX] = s->next.hash;
    if (s->model.is_signed)
        code_hash_text(model, s->model.note);
    return now_s - s->noted_s >= t->o.renew_s || strcmp(noted[OFFER_RELEASE], t->held->release) ||
           strcmp(noted[OFFER_POLICY], t->held->policy.hash) || strcmp(noted[OFFER_MODEL], model);
}

static enum err_code renew_nodes(struct trustlog *t, int64_t now_s, struct err *e)
{
    enum err_code c = ERR_OK;
    bool begun = false;
    for (int i = -1; !c && i < TRUSTLOG_MODELS_MAX; i++) {
        struct slot *s = i < 0 ? &t->bare : &t->slots[i];
        if ((i >= 0 && !s->used) || !is_stale(t, s, now_s))
            continue;
        if (!begun)
            c = evidence_commit(t->evidence, e);
        begun = true;
        if (!c)
            c = trustlog_log_node(t, s, e);
    }
    return c;
}

static void tell_offered(struct trustlog *t, struct tidings *g)
{
    for (int i = 0; i < TRUSTLOG_MODELS_MAX; i++) {
        struct slot *s = &t->slots[i];
        if (!s->used || !s->waits || !trustlog_shown(t, s))
            continue;
        g->offered[g->offered_count].slot = i;
        g->offered[g->offered_count++].epoch = s->now.epoch;
    }
}

void trustlog_tend(struct trustlog *t, struct task *k)
{
    struct tidings *g = k->tidings = MEM_NEW(struct tidings);
    int64_t now = clock_wall_s();
    struct err *e = &k->error;
    k->code = take_inbox(t, g, now, e);
    bool due = clients_changed(t) || g->taken_count || now - t->looked_s >= LOOK_AGAIN_S;
    if (!k->code && due) {
        t->looked_s = now;
        g->standing = look(t, now);
    }
    if (g->standing) {
        t->held = g->standing;
        for (int i = 0; i < g->standing->slot_count; i++)
            t->slots[i].model = g->standing->slots[i].model;
    }
    if (!k->code)
        k->code = renew_nodes(t, now, e);
    tell_offered(t, g);
}

/* ---- on the loop */

static void due(void *arg)
{
    struct trustlog *t = arg;
    struct task *k = MEM_NEW(struct task);
    k->kind = TASK_TEND;
    trustlog_push(t, k);
}

void trustlog_tend_later(struct trustlog *t)
{
    if (!t->timer)
        t->timer = loop_timer_new(t->loop, due, t);
    loop_timer_set(t->timer, LOOK_EVERY_MS);
}

void trustlog_tended(struct trustlog *t, struct task *k)
{
    struct tidings *g = k->tidings;
    if (g && g->standing) {
        standing_free(t->standing);
        t->standing = g->standing;
        if (t->standing->stopped[0])
            log_line(LOG_ERROR, "front", "%s", t->standing->stopped);
        if (!t->ending && t->o.changed)
            t->o.changed(t->o.arg);
    }
    for (int i = 0; g && i < g->offered_count && !t->ending && t->o.offered; i++)
        t->o.offered(t->o.arg, g->offered[i].slot, g->offered[i].epoch);
    for (int i = 0; g && i < g->taken_count; i++)
        inbox_done(&t->site, g->taken[i]);
    if (g)
        mem_free(g->taken);
    mem_free(g);
    k->tidings = NULL;
    if (!t->ending)
        trustlog_tend_later(t);
}
