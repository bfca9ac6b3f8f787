/* swap -- see models.h: who is in memory, who waits for it, and who leaves. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/models_impl.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    TICK_MS = 500,
    PATIENCE_MS = 1000,       /* then a busy model makes room for one that waits */
    FAILURE_PAUSE_MS = 3000,  /* a model that could not be loaded is not tried again before */
    START_TRIES = 3,
    KV_CONTEXTS = 4,          /* what a model's keys and values get when nobody said: so many of its contexts */
    KV_SHARE = 4,             /* or this part of the limit, whichever is less */
};
#define MS ((int64_t)1000000)

static void kick(struct models *m)
{
    loop_timer_set(m->kick, 0);
}

/* ---- the plan */

static int64_t need_of(const json_t *needs, const char *name)
{
    return json_integer_value(json_object_get(needs, name));
}

/* From what the engine read in the file: how much memory for keys and values, and how much in all. */
static void plan(struct models *m, struct entry *e)
{
    const json_t *needs = link_needs(e->link);
    int64_t page = need_of(needs, "kv_page_bytes"), tokens = need_of(needs, "kv_page_tokens"), kv = 0;
    if (page > 0 && tokens > 0 && e->plan_kv) {
        int64_t pages = (need_of(needs, "ctx") + tokens - 1) / tokens;
        kv = page < m->limit / pages ? page * pages * KV_CONTEXTS : m->limit;
        kv = kv < m->limit / KV_SHARE ? kv : m->limit / KV_SHARE;
        json_object_set_new(e->options, "kv_memory", json_integer(kv));
    } else if (page > 0) {
        kv = json_integer_value(json_object_get(e->options, "kv_memory"));
    }
    e->need_bytes = need_of(needs, "weight_bytes") + need_of(needs, "work_bytes") + kv;
}

/* false: the file is another one than was measured, or was never measured. */
static bool measured(struct models *m, struct entry *e)
{
    struct stat st;
    if (!m->limit)
        return true;
    if (stat(e->path, &st))
        return e->need_bytes > 0; /* the engine's start will say it */
    int64_t mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (e->file_mtime_ns != mtime || e->file_bytes != st.st_size)
        e->need_bytes = 0;
    e->file_mtime_ns = mtime;
    e->file_bytes = st.st_size;
    return e->need_bytes > 0;
}

static void put_gib(char *out, size_t size, int64_t bytes)
{
    if (bytes < 1 << 20)
        snprintf(out, size, "%lld bytes", (long long)bytes);
    else if (bytes < (int64_t)100 << 20)
        snprintf(out, size, "%.1f MiB", (double)bytes / (1 << 20));
    else
        snprintf(out, size, "%.2f GiB", (double)bytes / (1 << 30));
}

static void say_too_large(const struct models *m, const struct entry *e, char *out, size_t size)
{
    char need[32], limit[32];
    put_gib(need, sizeof need, e->need_bytes);
    put_gib(limit, sizeof limit, m->limit);
    snprintf(out, size, "the model '%s' needs %s and --memory is %s; raise it, or lower the model's ctx or kv memory",
             e->id, need, limit);
}

static int64_t memory_used(const struct models *m)
{
    int64_t sum = 0;
    for (int i = 0; i < m->count; i++)
        sum += models_loaded(m, i) ? m->entries[i].need_bytes : 0;
    return sum;
}

/* ---- requests that wait */

static void forget(struct models *m, struct model_wait *w)
{
    struct model_wait **at = &m->first;
    while (*at && *at != w)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = w->next;
    if (m->last == &w->next)
        m->last = at;
    w->model = -1;
    m->waits--;
}

void models_forget(struct models *m, struct model_wait *w)
{
    if (w->model >= 0)
        forget(m, w);
}

bool models_want(struct models *m, struct link *k, struct model_wait *w)
{
    int at = models_index(m, k);
    if (link_state(k) == LINK_READY && !m->entries[at].closing) {
        w->model = -1;
        return true;
    }
    w->model = at;
    w->next = NULL;
    w->since_ns = m->waits < MODEL_WAITS_MAX ? clock_mono_ns() : -1;
    *m->last = w;
    m->last = &w->next;
    m->waits++;
    m->waited++;
    kick(m);
    return false;
}

/* Why this wait can only end badly: the status, code and sentence; false: it may go on. */
static bool hopeless_wait(const struct models *m, const struct model_wait *w, int64_t now, struct error *out,
                          char *text, size_t size)
{
    const struct entry *e = &m->entries[w->model];
    enum link_state state = link_state(e->link);
    *out = (struct error){ .status = 503, .code = "engine_unavailable", .message = text };
    if (w->since_ns < 0) {
        snprintf(text, size, "too many requests wait for models to be loaded; try again in a moment");
    } else if (link_is_far(e->link)) {
        out->code = "no_worker";
        snprintf(text, size, "no worker of the fleet can take the model '%s' now; try again in a moment", e->id);
    } else if (now < e->failed_until_ns) {
        out->code = "model_failed";
        snprintf(text, size, "the model '%s' cannot be loaded: %s", e->id, e->fault);
    } else if (m->limit && e->need_bytes > m->limit) {
        out->code = "model_does_not_fit";
        say_too_large(m, e, text, size);
    } else if (state == LINK_DOWN) {
        snprintf(text, size, "the engine cannot take this request now; try again in a moment");
    } else if (now - w->since_ns >= m->load_wait_ms * MS) {
        out->code = "model_loading";
        snprintf(text, size, state == LINK_LOADING ? "the model is still loading; try again in a moment" :
                 "the model waits for memory that others use; try again in a moment");
    } else {
        return false;
    }
    return true;
}

/* Ends one wait that can end; false: none can. */
static bool end_a_wait(struct models *m, int64_t now)
{
    char text[ERR_TEXT_MAX + 300];
    struct error why;
    for (struct model_wait *w = m->first; w; w = w->next) {
        const struct entry *e = &m->entries[w->model];
        if (link_state(e->link) == LINK_READY && !e->closing) {
            forget(m, w);
            w->ready(w->arg);
            return true;
        }
        if (hopeless_wait(m, w, now, &why, text, sizeof text)) {
            int64_t retry_s = !strcmp(why.code, "model_does_not_fit") ? 0 : link_retry_s(e->link);
            forget(m, w);
            m->refused++;
            w->refused(w->arg, &why, retry_s);
            return true;
        }
    }
    return false;
}

/* ---- who leaves */

static void stop(struct entry *e, const char *why)
{
    log_line(LOG_INFO, "front", "model %s is unloaded: %s", e->id, why);
    e->closing = false;
    e->wanted_ns = 0;
    e->unloads++;
    link_stop(e->link);
}

static bool can_leave(const struct entry *e)
{
    return link_state(e->link) == LINK_READY && !e->pinned && !e->closing;
}

/* The idle one that was used the longest ago, or with busy the one that was loaded the longest ago; or NULL. */
static struct entry *victim(struct models *m, bool busy)
{
    struct entry *best = NULL;
    for (int i = 0; i < m->count; i++) {
        struct entry *e = &m->entries[i];
        if (!can_leave(e) || (!busy && link_calls(e->link)))
            continue;
        if (!best || (busy ? e->ready_ns < best->ready_ns : e->used_ns < best->used_ns))
            best = e;
    }
    return best;
}

/* Has models leave until `need` bytes will be free; from busy ones too when the patience is over. */
static void make_room(struct models *m, struct entry *e, int64_t now)
{
    int64_t coming = m->limit - memory_used(m); /* free now, and soon */
    char why[320];
    snprintf(why, sizeof why, "%.200s needs its memory", e->id);
    for (int i = 0; i < m->count; i++) {
        bool leaves = m->entries[i].closing || link_state(m->entries[i].link) == LINK_LEAVING;
        coming += leaves ? m->entries[i].need_bytes : 0;
    }
    for (struct entry *v; coming < e->need_bytes && (v = victim(m, false));) {
        coming += v->need_bytes;
        stop(v, why);
    }
    bool impatient = now - e->wanted_ns > PATIENCE_MS * MS;
    for (struct entry *v; impatient && coming < e->need_bytes && (v = victim(m, true));) {
        coming += v->need_bytes;
        v->closing = true; /* until its last call is done */
    }
}

/* ---- who comes */

/* Loads e or makes room for it. false: memory is short, and who came later waits behind it. */
static bool bring_in(struct models *m, struct entry *e, int64_t now)
{
    if (!measured(m, e)) {
        e->ready_ns = 0;
        link_measure(e->link);
        return true;
    }
    if (m->limit && e->need_bytes > m->limit) {
        char text[ERR_TEXT_MAX];
        say_too_large(m, e, text, sizeof text);
        e->wanted_ns = 0; /* whoever waits is told */
        log_line(LOG_ERROR, "front", "%s", text);
        if (e->expected && !m->ever_ready)
            m->o.hopeless(m->o.arg, text);
        return true;
    }
    if (!m->limit || e->need_bytes <= m->limit - memory_used(m)) {
        e->loads++;
        e->ready_ns = 0;
        link_start(e->link);
        return true;
    }
    if (e->optional) {
        log_line(LOG_INFO, "front", "model %s does not fit beside the others now: it is loaded on demand", e->id);
        e->wanted_ns = 0;
        return true;
    }
    make_room(m, e, now);
    return false;
}

/* Wanted longest ago and not begun with after `since`, or NULL. */
static struct entry *next_wanted(struct models *m, int64_t since, int64_t now)
{
    struct entry *best = NULL;
    for (int i = 0; i < m->count; i++) {
        struct entry *e = &m->entries[i];
        if (e->wanted_ns > since && now >= e->failed_until_ns && link_state(e->link) == LINK_OFF &&
            (!best || e->wanted_ns < best->wanted_ns))
            best = e;
    }
    return best;
}

static int64_t first_measuring(const struct models *m)
{
    int64_t first = INT64_MAX;
    for (int i = 0; i < m->count; i++) {
        const struct entry *e = &m->entries[i];
        enum link_state state = link_state(e->link);
        bool measuring = state == LINK_MEASURING || (state == LINK_LEAVING && !e->need_bytes);
        if (measuring && e->wanted_ns && e->wanted_ns < first)
            first = e->wanted_ns;
    }
    return first;
}

static void note_wishes(struct models *m, int64_t now)
{
    for (struct model_wait *w = m->first; w; w = w->next) {
        struct entry *e = &m->entries[w->model];
        if (!e->wanted_ns && link_state(e->link) == LINK_OFF && now >= e->failed_until_ns)
            e->wanted_ns = w->since_ns;
        e->optional = false;
    }
}

static bool gave_up(const struct models *m, const struct entry *e)
{
    if (link_state(e->link) != LINK_DOWN || link_is_far(e->link))
        return false;
    if (e->expected && !m->ever_ready)
        return m->limit && !e->need_bytes; /* the link tries again by itself, and swap_changed gives the server up */
    return !e->ready_ns || (!e->expected && link_failures(e->link) >= START_TRIES);
}

void swap_run(void *arg)
{
    struct models *m = arg;
    int64_t now = clock_mono_ns();
    for (int i = 0; i < m->count; i++) {
        struct entry *e = &m->entries[i];
        if (gave_up(m, e)) {
            snprintf(e->fault, sizeof e->fault, "%s", link_fault(e->link));
            e->failed_until_ns = now + FAILURE_PAUSE_MS * MS;
            e->wanted_ns = e->expected ? now : 0; /* tried again then, if there is room */
            e->optional = m->limit > 0;
            link_stop(e->link);
        } else if (e->closing && !link_calls(e->link)) {
            stop(e, "as asked, or another needs its memory");
        }
    }
    note_wishes(m, now);
    for (int n = 0; n < MODEL_WAITS_MAX * 2 && end_a_wait(m, now); n++)
        ;
    int64_t since = 0;
    for (struct entry *e; (e = next_wanted(m, since, now));) {
        since = e->wanted_ns;
        if (measured(m, e) && since > first_measuring(m))
            continue; /* who came before is not known yet: nobody takes its place */
        if (!bring_in(m, e, now))
            break;
    }
}

void swap_changed(void *arg, struct link *k)
{
    struct models *m = arg;
    struct entry *e = &m->entries[models_index(m, k)];
    enum link_state state = link_state(k);
    if (state == LINK_READY) {
        m->ever_ready = m->ever_ready || !link_is_far(k);
        e->ready_ns = e->used_ns = clock_mono_ns();
        e->wanted_ns = 0;
    }
    if (state == LINK_OFF && link_needs(k) && !e->need_bytes)
        plan(m, e);
    if (state == LINK_DOWN && e->expected && !m->ever_ready && (link_refused(k) || link_failures(k) >= START_TRIES))
        m->o.hopeless(m->o.arg, link_fault(k));
    kick(m);
    m->o.changed(m->o.arg, k);
}

/* ---- the clock, and what others say */

void swap_tick(void *arg)
{
    struct models *m = arg;
    int64_t now = clock_mono_ns();
    for (int i = 0; i < m->count; i++) {
        struct entry *e = &m->entries[i];
        if (e->keep_alive_s && can_leave(e) && !link_calls(e->link) &&
            now - e->used_ns > e->keep_alive_s * 1000 * MS)
            stop(e, "nobody asked for it");
    }
    swap_run(m);
    loop_timer_set(m->tick, TICK_MS);
}

void models_start(struct models *m)
{
    int64_t now = clock_mono_ns();
    for (int pass = 0; pass < 2; pass++) /* pinned ones first */
        for (int i = 0; i < m->count; i++) {
            struct entry *e = &m->entries[i];
            if (!e->expected || e->pinned != !pass)
                continue;
            e->wanted_ns = now++;
            e->optional = m->limit && !e->pinned;
        }
    swap_tick(m);
}

void models_released(struct models *m, struct link *k)
{
    struct entry *e = &m->entries[models_index(m, k)];
    e->used_ns = clock_mono_ns();
    if (m->first || e->closing)
        kick(m);
}

void models_load(struct models *m, struct link *k)
{
    struct entry *e = &m->entries[models_index(m, k)];
    e->closing = false;
    e->optional = false;
    e->failed_until_ns = 0;
    if (!models_loaded(m, models_index(m, k)) && !e->wanted_ns)
        e->wanted_ns = clock_mono_ns();
    kick(m);
}

bool models_unload(struct models *m, struct link *k)
{
    struct entry *e = &m->entries[models_index(m, k)];
    if (e->pinned)
        return false;
    e->wanted_ns = 0;
    if (link_state(k) == LINK_READY)
        e->closing = true;
    else if (models_loaded(m, models_index(m, k)))
        stop(e, "as asked");
    kick(m);
    return true;
}
