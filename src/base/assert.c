/* assert -- see assert.h. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void assert_fail(const char *file, int line, const char *cond)
{
    fprintf(stderr, "tokenworks: %s:%d: cannot happen: !(%s). Please report this.\n", file, line, cond);
    abort();
}
