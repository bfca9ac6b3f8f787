/* frame -- bytes from a stream: a frame parsed is one that, written again, gives the same bytes. */
#include "base/assert.h"
#include "wire/frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    while (size) { /* every frame takes at least its header: size shrinks */
        struct frame f;
        struct err e = { 0 };
        long n = frame_parse(p, size, &f, &e);
        if (n < 0)
            ASSERT(e.text[0] && e.code == ERR_CORRUPT);
        if (n <= 0)
            return 0;
        ASSERT((size_t)n <= size && f.payload + f.length == p + n);
        struct buf b = { 0 };
        frame_write(&b, &f);
        ASSERT(b.len == (size_t)n && !memcmp(b.data, p, b.len));
        buf_release(&b);
        p += n;
        size -= (size_t)n;
    }
    return 0;
}
