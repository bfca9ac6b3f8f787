/* oidc -- see oidc.h. */
#include "front/oidc.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/client.h"
#include "net/digest.h"
#include "trust/jwt.h"

#include <pthread.h>
#include <string.h>

enum {
    REFRESH_S = 600, ASKED_S = 60,     /* every so often; when a token names an unknown key, at most so often */
    FETCH_MS = 5000, LEEWAY_S = 30, CACHE = 256, MODELS_MAX = 512,
};

/* A token that was verified: not again until it ends or the keys change. */
struct known {
    uint8_t digest[DIGEST_BYTES];
    int64_t until_s;                   /* 0: the entry is free */
    char tenant[LEDGER_NAME_MAX + 1], team[LEDGER_NAME_MAX + 1], name[LEDGER_NAME_MAX + 1], models[MODELS_MAX + 1];
    enum ledger_role role;
};

struct oidc {
    struct oidc_options o;             /* its strings are owned */
    struct jwks *keys;                 /* the loop's */
    struct known cache[CACHE];
    int next;
    struct ledger_key key;             /* what oidc_key returns */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;              /* guards the fields below */
    pthread_cond_t changed;
    struct jwks *fresh;                /* fetched, not yet taken */
    bool asked, stop;
    int64_t fetched_s;
};

/* ---- the issuer's keys */

static bool is_url(const char *s)
{
    return !strncmp(s, "https://", 8) || !strncmp(s, "http://", 7);
}

static bool on_this_machine(const char *url)
{
    static const char *const hosts[] = { "http://127.0.0.1", "http://localhost", "http://[::1]" };
    for (size_t i = 0; i < MEM_COUNT(hosts); i++) {
        size_t n = strlen(hosts[i]);
        if (!strncmp(url, hosts[i], n) && (url[n] == ':' || url[n] == '/' || !url[n]))
            return true;
    }
    return false;
}

static enum err_code fetch_url(const char *url, struct buf *out, struct err *e)
{
    struct http_client *client = http_client_new();
    struct http_client_reply reply = { 0 };
    struct http_client_request r = { .url = url, .connect_ms = FETCH_MS, .total_ms = FETCH_MS,
                                     .reply_max = JWKS_BYTES_MAX };
    enum err_code c = http_client_run(client, &r, &reply, e);
    if (!c && reply.status != 200)
        c = err_set(e, ERR_IO, "it answered %d", reply.status);
    if (!c)
        buf_append(out, reply.body.data, reply.body.len);
    http_client_reply_release(&reply);
    http_client_free(client);
    return c;
}

static enum err_code fetch(const char *from, struct jwks **out, struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = is_url(from) ? fetch_url(from, &b, e) : file_read(from, JWKS_BYTES_MAX, &b, e);
    if (!c)
        c = jwks_parse(buf_str(&b), b.len, out, e);
    buf_release(&b);
    return c ? err_prefix(e, "the issuer's keys (%s)", from) : ERR_OK;
}

/* Waits until keys are due. false: the end. Called with the lock held. */
static bool wait_until_due(struct oidc *o)
{
    while (!o->stop) {
        int64_t now = clock_wall_s(), due = o->fetched_s + (o->asked ? ASKED_S : REFRESH_S);
        if (now >= due)
            return true;
        struct timespec until = { .tv_sec = (time_t)due };
        pthread_cond_timedwait(&o->changed, &o->lock, &until);
    }
    return false;
}

static void *fetch_keys(void *arg)
{
    struct oidc *o = arg;
    pthread_mutex_lock(&o->lock);
    while (wait_until_due(o)) {
        struct jwks *keys = NULL;
        struct err e;
        pthread_mutex_unlock(&o->lock);
        if (fetch(o->o.jwks, &keys, &e))
            log_line(LOG_WARN, "front", "%s; those that are known stay", e.text);
        pthread_mutex_lock(&o->lock);
        if (keys) {
            jwks_free(o->fresh);
            o->fresh = keys;
        }
        o->fetched_s = clock_wall_s();
        o->asked = false;
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

static void take_fresh(struct oidc *o)
{
    pthread_mutex_lock(&o->lock);
    struct jwks *fresh = o->fresh;
    o->fresh = NULL;
    pthread_mutex_unlock(&o->lock);
    if (!fresh)
        return;
    jwks_free(o->keys);
    o->keys = fresh;
    memset(o->cache, 0, sizeof o->cache); /* a key that was withdrawn opens nothing any more */
}

static void ask_for_keys(struct oidc *o)
{
    pthread_mutex_lock(&o->lock);
    o->asked = true;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->lock);
}

/* ---- life */

static const char *copy(const char *s, const char *fallback)
{
    return s ? mem_strdup(s) : fallback ? mem_strdup(fallback) : NULL;
}

static enum err_code check(const struct oidc_options *o, struct err *e)
{
    if (!o->issuer || !o->audience || !o->jwks)
        return err_set(e, ERR_INVALID, "oidc needs issuer, audience and jwks");
    if (!strncmp(o->jwks, "http://", 7) && !on_this_machine(o->jwks))
        return err_set(e, ERR_INVALID, "oidc: %s: keys must come by https", o->jwks);
    return ERR_OK;
}

struct oidc *oidc_new(const struct oidc_options *p, struct err *e)
{
    if (check(p, e))
        return NULL;
    struct jwks *keys = NULL;
    if (!is_url(p->jwks) && fetch(p->jwks, &keys, e))
        return NULL;
    struct oidc *o = MEM_NEW(struct oidc);
    o->keys = keys;
    o->fetched_s = keys ? clock_wall_s() : 0;
    o->o = (struct oidc_options){
        .issuer = copy(p->issuer, NULL), .audience = copy(p->audience, NULL), .jwks = copy(p->jwks, NULL),
        .tenant_claim = copy(p->tenant_claim, "tenant"), .tenant = copy(p->tenant, NULL),
        .team_claim = copy(p->team_claim, "team"), .roles_claim = copy(p->roles_claim, "roles"),
        .scopes_claim = copy(p->scopes_claim, "scope"), .scope = copy(p->scope, NULL),
        .admin_role = copy(p->admin_role, "tokenworks-admin"),
        .auditor_role = copy(p->auditor_role, "tokenworks-auditor"),
    };
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, NULL);
    o->running = !pthread_create(&o->thread, NULL, fetch_keys, o);
    if (!o->running) {
        err_set(e, ERR_IO, "oidc: no thread can be started");
        oidc_free(o);
        return NULL;
    }
    return o;
}

void oidc_free(struct oidc *o)
{
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->stop = true;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->lock);
    if (o->running)
        pthread_join(o->thread, NULL);
    pthread_mutex_destroy(&o->lock);
    pthread_cond_destroy(&o->changed);
    const char *strings[] = { o->o.issuer, o->o.audience, o->o.jwks, o->o.tenant_claim, o->o.tenant, o->o.team_claim,
                              o->o.roles_claim, o->o.scopes_claim, o->o.scope, o->o.admin_role, o->o.auditor_role };
    for (size_t i = 0; i < MEM_COUNT(strings); i++)
        mem_free((char *)(uintptr_t)strings[i]); /* copies of our own */
    jwks_free(o->keys);
    jwks_free(o->fresh);
    mem_free(o);
}

int oidc_keys(const struct oidc *o)
{
    return o ? jwks_count(o->keys) : 0;
}

/* ---- what a token says */

/* The claim of that name; a dot goes into an object, unless a claim has it in its name. */
static const json_t *claim(const json_t *claims, const char *path)
{
    const json_t *v = json_object_get(claims, path);
    for (const char *p = path; !v && p;) {
        const char *dot = strchr(p, '.');
        char part[128] = "";
        size_t n = dot ? (size_t)(dot - p) : strlen(p);
        if (n >= sizeof part)
            return NULL;
        memcpy(part, p, n);
        claims = json_object_get(claims, part);
        p = dot ? dot + 1 : NULL;
        if (!p)
            return claims;
    }
    return v;
}

/* The next word of a claim that is a list of texts or one text of words; *at counts where we are. */
static bool next_word(const json_t *v, size_t *at, char *out, size_t size)
{
    const char *word = NULL;
    size_t n = 0;
    if (json_is_array(v)) {
        word = json_string_value(json_array_get(v, (*at)++));
        n = word ? strlen(word) : 0;
        if (!word && *at <= json_array_size(v))
            word = ""; /* no text: passed over */
    } else if (json_is_string(v)) {
        const char *all = json_string_value(v);
        *at += strspn(all + *at, " ");
        n = strcspn(all + *at, " ");
        word = n ? all + *at : NULL;
        *at += n;
    }
    if (!word)
        return false;
    n = n < size ? n : 0; /* longer than any of ours */
    memcpy(out, word, n);
    out[n] = '\0';
    return true;
}

static bool has_word(const json_t *v, const char *want)
{
    char word[LEDGER_NAME_MAX + 1];
    for (size_t at = 0; next_word(v, &at, word, sizeof word);)
        if (!strcmp(word, want))
            return true;
    return false;
}

/* The models that scopes name, with blanks between. false: more than fit. */
static bool read_models(const json_t *v, char out[MODELS_MAX + 1])
{
    char word[LEDGER_NAME_MAX + 8];
    size_t n = 0;
    out[0] = '\0';
    for (size_t at = 0; next_word(v, &at, word, sizeof word);) {
        size_t len = strlen(word);
        if (strncmp(word, "model:", 6))
            continue;
        if (n + len > MODELS_MAX)
            return false;
        n += (size_t)snprintf(out + n, MODELS_MAX + 1 - n, "%s%s", n ? " " : "", word + 6);
    }
    return true;
}

static bool copy_name(const json_t *v, const char *fallback, char out[LEDGER_NAME_MAX + 1])
{
    const char *s = json_is_string(v) ? json_string_value(v) : fallback;
    if (!s || strlen(s) > LEDGER_NAME_MAX)
        return false;
    memcpy(out, s, strlen(s) + 1);
    return true;
}

/* false: it names nobody, or lacks the scope that is asked for. */
static bool read_claims(const struct oidc_options *o, const json_t *claims, struct known *out)
{
    const json_t *roles = claim(claims, o->roles_claim), *scopes = claim(claims, o->scopes_claim);
    const json_t *exp = json_object_get(claims, "exp");
    double until = json_number_value(exp);
    if (!copy_name(claim(claims, o->tenant_claim), o->tenant, out->tenant) ||
        !copy_name(claim(claims, o->team_claim), "", out->team) ||
        !copy_name(json_object_get(claims, "sub"), "", out->name) || !read_models(scopes, out->models) ||
        (o->scope && !has_word(scopes, o->scope)))
        return false;
    out->role = has_word(roles, o->admin_role) ? LEDGER_ADMIN : has_word(roles, o->auditor_role) ? LEDGER_AUDITOR :
                LEDGER_USER;
    out->until_s = until < 1e15 ? (int64_t)until + LEEWAY_S : INT64_MAX;
    return true;
}

static struct known *verify(struct oidc *o, struct http_slice shown, const uint8_t digest[DIGEST_BYTES], int64_t now_s)
{
    struct jwt_rules rules = { o->o.issuer, o->o.audience, now_s, LEEWAY_S };
    json_t *claims = NULL;
    enum jwt_verdict v = jwt_verify(o->keys, shown.p, shown.n, &rules, &claims);
    if (v == JWT_UNKNOWN_KEY)
        ask_for_keys(o);
    if (v != JWT_OK) {
        log_line(LOG_DEBUG, "front", "a token was refused: %s", jwt_sentence(v));
        return NULL;
    }
    struct known *k = &o->cache[o->next];
    *k = (struct known){ .until_s = 0 };
    bool ok = read_claims(&o->o, claims, k);
    json_decref(claims);
    if (!ok) {
        *k = (struct known){ .until_s = 0 };
        return NULL;
    }
    memcpy(k->digest, digest, DIGEST_BYTES);
    o->next = (o->next + 1) % CACHE;
    return k;
}

const struct ledger_key *oidc_key(struct oidc *o, const struct ledger *l, struct http_slice shown, int64_t now_s)
{
    if (!o || !shown.n || !jwt_looks_like(shown.p, shown.n))
        return NULL;
    take_fresh(o);
    uint8_t digest[DIGEST_BYTES];
    digest_sha256(shown.p, shown.n, digest);
    struct known *k = NULL;
    for (int i = 0; i < CACHE && !k; i++)
        if (o->cache[i].until_s > now_s && digest_equal(digest, o->cache[i].digest))
            k = &o->cache[i];
    k = k ? k : verify(o, shown, digest, now_s);
    if (!k || !ledger_principal(l, k->tenant, k->team, &o->key))
        return NULL;
    o->key.name = k->name;
    o->key.models = k->models;
    o->key.role = k->role;
    return &o->key;
}
