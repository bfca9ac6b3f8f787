/* progress -- see progress.h. */
#include "base/progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

#define SECOND ((int64_t)1000000000)
enum { BAR_CELLS = 30 };

void progress_start(struct progress *p, const char *what, int64_t total)
{
    int64_t now = clock_mono_ns();
    *p = (struct progress){ .what = what, .total = total, .started_ns = now, .shown_ns = now };
}

void progress_update(struct progress *p, int64_t done)
{
    int64_t now = clock_mono_ns();
    int tty = isatty(STDERR_FILENO);
    int64_t every = tty ? SECOND / 10 : 10 * SECOND;
    if (now - p->started_ns < SECOND || now - p->shown_ns < every)
        return;
    p->shown_ns = now;
    p->shown = 1;
    if (!p->total) {
        fprintf(stderr, tty ? "\r%s %lld" : "%s %lld\n", p->what, (long long)done);
        return;
    }
    int percent = (int)(100.0 * (double)done / (double)p->total);
    if (!tty) {
        fprintf(stderr, "%s %d%%\n", p->what, percent);
        return;
    }
    double seconds = (double)(now - p->started_ns) / 1e9;
    double left = done > 0 ? seconds * (double)(p->total - done) / (double)done : 0;
    char bar[BAR_CELLS + 1];
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < percent * BAR_CELLS / 100 ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r%s [%s] %3d%% %.0f s left ", p->what, bar, percent, left);
}

void progress_end(struct progress *p)
{
    if (p->shown && isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
    p->shown = 0;
}
