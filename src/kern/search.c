/* search -- the scales that lose least: weighted least squares over a range of candidate scales.
 *
 * For a fixed set of codes the best scale (and min) has a closed form; the codes change only when the scale
 * crosses a rounding boundary. So: try scales around the one that just covers the range, round, solve,
 * keep the best. */
#include "kern/blocks.h"

#include <math.h>

enum { STEPS = 12 };

int kern_nearest(float v, int lo, int hi)
{
    if (!(v > (float)lo))
        return lo;
    if (v >= (float)hi)
        return hi;
    return (int)rintf(v);
}

float kern_search_scale(const float *x, const float *w, int n, int lo, int hi, int8_t *codes)
{
    float top = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(top))
            top = x[i];
    for (int i = 0; i < n; i++)
        codes[i] = 0;
    if (fabsf(top) < 1e-30f)
        return 0;
    float best = -1, best_scale = 0, best_inv = 0;
    for (int sign = 0; sign < 2; sign++) {
        int reach = sign ? hi : lo; /* the largest value lands on this end of the range */
        for (int k = -STEPS; k <= STEPS; k++) {
            float inv = ((float)reach + (reach < 0 ? -0.08f : 0.08f) * (float)k) / top;
            double xc = 0, cc = 0;
            for (int i = 0; i < n; i++) {
                float c = (float)kern_nearest(inv * x[i], lo, hi);
                xc += (double)(w[i] * x[i] * c);
                cc += (double)(w[i] * c * c);
            }
            if (cc > 0 && xc * xc > (double)best * cc) {
                best = (float)(xc * xc / cc);
                best_scale = (float)(xc / cc);
                best_inv = inv;
            }
        }
    }
    for (int i = 0; i < n; i++)
        codes[i] = (int8_t)kern_nearest(best_inv * x[i], lo, hi);
    return best_scale;
}

struct line {
    float scale, min; /* x ~ scale * code - min */
    double error;
};

/* The least-squares line through (code, x); its error. */
static struct line fit(const float *x, const float *w, int n, const uint8_t *codes, bool min_positive)
{
    double sw = 0, sx = 0, sc = 0, scc = 0, sxc = 0;
    for (int i = 0; i < n; i++) {
        double wi = w[i], c = codes[i];
        sw += wi;
        sx += wi * (double)x[i];
        sc += wi * c;
        scc += wi * c * c;
        sxc += wi * c * (double)x[i];
    }
    double det = sw * scc - sc * sc, scale = 0, base = 0;
    if (det > 0) {
        scale = (sw * sxc - sc * sx) / det;
        base = (scc * sx - sc * sxc) / det;
    }
    if (det <= 0 || (min_positive && base > 0)) {
        base = 0;
        scale = scc > 0 ? sxc / scc : 0;
    }
    struct line r = { (float)scale, (float)-base, 0 };
    for (int i = 0; i < n; i++) {
        double e = scale * (double)codes[i] + base - (double)x[i];
        r.error += (double)w[i] * e * e;
    }
    return r;
}

float kern_search_min(const float *x, const float *w, int n, int nmax, bool min_positive, float *min, uint8_t *codes)
{
    float low = x[0], high = x[0];
    for (int i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    if (min_positive && low > 0)
        low = 0;
    for (int i = 0; i < n; i++)
        codes[i] = 0;
    *min = -low;
    if (!(high - low > 1e-30f))
        return 0;
    struct line best = { (high - low) / (float)nmax, -low, INFINITY };
    uint8_t trial[KERN_UNIT_COLS];
    for (int k = -STEPS; k <= STEPS; k++) {
        float inv = ((float)nmax + 0.08f * (float)k) / (high - low), base = low;
        for (int round = 0; round < 2; round++) { /* round with the candidate, then once more with its own fit */
            for (int i = 0; i < n; i++)
                trial[i] = (uint8_t)kern_nearest(inv * (x[i] - base), 0, nmax);
            struct line l = fit(x, w, n, trial, min_positive);
            if (l.scale > 0 && l.error < best.error) {
                best = l;
                for (int i = 0; i < n; i++)
                    codes[i] = trial[i];
            }
            if (!(l.scale > 0))
                break;
            inv = 1 / l.scale;
            base = -l.min;
        }
    }
    *min = best.min;
    return best.scale;
}

static uint8_t nearest_entry(float v, const int8_t *table)
{
    int best = 0;
    for (int i = 1; i < 16; i++)
        if (fabsf(v - (float)table[i]) < fabsf(v - (float)table[best]))
            best = i;
    return (uint8_t)best;
}

float kern_search_table(const float *x, const float *w, int n, const int8_t *table, uint8_t *codes)
{
    float top = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(top))
            top = x[i];
    float best = -1, best_scale = 0, best_inv = 0;
    if (fabsf(top) >= 1e-30f) {
        for (int k = -2 * STEPS; k <= 2 * STEPS; k++) {
            int end = k < 0 ? table[0] : table[15];
            float inv = (float)end * (1 + 0.012f * (float)((k + 2 * STEPS) % STEPS - STEPS / 2)) / top;
            double xc = 0, cc = 0;
            for (int i = 0; i < n; i++) {
                float c = table[nearest_entry(inv * x[i], table)];
                xc += (double)(w[i] * x[i] * c);
                cc += (double)(w[i] * c * c);
            }
            if (cc > 0 && xc * xc > (double)best * cc) {
                best = (float)(xc * xc / cc);
                best_scale = (float)(xc / cc);
                best_inv = inv;
            }
        }
    }
    for (int i = 0; i < n; i++)
        codes[i] = nearest_entry(best_inv * x[i], table);
    return best_scale;
}
