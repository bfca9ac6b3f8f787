/* gate -- see gate.h. */
#include "trust/gate.h"

#include "trust/hpke.h"

#include <stdio.h>
#include <string.h>

void gate_init(struct gate *g, const char *node, gate_find_key find_key, void *ctx)
{
    *g = (struct gate){ .find_key = find_key, .ctx = ctx };
    snprintf(g->node, sizeof g->node, "%s", node);
    /* Twice the life of a request: what is forgotten can no longer be in time. */
    g->encs = seen_new(GATE_SEEN_MAX, 2 * (HTTPSIG_LIFE_MAX_S + GATE_SKEW_S));
    g->nonces = seen_new(GATE_SEEN_MAX, 2 * (HTTPSIG_LIFE_MAX_S + GATE_SKEW_S));
}

void gate_release(struct gate *g)
{
    seen_free(g->encs);
    seen_free(g->nonces);
    *g = (struct gate){ 0 };
}

static enum err_code copy_field(const struct bhttp_message *m, const char *name, char out[GATE_NAME_MAX + 1],
                                struct err *e)
{
    struct span v = { 0 };
    bool twice;
    out[0] = '\0';
    if (!bhttp_field_get(m, name, &v, &twice))
        return ERR_OK;
    if (twice || v.len > GATE_NAME_MAX)
        return err_set(e, ERR_INVALID, "the field %s is there twice or too long", name);
    memcpy(out, v.data, v.len);
    out[v.len] = '\0';
    return ERR_OK;
}

static enum err_code check_date(const struct bhttp_message *m, int64_t now_s, struct err *e)
{
    struct span v = { 0 };
    int64_t t = 0;
    bool twice;
    if (!bhttp_field_get(m, "date", &v, &twice) || twice || !httpsig_date(v, &t))
        return err_set(e, ERR_INVALID, "the request needs one Date field");
    if (t < now_s - HTTPSIG_LIFE_MAX_S - GATE_SKEW_S || t > now_s + GATE_SKEW_S)
        return err_set(e, ERR_DENIED, "the request's Date is outside the window: check the clocks");
    return ERR_OK;
}

static enum err_code check_times(const struct httpsig *s, int64_t now_s, struct err *e)
{
    if (s->expires < s->created || s->expires - s->created > HTTPSIG_LIFE_MAX_S)
        return err_set(e, ERR_INVALID, "a signature lives at most %d seconds", HTTPSIG_LIFE_MAX_S);
    if (s->created > now_s + GATE_SKEW_S || now_s > s->expires + GATE_SKEW_S)
        return err_set(e, ERR_DENIED, "the signature is from the future or has expired: check the clocks");
    return ERR_OK;
}

static enum err_code check_node(const struct gate *g, const struct bhttp_message *m, struct err *e)
{
    struct span v = { 0 };
    bool twice;
    if (!bhttp_field_get(m, "tw-node", &v, &twice) || twice || !v.len ||
        (!span_is(v, g->node) && !(g->previous_node[0] && span_is(v, g->previous_node))))
        return err_set(e, ERR_DENIED, "the request is for another node or an earlier boot");
    return ERR_OK;
}

static enum err_code check_body(const struct bhttp_message *m, struct err *e)
{
    struct span v = { 0 };
    bool twice;
    if (!bhttp_field_get(m, "content-digest", &v, &twice) || twice)
        return err_set(e, ERR_INVALID, "the request needs one Content-Digest field");
    return httpsig_check_digest(v, m->content, e);
}

/* (keyid, nonce), with their lengths, so that no two pairs read alike. */
static enum err_code check_nonce(struct gate *g, const struct httpsig *s, int64_t now_s, struct err *e)
{
    char both[HTTPSIG_KEYID_MAX + HTTPSIG_NONCE_MAX + 32];
    int n = snprintf(both, sizeof both, "%zu %.*s %.*s", s->keyid.len, (int)s->keyid.len, s->keyid.data,
                     (int)s->nonce.len, s->nonce.data);
    return seen_add(g->nonces, both, (size_t)n, now_s, e);
}

static enum err_code check_signature(struct gate *g, const struct bhttp_message *m, const struct httpsig *s,
                                     const char *outer_tenant, int64_t now_s, struct gate_result *r, struct err *e)
{
    struct key_public key;
    enum err_code c = check_times(s, now_s, e);
    if (!c)
        c = g->find_key(g->ctx, s->keyid, now_s, &key, r->tenant, e);
    if (!c && outer_tenant && strcmp(outer_tenant, r->tenant))
        c = err_set(e, ERR_DENIED, "the API key names %s, the signature %s", outer_tenant, r->tenant);
    if (!c)
        c = httpsig_verify(m, s, &key, r->reqsig, e);
    if (!c)
        c = check_nonce(g, s, now_s, e); /* after the signature: nobody can use up another's nonces */
    if (!c)
        c = check_body(m, e);
    if (!c)
        c = check_node(g, m, e);
    return c;
}

enum err_code gate_check(struct gate *g, const struct bhttp_message *m, const uint8_t *enc, const char *outer_tenant,
                         int64_t now_s, struct gate_result *out, struct err *e)
{
    struct gate_result r = { 0 };
    struct httpsig s;
    enum err_code c = enc ? seen_add(g->encs, enc, HPKE_KEY_BYTES, now_s, e) : ERR_OK;
    if (!c && enc)
        c = check_date(m, now_s, e);
    if (!c)
        c = copy_field(m, "tw-model", r.model, e);
    if (!c)
        c = copy_field(m, "tw-data-class", r.data_class, e);
    if (!c)
        c = copy_field(m, "tw-policy", r.policy, e);
    if (c)
        return c;
    c = httpsig_find(m, &s, e);
    if (c == ERR_NOT_FOUND) { /* unsigned; a sealed one must still be for us */
        c = enc ? check_node(g, m, e) : ERR_OK;
    } else if (!c) {
        r.is_signed = true;
        if (!enc)
            c = check_date(m, now_s, e);
        if (!c)
            c = check_signature(g, m, &s, outer_tenant, now_s, &r, e);
    }
    if (!c)
        *out = r;
    return c;
}
