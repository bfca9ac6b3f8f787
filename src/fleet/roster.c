/* roster -- see roster.h. */
#include "fleet/roster.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STRIDE_MAX_MS = 150, STEP_MARGIN = 4, STEP_FORGET = 16, QUIET_FORGET = 32 };
#define RATE_KEEP 0.995 /* of the best rate, from beat to beat: half of it is forgotten in 35 s */
#define RTT_KEEP 0.75

struct roster {
    struct roster_events events;
    void *arg;
    struct roster_worker *workers[ROSTER_WORKERS_MAX]; /* [count], each owned */
    int count;
    uint32_t serial;
    uint16_t hint[ROSTER_WORKERS_MAX]; /* [serial % ROSTER_WORKERS_MAX]: where it may stand in workers */
    int64_t now_ms;         /* the caller's, at the last call; 0: none yet */
    int64_t time_ms;        /* our own: I1 */
    int64_t heard_ms;       /* when anything was last heard */
    struct roster_event happened[ROSTER_EVENTS_MAX];
    int64_t happened_count; /* ever */
};

static void nothing_lost(void *arg, uint32_t serial, const char *why)
{
}

static void nothing_changed(void *arg)
{
}

struct roster *roster_new(const struct roster_events *events, void *arg)
{
    struct roster *r = MEM_NEW(struct roster);
    r->events = events ? *events : (struct roster_events){ nothing_lost, nothing_changed, NULL };
    r->arg = arg;
    return r;
}

static void release_models(struct roster_model *models, int count)
{
    for (int i = 0; i < count; i++) {
        json_decref(models[i].beat.aliases);
        json_decref(models[i].beat.facts);
    }
    mem_free(models);
}

static void worker_free(struct roster_worker *w)
{
    release_models(w->models, w->model_count);
    mem_free(w);
}

void roster_free(struct roster *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->count; i++)
        worker_free(r->workers[i]);
    mem_free(r);
}

/* ---- time */

static void advance(struct roster *r, int64_t now_ms)
{
    int64_t d = r->now_ms ? now_ms - r->now_ms : 0;
    r->now_ms = now_ms;
    r->time_ms += d < 0 ? 0 : d > STRIDE_MAX_MS ? STRIDE_MAX_MS : d;
}

void roster_heard(struct roster *r, int64_t now_ms)
{
    advance(r, now_ms);
    r->heard_ms = r->time_ms;
}

void roster_amnesty(struct roster *r, int64_t now_ms)
{
    advance(r, now_ms);
    for (int i = 0; i < r->count; i++)
        if (r->workers[i]->life != ROSTER_DEAD)
            r->workers[i]->beat_ms = r->workers[i]->sign_ms = r->time_ms;
}

/* ---- what happened */

void roster_say(struct roster *r, const char *fmt, ...)
{
    struct roster_event *v = &r->happened[r->happened_count++ % ROSTER_EVENTS_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(v->what, sizeof v->what, fmt, args);
    va_end(args);
    v->at_s = clock_wall_s();
    log_line(LOG_INFO, "fleet", "%s", v->what);
}

int roster_event_count(const struct roster *r)
{
    return r->happened_count < ROSTER_EVENTS_MAX ? (int)r->happened_count : ROSTER_EVENTS_MAX;
}

const struct roster_event *roster_event(const struct roster *r, int i)
{
    int count = roster_event_count(r);
    ASSERT(i >= 0 && i < count);
    return &r->happened[(r->happened_count - count + i) % ROSTER_EVENTS_MAX];
}

static void say_of(struct roster *r, const struct roster_worker *w, const char *what)
{
    roster_say(r, "worker %s/%s/%s %s", w->place.jurisdiction, w->place.site, w->place.name, what);
}

/* ---- finding */

int roster_count(const struct roster *r)
{
    return r->count;
}

struct roster_worker *roster_at(const struct roster *r, int i)
{
    ASSERT(i >= 0 && i < r->count);
    return r->workers[i];
}

struct roster_worker *roster_by_serial(const struct roster *r, uint32_t serial)
{
    int at = r->hint[serial % ROSTER_WORKERS_MAX];
    if (at < r->count && r->workers[at]->serial == serial)
        return r->workers[at];
    for (int i = 0; i < r->count; i++)
        if (r->workers[i]->serial == serial)
            return r->workers[i];
    return NULL;
}

struct roster_worker *roster_by_place(const struct roster *r, const struct fleet_place *p)
{
    for (int i = 0; i < r->count; i++) {
        const struct fleet_place *q = &r->workers[i]->place;
        if (!strcmp(q->name, p->name) && !strcmp(q->site, p->site) && !strcmp(q->jurisdiction, p->jurisdiction))
            return r->workers[i];
    }
    return NULL;
}

static struct roster_model *find_model(struct roster_model *models, int count, const char *id)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(models[i].beat.id, id))
            return &models[i];
    return NULL;
}

struct roster_model *roster_model_of(const struct roster_worker *w, const char *id)
{
    return find_model(w->models, w->model_count, id);
}

int64_t roster_age_ms(const struct roster *r, const struct roster_worker *w)
{
    return r->time_ms - w->beat_ms;
}

void roster_rtt(struct roster_worker *w, double ms)
{
    w->rtt_ms = w->rtt_ms < 0 ? ms : RTT_KEEP * w->rtt_ms + (1 - RTT_KEEP) * ms;
}

void roster_sent(struct roster_model *m, int64_t tokens)
{
    m->sent_tokens[0] += tokens;
    m->sent[0]++;
}

/* ---- signs of life */

static void take_sign(struct roster *r, struct roster_worker *w)
{
    int64_t quiet = r->time_ms - w->sign_ms;
    if (quiet > w->quiet_ms && quiet < ROSTER_HABIT_MS)
        w->quiet_ms = quiet;
    w->sign_ms = r->time_ms;
    w->silent = false;
}

void roster_sign(struct roster *r, uint32_t serial, int64_t now_ms)
{
    roster_heard(r, now_ms);
    struct roster_worker *w = roster_by_serial(r, serial);
    if (w && w->life != ROSTER_DEAD)
        take_sign(r, w);
}

bool roster_suspects(const struct roster_worker *w, const char *model)
{
    for (int i = 0; i < w->model_count; i++)
        if (w->models[i].beat.stands && (!model || !strcmp(w->models[i].beat.id, model)))
            return true;
    return w->silent;
}

int64_t roster_silence_ms(const struct roster *r, const struct roster_worker *w)
{
    return r->time_ms - w->sign_ms;
}

static void suspect(struct roster *r, const struct roster_worker *w)
{
    if (r->events.suspected)
        r->events.suspected(r->arg, w->serial);
}

/* true: it may be silent, or we may be deaf. */
static bool weigh_silence(struct roster *r, struct roster_worker *w)
{
    int64_t limit = w->quiet_ms + ROSTER_MARGIN_MS;
    limit = limit < ROSTER_SUSPECT_MS ? ROSTER_SUSPECT_MS : limit > ROSTER_HABIT_MS ? ROSTER_HABIT_MS : limit;
    if (w->silent || roster_silence_ms(r, w) < limit)
        return false;
    if (r->heard_ms - w->sign_ms < limit)
        return true; /* I1 */
    w->silent = true;
    suspect(r, w);
    return false;
}

void roster_done(struct roster *r, uint32_t serial, const char *model)
{
    const struct roster_worker *w = roster_by_serial(r, serial);
    struct roster_model *m = w ? roster_model_of(w, model) : NULL;
    if (m)
        m->sent[!m->sent[0]] -= m->sent[0] + m->sent[1] > 0;
}

/* ---- beats */

/* How long its counter may stand while something runs. No step of a prompt is longer than all that waits at the rate it
 * had; while that is not known it may be very long. */
static int64_t still_limit(const struct roster_model *m)
{
    int64_t learned = STEP_MARGIN * m->step_ms;
    if (m->beat.prefill_backlog > 0) {
        double prompt_ms = m->rate > 0 ? 1e3 * (double)m->beat.prefill_backlog / m->rate : ROSTER_STILL_MAX_MS;
        prompt_ms = prompt_ms < ROSTER_STILL_MAX_MS ? STEP_MARGIN * prompt_ms : ROSTER_STILL_MAX_MS;
        learned = learned < (int64_t)prompt_ms ? (int64_t)prompt_ms : learned;
    }
    return learned < ROSTER_STILL_MS ? ROSTER_STILL_MS : learned > ROSTER_STILL_MAX_MS ? ROSTER_STILL_MAX_MS : learned;
}

/* now: the model as the beat has it. was: the same one in the beat before; NULL: it is new, or the worker is. */
static void carry_over(struct roster_model *now, struct roster_model *was, int64_t time_ms)
{
    now->rate = now->beat.tokens_per_s;
    now->stepped_ms = time_ms;
    if (!was)
        return;
    if (now->rate < RATE_KEEP * was->rate)
        now->rate = RATE_KEEP * was->rate;
    now->sent_tokens[1] = was->sent_tokens[0];
    now->sent[1] = was->sent[0];
    int64_t stood = time_ms - was->stepped_ms;
    now->step_ms = was->step_ms;
    if (now->beat.steps == was->beat.steps && now->beat.running > 0 && was->beat.running > 0) {
        now->stepped_ms = was->stepped_ms;
    } else if (was->beat.running > 0) {
        /* A long step is remembered for some seconds; standing still was none. */
        now->step_ms -= now->step_ms / STEP_FORGET;
        if (stood > now->step_ms && stood < still_limit(was))
            now->step_ms = stood;
    }
    if (!now->beat.facts)
        now->beat.facts = json_incref(was->beat.facts);
    if (!now->beat.aliases)
        now->beat.aliases = json_incref(was->beat.aliases);
}

static bool same_json(const json_t *a, const json_t *b)
{
    return a == b || json_equal(a, b);
}

/* Does what people are told of the model differ? */
static bool differs(const struct roster_model *a, const struct roster_model *b)
{
    return strcmp(a->beat.hash, b->beat.hash) || strcmp(a->beat.numerics, b->beat.numerics) ||
           !same_json(a->beat.facts, b->beat.facts) || !same_json(a->beat.aliases, b->beat.aliases);
}

/* Takes the models out of h. true: they are others than before. */
static bool take_models(struct roster *r, struct roster_worker *w, struct heartbeat *h, bool fresh)
{
    struct roster_model *models = mem_new((size_t)h->model_count, sizeof *models);
    bool changed = fresh || h->model_count != w->model_count;
    for (int i = 0; i < h->model_count; i++) {
        models[i].beat = h->models[i];
        h->models[i].facts = h->models[i].aliases = NULL;
        struct roster_model *was = fresh ? NULL : find_model(w->models, w->model_count, models[i].beat.id);
        carry_over(&models[i], was, r->time_ms);
        changed = changed || !was || differs(&models[i], was);
    }
    release_models(w->models, w->model_count);
    w->models = models;
    w->model_count = h->model_count;
    return changed;
}

/* true: its step counters all move, or nothing runs. */
static bool moves(const struct roster *r, const struct roster_worker *w)
{
    for (int i = 0; i < w->model_count; i++)
        if (w->models[i].beat.running > 0 && r->time_ms - w->models[i].stepped_ms >= still_limit(&w->models[i]))
            return false;
    return true;
}

static struct roster_worker *add(struct roster *r, const struct fleet_place *p)
{
    if (r->count == ROSTER_WORKERS_MAX)
        return NULL;
    struct roster_worker *w = MEM_NEW(struct roster_worker);
    *w = (struct roster_worker){ .place = *p, .life = ROSTER_DEAD, .rtt_ms = -1 };
    return r->workers[r->count++] = w;
}

static void lose(struct roster *r, struct roster_worker *w, enum roster_life life, const char *why)
{
    w->life = life;
    w->dead_ms = r->time_ms;
    say_of(r, w, why);
    r->events.lost(r->arg, w->serial, why);
}

/* A life begins. */
static void begin_life(struct roster *r, struct roster_worker *w, uint64_t boot)
{
    if (w->serial && w->life != ROSTER_DEAD)
        lose(r, w, ROSTER_DEAD, "was started anew");
    w->serial = ++r->serial;
    for (int i = 0; i < r->count; i++)
        if (r->workers[i] == w)
            r->hint[w->serial % ROSTER_WORKERS_MAX] = (uint16_t)i;
    w->sign_ms = r->time_ms;
    w->quiet_ms = 0;
    w->boot = boot;
    w->life = ROSTER_ALIVE;
    w->draining = false;
    w->rtt_ms = -1;
    say_of(r, w, "joined");
}

enum err_code roster_beat(struct roster *r, const struct fleet_place *p, const char *text, size_t n, int64_t now_ms,
                          struct err *e)
{
    struct heartbeat h = { 0 };
    roster_heard(r, now_ms);
    if (heartbeat_read(text, n, &h, e))
        return err_prefix(e, "worker %s/%s/%s", p->jurisdiction, p->site, p->name);
    struct roster_worker *w = roster_by_place(r, p);
    if (!w)
        w = add(r, p);
    if (!w) {
        heartbeat_release(&h);
        return err_set(e, ERR_LIMIT, "more than %d workers: %s/%s/%s is not taken in", ROSTER_WORKERS_MAX,
                       p->jurisdiction, p->site, p->name);
    }
    bool fresh = !w->serial || w->boot != h.boot, was_draining = w->draining;
    enum roster_life was = w->life;
    if (fresh)
        begin_life(r, w, h.boot);
    if (was == ROSTER_DEAD)
        w->sign_ms = r->time_ms;
    bool trusted = !roster_suspects(w, NULL);
    take_sign(r, w);
    w->quiet_ms -= w->quiet_ms / QUIET_FORGET;
    w->beat_ms = r->time_ms;
    w->draining = h.draining;
    bool changed = take_models(r, w, &h, fresh) || was != ROSTER_ALIVE || was_draining != w->draining;
    heartbeat_release(&h);
    if (trusted && roster_suspects(w, NULL))
        suspect(r, w);
    bool still = !moves(r, w);
    if (still && w->life == ROSTER_ALIVE) {
        lose(r, w, ROSTER_STILL, "stands still: its engine computes no step");
        changed = true;
    } else if (!still && w->life != ROSTER_ALIVE) {
        say_of(r, w, w->life == ROSTER_STILL ? "moves again" : "is heard again");
        w->life = ROSTER_ALIVE;
    }
    if (w->draining && (!was_draining || fresh))
        say_of(r, w, "drains");
    else if (!w->draining && was_draining && !fresh)
        say_of(r, w, "takes requests again");
    if (changed)
        r->events.changed(r->arg);
    return ERR_OK;
}

/* ---- judging */

static void forget_old(struct roster *r)
{
    for (int i = r->count - 1; i >= 0; i--) {
        struct roster_worker *w = r->workers[i];
        if (w->life != ROSTER_DEAD || r->time_ms - w->dead_ms < ROSTER_FORGET_MS)
            continue;
        worker_free(w);
        r->workers[i] = r->workers[--r->count];
    }
}

bool roster_tick(struct roster *r, int64_t now_ms)
{
    advance(r, now_ms);
    bool changed = false, wonder = false;
    for (int i = 0; i < r->count; i++) {
        struct roster_worker *w = r->workers[i];
        if (w->life != ROSTER_DEAD && weigh_silence(r, w))
            wonder = true;
        if (w->life == ROSTER_DEAD || r->time_ms - w->beat_ms < ROSTER_DEAD_MS)
            continue;
        if (r->heard_ms - w->beat_ms < ROSTER_DEAD_MS) {
            wonder = true; /* I1 */
            continue;
        }
        lose(r, w, ROSTER_DEAD, "is silent");
        changed = true;
    }
    forget_old(r);
    if (changed)
        r->events.changed(r->arg);
    return wonder;
}
