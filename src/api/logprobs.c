/* logprobs -- the "logprobs" values of both dialects.
 *
 * A token's bytes need not be UTF-8. Chat objects carry them exactly in "bytes" and readably in "token"; the older
 * completions format has only strings, where such a token is written "bytes:\xe2\x80" as OpenAI did. */
#include "api/job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* JSON has no infinity: OpenAI's stand-in for a token that cannot be drawn. */
static void put_logprob(float v, struct buf *out)
{
    buf_printf(out, "%.9g", isfinite(v) ? (double)v : -9999.0);
}

static void token_bytes(const struct api_job *j, int id, struct buf *out)
{
    buf_clear(out);
    vocab_token_bytes(j->model->vocab, id, true, out);
}

/* {"token":"..","logprob":-0.1,"bytes":[..] without the closing brace. */
static void put_token(const struct api_job *j, int id, float logprob, struct buf *scratch, struct buf *out)
{
    token_bytes(j, id, scratch);
    buf_puts(out, "{\"token\":");
    jsonx_quote(buf_str(scratch), scratch->len, out);
    buf_puts(out, ",\"logprob\":");
    put_logprob(logprob, out);
    buf_puts(out, ",\"bytes\":[");
    for (size_t i = 0; i < scratch->len; i++)
        buf_printf(out, "%s%u", i ? "," : "", (unsigned)(unsigned char)scratch->data[i]);
    buf_putc(out, ']');
}

void api_logprobs_list(const struct api_job *j, const struct api_choice *c, int first, int end, struct buf *out)
{
    struct buf scratch = { 0 };
    buf_putc(out, '[');
    for (int i = first; i < end; i++) {
        const struct infer_token *t = &c->tokens[i].token;
        if (i > first)
            buf_putc(out, ',');
        put_token(j, t->id, t->logprob, &scratch, out);
        buf_puts(out, ",\"top_logprobs\":[");
        for (int k = 0; k < t->top_count; k++) {
            if (k)
                buf_putc(out, ',');
            put_token(j, t->top[k].token, t->top[k].logprob, &scratch, out);
            buf_putc(out, '}');
        }
        buf_puts(out, "]}");
    }
    buf_putc(out, ']');
    buf_release(&scratch);
}

static void chat_form(const struct api_job *j, const struct api_choice *c, int first, int end, struct buf *out)
{
    buf_puts(out, "{\"content\":");
    api_logprobs_list(j, c, first, end, out);
    buf_puts(out, ",\"refusal\":null}");
}

static bool is_utf8(const char *s, size_t n)
{
    json_t *v = json_stringn(s, n);
    json_decref(v);
    return v != NULL;
}

static void put_name(const struct api_job *j, int id, struct buf *scratch, struct buf *out)
{
    token_bytes(j, id, scratch);
    if (is_utf8(buf_str(scratch), scratch->len)) {
        jsonx_quote(buf_str(scratch), scratch->len, out);
        return;
    }
    buf_puts(out, "\"bytes:");
    for (size_t i = 0; i < scratch->len; i++)
        buf_printf(out, "\\\\x%02x", (unsigned)(unsigned char)scratch->data[i]);
    buf_putc(out, '"');
}

/* {"name": logprob, ...} of the alternatives and the token itself, each name once. */
static void put_alternatives(const struct api_job *j, const struct infer_token *t, struct buf *scratch,
                             struct buf *out)
{
    json_t *seen = json_object();
    struct buf name = { 0 };
    buf_putc(out, '{');
    for (int k = 0; k <= t->top_count; k++) {
        bool own = k == t->top_count;
        buf_clear(&name);
        put_name(j, own ? t->id : t->top[k].token, scratch, &name);
        if (json_object_get(seen, buf_str(&name)))
            continue;
        if (json_object_size(seen))
            buf_putc(out, ',');
        json_object_set_new(seen, buf_str(&name), json_true());
        buf_append(out, name.data, name.len);
        buf_putc(out, ':');
        put_logprob(own ? t->logprob : t->top[k].logprob, out);
    }
    buf_putc(out, '}');
    buf_release(&name);
    json_decref(seen);
}

static void completion_form(const struct api_job *j, const struct api_choice *c, int first, int end, struct buf *out)
{
    struct buf scratch = { 0 };
    buf_puts(out, "{\"tokens\":[");
    for (int i = first; i < end; i++) {
        buf_puts(out, i > first ? "," : "");
        put_name(j, c->tokens[i].token.id, &scratch, out);
    }
    buf_puts(out, "],\"token_logprobs\":[");
    for (int i = first; i < end; i++) {
        buf_puts(out, i > first ? "," : "");
        put_logprob(c->tokens[i].token.logprob, out);
    }
    buf_puts(out, "],\"top_logprobs\":[");
    for (int i = first; i < end; i++) {
        buf_puts(out, i > first ? "," : "");
        put_alternatives(j, &c->tokens[i].token, &scratch, out);
    }
    buf_puts(out, "],\"text_offset\":[");
    for (int i = first; i < end; i++)
        buf_printf(out, "%s%zu", i > first ? "," : "", c->tokens[i].start_char);
    buf_puts(out, "]}");
    buf_release(&scratch);
}

void api_logprobs_write(const struct api_job *j, const struct api_choice *c, int first, int end, struct buf *out)
{
    if (j->params.top_logprobs < 0)
        buf_puts(out, "null");
    else if (j->dialect == API_CHAT)
        chat_form(j, c, first, end, out);
    else
        completion_form(j, c, first, end, out);
}
