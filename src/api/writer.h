/* writer -- a dialect's hand: what each dialect makes of the same answer. One table of functions per dialect.
 *
 * A stream is begin, then delta and finish for each choice as they come, then end. A whole answer is one call of
 * `whole`, from the parts the choices kept. response.c decides which; no writer looks at tokens.
 *
 *   begin --> [delta* finish] per choice --> end          anywhere: error, once, and nothing after it */
#ifndef API_WRITER_H
#define API_WRITER_H
#include "api/delta.h"
#include "api/job.h"

struct api_writer {
    const char *stream_type; /* the media type of a stream */
    bool keeps_parts;        /* a stream's choices keep their parts too: its last event repeats them */
    void (*begin)(struct api_job *j, struct buf *out);
    /* Tokens [token_sent, token_ready) of the choice are those whose text this delta completes. */
    void (*delta)(struct api_job *j, int choice, const struct api_delta *d, struct buf *out);
    void (*finish)(struct api_job *j, int choice, struct buf *out); /* INFER_STOP or INFER_LENGTH: choice->finish */
    void (*end)(struct api_job *j, const struct api_usage *u, struct buf *out);
    void (*whole)(struct api_job *j, const struct api_usage *u, struct buf *out);
    void (*error)(struct api_job *j, const struct api_error *e, struct buf *out); /* a body, or the last event */
};

extern const struct api_writer api_write_chat, api_write_completion, api_write_messages, api_write_ollama_chat,
    api_write_ollama_generate, api_write_responses, api_write_text;

/* response.c: a delta of a choice on its way to the writer, or to the choice's parts. reply.c calls it. */
void api_choice_delta(struct api_job *j, int choice, const struct api_delta *d, struct buf *out);

void ollama_put_loaded(const struct api_job *j, struct buf *out); /* write_ollama.c: the model is there */

/* write_openai.c: what the two older OpenAI dialects share. */
void openai_event_open(const struct api_job *j, struct buf *out);                 /* up to "choices":[ */
void openai_event_close(const struct api_job *j, bool last_of_choice, struct buf *out);
void openai_put_tail(const struct api_job *j, const struct api_choice *c, struct buf *out); /* logprobs, finish */
void openai_end(struct api_job *j, const struct api_usage *u, struct buf *out);
void openai_whole(struct api_job *j, const struct api_usage *u, struct buf *out,
                  void (*put_choice)(const struct api_job *j, int choice, struct buf *out));
void openai_error(struct api_job *j, const struct api_error *e, struct buf *out);
#endif
