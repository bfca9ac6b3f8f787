/* lease -- see lease.h.
 *
 * Threads: the owner (the loop) takes and returns under s->lock and never waits for the network; `run` talks to the
 * bucket, one limit at a time, and holds the lock only to look and to book.
 * I1: of a limit, `used` <= `leased` (but for what lease_charge adds) <= what the bucket says is ours, whatever became
 * of the last write: before a write that gives back, `leased` shrinks; after one whose answer was lost, the count in
 * our entry tells. */
#include "fleet/lease.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "fleet/lease_bucket.h"
#include "fleet/lease_value.h"
#include "fleet/nats_options.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BUCKETS = 256, TRIES = 16, WAIT_MS = 1000, REDIAL_MS = 1000, KEY_HEX = 32 };

struct share {                    /* of one limit */
    struct share *next;           /* of its bucket */
    char name[LEASE_NAME_MAX + 1], key[KEY_HEX + 1];
    int64_t limit, span_ms, window;
    int64_t leased, used;         /* used: since the last write that counted; negative: given back */
    int64_t want;                 /* beyond what is held: somebody waits */
    int64_t touched_ms, written_ms, count;
    /* a write whose answer was lost */
    bool unsure;
    int64_t unsure_used;
    bool spent, scarce, away;     /* the bucket said last: less than wanted; than wished; nothing, it was not reached */
};

struct lease {
    struct loop_watch *watch;
    int wake_fd;
    void (*changed)(void *arg);
    void *arg;
    char holder[LEASE_HOLDER_MAX + 1], bucket[64];
    char *domain;                 /* NULL: the server's own */
    int replicas;
    natsOptions *options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool closing, started;
    bool reached;                 /* the bucket answers; run's alone to write */
    struct share *shares[BUCKETS];
    int share_count;
    /* run's */
    natsConnection *nc;
    jsCtx *js;
    kvStore *kv;
};

static int64_t mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

static int64_t wall_ms(void)
{
    return clock_wall_ns() / 1000000;
}

/* ---- the owner's side */

static struct share *share_of(struct lease *s, const char *name)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_MAX];
    sha256_of(name, strlen(name), digest);
    struct share **at = &s->shares[digest[0]];
    for (; *at; at = &(*at)->next)
        if (!strcmp((*at)->name, name))
            return *at;
    if (s->share_count == LEASE_LIMITS_MAX || strlen(name) > LEASE_NAME_MAX)
        return NULL;
    struct share *h = MEM_NEW(struct share);
    sha256_hex(digest, hex);
    snprintf(h->name, sizeof h->name, "%s", name);
    snprintf(h->key, sizeof h->key, "%.*s", KEY_HEX, hex);
    h->window = -1;
    s->share_count++;
    return *at = h;
}

/* A new span: what was held of the old one is nobody's any more. */
static void turn_page(struct share *h, const struct lease_limit *limit, int64_t now_ms)
{
    int64_t window = now_ms / limit->span_ms;
    h->limit = limit->limit;
    h->span_ms = limit->span_ms;
    if (window <= h->window)
        return;
    h->window = window;
    h->leased = h->used = h->want = 0;
    h->unsure = h->spent = h->scarce = false;
}

static int64_t held(const struct share *h)
{
    return h->leased - (h->used > 0 ? h->used : 0);
}

static int64_t slice_of(const struct share *h)
{
    return h->limit / LEASE_SLICES + 1;
}

static enum lease_verdict verdict(struct share *h, int64_t amount, int64_t now_ms, int64_t *retry_ms)
{
    if (amount > h->limit || h->spent) {
        int64_t left = (h->window + 1) * h->span_ms - now_ms;
        *retry_ms = left < LEASE_RENEW_MS || amount > h->limit ? left : LEASE_RENEW_MS; /* others may give back */
        return LEASE_SPENT;
    }
    return h->away ? LEASE_AWAY : LEASE_ASKED;
}

enum lease_verdict lease_take(struct lease *s, const struct lease_limit *limit, int64_t amount, int64_t now_ms,
                              int64_t *retry_ms)
{
    ASSERT(amount >= 0 && limit->limit >= 0 && limit->span_ms > 0);
    enum lease_verdict v = LEASE_GRANTED;
    *retry_ms = LEASE_RENEW_MS;
    pthread_mutex_lock(&s->lock);
    struct share *h = share_of(s, limit->name);
    if (!h) {
        v = LEASE_AWAY;
    } else {
        turn_page(h, limit, now_ms);
        h->touched_ms = mono_ms();
        if (held(h) >= amount) {
            h->used += amount;
        } else {
            if (h->spent && mono_ms() - h->written_ms >= LEASE_RENEW_MS)
                h->spent = false; /* ask again */
            if (!h->spent && amount > h->want && amount <= h->limit)
                h->want = amount;
            v = verdict(h, amount, now_ms, retry_ms);
        }
        if (v != LEASE_GRANTED || held(h) < slice_of(h) / 2)
            pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    return v;
}

static void use(struct lease *s, const struct lease_limit *limit, int64_t amount, int64_t taken_ms)
{
    pthread_mutex_lock(&s->lock);
    struct share *h = share_of(s, limit->name);
    if (h && h->window == taken_ms / limit->span_ms)
        h->used += amount;
    if (amount > 0)
        pthread_cond_signal(&s->work); /* the others are to know */
    pthread_mutex_unlock(&s->lock);
}

void lease_return(struct lease *s, const struct lease_limit *limit, int64_t amount, int64_t taken_ms)
{
    ASSERT(amount >= 0);
    use(s, limit, -amount, taken_ms);
}

void lease_charge(struct lease *s, const struct lease_limit *limit, int64_t amount, int64_t taken_ms)
{
    ASSERT(amount >= 0);
    use(s, limit, amount, taken_ms);
}

struct lease_stats lease_stats(struct lease *s)
{
    pthread_mutex_lock(&s->lock);
    struct lease_stats out = { .limits = s->share_count, .reached = s->reached || !s->started };
    for (int i = 0; i < BUCKETS; i++)
        for (const struct share *h = s->shares[i]; h; h = h->next)
            out.held += h->leased > 0;
    pthread_mutex_unlock(&s->lock);
    return out;
}

static void heard(void *arg)
{
    struct lease *s = arg;
    uint64_t rings;
    if (read(s->wake_fd, &rings, sizeof rings) > 0 && s->changed)
        s->changed(s->arg);
}

/* ---- the bucket: on run's thread */

static void hang_up(struct lease *s)
{
    kvStore_Destroy(s->kv);
    jsCtx_Destroy(s->js);
    natsConnection_Destroy(s->nc);
    s->kv = NULL;
    s->js = NULL;
    s->nc = NULL;
}

/* why: said when it is away now and was not. */
static void set_reached(struct lease *s, bool reached, const char *why, const char *hint)
{
    pthread_mutex_lock(&s->lock);
    if (!reached && (s->reached || !s->started))
        log_line(LOG_WARN, "fleet", "shared limits cannot be reached: %s%s", why, hint);
    s->started = true;
    s->reached = reached;
    pthread_mutex_unlock(&s->lock);
}

static bool dial(struct lease *s)
{
    jsOptions jo;
    if (s->kv)
        return true;
    jsOptions_Init(&jo);
    jo.Wait = WAIT_MS;
    jo.Domain = s->domain;
    natsStatus st = natsConnection_Connect(&s->nc, s->options);
    if (!st)
        st = natsConnection_JetStream(&s->js, s->nc, &jo);
    if (!st)
        st = js_KeyValue(&s->kv, s->js, s->bucket);
    bool missing = st == NATS_NOT_FOUND;
    if (missing && !(st = lease_bucket_need(s->js, s->bucket, s->replicas)))
        st = js_KeyValue(&s->kv, s->js, s->bucket);
    if (st)
        hang_up(s);
    set_reached(s, !st, natsStatus_GetText(st),
                missing ? "; `tokenworks collect` at the home site makes their bucket" : "");
    return !st;
}

enum outcome { WRITTEN, NOTHING, CONFLICT, UNSURE, AWAY };

/* The value there is; *revision 0 when there is none. One that cannot be read is begun anew: after a damage by hand the
 * span's count starts at nothing, which is said. */
static enum outcome fetch(struct lease *s, const struct share *h, struct lease_value *v, uint64_t *revision)
{
    kvEntry *entry = NULL;
    struct err e;
    *v = (struct lease_value){ .window = h->window };
    *revision = 0;
    natsStatus st = kvStore_Get(&entry, s->kv, h->key);
    if (st == NATS_NOT_FOUND)
        return WRITTEN;
    if (st)
        return AWAY;
    *revision = kvEntry_Revision(entry);
    if (lease_value_read(kvEntry_Value(entry), (size_t)kvEntry_ValueLen(entry), v, &e))
        log_line(LOG_ERROR, "fleet", "the shared limit %s is damaged and begins anew: %s", h->name, e.text);
    kvEntry_Destroy(entry);
    return WRITTEN;
}

/* Under the lock: what the bucket says of us, against what we believe. false: a later span has begun elsewhere. */
static bool reconcile(struct lease *s, struct share *h, struct lease_value *v)
{
    if (v->window > h->window)
        return false;
    struct lease_entry *mine = v->window == h->window ? lease_value_entry(v, s->holder) : NULL;
    if (h->unsure && mine && mine->count == h->count + 1)
        h->used -= h->unsure_used; /* it had been written */
    h->unsure = false;
    h->count = mine ? mine->count : 0;
    h->leased = mine ? mine->n : 0;
    if (!mine)
        h->used = h->used < 0 ? h->used : 0; /* written off, and spent with that */
    return true;
}

/* Under the lock: what to write. false: nothing. */
static bool plan(struct lease *s, struct share *h, bool last, struct lease_wish *w)
{
    int64_t now = mono_ms(), have = held(h), slice = slice_of(h);
    bool idle = last || now - h->touched_ms >= LEASE_IDLE_MS;
    *w = (struct lease_wish){ .holder = s->holder, .limit = h->limit, .window = h->window, .now_ms = wall_ms(),
                              .used = h->used, .least = idle ? 0 : have };
    w->want = idle ? 0 : h->want > have ? (h->want > slice ? h->want : slice) : have < slice / 2 ? slice : have;
    if (w->want < h->want && !idle)
        w->want = h->want;
    bool due = now - h->written_ms >= LEASE_RENEW_MS || idle;
    if (w->want <= have && !(due && (h->used || h->leased)))
        return false;
    if (idle)
        h->leased = h->used > 0 ? h->used : 0; /* I1: what is given back is not taken from meanwhile */
    return true;
}

static void book(struct share *h, const struct lease_wish *w, int64_t n)
{
    bool served = n >= h->want && h->want > 0;
    h->used -= w->used;
    h->leased = n;
    h->count++;
    h->written_ms = mono_ms();
    h->spent = n < h->want;
    h->scarce = n < w->want;
    h->away = false;
    h->want = served || h->spent ? 0 : h->want;
}

/* One attempt at one limit. */
static enum outcome renew(struct lease *s, struct share *h, bool last)
{
    struct lease_value *v = MEM_NEW(struct lease_value);
    struct lease_wish w;
    struct buf b = { 0 };
    uint64_t revision;
    enum outcome o = fetch(s, h, v, &revision);
    pthread_mutex_lock(&s->lock);
    if (!o && (!reconcile(s, h, v) || !plan(s, h, last, &w)))
        o = NOTHING;
    pthread_mutex_unlock(&s->lock);
    int64_t n = o ? -1 : lease_value_apply(v, &w);
    if (!o && n < 0)
        o = AWAY;
    if (!o) {
        lease_value_write(v, &b);
        natsStatus st = revision ? kvStore_Update(NULL, s->kv, h->key, b.data, (int)b.len, revision)
                                 : kvStore_Create(NULL, s->kv, h->key, b.data, (int)b.len);
        o = !st ? WRITTEN : st == NATS_ERR ? CONFLICT : UNSURE;
    }
    pthread_mutex_lock(&s->lock);
    if (o == WRITTEN && w.window == h->window) {
        book(h, &w, n);
    } else if (o == UNSURE && w.window == h->window) {
        h->unsure = true;
        h->unsure_used = w.used;
    }
    pthread_mutex_unlock(&s->lock);
    buf_release(&b);
    mem_free(v);
    return o;
}

static void ring(struct lease *s)
{
    uint64_t one = 1;
    ssize_t n = write(s->wake_fd, &one, sizeof one);
    (void)n;
}

/* Until it is written, or there is nothing to write. false: the bucket is away. */
static bool settle(struct lease *s, struct share *h, bool last)
{
    enum outcome o = CONFLICT;
    for (int i = 0; o == CONFLICT && i < TRIES; i++)
        o = dial(s) ? renew(s, h, last) : AWAY;
    bool there = o == WRITTEN || o == NOTHING || o == CONFLICT;
    pthread_mutex_lock(&s->lock);
    h->away = !there;
    bool waits = o == WRITTEN || !there;
    pthread_mutex_unlock(&s->lock);
    if (waits)
        ring(s);
    if (!there) {
        hang_up(s);
        set_reached(s, false, "the bucket does not answer", "");
    }
    return there;
}

static bool needs(const struct share *h)
{
    int64_t now = mono_ms();
    return h->want > held(h) || (h->touched_ms && now - h->touched_ms < LEASE_IDLE_MS && held(h) < slice_of(h) / 2 &&
                                 !h->scarce) ||
           ((h->leased || h->used) && now - h->written_ms >= LEASE_RENEW_MS);
}

/* The next limit with something to do after `after`, in the order of the table; the lock is held. */
static struct share *next_share(struct lease *s, bool all)
{
    for (int i = 0; i < BUCKETS; i++)
        for (struct share *h = s->shares[i]; h; h = h->next)
            if (all ? h->leased || h->used : needs(h))
                return h;
    return NULL;
}

static void sleep_until_work(struct lease *s, int64_t ms)
{
    int64_t until = clock_mono_ns() + ms * 1000000;
    struct timespec t = { .tv_sec = until / 1000000000, .tv_nsec = until % 1000000000 };
    if (!s->closing)
        pthread_cond_timedwait(&s->work, &s->lock, &t);
}

static void *run(void *arg)
{
    enum { LOOK_MS = 500 };
    struct lease *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        struct share *h = next_share(s, false);
        if (!h) {
            sleep_until_work(s, LOOK_MS);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        bool there = settle(s, h, false);
        pthread_mutex_lock(&s->lock);
        if (!there || needs(h))
            sleep_until_work(s, there ? 20 : REDIAL_MS);
    }
    for (int i = 0; s->kv && i < LEASE_LIMITS_MAX; i++) { /* gives back */
        struct share *h = next_share(s, true);
        if (!h)
            break;
        pthread_mutex_unlock(&s->lock);
        bool there = settle(s, h, true);
        pthread_mutex_lock(&s->lock);
        h->leased = h->used = 0;
        if (!there)
            break;
    }
    pthread_mutex_unlock(&s->lock);
    hang_up(s);
    nats_ReleaseThreadMemory();
    return NULL;
}

/* ---- begin and end */

static void free_lease(struct lease *s)
{
    loop_watch_free(s->watch);
    for (int i = 0; i < BUCKETS; i++)
        for (struct share *h = s->shares[i], *next; h; h = next) {
            next = h->next;
            mem_free(h);
        }
    natsOptions_Destroy(s->options);
    mem_free(s->domain);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

struct lease *lease_open(struct loop *l, const struct lease_options *o, void (*changed)(void *arg), void *arg,
                         struct err *e)
{
    struct lease *s = MEM_NEW(struct lease);
    pthread_condattr_t mono;
    *s = (struct lease){ .changed = changed, .arg = arg, .replicas = o->replicas };
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&s->work, &mono);
    pthread_condattr_destroy(&mono);
    snprintf(s->holder, sizeof s->holder, "%s", o->holder);
    snprintf(s->bucket, sizeof s->bucket, "%s", o->bucket ? o->bucket : LEASE_BUCKET);
    s->domain = o->bus->domain ? mem_strdup(o->bus->domain) : NULL;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->options = s->wake_fd < 0 ? (err_errno(e, "cannot make an eventfd"), NULL) : nats_options_new(o->bus, e);
    if (s->options && pthread_create(&s->thread, NULL, run, s)) {
        err_set(e, ERR_IO, "cannot start a thread for shared limits");
        natsOptions_Destroy(s->options);
        s->options = NULL;
    }
    if (!s->options) {
        free_lease(s);
        return NULL;
    }
    s->watch = loop_watch_new(l, s->wake_fd, heard, s);
    return s;
}

void lease_close(struct lease *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    free_lease(s);
}
