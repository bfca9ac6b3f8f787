/* matmul_ref -- the law for activations in int8 form and for matrix products.
 *
 * A block of activations is scaled so that its largest magnitude lands on 127 or 126, whichever rounds the 32 values
 * better: a twelfth less error than 127 always. (Four choices save a seventh, and cost prefill of small models 5 %.)
 *
 * For each output, block after block of 32 columns; in formats with sub-blocks of 16, each sub-block on its own:
 *   isum = sum of value(code) * q                      (exact)
 *   acc  = fmaf((float)isum, w_scale * x_scale, acc)
 *   acc  = fmaf(-w_min, x_scale * (float)x_sum, acc)   (formats with a min)
 * y = acc + bias at the end. Which NaN comes out where several meet is not part of the law. */
#include "base/assert.h"
#include "kern/math.h"
#include "kern/pack.h"
#include "kern/rungs.h"

size_t kern_q8_bytes(int cols)
{
    ASSERT(cols > 0 && cols % KERN_ACT_BLOCK == 0);
    return (size_t)(cols / KERN_ACT_BLOCK) * sizeof(struct kern_act);
}

size_t kern_q8_stride(int cols)
{
    enum { CROWDED = 2048, APART = 1024 };
    size_t bytes = kern_q8_bytes(cols);
    return bytes % CROWDED ? bytes : bytes + APART;
}

/* What rounding loses, in squared steps: lane i holds values i and i + 16, lanes are added pairwise. */
static float act_error(const float *x, float inv)
{
    float e[16];
    for (int i = 0; i < 16; i++) {
        float a = x[i] * inv, b = x[i + 16] * inv;
        a -= a + KERN_ROUND - KERN_ROUND;
        b -= b + KERN_ROUND - KERN_ROUND;
        e[i] = fmaf(b, b, a * a);
    }
    return kern_sum16(e);
}

static void act_block(const float *x, struct kern_act *a)
{
    float top = 0;
    uint32_t high = 0;
    for (int i = 0; i < 32; i++) {
        uint32_t b = kern_float_bits(x[i]) & 0x7fffffff;
        high = b > high ? b : high;
    }
    memset(a, 0, sizeof *a);
    top = kern_bits_float(high);
    if (high >= 0x7f800000) { /* infinity or NaN: everything it meets becomes NaN */
        a->scale = a->scale_sum = a->scale_sum16[0] = a->scale_sum16[1] = NAN;
        return;
    }
    if (top < 1e-30f)
        return;
    float fine = act_error(x, kern_act_reach[0] / top), coarse = act_error(x, kern_act_reach[1] / top);
    float reach = kern_act_reach[coarse * KERN_ACT_COARSE < fine];
    float inv = reach / top;
    int32_t sum[2] = { 0 };
    for (int i = 0; i < 32; i++) {
        float r = x[i] * inv + KERN_ROUND;
        a->q[i] = (int8_t)(r - KERN_ROUND);
        sum[i / 16] += a->q[i];
    }
    a->scale = top / reach;
    a->scale_sum = a->scale * (float)(sum[0] + sum[1]);
    a->corr = -128 * (sum[0] + sum[1]);
    for (int h = 0; h < 2; h++) {
        a->scale_sum16[h] = a->scale * (float)sum[h];
        a->corr16[h] = -128 * sum[h];
    }
}

void kern_act_quantize(const float *x, void *out, int cols)
{
    struct kern_act *a = out;
    for (int c = 0; c < cols; c += KERN_ACT_BLOCK)
        act_block(x + c, a++);
}

static float block_dot(const struct kern_layout *l, const struct kern_codes *c, int block, const float *scale,
                       const float *min, const struct kern_act *a, float acc)
{
    int subs = 32 / l->sub;
    for (int s = 0; s < subs; s++) {
        int32_t isum = 0;
        for (int i = s * l->sub; i < (s + 1) * l->sub; i++)
            isum += kern_code_value(l, c->q[block * 32 + i]) * a->q[i];
        int k = block * subs + s;
        acc = fmaf((float)isum, scale[k] * a->scale, acc);
        if (l->min)
            acc = fmaf(-min[k], subs == 1 ? a->scale_sum : a->scale_sum16[s], acc);
    }
    return acc;
}

static void store(const struct kern_matmul *op, int t, int row, float acc)
{
    op->y[(size_t)t * op->y_stride + (size_t)row] = op->bias ? acc + op->bias[row] : acc;
}

static void row_codes(const struct kern_matmul *op, int row)
{
    const struct kern_matrix *w = op->w;
    const struct kern_layout *l = kern_layout(w->type);
    enum { AT_ONCE = 64 }; /* rows of x for one walk through the codes */
    for (int t0 = 0; t0 < op->n; t0 += AT_ONCE) {
        const unsigned char *unit = w->data + (size_t)(row / KERN_PANEL_ROWS) * w->panel_bytes;
        float acc[AT_ONCE] = { 0 }, scale[KERN_UNIT_SUBS], min[KERN_UNIT_SUBS];
        struct kern_codes c;
        int count = op->n - t0 < AT_ONCE ? op->n - t0 : AT_ONCE;
        for (int u = 0; u * KERN_UNIT_COLS < w->cols; u++) {
            int blocks = kern_unit_blocks(w->cols, u);
            kern_unit_get(l, unit, blocks, row % KERN_PANEL_ROWS, &c);
            kern_codes_scale(l, &c, blocks * 32, scale, min);
            for (int t = 0; t < count; t++) {
                const struct kern_act *a = kern_x_row(op, t0 + t);
                for (int b = 0; b < blocks; b++)
                    acc[t] = block_dot(l, &c, b, scale, min, a + u * KERN_UNIT_BLOCKS + b, acc[t]);
            }
            unit += kern_unit_bytes(l, blocks);
        }
        for (int t = 0; t < count; t++)
            store(op, t0 + t, row, acc[t]);
    }
}

static void row_float(const struct kern_matmul *op, int row)
{
    const struct kern_matrix *w = op->w;
    size_t size = (size_t)kern_type_info(w->type)->block_bytes;
    const unsigned char *p = w->data + (size_t)(row / KERN_PANEL_ROWS) * w->panel_bytes;
    p += (size_t)(row % KERN_PANEL_ROWS) * size;
    for (int t = 0; t < op->n; t++) {
        const float *x = kern_x_row(op, t);
        float acc = 0, v;
        for (int c = 0; c < w->cols; c++) {
            kern_float_read(w->type, p + (size_t)c * KERN_PANEL_ROWS * size, &v, 1);
            acc = fmaf(v, x[c], acc);
        }
        store(op, t, row, acc);
    }
}

static void matmul(const struct kern_matmul *op, int panel_first, int panel_end)
{
    int end = panel_end * KERN_PANEL_ROWS < op->w->rows ? panel_end * KERN_PANEL_ROWS : op->w->rows;
    for (int row = panel_first * KERN_PANEL_ROWS; row < end; row++) {
        if (kern_type_is_float(op->w->type))
            row_float(op, row);
        else
            row_codes(op, row);
    }
}

void kern_fill_matmul_ref(struct kern_table *t)
{
    t->quantize_q8 = kern_act_quantize;
    t->matmul = matmul;
}
