/* file -- see file.h. */
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_CHUNK = 64 * 1024, PATH_BYTES_MAX = 4096 };

enum err_code file_read_fd(int fd, const char *name, size_t max, struct buf *out, struct err *e)
{
    size_t start = out->len;
    for (;;) {
        char *p = buf_reserve(out, READ_CHUNK);
        if (!p)
            return err_set(e, ERR_LIMIT, "%s: larger than %zu bytes", name, max);
        ssize_t n = read(fd, p, READ_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, "%s: cannot read", name);
        if (n == 0)
            break;
        out->len += (size_t)n;
        if (out->len - start > max)
            return err_set(e, ERR_LIMIT, "%s: larger than %zu bytes", name, max);
    }
    out->data[out->len] = '\0';
    return ERR_OK;
}

enum err_code file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    if (!strcmp(path, "-"))
        return file_read_fd(STDIN_FILENO, "standard input", max, out, e);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "%s: cannot open", path);
    enum err_code c = file_read_fd(fd, path, max, out, e);
    close(fd);
    return c;
}

enum err_code file_write_all_fd(int fd, const void *data, size_t n, struct err *e)
{
    const char *p = data;
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return err_errno(e, "cannot write");
        p += w;
        n -= (size_t)w;
    }
    return ERR_OK;
}

static void sync_folder_of(const char *path)
{
    char copy[PATH_BYTES_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

enum err_code file_replaceable(const char *path, struct err *e)
{
    struct stat st;
    if (lstat(path, &st))
        return errno == ENOENT ? ERR_OK : err_errno(e, "%s: cannot write there", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "%s: %s, not a regular file, so it is not replaced; name another", path,
                       S_ISLNK(st.st_mode) ? "a symbolic link" : S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    return ERR_OK;
}

enum err_code file_write(const char *path, const void *data, size_t n, struct err *e)
{
    char temp[PATH_BYTES_MAX];
    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int)sizeof temp)
        return err_set(e, ERR_INVALID, "the path is longer than %d bytes", PATH_BYTES_MAX - 8);
    enum err_code c = file_replaceable(path, e);
    if (c)
        return c;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "%s: cannot create", temp);
    c = file_write_all_fd(fd, data, n, e);
    if (!c && fsync(fd))
        c = err_errno(e, "%s: cannot sync", temp);
    if (close(fd) && !c)
        c = err_errno(e, "%s: cannot close", temp);
    if (!c && rename(temp, path))
        c = err_errno(e, "%s: cannot rename into place", path);
    if (c)
        unlink(temp);
    else
        sync_folder_of(path);
    return c;
}

enum err_code file_make_dirs(const char *path, struct err *e)
{
    char copy[PATH_BYTES_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return err_set(e, ERR_INVALID, "the path is longer than %d bytes", PATH_BYTES_MAX - 1);
    for (char *p = copy + 1;; p++) {
        char was = *p;
        if (was && was != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0700) && errno != EEXIST)
            return err_errno(e, "%s: cannot create the folder", copy);
        *p = was;
        if (!was)
            break;
    }
    struct stat st;
    if (stat(copy, &st) || S_ISDIR(st.st_mode))
        return ERR_OK;
    return err_set(e, ERR_INVALID, "%s is a file, and a folder is needed: name another", copy);
}

char *file_state_dir(const char *option)
{
    const char *home = option && *option ? option : getenv("TOKENWORKS_HOME");
    if (home && *home)
        return mem_strdup(home);
    struct buf b = { 0 };
    const char *user = getenv("HOME");
    buf_printf(&b, "%s/.cache/tokenworks", user && *user ? user : "/root");
    return buf_take(&b);
}
