/* nats_line -- see nats_line.h.
 *
 * Threads: the owner (the loop) calls the functions of the header; `run` is the line's own; `on_message`, `on_silent`,
 * `on_closed` and `on_error` are called by the library's. All meet at l->lock, which nobody holds while he is in the
 * library.
 * I1: an ear is freed by on_silent alone, the library's last call about it. I2: no event is added and the bell is not
 * rung after `deaf`. */
#include "fleet/nats_line.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "fleet/nats_options.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    PAUSE_MS_FIRST = 100,
    PAUSE_MS_MAX = 2000,
    STEADY_MS = 2000,       /* up for so long, the next pause is the first again */
    STALE_MS = 5000,        /* what waited longer is not sent any more: whoever asked has gone elsewhere */
    FAREWELL_MS = 1000,
    CLOSE_MS = 1500,
    SUBJECT_SHOWN = 128,
    SILENCE_MS = 5000,      /* for the library's threads to be done with a closed connection */
    EVENT_BYTES = 512,      /* what an event costs beside its data */
};

struct outgoing {
    struct outgoing *next;
    int64_t at_ns;
    size_t size, n;
    const char *subject, *reply, *data; /* into bytes; reply NULL: none */
    char bytes[];
};

struct wish {               /* a subscription that should be there */
    struct wish *next;
    uint64_t id;
    char *subject, *queue;
    bool gone;              /* the owner wants it no more; the line's thread frees it */
    natsSubscription *sub;  /* the line's thread's */
};

struct ear {                /* what the library calls for one subscription on one connection */
    struct nats_line *line;
    uint64_t id;
    char subject[SUBJECT_SHOWN];
};

struct event_list {
    struct line_event *first, *last;
};

struct nats_line {
    pthread_mutex_t lock;
    pthread_cond_t work, rest; /* for run; for whoever waits for the library or for run */
    pthread_t thread;
    natsOptions *options;
    char where[200];
    int wake_fd;
    bool closing, done, deaf;
    bool abandoned;         /* the owner did not wait: run frees the line */
    bool haunted;           /* the library may still call: nobody frees it */
    /* to be sent */
    struct outgoing *out_first, *out_last;
    size_t out_bytes;
    struct wish *wishes;
    bool wishes_changed;
    /* come in */
    struct event_list in, held; /* held: what comes before UP is told */
    bool holding, dropping;
    atomic_size_t in_bytes;     /* relaxed: a bound, not a hand-over */
    /* the connection there is */
    natsConnection *nc;         /* run's */
    bool broken, closed;
    int ears;
    char why[ERR_TEXT_MAX];
    bool told_down;
    int64_t pause_ms;
    struct rng dice;
};

/* ---- events for the loop; the lock is held */

static void ring(struct nats_line *l)
{
    uint64_t one = 1;
    ssize_t n = l->deaf ? 0 : write(l->wake_fd, &one, sizeof one); /* EAGAIN: it rings already */
    (void)n;
}

static void append(struct event_list *list, struct line_event *ev)
{
    if (list->last)
        list->last->next = ev;
    else
        list->first = ev;
    list->last = ev;
}

static void add_event(struct nats_line *l, struct line_event *ev)
{
    bool was_empty = !l->in.first;
    append(l->holding && ev->kind == LINE_MESSAGE ? &l->held : &l->in, ev);
    if (was_empty && l->in.first)
        ring(l);
}

static void tell(struct nats_line *l, enum line_kind kind, const char *text)
{
    if (l->deaf)
        return;
    size_t n = strlen(text);
    struct line_event *ev = mem_new(1, sizeof *ev + n + 1);
    ev->kind = kind;
    memcpy(ev->text, text, n);
    atomic_fetch_add_explicit(&l->in_bytes, EVENT_BYTES, memory_order_relaxed);
    add_event(l, ev);
}

static void free_event(struct line_event *ev)
{
    natsMsg_Destroy(ev->msg);
    mem_free(ev);
}

static void free_events(struct event_list *list)
{
    for (struct line_event *ev = list->first, *next; ev; ev = next) {
        next = ev->next;
        free_event(ev);
    }
    *list = (struct event_list){ 0 };
}

struct line_event *nats_line_take(struct nats_line *l)
{
    pthread_mutex_lock(&l->lock);
    struct line_event *first = l->in.first;
    l->in = (struct event_list){ 0 };
    pthread_mutex_unlock(&l->lock);
    return first;
}

void nats_line_give_back(struct nats_line *l, struct line_event *ev)
{
    atomic_fetch_sub_explicit(&l->in_bytes, ev->m.n + EVENT_BYTES, memory_order_relaxed);
    free_event(ev);
}

/* ---- called by the library */

/* In words; what the library last said on this thread may be of something else. */
static const char *reason(natsStatus s)
{
    natsStatus last = NATS_OK;
    const char *text = nats_GetLastError(&last), *end;
    if (last != s || s == NATS_NO_SERVER || !text)
        return natsStatus_GetText(s);
    for (int i = 0; i < 8 && *text == '(' && (end = strstr(text, "): ")); i++)
        text = end + 3; /* a place in its sources */
    return *text ? text : natsStatus_GetText(s);
}

static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *arg)
{
    struct ear *ear = arg;
    struct nats_line *l = ear->line;
    const char *reply = natsMsg_GetReply(msg);
    struct line_event *ev = MEM_NEW(struct line_event);
    *ev = (struct line_event){ .kind = LINE_MESSAGE, .sub = ear->id, .msg = msg, .m = {
        .subject = natsMsg_GetSubject(msg), .reply = reply ? reply : "", .data = natsMsg_GetData(msg),
        .n = (size_t)natsMsg_GetDataLength(msg) } };
    size_t size = ev->m.n + EVENT_BYTES;
    pthread_mutex_lock(&l->lock);
    size_t waiting = atomic_load_explicit(&l->in_bytes, memory_order_relaxed);
    bool drop = l->deaf || size > BUS_PENDING_MAX - (waiting < BUS_PENDING_MAX ? waiting : BUS_PENDING_MAX);
    if (drop && !l->deaf && !l->dropping) {
        char text[ERR_TEXT_MAX];
        snprintf(text, sizeof text, "messages on %s are dropped: %d MiB wait to be read, this process is too slow",
                 ear->subject, BUS_PENDING_MAX >> 20);
        l->dropping = true;
        tell(l, LINE_REFUSED, text);
    }
    if (!drop) {
        l->dropping = l->dropping && waiting > BUS_PENDING_MAX / 2;
        atomic_fetch_add_explicit(&l->in_bytes, size, memory_order_relaxed);
        add_event(l, ev);
    }
    pthread_mutex_unlock(&l->lock);
    if (drop)
        free_event(ev);
}

static void on_silent(void *arg)
{
    struct ear *ear = arg;
    struct nats_line *l = ear->line;
    mem_free(ear);
    pthread_mutex_lock(&l->lock);
    l->ears--;
    pthread_cond_broadcast(&l->rest);
    pthread_mutex_unlock(&l->lock);
}

static void on_closed(natsConnection *nc, void *arg)
{
    struct nats_line *l = arg;
    const char *text = NULL;
    natsStatus s = natsConnection_GetLastError(nc, &text);
    pthread_mutex_lock(&l->lock);
    if (!l->broken)
        snprintf(l->why, sizeof l->why, "the connection to the bus at %s is gone: %s", l->where,
                 text && *text ? text : natsStatus_GetText(s ? s : NATS_CONNECTION_CLOSED));
    l->broken = l->closed = true;
    pthread_cond_broadcast(&l->rest);
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus s, void *arg)
{
    struct nats_line *l = arg;
    char sentence[ERR_TEXT_MAX];
    snprintf(sentence, sizeof sentence, "the bus at %s refuses: %s", l->where, reason(s));
    pthread_mutex_lock(&l->lock);
    tell(l, LINE_REFUSED, sentence);
    pthread_mutex_unlock(&l->lock);
}

/* ---- the line's thread */

static void wait_ms(struct nats_line *l, pthread_cond_t *cond, int64_t until_ns)
{
    struct timespec t = { .tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000 };
    pthread_cond_timedwait(cond, &l->lock, &t);
}

/* The connection is of no use any more; the first reason stands. */
static void give_up(struct nats_line *l, natsStatus s)
{
    pthread_mutex_lock(&l->lock);
    if (!l->broken)
        snprintf(l->why, sizeof l->why, "the connection to the bus at %s is gone: %s", l->where, reason(s));
    l->broken = true;
    pthread_mutex_unlock(&l->lock);
}

static void free_wish(struct wish *w)
{
    mem_free(w->subject);
    mem_free(w->queue);
    mem_free(w);
}

static bool listen_to(struct nats_line *l, struct wish *w)
{
    struct ear *ear = MEM_NEW(struct ear);
    *ear = (struct ear){ .line = l, .id = w->id };
    snprintf(ear->subject, sizeof ear->subject, "%s", w->subject);
    pthread_mutex_lock(&l->lock);
    l->ears++;
    pthread_mutex_unlock(&l->lock);
    natsStatus s = w->queue ? natsConnection_QueueSubscribe(&w->sub, l->nc, w->subject, w->queue, on_message, ear)
                            : natsConnection_Subscribe(&w->sub, l->nc, w->subject, on_message, ear);
    if (s) {
        w->sub = NULL;
        on_silent(ear);
        give_up(l, s);
        return false;
    }
    s = natsSubscription_SetOnCompleteCB(w->sub, on_silent, ear);
    if (s) /* closed already: nobody will say when the library is done with the ear, so it stays */
        give_up(l, s);
    return !s;
}

/* Subscribes and unsubscribes until all is as the owner wishes. */
static bool fulfil(struct nats_line *l)
{
    for (bool ok = true;;) {
        struct wish *w = NULL;
        pthread_mutex_lock(&l->lock);
        l->wishes_changed = false;
        for (struct wish **at = &l->wishes; (w = *at); at = &w->next) {
            if (w->gone)
                *at = w->next;
            if (w->gone || (ok && !w->sub))
                break;
        }
        pthread_mutex_unlock(&l->lock);
        if (!w)
            return ok;
        if (w->gone) {
            natsSubscription_Destroy(w->sub);
            free_wish(w);
        } else {
            ok = listen_to(l, w);
        }
    }
}

static void say_down(struct nats_line *l, const char *why, bool refused)
{
    pthread_mutex_lock(&l->lock);
    if (!l->told_down) {
        if (refused)
            tell(l, LINE_REFUSED, why);
        tell(l, LINE_DOWN, why);
    } else if (strcmp(why, l->why)) {
        log_line(LOG_WARN, "fleet", "%s", why);
    }
    l->told_down = true;
    if (why != l->why)
        snprintf(l->why, sizeof l->why, "%s", why);
    pthread_mutex_unlock(&l->lock);
}

static bool dial(struct nats_line *l)
{
    char why[ERR_TEXT_MAX];
    pthread_mutex_lock(&l->lock);
    l->broken = l->closed = false;
    pthread_mutex_unlock(&l->lock);
    natsStatus s = natsConnection_Connect(&l->nc, l->options);
    if (!s)
        return true;
    l->nc = NULL;
    bool refused = s == NATS_CONNECTION_AUTH_FAILED;
    snprintf(why, sizeof why, "%s the bus at %s: %s", refused ? "this process is not let into" : "cannot reach",
             l->where, reason(s));
    say_down(l, why, refused);
    return false;
}

/* Up: all subscriptions are at the server, which has answered. */
static bool greet(struct nats_line *l)
{
    pthread_mutex_lock(&l->lock);
    l->holding = true;
    pthread_mutex_unlock(&l->lock);
    natsStatus s = fulfil(l) ? natsConnection_FlushTimeout(l->nc, NATS_DIAL_MS) : NATS_OK;
    if (s)
        give_up(l, s);
    int64_t most = natsConnection_GetMaxPayload(l->nc);
    pthread_mutex_lock(&l->lock);
    bool ok = !l->broken;
    if (ok && most < BUS_MESSAGE_MAX) {
        char text[ERR_TEXT_MAX];
        snprintf(text, sizeof text, "the bus at %s takes messages of %lld bytes; set its max_payload to 1MB",
                 l->where, (long long)most);
        tell(l, LINE_REFUSED, text);
    }
    if (ok) {
        tell(l, LINE_UP, "");
        l->told_down = false;
    }
    l->holding = false;
    for (struct line_event *ev = l->held.first, *next; ev; ev = next) {
        next = ev->next;
        ev->next = NULL;
        add_event(l, ev);
    }
    l->held = (struct event_list){ 0 };
    pthread_mutex_unlock(&l->lock);
    return ok;
}

static bool send_one(struct nats_line *l, const struct outgoing *o)
{
    if (clock_mono_ns() - o->at_ns > STALE_MS * 1000000LL)
        return true;
    natsStatus s = o->reply ? natsConnection_PublishRequest(l->nc, o->subject, o->reply, o->data, (int)o->n)
                            : natsConnection_Publish(l->nc, o->subject, o->data, (int)o->n);
    if (s == NATS_MAX_PAYLOAD)
        return true; /* told when the connection came up */
    if (s)
        give_up(l, s);
    return !s;
}

/* Takes the first of what is to be sent; the lock is held. */
static struct outgoing *next_out(struct nats_line *l)
{
    struct outgoing *o = l->out_first;
    if (!o)
        return NULL;
    l->out_first = o->next;
    if (!l->out_first)
        l->out_last = NULL;
    return o;
}

static void serve(struct nats_line *l)
{
    pthread_mutex_lock(&l->lock);
    while (!l->broken && !(l->closing && !l->out_first)) {
        struct outgoing *o = l->wishes_changed ? NULL : next_out(l);
        if (!o && !l->wishes_changed) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        pthread_mutex_unlock(&l->lock);
        if (o)
            send_one(l, o);
        else
            fulfil(l);
        pthread_mutex_lock(&l->lock);
        if (o)
            l->out_bytes -= o->size;
        mem_free(o);
    }
    bool farewell = l->closing && !l->broken;
    pthread_mutex_unlock(&l->lock);
    if (farewell)
        natsConnection_FlushTimeout(l->nc, FAREWELL_MS);
}

static natsSubscription *take_sub(struct nats_line *l)
{
    natsSubscription *sub = NULL;
    pthread_mutex_lock(&l->lock);
    for (struct wish *w = l->wishes; w && !sub; w = w->next) {
        sub = w->sub;
        w->sub = NULL;
    }
    pthread_mutex_unlock(&l->lock);
    return sub;
}

/* Closes the connection and waits until the library's threads are done with it. */
static void hang_up(struct nats_line *l)
{
    natsConnection_Close(l->nc);
    for (natsSubscription *sub; (sub = take_sub(l));)
        natsSubscription_Destroy(sub);
    int64_t until = clock_mono_ns() + SILENCE_MS * 1000000LL;
    pthread_mutex_lock(&l->lock);
    while ((l->ears || !l->closed) && clock_mono_ns() < until)
        wait_ms(l, &l->rest, until);
    if (l->ears || !l->closed) {
        log_line(LOG_ERROR, "fleet", "the client of the bus does not let go of a connection; its memory stays");
        l->haunted = true;
    }
    pthread_mutex_unlock(&l->lock);
    natsConnection_Destroy(l->nc);
    l->nc = NULL;
}

static void pause_before_dial(struct nats_line *l)
{
    pthread_mutex_lock(&l->lock);
    l->pause_ms = l->pause_ms ? 2 * l->pause_ms : PAUSE_MS_FIRST;
    if (l->pause_ms > PAUSE_MS_MAX)
        l->pause_ms = PAUSE_MS_MAX;
    int64_t ms = l->pause_ms / 2 + (int64_t)rng_below(&l->dice, (uint64_t)l->pause_ms);
    int64_t until = clock_mono_ns() + ms * 1000000;
    while (!l->closing && clock_mono_ns() < until)
        wait_ms(l, &l->work, until);
    pthread_mutex_unlock(&l->lock);
}

static bool is_closing(struct nats_line *l)
{
    pthread_mutex_lock(&l->lock);
    bool closing = l->closing;
    pthread_mutex_unlock(&l->lock);
    return closing;
}

static void free_line(struct nats_line *l)
{
    for (struct outgoing *o; (o = next_out(l));)
        mem_free(o);
    for (struct wish *w = l->wishes, *next; w; w = next) {
        next = w->next;
        free_wish(w);
    }
    free_events(&l->in);
    free_events(&l->held);
    natsOptions_Destroy(l->options);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->rest);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

static void *run(void *arg)
{
    struct nats_line *l = arg;
    while (!is_closing(l)) {
        if (!dial(l)) {
            pause_before_dial(l);
            continue;
        }
        int64_t since = clock_mono_ns();
        if (greet(l))
            serve(l);
        if (clock_mono_ns() - since > STEADY_MS * 1000000LL)
            l->pause_ms = 0;
        if (!is_closing(l))
            say_down(l, l->why, false);
        hang_up(l);
        if (!is_closing(l))
            pause_before_dial(l);
    }
    nats_ReleaseThreadMemory();
    pthread_mutex_lock(&l->lock);
    l->done = true;
    pthread_cond_broadcast(&l->rest);
    bool mine = l->abandoned && !l->haunted;
    pthread_mutex_unlock(&l->lock);
    if (mine)
        free_line(l);
    return NULL;
}

/* ---- for the owner */

struct nats_line *nats_line_open(const struct bus_options *o, int wake_fd, struct err *e)
{
    natsOptions *options = nats_options_new(o, e);
    if (!options)
        return NULL;
    struct nats_line *l = MEM_NEW(struct nats_line);
    *l = (struct nats_line){ .options = options, .wake_fd = wake_fd };
    nats_options_where(o, l->where, sizeof l->where);
    natsOptions_SetSendAsap(options, true); /* its flusher waits a millisecond for more */
    natsOptions_UseGlobalMessageDelivery(options, true); /* one thread for all subscriptions: one order */
    natsOptions_SetClosedCB(options, on_closed, l);
    natsOptions_SetErrorHandler(options, on_error, l);
    rng_system(&l->dice.seed, sizeof l->dice.seed);
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, &mono);
    pthread_cond_init(&l->rest, &mono);
    pthread_condattr_destroy(&mono);
    if (pthread_create(&l->thread, NULL, run, l)) {
        err_set(e, ERR_IO, "cannot start a thread for the bus");
        free_line(l);
        return NULL;
    }
    return l;
}

void nats_line_close(struct nats_line *l)
{
    int64_t until = clock_mono_ns() + CLOSE_MS * 1000000LL;
    pthread_mutex_lock(&l->lock);
    l->closing = l->deaf = true;
    pthread_cond_broadcast(&l->work);
    while (!l->done && clock_mono_ns() < until)
        wait_ms(l, &l->rest, until);
    bool done = l->done, free_it = done && !l->haunted;
    pthread_t thread = l->thread;
    l->abandoned = !done;
    pthread_mutex_unlock(&l->lock);
    if (!done) { /* it stands in the library */
        pthread_detach(thread);
        return;
    }
    pthread_join(thread, NULL);
    if (free_it)
        free_line(l);
}

void nats_line_subscribe(struct nats_line *l, uint64_t id, const char *subject, const char *queue)
{
    struct wish *w = MEM_NEW(struct wish);
    *w = (struct wish){ .id = id, .subject = mem_strdup(subject), .queue = queue ? mem_strdup(queue) : NULL };
    pthread_mutex_lock(&l->lock);
    w->next = l->wishes;
    l->wishes = w;
    l->wishes_changed = true;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
}

void nats_line_unsubscribe(struct nats_line *l, uint64_t id)
{
    pthread_mutex_lock(&l->lock);
    for (struct wish *w = l->wishes; w; w = w->next)
        w->gone = w->gone || w->id == id;
    l->wishes_changed = true;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
}

static char *put(char **at, const char *s, size_t n)
{
    char *here = *at;
    memcpy(here, s, n);
    *at += n;
    return here;
}

bool nats_line_publish(struct nats_line *l, const char *subject, const char *reply, const void *data, size_t n)
{
    size_t subject_n = strlen(subject) + 1, reply_n = reply ? strlen(reply) + 1 : 0;
    size_t size = sizeof(struct outgoing) + subject_n + reply_n + n;
    struct outgoing *o = mem_grow(NULL, 1, size); /* not zeroed: it may be large */
    char *at = o->bytes;
    *o = (struct outgoing){ .at_ns = clock_mono_ns(), .size = size, .n = n };
    o->subject = put(&at, subject, subject_n);
    o->reply = reply ? put(&at, reply, reply_n) : NULL;
    o->data = n ? put(&at, data, n) : at;
    pthread_mutex_lock(&l->lock);
    bool ok = size <= BUS_PENDING_MAX - l->out_bytes;
    if (ok) {
        l->out_bytes += size;
        if (l->out_last)
            l->out_last->next = o;
        else
            l->out_first = o;
        l->out_last = o;
        pthread_cond_signal(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
    if (!ok)
        mem_free(o);
    return ok;
}
