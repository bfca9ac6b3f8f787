/* fuzz model -- any bytes: either refused with a sentence, or a model that loads and takes a step. */
#include "base/mem.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS = 3 };

static void take_a_step(const struct model *m, struct pool *pool)
{
    size_t bytes = model_kv_page_bytes(m);
    unsigned char *page = mem_aligned(bytes), *pages[] = { page };
    int vocab = model_facts(m)->vocab;
    int32_t tokens[ROWS] = { 0, vocab - 1, vocab / 2 }, wanted[] = { 0 };
    int rows = model_ctx(m) < ROWS ? 1 : ROWS;
    struct model_run run = { .rows = rows, .pages = pages };
    struct model_batch b = { .rows = rows, .tokens = tokens, .runs = &run, .run_count = 1, .logit_rows = wanted,
                             .logit_count = model_facts(m)->causal, .state_rows = wanted,
                             .state_count = !model_facts(m)->causal };
    struct model_work *w = model_work_new(m, pool, ROWS, 1);
    model_forward(m, w, &b);
    model_work_free(w);
    mem_aligned_free(page, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kern_table kern;
    static struct pool *pool;
    struct gguf_file *f;
    struct model *m;
    struct err e = { 0 };
    if (!pool) {
        kern_table_fill(&kern, kern_isa_detect(KERN_AMX));
        pool = pool_new(1);
    }
    if (gguf_open_memory(data, size, &f, &e))
        return 0;
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_F16 };
    if (model_load(f, &o, pool, &m, &e)) {
        if (!e.text[0] || !e.code)
            __builtin_trap();
    } else {
        take_a_step(m, pool);
        model_free(m);
    }
    gguf_close(f);
    return 0;
}
