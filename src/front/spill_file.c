/* spill_file -- see spill_file.h. */
#include "front/spill_file.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "trust/numerics.h"
#include "trust/sealbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static enum err_code make_key(const char *path, struct err *e)
{
    uint8_t fresh[SEALBOX_KEY];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? ERR_OK : err_errno(e, "%s: cannot make the storage key", path);
    rng_system(fresh, sizeof fresh);
    enum err_code c = file_write_all_fd(fd, fresh, sizeof fresh, e);
    if (!c && fsync(fd))
        c = err_errno(e, "%s: cannot keep the storage key", path);
    close(fd);
    mem_wipe(fresh, sizeof fresh);
    if (c)
        unlink(path);
    return c;
}

static enum err_code read_key(const char *path, char hex[2 * SEALBOX_KEY + 1], struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = make_key(path, e);
    if (!c)
        c = file_read(path, SEALBOX_KEY, &b, e);
    if (!c && b.len != SEALBOX_KEY)
        c = err_set(e, ERR_CORRUPT, "%s: a storage key has %d bytes; move it away for a new one", path, SEALBOX_KEY);
    if (!c)
        code_hex(hex, (const uint8_t *)b.data, SEALBOX_KEY);
    if (b.data)
        mem_wipe(b.data, b.len);
    buf_release(&b);
    return c;
}

/* The model's own, of whoever holds it. */
static enum err_code ask_key(const struct spill_files *s, const char *model_id, char hex[2 * SEALBOX_KEY + 1],
                             struct err *e)
{
    uint8_t key[SEALBOX_KEY];
    enum err_code c = s->key(s->arg, model_id, key, e);
    if (!c)
        code_hex(hex, key, sizeof key);
    mem_wipe(key, sizeof key);
    return c;
}

static int open_file(const char *folder, const char *model_id, struct err *e)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_MAX];
    struct buf path = { 0 };
    sha256_of(model_id, strlen(model_id), digest);
    sha256_hex(digest, hex);
    buf_printf(&path, "%s/%.16s.kv", folder, hex);
    int fd = open(buf_str(&path), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        err_errno(e, "%s: cannot open", buf_str(&path));
    buf_release(&path);
    return fd;
}

enum err_code spill_file_open(const struct spill_files *s, const char *model_id, json_t *hello, int *fd, struct err *e)
{
    *fd = -1;
    if (!s || !s->bytes)
        return ERR_OK;
    char key[2 * SEALBOX_KEY + 1] = "", build[2 * HASH_BYTES + 1] = "";
    uint8_t program[HASH_BYTES];
    struct buf folder = { 0 }, key_file = { 0 };
    buf_printf(&folder, "%s/spill", s->state);
    buf_printf(&key_file, "%s/spill.key", s->state);
    enum err_code c = file_make_dirs(buf_str(&folder), e);
    if (!c)
        c = s->key ? ask_key(s, model_id, key, e) : read_key(buf_str(&key_file), key, e);
    if (!c)
        c = numerics_build(program, e);
    if (!c && (*fd = open_file(buf_str(&folder), model_id, e)) < 0)
        c = e->code;
    if (!c && flock(*fd, LOCK_EX | LOCK_NB)) { /* with the descriptor the engine holds the lock */
        log_line(LOG_WARN, "front", "another server keeps the spilled prefixes of %s: none are kept here", model_id);
        close(*fd);
        *fd = -1;
    }
    if (!c && *fd >= 0) {
        code_hex(build, program, HASH_BYTES);
        json_object_set_new(hello, "spill", json_pack("{s:s, s:s, s:I}", "key", key, "build", build, "bytes",
                                                      (json_int_t)s->bytes));
    }
    mem_wipe(key, sizeof key);
    buf_release(&folder);
    buf_release(&key_file);
    return c;
}
