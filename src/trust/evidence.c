/* evidence -- see evidence.h. */
#include "trust/evidence.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LENGTH_DIGITS_MAX = 8 };

struct entry { /* where a receipt is; key 0: empty */
    uint64_t key, offset, leaf;
    uint32_t length;
};

struct evidence {
    struct tlog *log;
    int fd;
    uint64_t end;             /* bytes in the file */
    struct buf batch;         /* framed notes not yet written */
    int waiting;
    struct entry *staged;     /* of the batch, leaf not yet known */
    char (*leaves)[STATEMENT_LEAF_MAX];
    struct entry *index;      /* open addressing by key */
    size_t mask, used;
};

static uint64_t key_of(const char *id)
{
    uint8_t hash[HASH_BYTES];
    uint64_t key;
    code_sha256(hash, id, strlen(id));
    memcpy(&key, hash, sizeof key);
    return key ? key : 1;
}

bool evidence_next(struct span *file, struct span *note)
{
    struct span head = { file->data, file->len < LENGTH_DIGITS_MAX + 1 ? file->len : LENGTH_DIGITS_MAX + 1 };
    struct span line;
    uint64_t n = 0;
    if (!span_line(&head, &line) || !code_uint(line, &n) || n > RECEIPT_NOTE_MAX || file->len - line.len - 1 < n)
        return false;
    *note = (struct span){ file->data + line.len + 1, (size_t)n };
    file->data += line.len + 1 + n;
    file->len -= line.len + 1 + (size_t)n;
    return true;
}

static enum err_code open_file(const char *dir, const char *boot, int flags, int *fd, struct err *e)
{
    struct buf path = { 0 };
    if (!*boot || strchr(boot, '/') || boot[0] == '.')
        return err_set(e, ERR_INVALID, "a boot is named by letters and digits");
    buf_printf(&path, "%s/receipts", dir);
    enum err_code c = file_make_dirs(buf_str(&path), e);
    int folder = c ? -1 : open(buf_str(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    buf_printf(&path, "/%s.notes", boot);
    *fd = c ? -1 : open(buf_str(&path), flags | O_CLOEXEC, 0644);
    if (!c && *fd < 0)
        c = err_errno(e, "%s: cannot open", buf_str(&path));
    else if (!c && (folder < 0 || fsync(folder)))
        c = err_errno(e, "%s: cannot sync its folder", buf_str(&path));
    if (folder >= 0)
        close(folder);
    buf_release(&path);
    return c;
}

enum err_code evidence_open(const char *dir, const char *boot, struct tlog *log, struct evidence **out, struct err *e)
{
    int fd = -1;
    struct stat st;
    enum err_code c = open_file(dir, boot, O_RDWR | O_CREAT | O_APPEND, &fd, e);
    if (c)
        return c;
    if (fstat(fd, &st) || st.st_size) {
        close(fd);
        return err_set(e, ERR_INVALID, "the boot %s has receipts already: every start needs a new boot id", boot);
    }
    struct evidence *v = MEM_NEW(struct evidence);
    v->log = log;
    v->fd = fd;
    v->staged = mem_new(EVIDENCE_BATCH_MAX, sizeof *v->staged);
    v->leaves = mem_new(EVIDENCE_BATCH_MAX, sizeof *v->leaves);
    v->mask = 1023;
    v->index = mem_new(v->mask + 1, sizeof *v->index);
    *out = v;
    return ERR_OK;
}

void evidence_close(struct evidence *v)
{
    if (!v)
        return;
    close(v->fd);
    buf_release(&v->batch);
    mem_free(v->staged);
    mem_free(v->leaves);
    mem_free(v->index);
    mem_free(v);
}

int evidence_waiting(const struct evidence *v)
{
    return v->waiting;
}

static struct entry *find(struct evidence *v, uint64_t key)
{
    size_t at = key & v->mask;
    while (v->index[at].key && v->index[at].key != key)
        at = (at + 1) & v->mask;
    return &v->index[at];
}

static void remember(struct evidence *v, const struct entry *x)
{
    if (v->used * 2 > v->mask && v->mask + 1 < EVIDENCE_INDEX_MAX) {
        struct entry *old = v->index;
        size_t n = v->mask + 1;
        v->mask = 2 * n - 1;
        v->index = mem_new(2 * n, sizeof *v->index);
        for (size_t i = 0; i < n; i++)
            if (old[i].key)
                *find(v, old[i].key) = old[i];
        mem_free(old);
    }
    if (v->used * 4 > 3 * v->mask) /* at its limit: later ones are found in the file only */
        return;
    struct entry *slot = find(v, x->key);
    v->used += !slot->key;
    *slot = *x;
}

enum err_code evidence_add(struct evidence *v, const char *id, struct span note, struct err *e)
{
    if (note.len > RECEIPT_NOTE_MAX)
        return err_set(e, ERR_LIMIT, "a receipt has at most %d bytes", RECEIPT_NOTE_MAX);
    if (v->waiting == EVIDENCE_BATCH_MAX) {
        enum err_code c = evidence_commit(v, e);
        if (c)
            return c;
    }
    buf_printf(&v->batch, "%zu\n", note.len);
    v->staged[v->waiting] = (struct entry){ .key = key_of(id), .offset = v->end + v->batch.len,
                                            .length = (uint32_t)note.len };
    statement_leaf(STATEMENT_RECEIPT, note, v->leaves[v->waiting]);
    buf_append(&v->batch, note.data, note.len);
    v->waiting++;
    return ERR_OK;
}

enum err_code evidence_commit(struct evidence *v, struct err *e)
{
    if (!v->waiting)
        return ERR_OK;
    enum err_code c = file_write_all_fd(v->fd, v->batch.data, v->batch.len, e);
    if (!c && fdatasync(v->fd)) /* I1 */
        c = err_errno(e, "the receipts cannot be synced");
    for (int i = 0; !c && i < v->waiting; i++)
        c = tlog_append(v->log, span_of(v->leaves[i]), &v->staged[i].leaf, e);
    if (!c)
        c = tlog_commit(v->log, e);
    if (c)
        return c;
    for (int i = 0; i < v->waiting; i++)
        remember(v, &v->staged[i]);
    v->end += v->batch.len;
    v->waiting = 0;
    buf_clear(&v->batch);
    return ERR_OK;
}

enum err_code evidence_get(struct evidence *v, const char *id, struct buf *note, uint64_t *leaf, struct err *e)
{
    const struct entry *x = find(v, key_of(id));
    char *room = x->key ? buf_reserve(note, x->length) : NULL;
    if (!room)
        return err_set(e, ERR_NOT_FOUND, "no receipt has this id");
    if (pread(v->fd, room, x->length, (off_t)x->offset) != (ssize_t)x->length)
        return err_errno(e, "the receipt cannot be read");
    note->len += x->length;
    note->data[note->len] = '\0';
    *leaf = x->leaf;
    return ERR_OK;
}

/* ---- after a crash */

struct tail { /* the last receipts of a file, oldest first */
    struct span file;
    uint64_t count;
    size_t good;            /* bytes up to the end of the last whole note */
    struct span ring[EVIDENCE_BATCH_MAX];
};

static struct span tail_at(const struct tail *t, uint64_t i)
{
    return t->ring[i % EVIDENCE_BATCH_MAX];
}

static void read_tail(struct tail *t)
{
    struct span rest = t->file, note;
    while (evidence_next(&rest, &note))
        t->ring[t->count++ % EVIDENCE_BATCH_MAX] = note;
    t->good = t->file.len - rest.len;
}

/* Which of the tail's receipts is this leaf? Index from the end, 1 the last; 0 none. */
static uint64_t match(const uint8_t (*hashes)[HASH_BYTES], uint64_t n, const uint8_t hash[HASH_BYTES])
{
    for (uint64_t i = 0; i < n; i++)
        if (!memcmp(hashes[i], hash, HASH_BYTES))
            return i + 1;
    return 0;
}

/* How many receipts at the file's end are not in the log. Leaves stand in the order of receipts, so the search goes
 * back from the log's end to the first that is one of ours. */
static enum err_code count_unlogged(const struct tail *t, struct tlog *log, uint64_t *out, struct err *e)
{
    uint64_t n = t->count < EVIDENCE_BATCH_MAX ? t->count : EVIDENCE_BATCH_MAX, size = tlog_size(log);
    uint8_t (*hashes)[HASH_BYTES] = mem_new(n + 1, sizeof *hashes);
    enum err_code c = ERR_OK;
    for (uint64_t i = 0; i < n; i++) {
        struct span note = tail_at(t, t->count - 1 - i);
        code_sha256(hashes[i], note.data, note.len);
    }
    uint64_t best = 0;
    for (uint64_t b = (size + TILE_WIDTH - 1) / TILE_WIDTH; !c && n && !best && b > 0; b--) {
        struct buf bundle = { 0 };
        int count = 0;
        c = tiles_bundle(tlog_tiles(log), b - 1, &bundle, &count, e);
        struct span rest = { buf_str(&bundle), bundle.len }, leaf;
        for (int i = 0; !c && i < count && tiles_next(&rest, &leaf); i++) {
            enum statement_type type;
            uint8_t hash[HASH_BYTES];
            uint64_t at = statement_leaf_parse(leaf, &type, hash) ? match(hashes, n, hash) : 0;
            if (at && (!best || at < best))
                best = at;
        }
        buf_release(&bundle);
    }
    if (!c && !best && t->count > n)
        c = err_set(e, ERR_CORRUPT, "the log does not hold the receipts of the boot before: restore it from a copy");
    *out = best ? best - 1 : n;
    mem_free(hashes);
    return c;
}

static enum err_code log_unlogged(const struct tail *t, struct tlog *log, uint64_t n, struct err *e)
{
    enum err_code c = ERR_OK;
    for (uint64_t i = t->count - n; !c && i < t->count; i++) {
        char leaf[STATEMENT_LEAF_MAX];
        uint64_t index;
        c = tlog_append(log, statement_leaf(STATEMENT_RECEIPT, tail_at(t, i), leaf), &index, e);
    }
    return c ? c : tlog_commit(log, e);
}

enum err_code evidence_recover(const char *dir, const char *boot, struct tlog *log, uint64_t *count,
                               uint8_t last[HASH_BYTES], struct err *e)
{
    int fd = -1;
    struct stat st = { 0 };
    uint64_t missing = 0;
    *count = 0;
    if (!*boot || !strcmp(boot, "-"))
        return ERR_OK;
    enum err_code c = open_file(dir, boot, O_RDWR | O_CREAT, &fd, e);
    if (c)
        return c;
    struct tail *t = MEM_NEW(struct tail);
    void *map = fstat(fd, &st) || !st.st_size ? NULL : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        c = err_errno(e, "the receipts of boot %s cannot be read", boot);
    if (!c && map) {
        t->file = (struct span){ map, (size_t)st.st_size };
        read_tail(t);
        c = count_unlogged(t, log, &missing, e);
    }
    if (!c && t->good < (size_t)st.st_size && (ftruncate(fd, (off_t)t->good) || fsync(fd)))
        c = err_errno(e, "the receipts of boot %s cannot be mended", boot); /* a half-written note was never promised */
    if (!c && missing)
        c = log_unlogged(t, log, missing, e);
    if (!c && t->count) {
        struct span note = tail_at(t, t->count - 1);
        code_sha256(last, note.data, note.len);
        *count = t->count;
    }
    if (map && map != MAP_FAILED)
        munmap(map, (size_t)st.st_size);
    mem_free(t);
    close(fd);
    return c;
}
