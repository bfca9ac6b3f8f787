/* tiles -- a log on disk as C2SP tlog-tiles v0.1.0 lays it out, read side: paths, hashes, entries.
 *
 *     <dir>/checkpoint
 *     <dir>/tile/<L>/<N>[.p/<W>]         256 hashes of 32 bytes; W of them in a partial tile
 *     <dir>/tile/entries/<N>[.p/<W>]     256 entries, each a big-endian u16 length and its bytes
 *     N is written x001/x234/067
 *
 * Nothing read here is believed: whoever uses a hash ends at a root that was signed. */
#ifndef TRUST_TILES_H
#define TRUST_TILES_H
#include "trust/tree.h"

enum { TILE_WIDTH = 256, TILE_BYTES = TILE_WIDTH * HASH_BYTES, TILE_LEVELS_MAX = 8, TILE_ENTRY_MAX = 65535,
       TILE_PATH_MAX = 96, TILE_CACHE = 64, TILE_ENTRIES_LEVEL = -1 };

struct tiles_cached {
    bool used;
    int level;
    uint64_t n;
    int width;
    uint8_t hash[TILE_BYTES];
};

struct tiles {
    char *dir;
    uint64_t size; /* of the tree whose partial tiles are looked for */
    struct tiles_cached *cache; /* TILE_CACHE of them */
};

void tiles_open(struct tiles *t, const char *dir, uint64_t size);
void tiles_close(struct tiles *t);
void tiles_set_size(struct tiles *t, uint64_t size); /* the log has grown */

/* level TILE_ENTRIES_LEVEL names the entries. width 256: the full tile. */
void tiles_path(char out[TILE_PATH_MAX], int level, uint64_t n, int width);
/* path (what follows "/log/" in a URL) has exactly one of these forms or is "checkpoint": serve nothing else. */
bool tiles_path_ok(struct span path);

/* A tree_read for tree.h; ctx is a struct tiles. */
enum err_code tiles_hash(void *ctx, unsigned level, uint64_t index, uint8_t out[HASH_BYTES], struct err *e);
/* The n-th bundle of entries as it lies on disk, checked for form: *count entries. Appended to out. */
enum err_code tiles_bundle(const struct tiles *t, uint64_t n, struct buf *out, int *count, struct err *e);
/* Takes the next entry off a bundle; false at its end or when malformed. */
bool tiles_next(struct span *bundle, struct span *entry);
enum err_code tiles_entry(const struct tiles *t, uint64_t index, struct buf *out, struct err *e);
#endif
