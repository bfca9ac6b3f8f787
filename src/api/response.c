/* response -- tokens to response bytes: the choice's text, what may be shown of it, and the objects clients read.
 *
 * token -> stream (whole characters) -> pending -> stop automata -> released -> an event, or the choice's text.
 * The order of keys is OpenAI's; everything in an object that several objects share was written once (job.head). */
#include "api/job.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

/* ---- pieces of objects */

static const char *finish_word(enum infer_finish why)
{
    return why == INFER_LENGTH ? "\"length\"" : why == INFER_STOP ? "\"stop\"" : "null";
}

static void put_usage(const struct api_usage *u, struct buf *out)
{
    buf_printf(out, ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%d}}", u->prompt_tokens, u->completion_tokens,
               u->prompt_tokens + u->completion_tokens, u->cached_tokens);
}

static void put_seed(const struct api_job *j, struct buf *out)
{
    buf_printf(out, ",\"seed\":%lld", (long long)j->params.seed); /* as the client would send it back */
}

static void event_open(const struct api_job *j, struct buf *out)
{
    buf_puts(out, "data: ");
    buf_append(out, j->head.data, j->head.len);
    buf_puts(out, ",\"choices\":[");
}

/* The last events carry the seed; when usage was asked for all but the last say null. */
static void event_close(const struct api_job *j, bool last_of_choice, struct buf *out)
{
    buf_putc(out, ']');
    if (j->include_usage)
        buf_puts(out, ",\"usage\":null");
    if (last_of_choice)
        put_seed(j, out);
    buf_puts(out, "}\n\n");
}

/* One event of one choice. text: NULL for a delta without content. */
static void put_event(const struct api_job *j, int choice, const char *text, size_t n, int first, int end,
                      enum infer_finish why, struct buf *out)
{
    const struct api_choice *c = &j->choices[choice];
    if (j->text_only) {
        buf_append(out, text, n);
        return;
    }
    event_open(j, out);
    if (j->dialect == API_CHAT) {
        buf_printf(out, "{\"index\":%d,\"delta\":{", choice);
        if (text) {
            buf_puts(out, "\"content\":");
            jsonx_quote(text, n, out);
        }
        buf_puts(out, "},\"logprobs\":");
    } else {
        buf_puts(out, "{\"text\":");
        jsonx_quote(text ? text : "", n, out);
        buf_printf(out, ",\"index\":%d,\"logprobs\":", choice);
    }
    if (end > first)
        api_logprobs_write(j, c, first, end, out);
    else
        buf_puts(out, "null");
    buf_printf(out, ",\"finish_reason\":%s}", finish_word(why));
    event_close(j, why != INFER_RUNNING, out);
}

/* ---- a choice's text */

static void remember_token(struct api_choice *c, const struct infer_token *t, size_t start, size_t start_char)
{
    if (c->token_sent && c->token_sent == c->token_count)
        c->token_sent = c->token_count = 0;
    if (c->token_count == c->token_cap) {
        c->token_cap = c->token_cap ? c->token_cap * 2 : 16;
        c->tokens = mem_grow(c->tokens, (size_t)c->token_cap, sizeof *c->tokens);
    }
    c->tokens[c->token_count++] = (struct api_token){ .token = *t, .start = start, .end = c->seen,
                                                      .start_char = start_char };
}

/* Lets the first n bytes of pending go, and the logprobs they carry (I3); all: whatever waits. */
static void release(struct api_job *j, int choice, size_t n, bool all, struct buf *out)
{
    struct api_choice *c = &j->choices[choice];
    ASSERT(n <= c->pending.len);
    c->released += n;
    if (!j->stream && !j->text_only) {
        buf_append(&c->text, c->pending.data, n);
    } else {
        int first = c->token_sent;
        while (c->token_sent < c->token_count && (all || c->tokens[c->token_sent].end <= c->released))
            c->token_sent++;
        if (n || c->token_sent > first)
            put_event(j, choice, buf_str(&c->pending), n, first, c->token_sent, INFER_RUNNING, out);
    }
    buf_drop_front(&c->pending, n);
}

/* The text ends `keep` bytes into pending: what follows was the stop string, its tokens are not shown. */
static void cut(struct api_job *j, int choice, size_t keep, struct buf *out)
{
    struct api_choice *c = &j->choices[choice];
    size_t text_end = c->released + keep;
    while (c->token_count > c->token_sent && c->tokens[c->token_count - 1].end > text_end &&
           c->tokens[c->token_count - 1].start >= text_end)
        c->token_count--;
    c->stopped = true;
    release(j, choice, keep, true, out);
    buf_clear(&c->pending);
}

static size_t count_chars(const char *s, size_t n)
{
    size_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    return chars;
}

bool api_choice_token(struct api_job *j, int choice, const struct infer_token *t, struct buf *out)
{
    ASSERT(choice >= 0 && choice < api_job_choices(j));
    struct api_choice *c = &j->choices[choice];
    if (c->stopped || c->finish != INFER_RUNNING)
        return c->stopped;
    c->generated++;
    if (vocab_is_end(j->model->vocab, t->id))
        return false; /* it ends the answer and is no part of it */
    size_t old = c->pending.len, start = c->seen, start_char = c->seen_chars;
    vocab_stream_push(&c->stream, j->model->vocab, t->id, false, &c->pending);
    const char *fresh = buf_str(&c->pending) + old;
    size_t fresh_len = c->pending.len - old, used, match;
    c->seen += fresh_len;
    c->seen_chars += count_chars(fresh, fresh_len);
    if (j->params.top_logprobs >= 0)
        remember_token(c, t, start, start_char);
    if (c->generated > j->params.min_tokens && stop_feed(&j->stops, &c->stop, fresh, fresh_len, &used, &match)) {
        cut(j, choice, old + used - match, out);
        return true;
    }
    release(j, choice, c->pending.len - stop_held(&j->stops, &c->stop), false, out);
    return false;
}

/* A choice that failed makes the whole answer an error: once, and as an event when the head is long gone. */
static void fail(struct api_job *j, enum infer_finish why, struct buf *out)
{
    if (j->failed == INFER_RUNNING)
        j->failed = why;
    if (j->error_sent)
        return;
    struct api_error e;
    bool cancelled = j->failed == INFER_CANCELLED;
    api_refuse(&e, api_job_status(j), "", cancelled ? "cancelled" : "generation_failed", "%s", cancelled ?
               "the request was cancelled before its answer was complete" :
               "the engine failed while it generated the answer; send the request again");
    if (j->stream)
        buf_puts(out, "data: ");
    api_error_json(&e, out);
    if (j->stream)
        buf_puts(out, "\n\n");
    j->error_sent = true;
}

void api_choice_finish(struct api_job *j, int choice, enum infer_finish why, struct buf *out)
{
    ASSERT(choice >= 0 && choice < api_job_choices(j) && why != INFER_RUNNING);
    struct api_choice *c = &j->choices[choice];
    if (c->finish != INFER_RUNNING)
        return;
    if (!c->stopped) { /* what was held back was no stop string after all */
        vocab_stream_finish(&c->stream, &c->pending);
        release(j, choice, c->pending.len, true, out);
    }
    c->finish = why;
    if (why != INFER_STOP && why != INFER_LENGTH) {
        j->failed = j->failed == INFER_RUNNING ? why : j->failed;
        if (j->stream)
            fail(j, why, out);
    } else if (j->stream) {
        put_event(j, choice, NULL, 0, 0, 0, why, out);
    }
}

/* ---- the whole answer */

void api_job_begin(struct api_job *j, struct buf *out)
{
    if (j->text_only)
        return;
    for (int i = 0; i < api_job_choices(j); i++) {
        if (j->stream && j->dialect == API_CHAT) {
            event_open(j, out);
            buf_printf(out, "{\"index\":%d,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
                       "\"logprobs\":null,\"finish_reason\":null}", i);
            event_close(j, false, out);
        }
        if (!j->echo)
            continue;
        const struct buf *echo = &j->echo_text[i / j->n];
        if (j->stream)
            put_event(j, i, buf_str(echo), echo->len, 0, 0, INFER_RUNNING, out);
        else
            buf_append(&j->choices[i].text, echo->data, echo->len);
    }
}

static void put_choice(const struct api_job *j, int i, struct buf *out)
{
    const struct api_choice *c = &j->choices[i];
    if (j->dialect == API_CHAT) {
        buf_printf(out, "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":", i);
        jsonx_quote(buf_str(&c->text), c->text.len, out);
        buf_puts(out, ",\"refusal\":null},\"logprobs\":");
    } else {
        buf_puts(out, "{\"text\":");
        jsonx_quote(buf_str(&c->text), c->text.len, out);
        buf_printf(out, ",\"index\":%d,\"logprobs\":", i);
    }
    api_logprobs_write(j, c, 0, c->token_count, out);
    buf_printf(out, ",\"finish_reason\":%s}", finish_word(c->finish));
}

static void end_stream(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    if (j->failed != INFER_RUNNING) {
        fail(j, j->failed, out);
        return; /* no [DONE]: the answer is not done */
    }
    if (j->include_usage) {
        event_open(j, out);
        buf_putc(out, ']');
        put_usage(u, out);
        put_seed(j, out);
        buf_puts(out, "}\n\n");
    }
    buf_puts(out, "data: [DONE]\n\n");
}

void api_job_end(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    for (int i = 0; i < api_job_choices(j); i++)
        if (j->choices[i].finish == INFER_RUNNING && j->failed == INFER_RUNNING)
            j->failed = INFER_CANCELLED;
    if (j->text_only)
        return;
    if (j->stream) {
        end_stream(j, u, out);
        return;
    }
    if (j->failed != INFER_RUNNING) {
        fail(j, j->failed, out);
        return;
    }
    buf_append(out, j->head.data, j->head.len);
    buf_puts(out, ",\"choices\":[");
    for (int i = 0; i < api_job_choices(j); i++) {
        buf_puts(out, i ? "," : "");
        put_choice(j, i, out);
    }
    buf_putc(out, ']');
    put_usage(u, out);
    put_seed(j, out);
    buf_putc(out, '}');
}
