/* draft_model -- see draft_model.h. */
#include "sched/draft_model.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

struct draft_model {
    const struct model *model;
    struct pool *pool;
    struct kv_pool *kv;
    struct model_work *work;
    struct sample_scratch *scratch;
    struct steptime *steptime;
    size_t kv_bytes;
    /* a pass */
    int32_t tokens[DRAFT_CATCH_UP], logit_rows[DRAFT_STREAMS_MAX];
    struct model_run runs[DRAFT_STREAMS_MAX];
};

struct draft_model *draft_model_new(const struct model *m, struct pool *pool, size_t kv_bytes)
{
    size_t page = model_kv_page_bytes(m), pages = kv_bytes / page;
    struct draft_model *d = MEM_NEW(struct draft_model);
    pages = pages < DRAFT_STREAMS_MAX ? DRAFT_STREAMS_MAX : pages;
    d->model = m;
    d->pool = pool;
    d->kv_bytes = pages * page;
    d->kv = kv_pool_new(page, (int)pages);
    kv_exclude_from_dumps(d->kv);
    d->work = model_work_new(m, pool, DRAFT_CATCH_UP, DRAFT_STREAMS_MAX);
    d->scratch = sample_scratch_new(model_facts(m)->vocab);
    d->steptime = steptime_new();
    return d;
}

void draft_model_free(struct draft_model *d)
{
    if (!d)
        return;
    model_work_free(d->work);
    sample_scratch_free(d->scratch);
    steptime_free(d->steptime);
    kv_pool_free(d->kv);
    mem_free(d);
}

size_t draft_model_kv_bytes(const struct draft_model *d)
{
    return d->kv_bytes;
}

void draft_reader_park(struct draft_reader *r)
{
    if (r->seq.tokens)
        seq_drop_pages(&r->seq);
    r->read = 0;
}

void draft_reader_release(struct draft_reader *r)
{
    seq_release(&r->seq);
    r->read = 0;
}

/* ---- following the text */

/* The reader's copy becomes the text; what it had guessed right it has read already. */
static void follow(struct draft_model *d, struct draft_reader *r, const struct seq *text)
{
    struct seq *s = &r->seq;
    if (!s->tokens)
        seq_init(s, d->kv, text->space, text->tokens, text->prompt, text->token_max);
    int same = s->computed;
    while (same < r->read && same < text->count && s->tokens[same] == text->tokens[same])
        same++;
    memcpy(s->tokens + same, text->tokens + same, (size_t)(text->count - same) * sizeof *s->tokens);
    s->count = text->count;
    r->read = same < text->count ? same : text->count - 1; /* the last one's logits are wanted */
    if (!s->page_count) {
        seq_adopt_prefix(s);
        r->read = s->computed;
    } else if (r->read > s->computed) { /* these are of the true text: others may share them */
        seq_computed(s, r->read);
    }
}

/* One pass: rows[i] more positions of each reader, logits of the last row of each that is then at its text's end. */
static const float *pass(struct draft_model *d, struct draft_wish *const *wishes, const int *rows, int count)
{
    struct model_batch batch = { .tokens = d->tokens, .runs = d->runs, .logit_rows = d->logit_rows };
    struct steptime_load load = { .prefill = 0 };
    for (int i = 0; i < count; i++) {
        struct draft_reader *r = wishes[i]->reader;
        memcpy(d->tokens + batch.rows, r->seq.tokens + r->read, (size_t)rows[i] * sizeof *d->tokens);
        d->runs[batch.run_count++] = (struct model_run){ .rows = rows[i], .pos_first = r->read,
                                                         .pages = r->seq.page_at };
        batch.rows += rows[i];
        load.batch += rows[i] == 1;
        load.prefill += rows[i] > 1 ? rows[i] : 0;
        r->read += rows[i];
        if (r->read == r->seq.count)
            d->logit_rows[batch.logit_count++] = batch.rows - 1;
    }
    int64_t start = clock_mono_ns();
    const float *logits = model_forward(d->model, d->work, &batch);
    steptime_learn(d->steptime, &load, (double)(clock_mono_ns() - start) / 1e6);
    return logits;
}

/* ---- guessing */

/* The next guess of a wish, from its row of logits. */
static void draw(struct draft_model *d, const struct draft_wish *w, const float *logits)
{
    struct seq *s = &w->reader->seq;
    struct infer_params plain = *w->sample.params;
    struct sample_input in = w->sample;
    struct infer_token t;
    plain.top_logprobs = -1;
    in.params = &plain;
    in.logits = logits;
    in.history = s->tokens;
    in.history_count = s->count;
    in.prompt_count = s->prompt;
    sample_token(&in, d->scratch, &t);
    s->tokens[s->count++] = t.id;
    w->out->ids[w->out->count++] = t.id;
}

/* Reads what there is to read, as far as time allows; returns the wishes whose readers have one row left, first. */
static int catch_up(struct draft_model *d, struct draft_wish **open, int count, double ms)
{
    int rows[DRAFT_STREAMS_MAX], ready = 0, n = 0, room = DRAFT_CATCH_UP;
    struct draft_wish *behind[DRAFT_STREAMS_MAX], *at_end[DRAFT_STREAMS_MAX];
    int fit = steptime_chunk_rows(steptime_fit(d->steptime), ms, 0, DRAFT_CATCH_UP);
    room = steptime_knows_prefill(d->steptime) && fit < room ? fit : room / 4;
    for (int i = 0; i < count; i++) {
        struct draft_reader *r = open[i]->reader;
        int left = r->seq.count - 1 - r->read;
        rows[n] = left < room ? left : room;
        room -= rows[n];
        if (rows[n] > 0)
            behind[n++] = open[i];
    }
    if (n)
        pass(d, behind, rows, n);
    for (int i = 0; i < n; i++)
        seq_computed(&behind[i]->reader->seq, behind[i]->reader->read);
    for (int i = 0; i < count; i++)
        if (open[i]->reader->read == open[i]->reader->seq.count - 1)
            at_end[ready++] = open[i];
    memcpy(open, at_end, (size_t)ready * sizeof *at_end);
    return ready;
}

void draft_model_guess(struct draft_model *d, struct draft_wish *wishes, int count, const struct draft_price *price)
{
    struct draft_wish *open[DRAFT_STREAMS_MAX];
    double chance[DRAFT_STREAMS_MAX];
    int rows[DRAFT_STREAMS_MAX], n = 0;
    ASSERT(count <= DRAFT_STREAMS_MAX);
    for (int i = 0; i < count; i++) {
        struct draft_wish *w = &wishes[i];
        w->out->count = 0;
        follow(d, w->reader, w->text);
        if (w->most > 0 && seq_reserve(&w->reader->seq, w->text->count + w->most - 1))
            open[n++] = w;
        else
            draft_reader_park(w->reader);
    }
    n = catch_up(d, open, n, price->ms);
    for (int i = 0; i < n; i++)
        chance[i] = open[i]->chance;
    for (int k = 0; n && k < DRAFT_MAX; k++) {
        double each = steptime_ms(steptime_fit(d->steptime), &(struct steptime_load){ .batch = n }) / n;
        int kept = 0;
        for (int i = 0; i < n; i++) { /* whose next guess does not pay has made its last */
            if (k >= open[i]->most || chance[i] <= price->worth + price->worth_ms * each)
                continue;
            open[kept] = open[i];
            rows[kept] = 1;
            chance[kept++] = chance[i] * open[i]->chance;
        }
        n = kept;
        const float *logits = n ? pass(d, open, rows, n) : NULL;
        for (int i = 0; i < n; i++)
            draw(d, open[i], logits + (size_t)i * (size_t)model_facts(d->model)->vocab);
    }
}
