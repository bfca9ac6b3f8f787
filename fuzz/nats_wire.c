/* nats_wire -- what a server of NATS may say: every turn takes bytes, and what it gives lies within them. */
#include "base/assert.h"
#include "base/mem.h"
#include "fleet/nats_wire.h"

#include <string.h>

static bool within(const char *p, size_t n, const char *from, size_t size)
{
    return p >= from && p + n <= from + size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = mem_new(1, size + 1), *p = copy; /* the parser ends words where they stand */
    memcpy(copy, data, size);
    for (size_t left = size; left;) { /* something said a round: left shrinks */
        struct wire_said said;
        struct err e = { 0 };
        long n = nats_wire_parse(p, left, &said, &e);
        if (n < 0)
            ASSERT(e.text[0] && e.code == ERR_CORRUPT);
        if (n <= 0)
            break;
        ASSERT((size_t)n <= left);
        if (said.kind == WIRE_MSG)
            ASSERT(within(said.subject, strlen(said.subject), p, (size_t)n) && strlen(said.reply) < (size_t)n);
        if (said.n)
            ASSERT(within(said.data, said.n, p, (size_t)n));
        p += n;
        left -= (size_t)n;
    }
    mem_free(copy);
    return 0;
}
