/* files -- /v1/files: what batches read and write. Uploads come as multipart/form-data, as OpenAI's clients do it. */
#include "base/log.h"
#include "base/mem.h"
#include "front/batches_impl.h"

#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, BOUNDARY_MAX = 70, FILE_NAME_MAX = 255 };

/* A part of a form: its name and file name (borrowed from the head, "" when absent), its bytes. */
struct part {
    struct http_slice name, file_name, data;
};

static const char *find(const char *p, const char *end, const char *what, size_t n)
{
    return n ? memmem(p, (size_t)(end - p), what, n) : NULL;
}

/* The value of key="..." in a run of header bytes. */
static struct http_slice quoted(const char *p, const char *end, const char *key)
{
    const char *at = find(p, end, key, strlen(key));
    const char *start = at ? at + strlen(key) : end;
    const char *stop = start < end ? memchr(start, '"', (size_t)(end - start)) : NULL;
    return stop ? (struct http_slice){ start, (size_t)(stop - start) } : (struct http_slice){ "", 0 };
}

/* "--boundary" of the form, or false when the type is no form. */
static bool read_boundary(const struct http_head *h, char out[BOUNDARY_MAX + 5], size_t *n)
{
    const struct http_field *type = http_head_field(h, "content-type");
    if (!type)
        return false;
    const char *p = type->value.p, *end = p + type->value.n, *at = find(p, end, "boundary=", 9);
    if (!at || !find(p, end, "multipart/form-data", 19))
        return false;
    at += 9;
    bool has_quotes = at < end && *at == '"';
    at += has_quotes;
    size_t len = 0;
    while (at + len < end && (has_quotes ? at[len] != '"' : !strchr("; \t", at[len])))
        len++;
    if (!len || len > BOUNDARY_MAX)
        return false;
    memcpy(out, "\r\n--", 4);
    memcpy(out + 4, at, len);
    *n = len + 4;
    return true;
}

/* The next part of the form from *at on; false: there is none. */
static bool next_part(const char **at, const char *end, const char *boundary, size_t n, struct part *out)
{
    const char *head = *at;
    if (end - head < 2 || memcmp(head, "\r\n", 2)) /* "--": the form's end */
        return false;
    head += 2;
    const char *body = find(head, end, "\r\n\r\n", 4), *stop = body ? find(body + 2, end, boundary, n) : NULL;
    if (!stop || stop < body + 4)
        return false;
    *out = (struct part){ quoted(head, body, " name=\""), quoted(head, body, " filename=\""),
                          { body + 4, (size_t)(stop - body) - 4 } };
    *at = stop + n;
    return true;
}

static bool read_form(struct http_exchange *x, struct part *purpose, struct part *file)
{
    struct http_slice body = http_request_body(x);
    char boundary[BOUNDARY_MAX + 5];
    size_t n;
    if (!read_boundary(http_request_head(x), boundary, &n))
        return false;
    const char *p = body.p, *end = p + body.n;
    if (body.n < n || memcmp(p, boundary + 2, n - 2))
        return false;
    p += n - 2;
    for (struct part part; next_part(&p, end, boundary, n, &part);) {
        if (http_slice_is(part.name, "purpose"))
            *purpose = part;
        else if (http_slice_is(part.name, "file"))
            *file = part;
    }
    return purpose->name.n && file->name.n;
}

static enum err_code keep(struct batches *b, const struct thing *t, struct http_slice data, struct err *e)
{
    char name[CHEST_NAME_MAX + 1];
    uint64_t number = 0;
    batches_file_name(t->id, name);
    int fd = chest_append_open(b->chest, name, &number, e);
    if (fd < 0)
        return e->code;
    struct buf out = { 0 };
    enum err_code c = ERR_OK;
    for (size_t at = 0; at < data.n && !c; at += CHUNK) {
        buf_clear(&out);
        chest_seal(b->chest, name, number++, data.p + at, data.n - at < CHUNK ? data.n - at : CHUNK, &out);
        c = file_write_all_fd(fd, out.data, out.len, e);
    }
    if (!c && fsync(fd))
        c = err_errno(e, "a file cannot be kept");
    close(fd);
    buf_release(&out);
    return c;
}

static void upload(struct batches *b, struct http_exchange *x)
{
    struct front *f = b->front;
    struct part purpose = { .name = { "", 0 } }, file = { .name = { "", 0 } };
    char name[FILE_NAME_MAX + 1] = "";
    struct err e;
    if (!read_form(x, &purpose, &file)) {
        batches_refuse(f, x, 400, "file", "send multipart/form-data with 'purpose' and 'file'");
        return;
    }
    if (!http_slice_is(purpose.data, "batch")) {
        batches_refuse(f, x, 400, "purpose", "'purpose' must be batch");
        return;
    }
    memcpy(name, file.file_name.p, file.file_name.n < FILE_NAME_MAX ? file.file_name.n : FILE_NAME_MAX);
    const struct http_head *h = http_request_head(x);
    struct thing *t = batches_make_file(b, "batch", name, front_tenant(f, h),
                                        accounts_key(f->accounts, keys_shown(h)) != NULL);
    if (t)
        batches_set(t, "bytes", (int64_t)file.data.n);
    if (!t) {
        batches_refuse(f, x, 429, "", "too many files and batches are kept; delete some");
        return;
    }
    if (keep(b, t, file.data, &e) || batches_save(b, t, &e)) {
        log_line(LOG_ERROR, "front", "%s", e.text);
        batches_delete(b, t);
        batches_refuse(f, x, 503, "", "the file could not be kept; try again later");
        return;
    }
    batches_show(b, x, t);
}

void answer_files(struct front *f, struct http_exchange *x, const struct route *r)
{
    if (!f->batches)
        batches_refuse(f, x, 404, "", "batches are off here; `batches: {dir: DIR}` in the configuration turns them on");
    else if (http_slice_is(http_request_head(x)->method, "POST"))
        upload(f->batches, x);
    else
        batches_list(f->batches, x, "file");
}

/* ---- one file */

struct reading {
    struct buf *out;
    bool results;  /* each record begins with the number of its line, which is not shown */
};

static bool add_record(void *arg, uint64_t number, const char *data, size_t n)
{
    struct reading *r = arg;
    size_t skip = r->results && n >= 4 ? 4 : 0;
    return buf_append(r->out, data + skip, n - skip);
}

static void show_content(struct batches *b, struct http_exchange *x, const struct thing *t)
{
    struct buf out = { 0 };
    struct err e;
    char name[CHEST_NAME_MAX + 1];
    struct reading r = { &out, strcmp(batches_text(t, "purpose"), "batch") != 0 };
    batches_file_name(t->id, name);
    if (chest_each(b->chest, name, add_record, &r, &e)) {
        log_line(LOG_ERROR, "front", "%s", e.text);
        batches_refuse(b->front, x, 500, "", "the file cannot be read");
    } else {
        struct http_reply reply = { .status = 200, .content_type = "application/octet-stream",
                                    .headers = "Cache-Control: no-store\r\n" };
        front_reply_bytes(b->front, x, &reply, out.data, out.len);
    }
    if (out.data)
        mem_wipe(out.data, out.len);
    buf_release(&out);
}

void answer_file(struct front *f, struct http_exchange *x, const struct route *r)
{
    const struct http_head *h = http_request_head(x);
    struct http_slice rest = { h->path.p + strlen("/v1/files/"), h->path.n - strlen("/v1/files/") };
    const char *slash = memchr(rest.p, '/', rest.n);
    char id[BATCH_ID_SIZE] = "";
    size_t n = slash ? (size_t)(slash - rest.p) : rest.n;
    memcpy(id, rest.p, n < sizeof id ? n : 0);
    struct thing *t = f->batches ? batches_find(f->batches, id) : NULL;
    bool content = slash && rest.n - n == strlen("/content") && !memcmp(slash, "/content", rest.n - n);
    if (!t || !batches_mine(f, x, t) || strncmp(t->id, "file-", 5) || (slash && !content)) {
        batches_refuse(f, x, 404, "file_id", "there is no such file");
    } else if (http_slice_is(h->method, "DELETE") && batches_needed(f->batches, t)) {
        batches_refuse(f, x, 409, "file_id", "a batch that is under way needs this file; cancel the batch first");
    } else if (http_slice_is(h->method, "DELETE")) {
        struct buf b = { 0 };
        buf_printf(&b, "{\"id\":\"%s\",\"object\":\"file\",\"deleted\":true}", t->id);
        batches_delete(f->batches, t);
        front_reply_json(f, x, 200, &b);
        buf_release(&b);
    } else if (content) {
        show_content(f->batches, x, t);
    } else {
        batches_show(f->batches, x, t);
    }
}
