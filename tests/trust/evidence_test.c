/* evidence_test -- receipts on disk before their leaves in the log, and what a crash between the two leaves behind. */
#include "../test.h"
#include "help.h"
#include "trust/boot.h"
#include "trust/evidence.h"

#include <fcntl.h>

static struct key_secret log_key;

struct scene {
    char *dir, *log_dir;
    struct tlog *log;
    struct boot_signer signer;
};

static struct tlog *open_log(const struct scene *s)
{
    struct tlog *t = NULL;
    const struct tlog_options o = { .dir = s->log_dir, .key = log_key.pub, .sign = tlog_sign_with_key,
                                    .sign_ctx = &log_key };
    if (tlog_open(&o, &t, NULL))
        abort();
    return t;
}

static void scene_open(struct scene *s)
{
    s->dir = help_dir();
    s->log_dir = help_dir();
    s->log = open_log(s);
    CHECK_INT(boot_signer_init(&s->signer, "s.example", "b1", NULL), ERR_OK);
}

static void scene_close(struct scene *s)
{
    tlog_close(s->log);
    help_remove(s->dir);
    help_remove(s->log_dir);
    mem_free(s->dir);
    mem_free(s->log_dir);
}

static void one_receipt(struct scene *s, int i, struct buf *note)
{
    struct receipt r = { .rule = "all", .allow = true, .has_response = true, .site = "x", .jurisdiction = "DE",
                         .finish = "stop", .started = 1795255963, .ended = 1795255963 };
    snprintf(r.id, sizeof r.id, "r%d", i);
    buf_clear(note);
    CHECK_INT(boot_sign(&s->signer, &r, note, NULL), ERR_OK);
}

static void add(struct scene *s, struct evidence *v, int from, int count)
{
    struct buf note = { 0 };
    char id[16];
    for (int i = from; i < from + count; i++) {
        one_receipt(s, i, &note);
        snprintf(id, sizeof id, "r%d", i);
        CHECK_INT(evidence_add(v, id, help_buf(&note), NULL), ERR_OK);
    }
    buf_release(&note);
}

static void receipts_are_found_again(void)
{
    struct scene s;
    struct evidence *v = NULL;
    struct buf note = { 0 };
    struct note n;
    struct receipt r;
    uint64_t leaf = 0;
    char text[STATEMENT_LEAF_MAX];
    scene_open(&s);
    CHECK_INT(evidence_open(s.dir, "b1", s.log, &v, NULL), ERR_OK);
    add(&s, v, 0, 5000); /* past a full batch and a growth of the index */
    CHECK_INT(evidence_get(v, "r4999", &note, &leaf, NULL), ERR_NOT_FOUND); /* not before it is committed */
    CHECK_INT(evidence_commit(v, NULL), ERR_OK);
    for (int i = 0; i < 5000; i += 499) {
        char id[16];
        struct buf entry = { 0 };
        snprintf(id, sizeof id, "r%d", i);
        buf_clear(&note);
        CHECK_INT(evidence_get(v, id, &note, &leaf, NULL), ERR_OK);
        CHECK(!note_parse(help_buf(&note), &n, NULL) && !receipt_parse(n.text, &r, NULL) && !strcmp(r.id, id));
        CHECK_INT(tiles_entry(tlog_tiles(s.log), leaf, &entry, NULL), ERR_OK);
        CHECK(span_same(help_buf(&entry), statement_leaf(STATEMENT_RECEIPT, help_buf(&note), text)));
        buf_release(&entry);
    }
    CHECK_INT(evidence_get(v, "nobody", &note, &leaf, NULL), ERR_NOT_FOUND);
    evidence_close(v);
    v = NULL;
    CHECK_INT(evidence_open(s.dir, "b1", s.log, &v, NULL), ERR_INVALID); /* a boot id serves once */
    CHECK_INT(evidence_open(s.dir, "../b2", s.log, &v, NULL), ERR_INVALID);
    CHECK_INT(evidence_open(s.dir, "", s.log, &v, NULL), ERR_INVALID);
    buf_release(&note);
    scene_close(&s);
}

/* logged receipts reach the log; stored ones are only in the file, as when the power fails in between; a last one
 * is cut. After recovery the log holds logged + stored, once each, in order. */
static void crash(int logged, int stored, int cut)
{
    struct scene s;
    struct evidence *v = NULL;
    struct buf path = { 0 }, note = { 0 };
    uint64_t count = 0;
    uint8_t last[HASH_BYTES] = { 0 }, want[HASH_BYTES] = { 0 };
    char text[STATEMENT_LEAF_MAX];
    scene_open(&s);
    CHECK_INT(evidence_open(s.dir, "b1", s.log, &v, NULL), ERR_OK);
    add(&s, v, 0, logged);
    CHECK_INT(evidence_commit(v, NULL), ERR_OK);
    evidence_close(v);
    buf_printf(&path, "%s/receipts/b1.notes", s.dir);
    FILE *f = fopen(buf_str(&path), "a");
    for (int i = 0; i < stored; i++) {
        one_receipt(&s, logged + i, &note);
        code_sha256(want, note.data, note.len);
        fprintf(f, "%zu\n", note.len);
        fwrite(note.data, 1, note.len, f);
    }
    if (cut) {
        struct boot_signer keep = s.signer;
        one_receipt(&s, 9999, &note);
        s.signer = keep;
        fprintf(f, "%zu\n", note.len);
        fwrite(note.data, 1, note.len / 2, f);
    }
    fclose(f);
    for (int round = 0; round < 2; round++) { /* recovering twice changes nothing more */
        tlog_close(s.log);
        s.log = open_log(&s);
        CHECK_INT(evidence_recover(s.dir, "b1", s.log, &count, last, NULL), ERR_OK);
        CHECK_INT(count, logged + stored);
        CHECK_INT(tlog_size(s.log), logged + stored);
        if (stored)
            CHECK(!memcmp(last, want, HASH_BYTES));
    }
    if (logged + stored) {
        struct buf file = { 0 }, entry = { 0 };
        CHECK_INT(file_read(buf_str(&path), 64 << 20, &file, NULL), ERR_OK);
        struct span rest = help_buf(&file), one;
        uint64_t i = 0;
        for (; evidence_next(&rest, &one); i++) {
            buf_clear(&entry);
            CHECK_INT(tiles_entry(tlog_tiles(s.log), i, &entry, NULL), ERR_OK);
            CHECK(span_same(help_buf(&entry), statement_leaf(STATEMENT_RECEIPT, one, text)));
        }
        CHECK(i == count && !rest.len);
        buf_release(&file);
        buf_release(&entry);
    }
    buf_release(&path);
    buf_release(&note);
    scene_close(&s);
}

static void a_crash_between_file_and_log(void)
{
    crash(0, 0, 1);
    crash(0, 3, 0);
    crash(5, 0, 0);
    crash(5, 0, 1);
    crash(300, 7, 0);
    crash(300, 250, 1);
}

static void nothing_before(void)
{
    struct scene s;
    uint64_t count = 7;
    uint8_t last[HASH_BYTES];
    scene_open(&s);
    CHECK_INT(evidence_recover(s.dir, "-", s.log, &count, last, NULL), ERR_OK);
    CHECK_INT(count, 0);
    CHECK_INT(evidence_recover(s.dir, "never", s.log, &count, last, NULL), ERR_OK);
    CHECK_INT(count, 0);
    scene_close(&s);
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    log_key = help_key("log.example", KEY_NOTE, 1);
    RUN(receipts_are_found_again);
    RUN(a_crash_between_file_and_log);
    RUN(nothing_before);
    DONE();
}
