/* replay -- tokenworks replay: a disclosed request, run again, must give the bytes its receipt commits to.
 *
 * Decoding is deterministic: the same build, instruction set, weights and seed draw the same tokens whatever else ran
 * beside. What the receipt does not fix is how much of the prompt came from the prefix cache, which the usage object
 * tells: every count is tried. */
#include "cmd/cmd.h"

#include "base/file.h"
#include "base/mem.h"
#include "cmd/model_path.h"
#include "lib/runtime.h"
#include "trust/modelsig.h"
#include "trust/note.h"
#include "trust/numerics.h"
#include "trust/receipt.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NOTE_MAX = 1 << 16, BODY_MAX = 32 << 20, EVENTS_MAX = 1 << 22 };

struct replay_options {
    const char *request, *salt, *salts, *model, *name, *path, *state, *isa, *kv_type, *out;
    int64_t threads, ctx;
};

#define FIELD(name) OPT_FIELD(struct replay_options, name)
static const struct opt rows[] = {
    { "request", 'r', OPT_STRING, "FILE", "the request's body, as it was sent", FIELD(request), 0, 0 },
    { "salt", 0, OPT_STRING, "BASE64", "TW-Receipt-Salt of an open request", FIELD(salt), 0, 0 },
    { "salts", 0, OPT_STRING, "FILE", "of a sealed one: <id>.salts, which the proxy keeps", FIELD(salts), 0, 0 },
    { "model", 'm', OPT_STRING, "FILE|NAME", "the weights", FIELD(model), 0, 0 },
    { "name", 'n', OPT_STRING, "NAME", "what the server called the model (its file's name)", FIELD(name), 0, 0 },
    { "path", 0, OPT_STRING, "PATH", "which route was asked (from the id; /v1/chat/completions)", FIELD(path), 0, 0 },
    { "threads", 't', OPT_INT, "N", "kernel threads (one per processor)", FIELD(threads), 1, 512 },
    { "ctx", 0, OPT_INT, "N", "the server's --ctx, where one was given", FIELD(ctx), 1, 1 << 24 },
    { "isa", 0, OPT_STRING, "NAME", "the server's rung: ref, avx2, avx512, amx", FIELD(isa), 0, 0 },
    { "kv-type", 0, OPT_STRING, "TYPE", "the server's: f16, q8_0 ...", FIELD(kv_type), 0, 0 },
    { "out", 'o', OPT_STRING, "FILE", "write the answer here", FIELD(out), 0, 0 },
    { "state", 0, OPT_STRING, "DIR", "where models are", FIELD(state), 0, 0 },
    { 0 } };
const struct opt_command cmd_replay_spec = {
    "replay", "RECEIPT --request FILE --salt BASE64 --model FILE", "run a disclosed request again and compare",
    "Exits 0 when the answer is the one the receipt commits to. Another build, instruction set, type of keys and\n"
    "values or model is another arithmetic: then nothing is run, and the sentence says so. The receipt's signature\n"
    "is the audit's to check.", rows };

struct salts {
    uint8_t request[COMMIT_SALT_BYTES], response[COMMIT_SALT_BYTES];
};

static struct span as_span(const struct buf *b)
{
    return (struct span){ buf_str(b), b->len };
}

static bool commits(enum commit_role role, const uint8_t salt[COMMIT_SALT_BYTES], const struct buf *content,
                    const uint8_t want[HASH_BYTES])
{
    struct commit c;
    uint8_t have[HASH_BYTES];
    commit_begin(&c, role, salt);
    commit_add(&c, buf_str(content), content->len);
    commit_end(&c, have);
    return code_same(have, want, HASH_BYTES);
}

static bool salt_line(struct span *rest, const char *word, uint8_t out[COMMIT_SALT_BYTES])
{
    struct span line, key, value;
    return span_line(rest, &line) && span_cut(line, ' ', &key, &value) && span_is(key, word) &&
           code_unbase64_exact(out, COMMIT_SALT_BYTES, value);
}

static enum err_code read_salts(const struct replay_options *o, struct salts *out, struct err *e)
{
    struct buf text = { 0 };
    bool ok = false;
    enum err_code c = ERR_OK;
    if (o->salts) {
        c = file_read(o->salts, NOTE_MAX, &text, e);
        struct span rest = as_span(&text);
        ok = !c && salt_line(&rest, "request", out->request) && salt_line(&rest, "response", out->response);
    } else {
        ok = o->salt && code_unbase64_exact(out->request, COMMIT_SALT_BYTES, span_of(o->salt));
        memcpy(out->response, out->request, sizeof out->response);
    }
    buf_release(&text);
    return c ? c : ok ? ERR_OK : err_set(e, ERR_INVALID, "give --salt or --salts: 32 bytes in base64");
}

static enum err_code read_receipt(const char *path, struct receipt *r, struct err *e)
{
    struct buf text = { 0 };
    struct note *n = MEM_NEW(struct note);
    enum err_code c = file_read(path, NOTE_MAX, &text, e);
    if (!c)
        c = note_parse(as_span(&text), n, e);
    if (!c)
        c = receipt_parse(n->text, r, e);
    if (!c && (!r->allow || !r->has_response || !r->has_seed || !r->has_numerics))
        c = err_set(e, ERR_INVALID, "%s is of a request that was not answered by a model: there is nothing to replay",
                    path);
    if (!c && (!strcmp(r->finish, "aborted") || !strcmp(r->finish, "error")))
        c = err_set(e, ERR_INVALID, "the request was %s: how far its answer went is not to be computed", r->finish);
    mem_free(n);
    buf_release(&text);
    return c;
}

/* ---- running it */

struct event { /* a token of a choice, or its end */
    int choice;
    bool ends;
    enum infer_finish why;
    struct infer_token token;
};

struct run {
    struct runtime *runtime;
    struct api_request request;
    struct api_job *job;      /* the one that is run; others are written from its events */
    struct event *events;
    int count, room, open;
    struct buf scratch;
};

struct choice {
    struct run *run;
    int index;
};

static struct event *add_event(struct run *r, int choice)
{
    if (r->count == r->room) {
        r->room = r->room ? 2 * r->room : 256;
        r->events = mem_grow(r->events, (size_t)r->room, sizeof *r->events);
    }
    r->events[r->count] = (struct event){ .choice = choice };
    return &r->events[r->count++];
}

static bool on_token(void *user, const struct infer_token *t)
{
    struct choice *c = user;
    add_event(c->run, c->index)->token = *t;
    buf_clear(&c->run->scratch);
    return api_choice_token(c->run->job, c->index, t, &c->run->scratch) || c->run->count >= EVENTS_MAX;
}

static void on_finish(void *user, enum infer_finish why)
{
    struct choice *c = user;
    struct event *v = add_event(c->run, c->index);
    v->ends = true;
    v->why = why;
    c->run->open--;
}

static void on_start(void *user, int cached_tokens)
{
}

static const struct sched_events events = { .token = on_token, .finish = on_finish, .start = on_start };

static enum err_code generate(struct run *r, struct err *e)
{
    struct api_error error = { 0 };
    r->job = api_job_parse(&r->runtime->api, &r->request, &error);
    if (!r->job)
        return err_set(e, ERR_INVALID, "the request is not one that was answered: %s", error.message);
    int n = api_job_choices(r->job);
    const struct infer_params *p = api_job_params(r->job);
    struct choice *choices = mem_new((size_t)n + 1, sizeof *choices);
    enum err_code c = ERR_OK;
    if (api_job_pools(r->job) || !n)
        c = err_set(e, ERR_UNSUPPORTED, "only generated text is replayed");
    api_job_begin(r->job, &r->scratch);
    for (int i = 0; !c && i < n; i++) {
        const struct vocab_ids *prompt = api_job_prompt(r->job, i);
        choices[i] = (struct choice){ r, i };
        const struct sched_spec spec = { .prompt = prompt->v, .prompt_count = (int)prompt->count, .params = p,
                                         .seed = p->seed + (uint64_t)i, .events = &events, .user = &choices[i] };
        struct sched_seq *seq;
        c = sched_add(r->runtime->sched, &spec, &seq, e);
        r->open += !c;
    }
    while (!c && r->open > 0 && sched_step(r->runtime->sched) > 0)
        ;
    if (!c && r->open)
        c = err_set(e, ERR_IO, "the scheduler stopped before the answer's end");
    mem_free(choices);
    return c;
}

/* The answer's bytes, had so much of the prompt come from the cache. */
static void render(const struct run *r, int cached, struct buf *out)
{
    struct api_error error;
    struct api_job *j = api_job_parse(&r->runtime->api, &r->request, &error);
    struct api_usage u = { .cached_tokens = cached };
    const struct vocab_ids *before = NULL;
    for (int i = 0; i < api_job_choices(j); i++) {
        u.prompt_tokens += api_job_prompt(j, i) == before ? 0 : (int)api_job_prompt(j, i)->count;
        before = api_job_prompt(j, i);
    }
    buf_clear(out);
    api_job_begin(j, out);
    for (int i = 0; i < r->count; i++) {
        const struct event *v = &r->events[i];
        if (v->ends)
            api_choice_finish(j, v->choice, v->why, out);
        else
            api_choice_token(j, v->choice, &v->token, out);
        u.completion_tokens += !v->ends;
    }
    api_job_end(j, &u, out);
    api_job_free(j);
}

static enum err_code compare(const struct run *r, const struct receipt *receipt, const struct salts *salts,
                             const char *out_path, struct err *e)
{
    struct buf answer = { 0 };
    int prompt = (int)receipt->tokens_in, at = -1;
    for (int cached = 0; cached <= prompt && at < 0; cached++) {
        render(r, cached, &answer);
        at = commits(COMMIT_RESPONSE, salts->response, &answer, receipt->response) ? cached : -1;
    }
    if (at < 0)
        render(r, 0, &answer);
    enum err_code c = out_path ? file_write(out_path, answer.data, answer.len, e) : ERR_OK;
    buf_release(&answer);
    if (!c && at < 0)
        c = err_set(e, ERR_DENIED, "the answer is not the one the receipt commits to: other weights, or changed "
                    "afterwards (or its usage counts guesses, which depend on what ran beside)");
    if (!c)
        printf("the same answer: %" PRIu64 " tokens, %d of the prompt from the cache\n", receipt->tokens_out, at);
    return c;
}

/* ---- the same arithmetic? */

static enum err_code check_numerics(const struct receipt *r, int fd, const struct runtime *runtime,
                                    enum kern_type kv_type, struct err *e)
{
    uint8_t build[HASH_BYTES], weights[HASH_BYTES], mine[HASH_BYTES];
    char model[HASH_TEXT_MAX];
    enum err_code c = numerics_build(build, e);
    if (!c)
        c = modelsig_hash_fd(fd, weights, e);
    if (c)
        return c;
    numerics_id(build, runtime->kern.name, kern_type_info((int)kv_type)->name, weights, mine);
    code_hash_text(model, weights);
    if (code_same(mine, r->numerics, HASH_BYTES))
        return ERR_OK;
    return err_set(e, ERR_UNSUPPORTED, "the receipt was made by another arithmetic than this build on %s with %s keys "
                   "and values and weights %.23s...: take the program its release note names, on the same kind of "
                   "processor (--isa, --kv-type), with the model its model note names", runtime->kern.name,
                   kern_type_info((int)kv_type)->name, model);
}

static const char *path_of(const struct replay_options *o, const char *id)
{
    static const char *const known[][2] = { { "cmpl-", "/v1/completions" }, { "msg_", "/v1/messages" },
                                            { "resp_", "/v1/responses" } };
    for (size_t i = 0; !o->path && i < MEM_COUNT(known); i++)
        if (!strncmp(id, known[i][0], strlen(known[i][0])))
            return known[i][1];
    return o->path ? o->path : "/v1/chat/completions";
}

static enum err_code open_runtime(const struct replay_options *o, const char *name, int fd,
                                  struct runtime_options *ro, struct runtime **out, struct err *e)
{
    *ro = runtime_defaults();
    ro->id = name;
    ro->threads = (int)o->threads;
    ro->ctx = (int)o->ctx;
    if (o->isa && !kern_isa_by_name(o->isa, &ro->isa))
        return err_set(e, ERR_INVALID, "--isa %.20s: choose ref, avx2, avx512 or amx", o->isa);
    if (o->kv_type && !model_kv_type_by_name(o->kv_type, &ro->kv_type))
        return err_set(e, ERR_INVALID, "--kv-type %.20s is no type of keys and values", o->kv_type);
    return runtime_open(fd, name, ro, out, e);
}

static enum err_code replay(const struct replay_options *o, const char *receipt_path, struct err *e)
{
    struct receipt *r = MEM_NEW(struct receipt);
    struct run run = { 0 };
    struct salts salts;
    struct buf body = { 0 };
    struct model_path model = { 0 };
    struct runtime_options ro;
    int fd = -1;
    enum err_code c = read_receipt(receipt_path, r, e);
    if (!c)
        c = read_salts(o, &salts, e);
    if (!c)
        c = file_read(o->request, BODY_MAX, &body, e);
    if (!c && !commits(COMMIT_REQUEST, salts.request, &body, r->request))
        c = err_set(e, ERR_DENIED, "%s is not the request of this receipt, or the salt is not its salt", o->request);
    if (!c)
        c = model_path_find(o->model, o->state, &model, e);
    if (!c && (fd = open(model.path, O_RDONLY | O_CLOEXEC)) < 0)
        c = err_errno(e, "%s: cannot open the model", model.path);
    if (!c)
        c = open_runtime(o, o->name ? o->name : model.id, fd, &ro, &run.runtime, e);
    if (!c)
        c = check_numerics(r, fd, run.runtime, ro.kv_type, e);
    run.request = (struct api_request){ .path = path_of(o, r->id), .body = buf_str(&body), .body_len = body.len,
                                        .response_id = r->id, .created = r->started, .seed = r->seed };
    if (!c)
        c = generate(&run, e);
    if (!c)
        c = compare(&run, r, &salts, o->out, e);
    api_job_free(run.job);
    if (run.runtime)
        runtime_close(run.runtime);
    if (fd >= 0)
        close(fd);
    mem_free(run.events);
    buf_release(&run.scratch);
    buf_release(&body);
    model_path_release(&model);
    mem_free(r);
    return c;
}

int cmd_replay(int argc, char **argv)
{
    struct replay_options o = { .model = "default" };
    struct err e = { 0 };
    int n;
    enum opt_result r = opt_parse(&cmd_replay_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (n != 1 || !o.request) {
        fprintf(stderr, "tokenworks replay: give the receipt and --request\n");
        return 2;
    }
    enum err_code c = trust_init(&e);
    if (!c)
        c = replay(&o, argv[1], &e);
    return c ? cmd_fail(&cmd_replay_spec, &e) : 0;
}
