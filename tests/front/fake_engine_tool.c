/* fake_engine_tool -- an engine without a model: speaks frames on descriptor 3 so that the front can be tested alone.
 *
 * What it does with a request is said by the body's "model"-independent field "do":
 *   echo        the whole request (head, body size and FNV-1a of the body) as one JSON reply
 *   stream      "n" (or "events") events, "ms" apart, then end
 *   huge        "n" data frames of "bytes" each, as fast as credit allows
 *   stall       head, one event, then nothing until cancelled
 *   silent      nothing until cancelled
 *   refuse      an error frame with "status"
 *   crash       exits at once; crash-late: after head and one event; garbage: sends bytes that are no frame
 *   cut         an error frame after the head
 *   headers     a head whose fields try to split the reply
 *   log         the reply is the list of cancelled ids and of the descriptors it was given
 * Environment: FAKE_LOADING_MS, FAKE_EXIT_LOADING=1 (dies while loading), FAKE_REFUSE=1 (a hello that is not ready), FAKE_BODY
 * (JSON: fields that requests have unless they say otherwise; "text" is a list of the pieces `stream` sends). */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "wire/frame.h"

#include <errno.h>
#include <signal.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOCKET = 3, JOBS_MAX = 4096, CANCELS_MAX = 4096 };

struct job {
    uint64_t id, seq_out, seq_in;
    struct buf bytes;       /* head, LF, body */
    json_t *head, *body;
    bool whole, done, ignore_credit;
    int64_t credit;         /* -1: unlimited */
    int64_t sent, n, ms, size, next_ns;
    char what[32];
};
static struct job *jobs[JOBS_MAX];
static int job_count;
static struct { uint64_t id; int64_t ns; } cancels[CANCELS_MAX];
static int cancel_count;
static int64_t model_bytes = -1, frames_sent;

static void die(const char *why)
{
    fprintf(stderr, "fake engine: %s\n", why);
    exit(3);
}

static void send_frame(struct job *j, enum frame_kind kind, const void *p, size_t n)
{
    struct frame f = { .kind = kind, .id = j ? j->id : 0, .seq = j ? j->seq_out++ : 0, .payload = p, .length = n };
    if (frame_send(SOCKET, &f, NULL, 0, NULL))
        exit(0);
    frames_sent++;
}

static void send_json(struct job *j, enum frame_kind kind, json_t *v)
{
    struct buf b = { 0 };
    jsonx_dump(v, &b);
    json_decref(v);
    send_frame(j, kind, b.data, b.len);
    buf_release(&b);
}

static json_t *usage(const struct job *j);

static void send_head(struct job *j, const char *type)
{
    send_json(j, FRAME_USAGE, usage(j));
    send_json(j, FRAME_HEAD, json_pack("{s:i, s:{s:s}}", "status", 200, "headers", "content-type", type));
}

static json_t *usage(const struct job *j)
{
    return json_pack("{s:i, s:i, s:I}", "prompt_tokens", 7, "cached_tokens", 3, "completion_tokens", (json_int_t)j->sent);
}

static void end_job(struct job *j)
{
    send_json(j, FRAME_USAGE, usage(j));
    send_json(j, FRAME_END, json_pack("{s:s, s:o, s:f}", "finish", "stop", "usage", usage(j), "queue_ms", 1.5));
    j->done = true;
}

static void echo(struct job *j)
{
    const char *lf = memchr(j->bytes.data, '\n', j->bytes.len);
    size_t n = j->bytes.len - (size_t)(lf + 1 - j->bytes.data);
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)lf[1 + i]) * 1099511628211u;
    char hex[32];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)h);
    json_t *v = json_pack("{s:O, s:I, s:s, s:i}", "head", j->head, "body_bytes", (json_int_t)n, "fnv", hex, "pid", (int)getpid());
    struct buf b = { 0 };
    jsonx_dump(v, &b);
    json_decref(v);
    send_head(j, "application/json");
    send_frame(j, FRAME_DATA, b.data, b.len);
    buf_release(&b);
    end_job(j);
}

static void report(struct job *j)
{
    json_t *list = json_array();
    for (int i = 0; i < cancel_count; i++)
        json_array_append_new(list, json_pack("{s:I, s:I}", "id", (json_int_t)cancels[i].id, "ns", (json_int_t)cancels[i].ns));
    struct buf b = { 0 };
    struct rlimit core = { .rlim_cur = 0 };
    getrlimit(RLIMIT_CORE, &core);
    json_t *v = json_pack("{s:o, s:I, s:I, s:b, s:I}", "cancels", list, "model_bytes", (json_int_t)model_bytes, "frames",
                          (json_int_t)frames_sent, "sees_key", getenv("TOKENWORKS_API_KEY") != NULL, "core_limit",
                          (json_int_t)core.rlim_max);
    jsonx_dump(v, &b);
    json_decref(v);
    send_head(j, "application/json");
    send_frame(j, FRAME_DATA, b.data, b.len);
    buf_release(&b);
    end_job(j);
}

/* A token-like event in OpenAI's chat form, so that the console can be tested with it too. */
static void send_event(struct job *j)
{
    json_t *text = json_object_get(j->body, "text");
    char word[80];
    snprintf(word, sizeof word, "word%lld ", (long long)j->sent);
    const char *s = word;
    if (json_is_array(text))
        s = json_string_value(json_array_get(text, (size_t)j->sent % json_array_size(text)));
    json_t *v = json_pack("{s:s, s:s, s:[{s:i, s:{s:s}, s:n}]}", "id", "x", "object", "chat.completion.chunk", "choices",
                          "index", 0, "delta", "content", s ? s : word, "finish_reason");
    struct buf b = { 0 };
    buf_puts(&b, "data: ");
    jsonx_dump(v, &b);
    json_decref(v);
    buf_puts(&b, "\n\n");
    send_frame(j, FRAME_DATA, b.data, b.len);
    buf_release(&b);
    j->sent++;
}

static void send_block(struct job *j)
{
    char *bytes = mem_new((size_t)j->size + 1, 1);
    memset(bytes, 'x', (size_t)j->size);
    send_frame(j, FRAME_DATA, bytes, (size_t)j->size);
    mem_free(bytes);
    j->sent++;
}

static void refuse(struct job *j, int64_t status)
{
    send_json(j, FRAME_ERROR, json_pack("{s:I, s:{s:s, s:s, s:s, s:s}}", "status", (json_int_t)status, "error", "message",
                                        "the fake engine refuses", "type", "invalid_request_error", "param", "do", "code",
                                        "refused"));
    j->done = true;
}

static void start_job(struct job *j)
{
    int64_t status = 400;
    const char *lf = memchr(j->bytes.data, '\n', j->bytes.len), *what = "stream";
    if (!lf)
        die("a request without a head");
    j->head = jsonx_parse(j->bytes.data, (size_t)(lf - j->bytes.data), NULL);
    j->body = jsonx_parse(lf + 1, j->bytes.len - (size_t)(lf + 1 - j->bytes.data), NULL);
    if (!j->head)
        die("a request head that is no JSON");
    if (getenv("FAKE_BODY")) { /* what a client that knows nothing of us cannot say */
        json_t *base = jsonx_parse(getenv("FAKE_BODY"), strlen(getenv("FAKE_BODY")), NULL);
        json_object_update(base, j->body);
        json_decref(j->body);
        j->body = base;
    }
    j->n = 10;
    j->size = 1000;
    jsonx_get_string(j->body, "do", &what, NULL);
    jsonx_get_int(j->body, "n", 0, 1 << 30, &j->n, NULL);
    jsonx_get_int(j->body, "events", 0, 1 << 30, &j->n, NULL); /* for requests whose n is the API's */
    jsonx_get_int(j->body, "ms", 0, 100000, &j->ms, NULL);
    jsonx_get_int(j->body, "bytes", 0, FRAME_PAYLOAD_MAX, &j->size, NULL);
    jsonx_get_bool(j->body, "ignore_credit", &j->ignore_credit, NULL);
    jsonx_get_int(j->body, "status", 0, 999, &status, NULL);
    snprintf(j->what, sizeof j->what, "%s", what);
    if (!strcmp(what, "echo"))
        echo(j);
    else if (!strcmp(what, "log"))
        report(j);
    else if (!strcmp(what, "refuse"))
        refuse(j, status);
    else if (!strcmp(what, "crash"))
        raise(6);
    else if (!strcmp(what, "headers")) {
        send_json(j, FRAME_HEAD, json_pack("{s:i, s:{s:s, s:s, s:s, s:s, s:s, s:s}}", "status", 200, "headers",
                                           "content-type", "text/plain", "Content-Length", "5", "Transfer-Encoding",
                                           "gzip", "x-good", "yes", "x-bad", "a\r\nSet-Cookie: b=c", "x bad",
                                           "1"));
        end_job(j);
    } else if (!strcmp(what, "stream") || !strcmp(what, "huge") || !strcmp(what, "stall") ||
               !strcmp(what, "crash-late") || !strcmp(what, "cut")) {
        send_head(j, !strcmp(what, "huge") ? "application/octet-stream" : "text/event-stream");
    } else if (strcmp(what, "silent") && strcmp(what, "garbage")) {
        refuse(j, 400);
    }
    if (!strcmp(what, "stall") || !strcmp(what, "crash-late") || !strcmp(what, "cut"))
        send_event(j);
    if (!strcmp(what, "garbage") && write(SOCKET, "this is not a frame, is it? it is not", 37) < 0)
        die("write");
    if (!strcmp(what, "crash-late"))
        j->next_ns = clock_mono_ns() + 50000000;
    if (!strcmp(what, "cut"))
        refuse(j, 500);
}

/* Sends what is due; returns ns until something else is, or -1. */
static int64_t run_job(struct job *j)
{
    int64_t now = clock_mono_ns();
    bool stream = !strcmp(j->what, "stream"), huge = !strcmp(j->what, "huge");
    if (!strcmp(j->what, "crash-late")) {
        if (now >= j->next_ns)
            raise(6);
        return j->next_ns - now;
    }
    if (!stream && !huge)
        return -1;
    for (int burst = 0; burst < 16; burst++) {
        if (j->sent >= j->n) {
            if (stream)
                send_frame(j, FRAME_DATA, "data: [DONE]\n\n", 14);
            end_job(j);
            return -1;
        }
        if (!j->credit && !j->ignore_credit)
            return -1;
        if (j->ms && now < j->next_ns)
            return j->next_ns - now;
        j->next_ns = (j->next_ns ? j->next_ns : now) + j->ms * 1000000;
        j->credit -= j->credit > 0;
        if (stream)
            send_event(j);
        else
            send_block(j);
    }
    return 0;
}

static struct job *find(uint64_t id)
{
    for (int i = 0; i < job_count; i++)
        if (jobs[i]->id == id)
            return jobs[i];
    return NULL;
}

static void take(const struct frame *f)
{
    struct job *j = find(f->id);
    if (f->kind == FRAME_REQUEST && !j) {
        if (job_count == JOBS_MAX)
            die("too many jobs");
        j = jobs[job_count++] = MEM_NEW(struct job);
        j->id = f->id;
        j->credit = -1;
    }
    if (!j)
        return;
    if (f->seq != j->seq_in++)
        die("a frame out of order");
    if (f->kind == FRAME_REQUEST) {
        buf_append(&j->bytes, f->payload, f->length);
        if (!(f->flags & FRAME_MORE))
            j->whole = true, start_job(j);
    } else if (f->kind == FRAME_CREDIT && f->length == 4) {
        uint32_t n = 0;
        for (int i = 3; i >= 0; i--)
            n = n << 8 | (unsigned char)f->payload[i];
        j->credit = (j->credit < 0 ? 0 : j->credit) + n;
    } else if (f->kind == FRAME_CANCEL) {
        if (cancel_count < CANCELS_MAX) {
            cancels[cancel_count].id = f->id;
            cancels[cancel_count++].ns = clock_mono_ns();
        }
        j->done = true;
    }
}

static void sweep(void)
{
    for (int i = 0; i < job_count; i++)
        if (jobs[i]->done) {
            json_decref(jobs[i]->head);
            json_decref(jobs[i]->body);
            buf_release(&jobs[i]->bytes);
            mem_free(jobs[i]);
            jobs[i--] = jobs[--job_count];
        }
}

static void load(void)
{
    struct buf in = { 0 };
    struct frame f;
    int fds[FRAME_FDS_MAX], count = 0;
    struct stat st;
    if (frame_recv(SOCKET, &in, &f, fds, &count, NULL) || f.kind != FRAME_HELLO || count != 1)
        die("no hello with a model");
    if (!fstat(fds[0], &st))
        model_bytes = st.st_size;
    json_t *hello = jsonx_parse(f.payload, f.length, NULL), *model = json_object_get(hello, "model");
    const char *ms = getenv("FAKE_LOADING_MS");
    if (json_is_true(json_object_get(hello, "measure"))) { /* the file's bytes are what it needs */
        send_json(NULL, FRAME_HELLO, json_pack("{s:s, s:b, s:{s:I}}", "role", "engine", "ready", 0, "needs",
                                               "weight_bytes", (json_int_t)model_bytes));
        exit(0);
    }
    if (getenv("FAKE_EXIT_LOADING"))
        exit(1);
    if (getenv("FAKE_REFUSE")) {
        send_json(NULL, FRAME_HELLO, json_pack("{s:s, s:b, s:s}", "role", "engine", "ready", 0, "error",
                                               "this file is no model: bad magic"));
        exit(1);
    }
    for (int i = 1, total = ms ? (int)strtol(ms, NULL, 10) : 0; i <= 10 && total; i++) {
        usleep((useconds_t)total * 100);
        send_json(NULL, FRAME_STATS, json_pack("{s:f}", "loading", i / 10.0));
    }
    send_json(NULL, FRAME_HELLO,
              json_pack("{s:s, s:b, s:{s:O, s:s, s:i, s:O*}}", "role", "engine", "ready", 1, "model", "id",
                        json_object_get(model, "id"), "arch", "fake", "ctx", 4096, "options",
                        json_object_get(model, "options")));
    json_decref(hello);
    buf_release(&in);
}

static void send_stats(void)
{
    json_t *v = json_pack("{s:{s:I}, s:{s:i, s:i, s:i, s:f}, s:{s:{s:[f,f], s:[i,i,i], s:f}}}", "counters",
                          "generation_tokens_total", (json_int_t)frames_sent, "gauges", "num_requests_running", job_count,
                          "kv_pages_used", 12, "kv_pages", 64, "generation_tokens_per_second", 12.5, "histograms",
                          "time_to_first_token_seconds", "le", 0.1, 1.0, "counts", 1, 2, 3, "sum", 4.5);
    send_json(NULL, FRAME_STATS, v);
}

int main(void)
{
    struct buf in = { 0 };
    int64_t stats_ns = 0;
    load();
    for (;;) {
        int64_t wait_ns = 250000000;
        for (int i = 0; i < job_count; i++) {
            int64_t w = jobs[i]->whole && !jobs[i]->done ? run_job(jobs[i]) : -1;
            wait_ns = w >= 0 && w < wait_ns ? w : wait_ns;
        }
        sweep();
        if (clock_mono_ns() - stats_ns > 250000000) {
            send_stats();
            stats_ns = clock_mono_ns();
        }
        struct pollfd p = { .fd = SOCKET, .events = POLLIN };
        struct frame f;
        if (poll(&p, 1, (int)(wait_ns / 1000000)) > 0) {
            if (frame_recv(SOCKET, &in, &f, NULL, NULL, NULL))
                return 0;
            take(&f);
        }
    }
}
