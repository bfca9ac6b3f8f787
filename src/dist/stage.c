/* stage -- see stage.h. */
#include "dist/stage.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/sandbox.h"
#include "dist/port.h"
#include "dist/setup.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct stage {
    int socket, model_fd;
    struct dist_setup setup;
    struct dist_opening opening;
    struct kern_table kern;
    struct pool *pool;
    struct model *model;
    struct model_work *work;
    unsigned char *pages;
    size_t pages_bytes;
    void *block;
    struct parcel_reader *reader;
};

static enum err_code lock_in(const struct stage *s, struct err *e)
{
    struct sandbox_profile profile = { .name = "stage", .threads = true, .best_effort = s->setup.best_effort };
    struct sandbox_report report;
    return s->setup.sandbox_off ? ERR_OK : sandbox_enter(&profile, &report, e);
}

static enum err_code load(struct stage *s, enum kern_isa isa, struct err *e)
{
    const struct dist_setup *d = &s->setup;
    uint8_t found[SHA256_BYTES];
    struct gguf_file *f = NULL;
    enum err_code c = dist_fingerprint(s->model_fd, found, e);
    if (!c && memcmp(found, d->model, sizeof found) != 0)
        c = err_set(e, ERR_INVALID, "the model's file is another one here than on rank 0");
    kern_table_fill(&s->kern, isa);
    struct model_load_options o = { .kern = &s->kern, .kv_type = (enum kern_type)d->kv_type, .ctx = d->ctx,
                                    .part = { d->cut[d->rank], d->cut[d->rank + 1] } };
    c = c ? c : gguf_open_fd(s->model_fd, "the model", &f, e);
    c = c ? c : model_load(f, &o, s->pool, &s->model, e);
    gguf_close(f);
    close(s->model_fd);
    s->model_fd = -1;
    mem_trim();
    return c;
}

/* Room for pages and rows. */
static enum err_code open_up(struct stage *s, int block_fd, struct err *e)
{
    const struct parcel_limits *l = &s->opening.limits;
    size_t page = model_kv_page_bytes(s->model);
    if (!parcel_limits_ok(l) || l->dim != model_facts(s->model)->dim || l->ctx > model_ctx(s->model) ||
        !mem_mul_ok(page, (size_t)l->page_count, &s->pages_bytes))
        return err_set(e, ERR_CORRUPT, "rank 0 asks for steps that this model cannot have");
    enum err_code c = port_block_map(block_fd, l->block_bytes, &s->block, e);
    if (c)
        return c;
    s->pages = mem_aligned(s->pages_bytes);
    uintptr_t first = ((uintptr_t)s->pages + 4095) & ~(uintptr_t)4095;
    uintptr_t end = ((uintptr_t)s->pages + s->pages_bytes) & ~(uintptr_t)4095;
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTDUMP); /* conversations are in here */
    s->work = model_work_new(s->model, s->pool, l->rows_max, 0);
    s->reader = parcel_reader_new(l, s->pages, page);
    return ERR_OK;
}

static enum err_code say(struct stage *s, enum err_code failed, const struct err *why, struct err *e)
{
    struct dist_report report = { .failed = failed };
    snprintf(report.text, sizeof report.text, "%.*s", DIST_TEXT_MAX - 1, failed ? why->text : "");
    if (!failed) {
        report.weight_bytes = model_facts(s->model)->weight_bytes;
        report.kv_bytes = s->pages_bytes;
    }
    return port_send(s->socket, NOTE_REPORT, &report, sizeof report, -1, e);
}

static enum err_code start(struct stage *s, struct err *e)
{
    struct err why = { 0 };
    int block = -1;
    enum err_code c = port_receive(s->socket, NOTE_SETUP, &s->setup, sizeof s->setup, &s->model_fd, e);
    if (c)
        return c;
    if (!dist_setup_ok(&s->setup) || !s->setup.rank)
        return err_set(e, ERR_CORRUPT, "a setup came that is none");
    enum kern_isa isa = kern_isa_detect((enum kern_isa)s->setup.isa); /* asks for AMX tiles: before the sandbox */
    enum err_code failed = lock_in(s, &why);
    s->pool = pool_new(s->setup.threads ? s->setup.threads : pool_default_threads());
    failed = failed ? failed : load(s, isa, &why);
    c = port_receive(s->socket, NOTE_OPENING, &s->opening, sizeof s->opening, &block, e);
    if (c)
        return c;
    failed = failed ? failed : open_up(s, block, &why);
    close(block);
    c = say(s, failed, &why, e);
    if (!c && failed)
        *e = why;
    return c ? c : failed;
}

static enum err_code step(struct stage *s, struct err *e)
{
    struct model_batch batch;
    float *x;
    bool last = s->setup.rank == s->setup.ranks - 1;
    enum err_code c = parcel_read(s->reader, s->block, &batch, &x, e);
    if (c)
        return c;
    model_forward_part(s->model, s->work, &batch, x);
    if (last)
        parcel_pack_wanted(s->reader, &batch, x);
    return port_send(s->socket, NOTE_DONE, NULL, 0, -1, e);
}

static void release(struct stage *s)
{
    parcel_reader_free(s->reader);
    model_work_free(s->work);
    mem_aligned_free(s->pages, s->pages_bytes);
    port_block_unmap(s->block, s->opening.limits.block_bytes);
    model_free(s->model);
    pool_free(s->pool);
    if (s->model_fd >= 0)
        close(s->model_fd);
}

enum err_code stage_run(int socket, struct err *e)
{
    struct stage s = { .socket = socket, .model_fd = -1 };
    enum err_code c = start(&s, e);
    while (!c) {
        c = port_receive(socket, NOTE_STEP, NULL, 0, NULL, e);
        c = c ? c : step(&s, e);
    }
    release(&s);
    return c == ERR_NOT_FOUND ? ERR_OK : c; /* the carrier closed: that is how it ends */
}
