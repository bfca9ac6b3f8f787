/* matmul_neon -- the loops of matmul_neon.c and matmul_dotprod.c: a unit is opened once for all rows of x. */
#ifndef KERN_MATMUL_NEON_H
#define KERN_MATMUL_NEON_H
#include "kern/dots_neon.h"
#include "kern/rungs.h"

enum { ROWS_AT_ONCE = 64 };

struct unit {
    const struct kern_tile *t;
    int blocks;
    bool sixteen, min;
};

/* `rows` (1 or 2) rows of x, each from the unit's first block on. acc [rows][16] */
static inline __attribute__((always_inline)) void unit_rows(const struct unit *u, const struct kern_act *const *x,
                                                            const int rows, float *acc)
{
    const int subs = u->sixteen ? 2 : 1, groups = 8 / subs;
    float32x4_t sum[2][4];
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 4; i++)
            sum[r][i] = vld1q_f32(acc + 16 * r + 4 * i);
    for (int b = 0; b < u->blocks; b++)
        for (int h = 0; h < subs; h++) {
            int32x4_t dot[2][4];
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < 4; i++)
                    dot[r][i] = vdupq_n_s32(0);
            for (int g = h * groups; g < (h + 1) * groups; g++)
                for (int i = 0; i < 4; i++) {
                    int8x16_t w = vreinterpretq_s8_u8(vld1q_u8(u->t->q[b * 8 + g] + 16 * i));
                    for (int r = 0; r < rows; r++)
                        dot[r][i] = dot4(dot[r][i], w, four_times(x[r][b].q + 4 * g));
                }
            for (int r = 0; r < rows; r++) {
                const struct kern_act *a = &x[r][b];
                float less = u->sixteen ? a->scale_sum16[h] : a->scale_sum;
                for (int i = 0; i < 4; i++) {
                    float32x4_t scale = vmulq_n_f32(vld1q_f32(u->t->scale[b * subs + h] + 4 * i), a->scale);
                    sum[r][i] = vfmaq_f32(sum[r][i], vcvtq_f32_s32(dot[r][i]), scale);
                    if (u->min)
                        sum[r][i] = vfmsq_f32(sum[r][i], vld1q_f32(u->t->min[b * subs + h] + 4 * i), vdupq_n_f32(less));
                }
            }
        }
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 4; i++)
            vst1q_f32(acc + 16 * r + 4 * i, sum[r][i]);
}

static void panel_rows(const struct kern_matmul *op, int panel, int t0, int n)
{
    const struct kern_matrix *w = op->w;
    const struct kern_layout *l = kern_layout(w->type);
    const unsigned char *p = w->data + (size_t)panel * w->panel_bytes;
    float acc[ROWS_AT_ONCE * 16] = { 0 };
    struct kern_tile tile;
    for (int k = 0; k * KERN_UNIT_COLS < w->cols; k++) {
        struct unit u = { &tile, kern_unit_blocks(w->cols, k), l->sub == 16, l->min };
        kern_tile_open_neon(w->type, p, u.blocks, &tile);
        for (int t = 0; t < n; t += 2) {
            const struct kern_act *x[2];
            for (int r = 0; r < 2 && t + r < n; r++)
                x[r] = (const struct kern_act *)kern_x_row(op, t0 + t + r) + k * KERN_UNIT_BLOCKS;
            if (n - t >= 2)
                unit_rows(&u, x, 2, acc + 16 * t);
            else
                unit_rows(&u, x, 1, acc + 16 * t);
        }
        p += kern_unit_bytes(l, u.blocks);
    }
    int row = panel * KERN_PANEL_ROWS, left = w->rows - row < 16 ? w->rows - row : 16;
    for (int t = 0; t < n; t++) {
        float *y = op->y + (size_t)(t0 + t) * op->y_stride + row;
        for (int i = 0; i < left; i++)
            y[i] = op->bias ? acc[16 * t + i] + op->bias[row + i] : acc[16 * t + i];
    }
}

static void matmul(const struct kern_matmul *op, int panel_first, int panel_end)
{
    if (kern_type_is_float(op->w->type)) {
        kern_fmul_neon(op, panel_first, panel_end);
        return;
    }
    for (int t = 0; t < op->n; t += ROWS_AT_ONCE)
        for (int p = panel_first; p < panel_end; p++)
            panel_rows(op, p, t, op->n - t < ROWS_AT_ONCE ? op->n - t : ROWS_AT_ONCE);
}
#endif
