/* evidence -- what anybody may ask of the evidence: a client's offer, a receipt and its proof, the log's files. */
#include "base/file.h"
#include "base/mem.h"
#include "front/front_impl.h"
#include "trust/tiles.h"

#include <string.h>

enum { LOG_FILE_MAX = 32 << 20 };

struct asking { /* an exchange whose answer the trustlog's thread makes */
    struct asking *next, *prev;
    struct front *front;
    struct http_exchange *x; /* NULL: its client left */
    const char *type;
};

static void no_evidence(struct front *f, struct http_exchange *x)
{
    front_reply_error(f, x, &(struct error){ .status = 404, .code = "no_evidence",
                      .message = "this server keeps no evidence; `tokenworks trust init` begins one" }, NULL);
}

static void answered(void *arg, const struct trustlog_answer *a)
{
    struct asking *q = arg;
    struct http_exchange *x = q->x;
    struct front *f = q->front;
    const struct http_reply r = { .status = 200, .content_type = q->type, .headers = "Cache-Control: no-store\r\n" };
    int status = a->code == ERR_NOT_FOUND ? 404 : a->code == ERR_BUSY ? 503 : a->code == ERR_INVALID ? 404 :
                 a->code == ERR_DENIED ? 403 : 500;
    if (q->prev)
        q->prev->next = q->next;
    else
        f->asking = q->next;
    if (q->next)
        q->next->prev = q->prev;
    mem_free(q);
    if (x && a->code)
        front_reply_error(f, x, &(struct error){ .status = status, .message = a->sentence },
                          status == 503 ? "Retry-After: 1\r\n" : NULL);
    else if (x)
        front_reply_bytes(f, x, &r, a->text.data, a->text.len);
}

static struct asking *ask(struct front *f, struct http_exchange *x, const char *type)
{
    struct asking *q = MEM_NEW(struct asking);
    *q = (struct asking){ .next = f->asking, .front = f, .x = x, .type = type };
    if (q->next)
        q->next->prev = q;
    f->asking = q;
    return q;
}

bool evidence_gone(struct front *f, const struct http_exchange *x)
{
    for (struct asking *q = f->asking; q; q = q->next)
        if (q->x == x) {
            q->x = NULL;
            return true;
        }
    return false;
}

/* The value of a query's parameter, undecoded; empty when absent. */
static struct span parameter(struct http_slice query, const char *name)
{
    struct span rest = { query.p, query.n }, pair, key, value;
    while (rest.len) {
        if (!span_cut(rest, '&', &pair, &rest)) {
            pair = rest;
            rest.len = 0;
        }
        if (span_cut(pair, '=', &key, &value) && span_is(key, name))
            return value;
    }
    return SPAN("");
}

void answer_evidence(struct front *f, struct http_exchange *x, const struct route *r)
{
    const struct http_head *h = http_request_head(x);
    struct span model = parameter(h->query, "model"), since = parameter(h->query, "since");
    char name[256] = "";
    uint64_t size = 0;
    if (!f->trust) {
        no_evidence(f, x);
        return;
    }
    if (model.len < sizeof name)
        memcpy(name, model.data, model.len);
    struct link *link = model.len < sizeof name ? front_find_model(f, name) : NULL;
    if (!link || (since.len && !code_uint(since, &size))) {
        front_reply_error(f, x, &(struct error){ .status = 404, .code = "model_not_found",
                          .message = "ask with ?model=NAME&since=SIZE; GET /v1/models lists the names" }, NULL);
        return;
    }
    if (link_state(link) != LINK_READY) { /* what the last engine said of itself is over */
        models_load(f->models, link);
        front_reply_error(f, x, &(struct error){ .status = 503, .code = "model_loading",
                          .message = "the model is loading; try again in a moment" }, "Retry-After: 1\r\n");
        return;
    }
    trustlog_offer(f->trust, introduce_slot(f, link), size, answered, ask(f, x, "application/json"));
}

void answer_receipt(struct front *f, struct http_exchange *x, const struct route *r)
{
    static const char suffix[] = ".tlog-proof";
    const size_t skip = strlen("/v1/receipts/"), tail = sizeof suffix - 1;
    struct http_slice path = http_request_head(x)->path;
    char id[RECEIPT_NAME_MAX + sizeof suffix] = "";
    size_t n = path.n - skip;
    if (!f->trust) {
        no_evidence(f, x);
        return;
    }
    if (n < sizeof id)
        memcpy(id, path.p + skip, n);
    bool proof = n < sizeof id && n > tail && !strcmp(id + n - tail, suffix);
    if (proof)
        id[n - tail] = '\0';
    trustlog_get(f->trust, id, proof, answered, ask(f, x, "text/plain; charset=utf-8"));
}

void answer_log(struct front *f, struct http_exchange *x, const struct route *r)
{
    const size_t skip = strlen("/log/");
    struct http_slice path = http_request_head(x)->path;
    struct span name = { path.p + skip, path.n - skip };
    struct buf file = { 0 }, data = { 0 };
    bool is_checkpoint = span_is(name, "checkpoint");
    if (!f->trust) {
        no_evidence(f, x);
        return;
    }
    buf_printf(&file, "%s/log/%.*s", trustlog_public(f->trust), (int)name.len, name.data);
    if (!tiles_path_ok(name) || file_read(buf_str(&file), LOG_FILE_MAX, &data, NULL)) {
        front_reply_error(f, x, &(struct error){ .status = 404, .message = "the log has no such file" }, NULL);
    } else {
        const struct http_reply reply = {
            .status = 200, .content_type = is_checkpoint ? "text/plain; charset=utf-8" : "application/octet-stream",
            .headers = is_checkpoint ? "Cache-Control: no-store\r\n"
                                     : "Cache-Control: public, max-age=31536000, immutable\r\n" };
        front_reply_bytes(f, x, &reply, data.data, data.len);
    }
    buf_release(&file);
    buf_release(&data);
}
