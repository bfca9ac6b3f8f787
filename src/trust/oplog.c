/* oplog -- see oplog.h. */
#include "trust/oplog.h"

#include "base/file.h"
#include "base/mem.h"

#include <sodium.h>
#include <string.h>

static const char MAGIC[] = "tokenworks-oplog-1\n";
enum {
    MAGIC_BYTES = sizeof MAGIC - 1,
    SEALED_KEY = crypto_secretstream_xchacha20poly1305_KEYBYTES + crypto_box_SEALBYTES,
    HEADER = crypto_secretstream_xchacha20poly1305_HEADERBYTES,
    EXTRA = crypto_secretstream_xchacha20poly1305_ABYTES,
};

struct oplog {
    int fd;
    crypto_secretstream_xchacha20poly1305_state state;
};

void oplog_keypair(uint8_t secret[OPLOG_KEY_BYTES], uint8_t pub[OPLOG_KEY_BYTES])
{
    crypto_box_keypair(pub, secret);
}

enum err_code oplog_begin(int fd, const uint8_t auditor[OPLOG_KEY_BYTES], struct oplog **out, struct err *e)
{
    uint8_t key[crypto_secretstream_xchacha20poly1305_KEYBYTES], head[MAGIC_BYTES + SEALED_KEY + HEADER];
    struct oplog *o = MEM_NEW(struct oplog);
    o->fd = fd;
    crypto_secretstream_xchacha20poly1305_keygen(key);
    memcpy(head, MAGIC, MAGIC_BYTES);
    enum err_code c = crypto_box_seal(head + MAGIC_BYTES, key, sizeof key, auditor)
                          ? err_set(e, ERR_INVALID, "the auditor's key is not usable") : ERR_OK;
    crypto_secretstream_xchacha20poly1305_init_push(&o->state, head + MAGIC_BYTES + SEALED_KEY, key);
    sodium_memzero(key, sizeof key);
    if (!c)
        c = file_write_all_fd(fd, head, sizeof head, e);
    if (!c) {
        *out = o;
        return ERR_OK;
    }
    sodium_memzero(o, sizeof *o);
    mem_free(o);
    return c;
}

static enum err_code put_record(struct oplog *o, struct span line, uint8_t tag, struct err *e)
{
    size_t n = line.len + EXTRA;
    uint8_t *record = mem_new(4 + n, 1);
    for (int i = 0; i < 4; i++)
        record[i] = (uint8_t)(n >> (8 * i));
    crypto_secretstream_xchacha20poly1305_push(&o->state, record + 4, NULL, (const uint8_t *)line.data, line.len,
                                               record, 4, tag);
    enum err_code c = file_write_all_fd(o->fd, record, 4 + n, e);
    mem_free(record);
    return c;
}

enum err_code oplog_add(struct oplog *o, struct span line, struct err *e)
{
    if (line.len > OPLOG_LINE_MAX)
        return err_set(e, ERR_LIMIT, "a line of the operating log has at most %d bytes", OPLOG_LINE_MAX);
    return put_record(o, line, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE, e);
}

enum err_code oplog_end(struct oplog *o, struct err *e)
{
    enum err_code c = put_record(o, SPAN(""), crypto_secretstream_xchacha20poly1305_TAG_FINAL, e);
    sodium_memzero(o, sizeof *o);
    mem_free(o);
    return c;
}

static enum err_code open_head(struct span *file, const uint8_t secret[OPLOG_KEY_BYTES],
                               crypto_secretstream_xchacha20poly1305_state *state, struct err *e)
{
    uint8_t pub[OPLOG_KEY_BYTES], key[crypto_secretstream_xchacha20poly1305_KEYBYTES];
    const uint8_t *p = (const uint8_t *)file->data;
    if (file->len < MAGIC_BYTES + SEALED_KEY + HEADER || memcmp(p, MAGIC, MAGIC_BYTES))
        return err_set(e, ERR_CORRUPT, "not an operating log");
    crypto_scalarmult_base(pub, secret);
    enum err_code c = ERR_OK;
    if (crypto_box_seal_open(key, p + MAGIC_BYTES, SEALED_KEY, pub, secret))
        c = err_set(e, ERR_DENIED, "the operating log is for another auditor, or was changed");
    else if (crypto_secretstream_xchacha20poly1305_init_pull(state, p + MAGIC_BYTES + SEALED_KEY, key))
        c = err_set(e, ERR_DENIED, "the operating log's header was changed");
    sodium_memzero(key, sizeof key);
    file->data += MAGIC_BYTES + SEALED_KEY + HEADER;
    file->len -= MAGIC_BYTES + SEALED_KEY + HEADER;
    return c;
}

enum err_code oplog_read(struct span file, const uint8_t secret[OPLOG_KEY_BYTES], struct buf *out, bool *complete,
                         struct err *e)
{
    crypto_secretstream_xchacha20poly1305_state state;
    uint8_t *line = mem_new(OPLOG_LINE_MAX + EXTRA, 1);
    enum err_code c = open_head(&file, secret, &state, e);
    *complete = false;
    while (!c && file.len >= 4 && !*complete) {
        const uint8_t *p = (const uint8_t *)file.data;
        size_t n = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
        unsigned long long got = 0;
        uint8_t tag = 0;
        if (n < EXTRA || n > OPLOG_LINE_MAX + EXTRA || (n > file.len - 4))
            break; /* cut, or a length that was changed: either way the end is not there */
        if (crypto_secretstream_xchacha20poly1305_pull(&state, line, &got, &tag, p + 4, n, p, 4)) {
            c = err_set(e, ERR_DENIED, "the operating log was changed after %zu bytes of text", out->len);
            break;
        }
        *complete = tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL;
        if (!*complete) {
            buf_append(out, line, (size_t)got);
            buf_putc(out, '\n');
        }
        file.data += 4 + n;
        file.len -= 4 + n;
    }
    if (!c && *complete && file.len)
        c = err_set(e, ERR_DENIED, "something follows the end of the operating log");
    sodium_memzero(&state, sizeof state);
    mem_free(line);
    return c;
}
