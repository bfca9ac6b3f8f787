/* gbnf -- stub until the parser is here. */
#include "text/grammar_run.h"
void g_bnf_expand(const struct grammar *g, uint32_t element, struct g_frame *f, struct g_set *out, int depth)
{
}
struct grammar *grammar_from_gbnf(const char *p, size_t n, struct err *e)
{
    err_set(e, ERR_UNSUPPORTED, "GBNF not yet");
    return NULL;
}
