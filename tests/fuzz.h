/* fuzz -- runs a fuzz target inside a test: every file of its corpus, then mutations of them from a printed seed. */
#ifndef FUZZ_H
#define FUZZ_H
#include "base/buf.h"
#include "base/file.h"
#include "base/rng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { FUZZ_SEEDS_MAX = 64 };

static void fuzz_mutate(struct rng *r, struct buf *b)
{
    for (uint64_t edits = 1 + rng_below(r, 4); edits; edits--) {
        size_t at = b->len ? rng_below(r, b->len) : 0;
        switch (rng_below(r, 4)) {
        case 0: if (b->len) b->data[at] = (char)rng_next(r); break;
        case 1: if (b->len) b->data[at] ^= (char)(1u << rng_below(r, 8)); break;
        case 2: if (b->len) b->len = at; break;                          /* cut */
        default: {                                                       /* a run of its own again, at the end */
            size_t n = b->len ? 1 + rng_below(r, b->len - at) : 0;
            if (buf_reserve(b, n)) /* first: buf_append must not move what it copies from */
                buf_append(b, b->data + at, n);
        }
        }
    }
}

/* Returns how many inputs ran; 0 means that the corpus is not there, and the test must say so. */
static int fuzz_run(const char *corpus, int rounds, int (*target)(const uint8_t *, size_t))
{
    struct buf seeds[FUZZ_SEEDS_MAX] = { { 0 } };
    int count = 0;
    DIR *d = opendir(corpus);
    for (struct dirent *entry; d && count < FUZZ_SEEDS_MAX && (entry = readdir(d));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%.200s", corpus, entry->d_name);
        if (entry->d_name[0] != '.' && !file_read(path, 1 << 20, &seeds[count], NULL))
            count++;
    }
    if (d)
        closedir(d);
    const char *env = getenv("TEST_SEED");
    struct rng r = { .seed = env ? strtoull(env, NULL, 0) : 20240607 };
    printf("# %s: %d seeds, TEST_SEED=%llu\n", corpus, count, (unsigned long long)r.seed);
    int ran = 0;
    for (int i = 0; count && i < rounds + count; i++, ran++) {
        struct buf b = { 0 };
        const struct buf *seed = &seeds[i < count ? (size_t)i : rng_below(&r, (uint64_t)count)];
        buf_append(&b, seed->data, seed->len);
        if (i >= count)
            fuzz_mutate(&r, &b);
        /* An exact copy, so that the sanitizer sees a read past the end. */
        uint8_t *exact = malloc(b.len ? b.len : 1);
        if (exact && b.len)
            memcpy(exact, b.data, b.len);
        target(exact, b.len);
        free(exact);
        buf_release(&b);
    }
    for (int i = 0; i < count; i++)
        buf_release(&seeds[i]);
    return ran;
}
#endif
