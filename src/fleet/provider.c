/* provider -- see provider.h. */
#include "fleet/provider.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/multi.h"
#include "net/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FRAME_BYTES = 64 << 10,   /* of an answer in a frame */
    ERROR_BYTES_MAX = 64 << 10,
    EVENT_BYTES_MAX = 4 << 20,
    POLL_MS_MAX = 1000,
    MICROS = 1000000,
};

struct samples { /* the last ones, in no order */
    double v[PROVIDER_SAMPLES];
    int count, next;
};

struct got {
    int64_t requests, failed, prompt, cached, output, cost, billed; /* money in micro-units */
    int64_t cost_rest;        /* millionths of a micro-unit, so that many small answers add up */
    struct samples ttft_ms, tokens_per_s;
};

struct provider {
    struct provider_options o;
    struct loop *loop;
    struct multi *multi;
    struct loop_watch *watch;
    struct loop_timer *timer;
    struct got got[PROVIDER_MODELS_MAX];
    int running;
    bool draining;
    struct answer *answers;
};

struct answer { /* one exchange */
    struct provider *p;
    struct answer *next, *prev;
    struct fleet_work *work;  /* NULL: nobody wants it any more */
    int model;
    bool stream, tells;       /* tells: the client asked for usage itself */
    bool head, done_seen, over;
    struct sse sse;
    struct buf body;          /* of an answer that is no stream, or of an error */
    struct buf held;          /* what waits for credit */
    bool credited;
    int64_t credit, prompt, cached, output, billed;
    int64_t start_ns, first_ns;
    char finish[24];
    struct multi_result *result; /* its end came while bytes waited for credit; owned */
};

/* ---- figures */

static void sample(struct samples *s, double v)
{
    s->v[s->next] = v;
    s->next = (s->next + 1) % PROVIDER_SAMPLES;
    s->count += s->count < PROVIDER_SAMPLES;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank; 0 when there is none. */
static double percentile(const struct samples *s, double p)
{
    double sorted[PROVIDER_SAMPLES];
    if (!s->count)
        return 0;
    memcpy(sorted, s->v, (size_t)s->count * sizeof *sorted);
    qsort(sorted, (size_t)s->count, sizeof *sorted, by_value);
    int rank = (int)(p / 100 * s->count + 0.999999);
    return sorted[rank < 1 ? 0 : rank - 1];
}

static json_t *money(int64_t micros)
{
    return json_real((double)micros / MICROS);
}

json_t *provider_facts(const struct provider *p, int i)
{
    const struct provider_model *m = &p->o.models[i];
    const struct got *g = &p->got[i];
    int64_t ended = g->requests;
    json_t *got = json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:o, s:o}", "requests",
                            (json_int_t)g->requests, "failed", (json_int_t)g->failed, "availability",
                            ended ? 100.0 * (double)(ended - g->failed) / (double)ended : 0.0, "ttft_ms_p50",
                            percentile(&g->ttft_ms, 50), "ttft_ms_p99", percentile(&g->ttft_ms, 99),
                            "tokens_per_s_p50", percentile(&g->tokens_per_s, 50), "prompt_tokens",
                            (json_int_t)g->prompt, "cached_tokens", (json_int_t)g->cached, "completion_tokens",
                            (json_int_t)g->output, "cost", money(g->cost), "billed", money(g->billed));
    return json_pack("{s:s, s:I, s:b, s:s, s:{s:o, s:o, s:o}, s:{s:{s:f, s:f, s:f}, s:o}}", "id", m->id, "ctx",
                     (json_int_t)m->ctx, "outside", 1, "upstream", m->upstream, "price_per_mtok", "prompt",
                     money(m->prompt), "cached", money(m->cached), "completion", money(m->output), "provider",
                     "promised", "availability", p->o.availability, "ttft_ms", p->o.ttft_ms, "tokens_per_s",
                     p->o.tokens_per_s, "got", got);
}

static void count(struct answer *a, bool failed)
{
    struct got *g = &a->p->got[a->model];
    const struct provider_model *m = &a->p->o.models[a->model];
    int64_t now = clock_mono_ns();
    g->requests++;
    g->failed += failed;
    g->prompt += a->prompt;
    g->cached += a->cached;
    g->output += a->output;
    g->billed += a->billed;
    g->cost_rest += (a->prompt - a->cached) * m->prompt + a->cached * m->cached + a->output * m->output;
    g->cost += g->cost_rest / MICROS;
    g->cost_rest %= MICROS;
    if (failed || !a->first_ns)
        return;
    sample(&g->ttft_ms, (double)(a->first_ns - a->start_ns) / 1e6);
    if (a->stream && a->output > 1 && now > a->first_ns)
        sample(&g->tokens_per_s, (double)(a->output - 1) * 1e9 / (double)(now - a->first_ns));
}

/* ---- frames to the gateway */

static void answer_free(struct answer *a)
{
    struct provider *p = a->p;
    if (a->prev)
        a->prev->next = a->next;
    else
        p->answers = a->next;
    if (a->next)
        a->next->prev = a->prev;
    p->running--;
    sse_release(&a->sse);
    buf_release(&a->body);
    buf_release(&a->held);
    mem_free(a->result);
    mem_free(a);
}

static void send(struct answer *a, enum frame_kind kind, const struct buf *b)
{
    fleet_work_frame(a->work, &(struct frame){ .kind = kind, .payload = buf_str(b), .length = b->len });
}

static void send_head(struct answer *a)
{
    struct buf b = { 0 };
    buf_printf(&b, "{\"status\":200,\"headers\":{\"content-type\":\"%s\"}}",
               a->stream ? "text/event-stream" : "application/json");
    send(a, FRAME_HEAD, &b);
    buf_release(&b);
    a->head = true;
}

/* The answer that is wrong, or none: the gateway may ask somebody else when the code says so. */
static void send_error(struct answer *a, int status, const char *code, const char *sentence, int64_t retry_s)
{
    struct buf b = { 0 };
    json_t *v = json_pack("{s:i, s:{s:s, s:s, s:n, s:s}}", "status", status, "error", "message", sentence, "type",
                          status >= 500 || status == 429 ? "server_error" : "invalid_request_error", "param", "code",
                          code);
    if (retry_s > 0)
        json_object_set_new(v, "retry_after", json_integer(retry_s));
    jsonx_dump(v, &b);
    json_decref(v);
    send(a, FRAME_ERROR, &b);
    buf_release(&b);
}

static void send_end(struct answer *a)
{
    struct buf b = { 0 };
    int64_t now = clock_mono_ns(), first = a->first_ns ? a->first_ns : now;
    json_t *v = json_pack("{s:s, s:{s:I, s:I, s:I}, s:f, s:f, s:f}", "finish", a->finish[0] ? a->finish : "stop",
                          "usage", "prompt_tokens", (json_int_t)a->prompt, "cached_tokens", (json_int_t)a->cached,
                          "completion_tokens", (json_int_t)a->output, "prefill_ms", (double)(first - a->start_ns) / 1e6,
                          "decode_ms", (double)(now - first) / 1e6, "total_ms", (double)(now - a->start_ns) / 1e6);
    jsonx_dump(v, &b);
    json_decref(v);
    send(a, FRAME_END, &b);
    buf_release(&b);
}

/* What the other side may have now. */
static void let_go(struct answer *a)
{
    while (a->held.len && (!a->credited || a->credit > 0)) {
        size_t n = a->held.len < FRAME_BYTES ? a->held.len : FRAME_BYTES;
        if (!a->head)
            send_head(a);
        fleet_work_frame(a->work, &(struct frame){ .kind = FRAME_DATA, .payload = a->held.data, .length = n });
        buf_drop_front(&a->held, n);
        a->credit--;
    }
}

/* ---- what the provider says */

static int64_t number(const json_t *o, const char *key)
{
    int64_t n = json_integer_value(json_object_get(o, key));
    return n < 0 || n > INT32_MAX ? 0 : n;
}

static void take_usage(struct answer *a, const json_t *usage)
{
    const json_t *details = json_object_get(usage, "prompt_tokens_details");
    double cost = json_number_value(json_object_get(usage, "cost"));
    if (!json_is_object(usage))
        return;
    a->prompt = number(usage, "prompt_tokens");
    a->output = number(usage, "completion_tokens");
    a->cached = number(details, "cached_tokens");
    a->cached = a->cached < a->prompt ? a->cached : a->prompt;
    a->billed = cost > 0 && cost < 1e6 ? (int64_t)(cost * MICROS + 0.5) : 0;
}

static void take_finish(struct answer *a, const json_t *choices)
{
    const char *why = json_string_value(json_object_get(json_array_get(choices, 0), "finish_reason"));
    if (why)
        snprintf(a->finish, sizeof a->finish, "%s", !strcmp(why, "length") ? "length" : "stop");
}

/* An event goes on as it came; the one with nothing but usage only to who asked for it. */
static bool on_event(void *arg, const struct sse_event *event)
{
    struct answer *a = arg;
    bool done = event->data_len == 6 && !memcmp(event->data, "[DONE]", 6), pass = true;
    if (!done) {
        json_t *v = jsonx_parse(event->data, event->data_len, NULL);
        const json_t *choices = json_object_get(v, "choices");
        bool empty = json_is_array(choices) && !json_array_size(choices);
        take_usage(a, json_object_get(v, "usage"));
        take_finish(a, choices);
        pass = a->tells || !empty || !json_is_object(json_object_get(v, "usage"));
        if (!a->first_ns && !empty)
            a->first_ns = clock_mono_ns();
        json_decref(v);
    }
    a->done_seen = a->done_seen || done;
    if (!pass)
        return true;
    buf_puts(&a->held, "data: ");
    buf_append(&a->held, event->data, event->data_len);
    buf_puts(&a->held, "\n\n");
    return a->held.len <= PROVIDER_ANSWER_MAX;
}

static bool on_data(struct multi_call *c, const char *bytes, size_t n, void *arg)
{
    struct answer *a = arg;
    int status = multi_status(c);
    if (status == 200 && a->stream) {
        bool ok = !sse_feed(&a->sse, bytes, n, on_event, a, NULL);
        let_go(a);
        return ok;
    }
    if (!a->first_ns)
        a->first_ns = clock_mono_ns();
    size_t most = status == 200 ? PROVIDER_ANSWER_MAX : ERROR_BYTES_MAX;
    return a->body.len + n <= most && buf_append(&a->body, bytes, n);
}

/* The provider refused: its own sentence, with whose it is. */
static void refused(struct answer *a, const struct multi_result *r)
{
    struct buf sentence = { 0 };
    json_t *v = jsonx_parse(buf_str(&a->body), a->body.len, NULL);
    const char *why = json_string_value(json_object_get(json_object_get(v, "error"), "message"));
    bool ours = r->status == 401 || r->status == 403 || r->status == 404; /* key or agreement, not the client's */
    bool busy = r->status == 429 || r->status >= 500 || !r->status;
    buf_printf(&sentence, "the outside provider of %s ", a->p->o.models[a->model].id);
    if (r->status)
        buf_printf(&sentence, "answered %d%s%.300s", r->status, why ? ": " : "", why ? why : "");
    else
        buf_printf(&sentence, "could not be reached: %.300s", r->error ? r->error : "no answer");
    if (ours)
        log_line(LOG_ERROR, "fleet", "%s", buf_str(&sentence));
    send_error(a, busy ? 503 : ours ? 502 : r->status, busy || ours ? "engine_unavailable" : "provider_refused",
               buf_str(&sentence), busy ? r->retry_after_s ? r->retry_after_s : 1 : 0);
    buf_release(&sentence);
    json_decref(v);
}

/* All of it came, or as much as ever will, and the other side has it. */
static void end(struct answer *a, const struct multi_result *r)
{
    bool whole = r->status == 200 && r->whole && (!a->stream || a->done_seen);
    count(a, !r->status || r->status >= 500 || r->status == 429 || (r->status == 200 && !whole));
    if (whole)
        send_end(a);
    else if (r->status == 200 && a->head)
        send_error(a, 502, "provider_cut", "the outside provider broke off its answer", 0);
    else if (r->status == 200)
        send_error(a, 503, "engine_unavailable", "the outside provider's answer was not whole", 1);
    else
        refused(a, r);
    answer_free(a);
}

static void on_done(struct multi_call *c, const struct multi_result *r, void *arg)
{
    struct answer *a = arg;
    (void)c;
    if (r->status == 200 && r->whole && !a->stream) {
        json_t *v = jsonx_parse(buf_str(&a->body), a->body.len, NULL);
        take_usage(a, json_object_get(v, "usage"));
        take_finish(a, json_object_get(v, "choices"));
        json_decref(v);
        buf_append(&a->held, a->body.data, a->body.len);
    }
    a->over = true;
    let_go(a);
    if (!a->held.len) {
        end(a, r);
        return;
    }
    a->result = MEM_NEW(struct multi_result); /* the rest waits for credit */
    *a->result = *r;
    a->result->error = NULL;
}

/* ---- turning with the loop */

static void turn(void *arg)
{
    struct provider *p = arg;
    multi_poll(p->multi, 0);
    int64_t due = multi_due_ms(p->multi);
    loop_timer_set(p->timer, due < 0 || due > POLL_MS_MAX ? POLL_MS_MAX : due);
}

/* ---- what the worker asks */

static void describe(void *arg, struct heartbeat *h)
{
    struct provider *p = arg;
    h->models = mem_new((size_t)p->o.model_count, sizeof *h->models);
    for (int i = 0; i < p->o.model_count; i++) {
        struct heartbeat_model *m = &h->models[i];
        *m = (struct heartbeat_model){ .ctx = p->o.models[i].ctx, .running = p->running, .outside = true,
                                       .steps = p->got[i].requests, .facts = provider_facts(p, i),
                                       .tokens_per_s = percentile(&p->got[i].tokens_per_s, 50) };
        snprintf(m->id, sizeof m->id, "%s", p->o.models[i].id);
    }
    h->model_count = p->o.model_count;
    h->draining = p->draining;
}

static bool refuse(int *status, const char **code, struct err *why, int with, const char *name, const char *sentence)
{
    *status = with;
    *code = name;
    err_set(why, ERR_INVALID, "%s", sentence);
    return false;
}

/* The client's body with their name of the model, and usage asked for where it would not come. */
static bool rewrite(struct answer *a, const char *body, size_t n, struct buf *out)
{
    json_t *v = jsonx_parse(body, n, NULL);
    bool ok = json_is_object(v);
    if (ok) {
        json_t *options = json_object_get(v, "stream_options");
        a->stream = json_is_true(json_object_get(v, "stream"));
        a->tells = json_is_true(json_object_get(options, "include_usage"));
        json_object_set_new(v, "model", json_string(a->p->o.models[a->model].upstream));
        if (a->stream && !json_is_object(options))
            json_object_set_new(v, "stream_options", json_pack("{s:b}", "include_usage", 1));
        else if (a->stream)
            json_object_set_new(options, "include_usage", json_true());
        jsonx_dump(v, out);
    }
    json_decref(v);
    return ok;
}

static int find_model(const struct provider *p, const char *id)
{
    for (int i = 0; id && i < p->o.model_count; i++)
        if (!strcmp(p->o.models[i].id, id))
            return i;
    return -1;
}

static enum err_code start(struct answer *a, const char *path, const struct buf *body, struct err *e)
{
    struct buf url = { 0 }, key = { 0 };
    buf_printf(&url, "%s%s", a->p->o.url, path + strlen("/v1"));
    if (a->p->o.key)
        buf_printf(&key, "Authorization: Bearer %s", a->p->o.key);
    struct multi_request r = { .method = "POST", .url = buf_str(&url), .headers = { "Content-Type: application/json",
                               a->p->o.key ? buf_str(&key) : NULL }, .body = body->data, .body_len = body->len,
                               .total_ms = a->p->o.timeout_ms, .data = on_data, .done = on_done, .arg = a };
    enum err_code c = multi_start(a->p->multi, &r, e);
    if (key.data)
        mem_wipe(key.data, key.len);
    buf_release(&key);
    buf_release(&url);
    return c;
}

static bool open_call(void *arg, struct fleet_work *w, const json_t *head, const char *body, size_t n, void **call,
                      int *status, const char **code, struct err *why)
{
    struct provider *p = arg;
    const char *path = json_string_value(json_object_get(head, "path"));
    int model = find_model(p, json_string_value(json_object_get(head, "model")));
    struct buf out = { 0 };
    if (model < 0)
        return refuse(status, code, why, 404, "model_not_found", "this provider does not have that model");
    if (!path || (strcmp(path, "/v1/chat/completions") && strcmp(path, "/v1/completions") &&
                  strcmp(path, "/v1/embeddings")))
        return refuse(status, code, why, 400, "not_outside",
                      "an outside provider takes /v1/chat/completions, /v1/completions and /v1/embeddings");
    if (p->draining || p->running >= p->o.at_once)
        return refuse(status, code, why, 503, "engine_unavailable", "the outside provider has its fill of requests");
    struct answer *a = MEM_NEW(struct answer);
    *a = (struct answer){ .p = p, .next = p->answers, .work = w, .model = model, .start_ns = clock_mono_ns() };
    a->sse.line.max = a->sse.data.max = EVENT_BYTES_MAX;
    if (a->next)
        a->next->prev = a;
    p->answers = a;
    p->running++;
    bool ok = rewrite(a, body, n, &out);
    if (!ok)
        refuse(status, code, why, 400, "invalid_json", "the body is no JSON object");
    else if (start(a, path, &out, why))
        ok = refuse(status, code, why, 503, "engine_unavailable", "the outside provider cannot be asked now");
    buf_release(&out);
    if (!ok) {
        answer_free(a);
        return false;
    }
    *call = a;
    loop_timer_set(p->timer, 0);
    return true;
}

static void credit(void *arg, void *call, uint32_t frames)
{
    struct answer *a = call;
    (void)arg;
    a->credit = (a->credited ? a->credit : 0) + frames;
    a->credited = true;
    let_go(a);
    if (!a->held.len && a->result)
        end(a, &(struct multi_result){ .status = a->result->status, .whole = a->result->whole });
}

static void close_call(void *arg, void *call)
{
    struct provider *p = arg;
    struct answer *a = call;
    if (!a->over)
        multi_forget(p->multi, a); /* the connection ends: nothing more is computed, or paid */
    answer_free(a);
}

static void drain(void *arg)
{
    struct provider *p = arg;
    p->draining = true;
}

const struct fleet_host provider_host = { describe, open_call, credit, close_call, drain, NULL };

bool provider_draining(const struct provider *p)
{
    return p->draining;
}

/* ---- life */

struct provider *provider_new(struct loop *l, const struct provider_options *o, struct err *e)
{
    if (strncmp(o->url, "https://", 8) && strncmp(o->url, "http://", 7)) {
        err_set(e, ERR_INVALID, "the provider's url must begin with https:// and end in /v1, not '%.100s'", o->url);
        return NULL;
    }
    struct provider *p = MEM_NEW(struct provider);
    *p = (struct provider){ .o = *o, .loop = l };
    if (multi_new(&(struct multi_options){ .ca_file = o->ca_file }, &p->multi, e)) {
        mem_free(p);
        return NULL;
    }
    p->watch = loop_watch_new(l, multi_fd(p->multi), turn, p);
    p->timer = loop_timer_new(l, turn, p);
    return p;
}

void provider_free(struct provider *p)
{
    if (!p)
        return;
    while (p->answers) {
        multi_forget(p->multi, p->answers);
        answer_free(p->answers);
    }
    loop_watch_free(p->watch);
    loop_timer_free(p->timer);
    multi_free(p->multi);
    mem_free(p);
}
