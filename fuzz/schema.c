/* schema -- fuzz: a JSON Schema, then (after a NUL) a text the automaton follows. */
#include "base/json.h"
#include "text/grammar.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    if (size > 4000)
        return 0;
    const char *p = (const char *)data, *nul = size ? memchr(p, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - p) : size;
    json_t *schema = jsonx_parse(p, n, &e);
    struct grammar *g = schema ? grammar_from_schema(schema, &e) : NULL;
    json_decref(schema);
    if (!g)
        return 0;
    struct grammar_state *s = grammar_start(g);
    for (size_t i = n + 1; i < size && grammar_advance_bytes(s, p + i, 1); i++)
        grammar_can_end(s);
    grammar_state_free(s);
    grammar_free(g);
    return 0;
}
