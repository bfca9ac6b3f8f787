/* engine -- see engine.h. The calling thread becomes the step thread. */
#include "engine/engine.h"

#include "api/store.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "engine/identity.h"
#include "engine/pulse.h"
#include "engine/job.h"
#include "engine/link.h"
#include "engine/metric.h"
#include "engine/ranks.h"
#include "engine/spill.h"
#include "lib/runtime.h"
#include "sched/draft.h"
#include "wire/frame.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { SPILL_PAGES = 4 }; /* saved in a turn of an idle engine */
#define STATS_EVERY_NS ((int64_t)250000000)
#define BODY_BYTES_MAX ((int64_t)1 << 30)

struct engine {
    int socket;
    int model_fd;
    char id[256];
    struct runtime_options options;
    int64_t body_max;
    bool air_gapped;
    const char *sandbox_mode; /* "enforce", "best-effort" or "off" */
    struct runtime *runtime;
    struct sandbox_report sandbox;
    json_t *trust;            /* hello's trust object; NULL: no evidence is kept */
    json_t *identify;         /* hello's identity object: a fleet asks without evidence; or NULL */
    struct identity *identity;
    struct vault *vault;      /* opens sealed requests; the link's reader's while serving */
    int64_t progress_ns;
    json_t *defaults;         /* fields requests have unless they say otherwise, or NULL */
    struct spill *spill;      /* the step thread's; NULL: none */
    json_t *spill_hello;
    int spill_fd;
    json_t *lora;             /* hello's list of adapters; names are borrowed from it */
    struct runtime_adapter adapters[API_ADAPTERS_MAX];
    bool measure;             /* the front only asks what the model would need */
    struct ranks ranks;
};

/* ---- hello */

static enum err_code read_options(struct engine *g, const json_t *hello, struct err *e)
{
    const json_t *model = json_object_get(hello, "model"), *o = json_object_get(model, "options");
    const char *id = "model", *isa = NULL, *kv_type = NULL, *sandbox = "enforce";
    struct runtime_options *r = &g->options;
    int64_t threads = 0, ctx = 0, kv = 0, batch = r->batch_rows, prefill = r->prefill_rows, running = r->running_max;
    int64_t speculate = -1, itl = r->itl_ms, ttft = r->ttft_ms, slots = 0, rank = 0, ranks = 1;
    enum err_code c = jsonx_get_string(model, "id", &id, e);
    c = c ? c : jsonx_get_int(o, "threads", 0, POOL_THREADS_MAX, &threads, e);
    c = c ? c : jsonx_get_int(o, "ctx", 0, INT32_MAX, &ctx, e);
    c = c ? c : jsonx_get_int(o, "kv_memory", 0, INT64_MAX, &kv, e);
    c = c ? c : jsonx_get_int(o, "batch", 1, 65536, &batch, e);
    c = c ? c : jsonx_get_int(o, "prefill", 1, 65536, &prefill, e);
    c = c ? c : jsonx_get_int(o, "parallel", 1, 4096, &running, e);
    c = c ? c : jsonx_get_int(o, "speculate", -1, DRAFT_MAX, &speculate, e);
    c = c ? c : jsonx_get_int(o, "target_itl_ms", 1, 600000, &itl, e);
    c = c ? c : jsonx_get_int(o, "target_ttft_ms", 1, 600000, &ttft, e);
    c = c ? c : jsonx_get_int(o, "max_body", 1, BODY_BYTES_MAX, &g->body_max, e);
    c = c ? c : jsonx_get_int(o, "lora_slots", 0, API_ADAPTERS_MAX, &slots, e);
    c = c ? c : jsonx_get_int(o, "lora_rank", 1, MODEL_RANK_MAX, &rank, e);
    c = c ? c : jsonx_get_int(o, "ranks", 1, DIST_RANKS_MAX, &ranks, e);
    c = c ? c : jsonx_get_string(o, "isa", &isa, e);
    c = c ? c : jsonx_get_string(o, "kv_type", &kv_type, e);
    c = c ? c : jsonx_get_bool(o, "matryoshka", &r->matryoshka, e);
    c = c ? c : jsonx_get_string(o, "sandbox", &sandbox, e);
    c = c ? c : jsonx_get_bool(o, "air_gapped", &g->air_gapped, e);
    if (c)
        return c;
    if (isa && !kern_isa_by_name(isa, &r->isa))
        return err_set(e, ERR_INVALID, "--isa %.20s: choose ref, avx2, avx512 or amx", isa);
    if (kv_type && !model_kv_type_by_name(kv_type, &r->kv_type))
        return err_set(e, ERR_INVALID, "--kv-type %.20s: choose f16, bf16, q8_0 or f32", kv_type);
    g->defaults = json_incref(json_object_get(o, "defaults"));
    snprintf(g->id, sizeof g->id, "%s", id);
    r->id = g->id;
    g->ranks.count = (int)ranks;
    g->ranks.apart = json_is_string(json_object_get(o, "hostfile"));
    r->threads = (int)threads;
    r->ctx = (int)ctx;
    r->kv_bytes = (size_t)kv;
    r->batch_rows = (int)(batch > running ? batch : running);
    r->prefill_rows = (int)(prefill < batch ? prefill : batch);
    r->running_max = (int)running;
    r->adapter_slots = rank ? (int)slots : 0;
    r->adapter_rank = (int)rank;
    r->draft_rows = speculate < 0 ? r->draft_rows : (int)speculate;
    r->draft_always = speculate > 0;
    r->itl_ms = (int)itl;
    r->ttft_ms = (int)ttft;
    static const char *const modes[] = { "enforce", "best-effort", "off" };
    for (size_t i = 0; i < MEM_COUNT(modes); i++)
        if (!strcmp(sandbox, modes[i]))
            g->sandbox_mode = modes[i];
    if (!g->sandbox_mode)
        return err_set(e, ERR_INVALID, "--sandbox %.20s: choose enforce, best-effort or off", sandbox);
    return ERR_OK;
}

/* The descriptors from `first` on are the adapters', in the list's order. */
static enum err_code take_adapters(struct engine *g, const json_t *options, const int *fds, int fd_count, int first,
                                   struct err *e)
{
    g->lora = json_incref(json_object_get(options, "lora"));
    int count = (int)json_array_size(g->lora);
    if (count > API_ADAPTERS_MAX || fd_count != first + count)
        return err_set(e, ERR_INVALID, "hello has %d descriptors, for the model and %d adapters (at most %d)", fd_count,
                       count, API_ADAPTERS_MAX);
    for (int i = 0; i < count; i++) {
        const char *name = json_string_value(json_object_get(json_array_get(g->lora, (size_t)i), "name"));
        g->adapters[i] = (struct runtime_adapter){ name ? name : "", fds[first + i] };
    }
    g->options.adapters = g->adapters;
    g->options.adapter_count = count;
    return ERR_OK;
}

/* Waits for the front's hello: JSON, with the model's descriptor riding on it. */
static enum err_code receive_hello(struct engine *g, struct err *e)
{
    struct buf in = { 0 };
    struct frame f;
    int fds[FRAME_FDS_MAX], fd_count = FRAME_FDS_MAX;
    enum err_code c = frame_recv(g->socket, &in, &f, fds, &fd_count, e);
    if (c)
        return c;
    json_t *hello = NULL;
    if (f.kind != FRAME_HELLO || fd_count < 1)
        c = err_set(e, ERR_INVALID, "the first frame must be a hello with the model's descriptor");
    else if (!(hello = jsonx_parse(f.payload, f.length, e)))
        c = e->code;
    else
        c = read_options(g, hello, e);
    g->measure = json_is_true(json_object_get(hello, "measure"));
    g->trust = json_incref(json_object_get(hello, "trust"));
    g->identify = json_incref(json_object_get(hello, "identity"));
    g->model_fd = fd_count > 0 ? fds[0] : -1;
    const json_t *options = json_object_get(json_object_get(hello, "model"), "options");
    bool draft = json_is_string(json_object_get(options, "draft"));
    g->spill_hello = json_incref(json_object_get(hello, "spill"));
    if (g->ranks.count > 1 && !g->measure && fd_count > RANKS_FDS) /* the last ones */
        ranks_take_fds(&g->ranks, fds + (fd_count -= RANKS_FDS));
    g->spill_fd = g->spill_hello && fd_count > 1 ? fds[--fd_count] : -1; /* before them */
    g->options.draft_fd = draft && fd_count > 1 ? fds[1] : -1;
    if (!c)
        c = take_adapters(g, options, fds, fd_count, 1 + draft, e);
    json_decref(hello);
    if (in.data)
        mem_wipe(in.data, in.cap); /* a storage key may be in it */
    buf_release(&in);
    return c;
}

static void send_json(const struct engine *g, enum frame_kind kind, const struct buf *json)
{
    struct frame f = { .kind = kind, .payload = buf_str(json), .length = json->len };
    if (frame_send(g->socket, &f, NULL, 0, NULL))
        log_line(LOG_DEBUG, "engine", "the front is gone");
}

static void on_progress(void *arg, double fraction)
{
    struct engine *g = arg;
    int64_t now = clock_mono_ns();
    if (now - g->progress_ns < STATS_EVERY_NS && fraction < 1)
        return;
    g->progress_ns = now;
    struct buf b = { 0 };
    buf_printf(&b, "{\"loading\":%.3f}", fraction);
    send_json(g, FRAME_STATS, &b);
    buf_release(&b);
}

static void send_ready(const struct engine *g)
{
    struct buf b = { 0 };
    buf_puts(&b, "{\"role\":\"engine\",\"version\":\"" TW_VERSION "\",\"ready\":true,\"sandbox\":");
    jsonx_quote(g->sandbox.text, strlen(g->sandbox.text), &b);
    buf_puts(&b, ",\"model\":");
    runtime_facts_json(g->runtime, &b);
    char hex[HASH_HEX + 1], file[HASH_HEX + 1];
    if (g->identity) {
        code_hex(hex, identity_numerics(g->identity), HASH_BYTES);
        code_hex(file, identity_hash(g->identity), HASH_BYTES);
        b.len--; /* the brace */
        buf_printf(&b, ",\"hash\":\"%s\",\"numerics\":\"%s\"}", file, hex);
    }
    if (g->trust && g->identity) {
        buf_printf(&b, ",\"trust\":{\"numerics\":\"%s\",\"weights\":\"%s\",\"sandbox\":", hex, file);
        jsonx_quote(g->sandbox.text, strlen(g->sandbox.text), &b);
        buf_puts(&b, ",\"ohttp\":\"");
        engine_vault_config(g->vault, &b);
        buf_puts(&b, "\"}");
    }
    buf_puts(&b, "}");
    send_json(g, FRAME_HELLO, &b);
    buf_release(&b);
}

/* Reads the plan from the file's header, says it, and that is all. */
static enum err_code measure(const struct engine *g, struct err *e)
{
    struct model_needs n;
    int ctx;
    enum err_code c = runtime_measure(g->model_fd, g->id, &g->options, &n, &ctx, e);
    struct model_needs draft = { 0 };
    int draft_ctx;
    if (!c && g->options.draft_fd >= 0)
        c = runtime_measure(g->options.draft_fd, "the draft model", &g->options, &draft, &draft_ctx, e);
    if (c)
        return c;
    n.weight_bytes += draft.weight_bytes;
    n.work_bytes += draft.work_bytes;
    struct buf b = { 0 };
    buf_printf(&b, "{\"role\":\"engine\",\"ready\":false,\"needs\":{\"weight_bytes\":%zu,\"kv_page_bytes\":%zu,"
               "\"kv_page_tokens\":%d,\"work_bytes\":%zu,\"ctx\":%d}}", n.weight_bytes, n.kv_page_bytes,
               KERN_PAGE_TOKENS, n.work_bytes, ctx);
    send_json(g, FRAME_HELLO, &b);
    buf_release(&b);
    return ERR_OK;
}

static void send_failure(const struct engine *g, const struct err *e)
{
    struct buf b = { 0 };
    buf_puts(&b, "{\"role\":\"engine\",\"ready\":false,\"error\":");
    jsonx_quote(e->text, strlen(e->text), &b);
    buf_puts(&b, "}");
    send_json(g, FRAME_HELLO, &b);
    buf_release(&b);
}

/* ---- the loop */

/* false: the front closed the stream. */
static bool handle(struct job_table *jobs, struct message *m)
{
    bool open = m->kind != MESSAGE_CLOSED;
    if (m->kind == MESSAGE_JOB)
        engine_job_start(jobs, m);
    else if (m->kind == MESSAGE_CANCEL)
        engine_job_cancel(jobs, m->id, m->attempt);
    else if (m->kind == MESSAGE_CREDIT)
        engine_job_credit(jobs, m->id, m->attempt, m->credit);
    else if (m->kind == MESSAGE_RECEIPT)
        engine_job_receipt(jobs, m->id, m->attempt, (struct span){ buf_str(&m->note), m->note.len });
    engine_message_free(m);
    return open;
}

static void send_stats(struct link *link, struct metric *metric, const struct sched *sched, int64_t now)
{
    struct sched_stats stats;
    sched_stats(sched, &stats);
    struct buf b = { 0 };
    engine_metric_json(metric, &stats, now, &b);
    engine_link_send(link, &(struct frame){ .kind = FRAME_STATS, .payload = buf_str(&b), .length = b.len });
    buf_release(&b);
}

static void serve(struct engine *g)
{
    struct metric metric = { 0 };
    struct sched *sched = g->runtime->sched;
    struct api_store *store = api_store_new();
    struct link *link = engine_link_start(&(struct link_options){ .socket = g->socket, .store = store,
                                                                  .body_max = (size_t)g->body_max,
                                                                  .model = &g->runtime->api, .vault = g->vault,
                                                                  .runtime = g->runtime,
                                                                  .salt = g->spill ? spill_salt(g->spill) : 0 });
    metric.spill = g->spill ? spill_stats(g->spill) : NULL;
    struct job_table *jobs = engine_job_table_new(sched, link, &metric);
    struct pulse *pulse = g->identify ? engine_pulse_start(link, sched) : NULL;
    int64_t stats_ns = 0;
    int rows = 0;
    for (bool open = true; open;) {
        ranks_check(&g->ranks);
        /* Work waits for nobody; an idle engine sleeps until a message or the next stats are due. */
        struct message *m = engine_link_receive(link, rows ? 0 : STATS_EVERY_NS / 1000000);
        for (; m && open; m = open ? engine_link_receive(link, 0) : NULL)
            open = handle(jobs, m);
        rows = open ? sched_step(sched) : 0;
        if (rows)
            engine_metric_observe(&metric, METRIC_STEP_ROWS, rows);
        engine_job_flush_all(jobs);
        if (!rows && g->spill)
            kv_save_some(sched_kv(sched), SPILL_PAGES);
        int64_t now = clock_mono_ns();
        if (now - stats_ns >= STATS_EVERY_NS) {
            send_stats(link, &metric, sched, now);
            stats_ns = now;
        }
    }
    engine_job_table_free(jobs);
    engine_pulse_stop(pulse);
    engine_link_stop(link);
    api_store_free(store);
    if (g->spill)
        kv_save_some(sched_kv(sched), INT_MAX);
}

static enum err_code lock_in(struct engine *g, struct err *e)
{
    if (!strcmp(g->sandbox_mode, "off"))
        return ERR_OK;
    struct sandbox_profile profile = { .name = "engine", .threads = true, .air_gapped = g->air_gapped };
    profile.best_effort = !strcmp(g->sandbox_mode, "best-effort");
    return sandbox_enter(&profile, &g->sandbox, e);
}

/* An encoder has no pages. */
static void open_spill(struct engine *g)
{
    struct kv_pool *kv = g->runtime->sched ? sched_kv(g->runtime->sched) : NULL;
    if (kv && g->spill_fd >= 0)
        g->spill = spill_new(g->spill_hello, g->spill_fd, g->model_fd);
    if (g->spill)
        spill_attach(g->spill, kv, model_kv_page_bytes(g->runtime->model), g->runtime->kern.name,
                     kern_type_info((int)g->options.kv_type)->name);
    json_decref(g->spill_hello);
    g->spill_hello = NULL;
}

enum err_code engine_run(int socket, struct err *e)
{
    struct engine g = { .socket = socket, .model_fd = -1, .spill_fd = -1, .options = runtime_defaults(),
                        .body_max = 32 << 20 };
    g.options.progress = on_progress;
    g.options.progress_arg = &g;
    g.options.encoders = true;
    enum err_code c = receive_hello(&g, e);
    if (!c && !g.measure)
        c = ranks_accept(&g.ranks, socket, e);
    if (!c) {
        g.options.isa = kern_isa_detect(g.options.isa); /* asks the system for AMX tiles: before the sandbox */
        c = lock_in(&g, e);
    }
    const struct ranks_terms terms = { g.model_fd, g.sandbox_mode, g.trust };
    c = c ? c : ranks_begin(&g.ranks, &terms, &g.options, e);
    if (!c && !g.measure)
        c = identity_begin(g.trust ? g.trust : g.identify, g.model_fd, &g.identity, e);
    if (!c && g.measure)
        c = measure(&g, e);
    else if (!c)
        c = runtime_open(g.model_fd, g.id, &g.options, &g.runtime, e);
    if (!c && !g.measure)
        c = ranks_open(&g.ranks, &g.options, g.runtime, e);
    if (!c && !g.measure)
        c = identity_check(g.identity, g.runtime->kern.name, kern_type_info((int)g.options.kv_type)->name, e);
    if (!c && !g.measure)
        open_spill(&g);
    if (!c)
        c = engine_vault_new(g.trust, &g.vault, e);
    if (g.model_fd >= 0)
        close(g.model_fd);
    if (g.options.draft_fd >= 0)
        close(g.options.draft_fd);
    for (int i = 0; i < g.options.adapter_count; i++)
        close(g.adapters[i].fd);
    json_decref(g.lora);
    if (c)
        send_failure(&g, e);
    if (c || g.measure) {
        identity_free(g.identity);
        json_decref(g.trust);
        json_decref(g.identify);
        json_decref(g.defaults);
        return c;
    }
    g.runtime->api.defaults = g.defaults;
    send_ready(&g);
    serve(&g);
    runtime_close(g.runtime);
    ranks_release(&g.ranks);
    spill_free(g.spill);
    engine_vault_free(g.vault);
    json_decref(g.defaults);
    identity_free(g.identity);
    json_decref(g.trust);
    json_decref(g.identify);
    return ERR_OK;
}
