/* ledger -- the two threads and what passes between them: rows down a bounded queue, finished rows and fresh
 * directories back up a list with an eventfd. Everything else is book.h (decisions) and store.h (the file).
 *
 * L3 holds because tickets and rows on their way share one count: in_flight + unwritten <= LEDGER_IN_FLIGHT_MAX, which
 * is the queue's capacity. */
#include "ledger/ledger.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/queue.h"
#include "ledger/admin.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    GROUP_MAX = 2048,          /* rows in one commit */
    LOOK_EVERY_MS = 1000,      /* for changes the commands made */
    RETRY_MS = 250,            /* after a commit failed */
    CLOSE_RETRIES = 20,        /* then rows are given up, and said so */
};

struct ledger {
    /* the front's thread */
    struct book *book;
    char jurisdiction[LEDGER_JURISDICTION_MAX + 1];
    int unwritten;             /* settled, not yet durable */
    struct energy_model machine;
    struct ledger_stats stats;
    /* shared: the queue is its own lock; `lock` guards the three fields after it */
    struct queue *rows;
    pthread_mutex_t lock;
    struct usage_row *finished, **finished_end; /* durable or duplicate, in order */
    struct directory *fresh;                    /* the latest, or NULL */
    int64_t failed_commits;
    int64_t commits;
    atomic_bool closing;       /* release by close, acquire by the writer: stop retrying a broken disk for ever */
    int event;                 /* eventfd: something for ledger_poll */
    /* the writer's thread */
    struct store *store;
    int64_t retention_days, purged_day; /* 0: rows stay; the last day whose turn it was */
    pthread_t writer;
};

/* ---- the writer */

static void wake(struct ledger *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->event, &one, sizeof one); /* full means it is readable already */
    (void)n;
}

static void hand_back(struct ledger *l, struct usage_row **rows, int count)
{
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < count; i++) {
        rows[i]->next = NULL;
        *l->finished_end = rows[i];
        l->finished_end = &rows[i]->next;
    }
    l->commits++;
    pthread_mutex_unlock(&l->lock);
    wake(l);
}

/* Commits a group; a disk that says no is asked again until it says yes. */
static void commit(struct ledger *l, struct usage_row **rows, int count)
{
    struct err e;
    for (int failures = 0; store_insert(l->store, rows, count, &e); failures++) {
        pthread_mutex_lock(&l->lock);
        l->failed_commits++;
        pthread_mutex_unlock(&l->lock);
        if (failures % 40 == 0)
            log_line(LOG_ERROR, "ledger", "%s; %d rows wait, trying again", e.text, count);
        if (atomic_load_explicit(&l->closing, memory_order_acquire) && failures >= CLOSE_RETRIES) {
            log_line(LOG_ERROR, "ledger", "%d rows could not be written and are lost", count);
            for (int i = 0; i < count; i++)
                rows[i]->done = NULL; /* L2 */
            break;
        }
        usleep(RETRY_MS * 1000);
    }
    hand_back(l, rows, count);
}

static void look_for_changes(struct ledger *l)
{
    struct err e;
    if (!store_changed(l->store))
        return;
    log_line(LOG_INFO, "ledger", "keys, limits or prices were changed: reading them again");
    struct directory *d = MEM_NEW(struct directory);
    if (store_load(l->store, clock_wall_ns() / 1000000, d, &e)) {
        log_line(LOG_WARN, "ledger", "%s; keys and limits stay as they were", e.text);
        mem_free(d);
        return;
    }
    l->retention_days = d->retention_days;
    l->purged_day = 0;
    pthread_mutex_lock(&l->lock);
    struct directory *old = l->fresh;
    l->fresh = d;
    pthread_mutex_unlock(&l->lock);
    if (old) {
        directory_free(old);
        mem_free(old);
    }
    wake(l);
}

/* A step of what the retention asks for; the day's work is done when a step finds less than it may delete. */
static void keep_retention(struct ledger *l)
{
    int64_t today = meter_day(clock_wall_ns() / 1000000), gone = 0;
    struct err e;
    if (!l->retention_days || l->purged_day == today)
        return;
    if (admin_purge_step(l->store, today - l->retention_days, &gone, &e))
        log_line(LOG_WARN, "ledger", "%s; old rows are purged later", e.text);
    else if (gone < ADMIN_PURGE_STEP)
        l->purged_day = today;
}

static void *write_rows(void *arg)
{
    struct ledger *l = arg;
    pthread_setname_np(pthread_self(), "ledger"); /* so that its processor time can be told apart */
    struct usage_row **group = mem_new(GROUP_MAX, sizeof(struct usage_row *));
    int64_t looked_ms = clock_mono_ns() / 1000000;
    for (;;) {
        int count = 0;
        struct usage_row *r = queue_pop(l->rows, LOOK_EVERY_MS);
        for (; r; r = count < GROUP_MAX ? queue_try_pop(l->rows) : NULL)
            group[count++] = r;
        if (count)
            commit(l, group, count);
        else if (atomic_load_explicit(&l->closing, memory_order_acquire) && !queue_count(l->rows))
            break;
        int64_t now_ms = clock_mono_ns() / 1000000;
        if (now_ms - looked_ms >= LOOK_EVERY_MS) {
            look_for_changes(l);
            keep_retention(l);
            looked_ms = now_ms;
        }
    }
    mem_free(group);
    return NULL;
}

/* ---- opening and closing */

static enum err_code start(struct ledger *l, struct err *e)
{
    l->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->event < 0)
        return err_errno(e, "ledger: cannot make an eventfd");
    errno = pthread_create(&l->writer, NULL, write_rows, l);
    return errno ? err_errno(e, "ledger: cannot start the writer") : ERR_OK;
}

static void release(struct ledger *l)
{
    if (l->event >= 0)
        close(l->event);
    if (l->fresh) {
        directory_free(l->fresh);
        mem_free(l->fresh);
    }
    queue_free(l->rows);
    pthread_mutex_destroy(&l->lock);
    store_close(l->store);
    book_free(l->book);
    mem_free(l);
}

static void take_machine(struct ledger *l, const struct directory *d)
{
    l->machine = (struct energy_model){ (double)d->idle_mw / 1000, (double)d->core_mw / 1000 };
}

struct energy_model ledger_machine(const struct ledger *l)
{
    return l->machine;
}

enum err_code ledger_open(const char *dir, const char *jurisdiction, int64_t now_ms, struct ledger **out,
                          struct err *e)
{
    enum err_code c = file_make_dirs(dir, e);
    if (c)
        return c;
    struct ledger *l = MEM_NEW(struct ledger);
    l->event = -1;
    l->finished_end = &l->finished;
    pthread_mutex_init(&l->lock, NULL);
    l->book = book_new();
    l->rows = queue_new(LEDGER_IN_FLIGHT_MAX);
    snprintf(l->jurisdiction, sizeof l->jurisdiction, "%s", jurisdiction);
    char *path = store_path(dir);
    struct directory d = { 0 };
    c = store_open(path, true, now_ms, &l->store, e);
    mem_free(path);
    if (!c)
        c = store_load(l->store, now_ms, &d, e);
    if (!c) {
        book_update(l->book, &d, true);
        take_machine(l, &d);
        l->retention_days = d.retention_days;
        directory_free(&d);
        c = start(l, e);
    }
    if (c)
        release(l);
    else
        *out = l;
    return c;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    atomic_store_explicit(&l->closing, true, memory_order_release);
    queue_close(l->rows);
    pthread_join(l->writer, NULL);
    ledger_poll(l, clock_wall_ns() / 1000000);
    release(l);
}

/* ---- the front's side */

int ledger_fd(const struct ledger *l)
{
    return l->event;
}

void ledger_poll(struct ledger *l, int64_t now_ms)
{
    uint64_t count;
    ssize_t n = read(l->event, &count, sizeof count);
    (void)n;
    pthread_mutex_lock(&l->lock);
    struct usage_row *rows = l->finished;
    struct directory *d = l->fresh;
    l->finished = NULL;
    l->finished_end = &l->finished;
    l->fresh = NULL;
    l->stats.failed_commits = l->failed_commits;
    l->stats.commits = l->commits;
    pthread_mutex_unlock(&l->lock);
    if (d) {
        book_update(l->book, d, false);
        take_machine(l, d);
        directory_free(d);
        mem_free(d);
    }
    for (struct usage_row *r = rows, *next; r; r = next) {
        next = r->next;
        l->unwritten--;
        l->stats.rows += !r->duplicate;
        l->stats.duplicates += r->duplicate;
        if (r->duplicate)
            book_take_back(l->book, &r->settled, now_ms);
        else
            book_total_add(&r->settled);
        if (r->done)
            r->done(r->arg, r->settled.cost_micros);
        mem_free(r);
    }
}

bool ledger_ever_had_keys(const char *dir, int64_t now_ms)
{
    char *path = store_path(dir);
    struct store *s;
    struct err e;
    int64_t count = 0;
    enum err_code c = store_open(path, false, now_ms, &s, &e);
    mem_free(path);
    if (c)
        return c != ERR_NOT_FOUND; /* shut when in doubt */
    c = store_int(s, "SELECT count(*) FROM key", NULL, 0, &count, &e);
    store_close(s);
    return c || count > 0;
}

int ledger_totals(const struct ledger *l, struct ledger_total *out, int max)
{
    return book_totals(l->book, out, max);
}

bool ledger_has_keys(const struct ledger *l)
{
    return book_key_count(l->book) > 0;
}

enum ledger_found ledger_key_lookup(const struct ledger *l, const char *text, size_t n, int64_t now_ms,
                                    const struct ledger_key **out)
{
    uint8_t hash[LEDGER_HASH_BYTES];
    return ledger_key_hash(text, n, hash) ? book_find_key(l->book, hash, now_ms, out) : LEDGER_MALFORMED;
}

const struct ledger_key *ledger_key_by_id(const struct ledger *l, int64_t id, int64_t now_ms)
{
    return book_key_by_id(l->book, id, now_ms);
}

bool ledger_principal(const struct ledger *l, const char *tenant, const char *team, struct ledger_key *out)
{
    return book_principal(l->book, tenant, team, out);
}

struct ledger_limits ledger_tenant_limits(const struct ledger *l, const struct ledger_key *k)
{
    struct ledger_limits limits = { .v = { 0 } };
    book_limits(l->book, LEDGER_TENANT, k ? k->tenant_id : 1, &limits);
    return limits;
}

void ledger_admit(struct ledger *l, const struct ledger_ask *ask, int64_t now_ms, struct ledger_answer *out)
{
    if (ask->key && !ledger_key_may_be_served(ask->key, l->jurisdiction)) {
        *out = (struct ledger_answer){ .verdict = LEDGER_FORBIDDEN, .ticket = -1, .allowance_tokens = -1 };
        snprintf(out->message, sizeof out->message, "this key's requests may be served in %.100s only; this machine "
                 "stands in %s", ask->key->jurisdictions, *l->jurisdiction ? l->jurisdiction : "a place not stated");
        return;
    }
    if (book_in_flight(l->book) + l->unwritten < LEDGER_IN_FLIGHT_MAX) {
        book_admit(l->book, ask, now_ms, out);
        return;
    }
    *out = (struct ledger_answer){ .verdict = LEDGER_BUSY, .ticket = -1, .retry_after_s = 1, .allowance_tokens = -1 };
    snprintf(out->message, sizeof out->message, "%d requests are in flight or wait for the disk; try again in a moment",
             LEDGER_IN_FLIGHT_MAX);
}

void ledger_revise(struct ledger *l, int ticket, int64_t prompt_tokens, int64_t output_tokens, int64_t now_ms,
                   struct ledger_answer *out)
{
    book_revise(l->book, ticket, prompt_tokens, output_tokens, now_ms, out);
}

struct ledger_amount ledger_held(const struct ledger *l, int ticket)
{
    struct meter_amount held = book_held(l->book, ticket);
    return (struct ledger_amount){ held.v[METER_TOKENS], held.v[METER_MONEY], held.v[METER_ENERGY] };
}

void ledger_worked(struct ledger *l, int ticket, int64_t tokens)
{
    book_worked(l->book, ticket, tokens);
}

void ledger_energy(struct ledger *l, int64_t mj, bool modelled)
{
    book_energy(l->book, mj, modelled);
}

int64_t ledger_settle(struct ledger *l, int ticket, struct ledger_use *use, int64_t now_ms,
                      ledger_done_fn *done, void *arg)
{
    struct usage_row *r = MEM_NEW(struct usage_row);
    book_settle(l->book, ticket, use, now_ms, &r->settled);
    use->prompt_tokens = r->settled.prompt_tokens;
    use->cached_tokens = r->settled.cached_tokens;
    use->output_tokens = r->settled.output_tokens;
    use->energy_mj = r->settled.used.v[METER_ENERGY];
    use->energy_modelled = r->settled.energy_modelled;
    r->use = *use;
    r->done = done;
    r->arg = arg;
    snprintf(r->finish, sizeof r->finish, "%s", use->finish ? use->finish : "");
    snprintf(r->jurisdiction, sizeof r->jurisdiction, "%s", l->jurisdiction);
    r->has_receipt = use->receipt_hash != NULL;
    if (r->has_receipt)
        memcpy(r->receipt, use->receipt_hash, sizeof r->receipt);
    r->use.receipt_hash = NULL;
    r->use.finish = NULL;
    int64_t cost = r->settled.cost_micros; /* r is the writer's once pushed */
    l->unwritten++;
    bool room = queue_try_push(l->rows, r);
    ASSERT(room); /* L3 */
    return cost;
}

void ledger_abandon(struct ledger *l, int ticket, int64_t now_ms)
{
    book_abandon(l->book, ticket, now_ms);
}

void ledger_get_stats(const struct ledger *l, struct ledger_stats *out)
{
    *out = l->stats;
    out->queued = l->unwritten;
    out->in_flight = book_in_flight(l->book);
    out->idle_mj = book_idle_mj(l->book);
}

/* ---- headers */

void ledger_usage_header(const struct ledger_use *u, int64_t cost_micros, struct buf *out)
{
    buf_printf(out, "prompt=%lld, cached=%lld, output=%lld, queue-ms=%lld, prefill-ms=%lld, decode-ms=%lld, "
               "kv-page-s=%lld.%03lld, energy-j=%lld.%03lld%s, cost=", (long long)u->prompt_tokens,
               (long long)u->cached_tokens, (long long)u->output_tokens, (long long)(u->queue_us / 1000),
               (long long)(u->prefill_us / 1000), (long long)(u->decode_us / 1000), (long long)(u->kv_page_ms / 1000),
               (long long)(u->kv_page_ms % 1000), (long long)(u->energy_mj / 1000), (long long)(u->energy_mj % 1000),
               u->energy_modelled ? ";modelled" : "");
    price_print(cost_micros, out);
}

/* "6m0s", "1s", "20ms": the form OpenAI uses. */
static void put_duration(int64_t ms, struct buf *out)
{
    if (ms < 1000)
        buf_printf(out, "%lldms", (long long)ms);
    else if (ms < 60000)
        buf_printf(out, "%llds", (long long)((ms + 999) / 1000));
    else
        buf_printf(out, "%lldm%llds", (long long)((ms + 999) / 1000 / 60), (long long)((ms + 999) / 1000 % 60));
}

static void put_left(const char *what, const struct ledger_rate *r, struct buf *out)
{
    buf_printf(out, "\"%s\";r=%lld;t=%lld", what, (long long)r->remaining, (long long)((r->reset_ms + 999) / 1000));
}

static void put_rate(const char *what, const struct ledger_rate *r, struct buf *out)
{
    if (!r->limit)
        return;
    buf_printf(out, "x-ratelimit-limit-%s: %lld\r\nx-ratelimit-remaining-%s: %lld\r\nx-ratelimit-reset-%s: ", what,
               (long long)r->limit, what, (long long)r->remaining, what);
    put_duration(r->reset_ms, out);
    buf_puts(out, "\r\n");
}

void ledger_rate_headers(const struct ledger_answer *a, struct buf *out)
{
    const struct ledger_rate *q = &a->requests, *t = &a->tokens;
    put_rate("requests", q, out);
    put_rate("tokens", t, out);
    const char *comma = q->limit && t->limit ? ", " : "";
    if (q->limit || t->limit) {
        buf_puts(out, "RateLimit-Policy: ");
        if (q->limit)
            buf_printf(out, "\"requests\";q=%lld;w=60", (long long)q->limit);
        buf_puts(out, comma);
        if (t->limit)
            buf_printf(out, "\"tokens\";q=%lld;w=60", (long long)t->limit);
        buf_puts(out, "\r\nRateLimit: ");
        if (q->limit)
            put_left("requests", q, out);
        buf_puts(out, comma);
        if (t->limit)
            put_left("tokens", t, out);
        buf_puts(out, "\r\n");
    }
    if (a->retry_after_s > 0)
        buf_printf(out, "Retry-After: %lld\r\n", (long long)a->retry_after_s);
}
