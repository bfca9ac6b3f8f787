/* client_test -- a client and a site: what it accepts, what makes it refuse to send, and a sealed, signed request all
 * the way to a receipt that commits to exactly the bytes exchanged. */
#include "../test.h"
#include "scene.h"

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
    release_note(&s, "6", "2099-06-01T00:00:00Z");
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
    release_note(&s, "4", "2099-06-01T00:00:00Z");
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
    engine_answers(&s, &g, help_buf(&sealed), false, &answer, &receipt);
    size_t n = ohttp_nonce_bytes(&x);
    CHECK_INT(ohttp_response_reader(&x, (struct span){ answer.data, n }, &in, &e), ERR_OK);
    CHECK_INT(ohttp_read(&in, (struct span){ answer.data + n, answer.len - n }, &plain, &e), ERR_OK);
    CHECK_INT(ohttp_read_end(&in, &plain, &e), ERR_OK);
    CHECK_INT(bhttp_read(&reader, help_buf(&plain), &content, &e), ERR_OK);
    CHECK(reader.state == BHTTP_DONE && reader.message.status == 200);
    struct client_salts salts, others;
    client_salts_sealed(&x, &salts);
    CHECK_INT(client_check_receipt(&s.session, &salts, help_buf(&receipt), q.body, help_buf(&content), &r, &e), ERR_OK);
    CHECK_STR(e.text, "");
    CHECK_STR(r.data_class, "internal");
    content.data[3] ^= 1; /* the site claims it said something else */
    CHECK_INT(client_check_receipt(&s.session, &salts, help_buf(&receipt), q.body, help_buf(&content), &r, &e), ERR_DENIED);
    content.data[3] ^= 1;
    CHECK_INT(client_check_receipt(&s.session, &salts, help_buf(&receipt), SPAN("{}"), help_buf(&content), &r, &e), ERR_DENIED);
    struct ohttp other = x; /* the receipt of somebody else's exchange */
    other.hpke.exporter[0] ^= 1;
    client_salts_sealed(&other, &others);
    CHECK_INT(client_check_receipt(&s.session, &others, help_buf(&receipt), q.body, help_buf(&content), &r, &e), ERR_DENIED);
    salts.sealed = false; /* the receipt of a sealed exchange does not stand for an open one */
    CHECK_INT(client_check_receipt(&s.session, &salts, help_buf(&receipt), q.body, help_buf(&content), &r, &e), ERR_DENIED);
    gate_release(&g);
    ohttp_stream_release(&in);
    bhttp_reader_release(&reader);
    struct buf *const all[] = { &sealed, &answer, &receipt, &plain, &content };
    for (size_t i = 0; i < MEM_COUNT(all); i++)
        buf_release(all[i]);
    scene_close(&s);
}

/* A gateway stands where the client allows; where its workers stand is in the receipt. */
static enum err_code computed_in(struct scene *s, const char *where)
{
    struct gate g;
    struct ohttp x;
    struct buf sealed = { 0 }, answer = { 0 }, receipt = { 0 };
    struct client_salts salts;
    struct receipt r;
    struct err e = { 0 };
    gate_init(&g, s->session.node_id, find_tenant, s);
    const struct client_request q = { .method = "POST", .authority = "s.example", .path = "/v1/chat/completions",
                                      .data_class = "internal", .body = SPAN("{}"), .key = &s->tenant, .now_s = NOW };
    s->computed_in = where;
    CHECK_INT(client_seal(&s->session, &q, &x, &sealed, &e), ERR_OK);
    engine_answers(s, &g, help_buf(&sealed), false, &answer, &receipt);
    client_salts_sealed(&x, &salts);
    enum err_code c = client_check_receipt(&s->session, &salts, help_buf(&receipt), q.body,
                                           SPAN("data: {\"choices\":[]}\n\ndata: [DONE]\n\n"), &r, &e);
    CHECK(!c || strstr(e.text, where));
    CHECK(c || r.computed_count == 1);
    gate_release(&g);
    buf_release(&sealed);
    buf_release(&answer);
    buf_release(&receipt);
    return c;
}

static void computed_abroad_is_refused(void)
{
    static struct scene s;
    scene_open(&s);
    CHECK_INT(offer(&s, NOW, NULL, NULL), ERR_OK);
    CHECK_INT(s.session.country_count, 1);
    CHECK_INT(computed_in(&s, s.session.countries[0]), ERR_OK);
    CHECK_INT(computed_in(&s, "US"), ERR_DENIED);
    s.session.country_count = 0; /* anywhere will do */
    CHECK_INT(computed_in(&s, "US"), ERR_OK);
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
    RUN(computed_abroad_is_refused);
    RUN(older_release_is_refused);
    RUN(another_history_is_refused);
    RUN(a_request_all_the_way);
    DONE();
}
