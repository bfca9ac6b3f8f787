/* disk -- see disk.h. */
#include "trust/disk.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096 };

static int stage(void *ctx, const char *dir, const void *data, size_t n, struct err *e)
{
    int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) {
        err_errno(e, "%s: cannot create a file (the file system must know O_TMPFILE)", dir);
        return -1;
    }
    if (file_write_all_fd(fd, data, n, e)) {
        err_prefix(e, "%s", dir);
        close(fd);
        return -1;
    }
    return fd;
}

static enum err_code sync_file(void *ctx, int file, struct err *e)
{
    return fsync(file) ? err_errno(e, "cannot sync") : ERR_OK;
}

static enum err_code publish(void *ctx, int file, const char *path, struct err *e)
{
    char from[64], temp[PATH_BYTES_MAX];
    enum err_code c = ERR_OK;
    snprintf(from, sizeof from, "/proc/self/fd/%d", file);
    int failed = linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? errno : 0;
    if (failed && failed != EEXIST) {
        c = err_errno(e, "%s: cannot link", path);
    } else if (failed) { /* left by a batch that never got its checkpoint, or a file that moves on */
        int n = snprintf(temp, sizeof temp, "%s.new", path);
        if (n >= (int)sizeof temp || (unlink(temp) && errno != ENOENT) ||
            linkat(AT_FDCWD, from, AT_FDCWD, temp, AT_SYMLINK_FOLLOW) || rename(temp, path))
            c = err_errno(e, "%s: cannot replace", path);
    }
    close(file);
    return c;
}

static enum err_code make_dir(void *ctx, const char *path, struct err *e)
{
    return mkdir(path, 0755) && errno != EEXIST ? err_errno(e, "%s: cannot create the folder", path) : ERR_OK;
}

static enum err_code sync_dir(void *ctx, const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err_code c = fd < 0 || fsync(fd) ? err_errno(e, "%s: cannot sync the folder", path) : ERR_OK;
    if (fd >= 0)
        close(fd);
    return c;
}

const struct disk disk_real = { NULL, stage, sync_file, publish, make_dir, sync_dir };
