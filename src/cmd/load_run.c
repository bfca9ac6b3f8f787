/* load_run -- see load_run.h. Prompts are common words drawn from a counter-based generator: the same block
 * identity gives the same words, so a trace's shared prefixes are shared prefixes here. */
#include "cmd/load_run.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/rng.h"
#include "net/sse.h"
#include "plan/trace.h"

#include <string.h>

enum { POLL_MS = 200, GAPS_MAX = 1 << 24, CALIBRATE_FEW = 16, CALIBRATE_MANY = 96, HEADER_BYTES = 600,
       EVENT_BYTES_MAX = 1 << 20 };
static const double ns_per_ms = 1e6;

static const char *const words[64] = {
    "the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "are", "with", "as", "his", "they",
    "be", "at", "one", "have", "this", "from", "or", "had", "by", "hot", "word", "but", "what", "some", "we", "can",
    "out", "other", "were", "all", "there", "when", "up", "use", "your", "how", "said", "an", "each", "she",
    "which", "do", "their", "time", "if", "will", "way", "about", "many", "then", "them", "write", "would", "like",
    "so", "these", "her", "long",
};

struct exchange { /* one request under way */
    struct load_run *run;
    struct load_sample *sample;
    struct sse sse;
    bool done_seen, failed;
    struct buf error;
};

static int64_t now_ns(const struct load_run *r)
{
    return clock_mono_ns() - r->start_ns;
}

/* ---- prompts */

static void put_words(struct buf *out, uint64_t identity, uint64_t seed, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        struct rng_block b = rng_at(seed, identity, (uint64_t)i);
        if (out->len)
            buf_putc(out, ' ');
        buf_puts(out, words[b.w[0] % MEM_COUNT(words)]);
    }
}

static void put_prompt(const struct load_run *r, int index, struct buf *out)
{
    const struct load_target *t = r->target;
    const struct load_job *j = &r->jobs[index];
    double per_block = TRACE_BLOCK_TOKENS / t->tokens_per_word;
    int64_t left = (int64_t)((j->prompt_tokens - t->tokens_fixed) / t->tokens_per_word + 0.5);
    left = left < 1 ? 1 : left;
    for (int i = 0; left > 0; i++) {
        bool known = i < j->block_count;
        uint64_t own = (uint64_t)1 << 63 | r->round << 48 | (uint64_t)index << 16 | (uint64_t)i;
        int64_t n = left < (int64_t)per_block ? left : (int64_t)per_block;
        put_words(out, known ? (uint64_t)j->blocks[i] : own, t->seed, n);
        left -= n;
    }
}

static void put_body(const struct load_target *t, const char *prompt, size_t n, int max_tokens, struct buf *out)
{
    buf_puts(out, "{\"model\":");
    jsonx_quote(t->model, strlen(t->model), out);
    buf_puts(out, t->completions ? ",\"prompt\":" : ",\"messages\":[{\"role\":\"user\",\"content\":");
    jsonx_quote(prompt, n, out);
    buf_puts(out, t->completions ? "" : "}]");
    buf_printf(out, ",\"max_tokens\":%d,\"temperature\":0,\"stream\":true", max_tokens);
    buf_printf(out, ",\"stream_options\":{\"include_usage\":true}%s}", t->ignore_eos ? ",\"ignore_eos\":true" : "");
}

/* ---- what comes back */

void load_run_gap(struct load_run *r, int64_t ns)
{
    if (r->gap_count == GAPS_MAX)
        return;
    if (r->gap_count == r->gap_cap) {
        r->gap_cap = r->gap_cap ? r->gap_cap * 2 : 1024;
        r->gaps_ms = mem_grow(r->gaps_ms, r->gap_cap, sizeof(*r->gaps_ms));
    }
    r->gaps_ms[r->gap_count++] = (float)((double)ns / ns_per_ms);
}

/* Does a choice of this event carry any part of the answer? */
static bool has_text(const json_t *event)
{
    static const char *const fields[] = { "content", "reasoning_content", "reasoning", "text", "refusal" };
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");
    delta = delta ? delta : choice;
    for (size_t i = 0; i < MEM_COUNT(fields); i++)
        if (json_string_length(json_object_get(delta, fields[i])) > 0)
            return true;
    return json_array_size(json_object_get(delta, "tool_calls")) > 0;
}

static bool on_event(void *arg, const struct sse_event *event)
{
    const char *data = event->data;
    size_t n = event->data_len;
    struct exchange *x = arg;
    struct load_sample *s = x->sample;
    if (n == 6 && !memcmp(data, "[DONE]", 6)) {
        x->done_seen = true;
        return true;
    }
    int64_t now = now_ns(x->run);
    json_t *j = jsonx_parse(data, n, NULL);
    const json_t *usage = json_object_get(j, "usage");
    if (!j || json_object_get(j, "error")) {
        x->failed = true;
        buf_append(&x->error, data, n < 300 ? n : 300);
    }
    if (has_text(j)) {
        if (s->chunks++)
            load_run_gap(x->run, now - s->last);
        else
            s->first = now;
        s->last = now;
    }
    if (json_is_object(usage)) {
        s->has_usage = true;
        s->prompt_tokens = (int)json_integer_value(json_object_get(usage, "prompt_tokens"));
        s->output_tokens = (int)json_integer_value(json_object_get(usage, "completion_tokens"));
        s->cached_tokens = (int)json_integer_value(
            json_object_get(json_object_get(usage, "prompt_tokens_details"), "cached_tokens"));
    }
    json_decref(j);
    return true;
}

static bool on_data(struct multi_call *c, const char *bytes, size_t n, void *arg)
{
    struct exchange *x = arg;
    if (multi_status(c) == 200)
        return sse_feed(&x->sse, bytes, n, on_event, x, NULL) == ERR_OK;
    size_t room = x->error.len < 300 ? 300 - x->error.len : 0;
    buf_append(&x->error, bytes, n < room ? n : room);
    return true;
}

static void note_error(struct load_run *r, const struct multi_result *c, const struct buf *text)
{
    if (r->first_error[0])
        return;
    struct buf b = { 0 };
    if (c->status && c->status != 200)
        buf_printf(&b, "HTTP %d: ", c->status);
    buf_puts(&b, text->len ? buf_str(text) : c->error ? c->error : "the stream ended without [DONE]");
    size_t n = b.len < sizeof(r->first_error) - 1 ? b.len : sizeof(r->first_error) - 1;
    for (size_t i = 0; i < n; i++)
        r->first_error[i] = (unsigned char)b.data[i] < 0x20 ? ' ' : b.data[i];
    r->first_error[n] = '\0';
    buf_release(&b);
}

static void on_done(struct multi_call *c, const struct multi_result *result, void *arg)
{
    (void)c;
    struct exchange *x = arg;
    struct load_sample *s = x->sample;
    s->end = now_ns(x->run);
    s->status = result->status;
    if (x->run->stopping)
        s->outcome = LOAD_PENDING;
    else if (result->status && result->status != 200)
        s->outcome = LOAD_REFUSED;
    else if (!result->whole || x->failed)
        s->outcome = LOAD_BROKEN;
    else
        s->outcome = x->done_seen && s->first ? LOAD_DONE : LOAD_SHORT;
    if (!s->has_usage)
        s->output_tokens = s->chunks;
    if (s->outcome == LOAD_SHORT && x->done_seen && !x->error.len)
        buf_puts(&x->error, "an answer had no text");
    if (s->outcome != LOAD_DONE && s->outcome != LOAD_PENDING)
        note_error(x->run, result, &x->error);
    x->run->ended++;
    sse_release(&x->sse);
    buf_release(&x->error);
    mem_free(x);
}

/* ---- sending */

static void send_body(struct load_run *r, struct load_sample *s, const struct buf *body)
{
    const struct load_target *t = r->target;
    char url[1024], key[HEADER_BYTES] = "";
    snprintf(url, sizeof(url), "%s%s", t->url, t->completions ? "/v1/completions" : "/v1/chat/completions");
    struct exchange *x = MEM_NEW(struct exchange);
    x->run = r;
    x->sample = s;
    x->sse.line.max = x->sse.data.max = EVENT_BYTES_MAX;
    struct multi_request q = {
        .method = "POST", .url = url, .headers = { "Content-Type: application/json" }, .body = buf_str(body),
        .body_len = body->len, .total_ms = t->timeout_ms, .data = on_data, .done = on_done, .arg = x,
    };
    if (t->key) {
        snprintf(key, sizeof(key), "Authorization: Bearer %s", t->key);
        q.headers[1] = key;
    }
    struct err e;
    s->sent = now_ns(r);
    if (multi_start(r->client, &q, &e)) {
        struct multi_result refused = { .error = e.text };
        on_done(NULL, &refused, x);
    }
    mem_wipe(key, sizeof(key));
}

static void send_job(struct load_run *r, int index)
{
    struct buf prompt = { 0 }, body = { 0 };
    struct load_sample *s = &r->samples[index];
    put_prompt(r, index, &prompt);
    put_body(r->target, buf_str(&prompt), prompt.len, r->jobs[index].max_tokens, &body);
    int64_t now = now_ns(r);
    s->due = r->concurrency ? now : r->jobs[index].at_ns;
    if (now - s->due > r->late_ns_max)
        r->late_ns_max = now - s->due;
    r->started++;
    send_body(r, s, &body);
    buf_release(&prompt);
    buf_release(&body);
}

/* May the next job be sent now? If not, *wait_ms is how long to wait for news. */
static bool may_send(const struct load_run *r, int64_t *wait_ms)
{
    *wait_ms = POLL_MS;
    if (r->started == r->count)
        return false;
    if (r->concurrency)
        return r->started - r->ended < r->concurrency;
    int64_t ahead = r->jobs[r->started].at_ns - now_ns(r);
    if (ahead <= 0)
        return true;
    int64_t ms = (ahead + 999999) / 1000000;
    *wait_ms = ms < POLL_MS ? ms : POLL_MS;
    return false;
}

void load_run(struct load_run *r, const volatile bool *stop)
{
    struct progress p;
    r->samples = mem_new((size_t)r->count, sizeof(*r->samples));
    r->start_ns = clock_mono_ns();
    progress_start(&p, r->concurrency ? "closed loop" : "open loop", r->count);
    while (r->ended < r->count && !*stop) {
        int64_t wait_ms;
        while (may_send(r, &wait_ms) && !*stop) {
            send_job(r, r->started);
            multi_poll(r->client, 0);
        }
        multi_poll(r->client, wait_ms);
        progress_update(&p, r->ended);
    }
    progress_end(&p);
    r->wall_ns = now_ns(r);
    r->stopping = true;
    multi_abort(r->client);
}

void load_run_release(struct load_run *r)
{
    mem_free(r->samples);
    mem_free(r->gaps_ms);
    r->samples = NULL;
    r->gaps_ms = NULL;
}

static enum err_code probe(struct load_target *t, struct multi *c, int count, double *tokens, struct err *e)
{
    struct load_sample s = { 0 };
    struct load_run r = { .target = t, .client = c, .samples = &s, .count = 1, .start_ns = clock_mono_ns() };
    struct buf prompt = { 0 }, body = { 0 };
    put_words(&prompt, UINT64_MAX, t->seed, count);
    put_body(t, buf_str(&prompt), prompt.len, 1, &body);
    send_body(&r, &s, &body);
    while (r.ended == 0)
        multi_poll(c, POLL_MS);
    buf_release(&prompt);
    buf_release(&body);
    mem_free(r.gaps_ms);
    *tokens = s.prompt_tokens;
    if (s.outcome == LOAD_REFUSED || s.outcome == LOAD_BROKEN)
        return err_set(e, ERR_IO, "%s does not answer: %s", t->url, r.first_error);
    return ERR_OK;
}

enum err_code load_calibrate(struct load_target *t, struct multi *c, struct err *e)
{
    double few, many;
    t->tokens_fixed = 0;
    t->tokens_per_word = 1;
    enum err_code code = probe(t, c, CALIBRATE_FEW, &few, e);
    if (!code)
        code = probe(t, c, CALIBRATE_MANY, &many, e);
    double slope = code ? 0 : (many - few) / (CALIBRATE_MANY - CALIBRATE_FEW);
    if (slope > 0.1 && slope < 20) { /* a server that reports no usage leaves a word a token */
        t->tokens_per_word = slope;
        t->tokens_fixed = many - slope * CALIBRATE_MANY;
    }
    return code;
}
