/* audit_receipts -- every receipt: signed by its boot's key, in its place, in the log once, decided as the policy says.
 *
 * Two passes over each file: the first, on all threads, checks what a receipt shows alone (signature, form, leaf);
 * the second, on one, checks the chain and the decisions. A signature costs 85 us, so the first is all the time. */
#include "trust/audit_impl.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/progress.h"
#include "trust/evidence.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GRAIN = 512 };

enum verdict { GOOD, BAD_NOTE };

struct work { /* one file's receipts */
    struct audit *a;
    struct audit_note *node;
    int node_at;  /* where it stands among the notes */
    int fitted;   /* which note fitted the receipt before */
    int count;
    struct span *notes;
    enum verdict *verdict;
    uint8_t (*hash)[HASH_BYTES];
    struct progress *progress;
};

/* Under a node note of its boot in whose time it lies: a boot has one for every start of an engine. *last: which note
 * held before, and is tried first. */
static enum verdict verify_one(const struct work *w, struct span note, struct note *n, struct statement *s, int *last)
{
    const struct audit *a = w->a;
    if (!chain_open_receipt(&a->notes[*last]->s, note, n, s, NULL))
        return GOOD;
    struct span boot = statement_get(&w->node->s, "boot");
    for (int i = 0; i < a->note_count; i++)
        if (i != *last && a->notes[i]->s.type == STATEMENT_NODE &&
            span_same(statement_get(&a->notes[i]->s, "boot"), boot) &&
            !chain_open_receipt(&a->notes[i]->s, note, n, s, NULL)) {
            *last = i;
            return GOOD;
        }
    return BAD_NOTE;
}

static void verify_some(struct team *t, void *arg)
{
    struct work *w = arg;
    int last = w->node_at;
    struct note *n = MEM_NEW(struct note);
    struct statement s;
    int chunks = (w->count + GRAIN - 1) / GRAIN;
    for (int c = team_next(t, chunks); c >= 0; c = team_next(t, chunks)) {
        for (int i = c * GRAIN; i < w->count && i < (c + 1) * GRAIN; i++) {
            w->verdict[i] = verify_one(w, w->notes[i], n, &s, &last);
            code_sha256(w->hash[i], w->notes[i].data, w->notes[i].len);
        }
        if (t->rank == 0)
            progress_update(w->progress, (int64_t)w->a->r->receipts + (int64_t)c * GRAIN);
    }
    mem_free(n);
}

/* ---- decisions */

const char *audit_model_name(const struct audit *a, const struct receipt *r, char out[256])
{
    const struct audit_note *m = r->has_model ? audit_find(a, STATEMENT_MODEL, r->model) : NULL;
    if (!m)
        return NULL;
    struct span name = statement_get(&m->s, "name");
    snprintf(out, 256, "%.*s", (int)name.len, name.data);
    return out;
}

bool audit_tenant(const struct audit *a, const struct policy *p, const struct receipt *r, const char **out)
{
    char month[8];
    *out = NULL;
    if (!r->has_tenant)
        return true;
    pseudonym_month(r->started, month);
    for (int m = 0; m < a->month_count; m++) {
        if (strcmp(a->months[m].month, month))
            continue;
        for (int i = 0; policy_tenant(p, i); i++) {
            uint8_t tag[TENANT_TAG_BYTES];
            pseudonym_tag(a->months[m].key, month, policy_tenant(p, i), tag);
            if (!memcmp(tag, r->tenant, sizeof tag))
                *out = policy_tenant(p, i);
        }
        return true;
    }
    return false;
}

bool audit_is_gate_rule(const char *rule)
{
    return !strncmp(rule, "gate/", 5) || !strncmp(rule, "limit/", 6);
}

static void decide_again(struct audit *a, const struct receipt *r)
{
    char model[256];
    const char *tenant = NULL;
    const struct audit_note *pol = r->has_policy ? audit_find(a, STATEMENT_POLICY, r->policy) : NULL;
    struct policy_decision d;
    if (audit_is_gate_rule(r->rule)) {
        if (r->allow)
            audit_fail(a, "receipt %s/%" PRIu64 ": %s does not allow anything", r->boot, r->seq, r->rule);
        return;
    }
    if (!r->has_policy && !strcmp(r->rule, "builtin/no-policy") && r->allow) { /* the node notes say "policy -" too */
        audit_note(a, "receipt %s/%" PRIu64 ": the site ran without a policy: everything was allowed", r->boot, r->seq);
        return;
    }
    if (!pol || !pol->policy) {
        audit_fail(a, "receipt %s/%" PRIu64 " names a policy that is not in the bundle", r->boot, r->seq);
        return;
    }
    if (!audit_tenant(a, pol->policy, r, &tenant)) {
        a->r->unchecked++;
        return;
    }
    const struct policy_request q = { .tenant = tenant, .model = audit_model_name(a, r, model), .site = r->site,
                                      .data_class = r->data_class[0] ? r->data_class : NULL,
                                      .is_signed = r->has_reqsig, .is_sealed = r->sealed, .stores = r->stored };
    policy_decide(pol->policy, &q, &d);
    a->r->decided_again++;
    if (d.allow != r->allow || strcmp(d.rule, r->rule))
        audit_fail(a, "receipt %s/%" PRIu64 " says %s by %s; the policy says %s by %s", r->boot, r->seq,
                   r->allow ? "allow" : "deny", r->rule, d.allow ? "allow" : "deny", d.rule);
    if (strcmp(d.jurisdiction, r->jurisdiction) && d.jurisdiction[0])
        audit_fail(a, "receipt %s/%" PRIu64 ": site %s lies in %s, not %s", r->boot, r->seq, r->site, d.jurisdiction,
                   r->jurisdiction);
}

/* ---- the chain of one boot */

static bool names(const struct statement *node, const char *key, bool has, const uint8_t hash[HASH_BYTES])
{
    char text[HASH_TEXT_MAX] = "-";
    if (has)
        code_hash_text(text, hash);
    return span_is(statement_get(node, key), text);
}

/* A boot has a node note for each engine, each key, and whenever release or policy changed. The one that fitted the
 * receipt before is tried first. */
static bool fits_node(const struct statement *node, struct span boot, const struct receipt *r)
{
    return node->type == STATEMENT_NODE && span_same(statement_get(node, "boot"), boot) &&
           span_is(statement_get(node, "site"), r->site) &&
           span_is(statement_get(node, "jurisdiction"), r->jurisdiction) &&
           names(node, "release", r->has_release, r->release) && names(node, "policy", r->has_policy, r->policy) &&
           (!r->has_numerics || !r->allow || r->computed_count || names(node, "numerics", true, r->numerics));
}

static bool check_node(const struct audit *a, struct work *w, const struct receipt *r)
{
    struct span boot = statement_get(&w->node->s, "boot");
    if (fits_node(&a->notes[w->fitted]->s, boot, r))
        return true;
    for (int i = 0; i < a->note_count; i++)
        if (fits_node(&a->notes[i]->s, boot, r)) {
            w->fitted = i;
            return true;
        }
    return false;
}

static void check_names(struct audit *a, struct work *w, const struct receipt *r)
{
    if (!check_node(a, w, r))
        audit_fail(a, "receipt %s/%" PRIu64 " names a site, release, policy or arithmetic that no node note of its "
                   "boot names", r->boot, r->seq);
    if (r->has_model && !audit_find(a, STATEMENT_MODEL, r->model))
        audit_fail(a, "receipt %s/%" PRIu64 " names a model that was never signed", r->boot, r->seq);
    if (w->node->revoked && r->started > w->node->revoked_at)
        audit_fail(a, "receipt %s/%" PRIu64 " was made after its key was revoked", r->boot, r->seq);
    if (r->allow && !r->has_response)
        audit_fail(a, "receipt %s/%" PRIu64 " allows but commits to no response", r->boot, r->seq);
}

static void check_one(struct audit *a, struct work *w, int i, uint64_t *last_leaf)
{
    struct note *n = MEM_NEW(struct note);
    struct receipt r;
    struct leaf_slot *leaf = audit_leaf(a, w->hash[i]);
    struct span boot = statement_get(&w->node->s, "boot");
    if (!leaf || leaf->type != STATEMENT_RECEIPT) {
        audit_fail(a, "receipt %d of boot %.*s is not in the log", i, (int)boot.len, boot.data);
    } else {
        leaf->shown = true;
        if (i && leaf->index <= *last_leaf)
            audit_fail(a, "receipt %d of boot %.*s stands in the log before the one it follows", i, (int)boot.len,
                       boot.data);
        *last_leaf = leaf->index;
    }
    if (w->verdict[i] == BAD_NOTE || note_parse(w->notes[i], n, NULL) || receipt_parse(n->text, &r, NULL)) {
        audit_fail(a, "receipt %d of boot %.*s is not signed by its boot's key", i, (int)boot.len, boot.data);
    } else {
        if (r.seq != (uint64_t)i)
            audit_fail(a, "boot %.*s: receipt %d carries number %" PRIu64 ": one is missing", (int)boot.len, boot.data,
                       i, r.seq);
        if (r.has_prev != (i > 0) || (i && memcmp(r.prev, w->hash[i - 1], HASH_BYTES)))
            audit_fail(a, "boot %.*s: receipt %d does not follow from the one before", (int)boot.len, boot.data, i);
        check_names(a, w, &r);
        decide_again(a, &r);
        if (r.computed_count)
            audit_computed(a, &r);
        a->r->denials += !r.allow;
    }
    mem_free(n);
}

static int split_notes(struct span file, struct span **out)
{
    struct span rest = file, note;
    int n = 0, room = 0;
    *out = NULL;
    while (n < INT32_MAX / 2 && evidence_next(&rest, &note)) {
        if (n == room) {
            room = room ? 2 * room : 1024;
            *out = mem_grow(*out, (size_t)room, sizeof **out);
        }
        (*out)[n++] = note;
    }
    return rest.len ? -n - 1 : n; /* negative: something that is no receipt follows */
}

static void check_file(struct audit *a, struct audit_note *node, struct span file, struct pool *pool,
                       struct progress *progress)
{
    struct work w = { .a = a, .node = node, .progress = progress };
    struct span boot = statement_get(&node->s, "boot");
    uint64_t last_leaf = 0;
    while (a->notes[w.node_at] != node)
        w.node_at++;
    w.count = split_notes(file, &w.notes);
    if (w.count < 0) {
        audit_fail(a, "the receipts of boot %.*s are cut or damaged after %d", (int)boot.len, boot.data, -w.count - 1);
        w.count = -w.count - 1;
    }
    w.verdict = mem_new((size_t)w.count + 1, sizeof *w.verdict);
    w.hash = mem_new((size_t)w.count + 1, sizeof *w.hash);
    pool_run(pool, verify_some, &w);
    for (int i = 0; i < w.count; i++)
        check_one(a, &w, i, &last_leaf);
    node->has_file = true;
    node->receipts = (uint64_t)w.count;
    if (w.count) {
        node->last_seq = (uint64_t)w.count - 1;
        memcpy(node->last, w.hash[w.count - 1], HASH_BYTES);
    }
    a->r->receipts += (uint64_t)w.count;
    mem_free(w.notes);
    mem_free(w.verdict);
    mem_free(w.hash);
}

/* ---- boots against each other: nothing may vanish between two of them */

static struct audit_note *node_of(struct audit *a, struct span boot)
{
    for (int i = 0; i < a->note_count; i++)
        if (a->notes[i]->s.type == STATEMENT_NODE && span_same(statement_get(&a->notes[i]->s, "boot"), boot))
            return a->notes[i];
    return NULL;
}

static void check_boot_end(struct audit *a, const struct audit_note *boot, struct span seq_text, const char *who)
{
    uint64_t seq = 0;
    struct span name = statement_get(&boot->s, "boot");
    bool none = statement_absent(seq_text);
    code_uint(seq_text, &seq);
    if (none ? boot->receipts != 0 : !boot->receipts || boot->last_seq != seq)
        audit_fail(a, "boot %.*s has %" PRIu64 " receipts, but the %s says its last was %.*s: receipts are missing",
                   (int)name.len, name.data, boot->receipts, who, (int)seq_text.len, seq_text.data);
}

static void check_boots(struct audit *a)
{
    for (int i = 0; i < a->note_count; i++) {
        const struct statement *s = &a->notes[i]->s;
        if (s->type == STATEMENT_NODE) {
            struct span previous = statement_get(s, "previous-boot");
            struct audit_note *p = statement_absent(previous) ? NULL : node_of(a, previous);
            if (!statement_absent(previous) && !p)
                audit_fail(a, "boot %.*s, which a node note follows, is not in the bundle", (int)previous.len,
                           previous.data);
            else if (p)
                check_boot_end(a, p, statement_get(s, "previous-seq"), "next node note");
        } else if (s->type == STATEMENT_CLOSE) {
            struct audit_note *b = node_of(a, statement_get(s, "boot"));
            char last[HASH_TEXT_MAX] = "-";
            if (!b) {
                audit_fail(a, "a close note names a boot that is not in the bundle");
                continue;
            }
            if (b->receipts)
                code_hash_text(last, b->last);
            if (statement_uint(s, "last-seq") != b->last_seq || !span_is(statement_get(s, "last-receipt"), last))
                audit_fail(a, "a close note disagrees with the last receipt of its boot");
        }
    }
}

/* Leaves nobody can show a receipt or note for: suppressed, or not handed over. */
static void check_unshown(struct audit *a)
{
    for (size_t i = 0; i <= a->mask; i++)
        if (a->slots[i].count && !a->slots[i].shown)
            audit_fail(a, "leaf %" PRIu64 " of the log is a %s that the bundle does not show", a->slots[i].index,
                       statement_name((enum statement_type)a->slots[i].type));
}

static void open_and_check(struct audit *a, struct audit_note *node, const char *path, struct pool *pool,
                           struct progress *progress)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st = { 0 };
    if (fd < 0 || fstat(fd, &st)) {
        audit_fail(a, "%s cannot be read", path);
    } else {
        void *map = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
        if (map == MAP_FAILED)
            audit_fail(a, "%s cannot be mapped", path);
        else
            check_file(a, node, (struct span){ map ? map : "", (size_t)st.st_size }, pool, progress);
        if (map && map != MAP_FAILED)
            munmap(map, (size_t)st.st_size);
    }
    if (fd >= 0)
        close(fd);
}

enum err_code audit_receipts(struct audit *a, struct err *e)
{
    struct buf dir = { 0 };
    char **names = NULL;
    struct progress progress;
    struct pool *pool = pool_new(a->o->threads > 0 ? a->o->threads : pool_default_threads());
    buf_printf(&dir, "%s/receipts", a->o->bundle);
    int n = audit_names(buf_str(&dir), ".notes", &names);
    progress_start(&progress, "receipts", (int64_t)a->r->leaves);
    for (int i = 0; i < n; i++) {
        struct span boot = { names[i], strlen(names[i]) - 6 };
        struct audit_note *node = node_of(a, boot);
        struct buf path = { 0 };
        buf_printf(&path, "%s/%s", buf_str(&dir), names[i]);
        if (!node)
            audit_fail(a, "receipts/%.160s belongs to no node note", names[i]);
        else
            open_and_check(a, node, buf_str(&path), pool, &progress);
        buf_release(&path);
    }
    progress_end(&progress);
    check_boots(a);
    check_unshown(a);
    audit_names_free(names, n);
    buf_release(&dir);
    pool_free(pool);
    return ERR_OK;
}
