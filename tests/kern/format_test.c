/* format_test -- blocks mean what the Python gguf package says they mean (vectors.h). */
#include "common.h"
#include "vectors.h"
#include "kern/pack.h"

static void test_dequantize(void)
{
    float got[256];
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        kern_dequantize(vectors[i].type, vectors[i].bytes, got, vectors[i].n);
        for (size_t k = 0; k < vectors[i].n; k++) {
            float want;
            memcpy(&want, &vectors[i].want[k], sizeof want);
            if (got[k] != want) {
                printf("# %s[%zu]\n", kern_type_info((int)vectors[i].type)->name, k);
                CHECK_NEAR(got[k], want, 0);
                break;
            }
        }
    }
}

/* Quantising what a format can hold exactly gives it back (to the last bits of a scale found by least squares). */
static void test_round_trip(void)
{
    float first[256], again[256];
    unsigned char packed[512];
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        if (vectors[i].type == KERN_MXFP4)
            continue; /* its vector has a block of subnormals and one past them */
        kern_dequantize(vectors[i].type, vectors[i].bytes, first, vectors[i].n);
        kern_quantize(vectors[i].type, first, packed, vectors[i].n);
        kern_dequantize(vectors[i].type, packed, again, vectors[i].n);
        double e = 0, s = 0;
        for (size_t k = 0; k < vectors[i].n; k++) {
            e += ((double)again[k] - (double)first[k]) * ((double)again[k] - (double)first[k]);
            s += (double)first[k] * (double)first[k];
        }
        printf("# %s %.3g\n", kern_type_info((int)vectors[i].type)->name, e / s);
        CHECK(e <= 0.04 * s);
    }
}

static void test_types(void)
{
    enum kern_type t;
    CHECK(kern_type_by_name("Q4_K", &t) && t == KERN_Q4_K);
    CHECK(!kern_type_by_name("Q9_K", &t));
    CHECK(!kern_type_info(-1) && !kern_type_info(4) && !kern_type_info(KERN_TYPE_LIMIT));
    CHECK_INT((intmax_t)kern_row_bytes(KERN_Q6_K, 512), 420);
}

/* Panels made the short way (weave.c) are those made by way of codes, whatever the memory held and the blocks hold. */
static void check_panels(enum kern_type type, int rows, int cols)
{
    struct kern_matrix m;
    kern_matrix_init(&m, type, rows, cols);
    const struct kern_layout *l = kern_layout(type);
    size_t row_bytes = kern_row_bytes(type, (size_t)cols), bytes = kern_matrix_bytes(&m), done = 0;
    unsigned char *src = mem_new((size_t)rows, row_bytes), *want = mem_new(bytes, 1);
    struct kern_codes c;
    m.data = mem_aligned(bytes);
    memset(m.data, 0xa5, bytes);
    for (size_t i = 0; i < (size_t)rows * row_bytes; i++)
        src[i] = (unsigned char)(rand() >> 7);
    kern_matrix_pack(&m, src, 0, m.panels);
    for (int u = 0; u * KERN_UNIT_COLS < cols; u++) {
        int blocks = kern_unit_blocks(cols, u);
        for (int r = 0; r < rows; r++) {
            kern_split(type, src + (size_t)r * row_bytes + kern_row_bytes(type, (size_t)(u * KERN_UNIT_COLS)),
                       blocks * 32, &c);
            kern_unit_put(l, want + (size_t)(r / KERN_PANEL_ROWS) * m.panel_bytes + done, blocks,
                          r % KERN_PANEL_ROWS, &c);
        }
        done += kern_unit_bytes(l, blocks);
    }
    CHECK(!memcmp(want, m.data, bytes));
    mem_free(src);
    mem_free(want);
    mem_aligned_free(m.data, bytes);
}

static void test_panels(void)
{
    int woven = 0;
    srand(5);
    for (int t = 0; t < KERN_TYPE_LIMIT; t++) {
        if (!kern_type_info(t) || kern_type_is_float((enum kern_type)t))
            continue;
        printf("# %s%s\n", kern_type_info(t)->name, kern_weave((enum kern_type)t) ? ", woven" : "");
        woven += kern_weave((enum kern_type)t) != NULL;
        check_panels((enum kern_type)t, 37, 512);
        check_panels((enum kern_type)t, 16, 256);
        if (kern_type_info(t)->block_len == 32) {
            check_panels((enum kern_type)t, 32, 256 + 96);
            check_panels((enum kern_type)t, 17, 64);
        }
    }
    CHECK_INT(woven, 10);
}

int main(void)
{
    RUN(test_types);
    RUN(test_dequantize);
    RUN(test_round_trip);
    RUN(test_panels);
    DONE();
}
