/* mistakes -- see mistakes.h. */
#include "plan/mistakes.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

void mistakes_add(struct mistakes *m, const char *file, int line, const char *fmt, ...)
{
    if (++m->count > MISTAKES_MAX)
        return;
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_printf(&m->text, "%s:%d: %s\n", file, line, text);
}

void mistakes_release(struct mistakes *m)
{
    buf_release(&m->text);
    m->count = 0;
}
