/* batches -- see batches.h: what is kept, who sees it, and the state of each batch.
 *
 *   in_progress --all lines answered--> completed
 *       |--cancel--> cancelling --open lines are done--> cancelled        (what was answered stays, in its file)
 *       `--the window is over--> expired
 *   failed: its lines were not in order; nothing was run.
 *
 * An object is sealed and written at every change of state, never for a count: those are counted again from the answers
 * that are there. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "front/batches_impl.h"

#include <string.h>

enum { TICK_MS = 100, WINDOW_S = 86400, SWEEP_S = 60, LIST_MAX = 100, METADATA_MAX = 16 };

/* ---- things */

const char *batches_text(const struct thing *t, const char *member)
{
    const char *s = json_string_value(json_object_get(t->o, member));
    return s ? s : "";
}

int64_t batches_number(const struct thing *t, const char *member)
{
    return json_integer_value(json_object_get(t->o, member));
}

void batches_set(struct thing *t, const char *member, int64_t v)
{
    json_object_set_new(t->o, member, json_integer(v));
}

void batches_set_text(struct thing *t, const char *member, const char *v)
{
    json_object_set_new(t->o, member, json_string(v));
}

struct thing *batches_find(struct batches *b, const char *id)
{
    for (int i = 0; i < b->count && *id; i++)
        if (!b->things[i].gone && !strcmp(b->things[i].id, id))
            return &b->things[i];
    return NULL;
}

static struct thing *place(struct batches *b)
{
    for (int i = 0; i < b->count; i++)
        if (b->things[i].gone)
            return &b->things[i];
    return b->count < BATCH_THINGS_MAX ? &b->things[b->count++] : NULL;
}

struct thing *batches_add(struct batches *b, const char *prefix, json_t *o)
{
    struct thing *t = place(b);
    uint8_t random[12];
    if (!t) {
        json_decref(o);
        return NULL;
    }
    rng_system(random, sizeof random);
    *t = (struct thing){ .o = o };
    size_t n = (size_t)snprintf(t->id, sizeof t->id, "%s", prefix);
    for (size_t i = 0; i < sizeof random; i++)
        n += (size_t)snprintf(t->id + n, sizeof t->id - n, "%02x", random[i]);
    json_object_set_new(o, "id", json_string(t->id));
    return t;
}

static void meta_name(const char *id, char out[CHEST_NAME_MAX + 1])
{
    snprintf(out, CHEST_NAME_MAX + 1, "%s.object", id);
}

void batches_file_name(const char *id, char out[CHEST_NAME_MAX + 1])
{
    snprintf(out, CHEST_NAME_MAX + 1, "%s.content", id);
}

enum err_code batches_save(struct batches *b, const struct thing *t, struct err *e)
{
    char name[CHEST_NAME_MAX + 1];
    struct buf text = { 0 };
    meta_name(t->id, name);
    jsonx_dump(t->o, &text);
    enum err_code c = chest_write(b->chest, name, text.data, text.len, e);
    buf_release(&text);
    return c;
}

void batches_delete(struct batches *b, struct thing *t)
{
    char name[CHEST_NAME_MAX + 1];
    meta_name(t->id, name);
    chest_remove(b->chest, name);
    batches_file_name(t->id, name);
    chest_remove(b->chest, name);
    json_decref(t->o);
    *t = (struct thing){ .gone = true };
}

struct thing *batches_make_file(struct batches *b, const char *purpose, const char *name, const char *tenant,
                                bool booked)
{
    json_t *o = json_pack("{s:s, s:s, s:i, s:I, s:s, s:s, s:s, s:b}", "id", "", "object", "file", "bytes", 0,
                          "created_at", (json_int_t)clock_wall_s(), "purpose", purpose, "status", "processed",
                          "_tenant", tenant, "_booked", booked);
    json_t *text = json_stringn(name, strlen(name)); /* NULL: no UTF-8 */
    json_object_set_new(o, "filename", text ? text : json_string("file.jsonl"));
    return batches_add(b, "file-", o);
}

/* ---- replies */

void batches_refuse(struct front *f, struct http_exchange *x, int status, const char *param, const char *message)
{
    front_reply_error(f, x, &(struct error){ .status = status, .message = message, .param = param }, NULL);
}

bool batches_mine(const struct front *f, const struct http_exchange *x, const struct thing *t)
{
    return !strcmp(front_tenant(f, http_request_head(x)), batches_text(t, "_tenant"));
}

/* The object without our own members. */
static json_t *shown(const struct thing *t)
{
    json_t *o = json_object(), *value;
    const char *name;
    json_object_foreach(t->o, name, value)
        if (name[0] != '_')
            json_object_set(o, name, value);
    return o;
}

static void reply(struct batches *b, struct http_exchange *x, json_t *o)
{
    struct buf out = { 0 };
    jsonx_dump(o, &out);
    json_decref(o);
    front_reply_json(b->front, x, 200, &out);
    buf_release(&out);
}

void batches_show(struct batches *b, struct http_exchange *x, const struct thing *t)
{
    reply(b, x, shown(t));
}

void batches_list(struct batches *b, struct http_exchange *x, const char *object)
{
    json_t *data = json_array();
    bool more = false;
    for (int i = b->count - 1; i >= 0; i--) {
        const struct thing *t = &b->things[i];
        if (t->gone || strcmp(batches_text(t, "object"), object) || !batches_mine(b->front, x, t))
            continue;
        more = json_array_size(data) == LIST_MAX;
        if (!more)
            json_array_append_new(data, shown(t));
    }
    const json_t *first = json_array_get(data, 0), *last = json_array_get(data, json_array_size(data) - 1);
    reply(b, x, json_pack("{s:s, s:o, s:O?, s:O?, s:b}", "object", "list", "data", data, "first_id",
                          json_object_get(first, "id"), "last_id", json_object_get(last, "id"), "has_more", more));
}

/* ---- making a batch */

static bool append_all(void *arg, uint64_t number, const char *data, size_t n)
{
    return buf_append(arg, data, n);
}

/* Checks the input; what is wrong is said in the batch, which has then failed. */
static void check_lines(struct batches *b, struct thing *t)
{
    struct buf text = { 0 };
    struct err e;
    struct batch_line *lines = NULL;
    char name[CHEST_NAME_MAX + 1];
    int count = 0, line = 0;
    batches_file_name(batches_text(t, "input_file_id"), name);
    enum err_code c = chest_each(b->chest, name, append_all, &text, &e);
    if (!c)
        c = batch_lines_read(buf_str(&text), text.len, batches_text(t, "endpoint"), &lines, &count, &line, &e);
    if (c) {
        batches_set_text(t, "status", "failed");
        batches_set(t, "failed_at", clock_wall_s());
        json_t *why = json_pack("{s:s, s:s, s:n, s:i}", "code", "invalid_line", "message", e.text, "param", "line",
                                line);
        json_object_set_new(t->o, "errors", json_pack("{s:s, s:[o]}", "object", "list", "data", why));
    } else {
        json_object_set_new(t->o, "request_counts",
                            json_pack("{s:i, s:i, s:i}", "total", count, "completed", 0, "failed", 0));
        batches_set_text(t, "status", "in_progress");
        batches_set(t, "in_progress_at", clock_wall_s());
    }
    mem_free(lines);
    if (text.data)
        mem_wipe(text.data, text.len);
    buf_release(&text);
}

/* Who asked, as the ledger will know them again after a restart. */
static void remember_owner(struct batches *b, const struct http_exchange *x, json_t *o)
{
    const struct http_head *h = http_request_head(x);
    const struct ledger_key *key = accounts_key(b->front->accounts, keys_shown(h));
    const struct http_field *data_class = http_head_field(h, "tw-data-class");
    json_object_set_new(o, "_tenant", json_string(front_tenant(b->front, h)));
    json_object_set_new(o, "_key", json_integer(key ? key->id : 0));
    json_object_set_new(o, "_booked", json_boolean(key != NULL));
    json_object_set_new(o, "_team", json_string(key ? key->team : ""));
    if (data_class)
        json_object_set_new(o, "_class", json_stringn(data_class->value.p, data_class->value.n));
}

static const char *check_ask(struct batches *b, struct http_exchange *x, const json_t *in, const char **param)
{
    static const char *const endpoints[] = { "/v1/chat/completions", "/v1/completions", "/v1/embeddings",
                                             "/v1/responses" };
    const char *file = json_string_value(json_object_get(in, "input_file_id"));
    const char *endpoint = json_string_value(json_object_get(in, "endpoint"));
    const char *window = json_string_value(json_object_get(in, "completion_window"));
    const json_t *metadata = json_object_get(in, "metadata");
    const struct thing *t = file ? batches_find(b, file) : NULL;
    bool known = false;
    for (size_t i = 0; endpoint && i < MEM_COUNT(endpoints); i++)
        known = known || !strcmp(endpoint, endpoints[i]);
    *param = "input_file_id";
    if (!t || !batches_mine(b->front, x, t) || strcmp(batches_text(t, "purpose"), "batch"))
        return "'input_file_id' must be a file of the purpose batch";
    *param = "endpoint";
    if (!known)
        return "'endpoint' must be /v1/chat/completions, /v1/completions, /v1/embeddings or /v1/responses";
    *param = "completion_window";
    if (!window || strcmp(window, "24h"))
        return "'completion_window' must be 24h";
    *param = "metadata";
    if (metadata && !json_is_null(metadata) && (!json_is_object(metadata) || json_object_size(metadata) > METADATA_MAX))
        return "'metadata' must be an object of at most 16 texts";
    return NULL;
}

static void create(struct batches *b, struct http_exchange *x)
{
    struct http_slice body = http_request_body(x);
    struct err e = { 0 };
    json_t *in = jsonx_parse(body.p, body.n, &e);
    const char *param = "", *wrong = in ? check_ask(b, x, in, &param) : e.text;
    if (wrong) {
        batches_refuse(b->front, x, 400, param, wrong);
        json_decref(in);
        return;
    }
    json_int_t now = (json_int_t)clock_wall_s();
    json_t *metadata = json_object_get(in, "metadata");
    json_t *o = json_pack("{s:s, s:s, s:O, s:n, s:O, s:s, s:s, s:n, s:n, s:I, s:I, s:O}", "id", "", "object", "batch",
                          "endpoint", json_object_get(in, "endpoint"), "errors", "input_file_id",
                          json_object_get(in, "input_file_id"), "completion_window", "24h", "status", "validating",
                          "output_file_id", "error_file_id", "created_at", now, "expires_at", now + WINDOW_S,
                          "metadata", metadata ? metadata : json_null());
    json_decref(in);
    remember_owner(b, x, o);
    struct thing *t = batches_add(b, "batch_", o);
    if (!t) {
        batches_refuse(b->front, x, 429, "", "too many files and batches are kept; delete some");
        return;
    }
    check_lines(b, t);
    if (batches_save(b, t, &e)) {
        log_line(LOG_ERROR, "front", "%s", e.text);
        batches_delete(b, t);
        batches_refuse(b->front, x, 503, "", "the batch could not be kept; try again later");
        return;
    }
    batches_show(b, x, t);
    loop_timer_set(b->timer, 0);
}

void answer_batches(struct front *f, struct http_exchange *x, const struct route *r)
{
    if (!f->batches)
        batches_refuse(f, x, 404, "", "batches are off here; `batches: {dir: DIR}` in the configuration turns them on");
    else if (http_slice_is(http_request_head(x)->method, "POST"))
        create(f->batches, x);
    else
        batches_list(f->batches, x, "batch");
}

static void cancel(struct batches *b, struct http_exchange *x, struct thing *t)
{
    struct err e;
    if (!strcmp(batches_text(t, "status"), "in_progress")) {
        batches_set_text(t, "status", "cancelling");
        batches_set(t, "cancelling_at", clock_wall_s());
        if (batches_save(b, t, &e))
            log_line(LOG_ERROR, "front", "%s", e.text); /* it is cancelled all the same, unless the server dies now */
        loop_timer_set(b->timer, 0);
    }
    batches_show(b, x, t);
}

void answer_batch(struct front *f, struct http_exchange *x, const struct route *r)
{
    const struct http_head *h = http_request_head(x);
    struct http_slice rest = { h->path.p + strlen("/v1/batches/"), h->path.n - strlen("/v1/batches/") };
    const char *slash = memchr(rest.p, '/', rest.n);
    size_t n = slash ? (size_t)(slash - rest.p) : rest.n;
    char id[BATCH_ID_SIZE] = "";
    memcpy(id, rest.p, n < sizeof id ? n : 0);
    struct thing *t = f->batches ? batches_find(f->batches, id) : NULL;
    bool cancels = slash && rest.n - n == strlen("/cancel") && !memcmp(slash, "/cancel", rest.n - n);
    bool posted = http_slice_is(h->method, "POST");
    if (!t || !batches_mine(f, x, t) || strncmp(t->id, "batch_", 6) || (slash && !cancels) || posted != cancels)
        batches_refuse(f, x, 404, "batch_id", "there is no such batch");
    else if (cancels)
        cancel(f->batches, x, t);
    else
        batches_show(f->batches, x, t);
}

/* ---- life */

static bool under_way(const struct thing *t)
{
    const char *s = batches_text(t, "status");
    return !strcmp(batches_text(t, "object"), "batch") &&
           (!strcmp(s, "in_progress") || !strcmp(s, "cancelling"));
}

bool batches_needed(const struct batches *b, const struct thing *file)
{
    static const char *const members[] = { "input_file_id", "_output", "_errors" };
    for (int i = 0; i < b->count; i++)
        for (size_t m = 0; m < MEM_COUNT(members) && !b->things[i].gone && under_way(&b->things[i]); m++)
            if (!strcmp(batches_text(&b->things[i], members[m]), file->id))
                return true;
    return false;
}

static bool runs(const struct batches *b, const struct thing *t)
{
    for (int i = 0; i < BATCH_RUNS_MAX; i++)
        if (b->runs[i] && batch_run_thing(b->runs[i]) == t)
            return true;
    return false;
}

/* Whose tenant was erased. */
static bool is_orphan(const struct batches *b, const struct thing *t)
{
    struct accounts *a = b->front->accounts;
    return accounts_booking(a) && json_is_true(json_object_get(t->o, "_booked")) &&
           !accounts_owner(a, 0, batches_text(t, "_tenant"), "");
}

/* What is older than it may be goes, unless a batch still needs it; and what belonged to a tenant that was erased. */
static void sweep(struct batches *b)
{
    int64_t now = clock_wall_s();
    if (now - b->swept_s < SWEEP_S)
        return;
    b->swept_s = now;
    for (int i = 0; i < b->count; i++) {
        struct thing *t = &b->things[i];
        bool old = !t->gone && batches_number(t, "created_at") + BATCH_KEEP_S < now;
        if (!t->gone && !runs(b, t) && (is_orphan(b, t) || (old && !under_way(t) && !batches_needed(b, t))))
            batches_delete(b, t);
    }
}

static void tick(void *arg)
{
    struct batches *b = arg;
    bool work = false;
    for (int i = 0; i < BATCH_RUNS_MAX; i++) {
        if (!b->runs[i])
            continue;
        batch_run_pump(b->runs[i]);
        if (batch_run_over(b->runs[i])) {
            batch_run_free(b->runs[i]);
            b->runs[i] = NULL;
        }
        work = work || b->runs[i];
    }
    for (int i = 0; i < b->count && !b->draining; i++)
        if (!b->things[i].gone && under_way(&b->things[i]) && !runs(b, &b->things[i]))
            work = batch_run_start(b, &b->things[i]) || work;
    sweep(b);
    loop_timer_set(b->timer, work ? TICK_MS : 10 * TICK_MS);
}

static void load(void *arg, const char *name)
{
    struct batches *b = arg;
    struct buf text = { 0 };
    struct err e;
    const char *dot = strstr(name, ".object");
    size_t n = dot ? (size_t)(dot - name) : 0;
    if (!dot || strcmp(dot, ".object") || n >= BATCH_ID_SIZE || b->count == BATCH_THINGS_MAX)
        return;
    json_t *o = chest_read(b->chest, name, &text, &e) ? NULL : jsonx_parse(buf_str(&text), text.len, &e);
    if (o) {
        struct thing *t = &b->things[b->count++];
        *t = (struct thing){ .o = o };
        memcpy(t->id, name, n);
    } else {
        log_line(LOG_ERROR, "front", "batches: %s; it is left out", e.text);
    }
    buf_release(&text);
}

struct batches *batches_new(struct front *f, const char *dir, const char *key_file, const uint8_t *key,
                            struct err *e)
{
    struct chest *v;
    if (key ? chest_open_with(dir, key, &v, e) : chest_open(dir, key_file, &v, e))
        return NULL;
    struct batches *b = MEM_NEW(struct batches);
    b->front = f;
    b->chest = v;
    b->things = mem_new(BATCH_THINGS_MAX, sizeof *b->things);
    chest_list(v, load, b);
    b->writer = batch_writer_new(f->loop);
    b->timer = loop_timer_new(f->loop, tick, b);
    return b;
}

void batches_start(struct batches *b)
{
    if (b)
        loop_timer_set(b->timer, TICK_MS);
}

void batches_drain(struct batches *b)
{
    if (b)
        b->draining = true;
}

int batches_busy(const struct batches *b)
{
    return b ? b->busy : 0;
}

void batches_free(struct batches *b)
{
    if (!b)
        return;
    for (int i = 0; i < BATCH_RUNS_MAX; i++)
        batch_run_free(b->runs[i]);
    batch_writer_free(b->writer);
    loop_timer_free(b->timer);
    for (int i = 0; i < b->count; i++)
        json_decref(b->things[i].o);
    chest_close(b->chest);
    mem_free(b->things);
    mem_free(b);
}
