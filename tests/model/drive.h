/* drive -- feeds a list of ids through a model the way an engine would: chunks, companions, threads. */
#ifndef TESTS_MODEL_DRIVE_H
#define TESTS_MODEL_DRIVE_H
#include "base/assert.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/model.h"

struct drive {
    const struct model *m;
    int threads, chunk, companions;
    bool fewer; /* another number of the threads takes part in each step */
    int every; /* logits of each every-th position only, the others' are left as they are; 0: of all */
    /* Once work and pages are there (the first of `pages` at block); NULL: nothing to prepare. */
    void (*prepare)(void *arg, struct model_work *w, const unsigned char *block, int pages);
    void *arg;
};

/* logits [n][vocab]. The sequence sits behind its companions, which begin at other positions than it does. */
static inline void drive(const struct drive *d, const int32_t *ids, int n, float *logits)
{
    enum { LEAD = 5 }; /* companions are that many positions ahead */
    int vocab = model_facts(d->m)->vocab, seqs = d->companions + 1;
    int pages_each = (n + LEAD) / KERN_PAGE_TOKENS + 1;
    size_t page = model_kv_page_bytes(d->m), bytes = (size_t)seqs * (size_t)pages_each * page;
    unsigned char *block = mem_aligned(bytes), **pages = mem_new((size_t)(seqs * pages_each), sizeof *pages);
    for (int i = 0; i < seqs * pages_each; i++)
        pages[i] = block + (size_t)i * page;
    struct pool *pool = pool_new(d->threads);
    int rows_max = d->chunk * seqs + d->companions * LEAD;
    struct model_work *w = model_work_new(d->m, pool, rows_max, d->chunk);
    if (d->prepare)
        d->prepare(d->arg, w, block, seqs * pages_each);
    int32_t *tokens = mem_new((size_t)rows_max, sizeof *tokens), *wanted = mem_new((size_t)d->chunk, sizeof *wanted);
    struct model_run *runs = mem_new((size_t)seqs, sizeof *runs);
    for (int pos = 0; pos < n; pos += d->chunk) {
        int rows = n - pos < d->chunk ? n - pos : d->chunk, at = 0;
        for (int s = 0; s < seqs; s++) {
            bool own = s == seqs - 1;
            int first = own || pos == 0 ? pos : pos + LEAD, count = own || pos ? rows : rows + LEAD;
            runs[s] = (struct model_run){ .rows = count, .pos_first = first, .pages = pages + s * pages_each };
            for (int i = 0; i < count; i++)
                tokens[at++] = own ? ids[pos + i]
                                   : (int32_t)(rng_unit(77, (uint64_t)s << 32 | (uint64_t)(first + i)) * vocab);
        }
        int count = 0;
        for (int i = 0; i < rows; i++)
            if (!d->every || (pos + i) % d->every == 0)
                wanted[count++] = at - rows + i;
        struct model_batch b = { .rows = at, .tokens = tokens, .runs = runs, .run_count = seqs, .logit_rows = wanted,
                                 .logit_count = count };
        if (d->fewer)
            pool_limit(pool, 1 + pos / d->chunk % d->threads);
        const float *got = model_forward(d->m, w, &b);
        for (int i = 0; i < count; i++)
            memcpy(logits + (size_t)(pos + wanted[i] - (at - rows)) * (size_t)vocab, got + (size_t)i * (size_t)vocab,
                   (size_t)vocab * sizeof(float));
    }
    model_work_free(w);
    pool_free(pool);
    mem_free(runs);
    mem_free(wanted);
    mem_free(tokens);
    mem_free(pages);
    mem_aligned_free(block, bytes);
}
#endif
