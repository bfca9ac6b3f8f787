/* write_text -- the answer's bare text as it comes, for the embedding library: no objects, no errors in the text. */
#include "api/writer.h"

static void delta(struct api_job *j, int choice, const struct api_delta *d, struct buf *out)
{
    if (d->kind == API_TEXT)
        buf_append(out, d->text, d->length);
}

static void nothing(struct api_job *j, struct buf *out)
{
}

static void nothing_at_finish(struct api_job *j, int choice, struct buf *out)
{
}

static void nothing_at_end(struct api_job *j, const struct api_usage *u, struct buf *out)
{
}

static void nothing_as_error(struct api_job *j, const struct api_error *e, struct buf *out)
{
}

const struct api_writer api_write_text = {
    .stream_type = "text/plain", .begin = nothing, .delta = delta, .finish = nothing_at_finish, .end = nothing_at_end,
    .whole = nothing_at_end, .error = nothing_as_error,
};
