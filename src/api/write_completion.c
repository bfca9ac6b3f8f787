/* write_completion -- /v1/completions: text only, each prompt's own before it where the client asked (echo). */
#include "api/writer.h"

static void put_text(const struct api_job *j, int choice, const char *text, size_t n, struct buf *out)
{
    buf_puts(out, "{\"text\":");
    jsonx_quote(text, n, out);
    buf_printf(out, ",\"index\":%d,\"logprobs\":", choice);
    openai_put_tail(j, &j->choices[choice], out);
}

static void put_event(const struct api_job *j, int choice, const char *text, size_t n, struct buf *out)
{
    openai_event_open(j, out);
    put_text(j, choice, text, n, out);
    openai_event_close(j, j->choices[choice].finish != INFER_RUNNING, out);
}

static void begin(struct api_job *j, struct buf *out)
{
    for (int i = 0; j->echo && i < api_job_choices(j); i++)
        put_event(j, i, buf_str(&j->echo_text[i / j->n]), j->echo_text[i / j->n].len, out);
}

static void delta(struct api_job *j, int choice, const struct api_delta *d, struct buf *out)
{
    if (d->kind == API_TEXT)
        put_event(j, choice, d->text, d->length, out);
}

static void finish(struct api_job *j, int choice, struct buf *out)
{
    put_event(j, choice, "", 0, out);
}

static void put_choice(const struct api_job *j, int i, struct buf *out)
{
    struct buf text = { 0 };
    if (j->echo)
        buf_append(&text, j->echo_text[i / j->n].data, j->echo_text[i / j->n].len);
    api_parts_join(&j->choices[i].parts, API_TEXT, &text);
    put_text(j, i, buf_str(&text), text.len, out);
    buf_release(&text);
}

static void whole(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    openai_whole(j, u, out, put_choice);
}

const struct api_writer api_write_completion = {
    .stream_type = "text/event-stream", .begin = begin, .delta = delta, .finish = finish, .end = openai_end,
    .whole = whole, .error = openai_error,
};
