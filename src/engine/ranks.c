/* ranks -- see ranks.h. */
#include "engine/ranks.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { START_MS = 120 * 1000 }; /* mpirun, ssh to the others, their programs */

/* Nothing that this process holds is of use without the other layers' keys and values: the front refuses what was
 * running (503, Retry-After) and starts all ranks again. */
static void lost(void *arg, const char *why) __attribute__((noreturn));
static void lost(void *arg, const char *why)
{
    (void)arg;
    log_line(LOG_ERROR, "engine", "a rank of the model is gone (%s); all of them start again", why);
    _exit(1);
}

void ranks_take_fds(struct ranks *r, const int fds[RANKS_FDS])
{
    r->listener = fds[0];
    r->life = fds[1];
}

enum err_code ranks_accept(struct ranks *r, int front, struct err *e)
{
    if (r->count < 2)
        return ERR_OK;
    if (!r->listener)
        return err_set(e, ERR_INVALID, "the hello wants %d ranks and brings no way to them", r->count);
    struct leader_door door = { r->listener, r->life, front, START_MS, lost, NULL };
    enum err_code c = leader_accept(&door, &r->leader, e);
    close(r->listener);
    close(r->life);
    return c;
}

static enum err_code cut(const struct ranks *r, int model_fd, struct dist_setup *s, struct err *e)
{
    struct gguf_file *f = NULL;
    enum err_code c = gguf_open_fd(model_fd, "the model", &f, e);
    c = c ? c : model_cut(f, r->count, s->cut, e);
    gguf_close(f);
    return c;
}

enum err_code ranks_begin(struct ranks *r, int model_fd, const char *sandbox_mode, struct runtime_options *o,
                          struct err *e)
{
    struct dist_setup s = { .version = TW_VERSION, .ranks = r->count, .kv_type = (int32_t)o->kv_type,
                            .isa = (int32_t)o->isa, .ctx = o->ctx, .threads = o->threads };
    if (r->count < 2)
        return ERR_OK;
    s.best_effort = !strcmp(sandbox_mode, "best-effort");
    s.sandbox_off = !strcmp(sandbox_mode, "off");
    enum err_code c = cut(r, model_fd, &s, e);
    if (c)
        return c;
    o->part = (struct model_part){ s.cut[0], s.cut[1] };
    for (int i = 0; r->apart && i < r->count; i++)
        if (s.cut[i + 1] - s.cut[i] > o->kv_layers)
            o->kv_layers = s.cut[i + 1] - s.cut[i];
    if (!r->leader) /* it is only measured */
        return ERR_OK;
    r->rest = leader_rest(r->leader);
    o->rest = &r->rest;
    c = dist_fingerprint(model_fd, s.model, e);
    return c ? c : leader_begin(r->leader, &s, e);
}

enum err_code ranks_open(struct ranks *r, const struct runtime_options *o, struct runtime *runtime, struct err *e)
{
    if (!r->leader)
        return ERR_OK;
    const struct model *m = runtime->model;
    struct kv_pool *kv = sched_kv(runtime->sched);
    struct model_part part = model_part(m);
    struct leader_pages pages = { kv_page(kv, 0), model_kv_page_bytes(m), kv_pages(kv) };
    struct parcel_limits limits = { .rows_max = o->batch_rows, .runs_max = o->running_max,
                                    .ctx = sched_ctx(runtime->sched), .dim = model_facts(m)->dim,
                                    .page_count = pages.count };
    log_line(LOG_INFO, "dist", "rank 0 has layers %d to %d: %.1f MiB of weights, %.1f MiB of keys and values",
             part.first, part.end - 1, (double)model_facts(m)->weight_bytes / (1 << 20),
             (double)pages.bytes * pages.count / (1 << 20));
    return leader_open(r->leader, &limits, &pages, e);
}

void ranks_check(struct ranks *r)
{
    if (r->leader)
        leader_check(r->leader);
}

void ranks_release(struct ranks *r)
{
    leader_free(r->leader);
    r->leader = NULL;
}
