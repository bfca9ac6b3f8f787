/* bench_kernels -- bench --kernels: every kernel as a fraction of what the machine can do. */
#ifndef CMD_BENCH_KERNELS_H
#define CMD_BENCH_KERNELS_H
#include "kern/kern.h"

#include <stdio.h>

/* Measures the limits, then each kernel on all processors; a table, or one JSON object. Exit status. */
int bench_kernels(FILE *out, bool json, enum kern_isa cap);
#endif
