/* vocab_test -- ids against the golden vocabularies (a reference engine's, see their README), streaming, round
 * trips, bounded time; and, on small vocabularies of our own, the rules one by one. */
#include "../test.h"
#include "../shared.h"
#include "tiny_vocab.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

#include <dirent.h>

#ifdef TW_SANITIZED
enum { TW_TEST_SLOW = 1 }; /* instrumented: smaller texts, wider limits */
#else
enum { TW_TEST_SLOW = 0 };
#endif

static struct vocab *open_golden(const char *name, const char *pre)
{
    char rest[256], path[512];
    struct gguf_file *f = NULL;
    struct vocab *v = NULL;
    struct err e;
    snprintf(rest, sizeof(rest), "golden/vocabs/%s", name);
    if (!shared_path(path, sizeof(path), rest) || access(path, R_OK))
        return NULL;
    if (gguf_open(path, &f, &e) || vocab_new(f, pre, &v, &e))
        printf("# %s: %s\n", name, e.text);
    gguf_close(f);
    return v;
}

/* Encodes a golden case and compares; returns whether it agreed. */
static bool agrees(const struct vocab *v, const char *text, size_t n, bool special, const json_t *want)
{
    struct vocab_ids ids = { 0 };
    struct err e;
    bool same = vocab_encode(v, text, n, special, &ids, &e) == ERR_OK && ids.count == json_array_size(want);
    for (size_t i = 0; same && i < ids.count; i++)
        same = ids.v[i] == json_integer_value(json_array_get(want, i));
    vocab_ids_release(&ids);
    return same;
}

/* Pushes a text's tokens through a stream: every step shows whole characters, all of it gives the text back. */
static void check_stream(const struct vocab *v, const char *text, size_t n)
{
    struct vocab_ids ids = { 0 };
    struct vocab_stream s = { 0 };
    struct buf out = { 0 };
    struct err e;
    CHECK_INT(vocab_encode(v, text, n, false, &ids, &e), ERR_OK);
    for (size_t i = 0; i < ids.count; i++) {
        size_t before = out.len;
        vocab_stream_push(&s, v, ids.v[i], true, &out);
        uint32_t cp;
        for (size_t k = before; k < out.len;) {
            int len = utf8_decode(out.data + k, out.len - k, &cp);
            CHECK(len > 0);
            k += len > 0 ? (size_t)len : 1;
        }
    }
    vocab_stream_finish(&s, &out);
    CHECK(out.len == n && !memcmp(buf_str(&out), text, n));
    vocab_ids_release(&ids);
    buf_release(&out);
}

static void check_golden_file(const char *path, int *cases)
{
    struct err e;
    json_t *j = jsonx_parse_file(path, 16 << 20, &e), *c;
    size_t i;
    CHECK(j != NULL);
    if (!j)
        return;
    struct vocab *v = open_golden(json_string_value(json_object_get(j, "vocab")),
                                  json_string_value(json_object_get(j, "pre")));
    CHECK(v != NULL);
    json_array_foreach(json_object_get(j, "cases"), i, c) {
        const json_t *t = json_object_get(c, "text"), *ids = json_object_get(c, "ids");
        const json_t *special = json_object_get(c, "ids_special");
        if (!v)
            break;
        bool plain = agrees(v, json_string_value(t), json_string_length(t), false, ids);
        bool parsed = agrees(v, json_string_value(t), json_string_length(t), true, special ? special : ids);
        if (!plain || !parsed)
            printf("# %s case %zu: plain %d, special %d\n", path, i, plain, parsed);
        CHECK(plain && parsed);
        if (vocab_family(v) != VOCAB_WORDPIECE) /* which forgets case, accents and spaces */
            check_stream(v, json_string_value(t), json_string_length(t));
        ++*cases;
    }
    vocab_free(v);
    json_decref(j);
}

static void golden_ids_agree(void)
{
    char folder[512], path[1024];
    int cases = 0;
    DIR *d = shared_path(folder, sizeof(folder), "golden/tokens") ? opendir(folder) : NULL;
    if (!d)
        SKIP("golden data not present");
    for (struct dirent *x; (x = readdir(d));)
        if (strstr(x->d_name, ".json")) {
            snprintf(path, sizeof(path), "%s/%s", folder, x->d_name);
            check_golden_file(path, &cases);
        }
    closedir(d);
    printf("# %d cases\n", cases);
    CHECK(cases > 0);
}

static void random_bytes_come_back(void)
{
    struct vocab *v = open_golden("ggml-vocab-gpt-2.gguf", NULL);
    if (!v)
        SKIP("golden data not present");
    struct rng r = { .seed = 7 };
    for (int k = 0; k < 300; k++) {
        char bytes[256];
        size_t n = rng_below(&r, sizeof(bytes));
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)rng_next(&r);
        struct vocab_ids ids = { 0 };
        struct buf back = { 0 };
        struct err e;
        CHECK_INT(vocab_encode(v, bytes, n, true, &ids, &e), ERR_OK);
        vocab_decode(v, ids.v, ids.count, true, &back);
        CHECK(back.len == n && !memcmp(buf_str(&back), bytes, n));
        vocab_ids_release(&ids);
        buf_release(&back);
    }
    vocab_free(v);
}

/* A megabyte of the same thing, in every family and the rules that look furthest. */
static void hostile_text_takes_bounded_time(void)
{
    static const struct { const char *vocab, *pre; } kinds[] = {
        { "ggml-vocab-gpt-2.gguf", "llama-bpe" }, { "ggml-vocab-gpt-2.gguf", "deepseek-llm" },
        { "ggml-vocab-gpt-2.gguf", "afmoe" }, { "ggml-vocab-gpt-2.gguf", "jais-2" },
        { "ggml-vocab-llama-spm.gguf", NULL }, { "ggml-vocab-bert-bge.gguf", NULL },
    };
    static const char *const units[] = { "a", " ", "\xcc\x81", "9", "\n", "<", "A", "\xff" };
    size_t most = TW_TEST_SLOW ? 1 << 16 : 1 << 20;
    char *text = mem_new(most, 1);
    for (size_t k = 0; k < MEM_COUNT(kinds); k++) {
        struct vocab *v = open_golden(kinds[k].vocab, kinds[k].pre);
        if (!v) {
            mem_free(text);
            SKIP("golden data not present");
        }
        for (size_t u = 0; u < MEM_COUNT(units); u++) {
            struct vocab_ids ids = { 0 };
            struct err e;
            size_t n = u < 4 ? most : most / 8; /* the whole suite has minutes, not hours */
            for (size_t i = 0; i < n; i++)
                text[i] = units[u][i % strlen(units[u])];
            if (units[u][0] == ' ')
                text[n - 1] = 'x';
            int64_t start = clock_mono_ns();
            CHECK_INT(vocab_encode(v, text, n, true, &ids, &e), ERR_OK);
            double s = (double)(clock_mono_ns() - start) / 1e9;
            if (s > 5)
                printf("# %s %s unit %zu: %.1f s\n", kinds[k].vocab, kinds[k].pre ? kinds[k].pre : "", u, s);
            CHECK(s < 5);
            vocab_ids_release(&ids);
        }
        vocab_free(v);
    }
    mem_free(text);
}

static void loading_is_quick(void)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t start = clock_mono_ns();
        struct vocab *v = open_golden("ggml-vocab-deepseek-llm.gguf", NULL);
        if (!v)
            SKIP("golden data not present");
        int64_t t = clock_mono_ns() - start;
        best = t < best ? t : best;
        CHECK_INT(vocab_size(v), 102400);
        vocab_free(v);
    }
    printf("# 102400 tokens, 99757 merges: %.1f ms\n", (double)best / 1e6);
    CHECK(best < (TW_TEST_SLOW ? 3000 : 300) * (int64_t)1000000);
}

/* ---- on vocabularies of our own */

/* "1 2 3" of a text's ids. */
static const char *ids_of(const struct vocab *v, const char *text, bool special)
{
    static char out[1024];
    struct vocab_ids ids = { 0 };
    struct err e;
    out[0] = '\0';
    if (vocab_encode(v, text, strlen(text), special, &ids, &e))
        return "refused";
    for (size_t i = 0, at = 0; i < ids.count && at < sizeof(out) - 16; i++)
        at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%d", i ? " " : "", ids.v[i]);
    vocab_ids_release(&ids);
    return out;
}

static struct vocab *tiny_vocab_of(const struct tiny *t)
{
    struct vocab *v = NULL;
    struct err e;
    if (tiny_open(t, &v, &e))
        printf("# %s\n", e.text);
    CHECK(v != NULL);
    return v;
}

static struct tiny tiny; /* too large for a stack frame */

static void merges_go_by_rank(void)
{
    tiny_bpe(&tiny, "gpt-2");
    struct vocab *v = tiny_vocab_of(&tiny);
    CHECK_STR(ids_of(v, "hello", false), "259");     /* he, ll, hell, hello */
    CHECK_STR(ids_of(v, "hell", false), "258");
    CHECK_STR(ids_of(v, "lll", false), "257 108");   /* the leftmost pair first */
    CHECK_STR(ids_of(v, "aaaaa", false), "260 260 97");
    CHECK_STR(ids_of(v, "\xff", false), "255");      /* not UTF-8, and kept */
    CHECK_STR(ids_of(v, "", false), "");
    CHECK_INT(vocab_find(v, "hello", 5), 259);
    CHECK_INT(vocab_find(v, "hallo", 5), -1);
    CHECK_INT(vocab_bos(v), -1);
    CHECK(!vocab_add_bos(v));
    vocab_free(v);
}

static void special_tokens_are_found_longest_first(void)
{
    tiny_bpe(&tiny, "gpt-2");
    struct vocab *v = tiny_vocab_of(&tiny);
    CHECK_STR(ids_of(v, "a<|endoftext|>a", true), "97 262 97");
    CHECK_STR(ids_of(v, "<|im_end|>", true), "263");
    CHECK_STR(ids_of(v, "<u><u><u>", true), "265 264");
    CHECK_STR(ids_of(v, "<u><u><u>", false), "265 264"); /* user-defined ones always */
    CHECK(strcmp(ids_of(v, "<|im_end|>", false), "263") != 0);
    CHECK(vocab_is_end(v, 262) && vocab_is_end(v, 263) && !vocab_is_end(v, 264) && !vocab_is_end(v, -1));
    CHECK_INT(vocab_eot(v), 263);
    CHECK_INT(vocab_kind(v, 264), VOCAB_USER);
    CHECK_INT(vocab_kind(v, 263), VOCAB_CONTROL);
    CHECK_STR(ids_of(v, "a <mask> a", true), "97 32 266 32 97");
    vocab_free(v);
    tiny.pre = "jina-v2-es"; /* its <mask> takes the spaces before it along */
    v = tiny_vocab_of(&tiny);
    CHECK_STR(ids_of(v, "a \n<mask> a", true), "97 266 32 97");
    vocab_free(v);
    tiny.pre = "gpt-2";
    tiny.name = "Phi-3 mini"; /* its special tokens take those after them, but for <|endoftext|> */
    v = tiny_vocab_of(&tiny);
    CHECK_STR(ids_of(v, "<|im_end|> \na<|endoftext|> a", true), "263 97 262 32 97");
    vocab_free(v);
}

static void sentencepiece_joins_by_score(void)
{
    tiny_spm(&tiny);
    struct vocab *v = tiny_vocab_of(&tiny);
    /* ids: 259 is the space, then a b c ab bc abc _ab e-acute, two spaces; 269 is <tool> */
    CHECK_STR(ids_of(v, "abc", false), "259 265");     /* bc first, then a with it */
    CHECK_STR(ids_of(v, "ab", false), "266");
    CHECK_STR(ids_of(v, "cab", false), "259 262 263");
    CHECK_STR(ids_of(v, "\xc3\xa9x", false), "259 267 123"); /* 'x' is 0x78: 3 + 120 */
    CHECK_STR(ids_of(v, "a<tool>a", false), "259 260 269 259 260"); /* after a special token the space again */
    CHECK_STR(ids_of(v, "</s>", true), "2");
    CHECK_STR(ids_of(v, "\xff", false), "259 258");
    CHECK(vocab_add_bos(v) && vocab_bos(v) == 1 && vocab_eos(v) == 2 && vocab_is_end(v, 2));
    struct buf out = { 0 };
    static const int32_t ids[] = { 1, 266, 259, 260, 2 };
    vocab_decode(v, ids, 5, false, &out);
    CHECK_STR(buf_str(&out), "ab a");
    buf_release(&out);
    vocab_free(v);
}

/* A token with a space inside, which never occurs, makes the encoder join whole texts at once. */
static void joining_word_by_word_changes_nothing(void)
{
    static const char *const pieces[] = { "a", "b", "c", "ab", "abc", " ", "  ", "\xc3\xa9", "\n", "x", "<tool>", "\xe2\x96\x81" };
    tiny_spm(&tiny);
    struct vocab *apart = tiny_vocab_of(&tiny);
    tiny_add(&tiny, "q\xe2\x96\x81q", VOCAB_NORMAL, -1);
    struct vocab *whole = tiny_vocab_of(&tiny);
    struct rng r = { .seed = 11 };
    for (int k = 0; k < 2000; k++) {
        char text[256] = "", want[1024];
        for (uint64_t n = rng_below(&r, 30), at = 0; n > 0; n--)
            at += (uint64_t)snprintf(text + at, sizeof(text) - at, "%s", pieces[rng_below(&r, MEM_COUNT(pieces))]);
        snprintf(want, sizeof(want), "%s", ids_of(whole, text, true));
        CHECK_STR(ids_of(apart, text, true), want);
    }
    CHECK_STR(ids_of(whole, "q q", false), "259 116 259 116"); /* q alone is a byte: nothing joins up to the token */
    vocab_free(apart);
    vocab_free(whole);
}

static void wordpiece_takes_the_longest(void)
{
    tiny_wordpiece(&tiny);
    struct vocab *v = tiny_vocab_of(&tiny);
    CHECK_STR(ids_of(v, "ABbc", false), "5 7");
    CHECK_STR(ids_of(v, "a,ab", false), "4 8 5");
    CHECK_STR(ids_of(v, "\xc3\x89\xc3\xa9", false), "9 10"); /* E and e with acute accents */
    CHECK_STR(ids_of(v, "abx a", false), "1 4");
    CHECK_STR(ids_of(v, "a\xe4\xb8\xad\001a", false), "4 11 4");
    CHECK(vocab_add_sep(v) && vocab_bos(v) == 2 && vocab_sep(v) == 3 && vocab_unk(v) == 1);
    vocab_free(v);
}

static void streams_hold_back_half_characters(void)
{
    tiny_bpe(&tiny, "gpt-2");
    struct vocab *v = tiny_vocab_of(&tiny);
    static const struct { const char *bytes; const char *after[6], *end; } cases[] = {
        { "\xf0\x9f\x91\x8d!", { "", "", "", "\xf0\x9f\x91\x8d", "\xf0\x9f\x91\x8d!" }, "\xf0\x9f\x91\x8d!" },
        { "\xe4\270a", { "", "", "\xef\xbf\275a" }, "\xef\xbf\275a" },
        { "\xff\x80", { "\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd" }, "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xed\xa0", { "", "\xef\xbf\xbd\xef\xbf\xbd" }, "\xef\xbf\xbd\xef\xbf\xbd" }, /* never a surrogate */
        { "\xc3", { "" }, "\xef\xbf\xbd" },
    };
    for (size_t k = 0; k < MEM_COUNT(cases); k++) {
        struct vocab_stream s = { 0 };
        struct buf out = { 0 };
        for (size_t i = 0; cases[k].bytes[i]; i++) {
            vocab_stream_push(&s, v, (unsigned char)cases[k].bytes[i], false, &out);
            CHECK_STR(buf_str(&out), cases[k].after[i]);
        }
        vocab_stream_finish(&s, &out);
        CHECK_STR(buf_str(&out), cases[k].end);
        buf_release(&out);
    }
    vocab_free(v);
}

static void wrong_files_are_refused(void)
{
    struct vocab *v = NULL;
    struct err e;
    tiny_bpe(&tiny, "gpt-7");
    CHECK_INT(tiny_open(&tiny, &v, &e), ERR_UNSUPPORTED);
    CHECK(strstr(e.text, "'gpt-7'") && strstr(e.text, "llama-bpe") && strstr(e.text, "sarvam-moe"));
    tiny_bpe(&tiny, "gpt-2");
    tiny.no_merges = true;
    CHECK_INT(tiny_open(&tiny, &v, &e), ERR_CORRUPT);
    CHECK(strstr(e.text, "tokenizer.ggml.merges") != NULL);
    tiny.no_merges = false;
    tiny.short_types = true;
    CHECK_INT(tiny_open(&tiny, &v, &e), ERR_CORRUPT);
    CHECK(strstr(e.text, "tokenizer.ggml.token_type") != NULL);
    tiny.short_types = false;
    tiny.model = "rwkv";
    CHECK_INT(tiny_open(&tiny, &v, &e), ERR_UNSUPPORTED);
    CHECK(strstr(e.text, "'rwkv'") != NULL);
    CHECK(v == NULL);
}

int main(void)
{
    RUN(golden_ids_agree);
    RUN(random_bytes_come_back);
    RUN(hostile_text_takes_bounded_time);
    RUN(loading_is_quick);
    RUN(merges_go_by_rank);
    RUN(special_tokens_are_found_longest_first);
    RUN(sentencepiece_joins_by_score);
    RUN(joining_word_by_word_changes_nothing);
    RUN(wordpiece_takes_the_longest);
    RUN(streams_hold_back_half_characters);
    RUN(wrong_files_are_refused);
    DONE();
}
