/* tlog_test -- the log on disk: layout, proofs, restart, witnesses, and a power cut at every write. */
#include "../test.h"
#include "base/assert.h"
#include "base/rng.h"
#include "help.h"
#include "trust/tlog.h"
#include "trust/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct key_secret log_key;

static struct tlog_options options(const char *dir)
{
    return (struct tlog_options){ .dir = dir, .key = log_key.pub, .sign = tlog_sign_with_key, .sign_ctx = &log_key };
}

static struct tlog *must_open(const struct tlog_options *o)
{
    struct tlog *t = NULL;
    struct err e = { 0 };
    if (tlog_open(o, &t, &e)) {
        printf("# %s\n", e.text);
        abort();
    }
    return t;
}

static struct span leaf_text(uint64_t i, char out[64])
{
    int n = snprintf(out, 64, "tokenworks/leaf/test/v1 %llu", (unsigned long long)i);
    return (struct span){ out, (size_t)n };
}

static void add(struct tlog *t, uint64_t count)
{
    char text[64];
    uint64_t index, at = 0;
    struct err e = { 0 };
    struct note n;
    struct checkpoint cp;
    CHECK_INT(checkpoint_open(tlog_head(t), &log_key.pub, &n, &cp, &e), ERR_OK);
    at = cp.size;
    for (uint64_t i = 0; i < count; i++) {
        CHECK_INT(tlog_append(t, leaf_text(at + i, text), &index, &e), ERR_OK);
        CHECK_INT(index, at + i);
    }
    CHECK_INT(tlog_commit(t, &e), ERR_OK);
}

/* The root, computed from the leaves alone. */
static void root_of(uint64_t size, uint8_t out[HASH_BYTES])
{
    struct tree_edge t = { 0 };
    uint8_t h[HASH_BYTES];
    char text[64];
    for (uint64_t i = 0; i < size; i++) {
        struct span s = leaf_text(i, text);
        tree_leaf_hash(h, s.data, s.len);
        tree_edge_add(&t, h);
    }
    tree_edge_root(&t, out);
}

static bool head_is(struct tlog *t, uint64_t size)
{
    struct note n;
    struct checkpoint cp;
    uint8_t root[HASH_BYTES];
    root_of(size, root);
    return !checkpoint_open(tlog_head(t), &log_key.pub, &n, &cp, NULL) && cp.size == size &&
           !memcmp(cp.root, root, HASH_BYTES);
}

static bool exists(const char *dir, const char *rel)
{
    struct buf p = { 0 };
    buf_printf(&p, "%s/%s", dir, rel);
    bool there = !access(buf_str(&p), F_OK);
    buf_release(&p);
    return there;
}

/* The example of the standard: 70,000 leaves are 273 full tiles, a partial one of 112, and so on up. */
static void layout_of_the_standard(void)
{
    char *dir = help_dir();
    struct tlog_options o = options(dir);
    struct tlog *t = must_open(&o);
    for (int i = 0; i < 70; i++)
        add(t, 1000);
    CHECK(head_is(t, 70000));
    CHECK(exists(dir, "tile/0/272"));
    CHECK(!exists(dir, "tile/0/273"));
    CHECK(exists(dir, "tile/0/273.p/112"));
    CHECK(exists(dir, "tile/entries/273.p/112"));
    CHECK(exists(dir, "tile/1/000"));
    CHECK(exists(dir, "tile/1/001.p/17"));
    CHECK(exists(dir, "tile/2/000.p/1"));
    CHECK(!exists(dir, "tile/0/003.p")); /* dropped once full */
    tlog_close(t);
    t = must_open(&o);
    CHECK(head_is(t, 70000));
    add(t, 300);
    CHECK(head_is(t, 70300));
    tlog_close(t);
    help_remove(dir);
    mem_free(dir);
}

static void paths(void)
{
    char p[TILE_PATH_MAX];
    tiles_path(p, 0, 1234067, 256);
    CHECK_STR(p, "tile/0/x001/x234/067"); /* the standard's example */
    tiles_path(p, TILE_ENTRIES_LEVEL, 0, 5);
    CHECK_STR(p, "tile/entries/000.p/5");
    static const char *const good[] = { "checkpoint", "tile/0/000", "tile/63/999", "tile/0/x001/x234/067",
                                        "tile/entries/x001/000.p/255", "tile/5/123.p/1" };
    static const char *const bad[] = {
        "", "head", "lock", "/checkpoint", "checkpoint/", "tile", "tile/", "tile/0/", "tile/0/1", "tile/0/0001",
        "tile/64/000", "tile/00/000", "tile/-1/000", "tile/0/000/", "tile/0/001/234", "tile/0/x000/000",
        "tile/0/x001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p",
        "tile/entries/../../head", "tile/../head", "tile/0/../../head", "../head", "tile/0/x01/000",
        "tile/0/xabc/000", "tile/0/abc", "tile/entries/%2e%2e/head", "tile/0/x001/../head", "tile//000",
        "tile/0/000.p/5/..", "tile/0/000\n", "tile/0/000.p/5 ", "tile/entries/x999/x999/x999/x999/x999/x999/x999/999",
    };
    for (size_t i = 0; i < MEM_COUNT(good); i++)
        CHECK(tiles_path_ok(span_of(good[i])));
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        if (tiles_path_ok(span_of(bad[i])))
            printf("# %s\n", bad[i]);
        CHECK(!tiles_path_ok(span_of(bad[i])));
    }
    CHECK(!tiles_path_ok((struct span){ "tile/0/000\0", 11 }));
}

static void proofs_come_out_of_tiles(void)
{
    char *dir = help_dir(), text[64];
    struct tlog_options o = options(dir);
    struct tlog *t = must_open(&o);
    static struct proof p;
    static struct quorum q;
    struct buf b = { 0 };
    struct err e = { 0 };
    char vkey[KEY_TEXT_MAX], policy[512];
    add(t, 700);
    key_public_text(&log_key.pub, vkey);
    snprintf(policy, sizeof policy, "log %s\nquorum none\n", vkey);
    CHECK_INT(quorum_parse(span_of(policy), &q, &e), ERR_OK);
    for (uint64_t i = 0; i < 700; i += i < 5 || i > 690 ? 1 : 83) {
        buf_clear(&b);
        CHECK_INT(tlog_prove(t, i, &b, &e), ERR_OK);
        CHECK_INT(proof_parse(help_buf(&b), &p, &e), ERR_OK);
        CHECK_INT(proof_check(&p, &q, &(struct quorum_time){ 0 }, leaf_text(i, text), &e), ERR_OK);
        CHECK_INT(proof_check(&p, &q, &(struct quorum_time){ 0 }, leaf_text(i + 1, text), &e), ERR_DENIED);
        buf_clear(&b);
        CHECK_INT(tiles_entry(tlog_tiles(t), i, &b, &e), ERR_OK);
        CHECK(span_same(help_buf(&b), leaf_text(i, text)));
    }
    CHECK_INT(tlog_prove(t, 700, &b, &e), ERR_BUSY);
    buf_release(&b);
    tlog_close(t);
    help_remove(dir);
    mem_free(dir);
}

static void damage(const char *dir, const char *rel, size_t at)
{
    struct buf p = { 0 };
    uint8_t byte = 0;
    buf_printf(&p, "%s/%s", dir, rel);
    int fd = open(buf_str(&p), O_RDWR);
    CHECK(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
    byte ^= 0x10;
    CHECK(pwrite(fd, &byte, 1, (off_t)at) == 1);
    close(fd);
    buf_release(&p);
}

static void restart_notices_damage(void)
{
    static const struct {
        const char *file;
        size_t at;
    } spots[] = { { "tile/1/000.p/2", 3 }, { "tile/0/002.p/88", 40 }, { "tile/entries/002.p/88", 20 },
                  { "head", 20 }, { "checkpoint", 60 } };
    for (size_t i = 0; i < MEM_COUNT(spots); i++) {
        char *dir = help_dir();
        struct tlog_options o = options(dir);
        struct tlog *t = must_open(&o);
        add(t, 600);
        tlog_close(t);
        damage(dir, spots[i].file, spots[i].at);
        t = NULL;
        CHECK(tlog_open(&o, &t, NULL) != ERR_OK);
        tlog_close(t);
        help_remove(dir);
        mem_free(dir);
    }
}

static void two_writers_are_one_too_many(void)
{
    char *dir = help_dir();
    struct tlog_options o = options(dir);
    struct tlog *t = must_open(&o), *u = NULL;
    CHECK_INT(tlog_open(&o, &u, NULL), ERR_BUSY);
    tlog_close(t);
    help_remove(dir);
    mem_free(dir);
}

/* ---- witnesses */

struct scene {
    char *log_dir, *witness_dir;
    struct tlog_options o;
    struct tlog *t;
    struct witness w;
    struct key_secret wkey;
};

static void scene_open(struct scene *s)
{
    struct err e;
    s->log_dir = help_dir();
    s->witness_dir = help_dir();
    s->o = options(s->log_dir);
    s->o.witnessed = true;
    s->t = must_open(&s->o);
    s->wkey = help_key("witness.example/w", KEY_COSIGNATURE, 5);
    CHECK_INT(witness_open(&s->w, s->witness_dir, &s->wkey, &e), ERR_OK);
    CHECK_INT(witness_add_log(&s->w, &log_key.pub, &e), ERR_OK);
}

static void scene_close(struct scene *s)
{
    tlog_close(s->t);
    witness_close(&s->w);
    help_remove(s->log_dir);
    help_remove(s->witness_dir);
    mem_free(s->log_dir);
    mem_free(s->witness_dir);
}

/* Asks the witness to move from old to the head of t; out gets the head with its cosignature. */
static int ask(struct scene *s, struct tlog *t, uint64_t old, struct buf *out)
{
    struct tree_proof p;
    struct buf request = { 0 };
    int status = 0;
    struct err e;
    CHECK_INT(tree_prove_grown(old, tlog_size(t), tiles_hash, tlog_tiles(t), &p, &e), ERR_OK);
    witness_request(old, &p, tlog_head(t), &request);
    buf_clear(out);
    buf_append(out, tlog_head(t).data, tlog_head(t).len);
    witness_add_checkpoint(&s->w, help_buf(&request), 1700000000, &status, out, &e);
    buf_release(&request);
    return status;
}

static void witness_cosigns_growth_only(void)
{
    struct scene s = { 0 };
    struct buf b = { 0 };
    struct note n;
    int64_t when;
    scene_open(&s);
    add(s.t, 5);
    CHECK_INT(ask(&s, s.t, 0, &b), 200);
    CHECK_INT(note_parse(help_buf(&b), &n, NULL), ERR_OK);
    CHECK_INT(cosign_verify(&n, &s.wkey.pub, &when, NULL), ERR_OK);
    CHECK_INT(when, 1700000000);
    CHECK(!exists(s.log_dir, "checkpoint")); /* nothing is published before the witness has spoken */
    CHECK_INT(tlog_cosigned(s.t, help_buf(&b), NULL), ERR_OK);
    CHECK(exists(s.log_dir, "checkpoint"));
    CHECK_INT(ask(&s, s.t, 0, &b), 409);
    CHECK(b.len > 2 && !strcmp(b.data + b.len - 2, "5\n"));
    CHECK_INT(ask(&s, s.t, 5, &b), 200); /* the same again is fine */
    add(s.t, 300);
    CHECK_INT(ask(&s, s.t, 4, &b), 409);
    CHECK_INT(ask(&s, s.t, 5, &b), 200);
    witness_close(&s.w); /* it remembers */
    CHECK_INT(witness_open(&s.w, s.witness_dir, &s.wkey, NULL), ERR_OK);
    CHECK_INT(witness_add_log(&s.w, &log_key.pub, NULL), ERR_OK);
    CHECK_INT(ask(&s, s.t, 5, &b), 409);
    CHECK_INT(ask(&s, s.t, 305, &b), 200);
    buf_release(&b);
    scene_close(&s);
}

/* The operator makes a second log with the same key and other leaves, and shows it to the witness. */
static void fork_is_refused(void)
{
    struct scene s = { 0 };
    struct buf b = { 0 };
    char *dir = help_dir();
    uint64_t index;
    scene_open(&s);
    add(s.t, 9);
    CHECK_INT(ask(&s, s.t, 0, &b), 200);
    struct tlog_options o = options(dir);
    struct tlog *fork = must_open(&o);
    for (int i = 0; i < 12; i++)
        CHECK_INT(tlog_append(fork, SPAN("another leaf"), &index, NULL), ERR_OK);
    CHECK_INT(tlog_commit(fork, NULL), ERR_OK);
    CHECK_INT(ask(&s, fork, 9, &b), 422);
    CHECK_INT(ask(&s, fork, 0, &b), 409);
    tlog_close(fork);
    help_remove(dir);
    mem_free(dir);
    buf_release(&b);
    scene_close(&s);
}

static void strange_requests(void)
{
    struct scene s = { 0 };
    struct buf b = { 0 };
    int status;
    scene_open(&s);
    add(s.t, 3);
    struct span head = tlog_head(s.t);
    static const char *const firsts[] = { "", "old 0\n", "old 00\n\n", "new 0\n\n", "old 0\nAAAA\n\n", "old -1\n\n" };
    for (size_t i = 0; i < MEM_COUNT(firsts); i++) {
        buf_clear(&b);
        buf_puts(&b, firsts[i]);
        buf_append(&b, head.data, head.len);
        struct buf out = { 0 };
        CHECK(witness_add_checkpoint(&s.w, help_buf(&b), 1, &status, &out, NULL) != ERR_OK);
        CHECK_INT(status, 400);
        buf_release(&out);
    }
    buf_clear(&b); /* size above the checkpoint's */
    buf_puts(&b, "old 4\n\n");
    buf_append(&b, head.data, head.len);
    struct buf out = { 0 };
    CHECK(witness_add_checkpoint(&s.w, help_buf(&b), 1, &status, &out, NULL) != ERR_OK);
    CHECK_INT(status, 400);
    b.data[b.len - 10] ^= 1; /* a broken signature of a known key */
    CHECK(witness_add_checkpoint(&s.w, help_buf(&b), 1, &status, &out, NULL) != ERR_OK);
    CHECK(status == 403 || status == 400);
    struct key_secret stranger = help_key("stranger.example", KEY_NOTE, 77);
    struct buf text = { 0 };
    uint8_t root[HASH_BYTES] = { 0 };
    checkpoint_text(stranger.pub.name, 1, root, &text);
    buf_clear(&b);
    buf_puts(&b, "old 0\n\n");
    CHECK_INT(note_sign(help_buf(&text), &stranger, &b, NULL), ERR_OK);
    CHECK(witness_add_checkpoint(&s.w, help_buf(&b), 1, &status, &out, NULL) != ERR_OK);
    CHECK_INT(status, 404);
    buf_clear(&text); /* an empty tree with a root that is not the empty one */
    buf_clear(&b);
    checkpoint_text(log_key.pub.name, 0, root, &text);
    buf_puts(&b, "old 0\n\n");
    CHECK_INT(note_sign(help_buf(&text), &log_key, &b, NULL), ERR_OK);
    CHECK(witness_add_checkpoint(&s.w, help_buf(&b), 1, &status, &out, NULL) != ERR_OK);
    CHECK_INT(status, 422);
    buf_release(&text);
    buf_release(&out);
    buf_release(&b);
    scene_close(&s);
}

/* The log comes back from an old copy; the witness saw more. */
static void rollback_stops_signing(void)
{
    char *dir = help_dir(), *old = help_dir();
    struct tlog_options o = options(dir), back = options(old);
    struct tlog *t = must_open(&o), *u = must_open(&back);
    uint8_t root[HASH_BYTES];
    uint64_t index;
    struct err e = { 0 };
    add(t, 20);
    add(u, 10);
    root_of(20, root);
    CHECK_INT(tlog_floor(t, 20, root, &e), ERR_OK);
    CHECK_INT(tlog_floor(u, 20, root, &e), ERR_DENIED);
    CHECK(strstr(e.text, "rolled back") != NULL);
    CHECK_INT(tlog_append(u, SPAN("x"), &index, &e), ERR_BUSY);
    CHECK_INT(tlog_commit(u, &e), ERR_BUSY);
    root[0] ^= 1;
    CHECK_INT(tlog_floor(t, 20, root, &e), ERR_DENIED);
    CHECK(strstr(e.text, "forked") != NULL);
    CHECK_INT(tlog_append(t, SPAN("x"), &index, &e), ERR_BUSY);
    tlog_close(t);
    tlog_close(u);
    struct buf from = { 0 }, to = { 0 }, bytes = { 0 }; /* a head older than what was published */
    buf_printf(&from, "%s/head", old);
    buf_printf(&to, "%s/head", dir);
    CHECK_INT(file_read(buf_str(&from), 4096, &bytes, &e), ERR_OK);
    CHECK_INT(file_write(buf_str(&to), bytes.data, bytes.len, &e), ERR_OK);
    t = NULL;
    CHECK(tlog_open(&o, &t, &e) != ERR_OK);
    buf_clear(&to); /* and no head at all */
    buf_printf(&to, "%s/head", dir);
    unlink(buf_str(&to));
    CHECK_INT(tlog_open(&o, &t, &e), ERR_CORRUPT);
    buf_release(&from);
    buf_release(&to);
    buf_release(&bytes);
    help_remove(dir);
    help_remove(old);
    mem_free(dir);
    mem_free(old);
}

/* ---- power cuts */

enum { OPS_MAX = 4000, STAGED_MAX = 64 };
enum op_kind { OP_STAGE, OP_SYNC, OP_PUBLISH, OP_MKDIR, OP_SYNC_DIR, OP_ACK };

struct op {
    enum op_kind kind;
    int file;              /* number of the staged file */
    char *path;            /* relative to the log's folder */
    struct buf data;
    uint64_t size;         /* OP_ACK: leaves acknowledged so far */
};

static struct {
    struct op ops[OPS_MAX];
    int count;
    int fds[STAGED_MAX], numbers[STAGED_MAX]; /* which staged file an open descriptor is */
    int next_number;
    size_t base;           /* length of the recorded log's folder name */
} tape;

static struct op *record(enum op_kind kind, const char *path)
{
    ASSERT(tape.count < OPS_MAX);
    struct op *o = &tape.ops[tape.count++];
    *o = (struct op){ .kind = kind };
    if (path)
        o->path = mem_strdup(strlen(path) > tape.base ? path + tape.base + 1 : "");
    return o;
}

static int number_of(int fd)
{
    for (int i = 0; i < STAGED_MAX; i++)
        if (tape.fds[i] == fd)
            return tape.numbers[i];
    abort();
}

static int tape_stage(void *ctx, const char *dir, const void *data, size_t n, struct err *e)
{
    int fd = disk_real.stage(NULL, dir, data, n, e);
    struct op *o = record(OP_STAGE, NULL);
    buf_append(&o->data, data, n);
    o->file = tape.next_number++;
    tape.fds[o->file % STAGED_MAX] = fd;
    tape.numbers[o->file % STAGED_MAX] = o->file;
    return fd;
}

static enum err_code tape_sync(void *ctx, int file, struct err *e)
{
    record(OP_SYNC, NULL)->file = number_of(file);
    return disk_real.sync(NULL, file, e);
}

static enum err_code tape_publish(void *ctx, int file, const char *path, struct err *e)
{
    struct op *o = record(OP_PUBLISH, path);
    o->file = number_of(file);
    tape.fds[o->file % STAGED_MAX] = -1;
    return disk_real.publish(NULL, file, path, e);
}

static enum err_code tape_make_dir(void *ctx, const char *path, struct err *e)
{
    record(OP_MKDIR, path);
    return disk_real.make_dir(NULL, path, e);
}

static enum err_code tape_sync_dir(void *ctx, const char *path, struct err *e)
{
    record(OP_SYNC_DIR, path);
    return disk_real.sync_dir(NULL, path, e);
}

static const struct disk disk_tape = { NULL, tape_stage, tape_sync, tape_publish, tape_make_dir, tape_sync_dir };

static bool parent_is(const char *path, const char *dir)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    return strlen(dir) == n && !memcmp(path, dir, n);
}

/* Whether what op `at` did to a folder, or its bytes, was synced before the cut. */
static bool name_synced(int at, int cut)
{
    for (int i = at + 1; i < cut; i++)
        if (tape.ops[i].kind == OP_SYNC_DIR && parent_is(tape.ops[at].path, tape.ops[i].path))
            return true;
    return false;
}

static const struct op *staged(int file)
{
    for (int i = 0; i < tape.count; i++)
        if (tape.ops[i].kind == OP_STAGE && tape.ops[i].file == file)
            return &tape.ops[i];
    abort();
}

static bool bytes_synced(int file, int cut)
{
    for (int i = 0; i < cut; i++)
        if (tape.ops[i].kind == OP_SYNC && tape.ops[i].file == file)
            return true;
    return false;
}

/* Builds in `dir` what a disk may hold after power fails before op `cut`: everything synced, and of the rest what
 * the dice say (luck 0: nothing, 100: all). Bytes that were not synced come back as nothing. Returns acked leaves. */
static uint64_t replay(const char *dir, int cut, unsigned luck, struct rng *dice)
{
    uint64_t acked = 0;
    struct buf path = { 0 };
    for (int i = 0; i < cut; i++) {
        const struct op *o = &tape.ops[i];
        if (o->kind == OP_ACK)
            acked = o->size;
        if (o->kind != OP_PUBLISH && o->kind != OP_MKDIR)
            continue;
        if (!name_synced(i, cut) && rng_below(dice, 100) >= luck)
            continue;
        buf_clear(&path);
        buf_printf(&path, "%s/%s", dir, o->path);
        if (o->kind == OP_MKDIR) {
            mkdir(buf_str(&path), 0755);
            continue;
        }
        FILE *f = fopen(buf_str(&path), "w"); /* its folder may be lost: then so is the file */
        const struct op *s = staged(o->file);
        if (f && (bytes_synced(o->file, cut) || rng_below(dice, 100) < luck))
            fwrite(s->data.data, 1, s->data.len, f);
        if (f)
            fclose(f);
    }
    buf_release(&path);
    return acked;
}

static void record_a_log(void)
{
    static const int batches[] = { 1, 2, 3, 250, 10, 246, 1, 600, 5 };
    char *dir = help_dir();
    struct tlog_options o = options(dir);
    uint64_t size = 0;
    o.disk = &disk_tape;
    tape.base = strlen(dir);
    struct tlog *t = must_open(&o);
    record(OP_ACK, NULL)->size = 0;
    for (size_t i = 0; i < MEM_COUNT(batches); i++) {
        add(t, (uint64_t)batches[i]);
        size += (uint64_t)batches[i];
        record(OP_ACK, NULL)->size = size;
    }
    tlog_close(t);
    help_remove(dir);
    mem_free(dir);
}

/* After the cut the log opens with every acknowledged leaf, its leaves are the ones we gave, and it grows on. */
static bool survives(int cut, unsigned luck, struct rng *dice)
{
    char *dir = help_dir(), text[64];
    struct tlog_options o = options(dir);
    struct tlog *t = NULL;
    struct err e = { 0 };
    struct buf b = { 0 };
    uint64_t acked = replay(dir, cut, luck, dice), index;
    bool ok = !tlog_open(&o, &t, &e) && tlog_size(t) >= acked && head_is(t, tlog_size(t));
    for (uint64_t i = 0; ok && i < tlog_size(t); i += 1 + tlog_size(t) / 7) {
        buf_clear(&b);
        ok = !tiles_entry(tlog_tiles(t), i, &b, &e) && span_same(help_buf(&b), leaf_text(i, text));
    }
    uint64_t size = ok ? tlog_size(t) : 0;
    for (int i = 0; ok && i < 260; i++)
        ok = !tlog_append(t, leaf_text(size + (uint64_t)i, text), &index, &e);
    ok = ok && !tlog_commit(t, &e) && head_is(t, size + 260);
    tlog_close(t);
    t = NULL;
    ok = ok && !tlog_open(&o, &t, &e) && tlog_size(t) == size + 260;
    if (!ok)
        printf("# cut before op %d of %d, luck %u: %s\n", cut, tape.count, luck, e.text);
    tlog_close(t);
    buf_release(&b);
    help_remove(dir);
    mem_free(dir);
    return ok;
}

static void power_cut_at_every_write(void)
{
    struct rng dice = { .seed = 20261121 };
    record_a_log();
    printf("# %d operations recorded, seed %d\n", tape.count, 20261121);
    CHECK(tape.count > 100);
    for (int cut = 0; cut <= tape.count; cut++) {
        CHECK(survives(cut, 0, &dice));
        CHECK(survives(cut, 50, &dice));
        if (cut % 4 == 0)
            CHECK(survives(cut, 100, &dice));
    }
    for (int i = 0; i < tape.count; i++) {
        mem_free(tape.ops[i].path);
        buf_release(&tape.ops[i].data);
    }
}

/* kill -9 while it works: the child acknowledges through a pipe; the parent kills it at some moment. */
static void killed_while_working(void)
{
    for (int round = 0; round < 6; round++) {
        char *dir = help_dir();
        struct tlog_options o = options(dir);
        int pipes[2];
        uint64_t acked = 0, seen;
        CHECK(!pipe(pipes));
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            struct tlog *t = must_open(&o);
            for (;;) {
                add(t, 37);
                uint64_t size = tlog_size(t);
                if (write(pipes[1], &size, sizeof size) != sizeof size)
                    _exit(1);
            }
        }
        close(pipes[1]);
        for (int i = 0; i < 3 + round * 4 && read(pipes[0], &seen, sizeof seen) == sizeof seen; i++)
            acked = seen;
        kill(pid, SIGKILL);
        while (read(pipes[0], &seen, sizeof seen) == sizeof seen)
            acked = seen;
        waitpid(pid, NULL, 0);
        close(pipes[0]);
        struct tlog *t = must_open(&o);
        CHECK(tlog_size(t) >= acked && head_is(t, tlog_size(t)));
        add(t, 5);
        tlog_close(t);
        help_remove(dir);
        mem_free(dir);
    }
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    log_key = help_key("log.example", KEY_NOTE, 1);
    RUN(layout_of_the_standard);
    RUN(paths);
    RUN(proofs_come_out_of_tiles);
    RUN(restart_notices_damage);
    RUN(two_writers_are_one_too_many);
    RUN(witness_cosigns_growth_only);
    RUN(fork_is_refused);
    RUN(strange_requests);
    RUN(rollback_stops_signing);
    RUN(power_cut_at_every_write);
    RUN(killed_while_working);
    DONE();
}
