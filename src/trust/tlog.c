/* tlog -- see tlog.h. */
#include "trust/tlog.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { DIRTY_MAX = 64, KNOWN_MAX = 32, NOTE_FILE_MAX = 1 << 16, DROP_MAX = 64 };

struct tile_edge { /* the tile being filled at one level */
    uint64_t n;
    int width;
    uint8_t hash[TILE_BYTES];
};

struct tlog {
    struct tlog_options o;
    struct disk disk;
    char *dir;
    int lock_fd;
    bool failed;               /* a commit went wrong, or a floor is above us */
    struct tree_edge edge;     /* with the pending leaves */
    uint64_t committed;
    uint8_t committed_root[HASH_BYTES];
    struct tile_edge tile[TILE_LEVELS_MAX];
    struct buf bundle;         /* the entries of the tile being filled at level 0 */
    struct buf head;           /* the note in `head` */
    struct tiles tiles;
    char *dirty[DIRTY_MAX];    /* folders to sync before the checkpoint */
    int dirty_count;
    char *known[KNOWN_MAX];    /* folders made, or met and so due a sync of their parent, in this process */
    unsigned known_next;
    uint64_t full_tiles[DROP_MAX]; /* level-0 tiles that became full in this batch: their partials may go */
    int full_count;
};

/* ---- writing files */

static enum err_code mark_dirty(struct tlog *t, const char *dir, struct err *e)
{
    for (int i = 0; i < t->dirty_count; i++)
        if (!strcmp(t->dirty[i], dir))
            return ERR_OK;
    if (t->dirty_count == DIRTY_MAX) { /* syncing early is always right */
        enum err_code c = t->disk.sync_dir(t->disk.ctx, t->dirty[0], e);
        if (c)
            return c;
        mem_free(t->dirty[0]);
        memmove(t->dirty, t->dirty + 1, (DIRTY_MAX - 1) * sizeof t->dirty[0]);
        t->dirty_count--;
    }
    t->dirty[t->dirty_count++] = mem_strdup(dir);
    return ERR_OK;
}

static enum err_code sync_dirty(struct tlog *t, struct err *e)
{
    enum err_code c = ERR_OK;
    for (int i = t->dirty_count - 1; i >= 0; i--) { /* the deepest were made last */
        if (!c)
            c = t->disk.sync_dir(t->disk.ctx, t->dirty[i], e);
        mem_free(t->dirty[i]);
    }
    t->dirty_count = 0;
    return c;
}

static bool is_known(struct tlog *t, const char *dir)
{
    for (int i = 0; i < KNOWN_MAX; i++)
        if (t->known[i] && !strcmp(t->known[i], dir))
            return true;
    char **slot = &t->known[t->known_next++ % KNOWN_MAX];
    mem_free(*slot);
    *slot = mem_strdup(dir);
    return false;
}

/* Makes every folder of the path below dir. One that is there already may have been made by a process that died
 * before it synced the name, so the first meeting counts as making. path is scratch. */
static enum err_code make_parents(struct tlog *t, char *path, struct err *e)
{
    size_t base = strlen(t->dir);
    for (char *p = path + base + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        bool known = is_known(t, path);
        enum err_code c = known ? ERR_OK : t->disk.make_dir(t->disk.ctx, path, e);
        if (!c && !known) { /* the new name lives in the parent */
            char *slash = strrchr(path, '/');
            *slash = '\0';
            c = mark_dirty(t, path, e);
            *slash = '/';
        }
        *p = '/';
        if (c)
            return c;
    }
    return ERR_OK;
}

static enum err_code put(struct tlog *t, const char *rel, const void *data, size_t n, struct err *e)
{
    struct buf path = { 0 }, dir = { 0 };
    buf_printf(&path, "%s/%s", t->dir, rel);
    buf_append(&dir, path.data, (size_t)(strrchr(path.data, '/') - path.data));
    enum err_code c = make_parents(t, path.data, e);
    int file = c ? -1 : t->disk.stage(t->disk.ctx, buf_str(&dir), data, n, e);
    if (!c && file < 0)
        c = ERR_IO;
    if (!c && (c = t->disk.sync(t->disk.ctx, file, e)))
        close(file);
    else if (!c)
        c = t->disk.publish(t->disk.ctx, file, buf_str(&path), e);
    if (!c)
        c = mark_dirty(t, buf_str(&dir), e);
    buf_release(&path);
    buf_release(&dir);
    return c;
}

static enum err_code put_tile(struct tlog *t, int level, uint64_t n, int width, const void *data, size_t bytes,
                              struct err *e)
{
    char rel[TILE_PATH_MAX];
    tiles_path(rel, level, n, width);
    return put(t, rel, data, bytes, e);
}

static enum err_code put_and_sync(struct tlog *t, const char *rel, struct span data, struct err *e)
{
    enum err_code c = put(t, rel, data.data, data.len, e);
    return c ? c : sync_dirty(t, e);
}

/* ---- growing */

/* A full tile is written at once: its bytes never change again. */
static enum err_code add_hash(struct tlog *t, int level, const uint8_t hash[HASH_BYTES], struct err *e)
{
    uint8_t h[HASH_BYTES];
    memcpy(h, hash, HASH_BYTES);
    for (; level < TILE_LEVELS_MAX; level++) {
        struct tile_edge *tile = &t->tile[level];
        memcpy(tile->hash + tile->width++ * HASH_BYTES, h, HASH_BYTES);
        if (tile->width < TILE_WIDTH)
            return ERR_OK;
        enum err_code c = put_tile(t, level, tile->n, TILE_WIDTH, tile->hash, TILE_BYTES, e);
        if (c)
            return c;
        struct tree_edge sub = { 0 };
        for (int i = 0; i < TILE_WIDTH; i++)
            tree_edge_add(&sub, tile->hash + i * HASH_BYTES);
        tree_edge_root(&sub, h);
        tile->n++;
        tile->width = 0;
    }
    return err_set(e, ERR_LIMIT, "the log is full");
}

enum err_code tlog_append(struct tlog *t, struct span leaf, uint64_t *index, struct err *e)
{
    uint8_t hash[HASH_BYTES], length[2] = { (uint8_t)(leaf.len >> 8), (uint8_t)leaf.len };
    if (t->failed)
        return err_set(e, ERR_BUSY, "the log stopped after an earlier failure: restart it");
    if (leaf.len > TILE_ENTRY_MAX)
        return err_set(e, ERR_LIMIT, "a leaf has at most %d bytes", TILE_ENTRY_MAX);
    buf_append(&t->bundle, length, sizeof length);
    buf_append(&t->bundle, leaf.data, leaf.len);
    tree_leaf_hash(hash, leaf.data, leaf.len);
    uint64_t n = t->tile[0].n;
    enum err_code c = ERR_OK;
    if (t->tile[0].width == TILE_WIDTH - 1) { /* entries first: a tile without its entries proves nothing */
        c = put_tile(t, TILE_ENTRIES_LEVEL, n, TILE_WIDTH, t->bundle.data, t->bundle.len, e);
        buf_clear(&t->bundle);
        if (t->full_count < DROP_MAX)
            t->full_tiles[t->full_count++] = n;
    }
    if (!c)
        c = add_hash(t, 0, hash, e);
    t->failed = c != ERR_OK;
    if (c)
        return c;
    *index = t->edge.size;
    tree_edge_add(&t->edge, hash);
    return ERR_OK;
}

static enum err_code put_partials(struct tlog *t, struct err *e)
{
    enum err_code c = ERR_OK;
    if (t->tile[0].width)
        c = put_tile(t, TILE_ENTRIES_LEVEL, t->tile[0].n, t->tile[0].width, t->bundle.data, t->bundle.len, e);
    for (int level = 0; !c && level < TILE_LEVELS_MAX; level++) {
        struct tile_edge *tile = &t->tile[level];
        bool grew = (t->edge.size >> (8 * level)) != (t->committed >> (8 * level));
        if (tile->width && grew)
            c = put_tile(t, level, tile->n, tile->width, tile->hash, (size_t)tile->width * HASH_BYTES, e);
    }
    return c;
}

/* Partial tiles whose full tile is there and named by a checkpoint. A failure here costs disk space only. */
static void drop_partials(struct tlog *t)
{
    const int levels[] = { TILE_ENTRIES_LEVEL, 0 };
    for (int i = 0; i < t->full_count * 2; i++) {
        char rel[TILE_PATH_MAX];
        struct buf dir = { 0 };
        tiles_path(rel, levels[i % 2], t->full_tiles[i / 2], TILE_WIDTH);
        buf_printf(&dir, "%s/%s.p", t->dir, rel);
        DIR *d = opendir(buf_str(&dir));
        struct dirent *f;
        for (int k = 0; d && k < 2 * TILE_WIDTH && (f = readdir(d)); k++)
            if (f->d_name[0] != '.')
                unlinkat(dirfd(d), f->d_name, 0);
        if (d)
            closedir(d);
        rmdir(buf_str(&dir));
        buf_release(&dir);
    }
    t->full_count = 0;
}

static enum err_code sign_and_publish(struct tlog *t, const struct tree_proof *grown, struct err *e)
{
    struct buf text = { 0 }, note = { 0 };
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    uint8_t root[HASH_BYTES];
    tree_edge_root(&t->edge, root);
    checkpoint_text(t->o.key.name, t->edge.size, root, &text);
    enum err_code c = t->o.sign(t->o.sign_ctx, (struct span){ text.data, text.len }, grown, &note, e);
    if (!c)
        c = checkpoint_open((struct span){ note.data, note.len }, &t->o.key, n, &cp, e);
    if (!c)
        c = put_and_sync(t, "head", (struct span){ note.data, note.len }, e);
    if (!c && !t->o.witnessed)
        c = put_and_sync(t, "checkpoint", (struct span){ note.data, note.len }, e);
    if (!c) {
        buf_release(&t->head);
        t->head = note;
        note = (struct buf){ 0 };
        t->committed = t->edge.size;
        memcpy(t->committed_root, root, HASH_BYTES);
    }
    mem_free(n);
    buf_release(&note);
    buf_release(&text);
    return c;
}

enum err_code tlog_commit(struct tlog *t, struct err *e)
{
    struct tree_proof *grown = MEM_NEW(struct tree_proof);
    enum err_code c = ERR_OK;
    if (t->failed)
        c = err_set(e, ERR_BUSY, "the log stopped after an earlier failure: restart it");
    else if (t->edge.size != t->committed) {
        c = put_partials(t, e);
        if (!c)
            c = sync_dirty(t, e); /* I2 */
        tiles_set_size(&t->tiles, t->edge.size);
        if (!c)
            c = tree_prove_grown(t->committed, t->edge.size, tiles_hash, &t->tiles, grown, e);
        if (!c)
            c = sign_and_publish(t, grown, e);
        t->failed = c != ERR_OK;
        if (!c)
            drop_partials(t);
    }
    mem_free(grown);
    return c;
}

/* ---- opening */

/* Fills the edge again from the tiles: what a full subtree's hash is at each level, then what lies in the tiles. */
static enum err_code load_edge(struct tlog *t, uint64_t size, struct err *e)
{
    enum err_code c = ERR_OK;
    for (unsigned level = 0; !c && level <= TREE_LEVELS_MAX; level++)
        if (size >> level & 1)
            c = tiles_hash(&t->tiles, level, (size >> level) - 1, t->edge.full[level], e);
    t->edge.size = size;
    for (int level = 0; !c && level < TILE_LEVELS_MAX; level++) {
        uint64_t hashes = size >> (8 * level);
        struct tile_edge *tile = &t->tile[level];
        tile->n = hashes / TILE_WIDTH;
        tile->width = (int)(hashes % TILE_WIDTH);
        for (int i = 0; !c && i < tile->width; i++)
            c = tiles_hash(&t->tiles, 8 * (unsigned)level, tile->n * TILE_WIDTH + (uint64_t)i,
                           tile->hash + i * HASH_BYTES, e);
    }
    return c;
}

/* The entries of the last, partial tile must hash to what the tile says. */
static enum err_code load_bundle(struct tlog *t, struct err *e)
{
    int count = 0;
    if (!t->tile[0].width)
        return ERR_OK;
    enum err_code c = tiles_bundle(&t->tiles, t->tile[0].n, &t->bundle, &count, e);
    struct span rest = { t->bundle.data, t->bundle.len }, entry;
    for (int i = 0; !c && i < count && tiles_next(&rest, &entry); i++) {
        uint8_t hash[HASH_BYTES];
        tree_leaf_hash(hash, entry.data, entry.len);
        if (!code_same(hash, t->tile[0].hash + i * HASH_BYTES, HASH_BYTES))
            c = err_set(e, ERR_CORRUPT, "leaf %" PRIu64 " of the log does not match its hash",
                        t->tile[0].n * TILE_WIDTH + (uint64_t)i);
    }
    return c;
}

static enum err_code load_file(const struct tlog *t, const char *name, struct buf *out, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%s", t->dir, name);
    enum err_code c = access(buf_str(&path), F_OK) && errno == ENOENT
                          ? err_set(e, ERR_NOT_FOUND, "%s is not there", buf_str(&path))
                          : file_read(buf_str(&path), NOTE_FILE_MAX, out, e);
    buf_release(&path);
    return c;
}

static enum err_code recover(struct tlog *t, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    uint8_t root[HASH_BYTES];
    enum err_code c = checkpoint_open((struct span){ t->head.data, t->head.len }, &t->o.key, n, &cp, e);
    if (!c) {
        tiles_set_size(&t->tiles, cp.size);
        c = load_edge(t, cp.size, e);
    }
    if (!c)
        c = load_bundle(t, e);
    tree_edge_root(&t->edge, root);
    if (!c && !code_same(root, cp.root, HASH_BYTES))
        c = err_set(e, ERR_CORRUPT, "the log's tiles do not add up to the root in its head: restore it from a copy");
    if (!c) {
        t->committed = cp.size;
        memcpy(t->committed_root, root, HASH_BYTES);
    }
    mem_free(n);
    return c;
}

/* What was published before must still be ours: a copy restored from an old backup stops here. */
static enum err_code check_published(struct tlog *t, struct err *e)
{
    struct buf b = { 0 };
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    enum err_code c = load_file(t, "checkpoint", &b, e);
    if (c == ERR_NOT_FOUND) {
        c = ERR_OK;
        if (!t->o.witnessed)
            c = put_and_sync(t, "checkpoint", (struct span){ t->head.data, t->head.len }, e);
    } else if (!c) {
        c = checkpoint_open((struct span){ b.data, b.len }, &t->o.key, n, &cp, e);
        if (!c)
            c = tlog_floor(t, cp.size, cp.root, e);
    }
    buf_release(&b);
    mem_free(n);
    return c;
}

static enum err_code lock_dir(struct tlog *t, struct err *e)
{
    struct buf path = { 0 };
    enum err_code c = file_make_dirs(t->dir, e);
    buf_printf(&path, "%s/lock", t->dir);
    t->lock_fd = c ? -1 : open(buf_str(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (!c && t->lock_fd < 0)
        c = err_errno(e, "%s: cannot open", buf_str(&path));
    if (!c && flock(t->lock_fd, LOCK_EX | LOCK_NB))
        c = err_set(e, ERR_BUSY, "another process writes the log in %s", t->dir);
    buf_clear(&path);
    buf_printf(&path, "%s/..", t->dir);
    if (!c)
        c = t->disk.sync_dir(t->disk.ctx, buf_str(&path), e); /* our own name */
    buf_release(&path);
    return c;
}

enum err_code tlog_open(const struct tlog_options *o, struct tlog **out, struct err *e)
{
    struct tlog *t = MEM_NEW(struct tlog);
    const struct tree_proof none = { 0 };
    t->o = *o;
    t->disk = o->disk ? *o->disk : disk_real;
    t->dir = mem_strdup(o->dir);
    tiles_open(&t->tiles, o->dir, 0);
    enum err_code c = lock_dir(t, e);
    if (!c) {
        c = load_file(t, "head", &t->head, e);
        if (c == ERR_NOT_FOUND) { /* a new log: its first statement is that it is empty */
            struct buf published = { 0 };
            c = load_file(t, "checkpoint", &published, e) == ERR_NOT_FOUND
                    ? sign_and_publish(t, &none, e)
                    : err_set(e, ERR_CORRUPT, "%s has a checkpoint but no head: restore it from a copy", t->dir);
            buf_release(&published);
        } else if (!c) {
            c = recover(t, e);
        }
    }
    if (!c)
        c = check_published(t, e);
    if (c)
        tlog_close(t);
    else
        *out = t;
    return c;
}

void tlog_close(struct tlog *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->dirty_count; i++)
        mem_free(t->dirty[i]);
    for (int i = 0; i < KNOWN_MAX; i++)
        mem_free(t->known[i]);
    if (t->lock_fd >= 0)
        close(t->lock_fd);
    tiles_close(&t->tiles);
    buf_release(&t->bundle);
    buf_release(&t->head);
    mem_free(t->dir);
    mem_free(t);
}

/* ---- questions */

uint64_t tlog_size(const struct tlog *t)
{
    return t->committed;
}

struct span tlog_head(const struct tlog *t)
{
    return (struct span){ t->head.data, t->head.len };
}

struct tiles *tlog_tiles(struct tlog *t)
{
    return &t->tiles;
}

enum err_code tlog_floor(struct tlog *t, uint64_t size, const uint8_t root[HASH_BYTES], struct err *e)
{
    uint8_t ours[HASH_BYTES];
    enum err_code c = ERR_OK;
    if (size > t->committed)
        c = err_set(e, ERR_DENIED, "the log has %" PRIu64 " leaves but was seen with %" PRIu64 ": it was rolled back; "
                    "restore the newer copy", t->committed, size);
    if (!c)
        c = tree_root(size, tiles_hash, &t->tiles, ours, e);
    if (!c && !code_same(ours, root, HASH_BYTES))
        c = err_set(e, ERR_DENIED, "the log differs from what was seen at %" PRIu64 " leaves: it was forked", size);
    if (c)
        t->failed = true;
    return c;
}

enum err_code tlog_cosigned(struct tlog *t, struct span bytes, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    enum err_code c = checkpoint_open(bytes, &t->o.key, n, &cp, e);
    if (!c)
        c = tlog_floor(t, cp.size, cp.root, e);
    if (!c)
        c = put_and_sync(t, "checkpoint", bytes, e);
    mem_free(n);
    return c;
}

enum err_code tlog_prove(struct tlog *t, uint64_t index, struct buf *out, struct err *e)
{
    struct proof *p = MEM_NEW(struct proof);
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp = { 0 };
    struct buf published = { 0 };
    enum err_code c = load_file(t, "checkpoint", &published, e);
    p->index = index;
    p->checkpoint = (struct span){ published.data, published.len };
    if (!c)
        c = checkpoint_open(p->checkpoint, &t->o.key, n, &cp, e);
    if (c == ERR_NOT_FOUND || (!c && index >= cp.size))
        c = err_set(e, ERR_BUSY, "leaf %" PRIu64 " is not in the published checkpoint yet: ask again later", index);
    if (!c)
        c = tree_prove_leaf(index, cp.size, tiles_hash, &t->tiles, &p->path, e);
    if (!c)
        proof_write(p, out);
    buf_release(&published);
    mem_free(n);
    mem_free(p);
    return c;
}

enum err_code tlog_sign_with_key(void *ctx, struct span text, const struct tree_proof *grown, struct buf *note,
                                 struct err *e)
{
    return note_sign(text, ctx, note, e);
}
