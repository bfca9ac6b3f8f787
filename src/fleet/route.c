/* route -- see route.h. */
#include "fleet/route.h"

#include "base/assert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- prefixes: which beginnings every request names */

static int prefix_blocks(int i)
{
    enum { DOUBLED = 4, STEPS = 4 };
    if (i < DOUBLED)
        return 1 << i;
    int octave = (i - DOUBLED) / STEPS, step = (i - DOUBLED) % STEPS;
    return (1 << DOUBLED << octave) / STEPS * (STEPS + step);
}

int64_t route_prefix_bytes(int i)
{
    return (int64_t)prefix_blocks(i) * API_PREFIX_BLOCK_BYTES;
}

void fleet_ask_prefix(struct fleet_ask *ask, const struct api_prefix *p)
{
    ask->prefix_count = 0;
    for (int i = 0; i < FLEET_PREFIX_MAX && prefix_blocks(i) <= p->count; i++)
        ask->prefix[ask->prefix_count++] = p->hash[prefix_blocks(i) - 1];
}

static int64_t known_bytes(const struct prefixes *known, uint64_t model, const struct fleet_ask *ask, uint32_t serial)
{
    for (int i = ask->prefix_count - 1; i >= 0; i--)
        if (prefixes_has(known, model, ask->prefix[i], serial))
            return route_prefix_bytes(i);
    return 0;
}

void route_sent(struct prefixes *known, const struct fleet_ask *ask, const struct route_pick *p)
{
    uint64_t model = prefixes_model(ask->model);
    int64_t fresh = ask->prompt_bytes - p->known_bytes;
    roster_sent(p->model, fresh > 0 ? fresh / ROUTE_BYTES_PER_TOKEN : 0);
    for (int i = 0; i < ask->prefix_count; i++)
        prefixes_note(known, model, ask->prefix[i], p->worker->serial);
}

void route_learn(struct prefixes *known, const struct roster_worker *w)
{
    for (int i = 0; i < w->model_count; i++) {
        const struct heartbeat_model *b = &w->models[i].beat;
        uint64_t model = prefixes_model(b->id);
        for (int k = 0; k < b->prefix_count; k++)
            prefixes_note(known, model, b->prefixes[k], w->serial);
    }
}

/* ---- who may */

enum may { MAY, MAY_NOT_ALIVE, MAY_NOT_GO, MAY_NOT_SIGNED, MAY_NOT_RESUME, MAY_NOT_NOW, MAY_FULL, MAY_LATE, MAY_COUNT };

/* Of the sites that are named, when some are. */
static bool in_places(const json_t *places, const struct fleet_place *p)
{
    const json_t *v;
    char name[2 * FLEET_NAME_MAX + 2];
    size_t i;
    snprintf(name, sizeof name, "%s/%s", p->jurisdiction, p->site);
    json_array_foreach(places, i, v)
        if (!strcmp(json_string_value(v), name))
            return true;
    return !places;
}

static bool allowed(const struct route_query *q, const char *jurisdiction)
{
    const struct fleet_ask *a = q->ask;
    if (!a->jurisdiction_count)
        return !strcmp(jurisdiction, q->home);
    for (int i = 0; i < a->jurisdiction_count; i++)
        if (!strcmp(jurisdiction, a->jurisdictions[i]))
            return true;
    return false;
}

static bool excluded(const struct route_query *q, uint32_t serial)
{
    for (int i = 0; i < q->excluded_count; i++)
        if (q->excluded[i] == serial)
            return true;
    return false;
}

static double rate_of(const struct roster_model *m)
{
    return m->rate > 1 ? m->rate : ROUTE_RATE_GUESS;
}

static double rtt_s(const struct roster_worker *w)
{
    return w->rtt_ms > 0 ? w->rtt_ms / 1e3 : 0;
}

static double wait_s(const struct roster_model *m)
{
    return (double)(m->beat.prefill_backlog + m->sent_tokens[0] + m->sent_tokens[1]) / rate_of(m);
}

static enum may may(const struct route_query *q, const struct roster_worker *w, const struct roster_model *m)
{
    if (!allowed(q, w->place.jurisdiction) || !in_places(q->ask->places, &w->place) ||
        (m->beat.outside && !q->ask->outside))
        return MAY_NOT_GO;
    if (w->life == ROSTER_DEAD)
        return MAY_NOT_ALIVE;
    if (q->ask->hash && strcmp(m->beat.hash, q->ask->hash))
        return MAY_NOT_SIGNED;
    if (q->numerics[0] && strcmp(m->beat.numerics, q->numerics))
        return MAY_NOT_RESUME;
    if (w->life != ROSTER_ALIVE || w->draining || excluded(q, w->serial))
        return MAY_NOT_NOW;
    if (m->beat.waiting + m->sent[0] + m->sent[1] >= ROUTE_WAITING_MAX)
        return MAY_FULL;
    if (q->ask->deadline_ms > 0 && (wait_s(m) + rtt_s(w)) * 1e3 > (double)q->ask->deadline_ms)
        return MAY_LATE;
    return MAY;
}

/* ---- who would be soonest */

static double score_s(const struct route_query *q, const struct route_pick *p)
{
    const struct heartbeat_model *b = &p->model->beat;
    double used = b->kv_pages > 0 ? 1 - (double)b->kv_pages_free / (double)b->kv_pages : 0;
    int64_t fresh = q->ask->prompt_bytes - p->known_bytes;
    double prompt_s = (double)(fresh > 0 ? fresh : 0) / ROUTE_BYTES_PER_TOKEN / rate_of(p->model);
    return p->wait_s + prompt_s + ROUTE_RTT_WEIGHT * rtt_s(p->worker) + ROUTE_KV_WEIGHT * used * used +
           (b->outside ? ROUTE_OUTSIDE_S : 0) + (roster_suspects(p->worker, b->id) ? ROUTE_SUSPECT_S : 0);
}

/* What keeps everybody from it, in one sentence. soonest_s: the least wait among who would be late. */
static enum err_code nobody(const struct route_query *q, const int why[MAY_COUNT], double soonest_s, int *retry_s,
                            struct err *e)
{
    const char *model = q->ask->model;
    *retry_s = 1;
    if (why[MAY_LATE]) {
        double over = soonest_s - (double)q->ask->deadline_ms / 1e3;
        *retry_s = over < 1 ? 1 : over > 60 ? 60 : (int)ceil(over);
        return err_set(e, ERR_BUSY, "every worker of %.80s would begin after this request's deadline; try again in "
                       "%d s", model, *retry_s);
    }
    if (why[MAY_FULL])
        return err_set(e, ERR_BUSY, "the queue of every worker of %.80s is full; try again in %d s", model, *retry_s);
    if (why[MAY_NOT_NOW])
        return err_set(e, ERR_BUSY, "no worker of %.80s takes requests now; try again in %d s", model, *retry_s);
    if (why[MAY_NOT_RESUME])
        return err_set(e, ERR_BUSY, "no worker of %.80s computes the same numbers as the one that began; try again",
                       model);
    if (why[MAY_NOT_SIGNED])
        return err_set(e, ERR_BUSY, "no worker of %.80s that this request may go to has the weights that were signed; "
                       "try again", model);
    if (why[MAY_NOT_GO] && !why[MAY_NOT_ALIVE])
        return err_set(e, ERR_DENIED, "no worker of %.80s is in a jurisdiction where this request may go", model);
    return err_set(e, ERR_NOT_FOUND, "no worker that is alive has the model %.80s", model);
}

struct found {
    struct route_pick p[ROSTER_WORKERS_MAX];
    int count;
    double best;
};

/* The better of two drawn among those that are as good as the best. */
static struct route_pick draw(struct found *f, struct rng *dice)
{
    double limit = f->best + ROUTE_MARGIN_S + ROUTE_MARGIN * f->best;
    int top = 0;
    for (int i = 0; i < f->count; i++)
        if (f->p[i].score_s <= limit)
            f->p[top++] = f->p[i];
    ASSERT(top > 0);
    const struct route_pick *a = &f->p[rng_below(dice, (uint64_t)top)], *b = &f->p[rng_below(dice, (uint64_t)top)];
    return b->score_s < a->score_s ? *b : *a;
}

enum err_code route_pick(const struct roster *r, const struct prefixes *known, const struct route_query *q,
                         struct rng *dice, struct route_pick *out, int *retry_s, struct err *e)
{
    uint64_t model = prefixes_model(q->ask->model);
    struct found f = { .count = 0 };
    int why[MAY_COUNT] = { 0 };
    double soonest_s = HUGE_VAL;
    for (int i = 0; i < roster_count(r); i++) {
        struct roster_worker *w = roster_at(r, i);
        struct roster_model *m = roster_model_of(w, q->ask->model);
        if (!m)
            continue;
        enum may v = may(q, w, m);
        why[v]++;
        if (v == MAY_LATE)
            soonest_s = fmin(soonest_s, wait_s(m) + rtt_s(w));
        if (v != MAY)
            continue;
        struct route_pick *p = &f.p[f.count];
        *p = (struct route_pick){ w, m, wait_s(m), 0, known_bytes(known, model, q->ask, w->serial) };
        p->score_s = score_s(q, p);
        f.best = f.count && f.best < p->score_s ? f.best : p->score_s;
        f.count++;
    }
    if (!f.count)
        return nobody(q, why, soonest_s, retry_s, e);
    *out = q->policy == ROUTE_RANDOM ? f.p[rng_below(dice, (uint64_t)f.count)] : draw(&f, dice);
    return ERR_OK;
}
