/* chest -- see chest.h. */
#include "trust/chest.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_BYTES = crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
    NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG_BYTES = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    LENGTH_BYTES = 4,
};

struct chest {
    char *dir;
    uint8_t key[KEY_BYTES];
};

static char *path_of(const struct chest *v, const char *name)
{
    struct buf b = { 0 };
    ASSERT(*name && *name != '.' && !strchr(name, '/') && strlen(name) <= CHEST_NAME_MAX);
    buf_printf(&b, "%s/%s", v->dir, name);
    return buf_take(&b);
}

/* The key's file, made by whoever comes first. */
static enum err_code need_key(const char *file, uint8_t key[KEY_BYTES], struct err *e)
{
    uint8_t fresh[KEY_BYTES];
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        rng_system(fresh, sizeof fresh);
        enum err_code c = file_write_all_fd(fd, fresh, sizeof fresh, e);
        if (!c && fsync(fd))
            c = err_errno(e, "%s: cannot keep", file);
        close(fd);
        sodium_memzero(fresh, sizeof fresh);
        if (c) {
            unlink(file);
            return c;
        }
    } else if (errno != EEXIST) {
        return err_errno(e, "%s: cannot create", file);
    }
    struct buf b = { 0 };
    enum err_code c = file_read(file, KEY_BYTES, &b, e);
    if (!c && b.len != KEY_BYTES)
        c = err_set(e, ERR_CORRUPT, "%s: a storage key has %d bytes", file, (int)KEY_BYTES);
    if (!c)
        memcpy(key, b.data, KEY_BYTES);
    if (b.data)
        sodium_memzero(b.data, b.len);
    buf_release(&b);
    return c;
}

enum err_code chest_open_with(const char *dir, const uint8_t *key, struct chest **out, struct err *e)
{
    enum err_code c = sodium_init() < 0 ? err_set(e, ERR_IO, "libsodium does not start") : file_make_dirs(dir, e);
    if (c)
        return c;
    struct chest *v = MEM_NEW(struct chest);
    v->dir = mem_strdup(dir);
    memcpy(v->key, key, sizeof v->key);
    *out = v;
    return ERR_OK;
}

enum err_code chest_open(const char *dir, const char *key_file, struct chest **out, struct err *e)
{
    enum err_code c = sodium_init() < 0 ? err_set(e, ERR_IO, "libsodium does not start") : file_make_dirs(dir, e);
    if (c)
        return c;
    struct chest *v = MEM_NEW(struct chest);
    v->dir = mem_strdup(dir);
    c = need_key(key_file, v->key, e);
    if (c)
        chest_close(v);
    else
        *out = v;
    return c;
}

void chest_close(struct chest *v)
{
    if (!v)
        return;
    sodium_memzero(v->key, sizeof v->key);
    mem_free(v->dir);
    mem_free(v);
}

/* ---- records */

static size_t make_ad(const char *name, uint64_t number, uint8_t ad[CHEST_NAME_MAX + 9])
{
    size_t n = strlen(name) + 1;
    ASSERT(n <= CHEST_NAME_MAX + 1);
    memcpy(ad, name, n);
    for (int i = 0; i < 8; i++)
        ad[n++] = (uint8_t)(number >> (8 * i));
    return n;
}

void chest_seal(const struct chest *v, const char *name, uint64_t number, const void *data, size_t n, struct buf *out)
{
    uint8_t ad[CHEST_NAME_MAX + 9], nonce[NONCE_BYTES];
    size_t ad_len = make_ad(name, number, ad);
    unsigned long long len;
    ASSERT(n <= CHEST_RECORD_MAX);
    rng_system(nonce, sizeof nonce);
    buf_put_u32(out, (uint32_t)(n + TAG_BYTES));
    buf_append(out, nonce, sizeof nonce);
    uint8_t *to = (uint8_t *)buf_reserve(out, n + TAG_BYTES);
    ASSERT(to);
    crypto_aead_xchacha20poly1305_ietf_encrypt(to, &len, data, n, ad, ad_len, NULL, nonce, v->key);
    out->len += (size_t)len;
    out->data[out->len] = '\0';
}

/* The record at the file's place. ERR_NOT_FOUND: the end, or a record that was cut. */
static enum err_code read_record(const struct chest *v, FILE *f, const char *name, uint64_t number, struct buf *out,
                                 struct err *e)
{
    uint8_t head[LENGTH_BYTES + NONCE_BYTES], ad[CHEST_NAME_MAX + 9];
    size_t ad_len = make_ad(name, number, ad);
    unsigned long long plain;
    if (fread(head, 1, sizeof head, f) != sizeof head)
        return ERR_NOT_FOUND;
    size_t n = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (n < TAG_BYTES || n > CHEST_RECORD_MAX + TAG_BYTES)
        return err_set(e, ERR_CORRUPT, "%s: record %llu is none", name, (unsigned long long)number);
    buf_clear(out);
    uint8_t *to = (uint8_t *)buf_reserve(out, n);
    if (!to || fread(to, 1, n, f) != n)
        return ERR_NOT_FOUND;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(to, &plain, NULL, to, n, ad, ad_len, head + LENGTH_BYTES, v->key))
        return err_set(e, ERR_CORRUPT, "%s: record %llu was changed, or sealed with another key", name,
                       (unsigned long long)number);
    out->len = (size_t)plain;
    out->data[out->len] = '\0';
    return ERR_OK;
}

/* Reads on from the start; *whole: where the last whole record ends, *count: how many there are. */
static enum err_code walk(const struct chest *v, FILE *f, const char *name, chest_fn *fn, void *arg, long *whole,
                          uint64_t *count, struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = ERR_OK;
    *whole = 0;
    *count = 0;
    for (bool more = true; more && !(c = read_record(v, f, name, *count, &b, e)); (*count)++) {
        *whole = ftell(f);
        more = !fn || fn(arg, *count, buf_str(&b), b.len);
    }
    if (b.data)
        sodium_memzero(b.data, b.cap);
    buf_release(&b);
    return c == ERR_NOT_FOUND ? ERR_OK : c;
}

enum err_code chest_each(const struct chest *v, const char *name, chest_fn *fn, void *arg, struct err *e)
{
    char *path = path_of(v, name);
    long whole;
    uint64_t count;
    FILE *f = fopen(path, "re");
    enum err_code c = f ? walk(v, f, name, fn, arg, &whole, &count, e) :
                      errno == ENOENT ? ERR_OK : err_errno(e, "%s: cannot open", path);
    if (f)
        fclose(f);
    mem_free(path);
    return c;
}

int chest_append_open(const struct chest *v, const char *name, uint64_t *records, struct err *e)
{
    char *path = path_of(v, name);
    long whole = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fopen(path, "re") : NULL;
    enum err_code c = f ? walk(v, f, name, NULL, NULL, &whole, records, e) : err_errno(e, "%s: cannot open", path);
    if (!c && (ftruncate(fd, whole) || lseek(fd, whole, SEEK_SET) < 0))
        c = err_errno(e, "%s: cannot cut", path);
    if (f)
        fclose(f);
    if (c && fd >= 0)
        close(fd);
    mem_free(path);
    return c ? -1 : fd;
}

/* ---- whole files */

enum err_code chest_write(const struct chest *v, const char *name, const void *data, size_t n, struct err *e)
{
    if (n > CHEST_RECORD_MAX)
        return err_set(e, ERR_LIMIT, "%s: more than %d bytes", name, CHEST_RECORD_MAX);
    char *path = path_of(v, name);
    struct buf b = { 0 };
    chest_seal(v, name, 0, data, n, &b);
    enum err_code c = file_write(path, b.data, b.len, e);
    buf_release(&b);
    mem_free(path);
    return c;
}

static bool take(void *arg, uint64_t number, const char *data, size_t n)
{
    buf_append(arg, data, n);
    return false;
}

enum err_code chest_read(const struct chest *v, const char *name, struct buf *out, struct err *e)
{
    size_t before = out->len;
    enum err_code c = chest_each(v, name, take, out, e);
    return c || out->len > before ? c : err_set(e, ERR_NOT_FOUND, "%s: nothing is there", name);
}

void chest_remove(const struct chest *v, const char *name)
{
    char *path = path_of(v, name);
    unlink(path);
    mem_free(path);
}

void chest_list(const struct chest *v, void (*fn)(void *arg, const char *name), void *arg)
{
    DIR *d = opendir(v->dir);
    for (struct dirent *f; d && (f = readdir(d)) != NULL;)
        if (f->d_name[0] != '.' && strlen(f->d_name) <= CHEST_NAME_MAX)
            fn(arg, f->d_name);
    if (d)
        closedir(d);
}
