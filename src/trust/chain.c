/* chain -- see chain.h. */
#include "trust/chain.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *key;
    enum statement_type type;
} roles[] = { { "release", STATEMENT_RELEASE }, { "model", STATEMENT_MODEL }, { "policy", STATEMENT_POLICY },
              { "revoke", STATEMENT_REVOKE },   { "node", STATEMENT_NODE } };

static enum err_code read_roots(const struct statement *s, struct chain *c, struct err *e)
{
    struct span rest = statement_get(s, "roots"), item;
    uint64_t need = statement_uint(s, "threshold");
    while (statement_next(&rest, &item)) {
        if (c->root_count == CHAIN_ROOTS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d root keys", CHAIN_ROOTS_MAX);
        enum err_code code = key_public_parse(item, &c->roots[c->root_count++], e);
        if (code)
            return code;
    }
    if (need < 1 || need > (uint64_t)c->root_count)
        return err_set(e, ERR_INVALID, "the root note asks for %llu of %d root keys", (unsigned long long)need,
                       c->root_count);
    c->threshold = (int)need;
    return ERR_OK;
}

/* One key, one role; every role key of the note kind; a log that cannot be mistaken for a statement. */
static enum err_code check_roles(const struct chain *c, struct err *e)
{
    const struct key_public *all[CHAIN_ROOTS_MAX + MEM_COUNT(roles) + 1];
    int n = 0;
    for (int i = 0; i < c->root_count; i++)
        all[n++] = &c->roots[i];
    for (size_t i = 0; i < MEM_COUNT(roles); i++)
        all[n++] = &c->keys[roles[i].type];
    all[n++] = &c->log;
    for (int i = 0; i < n; i++) {
        if (all[i]->type != KEY_NOTE)
            return err_set(e, ERR_INVALID, "the key %s is a witness key", all[i]->name);
        for (int k = 0; k < i; k++)
            if (code_same(all[i]->key, all[k]->key, KEY_PUBLIC_BYTES))
                return err_set(e, ERR_INVALID, "one key, one role: %s and %s are the same key", all[i]->name,
                               all[k]->name);
    }
    if (!strncmp(c->log.name, "tokenworks/", 11))
        return err_set(e, ERR_INVALID, "a log must not be named tokenworks/...");
    return ERR_OK;
}

static enum err_code read_root(struct span bytes, struct note *n, struct chain *c, struct err *e)
{
    struct statement s;
    enum err_code code = note_parse(bytes, n, e);
    if (!code)
        code = statement_parse(n->text, &s, e);
    if (code)
        return code;
    if (s.type != STATEMENT_ROOT)
        return err_set(e, ERR_INVALID, "a %s statement, not a root note", statement_name(s.type));
    struct span site = statement_get(&s, "site");
    snprintf(c->site, sizeof c->site, "%.*s", (int)site.len, site.data);
    c->development = span_is(statement_get(&s, "purpose"), "development");
    c->seq = statement_uint(&s, "seq");
    c->created = statement_time(&s, "created");
    c->expires = statement_time(&s, "expires");
    code = read_roots(&s, c, e);
    for (size_t i = 0; !code && i < MEM_COUNT(roles); i++)
        code = key_public_parse(statement_get(&s, roles[i].key), &c->keys[roles[i].type], e);
    if (!code)
        code = key_public_parse(statement_get(&s, "log"), &c->log, e);
    return code ? code : check_roles(c, e);
}

/* A root note is signed by enough of the keys in `by`. Signatures that are there must be right. */
static enum err_code check_threshold(const struct note *n, const struct chain *by, struct err *e)
{
    int have = 0;
    for (int i = 0; i < by->root_count; i++) {
        if (!note_find(n, &by->roots[i]))
            continue;
        enum err_code c = note_verify(n, &by->roots[i], e);
        if (c)
            return c;
        have++;
    }
    return have >= by->threshold ? ERR_OK : err_set(e, ERR_DENIED, "the root note has %d of the %d signatures it needs",
                                                    have, by->threshold);
}

enum err_code chain_init(struct chain *c, struct span bytes, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct chain *fresh = MEM_NEW(struct chain);
    enum err_code code = read_root(bytes, n, fresh, e);
    if (!code)
        code = check_threshold(n, fresh, e);
    if (!code)
        *c = *fresh;
    mem_free(fresh);
    mem_free(n);
    return code;
}

enum err_code chain_rotate(struct chain *c, struct span bytes, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct chain *next = MEM_NEW(struct chain);
    enum err_code code = read_root(bytes, n, next, e);
    if (!code && strcmp(next->site, c->site))
        code = err_set(e, ERR_DENIED, "the root note is for another site, %s", next->site);
    if (!code && next->seq != c->seq + 1)
        code = err_set(e, ERR_DENIED, "the root note has number %llu, not %llu: a rollback, or one is missing",
                       (unsigned long long)next->seq, (unsigned long long)c->seq + 1);
    if (!code)
        code = check_threshold(n, c, e);
    if (!code)
        code = check_threshold(n, next, e);
    if (!code) {
        memcpy(next->seen, c->seen, sizeof next->seen);
        next->revoked_count = c->revoked_count;
        memcpy(next->revoked, c->revoked, sizeof next->revoked);
        *c = *next;
    }
    mem_free(next);
    mem_free(n);
    return code;
}

void chain_release(struct chain *c)
{
    for (int i = 0; i < c->revoked_count; i++)
        mem_free((char *)(uintptr_t)c->revoked[i].data);
    c->revoked_count = 0;
}

enum err_code chain_check_expiry(const struct chain *c, int64_t now_s, struct err *e)
{
    if (now_s < c->created - CHAIN_SKEW_S || now_s > c->expires)
        return err_set(e, ERR_DENIED, "the root note of %s is not valid at this time: get a newer one", c->site);
    return ERR_OK;
}

bool chain_is_revoked(const struct chain *c, struct span text)
{
    for (int i = 0; i < c->revoked_count; i++)
        if (span_same(c->revoked[i], text))
            return true;
    return false;
}

static const struct key_public *key_for(const struct chain *c, enum statement_type type)
{
    return &c->keys[type == STATEMENT_CLOSE ? STATEMENT_NODE : type];
}

static enum err_code check_time(const struct statement *s, int64_t now_s, struct err *e)
{
    int64_t from = INT64_MIN / 2, to = INT64_MAX / 2;
    if (s->type == STATEMENT_NODE) {
        from = statement_time(s, "not-before");
        to = statement_time(s, "not-after");
        if (to < from || to - from > NODE_LIFE_MAX_S)
            return err_set(e, ERR_DENIED, "the node note is made for longer than 24 hours");
    } else if (s->type == STATEMENT_REVOKE || s->type == STATEMENT_CLOSE) {
        from = statement_time(s, "at");
    } else {
        to = statement_time(s, "expires");
    }
    if (now_s < from - CHAIN_SKEW_S)
        return err_set(e, ERR_DENIED, "the %s note is from the future: check the clocks", statement_name(s->type));
    if (now_s > to)
        return err_set(e, ERR_DENIED, "the %s note has expired", statement_name(s->type));
    return ERR_OK;
}

static enum err_code check_revoked(const struct chain *c, const struct key_public *k, const struct statement *s,
                                   struct span bytes, struct err *e)
{
    uint8_t hash[HASH_BYTES];
    char text[HASH_TEXT_MAX], vkey[KEY_TEXT_MAX];
    code_sha256(hash, bytes.data, bytes.len);
    code_hash_text(text, hash);
    key_public_text(k, vkey);
    if (chain_is_revoked(c, span_of(text)) || chain_is_revoked(c, span_of(vkey)) ||
        (s->type == STATEMENT_NODE && chain_is_revoked(c, statement_get(s, "receipt-key"))))
        return err_set(e, ERR_DENIED, "the %s note, or its key, is revoked", statement_name(s->type));
    return ERR_OK;
}

enum err_code chain_open(struct chain *c, enum statement_type type, struct span bytes, int64_t now_s, struct note *n,
                         struct statement *out, struct err *e)
{
    struct statement s;
    const struct key_public *k = key_for(c, type);
    if (type == STATEMENT_ROOT || type == STATEMENT_RECEIPT)
        return err_set(e, ERR_INVALID, "a %s note is opened by its own function", statement_name(type));
    enum err_code code = note_parse(bytes, n, e);
    if (!code)
        code = note_verify(n, k, e);
    if (!code)
        code = statement_parse(n->text, &s, e);
    if (!code && s.type != type)
        code = err_set(e, ERR_DENIED, "a %s statement where a %s statement belongs", statement_name(s.type),
                       statement_name(type));
    if (!code)
        code = check_time(&s, now_s, e);
    if (!code)
        code = check_revoked(c, k, &s, bytes, e);
    bool numbered = type == STATEMENT_RELEASE || type == STATEMENT_POLICY;
    if (!code && numbered && statement_uint(&s, "seq") < c->seen[type])
        code = err_set(e, ERR_DENIED, "an older %s note (number %llu) than one seen before (%llu): a rollback",
                       statement_name(type), (unsigned long long)statement_uint(&s, "seq"),
                       (unsigned long long)c->seen[type]);
    if (code)
        return code;
    if (numbered)
        c->seen[type] = statement_uint(&s, "seq");
    *out = s;
    return ERR_OK;
}

enum err_code chain_revoke(struct chain *c, struct span bytes, int64_t now_s, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct statement s;
    enum err_code code = chain_open(c, STATEMENT_REVOKE, bytes, now_s, n, &s, e);
    if (!code && c->revoked_count == CHAIN_REVOKED_MAX)
        code = err_set(e, ERR_LIMIT, "more than %d revocations: make a new root", CHAIN_REVOKED_MAX);
    if (!code) {
        struct span target = statement_get(&s, "target");
        c->revoked[c->revoked_count++] = (struct span){ mem_strndup(target.data, target.len), target.len };
    }
    mem_free(n);
    return code;
}

enum err_code chain_open_receipt(const struct statement *node, struct span bytes, struct note *n,
                                 struct statement *out, struct err *e)
{
    struct key_public k;
    struct statement s;
    enum err_code c = key_public_parse(statement_get(node, "receipt-key"), &k, e);
    if (!c)
        c = note_parse(bytes, n, e);
    if (!c)
        c = note_verify(n, &k, e);
    if (!c)
        c = statement_parse(n->text, &s, e);
    if (c)
        return c;
    if (s.type != STATEMENT_RECEIPT)
        return err_set(e, ERR_DENIED, "a %s statement where a receipt belongs", statement_name(s.type));
    if (!span_same(statement_get(&s, "boot"), statement_get(node, "boot")))
        return err_set(e, ERR_DENIED, "the receipt is of another boot than its key");
    int64_t from = statement_time(node, "not-before"), to = statement_time(node, "not-after");
    if (statement_time(&s, "started") < from - CHAIN_SKEW_S || statement_time(&s, "started") > to ||
        statement_time(&s, "ended") < statement_time(&s, "started"))
        return err_set(e, ERR_DENIED, "the receipt's times lie outside its key's");
    *out = s;
    return ERR_OK;
}
