/* seal_test -- HPKE, OHTTP, chunked OHTTP and Binary HTTP: the vectors of the RFCs, and messages bent in every bit. */
#include "../test.h"
#include "base/rng.h"
#include "help.h"
#include "trust/bhttp.h"
#include "trust/ohttp.h"
#include "trust/seen.h"

static struct span raw(const void *p, size_t n)
{
    return (struct span){ p, n };
}

/* RFC 9180 A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode. */
static void rfc9180_a21(void)
{
    uint8_t eph[32], to[32], info[64], text[64], enc[32], out[128];
    struct hpke h;
    size_t info_n = help_hex(info, "4f6465206f6e2061204772656369616e2055726e");
    size_t n = help_hex(text, "4265617574792069732074727574682c20747275746820626561757479");
    help_hex(eph, "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600");
    help_hex(to, "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
    CHECK_INT(hpke_send(HPKE_CHACHA20_POLY1305, to, raw(info, info_n), eph, enc, &h, NULL), ERR_OK);
    CHECK(help_is_hex(enc, 32, "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"));
    CHECK(help_is_hex(h.key, 32, "ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91"));
    CHECK_INT(hpke_seal(&h, SPAN("Count-0"), raw(text, n), out, NULL), ERR_OK);
    CHECK(help_is_hex(out, n + 16, "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1"
                                   "b51a28"));
    CHECK_INT(hpke_seal(&h, SPAN("Count-1"), raw(text, n), out, NULL), ERR_OK);
    CHECK(help_is_hex(out, n + 16, "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e85285337cc95ba5f5999"
                                   "2dc98c"));
    hpke_export(&h, SPAN("TestContext"), out, 32);
    CHECK(help_is_hex(out, 32, "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53"));
}

static const char request_hex[] = "00034745540568747470730b6578616d706c652e636f6d012f";

/* RFC 9458 appendix A: a GET of https://example.com/ and the answer 200. */
static void rfc9458_a(void)
{
    uint8_t eph[32], config[64], request[64], nonce[16];
    struct ohttp_key server = { .id = 1, .any_suite = true };
    struct ohttp client, x;
    struct buf sealed = { 0 }, plain = { 0 }, answer = { 0 };
    help_hex(server.secret, "3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a");
    help_hex(config, "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003");
    hpke_public(server.secret, server.pub);
    CHECK(!memcmp(server.pub, config + 3, 32));
    help_hex(eph, "bc51d5e930bda26589890ac7032f70ad12e4ecb37abb1b65b1256c9c48999c73");
    size_t n = help_hex(request, request_hex);
    CHECK_INT(ohttp_send(1, config + 3, HPKE_AES_128_GCM, false, eph, &client, &sealed, NULL), ERR_OK);
    CHECK_INT(ohttp_seal_request(&client, raw(request, n), &sealed, NULL), ERR_OK);
    CHECK(help_is_hex(sealed.data, sealed.len,
                      "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b4726374e469135906992e1"
                      "268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525"));
    CHECK_INT(ohttp_receive(&server, 1, false, raw(sealed.data, OHTTP_REQUEST_HEAD), &x, NULL), ERR_OK);
    CHECK_INT(ohttp_open_request(&x, raw(sealed.data + OHTTP_REQUEST_HEAD, sealed.len - OHTTP_REQUEST_HEAD), &plain,
                                 NULL), ERR_OK);
    CHECK(help_is_hex(plain.data, plain.len, request_hex));
    help_hex(nonce, "c789e7151fcba46158ca84b04464910d");
    CHECK_INT(ohttp_seal_response(&x, nonce, SPAN("\x01\x40\xc8"), &answer, NULL), ERR_OK);
    CHECK(help_is_hex(answer.data, answer.len, "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd"));
    buf_clear(&plain);
    CHECK_INT(ohttp_open_response(&client, help_buf(&answer), &plain, NULL), ERR_OK);
    CHECK(help_is_hex(plain.data, plain.len, "0140c8"));
    server.any_suite = false; /* in service the suite of the vectors is refused */
    CHECK_INT(ohttp_receive(&server, 1, false, raw(sealed.data, OHTTP_REQUEST_HEAD), &x, NULL), ERR_NOT_FOUND);
    buf_release(&sealed);
    buf_release(&plain);
    buf_release(&answer);
}

/* draft-ietf-ohai-chunked-ohttp-08, the example. */
static void chunked_example(void)
{
    uint8_t eph[32], to[32], request[64], nonce[16];
    struct ohttp client;
    struct ohttp_stream s;
    struct buf out = { 0 }, plain = { 0 };
    help_hex(eph, "b26d565f3f875ed480d1abced3d665159650c99174fd0b124ac4bda0c64ae324");
    help_hex(to, "668eb21aace159803974a4c67f08b4152d29bed10735fd08f98ccdd6fe095708");
    help_hex(request, request_hex);
    CHECK_INT(ohttp_send(1, to, HPKE_AES_128_GCM, true, eph, &client, &out, NULL), ERR_OK);
    ohttp_request_stream(&client, &s);
    CHECK_INT(ohttp_write_chunk(&s, raw(request, 12), false, &out, NULL), ERR_OK);
    CHECK_INT(ohttp_write_chunk(&s, raw(request + 12, 13), false, &out, NULL), ERR_OK);
    CHECK_INT(ohttp_write_chunk(&s, SPAN(""), true, &out, NULL), ERR_OK);
    CHECK(help_is_hex(out.data, out.len,
                      "01002000010001" "8811eb457e100811c40a0aa71340a1b81d804bb986f736f2f566a7199761a032"
                      "1c" "2ad24942d4d692563012f2980c8fef437a336b9b2fc938ef77a5834f"
                      "1d" "2e33d8fd25577afe31bd1c79d094f76b6250ae6549b473ecd950501311"
                      "00" "1c6c1395d0ef7c1022297966307b8a7f"));
    CHECK_INT(ohttp_write_chunk(&s, SPAN("x"), false, &out, NULL), ERR_INVALID);
    buf_clear(&out);
    help_hex(nonce, "bcce7f4cb921309ba5d62edf1769ef09");
    CHECK_INT(ohttp_response_writer(&client, nonce, &s, &out, NULL), ERR_OK);
    CHECK_INT(ohttp_write_chunk(&s, SPAN("\x01"), false, &out, NULL), ERR_OK);
    CHECK_INT(ohttp_write_chunk(&s, SPAN("\x40\xc8"), false, &out, NULL), ERR_OK);
    CHECK_INT(ohttp_write_chunk(&s, SPAN(""), true, &out, NULL), ERR_OK);
    CHECK(help_is_hex(out.data, out.len, "bcce7f4cb921309ba5d62edf1769ef09"
                                         "11" "79bf1cc87fa0e2c02de4546945aa3d1e48" "12" "b348b5bd4c594c16b6170b07b475845d1f32"
                                         "00" "ed9d8a796617a5b27265f4d73247f639"));
    CHECK_INT(ohttp_response_reader(&client, raw(out.data, 16), &s, NULL), ERR_OK);
    for (size_t i = 16; i < out.len; i++) /* byte by byte */
        CHECK_INT(ohttp_read(&s, raw(out.data + i, 1), &plain, NULL), ERR_OK);
    CHECK_INT(ohttp_read_end(&s, &plain, NULL), ERR_OK);
    CHECK(s.done && help_is_hex(plain.data, plain.len, "0140c8"));
    ohttp_stream_release(&s);
    buf_release(&out);
    buf_release(&plain);
}

/* Points of small order as enc or as the server's key. */
static void small_order_is_refused(void)
{
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    struct ohttp_key k;
    ohttp_key_new(3, &k);
    for (size_t i = 0; i < MEM_COUNT(points); i++) {
        uint8_t p[32], enc[32], head[OHTTP_REQUEST_HEAD] = { 3, 0, 0x20, 0, 1, 0, 3 };
        struct hpke h;
        struct ohttp x;
        help_hex(p, points[i]);
        CHECK_INT(hpke_send(HPKE_CHACHA20_POLY1305, p, SPAN("i"), NULL, enc, &h, NULL), ERR_DENIED);
        memcpy(head + 7, p, 32);
        CHECK_INT(ohttp_receive(&k, 1, false, raw(head, sizeof head), &x, NULL), ERR_DENIED);
    }
}

/* ---- an exchange of our own suite */

struct exchange {
    struct ohttp_key keys[2];
    struct ohttp client;
    struct buf sealed;
};

static void seal(struct exchange *x, bool chunked, struct span a, struct span b)
{
    struct ohttp_stream s;
    struct buf config = { 0 };
    uint8_t id, pub[32];
    ohttp_key_new(7, &x->keys[0]);
    ohttp_key_new(8, &x->keys[1]);
    ohttp_config_write(&x->keys[1], &config);
    CHECK_INT(ohttp_config_parse(help_buf(&config), &id, pub, NULL), ERR_OK);
    CHECK_INT(id, 8);
    CHECK_INT(ohttp_send(id, pub, HPKE_CHACHA20_POLY1305, chunked, NULL, &x->client, &x->sealed, NULL), ERR_OK);
    if (chunked) {
        ohttp_request_stream(&x->client, &s);
        CHECK_INT(ohttp_write_chunk(&s, a, false, &x->sealed, NULL), ERR_OK);
        CHECK_INT(ohttp_write_chunk(&s, b, true, &x->sealed, NULL), ERR_OK);
        ohttp_stream_release(&s);
    } else {
        CHECK_INT(ohttp_seal_request(&x->client, a, &x->sealed, NULL), ERR_OK);
    }
    buf_release(&config);
}

/* Opens what lies in sealed; the step that fails decides. */
static enum err_code open_sealed(struct exchange *x, bool chunked, struct span sealed, struct buf *plain)
{
    struct ohttp o;
    struct ohttp_stream s;
    if (sealed.len < OHTTP_REQUEST_HEAD)
        return ERR_CORRUPT;
    enum err_code c = ohttp_receive(x->keys, 2, chunked, raw(sealed.data, OHTTP_REQUEST_HEAD), &o, NULL);
    struct span body = raw(sealed.data + OHTTP_REQUEST_HEAD, sealed.len - OHTTP_REQUEST_HEAD);
    if (c)
        return c;
    if (!chunked)
        return ohttp_open_request(&o, body, plain, NULL);
    ohttp_request_stream(&o, &s);
    c = ohttp_read(&s, body, plain, NULL);
    if (!c)
        c = ohttp_read_end(&s, plain, NULL);
    ohttp_stream_release(&s);
    return c;
}

static void every_flipped_bit_and_cut(void)
{
    for (int chunked = 0; chunked < 2; chunked++) {
        struct exchange x = { 0 };
        struct buf plain = { 0 };
        seal(&x, chunked, SPAN("the first part"), SPAN(" and the last"));
        CHECK_INT(open_sealed(&x, chunked, help_buf(&x.sealed), &plain), ERR_OK);
        CHECK_STR(buf_str(&plain), chunked ? "the first part and the last" : "the first part");
        for (size_t bit = 0; bit < 8 * x.sealed.len; bit++) {
            /* the top bit of an X25519 point is masked away (RFC 7748); the ciphertext's tag still binds it */
            buf_clear(&plain);
            x.sealed.data[bit / 8] ^= (char)(1 << bit % 8);
            CHECK(open_sealed(&x, chunked, help_buf(&x.sealed), &plain) != ERR_OK);
            x.sealed.data[bit / 8] ^= (char)(1 << bit % 8);
        }
        for (size_t cut = 0; cut < x.sealed.len; cut++) {
            buf_clear(&plain);
            CHECK(open_sealed(&x, chunked, raw(x.sealed.data, cut), &plain) != ERR_OK);
        }
        CHECK(open_sealed(&x, !chunked, help_buf(&x.sealed), &plain) != ERR_OK);
        buf_putc(&x.sealed, 0);
        CHECK(open_sealed(&x, chunked, help_buf(&x.sealed), &plain) != ERR_OK);
        buf_release(&x.sealed);
        buf_release(&plain);
    }
}

/* Chunks swapped, dropped, doubled, or a middle one passed off as the last. */
static void chunks_keep_their_places(void)
{
    struct exchange x = { 0 };
    struct ohttp_stream w, r;
    struct ohttp server;
    struct buf head = { 0 }, one = { 0 }, two = { 0 }, last = { 0 }, all = { 0 }, plain = { 0 };
    seal(&x, true, SPAN("q"), SPAN(""));
    CHECK_INT(ohttp_receive(x.keys, 2, true, raw(x.sealed.data, OHTTP_REQUEST_HEAD), &server, NULL), ERR_OK);
    CHECK_INT(ohttp_response_writer(&server, NULL, &w, &head, NULL), ERR_OK);
    CHECK_INT(ohttp_write_chunk(&w, SPAN("one"), false, &one, NULL), ERR_OK);
    CHECK_INT(ohttp_write_chunk(&w, SPAN("two"), false, &two, NULL), ERR_OK);
    CHECK_INT(ohttp_write_chunk(&w, SPAN("end"), true, &last, NULL), ERR_OK);
    const struct buf *const orders[][4] = {
        { &one, &two, &last, NULL }, { &two, &one, &last, NULL }, { &one, &last, NULL, NULL },
        { &one, &one, &two, &last }, { &one, &two, NULL, NULL }, { &last, NULL, NULL, NULL },
        { &one, &two, &two, &last }, { &one, &two, &last, &last },
    };
    for (size_t i = 0; i < MEM_COUNT(orders); i++) {
        buf_clear(&all);
        buf_clear(&plain);
        for (int k = 0; k < 4 && orders[i][k]; k++)
            buf_append(&all, orders[i][k]->data, orders[i][k]->len);
        CHECK_INT(ohttp_response_reader(&x.client, help_buf(&head), &r, NULL), ERR_OK);
        bool ok = !ohttp_read(&r, help_buf(&all), &plain, NULL) && !ohttp_read_end(&r, &plain, NULL);
        CHECK_INT(ok, i == 0);
        ohttp_stream_release(&r);
    }
    buf_clear(&all); /* a middle chunk as the last: its AAD says otherwise */
    buf_append(&all, one.data, one.len);
    varint_put(&all, 0);
    buf_append(&all, two.data + 1, two.len - 1);
    CHECK_INT(ohttp_response_reader(&x.client, help_buf(&head), &r, NULL), ERR_OK);
    CHECK_INT(ohttp_read(&r, help_buf(&all), &plain, NULL), ERR_OK);
    CHECK_INT(ohttp_read_end(&r, &plain, NULL), ERR_DENIED);
    ohttp_stream_release(&r);
    ohttp_stream_release(&w);
    struct buf *const used[] = { &head, &one, &two, &last, &all, &plain, &x.sealed };
    for (size_t i = 0; i < MEM_COUNT(used); i++)
        buf_release(used[i]);
}

static void salts_are_shared_and_secret(void)
{
    struct exchange x = { 0 };
    struct ohttp server;
    uint8_t a[32], b[32], c[32];
    seal(&x, true, SPAN("q"), SPAN(""));
    CHECK_INT(ohttp_receive(x.keys, 2, true, raw(x.sealed.data, OHTTP_REQUEST_HEAD), &server, NULL), ERR_OK);
    ohttp_salt(&x.client, "request", a);
    ohttp_salt(&server, "request", b);
    ohttp_salt(&server, "response", c);
    CHECK(!memcmp(a, b, 32) && memcmp(a, c, 32) != 0);
    buf_release(&x.sealed);
}

static void wrong_configurations(void)
{
    struct ohttp_key k;
    struct buf c = { 0 };
    uint8_t id, pub[32];
    ohttp_key_new(1, &k);
    ohttp_config_write(&k, &c);
    for (size_t cut = 0; cut < c.len; cut++)
        CHECK(ohttp_config_parse(raw(c.data, cut), &id, pub, NULL) != ERR_OK);
    c.data[c.len - 1] = 1; /* only AES offered */
    CHECK_INT(ohttp_config_parse(help_buf(&c), &id, pub, NULL), ERR_UNSUPPORTED);
    c.data[2] = 0x10; /* P-256 */
    CHECK_INT(ohttp_config_parse(help_buf(&c), &id, pub, NULL), ERR_UNSUPPORTED);
    buf_release(&c);
}

/* ---- Binary HTTP */

/* RFC 9292 section 5: the request of the examples, known and indeterminate length, and the response with two 1xx. */
static void rfc9292_examples(void)
{
    static const char known[] =
        "0003474554056874747073000a2f68656c6c6f2e747874406c0a757365722d6167656e74346375726c2f372e31362e33206c69626375726c"
        "2f372e31362e33204f70656e53534c2f302e392e376c207a6c69622f312e322e3304686f73740f7777772e6578616d706c652e636f6d0f61"
        "63636570742d6c616e677561676506656e2c206d690000";
    static const char streamed[] =
        "0203474554056874747073000a2f68656c6c6f2e7478740a757365722d6167656e74346375726c2f372e31362e33206c69626375726c2f37"
        "2e31362e33204f70656e53534c2f302e392e376c207a6c69622f312e322e3304686f73740f7777772e6578616d706c652e636f6d0f616363"
        "6570742d6c616e677561676506656e2c206d6900000000000000000000000000";
    const char *const both[] = { known, streamed };
    for (int i = 0; i < 2; i++) {
        uint8_t bytes[512];
        struct bhttp_message m;
        struct span v = { 0 };
        bool twice;
        size_t n = help_hex(bytes, both[i]);
        CHECK_INT(bhttp_parse(raw(bytes, n), &m, NULL), ERR_OK);
        CHECK(m.is_request && span_is(m.method, "GET") && span_is(m.scheme, "https") && !m.authority.len);
        CHECK(span_is(m.path, "/hello.txt") && m.field_count == 3 && !m.content.len);
        CHECK(bhttp_field_get(&m, "accept-language", &v, &twice) && span_is(v, "en, mi") && !twice);
        if (i == 0) {
            struct buf again = { 0 };
            bhttp_write_request(&m, &again);
            CHECK(again.len == n && !memcmp(again.data, bytes, n));
            buf_release(&again);
        }
        bhttp_release(&m);
    }
}

static void response_as_it_arrives(void)
{
    struct buf b = { 0 };
    const struct bhttp_field f[] = { { SPAN("content-type"), SPAN("text/event-stream") } };
    uint8_t info[8];
    buf_append(&b, info, help_hex(info, "034066")); /* an indeterminate response that begins with a 102 */
    buf_append(&b, "\x07running\x07\"sleep\"\x00", 17);
    struct buf head = { 0 };
    bhttp_stream_head(200, f, 1, &head);
    buf_append(&b, head.data + 1, head.len - 1);
    bhttp_stream_content(SPAN("data: 1\n\n"), &b);
    bhttp_stream_content(SPAN("data: 2\n\n"), &b);
    bhttp_stream_end(&b);
    for (size_t step = 1; step < 40; step += 3) {
        struct bhttp_reader r = { 0 };
        struct buf content = { 0 };
        for (size_t at = 0; at < b.len; at += step) {
            CHECK(r.state != BHTTP_DONE || at + 2 >= b.len || step > 2);
            CHECK_INT(bhttp_read(&r, raw(b.data + at, b.len - at < step ? b.len - at : step), &content, NULL), ERR_OK);
        }
        CHECK(r.state == BHTTP_DONE && r.message.status == 200 && r.message.field_count == 1);
        CHECK(span_is(r.message.fields[0].value, "text/event-stream"));
        CHECK_STR(buf_str(&content), "data: 1\n\ndata: 2\n\n");
        bhttp_reader_release(&r);
        buf_release(&content);
    }
    buf_release(&head);
    buf_release(&b);
}

static void malformed_messages(void)
{
    static const char *const bad[] = {
        "", "04", "0003474554", "00034745540568747470730000", /* no path */
        "0003474554056874747073000120" "0000", /* a space in the path */
        "00034745540568747470730001" "2f" "04" "0141016a" "00" "00", /* an upper-case name */
        "00034745540568747470730001" "2f" "05" "0161" "020a6a" "00" "00", /* LF in a value */
        "00034745540568747470730001" "2f" "04" "0161" "0220" "00" "00", /* field longer than its section */
        "00034745540568747470730001" "2f" "00" "05" "6162", /* content cut */
        "00034745540568747470730001" "2f" "00" "00" "04" "01610162", /* trailers */
        "0140c7" "ff", "014032", /* status 50 */
        "014200" "00" "00", /* status 512 is fine, 600 is not: below */
        "0142580000", "ffffffffffffffffff",
        "0003474554056874747073000" "12f" "c000000100000000" };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        uint8_t bytes[256];
        struct bhttp_message m;
        size_t n = help_hex(bytes, bad[i]);
        enum err_code want = i == 12 ? ERR_OK : ERR_CORRUPT;
        CHECK_INT(bhttp_parse(raw(bytes, n), &m, NULL), want);
        if (want == ERR_OK)
            bhttp_release(&m);
    }
}

/* ---- replays */

static void replays_are_seen(void)
{
    struct seen *s = seen_new(100, 600);
    for (int64_t t = 0; t < 5000; t += 7) { /* a steady stream never fills it: 600 s / 7 s is below 100 */
        CHECK_INT(seen_add(s, &t, sizeof t, t, NULL), ERR_OK);
        CHECK_INT(seen_add(s, &t, sizeof t, t, NULL), ERR_DENIED);
        int64_t old = t - 595;
        if (old >= 0 && old % 7 == 0)
            CHECK_INT(seen_add(s, &old, sizeof old, t, NULL), ERR_DENIED);
    }
    int refused = 0;
    for (int i = 0; i < 200; i++)
        refused += seen_add(s, &i, sizeof i, 100000, NULL) == ERR_BUSY;
    CHECK_INT(refused, 100); /* full of young things: refuse, do not forget */
    CHECK_INT(seen_add(s, "x", 1, 100599, NULL), ERR_BUSY);
    CHECK_INT(seen_add(s, "x", 1, 100600, NULL), ERR_OK);
    seen_free(s);
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    RUN(rfc9180_a21);
    RUN(rfc9458_a);
    RUN(chunked_example);
    RUN(small_order_is_refused);
    RUN(every_flipped_bit_and_cut);
    RUN(chunks_keep_their_places);
    RUN(salts_are_shared_and_secret);
    RUN(wrong_configurations);
    RUN(rfc9292_examples);
    RUN(response_as_it_arrives);
    RUN(malformed_messages);
    RUN(replays_are_seen);
    DONE();
}
