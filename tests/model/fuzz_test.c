/* fuzz_test -- seeded mutations of small models through fuzz/model.c. TW_WRITE_CORPUS=FOLDER writes the seeds there. */
#include "../test.h"
#include "../../fuzz/model.c"
#include "base/file.h"
#include "tiny.h"

#include <stdlib.h>

enum { MUTATIONS = 15000, SEEDS = 3 };

static struct buf seeds[SEEDS];

static void make_seeds(void)
{
    static const char *const names[SEEDS] = { "llama-q8.gguf", "llama-moe.gguf", "phi-like.gguf" };
    const char *folder = getenv("TW_WRITE_CORPUS");
    for (int i = 0; i < SEEDS; i++) {
        struct tiny t = tiny_llama();
        struct err e;
        char path[512];
        t.layers = 1;
        t.dim = 32;
        t.heads = 2;
        t.kv_heads = 1;
        t.ffn = 32;
        t.vocab = 20;
        t.type = i == 0 ? KERN_Q8_0 : i == 1 ? KERN_Q4_0 : KERN_F16;
        t.experts = i == 1 ? 4 : 0;
        t.used = 2;
        tiny_write(&t, &seeds[i]);
        CHECK(seeds[i].len > 1000);
        snprintf(path, sizeof path, "%s/%s", folder ? folder : "", names[i]);
        if (folder)
            CHECK_INT(file_write(path, seeds[i].data, seeds[i].len, &e), ERR_OK);
    }
}

static void seeds_load_and_step(void)
{
    for (int i = 0; i < SEEDS; i++)
        LLVMFuzzerTestOneInput((const uint8_t *)seeds[i].data, seeds[i].len);
}

/* Most bytes of a model are weights: half of the edits go to the header. */
static void mutations_are_survived(void)
{
    struct rng r = { .seed = 20260818 };
    printf("# seed %llu\n", (unsigned long long)r.seed);
    for (int m = 0; m < MUTATIONS; m++) {
        const struct buf *b = &seeds[m % SEEDS];
        uint8_t *copy = mem_dup(b->data, b->len);
        int edits = 1 + (int)rng_below(&r, 3);
        for (int k = 0; k < edits; k++) {
            size_t at = rng_below(&r, rng_below(&r, 2) ? 1100 : b->len);
            copy[at] = rng_below(&r, 2) ? (uint8_t)rng_next(&r) : (uint8_t)(copy[at] + (rng_below(&r, 2) ? 1 : 255));
        }
        LLVMFuzzerTestOneInput(copy, b->len);
        mem_free(copy);
    }
}

int main(void)
{
    RUN(make_seeds);
    RUN(seeds_load_and_step);
    RUN(mutations_are_survived);
    for (int i = 0; i < SEEDS; i++)
        buf_release(&seeds[i]);
    DONE();
}
