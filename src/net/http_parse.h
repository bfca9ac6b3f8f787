/* http_parse -- HTTP/1.1 requests from hostile bytes, strictly: RFC 9112 with every liberty it gives to refuse taken.
 *
 * Refused: a bare LF or CR, folded lines, control bytes, space before a colon, Content-Length with
 * Transfer-Encoding, either of them twice, any coding but chunked, no Host or two. What two parsers could read
 * differently is never read at all. Pure functions over the caller's bytes; no allocation. */
#ifndef NET_HTTP_PARSE_H
#define NET_HTTP_PARSE_H
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_FIELDS_MAX = 100,
    HTTP_HEAD_BYTES_MAX = 64 * 1024,
    HTTP_CHUNK_LINE_MAX = 256, /* chunk size with its extensions, and each trailer line */
    HTTP_TRAILERS_MAX = 32,
};

struct http_slice {
    const char *p; /* not NUL-terminated */
    size_t n;
};
struct http_field {
    struct http_slice name, value; /* value without surrounding blanks */
};

struct http_head {
    struct http_slice method, target;
    struct http_slice path, query;   /* of target; undecoded; query without '?', empty when absent */
    struct http_slice host;          /* the authority of an absolute target, else the Host field */
    int minor;                       /* HTTP/1.minor: 0 or 1 */
    struct http_field fields[HTTP_FIELDS_MAX];
    int field_count;
    int64_t content_length;          /* -1: not given */
    bool chunked, keep_alive, expect_continue;
};

/* Looks for the end of a head in data[0..n), of which *scanned bytes were seen by an earlier call.
 * Returns its length with the empty line; 0: more is needed; -1 with a sentence: this is no request. */
long http_head_find(const char *data, size_t n, size_t *scanned, struct err *e);
/* data[0..n) is a whole head as http_head_find found it. Returns 0, or the status to refuse it with and a
 * sentence. Slices of *out point into data. */
int http_head_parse(const char *data, size_t n, struct http_head *out, struct err *e);

bool http_slice_is(struct http_slice s, const char *text);      /* exact */
bool http_slice_is_nocase(struct http_slice s, const char *text);
const struct http_field *http_head_field(const struct http_head *h, const char *name); /* the first, or NULL */

/* A chunked body, decoded as it comes. Zero-initialise. */
struct http_chunks {
    int state;
    int digits, line_bytes, trailers;
    uint64_t left; /* of the current chunk */
};
/* Decodes from data[0..n) to out (whose max bounds the body). Returns the bytes consumed; -1 with a sentence:
 * ERR_CORRUPT when it is no chunked body, ERR_LIMIT when it passes out->max. http_chunks_done: nothing more
 * belongs to the body. */
long http_chunks_feed(struct http_chunks *c, const char *data, size_t n, struct buf *out, struct err *e);
bool http_chunks_done(const struct http_chunks *c);

/* Appends "name: value\r\n"; false and nothing appended when either could not be a field (response splitting). */
bool http_field_write(struct buf *out, const char *name, const char *value);
const char *http_status_text(int status); /* "Not Found"; "Unknown" */
#endif
