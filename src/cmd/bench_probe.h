/* bench_probe -- what the machine allows right now: how fast memory is read, and whether two threads have two cores. */
#ifndef CMD_BENCH_PROBE_H
#define CMD_BENCH_PROBE_H
#include "base/json.h"
#include "base/pool.h"

#include <stdio.h>

struct probe {
    double read_gb_per_s;   /* all threads streaming a buffer larger than the caches of a core */
    double thread_scaling;  /* work of all threads over one thread's: near their count when cores are own */
    int threads;
};

void probe_run(struct pool *pool, struct probe *out); /* about half a second */
void probe_print(const struct probe *p, const char *when, FILE *out);
json_t *probe_json(const struct probe *before, const struct probe *after); /* a new reference */
#endif
