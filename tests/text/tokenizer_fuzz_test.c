/* tokenizer_fuzz_test -- the corpus of fuzz/tokenizer.c and seeded random texts through the fuzz target. */
#include "../test.h"
#include "../../fuzz/tokenizer.c"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"

#include <dirent.h>

enum { TEXTS = 3000, FILES_MAX = 64 };

static void corpus_is_survived(void)
{
    int files = 0;
    DIR *d = opendir("fuzz/corpus/tokenizer");
    CHECK(d != NULL);
    for (struct dirent *x; d && files < FILES_MAX && (x = readdir(d));) {
        char path[512];
        struct buf b = { 0 };
        struct err e;
        if (x->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "fuzz/corpus/tokenizer/%s", x->d_name);
        CHECK_INT(file_read(path, 1 << 20, &b, &e), ERR_OK);
        for (unsigned which = 0; which < 2 * VOCABS && b.len; which++) {
            b.data[0] = (char)(which % VOCABS + (which < VOCABS ? 0 : 128 / VOCABS * VOCABS + VOCABS));
            LLVMFuzzerTestOneInput((const uint8_t *)b.data, b.len);
        }
        buf_release(&b);
        files++;
    }
    if (d)
        closedir(d);
    CHECK(files >= 3);
}

/* Words that matter to some rule, glued at random, with some bytes broken. */
static void random_texts_are_survived(void)
{
    static const char *const words[] = {
        "hello", " hello", "  ", "\n", "\r\n", "\t", "aaaa", "'s", "'LL", "1234567", "<u>", "<u><u>", "<|endoftext|>",
        "<mask>", "\xe4\xb8\xad\xe6\x96\x87", "\xcc\x81", "\xf0\x9f\x91\x8d", "\xe3\x80\x80", "~", "!?", "\xc3\211a", "\xff",
        "\xe2\x96\x81", "<tool>", "<s>", "abc", "\xe2\x80\xa8", "\xd9\xa3\xd9\xa4", "IMGIMGABZ", "</s>",
    };
    struct rng r = { .seed = 20261121 };
    printf("# seed %llu\n", (unsigned long long)r.seed);
    for (int k = 0; k < TEXTS; k++) {
        struct buf b = { 0 };
        buf_putc(&b, (char)rng_next(&r));
        for (uint64_t n = rng_below(&r, 40); n > 0; n--)
            buf_puts(&b, words[rng_below(&r, MEM_COUNT(words))]);
        for (uint64_t n = rng_below(&r, 3); n > 0 && b.len > 1; n--)
            b.data[1 + rng_below(&r, b.len - 1)] = (char)rng_next(&r);
        uint8_t *exact = mem_dup(b.data, b.len); /* so that reading past the end is seen */
        LLVMFuzzerTestOneInput(exact, b.len);
        mem_free(exact);
        buf_release(&b);
    }
}

/* Vocabulary files with bytes changed: refused or loaded, and what loads encodes. */
static void mutated_vocabularies_are_survived(void)
{
    static struct tiny t;
    struct rng r = { .seed = 5 };
    int loaded = 0;
    for (int k = 0; k < TEXTS; k++) {
        struct buf b = { 0 };
        struct err e;
        k % 3 == 0 ? tiny_bpe(&t, fuzz_pres[k % PRES]) : k % 3 == 1 ? tiny_spm(&t) : tiny_wordpiece(&t);
        CHECK_INT(tiny_file(&t, &b, &e), ERR_OK);
        for (uint64_t n = 1 + rng_below(&r, 6); n > 0; n--)
            b.data[rng_below(&r, b.len)] = rng_below(&r, 2) ? (char)rng_next(&r) : 0;
        struct gguf_file *f = NULL;
        struct vocab *v = NULL;
        if (gguf_open_memory(b.data, b.len, &f, &e) == ERR_OK && vocab_new(f, NULL, &v, &e) == ERR_OK) {
            struct vocab_ids ids = { 0 };
            struct buf out = { 0 };
            static const char text[] = "hello <u><mask> abc ab, 12\xe4\xb8\xad \xff<|im_end|>";
            CHECK_INT(vocab_encode(v, text, sizeof(text), true, &ids, &e), ERR_OK);
            vocab_decode(v, ids.v, ids.count, true, &out);
            loaded++;
            buf_release(&out);
            vocab_ids_release(&ids);
        }
        vocab_free(v);
        gguf_close(f);
        buf_release(&b);
    }
    CHECK(loaded > TEXTS / 10 && loaded < TEXTS); /* both ways were taken */
}

int main(void)
{
    RUN(corpus_is_survived);
    RUN(random_texts_are_survived);
    RUN(mutated_vocabularies_are_survived);
    DONE();
}
