/* http -- bytes as a client may send them: a head, then a chunked body. Slices must lie inside, copies must be exact. */
#include "base/assert.h"
#include "net/http_parse.h"

#include <string.h>

static void inside(struct http_slice s, const char *data, size_t n)
{
    ASSERT(!s.n || (s.p >= data && s.p + s.n <= data + n));
}

static void body(const char *data, size_t n)
{
    struct http_chunks whole = { 0 }, bytewise = { 0 };
    struct buf a = { .max = 4096 }, b = { .max = 4096 };
    long took = http_chunks_feed(&whole, data, n, &a, NULL), byte_took = 0;
    for (size_t i = 0; i < n && byte_took >= 0 && !http_chunks_done(&bytewise); i++)
        byte_took = http_chunks_feed(&bytewise, data + i, 1, &b, NULL);
    /* However the bytes are cut, the outcome is the same. */
    ASSERT((took < 0) == (byte_took < 0));
    if (took >= 0)
        ASSERT(a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len)) &&
               http_chunks_done(&whole) == http_chunks_done(&bytewise));
    buf_release(&a);
    buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    struct http_head h;
    struct err e = { 0 };
    size_t scanned = 0;
    long n = http_head_find(p, size, &scanned, &e);
    ASSERT(n <= (long)size);
    if (n <= 0) {
        ASSERT(n == 0 || e.text[0]);
        body(p, size);
        return 0;
    }
    int status = http_head_parse(p, (size_t)n, &h, &e);
    ASSERT(status == 0 || (status >= 400 && status <= 505 && e.text[0]));
    if (!status) {
        inside(h.method, p, size);
        inside(h.path, p, size);
        inside(h.query, p, size);
        inside(h.host, p, size);
        for (int i = 0; i < h.field_count; i++) {
            inside(h.fields[i].name, p, size);
            inside(h.fields[i].value, p, size);
            ASSERT(!memchr(h.fields[i].value.p, '\n', h.fields[i].value.n));
        }
        ASSERT(!(h.chunked && h.content_length >= 0));
    }
    body(p + n, size - (size_t)n);
    return 0;
}
