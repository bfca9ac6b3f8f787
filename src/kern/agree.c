/* agree -- a rung that cannot be tried before it is shipped is tried when it starts: small products of every kind. */
#include "kern/pack.h"
#include "kern/rungs.h"

#include <string.h>

enum { ROWS = 40, COLS = 288, COLS_K = 512, X = 37, PANELS = 3, BYTES_MOST = PANELS * 16 * COLS_K * 2 };

static bool agree_on(const struct kern_table *a, const struct kern_table *b, enum kern_type type)
{
    int cols = kern_type_info((int)type)->block_len > 32 ? COLS_K : COLS;
    float x[COLS_K], y[2][X * ROWS];
    unsigned char file[ROWS * COLS_K];
    _Alignas(64) unsigned char packed[BYTES_MOST], act[X * COLS_K * 2];
    uint32_t state = 12345;
    size_t row = kern_row_bytes(type, (size_t)cols);
    for (int r = 0; r < ROWS + X; r++) {
        for (int c = 0; c < cols; c++) {
            state = state * 1664525u + 1013904223u;
            x[c] = (float)(int32_t)state * 0x1p-31f;
        }
        if (r < ROWS)
            kern_quantize(type, x, file + (size_t)r * row, (size_t)cols);
        else
            kern_act_quantize(x, act + (size_t)(r - ROWS) * kern_q8_bytes(cols), cols);
    }
    struct kern_matrix m;
    kern_matrix_init(&m, type, ROWS, cols);
    m.data = packed;
    kern_matrix_pack(&m, file, 0, m.panels);
    struct kern_matmul op = { .w = &m, .x = act, .x_stride = kern_q8_bytes(cols), .n = X, .y_stride = ROWS };
    op.y = y[0];
    a->matmul(&op, 0, m.panels);
    op.y = y[1];
    b->matmul(&op, 0, m.panels);
    return !memcmp(y[0], y[1], sizeof y[0]);
}

bool kern_products_agree(const struct kern_table *a, const struct kern_table *b)
{
    return agree_on(a, b, KERN_Q8_0) && agree_on(a, b, KERN_Q4_1) && agree_on(a, b, KERN_Q6_K) &&
           agree_on(a, b, KERN_Q2_K);
}
