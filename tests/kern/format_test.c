/* format_test -- blocks mean what the Python gguf package says they mean (vectors.h). */
#include "common.h"
#include "vectors.h"

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

int main(void)
{
    RUN(test_types);
    RUN(test_dequantize);
    RUN(test_round_trip);
    DONE();
}
