/* tokenizer -- fuzz target: text of any bytes through every family, and what must always hold.
 *
 * The first byte chooses the vocabulary and whether special tokens are parsed; the rest is the text. */
#include "../tests/text/tiny_vocab.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const fuzz_pres[] = { "gpt-2", "llama-bpe", "qwen35", "deepseek-llm", "deepseek-v3", "gpt-4o", "tekken",
                                         "kimi-k2", "falcon", "afmoe", "chameleon", "superbpe", "gemma4", "default" };
enum { PRES = sizeof(fuzz_pres) / sizeof(fuzz_pres[0]), VOCABS = PRES + 2, FUZZ_TEXT_MAX = 1 << 14 };

static const struct vocab *fuzz_vocab(unsigned which)
{
    static struct vocab *vocabs[VOCABS]; /* made once, kept: a fuzzer runs the target millions of times */
    static struct tiny t;
    struct err e;
    if (!vocabs[which]) {
        if (which < PRES)
            tiny_bpe(&t, fuzz_pres[which]);
        else if (which == PRES)
            tiny_spm(&t);
        else
            tiny_wordpiece(&t);
        ASSERT(tiny_open(&t, &vocabs[which], &e) == ERR_OK);
    }
    return vocabs[which];
}

static void check_utf8(const struct buf *b)
{
    uint32_t cp;
    for (size_t i = 0; i < b->len;) {
        int len = utf8_decode(b->data + i, b->len - i, &cp);
        ASSERT(len > 0);
        i += (size_t)len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > FUZZ_TEXT_MAX)
        return 0;
    unsigned which = data[0] % VOCABS;
    bool special = data[0] & 0x80;
    const struct vocab *v = fuzz_vocab(which);
    const char *text = (const char *)data + 1;
    struct vocab_ids ids = { 0 };
    struct err e;
    ASSERT(vocab_encode(v, text, size - 1, special, &ids, &e) == ERR_OK);
    struct buf whole = { 0 }, shown = { 0 };
    struct vocab_stream s = { 0 };
    for (size_t i = 0; i < ids.count; i++) {
        ASSERT(ids.v[i] >= 0 && ids.v[i] < vocab_size(v));
        vocab_stream_push(&s, v, ids.v[i], true, &shown);
        check_utf8(&shown);
    }
    vocab_stream_finish(&s, &shown);
    check_utf8(&shown);
    vocab_decode(v, ids.v, ids.count, true, &whole);
    /* Byte-level vocabularies lose nothing. */
    if (which < PRES && strcmp(fuzz_pres[which], "gemma4"))
        ASSERT(whole.len == size - 1 && (size == 1 || !memcmp(whole.data, text, size - 1)));
    buf_release(&whole);
    buf_release(&shown);
    vocab_ids_release(&ids);
    return 0;
}
