/* err_test -- err_set fills, returns, and bears a NULL; prefixes nest. */
#include "../test.h"
#include "base/err.h"

static void fills_and_returns(void)
{
    struct err e = { 0 };
    CHECK_INT(err_set(&e, ERR_LIMIT, "%d tokens, at most %d", 9, 8), ERR_LIMIT);
    CHECK_STR(e.text, "9 tokens, at most 8");
    CHECK_INT(err_prefix(&e, "request %d", 3), ERR_LIMIT);
    CHECK_STR(e.text, "request 3: 9 tokens, at most 8");
}

static void bears_null(void)
{
    CHECK_INT(err_set(NULL, ERR_IO, "x"), ERR_IO);
}

int main(void)
{
    RUN(fills_and_returns);
    RUN(bears_null);
    DONE();
}
