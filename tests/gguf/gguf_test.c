/* gguf_test -- what a writer wrote is read back; hostile headers are refused with the right sentence; the
 * golden models and vocabularies (made by the reference implementation's writer) are read as they are. */
#include "../test.h"
#include "../shared.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "gguf/gguf.h"
#include "gguf/write.h"

#include <dirent.h>

static struct gguf_str str(const char *s)
{
    return (struct gguf_str){ s, strlen(s) };
}

/* Tensor x: F32 [4][3]; tensor y: Q8_0 [32]. */
static void write_small(struct buf *out)
{
    struct err e = { 0 };
    struct gguf_writer *w = gguf_writer_new();
    struct gguf_str words[] = { str("a"), str(""), str("gamma") };
    const int16_t numbers[] = { -5, 7 };
    const float x[12] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
    const unsigned char y[34] = { 1, 2, 3 };
    gguf_writer_string(w, "general.architecture", "llama");
    gguf_writer_u32(w, "n", 42);
    gguf_writer_u64(w, "huge", UINT64_MAX);
    gguf_writer_f32(w, "f", 0.5f);
    gguf_writer_bool(w, "b", true);
    gguf_writer_strings(w, "words", words, 3);
    gguf_writer_array(w, "numbers", GGUF_I16, numbers, 2);
    gguf_writer_tensor(w, str("x"), KERN_F32, 2, (const uint64_t[]){ 4, 3 });
    gguf_writer_tensor(w, str("y"), KERN_Q8_0, 1, (const uint64_t[]){ 32 });
    CHECK_INT(gguf_writer_start_buf(w, out, &e), ERR_OK);
    CHECK_INT(gguf_writer_data(w, x, 20, &e), ERR_OK);
    CHECK_INT(gguf_writer_data(w, (const char *)x + 20, 28, &e), ERR_OK);
    CHECK_INT(gguf_writer_data(w, y, sizeof y, &e), ERR_OK);
    CHECK_INT(gguf_writer_finish(w, &e), ERR_OK);
    gguf_writer_free(w);
}

static void reads_what_was_written(void)
{
    struct buf b = { 0 };
    struct err e = { 0 };
    struct gguf_file *f;
    write_small(&b);
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    int64_t i;
    double d;
    bool t;
    struct gguf_str s;
    enum gguf_kind kind;
    size_t count;
    CHECK_INT(gguf_get_int(f, "n", 0, 100, &i, &e), ERR_OK);
    CHECK_INT(i, 42);
    CHECK_INT(gguf_get_double_or(f, "f", 0, &d, &e), ERR_OK);
    CHECK_NEAR(d, 0.5, 0);
    CHECK_INT(gguf_get_bool_or(f, "b", false, &t, &e), ERR_OK);
    CHECK(t);
    CHECK(!gguf_value_int(gguf_find(f, "huge"), &i));
    CHECK(gguf_value_array(gguf_find(f, "words"), &kind, &count) && kind == GGUF_STRING && count == 3);
    CHECK(gguf_array_string(gguf_find(f, "words"), 2, &s) && s.len == 5 && !memcmp(s.data, "gamma", 5));
    CHECK(!gguf_array_string(gguf_find(f, "words"), 3, &s));
    CHECK(gguf_array_int(gguf_find(f, "numbers"), 0, &i));
    CHECK_INT(i, -5);
    const struct gguf_tensor *x = gguf_tensor_find(f, "x"), *y = gguf_tensor_find(f, "y");
    CHECK(x && x->dims == 2 && x->ne[0] == 4 && x->ne[1] == 3 && x->ne[2] == 1 && x->bytes == 48);
    CHECK(x && ((const float *)x->data)[11] == 12.0f);
    CHECK(y && y->type == KERN_Q8_0 && y->bytes == 34 && ((const unsigned char *)y->data)[2] == 3);
    CHECK(!gguf_tensor_find(f, "z") && !gguf_find(f, "nn"));
    gguf_close(f);
    buf_release(&b);
}

static void keys_are_refused_by_name(void)
{
    struct buf b = { 0 };
    struct err e = { 0 };
    struct gguf_file *f;
    int64_t i = 77;
    char *s;
    write_small(&b);
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    CHECK_INT(gguf_get_int(f, "m", 0, 9, &i, &e), ERR_NOT_FOUND);
    CHECK_STR(e.text, "memory: key 'm' is missing");
    CHECK_INT(gguf_get_int(f, "n", 0, 9, &i, &e), ERR_CORRUPT);
    CHECK_STR(e.text, "memory: key 'n' is 42, outside 0..9");
    CHECK_INT(gguf_get_int(f, "words", 0, 9, &i, &e), ERR_CORRUPT);
    CHECK_INT(gguf_get_string_or_null(f, "n", &s, &e), ERR_CORRUPT);
    CHECK_INT(i, 77);
    CHECK_INT(gguf_get_string_or_null(f, "absent", &s, &e), ERR_OK);
    CHECK(s == NULL);
    CHECK_INT(gguf_get_int_or(f, "absent", 0, 9, 5, &i, &e), ERR_OK);
    CHECK_INT(i, 5);
    gguf_close(f);
    buf_release(&b);
}

/* ---- hostile headers, made by hand */

static void head(struct buf *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    buf_clear(b);
    buf_append(b, "GGUF", 4);
    buf_put_u32(b, version);
    buf_put_u64(b, tensors);
    buf_put_u64(b, keys);
}

static void put_name(struct buf *b, const char *s)
{
    buf_put_u64(b, strlen(s));
    buf_puts(b, s);
}

static void put_tensor(struct buf *b, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset)
{
    put_name(b, name);
    buf_put_u32(b, 2);
    buf_put_u64(b, ne0);
    buf_put_u64(b, ne1);
    buf_put_u32(b, type);
    buf_put_u64(b, offset);
}

static void refused(struct buf *b, enum err_code code, const char *part)
{
    struct gguf_file *f = NULL;
    struct err e = { 0 };
    CHECK_INT(gguf_open_memory(b->data ? b->data : "", b->len, &f, &e), code);
    CHECK(f == NULL);
    if (!strstr(e.text, part)) {
        printf("# said: %s\n# wanted: %s\n", e.text, part);
        CHECK(!"the sentence names it");
    }
    if (f)
        gguf_close(f);
}

static void refuses_foreign_files(void)
{
    struct buf b = { 0 };
    refused(&b, ERR_CORRUPT, "does not begin with");
    buf_puts(&b, "GGML and more bytes");
    refused(&b, ERR_CORRUPT, "does not begin with");
    head(&b, 1, 0, 0);
    refused(&b, ERR_UNSUPPORTED, "GGUF version 1");
    head(&b, 0x03000000, 0, 0);
    refused(&b, ERR_UNSUPPORTED, "big-endian");
    head(&b, 4, 0, 0);
    refused(&b, ERR_UNSUPPORTED, "GGUF version 4");
    head(&b, 3, 0, UINT64_MAX);
    refused(&b, ERR_LIMIT, "keys");
    head(&b, 3, UINT64_MAX, 0);
    refused(&b, ERR_LIMIT, "tensors");
    head(&b, 3, 0, 60000);
    refused(&b, ERR_CORRUPT, "the file ends inside the keys");
    buf_release(&b);
}

static void refuses_bad_values(void)
{
    struct buf b = { 0 };
    head(&b, 3, 0, 1);
    put_name(&b, "k");
    buf_put_u32(&b, 13);
    buf_put_u64(&b, 0);
    refused(&b, ERR_CORRUPT, "key 'k': a value of unknown kind 13");
    head(&b, 3, 0, 1); /* a string that says it is longer than the file */
    put_name(&b, "k");
    buf_put_u32(&b, GGUF_STRING);
    buf_put_u64(&b, UINT64_MAX - 3);
    refused(&b, ERR_CORRUPT, "ends inside a string");
    head(&b, 3, 0, 1); /* count * size overflows */
    put_name(&b, "k");
    buf_put_u32(&b, GGUF_ARRAY);
    buf_put_u32(&b, GGUF_U64);
    buf_put_u64(&b, (UINT64_MAX >> 3) + 2);
    refused(&b, ERR_CORRUPT, "ends inside an array");
    head(&b, 3, 0, 1); /* nests too deep */
    put_name(&b, "k");
    buf_put_u32(&b, GGUF_ARRAY);
    for (int i = 0; i < 6; i++) {
        buf_put_u32(&b, GGUF_ARRAY);
        buf_put_u64(&b, 1);
    }
    refused(&b, ERR_LIMIT, "nest deeper");
    head(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_name(&b, "k");
        buf_put_u32(&b, GGUF_U8);
        buf_putc(&b, 1);
    }
    buf_puts(&b, "padding that is long enough");
    refused(&b, ERR_CORRUPT, "key 'k' stands twice");
    head(&b, 3, 0, 1);
    put_name(&b, "b");
    buf_put_u32(&b, GGUF_BOOL);
    buf_putc(&b, 2);
    refused(&b, ERR_CORRUPT, "truth value is the byte 2");
    head(&b, 3, 0, 1);
    put_name(&b, "general.alignment");
    buf_put_u32(&b, GGUF_U32);
    buf_put_u32(&b, 24);
    refused(&b, ERR_CORRUPT, "'general.alignment' is 24");
    buf_release(&b);
}

static void refuses_bad_tensors(void)
{
    struct buf b = { 0 };
    static const char zeros[256];
    head(&b, 3, 1, 0);
    put_tensor(&b, "t", 8, 1, 99, 0);
    refused(&b, ERR_UNSUPPORTED, "tensor 't' is of type 99 (unknown)");
    head(&b, 3, 1, 0);
    put_tensor(&b, "t", 256, 1, 16, 0);
    refused(&b, ERR_UNSUPPORTED, "tensor 't' is of type 16 (IQ2_XXS)");
    head(&b, 3, 1, 0);
    put_tensor(&b, "t", 48, 1, KERN_Q4_0, 0);
    refused(&b, ERR_CORRUPT, "do not divide into Q4_0 blocks");
    head(&b, 3, 1, 0);
    put_tensor(&b, "t", 0, 4, KERN_F32, 0);
    refused(&b, ERR_CORRUPT, "impossible dimension");
    head(&b, 3, 1, 0);
    put_tensor(&b, "t", UINT64_MAX, 2, KERN_F32, 0);
    refused(&b, ERR_CORRUPT, "impossible dimension");
    head(&b, 3, 1, 0);
    put_tensor(&b, "t", INT32_MAX, INT32_MAX, KERN_F32, 0);
    refused(&b, ERR_CORRUPT, "ends before its tensor data");
    head(&b, 3, 1, 0);
    put_tensor(&b, "t", 8, 1, KERN_F32, 8);
    buf_append(&b, zeros, sizeof zeros);
    refused(&b, ERR_CORRUPT, "multiple of 32");
    head(&b, 3, 1, 0);
    put_tensor(&b, "t", 8, 1, KERN_F32, UINT64_MAX - 31);
    buf_append(&b, zeros, sizeof zeros);
    refused(&b, ERR_CORRUPT, "past the end");
    head(&b, 3, 2, 0);
    put_tensor(&b, "t", 16, 1, KERN_F32, 0);
    put_tensor(&b, "u", 8, 1, KERN_F32, 32);
    buf_append(&b, zeros, sizeof zeros);
    refused(&b, ERR_CORRUPT, "'t' and 'u' overlap");
    head(&b, 3, 2, 0);
    put_tensor(&b, "t", 8, 1, KERN_F32, 0);
    put_tensor(&b, "t", 8, 1, KERN_F32, 32);
    buf_append(&b, zeros, sizeof zeros);
    refused(&b, ERR_CORRUPT, "tensor 't' stands twice");
    buf_release(&b);
}

/* Every prefix of a good file is refused, except from where the last tensor is whole. */
static void refuses_every_cut(void)
{
    struct buf b = { 0 };
    write_small(&b);
    for (size_t n = 0; n < b.len; n++) {
        struct gguf_file *f = NULL;
        struct err e = { 0 };
        char *copy = mem_dup(b.data, n); /* so that a sanitizer sees a read past n */
        enum err_code c = gguf_open_memory(copy, n, &f, &e);
        bool whole = n + 32 - 34 % 32 >= b.len; /* only padding is gone */
        CHECK(whole || (c == ERR_CORRUPT && !f));
        if (f)
            gguf_close(f);
        mem_free(copy);
    }
    buf_release(&b);
}

static void writes_files_and_cleans_up(void)
{
    struct err e = { 0 };
    struct gguf_file *f;
    char path[64];
    snprintf(path, sizeof path, "/tmp/gguf_test.%d", (int)getpid());
    struct gguf_writer *w = gguf_writer_new();
    gguf_writer_u32(w, "n", 7);
    gguf_writer_tensor(w, str("t"), KERN_F32, 1, (const uint64_t[]){ 2 });
    CHECK_INT(gguf_writer_start(w, path, &e), ERR_OK);
    CHECK(access(path, F_OK) != 0); /* not there before it is whole */
    CHECK_INT(gguf_writer_data(w, (const float[]){ 1, 2 }, 8, &e), ERR_OK);
    CHECK_INT(gguf_writer_finish(w, &e), ERR_OK);
    gguf_writer_free(w);
    CHECK_INT(gguf_open(path, &f, &e), ERR_OK);
    CHECK_INT(gguf_file_bytes(f) % 32, 0);
    gguf_drop_pages(f);
    CHECK(((const float *)gguf_tensor_find(f, "t")->data)[1] == 2.0f);
    gguf_close(f);
    unlink(path);
    w = gguf_writer_new();
    gguf_writer_u32(w, "", 7);
    CHECK_INT(gguf_writer_start(w, path, &e), ERR_INVALID);
    gguf_writer_free(w);
    CHECK(access(path, F_OK) != 0);
    CHECK_INT(gguf_open("/nowhere/x.gguf", &f, &e), ERR_IO);
    CHECK_INT(gguf_open("/tmp", &f, &e), ERR_INVALID);
}

static void reads_the_golden_files(void)
{
    static const char *const folders[] = { "golden/models", "golden/vocabs", "golden/embeddings" };
    char path[512];
    int seen = 0;
    if (!shared_path(path, sizeof path, ""))
        SKIP("no golden data");
    for (int k = 0; k < 3; k++) {
        DIR *d = opendir(shared_path(path, sizeof path, folders[k]));
        CHECK(d != NULL);
        for (struct dirent *x; d && (x = readdir(d));) {
            struct gguf_file *f;
            struct err e = { 0 };
            char file[1024];
            if (!strstr(x->d_name, ".gguf"))
                continue;
            snprintf(file, sizeof file, "%s/%s", path, x->d_name);
            enum err_code c = gguf_open(file, &f, &e);
            if (c)
                printf("# %s\n", e.text);
            CHECK_INT(c, ERR_OK);
            if (c)
                continue;
            struct gguf_str s;
            CHECK(gguf_value_string(gguf_find(f, "general.architecture"), &s) && s.len > 2);
            gguf_close(f);
            seen++;
        }
        if (d)
            closedir(d);
    }
    CHECK(seen > 30);
}

/* Facts read with the gguf package of Python from golden/models/llama.gguf. */
static void reads_llama_as_others_do(void)
{
    char path[512];
    struct gguf_file *f;
    struct err e = { 0 };
    int64_t i;
    if (!shared_path(path, sizeof path, "golden/models/llama.gguf"))
        SKIP("no golden data");
    CHECK_INT(gguf_open(path, &f, &e), ERR_OK);
    CHECK_INT(gguf_version(f), 3);
    CHECK_INT(gguf_tensor_count(f), 30);
    CHECK_INT(gguf_get_int(f, "llama.feed_forward_length", 0, 4096, &i, &e), ERR_OK);
    CHECK_INT(i, 320);
    const struct gguf_tensor *t = gguf_tensor_find(f, "blk.1.ffn_down.weight");
    CHECK(t && t->type == KERN_F16 && t->dims == 2 && t->ne[0] == 320 && t->ne[1] == 128);
    gguf_close(f);
}

/* A hundred and fifty thousand strings open at once: a vocabulary must not cost seconds. */
static void opens_large_vocabularies_fast(void)
{
    enum { WORDS = 150000 };
    struct gguf_str *words = mem_new(WORDS, sizeof *words);
    struct buf b = { 0 };
    struct err e = { 0 };
    struct gguf_file *f;
    for (int i = 0; i < WORDS; i++)
        words[i] = str("a word");
    struct gguf_writer *w = gguf_writer_new();
    gguf_writer_strings(w, "tokenizer.ggml.tokens", words, WORDS);
    CHECK_INT(gguf_writer_start_buf(w, &b, &e), ERR_OK);
    CHECK_INT(gguf_writer_finish(w, &e), ERR_OK);
    gguf_writer_free(w);
    int64_t start = clock_mono_ns();
    CHECK_INT(gguf_open_memory(b.data, b.len, &f, &e), ERR_OK);
    CHECK(clock_mono_ns() - start < 1000000000);
    struct gguf_str s;
    CHECK(gguf_array_string(gguf_find(f, "tokenizer.ggml.tokens"), WORDS - 1, &s) && s.len == 6);
    gguf_close(f);
    buf_release(&b);
    mem_free(words);
}

int main(void)
{
    RUN(reads_what_was_written);
    RUN(keys_are_refused_by_name);
    RUN(refuses_foreign_files);
    RUN(refuses_bad_values);
    RUN(refuses_bad_tensors);
    RUN(refuses_every_cut);
    RUN(writes_files_and_cleans_up);
    RUN(reads_the_golden_files);
    RUN(reads_llama_as_others_do);
    RUN(opens_large_vocabularies_fast);
    DONE();
}
