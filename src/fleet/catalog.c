/* catalog -- see catalog.h. */
#include "fleet/catalog.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* Where id is, or where it would go. */
static int place_of(const struct catalog *c, const char *id, bool *there)
{
    int lo = 0, hi = c->count;
    *there = false;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, order = strcmp(c->models[mid].id, id);
        if (!order) {
            *there = true;
            return mid;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct fleet_model *catalog_find(const struct catalog *c, const char *id)
{
    bool there;
    int i = place_of(c, id, &there);
    return there ? &c->models[i] : NULL;
}

static struct fleet_model *want(struct catalog *c, const char *id)
{
    bool there;
    int i = place_of(c, id, &there);
    if (there)
        return &c->models[i];
    if (c->count == CATALOG_MODELS_MAX)
        return NULL;
    c->models = mem_grow(c->models, (size_t)c->count + 1, sizeof *c->models);
    memmove(&c->models[i + 1], &c->models[i], (size_t)(c->count - i) * sizeof *c->models);
    c->count++;
    c->models[i] = (struct fleet_model){ .workers = 0 };
    snprintf(c->models[i].id, sizeof c->models[i].id, "%s", id);
    return &c->models[i];
}

static void keep(const json_t **held, json_t *now)
{
    if (!now || *held == now)
        return;
    json_decref((json_t *)(uintptr_t)*held);
    *held = json_incref(now);
}

/* Counts m into its entry; who has most room speaks for all. */
static void lay(struct catalog *c, const struct roster_worker *w, const struct roster_model *m, int64_t *room)
{
    struct fleet_model *f = want(c, m->beat.id);
    if (!f)
        return;
    f->workers++;
    if (!w->draining && m->beat.facts)
        f->ready++;
    if (m->beat.facts && (!f->facts || room[f - c->models] < 0 || m->beat.kv_pages_free > room[f - c->models])) {
        keep(&f->facts, m->beat.facts);
        keep(&f->aliases, m->beat.aliases);
        snprintf(f->hash, sizeof f->hash, "%s", m->beat.hash);
        snprintf(f->numerics, sizeof f->numerics, "%s", m->beat.numerics);
        room[f - c->models] = m->beat.kv_pages_free;
    }
}

static bool same_json(const json_t *a, const json_t *b)
{
    return a == b || json_equal(a, b);
}

static bool same(const struct catalog *a, const struct catalog *b)
{
    if (a->count != b->count)
        return false;
    for (int i = 0; i < a->count; i++) {
        const struct fleet_model *x = &a->models[i], *y = &b->models[i];
        if (strcmp(x->id, y->id) || x->workers != y->workers || x->ready != y->ready || strcmp(x->hash, y->hash) ||
            strcmp(x->numerics, y->numerics) || !same_json(x->facts, y->facts) ||
            !same_json(x->aliases, y->aliases))
            return false;
    }
    return true;
}

static struct catalog copy(const struct catalog *c)
{
    struct catalog d = { mem_new((size_t)c->count + 1, sizeof *c->models), c->count };
    for (int i = 0; i < c->count; i++) {
        d.models[i] = c->models[i];
        json_incref((json_t *)(uintptr_t)d.models[i].facts);
        json_incref((json_t *)(uintptr_t)d.models[i].aliases);
    }
    return d;
}

bool catalog_update(struct catalog *c, const struct roster *r)
{
    struct catalog was = copy(c);
    int64_t room[CATALOG_MODELS_MAX];
    for (int i = 0; i < c->count; i++)
        c->models[i].workers = c->models[i].ready = 0;
    for (int i = 0; i < roster_count(r); i++) { /* the list first: room[] is by place in it */
        const struct roster_worker *w = roster_at(r, i);
        for (int k = 0; w->life != ROSTER_DEAD && k < w->model_count; k++)
            want(c, w->models[k].beat.id);
    }
    for (int i = 0; i < CATALOG_MODELS_MAX; i++)
        room[i] = -1;
    for (int i = 0; i < roster_count(r); i++) {
        const struct roster_worker *w = roster_at(r, i);
        for (int k = 0; w->life == ROSTER_ALIVE && k < w->model_count; k++)
            lay(c, w, &w->models[k], room);
    }
    bool changed = !same(&was, c);
    catalog_release(&was);
    return changed;
}

void catalog_release(struct catalog *c)
{
    for (int i = 0; i < c->count; i++) {
        json_decref((json_t *)(uintptr_t)c->models[i].facts);
        json_decref((json_t *)(uintptr_t)c->models[i].aliases);
    }
    mem_free(c->models);
    *c = (struct catalog){ 0 };
}
