/* httpsig_test -- signed requests: the RFC's vectors, and every way a request may be bent, replayed or borrowed. */
#include "../test.h"
#include "help.h"
#include "trust/gate.h"

#include <sodium.h>

static const int64_t NOW = 1795255963;

/* RFC 9421 B.2 test-request and B.2.6 with test-key-ed25519. */
static void rfc9421_b26(void)
{
    static const struct bhttp_message m = {
        .is_request = true, .method = SPAN("POST"), .authority = SPAN("Example.COM"),
        .path = SPAN("/foo?param=Value&Pet=dog"), .field_count = 3,
        .fields = { { SPAN("date"), SPAN("Tue, 20 Apr 2021 02:07:55 GMT") },
                    { SPAN("content-type"), SPAN("application/json") }, { SPAN("content-length"), SPAN("18") } } };
    const struct span names[] = { SPAN("date"), SPAN("@method"), SPAN("@path"), SPAN("@authority"),
                                  SPAN("content-type"), SPAN("content-length") };
    struct key_secret k;
    struct buf base = { 0 }, b64 = { 0 };
    uint8_t seed[32], sig[KEY_SIG_BYTES];
    size_t n = 0;
    CHECK(!sodium_base642bin(seed, 32, "n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU", 43, NULL, &n, NULL,
                             sodium_base64_VARIANT_URLSAFE_NO_PADDING) && n == 32);
    CHECK_INT(key_secret_new("test-key-ed25519", KEY_NOTE, seed, &k, NULL), ERR_OK);
    CHECK_INT(httpsig_base(&m, names, 6, SPAN("(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" "
                           "\"content-length\");created=1618884473;keyid=\"test-key-ed25519\""), &base, NULL), ERR_OK);
    key_sign(&k, base.data, base.len, sig);
    code_base64(&b64, sig, sizeof sig);
    CHECK_STR(b64.data, "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==");
    buf_clear(&base); /* @query, 2.2.7 */
    const struct span query[] = { SPAN("@query") };
    CHECK_INT(httpsig_base(&m, query, 1, SPAN("p"), &base, NULL), ERR_OK);
    CHECK_STR(base.data, "\"@query\": ?param=Value&Pet=dog\n\"@signature-params\": p");
    buf_release(&base);
    buf_release(&b64);
}

/* RFC 9530: {"hello": "world"}, with and without the LF of its appendix. */
static void rfc9530_digests(void)
{
    struct buf b = { 0 };
    httpsig_digest(SPAN("{\"hello\": \"world\"}"), &b);
    CHECK_STR(b.data, "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
    buf_clear(&b);
    httpsig_digest(SPAN("{\"hello\": \"world\"}\n"), &b);
    CHECK_STR(b.data, "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:");
    CHECK_INT(httpsig_check_digest(help_buf(&b), SPAN("{\"hello\": \"world\"}\n"), NULL), ERR_OK);
    CHECK_INT(httpsig_check_digest(help_buf(&b), SPAN("{\"hello\": \"World\"}\n"), NULL), ERR_DENIED);
    CHECK_INT(httpsig_check_digest(SPAN("sha-512=:AAAA:"), SPAN(""), NULL), ERR_INVALID);
    buf_release(&b);
}

static void dates(void)
{
    int64_t t;
    char text[32];
    CHECK(httpsig_date(SPAN("Sun, 06 Nov 1994 08:49:37 GMT"), &t) && t == 784111777);
    httpsig_date_text(NOW, text);
    CHECK(httpsig_date(span_of(text), &t) && t == NOW);
    static const char *const bad[] = { "", "Sunday, 06-Nov-94 08:49:37 GMT", "Mon, 06 Nov 1994 08:49:37 GMT",
                                       "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 UTC",
                                       "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT" };
    for (size_t i = 0; i < MEM_COUNT(bad); i++)
        CHECK(!httpsig_date(span_of(bad[i]), &t));
}

static void structured_fields(void)
{
    static struct sfv_dictionary d;
    static const char *const good[] = { "a=1", "a=(\"x\" \"y\");created=5, b=:AAAA:", "a=()", "a=tok/en;q=\"s\"",
                                        "a=1,  b=2", "*x=-15" };
    static const char *const bad[] = { "", "a", "a=", "A=1", "a=1,", "a=1,,b=2", "a=1 b=2", "a=(\"x\"", "a=(\"x\"\"y\")",
                                       "a=1.5", "a=1234567890123456", "a=\"\\\"\"", "a=:AA:", "a=:AAAA", "a=1, a=2",
                                       "a=1;q=1;q=2", "a=(x)", "a=\"x", "a=?1", "a=\x01", "a=1;Q=2", "a=(\"x\";p)" };
    for (size_t i = 0; i < MEM_COUNT(good); i++)
        CHECK_INT(sfv_parse(span_of(good[i]), &d, NULL), ERR_OK);
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        if (!sfv_parse(span_of(bad[i]), &d, NULL))
            printf("# accepted: %s\n", bad[i]);
        CHECK_INT(sfv_parse(span_of(bad[i]), &d, NULL), ERR_INVALID);
    }
}

/* ---- a request through the gate */

enum { FIELDS = 9 };

struct scene {
    struct gate g;
    struct key_secret key, stranger;
    struct buf digest, input, sig;
    struct bhttp_message m;
    char date[32];
};

static enum err_code find_key(void *ctx, struct span keyid, int64_t now_s, struct key_public *key,
                              char tenant[GATE_NAME_MAX + 1], struct err *e)
{
    struct scene *s = ctx;
    char ours[HTTPSIG_KEYID_MAX];
    httpsig_keyid(&s->key.pub, ours);
    if (!span_is(keyid, ours))
        return err_set(e, ERR_NOT_FOUND, "unknown key");
    if (now_s > NOW + 1000000)
        return err_set(e, ERR_DENIED, "the key was revoked");
    *key = s->key.pub;
    snprintf(tenant, GATE_NAME_MAX + 1, "clinic");
    return ERR_OK;
}

static const struct span body = { "{\"model\":\"m\"}", 13 };

/* Signs m again; created and expires relative to NOW. */
static void sign(struct scene *s, const struct key_secret *k, int64_t created, int64_t expires, const char *nonce)
{
    buf_clear(&s->input);
    buf_clear(&s->sig);
    s->m.field_count = FIELDS - 2;
    CHECK_INT(httpsig_sign(&s->m, k, NOW + created, NOW + expires, nonce, &s->input, &s->sig, NULL), ERR_OK);
    s->m.fields[FIELDS - 2] = (struct bhttp_field){ SPAN("signature-input"), help_buf(&s->input) };
    s->m.fields[FIELDS - 1] = (struct bhttp_field){ SPAN("signature"), help_buf(&s->sig) };
    s->m.field_count = FIELDS;
}

static void scene_open(struct scene *s)
{
    *s = (struct scene){ .key = help_key("clinic/robot", KEY_NOTE, 50), .stranger = help_key("x", KEY_NOTE, 51) };
    gate_init(&s->g, "boot1.0", find_key, s);
    httpsig_digest(body, &s->digest);
    httpsig_date_text(NOW, s->date);
    s->m = (struct bhttp_message){
        .is_request = true, .method = SPAN("POST"), .scheme = SPAN("https"), .authority = SPAN("site.example"),
        .path = SPAN("/v1/chat/completions"), .content = body, .field_count = FIELDS,
        .fields = { { SPAN("content-type"), SPAN("application/json") }, { SPAN("content-digest"), help_buf(&s->digest) },
                    { SPAN("date"), span_of(s->date) }, { SPAN("tw-node"), SPAN("boot1.0") },
                    { SPAN("tw-model"), SPAN("sha256:00") }, { SPAN("tw-data-class"), SPAN("internal") },
                    { SPAN("tw-policy"), SPAN("sha256:11") } } };
    sign(s, &s->key, 0, 300, "0123456789abcdef");
}

static void scene_close(struct scene *s)
{
    gate_release(&s->g);
    buf_release(&s->digest);
    buf_release(&s->input);
    buf_release(&s->sig);
}

static enum err_code pass(struct scene *s, const uint8_t *enc, int64_t now)
{
    struct gate_result r;
    return gate_check(&s->g, &s->m, enc, NULL, NOW + now, &r, NULL);
}

static void a_good_request_passes_once(void)
{
    struct scene s;
    struct gate_result r;
    scene_open(&s);
    uint8_t enc[32] = { 1 };
    CHECK_INT(gate_check(&s.g, &s.m, enc, "clinic", NOW, &r, NULL), ERR_OK);
    CHECK(r.is_signed);
    CHECK_STR(r.tenant, "clinic");
    CHECK_STR(r.data_class, "internal");
    CHECK_INT(pass(&s, enc, 1), ERR_DENIED); /* the same envelope */
    enc[0] = 2;
    CHECK_INT(pass(&s, enc, 1), ERR_DENIED); /* the same signed request in a new envelope */
    CHECK_INT(pass(&s, NULL, 1), ERR_DENIED); /* and without one */
    sign(&s, &s.key, 0, 300, "fedcba9876543210");
    CHECK_INT(pass(&s, NULL, 1), ERR_OK);
    snprintf(s.g.node, sizeof s.g.node, "boot2.0"); /* the third replay: at another boot */
    sign(&s, &s.key, 0, 300, "fedcba9876543211");
    CHECK_INT(pass(&s, NULL, 1), ERR_DENIED);
    snprintf(s.g.previous_node, sizeof s.g.previous_node, "boot1.0"); /* the epoch just ended */
    sign(&s, &s.key, 0, 300, "fedcba9876543212");
    CHECK_INT(pass(&s, NULL, 1), ERR_OK);
    scene_close(&s);
}

/* Every covered part changed after signing, and every field dropped or doubled. */
static void nothing_covered_may_change(void)
{
    struct scene s;
    scene_open(&s);
    struct bhttp_message good = s.m;
    s.m.method = SPAN("GET");
    CHECK_INT(pass(&s, NULL, 0), ERR_DENIED);
    s.m = good;
    s.m.authority = SPAN("other.example");
    CHECK_INT(pass(&s, NULL, 0), ERR_DENIED);
    s.m = good;
    s.m.path = SPAN("/v1/completions");
    CHECK_INT(pass(&s, NULL, 0), ERR_DENIED);
    s.m.path = SPAN("/v1/chat/completions?x=1");
    CHECK_INT(pass(&s, NULL, 0), ERR_DENIED);
    s.m = good;
    s.m.content = SPAN("{\"model\":\"n\"}"); /* body swap */
    CHECK_INT(pass(&s, NULL, 0), ERR_DENIED);
    for (int i = 0; i < FIELDS; i++) {
        char value[512];
        s.m = good; /* changed */
        struct span v = good.fields[i].value;
        memcpy(value, v.data, v.len);
        value[v.len - 3] ^= 1;
        s.m.fields[i].value.data = value;
        CHECK(pass(&s, NULL, 0) != ERR_OK);
        s.m = good; /* dropped */
        s.m.fields[i] = good.fields[FIELDS - 1];
        s.m.field_count--;
        CHECK(pass(&s, NULL, 0) != ERR_OK);
        s.m = good; /* doubled */
        s.m.fields[s.m.field_count++] = good.fields[i];
        CHECK(pass(&s, NULL, 0) != ERR_OK);
    }
    s.m = good;
    sign(&s, &s.key, 0, 300, "0123456789abcdeX");
    CHECK_INT(pass(&s, NULL, 0), ERR_OK); /* nothing above used the gate up */
    scene_close(&s);
}

static void every_flipped_bit_of_the_signature(void)
{
    struct scene s;
    scene_open(&s);
    struct buf *const both[] = { &s.input, &s.sig };
    for (int b = 0; b < 2; b++)
        for (size_t bit = 0; bit < 8 * both[b]->len; bit++) {
            both[b]->data[bit / 8] ^= (char)(1 << bit % 8);
            CHECK(pass(&s, NULL, 0) != ERR_OK);
            both[b]->data[bit / 8] ^= (char)(1 << bit % 8);
        }
    CHECK_INT(pass(&s, NULL, 0), ERR_OK);
    scene_close(&s);
}

static void clock_edges(void)
{
    static const struct {
        int64_t created, expires, now;
        enum err_code want;
    } rows[] = {
        { 0, 300, -60, ERR_OK }, { 0, 300, -61, ERR_DENIED }, { 0, 300, 360, ERR_OK }, { 0, 300, 361, ERR_DENIED },
        { 0, 10, 70, ERR_OK }, { 0, 10, 71, ERR_DENIED }, { 0, 301, 0, ERR_INVALID }, { 10, 5, 0, ERR_INVALID },
        { 60, 100, 0, ERR_OK }, { 61, 100, 0, ERR_DENIED },
    };
    for (size_t i = 0; i < MEM_COUNT(rows); i++) {
        struct scene s;
        scene_open(&s);
        sign(&s, &s.key, rows[i].created, rows[i].expires, "0123456789abcdef");
        CHECK_INT(pass(&s, NULL, rows[i].now), rows[i].want);
        scene_close(&s);
    }
    for (int sealed = 0; sealed < 2; sealed++) { /* Date alone, signature long enough */
        static const struct { int64_t date; enum err_code want; } dates_[] = {
            { -360, ERR_OK }, { -361, ERR_DENIED }, { 60, ERR_OK }, { 61, ERR_DENIED } };
        for (size_t i = 0; i < MEM_COUNT(dates_); i++) {
            struct scene s;
            uint8_t enc[32] = { (uint8_t)i };
            scene_open(&s);
            httpsig_date_text(NOW + dates_[i].date, s.date);
            sign(&s, &s.key, 0, 300, "0123456789abcdef");
            CHECK_INT(pass(&s, sealed ? enc : NULL, 0), dates_[i].want);
            scene_close(&s);
        }
    }
}

static void keys_unknown_revoked_borrowed(void)
{
    struct scene s;
    struct gate_result r;
    scene_open(&s);
    sign(&s, &s.stranger, 0, 300, "0123456789abcdef");
    CHECK_INT(pass(&s, NULL, 0), ERR_NOT_FOUND);
    struct key_secret forged = s.stranger; /* the enrolled name over a stranger's key */
    forged.pub = s.key.pub;
    sign(&s, &forged, 0, 300, "0123456789abcdef");
    CHECK_INT(pass(&s, NULL, 0), ERR_DENIED);
    sign(&s, &s.key, 1000001, 1000100, "0123456789abcdef");
    httpsig_date_text(NOW + 1000001, s.date);
    sign(&s, &s.key, 1000001, 1000100, "0123456789abcdef");
    CHECK_INT(pass(&s, NULL, 1000001), ERR_DENIED); /* revoked by then */
    httpsig_date_text(NOW, s.date);
    sign(&s, &s.key, 0, 300, "0123456789abcdef");
    CHECK_INT(gate_check(&s.g, &s.m, NULL, "press", NOW, &r, NULL), ERR_DENIED); /* another tenant's API key */
    scene_close(&s);
}

/* Signatures over less than everything, with other labels, or two of ours. */
static void shapes_that_are_not_ours(void)
{
    struct scene s;
    scene_open(&s);
    struct buf good = { 0 };
    buf_append(&good, s.input.data, s.input.len);
    static const char *const cut[][2] = {
        { " \"tw-policy\"", "" }, { "\"@query\" ", "" }, { " \"content-digest\"", "" }, { "\"@method\"", "\"@Method\"" },
        { "tw=(", "tx=(" }, { ";tag=\"tokenworks-v1\"", "" }, { "tokenworks-v1", "tokenworks-v2" },
        { ";created=", ";expires=" }, { "(\"@method\" \"@authority\"", "(\"@authority\" \"@method\"" },
        { ";nonce=\"0123456789abcdef\"", ";nonce=\"short\"" }, { ";nonce=", ";alg=\"ed25519\";nonce=" },
        { "\"@method\"", "\"@method\";req" },
    };
    for (size_t i = 0; i < MEM_COUNT(cut); i++) {
        const char *at = strstr(good.data, cut[i][0]);
        CHECK(at != NULL);
        buf_clear(&s.input);
        buf_append(&s.input, good.data, (size_t)(at - good.data));
        buf_puts(&s.input, cut[i][1]);
        buf_puts(&s.input, at + strlen(cut[i][0]));
        s.m.fields[FIELDS - 2].value = help_buf(&s.input);
        CHECK(pass(&s, NULL, 0) != ERR_OK);
    }
    buf_clear(&s.input); /* a second one with our tag under another label */
    buf_printf(&s.input, "%s, zz%s", good.data, good.data + 2);
    s.m.fields[FIELDS - 2].value = help_buf(&s.input);
    CHECK_INT(pass(&s, NULL, 0), ERR_INVALID);
    buf_clear(&s.input); /* somebody else's signature beside ours is nobody's business */
    buf_printf(&s.input, "%s, cdn=(\"@method\");created=1", good.data);
    s.m.fields[FIELDS - 2].value = help_buf(&s.input);
    CHECK_INT(pass(&s, NULL, 0), ERR_OK);
    buf_release(&good);
    scene_close(&s);
}

/* Not signed at all: passes as such; half signed does not. */
static void unsigned_is_said(void)
{
    struct scene s;
    struct gate_result r;
    uint8_t enc[32] = { 3 };
    scene_open(&s);
    s.m.field_count = FIELDS - 2;
    CHECK_INT(gate_check(&s.g, &s.m, NULL, "clinic", NOW, &r, NULL), ERR_OK);
    CHECK(!r.is_signed && !r.tenant[0]);
    s.m.fields[3].value = SPAN("boot0.0"); /* sealed and unsigned still names its node */
    CHECK_INT(pass(&s, enc, 0), ERR_DENIED);
    s.m.fields[3].value = SPAN("boot1.0");
    s.m.field_count = FIELDS - 1;
    CHECK_INT(pass(&s, NULL, 0), ERR_INVALID);
    scene_close(&s);
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    RUN(rfc9421_b26);
    RUN(rfc9530_digests);
    RUN(dates);
    RUN(structured_fields);
    RUN(a_good_request_passes_once);
    RUN(nothing_covered_may_change);
    RUN(every_flipped_bit_of_the_signature);
    RUN(clock_edges);
    RUN(keys_unknown_revoked_borrowed);
    RUN(shapes_that_are_not_ours);
    RUN(unsigned_is_said);
    DONE();
}
