/* tokenworks -- see include/tokenworks.h. A request becomes a job of api/ and runs in the scheduler on the
 * caller's thread, step by step, under the engine's lock. */
#include "tokenworks.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/runtime.h"

#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tw_engine {
    struct runtime *runtime;
    pthread_mutex_t lock;   /* one request at a time */
    struct buf facts;
};

struct tw_session {
    struct tw_engine *engine;
    json_t *messages;       /* array of {role, content} */
    struct tw_session_options options; /* .system is in messages */
};

static int http_status(enum err_code c)
{
    return c == ERR_NOT_FOUND ? 404 : c == ERR_LIMIT ? 413 : c == ERR_BUSY ? 503 : c == ERR_IO ? 500 : 400;
}

static void fill_error(struct tw_error *out, const struct err *e)
{
    if (!out)
        return;
    out->status = http_status(e->code);
    snprintf(out->text, sizeof out->text, "%s", e->text);
}

/* ---- engine */

static char *id_of(const char *path)
{
    char *copy = mem_strdup(path), *id = mem_strdup(basename(copy));
    size_t n = strlen(id);
    if (n > 5 && !strcmp(id + n - 5, ".gguf"))
        id[n - 5] = '\0';
    mem_free(copy);
    return id;
}

static enum err_code read_options(const struct tw_options *o, struct runtime_options *r, struct err *e)
{
    if (!o->model)
        return err_set(e, ERR_INVALID, "no model was named: set tw_options.model to a GGUF file");
    if (o->isa && !kern_isa_by_name(o->isa, &r->isa))
        return err_set(e, ERR_INVALID, "isa '%.20s': choose ref, avx2, avx512 or amx", o->isa);
    r->threads = o->threads;
    r->ctx = o->context;
    r->kv_bytes = o->kv_memory;
    r->progress = o->progress;
    r->progress_arg = o->progress_arg;
    return ERR_OK;
}

struct tw_engine *tw_open(const struct tw_options *options, struct tw_error *error)
{
    struct runtime_options r = runtime_defaults();
    struct err e = { 0 };
    struct tw_engine *engine = MEM_NEW(struct tw_engine);
    char *id = NULL;
    int fd = -1;
    enum err_code c = read_options(options, &r, &e);
    if (c)
        goto out;
    fd = open(options->model, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        c = err_errno(&e, "%s: cannot open", options->model);
        goto out;
    }
    r.id = id = id_of(options->model);
    c = runtime_open(fd, options->model, &r, &engine->runtime, &e);
    if (!c)
        runtime_facts_json(engine->runtime, &engine->facts);
out:
    if (fd >= 0)
        close(fd);
    mem_free(id);
    if (c) {
        fill_error(error, &e);
        mem_free(engine);
        return NULL;
    }
    pthread_mutex_init(&engine->lock, NULL);
    return engine;
}

void tw_close(struct tw_engine *engine)
{
    if (!engine)
        return;
    runtime_close(engine->runtime);
    pthread_mutex_destroy(&engine->lock);
    buf_release(&engine->facts);
    mem_free(engine);
}

const char *tw_facts(const struct tw_engine *engine)
{
    return buf_str(&engine->facts);
}

const char *tw_version(void)
{
    return TW_VERSION;
}

/* ---- running one request */

struct run;
struct run_choice {
    struct run *run;
    int index;
    struct sched_seq *seq; /* NULL once finished */
};

struct run {
    struct api_job *job;
    struct sched *sched;
    struct run_choice *choices;
    int count, open;
    struct api_usage usage;
    struct buf out;
    enum infer_finish why;
    int64_t started_ns, first_ns;
};

static void on_start(void *user, int cached_tokens)
{
    struct run_choice *c = user;
    if (c->index == 0)
        c->run->usage.cached_tokens = cached_tokens;
}

static bool on_token(void *user, const struct infer_token *t)
{
    struct run_choice *c = user;
    struct run *r = c->run;
    if (!r->usage.completion_tokens++)
        r->first_ns = clock_mono_ns();
    return api_choice_token(r->job, c->index, t, &r->out);
}

static void on_finish(void *user, enum infer_finish why)
{
    struct run_choice *c = user;
    struct run *r = c->run;
    struct sched_drafts drafts = sched_seq_drafts(c->seq);
    api_job_guessed(r->job, drafts.accepted, drafts.rejected);
    c->seq = NULL;
    r->open--;
    r->why = why;
    api_choice_finish(r->job, c->index, why, &r->out);
    if (!r->open)
        api_job_end(r->job, &r->usage, &r->out);
}

static const struct sched_events events = { .token = on_token, .finish = on_finish, .start = on_start };

static void cancel(struct run *r)
{
    for (int i = 0; i < r->count; i++)
        if (r->choices[i].seq)
            sched_cancel(r->sched, r->choices[i].seq);
}

static enum err_code add_choices(struct run *r, struct err *e)
{
    const struct infer_params *params = api_job_params(r->job);
    for (int i = 0; i < r->count; i++) {
        const struct vocab_ids *prompt = api_job_prompt(r->job, i);
        struct sched_spec spec = { .prompt = prompt->v, .prompt_count = (int)prompt->count, .params = params,
                                   .seed = params->seed + (uint64_t)i, .events = &events, .user = &r->choices[i] };
        r->choices[i] = (struct run_choice){ .run = r, .index = i };
        if (!i || prompt != api_job_prompt(r->job, i - 1))
            r->usage.prompt_tokens += (int)prompt->count;
        enum err_code c = sched_add(r->sched, &spec, &r->choices[i].seq, e);
        if (c)
            return c;
        r->open++;
    }
    return ERR_OK;
}

static void fill_reply(const struct run *r, const char *finish, struct tw_reply *out)
{
    if (!out)
        return;
    int64_t now = clock_mono_ns();
    *out = (struct tw_reply){ .prompt_tokens = r->usage.prompt_tokens, .cached_tokens = r->usage.cached_tokens,
                              .completion_tokens = r->usage.completion_tokens };
    snprintf(out->finish, sizeof out->finish, "%s", finish);
    out->first_ms = (double)((r->first_ns ? r->first_ns : now) - r->started_ns) / 1e6;
    out->total_ms = (double)(now - r->started_ns) / 1e6;
}

struct run_request {
    const char *path, *body;
    bool text_only;
    tw_text_fn *on_bytes;
    void *arg;
    int timeout_ms;
};

/* Steps until every choice is finished, the callback says stop, or the time is up. Returns the finish word. */
static const char *run_to_end(struct run *r, const struct run_request *q)
{
    const char *ended = NULL;
    api_job_begin(r->job, &r->out);
    if (!r->count) /* its answer was known when it was read */
        api_job_end(r->job, &r->usage, &r->out);
    for (bool more = true; more;) {
        more = r->open > 0;
        if (more)
            sched_step(r->sched);
        if (!ended && r->out.len && q->on_bytes && !q->on_bytes(q->arg, r->out.data, r->out.len))
            ended = "cancelled";
        buf_clear(&r->out);
        if (!ended && r->open && q->timeout_ms && clock_mono_ns() - r->started_ns > (int64_t)q->timeout_ms * 1000000)
            ended = "timeout";
        if (ended)
            cancel(r);
    }
    return ended ? ended : r->why == INFER_LENGTH ? "length" : "stop";
}

static bool run_request(struct tw_engine *engine, const struct run_request *q, struct tw_reply *reply,
                        struct tw_error *error)
{
    struct api_request request = { .path = q->path, .body = q->body, .body_len = strlen(q->body),
                                   .created = clock_wall_s(), .text_only = q->text_only };
    char id[40];
    uint64_t random[2];
    rng_system(random, sizeof random);
    rng_system(&request.seed, sizeof request.seed);
    request.seed >>= 1;
    snprintf(id, sizeof id, "chatcmpl-%016llx%08llx", (unsigned long long)random[0],
             (unsigned long long)random[1] >> 32);
    request.response_id = id;
    struct api_error ae = { 0 };
    struct run r = { .sched = engine->runtime->sched, .started_ns = clock_mono_ns() };
    r.job = api_job_parse(&engine->runtime->api, &request, &ae);
    if (!r.job) {
        if (error) {
            error->status = ae.status;
            snprintf(error->text, sizeof error->text, "%s", ae.message);
        }
        return false;
    }
    struct err e = { 0 };
    r.count = api_job_choices(r.job);
    r.choices = mem_new((size_t)r.count, sizeof *r.choices);
    pthread_mutex_lock(&engine->lock);
    enum err_code c = add_choices(&r, &e);
    if (c)
        cancel(&r);
    else
        fill_reply(&r, run_to_end(&r, q), reply);
    pthread_mutex_unlock(&engine->lock);
    if (c)
        fill_error(error, &e);
    api_job_free(r.job);
    buf_release(&r.out);
    mem_free(r.choices);
    return !c;
}

bool tw_request(struct tw_engine *engine, const char *path, const char *body, tw_text_fn *on_bytes, void *arg,
                struct tw_reply *reply, struct tw_error *e)
{
    return run_request(engine, &(struct run_request){ .path = path, .body = body, .on_bytes = on_bytes, .arg = arg },
                       reply, e);
}

/* ---- session */

static json_t *message(const char *role, const char *text, size_t n)
{
    json_t *content = json_stringn(text, n); /* NULL when the text is not UTF-8 */
    return content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
}

struct tw_session *tw_session_new(struct tw_engine *engine, const struct tw_session_options *options,
                                  struct tw_error *e)
{
    struct tw_session *s = MEM_NEW(struct tw_session);
    s->engine = engine;
    s->messages = json_array();
    if (options)
        s->options = *options;
    if (s->options.system) {
        json_t *m = message("system", s->options.system, strlen(s->options.system));
        if (!m) {
            fill_error(e, &(struct err){ ERR_INVALID, "the system message is not valid UTF-8" });
            tw_session_free(s);
            return NULL;
        }
        json_array_append_new(s->messages, m);
    }
    return s;
}

void tw_session_free(struct tw_session *session)
{
    if (!session)
        return;
    json_decref(session->messages);
    mem_free(session);
}

void tw_session_clear(struct tw_session *session)
{
    size_t keep = session->options.system ? 1 : 0;
    while (json_array_size(session->messages) > keep)
        json_array_remove(session->messages, json_array_size(session->messages) - 1);
}

char *tw_session_messages(const struct tw_session *session)
{
    return json_dumps(session->messages, JSON_COMPACT);
}

static void request_json(const struct tw_session *s, struct buf *out)
{
    const struct tw_session_options *o = &s->options;
    json_t *j = json_pack("{s:O, s:f}", "messages", s->messages, "temperature", (double)o->temperature);
    if (o->max_tokens > 0)
        json_object_set_new(j, "max_tokens", json_integer(o->max_tokens));
    if (o->top_p > 0)
        json_object_set_new(j, "top_p", json_real((double)o->top_p));
    if (o->min_p > 0)
        json_object_set_new(j, "min_p", json_real((double)o->min_p));
    if (o->top_k > 0)
        json_object_set_new(j, "top_k", json_integer(o->top_k));
    if (o->seed)
        json_object_set_new(j, "seed", json_integer((json_int_t)(o->seed & INT64_MAX)));
    jsonx_dump(j, out);
    json_decref(j);
}

/* Keeps the answer while handing it on. */
struct gather {
    struct buf text;
    tw_text_fn *on_text;
    void *arg;
};

static bool gather_text(void *arg, const char *text, size_t n)
{
    struct gather *g = arg;
    buf_append(&g->text, text, n);
    return !g->on_text || g->on_text(g->arg, text, n);
}

bool tw_say(struct tw_session *s, const char *user, tw_text_fn *on_text, void *arg, struct tw_reply *reply,
            struct tw_error *e)
{
    json_t *m = message("user", user, strlen(user));
    if (!m) {
        fill_error(e, &(struct err){ ERR_INVALID, "the message is not valid UTF-8" });
        return false;
    }
    json_array_append_new(s->messages, m);
    struct gather g = { .on_text = on_text, .arg = arg };
    struct buf body = { 0 };
    request_json(s, &body);
    struct run_request q = { .path = "/v1/chat/completions", .body = buf_str(&body), .text_only = true,
                             .on_bytes = gather_text, .arg = &g, .timeout_ms = s->options.timeout_ms };
    bool ok = run_request(s->engine, &q, reply, e);
    if (ok)
        json_array_append_new(s->messages, message("assistant", buf_str(&g.text), g.text.len));
    else
        json_array_remove(s->messages, json_array_size(s->messages) - 1);
    buf_release(&g.text);
    buf_release(&body);
    return ok;
}
