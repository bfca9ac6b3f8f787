/* response -- tokens to an answer: the choice's text, what may be shown of it, and the way to the dialect's writer.
 *
 * token -> stream (whole characters) -> pending -> stop automata -> released -> say -> deltas -> the writer, or the
 * choice's parts, from which the writer makes the whole answer at the end. */
#include "api/job.h"

#include "api/writer.h"
#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

/* A stream's writer hears of every delta at once. */
static bool flows(const struct api_job *j)
{
    return j->stream || j->text_only;
}

void api_choice_delta(struct api_job *j, int choice, const struct api_delta *d, struct buf *out)
{
    struct api_choice *c = &j->choices[choice];
    c->calls += d->kind == API_CALL_OPEN;
    c->thinking = d->kind == API_REASONING;
    if (!flows(j) || j->writer->keeps_parts)
        api_parts_add(&c->parts, d);
    if (flows(j)) {
        j->writer->delta(j, choice, d, out);
        c->token_sent = c->token_ready;
    }
}

struct sink {
    struct api_job *j;
    int choice;
    struct buf *out;
};

static void on_delta(void *user, const struct api_delta *d)
{
    const struct sink *s = user;
    api_choice_delta(s->j, s->choice, d, s->out);
}

/* What the model said becomes deltas. The one seam where reasoning and calls are told from content; n may be 0 when
 * only logprobs wait. */
static void say(struct api_job *j, int choice, const char *text, size_t n, struct buf *out)
{
    struct sink s = { j, choice, out };
    if (j->choices[choice].reply)
        reply_feed(j->choices[choice].reply, text, n, on_delta, &s);
    else
        on_delta(&s, &(struct api_delta){ .kind = API_TEXT, .text = text, .length = n });
}

/* The choice said its last: what the seam above held back goes out, and logprobs that wait for it. */
static void say_rest(struct api_job *j, int choice, struct buf *out)
{
    struct sink s = { j, choice, out };
    if (j->choices[choice].reply)
        reply_finish(j->choices[choice].reply, on_delta, &s);
    if (j->choices[choice].token_ready > j->choices[choice].token_sent)
        on_delta(&s, &(struct api_delta){ .kind = API_TEXT, .text = "", .length = 0 });
}

/* ---- a choice's text */

static void remember_token(struct api_choice *c, const struct infer_token *t, size_t start, size_t start_char)
{
    if (c->token_sent && c->token_sent == c->token_count)
        c->token_sent = c->token_ready = c->token_count = 0;
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
    while (flows(j) && c->token_ready < c->token_count && (all || c->tokens[c->token_ready].end <= c->released))
        c->token_ready++;
    if (n || c->token_ready > c->token_sent)
        say(j, choice, buf_str(&c->pending), n, out);
    buf_drop_front(&c->pending, n);
}

/* The text ends `keep` bytes into pending: what follows was the stop string, its tokens are not shown. */
static void cut(struct api_job *j, int choice, size_t keep, struct buf *out)
{
    struct api_choice *c = &j->choices[choice];
    size_t text_end = c->released + keep;
    while (c->token_count > c->token_ready && c->tokens[c->token_count - 1].end > text_end &&
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
    if (j->keep_ids)
        vocab_ids_push(&c->ids, t->id);
    if (vocab_is_end(j->model->vocab, t->id))
        return false; /* it ends the answer and is no part of it */
    size_t old = c->pending.len, start = c->seen, start_char = c->seen_chars;
    vocab_stream_push(&c->stream, j->model->vocab, t->id, api_tools_shows(&j->tools, t->id), &c->pending);
    const char *fresh = buf_str(&c->pending) + old;
    size_t fresh_len = c->pending.len - old, used, match;
    c->seen += fresh_len;
    c->seen_chars += count_chars(fresh, fresh_len);
    if (j->params.top_logprobs >= 0)
        remember_token(c, t, start, start_char);
    if (c->generated > j->params.min_tokens && stop_feed(&j->stops, &c->stop, fresh, fresh_len, &used, &match)) {
        buf_append(&c->stop_text, buf_str(&c->pending) + old + used - match, match);
        cut(j, choice, old + used - match, out);
        return true;
    }
    release(j, choice, c->pending.len - stop_held(&j->stops, &c->stop), false, out);
    c->thought_tokens += c->thinking;
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
    bool cancelled = j->failed == INFER_CANCELLED, late = j->failed == INFER_DEADLINE;
    api_refuse(&e, api_job_status(j), "", late ? "deadline_exceeded" : cancelled ? "cancelled" :
               "generation_failed", "%s", late ? "the deadline passed before the answer was complete" : cancelled ?
               "the request was cancelled before its answer was complete" :
               "the engine failed while it generated the answer; send the request again");
    j->writer->error(j, &e, out);
    j->error_sent = true;
}

void api_choice_finish(struct api_job *j, int choice, enum infer_finish why, struct buf *out)
{
    ASSERT(choice >= 0 && choice < api_job_choices(j) && why != INFER_RUNNING);
    struct api_choice *c = &j->choices[choice];
    if (c->finish != INFER_RUNNING)
        return;
    if (j->vectors) {
        c->finish = why;
        if (why != INFER_STOP && j->failed == INFER_RUNNING)
            j->failed = why;
        return;
    }
    if (!c->stopped) { /* what was held back was no stop string after all */
        vocab_stream_finish(&c->stream, &c->pending);
        release(j, choice, c->pending.len, true, out);
    }
    say_rest(j, choice, out);
    c->finish = why;
    if (why != INFER_STOP && why != INFER_LENGTH) {
        j->failed = j->failed == INFER_RUNNING ? why : j->failed;
        if (j->stream)
            fail(j, why, out);
    } else if (j->stream) {
        j->writer->finish(j, choice, out);
    }
}

/* ---- the whole answer */

void api_job_guessed(struct api_job *j, int accepted, int rejected)
{
    j->drafts_accepted += accepted;
    j->drafts_rejected += rejected;
}

void api_job_begin(struct api_job *j, struct buf *out)
{
    if (flows(j) && !j->ready.len)
        j->writer->begin(j, out);
}

void api_job_end(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    for (int i = 0; i < api_job_choices(j); i++)
        if (j->choices[i].finish == INFER_RUNNING && j->failed == INFER_RUNNING)
            j->failed = INFER_CANCELLED;
    if (j->ready.len)
        buf_append(out, j->ready.data, j->ready.len);
    else if (j->failed != INFER_RUNNING)
        fail(j, j->failed, out); /* nothing that says "done" after it: the answer is not done */
    else if (flows(j))
        j->writer->end(j, u, out);
    else
        j->writer->whole(j, u, out);
}
