/* runtime -- see runtime.h. */
#include "lib/runtime.h"

#include "base/mem.h"
#include "gguf/gguf.h"
#include "sched/draft_model.h"
#include "text/grammar_join.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    BATCH_ROWS = 512,     /* one step's rows: past this the products gain nothing */
    PREFILL_ROWS = 128,   /* a prompt's share of a step while others decode */
    RUNNING_MAX = 64,
    WAITING_MAX = 1024,
    ITL_MS = 150,         /* what a prompt may make others' tokens wait */
    TEMPLATE_BYTES_MAX = 1 << 20,
    PROGRAM_BYTES = 5 << 20, /* stacks, libraries' data, queues, template: measured on a serving engine */
};

/* MemAvailable of /proc/meminfo, or 0 when it cannot be read. Asked for before a sandbox closes /proc. */
static size_t memory_available(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f)
        return 0;
    char line[128];
    unsigned long long kib = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
            break;
    fclose(f);
    return (size_t)kib << 10;
}

struct runtime_options runtime_defaults(void)
{
    return (struct runtime_options){
        .kv_type = KERN_F16,
        .isa = KERN_ISA_COUNT,
        .batch_rows = BATCH_ROWS,
        .prefill_rows = PREFILL_ROWS,
        .running_max = RUNNING_MAX,
        .waiting_max = WAITING_MAX,
        .draft_rows = DRAFT_MAX,
        .draft_fd = -1,
        .itl_ms = ITL_MS,
        .memory_free = memory_available(),
    };
}

/* Enough for 64 full contexts, within a quarter of what is free; sched_new cuts the context to what fits. */
static size_t default_kv_bytes(size_t page_bytes, int ctx, size_t memory_free)
{
    size_t one = page_bytes * (size_t)((ctx + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS);
    size_t quarter = memory_free / 4;
    return quarter && quarter < 64 * one ? quarter : 64 * one;
}

static void collect_end_tokens(struct runtime *r)
{
    for (int id = 0; id < vocab_size(r->vocab) && r->end_count < RUNTIME_END_TOKENS_MAX; id++)
        if (vocab_is_end(r->vocab, id))
            r->end_tokens[r->end_count++] = id;
}

static struct grammar_trie *make_trie(const void *vocab)
{
    const struct vocab *v = vocab;
    size_t n = (size_t)vocab_size(v);
    struct grammar_token *tokens = mem_new(n, sizeof *tokens);
    size_t *at = mem_new(n + 1, sizeof *at);
    struct buf bytes = { 0 };
    for (size_t i = 0; i < n; i++) {
        at[i] = bytes.len;
        grammar_token_bytes(v, (int)i, &bytes);
    }
    at[n] = bytes.len;
    for (size_t i = 0; i < n; i++)
        tokens[i] = (struct grammar_token){ buf_str(&bytes) + at[i], at[i + 1] - at[i] };
    struct grammar_trie *t = grammar_trie_new(tokens, n);
    buf_release(&bytes);
    mem_free(tokens);
    mem_free(at);
    return t;
}

static enum err_code load_chat_template(struct runtime *r, const struct gguf_file *f, struct err *e)
{
    char *text = NULL;
    enum err_code c = gguf_get_string_or_null(f, "tokenizer.chat_template", &text, e);
    if (c || !text)
        return c;
    size_t n = strlen(text);
    if (n > TEMPLATE_BYTES_MAX)
        c = err_set(e, ERR_LIMIT, "the chat template has %zu bytes, at most %d are read", n, TEMPLATE_BYTES_MAX);
    else if (!(r->chat = template_parse(text, n, e)))
        c = err_prefix(e, "chat template of the model");
    mem_free(text);
    return c;
}

static enum err_code load_model(struct runtime *r, const struct gguf_file *f, const struct runtime_options *o,
                                struct err *e)
{
    struct model_load_options mo = {
        .kern = &r->kern,
        .kv_type = o->kv_type,
        .ctx = o->ctx,
        .part = o->part,
        .progress = o->progress,
        .progress_arg = o->progress_arg,
    };
    enum err_code c = model_measure(f, &mo, o->batch_rows, sched_logit_rows(o->running_max, o->draft_rows),
                                    &r->needs, e);
    if (!c)
        c = model_load(f, &mo, r->pool, &r->model, e);
    if (!c && !model_facts(r->model)->causal && !o->encoders)
        c = err_set(e, ERR_UNSUPPORTED, "'%s' is an encoder; it cannot generate text", model_facts(r->model)->arch);
    return c;
}

/* Tokenizer and chat template, read by a thread of their own while the weights are packed. */
struct texts {
    struct runtime *r;
    const struct gguf_file *f;
    enum err_code code;
    struct err error;
};

static void *read_texts(void *arg)
{
    struct texts *t = arg;
    t->code = vocab_new(t->f, NULL, &t->r->vocab, &t->error);
    if (!t->code)
        t->code = load_chat_template(t->r, t->f, &t->error);
    return NULL;
}

static enum err_code load_file(struct runtime *r, const struct gguf_file *f, const struct runtime_options *o,
                               struct err *e)
{
    struct texts t = { .r = r, .f = f };
    pthread_t thread;
    bool beside = !pthread_create(&thread, NULL, read_texts, &t);
    if (!beside)
        read_texts(&t);
    enum err_code c = load_model(r, f, o, e);
    if (beside)
        pthread_join(thread, NULL);
    if (t.code) {
        *e = t.error;
        return t.code;
    }
    if (!c && model_facts(r->model)->vocab != vocab_size(r->vocab))
        c = err_set(e, ERR_CORRUPT, "the model has %d output rows and its tokenizer %d tokens",
                    model_facts(r->model)->vocab, vocab_size(r->vocab));
    return c;
}

/* Guesses are token ids: both models must mean the same by each. */
static enum err_code same_vocab(const struct vocab *a, const struct vocab *b, struct err *e)
{
    if (vocab_size(a) != vocab_size(b))
        return err_set(e, ERR_INVALID, "it has %d tokens and the model %d; choose one of the same family",
                       vocab_size(b), vocab_size(a));
    struct buf x = { 0 }, y = { 0 };
    enum err_code c = ERR_OK;
    for (int id = 0; !c && id < vocab_size(a); id++) {
        buf_clear(&x);
        buf_clear(&y);
        vocab_token_bytes(a, id, true, &x);
        vocab_token_bytes(b, id, true, &y);
        if (x.len != y.len || (x.len && memcmp(x.data, y.data, x.len) != 0) ||
            vocab_is_end(a, id) != vocab_is_end(b, id))
            c = err_set(e, ERR_INVALID, "its token %d is another than the model's; choose one of the same family", id);
    }
    buf_release(&x);
    buf_release(&y);
    return c;
}

static enum err_code load_draft(struct runtime *r, const struct runtime_options *o, struct err *e)
{
    struct gguf_file *f = NULL;
    struct vocab *v = NULL;
    struct model_load_options mo = { .kern = &r->kern, .kv_type = o->kv_type, .ctx = model_ctx(r->model) };
    if (o->draft_fd < 0 || !o->draft_rows)
        return ERR_OK;
    enum err_code c = gguf_open_fd(o->draft_fd, "draft", &f, e);
    c = c ? c : vocab_new(f, NULL, &v, e);
    c = c ? c : same_vocab(r->vocab, v, e);
    c = c ? c : model_load(f, &mo, r->pool, &r->draft, e);
    if (!c && (!model_facts(r->draft)->causal || model_facts(r->draft)->vocab != model_facts(r->model)->vocab))
        c = err_set(e, ERR_INVALID, "it has %d outputs and the model %d", model_facts(r->draft)->vocab,
                    model_facts(r->model)->vocab);
    vocab_free(v);
    gguf_close(f);
    return c ? err_prefix(e, "the draft model cannot guess for this one") : ERR_OK;
}

/* As many positions as the model has, in a quarter of its memory at most. */
static size_t draft_kv_bytes(const struct runtime *r, size_t kv_bytes)
{
    if (!r->draft)
        return 0;
    size_t page = model_kv_page_bytes(r->draft), pages = kv_bytes / model_kv_page_bytes(r->model);
    return pages * page < kv_bytes / 4 ? pages * page : kv_bytes / 4;
}

/* A part keeps the keys and values of its layers; the other parts as many positions in their memory. */
static size_t kv_bytes_here(const struct runtime *r, const struct runtime_options *o)
{
    struct model_part part = model_part(r->model);
    size_t page = model_kv_page_bytes(r->model), all = (size_t)model_facts(r->model)->layers;
    size_t own = (size_t)(part.end - part.first), counted = o->kv_layers ? (size_t)o->kv_layers : all;
    if (own == all)
        return o->kv_bytes ? o->kv_bytes : default_kv_bytes(page, model_ctx(r->model), o->memory_free);
    if (o->kv_bytes)
        return o->kv_bytes / (page / own * all) * page;
    return default_kv_bytes(page / own * counted, model_ctx(r->model), o->memory_free) / counted * own;
}

static enum err_code start_sched(struct runtime *r, const struct runtime_options *o, struct err *e)
{
    collect_end_tokens(r);
    r->trie = grammar_trie_later(make_trie, r->vocab, (size_t)vocab_size(r->vocab));
    struct sched_options so = {
        .vocab = r->vocab,
        .trie = r->trie,
        .batch_rows = o->batch_rows,
        .prefill_rows = o->prefill_rows,
        .running_max = o->running_max,
        .waiting_max = o->waiting_max,
        .draft_rows = o->draft_rows,
        .draft_always = o->draft_always,
        .draft_model = r->draft,
        .itl_ms = o->itl_ms,
        .ttft_ms = o->ttft_ms,
        .kv_bytes = kv_bytes_here(r, o),
        .rest = o->rest,
        .end_tokens = r->end_tokens,
        .end_count = r->end_count,
    };
    so.draft_kv_bytes = draft_kv_bytes(r, so.kv_bytes);
    return sched_new(r->model, r->pool, &so, &r->sched, e);
}

/* A file that says nothing: an encoder's mean, a decoder's last token. */
static struct api_pooling pooling_of(const struct model *m, const struct runtime_options *o)
{
    const struct model_facts *f = model_facts(m);
    struct api_pooling p = { .how = f->pooling, .dim = f->dim, .labels = f->labels, .encoder = !f->causal,
                             .segments = f->has_segments, .matryoshka = o->matryoshka };
    bool decoder_can = p.how == MODEL_POOL_MEAN || p.how == MODEL_POOL_LAST;
    if (f->causal ? !decoder_can : p.how == MODEL_POOL_UNSAID)
        p.how = f->causal ? MODEL_POOL_LAST : f->labels ? MODEL_POOL_RANK : MODEL_POOL_MEAN;
    return p;
}

/* ---- adapters */

static enum err_code load_adapter(const struct runtime *r, int fd, const char *name, struct model_adapter **out,
                                  struct err *e)
{
    struct gguf_file *f = NULL;
    enum err_code c = gguf_open_fd(fd, name, &f, e);
    if (!c)
        c = model_adapter_load(f, r->model, 1, out, e);
    gguf_close(f);
    return c ? err_prefix(e, "adapter '%s'", name) : ERR_OK;
}

static enum err_code keep_adapter(struct runtime *r, int fd, const char *name, int rank_max, int *rank,
                                  struct err *e)
{
    struct model_adapter *a = NULL;
    enum err_code c = load_adapter(r, fd, name, &a, e);
    *rank = c ? 0 : model_adapter_facts(a)->rank;
    if (*rank > rank_max)
        c = err_set(e, ERR_LIMIT, "adapter '%s': it has rank %d and there is room for %d; start with --lora-rank %d",
                    name, *rank, rank_max, *rank);
    if (!c)
        c = api_adapters_put(&r->adapters, name, a, e);
    if (c)
        model_adapter_free(a);
    return c;
}

/* Each, then the room for their ranks. */
static enum err_code add_adapters(struct runtime *r, const struct runtime_options *o, struct err *e)
{
    enum err_code c = ERR_OK;
    int most = o->adapter_slots ? o->adapter_rank : 0, rank;
    for (int i = 0; i < o->adapter_count && !c; i++) {
        c = keep_adapter(r, o->adapters[i].fd, o->adapters[i].name, MODEL_RANK_MAX, &rank, e);
        most = rank > most ? rank : most;
    }
    if (!c && most)
        sched_allow_adapters(r->sched, most);
    r->adapters_first = o->adapter_count;
    r->adapter_slots = o->adapter_slots;
    r->adapter_rank = o->adapter_rank;
    return c;
}

static int adapters_now(struct runtime *r)
{
    json_t *names = api_adapters_names(&r->adapters);
    int n = (int)json_array_size(names);
    json_decref(names);
    return n;
}

enum err_code runtime_adapter_add(struct runtime *r, const char *name, int fd, struct err *e)
{
    int rank;
    if (adapters_now(r) >= r->adapters_first + r->adapter_slots)
        return err_set(e, ERR_LIMIT, "adapter '%.80s': all %d slots are taken; remove one, or start with more "
                       "--lora-slots", name, r->adapter_slots);
    return keep_adapter(r, fd, name, r->adapter_rank, &rank, e);
}

enum err_code runtime_adapter_remove(struct runtime *r, const char *name, struct err *e)
{
    enum err_code c = api_adapters_drop(&r->adapters, name, e);
    if (!c)
        mem_trim();
    return c;
}

enum err_code runtime_open(int fd, const char *name, const struct runtime_options *o, struct runtime **out,
                           struct err *e)
{
    struct runtime *r = MEM_NEW(struct runtime);
    struct gguf_file *f = NULL;
    api_adapters_init(&r->adapters);
    kern_table_fill(&r->kern, kern_isa_detect(o->isa));
    r->pool = pool_new(o->threads ? o->threads : pool_default_threads());
    r->id = mem_strdup(o->id ? o->id : name);
    enum err_code c = gguf_open_fd(fd, name, &f, e);
    if (!c)
        c = load_file(r, f, o, e);
    gguf_close(f);
    if (!c)
        c = load_draft(r, o, e);
    if (!c)
        c = start_sched(r, o, e);
    if (c) {
        runtime_close(r);
        return c;
    }
    c = add_adapters(r, o, e);
    if (c) {
        runtime_close(r);
        return c;
    }
    r->api = (struct api_model){ .id = r->id, .vocab = r->vocab, .chat = r->chat, .ctx = sched_ctx(r->sched),
                                 .trie = r->trie, .adapters = &r->adapters, .pooling = pooling_of(r->model, o) };
    if (r->chat)
        r->api.form = r->form = api_form_new(&r->api);
    mem_trim();
    *out = r;
    return ERR_OK;
}

/* The guessing model's part of the plan: weights, work, and pages beside each of the model's (draft_kv_bytes). */
static enum err_code add_draft_needs(const struct runtime_options *o, int ctx, struct model_needs *needs, struct err *e)
{
    struct gguf_file *f = NULL;
    struct model_needs n;
    struct model_load_options mo = { .kv_type = o->kv_type, .ctx = ctx };
    enum err_code c = gguf_open_fd(o->draft_fd, "draft", &f, e);
    c = c ? c : model_measure(f, &mo, DRAFT_CATCH_UP, DRAFT_STREAMS_MAX, &n, e);
    gguf_close(f);
    if (c)
        return err_prefix(e, "the draft model");
    needs->weight_bytes += n.weight_bytes;
    needs->work_bytes += n.work_bytes;
    needs->kv_page_bytes += n.kv_page_bytes < needs->kv_page_bytes / 4 ? n.kv_page_bytes : needs->kv_page_bytes / 4;
    return ERR_OK;
}

size_t runtime_host_bytes(const struct gguf_file *f)
{
    return vocab_measure(f) + PROGRAM_BYTES;
}

enum err_code runtime_measure(int fd, const char *name, const struct runtime_options *o, struct model_needs *needs,
                              int *ctx, struct err *e)
{
    struct gguf_file *f = NULL;
    enum err_code c = gguf_open_fd(fd, name, &f, e);
    if (c)
        return c;
    struct model_load_options mo = { .kv_type = o->kv_type, .ctx = o->ctx, .part = o->part };
    struct gguf_str arch = { "", 0 };
    char key[GGUF_NAME_MAX];
    int64_t positions = o->ctx;
    c = model_measure(f, &mo, o->batch_rows, sched_logit_rows(o->running_max, o->draft_rows), needs, e);
    if (!c)
        needs->work_bytes += runtime_host_bytes(f) +
                             (size_t)o->adapter_slots * model_adapter_measure(f, o->adapter_rank);
    gguf_value_string(gguf_find(f, "general.architecture"), &arch);
    snprintf(key, sizeof key, "%.*s.context_length", (int)(arch.len < 64 ? arch.len : 64), arch.data);
    if (!positions)
        gguf_value_int(gguf_find(f, key), &positions);
    *ctx = positions > 0 && positions < INT32_MAX ? (int)positions : 1;
    gguf_close(f);
    return c || o->draft_fd < 0 || !o->draft_rows ? c : add_draft_needs(o, *ctx, needs, e);
}

void runtime_close(struct runtime *r)
{
    if (!r)
        return;
    sched_free(r->sched);
    api_adapters_release(&r->adapters);
    model_free(r->model);
    model_free(r->draft);
    calls_form_free(r->form);
    template_free(r->chat);
    grammar_trie_free(r->trie);
    vocab_free(r->vocab);
    pool_free(r->pool);
    mem_free(r->id);
    mem_free(r);
}

void runtime_facts_json(struct runtime *r, struct buf *out)
{
    const struct model_facts *f = model_facts(r->model);
    struct sched_stats s;
    sched_stats(r->sched, &s);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:i, s:s, s:i, s:b}",
                          "id", r->id, "arch", f->arch, "name", f->name, "type", f->type_name,
                          "ctx", sched_ctx(r->sched), "ctx_train", f->ctx_train, "vocab", f->vocab,
                          "layers", f->layers, "dim", f->dim, "params", (json_int_t)f->params,
                          "weight_bytes", (json_int_t)f->weight_bytes,
                          "kv_bytes", (json_int_t)((size_t)s.kv_pages * model_kv_page_bytes(r->model)),
                          "kv_tokens", s.kv_pages * KERN_PAGE_TOKENS, "isa", r->kern.name,
                          "threads", pool_threads(r->pool), "chat", r->chat != NULL);
    json_object_set_new(j, "adapters", api_adapters_names(&r->adapters));
    json_object_set_new(j, "embeds", json_boolean(true));
    json_object_set_new(j, "generates", json_boolean(f->causal));
    const struct sched_options *o = sched_options(r->sched);
    json_object_set_new(j, "scheduler", json_pack("{s:f, s:f, s:i, s:i, s:i, s:i, s:i}",
                        "target_itl_ms", o->itl_ms, "target_ttft_ms", o->ttft_ms, "running_max", o->running_max,
                        "batch_rows", o->batch_rows, "prefill_rows", o->prefill_rows, "draft_rows", o->draft_rows,
                        "page_tokens", KERN_PAGE_TOKENS));
    jsonx_dump(j, out);
    json_decref(j);
}
