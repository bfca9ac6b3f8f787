/* mistakes -- every mistake of an input, not only the first: a sentence each, with file, line and remedy. */
#ifndef PLAN_MISTAKES_H
#define PLAN_MISTAKES_H
#include "base/buf.h"

enum { MISTAKES_MAX = 50 };

struct mistakes {
    struct buf text; /* lines "file:line: sentence\n"; at most MISTAKES_MAX of them */
    int count;       /* all of them, shown or not */
};

void mistakes_add(struct mistakes *m, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void mistakes_release(struct mistakes *m);
#endif
