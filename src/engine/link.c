/* link -- see link.h. */
#include "engine/link.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/queue.h"
#include "base/rng.h"
#include "engine/adapter.h"
#include "infer/kv.h"
#include "sched/order.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A request whose body is still arriving. */
struct partial {
    struct partial *next;
    uint64_t id;
    uint32_t attempt;
    struct buf bytes; /* head, LF, body */
};

struct link {
    struct link_options o;
    struct queue *inbox;  /* struct message *, reader -> step */
    struct queue *outbox; /* struct buf *: one frame, any -> writer */
    pthread_t reader, writer;
    struct partial *partials; /* the reader's */
    int partial_count;
    uint64_t salt;            /* makes tenants' name spaces unguessable */
};

/* ---- out */

void engine_link_send(struct link *l, const struct frame *f)
{
    struct buf *b = MEM_NEW(struct buf);
    frame_write(b, f);
    if (!queue_push(l->outbox, b)) { /* closed: nobody is left to read it */
        buf_release(b);
        mem_free(b);
    }
}

void engine_link_send_error(struct link *l, uint64_t id, uint32_t attempt, const struct api_error *e)
{
    struct buf json = { 0 };
    api_error_json(e, &json);
    /* {"error":{...}} -> {"status":N,"error":{...}} */
    struct buf payload = { 0 };
    buf_printf(&payload, "{\"status\":%d,%s", e->status, buf_str(&json) + 1);
    engine_link_send(l, &(struct frame){ .kind = FRAME_ERROR, .id = id, .attempt = attempt,
                                         .payload = buf_str(&payload), .length = payload.len });
    buf_release(&json);
    buf_release(&payload);
}

static void *writer_main(void *arg)
{
    struct link *l = arg;
    bool broken = false;
    for (struct buf *b; (b = queue_pop(l->outbox, -1));) {
        size_t sent = 0;
        while (!broken && sent < b->len) {
            ssize_t n = write(l->o.socket, b->data + sent, b->len - sent); /* SIGPIPE is ignored: cmd/main.c */
            broken = n <= 0;
            sent += broken ? 0 : (size_t)n;
        }
        buf_release(b);
        mem_free(b);
    }
    return NULL;
}

void engine_message_free(struct message *m)
{
    api_job_free(m->job);
    sealed_free(m->sealed);
    buf_release(&m->note);
    mem_free(m->resume.tokens);
    mem_free(m);
}

/* ---- in */

static void refuse(struct link *l, const struct partial *p, int status, const char *type, const char *text)
{
    struct api_error e = { .status = status };
    snprintf(e.type, sizeof e.type, "%s", type);
    snprintf(e.message, sizeof e.message, "%s", text);
    engine_link_send_error(l, p->id, p->attempt, &e);
}

/* Of a sealed request one that no spill may keep. */
static uint64_t tenant_space(const struct link *l, const char *tenant, bool sealed)
{
    uint64_t h = l->salt;
    for (const unsigned char *c = (const unsigned char *)tenant; *c; c++)
        h = (h ^ *c) * 0x100000001b3u;
    return sealed ? h | KV_SPACE_PRIVATE : h & ~KV_SPACE_PRIVATE;
}

/* The worst case of a job in tokens, against what the tenant has left. */
static bool within_allowance(const struct link *l, const struct api_job *job, int64_t allowance, struct api_error *e)
{
    int64_t worst = 0;
    for (int i = 0; i < api_job_choices(job); i++) {
        int64_t prompt = (int64_t)api_job_prompt(job, i)->count, want = api_job_params(job)->max_tokens;
        int64_t room = l->o.model->ctx - prompt;
        worst += prompt + (want > 0 && want < room ? want : room);
    }
    if (worst <= allowance)
        return true;
    *e = (struct api_error){ .status = 429, .type = "insufficient_quota", .code = "insufficient_quota" };
    snprintf(e->message, sizeof e->message, "The request may use %lld tokens and %lld are left; lower max_tokens.",
             (long long)worst, (long long)allowance);
    return false;
}

/* A request that came sealed: opened, and r and tenant are what was inside. NULL: answered in the clear. */
static struct sealed *open_sealed(struct link *l, const struct partial *p, const char *how, struct api_request *r,
                                  const char **tenant)
{
    struct api_error error = { .status = 400, .type = "invalid_request_error",
                               .message = "no sealed requests are taken here" };
    const struct sealed_envelope in = { .body = { r->body, r->body_len }, .chunked = !strcmp(how, "chunked"),
                                        .tenant = *tenant, .id = r->response_id, .now_s = clock_wall_s() };
    struct sealed *s = l->o.vault ? engine_vault_open(l->o.vault, &in, &error) : NULL;
    if (!s) {
        engine_link_send_error(l, p->id, p->attempt, &error);
        return NULL;
    }
    r->path = sealed_path(s);
    r->body = sealed_body(s).data;
    r->body_len = sealed_body(s).len;
    *tenant = sealed_tenant(s);
    return s;
}

/* What a request without a seed of its own draws with: the head's, so that every attempt at it draws alike. */
static void choose_seed(int64_t given, struct api_request *r)
{
    r->seed = (uint64_t)given;
    if (given >= 0)
        return;
    rng_system(&r->seed, sizeof r->seed);
    r->seed >>= 1; /* so that it survives JSON's signed integers when it is reported and sent again */
}

/* The head's "resume" {"tokens":[ids],"cached_tokens":n} into *out. false: it is malformed. */
static bool read_resume(const struct link *l, const json_t *head, struct resume *out)
{
    const json_t *o = json_object_get(head, "resume"), *tokens = json_object_get(o, "tokens");
    const json_t *cached = json_object_get(o, "cached_tokens");
    json_int_t known = json_integer_value(cached);
    size_t n = json_array_size(tokens);
    *out = (struct resume){ .cached_tokens = -1 };
    if (!o)
        return true;
    if (!json_is_array(tokens) || n > (size_t)l->o.model->ctx || (cached && !json_is_integer(cached)) || known < 0 ||
        known > l->o.model->ctx)
        return false;
    int32_t *ids = n ? mem_new(n, sizeof *ids) : NULL;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(tokens, i);
        json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        if (v < 0 || v >= vocab_size(l->o.model->vocab)) {
            mem_free(ids);
            return false;
        }
        ids[i] = (int32_t)v;
    }
    *out = (struct resume){ ids, (int)n, cached ? (int)known : -1 };
    return true;
}

static struct message *make_job(struct link *l, const struct partial *p, const json_t *head, const char *body,
                                size_t body_len)
{
    struct api_request r = { .body = body, .body_len = body_len, .path = "", .response_id = "" };
    const char *tenant = "", *how = NULL;
    int64_t priority = 0, allowance = INT64_MAX, weight = 0, deadline_ms = 0, seed = -1;
    struct resume resume;
    bool tell = false;
    struct err e = { 0 };
    if (jsonx_get_string(head, "method", &r.method, &e) || jsonx_get_string(head, "path", &r.path, &e) ||
        jsonx_get_string(head, "response_id", &r.response_id, &e) ||
        jsonx_get_int(head, "created", 0, INT64_MAX, &r.created, &e) ||
        jsonx_get_string(head, "tenant", &tenant, &e) || jsonx_get_string(head, "sealed", &how, &e) ||
        jsonx_get_int(head, "priority", -1000, 1000, &priority, &e) ||
        jsonx_get_int(head, "weight", 0, ORDER_WEIGHT_MAX, &weight, &e) ||
        jsonx_get_int(head, "deadline_ms", 0, INT32_MAX, &deadline_ms, &e) ||
        jsonx_get_int(head, "seed", 0, INT64_MAX, &seed, &e) ||
        jsonx_get_int(head, "allowance", 0, INT64_MAX, &allowance, &e) || jsonx_get_bool(head, "tell", &tell, &e)) {
        refuse(l, p, 400, "invalid_request_error", e.text);
        return NULL;
    }
    if (!read_resume(l, head, &resume)) {
        refuse(l, p, 400, "invalid_request_error", "the request's 'resume' holds no tokens of this model");
        return NULL;
    }
    choose_seed(seed, &r);
    struct api_error error = { 0 };
    struct sealed *sealed = how ? open_sealed(l, p, how, &r, &tenant) : NULL;
    if (how && !sealed) {
        mem_free(resume.tokens);
        return NULL;
    }
    r.space = tenant_space(l, tenant, sealed != NULL);
    r.store = sealed ? NULL : l->o.store; /* what came sealed is not kept */
    struct api_job *job = sealed && sealed_refused(sealed) ? NULL : api_job_parse(l->o.model, &r, &error);
    if (job && !within_allowance(l, job, allowance, &error)) {
        api_job_free(job);
        job = NULL;
    }
    if (!job && !sealed) {
        engine_link_send_error(l, p->id, p->attempt, &error);
        mem_free(resume.tokens);
        return NULL;
    }
    struct message *m = MEM_NEW(struct message);
    *m = (struct message){ .kind = MESSAGE_JOB, .id = p->id, .attempt = p->attempt, .job = job, .sealed = sealed,
                           .error = error, .space = r.space, .priority = (int)priority, .weight = (int)weight,
                           .deadline_ms = deadline_ms, .resume = resume, .tell = tell && !sealed };
    if (sealed)
        sealed_forget(sealed);
    return m;
}

/* A whole request is here: head JSON, LF, body. */
static void complete(struct link *l, struct partial *p, int64_t received_ns)
{
    const char *text = buf_str(&p->bytes);
    const char *lf = memchr(text, '\n', p->bytes.len);
    struct err e = { 0 };
    json_t *head = lf ? jsonx_parse(text, (size_t)(lf - text), &e) : NULL;
    if (!json_is_object(head)) {
        refuse(l, p, 400, "invalid_request_error", "the request frame has no head");
    } else {
        struct message *m = make_job(l, p, head, lf + 1, p->bytes.len - (size_t)(lf + 1 - text));
        if (m)
            m->received_ns = received_ns;
        if (m && !queue_push(l->inbox, m))
            engine_message_free(m);
    }
    json_decref(head);
}

static struct partial **find_partial(struct link *l, uint64_t id)
{
    struct partial **p = &l->partials;
    while (*p && (*p)->id != id)
        p = &(*p)->next;
    return p;
}

static void drop_partial(struct link *l, struct partial **at)
{
    struct partial *p = *at;
    *at = p->next;
    buf_release(&p->bytes);
    mem_free(p);
    l->partial_count--;
}

static void on_request(struct link *l, const struct frame *f)
{
    struct partial **at = find_partial(l, f->id);
    if (!*at) {
        struct partial *p = MEM_NEW(struct partial);
        *p = (struct partial){ .next = l->partials, .id = f->id, .attempt = f->attempt };
        buf_init(&p->bytes, l->o.body_max + FRAME_PAYLOAD_MAX);
        l->partials = p;
        l->partial_count++;
        at = &l->partials;
    }
    struct partial *p = *at;
    if (!buf_append(&p->bytes, f->payload, f->length) || l->partial_count > LINK_REQUESTS_MAX) {
        refuse(l, p, 413, "invalid_request_error", "the request body is too large");
        drop_partial(l, at);
    } else if (!(f->flags & FRAME_MORE)) {
        complete(l, p, clock_mono_ns());
        drop_partial(l, at);
    }
}

static void push_plain(struct link *l, enum message_kind kind, const struct frame *f, uint32_t credit)
{
    struct message *m = MEM_NEW(struct message);
    *m = (struct message){ .kind = kind, .id = f->id, .attempt = f->attempt, .credit = credit };
    if (!queue_push(l->inbox, m))
        mem_free(m);
}

/* The receipt of a sealed exchange, signed. */
static void push_note(struct link *l, const struct frame *f)
{
    struct message *m = MEM_NEW(struct message);
    *m = (struct message){ .kind = MESSAGE_RECEIPT, .id = f->id, .attempt = f->attempt };
    buf_append(&m->note, f->payload, f->length);
    if (!queue_push(l->inbox, m))
        engine_message_free(m);
}

static uint32_t read_u32(const struct frame *f)
{
    uint32_t v = 0;
    for (size_t i = 0; i < 4 && i < f->length; i++)
        v |= (uint32_t)(unsigned char)f->payload[i] << (8 * i);
    return v;
}

/* Here and not in the step thread: requests under way go on while a file is read, and those that arrive later wait. */
static void on_adapter(struct link *l, const struct frame *f, int fd)
{
    struct api_error error = { 0 };
    if (engine_adapter_change(l->o.runtime, f, fd, &error))
        engine_link_send(l, &(struct frame){ .kind = FRAME_END, .id = f->id, .attempt = f->attempt, .payload = "{}",
                                             .length = 2 });
    else
        engine_link_send_error(l, f->id, f->attempt, &error);
}

/* Here too: the vault is this thread's, and what holds holds for every request that comes later. */
static void on_trust(struct link *l, const struct frame *f)
{
    struct buf answer = { 0 };
    struct err e = { 0 };
    json_t *said = jsonx_parse(f->payload, f->length, &e);
    enum err_code c = said && l->o.vault ? engine_vault_told(l->o.vault, said, &answer, &e) : ERR_INVALID;
    if (c)
        log_line(LOG_ERROR, "engine", "what the front says of keys and policy is not taken: %s", e.text);
    if (answer.len)
        engine_link_send(l, &(struct frame){ .kind = FRAME_TRUST, .payload = buf_str(&answer), .length = answer.len });
    json_decref(said);
    buf_release(&answer);
}

static void *reader_main(void *arg)
{
    struct link *l = arg;
    struct buf in = { 0 };
    struct frame f = { 0 };
    struct err e = { 0 };
    int fds[FRAME_FDS_MAX], fd_count = 0;
    while (!frame_recv(l->o.socket, &in, &f, fds, &fd_count, &e)) {
        if (f.kind == FRAME_REQUEST) {
            on_request(l, &f);
        } else if (f.kind == FRAME_CREDIT) {
            push_plain(l, MESSAGE_CREDIT, &f, read_u32(&f));
        } else if (f.kind == FRAME_RECEIPT) {
            push_note(l, &f);
        } else if (f.kind == FRAME_ADAPTER) {
            on_adapter(l, &f, fd_count ? fds[0] : -1);
        } else if (f.kind == FRAME_TRUST) {
            on_trust(l, &f);
        } else if (f.kind == FRAME_CANCEL) {
            struct partial **at = find_partial(l, f.id);
            if (*at)
                drop_partial(l, at);
            push_plain(l, MESSAGE_CANCEL, &f, 0);
        }
        while (fd_count)
            close(fds[--fd_count]);
    }
    if (e.code != ERR_NOT_FOUND)
        log_line(LOG_ERROR, "engine", "the front's stream ended: %s", e.text);
    while (l->partials)
        drop_partial(l, &l->partials);
    buf_release(&in);
    push_plain(l, MESSAGE_CLOSED, &(struct frame){ 0 }, 0);
    return NULL;
}

/* ---- life */

struct link *engine_link_start(const struct link_options *o)
{
    struct link *l = MEM_NEW(struct link);
    l->o = *o;
    l->inbox = queue_new(LINK_INBOX_MAX);
    l->outbox = queue_new(LINK_OUTBOX_MAX);
    l->salt = o->salt;
    if (!l->salt)
        rng_system(&l->salt, sizeof l->salt);
    pthread_create(&l->reader, NULL, reader_main, l);
    pthread_create(&l->writer, NULL, writer_main, l);
    return l;
}

void engine_link_stop(struct link *l)
{
    queue_close(l->outbox); /* the writer sends what is left and ends */
    pthread_join(l->writer, NULL);
    shutdown(l->o.socket, SHUT_RDWR);
    queue_close(l->inbox);
    pthread_join(l->reader, NULL);
    for (struct message *m; (m = queue_try_pop(l->inbox));)
        engine_message_free(m);
    queue_free(l->inbox);
    queue_free(l->outbox);
    mem_free(l);
}

struct message *engine_link_receive(struct link *l, int64_t wait_ms)
{
    return queue_pop(l->inbox, wait_ms);
}
