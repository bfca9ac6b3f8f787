/* lease_value -- what stands in the bucket for one limit, and what a holder makes of it. Pure; for lease.c. */
#ifndef FLEET_LEASE_VALUE_H
#define FLEET_LEASE_VALUE_H
#include "base/buf.h"
#include "base/err.h"
#include "fleet/lease.h"

enum { LEASE_HOLDER_MAX = 120, LEASE_VALUE_BYTES_MAX = 64 << 10 };

struct lease_entry {
    char holder[LEASE_HOLDER_MAX + 1];
    int64_t n, at_ms, count;
};

struct lease_value {
    int64_t window, spent;
    struct lease_entry entries[LEASE_HOLDERS_MAX];
    int entry_count;
};

/* It comes from another machine: every field is checked. ERR_INVALID with a sentence. */
enum err_code lease_value_read(const char *text, size_t n, struct lease_value *out, struct err *e);
void lease_value_write(const struct lease_value *v, struct buf *out);
/* The holder's entry; NULL: it has none. */
struct lease_entry *lease_value_entry(struct lease_value *v, const char *holder);

struct lease_wish {
    const char *holder;
    int64_t limit, window, now_ms;
    int64_t used;                 /* since the last write that was told; negative: given back */
    int64_t want;                 /* to hold after it */
    int64_t least;                /* held now and not used: what may be kept in any case */
};

/* Brings v to what the holder writes: the span begun if it is new, the dead written off, used spent, as much of the
 * wish leased as fits. Returns what is leased to the holder now; -1: no room for another holder. */
int64_t lease_value_apply(struct lease_value *v, const struct lease_wish *w);
#endif
