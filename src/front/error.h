/* error -- the error bodies clients see, in the dialect of the route they called. */
#ifndef FRONT_ERROR_H
#define FRONT_ERROR_H
#include "base/buf.h"

enum dialect { DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_OLLAMA };

struct error {
    int status;
    const char *message; /* one sentence */
    const char *type;    /* NULL: the usual one for status */
    const char *param;   /* the field at fault, or NULL */
    const char *code;    /* or NULL */
};

/* OpenAI: {"error":{"message","type","param","code"}}; Anthropic: {"type":"error","error":{"type","message"}};
 * Ollama: {"error":"message"}. */
void error_body(enum dialect d, const struct error *e, struct buf *out);
/* The same as an event of a stream that has begun. */
void error_event(enum dialect d, const struct error *e, struct buf *out);
#endif
