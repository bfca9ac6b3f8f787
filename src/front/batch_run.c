/* batch_run -- a batch at work: which lines are with an engine, and what becomes of their answers.
 *
 *   TODO --start_line--> ENGINE --end--> receipt on disk --> bill on disk, with its hash --> answer on disk: DONE
 *    ^                     |--refused for now, engine lost--> TODO (the same line again)
 *    |                     `--refused for good--> answer on disk, in the file of errors: DONE
 *    `------ after a crash: whatever is in neither file
 *
 * A line's row in the ledger has the same id whenever it is computed, so it is billed once (batches.h, B2). */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "front/batches_impl.h"
#include "front/claim.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TODO, OPEN, DONE };
enum { CRASHES_MAX = 3, WINDOW = 64, WAIT_MAX_S = 600, NS_PER_S = 1000000000 };
enum { ANSWERS, ERRORS, SIDES };

struct side {
    struct thing *file;
    char name[CHEST_NAME_MAX + 1];
    int fd;
    uint64_t records;
    int64_t bytes;
};

struct run {
    struct batches *b;
    struct thing *t;
    struct buf input;
    struct batch_line *lines;    /* [count], into input */
    uint8_t *state, *crashes;    /* [count] */
    int count, next, open;
    struct side sides[SIDES];
    struct call *calls;          /* with an engine, the ledger or the log */
    int64_t wait_ns;             /* no line is started before */
    bool over;
};

/* A line under way. Its run is NULL once the server ends: it then only waits to be freed. */
struct call {
    struct link_call link_call;
    struct link *link;
    struct model_wait wait;
    struct envelope env;
    struct run *run;
    struct call *prev, *next;
    int line;
    struct bill bill;
    struct draft draft;
    struct buf body;
    int status;
    char response_id[64];
    struct front *front;         /* while it needs an engine */
    struct accounts *accounts;   /* once it is over */
    json_t *end;                 /* the engine's last word, until it is booked */
    bool opened, settled;        /* settled: receipt and bill are on their way */
};

struct thing *batch_run_thing(const struct run *r)
{
    return r->t;
}

bool batch_run_over(const struct run *r)
{
    return r->over;
}

/* ---- calls */

static void unlink_call(struct call *c)
{
    if (!c->run)
        return;
    *(c->prev ? &c->prev->next : &c->run->calls) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
}

/* Its engine is no longer needed for it. */
static void close_call(struct call *c)
{
    if (!c->front)
        return;
    models_forget(c->front->models, &c->wait);
    link_call_close(c->link, &c->link_call);
    if (c->opened)
        models_released(c->front->models, c->link);
    c->front = NULL;
}

static void free_call(struct call *c)
{
    close_call(c);
    account_abandon(c->run ? c->run->b->front->accounts : NULL, &c->bill); /* unless it was settled */
    bool denied = c->draft.decided && !c->draft.r.allow;
    draft_computed(&c->draft, &c->link_call.far);
    if (c->draft.log)
        draft_file(&c->draft, denied ? "denied" : "aborted", NULL, NULL); /* unless it was */
    buf_release(&c->body);
    json_decref(c->end);
    mem_free(c);
}

/* The line is to be done again. */
static void again(struct call *c, int64_t wait_s)
{
    struct run *r = c->run;
    wait_s = wait_s > 0 && wait_s < WAIT_MAX_S ? wait_s : wait_s > 0 ? WAIT_MAX_S : 1;
    int64_t until = clock_mono_ns() + wait_s * NS_PER_S;
    r->wait_ns = until > r->wait_ns ? until : r->wait_ns;
    r->state[c->line] = TODO;
    r->next = c->line < r->next ? c->line : r->next;
    r->open--;
    r->b->busy--;
    unlink_call(c);
    free_call(c);
}

/* ---- answers */

struct kept {
    struct run *run;
    int line, side;
};

static void count_answer(struct run *r, int side)
{
    json_t *counts = json_object_get(r->t->o, "request_counts");
    const char *name = side == ANSWERS ? "completed" : "failed";
    json_object_set_new(counts, name, json_integer(json_integer_value(json_object_get(counts, name)) + 1));
}

static void answer_kept(void *arg)
{
    struct kept *k = arg;
    struct run *r = k->run;
    r->state[k->line] = DONE;
    count_answer(r, k->side);
    r->open--;
    r->b->busy--;
    mem_free(k);
    if (!r->b->draining)
        batch_run_pump(r);
}

/* Puts a line's answer into its file. body: JSON. */
static void keep_answer(struct run *r, int line, int status, const char *id, const struct buf *body)
{
    int side = status == 200 ? ANSWERS : ERRORS;
    struct side *s = &r->sides[side];
    struct buf text = { 0 };
    uint8_t random[12];
    buf_put_u32(&text, (uint32_t)line);
    buf_puts(&text, "{\"id\":\"batch_req_");
    rng_system(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        buf_printf(&text, "%02x", random[i]);
    buf_puts(&text, "\",\"custom_id\":");
    buf_append(&text, r->lines[line].custom_id.p, r->lines[line].custom_id.n);
    buf_printf(&text, ",\"response\":{\"status_code\":%d,\"request_id\":\"%s\",\"body\":", status, id);
    for (size_t i = 0; i < body->len; i++) /* a line is a line */
        buf_putc(&text, body->data[i] == '\n' || body->data[i] == '\r' ? ' ' : body->data[i]);
    buf_puts(&text, "},\"error\":null}\n");
    struct write_job *j = MEM_NEW(struct write_job);
    struct kept *k = MEM_NEW(struct kept);
    *k = (struct kept){ r, line, side };
    *j = (struct write_job){ .fd = s->fd, .done = answer_kept, .arg = k };
    chest_seal(r->b->chest, s->name, s->records++, text.data, text.len, &j->bytes);
    s->bytes += (int64_t)text.len - 4;
    mem_wipe(text.data, text.len);
    buf_release(&text);
    batch_write(r->b->writer, j);
}

/* A line that is refused for good. */
static void keep_error(struct run *r, int line, const char *id, const struct error *e)
{
    struct buf body = { 0 };
    error_body(DIALECT_OPENAI, e, &body);
    keep_answer(r, line, e->status, id, &body);
    buf_release(&body);
}

/* The call's answer is to be kept, and the call is over. */
static void conclude(struct call *c)
{
    if (c->run) {
        unlink_call(c);
        keep_answer(c->run, c->line, c->status, c->response_id, &c->body);
    }
    free_call(c);
}

static void booked(void *arg, int64_t cost_micros)
{
    conclude(arg);
}

/* Its row in the ledger; hash: of its receipt, or NULL. */
static void book(struct call *c, const uint8_t *hash)
{
    struct accounts *a = c->run ? c->run->b->front->accounts : c->accounts;
    bool billed = account_settle(a, &c->bill, c->end, "stop", hash, booked, c);
    json_decref(c->end);
    c->end = NULL;
    if (!billed)
        booked(c, 0);
}

static void receipt_kept(void *arg, const struct trustlog_answer *a)
{
    struct call *c = arg;
    uint8_t hash[LEDGER_HASH_BYTES];
    if (a->code && c->run) { /* no answer without its receipt */
        c->settled = false;
        again(c, 1);
        return;
    }
    sha256_of(a->text.data, a->text.len, hash);
    book(c, a->code ? NULL : hash);
}

static void fail_call(struct call *c, const struct error *e)
{
    struct run *r = c->run;
    unlink_call(c);
    keep_error(r, c->line, c->response_id, e);
    free_call(c);
}

/* ---- from the engine */

static void take_data(struct call *c, const struct frame *f)
{
    const char *p = f->payload;
    size_t n = f->length, skip = 0;
    if (f->flags & FRAME_TOKENS && n >= 2)
        skip = 2 + 4 * ((size_t)(unsigned char)p[0] | (size_t)(unsigned char)p[1] << 8);
    if (skip > n || c->body.len + n > BATCH_ANSWER_MAX) {
        link_call_send(c->link, &c->link_call, FRAME_CANCEL, 0, NULL, 0);
        fail_call(c, &(struct error){ .status = 502,
                                      .message = "the answer is malformed or larger than a batch keeps" });
        return;
    }
    buf_append(&c->body, p + skip, n - skip);
    draft_response(&c->draft, p + skip, n - skip);
    static const unsigned char one[4] = { 1, 0, 0, 0 };
    link_call_send(c->link, &c->link_call, FRAME_CREDIT, 0, one, sizeof one);
}

static void take_usage(struct call *c, const struct frame *f)
{
    struct ledger_answer answer;
    json_t *usage = jsonx_parse(f->payload, f->length, NULL);
    bool fits = account_usage(c->run->b->front->accounts, &c->bill, usage, &answer);
    draft_usage(&c->draft, usage);
    json_decref(usage);
    if (fits)
        return;
    link_call_send(c->link, &c->link_call, FRAME_CANCEL, 0, NULL, 0);
    if (answer.verdict == LEDGER_LIMITED)
        again(c, answer.retry_after_s);
    else
        fail_call(c, &(struct error){ .status = 429, .message = answer.message, .code = "rate_limit_exceeded" });
}

static void take_error(struct call *c, const struct frame *f)
{
    json_t *v = jsonx_parse(f->payload, f->length, NULL), *o = json_object_get(v, "error");
    int64_t status = json_integer_value(json_object_get(v, "status"));
    const char *message = json_string_value(json_object_get(o, "message"));
    struct error e = { .status = status >= 400 && status <= 599 ? (int)status : 500,
                       .message = message ? message : "the engine failed",
                       .type = json_string_value(json_object_get(o, "type")),
                       .param = json_string_value(json_object_get(o, "param")),
                       .code = json_string_value(json_object_get(o, "code")) };
    if (status == 503)
        again(c, 1); /* full for now */
    else
        fail_call(c, &e);
    json_decref(v);
}

static void take_end(struct call *c, const struct frame *f)
{
    json_t *end = jsonx_parse(f->payload, f->length, NULL);
    draft_computed(&c->draft, &c->link_call.far);
    draft_usage(&c->draft, json_object_get(end, "usage"));
    if (c->status >= 500)
        json_object_set_new(json_object_get(end, "usage"), "completion_tokens", json_integer(0));
    close_call(c);
    c->settled = true;
    c->accounts = c->run->b->front->accounts;
    c->end = end;
    if (c->draft.log)
        draft_file(&c->draft, c->status == 200 ? "stop" : "error", receipt_kept, c);
    else
        book(c, NULL);
}

static void call_frame(struct link_call *lc, const struct frame *f)
{
    struct call *c = lc->arg;
    if (f->kind == FRAME_HEAD) {
        json_t *v = jsonx_parse(f->payload, f->length, NULL);
        c->status = (int)json_integer_value(json_object_get(v, "status"));
        json_decref(v);
    } else if (f->kind == FRAME_DATA) {
        take_data(c, f);
    } else if (f->kind == FRAME_USAGE) {
        take_usage(c, f);
    } else if (f->kind == FRAME_ERROR) {
        take_error(c, f);
    } else if (f->kind == FRAME_END) {
        take_end(c, f);
    }
}

/* A line that kills the engine again and again is given up. */
static void call_lost(struct link_call *lc, const char *why)
{
    struct call *c = lc->arg;
    if (++c->run->crashes[c->line] < CRASHES_MAX)
        again(c, 1);
    else
        fail_call(c, &(struct error){ .status = 503, .message = "the engine stopped whenever it worked on this line",
                                      .code = "engine_failed" });
}

/* ---- to the engine */

static void send_call(struct call *c, int64_t allowance, int64_t weight)
{
    const struct batch_line *l = &c->run->lines[c->line];
    json_t *head = json_pack("{s:s, s:s%, s:s, s:I, s:s, s:I, s:i, s:I}", "method", "POST", "path", l->url.p, l->url.n,
                             "tenant", batches_text(c->run->t, "_tenant"), "created", (json_int_t)clock_wall_s(),
                             "response_id", c->response_id, "deadline_ms", (json_int_t)0, "priority", BATCH_PRIORITY,
                             "weight", (json_int_t)weight);
    if (allowance >= 0)
        json_object_set_new(head, "allowance", json_integer(allowance));
    link_call_request(c->link, &c->link_call, head, l->body.p, l->body.n);
    json_decref(head);
    static const unsigned char window[4] = { WINDOW, 0, 0, 0 };
    link_call_send(c->link, &c->link_call, FRAME_CREDIT, 0, window, sizeof window);
}

/* Who asked, if they may still ask. false: no longer. *key NULL: nobody's, nothing is booked on a key. */
static bool find_owner(const struct run *r, const struct ledger_key **key)
{
    struct accounts *a = r->b->front->accounts;
    int64_t id = batches_number(r->t, "_key");
    *key = NULL;
    if (!json_is_true(json_object_get(r->t->o, "_booked")))
        return true;
    *key = accounts_owner(a, id, batches_text(r->t, "_tenant"), batches_text(r->t, "_team"));
    return *key != NULL;
}

/* What the policy says of the line; the draft is begun. */
static bool decide(struct call *c)
{
    struct front *f = c->run->b->front;
    struct policy_decision why;
    struct http_head head = { .field_count = 0 };
    const char *data_class = batches_text(c->run->t, "_class");
    if (*data_class)
        head.fields[head.field_count++] = (struct http_field){ { "tw-data-class", 13 },
                                                               { data_class, strlen(data_class) } };
    draft_begin(&c->draft, f->trust, c->response_id, c->run->lines[c->line].body);
    if (introduce_stopped(f, c->link)) {
        draft_deny(&c->draft, "gate/revoked");
        return false;
    }
    c->draft.r.has_numerics = introduce_numerics(f, c->link, c->draft.r.numerics);
    return draft_decide(&c->draft, introduce_model(f, c->link), &head, batches_text(c->run->t, "_tenant"), &why);
}

/* What can be said against the line before anybody is asked; NULL: nothing. */
static struct link *find_link(const struct run *r, int line, struct envelope *env, struct error *e, struct err *why)
{
    const struct batch_line *l = &r->lines[line];
    const char *param = "";
    *e = (struct error){ .status = 400, .param = param };
    if (envelope_scan(l->body.p, l->body.n, env, &param, why)) {
        e->message = why->text;
        return NULL;
    }
    if (env->stream) {
        e->message = "a batch has no streams; leave 'stream' out";
        return NULL;
    }
    struct link *link = front_find_model(r->b->front, env->model);
    if (!link)
        *e = (struct error){ .status = 404, .param = "model", .code = "model_not_found",
                             .message = "the model does not exist here; GET /v1/models lists those that do" };
    return link;
}

static void refuse_line(struct run *r, int line, const struct error *e)
{
    r->state[line] = OPEN;
    r->open++;
    r->b->busy++;
    keep_error(r, line, "", e);
}

static bool open_call(struct call *c)
{
    const struct batch_line *l = &c->run->lines[c->line];
    struct err e;
    const struct fleet_request q = { .tenant = batches_text(c->run->t, "_tenant"), .path = l->url, .body = l->body,
                                     .max_tokens = c->env.max_tokens, .resumable = true, .draft = &c->draft };
    if (!link_is_far(c->link))
        return link_call_open(c->link, &c->link_call);
    return !front_fleet_call(c->front->fleet, c->link, &c->link_call, &q, &e);
}

/* Asks the ledger and sends the line, unless it is refused, for now or for good. */
static void admit(struct call *c, const struct ledger_key *key)
{
    const struct envelope *env = &c->env;
    struct run *r = c->run;
    char id[LEDGER_REQUEST_ID_MAX + 1];
    struct ledger_answer answer;
    snprintf(id, sizeof id, "%s-%d", r->t->id, c->line);
    struct account_ask ask = { .key = key, .model = link_model_id(c->link), .request_id = id,
                               .path = r->lines[c->line].url, .body_bytes = (int64_t)r->lines[c->line].body.n,
                               .choices = env->choices, .max_tokens = env->max_tokens,
                               .ctx = json_integer_value(json_object_get(link_facts(c->link), "ctx")) };
    if (!account_admit(r->b->front->accounts, &c->bill, &ask, &answer)) {
        if (answer.verdict == LEDGER_LIMITED || answer.verdict == LEDGER_BUSY)
            again(c, answer.retry_after_s);
        else
            fail_call(c, &(struct error){ .status = answer.verdict == LEDGER_FORBIDDEN ? 403 : 429,
                                          .message = answer.message, .code = "not_admitted" });
        return;
    }
    bool may = decide(c);
    if (may && !c->opened && !(c->opened = open_call(c))) {
        c->draft = (struct draft){ 0 }; /* nobody has seen it */
        again(c, 1);
    } else if (may)
        send_call(c, answer.allowance_tokens, key ? key->weight : 0);
    else
        fail_call(c, &(struct error){ .status = 403, .message = "the policy does not allow this request",
                                      .code = "policy" });
}

/* The model's engine is there. */
static void model_ready(void *arg)
{
    struct call *c = arg;
    const struct ledger_key *key;
    bool far = link_is_far(c->link); /* where it may go is decided first */
    c->opened = !far && open_call(c);
    if (!c->opened && !far)
        again(c, 1);
    else if (find_owner(c->run, &key))
        admit(c, key);
    else
        fail_call(c, &(struct error){ .status = 401, .message = "the key that made this batch is no longer valid" });
}

static void model_refused(void *arg, const struct error *e, int64_t retry_s)
{
    if (e->status == 503)
        again(arg, retry_s);
    else
        fail_call(arg, e);
}

static void start_line(struct run *r, int line)
{
    struct envelope env = { .model = "" };
    struct error e;
    struct err why = { 0 };
    struct link *link = find_link(r, line, &env, &e, &why);
    if (!link) {
        refuse_line(r, line, &e);
        return;
    }
    struct call *c = MEM_NEW(struct call);
    *c = (struct call){ .link_call = { .frame = call_frame, .lost = call_lost, .arg = c }, .link = link, .run = r,
                        .line = line, .bill = { .ticket = -1 }, .next = r->calls, .env = env, .front = r->b->front,
                        .wait = { .ready = model_ready, .refused = model_refused, .arg = c, .model = -1 } };
    if (c->next)
        c->next->prev = c;
    r->calls = c;
    r->state[line] = OPEN;
    r->open++;
    r->b->busy++;
    snprintf(c->response_id, sizeof c->response_id, "%s-%d", r->t->id, line);
    if (models_want(c->front->models, link, &c->wait))
        model_ready(c);
}

/* ---- the batch */

static void finish(struct run *r, const char *status)
{
    struct err e;
    char at[32];
    for (int i = 0; i < SIDES; i++) {
        struct side *s = &r->sides[i];
        batches_set(s->file, "bytes", s->bytes);
        if (!s->records)
            batches_delete(r->b, s->file);
        else if (batches_save(r->b, s->file, &e))
            log_line(LOG_ERROR, "front", "%s", e.text);
        else
            batches_set_text(r->t, i == ANSWERS ? "output_file_id" : "error_file_id", s->file->id);
    }
    snprintf(at, sizeof at, "%s_at", status);
    batches_set_text(r->t, "status", status);
    batches_set(r->t, at, clock_wall_s());
    if (batches_save(r->b, r->t, &e))
        log_line(LOG_ERROR, "front", "%s", e.text);
    r->over = true;
}

void batch_run_pump(struct run *r)
{
    bool cancelled = !strcmp(batches_text(r->t, "status"), "cancelling");
    bool expired = clock_wall_s() >= batches_number(r->t, "expires_at");
    while (!r->over && !r->b->draining && !cancelled && !expired && r->open < BATCH_LINES_AT_ONCE &&
           r->next < r->count && clock_mono_ns() >= r->wait_ns && r->sides[ANSWERS].bytes < BATCH_OUTPUT_MAX) {
        int line = r->next++;
        if (r->state[line] == TODO)
            start_line(r, line);
    }
    if (r->over || r->open)
        return;
    bool full = r->sides[ANSWERS].bytes >= BATCH_OUTPUT_MAX;
    if (r->next >= r->count)
        finish(r, "completed");
    else if (cancelled || expired || full)
        finish(r, cancelled ? "cancelled" : "expired");
}

static bool take_text(void *arg, uint64_t number, const char *data, size_t n)
{
    return buf_append(arg, data, n);
}

struct counting {
    struct run *run;
    struct side *side;
};

/* An answer that is there already. */
static bool take_answer(void *arg, uint64_t number, const char *data, size_t n)
{
    struct counting *k = arg;
    uint32_t line = 0;
    for (size_t i = 0; i < 4 && i < n; i++)
        line |= (uint32_t)(unsigned char)data[i] << (8 * i);
    if (n > 4 && line < (uint32_t)k->run->count && k->run->state[line] != DONE) {
        k->run->state[line] = DONE;
        k->side->bytes += (int64_t)n - 4;
        count_answer(k->run, k->side == &k->run->sides[ANSWERS] ? ANSWERS : ERRORS);
    }
    return true;
}

static enum err_code open_side(struct run *r, int which, const char *member, const char *purpose, struct err *e)
{
    struct side *s = &r->sides[which];
    s->file = batches_find(r->b, batches_text(r->t, member));
    if (!s->file) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", r->t->id, which == ANSWERS ? "_output.jsonl" : "_error.jsonl");
        s->file = batches_make_file(r->b, purpose, name, batches_text(r->t, "_tenant"),
                                    json_is_true(json_object_get(r->t->o, "_booked")));
        if (!s->file)
            return err_set(e, ERR_LIMIT, "too many files and batches are kept");
        if (batches_save(r->b, s->file, e))
            return e->code;
        batches_set_text(r->t, member, s->file->id);
    }
    batches_file_name(s->file->id, s->name);
    struct counting k = { r, s };
    if (chest_each(r->b->chest, s->name, take_answer, &k, e))
        return e->code;
    s->fd = chest_append_open(r->b->chest, s->name, &s->records, e);
    return s->fd < 0 ? e->code : ERR_OK;
}

static enum err_code open_run(struct run *r, struct err *e)
{
    char name[CHEST_NAME_MAX + 1];
    int line;
    batches_file_name(batches_text(r->t, "input_file_id"), name);
    enum err_code c = chest_each(r->b->chest, name, take_text, &r->input, e);
    if (!c)
        c = batch_lines_read(buf_str(&r->input), r->input.len, batches_text(r->t, "endpoint"), &r->lines, &r->count,
                             &line, e);
    if (c)
        return c;
    r->state = mem_new((size_t)r->count, 1);
    r->crashes = mem_new((size_t)r->count, 1);
    json_object_set_new(r->t->o, "request_counts",
                        json_pack("{s:i, s:i, s:i}", "total", r->count, "completed", 0, "failed", 0));
    c = open_side(r, ANSWERS, "_output", "batch_output", e);
    if (!c)
        c = open_side(r, ERRORS, "_errors", "batch_output", e);
    return c ? c : batches_save(r->b, r->t, e);
}

bool batch_run_start(struct batches *b, struct thing *t)
{
    int at = 0;
    while (at < BATCH_RUNS_MAX && b->runs[at])
        at++;
    if (at == BATCH_RUNS_MAX)
        return false;
    struct run *r = MEM_NEW(struct run);
    struct err e;
    *r = (struct run){ .b = b, .t = t, .sides = { { .fd = -1 }, { .fd = -1 } } };
    if (open_run(r, &e)) {
        log_line(LOG_ERROR, "front", "%s cannot be run: %s", t->id, e.text);
        batches_set_text(t, "status", "failed");
        batches_set(t, "failed_at", clock_wall_s());
        batches_save(b, t, &e);
        batch_run_free(r);
        return false;
    }
    b->runs[at] = r;
    return true;
}

void batch_run_free(struct run *r)
{
    if (!r)
        return;
    for (struct call *c = r->calls, *next; c; c = next) {
        next = c->next;
        c->run = c->settled ? NULL : c->run;
        if (!c->settled) /* else the ledger or the log will still call */
            free_call(c);
    }
    for (int i = 0; i < SIDES; i++)
        if (r->sides[i].fd >= 0)
            close(r->sides[i].fd);
    if (r->input.data)
        mem_wipe(r->input.data, r->input.len);
    buf_release(&r->input);
    mem_free(r->lines);
    mem_free(r->state);
    mem_free(r->crashes);
    mem_free(r);
}
