/* client_test -- a client and a site: what it accepts, what makes it refuse to send, and a sealed, signed request all
 * the way to a receipt that commits to exactly the bytes exchanged. */
#include "../test.h"
#include "help.h"
#include "trust/boot.h"
#include "trust/client.h"
#include "trust/gate.h"
#include "trust/witness.h"

static const int64_t NOW = 1795255963;

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
};

static void publish(struct scene *s, enum statement_type type, const struct span *v, int n, char hash[HASH_TEXT_MAX])
{
    struct buf text = { 0 };
    struct err e = { 0 };
    if (statement_write(type, v, n, &text, &e) || site_publish(&s->site, s->log, type, help_buf(&text), hash, &e))
        printf("# %s\n", e.text);
    buf_release(&text);
}

static void release_note(struct scene *s, const char *seq, const char *expires)
{
    const struct span v[] = { SPAN("0.1.0"), span_of(seq),
        SPAN("tokenworks=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), SPAN("-"),
        span_of(expires) };
    publish(s, STATEMENT_RELEASE, v, 5, s->hash[OFFER_RELEASE]);
}

static void node_text(struct scene *s, const char *country, int64_t from, struct buf *out)
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

static void node_note(struct scene *s, const char *country, int64_t from)
{
    struct buf text = { 0 };
    struct err e = { 0 };
    node_text(s, country, from, &text);
    CHECK_INT(site_publish(&s->site, s->log, STATEMENT_NODE, help_buf(&text), s->hash[OFFER_NODE], &e), ERR_OK);
    buf_release(&text);
}

/* The witness cosigns the head at a time of its own. */
static void cosign(struct scene *s, int64_t when)
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

static void scene_open(struct scene *s)
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
    const struct span pol[] = { SPAN("1"), h, SPAN("2027-06-01T00:00:00Z") };
    const struct span mod[] = { SPAN("small"), SPAN("1"), h,
        SPAN("w=sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"), SPAN("-"),
        SPAN("2027-06-01T00:00:00Z") };
    release_note(s, "5", "2027-06-01T00:00:00Z");
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

static void scene_close(struct scene *s)
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

/* Builds the offer, sends it as JSON, lets `bend` change it, and asks the client. */
static enum err_code offer(struct scene *s, int64_t now, void (*bend)(struct offer *o), const char *must_say)
{
    struct offer o = { 0 }, got = { 0 };
    struct buf json = { 0 };
    struct err e = { 0 };
    const char *const hashes[] = { s->hash[0], s->hash[1], s->hash[2], s->hash[3] };
    enum err_code c = offer_build(&s->site, s->log, hashes, s->c.size, &o, &e);
    if (!c) {
        offer_write(&o, &json);
        c = offer_parse(help_buf(&json), &got, &e);
    }
    if (!c) {
        if (bend)
            bend(&got);
        client_session_release(&s->session);
        c = client_accept(&s->c, &got, now, &s->session, &e);
    }
    if (must_say && !strstr(e.text, must_say))
        printf("# said: %s\n", e.text);
    CHECK(!must_say || strstr(e.text, must_say));
    if (!c && e.text[0])
        printf("# %s\n", e.text);
    offer_release(&o);
    offer_release(&got);
    buf_release(&json);
    return c;
}

static void an_honest_site_is_accepted(void)
{
    static struct scene s;
    scene_open(&s);
    CHECK_INT(offer(&s, NOW, NULL, NULL), ERR_OK);
    CHECK_STR(s.session.node_id, "b1.0");
    CHECK(s.session.can_seal && !memcmp(s.session.ohttp_key, s.engine.pub, 32));
    release_note(&s, "6", "2027-06-01T00:00:00Z");
    node_note(&s, "DE", NOW);
    cosign(&s, NOW + 5);
    CHECK_INT(offer(&s, NOW + 10, NULL, NULL), ERR_OK);
    struct buf saved = { 0 }, root = { 0 }, path = { 0 }; /* and after a restart of the client */
    buf_printf(&path, "%s/root.note", s.site.pub);
    CHECK_INT(file_read(buf_str(&path), 1 << 16, &root, NULL), ERR_OK);
    client_save(&s.c, help_buf(&root), &saved);
    struct client again = s.c;
    memset(&again.chain, 0, sizeof again.chain);
    again.known = false;
    again.size = 0;
    CHECK_INT(client_load(&again, help_buf(&saved), NULL), ERR_OK);
    s.c = again;
    CHECK_INT(offer(&s, NOW + 20, NULL, NULL), ERR_OK);
    saved.data[6] ^= 1;
    buf_release(&saved);
    buf_release(&root);
    buf_release(&path);
    scene_close(&s);
}

static void bend_quorum(struct offer *o) { o->checkpoint.len -= 10; buf_puts(&o->checkpoint, "AAAAAAAAA\n"); }
static void bend_no_witness(struct offer *o)
{
    char *at = strstr(o->checkpoint.data, "\xE2\x80\x94 witness");
    o->checkpoint.len = (size_t)(at - o->checkpoint.data);
    *at = '\0';
}
static void bend_node(struct offer *o) { *strstr(o->note[OFFER_NODE].data, "jurisdiction DE") ^= 1; }
static void bend_model(struct offer *o) { o->note[OFFER_MODEL].data[40] ^= 1; }
static void bend_swap(struct offer *o)
{
    struct buf t = o->note[OFFER_RELEASE];
    o->note[OFFER_RELEASE] = o->note[OFFER_POLICY];
    o->note[OFFER_POLICY] = t;
}
static void bend_proof(struct offer *o) { *(strstr(o->proof[OFFER_NODE].data, "index ") + 6) = '0'; }

static void bent_offers_are_refused(void)
{
    static const struct {
        void (*bend)(struct offer *o);
        const char *says;
    } rows[] = { { bend_quorum, "" }, { bend_no_witness, "quorum" }, { bend_node, "node note is not in the log" },
                 { bend_model, "model note is not in the log" }, { bend_swap, "not in the log" },
                 { bend_proof, "node note is not in the log" } };
    for (size_t i = 0; i < MEM_COUNT(rows); i++) {
        static struct scene s;
        scene_open(&s);
        CHECK(offer(&s, NOW, rows[i].bend, rows[i].says) != ERR_OK);
        CHECK(!s.c.known);
        scene_close(&s);
    }
}

static void stale_late_and_abroad(void)
{
    static struct scene s;
    scene_open(&s);
    CHECK_INT(offer(&s, NOW + 3600, NULL, NULL), ERR_OK);
    CHECK_INT(offer(&s, NOW + 3601, NULL, "too old"), ERR_DENIED);
    cosign(&s, NOW + 90000);
    CHECK_INT(offer(&s, NOW + 90000, NULL, "expired"), ERR_DENIED); /* the node's day is over */
    node_note(&s, "US", NOW + 90000);
    cosign(&s, NOW + 90000);
    CHECK_INT(offer(&s, NOW + 90000, NULL, "stands in US"), ERR_DENIED);
    scene_close(&s);
}

/* A node note signed rightly and never logged: a key configuration for this client alone. */
static void unlogged_keys_are_refused(void)
{
    static struct scene s;
    struct buf text = { 0 }, note = { 0 }, path = { 0 };
    struct key_secret node = { 0 };
    uint8_t hash[HASH_BYTES];
    scene_open(&s);
    ohttp_key_new(6, &s.engine); /* another key */
    node_text(&s, "DE", NOW, &text);
    CHECK_INT(site_key(&s.site, "node", &node, NULL), ERR_OK);
    CHECK_INT(note_sign(help_buf(&text), &node, &note, NULL), ERR_OK);
    code_sha256(hash, note.data, note.len);
    code_hash_text(s.hash[OFFER_NODE], hash);
    buf_printf(&path, "%s/notes/node/%s.note", s.site.pub, s.hash[OFFER_NODE] + 7);
    CHECK_INT(file_write(buf_str(&path), note.data, note.len, NULL), ERR_OK);
    CHECK_INT(offer(&s, NOW, NULL, "not in the log"), ERR_NOT_FOUND);
    buf_release(&text);
    buf_release(&note);
    buf_release(&path);
    scene_close(&s);
}

static void older_release_is_refused(void)
{
    static struct scene s;
    scene_open(&s);
    CHECK_INT(offer(&s, NOW, NULL, NULL), ERR_OK);
    release_note(&s, "4", "2027-06-01T00:00:00Z");
    node_note(&s, "DE", NOW);
    cosign(&s, NOW);
    CHECK_INT(offer(&s, NOW, NULL, "rollback"), ERR_DENIED);
    scene_close(&s);
}

/* The site shows this client another history than last time. */
static void another_history_is_refused(void)
{
    static struct scene s;
    scene_open(&s);
    CHECK_INT(offer(&s, NOW, NULL, NULL), ERR_OK);
    s.c.root[0] ^= 1;
    CHECK_INT(offer(&s, NOW, NULL, "rewritten or forked"), ERR_DENIED);
    s.c.root[0] ^= 1;
    s.c.size += 100; /* it had seen more */
    struct offer o = { 0 };
    struct err e = { 0 };
    const char *const hashes[] = { s.hash[0], s.hash[1], s.hash[2], s.hash[3] };
    CHECK(offer_build(&s.site, s.log, hashes, s.c.size, &o, &e) != ERR_OK);
    s.c.size -= 100;
    CHECK_INT(offer(&s, NOW, NULL, NULL), ERR_OK);
    offer_release(&o);
    scene_close(&s);
}

/* ---- a request all the way */

static enum err_code find_tenant(void *ctx, struct span keyid, int64_t now_s, struct key_public *key,
                                 char tenant[GATE_NAME_MAX + 1], struct err *e)
{
    struct scene *s = ctx;
    *key = s->tenant.pub;
    snprintf(tenant, GATE_NAME_MAX + 1, "clinic");
    return ERR_OK;
}

/* The engine's side: opens, checks, answers, commits. */
static void engine_answers(struct scene *s, struct gate *g, struct span sealed, struct buf *answer, struct buf *receipt)
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
    CHECK_INT(boot_sign(&s->signer, &rec, receipt, &e), ERR_OK);
    struct buf body = { 0 };
    const struct bhttp_field f = { SPAN("content-type"), SPAN("text/event-stream") };
    CHECK_INT(ohttp_response_writer(&x, NULL, &out, answer, &e), ERR_OK);
    bhttp_stream_head(200, &f, 1, &body);
    bhttp_stream_content((struct span){ text, sizeof text - 1 }, &body);
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

static void a_request_all_the_way(void)
{
    static struct scene s;
    struct gate g;
    struct ohttp x;
    struct ohttp_stream in;
    struct bhttp_reader reader = { 0 };
    struct buf sealed = { 0 }, answer = { 0 }, receipt = { 0 }, plain = { 0 }, content = { 0 };
    struct receipt r;
    struct err e = { 0 };
    scene_open(&s);
    CHECK_INT(offer(&s, NOW, NULL, NULL), ERR_OK);
    gate_init(&g, s.session.node_id, find_tenant, &s);
    const struct client_request q = { .method = "POST", .authority = "s.example", .path = "/v1/chat/completions",
                                      .data_class = "internal", .body = SPAN("{\"messages\":[\"a secret\"]}"),
                                      .key = &s.tenant, .now_s = NOW };
    CHECK_INT(client_seal(&s.session, &q, &x, &sealed, &e), ERR_OK);
    CHECK(!memmem(sealed.data, sealed.len, "secret", 6));
    engine_answers(&s, &g, help_buf(&sealed), &answer, &receipt);
    size_t n = ohttp_nonce_bytes(&x);
    CHECK_INT(ohttp_response_reader(&x, (struct span){ answer.data, n }, &in, &e), ERR_OK);
    CHECK_INT(ohttp_read(&in, (struct span){ answer.data + n, answer.len - n }, &plain, &e), ERR_OK);
    CHECK_INT(ohttp_read_end(&in, &plain, &e), ERR_OK);
    CHECK_INT(bhttp_read(&reader, help_buf(&plain), &content, &e), ERR_OK);
    CHECK(reader.state == BHTTP_DONE && reader.message.status == 200);
    CHECK_INT(client_check_receipt(&s.session, &x, help_buf(&receipt), q.body, help_buf(&content), &r, &e), ERR_OK);
    CHECK_STR(e.text, "");
    CHECK_STR(r.data_class, "internal");
    content.data[3] ^= 1; /* the site claims it said something else */
    CHECK_INT(client_check_receipt(&s.session, &x, help_buf(&receipt), q.body, help_buf(&content), &r, &e), ERR_DENIED);
    content.data[3] ^= 1;
    CHECK_INT(client_check_receipt(&s.session, &x, help_buf(&receipt), SPAN("{}"), help_buf(&content), &r, &e), ERR_DENIED);
    struct ohttp other = x; /* the receipt of somebody else's exchange */
    other.hpke.exporter[0] ^= 1;
    CHECK_INT(client_check_receipt(&s.session, &other, help_buf(&receipt), q.body, help_buf(&content), &r, &e), ERR_DENIED);
    gate_release(&g);
    ohttp_stream_release(&in);
    bhttp_reader_release(&reader);
    struct buf *const all[] = { &sealed, &answer, &receipt, &plain, &content };
    for (size_t i = 0; i < MEM_COUNT(all); i++)
        buf_release(all[i]);
    scene_close(&s);
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    RUN(an_honest_site_is_accepted);
    RUN(bent_offers_are_refused);
    RUN(stale_late_and_abroad);
    RUN(unlogged_keys_are_refused);
    RUN(older_release_is_refused);
    RUN(another_history_is_refused);
    RUN(a_request_all_the_way);
    DONE();
}
