/* fmul_neon -- float weights against float activations: four vectors of outputs for each row of x. */
#include "kern/lanes_neon.h"
#include "kern/pack.h"
#include "kern/rungs.h"

LANES float32x4_t weights(enum kern_type type, const unsigned char *p, int i)
{
    if (type == KERN_F32)
        return vld1q_f32((const float *)(const void *)p + 4 * i);
    return widen_16(type == KERN_BF16, p + 8 * i);
}

LANES void tile(enum kern_type type, const struct kern_matmul *op, int t0, int panel, const int rows)
{
    const struct kern_matrix *w = op->w;
    const size_t step = type == KERN_F32 ? 64 : 32;
    const unsigned char *p = w->data + (size_t)panel * w->panel_bytes;
    const float *x[4];
    float32x4_t sum[4][4];
    for (int r = 0; r < rows; r++) {
        x[r] = kern_x_row(op, t0 + r);
        for (int i = 0; i < 4; i++)
            sum[r][i] = vdupq_n_f32(0);
    }
    for (size_t c = 0; c < (size_t)w->cols; c++, p += step)
        for (int i = 0; i < 4; i++) {
            float32x4_t v = weights(type, p, i);
            for (int r = 0; r < rows; r++)
                sum[r][i] = vfmaq_n_f32(sum[r][i], v, x[r][c]);
        }
    int row = panel * KERN_PANEL_ROWS, left = w->rows - row < 16 ? w->rows - row : 16;
    for (int r = 0; r < rows; r++) {
        float acc[16], *y = op->y + (size_t)(t0 + r) * op->y_stride + row;
        for (int i = 0; i < 4; i++)
            vst1q_f32(acc + 4 * i, sum[r][i]);
        for (int i = 0; i < left; i++)
            y[i] = op->bias ? acc[i] + op->bias[row + i] : acc[i];
    }
}

LANES void panel_of(enum kern_type type, const struct kern_matmul *op, int panel)
{
    int t = 0;
    for (; t + 4 <= op->n; t += 4)
        tile(type, op, t, panel, 4);
    for (; t < op->n; t++)
        tile(type, op, t, panel, 1);
}

void kern_fmul_neon(const struct kern_matmul *op, int panel_first, int panel_end)
{
    for (int p = panel_first; p < panel_end; p++) {
        switch (op->w->type) {
        case KERN_F32: panel_of(KERN_F32, op, p); break;
        case KERN_F16: panel_of(KERN_F16, op, p); break;
        default: panel_of(KERN_BF16, op, p); break;
        }
    }
}
