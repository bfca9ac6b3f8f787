/* heartbeat -- bytes as a heartbeat: what is read, written and read again says the same. */
#include "base/assert.h"
#include "fleet/heartbeat.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heartbeat h, again;
    struct err e = { 0 };
    if (heartbeat_read((const char *)data, size, &h, &e)) {
        ASSERT(e.text[0] && e.code == ERR_INVALID);
        return 0;
    }
    struct buf first = { 0 }, second = { 0 };
    heartbeat_write(&h, &first);
    ASSERT(!heartbeat_read(buf_str(&first), first.len, &again, &e));
    heartbeat_write(&again, &second);
    ASSERT(first.len == second.len && !memcmp(first.data, second.data, first.len));
    heartbeat_release(&h);
    heartbeat_release(&again);
    buf_release(&first);
    buf_release(&second);
    return 0;
}
