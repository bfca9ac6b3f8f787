/* progress -- a bar on stderr for anything longer than a second; a line each ten seconds when it is no terminal. */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H
#include <stdint.h>

struct progress {
    const char *what; /* borrowed */
    int64_t total;    /* 0: unknown */
    int64_t started_ns, shown_ns;
    int shown;
};

void progress_start(struct progress *p, const char *what, int64_t total);
void progress_update(struct progress *p, int64_t done);
void progress_end(struct progress *p);
#endif
