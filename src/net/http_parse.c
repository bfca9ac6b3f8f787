/* http_parse -- see http_parse.h. */
#include "net/http_parse.h"

#include <string.h>
#include <strings.h>

/* tchar of RFC 9110 5.6.2. */
static bool is_token_char(char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c && strchr("!#$%&'*+-.^_`|~", c);
}

static bool is_token(struct http_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_char(s.p[i]))
            return false;
    return s.n > 0;
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

bool http_slice_is(struct http_slice s, const char *text)
{
    return s.n == strlen(text) && !memcmp(s.p, text, s.n);
}

bool http_slice_is_nocase(struct http_slice s, const char *text)
{
    return s.n == strlen(text) && !strncasecmp(s.p, text, s.n);
}

const struct http_field *http_head_field(const struct http_head *h, const char *name)
{
    for (int i = 0; i < h->field_count; i++)
        if (http_slice_is_nocase(h->fields[i].name, name))
            return &h->fields[i];
    return NULL;
}

long http_head_find(const char *data, size_t n, size_t *scanned, struct err *e)
{
    for (size_t i = *scanned; i < n; i++) {
        char c = data[i], before = i ? data[i - 1] : '\0';
        if ((c == '\n') != (before == '\r'))
            return err_set(e, ERR_INVALID, "a line of the request does not end with CR LF"), -1;
        if (is_control(c) && c != '\r' && c != '\n')
            return err_set(e, ERR_INVALID, "the request head has a control byte in it"), -1;
        if (c == '\n' && i >= 3 && data[i - 2] == '\n')
            return (long)i + 1;
    }
    *scanned = n;
    return 0;
}

/* The line at *at, without its CR LF; *at moves behind it. The head is known to end with an empty line. */
static struct http_slice next_line(const char *data, size_t n, size_t *at)
{
    const char *start = data + *at, *lf = memchr(start, '\n', n - *at);
    *at = (size_t)(lf - data) + 1;
    return (struct http_slice){ start, (size_t)(lf - start) - 1 };
}

static struct http_slice cut_at(struct http_slice *rest, char stop)
{
    const char *p = memchr(rest->p, stop, rest->n);
    struct http_slice left = { rest->p, p ? (size_t)(p - rest->p) : rest->n };
    size_t gone = left.n + (p ? 1 : 0);
    *rest = (struct http_slice){ rest->p + gone, rest->n - gone };
    return left;
}

static int parse_target(struct http_head *h, struct err *e)
{
    struct http_slice t = h->target;
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.p[i] <= 0x20 || (unsigned char)t.p[i] >= 0x7f || t.p[i] == '#')
            return err_set(e, ERR_INVALID, "the request target has a byte that must be percent-encoded"), 400;
    size_t scheme = t.n > 7 && !strncasecmp(t.p, "http://", 7)    ? 7
                    : t.n > 8 && !strncasecmp(t.p, "https://", 8) ? 8
                                                                  : 0;
    if (scheme) {
        t = (struct http_slice){ t.p + scheme, t.n - scheme };
        const char *slash = memchr(t.p, '/', t.n);
        if (!slash || slash == t.p)
            return err_set(e, ERR_INVALID, "the request target has no host or no path"), 400;
        h->host = (struct http_slice){ t.p, (size_t)(slash - t.p) };
        t = (struct http_slice){ slash, t.n - h->host.n };
    }
    if (!t.n || (t.p[0] != '/' && !(http_slice_is(t, "*") && http_slice_is(h->method, "OPTIONS"))))
        return err_set(e, ERR_INVALID, "the request target must be a path starting with '/'"), 400;
    h->path = cut_at(&t, '?');
    h->query = t;
    return 0;
}

static int parse_request_line(struct http_slice line, struct http_head *h, struct err *e)
{
    struct http_slice rest = line;
    h->method = cut_at(&rest, ' ');
    h->target = cut_at(&rest, ' ');
    if (!is_token(h->method) || h->method.n > 32)
        return err_set(e, ERR_INVALID, "the request line has no method"), 400;
    if (http_slice_is(rest, "HTTP/1.1"))
        h->minor = 1;
    else if (!http_slice_is(rest, "HTTP/1.0"))
        return rest.n == 8 && !memcmp(rest.p, "HTTP/", 5)
                   ? (err_set(e, ERR_UNSUPPORTED, "this server speaks HTTP/1.1"), 505)
                   : (err_set(e, ERR_INVALID, "the request line is not METHOD TARGET HTTP/1.1"), 400);
    return parse_target(h, e);
}

static int parse_field(struct http_slice line, struct http_head *h, struct err *e)
{
    if (h->field_count == HTTP_FIELDS_MAX)
        return err_set(e, ERR_LIMIT, "the request has more than %d header fields", HTTP_FIELDS_MAX), 431;
    struct http_slice value = line, name = cut_at(&value, ':');
    /* A folded line starts with a blank, a space before the colon is in the name: neither is a token. */
    if (name.n == line.n || !is_token(name))
        return err_set(e, ERR_INVALID, "a header line is not 'Name: value'"), 400;
    while (value.n && (value.p[0] == ' ' || value.p[0] == '\t'))
        value.p++, value.n--;
    while (value.n && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    h->fields[h->field_count++] = (struct http_field){ name, value };
    return 0;
}

static int set_length(struct http_head *h, struct http_slice v, struct err *e)
{
    if (h->content_length >= 0)
        return err_set(e, ERR_INVALID, "Content-Length is given twice"), 400;
    int64_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return err_set(e, ERR_INVALID, "Content-Length is not a number"), 400;
        if (n > INT64_MAX / 10 - 10)
            return err_set(e, ERR_LIMIT, "Content-Length is larger than any body may be"), 413;
        n = n * 10 + (v.p[i] - '0');
    }
    if (!v.n)
        return err_set(e, ERR_INVALID, "Content-Length is empty"), 400;
    h->content_length = n;
    return 0;
}

static bool has_token(struct http_slice list, const char *token)
{
    while (list.n) {
        struct http_slice item = cut_at(&list, ',');
        while (item.n && (item.p[0] == ' ' || item.p[0] == '\t'))
            item.p++, item.n--;
        while (item.n && (item.p[item.n - 1] == ' ' || item.p[item.n - 1] == '\t'))
            item.n--;
        if (http_slice_is_nocase(item, token))
            return true;
    }
    return false;
}

/* The fields that say where the message ends and what becomes of the connection. */
static int read_framing(struct http_head *h, struct err *e)
{
    int hosts = 0;
    struct http_slice host = { "", 0 };
    h->keep_alive = h->minor == 1;
    for (int i = 0; i < h->field_count; i++) {
        struct http_slice name = h->fields[i].name, value = h->fields[i].value;
        if (http_slice_is_nocase(name, "content-length")) {
            int status = set_length(h, value, e);
            if (status)
                return status;
        } else if (http_slice_is_nocase(name, "transfer-encoding")) {
            if (h->chunked || h->minor == 0)
                return err_set(e, ERR_INVALID, "Transfer-Encoding is given twice or in HTTP/1.0"), 400;
            if (!http_slice_is_nocase(value, "chunked"))
                return err_set(e, ERR_UNSUPPORTED, "no transfer coding but chunked is understood"), 501;
            h->chunked = true;
        } else if (http_slice_is_nocase(name, "host")) {
            host = value;
            hosts++;
        } else if (http_slice_is_nocase(name, "connection")) {
            h->keep_alive = h->keep_alive && !has_token(value, "close");
        } else if (http_slice_is_nocase(name, "expect")) {
            if (!http_slice_is_nocase(value, "100-continue"))
                return err_set(e, ERR_UNSUPPORTED, "no expectation but 100-continue is understood"), 417;
            h->expect_continue = h->minor == 1;
        }
    }
    if (h->chunked && h->content_length >= 0)
        return err_set(e, ERR_INVALID, "Content-Length and Transfer-Encoding exclude each other"), 400;
    if (hosts > 1 || (!hosts && h->minor == 1))
        return err_set(e, ERR_INVALID, "a request has exactly one Host field"), 400;
    if (!h->host.n)
        h->host = host;
    return 0;
}

int http_head_parse(const char *data, size_t n, struct http_head *out, struct err *e)
{
    *out = (struct http_head){ .content_length = -1, .host = { "", 0 } };
    size_t at = 0;
    int status = parse_request_line(next_line(data, n, &at), out, e);
    while (!status) { /* each turn takes a line; the last one is empty */
        struct http_slice line = next_line(data, n, &at);
        if (!line.n)
            break;
        status = parse_field(line, out, e);
    }
    return status ? status : read_framing(out, e);
}

/* ---- chunked bodies: SIZE -> [EXTENSION ->] SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *      size 0: SIZE_LF -> TRAILER_START -> [TRAILER -> TRAILER_LF -> TRAILER_START ...] -> END_LF -> DONE */
enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF, END_LF, DONE };

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool http_chunks_done(const struct http_chunks *c)
{
    return c->state == DONE;
}

/* One byte outside of chunk data; false when it may not stand here. */
static bool chunk_byte(struct http_chunks *c, char b)
{
    if (b != '\n' && b != '\r' && is_control(b))
        return false;
    if (++c->line_bytes > HTTP_CHUNK_LINE_MAX)
        return false;
    switch (c->state) {
    case SIZE:
        if (hex_value(b) >= 0 && c->digits < 8) {
            c->left = c->left * 16 + (uint64_t)hex_value(b);
            c->digits++;
            return true;
        }
        c->state = b == '\r' ? SIZE_LF : EXTENSION;
        return c->digits && (b == '\r' || b == ';');
    case EXTENSION:
        c->state = b == '\r' ? SIZE_LF : EXTENSION;
        return b != '\n';
    case SIZE_LF:
        c->state = c->left ? DATA : TRAILER_START;
        c->line_bytes = c->digits = 0;
        return b == '\n';
    case DATA_CR:
        c->state = DATA_LF;
        return b == '\r';
    case DATA_LF:
        c->state = SIZE;
        c->line_bytes = 0;
        return b == '\n';
    case TRAILER_START:
        c->state = b == '\r' ? END_LF : TRAILER;
        return b != '\n' && (b == '\r' || ++c->trailers <= HTTP_TRAILERS_MAX);
    case TRAILER:
        c->state = b == '\r' ? TRAILER_LF : TRAILER;
        return b != '\n';
    case TRAILER_LF:
        c->state = TRAILER_START;
        c->line_bytes = 0;
        return b == '\n';
    case END_LF:
        c->state = DONE;
        return b == '\n';
    default:
        return false;
    }
}

long http_chunks_feed(struct http_chunks *c, const char *data, size_t n, struct buf *out, struct err *e)
{
    size_t i = 0;
    while (i < n && c->state != DONE) {
        if (c->state == DATA) {
            size_t take = n - i < c->left ? n - i : (size_t)c->left;
            if (!buf_append(out, data + i, take))
                return err_set(e, ERR_LIMIT, "the request body is larger than %zu bytes", out->max), -1;
            i += take;
            c->left -= take;
            c->state = c->left ? DATA : DATA_CR;
        } else if (!chunk_byte(c, data[i++])) {
            return err_set(e, ERR_CORRUPT, "the chunked body is malformed"), -1;
        }
    }
    return (long)i;
}

/* ---- writing */

bool http_field_write(struct buf *out, const char *name, const char *value)
{
    if (!is_token((struct http_slice){ name, strlen(name) }))
        return false;
    for (const char *p = value; *p; p++)
        if (is_control(*p))
            return false;
    return buf_printf(out, "%s: %s\r\n", name, value);
}

const char *http_status_text(int status)
{
    static const struct { int status; const char *text; } table[] = {
        { 200, "OK" }, { 204, "No Content" }, { 206, "Partial Content" }, { 301, "Moved Permanently" },
        { 304, "Not Modified" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 402, "Payment Required" },
        { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 408, "Request Timeout" },
        { 409, "Conflict" }, { 411, "Length Required" }, { 413, "Content Too Large" },
        { 415, "Unsupported Media Type" }, { 417, "Expectation Failed" }, { 421, "Misdirected Request" },
        { 422, "Unprocessable Content" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 502, "Bad Gateway" },
        { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].status == status)
            return table[i].text;
    return "Unknown";
}
