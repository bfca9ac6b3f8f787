/* scene -- a site with a witness, a node and an engine's sealing key, in this process, for tests of client and proxy. */
#ifndef TEST_TRUST_SCENE_H
#define TEST_TRUST_SCENE_H
#include "help.h"
#include "trust/boot.h"
#include "trust/client.h"
#include "trust/gate.h"
#include "trust/witness.h"

static int64_t NOW = 1795255963; /* the time of the scene; a test over the wire sets it to now */

struct scene {
    char *dir, *witness_dir;
    struct site site;
    struct key_secret log_key, witness_key, tenant;
    struct witness w;
    struct tlog *log;
    struct ohttp_key engine;
    struct boot_signer signer;
    char hash[OFFER_PARTS][HASH_TEXT_MAX];
    struct client c;
    struct client_session session;
    const char *computed_in; /* a country: its receipts name a worker there; NULL: none */
};

static inline void publish(struct scene *s, enum statement_type type, const struct span *v, int n, char hash[HASH_TEXT_MAX])
{
    struct buf text = { 0 };
    struct err e = { 0 };
    if (statement_write(type, v, n, &text, &e) || site_publish(&s->site, s->log, type, help_buf(&text), hash, &e))
        printf("# %s\n", e.text);
    buf_release(&text);
}

static inline void release_note(struct scene *s, const char *seq, const char *expires)
{
    const struct span v[] = { SPAN("0.1.0"), span_of(seq),
        SPAN("tokenworks=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), SPAN("-"),
        span_of(expires) };
    publish(s, STATEMENT_RELEASE, v, 5, s->hash[OFFER_RELEASE]);
}

static inline void node_text(struct scene *s, const char *country, int64_t from, struct buf *out)
{
    struct buf config = { 0 };
    char vkey[KEY_TEXT_MAX];
    ohttp_config_write(&s->engine, &config);
    key_public_text(&s->signer.key.pub, vkey);
    const struct boot_node n = { .name = "n1", .boot = "b1", .site = "berlin", .jurisdiction = country,
                                 .release = s->hash[OFFER_RELEASE], .policy = s->hash[OFFER_POLICY],
                                 .models = s->hash[OFFER_MODEL], .ohttp_config = help_buf(&config),
                                 .receipt_key = vkey, .not_before = from, .not_after = from + 86400 };
    CHECK_INT(boot_node_text(&n, out, NULL), ERR_OK);
    buf_release(&config);
}

static inline void node_note(struct scene *s, const char *country, int64_t from)
{
    struct buf text = { 0 };
    struct err e = { 0 };
    node_text(s, country, from, &text);
    CHECK_INT(site_publish(&s->site, s->log, STATEMENT_NODE, help_buf(&text), s->hash[OFFER_NODE], &e), ERR_OK);
    buf_release(&text);
}

/* The witness cosigns the head at a time of its own. */
static inline void cosign(struct scene *s, int64_t when)
{
    struct tree_proof p = { 0 };
    struct buf request = { 0 }, note = { 0 }, size = { 0 };
    int status = 0;
    uint64_t old = 0;
    struct err e = { 0 };
    witness_request(0, &p, tlog_head(s->log), &request);
    buf_append(&note, tlog_head(s->log).data, tlog_head(s->log).len);
    if (witness_add_checkpoint(&s->w, help_buf(&request), when, &status, &size, &e) && status == 409) {
        code_uint((struct span){ size.data, size.len - 1 }, &old);
        CHECK_INT(tree_prove_grown(old, tlog_size(s->log), tiles_hash, tlog_tiles(s->log), &p, &e), ERR_OK);
        buf_clear(&request);
        buf_clear(&size);
        witness_request(old, &p, tlog_head(s->log), &request);
        witness_add_checkpoint(&s->w, help_buf(&request), when, &status, &size, &e);
    }
    CHECK_INT(status, 200);
    buf_append(&note, size.data, size.len);
    CHECK_INT(tlog_cosigned(s->log, help_buf(&note), &e), ERR_OK);
    buf_release(&request);
    buf_release(&note);
    buf_release(&size);
}

static inline void scene_open(struct scene *s)
{
    char vkey[KEY_TEXT_MAX];
    struct buf policy = { 0 };
    struct err e = { 0 };
    memset(s, 0, sizeof *s);
    s->dir = help_dir();
    s->witness_dir = help_dir();
    s->witness_key = help_key("witness.example/w", KEY_COSIGNATURE, 3);
    s->tenant = help_key("clinic/robot", KEY_NOTE, 4);
    key_public_text(&s->witness_key.pub, vkey);
    site_open(&s->site, s->dir);
    struct site_plan plan = { .name = "s.example", .witness_count = 1, .now_s = NOW - 1000 };
    plan.witnesses[0] = vkey;
    if (site_init(&s->site, &plan, &e) || site_log(&s->site, &s->log_key, &s->log, &e) ||
        witness_open(&s->w, s->witness_dir, &s->witness_key, &e) || witness_add_log(&s->w, &s->log_key.pub, &e)) {
        printf("# %s\n", e.text);
        abort();
    }
    ohttp_key_new(5, &s->engine);
    CHECK_INT(boot_signer_init(&s->signer, "s.example", "b1", NULL), ERR_OK);
    const struct span h = SPAN("sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    const struct span pol[] = { SPAN("1"), h, SPAN("2099-06-01T00:00:00Z") };
    const struct span mod[] = { SPAN("small"), SPAN("1"), h,
        SPAN("w=sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"), SPAN("-"),
        SPAN("2099-06-01T00:00:00Z") };
    release_note(s, "5", "2099-06-01T00:00:00Z");
    publish(s, STATEMENT_POLICY, pol, 3, s->hash[OFFER_POLICY]);
    publish(s, STATEMENT_MODEL, mod, 6, s->hash[OFFER_MODEL]);
    node_note(s, "DE", NOW);
    cosign(s, NOW);
    struct buf path = { 0 };
    buf_printf(&path, "%s/trust.policy", s->site.pub);
    CHECK_INT(file_read(buf_str(&path), 1 << 16, &policy, NULL), ERR_OK);
    CHECK_INT(client_init(&s->c, help_buf(&policy), &e), ERR_OK);
    s->c.max_age_s = 3600;
    s->c.country_count = 1;
    snprintf(s->c.countries[0], 3, "DE");
    buf_release(&path);
    buf_release(&policy);
}

static inline void scene_close(struct scene *s)
{
    client_session_release(&s->session);
    client_release(&s->c);
    tlog_close(s->log);
    witness_close(&s->w);
    site_close(&s->site);
    help_remove(s->dir);
    help_remove(s->witness_dir);
    mem_free(s->dir);
    mem_free(s->witness_dir);
}

/* ---- the engine's side of a request */

static inline enum err_code find_tenant(void *ctx, struct span keyid, int64_t now_s, struct key_public *key,
                                 char tenant[GATE_NAME_MAX + 1], struct err *e)
{
    struct scene *s = ctx;
    *key = s->tenant.pub;
    snprintf(tenant, GATE_NAME_MAX + 1, "clinic");
    return ERR_OK;
}

/* The engine's side: opens, checks, answers, commits. */
static inline void engine_answers(struct scene *s, struct gate *g, struct span sealed, bool in_stream, struct buf *answer,
                           struct buf *receipt)
{
    struct ohttp x;
    struct ohttp_stream in, out;
    struct buf plain = { 0 };
    struct bhttp_message m;
    struct gate_result r;
    struct commit commit;
    uint8_t salt[32];
    struct err e = { 0 };
    static const char text[] = "data: {\"choices\":[]}\n\ndata: [DONE]\n\n";
    const size_t first = sizeof "data: {\"choices\":[]}\n\n" - 1;
    CHECK_INT(ohttp_receive(&s->engine, 1, true, (struct span){ sealed.data, OHTTP_REQUEST_HEAD }, &x, &e), ERR_OK);
    ohttp_request_stream(&x, &in);
    for (size_t at = OHTTP_REQUEST_HEAD; at < sealed.len; at += 7) /* as bytes arrive */
        CHECK_INT(ohttp_read(&in, (struct span){ sealed.data + at, sealed.len - at < 7 ? sealed.len - at : 7 }, &plain, &e),
                  ERR_OK);
    CHECK_INT(ohttp_read_end(&in, &plain, &e), ERR_OK);
    CHECK_INT(bhttp_parse(help_buf(&plain), &m, &e), ERR_OK);
    CHECK_INT(gate_check(g, &m, x.enc, "clinic", NOW, &r, &e), ERR_OK);
    CHECK(r.is_signed && !strcmp(r.model, s->hash[OFFER_MODEL]) && !strcmp(r.data_class, "internal"));
    struct receipt rec = { .id = "r1", .allow = true, .rule = "all", .has_policy = true, .has_model = true,
                           .has_response = true, .has_reqsig = true, .site = "berlin", .jurisdiction = "DE",
                           .data_class = "internal", .sealed = true, .finish = "stop", .started = NOW, .ended = NOW };
    memcpy(rec.reqsig, r.reqsig, HASH_BYTES);
    code_unhash_text(rec.policy, span_of(s->hash[OFFER_POLICY]));
    code_unhash_text(rec.model, span_of(s->hash[OFFER_MODEL]));
    ohttp_salt(&x, "request", salt);
    commit_begin(&commit, COMMIT_REQUEST, salt);
    commit_add(&commit, m.content.data, m.content.len);
    commit_end(&commit, rec.request);
    ohttp_salt(&x, "response", salt);
    commit_begin(&commit, COMMIT_RESPONSE, salt);
    commit_add(&commit, text, sizeof text - 1);
    commit_end(&commit, rec.response);
    rec.computed_count = s->computed_in ? 1 : 0; /* by a worker of a fleet */
    rec.computed[0] = (struct computed){ .jurisdiction = "", .site = "s", .worker = "w" };
    snprintf(rec.computed[0].jurisdiction, 3, "%s", s->computed_in ? s->computed_in : "");
    CHECK_INT(boot_sign(&s->signer, &rec, receipt, &e), ERR_OK);
    struct buf body = { 0 };
    const struct bhttp_field f = { SPAN("content-type"), SPAN("text/event-stream") };
    CHECK_INT(ohttp_response_writer(&x, NULL, &out, answer, &e), ERR_OK);
    bhttp_stream_head(200, &f, 1, &body);
    bhttp_stream_content((struct span){ text, first }, &body);
    if (in_stream) { /* the comment line of docs/receipts.md: no part of what is committed to */
        struct buf line = { 0 };
        buf_puts(&line, ": tw-receipt ");
        code_base64(&line, receipt->data, receipt->len);
        buf_puts(&line, "\n\n");
        bhttp_stream_content(help_buf(&line), &body);
        buf_release(&line);
    }
    bhttp_stream_content((struct span){ text + first, sizeof text - 1 - first }, &body);
    CHECK_INT(ohttp_write_chunk(&out, help_buf(&body), false, answer, &e), ERR_OK);
    buf_clear(&body);
    bhttp_stream_end(&body);
    CHECK_INT(ohttp_write_chunk(&out, help_buf(&body), true, answer, &e), ERR_OK);
    buf_release(&body);
    buf_release(&plain);
    bhttp_release(&m);
    ohttp_stream_release(&in);
    ohttp_stream_release(&out);
}

#endif
