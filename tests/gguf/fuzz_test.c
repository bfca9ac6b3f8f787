/* fuzz_test -- the corpus of fuzz/gguf.c, and seeded mutations of it, through the fuzz target. */
#include "../test.h"
#include "../../fuzz/gguf.c"
#include "base/file.h"
#include "base/rng.h"

#include <dirent.h>
#include <stdlib.h>

enum { MUTATIONS = 3000, FILES_MAX = 64 };

static struct buf files[FILES_MAX];
static int file_count;

static void load_corpus(void)
{
    DIR *d = opendir("fuzz/corpus/gguf");
    CHECK(d != NULL);
    for (struct dirent *x; d && file_count < FILES_MAX && (x = readdir(d));) {
        char path[512];
        struct err e;
        if (x->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "fuzz/corpus/gguf/%s", x->d_name);
        CHECK_INT(file_read(path, 1 << 20, &files[file_count++], &e), ERR_OK);
    }
    if (d)
        closedir(d);
    CHECK(file_count >= 3);
}

static void corpus_is_survived(void)
{
    for (int i = 0; i < file_count; i++)
        LLVMFuzzerTestOneInput((const uint8_t *)files[i].data, files[i].len);
}

static void mutations_are_survived(void)
{
    struct rng r = { .seed = 20260817 };
    printf("# seed %llu\n", (unsigned long long)r.seed);
    for (int m = 0; m < MUTATIONS; m++) {
        const struct buf *b = &files[m % file_count];
        size_t n = b->len - (rng_below(&r, 4) ? 0 : rng_below(&r, b->len));
        uint8_t *copy = mem_dup(b->data, n);
        int edits = 1 + (int)rng_below(&r, 4);
        for (int k = 0; k < edits && n; k++)
            copy[rng_below(&r, n)] = rng_below(&r, 2) ? (uint8_t)rng_next(&r) : rng_below(&r, 2) ? 0xff : 0;
        LLVMFuzzerTestOneInput(copy, n);
        mem_free(copy);
    }
}

int main(void)
{
    RUN(load_corpus);
    RUN(corpus_is_survived);
    RUN(mutations_are_survived);
    for (int i = 0; i < file_count; i++)
        buf_release(&files[i]);
    DONE();
}
