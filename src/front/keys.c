/* keys -- see keys.h. */
#include "front/keys.h"

#include "base/file.h"
#include "base/mem.h"
#include "net/digest.h"

#include <string.h>
#include <strings.h>

enum { KEYS_MAX = 10000, KEY_FILE_BYTES_MAX = 4 << 20, KEY_NAME_MAX = 64 };

struct key {
    uint8_t digest[DIGEST_BYTES];
    char name[KEY_NAME_MAX];
};
struct keys {
    struct key *v;
    int count;
};

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct key *add(struct keys *k)
{
    k->v = mem_grow(k->v, (size_t)k->count + 1, sizeof *k->v);
    struct key *key = &k->v[k->count++];
    memset(key, 0, sizeof *key);
    return key;
}

/* One line without its end; blank lines and comments add nothing. */
static enum err_code read_line(struct keys *k, const char *line, size_t n, struct err *e)
{
    const char *hash = memchr(line, '#', n);
    if (hash)
        n = (size_t)(hash - line);
    while (n && strchr(" \t\r", line[n - 1]))
        n--;
    while (n && strchr(" \t", *line))
        line++, n--;
    if (!n)
        return ERR_OK;
    if (k->count == KEYS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d keys", KEYS_MAX);
    struct key key = { .name = "" };
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        int high = 2 * i + 1 < n ? hex(line[2 * i]) : -1, low = high >= 0 ? hex(line[2 * i + 1]) : -1;
        if (low < 0)
            return err_set(e, ERR_INVALID, "a key line is the 64 hex digits of the key's SHA-256, then its name");
        key.digest[i] = (uint8_t)(high << 4 | low);
    }
    line += 2 * DIGEST_BYTES;
    n -= 2 * DIGEST_BYTES;
    if (n && !strchr(" \t", *line))
        return err_set(e, ERR_INVALID, "a key line has more than 64 hex digits before the name");
    while (n && strchr(" \t", *line))
        line++, n--;
    if (n >= sizeof key.name)
        return err_set(e, ERR_INVALID, "a key's name has at most %d bytes", KEY_NAME_MAX - 1);
    memcpy(key.name, line, n);
    *add(k) = key;
    return ERR_OK;
}

static enum err_code read_file(struct keys *k, const char *file, struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = file_read(file, KEY_FILE_BYTES_MAX, &b, e);
    const char *p = buf_str(&b), *end = p + b.len;
    for (int line = 1; !c && p < end; line++) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf ? (size_t)(lf - p) : (size_t)(end - p);
        c = read_line(k, p, n, e);
        if (c)
            err_prefix(e, "%s: line %d", file, line);
        p += n + (lf ? 1 : 0);
    }
    buf_release(&b);
    return c;
}

struct keys *keys_load(const char *file, const char *plain, struct err *e)
{
    struct keys *k = MEM_NEW(struct keys);
    if (plain && *plain) {
        struct key *key = add(k);
        digest_sha256(plain, strlen(plain), key->digest);
    }
    if (file && read_file(k, file, e)) {
        keys_free(k);
        return NULL;
    }
    return k;
}

void keys_free(struct keys *k)
{
    if (!k)
        return;
    mem_free(k->v);
    mem_free(k);
}

int keys_count(const struct keys *k)
{
    return k->count;
}

struct http_slice keys_shown(const struct http_head *h)
{
    const struct http_field *bearer = http_head_field(h, "authorization"), *plain = http_head_field(h, "x-api-key");
    if (plain)
        return plain->value;
    if (bearer && bearer->value.n > 7 && !strncasecmp(bearer->value.p, "Bearer ", 7))
        return (struct http_slice){ bearer->value.p + 7, bearer->value.n - 7 };
    return (struct http_slice){ "", 0 };
}

const char *keys_check(const struct keys *k, const struct http_head *h)
{
    struct http_slice shown = keys_shown(h);
    if (!shown.n)
        return NULL;
    uint8_t digest[DIGEST_BYTES];
    digest_sha256(shown.p, shown.n, digest);
    const char *found = NULL;
    for (int i = 0; i < k->count; i++) /* all of them, always */
        if (digest_equal(digest, k->v[i].digest))
            found = k->v[i].name;
    return found;
}
