/* amx_test -- the AMX rung: its loops over emulated tiles give AVX-512's bits; on a processor with tiles, so do they. */
#include "common.h"

#include "kern/rungs.h"

static struct kern_table below, tiles;

static void compare(void)
{
    static const enum kern_type types[] = { KERN_Q4_0, KERN_Q4_1, KERN_Q5_0, KERN_Q5_1, KERN_Q8_0, KERN_IQ4_NL, KERN_MXFP4,
                                            KERN_Q2_K, KERN_Q3_K, KERN_Q4_K, KERN_Q5_K, KERN_Q6_K, KERN_IQ4_XS };
    enum { X = 53, ROWS = 45, COLS = 768 };
    static float x[X * COLS], y[2][X * ROWS], bias[ROWS];
    static _Alignas(64) unsigned char act[X * COLS * 2], file[ROWS * COLS * 2], packed[48 * COLS * 2];
    struct rng r = { 99, 0 };
    fill_gauss(&r, x, X * COLS, 1);
    fill_gauss(&r, bias, ROWS, 1);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (int k = 0; k < 4; k++) {
            int block = kern_type_info((int)types[i])->block_len, cols = block == 256 ? k < 2 ? COLS : 256 : 32 * (1 + 7 * k);
            int n = k == 0 ? X : 16 + (int)rng_below(&r, X - 16);
            int32_t pick[X];
            for (int t = 0; t < X; t++) {
                pick[t] = (int32_t)rng_below(&r, X);
                below.quantize_q8(x + t * COLS, act + (size_t)t * kern_q8_bytes(cols), cols);
            }
            for (int row = 0; row < ROWS; row++)
                kern_quantize(types[i], x + row * COLS, file + (size_t)row * kern_row_bytes(types[i], (size_t)cols),
                              (size_t)cols);
            struct kern_matrix m;
            kern_matrix_init(&m, types[i], ROWS, cols);
            m.data = packed;
            kern_matrix_pack(&m, file, 0, m.panels);
            struct kern_matmul op = { .w = &m, .x = act, .x_stride = kern_q8_bytes(cols), .n = n, .y = y[0],
                                      .x_rows = k % 2 ? pick : NULL, .y_stride = ROWS, .bias = k % 2 ? bias : NULL };
            below.matmul(&op, 0, m.panels);
            op.y = y[1];
            tiles.matmul(&op, 0, m.panels);
            long at = first_difference(y[0], y[1], (size_t)(n * ROWS));
            if (at >= 0)
                printf("# %s cols %d n %d: y[%ld][%ld]\n", kern_type_info((int)types[i])->name, cols, n, at / ROWS,
                       at % ROWS);
            CHECK(at < 0);
        }
    }
}

static void test_emulated(void)
{
    if (kern_isa_detect(KERN_AVX512) != KERN_AVX512)
        SKIP("this machine does not have AVX-512 VNNI");
    kern_table_fill(&below, KERN_AVX512);
    tiles = below;
    kern_fill_matmul_emulated(&tiles);
    compare();
    CHECK(kern_products_agree(&below, &tiles));
    tiles.matmul = NULL;
    kern_fill_matmul_ref(&tiles);
    CHECK(kern_products_agree(&below, &tiles));
}

static void wrong(const struct kern_matmul *op, int first, int end)
{
    below.matmul(op, first, end);
    op->y[7] += 1;
}

/* The start-up check is worth something only if it can say no. */
static void test_check_says_no(void)
{
    kern_table_fill(&below, KERN_REF);
    tiles = below;
    CHECK(kern_products_agree(&below, &tiles));
    tiles.matmul = wrong;
    CHECK(!kern_products_agree(&below, &tiles));
}

static void test_processor(void)
{
    if (kern_isa_detect(KERN_AMX) != KERN_AMX)
        SKIP("this machine has no AMX tiles");
    kern_table_fill(&below, KERN_AVX512);
    kern_table_fill(&tiles, KERN_AMX);
    compare();
}

int main(void)
{
    RUN(test_emulated);
    RUN(test_check_says_no);
    RUN(test_processor);
    DONE();
}
