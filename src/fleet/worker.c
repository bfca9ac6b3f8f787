/* worker -- see worker.h: what it listens to, what it says of itself, which gateways are alive. work.c has the
 * exchanges. */
#include "fleet/worker_impl.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct any {                      /* a model's fallback subject */
    struct any *next;
    char model[HEARTBEAT_ID_MAX];
    struct bus_sub *sub;
    bool wanted;
};

struct told_facts {
    struct told_facts *next;
    char model[HEARTBEAT_ID_MAX];
    json_t *facts;
    int64_t at_ms;
};

int64_t worker_now_ms(void)
{
    return clock_mono_ns() / 1000000;
}

/* ---- gateways */

static void forget_gate(struct fleet_worker *w, int at)
{
    struct gate *g = w->gates[at];
    work_close_all(w, g);
    ASSERT(!g->works);
    w->gates[at] = w->gates[--w->gate_count];
    mem_free(g);
}

static bool make_room(struct fleet_worker *w)
{
    int oldest = -1;
    if (w->gate_count < GATES_MAX)
        return true;
    for (int i = 0; i < w->gate_count; i++)
        if (!w->gates[i]->works && (oldest < 0 || w->gates[i]->heard_ms < w->gates[oldest]->heard_ms))
            oldest = i;
    if (oldest >= 0)
        forget_gate(w, oldest);
    return oldest >= 0;
}

static struct gate *gate_at(struct fleet_worker *w, const struct fleet_place *p)
{
    char inbox[FLEET_SUBJECT_MAX];
    fleet_subject(p, 'g', "in", inbox);
    for (int i = 0; i < w->gate_count; i++)
        if (!strcmp(w->gates[i]->inbox, inbox))
            return w->gates[i];
    if (!make_room(w))
        return NULL;
    struct gate *g = MEM_NEW(struct gate);
    *g = (struct gate){ .place = *p };
    memcpy(g->inbox, inbox, sizeof g->inbox);
    return w->gates[w->gate_count++] = g;
}

struct gate *worker_gate(struct fleet_worker *w, const char *inbox)
{
    struct fleet_place p;
    char role, last[FLEET_NAME_MAX + 1];
    if (!fleet_subject_read(inbox, &p, &role, last) || role != 'g' || strcmp(last, "in"))
        return NULL;
    struct gate *g = gate_at(w, &p);
    if (g)
        g->heard_ms = worker_now_ms();
    return g;
}

/* A gateway's beat. One with a new boot id has forgotten what it asked for. */
static void on_gateway(void *arg, const struct bus_message *m)
{
    struct fleet_worker *w = arg;
    struct fleet_place p;
    char role, last[FLEET_NAME_MAX + 1];
    if (!fleet_subject_read(m->subject, &p, &role, last) || role != 'g')
        return;
    json_t *v = jsonx_parse(m->data, m->n, NULL);
    const char *hex = json_string_value(json_object_get(v, "boot"));
    uint64_t boot = hex && strlen(hex) == 16 && strspn(hex, "0123456789abcdef") == 16 ? strtoull(hex, NULL, 16) : 0;
    json_decref(v);
    struct gate *g = boot ? gate_at(w, &p) : NULL;
    if (!g)
        return;
    if (g->boot && g->boot != boot && g->works) {
        log_line(LOG_INFO, "fleet", "gateway %s was started anew: %d of its requests end here", p.name, g->works);
        work_close_all(w, g);
    }
    g->boot = boot;
    g->heard_ms = worker_now_ms();
}

static void forget_silent(struct fleet_worker *w, int64_t now)
{
    for (int i = w->gate_count - 1; i >= 0; i--)
        if (now - w->gates[i]->heard_ms > ORPHAN_MS) {
            if (w->gates[i]->works)
                log_line(LOG_WARN, "fleet", "gateway %s is silent: %d of its requests end here",
                         w->gates[i]->place.name, w->gates[i]->works);
            forget_gate(w, i);
        }
}

/* ---- what comes in */

static void on_req(void *arg, const struct bus_message *m)
{
    struct fleet_worker *w = arg;
    struct gate *g = worker_gate(w, m->reply);
    if (!g)
        return;
    for (size_t at = 0; at < m->n;) { /* a frame a round */
        struct frame f;
        struct err e;
        long n = frame_parse(m->data + at, m->n - at, &f, &e);
        if (n <= 0) {
            log_line(LOG_WARN, "fleet", "gateway %s sent what is no frame", g->place.name);
            return;
        }
        at += (size_t)n;
        if (f.kind != FRAME_HELLO)
            work_take(w, g, &f);
        else if (!f.length)
            bus_publish(w->bus, g->inbox, w->req, m->data + at - (size_t)n, (size_t)n);
    }
}

static void on_ctl(void *arg, const struct bus_message *m)
{
    struct fleet_worker *w = arg;
    json_t *v = jsonx_parse(m->data, m->n, NULL);
    if (json_is_true(json_object_get(v, "drain")))
        w->host.drain(w->arg);
    json_decref(v);
}

/* ---- what it says of itself */

static struct told_facts *told_of(struct fleet_worker *w, const char *model)
{
    struct told_facts *t = w->told;
    while (t && strcmp(t->model, model))
        t = t->next;
    if (t)
        return t;
    t = MEM_NEW(struct told_facts);
    snprintf(t->model, sizeof t->model, "%s", model);
    t->next = w->told;
    return w->told = t;
}

/* Facts are long: they are said when they changed, and else each FACTS_MS for those who came later. */
static void thin_out(struct fleet_worker *w, struct heartbeat *h, int64_t now)
{
    for (int i = 0; i < h->model_count; i++) {
        struct heartbeat_model *m = &h->models[i];
        struct told_facts *t = m->facts ? told_of(w, m->id) : NULL;
        if (!t)
            continue;
        if (t->facts && now - t->at_ms < FACTS_MS && json_equal(t->facts, m->facts)) {
            json_decref(m->facts);
            m->facts = NULL;
            continue;
        }
        json_decref(t->facts);
        t->facts = json_incref(m->facts);
        t->at_ms = now;
    }
}

static void drop_unwanted(struct fleet_worker *w)
{
    for (struct any **at = &w->anys, *a; (a = *at);) {
        if (a->wanted) {
            at = &a->next;
            continue;
        }
        *at = a->next;
        bus_unsubscribe(a->sub);
        mem_free(a);
    }
}

/* Listens to the fallback subjects of what is served, and of nothing while draining. */
static void follow_models(struct fleet_worker *w, const struct heartbeat *h)
{
    for (struct any *a = w->anys; a; a = a->next)
        a->wanted = false;
    for (int i = 0; !w->draining && i < h->model_count; i++) {
        struct any *a = w->anys;
        while (a && strcmp(a->model, h->models[i].id))
            a = a->next;
        if (!a) {
            char subject[FLEET_SUBJECT_MAX];
            a = MEM_NEW(struct any);
            snprintf(a->model, sizeof a->model, "%s", h->models[i].id);
            fleet_subject_any(w->me.jurisdiction, a->model, subject);
            a->sub = bus_subscribe(w->bus, subject, "workers", on_req, w, NULL);
            a->next = w->anys;
            w->anys = a;
        }
        a->wanted = true;
    }
    drop_unwanted(w);
}

static void beat(struct fleet_worker *w, int64_t now)
{
    struct heartbeat h = { 0 };
    struct buf b = { 0 };
    w->host.describe(w->arg, &h);
    h.boot = w->boot;
    h.draining = w->draining;
    follow_models(w, &h);
    if (bus_is_up(w->bus)) {
        thin_out(w, &h, now);
        heartbeat_write(&h, &b);
        if (b.len > BUS_MESSAGE_MAX)
            log_line(LOG_ERROR, "fleet", "a heartbeat of %zu bytes is too long to be sent", b.len);
        bus_publish(w->bus, w->hb, NULL, b.data, b.len);
    }
    w->beat_ms = now;
    heartbeat_release(&h);
    buf_release(&b);
}

/* ---- time */

static void came_back(struct fleet_worker *w, int64_t now)
{
    w->back_ms = now;
    for (int i = 0; i < w->gate_count; i++)
        w->gates[i]->heard_ms = now; /* nobody could be heard */
    for (struct told_facts *t = w->told; t; t = t->next)
        t->at_ms = 0;
    w->beat_ms = 0;
}

static void on_tick(void *arg)
{
    struct fleet_worker *w = arg;
    int64_t now = worker_now_ms();
    bool up = bus_is_up(w->bus);
    loop_timer_set(w->tick, WORKER_TICK_MS);
    if (up && !w->was_up)
        came_back(w, now);
    if (!up && w->was_up)
        w->away_since_ms = now;
    w->was_up = up;
    if (up) {
        work_flush_kept(w);
        forget_silent(w, now);
    } else if (w->works && now - w->away_since_ms > AWAY_MAX_MS) {
        work_close_all(w, NULL);
    }
    work_tick(w, now);
    bool alarm = w->host.alarm && w->host.alarm(w->arg);
    if (alarm || now - w->beat_ms >= HEARTBEAT_MS)
        beat(w, now);
}

/* ---- begin and end */

static bool subscribe(struct fleet_worker *w, struct err *e)
{
    static const struct fleet_place anywhere = { "*", "*", "*" };
    char ctl[FLEET_SUBJECT_MAX], gateways[FLEET_SUBJECT_MAX];
    fleet_subject(&w->me, 'w', "req", w->req);
    fleet_subject(&w->me, 'w', "hb", w->hb);
    fleet_subject(&w->me, 'w', "ctl", ctl);
    fleet_subject(&anywhere, 'g', "hb", gateways);
    w->subs[0] = bus_subscribe(w->bus, w->req, NULL, on_req, w, e);
    w->subs[1] = w->subs[0] ? bus_subscribe(w->bus, ctl, NULL, on_ctl, w, e) : NULL;
    w->subs[2] = w->subs[1] ? bus_subscribe(w->bus, gateways, NULL, on_gateway, w, e) : NULL;
    return w->subs[2] != NULL;
}

struct fleet_worker *fleet_worker_new(struct loop *l, struct bus *b, const struct fleet_place *me,
                                      const struct fleet_host *host, void *arg, struct err *e)
{
    if (!fleet_name_ok(me->jurisdiction) || !fleet_name_ok(me->site) || !fleet_name_ok(me->name)) {
        err_set(e, ERR_INVALID, "jurisdiction, site and name of a worker are 1 to %d of a-z, 0-9 and -",
                FLEET_NAME_MAX);
        return NULL;
    }
    struct fleet_worker *w = MEM_NEW(struct fleet_worker);
    *w = (struct fleet_worker){ .loop = l, .bus = b, .me = *me, .host = *host, .arg = arg };
    rng_system(&w->boot, sizeof w->boot);
    w->away_since_ms = worker_now_ms();
    w->tick = loop_timer_new(l, on_tick, w);
    w->flush = loop_timer_new(l, work_flush_due, w);
    w->post = post_new(l, b);
    if (!subscribe(w, e)) {
        fleet_worker_free(w);
        return NULL;
    }
    loop_timer_set(w->tick, 0);
    return w;
}

void fleet_worker_free(struct fleet_worker *w)
{
    if (!w)
        return;
    work_refuse_all(w, "shutting_down", "this worker is shut down");
    while (w->gate_count)
        forget_gate(w, w->gate_count - 1);
    post_free(w->post);
    for (struct any *a = w->anys; a; a = a->next)
        a->wanted = false;
    drop_unwanted(w);
    for (size_t i = 0; i < MEM_COUNT(w->subs); i++)
        bus_unsubscribe(w->subs[i]);
    for (struct told_facts *t = w->told, *next; t; t = next) {
        next = t->next;
        json_decref(t->facts);
        mem_free(t);
    }
    loop_timer_free(w->tick);
    loop_timer_free(w->flush);
    mem_free(w);
}

int fleet_worker_busy(const struct fleet_worker *w)
{
    return w->works;
}

void fleet_worker_drain(struct fleet_worker *w)
{
    if (w->draining)
        return;
    w->draining = true;
    beat(w, worker_now_ms());
}
