/* keeper_test -- a keeper in its own sandboxed process: what it signs, and what nobody can make it sign. */
#include "../test.h"
#include "../trust/help.h"
#include "base/clock.h"
#include "keeper/client.h"
#include "keeper/keeper.h"
#include "keeper/message.h"
#include "keeper/secret.h"
#include "trust/boot.h"
#include "trust/evidence.h"
#include "trust/site.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct scene {
    char *dir;
    struct site site;
    pid_t pid;
    struct keeper_client c;
};

static bool start(struct scene *s)
{
    int pair[2];
    struct err e = { 0 };
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        abort();
    fflush(stdout);
    s->pid = fork();
    if (s->pid == 0) {
        close(pair[0]);
        enum err_code c = keeper_run(pair[1], &(struct keeper_options){ .site_dir = s->dir, .boot = "b1" }, &e);
        if (c)
            fprintf(stderr, "# keeper: %s\n", e.text);
        _exit(c);
    }
    close(pair[1]);
    if (keeper_client_open(pair[0], &s->c, &e)) {
        printf("# %s\n", e.text);
        return false;
    }
    return true;
}

static int stop(struct scene *s)
{
    int status = 0;
    keeper_client_close(&s->c);
    waitpid(s->pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void scene_open(struct scene *s)
{
    struct err e = { 0 };
    s->dir = help_dir();
    site_open(&s->site, s->dir);
    if (site_init(&s->site, &(struct site_plan){ .name = "k.example", .now_s = clock_wall_s() }, &e) || !start(s)) {
        printf("# %s\n", e.text);
        abort();
    }
}

static void scene_close(struct scene *s)
{
    CHECK_INT(stop(s), 0);
    site_close(&s->site);
    help_remove(s->dir);
    mem_free(s->dir);
}

static struct receipt sample(void)
{
    struct receipt r = { .id = "r", .rule = "all", .allow = true, .has_response = true, .site = "berlin",
                         .jurisdiction = "DE", .finish = "stop", .started = clock_wall_s(), .ended = clock_wall_s() };
    return r;
}

static void hello(void)
{
    struct scene s;
    scene_open(&s);
    CHECK_STR(s.c.boot, "b1");
    CHECK_STR(s.c.receipt.name, "k.example/receipt/b1");
    CHECK_STR(s.c.log.name, "k.example/log");
    CHECK(!strncmp(s.c.sandbox, "keeper netns=1 landlock=", 24));
    CHECK(!strcmp(s.c.memory, "memfd_secret") || !strcmp(s.c.memory, "mlock"));
    scene_close(&s);
}

/* Whatever boot, seq and prev the asker writes, the chain is the keeper's. */
static void receipts_are_chained_by_the_keeper(void)
{
    struct scene s;
    struct buf note = { 0 };
    struct note n;
    uint8_t prev[HASH_BYTES] = { 0 };
    scene_open(&s);
    for (uint64_t i = 0; i < 20; i++) {
        struct receipt r = sample(), got;
        snprintf(r.boot, sizeof r.boot, "other");
        r.seq = 77;
        r.has_prev = true;
        buf_clear(&note);
        CHECK_INT(keeper_client_receipt(&s.c, &r, &note, NULL), ERR_OK);
        CHECK_INT(note_parse(help_buf(&note), &n, NULL), ERR_OK);
        CHECK_INT(note_verify(&n, &s.c.receipt, NULL), ERR_OK);
        CHECK_INT(receipt_parse(n.text, &got, NULL), ERR_OK);
        CHECK_INT(got.seq, i);
        CHECK_STR(got.boot, "b1");
        CHECK(got.has_prev == (i > 0) && (!i || !memcmp(got.prev, prev, HASH_BYTES)));
        code_sha256(prev, note.data, note.len);
    }
    buf_clear(&note);
    CHECK_INT(keeper_client_end(&s.c, &note, NULL), ERR_OK);
    CHECK(strstr(note.data, "last-seq 19\n") != NULL);
    struct receipt r = sample();
    CHECK_INT(keeper_client_receipt(&s.c, &r, &note, NULL), ERR_DENIED);
    buf_release(&note);
    scene_close(&s);
}

/* The keys of content at rest: HMAC-SHA-256 (checked against openssl's) under keys/storage.key, by purpose. */
static void storage_keys_by_purpose(void)
{
    struct scene s;
    uint8_t a[SEALBOX_KEY], b[SEALBOX_KEY], master[SEALBOX_KEY];
    struct err e = { 0 };
    /* printf 'tokenworks/storage/v1\0spill m' | openssl dgst -sha256 -mac hmac -macopt hexkey:0707...07 */
    static const char known[] = "a2453eb30740aac07d628b09e877e28ec7dd43fedca4937a58312cad69239bd1";
    char hex[2 * SEALBOX_KEY + 1];
    memset(master, 7, sizeof master);
    sealbox_derive(master, "spill m", 7, a);
    code_hex(hex, a, sizeof a);
    CHECK_STR(hex, known);
    scene_open(&s);
    CHECK_INT(keeper_client_storage(&s.c, "spill m", a, NULL), ERR_OK);
    CHECK_INT(keeper_client_storage(&s.c, "spill m", b, NULL), ERR_OK);
    CHECK(!memcmp(a, b, sizeof a));
    CHECK_INT(keeper_client_storage(&s.c, "spill n", b, NULL), ERR_OK);
    CHECK(memcmp(a, b, sizeof a) != 0);
    CHECK_INT(site_storage(&s.site, master, NULL), ERR_OK);
    sealbox_derive(master, "spill m", 7, b);
    CHECK(!memcmp(a, b, sizeof a));
    CHECK_INT(keeper_client_storage(&s.c, "", a, &e), ERR_INVALID);
    scene_close(&s);
}

static void checkpoints_only_grow(void)
{
    struct scene s;
    struct buf note = { 0 }, text = { 0 };
    struct tree_proof none = { 0 };
    uint8_t root[HASH_BYTES] = { 1 };
    scene_open(&s);
    checkpoint_text("k.example/log", 7, root, &text); /* the head after init holds one leaf */
    CHECK_INT(keeper_client_sign(&s.c, help_buf(&text), &none, &note, NULL), ERR_DENIED);
    buf_clear(&text);
    checkpoint_text("k.example/log", 0, root, &text);
    CHECK_INT(keeper_client_sign(&s.c, help_buf(&text), &none, &note, NULL), ERR_DENIED);
    buf_clear(&text);
    checkpoint_text("other.example/log", 1, root, &text);
    CHECK_INT(keeper_client_sign(&s.c, help_buf(&text), &none, &note, NULL), ERR_DENIED);
    /* and the honest log writes through it */
    struct buf dir = { 0 };
    struct tlog *log = NULL;
    struct err e = { 0 };
    uint64_t index;
    buf_printf(&dir, "%s/log", s.site.pub);
    const struct tlog_options o = { .dir = buf_str(&dir), .key = s.c.log, .sign = keeper_client_sign, .sign_ctx = &s.c };
    CHECK_INT(tlog_open(&o, &log, &e), ERR_OK);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 100; i++)
            CHECK_INT(tlog_append(log, SPAN("leaf"), &index, &e), ERR_OK);
        CHECK_INT(tlog_commit(log, &e), ERR_OK);
    }
    CHECK_STR(e.text, "");
    tlog_close(log);
    buf_release(&dir);
    buf_release(&note);
    buf_release(&text);
    scene_close(&s);
}

static enum err_code ask_node(struct scene *s, const char *boot, const char *vkey, int64_t from, int64_t to)
{
    struct buf text = { 0 }, note = { 0 };
    const struct boot_node n = { .name = "n", .boot = boot, .site = "berlin", .jurisdiction = "DE",
                                 .receipt_key = vkey, .not_before = from, .not_after = to, .sandbox = s->c.sandbox };
    CHECK_INT(boot_node_text(&n, &text, NULL), ERR_OK);
    enum err_code c = keeper_client_node(&s->c, help_buf(&text), &note, NULL);
    buf_release(&text);
    buf_release(&note);
    return c;
}

static void node_notes_about_itself_only(void)
{
    struct scene s;
    char vkey[KEY_TEXT_MAX], other[KEY_TEXT_MAX];
    struct key_secret stranger = help_key("k.example/receipt/b1", KEY_NOTE, 9);
    int64_t now = clock_wall_s();
    scene_open(&s);
    key_public_text(&s.c.receipt, vkey);
    key_public_text(&stranger.pub, other);
    CHECK_INT(ask_node(&s, "b1", vkey, now, now + 86400), ERR_OK);
    CHECK_INT(ask_node(&s, "b2", vkey, now, now + 86400), ERR_DENIED);
    CHECK_INT(ask_node(&s, "b1", other, now, now + 86400), ERR_DENIED);
    CHECK_INT(ask_node(&s, "b1", vkey, now + 3600, now + 7200), ERR_DENIED);
    CHECK_INT(ask_node(&s, "b1", vkey, now, now + 10 * 86400), ERR_DENIED);
    scene_close(&s);
}

static void nothing_else_is_signed(void)
{
    struct scene s;
    scene_open(&s);
    static const char *const texts[] = { "", "hello\n", "tokenworks/policy/v1\nseq 1\n", "\x01", "k.example/log\n9\nAA==\n",
                                         "2026-11", "1999-01 clinic" };
    for (uint8_t kind = 0; kind < 12; kind++)
        for (size_t i = 0; i < MEM_COUNT(texts); i++) {
            struct keeper_message m = { .kind = kind };
            if (kind == KEEPER_HELLO || kind == KEEPER_CLOSE || kind == KEEPER_STORAGE) /* 32 bytes are no signature */
                continue;
            buf_puts(&m.payload, texts[i]);
            CHECK_INT(keeper_send(s.c.fd, &m, NULL), ERR_OK);
            CHECK_INT(keeper_receive(s.c.fd, &m, NULL), ERR_OK);
            CHECK(m.status != ERR_OK);
            buf_release(&m.payload);
        }
    struct receipt r = sample(); /* a receipt that cannot be written takes no number */
    struct buf note = { 0 };
    CHECK_INT(keeper_client_receipt(&s.c, &r, &note, NULL), ERR_OK);
    CHECK(strstr(note.data, "\nseq 0\n") != NULL);
    buf_release(&note);
    scene_close(&s);
}

static void malformed_frames_end_it(void)
{
    struct scene s;
    uint8_t head[KEEPER_HEADER_BYTES] = { 0xff, 0xff, 0xff, 0x7f, KEEPER_RECEIPT };
    int status = 0;
    scene_open(&s);
    CHECK(send(s.c.fd, head, sizeof head, MSG_NOSIGNAL) == sizeof head);
    waitpid(s.pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == ERR_CORRUPT);
    keeper_client_close(&s.c);
    site_close(&s.site);
    help_remove(s.dir);
    mem_free(s.dir);
}

static void pseudonyms(void)
{
    struct scene s;
    uint8_t a[TENANT_TAG_BYTES], b[TENANT_TAG_BYTES], key[PSEUDONYM_KEY_BYTES];
    char month[8];
    scene_open(&s);
    pseudonym_month(clock_wall_s(), month);
    CHECK_INT(keeper_client_tag(&s.c, month, "clinic", a, NULL), ERR_OK);
    CHECK_INT(site_pseudonym(&s.site, month, key, NULL), ERR_OK); /* the auditor's copy gives the same */
    pseudonym_tag(key, month, "clinic", b);
    CHECK(!memcmp(a, b, sizeof a));
    CHECK_INT(keeper_client_tag(&s.c, "1999-01", "clinic", a, NULL), ERR_NOT_FOUND);
    scene_close(&s);
}

/* The seed of the log's key, searched in everything a process of the same machine can read of the keeper. */
static void keys_are_not_in_readable_memory(void)
{
    struct scene s;
    struct key_secret log = { 0 };
    struct buf maps = { 0 }, page = { 0 };
    char path[64];
    int found = 0;
    scene_open(&s);
    if (strcmp(s.c.memory, "memfd_secret")) {
        scene_close(&s);
        SKIP("no memfd_secret here: locked memory is readable for root");
    }
    CHECK_INT(site_key(&s.site, "log", &log, NULL), ERR_OK);
    snprintf(path, sizeof path, "/proc/%d/maps", (int)s.pid);
    CHECK_INT(file_read(path, 1 << 20, &maps, NULL), ERR_OK);
    snprintf(path, sizeof path, "/proc/%d/mem", (int)s.pid);
    int fd = open(path, O_RDONLY);
    struct span rest = help_buf(&maps), line;
    bool any = false;
    while (fd >= 0 && span_line(&rest, &line)) {
        unsigned long long from = 0, to = 0;
        char mode[5] = "";
        if (sscanf(line.data, "%llx-%llx %4s", &from, &to, mode) != 3 || mode[0] != 'r' || to - from > 64 << 20)
            continue;
        buf_clear(&page);
        char *room = buf_reserve(&page, to - from);
        ssize_t n = pread(fd, room, to - from, (off_t)from);
        any |= n > 0;
        if (n > 0 && memmem(room, (size_t)n, log.secret, KEY_SEED_BYTES))
            found++;
    }
    if (fd >= 0)
        close(fd);
    CHECK_INT(found, 0);
    printf("# memory of the keeper was %s\n", any ? "readable, keys not in it" : "not readable");
    key_secret_wipe(&log);
    buf_release(&maps);
    buf_release(&page);
    scene_close(&s);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    if (trust_init(NULL))
        return 1;
    RUN(hello);
    RUN(receipts_are_chained_by_the_keeper);
    RUN(storage_keys_by_purpose);
    RUN(checkpoints_only_grow);
    RUN(node_notes_about_itself_only);
    RUN(nothing_else_is_signed);
    RUN(malformed_frames_end_it);
    RUN(pseudonyms);
    RUN(keys_are_not_in_readable_memory);
    DONE();
}
