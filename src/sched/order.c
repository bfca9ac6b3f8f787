/* order -- see order.h. Tenants live in a table of as many entries as there may be sequences, so that one with a
 * sequence always finds a place; one without keeps its counter until its place is needed. */
#include "sched/order.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stddef.h>

enum { COUNTER_SCALE = 1 << 16 }; /* so that a token divided by a weight is not nothing */

struct order_tenant {
    uint64_t id;
    int64_t counter;
    int weight;
    int waiting, running;  /* sequences */
    int numbered;          /* by order_number so far */
    uint64_t used;         /* when it last had a sequence; 0: the entry is free */
};

struct order {
    struct order_tenant *tenants; /* [count] used so far, [max] in all */
    int count, max;
    uint64_t arrivals;
    int64_t last_counter;  /* of the tenant that left last, for when nobody is there */
};

struct order *order_new(int seats_max)
{
    struct order *o = MEM_NEW(struct order);
    o->max = seats_max + 1;
    o->tenants = mem_new((size_t)o->max, sizeof *o->tenants);
    return o;
}

void order_free(struct order *o)
{
    if (!o)
        return;
    mem_free(o->tenants);
    mem_free(o);
}

/* ---- counters */

/* The tenant's entry; a new one takes a free place, else that of the one which has been idle the longest. */
static struct order_tenant *find(struct order *o, uint64_t id)
{
    struct order_tenant *idle = NULL;
    for (int i = 0; i < o->count; i++) {
        struct order_tenant *t = &o->tenants[i];
        if (t->id == id)
            return t;
        if (!t->waiting && !t->running && (!idle || t->used < idle->used))
            idle = t;
    }
    if (o->count < o->max)
        idle = &o->tenants[o->count++];
    ASSERT(idle);
    *idle = (struct order_tenant){ .id = id, .weight = 1 };
    return idle;
}

/* What a tenant that had nothing here must at least have: the smallest counter of those that wait, else of those
 * that run, else what the last one had. */
static int64_t floor_counter(const struct order *o)
{
    const struct order_tenant *least = NULL;
    for (int i = 0; i < o->count; i++) {
        const struct order_tenant *t = &o->tenants[i];
        if (!t->waiting && !t->running)
            continue;
        bool waits = t->waiting > 0, least_waits = least && least->waiting > 0;
        if (!least || (waits != least_waits ? waits : t->counter < least->counter))
            least = t;
    }
    return least ? least->counter : o->last_counter;
}

void order_enter(struct order *o, struct order_seat *s, const struct order_claim *c)
{
    struct order_tenant *t = find(o, c->tenant);
    int64_t least = t->waiting ? t->counter : floor_counter(o);
    if (t->counter < least)
        t->counter = least;
    t->weight = c->weight < 1 ? 1 : c->weight < ORDER_WEIGHT_MAX ? c->weight : ORDER_WEIGHT_MAX;
    t->waiting++;
    *s = (struct order_seat){ .tenant = t, .priority = c->priority, .deadline_ns = c->deadline_ns,
                              .arrival = ++o->arrivals };
    t->used = s->arrival;
}

void order_run(struct order *o, struct order_seat *s, bool running)
{
    ASSERT(s->running != running);
    s->running = running;
    s->number = running ? s->tenant->running : 0; /* the last, until they are numbered again */
    s->tenant->running += running ? 1 : -1;
    s->tenant->waiting += running ? -1 : 1;
}

void order_leave(struct order *o, struct order_seat *s)
{
    struct order_tenant *t = s->tenant;
    *(s->running ? &t->running : &t->waiting) -= 1;
    if (!t->waiting && !t->running)
        o->last_counter = t->counter;
    s->tenant = NULL;
}

static void charge(struct order_tenant *t, int64_t cost)
{
    t->counter += cost * COUNTER_SCALE / t->weight;
}

void order_cached(struct order_seat *s, int tokens)
{
    if (s->charged < tokens)
        s->charged = tokens;
}

void order_computed(struct order *o, struct order_seat *s, int computed, int prompt)
{
    int end = computed < prompt ? computed : prompt;
    if (end <= s->charged)
        return;
    charge(s->tenant, (int64_t)(end - s->charged) * ORDER_INPUT_COST);
    s->charged = end;
}

void order_drawn(struct order *o, struct order_seat *s, int tokens)
{
    charge(s->tenant, (int64_t)tokens * ORDER_OUTPUT_COST);
}

int64_t order_counter(const struct order_seat *s)
{
    return s->tenant->counter;
}

/* ---- the orders */

/* Class, then deadline: < 0 when a is before b, 0 when neither says. */
static int by_claim(const struct order_seat *a, const struct order_seat *b)
{
    int64_t da = a->deadline_ns ? a->deadline_ns : INT64_MAX, db = b->deadline_ns ? b->deadline_ns : INT64_MAX;
    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    return da < db ? -1 : da > db;
}

bool order_own(const struct order_seat *a, const struct order_seat *b)
{
    int c = by_claim(a, b);
    return c ? c < 0 : a->arrival < b->arrival;
}

bool order_first(const struct order_seat *a, const struct order_seat *b)
{
    int c = by_claim(a, b);
    if (c)
        return c < 0;
    if (a->tenant->counter != b->tenant->counter)
        return a->tenant->counter < b->tenant->counter;
    int64_t ra = (int64_t)a->tenant->running * b->tenant->weight, rb = (int64_t)b->tenant->running * a->tenant->weight;
    return ra != rb ? ra < rb : a->arrival < b->arrival;
}

bool order_keeps(const struct order_seat *a, const struct order_seat *b)
{
    int c = by_claim(a, b);
    int64_t na = (int64_t)a->number * b->tenant->weight, nb = (int64_t)b->number * a->tenant->weight;
    if (c)
        return c < 0;
    return na != nb ? na < nb : a->arrival < b->arrival;
}

void order_number_begin(struct order *o)
{
    for (int i = 0; i < o->count; i++)
        o->tenants[i].numbered = 0;
}

void order_number(struct order_seat *s)
{
    s->number = s->tenant->numbered++;
}

bool order_displaces(const struct order_seat *q, const struct order_seat *v)
{
    int c = by_claim(q, v);
    if (c)
        return c < 0;
    return q->tenant != v->tenant &&
           (int64_t)q->tenant->running * v->tenant->weight < (int64_t)v->number * q->tenant->weight;
}

bool order_yields(const struct order_seat *v, const struct order_seat *q)
{
    int c = by_claim(q, v);
    return c ? c < 0 : v->tenant != q->tenant && v->tenant->counter > q->tenant->counter;
}
