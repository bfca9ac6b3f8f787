/* fuzz gguf -- any bytes: either refused with a sentence, or every key and every tensor byte may be read. */
#include "base/mem.h"
#include "gguf/gguf.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ITEMS_READ = 64 };

static void read_value(const struct gguf_value *v)
{
    enum gguf_kind kind;
    size_t count;
    int64_t i;
    bool b;
    double d;
    struct gguf_str s;
    volatile char sink = 0;
    gguf_value_int(v, &i);
    gguf_value_bool(v, &b);
    gguf_value_double(v, &d);
    if (gguf_value_string(v, &s) && s.len)
        sink ^= s.data[s.len - 1];
    if (!gguf_value_array(v, &kind, &count))
        return;
    for (size_t k = 0; k < count && k < ITEMS_READ; k++) {
        size_t at = k & 1 ? count - 1 - k : k; /* both ends */
        gguf_array_int(v, at, &i);
        gguf_array_double(v, at, &d);
        if (gguf_array_string(v, at, &s) && s.len)
            sink ^= s.data[s.len - 1];
    }
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf_file *f;
    struct err e = { 0 };
    if (gguf_open_memory(data, size, &f, &e)) {
        if (!e.text[0] || !e.code)
            __builtin_trap(); /* a refusal without a sentence */
        return 0;
    }
    for (int i = 0; i < gguf_key_count(f); i++)
        read_value(gguf_key_value(f, i));
    for (int i = 0; i < gguf_tensor_count(f); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f, i);
        volatile unsigned char sink = 0;
        if (t->bytes)
            sink = (unsigned char)(((const unsigned char *)t->data)[0] ^ ((const unsigned char *)t->data)[t->bytes - 1]);
        (void)sink;
    }
    char *name;
    if (!gguf_get_string_or_null(f, "general.name", &name, &e))
        mem_free(name);
    gguf_close(f);
    return 0;
}
