/* tiny_vocab -- small vocabularies of our own, made in memory: for tests that need no golden data, and fuzzing. */
#ifndef TESTS_TINY_VOCAB_H
#define TESTS_TINY_VOCAB_H
#include "base/buf.h"
#include "gguf/gguf.h"
#include "gguf/write.h"
#include "text/utf8.h"
#include "text/vocab.h"

#include <stdio.h>
#include <string.h>

enum { TINY_TOKENS_MAX = 400 };

struct tiny {
    char text[TINY_TOKENS_MAX][48];
    int32_t type[TINY_TOKENS_MAX];
    float score[TINY_TOKENS_MAX];
    int count;
    const char *merges[64];
    int merge_count;
    const char *model, *pre, *name;
    bool no_merges, short_types;
};

static inline int tiny_add(struct tiny *t, const char *text, int type, float score)
{
    snprintf(t->text[t->count], sizeof(t->text[0]), "%s", text);
    t->type[t->count] = type;
    t->score[t->count] = score;
    return t->count++;
}

static inline void tiny_merge(struct tiny *t, const char *pair, const char *result)
{
    t->merges[t->merge_count++] = pair;
    tiny_add(t, result, VOCAB_NORMAL, 0);
}

/* The 256 letters of the byte alphabet as ids 0..255 in byte order, then merges, then special tokens. */
static inline void tiny_bpe(struct tiny *t, const char *pre)
{
    *t = (struct tiny){ .model = "gpt2", .pre = pre, .name = "tiny" };
    unsigned other = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool shown = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        char letter[8] = "";
        utf8_encode(shown ? b : other++, letter);
        tiny_add(t, letter, VOCAB_NORMAL, 0);
    }
    tiny_merge(t, "h e", "he");
    tiny_merge(t, "l l", "ll");
    tiny_merge(t, "he ll", "hell");
    tiny_merge(t, "hell o", "hello");
    tiny_merge(t, "a a", "aa");
    tiny_merge(t, "\xc4\xa0 \xc4\xa0", "\xc4\xa0\xc4\xa0");
    tiny_add(t, "<|endoftext|>", VOCAB_CONTROL, 0);
    tiny_add(t, "<|im_end|>", VOCAB_CONTROL, 0);
    tiny_add(t, "<u>", VOCAB_USER, 0);
    tiny_add(t, "<u><u>", VOCAB_USER, 0);
    tiny_add(t, "<mask>", VOCAB_CONTROL, 0);
}

static inline void tiny_spm(struct tiny *t)
{
    *t = (struct tiny){ .model = "llama", .name = "tiny" };
    tiny_add(t, "<unk>", VOCAB_UNKNOWN, 0);
    tiny_add(t, "<s>", VOCAB_CONTROL, 0);
    tiny_add(t, "</s>", VOCAB_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof(text), "<0x%02X>", b);
        tiny_add(t, text, VOCAB_BYTE, 0);
    }
    static const char *const pieces[] = { "\xe2\x96\x81", "a", "b", "c", "ab", "bc", "abc", "\xe2\x96\201ab", "\xc3\xa9",
                                          "\xe2\x96\x81\xe2\x96\x81" };
    static const float scores[] = { -9, -8, -8, -8, -2, -1, -4, -3, -7, -6 };
    for (int i = 0; i < 10; i++)
        tiny_add(t, pieces[i], VOCAB_NORMAL, scores[i]);
    tiny_add(t, "<tool>", VOCAB_USER, 0);
}

static inline void tiny_wordpiece(struct tiny *t)
{
    *t = (struct tiny){ .model = "bert", .name = "tiny" };
    static const char *const pieces[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "\xe2\x96\201a", "\xe2\x96\201ab", "b", "bc",
                                          "\xe2\x96\x81,", "\xe2\x96\201e", "e", "\xe2\x96\x81\xe4\xb8\xad" };
    for (int i = 0; i < 12; i++)
        tiny_add(t, pieces[i], i < 4 ? VOCAB_CONTROL : VOCAB_NORMAL, 0);
}

/* The file's bytes into out, which must outlive what is opened from it. */
static inline enum err_code tiny_file(const struct tiny *t, struct buf *out, struct err *e)
{
    struct gguf_str strings[TINY_TOKENS_MAX], merges[64];
    for (int i = 0; i < t->count; i++)
        strings[i] = (struct gguf_str){ t->text[i], strlen(t->text[i]) };
    for (int i = 0; i < t->merge_count; i++)
        merges[i] = (struct gguf_str){ t->merges[i], strlen(t->merges[i]) };
    struct gguf_writer *w = gguf_writer_new();
    gguf_writer_string(w, "general.name", t->name);
    gguf_writer_string(w, "tokenizer.ggml.model", t->model);
    if (t->pre)
        gguf_writer_string(w, "tokenizer.ggml.pre", t->pre);
    gguf_writer_strings(w, "tokenizer.ggml.tokens", strings, (size_t)t->count);
    gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, t->type, (size_t)t->count - t->short_types);
    gguf_writer_array(w, "tokenizer.ggml.scores", GGUF_F32, t->score, (size_t)t->count);
    if (!t->no_merges)
        gguf_writer_strings(w, "tokenizer.ggml.merges", merges, (size_t)t->merge_count);
    if (!strcmp(t->model, "bert")) {
        gguf_writer_u32(w, "tokenizer.ggml.unknown_token_id", 1);
        gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", 2);
        gguf_writer_u32(w, "tokenizer.ggml.seperator_token_id", 3);
    }
    enum err_code c = gguf_writer_start_buf(w, out, e);
    if (!c)
        c = gguf_writer_finish(w, e);
    gguf_writer_free(w);
    return c;
}

static inline enum err_code tiny_open(const struct tiny *t, struct vocab **out, struct err *e)
{
    struct buf b = { 0 };
    struct gguf_file *f = NULL;
    enum err_code c = tiny_file(t, &b, e);
    if (!c)
        c = gguf_open_memory(b.data, b.len, &f, e);
    if (!c)
        c = vocab_new(f, NULL, out, e);
    gguf_close(f);
    buf_release(&b);
    return c;
}
#endif
