/* parcel_test -- a step as a parcel: it comes out as it went in, and nothing else is taken for one. */
#include "../test.h"
#include "../fuzz.h"
#include "base/mem.h"
#include "dist/parcel.h"
#include "dist/setup.h"

#include "../../fuzz/parcel.c" /* the target, here run over its corpus */

enum { ROWS = 7, STRIDE = 6 };
#define CORPUS "fuzz/corpus/parcel"

static unsigned char theirs[PAGES * PAGE_BYTES], ours[PAGES * 2 * PAGE_BYTES];
static float x_in[ROWS * STRIDE];

static struct parcel_limits limits(void)
{
    struct parcel_limits l = { .rows_max = 16, .runs_max = 4, .ctx = 96, .dim = DIM, .page_count = PAGES };
    struct err e = { 0 };
    CHECK_INT(parcel_limits_set(&l, &e), ERR_OK);
    CHECK(parcel_limits_ok(&l));
    return l;
}

/* Three runs: a decode, a chunk over two pages, a prompt's start; logits of two rows, the state of one. */
static void write_step(const struct parcel_limits *l, void *block, struct model_batch *b)
{
    static unsigned char *first[2], *second[3], *third[1];
    static struct model_run runs[3];
    static const int32_t logit_rows[] = { 0, 5 }, state_rows[] = { 3 };
    first[0] = theirs + 4 * PAGE_BYTES, first[1] = theirs + 2 * PAGE_BYTES;
    second[0] = theirs, second[1] = theirs + 11 * PAGE_BYTES, second[2] = theirs + 7 * PAGE_BYTES;
    third[0] = theirs + 9 * PAGE_BYTES;
    runs[0] = (struct model_run){ .rows = 1, .pos_first = 40, .pages = first };
    runs[1] = (struct model_run){ .rows = 4, .pos_first = 62, .pages = second };
    runs[2] = (struct model_run){ .rows = 2, .pos_first = 0, .pages = third };
    for (int i = 0; i < ROWS * STRIDE; i++)
        x_in[i] = (float)i;
    *b = (struct model_batch){ .rows = ROWS, .runs = runs, .run_count = 3, .logit_rows = logit_rows, .logit_count = 2,
                               .state_rows = state_rows, .state_count = 1 };
    struct parcel_source s = { b, x_in, STRIDE, theirs, PAGE_BYTES };
    parcel_write(&s, l, block);
}

static void comes_out_as_it_went_in(void)
{
    struct parcel_limits l = limits();
    struct model_batch b, out;
    struct err e = { 0 };
    struct parcel_head h;
    float *x, back[ROWS * STRIDE] = { 0 };
    void *block = mem_new((size_t)l.block_bytes, 1);
    write_step(&l, block, &b);
    memcpy(&h, block, sizeof h);
    CHECK(parcel_head_ok(&h, &l));
    CHECK_INT(parcel_bytes(&h, &l), (24 + (9 + 6 + 3) * 4 + 63) / 64 * 64 + ROWS * DIM * 4);
    struct parcel_reader *r = parcel_reader_new(&l, ours, 2 * PAGE_BYTES);
    CHECK_INT(parcel_read(r, block, &out, &x, &e), ERR_OK);
    CHECK_INT(out.rows, ROWS);
    CHECK_INT(out.run_count, 3);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(out.runs[i].rows, b.runs[i].rows);
        CHECK_INT(out.runs[i].pos_first, b.runs[i].pos_first);
        for (int k = 0; k <= (b.runs[i].pos_first + b.runs[i].rows - 1) / KERN_PAGE_TOKENS; k++) /* its own pages */
            CHECK_INT((out.runs[i].pages[k] - ours) / (2 * PAGE_BYTES), (b.runs[i].pages[k] - theirs) / PAGE_BYTES);
    }
    for (int i = 0; i < ROWS * DIM; i++)
        CHECK(x[i] == x_in[i / DIM * STRIDE + i % DIM]);
    CHECK_INT(out.logit_count, 3); /* wanted: 0, 3 and 5 */
    for (int i = 0; i < ROWS * DIM; i++)
        x[i] += 100;
    parcel_pack_wanted(r, &out, x);
    parcel_take_back(&b, &l, block, back, STRIDE);
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < DIM; i++)
            CHECK(back[row * STRIDE + i] == (row == 0 || row == 3 || row == 5 ? x_in[row * STRIDE + i] + 100 : 0));
    parcel_reader_free(r);
    mem_free(block);
}

/* Each line changes one number of a good step into one that must not pass. */
static void refuses_what_is_no_step(void)
{
    static const struct {
        int at;         /* of the block's 32-bit words */
        int32_t value;
    } wrong[] = {
        { 0, 7 }, { 1, 3 }, { 1, PARCEL_END }, { 2, 0 }, { 2, -1 }, { 2, 17 }, { 2, 6 }, { 3, 0 }, { 3, 5 }, { 3, 2 },
        { 4, 0 }, { 4, 1000 }, { 4, 5 }, { 5, -1 }, { 5, 8 },
        { 6, 0 }, { 6, 8 }, { 6, 1 << 30 }, { 7, -1 }, { 7, 96 }, { 7, INT32_MAX }, { 8, 1 }, { 8, 3 },
        { 15, -1 }, { 15, PAGES }, { 20, INT32_MAX }, { 21, -1 }, { 22, 0 }, { 23, 7 }, { 23, 3 },
    };
    struct parcel_limits l = limits();
    struct model_batch b, out;
    struct err e = { 0 };
    float *x;
    int32_t *block = mem_new((size_t)l.block_bytes, 1);
    struct parcel_reader *r = parcel_reader_new(&l, ours, 2 * PAGE_BYTES);
    for (size_t i = 0; i < MEM_COUNT(wrong); i++) {
        write_step(&l, block, &b);
        CHECK_INT(parcel_read(r, block, &out, &x, &e), ERR_OK);
        block[wrong[i].at] = wrong[i].value;
        enum err_code c = parcel_read(r, block, &out, &x, &e);
        if (c != ERR_CORRUPT)
            printf("# word %d = %d is taken\n", wrong[i].at, (int)wrong[i].value);
        CHECK_INT(c, ERR_CORRUPT);
    }
    parcel_reader_free(r);
    mem_free(block);
}

static void refuses_steps_too_large_to_send(void)
{
    struct parcel_limits l = { .rows_max = 65536, .runs_max = 1, .ctx = 32, .dim = 1 << 17, .page_count = 1 };
    struct err e = { 0 };
    CHECK_INT(parcel_limits_set(&l, &e), ERR_LIMIT);
    CHECK(!parcel_limits_ok(&l));
    l = limits();
    l.block_bytes++;
    CHECK(!parcel_limits_ok(&l));
}

static void setups_are_checked(void)
{
    struct dist_setup good = { .version = TW_VERSION, .ranks = 2, .cut = { 0, 1, 4 }, .kv_type = KERN_F16 }, s = good;
    CHECK(dist_setup_ok(&s));
    s.ranks = DIST_RANKS_MAX + 1;
    CHECK(!dist_setup_ok(&s));
    s = good, s.cut[1] = 4;
    CHECK(!dist_setup_ok(&s));
    s = good, s.rank = 2;
    CHECK(!dist_setup_ok(&s));
    s = good, s.kv_type = -1;
    CHECK(!dist_setup_ok(&s));
    s = good, memset(s.version, 'x', sizeof s.version);
    CHECK(!dist_setup_ok(&s));
}

static void hostile_bytes_do_no_harm(void)
{
    int n = fuzz_run(CORPUS, 300, LLVMFuzzerTestOneInput);
    CHECK(n > 0);
}

int main(void)
{
    RUN(comes_out_as_it_went_in);
    RUN(refuses_what_is_no_step);
    RUN(refuses_steps_too_large_to_send);
    RUN(setups_are_checked);
    RUN(hostile_bytes_do_no_harm);
    DONE();
}
