/* parcel -- see parcel.h. */
#include "dist/parcel.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

enum { ALIGN = 64, ROWS_MAX = 65536, RUNS_MAX = 4096, DIM_MAX = 1 << 17, CTX_MAX = 1 << 26 };
#define BLOCK_MAX ((uint64_t)1 << 30) /* a message's length is an int */

struct run {
    int32_t rows, pos_first, pages;
};

struct parcel_reader {
    struct parcel_limits limits;
    unsigned char *pages;
    size_t page_bytes;
    struct model_run *runs;       /* [runs_max] */
    unsigned char **page_at;      /* [runs_max x pages of ctx] */
    int32_t *wanted;              /* [rows_max] */
};

static int pages_for(int positions)
{
    return (positions + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS;
}

static uint64_t pages_max(const struct parcel_limits *l)
{
    return (uint64_t)l->runs_max * (uint64_t)pages_for(l->ctx);
}

static uint64_t block_bytes(const struct parcel_limits *l)
{
    uint64_t runs = (uint64_t)l->runs_max * (sizeof(struct run) / sizeof(int32_t));
    uint64_t ints = runs + pages_max(l) + (uint64_t)l->rows_max;
    return sizeof(struct parcel_head) + ints * sizeof(int32_t) + ALIGN +
           (uint64_t)l->rows_max * (uint64_t)l->dim * sizeof(float);
}

static bool sizes_ok(const struct parcel_limits *l)
{
    return l->rows_max >= 1 && l->rows_max <= ROWS_MAX && l->runs_max >= 1 && l->runs_max <= RUNS_MAX &&
           l->ctx >= 1 && l->ctx <= CTX_MAX && l->dim >= 1 && l->dim <= DIM_MAX && l->page_count >= 1;
}

enum err_code parcel_limits_set(struct parcel_limits *l, struct err *e)
{
    l->block_bytes = sizes_ok(l) ? block_bytes(l) : BLOCK_MAX + 1;
    if (l->block_bytes > BLOCK_MAX)
        return err_set(e, ERR_LIMIT, "a step of %d rows and %d sequences of %d positions is too large to be sent; "
                       "lower --batch or --ctx", l->rows_max, l->runs_max, l->ctx);
    return ERR_OK;
}

bool parcel_limits_ok(const struct parcel_limits *l)
{
    return sizes_ok(l) && l->block_bytes == block_bytes(l) && l->block_bytes <= BLOCK_MAX;
}

bool parcel_head_ok(const struct parcel_head *h, const struct parcel_limits *l)
{
    if (h->magic != PARCEL_MAGIC)
        return false;
    if (h->kind == PARCEL_END)
        return !h->rows && !h->runs && !h->pages && !h->wanted;
    return h->kind == PARCEL_STEP && h->rows >= 1 && h->rows <= l->rows_max && h->runs >= 1 && h->runs <= l->runs_max &&
           h->pages >= 1 && (uint64_t)h->pages <= pages_max(l) && h->wanted >= 0 && h->wanted <= h->rows;
}

static size_t ints_of(const struct parcel_head *h)
{
    return (size_t)h->runs * (sizeof(struct run) / sizeof(int32_t)) + (size_t)h->pages + (size_t)h->wanted;
}

size_t parcel_x_offset(const struct parcel_head *h)
{
    return (sizeof *h + ints_of(h) * sizeof(int32_t) + ALIGN - 1) / ALIGN * ALIGN;
}

size_t parcel_bytes(const struct parcel_head *h, const struct parcel_limits *l)
{
    return h->kind == PARCEL_END ? sizeof *h
                                 : parcel_x_offset(h) + (size_t)h->rows * (size_t)l->dim * sizeof(float);
}

static struct run *runs_of(void *block)
{
    return (struct run *)(void *)((unsigned char *)block + sizeof(struct parcel_head));
}

static int32_t *pages_of(void *block, const struct parcel_head *h)
{
    return (int32_t *)(void *)(runs_of(block) + h->runs);
}

/* ---- rank 0 */

/* Logit rows and state rows, both ascending, as one ascending list: walks through it. */
struct wanted {
    const struct model_batch *b;
    int logits, states; /* taken so far */
};

static int next_wanted(struct wanted *w)
{
    bool logit = w->states == w->b->state_count ||
                 (w->logits < w->b->logit_count && w->b->logit_rows[w->logits] < w->b->state_rows[w->states]);
    return logit ? w->b->logit_rows[w->logits++] : w->b->state_rows[w->states++];
}

void parcel_write(const struct parcel_source *s, const struct parcel_limits *l, void *block)
{
    const struct model_batch *b = s->batch;
    struct parcel_head h = { .magic = PARCEL_MAGIC, .kind = PARCEL_STEP, .rows = b->rows, .runs = b->run_count,
                             .wanted = b->logit_count + b->state_count };
    ASSERT(b->rows <= l->rows_max && b->run_count <= l->runs_max && h.wanted <= b->rows);
    struct run *runs = runs_of(block);
    int32_t *at = pages_of(block, &h);
    for (int i = 0; i < b->run_count; i++) {
        const struct model_run *run = &b->runs[i];
        int n = pages_for(run->pos_first + run->rows);
        runs[i] = (struct run){ run->rows, run->pos_first, n };
        for (int k = 0; k < n; k++)
            *at++ = (int32_t)((size_t)(run->pages[k] - s->pages) / s->page_bytes);
        h.pages += n;
    }
    struct wanted wanted = { .b = b };
    for (int j = 0; j < h.wanted; j++)
        *at++ = next_wanted(&wanted);
    size_t dim = (size_t)l->dim;
    float *x = (float *)(void *)((unsigned char *)block + parcel_x_offset(&h));
    for (int r = 0; r < b->rows; r++)
        memcpy(x + (size_t)r * dim, s->x + (size_t)r * s->x_stride, dim * sizeof *x);
    memcpy(block, &h, sizeof h);
}

void parcel_take_back(const struct model_batch *b, const struct parcel_limits *l, const void *block, float *x,
                      size_t x_stride)
{
    struct parcel_head h;
    memcpy(&h, block, sizeof h);
    size_t dim = (size_t)l->dim;
    ASSERT(h.wanted == b->logit_count + b->state_count);
    const float *in = (const float *)(const void *)((const unsigned char *)block + parcel_x_offset(&h));
    struct wanted wanted = { .b = b };
    for (int j = 0; j < h.wanted; j++) {
        int r = next_wanted(&wanted);
        memcpy(x + (size_t)r * x_stride, in + (size_t)j * dim, dim * sizeof *x);
    }
}

/* ---- a stage */

struct parcel_reader *parcel_reader_new(const struct parcel_limits *l, unsigned char *pages, size_t page_bytes)
{
    struct parcel_reader *r = MEM_NEW(struct parcel_reader);
    *r = (struct parcel_reader){ .limits = *l, .pages = pages, .page_bytes = page_bytes };
    r->runs = mem_new((size_t)l->runs_max, sizeof *r->runs);
    r->page_at = mem_new((size_t)pages_max(l), sizeof *r->page_at);
    r->wanted = mem_new((size_t)l->rows_max, sizeof *r->wanted);
    return r;
}

void parcel_reader_free(struct parcel_reader *r)
{
    if (!r)
        return;
    mem_free(r->runs);
    mem_free(r->page_at);
    mem_free(r->wanted);
    mem_free(r);
}

/* Runs and their pages: false when they do not add up. */
static bool read_runs(struct parcel_reader *r, void *block, const struct parcel_head *h)
{
    const struct parcel_limits *l = &r->limits;
    const struct run *runs = runs_of(block);
    const int32_t *number = pages_of(block, h);
    int rows = 0, pages = 0;
    for (int i = 0; i < h->runs; i++) {
        struct run run = runs[i];
        if (run.rows < 1 || run.rows > h->rows - rows || run.pos_first < 0 || run.pos_first > l->ctx - run.rows)
            return false;
        int n = pages_for(run.pos_first + run.rows);
        if (run.pages != n || n > h->pages - pages)
            return false;
        r->runs[i] = (struct model_run){ .rows = run.rows, .pos_first = run.pos_first, .pages = r->page_at + pages };
        rows += run.rows;
        for (int k = 0; k < n; k++, pages++) {
            int32_t page = number[pages];
            if (page < 0 || page >= l->page_count)
                return false;
            r->page_at[pages] = r->pages + (size_t)page * r->page_bytes;
        }
    }
    return rows == h->rows && pages == h->pages;
}

enum err_code parcel_read(struct parcel_reader *r, void *block, struct model_batch *batch, float **x, struct err *e)
{
    struct parcel_head h;
    memcpy(&h, block, sizeof h);
    if (!parcel_head_ok(&h, &r->limits) || h.kind != PARCEL_STEP || !read_runs(r, block, &h))
        return err_set(e, ERR_CORRUPT, "a step came that is none: the ranks do not run the same program");
    const int32_t *wanted = pages_of(block, &h) + h.pages;
    for (int j = 0; j < h.wanted; j++) {
        r->wanted[j] = wanted[j];
        if (r->wanted[j] < (j ? r->wanted[j - 1] + 1 : 0) || r->wanted[j] >= h.rows)
            return err_set(e, ERR_CORRUPT, "row %d of a step of %d rows is wanted", r->wanted[j], h.rows);
    }
    *batch = (struct model_batch){ .rows = h.rows, .runs = r->runs, .run_count = h.runs, .logit_rows = r->wanted,
                                   .logit_count = h.wanted };
    *x = (float *)(void *)((unsigned char *)block + parcel_x_offset(&h));
    return ERR_OK;
}

void parcel_pack_wanted(const struct parcel_reader *r, const struct model_batch *batch, float *x)
{
    size_t dim = (size_t)r->limits.dim;
    for (int j = 0; j < batch->logit_count; j++)
        if (batch->logit_rows[j] != j)
            memcpy(x + (size_t)j * dim, x + (size_t)batch->logit_rows[j] * dim, dim * sizeof *x);
}
