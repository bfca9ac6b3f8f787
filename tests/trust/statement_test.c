/* statement_test -- statements, receipts, the chain of keys: what is accepted, and everything near it that is not. */
#include "../test.h"
#include "help.h"
#include "trust/chain.h"
#include "trust/receipt.h"

static const int64_t NOW = 1795255963; /* 2026-11-21T10:12:43Z */

static struct key_secret keys[STATEMENT_TYPES], root_a, root_b, root_c, log_key, receipt_key;

static void vkey(const struct key_secret *k, struct buf *out)
{
    char text[KEY_TEXT_MAX];
    key_public_text(&k->pub, text);
    buf_puts(out, text);
}

static void make_keys(void)
{
    root_a = help_key("site.example/root-a", KEY_NOTE, 1);
    root_b = help_key("site.example/root-b", KEY_NOTE, 2);
    root_c = help_key("site.example/root-c", KEY_NOTE, 3);
    log_key = help_key("site.example/log", KEY_NOTE, 4);
    receipt_key = help_key("site.example/receipt/b1", KEY_NOTE, 5);
    keys[STATEMENT_RELEASE] = help_key("site.example/release", KEY_NOTE, 6);
    keys[STATEMENT_MODEL] = help_key("site.example/model", KEY_NOTE, 7);
    keys[STATEMENT_POLICY] = help_key("site.example/policy", KEY_NOTE, 8);
    keys[STATEMENT_REVOKE] = help_key("site.example/revoke", KEY_NOTE, 9);
    keys[STATEMENT_NODE] = help_key("site.example/node", KEY_NOTE, 10);
    keys[STATEMENT_CLOSE] = keys[STATEMENT_NODE];
}

/* A root note: number, threshold, and which of the three sign. */
static void make_root(struct buf *note, unsigned seq, int threshold, const char *signers)
{
    struct buf t = { 0 };
    buf_printf(&t, "tokenworks/root/v1\nsite site.example\npurpose development\nseq %u\nroots ", seq);
    vkey(&root_a, &t), buf_putc(&t, ','), vkey(&root_b, &t), buf_putc(&t, ','), vkey(&root_c, &t);
    buf_printf(&t, "\nthreshold %d\nrelease ", threshold);
    vkey(&keys[STATEMENT_RELEASE], &t), buf_puts(&t, "\nmodel "), vkey(&keys[STATEMENT_MODEL], &t);
    buf_puts(&t, "\npolicy "), vkey(&keys[STATEMENT_POLICY], &t);
    buf_puts(&t, "\nrevoke "), vkey(&keys[STATEMENT_REVOKE], &t);
    buf_puts(&t, "\nlog "), vkey(&log_key, &t), buf_puts(&t, "\nnode "), vkey(&keys[STATEMENT_NODE], &t);
    buf_puts(&t, "\ncreated 2026-11-01T00:00:00Z\nexpires 2027-11-01T00:00:00Z\n");
    buf_clear(note);
    buf_append(note, t.data, t.len);
    buf_putc(note, '\n');
    for (; *signers; signers++) {
        const struct key_secret *k = *signers == 'a' ? &root_a : *signers == 'b' ? &root_b : &root_c;
        uint8_t sig[KEY_SIG_BYTES];
        key_sign(k, t.data, t.len, sig);
        note_add_sig(note, &k->pub, sig, sizeof sig);
    }
    buf_release(&t);
}

static struct chain chain;

static void make_chain(void)
{
    struct buf b = { 0 };
    struct err e = { 0 };
    make_root(&b, 1, 2, "ab");
    if (chain_init(&chain, help_buf(&b), &e))
        printf("# %s\n", e.text);
    buf_release(&b);
}

static void sign_text(const struct key_secret *k, const char *text, struct buf *note)
{
    buf_clear(note);
    CHECK_INT(note_sign(span_of(text), k, note, NULL), ERR_OK);
}

static enum err_code open_text(enum statement_type type, const struct key_secret *k, const char *text, int64_t now)
{
    struct buf b = { 0 };
    struct note n;
    struct statement s;
    sign_text(k, text, &b);
    enum err_code c = chain_open(&chain, type, help_buf(&b), now, &n, &s, NULL);
    buf_release(&b);
    return c;
}

#define HASH_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
static const char release_7[] = "tokenworks/release/v1\nversion 0.1.0\nseq 7\nartifacts tokenworks=" HASH_A
                                "\ncommit 6039000\nexpires 2027-01-01T00:00:00Z\n";
static const char release_6[] = "tokenworks/release/v1\nversion 0.0.9\nseq 6\nartifacts tokenworks=" HASH_A
                                "\ncommit -\nexpires 2027-01-01T00:00:00Z\n";

static void threshold_games(void)
{
    static const struct {
        const char *signers;
        int threshold;
        enum err_code want;
    } cases[] = { { "ab", 2, ERR_OK }, { "abc", 2, ERR_OK }, { "bc", 2, ERR_OK }, { "a", 2, ERR_DENIED },
                  { "aa", 2, ERR_CORRUPT }, { "a", 1, ERR_OK }, { "abc", 3, ERR_OK }, { "abc", 4, ERR_INVALID },
                  { "ab", 0, ERR_INVALID } };
    struct buf b = { 0 };
    static struct chain c;
    for (size_t i = 0; i < MEM_COUNT(cases); i++) {
        make_root(&b, 1, cases[i].threshold, cases[i].signers);
        CHECK_INT(chain_init(&c, help_buf(&b), NULL), cases[i].want);
    }
    buf_release(&b);
}

static void one_key_one_role(void)
{
    struct buf b = { 0 };
    static struct chain c;
    struct key_secret was = keys[STATEMENT_MODEL], log_was = log_key;
    keys[STATEMENT_MODEL] = help_key("site.example/model", KEY_NOTE, 6); /* the release key under another name */
    make_root(&b, 1, 2, "ab");
    CHECK_INT(chain_init(&c, help_buf(&b), NULL), ERR_INVALID);
    keys[STATEMENT_MODEL] = was;
    log_key = help_key("site.example/log", KEY_COSIGNATURE, 4);
    make_root(&b, 1, 2, "ab");
    CHECK_INT(chain_init(&c, help_buf(&b), NULL), ERR_INVALID);
    log_key = help_key("tokenworks/release/v1", KEY_NOTE, 4); /* a log whose checkpoints begin like a statement */
    make_root(&b, 1, 2, "ab");
    CHECK_INT(chain_init(&c, help_buf(&b), NULL), ERR_INVALID);
    log_key = log_was;
    buf_release(&b);
}

static void roots_rotate_forward_only(void)
{
    struct buf b = { 0 };
    make_chain();
    make_root(&b, 3, 2, "ab"); /* one is missing */
    CHECK_INT(chain_rotate(&chain, help_buf(&b), NULL), ERR_DENIED);
    make_root(&b, 2, 2, "b");
    CHECK_INT(chain_rotate(&chain, help_buf(&b), NULL), ERR_DENIED);
    make_root(&b, 2, 2, "bc");
    CHECK_INT(chain_rotate(&chain, help_buf(&b), NULL), ERR_OK);
    CHECK_INT(chain.seq, 2);
    make_root(&b, 1, 2, "ab");
    CHECK_INT(chain_rotate(&chain, help_buf(&b), NULL), ERR_DENIED);
    struct key_secret was = root_c; /* a stranger's root with the right number */
    root_c = help_key("site.example/root-x", KEY_NOTE, 66);
    make_root(&b, 3, 1, "c");
    CHECK_INT(chain_rotate(&chain, help_buf(&b), NULL), ERR_DENIED);
    root_c = was;
    CHECK_INT(chain_check_expiry(&chain, NOW, NULL), ERR_OK);
    CHECK_INT(chain_check_expiry(&chain, NOW + 400 * 86400, NULL), ERR_DENIED);
    CHECK_INT(chain_check_expiry(&chain, NOW - 400 * 86400, NULL), ERR_DENIED);
    buf_release(&b);
}

static void releases_do_not_roll_back(void)
{
    make_chain();
    CHECK_INT(open_text(STATEMENT_RELEASE, &keys[STATEMENT_RELEASE], release_7, NOW), ERR_OK);
    CHECK_INT(open_text(STATEMENT_RELEASE, &keys[STATEMENT_RELEASE], release_7, NOW), ERR_OK);
    CHECK_INT(open_text(STATEMENT_RELEASE, &keys[STATEMENT_RELEASE], release_6, NOW), ERR_DENIED);
    CHECK_INT(open_text(STATEMENT_RELEASE, &keys[STATEMENT_RELEASE], release_7, 1798761600), ERR_OK);  /* expires */
    CHECK_INT(open_text(STATEMENT_RELEASE, &keys[STATEMENT_RELEASE], release_7, 1798761601), ERR_DENIED);
}

/* Every key signs the release; only its own is believed. */
static void keys_stay_in_their_roles(void)
{
    make_chain();
    for (int i = STATEMENT_RELEASE; i <= STATEMENT_REVOKE; i++)
        CHECK_INT(open_text(STATEMENT_RELEASE, &keys[i], release_7, NOW),
                  i == STATEMENT_RELEASE ? ERR_OK : ERR_DENIED);
    CHECK_INT(open_text(STATEMENT_RELEASE, &root_a, release_7, NOW), ERR_DENIED);
    CHECK_INT(open_text(STATEMENT_RELEASE, &log_key, release_7, NOW), ERR_DENIED);
    /* the right key over another kind of statement */
    CHECK_INT(open_text(STATEMENT_MODEL, &keys[STATEMENT_MODEL], release_7, NOW), ERR_DENIED);
    CHECK_INT(open_text(STATEMENT_ROOT, &root_a, release_7, NOW), ERR_INVALID);
}

static void revoked_means_refused(void)
{
    struct buf note = { 0 }, text = { 0 }, revoke = { 0 };
    struct note n;
    struct statement s;
    uint8_t hash[HASH_BYTES];
    char hex[HASH_TEXT_MAX];
    make_chain();
    sign_text(&keys[STATEMENT_RELEASE], release_7, &note);
    CHECK_INT(chain_open(&chain, STATEMENT_RELEASE, help_buf(&note), NOW, &n, &s, NULL), ERR_OK);
    code_sha256(hash, note.data, note.len);
    code_hash_text(hex, hash);
    buf_printf(&text, "tokenworks/revoke/v1\nseq 1\ntarget %s\nreason the build was wrong\nat 2026-11-21T10:00:00Z\n", hex);
    sign_text(&keys[STATEMENT_RELEASE], buf_str(&text), &revoke); /* by a key that may not */
    CHECK_INT(chain_revoke(&chain, help_buf(&revoke), NOW, NULL), ERR_DENIED);
    sign_text(&keys[STATEMENT_REVOKE], buf_str(&text), &revoke);
    CHECK_INT(chain_revoke(&chain, help_buf(&revoke), NOW, NULL), ERR_OK);
    CHECK_INT(chain_open(&chain, STATEMENT_RELEASE, help_buf(&note), NOW, &n, &s, NULL), ERR_DENIED);
    buf_clear(&text); /* a whole key */
    buf_puts(&text, "tokenworks/revoke/v1\nseq 2\ntarget ");
    vkey(&keys[STATEMENT_MODEL], &text);
    buf_puts(&text, "\nreason stolen\nat 2026-11-21T10:00:00Z\n");
    sign_text(&keys[STATEMENT_REVOKE], buf_str(&text), &revoke);
    static const char model[] = "tokenworks/model/v1\nname m\nseq 1\nroot " HASH_A "\nfiles m.gguf=" HASH_A
                                "\nbundle -\nexpires 2027-01-01T00:00:00Z\n";
    CHECK_INT(open_text(STATEMENT_MODEL, &keys[STATEMENT_MODEL], model, NOW), ERR_OK);
    CHECK_INT(chain_revoke(&chain, help_buf(&revoke), NOW, NULL), ERR_OK);
    CHECK_INT(open_text(STATEMENT_MODEL, &keys[STATEMENT_MODEL], model, NOW), ERR_DENIED);
    chain_release(&chain);
    buf_release(&note);
    buf_release(&text);
    buf_release(&revoke);
}

/* ---- node notes and receipts */

static void node_text(struct buf *out, const char *from, const char *to)
{
    buf_clear(out);
    buf_puts(out, "tokenworks/node/v1\nname n1\nboot b1\nepoch 0\nprevious-boot -\nprevious-seq -\nsite berlin\n"
                  "jurisdiction DE\nrelease -\npolicy -\nmodels -\nnumerics -\nohttp-key -\nreceipt-key ");
    vkey(&receipt_key, out);
    buf_printf(out, "\nsandbox " HASH_A "\nevidence none\nnot-before %s\nnot-after %s\n", from, to);
}

static void node_clock_edges(void)
{
    struct buf t = { 0 };
    make_chain();
    const struct key_secret *k = &keys[STATEMENT_NODE];
    node_text(&t, "2026-11-21T10:12:43Z", "2026-11-22T10:12:43Z");
    CHECK_INT(open_text(STATEMENT_NODE, k, buf_str(&t), NOW), ERR_OK);
    CHECK_INT(open_text(STATEMENT_NODE, k, buf_str(&t), NOW - CHAIN_SKEW_S), ERR_OK);
    CHECK_INT(open_text(STATEMENT_NODE, k, buf_str(&t), NOW - CHAIN_SKEW_S - 1), ERR_DENIED);
    CHECK_INT(open_text(STATEMENT_NODE, k, buf_str(&t), NOW + 86400), ERR_OK);
    CHECK_INT(open_text(STATEMENT_NODE, k, buf_str(&t), NOW + 86401), ERR_DENIED);
    node_text(&t, "2026-11-21T10:12:43Z", "2026-11-22T10:12:44Z"); /* more than a day */
    CHECK_INT(open_text(STATEMENT_NODE, k, buf_str(&t), NOW), ERR_DENIED);
    node_text(&t, "2026-11-21T10:12:43Z", "2026-11-20T10:12:44Z");
    CHECK_INT(open_text(STATEMENT_NODE, k, buf_str(&t), NOW), ERR_DENIED);
    buf_release(&t);
}

static struct receipt sample(void)
{
    struct receipt r = { .id = "r-1", .boot = "b1", .seq = 41, .has_prev = true, .has_model = true, .allow = true,
                         .rule = "eu-internal", .has_tenant = true, .site = "berlin", .jurisdiction = "DE",
                         .data_class = "internal", .has_seed = true, .seed = UINT64_MAX, .sampling = "temperature=0.7",
                         .has_response = true, .has_reqsig = true, .tokens_in = 12, .tokens_out = 340,
                         .finish = "stop", .started = NOW + 10, .ended = NOW + 12 };
    memset(r.prev, 0x11, sizeof r.prev);
    memset(r.model, 0x22, sizeof r.model);
    memset(r.tenant, 0x33, sizeof r.tenant);
    memset(r.request, 0x44, sizeof r.request);
    memset(r.response, 0x55, sizeof r.response);
    memset(r.reqsig, 0x66, sizeof r.reqsig);
    return r;
}

static void receipts_go_round(void)
{
    struct receipt r = sample(), again;
    struct buf t = { 0 }, u = { 0 };
    CHECK_INT(receipt_text(&r, &t, NULL), ERR_OK);
    CHECK_INT(receipt_parse(help_buf(&t), &again, NULL), ERR_OK);
    CHECK_INT(receipt_text(&again, &u, NULL), ERR_OK);
    CHECK_STR(u.data, t.data);
    CHECK(again.seq == 41 && again.seed == UINT64_MAX && again.allow && !again.has_release && again.ended == NOW + 12);
    CHECK_STR(again.rule, "eu-internal");
    struct receipt denied = { .id = "r-2", .boot = "b1", .rule = "builtin/process-in", .site = "berlin",
                              .jurisdiction = "DE", .finish = "denied", .started = NOW, .ended = NOW };
    buf_clear(&t);
    CHECK_INT(receipt_text(&denied, &t, NULL), ERR_OK);
    CHECK_INT(receipt_parse(help_buf(&t), &again, NULL), ERR_OK);
    CHECK(!again.allow && !again.has_response && !again.data_class[0]);
    snprintf(denied.finish, sizeof denied.finish, "two\nlines");
    CHECK(receipt_text(&denied, &t, NULL) != ERR_OK);
    buf_release(&t);
    buf_release(&u);
}

/* What came later: without it the bytes are those of an older receipt; with it, one spelling alone. */
static void receipts_name_who_computed(void)
{
    static const char line[] = "computed DE/fra/one boot=00000000000000ab model=sha256:"
        "1111111111111111111111111111111111111111111111111111111111111111 numerics=- tokens=300,"
        "FR/par/two boot=ffffffffffffffff model=- numerics=sha256:"
        "2222222222222222222222222222222222222222222222222222222222222222 tokens=40\n";
    static const char *const bad[] = {
        "computed -\n", "computed \n", "computed DE/fra/one boot=00000000000000ab model=- numerics=- tokens=1,\n",
        "computed DE/fra boot=00000000000000ab model=- numerics=- tokens=1\n",
        "computed de/fra/one boot=00000000000000ab model=- numerics=- tokens=1\n",
        "computed DE/f a/one boot=00000000000000ab model=- numerics=- tokens=1\n",
        "computed DE/fra/one/x boot=00000000000000ab model=- numerics=- tokens=1\n",
        "computed DE/fra/one boot=00000000000000aB model=- numerics=- tokens=1\n",
        "computed DE/fra/one boot=ab model=- numerics=- tokens=1\n",
        "computed DE/fra/one boot=00000000000000ab numerics=- model=- tokens=1\n",
        "computed DE/fra/one boot=00000000000000ab model= numerics=- tokens=1\n",
        "computed DE/fra/one boot=00000000000000ab model=- numerics=- tokens=01\n",
        "computed DE/fra/one boot=00000000000000ab model=- numerics=- tokens=1 \n",
        "computed DE/fra/one boot=00000000000000ab model=- numerics=-\n",
    };
    struct receipt r = sample(), again;
    struct buf old = { 0 }, t = { 0 }, m = { 0 };
    CHECK_INT(receipt_text(&r, &old, NULL), ERR_OK);
    CHECK(!strstr(old.data, "computed"));
    buf_append(&t, old.data, old.len);
    buf_puts(&t, line);
    CHECK_INT(receipt_parse(help_buf(&t), &again, NULL), ERR_OK);
    CHECK_INT(again.computed_count, 2);
    const struct computed *c = again.computed;
    CHECK(!strcmp(c[0].jurisdiction, "DE") && !strcmp(c[0].site, "fra") && !strcmp(c[0].worker, "one") &&
          c[0].boot == 0xab && c[0].tokens == 300 && c[0].has_model && c[0].model[31] == 0x11 && !c[0].has_numerics);
    CHECK(!strcmp(c[1].site, "par") && c[1].boot == UINT64_MAX && c[1].numerics[0] == 0x22 && !c[1].has_model);
    CHECK_INT(receipt_text(&again, &m, NULL), ERR_OK);
    CHECK_STR(m.data, t.data);
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        buf_clear(&m);
        buf_append(&m, old.data, old.len);
        buf_puts(&m, bad[i]);
        if (receipt_parse(help_buf(&m), &again, NULL) != ERR_CORRUPT)
            printf("# accepted: %s", bad[i]);
        CHECK_INT(receipt_parse(help_buf(&m), &again, NULL), ERR_CORRUPT);
    }
    buf_clear(&m);
    buf_append(&m, old.data, old.len); /* twice; then more parts than a request has attempts */
    for (int i = 0; i < 2; i++)
        buf_puts(&m, line);
    CHECK_INT(receipt_parse(help_buf(&m), &again, NULL), ERR_CORRUPT);
    buf_clear(&m);
    buf_append(&m, old.data, old.len);
    buf_puts(&m, "computed ");
    for (int i = 0; i <= COMPUTED_MAX; i++)
        buf_printf(&m, "%sDE/fra/one boot=00000000000000ab model=- numerics=- tokens=1", i ? "," : "");
    buf_puts(&m, "\n");
    CHECK_INT(receipt_parse(help_buf(&m), &again, NULL), ERR_CORRUPT);
    buf_release(&old);
    buf_release(&t);
    buf_release(&m);
}

/* A line dropped, doubled, swapped, added, or a value bent: refused. */
static void strict_lines(void)
{
    struct receipt r = sample(), again;
    struct buf t = { 0 }, m = { 0 };
    CHECK_INT(receipt_text(&r, &t, NULL), ERR_OK);
    int lines = 0;
    struct span line[32], rest = help_buf(&t);
    while (lines < 32 && span_line(&rest, &line[lines]))
        line[lines++].len++;
    CHECK_INT(lines, 26);
    for (int kind = 0; kind < 3; kind++)
        for (int i = 0; i < lines; i++) {
            buf_clear(&m);
            for (int k = 0; k < lines; k++) {
                int from = kind == 2 && i + 1 < lines ? (k == i ? i + 1 : k == i + 1 ? i : k) : k;
                if (kind != 0 || k != i)
                    buf_append(&m, line[from].data, line[from].len);
                if (kind == 1 && k == i)
                    buf_append(&m, line[k].data, line[k].len);
            }
            if (kind < 2 || i + 1 < lines)
                CHECK_INT(receipt_parse(help_buf(&m), &again, NULL), ERR_CORRUPT);
        }
    static const char *const bent[][2] = {
        { "seq 41", "seq 041" }, { "seq 41", "seq -1" }, { "seq 41", "seq  41" }, { "seq 41", "seq 41 " },
        { "seq 41", "Seq 41" }, { "jurisdiction DE", "jurisdiction de" }, { "jurisdiction DE", "jurisdiction DEU" },
        { "decision allow", "decision Allow" }, { "allow rule=", "allow  rule=" }, { "request c1:44", "request c1:4g" },
        { "request c1:", "request c2:" }, { "prev sha256:11", "prev sha256:1" }, { "Z\nended", "\nended" },
        { "tenant hmac:33", "tenant hmac:" }, { "\nrequest c1", "\r\nrequest c1" }, { "request c1:", "request -c1:" },
        { "tokens-in 12", "tokens-in -" }, { "T10:", "T25:" }, { "2026-11-21", "2026-02-30" },
        { "seed 18446744073709551615", "seed 18446744073709551616" },
    };
    for (size_t i = 0; i < MEM_COUNT(bent); i++) {
        const char *at = strstr(t.data, bent[i][0]);
        CHECK(at != NULL);
        buf_clear(&m);
        buf_append(&m, t.data, (size_t)(at - t.data));
        buf_puts(&m, bent[i][1]);
        buf_puts(&m, at + strlen(bent[i][0]));
        if (receipt_parse(help_buf(&m), &again, NULL) != ERR_CORRUPT)
            printf("# accepted: %s\n", bent[i][1]);
        CHECK_INT(receipt_parse(help_buf(&m), &again, NULL), ERR_CORRUPT);
    }
    buf_release(&t);
    buf_release(&m);
}

static void receipts_under_their_node(void)
{
    struct buf node = { 0 }, note = { 0 }, text = { 0 };
    struct statement ns, rs;
    static struct note n;
    struct receipt r = sample();
    node_text(&node, "2026-11-21T10:12:43Z", "2026-11-22T10:12:43Z");
    CHECK_INT(statement_parse(help_buf(&node), &ns, NULL), ERR_OK);
    CHECK_INT(receipt_text(&r, &text, NULL), ERR_OK);
    CHECK_INT(note_sign(help_buf(&text), &receipt_key, &note, NULL), ERR_OK);
    CHECK_INT(chain_open_receipt(&ns, help_buf(&note), &n, &rs, NULL), ERR_OK);
    for (size_t bit = 0; bit < 8 * note.len; bit += 3) { /* every bit would take a minute under the sanitizers */
        note.data[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(chain_open_receipt(&ns, help_buf(&note), &n, &rs, NULL) != ERR_OK);
        note.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    static const struct { int64_t started, ended; const char *boot; } bad[] = {
        { -301, 0, "b1" }, { 86401, 86402, "b1" }, { 10, 9, "b1" }, { 10, 12, "b2" } };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        r = sample();
        r.started = NOW + bad[i].started;
        r.ended = NOW + bad[i].ended;
        snprintf(r.boot, sizeof r.boot, "%s", bad[i].boot);
        buf_clear(&text);
        buf_clear(&note);
        CHECK_INT(receipt_text(&r, &text, NULL), ERR_OK);
        CHECK_INT(note_sign(help_buf(&text), &receipt_key, &note, NULL), ERR_OK);
        CHECK_INT(chain_open_receipt(&ns, help_buf(&note), &n, &rs, NULL), ERR_DENIED);
    }
    buf_clear(&note); /* signed by the node key instead of the receipt key */
    CHECK_INT(note_sign(help_buf(&text), &keys[STATEMENT_NODE], &note, NULL), ERR_OK);
    CHECK_INT(chain_open_receipt(&ns, help_buf(&note), &n, &rs, NULL), ERR_DENIED);
    buf_release(&node);
    buf_release(&note);
    buf_release(&text);
}

/* ---- commitments and pseudonyms */

static void commitments_hide_and_bind(void)
{
    uint8_t salt[COMMIT_SALT_BYTES] = { 1, 2, 3 }, a[HASH_BYTES], b[HASH_BYTES], bare[HASH_BYTES];
    uint8_t whole[20 + 1 + 7 + 32 + 5];
    struct commit c;
    commit_begin(&c, COMMIT_REQUEST, salt);
    commit_add(&c, "he", 2);
    commit_add(&c, "llo", 3);
    commit_end(&c, a);
    memcpy(whole, "tokenworks/commit/v1\0request", 28); /* the definition, written out */
    memcpy(whole + 28, salt, 32);
    memcpy(whole + 60, "hello", 5);
    code_sha256(b, whole, sizeof whole);
    CHECK(!memcmp(a, b, HASH_BYTES));
    commit_begin(&c, COMMIT_RESPONSE, salt);
    commit_add(&c, "hello", 5);
    commit_end(&c, b);
    CHECK(memcmp(a, b, HASH_BYTES) != 0);
    code_sha256(bare, "hello", 5);
    CHECK(memcmp(a, bare, HASH_BYTES) != 0);
    /* a dictionary that holds the prompt, tried without the salt, finds nothing; with the salt it finds it */
    static const char *const dictionary[] = { "yes", "no", "hello", "what is my diagnosis?" };
    int found_without = 0, found_with = 0;
    for (size_t i = 0; i < MEM_COUNT(dictionary); i++) {
        uint8_t zero[COMMIT_SALT_BYTES] = { 0 };
        for (int with = 0; with < 2; with++) {
            commit_begin(&c, COMMIT_REQUEST, with ? salt : zero);
            commit_add(&c, dictionary[i], strlen(dictionary[i]));
            commit_end(&c, b);
            *(with ? &found_with : &found_without) += !memcmp(a, b, HASH_BYTES);
        }
    }
    CHECK_INT(found_without, 0);
    CHECK_INT(found_with, 1);
}

static void pseudonyms_change_with_the_month(void)
{
    uint8_t key[PSEUDONYM_KEY_BYTES] = { 9 }, a[TENANT_TAG_BYTES], b[TENANT_TAG_BYTES];
    char month[8];
    pseudonym_month(NOW, month);
    CHECK_STR(month, "2026-11");
    pseudonym_tag(key, month, "acme", a);
    pseudonym_tag(key, month, "acme", b);
    CHECK(!memcmp(a, b, sizeof a));
    pseudonym_tag(key, "2026-12", "acme", b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    pseudonym_tag(key, month, "acmf", b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    key[0] = 8;
    pseudonym_tag(key, month, "acme", b);
    CHECK(memcmp(a, b, sizeof a) != 0);
}

static void leaves(void)
{
    char out[STATEMENT_LEAF_MAX];
    enum statement_type type;
    uint8_t hash[HASH_BYTES], want[HASH_BYTES];
    struct span s = statement_leaf(STATEMENT_RECEIPT, SPAN("abc"), out);
    CHECK(span_is(s, "tokenworks/leaf/receipt/v1 "
                     "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    CHECK(statement_leaf_parse(s, &type, hash) && type == STATEMENT_RECEIPT);
    code_sha256(want, "abc", 3);
    CHECK(!memcmp(hash, want, HASH_BYTES));
    CHECK(!statement_leaf_parse(SPAN("tokenworks/leaf/receipt/v2 sha256:00"), &type, hash));
    CHECK(!statement_leaf_parse(SPAN("tokenworks/receipt/v1 sha256:00"), &type, hash));
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    make_keys();
    RUN(threshold_games);
    RUN(one_key_one_role);
    RUN(roots_rotate_forward_only);
    RUN(releases_do_not_roll_back);
    RUN(keys_stay_in_their_roles);
    RUN(revoked_means_refused);
    RUN(node_clock_edges);
    RUN(receipts_go_round);
    RUN(receipts_name_who_computed);
    RUN(strict_lines);
    RUN(receipts_under_their_node);
    RUN(commitments_hide_and_bind);
    RUN(pseudonyms_change_with_the_month);
    RUN(leaves);
    DONE();
}
