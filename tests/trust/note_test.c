/* note_test -- signed notes, checkpoints, cosignatures, quorums and proofs: vectors, and what must be refused. */
#include "../test.h"
#include "help.h"
#include "trust/proof.h"

/* C2SP signed-note, the example of the specification. */
static const char example_key[] = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
static const char example_note[] =
    "This is an example message.\n\n\xE2\x80\x94 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

static enum err_code open_note(const char *bytes, size_t n, const struct key_public *k)
{
    struct note note;
    struct err e;
    enum err_code c = note_parse((struct span){ bytes, n }, &note, &e);
    return c ? c : note_verify(&note, k, &e);
}

static void c2sp_example(void)
{
    struct key_public k;
    struct err e = { 0 };
    char text[KEY_TEXT_MAX];
    CHECK_INT(key_public_parse(span_of(example_key), &k, &e), ERR_OK);
    CHECK_INT(k.id, 0x530d903a);
    CHECK_INT(open_note(example_note, strlen(example_note), &k), ERR_OK);
    key_public_text(&k, text);
    CHECK_STR(text, example_key);
}

static void every_flipped_bit_is_refused(void)
{
    struct key_public k;
    char copy[sizeof example_note];
    size_t n = strlen(example_note);
    CHECK_INT(key_public_parse(span_of(example_key), &k, NULL), ERR_OK);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        memcpy(copy, example_note, n);
        copy[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(open_note(copy, n, &k) != ERR_OK);
    }
    for (size_t cut = 0; cut < n; cut++)
        CHECK(open_note(example_note, cut, &k) != ERR_OK);
}

static void every_flipped_bit_of_a_key_is_refused(void)
{
    char copy[sizeof example_key];
    struct key_public k;
    for (size_t bit = 0; bit < 8 * strlen(example_key); bit++) {
        memcpy(copy, example_key, sizeof copy);
        copy[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(key_public_parse((struct span){ copy, strlen(example_key) }, &k, NULL) != ERR_OK);
    }
}

static void malformed_notes(void)
{
    struct key_public k;
    static const char *const bad[] = {
        "", "\n", "\n\n", "text\n", "text\n\n", "text", "\xE2\x80\x94 a AAAAAAA=\n", "a\n\n- a AAAAAAA=\n",
        "a\n\n\xE2\x80\x94 a+b AAAAAAAA\n", "a\n\n\xE2\x80\x94 a AAAAAA==\n", "a\n\n\xE2\x80\x94 a AAAAAAAB=\n",
        "a\rb\n\n\xE2\x80\x94 a AAAAAAAA\n", "a\xFF\n\n\xE2\x80\x94 a AAAAAAAA\n", "a\n\n\xE2\x80\x94 a AAAAAAAA",
        "a\n\n\xE2\x80\x94 a AAAAAAAA\n\xE2\x80\x94 a AAAAAAAA\n", "a\n\n\xE2\x80\x94 a AAAAAAAA\nx\n",
    };
    CHECK_INT(key_public_parse(span_of(example_key), &k, NULL), ERR_OK);
    for (size_t i = 0; i < MEM_COUNT(bad); i++)
        CHECK(open_note(bad[i], strlen(bad[i]), &k) != ERR_OK);
}

/* One spelling only; the byte 0xAF passed for a slash in the library underneath. */
static void base64_has_one_spelling(void)
{
    static const char *const bad[] = { "AAA", "AAA\xAF", "AAA\xAB", ("A\xFF" "A="), "AAA=AAAA", "AB==", "AAB=", "A===", "AA A",
                                       "AAA-", "AAA_", "AAAA\n" };
    uint8_t out[16];
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        size_t n = sizeof out;
        CHECK(!code_unbase64(out, &n, span_of(bad[i])));
    }
    size_t n = sizeof out;
    CHECK(code_unbase64(out, &n, SPAN("AAA/")) && n == 3 && out[2] == 0x3f);
}

static void secret_keys_go_round(void)
{
    struct key_secret k = help_key("site.example/log", KEY_NOTE, 7), again = { 0 };
    char text[KEY_TEXT_MAX];
    key_secret_text(&k, text);
    CHECK(!strncmp(text, "PRIVATE+KEY+site.example/log+", 29));
    CHECK_INT(key_secret_parse(span_of(text), &again, NULL), ERR_OK);
    CHECK(!memcmp(&k, &again, sizeof k));
    text[40] ^= 1;
    CHECK(key_secret_parse(span_of(text), &again, NULL) != ERR_OK);
    CHECK_INT(key_secret_new("two words", KEY_NOTE, NULL, &again, NULL), ERR_INVALID);
    CHECK_INT(key_secret_new("a+b", KEY_NOTE, NULL, &again, NULL), ERR_INVALID);
}

/* Same name, other key; same key, other name; a witness key on a note. */
static void key_confusion(void)
{
    struct key_secret k = help_key("site.example/release", KEY_NOTE, 1);
    struct key_secret other_key = help_key("site.example/release", KEY_NOTE, 2);
    struct key_secret other_name = help_key("site.example/model", KEY_NOTE, 1);
    struct key_secret other_type = help_key("site.example/release", KEY_COSIGNATURE, 1);
    struct buf note = { 0 };
    CHECK_INT(note_sign(SPAN("a statement\n"), &k, &note, NULL), ERR_OK);
    CHECK_INT(open_note(note.data, note.len, &k.pub), ERR_OK);
    CHECK_INT(open_note(note.data, note.len, &other_key.pub), ERR_DENIED);
    CHECK_INT(open_note(note.data, note.len, &other_name.pub), ERR_DENIED);
    CHECK_INT(open_note(note.data, note.len, &other_type.pub), ERR_DENIED);
    CHECK_INT(note_sign(SPAN("a statement\n"), &other_type, &note, NULL), ERR_INVALID);
    CHECK_INT(note_sign(SPAN("no end of line"), &k, &note, NULL), ERR_INVALID);
    buf_release(&note);
}

/* Small-order points verify anything in careless libraries: R and A the identity, S zero. */
static void low_order_keys_verify_nothing(void)
{
    static const char *const points[] = {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    };
    for (size_t i = 0; i < MEM_COUNT(points); i++) {
        struct key_public k = { .type = KEY_NOTE };
        uint8_t sig[KEY_SIG_BYTES] = { 0 };
        help_hex(k.key, points[i]);
        memcpy(sig, k.key, 32);
        CHECK(!key_verify(&k, "x", 1, sig));
        memset(sig, 0, sizeof sig);
        sig[0] = 1;
        CHECK(!key_verify(&k, "x", 1, sig));
    }
}

/* S + L is the same signature in careless libraries. */
static void signatures_have_one_encoding(void)
{
    static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde,
                                       0xf9, 0xde, 0x14, [31] = 0x10 };
    struct key_secret k = help_key("a", KEY_NOTE, 3);
    uint8_t sig[KEY_SIG_BYTES];
    key_sign(&k, "x", 1, sig);
    CHECK(key_verify(&k.pub, "x", 1, sig));
    unsigned carry = 0;
    for (int i = 0; i < 32; i++) {
        carry += (unsigned)sig[32 + i] + order[i];
        sig[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    CHECK(!key_verify(&k.pub, "x", 1, sig));
}

/* ---- checkpoints, cosignatures, quorums */

static void make_checkpoint(const struct key_secret *log, uint64_t size, const uint8_t root[HASH_BYTES],
                            struct buf *out)
{
    struct buf text = { 0 };
    checkpoint_text(log->pub.name, size, root, &text);
    CHECK_INT(note_sign(help_buf(&text), log, out, NULL), ERR_OK);
    buf_release(&text);
}

static void cosign(struct buf *note, const struct key_secret *w, int64_t now)
{
    struct note n;
    struct buf line = { 0 };
    CHECK_INT(note_parse(help_buf(note), &n, NULL), ERR_OK);
    CHECK_INT(cosign_make(n.text, w, now, &line, NULL), ERR_OK);
    buf_append(note, line.data, line.len);
    buf_release(&line);
}

/* The cosigned example of tlog-cosignature: the message is fixed by the standard, so the line is too. */
static void cosignature_message(void)
{
    struct key_secret w = help_key("witness.example/w1", KEY_COSIGNATURE, 9);
    static const char text[] = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    static const char message[] = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
                                  "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    struct buf note = { 0 };
    struct note n;
    uint8_t want[KEY_SIG_BYTES];
    buf_printf(&note, "%s\n", text);
    CHECK_INT(cosign_make(span_of(text), &w, 1679315147, &note, NULL), ERR_OK);
    CHECK_INT(note_parse(help_buf(&note), &n, NULL), ERR_OK);
    key_sign(&w, message, strlen(message), want);
    CHECK(help_is_hex(n.sigs[0].sig, 8, "00000000641850cb"));
    CHECK(!memcmp(n.sigs[0].sig + 8, want, sizeof want));
    buf_release(&note);
}

static void malformed_checkpoints(void)
{
    struct checkpoint cp;
    static const char root[] = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    static const char *const sizes[] = { "", "01", "-1", "+1", "1 ", "0x1", "9223372036854775808",
                                         "99999999999999999999" };
    char text[256];
    for (size_t i = 0; i < MEM_COUNT(sizes); i++) {
        snprintf(text, sizeof text, "log.example\n%s\n%s", sizes[i], root);
        CHECK_INT(checkpoint_parse(span_of(text), &cp, NULL), ERR_CORRUPT);
    }
    snprintf(text, sizeof text, "log.example\n5\n%s", root);
    CHECK_INT(checkpoint_parse(span_of(text), &cp, NULL), ERR_OK);
    snprintf(text, sizeof text, "log.example\n5\n%sextra\n", root);
    CHECK_INT(checkpoint_parse(span_of(text), &cp, NULL), ERR_UNSUPPORTED);
    CHECK_INT(checkpoint_parse(SPAN("log.example\n5\nCsUY\n"), &cp, NULL), ERR_CORRUPT);
    CHECK_INT(checkpoint_parse(SPAN("log example\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"), &cp, NULL),
              ERR_CORRUPT);
}

struct cast {
    struct key_secret log, w[5];
    struct quorum q;
};

static void vkey(struct buf *out, const struct key_secret *k)
{
    char text[KEY_TEXT_MAX];
    key_public_text(&k->pub, text);
    buf_puts(out, text);
}

/* Two of three, and any of two, as in the standard's example. */
static void cast_make(struct cast *c)
{
    struct buf b = { 0 };
    struct err e = { 0 };
    c->log = help_key("log.example", KEY_NOTE, 10);
    buf_puts(&b, "# who is believed\nlog ");
    vkey(&b, &c->log);
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "witness.example/w%d", i);
        c->w[i] = help_key(name, KEY_COSIGNATURE, (uint8_t)(20 + i));
        buf_printf(&b, "\nwitness w%d ", i);
        vkey(&b, &c->w[i]);
    }
    buf_puts(&b, "\n\t group X 2 w0 w1 w2\ngroup Y any w3 w4\ngroup XY all X Y\nquorum XY\n");
    CHECK_INT(quorum_parse(help_buf(&b), &c->q, &e), ERR_OK);
    buf_release(&b);
}

static enum err_code judge(const struct cast *c, const struct buf *note, int64_t now, int64_t max_age)
{
    struct note n;
    struct checkpoint cp;
    int log;
    return quorum_check(&c->q, help_buf(note), &(struct quorum_time){ now, max_age, 60 }, &n, &cp, &log, NULL);
}

static void quorum_games(void)
{
    static struct cast c;
    const uint8_t root[HASH_BYTES] = { 1 };
    struct buf note = { 0 }, twice = { 0 };
    cast_make(&c);
    for (unsigned set = 0; set < 32; set++) { /* every subset of the five witnesses */
        buf_clear(&note);
        make_checkpoint(&c.log, 5, root, &note);
        for (int i = 0; i < 5; i++)
            if (set >> i & 1)
                cosign(&note, &c.w[i], 1000);
        int x = (set & 1) + (set >> 1 & 1) + (set >> 2 & 1), y = (set >> 3 & 1) + (set >> 4 & 1);
        CHECK_INT(judge(&c, &note, 1000, 0), x >= 2 && y >= 1 ? ERR_OK : ERR_DENIED);
    }
    buf_clear(&note); /* one witness twice is not two */
    make_checkpoint(&c.log, 5, root, &note);
    cosign(&note, &c.w[0], 1000);
    cosign(&note, &c.w[3], 1000);
    buf_append(&twice, note.data, note.len);
    cosign(&twice, &c.w[0], 1001);
    CHECK(judge(&c, &twice, 1000, 0) != ERR_OK);
    struct key_secret stranger = help_key("witness.example/w9", KEY_COSIGNATURE, 99);
    cosign(&note, &stranger, 1000);
    CHECK_INT(judge(&c, &note, 1000, 0), ERR_DENIED);
    struct key_secret namesake = help_key("witness.example/w1", KEY_COSIGNATURE, 98); /* other key, same name */
    cosign(&note, &namesake, 1000);
    CHECK_INT(judge(&c, &note, 1000, 0), ERR_DENIED);
    buf_release(&note);
    buf_release(&twice);
}

static void clock_edges(void)
{
    static struct cast c;
    const uint8_t root[HASH_BYTES] = { 1 };
    struct buf note = { 0 };
    cast_make(&c);
    make_checkpoint(&c.log, 5, root, &note);
    cosign(&note, &c.w[0], 10000);
    cosign(&note, &c.w[1], 10000);
    cosign(&note, &c.w[3], 10000);
    CHECK_INT(judge(&c, &note, 10000 + 3600, 3600), ERR_OK);
    CHECK_INT(judge(&c, &note, 10000 + 3601, 3600), ERR_DENIED);
    CHECK_INT(judge(&c, &note, 10000 + 3601, 0), ERR_OK);
    CHECK_INT(judge(&c, &note, 10000 - 60, 3600), ERR_OK);
    CHECK_INT(judge(&c, &note, 10000 - 61, 3600), ERR_DENIED);
    buf_release(&note);
}

static void malformed_policies(void)
{
    static struct cast c;
    static struct quorum q;
    char log[KEY_TEXT_MAX], w0[KEY_TEXT_MAX], w1[KEY_TEXT_MAX], text[2048];
    cast_make(&c);
    key_public_text(&c.log.pub, log);
    key_public_text(&c.w[0].pub, w0);
    key_public_text(&c.w[1].pub, w1);
    static const char *const bad[] = {
        "", "quorum none", "quorum none\nquorum none\n", "quorum a\n", "witness none @0\nquorum none\n",
        "witness a @0\nwitness a @1\nquorum a\n", "witness a @0\nwitness b @0\nquorum a\n", "witness a @L\nquorum a\n",
        "log @0\nquorum none\n", "log @L\nlog @L\nquorum none\n", "group g 1 a\nquorum g\n",
        "witness a @0\ngroup g 2 a\nquorum g\n", "witness a @0\ngroup g 0 a\nquorum g\n",
        "witness a @0\ngroup g 01 a\nquorum g\n", "witness a @0\ngroup g any\nquorum g\n",
        "witness a @0\ngroup g any a\ngroup h any a\nquorum h\n", "witness a @0\ngroup g any a a\nquorum g\n",
        "witness a @0\ngroup g any g\nquorum g\n", "nonsense\nquorum none\n", "quorum none\r\n", "quorum none extra\n",
    };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        size_t n = 0;
        for (const char *p = bad[i]; *p && n < sizeof text - KEY_TEXT_MAX; p++) {
            if (*p == '@')
                p++, n += (size_t)snprintf(text + n, sizeof text - n, "%s", *p == 'L' ? log : *p == '0' ? w0 : w1);
            else
                text[n++] = *p;
        }
        CHECK(quorum_parse((struct span){ text, n }, &q, NULL) != ERR_OK);
    }
    snprintf(text, sizeof text, "log %s http://x\n\n \t\nwitness a %s\nquorum a\n", log, w0);
    CHECK_INT(quorum_parse(span_of(text), &q, NULL), ERR_OK);
    CHECK_STR(q.log_urls[0], "http://x");
}

/* A log key must not sign for another log, nor a statement pass for a checkpoint. */
static void foreign_origin(void)
{
    static struct cast c;
    const uint8_t root[HASH_BYTES] = { 1 };
    struct buf text = { 0 }, note = { 0 };
    struct note n;
    struct checkpoint cp;
    cast_make(&c);
    checkpoint_text("other.example", 5, root, &text);
    CHECK_INT(note_sign(help_buf(&text), &c.log, &note, NULL), ERR_OK);
    CHECK_INT(checkpoint_open(help_buf(&note), &c.log.pub, &n, &cp, NULL), ERR_DENIED);
    CHECK_INT(judge(&c, &note, 0, 0), ERR_DENIED);
    buf_release(&text);
    buf_release(&note);
}

/* ---- proofs that travel alone */

static void proof_round_and_flips(void)
{
    static struct cast c;
    struct tree_edge t = { 0 };
    struct buf note = { 0 }, text = { 0 };
    static struct proof p, again;
    uint8_t a[HASH_BYTES], b[HASH_BYTES], root[HASH_BYTES];
    cast_make(&c);
    tree_leaf_hash(a, "a", 1);
    tree_leaf_hash(b, "b", 1);
    tree_edge_add(&t, a);
    tree_edge_add(&t, b);
    tree_edge_root(&t, root);
    make_checkpoint(&c.log, 2, root, &note);
    cosign(&note, &c.w[0], 1000); /* no more than the quorum asks for: what is not needed may be broken */
    cosign(&note, &c.w[1], 1000);
    cosign(&note, &c.w[3], 1000);
    p.index = 1;
    p.path.count = 1;
    memcpy(p.path.hash[0], a, HASH_BYTES);
    p.extra = SPAN("AAAA");
    p.checkpoint = help_buf(&note);
    proof_write(&p, &text);
    CHECK(!strncmp(text.data, "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 1\n", 42));
    const struct quorum_time when = { 1000, 3600, 60 };
    CHECK_INT(proof_parse(help_buf(&text), &again, NULL), ERR_OK);
    CHECK_INT(proof_check(&again, &c.q, &when, SPAN("b"), NULL), ERR_OK);
    CHECK_INT(proof_check(&again, &c.q, &when, SPAN("a"), NULL), ERR_DENIED);
    size_t extra = strlen("c2sp.org/tlog-proof@v1\n"), after = strlen("extra AAAA\n"); /* extra is not authenticated */
    for (size_t i = 0; i < text.len; i++) {
        if (i >= extra && i < extra + after)
            continue;
        text.data[i] ^= 0x01;
        bool ok = !proof_parse(help_buf(&text), &again, NULL) && !proof_check(&again, &c.q, &when, SPAN("b"), NULL);
        CHECK(!ok);
        text.data[i] ^= 0x01;
    }
    for (size_t cut = 0; cut < text.len; cut++) {
        struct span s = { text.data, cut };
        CHECK(proof_parse(s, &again, NULL) || proof_check(&again, &c.q, &when, SPAN("b"), NULL));
    }
    buf_release(&note);
    buf_release(&text);
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    RUN(c2sp_example);
    RUN(every_flipped_bit_is_refused);
    RUN(every_flipped_bit_of_a_key_is_refused);
    RUN(malformed_notes);
    RUN(base64_has_one_spelling);
    RUN(secret_keys_go_round);
    RUN(key_confusion);
    RUN(low_order_keys_verify_nothing);
    RUN(signatures_have_one_encoding);
    RUN(cosignature_message);
    RUN(malformed_checkpoints);
    RUN(quorum_games);
    RUN(clock_edges);
    RUN(malformed_policies);
    RUN(foreign_origin);
    RUN(proof_round_and_flips);
    DONE();
}
