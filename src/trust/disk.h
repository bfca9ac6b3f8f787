/* disk -- the five things a log does to a disk, so that a test can record them and lose the unsynced ones.
 *
 * What counts as kept after power fails: bytes that were synced before they got a name, and names whose folder
 * was synced after. */
#ifndef TRUST_DISK_H
#define TRUST_DISK_H
#include "base/err.h"

#include <stddef.h>

struct disk {
    void *ctx;
    int (*stage)(void *ctx, const char *dir, const void *data, size_t n, struct err *e); /* a nameless file, or -1 */
    enum err_code (*sync)(void *ctx, int file, struct err *e);
    /* Names the file, replacing what has the name; the handle is gone afterwards, also on failure. */
    enum err_code (*publish)(void *ctx, int file, const char *path, struct err *e);
    enum err_code (*make_dir)(void *ctx, const char *path, struct err *e); /* one level; there already: fine */
    enum err_code (*sync_dir)(void *ctx, const char *path, struct err *e);
};

extern const struct disk disk_real; /* O_TMPFILE, fsync, linkat or rename, mkdir, fsync */
#endif
