/* shared -- where the golden data is: ../shared beside the checkout, else $TW_SHARED; else tests say SKIP. */
#ifndef TESTS_SHARED_H
#define TESTS_SHARED_H
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The path of a file there, or NULL when the folder is absent. */
static inline const char *shared_path(char *out, size_t n, const char *rest)
{
    const char *env = getenv("TW_SHARED");
    const char *root = access("../shared/golden", R_OK) == 0 ? "../shared" : env && *env ? env : NULL;
    if (!root || snprintf(out, n, "%s/%s", root, rest) >= (int)n)
        return NULL;
    return out;
}
#endif
