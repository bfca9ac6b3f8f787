/* envelope -- what the front reads of a request body: the few top-level fields that route it, and not its messages.
 *
 * A scanner over the JSON text in place: it checks the grammar (RFC 8259) and remembers nothing but the fields below,
 * so no prompt is ever copied, parsed into memory or logged here. The engine parses the body in full. */
#ifndef FRONT_ENVELOPE_H
#define FRONT_ENVELOPE_H
#include "base/err.h"
#include "net/http_parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ENVELOPE_MODEL_MAX = 256, ENVELOPE_DEPTH_MAX = 128, ENVELOPE_KEY_MAX = 64 };

struct envelope {
    char model[ENVELOPE_MODEL_MAX]; /* "" when absent */
    bool stream;
    int64_t max_tokens; /* also max_completion_tokens, max_output_tokens, options.num_predict; 0 when absent */
    int64_t choices;    /* of n; 1 when absent */
    int64_t priority;   /* 0 when absent */
    int64_t deadline_ms; /* 0 when absent */
};

/* ERR_INVALID with a sentence when the body is no JSON object or one of the fields has the wrong type or comes
 * twice; *param (may be NULL) then names the field or is "". */
enum err_code envelope_scan(const char *body, size_t n, struct envelope *out, const char **param, struct err *e);

/* Where the values of these members of a JSON object stand in its text, quotes and braces included; absent: {NULL, 0}.
 * ERR_INVALID when it is no object or a name comes twice. wanted[0..count). */
enum err_code envelope_members(const char *text, size_t n, const char *const *wanted, int count, struct http_slice *out,
                               struct err *e);
#endif
