/* trace -- when requests came and how long they were: traces of production systems, for load and simulation.
 *
 * Two formats, told apart by their first line: CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens
 * (Azure's LLM inference traces), and a JSON object a line with timestamp (ms), input_length, output_length and
 * hash_ids, the prompt's blocks of 512 tokens by identity (Mooncake's traces). */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { TRACE_REQUESTS_MAX = 1 << 22, TRACE_BLOCK_TOKENS = 512, TRACE_TOKENS_MAX = 1 << 24 };

struct trace_request {
    int64_t at_ns; /* since the first request */
    int32_t prompt_tokens, output_tokens;
    uint32_t first_block, blocks; /* in trace.block; 0 blocks: the prompt is like no other */
};

struct trace {
    struct trace_request *request; /* owned; by time */
    size_t count, cap;
    int64_t *block; /* owned; equal numbers are equal text */
    size_t block_count, block_cap;
};

/* Reads the first `most` requests (0: all). */
enum err_code trace_read(const char *path, size_t most, struct trace *out, struct err *e);
enum err_code trace_parse(const char *text, size_t n, const char *name, size_t most, struct trace *out, struct err *e);
void trace_release(struct trace *t);
#endif
