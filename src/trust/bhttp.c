/* bhttp -- see bhttp.h. */
#include "trust/bhttp.h"

#include "trust/ohttp.h"

#include <string.h>

enum framing { KNOWN_REQUEST, KNOWN_RESPONSE, STREAM_REQUEST, STREAM_RESPONSE };
enum { INFORMATIONAL_MAX = 8 };

/* What a step of the parser says: enough bytes, too few so far, or wrong. */
enum step { STEP_OK, STEP_MORE, STEP_BAD };

static enum step take(struct span *in, uint64_t n, struct span *out)
{
    if (in->len < n)
        return STEP_MORE;
    *out = (struct span){ in->data, (size_t)n };
    in->data += n;
    in->len -= (size_t)n;
    return STEP_OK;
}

static enum step take_string(struct span *in, size_t max, struct span *out)
{
    uint64_t n = 0;
    if (!varint_take(in, &n))
        return STEP_MORE;
    return n > max ? STEP_BAD : take(in, n, out);
}

static bool name_ok(struct span s)
{
    if (!s.len || s.len > BHTTP_NAME_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c))))
            return false;
    }
    return true;
}

/* RFC 9110 5.5: visible bytes, spaces and tabs inside, none at the ends. */
static bool value_ok(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] == 0x7f)
            return false;
    return !s.len || (s.data[0] != ' ' && s.data[0] != '\t' && s.data[s.len - 1] != ' ' && s.data[s.len - 1] != '\t');
}

/* No spaces, no control characters: what may stand in a request line. */
static bool target_ok(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] <= 0x20 || s.data[i] == 0x7f)
            return false;
    return true;
}

static enum step take_field(struct span *in, struct bhttp_message *m, bool *end)
{
    struct span name, value;
    enum step s = take_string(in, BHTTP_NAME_MAX, &name);
    if (s)
        return s;
    *end = !name.len;
    if (*end)
        return STEP_OK;
    s = take_string(in, BHTTP_VALUE_MAX, &value);
    if (s)
        return s;
    if (!name_ok(name) || !value_ok(value) || m->field_count == BHTTP_FIELDS_MAX)
        return STEP_BAD;
    m->fields[m->field_count++] = (struct bhttp_field){ name, value };
    return STEP_OK;
}

/* A field section: with its length in front, or ended by an empty name. */
static enum step take_fields(struct span *in, bool known, struct bhttp_message *m)
{
    struct span section = { 0 };
    bool end = false;
    if (!known) {
        for (int i = 0; i <= BHTTP_FIELDS_MAX; i++) {
            enum step s = take_field(in, m, &end);
            if (s || end)
                return s;
        }
        return STEP_BAD;
    }
    enum step s = take_string(in, BHTTP_HEAD_MAX, &section);
    while (!s && section.len) {
        s = take_field(&section, m, &end);
        if (s == STEP_MORE || end) /* the section's length and its fields disagree */
            s = STEP_BAD;
    }
    return s;
}

static enum step take_control(struct span *in, bool known, struct bhttp_message *m)
{
    uint64_t status = 0;
    if (m->is_request) {
        struct span *parts[] = { &m->method, &m->scheme, &m->authority, &m->path };
        for (int i = 0; i < 4; i++) {
            enum step s = take_string(in, BHTTP_VALUE_MAX, parts[i]);
            if (s)
                return s;
            if (!target_ok(*parts[i]) || (!parts[i]->len && i != 2))
                return STEP_BAD;
        }
        return STEP_OK;
    }
    for (int i = 0; i < INFORMATIONAL_MAX; i++) {
        if (!varint_take(in, &status))
            return STEP_MORE;
        if (status < 100 || status > 599)
            return STEP_BAD;
        m->status = (int)status;
        if (status >= 200)
            return STEP_OK;
        enum step s = take_fields(in, known, m); /* of a 1xx: read and forgotten */
        m->field_count = 0;
        if (s)
            return s;
    }
    return STEP_BAD;
}

static enum step take_head(struct span *in, enum framing *framing, struct bhttp_message *m)
{
    uint64_t f = 0;
    if (!varint_take(in, &f))
        return STEP_MORE;
    if (f > STREAM_RESPONSE)
        return STEP_BAD;
    *framing = (enum framing)f;
    bool known = f == KNOWN_REQUEST || f == KNOWN_RESPONSE;
    m->is_request = f == KNOWN_REQUEST || f == STREAM_REQUEST;
    enum step s = take_control(in, known, m);
    if (!s && known && !in->len) /* RFC 9292 3.8: what is empty at the end may be cut */
        return STEP_OK;
    return s ? s : take_fields(in, known, m);
}

/* After the content: no trailers, then padding of zeros. */
static bool rest_is_padding(struct span in)
{
    for (size_t i = 0; i < in.len; i++)
        if (in.data[i])
            return false;
    return true;
}

static enum step take_chunks(struct span *in, struct buf *joined)
{
    for (;;) {
        struct span chunk;
        uint64_t n = 0;
        if (!varint_take(in, &n))
            return STEP_MORE;
        if (!n)
            return STEP_OK;
        if (take(in, n, &chunk))
            return STEP_MORE;
        if (!buf_append(joined, chunk.data, chunk.len))
            return STEP_BAD;
    }
}

enum err_code bhttp_parse(struct span bytes, struct bhttp_message *out, struct err *e)
{
    struct bhttp_message m = { 0 };
    enum framing f = KNOWN_REQUEST;
    struct span in = bytes;
    uint64_t n = 0;
    enum step s = take_head(&in, &f, &m);
    bool known = f == KNOWN_REQUEST || f == KNOWN_RESPONSE;
    if (!s && known && in.len)
        s = varint_take(&in, &n) ? take(&in, n, &m.content) : STEP_MORE;
    else if (!s && !known)
        s = take_chunks(&in, &m.joined);
    if (!known)
        m.content = (struct span){ buf_str(&m.joined), m.joined.len };
    if (s || !rest_is_padding(in)) {
        buf_release(&m.joined);
        return err_set(e, ERR_CORRUPT, "not a Binary HTTP message%s", s == STEP_MORE ? ": it was cut" : "");
    }
    *out = m;
    return ERR_OK;
}

void bhttp_release(struct bhttp_message *m)
{
    buf_release(&m->joined);
}

bool bhttp_field_get(const struct bhttp_message *m, const char *name, struct span *value, bool *twice)
{
    int found = 0;
    for (int i = 0; i < m->field_count; i++)
        if (span_is(m->fields[i].name, name) && !found++)
            *value = m->fields[i].value;
    *twice = found > 1;
    return found > 0;
}

/* ---- writing */

static void put_string(struct buf *out, struct span s)
{
    varint_put(out, s.len);
    buf_append(out, s.data, s.len);
}

static void put_known(const struct bhttp_message *m, struct buf *out)
{
    struct buf section = { 0 };
    for (int i = 0; i < m->field_count; i++) {
        put_string(&section, m->fields[i].name);
        put_string(&section, m->fields[i].value);
    }
    put_string(out, (struct span){ buf_str(&section), section.len });
    put_string(out, m->content);
    varint_put(out, 0); /* no trailers */
    buf_release(&section);
}

void bhttp_write_request(const struct bhttp_message *m, struct buf *out)
{
    varint_put(out, KNOWN_REQUEST);
    put_string(out, m->method);
    put_string(out, m->scheme);
    put_string(out, m->authority);
    put_string(out, m->path);
    put_known(m, out);
}

void bhttp_write_response(const struct bhttp_message *m, struct buf *out)
{
    varint_put(out, KNOWN_RESPONSE);
    varint_put(out, (uint64_t)m->status);
    put_known(m, out);
}

void bhttp_stream_head(int status, const struct bhttp_field *fields, int count, struct buf *out)
{
    varint_put(out, STREAM_RESPONSE);
    varint_put(out, (uint64_t)status);
    for (int i = 0; i < count; i++) {
        put_string(out, fields[i].name);
        put_string(out, fields[i].value);
    }
    varint_put(out, 0);
}

void bhttp_stream_content(struct span data, struct buf *out)
{
    if (data.len)
        put_string(out, data);
}

void bhttp_stream_end(struct buf *out)
{
    varint_put(out, 0); /* content */
    varint_put(out, 0); /* trailers */
}

/* ---- reading as it arrives */

static enum err_code read_head(struct bhttp_reader *r, struct err *e)
{
    struct span in = { buf_str(&r->pending), r->pending.len }, rest = in;
    struct bhttp_message m = { 0 };
    enum framing f = KNOWN_RESPONSE;
    uint64_t n = 0;
    enum step s = take_head(&rest, &f, &m);
    if (!s && f == KNOWN_RESPONSE && !varint_take(&rest, &n))
        s = STEP_MORE;
    if (s == STEP_MORE && r->pending.len <= BHTTP_HEAD_MAX)
        return ERR_OK;
    if (s || m.is_request)
        return err_set(e, ERR_CORRUPT, "not a Binary HTTP response");
    size_t used = in.len - rest.len;
    buf_append(&r->head, in.data, used); /* the fields must outlive the bytes that arrive later */
    struct span again = { r->head.data, r->head.len };
    take_head(&again, &f, &r->message);
    buf_drop_front(&r->pending, used);
    r->left = n;
    r->state = f == KNOWN_RESPONSE ? BHTTP_KNOWN : BHTTP_CONTENT;
    return ERR_OK;
}

static void read_known(struct bhttp_reader *r, struct buf *content)
{
    size_t n = r->pending.len < r->left ? r->pending.len : (size_t)r->left;
    buf_append(content, buf_str(&r->pending), n);
    buf_drop_front(&r->pending, n);
    r->left -= n;
    if (!r->left)
        r->state = BHTTP_DONE;
}

static enum err_code read_chunks(struct bhttp_reader *r, struct buf *content, struct err *e)
{
    size_t used = 0;
    while (r->state == BHTTP_CONTENT) {
        struct span rest = { buf_str(&r->pending) + used, r->pending.len - used }, chunk;
        uint64_t n = 0;
        if (!varint_take(&rest, &n))
            break;
        if (n > OHTTP_CHUNK_MAX)
            return err_set(e, ERR_LIMIT, "a chunk of the response is longer than %d bytes", OHTTP_CHUNK_MAX);
        if (take(&rest, n, &chunk))
            break;
        buf_append(content, chunk.data, chunk.len);
        used = r->pending.len - rest.len;
        if (!n)
            r->state = BHTTP_DONE;
    }
    buf_drop_front(&r->pending, used);
    return ERR_OK;
}

enum err_code bhttp_read(struct bhttp_reader *r, struct span in, struct buf *content, struct err *e)
{
    enum err_code c = ERR_OK;
    if (!buf_append(&r->pending, in.data, in.len))
        return err_set(e, ERR_LIMIT, "the response is too long");
    if (r->state == BHTTP_HEAD)
        c = read_head(r, e);
    if (!c && r->state == BHTTP_KNOWN)
        read_known(r, content);
    if (!c && r->state == BHTTP_CONTENT)
        c = read_chunks(r, content, e);
    if (!c && r->state == BHTTP_DONE) {
        if (!rest_is_padding((struct span){ buf_str(&r->pending), r->pending.len }))
            c = err_set(e, ERR_CORRUPT, "the response has trailers");
        buf_clear(&r->pending);
    }
    return c;
}

void bhttp_reader_release(struct bhttp_reader *r)
{
    buf_release(&r->pending);
    buf_release(&r->head);
    *r = (struct bhttp_reader){ 0 };
}
