/* client -- see client.h. */
#include "trust/client.h"

#include "base/mem.h"
#include "base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SIGNATURE_LIFE_S = 120 };

static struct span as_span(const struct buf *b)
{
    return (struct span){ buf_str(b), b->len };
}

enum err_code client_init(struct client *c, struct span trust_policy, struct err *e)
{
    memset(c, 0, sizeof *c);
    return quorum_parse(trust_policy, &c->quorum, e);
}

void client_release(struct client *c)
{
    chain_release(&c->chain);
}

void client_save(const struct client *c, struct span root_note, struct buf *out)
{
    buf_printf(out, "size %" PRIu64 "\nroot ", c->size);
    code_base64(out, c->root, HASH_BYTES);
    buf_printf(out, "\nrelease %" PRIu64 "\npolicy %" PRIu64 "\n", c->chain.seen[STATEMENT_RELEASE],
               c->chain.seen[STATEMENT_POLICY]);
    buf_append(out, root_note.data, root_note.len);
}

static bool saved_line(struct span *rest, const char *word, struct span *value)
{
    struct span line, key;
    return span_line(rest, &line) && span_cut(line, ' ', &key, value) && span_is(key, word);
}

enum err_code client_load(struct client *c, struct span saved, struct err *e)
{
    struct span v;
    uint64_t size = 0, release = 0, policy = 0;
    uint8_t root[HASH_BYTES];
    bool ok = saved_line(&saved, "size", &v) && code_uint(v, &size) && saved_line(&saved, "root", &v) &&
              code_unbase64_exact(root, HASH_BYTES, v) && saved_line(&saved, "release", &v) && code_uint(v, &release) &&
              saved_line(&saved, "policy", &v) && code_uint(v, &policy);
    enum err_code code = ok ? chain_init(&c->chain, saved, e) : err_set(e, ERR_CORRUPT, "the saved state is damaged");
    if (code)
        return code;
    c->chain.seen[STATEMENT_RELEASE] = release;
    c->chain.seen[STATEMENT_POLICY] = policy;
    c->known = true;
    c->size = size;
    memcpy(c->root, root, HASH_BYTES);
    code_sha256(c->root_note, saved.data, saved.len);
    return ERR_OK;
}

/* ---- accepting a site */

static void hash_text_of(const struct buf *note, uint8_t hash[HASH_BYTES], char text[HASH_TEXT_MAX])
{
    code_sha256(hash, buf_str(note), note->len);
    code_hash_text(text, hash);
}

/* The note is a leaf under this very checkpoint. */
static enum err_code check_logged(enum statement_type type, const struct buf *note, const struct buf *proof_text,
                                  const struct checkpoint *cp, uint64_t *index, struct err *e)
{
    struct proof *p = MEM_NEW(struct proof);
    char text[STATEMENT_LEAF_MAX];
    uint8_t hash[HASH_BYTES];
    struct span leaf = statement_leaf(type, as_span(note), text);
    enum err_code c = proof_parse(as_span(proof_text), p, e);
    tree_leaf_hash(hash, leaf.data, leaf.len);
    if (!c)
        c = tree_check_leaf(hash, p->index, cp->size, &p->path, cp->root, e);
    if (c)
        err_prefix(e, "the %s note is not in the log", statement_name(type));
    else
        *index = p->index;
    mem_free(p);
    return c;
}

static enum err_code accept_root(struct client *c, const struct offer *o, const struct checkpoint *cp,
                                 struct chain *chain, struct err *e)
{
    uint8_t hash[HASH_BYTES];
    char text[HASH_TEXT_MAX];
    uint64_t index = 0;
    hash_text_of(&o->root, hash, text);
    enum err_code code = check_logged(STATEMENT_ROOT, &o->root, &o->root_proof, cp, &index, e);
    if (code)
        return code;
    *chain = c->chain;
    if (!c->known) /* the log's first leaf: whoever believes the log has it */
        return index ? err_set(e, ERR_DENIED, "the root is not the log's first leaf: give the first root by hand")
                     : chain_init(chain, as_span(&o->root), e);
    return code_same(hash, c->root_note, HASH_BYTES) ? ERR_OK : chain_rotate(chain, as_span(&o->root), e);
}

static enum err_code accept_checkpoint(struct client *c, const struct offer *o, int64_t now_s, struct note *n,
                                       struct checkpoint *cp, int *log, struct err *e)
{
    const struct quorum_time when = { now_s, c->max_age_s, CHAIN_SKEW_S };
    enum err_code code = quorum_check(&c->quorum, as_span(&o->checkpoint), &when, n, cp, log, e);
    if (!code && c->known && o->since != c->size)
        code = err_set(e, ERR_DENIED, "the offer proves growth from %" PRIu64 " leaves, not from the %" PRIu64
                       " seen last", o->since, c->size);
    if (!code && c->known)
        code = tree_check_grown(c->size, c->root, cp->size, cp->root, &o->grown, e);
    return code;
}

static bool may_stand(const char countries[CLIENT_COUNTRIES_MAX][3], int count, struct span where)
{
    for (int i = 0; i < count; i++)
        if (span_is(where, countries[i]))
            return true;
    return !count;
}

static enum err_code check_country(const struct client *c, struct span where, struct err *e)
{
    if (may_stand(c->countries, c->country_count, where))
        return ERR_OK;
    return err_set(e, ERR_DENIED, "the node stands in %.*s, where this client sends nothing", (int)where.len,
                   where.data);
}

static bool lists(struct span list, const char *item)
{
    struct span one;
    while (statement_next(&list, &one))
        if (span_is(one, item))
            return true;
    return false;
}

/* The node runs what the other three notes say. */
static enum err_code check_node(const struct client *c, const struct offer *o, struct client_session *s, struct err *e)
{
    uint8_t hash[HASH_BYTES], config[256];
    char release[HASH_TEXT_MAX];
    size_t n = sizeof config;
    hash_text_of(&o->note[OFFER_RELEASE], hash, release);
    hash_text_of(&o->note[OFFER_POLICY], hash, s->policy);
    hash_text_of(&o->note[OFFER_MODEL], hash, s->model);
    if (!span_is(statement_get(&s->node, "release"), release) ||
        !span_is(statement_get(&s->node, "policy"), s->policy) ||
        !lists(statement_get(&s->node, "models"), s->model))
        return err_set(e, ERR_DENIED, "the node runs another release, policy or model than it offers");
    enum err_code code = check_country(c, statement_get(&s->node, "jurisdiction"), e);
    struct span key = statement_get(&s->node, "ohttp-key"), boot = statement_get(&s->node, "boot");
    s->can_seal = !statement_absent(key);
    s->country_count = c->country_count;
    memcpy(s->countries, c->countries, sizeof s->countries);
    if (!code && s->can_seal)
        code = code_unbase64(config, &n, key)
                   ? ohttp_config_parse((struct span){ (char *)config, n }, &s->ohttp_id, s->ohttp_key, e)
                   : err_set(e, ERR_CORRUPT, "the node's sealed-request key is malformed");
    snprintf(s->node_id, sizeof s->node_id, "%.*s.%" PRIu64, (int)boot.len, boot.data,
             statement_uint(&s->node, "epoch"));
    return code;
}

static enum err_code accept_notes(struct client *c, struct chain *chain, const struct offer *o,
                                  const struct checkpoint *cp, int64_t now_s, struct client_session *s, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    enum err_code code = chain_check_expiry(chain, now_s, e);
    for (int i = 0; !code && i < OFFER_PARTS; i++) {
        struct statement st;
        uint64_t index;
        code = check_logged(offer_type((enum offer_part)i), &o->note[i], &o->proof[i], cp, &index, e);
        if (!code && i == OFFER_NODE) {
            buf_append(&s->node_note, o->note[i].data, o->note[i].len);
            code = chain_open(chain, STATEMENT_NODE, as_span(&s->node_note), now_s, &s->node_parsed, &s->node, e);
        } else if (!code) {
            code = chain_open(chain, offer_type((enum offer_part)i), as_span(&o->note[i]), now_s, n, &st, e);
        }
    }
    mem_free(n);
    return code ? code : check_node(c, o, s, e);
}

enum err_code client_accept(struct client *c, const struct offer *o, int64_t now_s, struct client_session *out,
                            struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct chain *chain = MEM_NEW(struct chain);
    struct checkpoint cp;
    int log = 0;
    memset(out, 0, sizeof *out);
    enum err_code code = accept_checkpoint(c, o, now_s, n, &cp, &log, e);
    if (!code)
        code = accept_root(c, o, &cp, chain, e);
    if (!code && !code_same(chain->log.key, c->quorum.logs[log].key, KEY_PUBLIC_BYTES))
        code = err_set(e, ERR_DENIED, "the root names another log than the trust policy");
    if (!code)
        code = accept_notes(c, chain, o, &cp, now_s, out, e);
    if (code) {
        client_session_release(out);
    } else {
        c->chain = *chain;
        c->known = true;
        c->size = cp.size;
        memcpy(c->root, cp.root, HASH_BYTES);
        code_sha256(c->root_note, o->root.data, o->root.len);
    }
    mem_free(chain);
    mem_free(n);
    return code;
}

void client_session_release(struct client_session *s)
{
    buf_release(&s->node_note);
    memset(s, 0, sizeof *s);
}

/* ---- asking */

struct outgoing { /* the header values a request carries */
    struct buf digest, input, signature;
    char date[32], nonce[33];
    struct bhttp_message m;
};

static void add(struct bhttp_message *m, const char *name, struct span value)
{
    m->fields[m->field_count++] = (struct bhttp_field){ span_of(name), value };
}

static enum err_code fill(const struct client_session *s, const struct client_request *r, struct outgoing *o,
                          struct err *e)
{
    uint8_t raw[16];
    httpsig_digest(r->body, &o->digest);
    httpsig_date_text(r->now_s, o->date);
    o->m = (struct bhttp_message){ .is_request = true, .method = span_of(r->method), .scheme = SPAN("https"),
                                   .authority = span_of(r->authority), .path = span_of(r->path), .content = r->body };
    add(&o->m, "content-type", SPAN("application/json"));
    add(&o->m, "content-digest", as_span(&o->digest));
    add(&o->m, "date", span_of(o->date));
    add(&o->m, "tw-node", span_of(s->node_id));
    add(&o->m, "tw-model", span_of(s->model));
    add(&o->m, "tw-data-class", span_of(r->data_class ? r->data_class : ""));
    add(&o->m, "tw-policy", span_of(s->policy));
    if (!r->key)
        return ERR_OK;
    rng_system(raw, sizeof raw);
    code_hex(o->nonce, raw, sizeof raw);
    enum err_code c = httpsig_sign(&o->m, r->key, r->now_s, r->now_s + SIGNATURE_LIFE_S, o->nonce, &o->input,
                                   &o->signature, e);
    add(&o->m, "signature-input", as_span(&o->input));
    add(&o->m, "signature", as_span(&o->signature));
    return c;
}

enum err_code client_seal(const struct client_session *s, const struct client_request *r, struct ohttp *x,
                          struct buf *out, struct err *e)
{
    struct outgoing *o = MEM_NEW(struct outgoing);
    struct buf plain = { 0 };
    struct ohttp_stream stream;
    enum err_code c = s->can_seal ? fill(s, r, o, e) : err_set(e, ERR_UNSUPPORTED, "the node takes no sealed requests");
    if (!c) {
        bhttp_write_request(&o->m, &plain);
        c = ohttp_send(s->ohttp_id, s->ohttp_key, HPKE_CHACHA20_POLY1305, true, NULL, x, out, e);
    }
    if (!c) {
        ohttp_request_stream(x, &stream);
        for (size_t at = 0; !c && plain.len - at > OHTTP_CHUNK_MAX; at += OHTTP_CHUNK_MAX)
            c = ohttp_write_chunk(&stream, (struct span){ plain.data + at, OHTTP_CHUNK_MAX }, false, out, e);
        size_t last = plain.len ? (plain.len - 1) / OHTTP_CHUNK_MAX * OHTTP_CHUNK_MAX : 0;
        if (!c)
            c = ohttp_write_chunk(&stream, (struct span){ plain.data + last, plain.len - last }, true, out, e);
        ohttp_stream_release(&stream);
    }
    buf_release(&plain);
    buf_release(&o->digest);
    buf_release(&o->input);
    buf_release(&o->signature);
    mem_free(o);
    return c;
}

enum err_code client_sign(const struct client_session *s, const struct client_request *r, struct buf *lines,
                          struct err *e)
{
    struct outgoing *o = MEM_NEW(struct outgoing);
    enum err_code c = fill(s, r, o, e);
    for (int i = 0; !c && i < o->m.field_count; i++) {
        const struct bhttp_field *f = &o->m.fields[i];
        buf_append(lines, f->name.data, f->name.len);
        buf_puts(lines, f->value.len ? ": " : ";");
        buf_append(lines, f->value.data, f->value.len);
        buf_putc(lines, '\n');
    }
    buf_release(&o->digest);
    buf_release(&o->input);
    buf_release(&o->signature);
    mem_free(o);
    return c;
}

void client_salts_sealed(const struct ohttp *x, struct client_salts *out)
{
    out->sealed = true;
    ohttp_salt(x, "request", out->request);
    ohttp_salt(x, "response", out->response);
}

static bool commits(const struct client_salts *s, enum commit_role role, struct span content,
                    const uint8_t want[HASH_BYTES])
{
    uint8_t have[HASH_BYTES];
    struct commit c;
    commit_begin(&c, role, role == COMMIT_REQUEST ? s->request : s->response);
    commit_add(&c, content.data, content.len);
    commit_end(&c, have);
    return code_same(have, want, HASH_BYTES);
}

static enum err_code check_computed(const struct client_session *s, const struct receipt *r, struct err *e)
{
    for (int i = 0; i < r->computed_count; i++)
        if (!may_stand(s->countries, s->country_count, span_of(r->computed[i].jurisdiction)))
            return err_set(e, ERR_DENIED, "the receipt says that a worker in %s had the request, where this client "
                           "sends nothing", r->computed[i].jurisdiction);
    return ERR_OK;
}

enum err_code client_check_receipt(const struct client_session *s, const struct client_salts *x,
                                   struct span receipt_note, struct span request, struct span response,
                                   struct receipt *out, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct statement st;
    struct receipt r;
    char policy[HASH_TEXT_MAX] = "", model[HASH_TEXT_MAX] = "";
    enum err_code c = chain_open_receipt(&s->node, receipt_note, n, &st, e);
    if (!c)
        c = receipt_parse(n->text, &r, e);
    if (!c) {
        if (r.has_policy)
            code_hash_text(policy, r.policy);
        if (r.has_model)
            code_hash_text(model, r.model);
        if (strcmp(policy, s->policy) || (r.allow && strcmp(model, s->model)))
            c = err_set(e, ERR_DENIED, "the receipt is about another policy or model than was agreed on");
        else if (r.sealed != x->sealed || !commits(x, COMMIT_REQUEST, request, r.request) ||
                 (r.has_response && !commits(x, COMMIT_RESPONSE, response, r.response)))
            c = err_set(e, ERR_DENIED, "the receipt commits to other bytes than were exchanged");
        else if (r.allow && !r.has_response)
            c = err_set(e, ERR_DENIED, "the receipt commits to no response");
        else
            c = check_computed(s, &r, e);
    }
    if (!c)
        *out = r;
    mem_free(n);
    return c;
}
