/* responses -- GET and DELETE /v1/responses/ID: what was stored lies in the memory of the engine that made it. The id
 * ends in a mark of its model, which leads there; a model that was unloaded since has forgotten. */
#include "front/envelope.h"
#include "front/front_impl.h"

#include <string.h>

/* Three digits of 62: enough to tell a server's models apart; an engine that never had the id says so. */
void response_mark(const char *model, char *out)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *p = model; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    for (int i = 0; i < RESPONSE_MARK_BYTES; i++, h /= sizeof digits - 1)
        out[i] = digits[h % (sizeof digits - 1)];
    out[RESPONSE_MARK_BYTES] = '\0';
}

/* The loaded model whose mark ends the id; NULL: none. */
static struct link *model_of(struct front *f, const char *id, size_t n)
{
    char mark[RESPONSE_MARK_BYTES + 1];
    for (int i = 0; n > RESPONSE_MARK_BYTES && i < models_count(f->models); i++) {
        struct link *k = models_link(f->models, i);
        response_mark(link_model_id(k), mark);
        if (link_state(k) == LINK_READY && !memcmp(id + n - RESPONSE_MARK_BYTES, mark, RESPONSE_MARK_BYTES))
            return k;
    }
    return NULL;
}

/* POST: cancel and compact are not here. */
void answer_response(struct front *f, struct http_exchange *x, const struct route *r)
{
    if (http_slice_is(http_request_head(x)->method, "POST")) {
        answer_unknown(f, x, r);
        return;
    }
    struct http_slice path = http_request_head(x)->path;
    size_t skip = strlen(r->path) - 1;
    const char *id = path.p + skip, *slash = memchr(id, '/', path.n - skip);
    struct link *k = model_of(f, id, slash ? (size_t)(slash - id) : path.n - skip);
    struct envelope env = { .model = "" };
    if (k)
        relay_start(f, x, r, k, &env);
    else
        front_reply_error(f, x, &(struct error){ .status = 404, .code = "not_found", .message =
                          "no such response is kept: it was never stored, was forgotten for newer ones, or its model "
                          "was unloaded since" }, NULL);
}
