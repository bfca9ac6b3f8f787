/* write_openai -- what chat and completion objects share. The order of keys is OpenAI's; everything in an object that
 * several objects share was written once (job.head). */
#include "api/writer.h"

static void put_usage(const struct api_job *j, const struct api_usage *u, struct buf *out)
{
    buf_printf(out, ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%d}", u->prompt_tokens, u->completion_tokens,
               u->prompt_tokens + u->completion_tokens, u->cached_tokens);
    int thoughts = 0;
    const char *comma = ",\"completion_tokens_details\":{";
    for (int i = 0; i < api_job_choices(j); i++)
        thoughts += j->choices[i].thought_tokens;
    if (thoughts) {
        buf_printf(out, "%s\"reasoning_tokens\":%d", comma, thoughts);
        comma = ",";
    }
    if (j->drafts_accepted + j->drafts_rejected) {
        buf_printf(out, "%s\"accepted_prediction_tokens\":%d,\"rejected_prediction_tokens\":%d", comma,
                   j->drafts_accepted, j->drafts_rejected);
        comma = ",";
    }
    buf_puts(out, comma[1] ? "}" : "}}");
}

static void put_seed(const struct api_job *j, struct buf *out)
{
    buf_printf(out, ",\"seed\":%lld", (long long)j->params.seed); /* as the client would send it back */
}

void openai_event_open(const struct api_job *j, struct buf *out)
{
    buf_puts(out, "data: ");
    buf_append(out, j->head.data, j->head.len);
    buf_puts(out, ",\"choices\":[");
}

/* The last events carry the seed; when usage was asked for all but the last say null. */
void openai_event_close(const struct api_job *j, bool last_of_choice, struct buf *out)
{
    buf_putc(out, ']');
    if (j->include_usage)
        buf_puts(out, ",\"usage\":null");
    if (last_of_choice)
        put_seed(j, out);
    buf_puts(out, "}\n\n");
}

static const char *finish_word(const struct api_job *j, const struct api_choice *c)
{
    return c->finish == INFER_LENGTH ? "\"length\"" : c->finish != INFER_STOP ? "null" :
           c->calls ? j->functions ? "\"function_call\"" : "\"tool_calls\"" : "\"stop\"";
}

/* A stream sends the logprobs that are ready; a whole answer has them all. */
void openai_put_tail(const struct api_job *j, const struct api_choice *c, struct buf *out)
{
    int first = j->stream ? c->token_sent : 0, end = j->stream ? c->token_ready : c->token_count;
    if (j->stream && first == end)
        buf_puts(out, "null");
    else
        api_logprobs_write(j, c, first, end, out);
    buf_printf(out, ",\"finish_reason\":%s}", finish_word(j, c));
}

void openai_end(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    if (j->include_usage) {
        openai_event_open(j, out);
        buf_putc(out, ']');
        put_usage(j, u, out);
        put_seed(j, out);
        buf_puts(out, "}\n\n");
    }
    buf_puts(out, "data: [DONE]\n\n");
}

void openai_whole(struct api_job *j, const struct api_usage *u, struct buf *out,
                  void (*put_choice)(const struct api_job *j, int choice, struct buf *out))
{
    buf_append(out, j->head.data, j->head.len);
    buf_puts(out, ",\"choices\":[");
    for (int i = 0; i < api_job_choices(j); i++) {
        buf_puts(out, i ? "," : "");
        put_choice(j, i, out);
    }
    buf_putc(out, ']');
    put_usage(j, u, out);
    put_seed(j, out);
    buf_putc(out, '}');
}

void openai_error(struct api_job *j, const struct api_error *e, struct buf *out)
{
    if (j->stream)
        buf_puts(out, "data: ");
    api_error_json(e, out);
    if (j->stream)
        buf_puts(out, "\n\n");
}
