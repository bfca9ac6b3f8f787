/* link -- see link.h. An id is (serial << 16 | slot), so a frame finds its call without a search and a late frame
 * of a closed call finds none. */
#include "front/link.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/ranks.h"
#include "front/spawn.h"
#include "net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PAUSE_MS_FIRST = 250,
    PAUSE_MS_MAX = 30 * 1000,
    STABLE_MS = 60 * 1000,  /* ready for so long, the next death is the first again */
    SLOT_BITS = 16,
    READY_RETRY_S = 1,
    LOADING_RETRY_S = 5,
    LEAVE_POLL_MS = 5,
    LEAVE_GRACE_MS = 10 * 1000,
    QUIET_MIN_MS = 200,     /* an engine that pulses is silent for so long at least before it is thought to stand, */
    QUIET_MARGIN_MS = 100,  /* or so much longer than it ever was lately, */
    QUIET_MAX_MS = 500,     /* but no longer than this; a silence that long was none of its habits */
    QUIET_STRIDE_MS = 75,   /* and a moment in which we did not look counts as so long at most */
    QUIET_FORGET = 128,
    STEP_TIMES = 4,         /* a step stands when it takes so many times what it was to take */
    STEP_MARGIN_MS = 500,
    STEP_MAX_MS = 30 * 1000, /* the same where nobody knows what it was to take */
};

/* Signs of life (link_stands). */
struct link_pulse {
    bool pulses;            /* it gives them */
    bool heard;             /* anything came since we looked last */
    int64_t looked_ns;
    int64_t quiet_ms;       /* so long nothing was heard */
    int64_t longest_ms;     /* the longest that was followed by something, forgotten slowly */
    int64_t step_ms, expected_ms; /* of the step under way, as it said last */
};

struct link {
    struct loop *loop;
    struct link_spec spec;
    link_changed_fn changed;
    void *arg;
    enum link_state state;
    int pid;                /* -1: none, or reaped */
    int ranks_pid;          /* mpirun, for a model over several machines; -1: none */
    struct stream *stream;
    struct loop_timer *again;
    int64_t pause_ms, ready_ns, leaving_ns;
    int failures;
    int64_t restarts;
    double loading;
    bool refused;
    char fault[ERR_TEXT_MAX];
    json_t *facts, *stats, *needs, *trust, *added;
    struct link_pulse pulse;
    struct fleet_gateway *far; /* NULL: there is a process */
    struct link_call **calls; /* [slots] */
    int slots, free_hint, open;
    uint64_t serial;
};

static void wait_for_exit(struct link *k)
{
    k->state = LINK_LEAVING;
    k->leaving_ns = clock_mono_ns();
    loop_timer_set(k->again, 0);
}

static void lose_calls(struct link *k)
{
    for (int i = 0; i < k->slots; i++) {
        struct link_call *c = k->calls[i];
        k->calls[i] = NULL;
        if (c)
            c->lost(c, k->fault);
    }
}

static void drop_stream(struct link *k)
{
    stream_free(k->stream);
    k->stream = NULL;
    json_decref(k->stats);
    k->stats = NULL;
    k->open = 0;
}

static void go_down(struct link *k, const char *why)
{
    if (k->state == LINK_MEASURING && k->needs) { /* it said what it had to say */
        drop_stream(k);
        wait_for_exit(k);
        return;
    }
    bool was_ready = k->state == LINK_READY;
    if (!k->fault[0])
        snprintf(k->fault, sizeof k->fault, "%s", why);
    drop_stream(k);
    k->state = LINK_DOWN;
    if (k->pid > 0) {
        char end[80];
        spawn_end(&k->pid, 200, end, sizeof end);
        if (!k->refused)
            log_line(LOG_ERROR, "front", "the engine of %s is gone: %s; %s", k->spec.model_id, k->fault, end);
    }
    if (k->ranks_pid > 0)
        kill(k->ranks_pid, SIGTERM);
    k->leaving_ns = clock_mono_ns();
    if (was_ready && clock_mono_ns() - k->ready_ns > STABLE_MS * 1000000LL)
        k->pause_ms = 0;
    k->pause_ms = k->pause_ms ? 2 * k->pause_ms : PAUSE_MS_FIRST;
    if (k->pause_ms > PAUSE_MS_MAX)
        k->pause_ms = PAUSE_MS_MAX;
    k->failures++;
    loop_timer_set(k->again, k->pause_ms);
    lose_calls(k);
    k->changed(k->arg, k);
}

/* ---- frames from the engine */

static json_t *parse_object(const struct frame *f)
{
    json_t *v = jsonx_parse(f->payload, f->length, NULL);
    if (json_is_object(v))
        return v;
    json_decref(v);
    return NULL;
}

/* The engine says why it cannot serve this model; it exits by itself. */
static void take_fault(struct link *k, const char *why)
{
    snprintf(k->fault, sizeof k->fault, "%s", why ? why : "the engine cannot serve this model");
    k->refused = true;
}

static bool take_hello(struct link *k, const struct frame *f)
{
    json_t *v = parse_object(f);
    if (!v || (k->state != LINK_LOADING && k->state != LINK_MEASURING)) {
        json_decref(v);
        return false;
    }
    if (k->state == LINK_MEASURING && json_is_object(json_object_get(v, "needs"))) {
        json_decref(k->needs);
        k->needs = json_incref(json_object_get(v, "needs"));
        json_decref(v);
        return true;
    }
    if (!json_is_true(json_object_get(v, "ready"))) {
        take_fault(k, json_string_value(json_object_get(v, "error")));
        json_decref(v);
        return true;
    }
    json_decref(k->facts);
    k->facts = json_incref(json_object_get(v, "model"));
    json_decref(k->trust);
    k->trust = json_incref(json_object_get(v, "trust"));
    json_decref(v);
    k->state = LINK_READY;
    k->ready_ns = clock_mono_ns();
    k->pulse = (struct link_pulse){ .heard = true };
    k->failures = 0;
    k->fault[0] = '\0';
    k->loading = 1;
    k->changed(k->arg, k);
    return true;
}

static bool take_stats(struct link *k, const struct frame *f)
{
    json_t *v = parse_object(f);
    if (!v)
        return false;
    const json_t *loading = json_object_get(v, "loading"), *pulse = json_object_get(v, "pulse");
    if (pulse) {
        k->pulse.pulses = true;
        k->pulse.step_ms = json_integer_value(json_object_get(pulse, "step_ms"));
        k->pulse.expected_ms = json_integer_value(json_object_get(pulse, "expected_ms"));
        json_decref(v);
        return true;
    }
    if (k->state == LINK_LOADING && json_is_number(loading)) {
        k->loading = json_number_value(loading);
        json_decref(v);
        k->changed(k->arg, k);
        return true;
    }
    json_decref(k->stats);
    k->stats = v;
    return true;
}

static bool take_trust(struct link *k, const struct frame *f)
{
    json_t *v = parse_object(f);
    if (v && k->state == LINK_READY && k->spec.trust)
        k->spec.trust(k->arg, k, v);
    json_decref(v);
    return v != NULL;
}

static bool take_frame(struct link *k, const struct frame *f)
{
    if (f->id == 0) {
        if (f->kind == FRAME_HELLO)
            return take_hello(k, f);
        return f->kind == FRAME_STATS ? take_stats(k, f) : f->kind == FRAME_TRUST && take_trust(k, f);
    }
    uint64_t slot = f->id & ((1u << SLOT_BITS) - 1);
    struct link_call *c = slot < (uint64_t)k->slots ? k->calls[slot] : NULL;
    if (!c || c->id != f->id || f->attempt)
        return true; /* of a call that was cancelled */
    if (f->seq != c->seq_in++)
        return false;
    if (f->kind == FRAME_END || f->kind == FRAME_ERROR)
        link_call_close(k, c);
    c->frame(c, f);
    return true;
}

static long stream_data(void *arg, const char *data, size_t n)
{
    struct link *k = arg;
    size_t at = 0;
    k->pulse.heard = true;
    for (;;) { /* every turn takes a frame */
        struct frame f;
        struct err e = { .text = "a frame was out of order" };
        long took = frame_parse(data + at, n - at, &f, &e);
        if (took == 0)
            return (long)at;
        if (took < 0 || !take_frame(k, &f)) {
            char why[ERR_TEXT_MAX + 40];
            snprintf(why, sizeof why, "it broke the frame protocol: %s", e.text);
            go_down(k, why);
            return -1;
        }
        at += (size_t)took;
    }
}

static void stream_closed(void *arg, const char *why)
{
    go_down(arg, why);
}

/* ---- starting */

/* The model's file; where the options name one, that of the small model which guesses for it; those of the adapters, in
 * the options' order. */
static enum err_code open_files(const struct link *k, int fds[FRAME_FDS_MAX], int *count, struct err *e)
{
    const char *paths[FRAME_FDS_MAX] = { k->spec.model_path };
    const char *draft = json_string_value(json_object_get(k->spec.options, "draft"));
    const json_t *adapters = json_object_get(k->spec.options, "lora"), *a;
    size_t i;
    int n = 1;
    if (draft)
        paths[n++] = draft;
    json_array_foreach(adapters, i, a)
        if (n < FRAME_FDS_MAX)
            paths[n++] = json_string_value(json_object_get(a, "file"));
    for (*count = 0; *count < n; ++*count) {
        fds[*count] = open(paths[*count], O_RDONLY | O_CLOEXEC);
        if (fds[*count] < 0)
            return err_errno(e, "%s: cannot open the %s", paths[*count], *count ? "file" : "model");
    }
    return ERR_OK;
}

bool link_stands(struct link *k)
{
    struct link_pulse *p = &k->pulse;
    int64_t now = clock_mono_ns(), passed = (now - p->looked_ns) / 1000000;
    if (k->state != LINK_READY || !p->pulses)
        return false;
    passed = passed < QUIET_STRIDE_MS ? passed : QUIET_STRIDE_MS;
    p->looked_ns = now;
    if (p->heard) {
        p->longest_ms -= p->longest_ms / QUIET_FORGET;
        if (p->quiet_ms > p->longest_ms && p->quiet_ms < QUIET_MAX_MS)
            p->longest_ms = p->quiet_ms;
    }
    p->quiet_ms = p->heard ? 0 : p->quiet_ms + passed;
    p->heard = false;
    int64_t limit = p->longest_ms + QUIET_MARGIN_MS;
    limit = limit < QUIET_MIN_MS ? QUIET_MIN_MS : limit > QUIET_MAX_MS ? QUIET_MAX_MS : limit;
    int64_t step = p->expected_ms ? STEP_TIMES * p->expected_ms + STEP_MARGIN_MS : STEP_MAX_MS;
    return p->quiet_ms >= limit || p->step_ms > (step < STEP_MAX_MS ? step : STEP_MAX_MS);
}

bool link_adapter_fixed(const struct link *k, const char *name)
{
    const json_t *wanted = json_object_get(k->spec.options, "lora"), *v;
    size_t i;
    json_array_foreach(wanted, i, v)
        if (!strcmp(json_string_value(json_object_get(v, "name")), name))
            return true;
    return false;
}

/* Its place among the loaded ones, or -1. */
static int loaded_at(const struct link *k, const char *name)
{
    const json_t *loaded = json_object_get(k->facts, "adapters"), *v;
    size_t i;
    json_array_foreach(loaded, i, v)
        if (!strcmp(json_string_value(v), name))
            return (int)i;
    return -1;
}

bool link_has_adapter(const struct link *k, const char *name)
{
    return loaded_at(k, name) >= 0 || link_adapter_fixed(k, name);
}

void link_adapter_set(struct link *k, const char *name, bool there)
{
    json_t *loaded = json_object_get(k->facts, "adapters");
    int at = loaded_at(k, name);
    if (there && at < 0)
        json_array_append_new(loaded, json_string(name));
    else if (!there && at >= 0)
        json_array_remove(loaded, (size_t)at);
}

json_t *link_added(struct link *k)
{
    return k->added;
}

/* The last descriptors of the hello. */
static enum err_code add_ranks(struct link *k, int fds[FRAME_FDS_MAX], int *count, struct err *e)
{
    int more[RANKS_FDS];
    enum err_code c = ranks_start(k->spec.options, k->spec.model_path, &k->ranks_pid, more, e);
    for (int i = 0; !c && k->ranks_pid > 0 && i < RANKS_FDS; i++)
        fds[(*count)++] = more[i];
    return c;
}

static enum err_code greet(struct link *k, int socket, bool measure, struct err *e)
{
    int fds[FRAME_FDS_MAX], fd_count, spill = -1;
    enum err_code c = open_files(k, fds, &fd_count, e);
    json_t *hello = json_pack("{s:s, s:s, s:{s:s, s:O*}}", "role", "front", "version", TW_VERSION, "model", "id",
                              k->spec.model_id, "options", k->spec.options);
    struct buf b = { 0 };
    if (measure)
        json_object_set_new(hello, "measure", json_true());
    else if (!c && k->spec.hello)
        c = k->spec.hello(k->arg, k, k->spec.model_path, hello, e);
    if (!c && !measure && fd_count < FRAME_FDS_MAX)
        c = spill_file_open(k->spec.spill, k->spec.model_id, hello, &spill, e);
    if (spill >= 0)
        fds[fd_count++] = spill;
    if (!c && !measure)
        c = add_ranks(k, fds, &fd_count, e);
    jsonx_dump(hello, &b);
    json_decref(hello);
    struct frame f = { .kind = FRAME_HELLO, .payload = buf_str(&b), .length = b.len };
    if (!c && b.len > FRAME_PAYLOAD_MAX)
        c = err_set(e, ERR_LIMIT, "policy and enrolled keys are too long together: an engine's hello has %d bytes",
                    FRAME_PAYLOAD_MAX);
    if (!c)
        c = frame_send(socket, &f, fds, fd_count, e);
    if (b.data)
        mem_wipe(b.data, b.len); /* a storage key may be in it */
    buf_release(&b);
    while (fd_count > 0)
        close(fds[--fd_count]);
    return c;
}

static void spawn(struct link *k, enum link_state as)
{
    static const struct stream_events events = { stream_data, stream_closed };
    struct err e = { 0 };
    int socket = -1;
    k->fault[0] = '\0';
    k->refused = false;
    k->loading = 0;
    k->state = as;
    if (spawn_engine(k->spec.argv, &k->pid, &socket, &e) || greet(k, socket, as == LINK_MEASURING, &e)) {
        if (socket >= 0)
            close(socket);
        go_down(k, e.text);
        return;
    }
    k->stream = stream_new(k->loop, socket, FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX, &events, k);
    k->changed(k->arg, k);
}

/* The further ranks hold memory: the next engine waits for their end. */
static bool ranks_gone(struct link *k, bool now)
{
    return k->ranks_pid <= 0 || spawn_ended(&k->ranks_pid, now);
}

/* The one timer: DOWN waits for its next start, LEAVING for its process. */
static void due(void *arg)
{
    struct link *k = arg;
    bool late = clock_mono_ns() - k->leaving_ns > LEAVE_GRACE_MS * 1000000LL;
    if (k->state == LINK_DOWN) {
        if (!ranks_gone(k, late)) {
            loop_timer_set(k->again, LEAVE_POLL_MS);
            return;
        }
        k->restarts++;
        spawn(k, LINK_LOADING);
        return;
    }
    if (k->state != LINK_LEAVING)
        return;
    if (k->pid > 0 && !spawn_ended(&k->pid, late)) {
        loop_timer_set(k->again, LEAVE_POLL_MS);
        return;
    }
    if (!ranks_gone(k, late)) {
        loop_timer_set(k->again, LEAVE_POLL_MS);
        return;
    }
    k->state = LINK_OFF;
    k->changed(k->arg, k);
}

struct link *link_new(struct loop *l, const struct link_spec *spec, link_changed_fn changed, void *arg)
{
    struct link *k = MEM_NEW(struct link);
    *k = (struct link){ .loop = l, .spec = *spec, .changed = changed, .arg = arg, .pid = -1,
                        .ranks_pid = -1, .state = LINK_OFF };
    k->spec.model_id = mem_strdup(spec->model_id);
    k->spec.model_path = mem_strdup(spec->model_path);
    k->added = json_object();
    k->again = loop_timer_new(l, due, k);
    return k;
}

struct link *link_far_new(struct fleet_gateway *g, const char *model_id, link_changed_fn changed, void *arg)
{
    struct link *k = MEM_NEW(struct link);
    *k = (struct link){ .far = g, .changed = changed, .arg = arg, .pid = -1, .ranks_pid = -1, .state = LINK_DOWN };
    k->spec.model_id = mem_strdup(model_id);
    k->spec.model_path = mem_strdup("");
    k->added = json_object();
    snprintf(k->fault, sizeof k->fault, "no worker of the fleet has it now");
    return k;
}

void link_far_set(struct link *k, bool ready, const json_t *facts)
{
    enum link_state state = ready ? LINK_READY : LINK_DOWN;
    if (facts && k->facts != facts) {
        json_decref(k->facts);
        k->facts = json_incref((json_t *)(uintptr_t)facts);
    }
    if (k->state == state)
        return;
    k->state = state;
    k->loading = ready;
    k->changed(k->arg, k);
}

bool link_is_far(const struct link *k)
{
    return k->far != NULL;
}

void link_free(struct link *k)
{
    enum { GRACE_MS = 3000 };
    if (!k)
        return;
    for (int i = 0; i < k->slots; i++)
        ASSERT(!k->calls[i]); /* whoever opened a call closes it first */
    stream_free(k->stream); /* the engine sees the end of its input and exits */
    if (k->pid > 0)
        spawn_end(&k->pid, GRACE_MS, NULL, 0);
    if (k->ranks_pid > 0)
        spawn_end(&k->ranks_pid, GRACE_MS, NULL, 0); /* the engine's end is theirs */
    if (k->again)
        loop_timer_free(k->again);
    json_decref(k->facts);
    json_decref(k->stats);
    json_decref(k->needs);
    json_decref(k->trust);
    json_decref(k->added);
    mem_free(k->calls);
    mem_free((void *)(uintptr_t)k->spec.model_id);
    mem_free((void *)(uintptr_t)k->spec.model_path);
    mem_free(k);
}

void link_start(struct link *k)
{
    ASSERT(k->state == LINK_OFF && !k->stream);
    k->failures = 0;
    k->pause_ms = 0;
    spawn(k, LINK_LOADING);
}

void link_measure(struct link *k)
{
    ASSERT(k->state == LINK_OFF && !k->stream);
    json_decref(k->needs);
    k->needs = NULL;
    spawn(k, LINK_MEASURING);
}

void link_stop(struct link *k)
{
    ASSERT(!k->far);
    if (k->state == LINK_OFF || k->state == LINK_LEAVING)
        return;
    if (!k->fault[0])
        snprintf(k->fault, sizeof k->fault, "it was unloaded");
    drop_stream(k);
    wait_for_exit(k);
    lose_calls(k);
    k->changed(k->arg, k);
}

/* ---- calls */

bool link_call_open(struct link *k, struct link_call *c)
{
    ASSERT(!k->far);
    if (k->state != LINK_READY || stream_pending(k->stream) > LINK_PENDING_MAX)
        return false;
    int slot = -1;
    for (int n = 0; n < k->slots && slot < 0; n++, k->free_hint++)
        if (!k->calls[k->free_hint % k->slots])
            slot = k->free_hint % k->slots;
    k->free_hint = k->slots ? k->free_hint % k->slots : 0;
    if (slot < 0) {
        if (k->slots == LINK_CALLS_MAX)
            return false;
        int grown = k->slots ? 2 * k->slots : 64;
        k->calls = mem_grow(k->calls, (size_t)grown, sizeof(struct link_call *));
        for (int i = k->slots; i < grown; i++)
            k->calls[i] = NULL;
        slot = k->slots;
        k->slots = grown;
    }
    c->id = ++k->serial << SLOT_BITS | (uint64_t)slot;
    c->seq_in = c->seq_out = 0;
    k->calls[slot] = c;
    k->open++;
    return true;
}

static void far_frame(struct fleet_call *far, const struct frame *f)
{
    struct link_call *c = far->arg;
    if (f->kind == FRAME_END || f->kind == FRAME_ERROR) {
        c->far_of->open--;
        c->far_of = NULL;
    }
    c->frame(c, f);
}

enum err_code link_far_open(struct link *k, struct link_call *c, const struct fleet_ask *ask, struct err *e)
{
    ASSERT(k->far && !c->far_of);
    c->far = (struct fleet_call){ .frame = far_frame, .arg = c };
    enum err_code code = fleet_call_open(k->far, ask, &c->far, e);
    if (code)
        return code;
    c->id = ++k->serial << SLOT_BITS;
    c->far_of = k;
    k->open++;
    return ERR_OK;
}

void link_call_request(struct link *k, struct link_call *c, const json_t *head, const char *body, size_t n)
{
    struct buf b = { 0 };
    if (k->far) {
        fleet_call_request(&c->far, head, body, n);
        return;
    }
    jsonx_dump(head, &b);
    buf_putc(&b, '\n');
    size_t at = FRAME_PAYLOAD_MAX - b.len < n ? FRAME_PAYLOAD_MAX - b.len : n;
    buf_append(&b, body, at);
    link_call_send(k, c, FRAME_REQUEST, at < n ? FRAME_MORE : 0, b.data, b.len);
    buf_release(&b);
    for (size_t part; at < n; at += part) {
        part = n - at < FRAME_PAYLOAD_MAX ? n - at : FRAME_PAYLOAD_MAX;
        link_call_send(k, c, FRAME_REQUEST, at + part < n ? FRAME_MORE : 0, body + at, part);
    }
}

void link_call_send(struct link *k, struct link_call *c, enum frame_kind kind, uint16_t flags, const void *payload,
                    size_t n)
{
    if (k->far) {
        fleet_call_send(&c->far, kind, flags, payload, n);
        return;
    }
    struct buf b = { 0 };
    struct frame f = { .kind = kind, .flags = flags, .id = c->id, .seq = c->seq_out++, .payload = payload,
                       .length = n };
    frame_write(&b, &f);
    stream_write(k->stream, b.data, b.len);
    buf_release(&b);
}

bool link_call_send_fd(struct link *k, struct link_call *c, enum frame_kind kind, const void *payload, size_t n,
                       int fd)
{
    ASSERT(!k->far);
    struct buf b = { 0 };
    struct frame f = { .kind = kind, .id = c->id, .seq = c->seq_out++, .payload = payload, .length = n };
    frame_write(&b, &f);
    bool ok = stream_write_fd(k->stream, b.data, b.len, fd);
    buf_release(&b);
    return ok;
}

void link_say(struct link *k, enum frame_kind kind, const json_t *payload)
{
    struct buf b = { 0 }, text = { 0 };
    jsonx_dump(payload, &text);
    struct frame f = { .kind = kind, .payload = buf_str(&text), .length = text.len };
    if (k->state == LINK_READY && !k->far && text.len <= FRAME_PAYLOAD_MAX) {
        frame_write(&b, &f);
        stream_write(k->stream, b.data, b.len);
    }
    buf_release(&b);
    buf_release(&text);
}

void link_call_close(struct link *k, struct link_call *c)
{
    if (k->far) {
        if (!c->far_of)
            return;
        c->far_of = NULL;
        k->open--;
        fleet_call_close(&c->far);
        return;
    }
    int slot = (int)(c->id & ((1u << SLOT_BITS) - 1));
    if (slot >= k->slots || k->calls[slot] != c)
        return;
    k->calls[slot] = NULL;
    k->open--;
}

/* ---- what others ask */

enum link_state link_state(const struct link *k)
{
    return k->state;
}

const char *link_model_id(const struct link *k)
{
    return k->spec.model_id;
}

const char *link_model_path(const struct link *k)
{
    return k->spec.model_path;
}

double link_loading(const struct link *k)
{
    return k->loading;
}

const char *link_fault(const struct link *k)
{
    return k->fault;
}

bool link_refused(const struct link *k)
{
    return k->refused;
}

int link_failures(const struct link *k)
{
    return k->failures;
}

int64_t link_restarts(const struct link *k)
{
    return k->restarts;
}

int64_t link_retry_s(const struct link *k)
{
    return k->state == LINK_READY ? READY_RETRY_S : LOADING_RETRY_S;
}

const json_t *link_facts(const struct link *k)
{
    return k->facts;
}

const json_t *link_trust(const struct link *k)
{
    return k->trust;
}

const json_t *link_stats(const struct link *k)
{
    return k->stats;
}

const json_t *link_needs(const struct link *k)
{
    return k->needs;
}

int link_calls(const struct link *k)
{
    return k->open;
}

const char *link_state_name(const struct link *k)
{
    static const char *const names[] = {
        [LINK_DOWN] = "restarting", [LINK_LOADING] = "loading", [LINK_READY] = "ready", [LINK_OFF] = "unloaded",
        [LINK_MEASURING] = "unloaded", [LINK_LEAVING] = "unloading",
    };
    return names[k->state];
}
