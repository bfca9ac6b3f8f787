/* modelsig_test -- model signatures: a bundle of the reference implementation, ours, and both bent. Operating logs. */
#include "../test.h"
#include "help.h"
#include "trust/modelsig.h"
#include "trust/oplog.h"

#include <fcntl.h>
#include <sys/stat.h>

static void load(const char *name, struct buf *out)
{
    struct buf path = { 0 };
    buf_printf(&path, "tests/trust/modelsig/%s", name);
    CHECK_INT(file_read(buf_str(&path), 1 << 20, out, NULL), ERR_OK);
    buf_release(&path);
}

static void reference_bundle(void)
{
    struct buf bundle = { 0 }, pem = { 0 };
    struct modelsig m = { 0 };
    struct err e = { 0 };
    load("model.sig.json", &bundle);
    load("public.pem", &pem);
    CHECK_INT(modelsig_verify(help_buf(&bundle), help_buf(&pem), &m, &e), ERR_OK);
    CHECK_STR(e.text, "");
    CHECK_STR(m.model, "model");
    CHECK_INT(m.count, 2);
    CHECK_STR(m.files[1].name, "sub/b.bin");
    CHECK(help_is_hex(m.root, 32, "30d2a5896117e13a3b0c168926c835a253ac2b8c7408450b5278c43ad10dbc51"));
    uint8_t hash[HASH_BYTES];
    code_sha256(hash, "weights", 7);
    CHECK(!memcmp(hash, m.files[0].sha256, HASH_BYTES));
    modelsig_release(&m);
    struct buf other_secret = { 0 }, other = { 0 }; /* another key */
    CHECK_INT(modelsig_keygen(&other_secret, &other, &e), ERR_OK);
    CHECK_INT(modelsig_verify(help_buf(&bundle), help_buf(&other), &m, &e), ERR_DENIED);
    char *payload = strstr(bundle.data, "\"payload\":\"") + 11; /* every letter of the payload and the signature */
    char *sig = strstr(bundle.data, "\"sig\":\"") + 7;
    for (char *at = payload; *at != '"'; at += 5) {
        char was = *at;
        *at = was == 'A' ? 'B' : 'A';
        if (was != *at)
            CHECK(modelsig_verify(help_buf(&bundle), help_buf(&pem), &m, &e) != ERR_OK);
        *at = was;
    }
    for (char *at = sig; *at != '"'; at++) {
        char was = *at;
        *at = was == 'A' ? 'B' : 'A';
        CHECK(modelsig_verify(help_buf(&bundle), help_buf(&pem), &m, &e) != ERR_OK);
        *at = was;
    }
    buf_release(&other_secret);
    buf_release(&other);
    buf_release(&bundle);
    buf_release(&pem);
}

static struct modelsig two_files(void)
{
    struct modelsig m = { .model = "tiny", .count = 2, .files = mem_new(2, sizeof *m.files) };
    snprintf(m.files[0].name, sizeof m.files[0].name, "z.gguf");
    snprintf(m.files[1].name, sizeof m.files[1].name, "a/tokenizer.json");
    code_sha256(m.files[0].sha256, "weights", 7);
    code_sha256(m.files[1].sha256, "vocab", 5);
    return m;
}

static void ours_goes_round(void)
{
    struct buf secret = { 0 }, pem = { 0 }, bundle = { 0 };
    struct modelsig m = two_files(), again = { 0 };
    struct err e = { 0 };
    CHECK_INT(modelsig_keygen(&secret, &pem, &e), ERR_OK);
    CHECK_INT(modelsig_make(&m, help_buf(&secret), &bundle, &e), ERR_OK);
    CHECK_INT(modelsig_verify(help_buf(&bundle), help_buf(&pem), &again, &e), ERR_OK);
    CHECK(!memcmp(m.root, again.root, HASH_BYTES));
    CHECK_STR(again.files[0].name, "a/tokenizer.json");
    CHECK_INT(modelsig_make(&m, help_buf(&pem), &bundle, &e), ERR_INVALID); /* a public key does not sign */
    modelsig_release(&m);
    modelsig_release(&again);
    buf_release(&secret);
    buf_release(&pem);
    buf_release(&bundle);
}

static void names_that_climb_are_refused(void)
{
    static const char *const bad[] = { "", "/etc/passwd", "../x", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", ".." };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        struct modelsig m = two_files();
        snprintf(m.files[0].name, sizeof m.files[0].name, "%s", bad[i]);
        CHECK_INT(modelsig_root(&m, NULL), ERR_INVALID);
        modelsig_release(&m);
    }
    struct modelsig m = two_files();
    snprintf(m.files[0].name, sizeof m.files[0].name, "a/tokenizer.json");
    CHECK_INT(modelsig_root(&m, NULL), ERR_INVALID);
    modelsig_release(&m);
}

static void swapped_weights_are_noticed(void)
{
    char *dir = help_dir();
    struct buf path = { 0 };
    struct modelsig m = two_files();
    buf_printf(&path, "%s/z.gguf", dir);
    CHECK_INT(file_write(buf_str(&path), "weights", 7, NULL), ERR_OK);
    int fd = open(buf_str(&path), O_RDONLY);
    CHECK_INT(modelsig_check_fd(&m, "z.gguf", fd, NULL), ERR_OK);
    /* the name now leads elsewhere; the descriptor that is mapped does not */
    CHECK_INT(file_write(buf_str(&path), "WEIGHTS", 7, NULL), ERR_OK);
    CHECK_INT(modelsig_check_fd(&m, "z.gguf", fd, NULL), ERR_OK);
    int swapped = open(buf_str(&path), O_RDONLY);
    CHECK_INT(modelsig_check_fd(&m, "z.gguf", swapped, NULL), ERR_DENIED);
    CHECK_INT(modelsig_check_fd(&m, "y.gguf", fd, NULL), ERR_DENIED);
    close(fd);
    close(swapped);
    modelsig_release(&m);
    buf_release(&path);
    help_remove(dir);
    mem_free(dir);
}

/* Theirs verifies ours, when the package is installed: $TW_MODEL_SIGNING names its command. */
static void reference_verifies_ours(void)
{
    const char *tool = getenv("TW_MODEL_SIGNING");
    if (!tool)
        SKIP("set TW_MODEL_SIGNING to the model_signing command of the Python package");
    char *dir = help_dir();
    struct buf b = { 0 }, secret = { 0 }, pem = { 0 }, bundle = { 0 }, cmd = { 0 };
    struct modelsig m = { .model = "model", .count = 1, .files = mem_new(1, sizeof *m.files) };
    snprintf(m.files[0].name, sizeof m.files[0].name, "z.gguf");
    code_sha256(m.files[0].sha256, "weights", 7);
    CHECK_INT(modelsig_keygen(&secret, &pem, NULL), ERR_OK);
    CHECK_INT(modelsig_make(&m, help_buf(&secret), &bundle, NULL), ERR_OK);
    buf_printf(&b, "%s/model", dir);
    CHECK(!mkdir(buf_str(&b), 0700));
    buf_puts(&b, "/z.gguf");
    CHECK_INT(file_write(buf_str(&b), "weights", 7, NULL), ERR_OK);
    buf_clear(&b);
    buf_printf(&b, "%s/p.pem", dir);
    CHECK_INT(file_write(buf_str(&b), pem.data, pem.len, NULL), ERR_OK);
    buf_clear(&b);
    buf_printf(&b, "%s/m.sig", dir);
    CHECK_INT(file_write(buf_str(&b), bundle.data, bundle.len, NULL), ERR_OK);
    buf_printf(&cmd, "%s verify key %s/model --signature %s/m.sig --public_key %s/p.pem 2>&1", tool, dir, dir, dir);
    FILE *p = popen(buf_str(&cmd), "r");
    char line[512];
    while (p && fgets(line, sizeof line, p))
        printf("# %s", line);
    CHECK(p && pclose(p) == 0);
    modelsig_release(&m);
    struct buf *const all[] = { &b, &secret, &pem, &bundle, &cmd };
    for (size_t i = 0; i < MEM_COUNT(all); i++)
        buf_release(all[i]);
    help_remove(dir);
    mem_free(dir);
}

/* ---- the operating log */

static void write_log(const uint8_t pub[32], bool end, struct buf *out)
{
    char name[] = "/tmp/tw-oplog-XXXXXX";
    int fd = mkstemp(name);
    struct oplog *o = NULL;
    CHECK_INT(oplog_begin(fd, pub, &o, NULL), ERR_OK);
    CHECK_INT(oplog_add(o, SPAN("first"), NULL), ERR_OK);
    CHECK_INT(oplog_add(o, SPAN(""), NULL), ERR_OK);
    CHECK_INT(oplog_add(o, SPAN("the third line"), NULL), ERR_OK);
    if (end)
        CHECK_INT(oplog_end(o, NULL), ERR_OK);
    else
        mem_free(o);
    CHECK_INT(file_read(name, 1 << 20, out, NULL), ERR_OK);
    close(fd);
    unlink(name);
}

static void operating_log(void)
{
    uint8_t secret[32], pub[32], other[32], other_pub[32];
    struct buf file = { 0 }, text = { 0 };
    bool complete = false;
    oplog_keypair(secret, pub);
    oplog_keypair(other, other_pub);
    write_log(pub, true, &file);
    CHECK_INT(oplog_read(help_buf(&file), secret, &text, &complete, NULL), ERR_OK);
    CHECK(complete);
    CHECK_STR(text.data, "first\n\nthe third line\n");
    CHECK(!memmem(file.data, file.len, "third", 5));
    CHECK_INT(oplog_read(help_buf(&file), other, &text, &complete, NULL), ERR_DENIED);
    for (size_t bit = 0; bit < 8 * file.len; bit++) {
        file.data[bit / 8] ^= (char)(1 << bit % 8);
        enum err_code c = oplog_read(help_buf(&file), secret, &text, &complete, NULL);
        CHECK(c || !complete);
        file.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < file.len; cut++) {
        enum err_code c = oplog_read((struct span){ file.data, cut }, secret, &text, &complete, NULL);
        CHECK(c || !complete);
    }
    buf_putc(&file, 'x');
    CHECK_INT(oplog_read(help_buf(&file), secret, &text, &complete, NULL), ERR_DENIED);
    buf_clear(&file);
    buf_clear(&text);
    write_log(pub, false, &file); /* killed before its end */
    CHECK_INT(oplog_read(help_buf(&file), secret, &text, &complete, NULL), ERR_OK);
    CHECK(!complete);
    CHECK_STR(text.data, "first\n\nthe third line\n");
    buf_release(&file);
    buf_release(&text);
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    RUN(reference_bundle);
    RUN(ours_goes_round);
    RUN(names_that_climb_are_refused);
    RUN(swapped_weights_are_noticed);
    RUN(reference_verifies_ours);
    RUN(operating_log);
    DONE();
}
