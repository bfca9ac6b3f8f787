/* archive -- see archive.h. */
#include "trust/archive.h"

#include "base/file.h"
#include "base/mem.h"
#include "trust/evidence.h"
#include "trust/offer.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct entry {
    uint64_t key, offset, leaf; /* leaf: NO_LEAF until it was looked for */
    uint64_t length;
};
#define NO_LEAF UINT64_MAX

static uint64_t key_of(struct span id)
{
    uint8_t hash[HASH_BYTES];
    uint64_t key;
    code_sha256(hash, id.data, id.len);
    memcpy(&key, hash, sizeof key);
    return key;
}

/* The id a receipt's note carries: its second line. */
static bool id_of(struct span note, struct span *id)
{
    struct span line, key;
    return span_line(&note, &line) && span_is(line, "tokenworks/receipt/v1") && span_line(&note, &line) &&
           span_cut(line, ' ', &key, id) && span_is(key, "id");
}

struct map {
    struct span bytes;
    int fd;
};

static enum err_code map_file(const char *path, int flags, struct map *out, struct err *e)
{
    struct stat st;
    *out = (struct map){ .bytes = { "", 0 }, .fd = open(path, flags | O_CLOEXEC) };
    if (out->fd < 0 || fstat(out->fd, &st))
        return err_errno(e, "%s: cannot open", path);
    if (!st.st_size)
        return ERR_OK;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, out->fd, 0);
    if (p == MAP_FAILED)
        return err_errno(e, "%s: cannot map", path);
    out->bytes = (struct span){ p, (size_t)st.st_size };
    return ERR_OK;
}

static void unmap(struct map *m)
{
    if (m->bytes.len)
        munmap((void *)(uintptr_t)m->bytes.data, m->bytes.len);
    if (m->fd >= 0)
        close(m->fd);
}

static int by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->key != y->key ? x->key < y->key ? -1 : 1 : (x->offset > y->offset) - (x->offset < y->offset);
}

enum err_code archive_index(const char *pub, const char *index, const char *boot, struct err *e)
{
    struct buf path = { 0 };
    struct map file;
    struct entry *all = NULL;
    size_t count = 0, room = 0;
    buf_printf(&path, "%s/receipts/%s.notes", pub, boot);
    enum err_code c = map_file(buf_str(&path), O_RDONLY, &file, e);
    struct span rest = file.bytes, note, id;
    while (!c && evidence_next(&rest, &note)) {
        if (!id_of(note, &id))
            continue;
        if (count == room)
            all = mem_grow(all, room = room ? 2 * room : 1024, sizeof *all);
        all[count++] = (struct entry){ .key = key_of(id), .offset = (uint64_t)(note.data - file.bytes.data),
                                       .leaf = NO_LEAF, .length = note.len };
    }
    if (count)
        qsort(all, count, sizeof *all, by_key);
    if (!c)
        c = file_make_dirs(index, e);
    buf_clear(&path);
    buf_printf(&path, "%s/%s.index", index, boot);
    if (!c)
        c = file_write(buf_str(&path), all ? (const void *)all : "", count * sizeof *all, e);
    unmap(&file);
    mem_free(all);
    buf_release(&path);
    return c;
}

/* The first entry with that key or a greater one. */
static size_t lower_bound(const struct entry *all, size_t count, uint64_t key)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (all[mid].key < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* What an entry points to is the receipt of that id. */
static bool fits(const struct entry *x, struct span file, const char *id, struct span *note)
{
    struct span have;
    if (x->offset > file.len || x->length > file.len - x->offset)
        return false;
    *note = (struct span){ file.data + x->offset, (size_t)x->length };
    return id_of(*note, &have) && span_is(have, id);
}

/* Where its leaf stands; searched once, then written into the index. */
static enum err_code find_leaf(const struct map *index, size_t at, struct span note, struct tlog *log, uint64_t *leaf,
                               struct err *e)
{
    const struct entry *all = (const struct entry *)(const void *)index->bytes.data;
    char text[STATEMENT_LEAF_MAX];
    *leaf = all[at].leaf;
    if (*leaf != NO_LEAF)
        return ERR_OK;
    enum err_code c = offer_find_leaf(log, statement_leaf(STATEMENT_RECEIPT, note, text), leaf, e);
    const off_t where = (off_t)(at * sizeof *all + offsetof(struct entry, leaf));
    if (!c && pwrite(index->fd, leaf, sizeof *leaf, where) != sizeof *leaf)
        return ERR_OK; /* it is searched again next time */
    return c;
}

static enum err_code find_in(const struct map *index, struct span file, const char *id, struct tlog *log,
                             struct buf *note, uint64_t *leaf, struct err *e)
{
    const struct entry *all = (const struct entry *)(const void *)index->bytes.data;
    size_t count = index->bytes.len / sizeof *all;
    uint64_t key = key_of(span_of(id));
    struct span found;
    for (size_t i = lower_bound(all, count, key); i < count && all[i].key == key; i++)
        if (fits(&all[i], file, id, &found)) {
            buf_append(note, found.data, found.len);
            return leaf ? find_leaf(index, i, found, log, leaf, e) : ERR_OK;
        }
    return err_set(e, ERR_NOT_FOUND, "no receipt has this id");
}

static enum err_code find_in_boot(const char *pub, const char *index, const char *boot, const char *id,
                                  struct tlog *log, struct buf *note, uint64_t *leaf, struct err *e)
{
    struct buf notes = { 0 }, path = { 0 };
    struct map entries = { .fd = -1 }, file = { .fd = -1 };
    enum err_code c = ERR_OK;
    buf_printf(&notes, "%s/receipts/%s.notes", pub, boot);
    buf_printf(&path, "%s/%s.index", index, boot);
    if (access(buf_str(&path), F_OK))
        c = archive_index(pub, index, boot, e);
    if (!c)
        c = map_file(buf_str(&path), O_RDWR, &entries, e);
    if (!c)
        c = map_file(buf_str(&notes), O_RDONLY, &file, e);
    if (!c)
        c = find_in(&entries, file.bytes, id, log, note, leaf, e);
    unmap(&entries);
    unmap(&file);
    buf_release(&notes);
    buf_release(&path);
    return c;
}

enum err_code archive_find(const char *pub, const char *index, const char *except, const char *id, struct tlog *log,
                           struct buf *note, uint64_t *leaf, struct err *e)
{
    struct buf dir = { 0 };
    enum err_code c = err_set(e, ERR_NOT_FOUND, "no receipt has this id");
    buf_printf(&dir, "%s/receipts", pub);
    DIR *d = opendir(buf_str(&dir));
    for (int i = 0; d && c == ERR_NOT_FOUND && i < ARCHIVE_BOOTS_MAX; i++) {
        const struct dirent *f = readdir(d);
        char boot[NAME_MAX + 1];
        if (!f)
            break;
        size_t n = strlen(f->d_name);
        if (n <= 6 || f->d_name[0] == '.' || strcmp(f->d_name + n - 6, ".notes"))
            continue;
        snprintf(boot, sizeof boot, "%.*s", (int)(n - 6), f->d_name);
        if (strcmp(boot, except))
            c = find_in_boot(pub, index, boot, id, log, note, leaf, e);
    }
    if (d)
        closedir(d);
    buf_release(&dir);
    return c;
}
