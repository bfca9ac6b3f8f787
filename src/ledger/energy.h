/* energy -- joules of the machine: from the processor's own counters (RAPL, through the kernel's powercap files) where
 * they can be read, else from a stated model of the machine, and then every figure says that it is modelled.
 *
 * One thread. Read at least once a minute: a counter of 32 bits wraps after that at a few kilowatts. */
#ifndef LEDGER_ENERGY_H
#define LEDGER_ENERGY_H
#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { ENERGY_ZONES_MAX = 64 };

/* The model: watts drawn whatever happens and watts added by each busy core. Stated by the operator (a wall meter, idle
 * and under load, gives both); the default is a guess at a small server and says so. */
struct energy_model {
    double idle_w, core_w;
};
extern const struct energy_model energy_model_default; /* 30 W and 6 W */

struct energy;

/* root: "" for the machine, a folder for a fixture tree (root/sys/class/powercap, root/proc/stat). Never fails: what
 * cannot be read is modelled. */
struct energy *energy_open(const char *root, const struct energy_model *model);
void energy_close(struct energy *e);
/* Millijoules since the previous call (since energy_open at the first), of processors and GPUs (nvml.h); now_ns:
 * monotonic. */
int64_t energy_read(struct energy *e, int64_t now_ns);
bool energy_modelled(const struct energy *e); /* the processors' part is */
/* "RAPL: package-0, dram" or "modelled: 30 W idle and 6 W for each busy core, because ..." */
void energy_describe(const struct energy *e, struct buf *out);
#endif
