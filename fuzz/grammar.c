/* grammar -- fuzz: bytes as a pattern or a GBNF grammar (by the first byte), the rest after a NUL as a text to follow. */
#include "text/grammar.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    if (size < 1 || size > 2000)
        return 0;
    const char *p = (const char *)data + 1;
    const char *nul = memchr(p, 0, size - 1);
    size_t n = nul ? (size_t)(nul - p) : size - 1;
    struct grammar *g = data[0] & 1 ? grammar_from_regex(p, n, &e) : grammar_from_gbnf(p, n, &e);
    if (!g)
        return 0;
    struct grammar_state *s = grammar_start(g);
    const char *text = nul ? nul + 1 : p;
    size_t left = (size_t)((const char *)data + size - text);
    for (size_t i = 0; i < left && grammar_advance_bytes(s, text + i, 1); i++)
        grammar_can_end(s);
    grammar_state_free(s);
    grammar_free(g);
    return 0;
}
