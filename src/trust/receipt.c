/* receipt -- see receipt.h. */
#include "trust/receipt.h"

#include "base/assert.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct commit), "a commit holds the hash's state");

enum { FIELDS = 26, WORD_MAX = 160 };

/* One value's text, in scratch unless it is a string of the receipt. */
struct words {
    int count;
    struct span value[FIELDS];
    char scratch[FIELDS][WORD_MAX];
};

static void put(struct words *w, const char *text)
{
    ASSERT(w->count < FIELDS);
    w->value[w->count++] = span_of(*text ? text : "-");
}

static void put_hex(struct words *w, bool has, const char *prefix, const uint8_t *data, size_t n)
{
    char *s = w->scratch[w->count];
    int at = snprintf(s, WORD_MAX, "%s", prefix);
    code_hex(s + at, data, n);
    put(w, has ? s : "-");
}

static void put_uint(struct words *w, bool has, uint64_t v)
{
    char *s = w->scratch[w->count];
    snprintf(s, WORD_MAX, "%" PRIu64, v);
    put(w, has ? s : "-");
}

static void put_time(struct words *w, int64_t v)
{
    char *s = w->scratch[w->count];
    code_time_text(s, v);
    put(w, s);
}

static void put_computed(struct words *w, const struct receipt *r, char scratch[COMPUTED_MAX * COMPUTED_TEXT_MAX])
{
    char *at = scratch;
    *at = '\0';
    ASSERT(r->computed_count <= COMPUTED_MAX);
    for (int i = 0; i < r->computed_count; i++) {
        if (i)
            *at++ = ',';
        computed_text(&r->computed[i], at);
        at += strlen(at);
    }
    put(w, scratch);
}

void receipt_class(struct span asked, char out[RECEIPT_NAME_MAX + 1])
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@-";
    bool ok = asked.len <= RECEIPT_NAME_MAX && !(asked.len == 1 && asked.data[0] == '-');
    for (size_t i = 0; ok && i < asked.len; i++)
        ok = asked.data[i] && strchr(allowed, asked.data[i]);
    snprintf(out, RECEIPT_NAME_MAX + 1, "%.*s", ok ? (int)asked.len : 13, ok ? asked.data : "no-such-class");
}

enum err_code receipt_text(const struct receipt *r, struct buf *out, struct err *e)
{
    struct words w = { 0 };
    char decision[RECEIPT_NAME_MAX + 16], parts[COMPUTED_MAX * COMPUTED_TEXT_MAX];
    snprintf(decision, sizeof decision, "%s rule=%s", r->allow ? "allow" : "deny", r->rule);
    put(&w, r->id);
    put(&w, r->boot);
    put_uint(&w, true, r->seq);
    put_hex(&w, r->has_prev, "sha256:", r->prev, HASH_BYTES);
    put_hex(&w, r->has_release, "sha256:", r->release, HASH_BYTES);
    put_hex(&w, r->has_model, "sha256:", r->model, HASH_BYTES);
    put_hex(&w, r->has_policy, "sha256:", r->policy, HASH_BYTES);
    put(&w, decision);
    put_hex(&w, r->has_tenant, "hmac:", r->tenant, TENANT_TAG_BYTES);
    put(&w, r->site);
    put(&w, r->jurisdiction);
    put(&w, r->data_class);
    put(&w, r->sealed ? "sealed" : "open");
    put(&w, r->stored ? "stored" : "none");
    put_hex(&w, r->has_numerics, "sha256:", r->numerics, HASH_BYTES);
    put_uint(&w, r->has_seed, r->seed);
    put(&w, r->sampling);
    put_hex(&w, true, "c1:", r->request, HASH_BYTES);
    put_hex(&w, r->has_response, "c1:", r->response, HASH_BYTES);
    put_hex(&w, r->has_reqsig, "sha256:", r->reqsig, HASH_BYTES);
    put_uint(&w, true, r->tokens_in);
    put_uint(&w, true, r->tokens_out);
    put(&w, r->finish);
    put_time(&w, r->started);
    put_time(&w, r->ended);
    put_computed(&w, r, parts);
    return statement_write(STATEMENT_RECEIPT, w.value, w.count, out, e);
}

/* ---- reading: the parser has checked every value's form, so these only copy */

static void get_text(const struct statement *s, const char *key, char *out, size_t room)
{
    struct span v = statement_get(s, key);
    if (statement_absent(v))
        v.len = 0;
    ASSERT(v.len < room);
    memcpy(out, v.data, v.len);
    out[v.len] = '\0';
}

static bool get_hex(const struct statement *s, const char *key, uint8_t *out, size_t n)
{
    struct span v = statement_get(s, key), left, right;
    return span_cut(v, ':', &left, &right) && code_unhex(out, n, right);
}

static bool get_uint(const struct statement *s, const char *key, uint64_t *out)
{
    return code_uint(statement_get(s, key), out);
}

static void get_computed(const struct statement *s, struct receipt *r)
{
    struct span rest = statement_get(s, "computed"), item;
    while (r->computed_count < COMPUTED_MAX && statement_next(&rest, &item))
        computed_parse(item, &r->computed[r->computed_count++]);
}

enum err_code receipt_parse(struct span text, struct receipt *out, struct err *e)
{
    struct statement s;
    struct receipt r = { 0 };
    struct span left, right;
    enum err_code c = statement_parse(text, &s, e);
    if (c)
        return c;
    if (s.type != STATEMENT_RECEIPT)
        return err_set(e, ERR_INVALID, "a %s statement, not a receipt", statement_name(s.type));
    struct span transport = statement_get(&s, "transport"), retention = statement_get(&s, "retention");
    if ((!span_is(transport, "sealed") && !span_is(transport, "open")) ||
        (!span_is(retention, "stored") && !span_is(retention, "none")))
        return err_set(e, ERR_CORRUPT, "the receipt's transport is sealed or open, its retention stored or none");
    get_text(&s, "id", r.id, sizeof r.id);
    get_text(&s, "boot", r.boot, sizeof r.boot);
    get_uint(&s, "seq", &r.seq);
    r.has_prev = get_hex(&s, "prev", r.prev, HASH_BYTES);
    r.has_release = get_hex(&s, "release", r.release, HASH_BYTES);
    r.has_model = get_hex(&s, "model", r.model, HASH_BYTES);
    r.has_policy = get_hex(&s, "policy", r.policy, HASH_BYTES);
    if (span_cut(statement_get(&s, "decision"), '=', &left, &right)) {
        r.allow = left.data[0] == 'a';
        memcpy(r.rule, right.data, right.len < sizeof r.rule ? right.len : sizeof r.rule - 1);
    }
    r.has_tenant = get_hex(&s, "tenant", r.tenant, TENANT_TAG_BYTES);
    get_text(&s, "site", r.site, sizeof r.site);
    get_text(&s, "jurisdiction", r.jurisdiction, sizeof r.jurisdiction);
    get_text(&s, "data-class", r.data_class, sizeof r.data_class);
    r.sealed = span_is(transport, "sealed");
    r.stored = span_is(retention, "stored");
    r.has_numerics = get_hex(&s, "numerics", r.numerics, HASH_BYTES);
    r.has_seed = get_uint(&s, "seed", &r.seed);
    get_text(&s, "sampling", r.sampling, sizeof r.sampling);
    get_hex(&s, "request", r.request, HASH_BYTES);
    r.has_response = get_hex(&s, "response", r.response, HASH_BYTES);
    r.has_reqsig = get_hex(&s, "reqsig", r.reqsig, HASH_BYTES);
    get_uint(&s, "tokens-in", &r.tokens_in);
    get_uint(&s, "tokens-out", &r.tokens_out);
    get_text(&s, "finish", r.finish, sizeof r.finish);
    r.started = statement_time(&s, "started");
    r.ended = statement_time(&s, "ended");
    get_computed(&s, &r);
    *out = r;
    return ERR_OK;
}

/* ---- commitments and pseudonyms */

void commit_begin(struct commit *c, enum commit_role role, const uint8_t salt[COMMIT_SALT_BYTES])
{
    static const char domain[] = "tokenworks/commit/v1"; /* hashed with its NUL */
    const char *name = role == COMMIT_REQUEST ? "request" : "response";
    crypto_hash_sha256_state *s = (crypto_hash_sha256_state *)c->state;
    crypto_hash_sha256_init(s);
    crypto_hash_sha256_update(s, (const uint8_t *)domain, sizeof domain);
    crypto_hash_sha256_update(s, (const uint8_t *)name, strlen(name));
    crypto_hash_sha256_update(s, salt, COMMIT_SALT_BYTES);
}

void commit_add(struct commit *c, const void *data, size_t n)
{
    crypto_hash_sha256_update((crypto_hash_sha256_state *)c->state, data, n);
}

void commit_end(struct commit *c, uint8_t out[HASH_BYTES])
{
    crypto_hash_sha256_final((crypto_hash_sha256_state *)c->state, out);
    sodium_memzero(c, sizeof *c);
}

void pseudonym_month(int64_t unix_s, char out[8])
{
    char text[TIME_TEXT_MAX];
    code_time_text(text, unix_s);
    snprintf(out, 8, "%.7s", text);
}

void pseudonym_tag(const uint8_t key[PSEUDONYM_KEY_BYTES], const char *month, const char *tenant,
                   uint8_t out[TENANT_TAG_BYTES])
{
    static const char domain[] = "tokenworks/tenant/v1"; /* with its NUL */
    uint8_t full[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state s;
    crypto_auth_hmacsha256_init(&s, key, PSEUDONYM_KEY_BYTES);
    crypto_auth_hmacsha256_update(&s, (const uint8_t *)domain, sizeof domain);
    crypto_auth_hmacsha256_update(&s, (const uint8_t *)month, strlen(month) + 1);
    crypto_auth_hmacsha256_update(&s, (const uint8_t *)tenant, strlen(tenant));
    crypto_auth_hmacsha256_final(&s, full);
    memcpy(out, full, TENANT_TAG_BYTES);
    sodium_memzero(full, sizeof full);
}
