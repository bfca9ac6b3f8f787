/* bhttp -- Binary HTTP: whole and byte by byte agree; a request that parses, written and parsed again, is the same. */
#include "base/assert.h"
#include "trust/bhttp.h"

#include <string.h>

static void again(const struct bhttp_message *m)
{
    struct buf out = { 0 };
    struct bhttp_message n;
    if (m->is_request)
        bhttp_write_request(m, &out);
    else
        bhttp_write_response(m, &out);
    ASSERT(!bhttp_parse((struct span){ out.data, out.len }, &n, NULL));
    ASSERT(n.field_count == m->field_count && n.status == m->status && span_same(n.content, m->content));
    bhttp_release(&n);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bhttp_message m;
    struct bhttp_reader r = { 0 };
    struct buf content = { 0 };
    struct span in = { (const char *)data, size };
    bool whole = !bhttp_parse(in, &m, NULL), ok = true;
    for (size_t i = 0; ok && i < size; i++)
        ok = !bhttp_read(&r, (struct span){ in.data + i, 1 }, &content, NULL);
    if (whole) {
        if (!m.is_request && ok && r.state == BHTTP_DONE)
            ASSERT(r.message.status == m.status && content.len == m.content.len &&
                   (!content.len || !memcmp(content.data, m.content.data, content.len)));
        again(&m);
        bhttp_release(&m);
    }
    bhttp_reader_release(&r);
    buf_release(&content);
    return 0;
}
