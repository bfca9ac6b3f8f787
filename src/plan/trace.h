/* trace -- recorded requests: when, how long the prompt, how long the answer, which prefix blocks.
 *
 * Read: Azure's CSV (TIMESTAMP,ContextTokens,GeneratedTokens), Mooncake's JSON lines ({timestamp ms,
 * input_length, output_length, hash_ids}), told apart by the first character. */
#ifndef PLAN_TRACE_H
#define PLAN_TRACE_H
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { TRACE_BYTES_MAX = 1 << 28, TRACE_BLOCK_TOKENS = 512 };

struct trace_request {
    int64_t at_ns;     /* from the first request */
    int32_t input, output;
    int32_t first_hash, hash_count; /* into struct trace's hashes */
};

struct trace {
    struct trace_request *requests; /* in order of time */
    int count;
    int64_t *hashes; /* an id names the whole prefix up to its block */
    int hash_count;
};

enum err_code trace_read(const char *path, struct trace *out, struct err *e);
void trace_release(struct trace *t);

struct trace_facts {
    int requests;
    double seconds, input_mean, output_mean, input_median, output_median;
    double prefix_hit; /* share of prefix blocks seen before, were nothing ever forgotten; 0 without hashes */
};
void trace_facts(const struct trace *t, struct trace_facts *out);
#endif
