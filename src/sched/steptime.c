/* steptime -- see steptime.h. */
#include "sched/steptime.h"

#include "base/mem.h"

#include <math.h>

enum {
    COEFS = 5,
    PREFILL_CLASSES = 8,  /* none, 1-15, 16-31 ... 512 and more */
    BATCH_CLASSES = 10,   /* none, 1, 2, 3-4, 5-8 ... 129 and more */
    CONTEXT_CLASSES = 6,  /* of a row: up to 127, 511, 2047, 8191, 32767, more */
    BUCKETS = PREFILL_CLASSES * BATCH_CLASSES * CONTEXT_CLASSES,
    MEAN_STEPS = 32,      /* a bucket forgets what is older than about these many of its steps */
    WEIGHT_STEPS = 8,     /* from so many on a bucket counts in full */
    TRUST_STEPS = 4,      /* ... and says which steps are outliers */
    FIT_EVERY = 16,       /* steps; sooner at first: every fourth part of what was seen */
    SWEEPS = 200,
};

struct steptime {
    struct steptime_point buckets[BUCKETS];
    struct steptime_model model;
    int learned, seen;    /* steps since the last fit; in all, while they are few */
    bool prefill_seen;
};

struct steptime *steptime_new(void)
{
    return MEM_NEW(struct steptime);
}

void steptime_free(struct steptime *t)
{
    mem_free(t);
}

/* 0 for nothing, 1 up to `first`, then one more for each multiplication by `by`. */
static int class_of(double v, double first, double by, int classes)
{
    int i = v > 0;
    for (; i && v > first && i < classes - 1; i++)
        first *= by;
    return i;
}

static struct steptime_point *bucket_of(struct steptime *t, const struct steptime_load *l)
{
    double rows = l->prefill + l->batch, each = rows > 0 ? (l->context + l->sum_pc) / rows : 0;
    int p = class_of(l->prefill, 15, 2, PREFILL_CLASSES), b = class_of(l->batch, 1, 2, BATCH_CLASSES);
    int c = class_of(each, 127, 4, CONTEXT_CLASSES);
    return &t->buckets[(p * BATCH_CLASSES + b) * CONTEXT_CLASSES + c];
}

void steptime_learn(struct steptime *t, const struct steptime_load *l, double ms)
{
    if (!(ms > 0) || !isfinite(ms))
        return;
    struct steptime_point *b = bucket_of(t, l);
    if (b->steps >= TRUST_STEPS)
        ms = fmin(fmax(ms, b->ms / 2), b->ms * 2);
    if (b->steps < MEAN_STEPS)
        b->steps++;
    double k = 1.0 / b->steps;
    b->load.prefill += k * (l->prefill - b->load.prefill);
    b->load.batch += k * (l->batch - b->load.batch);
    b->load.context += k * (l->context - b->load.context);
    b->load.sum_pc += k * (l->sum_pc - b->load.sum_pc);
    b->ms += k * (ms - b->ms);
    t->prefill_seen = t->prefill_seen || l->prefill > 0;
    t->learned++;
    t->seen += t->seen < FIT_EVERY * 4;
}

/* ---- the fit */

/* A x = y in the sense of least squares with x >= 0, by coordinates; x holds the last fit, which is near. Where little
 * was seen the first coordinate explains most: prompt rows before the step itself, or the first prompt would make them
 * look free; the step before decoding rows, or nobody would ever try a second one. */
static void descend(double a[COEFS][COEFS], const double y[COEFS], double x[COEFS])
{
    static const int order[COEFS] = { 1, 0, 2, 3, 4 };
    for (int s = 0; s < SWEEPS; s++)
        for (int i = 0; i < COEFS; i++) {
            int k = order[i];
            double rest = y[k];
            for (int j = 0; j < COEFS; j++)
                rest -= j == k ? 0 : a[k][j] * x[j];
            x[k] = a[k][k] > 0 ? fmax(0, rest / a[k][k]) : 0;
        }
}

static void fit(struct steptime *t)
{
    double a[COEFS][COEFS] = { { 0 } }, y[COEFS] = { 0 };
    for (int i = 0; i < BUCKETS; i++) {
        const struct steptime_point *p = &t->buckets[i];
        if (!p->steps)
            continue;
        double row[COEFS] = { 1, p->load.prefill, p->load.batch, p->load.context, p->load.sum_pc };
        double w = fmin(p->steps, WEIGHT_STEPS) / (p->ms * p->ms);
        for (int k = 0; k < COEFS; k++) {
            y[k] += w * row[k] * p->ms;
            for (int j = 0; j < COEFS; j++)
                a[k][j] += w * row[k] * row[j];
        }
    }
    double x[COEFS] = { t->model.a, t->model.b, t->model.c, t->model.d, t->model.e };
    descend(a, y, x);
    t->model = (struct steptime_model){ x[0], x[1], x[2], x[3], x[4] };
}

const struct steptime_model *steptime_fit(struct steptime *t)
{
    if (t->learned && t->learned * 4 >= t->seen) {
        fit(t);
        t->learned = 0;
    }
    return &t->model;
}

const struct steptime_model *steptime_last(const struct steptime *t)
{
    return &t->model;
}

bool steptime_knows_prefill(const struct steptime *t)
{
    return t->prefill_seen;
}

int steptime_points(const struct steptime *t, struct steptime_point *out, int max)
{
    int n = 0;
    for (int i = 0; i < BUCKETS && n < max; i++)
        if (t->buckets[i].steps)
            out[n++] = t->buckets[i];
    return n;
}

/* ---- what follows from a model */

double steptime_ms(const struct steptime_model *m, const struct steptime_load *l)
{
    return m->a + m->b * l->prefill + m->c * l->batch + m->d * l->context + m->e * l->sum_pc;
}

double steptime_chunk_ms(const struct steptime_model *m, double rows, double pos)
{
    return rows * (m->b + m->e * (pos + rows / 2));
}

int steptime_chunk_rows(const struct steptime_model *m, double ms, double pos, int rows_max)
{
    int low = 0, high = rows_max; /* low fits */
    while (low < high) {
        int mid = low + (high - low + 1) / 2;
        if (steptime_chunk_ms(m, mid, pos) <= ms)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}
