/* load_report -- what a run of the load generator measured: percentiles, rates, errors; as a table or as JSON. */
#ifndef CMD_LOAD_REPORT_H
#define CMD_LOAD_REPORT_H
#include "cmd/load_run.h"

#include <jansson.h>

struct load_spread { /* milliseconds; all 0 when nothing was measured */
    double mean, p50, p90, p99, max;
    size_t count;
};

struct load_report {
    int concurrency; /* 0: open loop */
    double speed;    /* open loop: of the trace */
    int requests, done, refused, broken, cut_short, pending, without_usage;
    double wall_s, late_ms_max;
    int64_t prompt_tokens, cached_tokens, output_tokens; /* of the requests done */
    /* Time to first token counts from when a request was due; a gap is between two events with text; per_token
     * is a request's (last - first) / (tokens - 1). */
    struct load_spread ttft, gap, per_token, whole;
    char first_error[300];
};

void load_report_make(const struct load_run *r, double speed, struct load_report *out);
void load_report_print_head(void);
void load_report_print(const struct load_report *r);
json_t *load_report_json(const struct load_report *r); /* a new reference */
#endif
