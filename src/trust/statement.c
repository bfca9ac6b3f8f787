/* statement -- see statement.h: the table of types, keys and kinds, and the parser that reads it. */
#include "trust/statement.h"

#include "base/assert.h"
#include "base/mem.h"
#include "trust/computed.h"

#include <stdio.h>
#include <string.h>

enum kind { NAME, TEXT, UINT, TIME, HASH, HASHES, PAIRS, COMMIT, TAG, COUNTRY, VKEY, VKEYS, DECISION, BASE64, TARGET,
    PARTS };

struct field {
    const char *key;
    enum kind kind;
    bool optional; /* may be "-" */
    bool later;    /* its line came later, after all others: where it does not apply it is missing */
};

struct type {
    const char *name;
    struct field fields[STATEMENT_FIELDS_MAX]; /* ends with a zero row when shorter */
};

static const struct type types[STATEMENT_TYPES] = {
    [STATEMENT_ROOT] = { "root", {
        { "site", NAME }, { "purpose", NAME }, { "seq", UINT }, { "roots", VKEYS }, { "threshold", UINT },
        { "release", VKEY }, { "model", VKEY }, { "policy", VKEY }, { "revoke", VKEY }, { "log", VKEY },
        { "node", VKEY }, { "created", TIME }, { "expires", TIME } } },
    [STATEMENT_RELEASE] = { "release", {
        { "version", NAME }, { "seq", UINT }, { "artifacts", PAIRS }, { "commit", NAME, true }, { "expires", TIME } } },
    [STATEMENT_MODEL] = { "model", {
        { "name", NAME }, { "seq", UINT }, { "root", HASH }, { "files", PAIRS }, { "bundle", HASH, true },
        { "expires", TIME } } },
    [STATEMENT_POLICY] = { "policy", { { "seq", UINT }, { "file", HASH }, { "expires", TIME } } },
    [STATEMENT_NODE] = { "node", {
        { "name", NAME }, { "boot", NAME }, { "epoch", UINT }, { "previous-boot", NAME, true },
        { "previous-seq", UINT, true }, { "site", NAME }, { "jurisdiction", COUNTRY }, { "release", HASH, true },
        { "policy", HASH, true }, { "models", HASHES, true }, { "numerics", HASH, true }, { "ohttp-key", BASE64, true },
        { "receipt-key", VKEY }, { "sandbox", HASH, true }, { "evidence", NAME }, { "not-before", TIME },
        { "not-after", TIME } } },
    [STATEMENT_REVOKE] = { "revoke", { { "seq", UINT }, { "target", TARGET }, { "reason", TEXT }, { "at", TIME } } },
    [STATEMENT_CLOSE] = { "close", {
        { "boot", NAME }, { "last-seq", UINT }, { "last-receipt", HASH, true }, { "at", TIME } } },
    [STATEMENT_RECEIPT] = { "receipt", {
        { "id", NAME }, { "boot", NAME }, { "seq", UINT }, { "prev", HASH, true }, { "release", HASH, true },
        { "model", HASH, true }, { "policy", HASH, true }, { "decision", DECISION }, { "tenant", TAG, true },
        { "site", NAME }, { "jurisdiction", COUNTRY }, { "data-class", NAME, true },
        { "transport", NAME }, { "retention", NAME }, { "numerics", HASH, true },
        { "seed", UINT, true }, { "sampling", TEXT, true }, { "request", COMMIT }, { "response", COMMIT, true },
        { "reqsig", HASH, true }, { "tokens-in", UINT }, { "tokens-out", UINT }, { "finish", NAME },
        { "started", TIME }, { "ended", TIME }, { "computed", PARTS, .later = true } } },
};

/* ---- what a value may look like */

static bool is_name(struct span v)
{
    if (!v.len || v.len > 128)
        return false;
    for (size_t i = 0; i < v.len; i++) {
        char c = v.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._:/@-", c)) || !c)
            return false;
    }
    return true;
}

static bool is_text(struct span v)
{
    if (!v.len || v.len > 512 || v.data[0] == ' ' || v.data[v.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < v.len; i++)
        if (v.data[i] < 0x20 || v.data[i] > 0x7e)
            return false;
    return true;
}

static bool is_hash(struct span v)
{
    uint8_t h[HASH_BYTES];
    return code_unhash_text(h, v);
}

static bool has_prefix(struct span v, const char *prefix, struct span *rest)
{
    size_t n = strlen(prefix);
    if (v.len < n || memcmp(v.data, prefix, n))
        return false;
    *rest = (struct span){ v.data + n, v.len - n };
    return true;
}

static bool is_hex_after(struct span v, const char *prefix, size_t bytes)
{
    uint8_t raw[HASH_BYTES];
    struct span rest;
    return has_prefix(v, prefix, &rest) && code_unhex(raw, bytes, rest);
}

static bool is_pair(struct span v)
{
    struct span name, hash;
    return span_cut(v, '=', &name, &hash) && is_name(name) && is_hash(hash);
}

static bool is_vkey(struct span v)
{
    struct key_public k;
    return !key_public_parse(v, &k, NULL);
}

static bool is_decision(struct span v)
{
    struct span rest;
    return (has_prefix(v, "allow rule=", &rest) || has_prefix(v, "deny rule=", &rest)) && is_name(rest);
}

static bool is_part(struct span v)
{
    struct computed c;
    return computed_parse(v, &c);
}

static bool is_base64(struct span v)
{
    uint8_t raw[1024];
    size_t n = sizeof raw;
    return v.len <= 1024 && v.len && code_unbase64(raw, &n, v);
}

static bool is_list(struct span v, int most, bool (*item_ok)(struct span))
{
    struct span rest = v, item;
    int n = 0;
    if (!v.len || v.data[v.len - 1] == ',')
        return false;
    while (statement_next(&rest, &item))
        if (++n > most || !item_ok(item))
            return false;
    return n > 0;
}

static bool value_ok(const struct field *f, struct span v)
{
    uint64_t number;
    int64_t when;
    if (f->optional && statement_absent(v))
        return true;
    switch (f->kind) {
    case NAME: return is_name(v) && !statement_absent(v);
    case TEXT: return is_text(v) && !statement_absent(v);
    case UINT: return code_uint(v, &number);
    case TIME: return code_untime_text(&when, v);
    case HASH: return is_hash(v);
    case HASHES: return is_list(v, STATEMENT_LIST_MAX, is_hash);
    case PAIRS: return is_list(v, STATEMENT_LIST_MAX, is_pair);
    case COMMIT: return is_hex_after(v, "c1:", HASH_BYTES);
    case TAG: return is_hex_after(v, "hmac:", 16);
    case COUNTRY:
        return v.len == 2 && v.data[0] >= 'A' && v.data[0] <= 'Z' && v.data[1] >= 'A' && v.data[1] <= 'Z';
    case VKEY: return is_vkey(v);
    case VKEYS: return is_list(v, STATEMENT_LIST_MAX, is_vkey);
    case DECISION: return is_decision(v);
    case BASE64: return is_base64(v);
    case TARGET: return is_hash(v) || is_vkey(v);
    case PARTS: return is_list(v, COMPUTED_MAX, is_part);
    }
    return false;
}

/* ---- the public functions */

const char *statement_name(enum statement_type type)
{
    return types[type].name;
}

bool statement_type_of(struct span name, enum statement_type *out)
{
    for (int i = 0; i < STATEMENT_TYPES; i++)
        if (span_is(name, types[i].name)) {
            *out = (enum statement_type)i;
            return true;
        }
    return false;
}

int statement_count(enum statement_type type)
{
    int n = 0;
    while (n < STATEMENT_FIELDS_MAX && types[type].fields[n].key)
        n++;
    return n;
}

const char *statement_key(enum statement_type type, int index)
{
    ASSERT(index >= 0 && index < statement_count(type));
    return types[type].fields[index].key;
}

/* "<prefix><type>/v1" */
static bool parse_magic(struct span line, const char *prefix, enum statement_type *type)
{
    struct span rest, name, version;
    return has_prefix(line, prefix, &rest) && span_cut(rest, '/', &name, &version) && span_is(version, "v1") &&
           statement_type_of(name, type);
}

enum err_code statement_parse(struct span text, struct statement *out, struct err *e)
{
    struct span rest = text, line;
    struct statement s = { 0 };
    if (!span_line(&rest, &line) || !parse_magic(line, "tokenworks/", &s.type))
        return err_set(e, ERR_CORRUPT, "not a statement: the first line reads tokenworks/TYPE/v1");
    const struct type *t = &types[s.type];
    s.count = statement_count(s.type);
    for (int i = 0; i < s.count; i++) {
        struct span key;
        if (t->fields[i].later && !rest.len) {
            s.value[i] = SPAN("-");
            continue;
        }
        if (!span_line(&rest, &line) || line.len > STATEMENT_VALUE_MAX || !span_cut(line, ' ', &key, &s.value[i]) ||
            !span_is(key, t->fields[i].key))
            return err_set(e, ERR_CORRUPT, "the %s statement needs '%s' in line %d", t->name, t->fields[i].key, i + 2);
        if (!value_ok(&t->fields[i], s.value[i]))
            return err_set(e, ERR_CORRUPT, "the %s statement has a malformed value for '%s'", t->name,
                           t->fields[i].key);
    }
    if (rest.len)
        return err_set(e, ERR_CORRUPT, "the %s statement has more lines than it should", t->name);
    *out = s;
    return ERR_OK;
}

enum err_code statement_write(enum statement_type type, const struct span *values, int count, struct buf *out,
                              struct err *e)
{
    struct statement again;
    size_t start = out->len;
    ASSERT(count == statement_count(type));
    buf_printf(out, "tokenworks/%s/v1\n", types[type].name);
    for (int i = 0; i < count; i++) {
        if (types[type].fields[i].later && statement_absent(values[i]))
            continue;
        buf_printf(out, "%s ", types[type].fields[i].key);
        buf_append(out, values[i].data, values[i].len);
        buf_putc(out, '\n');
    }
    enum err_code c = statement_parse((struct span){ out->data + start, out->len - start }, &again, e);
    for (int i = 0; !c && i < count; i++) /* a LF inside a value would shift the lines */
        if (!span_same(again.value[i], values[i]))
            c = err_set(e, ERR_INVALID, "the value of '%s' cannot be written in a line", types[type].fields[i].key);
    if (c && out->data) {
        out->len = start;
        out->data[start] = '\0';
    }
    return c;
}

struct span statement_get(const struct statement *s, const char *key)
{
    for (int i = 0; i < s->count; i++)
        if (!strcmp(types[s->type].fields[i].key, key))
            return s->value[i];
    ASSERT(!"the statement has this key");
    return (struct span){ 0 };
}

uint64_t statement_uint(const struct statement *s, const char *key)
{
    uint64_t v = 0;
    code_uint(statement_get(s, key), &v);
    return v;
}

int64_t statement_time(const struct statement *s, const char *key)
{
    int64_t v = 0;
    code_untime_text(&v, statement_get(s, key));
    return v;
}

bool statement_absent(struct span value)
{
    return span_is(value, "-");
}

bool statement_next(struct span *rest, struct span *item)
{
    struct span right;
    if (!rest->len || statement_absent(*rest))
        return false;
    if (span_cut(*rest, ',', item, &right)) {
        *rest = right;
    } else {
        *item = *rest;
        *rest = (struct span){ 0 };
    }
    return true;
}

struct span statement_leaf(enum statement_type type, struct span note, char out[STATEMENT_LEAF_MAX])
{
    uint8_t hash[HASH_BYTES];
    char text[HASH_TEXT_MAX];
    code_sha256(hash, note.data, note.len);
    code_hash_text(text, hash);
    int n = snprintf(out, STATEMENT_LEAF_MAX, "tokenworks/leaf/%s/v1 %s", types[type].name, text);
    return (struct span){ out, (size_t)n };
}

bool statement_leaf_parse(struct span leaf, enum statement_type *type, uint8_t hash[HASH_BYTES])
{
    struct span magic, value;
    return span_cut(leaf, ' ', &magic, &value) && parse_magic(magic, "tokenworks/leaf/", type) &&
           code_unhash_text(hash, value);
}
