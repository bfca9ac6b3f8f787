/* fuzz_test -- the fuzz targets of this floor over their corpora, and over the corpora with bytes changed by dice. */
#include "../test.h"
#include "base/rng.h"
#include "help.h"
#include "trust/code.h"

#include <dirent.h>

#define LLVMFuzzerTestOneInput fuzz_note
#include "../../fuzz/note.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_statement
#include "../../fuzz/statement.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_checkpoint
#include "../../fuzz/checkpoint.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_tlog_proof
#include "../../fuzz/tlog_proof.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_bhttp
#include "../../fuzz/bhttp.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_httpsig
#include "../../fuzz/httpsig.c"
#undef LLVMFuzzerTestOneInput

enum { ROUNDS = 3000 };

static void mutate(struct buf *b, struct rng *dice)
{
    char head[64];
    for (uint64_t n = 1 + rng_below(dice, 4); n && b->len; n--) {
        size_t at = (size_t)rng_below(dice, b->len);
        switch (rng_below(dice, 3)) {
        case 0: b->data[at] ^= (char)(1 << rng_below(dice, 8)); break;
        case 1: b->len = at; break;
        default: /* through a copy: the append may move what it reads */
            at = at < sizeof head ? at : sizeof head;
            memcpy(head, b->data, at);
            buf_append(b, head, at);
            break;
        }
    }
}

static void target(const char *name, int (*run)(const uint8_t *data, size_t size))
{
    struct buf dir = { 0 };
    struct rng dice = { .seed = 1795255963 };
    int files = 0;
    buf_printf(&dir, "fuzz/corpus/%s", name);
    DIR *d = opendir(buf_str(&dir));
    for (struct dirent *f = d ? readdir(d) : NULL; f; f = readdir(d)) {
        struct buf path = { 0 }, seed = { 0 }, b = { 0 };
        buf_printf(&path, "%s/%s", buf_str(&dir), f->d_name);
        if (f->d_name[0] != '.' && !file_read(buf_str(&path), 1 << 20, &seed, NULL)) {
            files++;
            run((const uint8_t *)buf_str(&seed), seed.len);
            for (int i = 0; i < ROUNDS; i++) {
                buf_clear(&b);
                buf_append(&b, seed.data, seed.len);
                mutate(&b, &dice);
                run((const uint8_t *)buf_str(&b), b.len);
            }
        }
        buf_release(&path);
        buf_release(&seed);
        buf_release(&b);
    }
    if (d)
        closedir(d);
    CHECK(files > 0);
    buf_release(&dir);
}

static void notes(void) { target("note", fuzz_note); }
static void statements(void) { target("statement", fuzz_statement); }
static void checkpoints(void) { target("checkpoint", fuzz_checkpoint); }
static void proofs(void) { target("tlog_proof", fuzz_tlog_proof); }
static void messages(void) { target("bhttp", fuzz_bhttp); }
static void signatures(void) { target("httpsig", fuzz_httpsig); }

int main(void)
{
    if (trust_init(NULL))
        return 1;
    RUN(notes);
    RUN(statements);
    RUN(checkpoints);
    RUN(proofs);
    RUN(messages);
    RUN(signatures);
    DONE();
}
