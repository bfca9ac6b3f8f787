/* write -- see write.h.
 *
 * I1: before start, `keys` and `table` hold the header's two parts; after it, `tensor` and `done` say how far
 *     the data has come: done bytes of tensor number `tensor`. */
#include "gguf/write.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/mem.h"
#include "gguf/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096 };

struct gguf_writer {
    struct buf keys, table; /* as they will stand in the file */
    int key_count, tensor_count;
    size_t *tensor_bytes;   /* [tensor_count] */
    size_t data_bytes;      /* declared so far, padding included */
    const char *mistake;    /* the first thing the caller did wrong, or NULL */
    int fd;                 /* -1: none */
    struct buf *out;        /* instead of fd; borrowed */
    char *path, *temp;      /* of fd */
    bool started;
    int tensor;             /* I1 */
    size_t done;
};

struct gguf_writer *gguf_writer_new(void)
{
    struct gguf_writer *w = MEM_NEW(struct gguf_writer);
    w->fd = -1;
    return w;
}

void gguf_writer_free(struct gguf_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->temp);
    }
    buf_release(&w->keys);
    buf_release(&w->table);
    mem_free(w->tensor_bytes);
    mem_free(w->path);
    mem_free(w->temp);
    mem_free(w);
}

static void mistake(struct gguf_writer *w, const char *text)
{
    if (!w->mistake)
        w->mistake = text;
}

static void put_str(struct buf *b, struct gguf_str s)
{
    buf_put_u64(b, s.len);
    buf_append(b, s.data, s.len);
}

static void begin_key(struct gguf_writer *w, struct gguf_str key, enum gguf_kind kind)
{
    ASSERT(!w->started);
    if (key.len == 0 || key.len >= GGUF_NAME_MAX)
        mistake(w, "a key's name is empty or too long");
    put_str(&w->keys, key);
    buf_put_u32(&w->keys, (uint32_t)kind);
    w->key_count++;
}

static struct gguf_str str(const char *s)
{
    return (struct gguf_str){ s, strlen(s) };
}

void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    begin_key(w, str(key), GGUF_U32);
    buf_put_u32(&w->keys, v);
}

void gguf_writer_u64(struct gguf_writer *w, const char *key, uint64_t v)
{
    begin_key(w, str(key), GGUF_U64);
    buf_put_u64(&w->keys, v);
}

void gguf_writer_f32(struct gguf_writer *w, const char *key, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    begin_key(w, str(key), GGUF_F32);
    buf_put_u32(&w->keys, bits);
}

void gguf_writer_bool(struct gguf_writer *w, const char *key, bool v)
{
    begin_key(w, str(key), GGUF_BOOL);
    buf_putc(&w->keys, v ? 1 : 0);
}

void gguf_writer_string(struct gguf_writer *w, const char *key, const char *v)
{
    begin_key(w, str(key), GGUF_STRING);
    put_str(&w->keys, str(v));
}

void gguf_writer_strings(struct gguf_writer *w, const char *key, const struct gguf_str *items, size_t count)
{
    begin_key(w, str(key), GGUF_ARRAY);
    buf_put_u32(&w->keys, GGUF_STRING);
    buf_put_u64(&w->keys, count);
    for (size_t i = 0; i < count; i++)
        put_str(&w->keys, items[i]);
}

void gguf_writer_array(struct gguf_writer *w, const char *key, enum gguf_kind kind, const void *items, size_t count)
{
    ASSERT(gguf_kind_bytes(kind)); /* little-endian machines only: as everywhere in this program */
    begin_key(w, str(key), GGUF_ARRAY);
    buf_put_u32(&w->keys, (uint32_t)kind);
    buf_put_u64(&w->keys, count);
    buf_append(&w->keys, items, count * gguf_kind_bytes(kind));
}

void gguf_writer_copy(struct gguf_writer *w, struct gguf_str key, const struct gguf_value *v)
{
    begin_key(w, key, v->kind);
    buf_append(&w->keys, v->raw, v->raw_bytes);
}

static size_t padded(size_t n)
{
    return (n + GGUF_ALIGN_DEFAULT - 1) / GGUF_ALIGN_DEFAULT * GGUF_ALIGN_DEFAULT;
}

void gguf_writer_tensor(struct gguf_writer *w, struct gguf_str name, enum kern_type type, int dims,
                        const uint64_t *ne)
{
    ASSERT(!w->started && dims >= 1 && dims <= GGUF_DIMS_MAX);
    const struct kern_type_info *info = kern_type_info((int)type);
    ASSERT(info);
    if (name.len == 0 || name.len >= GGUF_NAME_MAX)
        mistake(w, "a tensor's name is empty or too long");
    if (ne[0] % (uint64_t)info->block_len)
        mistake(w, "a tensor's rows do not divide into blocks");
    size_t bytes = kern_row_bytes(type, (size_t)ne[0] / (size_t)info->block_len * (size_t)info->block_len);
    put_str(&w->table, name);
    buf_put_u32(&w->table, (uint32_t)dims);
    for (int i = 0; i < dims; i++) {
        buf_put_u64(&w->table, ne[i]);
        if (i && !mem_mul_ok(bytes, (size_t)ne[i], &bytes))
            mistake(w, "a tensor is larger than memory can be");
    }
    buf_put_u32(&w->table, (uint32_t)type);
    buf_put_u64(&w->table, w->data_bytes);
    w->tensor_bytes = mem_grow(w->tensor_bytes, (size_t)w->tensor_count + 1, sizeof *w->tensor_bytes);
    w->tensor_bytes[w->tensor_count++] = bytes;
    w->data_bytes += padded(bytes);
}

/* ---- output */

static enum err_code emit(struct gguf_writer *w, const void *data, size_t n, struct err *e)
{
    if (w->out)
        return buf_append(w->out, data, n) ? ERR_OK : err_set(e, ERR_LIMIT, "the file outgrows its buffer");
    enum err_code c = file_write_all_fd(w->fd, data, n, e);
    if (c)
        err_prefix(e, "%s", w->temp);
    return c;
}

static enum err_code emit_padding(struct gguf_writer *w, size_t written, struct err *e)
{
    static const unsigned char zeros[GGUF_ALIGN_DEFAULT];
    return emit(w, zeros, padded(written) - written, e);
}

/* Tensors of no bytes cannot be (every dimension is checked by the reader), so a step always has data to wait for. */
static enum err_code emit_header(struct gguf_writer *w, struct err *e)
{
    struct buf head = { 0 };
    if (w->keys.overflow || w->table.overflow)
        mistake(w, "the header outgrows its buffer");
    if (w->key_count > GGUF_KEYS_MAX || w->tensor_count > GGUF_TENSORS_MAX)
        mistake(w, "too many keys or tensors");
    if (w->mistake)
        return err_set(e, ERR_INVALID, "cannot write this as GGUF: %s", w->mistake);
    buf_append(&head, "GGUF", 4);
    buf_put_u32(&head, 3);
    buf_put_u64(&head, (uint64_t)w->tensor_count);
    buf_put_u64(&head, (uint64_t)w->key_count);
    size_t total = head.len + w->keys.len + w->table.len;
    enum err_code c = emit(w, head.data, head.len, e);
    if (!c)
        c = emit(w, buf_str(&w->keys), w->keys.len, e);
    if (!c)
        c = emit(w, buf_str(&w->table), w->table.len, e);
    if (!c)
        c = emit_padding(w, total, e);
    buf_release(&head);
    return c;
}

enum err_code gguf_writer_start(struct gguf_writer *w, const char *path, struct err *e)
{
    ASSERT(!w->started);
    char temp[PATH_BYTES_MAX];
    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int)sizeof temp)
        return err_set(e, ERR_INVALID, "the path is longer than %d bytes", PATH_BYTES_MAX - 8);
    enum err_code c = file_replaceable(path, e);
    if (c)
        return c;
    w->fd = mkostemp(temp, O_CLOEXEC);
    if (w->fd < 0)
        return err_errno(e, "%s: cannot create", temp);
    w->path = mem_strdup(path);
    w->temp = mem_strdup(temp);
    w->started = true;
    return emit_header(w, e);
}

enum err_code gguf_writer_start_buf(struct gguf_writer *w, struct buf *out, struct err *e)
{
    ASSERT(!w->started);
    w->out = out;
    w->started = true;
    return emit_header(w, e);
}

enum err_code gguf_writer_data(struct gguf_writer *w, const void *data, size_t n, struct err *e)
{
    ASSERT(w->started && w->tensor < w->tensor_count && n <= w->tensor_bytes[w->tensor] - w->done);
    enum err_code c = emit(w, data, n, e);
    if (c)
        return c;
    w->done += n;
    if (w->done < w->tensor_bytes[w->tensor])
        return ERR_OK;
    w->tensor++;
    n = w->done;
    w->done = 0;
    return emit_padding(w, n, e);
}

enum err_code gguf_writer_finish(struct gguf_writer *w, struct err *e)
{
    ASSERT(w->started && w->tensor == w->tensor_count);
    if (w->out)
        return ERR_OK;
    if (fchmod(w->fd, 0644))
        return err_errno(e, "%s: cannot set its mode", w->temp);
    if (fsync(w->fd))
        return err_errno(e, "%s: cannot sync", w->temp);
    if (rename(w->temp, w->path))
        return err_errno(e, "%s: cannot rename into place", w->path);
    close(w->fd);
    w->fd = -1;
    return ERR_OK;
}
