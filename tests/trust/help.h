/* help -- what the tests of this floor share: hex, temporary folders, keys that are the same every time. */
#ifndef TEST_TRUST_HELP_H
#define TEST_TRUST_HELP_H
#include "base/file.h"
#include "base/mem.h"
#include "trust/key.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline size_t help_hex(uint8_t *out, const char *hex)
{
    size_t n = 0;
    for (; hex[0] && hex[1]; hex += 2) {
        char two[3] = { hex[0], hex[1], 0 };
        out[n++] = (uint8_t)strtoul(two, NULL, 16);
    }
    return n;
}

static inline bool help_is_hex(const void *data, size_t n, const char *hex)
{
    uint8_t want[4096];
    size_t len = strlen(hex) / 2;
    return len <= sizeof want && help_hex(want, hex) == n && !memcmp(want, data, n);
}

static inline struct span help_buf(const struct buf *b)
{
    return (struct span){ buf_str(b), b->len };
}

/* A key whose seed is 32 times the byte n. */
static inline struct key_secret help_key(const char *name, uint8_t type, uint8_t n)
{
    struct key_secret k = { 0 };
    uint8_t seed[KEY_SEED_BYTES];
    memset(seed, n, sizeof seed);
    if (key_secret_new(name, type, seed, &k, NULL))
        abort();
    return k;
}

static inline int help_remove_one(const char *path, const struct stat *s, int flag, struct FTW *f)
{
    (void)s; (void)flag; (void)f;
    return remove(path);
}

static inline void help_remove(const char *dir)
{
    nftw(dir, help_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A fresh folder; the caller removes and frees it. */
static inline char *help_dir(void)
{
    char fast[] = "/dev/shm/tw-trust-XXXXXX", any[] = "/tmp/tw-trust-XXXXXX"; /* in memory where there is such a place */
    char *name = mkdtemp(fast) ? fast : mkdtemp(any);
    if (!name)
        abort();
    return mem_strdup(name);
}
#endif
