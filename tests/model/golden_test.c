/* golden_test -- every golden model against the reference engine's logits, on every rung of this machine; and the
 * same bits whatever the chunking, the company in the batch, the number of threads and the rung.
 *
 * Gates: normalised mean squared error over all 96 positions. The reference engine itself scores 0 to 4.5e-4 on
 * these files (shared/golden/README.md). */
#include "../test.h"
#include "../shared.h"
#include "base/buf.h"
#include "base/file.h"
#include "drive.h"

#ifndef TW_SANITIZED
#define TW_SANITIZED 0
#endif

enum { POSITIONS = 96, VOCAB = 320, IDS_MAX = 256 };

static const struct golden {
    const char *name;
    double gate;
} golden[] = {
    { "llama-f32", 1e-6 }, { "llama", 1e-6 }, { "llama-bf16", 3e-5 }, { "llama-256", 1e-6 },
    { "llama-linear", 1e-6 }, { "llama3-freqs", 1e-6 }, { "llama-moe", 1e-6 }, { "qwen2", 1e-6 },
    { "qwen3", 1e-6 }, { "qwen3moe", 1e-6 }, { "gemma2", 1e-6 }, { "gemma3", 1e-6 },
    { "phi3", 1e-6 }, { "olmo2", 1e-6 }, { "granite", 1e-6 }, { "smollm3", 1e-6 },
    { "glm4", 1e-6 }, { "gpt-oss", 6e-4 },
    { "llama-256-Q4_0", 2.2e-4 }, { "llama-256-Q4_1", 2.2e-4 }, { "llama-256-Q5_0", 2.2e-4 },
    { "llama-256-Q5_1", 2.2e-4 }, { "llama-256-Q8_0", 2.2e-4 }, { "llama-256-IQ4_NL", 2.2e-4 },
    { "llama-256-IQ4_XS", 4.7e-4 }, { "llama-256-Q2_K", 4.7e-4 }, { "llama-256-Q3_K", 4.7e-4 },
    { "llama-256-Q4_K", 4.7e-4 }, { "llama-256-Q5_K", 4.7e-4 }, { "llama-256-Q6_K", 4.7e-4 },
};

static const struct golden *current;
static int32_t ids[IDS_MAX];
static int id_count;
static float logits[POSITIONS * VOCAB], first_rung[POSITIONS * VOCAB], want[POSITIONS * VOCAB];

static bool read_truth(void)
{
    char path[512], rest[128];
    struct buf b = { 0 };
    struct err e = { 0 };
    if (!shared_path(path, sizeof path, "golden/models/tokens.txt") || file_read(path, 1 << 16, &b, &e))
        return false;
    id_count = 0;
    for (char *p = b.data, *end; id_count < IDS_MAX; p = end) {
        long v = strtol(p, &end, 10);
        if (end == p)
            break;
        ids[id_count++] = (int32_t)v;
    }
    buf_clear(&b);
    snprintf(rest, sizeof rest, "golden/models/%s.logits", current->name);
    bool ok = id_count == POSITIONS && !file_read(shared_path(path, sizeof path, rest), 1 << 20, &b, &e) &&
              b.len == sizeof want;
    if (ok)
        memcpy(want, b.data, sizeof want);
    buf_release(&b);
    return ok;
}

static double nmse(void)
{
    double error = 0, power = 0;
    for (int i = 0; i < POSITIONS * VOCAB; i++) {
        double d = (double)logits[i] - (double)want[i];
        error += d * d;
        power += (double)want[i] * (double)want[i];
    }
    return error / power;
}

/* The reference rung is slow: one variation over a few positions. The others share its bits. */
static void check_variations(const struct model *m, bool slow)
{
    static const struct drive how[] = {
        { .threads = 1, .chunk = 1 },
        { .threads = 3, .chunk = 7, .fewer = true },
        { .threads = 2, .chunk = 7, .companions = 3 },
        { .threads = 2, .chunk = 12, .every = 5 }, /* the last layer leaves rows out, */
        { .threads = 3, .chunk = 9, .companions = 1, .every = 16 }, /* of some steps all */
    };
    static float again[POSITIONS * VOCAB];
    int n = slow ? 14 : POSITIONS;
    for (size_t i = slow ? 2 : 0; i < MEM_COUNT(how); i++) {
        struct drive d = how[i];
        d.m = m;
        memcpy(again, logits, sizeof again);
        for (int p = 0; p < n; p += d.every ? d.every : 1)
            memset(again + p * VOCAB, 0xff, VOCAB * sizeof *again);
        drive(&d, ids, n, again);
        if (memcmp(again, logits, (size_t)n * VOCAB * sizeof(float))) {
            printf("# other bits: chunk %d, %d companions, %d threads\n", d.chunk, d.companions, d.threads);
            CHECK(!"the same bits");
        }
    }
}

static void check_rung(const struct gguf_file *f, enum kern_isa isa, bool first)
{
    struct kern_table kern;
    struct model *m;
    struct err e = { 0 };
    kern_table_fill(&kern, isa);
    struct pool *pool = pool_new(2);
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_F16 };
    enum err_code c = model_load(f, &o, pool, &m, &e);
    pool_free(pool);
    if (c) {
        printf("# %s\n", e.text);
        CHECK(!"the model loads");
        return;
    }
    CHECK_INT(model_facts(m)->vocab, VOCAB);
    drive(&(struct drive){ .m = m, .threads = 2, .chunk = POSITIONS }, ids, POSITIONS, logits);
    double error = nmse();
    printf("# %s %s: %.3g\n", current->name, kern.name, error);
    CHECK(error <= current->gate);
    if (first)
        memcpy(first_rung, logits, sizeof logits);
    CHECK(!memcmp(first_rung, logits, sizeof logits)); /* every rung returns the same bits */
    if (isa != KERN_REF || model_facts(m)->experts || kern_isa_detect(KERN_AMX) == KERN_REF)
        check_variations(m, isa == KERN_REF);
    model_free(m);
}

static void agrees_with_the_reference(void)
{
    char path[512], rest[128];
    struct gguf_file *f;
    struct err e = { 0 };
    if (!read_truth())
        SKIP("no golden data");
    snprintf(rest, sizeof rest, "golden/models/%s.gguf", current->name);
    CHECK_INT(gguf_open(shared_path(path, sizeof path, rest), &f, &e), ERR_OK);
    int best = (int)kern_isa_detect(KERN_AMX), first = TW_SANITIZED ? best : KERN_REF; /* sanitizers are slow */
    for (int isa = first; isa <= best; isa++)
        check_rung(f, (enum kern_isa)isa, isa == first);
    gguf_close(f);
}

/* What is not supported says so. */
static void refuses_other_architectures(void)
{
    char path[512];
    struct gguf_file *f;
    struct model_needs n;
    struct err e = { 0 };
    struct model_load_options o = { .kv_type = KERN_F16 };
    if (!shared_path(path, sizeof path, "golden/models/gemma4.gguf"))
        SKIP("no golden data");
    CHECK_INT(gguf_open(path, &f, &e), ERR_OK);
    CHECK_INT(model_measure(f, &o, 1, 1, &n, &e), ERR_UNSUPPORTED);
    CHECK(strstr(e.text, "architecture 'gemma4' is not supported") != NULL);
    gguf_close(f);
}

int main(void)
{
    for (size_t i = 0; i < MEM_COUNT(golden); i++) {
        current = &golden[i];
        RUN(agrees_with_the_reference);
    }
    RUN(refuses_other_architectures);
    DONE();
}
