/* job -- see job.h. */
#include "engine/job.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct choice {
    struct job *job;
    struct sched_seq *seq; /* NULL once finished */
    int64_t last_ns;       /* of its previous token */
};

struct job {
    struct job *next;
    struct job_table *table;
    uint64_t id, seq;        /* exchange, and the next frame of it */
    uint32_t attempt;
    struct api_job *api;     /* NULL: refused, and the refusal is sealed */
    struct sealed *sealed;   /* it came sealed: its bytes leave sealed, its end waits for the receipt */
    bool asked, noted;       /* for the receipt; it came */
    bool counted_late, said_late; /* its deadline passed; before anything was begun */
    struct choice *choices;  /* [count] */
    int count, open;         /* open: choices not finished */
    int added;               /* choices the scheduler has seen; texts to be pooled come a few at a time */
    struct sched_spec ask;   /* what all choices have in common */
    struct api_usage usage;
    struct resume resume;    /* what another engine had drawn of it; count 0: it begins here */
    struct buf out, tokens;  /* tokens: ids, u32 each, not yet sent: of a stream, or of what tells */
    bool tells;              /* of its one choice: tokens are sent though there are no bytes of them yet */
    bool head_sent, begun, cancelled, credited;
    int64_t credit;          /* data frames that may still be sent, when credited */
    int64_t received_ns, started_ns, first_ns; /* 0: not yet; first: the first token */
    enum infer_finish last_finish;
    int64_t page_ns;         /* pages of KV memory times the time they were held, of choices that ended */
};

struct job_table {
    struct sched *sched;
    struct link *link;
    struct metric *metric;
    struct job *jobs;
    int count;
};

struct job_table *engine_job_table_new(struct sched *s, struct link *l, struct metric *m)
{
    struct job_table *t = MEM_NEW(struct job_table);
    *t = (struct job_table){ .sched = s, .link = l, .metric = m };
    return t;
}

int engine_job_count(const struct job_table *t)
{
    return t->count;
}

/* ---- frames */

enum { TOKENS_FRAME_MAX = 4096, TELL_TOKENS = 8 };

static void send_frame_flags(struct job *j, enum frame_kind kind, uint16_t flags, const char *payload, size_t n)
{
    engine_link_send(j->table->link, &(struct frame){ .kind = kind, .flags = flags, .id = j->id, .attempt = j->attempt,
                                                      .seq = j->seq++, .payload = payload, .length = n });
}

static void send_frame(struct job *j, enum frame_kind kind, const char *payload, size_t n)
{
    send_frame_flags(j, kind, 0, payload, n);
}

static void send_head(struct job *j)
{
    struct buf b = { 0 };
    buf_printf(&b, "{\"status\":%d,\"headers\":{\"content-type\":\"%s\"}}", j->sealed ? 200 : api_job_status(j->api),
               j->sealed ? sealed_content_type(j->sealed) : api_job_content_type(j->api));
    send_frame(j, FRAME_HEAD, buf_str(&b), b.len);
    buf_release(&b);
    j->head_sent = true;
}

static void usage_json(const struct job *j, struct buf *b)
{
    buf_printf(b, "{\"prompt_tokens\":%d,\"cached_tokens\":%d,\"completion_tokens\":%d}", j->usage.prompt_tokens,
               j->usage.cached_tokens, j->usage.completion_tokens);
}

/* What the draw depends on beside the request, for the receipt: "temperature=0.7 top_p=0.9". */
static void sampling_text(const struct infer_params *p, struct buf *b)
{
    buf_printf(b, "temperature=%g top_p=%g top_k=%d min_p=%g", (double)p->temperature, (double)p->top_p, p->top_k,
               (double)p->min_p);
}

/* queued: nothing is computed yet, the prompt is only counted. */
static void send_usage_frame(struct job *j, bool queued)
{
    struct buf b = { 0 };
    const struct infer_params *p = api_job_params(j->api);
    usage_json(j, &b);
    b.len--; /* the brace */
    buf_puts(&b, queued ? ",\"queued\":true" : "");
    if (j->resume.count)
        buf_printf(&b, ",\"resumed\":%d", j->resume.count);
    buf_printf(&b, ",\"seed\":%llu,\"sampling\":\"", (unsigned long long)p->seed);
    sampling_text(p, &b);
    buf_puts(&b, "\"");
    if (j->sealed) {
        buf_puts(&b, ",\"receipt\":");
        sealed_draft(j->sealed, false, &b);
    }
    buf_puts(&b, "}");
    send_frame(j, FRAME_USAGE, buf_str(&b), b.len);
    buf_release(&b);
}

static const char *finish_name(enum infer_finish why)
{
    static const char *const names[] = { "running", "stop", "length", "cancelled", "failed", "deadline" };
    return names[why];
}

static void send_end(struct job *j)
{
    struct buf b = { 0 };
    int64_t now = clock_mono_ns();
    buf_printf(&b, "{\"finish\":\"%s\",\"usage\":", finish_name(j->cancelled ? INFER_CANCELLED : j->last_finish));
    usage_json(j, &b);
    int64_t first_ns = j->first_ns ? j->first_ns : now, started_ns = j->started_ns ? j->started_ns : first_ns;
    buf_printf(&b, ",\"kv_page_ms\":%lld", (long long)(j->page_ns / 1000000));
    buf_printf(&b, ",\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,\"total_ms\":%.3f}",
               (double)(started_ns - j->received_ns) / 1e6, (double)(first_ns - started_ns) / 1e6,
               (double)(now - first_ns) / 1e6, (double)(now - j->received_ns) / 1e6);
    send_frame(j, FRAME_END, buf_str(&b), b.len);
    buf_release(&b);
}

static void measure(struct job *j)
{
    int64_t now = clock_mono_ns(), first_ns = j->first_ns ? j->first_ns : now;
    int64_t started_ns = j->started_ns ? j->started_ns : first_ns;
    api_job_measured(j->api, &(struct api_measure){ .cached_tokens = j->usage.cached_tokens,
                     .queue_ns = started_ns - j->received_ns, .prefill_ns = first_ns - started_ns,
                     .decode_ns = now - first_ns, .total_ns = now - j->received_ns });
}

/* A stream's data frame says which tokens it holds, so that who bills need not guess: u16 count, ids, bytes. */
static size_t send_with_tokens(struct job *j)
{
    size_t count = j->tokens.len / 4 < TOKENS_FRAME_MAX ? j->tokens.len / 4 : TOKENS_FRAME_MAX;
    size_t room = FRAME_PAYLOAD_MAX - 2 - 4 * count, n = j->out.len < room ? j->out.len : room;
    struct buf b = { 0 };
    buf_put_u16(&b, (uint16_t)count);
    buf_append(&b, j->tokens.data, 4 * count);
    buf_append(&b, j->out.data, n);
    send_frame_flags(j, FRAME_DATA, FRAME_TOKENS, buf_str(&b), b.len);
    buf_release(&b);
    buf_drop_front(&j->tokens, 4 * count);
    j->credit--;
    return n;
}

/* What the front needs for the receipt of a sealed exchange: commitments, decision, counts; nothing of its content. */
static void ask_for_receipt(struct job *j)
{
    struct buf b = { 0 };
    const char *finish = !j->api ? "error" : finish_name(j->last_finish);
    if (j->api) /* the status of an answer that failed on the way */
        sealed_head(j->sealed, api_job_status(j->api), api_job_content_type(j->api), api_job_stream(j->api));
    buf_puts(&b, "{\"receipt\":");
    sealed_draft(j->sealed, true, &b);
    buf_printf(&b, ",\"finish\":\"%s\",\"usage\":", finish);
    usage_json(j, &b);
    buf_puts(&b, "}");
    send_frame(j, FRAME_RECEIPT, buf_str(&b), b.len);
    buf_release(&b);
    j->asked = true;
}

static void seal_out(struct job *j)
{
    struct buf plain = j->out;
    j->out = (struct buf){ 0 };
    if (!j->noted)
        sealed_content(j->sealed, &plain, &j->out);
    else
        j->out = plain, plain = (struct buf){ 0 }; /* sealed_finish made these */
    buf_release(&plain);
}

/* Data frames of at most FRAME_PAYLOAD_MAX. */
static void send_out(struct job *j)
{
    if (j->sealed)
        seal_out(j);
    if (j->out.len && !j->head_sent)
        send_head(j);
    if (j->out.len && j->api && api_job_stream(j->api))
        buf_drop_front(&j->out, send_with_tokens(j));
    for (size_t at = 0; at < j->out.len;) {
        size_t n = j->out.len - at < FRAME_PAYLOAD_MAX ? j->out.len - at : FRAME_PAYLOAD_MAX;
        send_frame(j, FRAME_DATA, j->out.data + at, n);
        at += n;
        j->credit--;
    }
    buf_clear(&j->out);
    if (j->tells && j->open && j->tokens.len >= 4 * TELL_TOKENS)
        send_with_tokens(j); /* and no bytes: nobody is shown these yet, and another engine need not draw them */
}

/* ---- what the scheduler tells */

static void on_start(void *user, int cached_tokens)
{
    struct choice *c = user;
    struct job *j = c->job;
    int index = (int)(c - j->choices);
    int64_t now = clock_mono_ns();
    /* A prompt is counted once however many choices it has; so are its cached tokens. */
    bool first_of_prompt = index == 0 || api_job_prompt(j->api, index) != api_job_prompt(j->api, index - 1);
    if (j->resume.cached_tokens >= 0) /* the answer's bytes may tell it */
        j->usage.cached_tokens = j->resume.cached_tokens;
    else if (first_of_prompt)
        j->usage.cached_tokens += cached_tokens;
    c->last_ns = now;
    if (j->begun)
        return;
    j->begun = true;
    j->started_ns = now;
    engine_metric_observe(j->table->metric, METRIC_QUEUE, (double)(now - j->received_ns) / 1e9);
    send_usage_frame(j, false);
    if (api_job_stream(j->api) && !j->sealed)
        send_head(j);
    measure(j);
    api_job_begin(j->api, &j->out);
}

static bool on_token(void *user, const struct infer_token *t)
{
    struct choice *c = user;
    struct job *j = c->job;
    int64_t now = clock_mono_ns();
    bool first = j->usage.completion_tokens++ == 0;
    j->first_ns = first ? now : j->first_ns;
    engine_metric_observe(j->table->metric, first ? METRIC_TTFT : METRIC_ITL,
                   (double)(now - (first ? j->received_ns : c->last_ns)) / 1e9);
    c->last_ns = now;
    if (api_job_stream(j->api) || j->tells)
        buf_put_u32(&j->tokens, j->sealed ? 0 : (uint32_t)t->id); /* counted by the front, not read */
    return api_choice_token(j->api, (int)(c - j->choices), t, &j->out);
}

static void on_finish(void *user, enum infer_finish why)
{
    struct choice *c = user;
    struct job *j = c->job;
    struct sched_drafts drafts = sched_seq_drafts(c->seq);
    api_job_guessed(j->api, drafts.accepted, drafts.rejected);
    j->page_ns += sched_seq_page_ns(c->seq);
    c->seq = NULL;
    j->open--;
    j->last_finish = j->last_finish == INFER_DEADLINE ? j->last_finish : why;
    if (j->cancelled)
        return;
    api_choice_finish(j->api, (int)(c - j->choices), why, &j->out);
    if (j->open || j->added < j->count)
        return;
    measure(j);
    api_job_end(j->api, &j->usage, &j->out);
}

static void on_vector(void *user, const float *v, int n)
{
    struct choice *c = user;
    if (!c->job->cancelled)
        api_choice_vector(c->job->api, (int)(c - c->job->choices), v, n);
}

static const struct sched_events events = { .token = on_token, .finish = on_finish, .start = on_start,
                                            .vector = on_vector };

/* ---- life */

static void free_job(struct job *j)
{
    ASSERT(j->open == 0);
    api_job_free(j->api);
    sealed_free(j->sealed);
    buf_release(&j->out);
    buf_release(&j->tokens);
    mem_free(j->resume.tokens);
    mem_free(j->choices);
    mem_free(j);
}

static struct job **find(struct job_table *t, uint64_t id, uint32_t attempt)
{
    struct job **at = &t->jobs;
    while (*at && ((*at)->id != id || (*at)->attempt != attempt))
        at = &(*at)->next;
    return at;
}

static void cancel_choices(struct job *j)
{
    j->cancelled = true;
    for (int i = 0; i < j->count; i++)
        if (j->choices[i].seq)
            sched_cancel(j->table->sched, j->choices[i].seq);
}

enum { TEXTS_AT_ONCE = 64 }; /* a request of two thousand texts leaves place for others in the queue */

/* Adds texts to be pooled while few of them are under way; false with a sentence when the queue is full. */
static bool add_texts(struct job *j, struct err *e)
{
    while (j->added < j->count && j->open < TEXTS_AT_ONCE) {
        struct sched_pooling pooling;
        struct sched_spec spec = j->ask;
        pooling.how = api_choice_pooling(j->api, j->added, &pooling.second);
        spec.prompt = api_job_prompt(j->api, j->added)->v;
        spec.prompt_count = (int)api_job_prompt(j->api, j->added)->count;
        spec.pooling = &pooling;
        spec.user = &j->choices[j->added];
        j->choices[j->added].job = j;
        if (sched_add(j->table->sched, &spec, &j->choices[j->added].seq, e))
            return false;
        j->added++;
        j->open++;
    }
    return true;
}

/* Adds every choice; false with a sentence when the queue is full (the ones added are taken back). */
static bool add_choices(struct job *j, const struct message *m, struct err *e)
{
    const struct infer_params *params = api_job_params(j->api);
    j->ask = (struct sched_spec){ .params = params, .space = m->space, .priority = m->priority, .tenant = m->space,
                                  .weight = m->weight, .events = &events, .adapter = api_job_adapter(j->api) };
    if (m->deadline_ms)
        j->ask.deadline_ns = m->received_ns + m->deadline_ms * 1000000;
    if (api_job_pools(j->api)) {
        for (int i = 0; i < j->count; i++)
            j->usage.prompt_tokens += (int)api_job_prompt(j->api, i)->count;
        return add_texts(j, e);
    }
    for (int i = 0; i < j->count; i++) {
        const struct vocab_ids *prompt = api_job_prompt(j->api, i);
        bool same = i && prompt == api_job_prompt(j->api, i - 1);
        int leader = i;
        while (same && leader && api_job_prompt(j->api, leader - 1) == prompt)
            leader--;
        if (!same)
            j->usage.prompt_tokens += (int)prompt->count;
        struct sched_spec spec = j->ask;
        spec.prompt = prompt->v;
        spec.prompt_count = (int)prompt->count;
        spec.seed = params->seed + (uint64_t)i;
        spec.after = leader < i ? j->choices[leader].seq : NULL;
        spec.user = &j->choices[i];
        if (j->count == 1) {
            spec.known = j->resume.tokens;
            spec.known_count = j->resume.count;
        }
        j->choices[i].job = j;
        if (sched_add(j->table->sched, &spec, &j->choices[i].seq, e))
            return false;
        j->added++;
        j->open++;
    }
    return true;
}

/* An error in place of an answer: of a sealed exchange as its sealed response, which gets a receipt like any. */
static void answer_error(struct job *j, const struct api_error *error)
{
    if (!j->sealed) {
        engine_link_send_error(j->table->link, j->id, j->attempt, error);
        return;
    }
    api_job_free(j->api);
    j->api = NULL;
    buf_clear(&j->out);
    api_error_json(error, &j->out);
    sealed_head(j->sealed, error->status, "application/json", false);
}

/* 503: the queue is full, or the deadline cannot be met now; 400: it never could. */
static void refuse(struct job *j, const struct message *m, const struct err *e)
{
    bool busy = e->code == ERR_BUSY;
    struct api_error error = { .status = busy ? 503 : 400 };
    snprintf(error.type, sizeof error.type, "%s", busy ? "server_error" : "invalid_request_error");
    snprintf(error.message, sizeof error.message, "%s", e->text);
    if (m->deadline_ms) {
        snprintf(error.param, sizeof error.param, "deadline_ms");
        snprintf(error.code, sizeof error.code, busy ? "deadline_not_now" : "deadline_too_short");
        j->table->metric->deadlines_refused++;
    }
    answer_error(j, &error);
    j->table->metric->rejected++;
}

/* The deadline passed before anything was begun. */
static void say_late(struct job *j)
{
    struct api_error e = { .status = 504, .type = "server_error", .code = "deadline_exceeded", .param = "deadline_ms",
                           .message = "the deadline passed before the request was begun" };
    answer_error(j, &e);
    j->said_late = true;
}

static void keep(struct job_table *t, struct job *j)
{
    j->next = t->jobs;
    t->jobs = j;
    t->count++;
}

void engine_job_start(struct job_table *t, struct message *m)
{
    struct job *j = MEM_NEW(struct job);
    *j = (struct job){ .table = t, .id = m->id, .attempt = m->attempt, .api = m->job, .sealed = m->sealed,
                       .received_ns = m->received_ns, .resume = m->resume };
    m->job = NULL;
    m->sealed = NULL;
    m->resume.tokens = NULL;
    t->metric->requests++;
    t->metric->deadlines += m->deadline_ms > 0;
    if (!j->api) { /* refused already: what is left is to say so */
        if (!sealed_refused(j->sealed))
            answer_error(j, &m->error);
        keep(t, j);
        return;
    }
    j->count = api_job_choices(j->api);
    j->choices = mem_new((size_t)j->count, sizeof *j->choices);
    j->tells = m->tell && j->count == 1;
    if (j->sealed)
        sealed_head(j->sealed, 200, api_job_content_type(j->api), api_job_stream(j->api));
    struct err e = { 0 };
    if (!add_choices(j, m, &e)) {
        cancel_choices(j);
        j->cancelled = false;
        refuse(j, m, &e);
        if (j->sealed)
            keep(t, j);
        else
            free_job(j);
        return;
    }
    if (j->count) {
        send_usage_frame(j, true);
    } else { /* its answer was known when it was read */
        j->last_finish = INFER_STOP;
        send_usage_frame(j, false);
        api_job_end(j->api, &j->usage, &j->out);
    }
    keep(t, j);
}

void engine_job_receipt(struct job_table *t, uint64_t id, uint32_t attempt, struct span note)
{
    struct job *j = *find(t, id, attempt);
    if (!j || !j->sealed || !j->asked || j->noted || j->cancelled)
        return; /* it was cancelled while the keeper signed */
    sealed_finish(j->sealed, note, &j->out);
    j->noted = true;
}

void engine_job_cancel(struct job_table *t, uint64_t id, uint32_t attempt)
{
    struct job *j = *find(t, id, attempt);
    if (!j || j->cancelled)
        return; /* it ended while the cancel was on its way */
    cancel_choices(j);
    buf_clear(&j->out);
    t->metric->cancelled++;
}

static void set_paused(struct job *j, bool paused)
{
    for (int i = 0; i < j->count; i++)
        if (j->choices[i].seq)
            sched_pause(j->table->sched, j->choices[i].seq, paused);
}

void engine_job_credit(struct job_table *t, uint64_t id, uint32_t attempt, uint32_t credit)
{
    struct job *j = *find(t, id, attempt);
    if (!j)
        return;
    j->credit = (j->credited ? j->credit : 0) + credit;
    j->credited = true;
    set_paused(j, j->credit <= 0);
}

static void observe_end(const struct job *j, int64_t now)
{
    struct metric *m = j->table->metric;
    engine_metric_observe(m, METRIC_E2E, (double)(now - j->received_ns) / 1e9);
    engine_metric_observe(m, METRIC_PROMPT, j->usage.prompt_tokens);
    engine_metric_observe(m, METRIC_OUTPUT, j->usage.completion_tokens);
    if (!j->first_ns || !j->started_ns)
        return;
    engine_metric_observe(m, METRIC_PREFILL, (double)(j->first_ns - j->started_ns) / 1e9);
    engine_metric_observe(m, METRIC_DECODE, (double)(now - j->first_ns) / 1e9);
}

void engine_job_flush_all(struct job_table *t)
{
    for (struct job **at = &t->jobs; *at;) {
        struct job *j = *at;
        bool late = !j->open && j->last_finish == INFER_DEADLINE && !j->counted_late;
        t->metric->deadlines_missed += late;
        j->counted_late = j->counted_late || late;
        if (late && !j->begun) {
            buf_clear(&j->out);
            say_late(j);
        }
        if (!j->cancelled)
            send_out(j);
        if (!j->cancelled && j->added < j->count)
            add_texts(j, NULL); /* what finds no place now comes next time */
        if (j->open || (j->added < j->count && !j->cancelled)) {
            if (j->credited && j->credit <= 0)
                set_paused(j, true);
            at = &j->next;
            continue;
        }
        if (j->sealed && !j->cancelled && !j->noted) { /* its end waits for the receipt */
            if (!j->asked)
                ask_for_receipt(j);
            at = &j->next;
            continue;
        }
        if (!j->said_late || j->sealed)
            send_end(j);
        if (!j->cancelled)
            observe_end(j, clock_mono_ns());
        *at = j->next;
        t->count--;
        free_job(j);
    }
}

void engine_job_table_free(struct job_table *t)
{
    if (!t)
        return;
    for (struct job *j = t->jobs; j; j = j->next)
        cancel_choices(j);
    while (t->jobs) {
        struct job *j = t->jobs;
        t->jobs = j->next;
        free_job(j);
    }
    mem_free(t);
}
