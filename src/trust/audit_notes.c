/* audit_notes -- root and statements of a bundle: who signed them, in which role, and that each is in the log once. */
#include "trust/audit_impl.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

const struct audit_note *audit_find(const struct audit *a, enum statement_type type, const uint8_t hash[HASH_BYTES])
{
    for (int i = 0; i < a->note_count; i++)
        if (a->notes[i]->s.type == type && !memcmp(a->notes[i]->hash, hash, HASH_BYTES))
            return a->notes[i];
    return NULL;
}

static void check_logged(struct audit *a, enum statement_type type, const uint8_t hash[HASH_BYTES], const char *name)
{
    struct leaf_slot *s = audit_leaf(a, hash);
    if (!s)
        audit_fail(a, "%s is not in the log", name);
    else if (s->type != type)
        audit_fail(a, "%s is in the log as a %s", name, statement_name((enum statement_type)s->type));
    else
        s->shown = true;
}

static enum err_code read_root(struct audit *a, const char *name, bool first, struct err *e)
{
    struct buf path = { 0 }, text = { 0 };
    uint8_t hash[HASH_BYTES];
    char hex[HASH_TEXT_MAX];
    buf_printf(&path, "%s/%s", a->o->bundle, name);
    enum err_code c = file_read(buf_str(&path), AUDIT_FILE_MAX, &text, e);
    struct span bytes = { buf_str(&text), text.len };
    code_sha256(hash, bytes.data, bytes.len);
    code_hash_text(hex, hash);
    if (!c && first && a->o->root_hash && strcmp(hex, a->o->root_hash))
        c = err_set(e, ERR_DENIED, "%s is %s, not the root you gave", name, hex);
    if (!c && first && !a->o->root_hash && (!a->first_is_root || !code_same(hash, a->first_leaf, HASH_BYTES)))
        c = err_set(e, ERR_DENIED, "%s is not what the log's first leaf names: give the root's hash with --root", name);
    if (!c)
        c = first ? chain_init(a->chain, bytes, e) : chain_rotate(a->chain, bytes, e);
    if (!c)
        check_logged(a, STATEMENT_ROOT, hash, name);
    buf_release(&path);
    buf_release(&text);
    return c;
}

static enum err_code read_roots(struct audit *a, struct err *e)
{
    char **names = NULL;
    enum err_code c = read_root(a, "root.note", true, e);
    int n = audit_names(a->o->bundle, ".note", &names);
    for (int i = 0; !c && i < n; i++)
        if (!strncmp(names[i], "root-", 5))
            c = read_root(a, names[i], false, e);
    audit_names_free(names, n);
    bool believed = false;
    for (int i = 0; !c && i < a->quorum->log_count; i++)
        believed |= a->quorum->logs[i].id == a->chain->log.id && !strcmp(a->quorum->logs[i].name, a->chain->log.name) &&
                    code_same(a->quorum->logs[i].key, a->chain->log.key, KEY_PUBLIC_BYTES);
    if (!c && !believed)
        audit_fail(a, "the root names another log key than your trust policy");
    if (!c && a->o->now_s && chain_check_expiry(a->chain, a->o->now_s, e))
        audit_fail(a, "the root note has expired");
    if (!c && a->chain->development)
        audit_note(a, "the keys were made for development, all on one machine: they prove little about who signed");
    return c;
}

/* A policy note's file: there, with that hash, and readable. */
static void load_policy(struct audit *a, struct audit_note *n, const char *name)
{
    struct span file = statement_get(&n->s, "file");
    struct buf path = { 0 }, text = { 0 };
    struct err e = { 0 };
    uint8_t want[HASH_BYTES], have[HASH_BYTES];
    code_unhash_text(want, file);
    buf_printf(&path, "%s/policies/%.*s.policy", a->o->bundle, (int)file.len - 7, file.data + 7);
    if (file_read(buf_str(&path), AUDIT_FILE_MAX, &text, &e) ||
        policy_parse_text((struct span){ buf_str(&text), text.len }, have, &n->policy, &e))
        audit_fail(a, "the policy file of %s: %s", name, e.text);
    else if (!code_same(want, have, HASH_BYTES))
        audit_fail(a, "the policy file of %s is not the one that was signed", name);
    buf_release(&path);
    buf_release(&text);
}

/* History is judged at the time a statement was made: expiry matters to clients, not to the past. */
static int64_t time_of(const struct statement *s)
{
    if (s->type == STATEMENT_NODE)
        return statement_time(s, "not-before");
    if (s->type == STATEMENT_REVOKE || s->type == STATEMENT_CLOSE)
        return statement_time(s, "at");
    return statement_time(s, "expires");
}

static void take_note(struct audit *a, enum statement_type type, const char *name, struct buf *bytes)
{
    struct audit_note *n = MEM_NEW(struct audit_note);
    struct statement s;
    struct err e = { 0 };
    n->bytes = *bytes;
    *bytes = (struct buf){ 0 };
    struct span text = { buf_str(&n->bytes), n->bytes.len };
    memset(a->chain->seen, 0, sizeof a->chain->seen); /* the past may hold every number */
    if (note_parse(text, &n->note, &e) || statement_parse(n->note.text, &s, &e) ||
        chain_open(a->chain, type, text, time_of(&s), &n->note, &n->s, &e)) {
        audit_fail(a, "%s: %s", name, e.text);
        buf_release(&n->bytes);
        mem_free(n);
        return;
    }
    code_sha256(n->hash, text.data, text.len);
    check_logged(a, type, n->hash, name);
    if (type == STATEMENT_POLICY)
        load_policy(a, n, name);
    a->notes = mem_grow(a->notes, (size_t)a->note_count + 1, sizeof *a->notes);
    a->notes[a->note_count++] = n;
    a->r->notes++;
}

static void read_type(struct audit *a, enum statement_type type)
{
    struct buf dir = { 0 };
    char **names = NULL, label[256];
    buf_printf(&dir, "%s/notes/%s", a->o->bundle, statement_name(type));
    int n = audit_names(buf_str(&dir), ".note", &names);
    for (int i = 0; i < n && a->note_count < AUDIT_NOTES_MAX; i++) {
        struct buf path = { 0 }, text = { 0 };
        buf_printf(&path, "%s/%s", buf_str(&dir), names[i]);
        snprintf(label, sizeof label, "notes/%s/%.160s", statement_name(type), names[i]);
        if (!file_read(buf_str(&path), AUDIT_FILE_MAX, &text, NULL))
            take_note(a, type, label, &text);
        buf_release(&path);
        buf_release(&text);
    }
    audit_names_free(names, n);
    buf_release(&dir);
}

/* Marks what revocations name: a statement by hash, or everything under a key. */
static void apply_revocations(struct audit *a)
{
    for (int i = 0; i < a->note_count; i++) {
        if (a->notes[i]->s.type != STATEMENT_REVOKE)
            continue;
        struct span target = statement_get(&a->notes[i]->s, "target");
        uint8_t hash[HASH_BYTES];
        bool by_hash = code_unhash_text(hash, target);
        for (int k = 0; k < a->note_count; k++) {
            struct audit_note *n = a->notes[k];
            bool hit = by_hash ? !memcmp(hash, n->hash, HASH_BYTES)
                               : n->s.type == STATEMENT_NODE && span_same(statement_get(&n->s, "receipt-key"), target);
            if (!hit)
                continue;
            n->revoked = true;
            n->revoked_at = statement_time(&a->notes[i]->s, "at");
        }
    }
}

enum err_code audit_notes(struct audit *a, struct err *e)
{
    enum err_code c = read_roots(a, e);
    if (c)
        return c;
    for (int type = STATEMENT_RELEASE; type <= STATEMENT_CLOSE; type++)
        read_type(a, (enum statement_type)type);
    apply_revocations(a);
    return ERR_OK;
}
