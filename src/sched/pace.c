/* pace -- see pace.h. */
#include "sched/pace.h"

#include <math.h>

enum {
    GENTLE = 4,          /* a gentle step takes so many times what its decoding rows take */
    CHUNK_ROWS_MIN = 16, /* a prompt gets these even when the step is long already: it must go on */
    CHUNK_ROWS_EVEN = 16, /* larger chunks are whole tiles of the kernels */
};
#define WORTH_LEAST 0.02   /* rows are never quite free */
#define WORTH_UNKNOWN 0.25 /* while no step had more than one row */
#define MARGIN 0.85 /* of the target is planned for: half of the steps take longer than predicted */

void pace_begin(struct pace *p, const struct pace_goal *g, const struct steptime_model *m,
                const struct steptime_load *owed, int rows, bool known)
{
    *p = (struct pace){ .model = m, .goal = g, .owed_ms = steptime_ms(m, owed), .left_ms = INFINITY, .rows = rows };
    if (owed->batch <= 0)
        return;
    if (g->itl_ms > 0 && known)
        p->left_ms = fmax(0, MARGIN * g->itl_ms - p->owed_ms);
    else if (g->prefill_rows < rows)
        p->rows = g->prefill_rows;
    /* Tokens in a millisecond as it is; a row for a guess must bring more than that. */
    p->rate = p->owed_ms > 0 ? owed->batch / p->owed_ms : 0;
    p->worth = m->c > 0 ? fmax(WORTH_LEAST, m->c * p->rate) : WORTH_UNKNOWN;
}

void pace_keep(struct pace *p, int pos, int rows)
{
    if (isinf(p->left_ms))
        return;
    int least = rows < CHUNK_ROWS_MIN ? rows : CHUNK_ROWS_MIN;
    p->kept_ms = fmax(p->left_ms / 2, steptime_chunk_ms(p->model, least, pos));
}

bool pace_guess(struct pace *p, double chance)
{
    if (chance <= p->worth || p->model->c > p->left_ms - p->kept_ms)
        return false;
    p->left_ms -= p->model->c;
    return true;
}

static double gentle_left(const struct pace *p)
{
    return fmin(p->left_ms, (GENTLE - 1) * p->owed_ms);
}

bool pace_late(const struct pace *p, double rows, double waited_ms)
{
    if (p->goal->ttft_ms <= 0 || isinf(p->left_ms))
        return true;
    double left = gentle_left(p), step = p->owed_ms + left, work = steptime_chunk_ms(p->model, rows, 0);
    double steps = left > 0 ? ceil(work / left) : INFINITY;
    return waited_ms + steps * step > MARGIN * p->goal->ttft_ms;
}

void pace_calm(struct pace *p)
{
    p->left_ms = gentle_left(p);
}

int pace_chunk(struct pace *p, int pos, int want)
{
    int rows = want < p->rows ? want : p->rows;
    if (!isinf(p->left_ms)) {
        int fit = steptime_chunk_rows(p->model, p->left_ms, pos, rows);
        if (fit < rows && fit > CHUNK_ROWS_EVEN)
            fit -= fit % CHUNK_ROWS_EVEN;
        if (!p->begun && fit < CHUNK_ROWS_MIN)
            fit = rows < CHUNK_ROWS_MIN ? rows : CHUNK_ROWS_MIN;
        rows = fit;
        p->left_ms = fmax(0, p->left_ms - steptime_chunk_ms(p->model, rows, pos));
    }
    p->begun = p->begun || rows > 0;
    p->rows -= rows;
    return rows;
}
