/* tiles -- see tiles.h. */
#include "trust/tiles.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BUNDLE_MAX = TILE_WIDTH * (TILE_ENTRY_MAX + 2) };

void tiles_open(struct tiles *t, const char *dir, uint64_t size)
{
    *t = (struct tiles){ .dir = mem_strdup(dir), .size = size,
                         .cache = mem_new(TILE_CACHE, sizeof(struct tiles_cached)) };
}

void tiles_close(struct tiles *t)
{
    mem_free(t->dir);
    mem_free(t->cache);
    *t = (struct tiles){ 0 };
}

void tiles_set_size(struct tiles *t, uint64_t size)
{
    t->size = size;
}

void tiles_path(char out[TILE_PATH_MAX], int level, uint64_t n, int width)
{
    size_t at = level < 0 ? (size_t)snprintf(out, TILE_PATH_MAX, "tile/entries/")
                          : (size_t)snprintf(out, TILE_PATH_MAX, "tile/%d/", level);
    uint64_t unit = 1;
    while (n / unit >= 1000)
        unit *= 1000;
    for (; unit > 1; unit /= 1000)
        at += (size_t)snprintf(out + at, TILE_PATH_MAX - at, "x%03" PRIu64 "/", n / unit % 1000);
    at += (size_t)snprintf(out + at, TILE_PATH_MAX - at, "%03" PRIu64, n % 1000);
    if (width < TILE_WIDTH)
        snprintf(out + at, TILE_PATH_MAX - at, ".p/%d", width);
}

static bool three_digits(struct span s)
{
    return s.len == 3 && s.data[0] >= '0' && s.data[0] <= '9' && s.data[1] >= '0' && s.data[1] <= '9' &&
           s.data[2] >= '0' && s.data[2] <= '9';
}

/* Reads N and W back and writes the path again: only the one spelling passes. */
bool tiles_path_ok(struct span path)
{
    struct span first, rest, part;
    uint64_t level = 0, n = 0, width = TILE_WIDTH;
    char again[TILE_PATH_MAX];
    if (span_is(path, "checkpoint"))
        return true;
    if (path.len >= TILE_PATH_MAX || !span_cut(path, '/', &first, &rest) || !span_is(first, "tile") ||
        !span_cut(rest, '/', &first, &rest))
        return false;
    bool entries = span_is(first, "entries");
    if (!entries && (!code_uint(first, &level) || level > TREE_LEVELS_MAX))
        return false;
    for (int i = 0; i < 6 && span_cut(rest, '/', &part, &first) && part.len == 4 && part.data[0] == 'x'; i++) {
        part = (struct span){ part.data + 1, 3 };
        if (!three_digits(part))
            return false;
        n = n * 1000 + (uint64_t)((part.data[0] - '0') * 100 + (part.data[1] - '0') * 10 + part.data[2] - '0');
        rest = first;
    }
    if (rest.len > 6 && !memcmp(rest.data + 3, ".p/", 3) &&
        (!code_uint((struct span){ rest.data + 6, rest.len - 6 }, &width) || !width || width >= TILE_WIDTH))
        return false;
    part = (struct span){ rest.data, rest.len < 3 ? rest.len : 3 };
    if (!three_digits(part))
        return false;
    n = n * 1000 + (uint64_t)((part.data[0] - '0') * 100 + (part.data[1] - '0') * 10 + part.data[2] - '0');
    tiles_path(again, entries ? TILE_ENTRIES_LEVEL : (int)level, n, (int)width);
    return span_is(path, again);
}

/* How wide the tile is in a tree of t->size: 0 when it is not there at all. */
static int width_of(const struct tiles *t, int level, uint64_t n)
{
    unsigned shift = 8 * (unsigned)(level < 0 ? 0 : level);
    uint64_t hashes = shift > 63 ? 0 : t->size >> shift;
    if (hashes / TILE_WIDTH > n)
        return TILE_WIDTH;
    return hashes / TILE_WIDTH == n ? (int)(hashes % TILE_WIDTH) : 0;
}

/* A log that has grown since may have dropped the partial file: the full one begins with the same bytes. */
static enum err_code read_tile(const struct tiles *t, int level, uint64_t n, int width, size_t max, struct buf *out,
                               struct err *e)
{
    char path[TILE_PATH_MAX];
    struct buf full = { 0 };
    tiles_path(path, level, n, width);
    buf_printf(&full, "%s/%s", t->dir, path);
    if (width < TILE_WIDTH && access(buf_str(&full), F_OK) && errno == ENOENT) {
        tiles_path(path, level, n, TILE_WIDTH);
        buf_clear(&full);
        buf_printf(&full, "%s/%s", t->dir, path);
    }
    enum err_code c = file_read(buf_str(&full), max, out, e);
    buf_release(&full);
    return c;
}

static enum err_code load(struct tiles *t, int level, uint64_t n, const struct tiles_cached **out, struct err *e)
{
    int width = width_of(t, level, n);
    struct tiles_cached *slot = &t->cache[(n * 31 + (uint64_t)level) % TILE_CACHE];
    if (slot->used && slot->level == level && slot->n == n && slot->width >= width) {
        *out = slot;
        return ERR_OK;
    }
    struct buf b = { 0 };
    enum err_code c = width ? read_tile(t, level, n, width, TILE_BYTES, &b, e)
                            : err_set(e, ERR_NOT_FOUND, "tile %d/%" PRIu64 " is not in the log", level, n);
    if (!c && (b.len < (size_t)width * HASH_BYTES || b.len % HASH_BYTES))
        c = err_set(e, ERR_CORRUPT, "tile %d/%" PRIu64 " is %zu bytes, not %d hashes", level, n, b.len, width);
    if (!c) {
        *slot = (struct tiles_cached){ .used = true, .level = level, .n = n, .width = width };
        memcpy(slot->hash, b.data, (size_t)width * HASH_BYTES);
        *out = slot;
    }
    buf_release(&b);
    return c;
}

enum err_code tiles_hash(void *ctx, unsigned level, uint64_t index, uint8_t out[HASH_BYTES], struct err *e)
{
    struct tiles *t = ctx;
    const struct tiles_cached *tile = NULL;
    unsigned sub = level % 8;
    uint64_t first = index << sub;
    int offset = (int)(first % TILE_WIDTH), count = 1 << sub;
    uint8_t h[TILE_WIDTH / 2][HASH_BYTES];
    enum err_code c = load(t, (int)(level / 8), first / TILE_WIDTH, &tile, e);
    if (c)
        return c;
    if (offset + count > tile->width)
        return err_set(e, ERR_NOT_FOUND, "the subtree %u/%" PRIu64 " is not full yet", level, index);
    const uint8_t *at = tile->hash + offset * HASH_BYTES;
    if (count == 1) {
        memcpy(out, at, HASH_BYTES);
        return ERR_OK;
    }
    for (int i = 0; i < count / 2; i++)
        tree_node_hash(h[i], at + 2 * i * HASH_BYTES, at + (2 * i + 1) * HASH_BYTES);
    for (int n = count / 4; n >= 1; n /= 2)
        for (int i = 0; i < n; i++)
            tree_node_hash(h[i], h[2 * i], h[2 * i + 1]);
    memcpy(out, h[0], HASH_BYTES);
    return ERR_OK;
}

bool tiles_next(struct span *bundle, struct span *entry)
{
    if (bundle->len < 2)
        return false;
    size_t n = (size_t)(uint8_t)bundle->data[0] << 8 | (uint8_t)bundle->data[1];
    if (bundle->len - 2 < n)
        return false;
    *entry = (struct span){ bundle->data + 2, n };
    bundle->data += 2 + n;
    bundle->len -= 2 + n;
    return true;
}

enum err_code tiles_bundle(const struct tiles *t, uint64_t n, struct buf *out, int *count, struct err *e)
{
    int width = width_of(t, TILE_ENTRIES_LEVEL, n), have = 0;
    size_t start = out->len;
    if (!width)
        return err_set(e, ERR_NOT_FOUND, "bundle %" PRIu64 " is not in the log", n);
    enum err_code c = read_tile(t, TILE_ENTRIES_LEVEL, n, width, BUNDLE_MAX, out, e);
    if (c)
        return c;
    struct span rest = { out->data + start, out->len - start }, entry;
    while (have < width && tiles_next(&rest, &entry))
        have++;
    if (have < width)
        return err_set(e, ERR_CORRUPT, "bundle %" PRIu64 " is cut short: %d entries, not %d", n, have, width);
    *count = width;
    out->len -= rest.len;
    return ERR_OK;
}

enum err_code tiles_entry(const struct tiles *t, uint64_t index, struct buf *out, struct err *e)
{
    struct buf b = { 0 };
    int count = 0;
    if (index >= t->size)
        return err_set(e, ERR_NOT_FOUND, "leaf %" PRIu64 " is not in the log", index);
    enum err_code c = tiles_bundle(t, index / TILE_WIDTH, &b, &count, e);
    struct span rest = { b.data, b.len }, entry = { 0 };
    for (uint64_t i = 0; !c && i <= index % TILE_WIDTH; i++)
        if (!tiles_next(&rest, &entry))
            c = err_set(e, ERR_CORRUPT, "bundle %" PRIu64 " is cut short", index / TILE_WIDTH);
    if (!c)
        buf_append(out, entry.data, entry.len);
    buf_release(&b);
    return c;
}
