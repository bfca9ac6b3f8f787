/* download -- see download.h. */
#include "net/download.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/progress.h"
#include "net/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { STALL_MS = 60 * 1000, HASH_CHUNK = 1 << 20, PAUSE_MS = 1000, PAUSE_MS_MAX = 30 * 1000 };

struct fetch {
    const struct download *d;
    struct http_client *client;
    struct http_client_reply reply;
    struct progress bar;
    struct sha256 hash;
    int64_t have;        /* bytes in the part file, all of them in hash */
    int64_t asked_from;  /* of the request under way */
    bool begun;          /* its first byte was seen */
    int fd;
    enum err_code code;  /* what stopped it from within, in inner's words */
    struct err inner;
    struct err *e;
};

static enum err_code restart(struct fetch *f)
{
    f->have = 0;
    sha256_init(&f->hash);
    if (ftruncate(f->fd, 0) || lseek(f->fd, 0, SEEK_SET))
        return err_errno(&f->inner, "%s: cannot begin anew", f->d->path);
    return ERR_OK;
}

static bool take(void *arg, const char *data, size_t n)
{
    struct fetch *f = arg;
    if (!f->begun && f->asked_from && f->reply.status != 206)
        f->code = restart(f); /* the whole file comes */
    f->begun = true;
    if (!f->code && f->d->bytes >= 0 && f->have + (int64_t)n > f->d->bytes)
        f->code = err_set(&f->inner, ERR_CORRUPT, "%s sends more than the %lld bytes the file has", f->d->url,
                          (long long)f->d->bytes);
    if (!f->code)
        f->code = file_write_all_fd(f->fd, data, n, &f->inner);
    if (f->code)
        return false;
    sha256_update(&f->hash, data, n);
    f->have += (int64_t)n;
    progress_update(&f->bar, f->have);
    return true;
}

/* What an earlier run left is hashed, so that the whole is checked in the end. */
static enum err_code take_part(struct fetch *f)
{
    char *chunk = mem_new(1, HASH_CHUNK);
    ssize_t n;
    sha256_init(&f->hash);
    while ((n = read(f->fd, chunk, HASH_CHUNK)) > 0) { /* ends with the file */
        sha256_update(&f->hash, chunk, (size_t)n);
        f->have += n;
    }
    mem_free(chunk);
    if (n < 0)
        return err_errno(f->e, "%s: cannot read what is there already", f->d->path);
    if (f->d->bytes >= 0 && f->have > f->d->bytes && restart(f))
        return err_set(f->e, ERR_IO, "%s", f->inner.text);
    return ERR_OK;
}

static enum err_code refused(struct fetch *f, int status)
{
    const char *url = f->d->url;
    if (status == 401 || status == 403)
        return err_set(f->e, ERR_DENIED, "%s: status %d: it needs a token (HF_TOKEN), or yours may not read it", url,
                       status);
    if (status == 404)
        return err_set(f->e, ERR_NOT_FOUND, "%s: there is no such file", url);
    return err_set(f->e, ERR_IO, "%s: status %d", url, status);
}

/* One request for what is missing. ERR_IO may be tried again. */
static enum err_code try_once(struct fetch *f)
{
    char range[64] = "";
    struct http_client_request r = { .url = f->d->url, .bearer = f->d->bearer, .follow = true, .stall_ms = STALL_MS,
                                     .on_data = take, .arg = f };
    if (f->have) {
        snprintf(range, sizeof range, "Range: bytes=%lld-", (long long)f->have);
        r.headers[0] = range;
    }
    f->asked_from = f->have;
    f->begun = false;
    f->code = ERR_OK;
    enum err_code c = http_client_run(f->client, &r, &f->reply, f->e);
    int status = f->reply.status;
    http_client_reply_release(&f->reply);
    if (f->code) { /* ours, so not to be tried again */
        *f->e = f->inner;
        return f->code == ERR_IO ? ERR_LIMIT : f->code;
    }
    if (!c && status == 416 && f->have) { /* it has another length than we think: from the start */
        if (restart(f))
            return err_set(f->e, ERR_LIMIT, "%s", f->inner.text);
        return err_set(f->e, ERR_IO, "%s: the part that is there does not fit the file", f->d->url);
    }
    if (!c && (status < 200 || status > 299))
        return refused(f, status);
    if (!c && f->d->bytes >= 0 && f->have < f->d->bytes)
        return err_set(f->e, ERR_IO, "%s: broke off after %lld of %lld bytes", f->d->url, (long long)f->have,
                       (long long)f->d->bytes);
    return c;
}

static enum err_code fetch_all(struct fetch *f)
{
    int64_t pause = f->d->pause_ms ? f->d->pause_ms : PAUSE_MS;
    enum err_code c = ERR_OK;
    for (int vain = 0; vain < DOWNLOAD_TRIES && (f->have != f->d->bytes || f->d->bytes < 0);) {
        int64_t before = f->have;
        c = try_once(f);
        if (c != ERR_IO)
            return c;
        if (f->have > before)
            vain = 0, pause = f->d->pause_ms ? f->d->pause_ms : PAUSE_MS;
        else
            vain++;
        nanosleep(&(struct timespec){ pause / 1000, pause % 1000 * 1000000 }, NULL);
        pause = 2 * pause < PAUSE_MS_MAX ? 2 * pause : PAUSE_MS_MAX;
    }
    return f->have == f->d->bytes ? ERR_OK : c;
}

static enum err_code check_room(const struct fetch *f)
{
    struct statvfs v;
    if (f->d->bytes < 0 || fstatvfs(f->fd, &v))
        return ERR_OK;
    int64_t room = (int64_t)v.f_bavail * (int64_t)v.f_frsize, need = f->d->bytes - f->have;
    return need <= room ? ERR_OK : err_set(f->e, ERR_LIMIT, "%s needs %lld MB more and the disk has %lld MB free",
                                           f->d->what, (long long)(need / 1000000), (long long)(room / 1000000));
}

static enum err_code check_hash(struct fetch *f, const char *part)
{
    uint8_t got[SHA256_BYTES];
    char is[SHA256_HEX_MAX], should[SHA256_HEX_MAX];
    sha256_final(&f->hash, got);
    if (!memcmp(got, f->d->sha256, sizeof got))
        return ERR_OK;
    unlink(part);
    sha256_hex(got, is);
    sha256_hex(f->d->sha256, should);
    return err_set(f->e, ERR_CORRUPT, "%s: the SHA-256 is %s and must be %s: nothing was kept", f->d->what, is, should);
}

/* path's folder + .NAME.HASH.part */
static void part_path(const struct download *d, struct buf *out)
{
    char hex[SHA256_HEX_MAX];
    const char *slash = strrchr(d->path, '/');
    size_t folder = slash ? (size_t)(slash + 1 - d->path) : 0;
    sha256_hex(d->sha256, hex);
    buf_append(out, d->path, folder);
    buf_printf(out, ".%s.%.12s.part", d->path + folder, hex);
}

static enum err_code into_place(struct fetch *f, const char *part)
{
    enum err_code c = file_replaceable(f->d->path, f->e);
    if (c)
        return c;
    if (fsync(f->fd) || fchmod(f->fd, 0644) || rename(part, f->d->path))
        return err_errno(f->e, "%s: cannot put the file in its place", f->d->path);
    return ERR_OK;
}

enum err_code download_run(const struct download *d, struct err *e)
{
    struct fetch f = { .d = d, .e = e };
    struct buf part = { 0 };
    part_path(d, &part);
    f.fd = open(buf_str(&part), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    enum err_code c = f.fd < 0 ? err_errno(e, "%s: cannot write", buf_str(&part)) : ERR_OK;
    if (!c && flock(f.fd, LOCK_EX | LOCK_NB))
        c = err_set(e, ERR_BUSY, "%s is being fetched by another process", d->what);
    if (!c)
        c = take_part(&f);
    if (!c)
        c = check_room(&f);
    if (!c) {
        f.client = http_client_new();
        progress_start(&f.bar, d->what, d->bytes > 0 ? d->bytes : 0);
        c = fetch_all(&f);
        progress_end(&f.bar);
        http_client_free(f.client);
    }
    if (c == ERR_CORRUPT)
        unlink(buf_str(&part));
    if (!c)
        c = check_hash(&f, buf_str(&part));
    if (!c)
        c = into_place(&f, buf_str(&part));
    if (f.fd >= 0)
        close(f.fd);
    buf_release(&part);
    return c;
}
